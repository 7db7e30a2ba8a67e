//! Whom a rule or a budget is about.

use std::fmt;

use super::super::matcher::Globs;
use super::role::Roles;
use super::{RuleProblem, globs, item};
use crate::identity::Identity;

/// The subjects as written; they match when any of the first three does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubjectsSource {
    /// Globs over user names; an agent acting for a user matches the user's name too.
    pub users: Vec<String>,
    /// Globs over groups.
    pub groups: Vec<String>,
    /// Globs over the name of the agent that holds the token.
    pub agents: Vec<String>,
    /// The humans for whom `agents` are meant only; everybody when absent.
    pub acting_for: Option<ActingForSource>,
    /// Roles, of which one has to be given to the caller. Nothing else stands beside them.
    pub roles: Vec<String>,
}

/// The humans behind agents as written; matches when either does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActingForSource {
    /// Globs over user names.
    pub users: Vec<String>,
    /// Globs over groups.
    pub groups: Vec<String>,
}

impl fmt::Display for SubjectsSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named =
            |key: &str, names: &[String]| (!names.is_empty()).then(|| format!("{key} {names:?}"));
        let any = |users: &[String], groups: &[String]| {
            let parts = [named("users", users), named("groups", groups)];
            parts.into_iter().flatten().collect::<Vec<_>>()
        };
        let mut parts = any(&self.users, &self.groups);
        if let Some(mut agents) = named("agents", &self.agents) {
            if let Some(humans) = &self.acting_for {
                agents.push_str(" acting for ");
                agents.push_str(&any(&humans.users, &humans.groups).join(" or "));
            }
            parts.push(agents);
        }
        parts.extend(named("roles", &self.roles));
        out.write_str(&parts.join(" or "))
    }
}

/// Compiled subjects.
#[derive(Debug)]
pub(in crate::policy) struct Subjects {
    users: Globs,
    groups: Globs,
    agents: Globs,
    acting_for: Option<ActingFor>,
    pub(super) roles: Roles,
}

#[derive(Debug)]
struct ActingFor {
    users: Globs,
    groups: Globs,
}

impl Subjects {
    pub(in crate::policy) fn compile(
        source: &SubjectsSource,
        known: &[String],
        problems: &mut Vec<RuleProblem>,
    ) -> Self {
        let roles = roles(source, known, problems);
        let mut whole = |field, message: &str| {
            problems.push(RuleProblem {
                field,
                index: None,
                message: message.to_owned(),
            });
        };
        if *source == SubjectsSource::default() {
            whole("subjects", "names nobody; leave it out to mean everyone");
        }
        if let Some(humans) = &source.acting_for {
            if source.agents.is_empty() {
                whole(
                    "subjects.actingFor",
                    "needs agents beside it: say which, or [\"*\"] for any",
                );
            }
            if humans.users.is_empty() && humans.groups.is_empty() {
                whole(
                    "subjects.actingFor",
                    "names nobody: give users or groups, or leave it out to mean everyone",
                );
            }
        }
        Self {
            users: globs("subjects.users", &source.users, problems),
            groups: globs("subjects.groups", &source.groups, problems),
            agents: globs("subjects.agents", &source.agents, problems),
            acting_for: source.acting_for.as_ref().map(|humans| ActingFor {
                users: globs("subjects.actingFor.users", &humans.users, problems),
                groups: globs("subjects.actingFor.groups", &humans.groups, problems),
            }),
            roles,
        }
    }

    /// Whether somebody who has these roles is among them.
    pub(in crate::policy) fn include(&self, identity: &Identity, roles: Roles) -> bool {
        self.roles & roles != 0
            || is_one_of(&self.users, &self.groups, identity)
            || self.name_agent(identity)
    }

    /// Whether they name the agent that holds the token, for the human it acts for.
    pub(in crate::policy) fn name_agent(&self, identity: &Identity) -> bool {
        identity.agent().is_some_and(|agent| {
            self.agents.matches(&agent.name)
                && self
                    .acting_for
                    .as_ref()
                    .is_none_or(|humans| is_one_of(&humans.users, &humans.groups, identity))
        })
    }
}

/// The roles that are named, as bits of those that there are.
fn roles(source: &SubjectsSource, known: &[String], problems: &mut Vec<RuleProblem>) -> Roles {
    let alone = SubjectsSource {
        roles: source.roles.clone(),
        ..SubjectsSource::default()
    };
    if !source.roles.is_empty() && *source != alone {
        // Somebody would read it as *and*.
        problems.push(RuleProblem {
            field: "subjects.roles",
            index: None,
            message: "cannot stand beside other subjects: who may have a role is said where it is defined, under `roles`"
                .to_owned(),
        });
    }
    let mut bits = 0;
    for (index, name) in source.roles.iter().enumerate() {
        match known.iter().position(|role| role == name) {
            Some(bit) => bits |= 1 << bit,
            None => problems.push(item(
                "subjects.roles",
                index,
                format!("{name:?} is not a role of this policy; define it under `roles`"),
            )),
        }
    }
    bits
}

fn is_one_of(users: &Globs, groups: &Globs, identity: &Identity) -> bool {
    users.matches(identity.username()) || groups.match_one_of(identity.groups())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    fn problems(source: &SubjectsSource) -> Vec<&'static str> {
        let mut problems = Vec::new();
        Subjects::compile(source, &[], &mut problems);
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn an_agent_can_be_asked_for_together_with_the_human_behind_it() {
        let source = SubjectsSource {
            agents: texts(&["copilot-*"]),
            acting_for: Some(ActingForSource {
                users: texts(&["carol"]),
                groups: texts(&["developers"]),
            }),
            ..SubjectsSource::default()
        };
        assert!(problems(&source).is_empty());
        let subjects = Subjects::compile(&source, &[], &mut Vec::new());
        let of = |user, groups: &[&str]| Identity::for_tests(user, groups);
        for (identity, included) in [
            (
                of("alice", &["developers"]).with_agent("copilot-1", &[]),
                true,
            ),
            (of("carol", &[]).with_agent("copilot-1", &[]), true),
            // The human alone, another human's agent, another agent; one behind it counts for nothing.
            (of("alice", &["developers"]), false),
            (of("carol", &[]), false),
            (
                of("mallory", &["guests"]).with_agent("copilot-1", &[]),
                false,
            ),
            (of("alice", &["developers"]).with_agent("robot", &[]), false),
            (
                of("alice", &["developers"]).with_agent("robot", &["copilot-1"]),
                false,
            ),
        ] {
            assert_eq!(subjects.include(&identity, 0), included, "{identity:?}");
        }
    }

    #[test]
    fn what_can_match_nobody_is_a_problem() {
        let humans = |groups: &[&str]| {
            Some(ActingForSource {
                groups: texts(groups),
                ..ActingForSource::default()
            })
        };
        let agents = SubjectsSource {
            agents: texts(&["*"]),
            ..SubjectsSource::default()
        };
        assert_eq!(problems(&SubjectsSource::default()), ["subjects"]);
        let without_agents = SubjectsSource {
            groups: texts(&["x"]),
            acting_for: humans(&["developers"]),
            ..SubjectsSource::default()
        };
        assert_eq!(problems(&without_agents), ["subjects.actingFor"]);
        let nobody = SubjectsSource {
            acting_for: humans(&[]),
            ..agents.clone()
        };
        assert_eq!(problems(&nobody), ["subjects.actingFor"]);
        let bad_glob = SubjectsSource {
            acting_for: humans(&["[a"]),
            ..agents
        };
        assert_eq!(problems(&bad_glob), ["subjects.actingFor.groups"]);
    }
}
