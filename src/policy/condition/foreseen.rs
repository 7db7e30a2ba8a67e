//! Conditions in a review, which says less than a request does: each holds, does not hold, or stays open.

use super::scope::{IS_SESSION, Scope, bit};
use super::{Condition, Held, Test, Wanted};
use crate::policy::matcher::is_cluster_scoped;
use crate::policy::rule::Asked;

/// What a review leaves open.
#[derive(Clone, Copy, Debug)]
pub(in crate::policy) struct Open {
    /// The fields of `request`, as bits.
    fields: u16,
    /// What is done, so that it is not known either whether there is an object.
    operation: bool,
}

/// Whether conditions hold, as far as a review tells.
#[derive(Debug)]
pub(in crate::policy) enum Foreseen<'c> {
    Yes,
    No,
    /// These decide, and what they look at is not known.
    Open(Vec<&'c Condition>),
    /// The name of the condition, and why it cannot be told.
    Failed(String, String),
}

impl Open {
    pub(in crate::policy) fn of(asked: &Asked<'_>) -> Self {
        let info = asked.info;
        let any = |text: &str| text == "*";
        let anything = any(&info.resource) || any(&info.subresource);
        let operation = any(asked.verb) || anything || any(&info.api_group);
        let lists = operation || matches!(asked.verb, "list" | "watch" | "deletecollection");
        let writes = operation || !matches!(asked.verb, "get" | "list" | "watch");
        // Behind a node's proxy there may be a session, and the path says which.
        let maybe_session = anything || info.resource == "nodes" && info.subresource == "proxy";
        let session = maybe_session || info.session().is_some();
        let in_none =
            info.resource != "namespaces" && is_cluster_scoped(&info.api_group, &info.resource);
        let fields = [
            ("verb", any(asked.verb)),
            ("operation", operation),
            ("apiGroup", any(&info.api_group)),
            (
                "apiVersion",
                info.api_version.is_empty() || any(&info.api_version),
            ),
            ("resource", any(&info.resource)),
            ("subresource", anything),
            ("namespace", info.namespace.is_empty() && !in_none),
            ("name", info.name.is_empty()),
            ("path", info.is_resource_request || info.path.ends_with('*')),
            ("dryRun", info.is_resource_request && writes),
            ("labelSelector", lists),
            ("fieldSelector", lists),
            ("session", info.is_resource_request && session),
        ];
        let fields = fields
            .into_iter()
            .filter(|(_, open)| *open)
            .fold(0, |bits, (field, _)| bits | bit(field));
        let session = if info.is_resource_request && maybe_session {
            IS_SESSION
        } else {
            0
        };
        Self {
            fields: fields | session,
            operation: info.is_resource_request && operation,
        }
    }
}

/// Whether every one holds.
pub(in crate::policy) fn all<'c>(
    conditions: &'c [Condition],
    scope: &Scope<'_>,
    open: Open,
) -> Foreseen<'c> {
    let mut depends = Vec::new();
    for condition in conditions {
        match condition.foreseen(scope, open) {
            Foreseen::Yes => {}
            Foreseen::Open(of) => depends.extend(of),
            over => return over,
        }
    }
    if depends.is_empty() {
        Foreseen::Yes
    } else {
        Foreseen::Open(depends)
    }
}

impl Condition {
    /// Its name, and what holds when it holds.
    pub(in crate::policy) fn in_words(&self) -> String {
        match self.risk {
            "" => self.name.clone(),
            risk => format!("{}: {risk}", self.name),
        }
    }

    fn foreseen(&self, scope: &Scope<'_>, open: Open) -> Foreseen<'_> {
        match &self.test {
            Test::Any(conditions) => {
                let mut depends = Vec::new();
                for condition in conditions {
                    match condition.foreseen(scope, open) {
                        Foreseen::No => {}
                        Foreseen::Open(of) => depends.extend(of),
                        over => return over,
                    }
                }
                if depends.is_empty() {
                    Foreseen::No
                } else {
                    Foreseen::Open(depends)
                }
            }
            Test::Expression {
                expression,
                parameters,
            } => {
                let uses = expression.uses;
                let looks = uses.object || uses.old_object || uses.dry_run;
                if uses.request_fields & open.fields != 0 || looks && open.operation {
                    return Foreseen::Open(vec![self]);
                }
                match self.evaluated(scope, expression, parameters) {
                    Held::Yes => Foreseen::Yes,
                    Held::No => Foreseen::No,
                    Held::Wants(Wanted::DryRun | Wanted::Object | Wanted::OldObject) => {
                        Foreseen::Open(vec![self])
                    }
                    Held::Failed(name, why) => Foreseen::Failed(name, why),
                }
            }
        }
    }
}
