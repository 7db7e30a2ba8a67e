//! May they? `Allow(Permit)`, `Hold(Question)` or `Deny(Reason)`.
//!
//! Rules are read in order and the first one with a decision that matches decides; no match is a no.
//! A rule's obligations (masks, recording) count whenever the rule matches, wherever it stands: also behind the rule that
//! decided, and also on a rule that decides nothing.
//!
//! A request may touch more than one object (a list names no object, a list without `-n` spans every
//! namespace). An `allow` must contain all of it; a `deny` or a `mask` matches as soon as the request
//! may touch what it names. So adding a deny rule never widens access, and neither does a wider list. A `hold`
//! matches like a deny, and the rest of such a request has to be allowed by a later rule: so no hold can be
//! gone around with a wider request, and no yes admits what nobody would have been asked about.

pub mod cases;
pub mod condition;
pub mod explain;
pub mod hold;
pub mod mask;
pub mod matcher;
pub mod permit;
pub mod record;
pub mod reveal;
pub mod rule;

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use condition::{Seen, Wanted};
pub use hold::{Approvers, Hold};
pub use permit::{Inquiry, Permit, Question, Would};
pub use record::{Contents, RecordMode, RecordObligation};
pub use rule::budget::{Allowance, Limit, Measure};
pub use rule::role::{Askable, Help};

use crate::identity::Identity;
use crate::limits;
use crate::request::RequestInfo;
use condition::{Held, Scope};
use mask::{FieldPath, MaskPlan, MaskRule};
use permit::Mask;
use rule::budget::{Budget, BudgetSource};
use rule::role::{Role, RoleSource};
use rule::{Asked, Effect, Index, Match, Matching, Rule, RuleProblem, RuleSource};

/// The policy as written: every file's masks, budgets and rules, in order.
#[derive(Debug, Default)]
pub struct PolicySource {
    /// A digest of the files, in hexadecimal.
    pub version: String,
    /// The masks that the files define, beside those that are built in.
    pub masks: Vec<MaskRule>,
    /// The budgets.
    pub budgets: Vec<BudgetSource>,
    /// The roles.
    pub roles: Vec<RoleSource>,
    /// Whether it only observes: nothing is denied or held by it.
    pub observes: bool,
    /// The rules.
    pub rules: Vec<RuleSource>,
}

/// A part of a policy that has a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The rule of this index.
    Rule(usize),
    /// The budget of this index.
    Budget(usize),
    /// The role of this index.
    Role(usize),
}

/// A compiled policy; immutable, shared by every request that is decided under it.
#[derive(Debug)]
pub struct Policy {
    version: Arc<str>,
    masks: Vec<MaskRule>,
    rules: Vec<Rule>,
    index: Index,
    budgets: Vec<Budget>,
    /// At most 64: which of them somebody has is a number's bits.
    roles: Vec<Role>,
    observes: bool,
    /// Of whom no budget is about.
    unlimited: Arc<Allowance>,
    /// One plan per set of masks that was needed so far; reads take no lock.
    plans: ArcSwap<HashMap<u128, Arc<Mask>>>,
}

/// What the policy says to one request.
#[derive(Clone, Debug)]
pub enum Decision {
    /// It may go on, as the permit says.
    Allow(Permit),
    /// It may go on when somebody says yes.
    Hold(Question),
    /// It is refused.
    Deny(Reason),
    /// It depends on what was not shown yet. Asked again with that, the policy answers.
    Ask(Inquiry),
}

/// What the first rules that have something to say come to.
enum First<'p> {
    /// The rule, and the one that allows the rest where a hold is only about a part of the request.
    Decides(&'p Rule, Effect, Option<&'p Rule>),
    /// A condition of the rule takes something that was not shown.
    Wants(&'p Rule, Wanted),
    Refuses(Reason),
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The rule that refused it, as `POLICY/RULE`; `None` when no rule allowed it.
    pub rule: Option<String>,
    /// For the caller: what refused it, and what to do next. Fits behind Kubernetes' `is forbidden: `.
    pub message: String,
    /// The roles that the caller may ask for and that would help.
    pub roles: Vec<Help>,
}

impl Policy {
    /// Checks and compiles rules and budgets; every problem with where it is.
    pub fn compile(source: PolicySource) -> Result<Self, Vec<(Part, RuleProblem)>> {
        let masks: Vec<MaskRule> = mask::BUILTIN
            .into_iter()
            .flat_map(mask::builtin)
            .chain(source.masks)
            .take(limits::POLICY_MASKS_MAX)
            .collect();
        let names: Vec<String> = masks.iter().map(|mask| mask.name.clone()).collect();
        let named = source.roles.iter().take(limits::POLICY_ROLES_MAX);
        let named: Vec<String> = named.map(|role| role.name.clone()).collect();
        let mut problems = Vec::new();
        let rules = all(source.rules, Part::Rule, &mut problems, |rule| {
            Rule::compile(rule, &names, &named)
        });
        let budgets = all(source.budgets, Part::Budget, &mut problems, |budget| {
            Budget::compile(&budget)
        });
        let roles = all(source.roles, Part::Role, &mut problems, |role| {
            Role::compile(&role)
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            version: Arc::from(source.version),
            masks,
            index: Index::of(&rules),
            rules,
            budgets,
            roles,
            observes: source.observes,
            unlimited: Arc::default(),
            plans: ArcSwap::default(),
        })
    }

    /// The digest of the files this policy was read from.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The rules as they were written, in order.
    pub fn sources(&self) -> impl Iterator<Item = &RuleSource> {
        self.rules.iter().map(|rule| &rule.source)
    }

    /// How many rules there are.
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    /// How much a caller may do, whatever rule allows it.
    pub fn allowance(&self, identity: &Identity) -> Arc<Allowance> {
        if self.budgets.is_empty() || self.observes {
            return Arc::clone(&self.unlimited);
        }
        Arc::new(Allowance::of(&self.budgets, identity))
    }

    /// Whether any rule demands to mask known values.
    pub fn masks_known_values(&self) -> bool {
        let demanded = self.rules.iter().fold(0, |bits, rule| bits | rule.masks);
        let mut rules = self.rules_of(demanded).into_iter();
        rules.any(|rule| rule.texts.known_values)
    }

    /// Whether it only observes: what it would deny or hold goes on.
    pub fn observes(&self) -> bool {
        self.observes
    }

    /// Decides one request for one cluster, as far as that can be told from what it has shown. A policy that only
    /// observes lets everything go on, and the permit says what it would have decided; what is masked stays masked.
    pub fn decide(
        &self,
        identity: &Arc<Identity>,
        info: &RequestInfo,
        cluster: &str,
        seen: &Seen,
    ) -> Decision {
        let decision = self.enforced(identity, info, cluster, seen);
        // Nothing is revealed that would not be, or only after a yes.
        if !self.observes || info.reveal().is_some() {
            return decision;
        }
        match decision {
            Decision::Allow(permit) => Decision::Allow(permit),
            Decision::Hold(question) => Decision::Allow(question.observed()),
            Decision::Ask(inquiry) => Decision::Ask(inquiry.observing()),
            Decision::Deny(reason) => {
                let asked = Asked::new(identity, info, cluster).holding(self.held(identity, seen));
                let rule = Arc::from(reason.rule.as_deref().unwrap_or(NO_RULE));
                let permit = self.permit((identity, &self.matching(&asked)), rule, None, seen);
                Decision::Allow(permit.observed(Would::Deny(reason)))
            }
        }
    }

    /// A permit by this rule, with what all rules oblige to.
    fn permit(
        &self,
        (identity, matching): (&Arc<Identity>, &Matching<'_, '_>),
        rule: Arc<str>,
        revealed: Option<Arc<FieldPath>>,
        seen: &Seen,
    ) -> Permit {
        Permit::new(
            Arc::clone(identity),
            rule,
            Arc::from(matching.asked.cluster),
            Arc::clone(&self.version),
            self.mask(matching, revealed),
            matching.record(),
        )
        .keeping_responses(matching.responses())
        .audited_strictly(matching.strict_audit())
        .in_view_of(seen)
    }

    /// What is decided when nobody only observes.
    fn enforced(
        &self,
        identity: &Arc<Identity>,
        info: &RequestInfo,
        cluster: &str,
        seen: &Seen,
    ) -> Decision {
        let asked = Asked::new(identity, info, cluster).holding(self.held(identity, seen));
        let matching = self.matching(&asked);
        let scope = Scope::new(&asked, seen);
        let permit = |rule: &Rule, revealed| {
            self.permit((identity, &matching), Arc::clone(&rule.id), revealed, seen)
        };
        let helped = |reason| Decision::Deny(self.helped(reason, &asked, seen));
        let (rule, effect, rest) = match first(&matching, &scope) {
            First::Decides(rule, effect, rest) => (rule, effect, rest),
            First::Wants(rule, wanted) => {
                return Decision::Ask(Inquiry::new(wanted, permit(rule, None)));
            }
            First::Refuses(reason) => return helped(reason),
        };
        let permit = |revealed| {
            let rules = std::iter::once(rule).chain(rest);
            permit(rule, revealed).by(self.granting(rules, &asked, seen))
        };
        let revealed = match matching.revealed(rule) {
            Ok(revealed) => revealed,
            Err(reason) if effect != Effect::Deny => return Decision::Deny(reason),
            Err(_) => None,
        };
        match (effect, &rule.hold) {
            (Effect::Allow, _) => Decision::Allow(permit(revealed)),
            (Effect::Hold, Some(terms)) => {
                let message = condition::explain::because(rule, &scope).map(Arc::from);
                let permit = permit(revealed);
                Decision::Hold(Question::new(permit, Arc::clone(terms), message))
            }
            (Effect::Hold, None) | (Effect::Deny, _) => {
                helped(Reason::of(Some(rule), explain::denied_by(rule, &scope)))
            }
        }
    }

    /// The same reason, with the roles that the caller may ask for.
    fn helped(&self, reason: Reason, asked: &Asked<'_>, seen: &Seen) -> Reason {
        Reason {
            roles: self.helping(asked, seen),
            ..reason
        }
    }

    /// The rules that match a request.
    fn matching<'p, 'a>(&'p self, asked: &'a Asked<'a>) -> Matching<'p, 'a> {
        let candidates = self.index.candidates(asked);
        let rules = candidates.filter_map(|number| self.rules.get(number));
        Matching::among(rules, asked)
    }

    /// The masks for the resource of a request.
    fn mask(
        &self,
        matching: &Matching<'_, '_>,
        revealed: Option<Arc<FieldPath>>,
    ) -> Option<Arc<Mask>> {
        let applying = self.applying(matching);
        if applying == 0 {
            return None;
        }
        let mask = self.plan(applying);
        let Some(field) = revealed else {
            return Some(mask);
        };
        let plan = MaskPlan::revealing(&self.rules_of(applying), Some(&field));
        Some(Arc::new(Mask {
            plan: Arc::new(plan),
            revealed: Some(field),
            ..Mask::clone(&mask)
        }))
    }

    /// The rules of masks that apply to a request, as bits.
    fn applying(&self, matching: &Matching<'_, '_>) -> u128 {
        let info = matching.asked.info;
        if !info.is_resource_request {
            return 0;
        }
        let resource = info.qualified_resource();
        let demanded = matching.masks();
        self.masks
            .iter()
            .enumerate()
            .filter(|(bit, mask)| {
                demanded & (1 << bit) != 0 && mask.applies_to(&info.api_group, &resource)
            })
            .fold(0, |bits, (bit, _)| bits | 1 << bit)
    }

    /// Everything that any mask of the policy hides in this resource, for readers of whom nothing is known.
    pub fn strictest(&self, info: &RequestInfo) -> Arc<MaskPlan> {
        let resource = info.qualified_resource();
        let masks = self.masks.iter().enumerate();
        let applying = masks
            .filter(|(_, mask)| mask.applies_to(&info.api_group, &resource))
            .fold(0, |bits, (bit, _)| bits | 1 << bit);
        Arc::clone(&self.plan(applying).plan)
    }

    /// What is hidden from the answer to a request.
    fn fields_of(&self, matching: &Matching<'_, '_>) -> Vec<String> {
        let rules = self.rules_of(self.applying(matching));
        rules.into_iter().flat_map(MaskRule::describe).collect()
    }

    fn rules_of(&self, masks: u128) -> Vec<&MaskRule> {
        self.masks
            .iter()
            .enumerate()
            .filter(|(bit, _)| masks & (1 << bit) != 0)
            .map(|(_, rule)| rule)
            .collect()
    }

    fn plan(&self, masks: u128) -> Arc<Mask> {
        if let Some(mask) = self.plans.load().get(&masks) {
            return Arc::clone(mask);
        }
        let rules = self.rules_of(masks);
        let mut names: Vec<String> = rules.iter().map(|rule| rule.name.clone()).collect();
        names.dedup();
        let mask = Arc::new(Mask {
            plan: Arc::new(MaskPlan::compile(&rules)),
            names: names.into(),
            certain: certain(&rules),
            quotable: rules.iter().any(|rule| rule.is_quotable()),
            revealed: None,
        });
        // The sets that occur are few: rules make them, callers only choose among them.
        if self.plans.load().len() < limits::POLICY_MASK_PLANS_MAX {
            self.plans.rcu(|plans| {
                let mut plans = HashMap::clone(plans);
                plans.insert(masks, Arc::clone(&mask));
                plans
            });
        }
        mask
    }
}

/// What a permit has in the place of its rule when none allowed it and the policy only observes.
const NO_RULE: &str = "(none)";

impl Reason {
    fn of(rule: Option<&Rule>, message: String) -> Self {
        Self {
            rule: rule.map(|rule| rule.source.id.clone()),
            message,
            roles: Vec::new(),
        }
    }
}

/// The rule that decides. A hold that the request only touches decides if a later rule allows the rest.
fn first<'p>(matching: &Matching<'p, '_>, scope: &Scope<'_>) -> First<'p> {
    let asked = scope.asked;
    let mut touched: Option<&Rule> = None;
    let mut rules = matching.rules.iter();
    while let Some(found) = rules.next() {
        let rule = found.rule;
        let Some(effect) = found.decides(asked) else {
            continue;
        };
        match rule.holds(scope) {
            Held::Yes => {}
            Held::No => continue,
            Held::Failed(condition, why) => {
                let message = condition::explain::unclear(rule, &condition, &why);
                return First::Refuses(Reason::of(Some(rule), message));
            }
            Held::Wants(wanted) => {
                // Nobody is shown anything, nor asked for anything, where the answer is no anyway.
                let may_admit = |found: &Match<'_>| {
                    matches!(found.decides(asked), Some(Effect::Allow | Effect::Hold))
                };
                if effect != Effect::Deny || rules.any(may_admit) {
                    return First::Wants(rule, wanted);
                }
                break;
            }
        }
        match (effect, touched) {
            (Effect::Hold, Some(first)) => {
                let message = explain::held_twice(first, rule, asked);
                return First::Refuses(Reason::of(Some(rule), message));
            }
            (Effect::Hold, None) if !found.contains() => {
                touched = Some(rule);
            }
            (Effect::Allow, Some(first)) => {
                return First::Decides(first, Effect::Hold, Some(rule));
            }
            (effect, _) => return First::Decides(rule, effect, None),
        }
    }
    First::Refuses(Reason::of(None, explain::denied_by_default(asked)))
}

/// Compiles all parts of a kind; every problem goes to the others, with the part that has it.
fn all<S, T>(
    sources: Vec<S>,
    part: fn(usize) -> Part,
    problems: &mut Vec<(Part, RuleProblem)>,
    compile: impl Fn(S) -> Result<T, Vec<RuleProblem>>,
) -> Vec<T> {
    let mut compiled = Vec::with_capacity(sources.len());
    for (index, source) in sources.into_iter().enumerate() {
        match compile(source) {
            Ok(one) => compiled.push(one),
            Err(found) => problems.extend(found.into_iter().map(|one| (part(index), one))),
        }
    }
    compiled
}

/// The names of the masks that hide something whatever it is called or holds.
fn certain(rules: &[&MaskRule]) -> Arc<[String]> {
    let certain = rules.iter().filter(|rule| rule.is_certain());
    let mut names: Vec<String> = certain.map(|rule| rule.name.clone()).collect();
    names.dedup();
    names.into()
}

#[cfg(test)]
mod tests;
