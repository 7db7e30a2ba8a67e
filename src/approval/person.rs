//! Who asks and who answers, and that they are not the same.

use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::policy::hold::Approvers;

/// Somebody, as far as it matters for who may answer whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// The name that policy, audit and the API server see.
    pub user: String,
    /// Groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// The agent that acts for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The agents that this one acts through (`act` in `act`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// Who vouches for them; with `subject` they are told apart whatever they are called.
    pub issuer: String,
    /// Their name there, for good.
    pub subject: String,
}

/// Why somebody may not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is their own question, or their agent's.
    #[error(
        "nobody approves their own request, nor what an agent asks for them; somebody else has to"
    )]
    Own,
    /// An agent.
    #[error("agents approve nothing; a human has to")]
    Agent,
    /// The rule does not name them.
    #[error("the rule does not name you as an approver")]
    NotNamed,
    /// Only the caller may do that.
    #[error("only whoever asked can withdraw it")]
    NotTheCaller,
}

impl From<&Identity> for Person {
    fn from(identity: &Identity) -> Self {
        Self {
            user: identity.username().to_owned(),
            groups: identity.groups().to_vec(),
            agent: identity.agent().map(|agent| agent.name.clone()),
            chain: identity
                .agent()
                .map_or_else(Vec::new, |agent| agent.chain.clone()),
            issuer: identity.issuer().to_owned(),
            subject: identity.subject().to_owned(),
        }
    }
}

impl Person {
    /// Whoever may use the gateway's socket: an operator without a name.
    #[must_use]
    pub fn local() -> Self {
        Self {
            user: "local".to_owned(),
            groups: Vec::new(),
            agent: None,
            chain: Vec::new(),
            issuer: String::new(),
            subject: String::new(),
        }
    }

    /// Whether they may answer what `caller` asks.
    pub fn may_answer(&self, caller: &Self, approvers: &Approvers) -> Result<(), Unfit> {
        if self.agent.is_some() {
            return Err(Unfit::Agent);
        }
        if self.is_same_human(caller) {
            // Whoever lets an agent ask could always say yes themselves, if the rule did not forbid it.
            let for_the_agent = approvers.principal && caller.agent.is_some();
            return if for_the_agent {
                Ok(())
            } else {
                Err(Unfit::Own)
            };
        }
        // The agent's own account, if it has one, is the agent; so is that of one that it acts through.
        let mut agents = caller.agent.iter().chain(&caller.chain);
        if agents.any(|agent| *agent == self.user) {
            return Err(Unfit::Agent);
        }
        if approvers.name(&self.user, &self.groups) {
            Ok(())
        } else {
            Err(Unfit::NotNamed)
        }
    }

    /// Whether both stand for the same human: as their issuer knows them, or as everybody calls them.
    #[must_use]
    pub fn is_same_human(&self, other: &Self) -> bool {
        self.user == other.user || (&self.issuer, &self.subject) == (&other.issuer, &other.subject)
    }

    /// Whether both are the same caller: the human, and the agent if there is one.
    #[must_use]
    pub fn is_same_caller(&self, other: &Self) -> bool {
        self.user == other.user
            && (&self.issuer, &self.subject) == (&other.issuer, &other.subject)
            && self.agent == other.agent
    }

    /// What they are called, with the agent.
    #[must_use]
    pub fn in_words(&self) -> String {
        match &self.agent {
            Some(agent) => format!("agent {agent:?} acting for {:?}", self.user),
            None => format!("{:?}", self.user),
        }
    }
}
