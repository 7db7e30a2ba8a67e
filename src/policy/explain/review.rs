//! What may they do? The answer to `kubectl auth can-i`: what would be decided about requests that nobody has sent.
//!
//! A review says less than a request does. It has no body, and what it leaves out it asks about as a whole: without a
//! name it is about every object, without a namespace about every namespace, and `*` is everything. So a `deny`
//! that a part of it touches makes the answer no, as it does for a list. Where a rule looks at what only a request
//! has, the answer says so: `denied by policy rule shop/baseline if privileged: …; otherwise allowed by …`.

mod builtin;
mod rules;

use serde_json::Value;

use super::{denied_by, denied_by_default, held_twice, short};
use crate::identity::Identity;
use crate::policy::condition::explain::unclear;
use crate::policy::condition::foreseen::{self, Foreseen, Open};
use crate::policy::condition::{Condition, Scope, Seen};
use crate::policy::matcher::is_cluster_scoped;
use crate::policy::rule::check::{RESOURCE_VERBS, URL_VERBS};
use crate::policy::rule::{Asked, Effect, Rule};
use crate::policy::{Help, Policy};
use crate::request::{Query, RequestInfo};

pub use rules::RulesStatus;

/// What a review asks about.
#[derive(Clone, Debug)]
pub struct Access {
    info: RequestInfo,
}

/// What the policy would decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// Whether it may be done, if need be after an approval or under a condition.
    pub allowed: bool,
    /// Whether that depends: on somebody's yes, or on what only the request will show.
    pub depends: bool,
    /// Which rules decide what; empty where the policy has no say.
    pub reason: String,
    /// The roles that the caller may ask for and that would make a no a yes.
    pub roles: Vec<Help>,
}

/// A rule that decides if its open conditions hold.
struct Turn<'p> {
    rule: &'p Rule,
    effect: Effect,
    conditions: Vec<&'p Condition>,
    /// A hold that the review only touches: the rest has to be allowed by a later rule.
    part: bool,
}

/// What is decided in the end, if no turn is taken before.
enum End<'p> {
    Rule(&'p Rule, Effect),
    Default,
    Failed(&'p Rule, String, String),
    HeldTwice(&'p Rule, &'p Rule),
}

/// The way of a review through the rules.
struct Way<'p> {
    turns: Vec<Turn<'p>>,
    end: End<'p>,
}

impl Access {
    /// The `spec` of a `SelfSubjectAccessReview`; `None` when it asks for nothing that can be read.
    pub fn of(spec: &Value) -> Option<Self> {
        let text = |attributes: &Value, key: &str| match attributes.get(key) {
            None => Some(String::new()),
            Some(value) => value.as_str().map(str::to_owned),
        };
        let both = (
            spec.get("resourceAttributes"),
            spec.get("nonResourceAttributes"),
        );
        match both {
            (Some(of), None) => Some(Self::resource(
                &text(of, "verb")?,
                (&text(of, "group")?, &text(of, "version")?),
                (&text(of, "resource")?, &text(of, "subresource")?),
                (&text(of, "namespace")?, &text(of, "name")?),
            )),
            (None, Some(of)) => Some(Self::path(&text(of, "verb")?, &text(of, "path")?)),
            _ => None,
        }
    }

    /// Access to a resource.
    fn resource(
        verb: &str,
        (group, version): (&str, &str),
        (resource, subresource): (&str, &str),
        (namespace, name): (&str, &str),
    ) -> Self {
        // As requests for it say it: to namespaces their own name, and none where there is none.
        let namespace = match resource {
            "namespaces" if group.is_empty() => name,
            _ if is_cluster_scoped(group, resource) => "",
            _ => namespace,
        };
        let parts = [resource, name, subresource].map(str::to_owned).into();
        Self {
            info: RequestInfo {
                is_resource_request: true,
                verb: verb.to_owned(),
                api_group: group.to_owned(),
                api_version: version.to_owned(),
                namespace: namespace.to_owned(),
                resource: resource.to_owned(),
                subresource: subresource.to_owned(),
                name: name.to_owned(),
                parts,
                ..nothing()
            },
        }
    }

    /// Access to a path that is no resource; it may end with `*`.
    fn path(verb: &str, path: &str) -> Self {
        Self {
            info: RequestInfo {
                path: path.to_owned(),
                verb: verb.to_owned(),
                ..nothing()
            },
        }
    }

    /// Whether there are requests that do this. Others, as `bind` and `use` are, the API server asks about while it
    /// carries out a request, and nobody but the cluster decides them.
    fn is_of_requests(&self) -> bool {
        let verbs = if self.info.is_resource_request {
            RESOURCE_VERBS
        } else {
            URL_VERBS
        };
        let verb = self.info.verb.as_str();
        verb == "*" || verb == "head" || verbs.contains(&verb)
    }
}

fn nothing() -> RequestInfo {
    RequestInfo {
        is_resource_request: false,
        path: String::new(),
        raw_path: String::new(),
        verb: String::new(),
        api_prefix: String::new(),
        api_group: String::new(),
        api_version: String::new(),
        namespace: String::new(),
        resource: String::new(),
        subresource: String::new(),
        name: String::new(),
        parts: Vec::new(),
        field_selector: String::new(),
        label_selector: String::new(),
        query: Query::default(),
    }
}

impl Outlook {
    /// The same of a policy that only observes: everything goes on, and that is said.
    fn observed(self) -> Self {
        Self {
            allowed: true,
            depends: true,
            reason: format!(
                "the policy only observes (mode: observe) and refuses nothing; it would say: {}",
                self.reason
            ),
            roles: Vec::new(),
        }
    }
}

impl Policy {
    /// What would be decided about requests of this kind.
    pub fn foresee(
        &self,
        identity: &Identity,
        access: &Access,
        cluster: &str,
        seen: &Seen,
    ) -> Outlook {
        if !access.is_of_requests() {
            let impersonates = access.info.verb == "impersonate";
            let refused = "the gateway takes no impersonation headers; log in as whoever you are";
            return Outlook {
                allowed: !impersonates,
                depends: false,
                reason: if impersonates { refused } else { "" }.to_owned(),
                roles: Vec::new(),
            };
        }
        let asked = Asked::reviewed(identity, &access.info, cluster);
        let asked = asked.holding(self.held(identity, seen));
        let nothing = Seen::default();
        let scope = Scope::new(&asked, &nothing);
        let way = self.follow(&scope);
        let allowed = way.admits();
        let roles = if allowed {
            Vec::new()
        } else {
            self.help(&asked, |asked| {
                self.follow(&Scope::new(asked, &nothing)).admits()
            })
        };
        let outlook = Outlook {
            allowed,
            depends: way.depends(),
            reason: way.in_words(&scope),
            roles,
        };
        if self.observes {
            return outlook.observed();
        }
        outlook
    }

    /// Goes through the rules in order, as [`Policy::decide`] does, past those whose conditions are open.
    fn follow(&self, scope: &Scope<'_>) -> Way<'_> {
        let asked = scope.asked;
        let open = Open::of(asked);
        let mut turns = Vec::new();
        let mut touched: Option<&Rule> = None;
        for rule in &self.rules {
            let Some(found) = rule.matches(asked) else {
                continue;
            };
            let Some(effect) = found.decides(asked) else {
                continue;
            };
            let part = effect == Effect::Hold && !found.contains();
            let end = match foreseen::all(&rule.conditions, scope, open) {
                Foreseen::No => continue,
                Foreseen::Open(conditions) => {
                    turns.push(Turn {
                        rule,
                        effect,
                        conditions,
                        part,
                    });
                    continue;
                }
                Foreseen::Failed(condition, why) => End::Failed(rule, condition, why),
                Foreseen::Yes => match (effect, touched) {
                    (Effect::Hold, Some(first)) => End::HeldTwice(first, rule),
                    (Effect::Hold, None) if part => {
                        touched = Some(rule);
                        continue;
                    }
                    (Effect::Allow, Some(first)) => End::Rule(first, Effect::Hold),
                    (effect, _) => End::Rule(rule, effect),
                },
            };
            return Way { turns, end };
        }
        Way {
            turns,
            end: End::Default,
        }
    }
}

impl Way<'_> {
    fn ends_well(&self) -> bool {
        matches!(self.end, End::Rule(_, Effect::Allow | Effect::Hold))
    }

    /// Whether there is a request that goes on.
    fn admits(&self) -> bool {
        self.ends_well() || self.turns.iter().any(Turn::admits)
    }

    /// Whether there is one that does not, or not at once.
    fn depends(&self) -> bool {
        self.admits()
            && (!self.turns.is_empty() || !matches!(self.end, End::Rule(_, Effect::Allow)))
    }

    fn in_words(&self, scope: &Scope<'_>) -> String {
        let end = match &self.end {
            End::Rule(rule, Effect::Deny) => denied_by(rule, scope),
            End::Rule(rule, effect) => effect_of(rule, *effect),
            End::Default => denied_by_default(scope.asked),
            End::Failed(rule, condition, why) => unclear(rule, condition, why),
            End::HeldTwice(first, second) => held_twice(first, second, scope.asked),
        };
        if !self.admits() {
            return end;
        }
        let turns = self.turns.iter().map(|turn| {
            let conditions: Vec<String> = turn.conditions.iter().map(|of| of.in_words()).collect();
            let effect = effect_of(turn.rule, turn.effect);
            format!("{effect} if {}; ", short(&conditions.join(" and ")))
        });
        let turns: String = turns.take(TURNS_SHOWN_MAX).collect();
        if turns.is_empty() {
            end
        } else {
            format!("{turns}otherwise {end}")
        }
    }
}

/// What fits into a line that people read.
const TURNS_SHOWN_MAX: usize = 8;

impl Turn<'_> {
    fn admits(&self) -> bool {
        match self.effect {
            Effect::Allow => true,
            Effect::Hold => !self.part,
            Effect::Deny => false,
        }
    }
}

fn effect_of(rule: &Rule, effect: Effect) -> String {
    let id = &rule.source.id;
    let message = rule.source.message.as_deref();
    let why = message.map_or_else(String::new, |message| format!(": {}", short(message)));
    match (effect, &rule.hold) {
        (Effect::Allow, _) => format!("allowed by policy rule {id}"),
        (Effect::Hold, Some(terms)) => format!(
            "after approval by {} (policy rule {id}{why})",
            short(&terms.approvers.in_words())
        ),
        (Effect::Hold, None) | (Effect::Deny, _) => format!("denied by policy rule {id}{why}"),
    }
}

#[cfg(test)]
mod tests;
