//! `kubectl auth can-i --list`: the cluster's rules, cut down to what the policy lets through.
//!
//! Rules of RBAC only add, and those of a policy also take away and ask. What `*` stands for is therefore spelled out
//! where the policy does not let all of it through: with the resources that Kubernetes has by itself and those that a
//! rule names. What cannot be said in this way is left out, and `evaluationError` says so; what is listed is true.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Access, builtin};
use crate::identity::Identity;
use crate::limits;
use crate::policy::Policy;
use crate::policy::condition::{Scope, Seen};
use crate::policy::matcher::{resource_matches, url_matches};
use crate::policy::rule::check::{RESOURCE_VERBS, URL_VERBS};
use crate::policy::rule::role::Roles;
use crate::policy::rule::{Asked, Rule};

/// The status of a `SelfSubjectRulesReview`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RulesStatus {
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<NonResourceRule>,
    incomplete: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    evaluation_error: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    resource_names: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct NonResourceRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
}

/// A name that nothing has, and stands for everything that nobody names.
const OTHER: &str = "~";

/// Something that the list cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    Others,
    Names,
    Conditions,
    TooMuch,
    Observes,
}

impl Gap {
    fn in_words(self) -> &'static str {
        match self {
            Self::Others => {
                "resources that neither Kubernetes itself nor a rule names are not listed"
            }
            Self::Names => "objects that policy rules take out or name by patterns are not listed",
            Self::Conditions => {
                "some of it depends on an approval or on the request: ask with kubectl auth can-i VERB RESOURCE"
            }
            Self::Observes => {
                "the policy only observes (mode: observe): what it would deny or hold is listed"
            }
            Self::TooMuch => "there are more rules than are looked at for one list",
        }
    }
}

impl Policy {
    /// What of the cluster's rules for a namespace the policy lets through.
    pub fn narrow(
        &self,
        identity: &Identity,
        cluster: &str,
        namespace: &str,
        (rules, seen): (&RulesStatus, &Seen),
    ) -> RulesStatus {
        let mut narrowing = Narrowing {
            roles: self.held(identity, seen),
            policy: self,
            identity,
            cluster,
            namespace,
            questions: limits::REVIEW_QUESTIONS_MAX,
            gaps: BTreeSet::new(),
        };
        let resource_rules = narrowing.resources(&rules.resource_rules);
        let non_resource_rules = narrowing.paths(&rules.non_resource_rules);
        let own = rules.evaluation_error.clone();
        let gaps = narrowing.gaps.iter().map(|gap| gap.in_words().to_owned());
        let said: Vec<String> = gaps
            .chain(Some(own).filter(|own| !own.is_empty()))
            .collect();
        RulesStatus {
            resource_rules,
            non_resource_rules,
            incomplete: rules.incomplete || !narrowing.gaps.is_empty(),
            evaluation_error: said.join("; "),
        }
    }
}

struct Narrowing<'a> {
    policy: &'a Policy,
    identity: &'a Identity,
    roles: Roles,
    cluster: &'a str,
    namespace: &'a str,
    /// How many may still be asked.
    questions: usize,
    gaps: BTreeSet<Gap>,
}

/// One line of the list before lines are put together.
struct Entry {
    group: String,
    resource: String,
    name: String,
    verbs: Vec<String>,
}

impl Entry {
    /// Whether it says already what another line would say.
    fn covers(&self, group: &str, resource: &str, name: &str, verb: &str) -> bool {
        (self.group == "*" || self.group == group)
            && rbac_matches(&self.resource, resource)
            && (self.name.is_empty() || self.name == name)
            && self.verbs.iter().any(|has| has == "*" || has == verb)
    }
}

impl Narrowing<'_> {
    fn resources(&mut self, rules: &[ResourceRule]) -> Vec<ResourceRule> {
        let mut verbs: Vec<&str> = vec!["*"];
        verbs.extend(RESOURCE_VERBS);
        let named = rules.iter().flat_map(|rule| &rule.verbs);
        let others: BTreeSet<&str> = named
            .map(String::as_str)
            .filter(|verb| !verbs.contains(verb))
            .collect();
        verbs.extend(others);
        let mut entries: Vec<Entry> = Vec::new();
        for (group, resource) in self.pairs(rules) {
            for name in self.names(rules, &group, &resource) {
                let mut allowed: Vec<String> = Vec::new();
                for verb in &verbs {
                    let given = rules
                        .iter()
                        .any(|rule| rule.covers(&group, &resource, &name, verb));
                    let listed = allowed.iter().any(|has| has == "*")
                        || entries
                            .iter()
                            .any(|entry| entry.covers(&group, &resource, &name, verb));
                    if given && !listed && self.allows(&group, &resource, &name, verb) {
                        allowed.push((*verb).to_owned());
                    }
                }
                if allowed.is_empty() {
                    continue;
                }
                if name == OTHER {
                    self.gaps.insert(Gap::Names);
                } else if resource == OTHER {
                    self.gaps.insert(Gap::Others);
                } else {
                    entries.push(Entry {
                        group: group.clone(),
                        resource: resource.clone(),
                        name,
                        verbs: allowed,
                    });
                }
            }
        }
        together(entries)
    }

    fn allows(&mut self, group: &str, resource: &str, name: &str, verb: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let namespace = self.namespace;
        let access = Access::resource(
            verb,
            (group, ""),
            (resource, subresource),
            (namespace, name),
        );
        self.ask(&access)
    }

    fn ask(&mut self, access: &Access) -> bool {
        if !access.is_of_requests() {
            return access.info.verb != "impersonate";
        }
        if self.policy.observes {
            self.gaps.insert(Gap::Observes);
            return true;
        }
        let Some(left) = self.questions.checked_sub(1) else {
            self.gaps.insert(Gap::TooMuch);
            return false;
        };
        self.questions = left;
        let asked = Asked::reviewed(self.identity, &access.info, self.cluster).holding(self.roles);
        let seen = Seen::default();
        let way = self.policy.follow(&Scope::new(&asked, &seen));
        if way.depends() {
            self.gaps.insert(Gap::Conditions);
        }
        way.admits()
    }

    /// Which resources are looked at, those that stand for most first.
    fn pairs(&self, rules: &[ResourceRule]) -> Vec<(String, String)> {
        let mut pairs: BTreeSet<(String, String)> = builtin::pairs()
            .map(|(group, resource)| (group.to_owned(), resource.to_owned()))
            .collect();
        for rule in rules {
            let each = product(&rule.api_groups, &rule.resources);
            pairs.extend(each);
        }
        for rule in self.rules() {
            let any = ["*".to_owned()];
            let source = &rule.source;
            let groups = match source.api_groups.as_slice() {
                [] => &any,
                groups => groups,
            };
            // RBAC has no word for every subresource of one resource.
            let resources: Vec<String> = source
                .resources
                .iter()
                .filter(|resource| !resource.ends_with("/*"))
                .cloned()
                .collect();
            // A rule for two groups means those resources of each that it has.
            let in_one = |resource: &String| {
                let mut builtin = groups.iter();
                builtin.any(|group| builtin::has(group, resource))
            };
            pairs.extend(product(groups, &resources).filter(|(group, resource)| {
                !builtin::serves(group) || builtin::has(group, resource) || !in_one(resource)
            }));
        }
        let groups: BTreeSet<String> = pairs.iter().map(|(group, _)| group.clone()).collect();
        for group in groups.iter().map(String::as_str).chain(["*", OTHER]) {
            pairs.insert((group.to_owned(), "*".to_owned()));
            pairs.insert((group.to_owned(), OTHER.to_owned()));
        }
        pairs.remove(&(OTHER.to_owned(), "*".to_owned()));
        pairs.remove(&("*".to_owned(), OTHER.to_owned()));
        let mut pairs: Vec<(String, String)> = pairs.into_iter().collect();
        pairs.sort_by_key(|(group, resource)| {
            (resource != "*", group != "*", !resource.starts_with("*/"))
        });
        pairs
    }

    /// Which names are looked at: all of them at once, then those that a rule names, then any other.
    fn names(&self, rules: &[ResourceRule], group: &str, resource: &str) -> Vec<String> {
        let mut names = BTreeSet::new();
        for rule in rules {
            if rule.is_about(group, resource) {
                names.extend(rule.resource_names.iter().cloned());
            }
        }
        let (plain, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let mut takes_names = false;
        for rule in self.rules() {
            let source = &rule.source;
            let fits = |entries: &[String], fits: &dyn Fn(&String) -> bool| {
                entries.is_empty() || entries.iter().any(fits)
            };
            if source.resource_names.is_empty()
                || !fits(&source.api_groups, &|it| it == "*" || it == group)
                || !fits(&source.resources, &|it| resource_matches(it, plain, sub))
            {
                continue;
            }
            takes_names = true;
            match rule.names() {
                Ok(exact) | Err(exact) => names.extend(exact.into_iter().map(str::to_owned)),
            }
        }
        let other = takes_names.then(|| OTHER.to_owned());
        let all = std::iter::once(String::new());
        all.chain(names).chain(other).collect()
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        let rules = self.policy.rules.iter();
        rules.filter(|rule| rule.concerns(self.identity, self.roles, self.cluster))
    }

    fn paths(&mut self, rules: &[NonResourceRule]) -> Vec<NonResourceRule> {
        let mut urls: BTreeSet<String> = rules
            .iter()
            .flat_map(|rule| rule.non_resource_urls.iter().cloned())
            .collect();
        urls.extend(
            self.rules()
                .flat_map(|rule| rule.source.non_resource_urls.iter().cloned()),
        );
        let mut urls: Vec<String> = urls.into_iter().collect();
        urls.sort_by_key(|url| (!url.ends_with('*'), url.len()));
        let mut verbs = vec!["*"];
        verbs.extend(URL_VERBS);
        let mut entries: Vec<(String, Vec<String>)> = Vec::new();
        for url in urls {
            let mut allowed: Vec<String> = Vec::new();
            for verb in &verbs {
                let says = |has: &String| has == "*" || has == verb;
                let given = rules.iter().any(|rule| {
                    rule.verbs.iter().any(says)
                        && rule
                            .non_resource_urls
                            .iter()
                            .any(|it| url_matches(it, &url))
                });
                let listed = allowed.iter().any(says)
                    || entries
                        .iter()
                        .any(|(entry, verbs)| url_matches(entry, &url) && verbs.iter().any(says));
                if given && !listed && self.ask(&Access::path(verb, &url)) {
                    allowed.push((*verb).to_owned());
                }
            }
            if !allowed.is_empty() {
                entries.push((url, allowed));
            }
        }
        let mut by_verbs: BTreeMap<Vec<String>, Vec<String>> = BTreeMap::new();
        for (url, verbs) in entries {
            by_verbs.entry(verbs).or_default().push(url);
        }
        let rules = by_verbs.into_iter().map(|(verbs, mut urls)| {
            urls.sort();
            NonResourceRule {
                verbs,
                non_resource_urls: urls,
            }
        });
        rules.collect()
    }
}

impl ResourceRule {
    fn covers(&self, group: &str, resource: &str, name: &str, verb: &str) -> bool {
        // Of `bind`, `use` and the like only those are listed that a rule names.
        let ordinary = verb == "*" || RESOURCE_VERBS.contains(&verb);
        self.is_about(group, resource)
            && self
                .verbs
                .iter()
                .any(|has| has == verb || has == "*" && ordinary)
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|it| it == name))
    }

    fn is_about(&self, group: &str, resource: &str) -> bool {
        self.api_groups.iter().any(|it| it == "*" || it == group)
            && self.resources.iter().any(|it| rbac_matches(it, resource))
    }
}

/// Whether a resource of a rule of RBAC covers another one.
fn rbac_matches(rule: &str, resource: &str) -> bool {
    let subresource = rule.strip_prefix("*/");
    rule == "*"
        || rule == resource
        || subresource.is_some_and(|sub| {
            resource
                .split_once('/')
                .is_some_and(|(_, asked)| asked == sub)
        })
}

fn product<'a>(
    groups: &'a [String],
    resources: &'a [String],
) -> impl Iterator<Item = (String, String)> {
    groups.iter().flat_map(move |group| {
        resources
            .iter()
            .map(move |resource| (group.clone(), resource.clone()))
    })
}

/// Puts together what has the same group, name and verbs.
fn together(entries: Vec<Entry>) -> Vec<ResourceRule> {
    let mut rules: Vec<ResourceRule> = Vec::new();
    let mut places: BTreeMap<(String, String, Vec<String>), usize> = BTreeMap::new();
    for entry in entries {
        let key = (entry.group.clone(), entry.name.clone(), entry.verbs.clone());
        if let Some(rule) = places.get(&key).and_then(|place| rules.get_mut(*place)) {
            rule.resources.push(entry.resource);
            continue;
        }
        places.insert(key, rules.len());
        rules.push(ResourceRule {
            verbs: entry.verbs,
            api_groups: vec![entry.group],
            resources: vec![entry.resource],
            resource_names: Some(entry.name)
                .filter(|name| !name.is_empty())
                .into_iter()
                .collect(),
        });
    }
    rules
}
