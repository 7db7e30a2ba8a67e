//! What the index finds is what comparing every rule finds, and means what it meant one rule at a time.

use http::Method;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::check::RESOURCE_VERBS;
use super::super::{
    ActingForSource, Criterion, Effect, Matching, RecordMode, RecordObligation, RuleProblem,
    RuleSource,
};
use super::*;
use crate::identity::Identity;
use crate::policy::condition::{ConditionSource, Held, Scope, Seen};
use crate::policy::mask::FieldPath;
use crate::policy::tests::strings;
use crate::policy::{First, Hold, first};
use crate::request::RequestInfo;

const MASKS: [&str; 2] = ["one", "two"];
const ROLES: [&str; 3] = ["debug", "clean-up", "other"];
/// Few names with many beginnings in common, so that rules and requests meet.
const NAMES: [&str; 7] = ["d", "dev", "dev-", "dev-a", "dev-ab", "prod", "zebra"];
const GLOBS: [&str; 15] = [
    "*",
    "d*",
    "dev",
    "dev-",
    "dev-a",
    "dev-*",
    "dev-a*",
    "dev?",
    "dev[-]*",
    "*-a",
    "[!p]*",
    "{dev,prod}",
    "prod",
    "prod*",
    r"dev\-a",
];
const GROUPS: [&str; 4] = ["", "*", "apps", "example.com"];
const RESOURCES: [&str; 12] = [
    "*",
    "*/exec",
    "*/scale",
    "deployments",
    "namespaces",
    "nodes",
    "nodes/proxy",
    "pods",
    "pods/*",
    "pods/exec",
    "pods/log",
    "services/proxy",
];
const URLS: [&str; 7] = [
    "*",
    "/",
    "/api",
    "/api/*",
    "/healthz*",
    "/openapi/v3*",
    "/version",
];
/// They hold, do not, want to see something, or cannot be told.
const CONDITIONS: [&str; 5] = [
    "request.name.startsWith('dev')",
    "caller.username == 'zebra'",
    "object.spec.replicas == 1",
    "oldObject.metadata.name == 'dev'",
    "request.name.matches(request.namespace + '(')",
];

fn some(of: &[&'static str], most: usize) -> impl Strategy<Value = Vec<String>> + use<> {
    subsequence(of.to_vec(), 0..=most).prop_map(|texts| strings(&texts))
}

fn some_subjects() -> impl Strategy<Value = Option<SubjectsSource>> {
    let people = || (some(&GLOBS, 2), some(&GLOBS, 2));
    let named = (people(), some(&GLOBS, 2), prop::option::of(people()));
    let named = named.prop_map(|((users, groups), agents, acting_for)| SubjectsSource {
        users,
        groups,
        acting_for: acting_for
            .filter(|(users, groups)| !agents.is_empty() && users.len() + groups.len() > 0)
            .map(|(users, groups)| ActingForSource { users, groups }),
        agents,
        roles: Vec::new(),
    });
    let roles = some(&ROLES, 2).prop_map(|roles| SubjectsSource {
        roles,
        ..SubjectsSource::default()
    });
    prop_oneof![
        1 => Just(None),
        3 => named.prop_map(Some),
        1 => roles.prop_map(Some),
    ]
    .prop_map(|subjects| subjects.filter(|subjects| *subjects != SubjectsSource::default()))
}

/// A rule with a decision and nothing else.
fn some_decision() -> impl Strategy<Value = RuleSource> {
    let effect = select(vec![Effect::Allow, Effect::Hold, Effect::Deny]);
    let lists = (
        some(&[&["*"], RESOURCE_VERBS].concat(), 3),
        some(&GROUPS, 2),
        some(&RESOURCES, 3),
        some(&GLOBS, 2),
        some(&GLOBS, 2),
        some(&URLS, 2),
        some(&GLOBS, 1),
    );
    (effect, some_subjects(), lists).prop_map(|(effect, subjects, lists)| {
        let (verbs, api_groups, resources, namespaces, resource_names, urls, clusters) = lists;
        let anything = |list: Vec<String>| match effect {
            Effect::Allow | Effect::Hold if list.is_empty() => strings(&["*"]),
            _ => list,
        };
        // A role gives something.
        let gives = effect != Effect::Deny;
        let base = RuleSource {
            subjects: subjects.filter(|subjects| gives || subjects.roles.is_empty()),
            clusters,
            hold: (effect == Effect::Hold).then(|| Hold::by_one_of(&["sre"])),
            decision: Some(effect),
            ..RuleSource::default()
        };
        if !urls.is_empty() && verbs.len() < 2 {
            return RuleSource {
                verbs: strings(&["*"]),
                non_resource_urls: urls,
                ..base
            };
        }
        RuleSource {
            verbs: anything(verbs),
            api_groups: anything(api_groups),
            resources: anything(resources),
            namespaces,
            resource_names,
            ..base
        }
    })
}

fn compile(source: &RuleSource) -> Result<Rule, Vec<RuleProblem>> {
    Rule::compile(source.clone(), &strings(&MASKS), &strings(&ROLES))
}

/// With what a rule may oblige to or depend on, as far as the rule may have it.
fn some_rule() -> impl Strategy<Value = RuleSource> {
    let when = prop::option::weighted(0.3, select(&CONDITIONS[..]));
    let obliges = any::<[bool; 6]>();
    (some_decision(), when, some(&MASKS, 2), obliges).prop_map(|(rule, when, mask, obliges)| {
        let [records, keeps, audits, reveals, decides_nothing, requires] = obliges;
        let mode = [RecordMode::BestEffort, RecordMode::Required][usize::from(requires)];
        let with = |rule: RuleSource, wanted: bool, change: &dyn Fn(&mut RuleSource)| {
            let mut changed = rule.clone();
            change(&mut changed);
            if wanted && compile(&changed).is_ok() {
                changed
            } else {
                rule
            }
        };
        let rule = with(rule, when.is_some(), &|rule| {
            rule.when = vec![ConditionSource {
                name: "condition".to_owned(),
                expression: when.map(str::to_owned),
                ..ConditionSource::default()
            }];
        });
        let rule = with(rule, true, &|rule| rule.mask.clone_from(&mask));
        let rule = with(rule, records, &|rule| {
            rule.record = Some(RecordObligation::new(mode));
        });
        let rule = with(rule, keeps, &|rule| rule.responses = Some(mode));
        let rule = with(rule, audits, &|rule| rule.strict_audit = true);
        let rule = with(rule, reveals, &|rule| {
            rule.reveal = vec!["data.x".parse().unwrap()];
        });
        with(rule, decides_nothing, &|rule| {
            rule.decision = None;
            rule.hold = None;
        })
    })
}

/// So many rules about nobody stand between the others that they are in several words.
fn some_rules() -> impl Strategy<Value = Vec<Rule>> {
    let others = select(vec![0_usize, 1, 25]);
    (prop::collection::vec(some_rule(), 1..12), others).prop_map(|(rules, others)| {
        let about_nobody = RuleSource {
            subjects: Some(SubjectsSource {
                users: strings(&["nobody"]),
                ..SubjectsSource::default()
            }),
            decision: Some(Effect::Deny),
            ..RuleSource::default()
        };
        let others = || std::iter::repeat_n(about_nobody.clone(), others);
        let all = rules.into_iter().flat_map(|rule| others().chain([rule]));
        let named = all.enumerate().map(|(number, rule)| RuleSource {
            id: format!("test/{number}"),
            ..rule
        });
        named.map(|rule| compile(&rule).unwrap()).collect()
    })
}

fn some_request() -> impl Strategy<Value = RequestInfo> {
    let name = || select(&NAMES[..]);
    let resource = prop_oneof![
        Just("/api/v1/pods"),
        Just("/api/v1/pods"),
        Just("/api/v1/namespaces"),
        Just("/api/v1/nodes"),
        Just("/apis/apps/v1/deployments"),
        Just("/apis/example.com/v1/pods"),
    ];
    let tail = select(vec!["", "/exec", "/log", "/scale", "/status"]);
    let inside = (
        resource,
        prop::option::of(name()),
        prop::option::of(name()),
        tail,
    );
    let inside = inside.prop_map(|(resource, namespace, name, tail)| {
        let (group, plural) = resource.rsplit_once('/').unwrap();
        let namespace = namespace.map_or_else(String::new, |name| format!("/namespaces/{name}"));
        let object = name.map_or_else(String::new, |name| format!("/{name}{tail}"));
        format!("{group}{namespace}/{plural}{object}")
    });
    let behind = select(vec![
        "exec/dev/dev-a/app",
        "x/../run/dev/web/main",
        "metrics",
    ]);
    let node = (name(), behind);
    let node = node.prop_map(|(name, behind)| format!("/api/v1/nodes/{name}/proxy/{behind}"));
    let service = (name(), name()).prop_map(|(namespace, name)| {
        format!("/api/v1/namespaces/{namespace}/services/https:{name}:443/proxy/x")
    });
    let url = select(vec![
        "/",
        "/api",
        "/api/v1",
        "/healthz/etcd",
        "/metrics",
        "/openapi/v3/apis",
        "/version",
    ]);
    let path = prop_oneof![
        6 => inside,
        1 => node,
        1 => service,
        1 => url.prop_map(str::to_owned),
    ];
    let query = select(vec![
        "",
        "",
        "?watch=1",
        "?fieldSelector=metadata.name=dev-a",
        "?command=id",
        "?portcullis.dev/reveal=data.x&portcullis.dev/reason=INC-42",
    ]);
    let method = select(vec!["GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]);
    (method, path, query).prop_filter_map("is malformed", |(method, path, query)| {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        RequestInfo::parse(&method, &format!("{path}{query}")).ok()
    })
}

fn somebody() -> impl Strategy<Value = Identity> {
    let agent = prop::option::of(select(&NAMES[..]));
    let groups = subsequence(&NAMES[..], 0..=5);
    (select(&NAMES[..]), groups, agent).prop_map(|(name, groups, agent)| {
        let human = Identity::for_tests(name, &groups);
        match agent {
            Some(agent) => human.with_agent(agent, &[]),
            None => human,
        }
    })
}

/// Rules as they are written down: each is compared, each time that something is to be known.
struct Plainly<'r, 'a>(&'r [Rule], &'a Asked<'a>);

impl<'r> Plainly<'r, '_> {
    fn is(&self, rule: &Rule, reach: Reach) -> bool {
        rule.mismatch(self.1, reach).is_none()
    }

    fn is_by_node(&self, rule: &Rule) -> bool {
        let elsewhere = [Criterion::Clusters, Criterion::Subjects];
        let mismatch = rule.mismatch(self.1, Reach::Touches);
        self.1.info.may_be_kubelet_session()
            && mismatch.is_none_or(|criterion| !elsewhere.contains(&criterion))
    }

    fn is_touched(&self, rule: &Rule) -> bool {
        self.is(rule, Reach::Touches) || self.is_by_node(rule)
    }

    fn decides(&self, rule: &Rule) -> Option<Effect> {
        let effect = rule.source.decision?;
        let about_revealing = effect == Effect::Hold && !rule.source.reveal.is_empty();
        let applies = !about_revealing || self.1.info.reveal().is_some();
        (applies && self.is(rule, effect.reach())).then_some(effect)
    }

    fn masks(&self) -> u128 {
        let rules = self.0.iter().filter(|rule| self.is(rule, Reach::Touches));
        rules.fold(0, |masks, rule| masks | rule.masks)
    }

    fn record(&self) -> Option<RecordObligation> {
        let session = self.1.info.session();
        let in_pod = session.is_some_and(|session| session.node.is_none());
        let rules = self.0.iter().filter(|rule| {
            if in_pod {
                self.is(rule, Reach::Touches)
            } else {
                self.is_by_node(rule)
            }
        });
        let records = rules.filter_map(|rule| rule.source.record);
        records.reduce(RecordObligation::and)
    }

    fn responses(&self) -> Option<RecordMode> {
        let rules = self.0.iter().filter(|rule| self.is_touched(rule));
        rules.filter_map(|rule| rule.source.responses).max()
    }

    fn strict_audit(&self) -> bool {
        let mut rules = self.0.iter().filter(|rule| self.is_touched(rule));
        rules.any(|rule| rule.source.strict_audit)
    }

    fn reveals(&self) -> Vec<(&'r str, &'r FieldPath)> {
        let rules = self.0.iter().filter(|rule| {
            let identity = self.1.identity;
            let subjects = rule.subjects.as_ref();
            let named = subjects.is_some_and(|subjects| subjects.name_agent(identity));
            let is_for = identity.agent().is_none() || named;
            self.1.verb == "get" && is_for && self.is(rule, Reach::Contains)
        });
        let fields = rules.flat_map(|rule| {
            let fields = rule.source.reveal.iter();
            fields.map(|field| (&*rule.id, field))
        });
        fields.collect()
    }

    /// What decides, as [`in_words`] says it.
    fn first(&self, scope: &Scope<'_>) -> String {
        let mut touched: Option<&Rule> = None;
        let mut rules = self.0.iter();
        while let Some(rule) = rules.next() {
            let Some(effect) = self.decides(rule) else {
                continue;
            };
            match rule.holds(scope) {
                Held::Yes => {}
                Held::No => continue,
                Held::Failed(..) => return format!("refused by {}", rule.id),
                Held::Wants(wanted) => {
                    let admits =
                        |rule: &Rule| self.decides(rule).is_some_and(|it| it != Effect::Deny);
                    if effect != Effect::Deny || rules.any(admits) {
                        return format!("{} wants {wanted:?}", rule.id);
                    }
                    break;
                }
            }
            match (effect, touched) {
                (Effect::Hold, Some(_)) => return format!("refused by {}", rule.id),
                (Effect::Hold, None) if !self.is(rule, Reach::Contains) => touched = Some(rule),
                (Effect::Allow, Some(first)) => {
                    return format!("{} holds, {} allows the rest", first.id, rule.id);
                }
                (effect, _) => return format!("{} decides {effect:?}", rule.id),
            }
        }
        "refused".to_owned()
    }
}

fn in_words(first: First<'_>) -> String {
    match first {
        First::Decides(rule, effect, None) => format!("{} decides {effect:?}", rule.id),
        First::Decides(rule, _, Some(rest)) => {
            format!("{} holds, {} allows the rest", rule.id, rest.id)
        }
        First::Wants(rule, wanted) => format!("{} wants {wanted:?}", rule.id),
        First::Refuses(reason) => match reason.rule {
            Some(rule) => format!("refused by {rule}"),
            None => "refused".to_owned(),
        },
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn candidates_say_what_all_rules_would(
        rules in some_rules(),
        requests in prop::collection::vec((some_request(), somebody(), 0_u64..8), 16),
        cluster in select(&NAMES[..]),
        shown in any::<bool>(),
    ) {
        let index = Index::of(&rules);
        let object = serde_json::json!({"metadata": {"name": "dev"}, "spec": {"replicas": 1}});
        let object = shown.then_some(&object);
        let seen = object.map_or_else(Seen::default, |object| {
            Seen::default().object(Some(object)).old_object(Some(object))
        });
        for (info, identity, roles) in requests {
            let asked = Asked::new(&identity, &info, cluster).holding(roles);
            let found = index.candidates(&asked).map(|number| &rules[number]);
            let found = Matching::among(found, &asked);
            let all = Matching::among(rules.iter(), &asked);
            prop_assert_eq!(format!("{found:?}"), format!("{all:?}"));

            let plainly = Plainly(&rules, &asked);
            prop_assert_eq!(found.masks(), plainly.masks());
            prop_assert_eq!(found.record(), plainly.record());
            prop_assert_eq!(found.responses(), plainly.responses());
            prop_assert_eq!(found.strict_audit(), plainly.strict_audit());
            let reveals = found.reveals().flat_map(|(rule, fields)| fields.iter().map(|field| (&*rule.id, field)));
            prop_assert_eq!(reveals.collect::<Vec<_>>(), plainly.reveals());
            let first = in_words(first(&found, &Scope::new(&asked, &seen)));
            prop_assert_eq!(first, plainly.first(&Scope::new(&asked, &seen)));
        }
    }
}

/// Names with beginnings in common, of which some are names and some only begin them.
#[test]
fn nothing_else_is_looked_at() {
    let about = |namespace: String| {
        let rule = RuleSource {
            namespaces: vec![namespace],
            ..crate::policy::tests::rule("some", Effect::Allow, &["get"], &[""], &["pods"])
        };
        compile(&rule).unwrap()
    };
    let mut rules: Vec<Rule> = (0..500)
        .map(|number| about(format!("team-{number}-*")))
        .collect();
    rules.extend((0..500).map(|number| about(format!("team-{number}"))));
    let index = Index::of(&rules);
    let identity = Identity::for_tests("alice", &[]);
    for (namespace, expected) in [
        ("team-7", vec![507]),
        ("team-77", vec![577]),
        ("team-77-a", vec![77]),
        ("team-", vec![]),
        ("zebra", vec![]),
        ("", vec![]),
    ] {
        let target = match namespace {
            "" => "/api/v1/pods".to_owned(),
            some => format!("/api/v1/namespaces/{some}/pods/web"),
        };
        let info = RequestInfo::parse(&Method::GET, &target).unwrap();
        let asked = Asked::new(&identity, &info, "demo");
        let found: Vec<usize> = index.candidates(&asked).collect();
        assert_eq!(found, expected, "{namespace}");
    }
}
