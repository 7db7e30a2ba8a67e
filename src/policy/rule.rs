//! A rule: as written ([`RuleSource`]), and compiled (`Rule`).

mod asked;
pub mod budget;
pub(super) mod check;
mod index;
mod matching;
pub mod role;
pub mod subjects;

use std::sync::Arc;

use super::condition::{self, Condition, ConditionSource, Held, Scope};
use super::hold::Hold;
use super::mask::{BUILTIN, FieldPath};
use super::matcher::{
    Globs, Reach, is_cluster_scoped, resource_matches, resource_touches, url_matches, url_touches,
};
use super::record::{RecordMode, RecordObligation};
use crate::identity::Identity;
use crate::request::RequestInfo;
pub(super) use asked::Asked;
pub(super) use index::Index;
pub(super) use matching::{Match, Matching};
pub use subjects::{ActingForSource, SubjectsSource};

use check::{
    check_audit, check_hold, check_lists, check_record, check_reveal, check_roles, check_shape,
    check_when,
};
use role::Roles;
use subjects::Subjects;

/// A rule as written in a policy file, before it is checked. An absent list is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSource {
    /// `POLICY/RULE`: what audit, refusals and explanations call it.
    pub id: String,
    /// `FILE:LINE` of the rule, for explanations.
    pub location: String,
    /// Whom it is about; `None` is everyone.
    pub subjects: Option<SubjectsSource>,
    /// Kubernetes verbs, or `*`.
    pub verbs: Vec<String>,
    /// API groups, `""` for the core group, or `*`.
    pub api_groups: Vec<String>,
    /// Plurals, with subresources as in RBAC.
    pub resources: Vec<String>,
    /// Globs over namespaces.
    pub namespaces: Vec<String>,
    /// Globs over object names.
    pub resource_names: Vec<String>,
    /// Paths that are not resources.
    pub non_resource_urls: Vec<String>,
    /// Globs over cluster names.
    pub clusters: Vec<String>,
    /// What else must hold for the rule to decide.
    pub when: Vec<ConditionSource>,
    /// Names of masks.
    pub mask: Vec<String>,
    /// Fields of single objects that may be seen unmasked, with a reason.
    pub reveal: Vec<FieldPath>,
    /// How the sessions that the rule matches are recorded.
    pub record: Option<RecordObligation>,
    /// Whether the masked answers to what the rule matches are kept, and whether they depend on that.
    pub responses: Option<RecordMode>,
    /// The requests that the rule matches are on the disk before they are carried out.
    pub strict_audit: bool,
    /// `allow`, `hold`, `deny`, or nothing: then the rule only adds its obligations.
    pub decision: Option<Effect>,
    /// The terms of `decision: hold`.
    pub hold: Option<Hold>,
    /// What a denied caller reads, and whoever waits for an approval, and who approves.
    pub message: Option<String>,
}

/// What a matching rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// The request goes on.
    Allow,
    /// The request goes on when somebody says yes.
    Hold,
    /// The request is refused.
    Deny,
}

/// What is wrong with a rule, and where in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// The key, `resources` or `subjects.groups`; empty for the rule as a whole.
    pub field: &'static str,
    /// Which item of the list.
    pub index: Option<usize>,
    /// The problem, as the rest of a sentence that starts with the field.
    pub message: String,
}

/// A compiled rule.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) id: Arc<str>,
    pub(super) source: RuleSource,
    /// The terms of a hold.
    pub(super) hold: Option<Arc<Hold>>,
    /// Indices into the policy's masks, as bits.
    pub(super) masks: u128,
    subjects: Option<Subjects>,
    namespaces: Option<Globs>,
    resource_names: Option<Globs>,
    clusters: Option<Globs>,
    /// Those that need least first.
    pub(super) conditions: Vec<Condition>,
}

/// The parts of a rule, in the order in which they are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Criterion {
    /// `clusters`
    Clusters,
    /// `subjects`
    Subjects,
    /// The rule is about resources and the request is not, or the other way round.
    Kind,
    /// `nonResourceURLs`
    NonResourceUrls,
    /// `apiGroups`
    ApiGroups,
    /// `resources`
    Resources,
    /// `verbs`
    Verbs,
    /// `namespaces`
    Namespaces,
    /// `resourceNames`
    ResourceNames,
}

impl Rule {
    pub(super) fn compile(
        source: RuleSource,
        masks: &[String],
        roles: &[String],
    ) -> Result<Self, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        check_lists(&source, &mut problems);
        check_shape(&source, &mut problems);
        check_record(&source, &mut problems);
        check_audit(&source, &mut problems);
        check_reveal(&source, &mut problems);
        check_hold(&source, &mut problems);
        check_when(&source, &mut problems);
        check_roles(&source, &mut problems);
        let conditions = conditions(&source.when, &mut problems);
        let mut bits = 0_u128;
        for (index, name) in source.mask.iter().enumerate() {
            // A built-in mask has a rule for each shape of its resources.
            let named = masks.iter().enumerate().filter(|(_, mask)| *mask == name);
            let rules = named.fold(0, |bits, (bit, _)| bits | 1 << bit);
            if rules == 0 {
                let builtin = BUILTIN.join("`, `");
                problems.push(item(
                    "mask",
                    index,
                    format!("{name:?} is neither built in (`{builtin}`) nor defined under `masks`"),
                ));
            }
            bits |= rules;
        }
        let subjects = source.subjects.as_ref();
        let subjects = subjects.map(|subjects| Subjects::compile(subjects, roles, &mut problems));
        let mut optional = |field, patterns: &[String]| {
            (!patterns.is_empty()).then(|| globs(field, patterns, &mut problems))
        };
        let namespaces = optional("namespaces", &source.namespaces);
        let resource_names = optional("resourceNames", &source.resource_names);
        let clusters = optional("clusters", &source.clusters);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            id: Arc::from(source.id.as_str()),
            hold: source.hold.clone().map(Arc::new),
            masks: bits,
            subjects,
            namespaces,
            resource_names,
            clusters,
            conditions,
            source,
        })
    }

    /// Whether what the rule has under `when` holds for a request that the rest of it matches.
    pub(super) fn holds(&self, scope: &Scope<'_>) -> Held {
        condition::all_hold(&self.conditions, scope)
    }

    fn covers_cluster(&self, cluster: &str) -> bool {
        self.clusters
            .as_ref()
            .is_none_or(|globs| globs.matches(cluster))
    }

    /// The first criterion that fails.
    pub(super) fn mismatch(&self, asked: &Asked<'_>, reach: Reach) -> Option<Criterion> {
        let source = &self.source;
        let info = asked.info;
        let failed = |holds: bool, criterion| (!holds).then_some(criterion);
        let overlaps = asked.review && reach == Reach::Touches;
        failed(self.covers_cluster(asked.cluster), Criterion::Clusters)
            .or_else(|| failed(self.is_about(asked), Criterion::Subjects))
            .or_else(|| failed(self.is_same_kind(info), Criterion::Kind))
            .or_else(|| {
                failed(
                    matches_any(&source.non_resource_urls, |url| {
                        url_matches(url, &info.path) || overlaps && url_touches(url, &info.path)
                    }),
                    Criterion::NonResourceUrls,
                )
            })
            .or_else(|| {
                failed(
                    matches_any(&source.api_groups, |group| {
                        group == "*"
                            || *group == info.api_group
                            || overlaps && info.api_group == "*"
                    }),
                    Criterion::ApiGroups,
                )
            })
            .or_else(|| {
                failed(
                    matches_any(&source.resources, |entry| {
                        resource_matches(entry, &info.resource, &info.subresource)
                            || overlaps
                                && resource_touches(entry, &info.resource, &info.subresource)
                    }),
                    Criterion::Resources,
                )
            })
            .or_else(|| failed(self.covers_verb(asked, reach), Criterion::Verbs))
            .or_else(|| failed(self.covers_namespace(asked, reach), Criterion::Namespaces))
            .or_else(|| failed(self.covers_name(info, reach), Criterion::ResourceNames))
    }

    /// Whether it says anything about this caller in this cluster.
    pub(super) fn concerns(&self, identity: &Identity, roles: Roles, cluster: &str) -> bool {
        self.source.decision.is_some()
            && self.covers_cluster(cluster)
            && self.includes(identity, roles)
    }

    /// The roles of which one is needed for it to be about anybody; none for most rules.
    pub(super) fn roles(&self) -> Roles {
        self.subjects.as_ref().map_or(0, |subjects| subjects.roles)
    }

    /// The object names that it names; `Err` where it has patterns as well.
    pub(super) fn names(&self) -> Result<Vec<&str>, Vec<&str>> {
        self.resource_names
            .as_ref()
            .map_or_else(|| Ok(Vec::new()), Globs::exact)
    }

    fn is_about(&self, asked: &Asked<'_>) -> bool {
        self.includes(asked.identity, asked.roles)
    }

    fn includes(&self, identity: &Identity, roles: Roles) -> bool {
        self.subjects
            .as_ref()
            .is_none_or(|subjects| subjects.include(identity, roles))
    }

    /// A rule with neither resources nor URLs is about both.
    fn is_same_kind(&self, info: &RequestInfo) -> bool {
        if info.is_resource_request {
            self.source.non_resource_urls.is_empty()
        } else {
            !self.source.names_resources()
        }
    }

    fn covers_verb(&self, asked: &Asked<'_>, reach: Reach) -> bool {
        let named =
            |wanted: &str| matches_any(&self.source.verbs, |verb| verb == "*" || verb == wanted);
        match (asked.also, reach) {
            (None, Reach::Touches) if asked.review && asked.verb == "*" => true,
            (None, _) => named(asked.verb),
            (Some(also), Reach::Contains) => named(asked.verb) && named(also),
            (Some(also), Reach::Touches) => named(asked.verb) || named(also),
        }
    }

    fn covers_namespace(&self, asked: &Asked<'_>, reach: Reach) -> bool {
        let Some(namespaces) = &self.namespaces else {
            return true;
        };
        let info = asked.info;
        if !info.namespace.is_empty() {
            return namespaces.matches(&info.namespace);
        }
        // Without a namespace: a cluster-scoped object, or all namespaces at once.
        let lists = matches!(asked.verb, "list" | "watch" | "deletecollection");
        // To rules a namespace lies in itself.
        let in_itself = asked.review && info.resource == "namespaces";
        let spans = (lists || asked.review)
            && (in_itself || !is_cluster_scoped(&info.api_group, &info.resource));
        spans && (reach == Reach::Touches || namespaces.matches_everything())
    }

    fn covers_name(&self, info: &RequestInfo, reach: Reach) -> bool {
        let Some(names) = &self.resource_names else {
            return true;
        };
        match info.object_name() {
            // A list, or a create whose name is in the body: any name at all.
            "" => reach == Reach::Touches,
            name => names.matches(name),
        }
    }
}

impl Effect {
    /// An `allow` must contain the whole request; a `deny` and a `hold` need only to be touched by it.
    pub(super) fn reach(self) -> Reach {
        match self {
            Self::Allow => Reach::Contains,
            Self::Deny | Self::Hold => Reach::Touches,
        }
    }
}

impl RuleSource {
    /// Whether any exec, attach or port-forward can match, of a pod or through a node.
    fn may_be_about_sessions(&self) -> bool {
        const SESSIONS: [(&str, &str); 4] = [
            ("pods", "exec"),
            ("pods", "attach"),
            ("pods", "portforward"),
            ("nodes", "proxy"),
        ];
        self.non_resource_urls.is_empty()
            && matches_any(&self.api_groups, |group| group == "*" || group.is_empty())
            && matches_any(&self.verbs, |verb| verb == "*" || verb == "create")
            && matches_any(&self.resources, |entry| {
                SESSIONS
                    .iter()
                    .any(|(resource, session)| resource_matches(entry, resource, session))
            })
    }

    fn names_resources(&self) -> bool {
        !(self.api_groups.is_empty()
            && self.resources.is_empty()
            && self.namespaces.is_empty()
            && self.resource_names.is_empty())
    }
}

fn matches_any(entries: &[String], matches: impl Fn(&String) -> bool) -> bool {
    entries.is_empty() || entries.iter().any(matches)
}

/// Compiles conditions, those that need least first.
fn conditions(sources: &[ConditionSource], problems: &mut Vec<RuleProblem>) -> Vec<Condition> {
    let mut compiled = Vec::with_capacity(sources.len());
    for (index, source) in sources.iter().enumerate() {
        match Condition::compile(source) {
            Ok(condition) => compiled.push(condition),
            Err(why) => problems.push(item("when", index, why)),
        }
    }
    condition::cheapest_first(&mut compiled);
    compiled
}

fn globs(field: &'static str, patterns: &[String], problems: &mut Vec<RuleProblem>) -> Globs {
    match Globs::compile(patterns) {
        Ok(globs) => globs,
        Err((index, why)) => {
            problems.push(item(field, index, why));
            Globs::default()
        }
    }
}

fn item(field: &'static str, index: usize, message: String) -> RuleProblem {
    RuleProblem {
        field,
        index: Some(index),
        message,
    }
}
