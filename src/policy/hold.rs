//! The terms of a hold: who may say yes, how long one waits for it, and what a yes admits.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a rule with `decision: hold` asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hold {
    /// Who may answer.
    pub approvers: Approvers,
    /// How long the open request waits for an answer; `None` is [`Self::WAIT_OF_HUMANS`], and not at all
    /// for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Duration>,
    /// How long a question waits for its answer, and a yes for the request it admits.
    pub expires: Duration,
    /// For how long an approver may admit the whole class of requests at most; `None` is once only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_class: Option<Duration>,
}

/// Who may answer a question. Names are compared as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Approvers {
    /// Groups; one of them is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// How many different people must say yes; at least 1.
    pub count: usize,
    /// Whether the human that an agent acts for may answer what their agent asks. Nobody else answers for
    /// themselves, ever.
    #[serde(default)]
    pub principal: bool,
}

impl Hold {
    /// How long a human's request waits when the rule says nothing.
    pub const WAIT_OF_HUMANS: Duration = Duration::from_mins(2);
    /// How long a question lives when the rule says nothing.
    pub const EXPIRES: Duration = Duration::from_hours(1);

    /// How long the open request of a human or an agent waits.
    #[must_use]
    pub fn wait_of(&self, is_agent: bool) -> Duration {
        let default = if is_agent {
            Duration::ZERO
        } else {
            Self::WAIT_OF_HUMANS
        };
        self.wait.unwrap_or(default)
    }

    /// Whether a yes given under these terms is one under the others: the same people, and as much admitted.
    #[must_use]
    pub fn binds_like(&self, other: &Self) -> bool {
        self.approvers == other.approvers && self.same_class == other.same_class
    }
}

impl Approvers {
    /// Whether somebody of this name and these groups is named.
    #[must_use]
    pub fn name(&self, user: &str, groups: &[String]) -> bool {
        self.users.iter().any(|named| named == user)
            || groups.iter().any(|group| self.groups.contains(group))
    }

    /// Who may answer, for people: `2 people of group sre, or user carol`.
    #[must_use]
    pub fn in_words(&self) -> String {
        let list = |word: &str, names: &[String]| match names {
            [] => None,
            [one] => Some(format!("{word} {one:?}")),
            several => Some(format!(
                "{word}s {}",
                several
                    .iter()
                    .map(|name| format!("{name:?}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            )),
        };
        let mut named: Vec<String> = [list("group", &self.groups), list("user", &self.users)]
            .into_iter()
            .flatten()
            .collect();
        if self.principal {
            named.push("the human that the agent acts for".to_owned());
        }
        let people = if self.count == 1 {
            "somebody".to_owned()
        } else {
            format!("{} people", self.count)
        };
        format!("{people} of {}", named.join(" or "))
    }
}

#[cfg(test)]
impl Hold {
    /// For tests: one of these groups answers, and nothing else is said.
    pub(crate) fn by_one_of(groups: &[&str]) -> Self {
        Self {
            approvers: Approvers {
                groups: groups.iter().map(|&group| group.to_owned()).collect(),
                users: Vec::new(),
                count: 1,
                principal: false,
            },
            wait: None,
            expires: Self::EXPIRES,
            same_class: None,
        }
    }
}
