//! Rules for roles, and which grants count.

use http::Method;

use super::super::super::tests::{policy, rule, strings};
use super::super::{RuleSource, SubjectsSource};
use super::*;
use crate::approval::grant::tests::given;
use crate::approval::{Approval, Grants};
use crate::policy::{Decision, Part, PolicySource};
use crate::request::RequestInfo;

fn groups(names: &[&str]) -> SubjectsSource {
    SubjectsSource {
        groups: strings(names),
        ..SubjectsSource::default()
    }
}

fn holders(roles: &[&str]) -> SubjectsSource {
    SubjectsSource {
        roles: strings(roles),
        ..SubjectsSource::default()
    }
}

fn role(name: &str) -> RoleSource {
    RoleSource {
        id: format!("test/{name}"),
        name: name.to_owned(),
        subjects: Some(groups(&["dev"])),
        approvers: Some(Approvers {
            groups: strings(&["sre"]),
            users: Vec::new(),
            count: 1,
            principal: false,
        }),
        longest: Some(Duration::from_mins(1)),
    }
}

fn source(roles: Vec<RoleSource>) -> PolicySource {
    let exec = RuleSource {
        subjects: Some(holders(&["debug"])),
        ..rule("debug", Effect::Allow, &["create"], &[""], &["pods/exec"])
    };
    let delete = RuleSource {
        subjects: Some(holders(&["clean-up"])),
        namespaces: strings(&["shop"]),
        ..rule("clean-up", Effect::Allow, &["delete"], &[""], &["pods"])
    };
    let read = rule("read", Effect::Allow, &["get"], &["*"], &["*"]);
    PolicySource {
        version: "v".to_owned(),
        roles,
        rules: vec![exec, delete, read],
        ..PolicySource::default()
    }
}

fn alice() -> Identity {
    Identity::for_tests("alice", &["dev"])
}

fn at(approval: &Approval) -> jiff::Timestamp {
    approval.asked
}

fn seen(identity: &Identity, role: &str) -> Seen {
    let approval = given("g7", role, identity);
    let now = at(&approval);
    Seen::default().granted(Grants::default().after(&approval, now).of(identity, now))
}

const EXEC: &str = "/api/v1/namespaces/shop/pods/web-0/exec?command=sh";
const POD: &str = "/api/v1/namespaces/shop/pods/web-0";

fn decide(policy: &Policy, who: Identity, (method, target): (&str, &str), seen: &Seen) -> Decision {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let info = RequestInfo::parse(&method, target).unwrap();
    policy.decide(&Arc::new(who), &info, "demo", seen)
}

#[test]
fn a_rule_for_a_role_is_about_whoever_was_given_it_and_names_the_grant() {
    let policy = Policy::compile(source(vec![role("debug"), role("clean-up")])).unwrap();
    let exec = ("GET", EXEC);
    match decide(&policy, alice(), exec, &seen(&alice(), "debug")) {
        Decision::Allow(permit) => {
            assert_eq!(permit.rule(), "test/debug");
            let ids: Vec<&str> = permit.grants().iter().map(|grant| grant.id()).collect();
            assert_eq!(ids, ["g7"]);
        }
        other => panic!("{other:?}"),
    }
    // What is allowed anyway needs no grant, and does not end with one.
    match decide(&policy, alice(), ("GET", POD), &seen(&alice(), "debug")) {
        Decision::Allow(permit) => assert!(permit.grants().is_empty()),
        other => panic!("{other:?}"),
    }
    for (who, role) in [(alice(), "clean-up"), (alice(), "nothing")] {
        let decision = decide(&policy, who.clone(), exec, &seen(&who, role));
        assert!(matches!(decision, Decision::Deny(_)), "{role}");
    }
}

#[test]
fn a_grant_counts_only_while_its_role_is_what_was_said_yes_to() {
    let changed = |change: fn(&mut RoleSource)| {
        let mut debug = role("debug");
        change(&mut debug);
        let policy = Policy::compile(source(vec![debug, role("clean-up")])).unwrap();
        let decision = decide(&policy, alice(), ("GET", EXEC), &seen(&alice(), "debug"));
        matches!(decision, Decision::Allow(_))
    };
    assert!(changed(|_| {}));
    assert!(!changed(|role| role.subjects = Some(groups(&["other"]))));
    assert!(!changed(|role| role.longest = Some(Duration::from_secs(59))));
    assert!(!changed(|role| {
        role.approvers.as_mut().unwrap().count = 2;
    }));
}

#[test]
fn an_agent_may_ask_only_where_the_role_names_it() {
    let names = |subjects| {
        let role = RoleSource {
            subjects: Some(subjects),
            ..role("debug")
        };
        Policy::compile(source(vec![role, self::role("clean-up")])).unwrap()
    };
    let bot = || alice().with_agent("bot", &[]);
    let asks = |policy: &Policy, who: Identity| {
        let roles = policy.askable(&who).into_iter();
        roles.map(|role| role.name).collect::<Vec<_>>()
    };
    let people = names(groups(&["dev"]));
    assert_eq!(asks(&people, alice()), ["debug", "clean-up"]);
    assert!(asks(&people, bot()).is_empty());
    let decision = decide(&people, bot(), ("GET", EXEC), &seen(&bot(), "debug"));
    assert!(matches!(decision, Decision::Deny(_)));
    let agents = names(SubjectsSource {
        agents: strings(&["bot"]),
        ..SubjectsSource::default()
    });
    assert_eq!(asks(&agents, bot()), ["debug"]);
    assert_eq!(asks(&agents, alice()), ["clean-up"]);
}

#[test]
fn whoever_is_denied_hears_of_the_roles_that_would_help_if_they_may_ask() {
    let policy = Policy::compile(source(vec![role("debug"), role("clean-up")])).unwrap();
    let help = |who: Identity, request| match decide(&policy, who, request, &Seen::default()) {
        Decision::Deny(reason) => reason.roles,
        other => panic!("{other:?}"),
    };
    let debug = Help {
        role: "debug".to_owned(),
        seconds: 60,
    };
    assert_eq!(help(alice(), ("GET", EXEC)), std::slice::from_ref(&debug));
    assert_eq!(
        debug.to_string(),
        "portcullis request --role debug --for 1m"
    );
    assert_eq!(help(alice(), ("DELETE", POD))[0].role, "clean-up");
    let elsewhere = "/api/v1/namespaces/other/pods/web-0";
    assert!(help(alice(), ("DELETE", elsewhere)).is_empty());
    let bob = Identity::for_tests("bob", &["guests"]);
    assert!(help(bob, ("GET", EXEC)).is_empty());
}

/// What one rule holds in part and a role's rule allows the rest of ends with the role.
#[test]
fn a_role_that_only_allows_the_rest_is_needed_as_well() {
    let mut both = source(vec![role("debug"), role("clean-up")]);
    let held = RuleSource {
        hold: Some(crate::policy::Hold {
            approvers: role("x").approvers.unwrap(),
            wait: None,
            expires: Duration::from_mins(1),
            same_class: None,
        }),
        namespaces: strings(&["prod"]),
        ..rule("prod", Effect::Hold, &["list"], &[""], &["pods"])
    };
    let rest = RuleSource {
        subjects: Some(holders(&["debug"])),
        ..rule("rest", Effect::Allow, &["list"], &[""], &["pods"])
    };
    both.rules = vec![held, rest];
    both.roles.truncate(1);
    let policy = Policy::compile(both).unwrap();
    match decide(
        &policy,
        alice(),
        ("GET", "/api/v1/pods"),
        &seen(&alice(), "debug"),
    ) {
        Decision::Hold(question) => {
            let grants = question.inquiry().permit().grants().len();
            assert_eq!((question.rule(), grants), ("test/prod", 1));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_role_that_is_supposed_counts_for_whoever_may_ask_for_it() {
    let policy = Policy::compile(source(vec![role("debug"), role("clean-up")])).unwrap();
    let supposed = Seen::default().supposing(strings(&["debug"]));
    let allowed = |who| {
        matches!(
            decide(&policy, who, ("GET", EXEC), &supposed),
            Decision::Allow(_)
        )
    };
    assert!(allowed(alice()));
    assert!(!allowed(Identity::for_tests("bob", &["guests"])));
}

fn problems(source: PolicySource) -> Vec<(Part, &'static str, Option<usize>)> {
    let problems = Policy::compile(source).unwrap_err();
    let where_ = |(part, problem): (Part, RuleProblem)| (part, problem.field, problem.index);
    problems.into_iter().map(where_).collect()
}

#[test]
fn what_a_role_lacks_or_a_rule_gets_wrong_is_a_problem_at_its_place() {
    // The second role is not there.
    assert_eq!(
        problems(source(vec![role("debug")])),
        [(Part::Rule(1), "subjects.roles", Some(0))]
    );
    let with = |rule: RuleSource| {
        let mut all = source(vec![role("debug"), role("clean-up")]);
        all.rules = vec![rule];
        problems(all)
    };
    let debug = || rule("x", Effect::Allow, &["get"], &[""], &["pods"]);
    let beside = SubjectsSource {
        groups: strings(&["dev"]),
        ..holders(&["debug"])
    };
    for (subjects, decision, reveal) in [
        (Some(beside), Some(Effect::Allow), false),
        (Some(holders(&["debug"])), Some(Effect::Deny), false),
        (Some(holders(&["debug"])), Some(Effect::Allow), true),
    ] {
        let reveal = if reveal {
            vec!["data.a".parse().unwrap()]
        } else {
            Vec::new()
        };
        let wrong = RuleSource {
            subjects,
            reveal,
            decision,
            ..debug()
        };
        assert_eq!(with(wrong)[0].1, "subjects.roles");
    }
    let role_problem = |change: fn(&mut RoleSource)| {
        let mut changed = role("debug");
        change(&mut changed);
        problems(source(vec![changed, role("clean-up")]))[0]
    };
    for (change, field) in [
        (
            (|role| role.subjects = None) as fn(&mut RoleSource),
            "subjects",
        ),
        (|role| role.longest = None, "longest"),
        (
            |role| role.subjects = Some(holders(&["debug"])),
            "subjects.roles",
        ),
        (
            |role| role.approvers.as_mut().unwrap().groups.clear(),
            "approvers",
        ),
        (
            |role| role.approvers.as_mut().unwrap().principal = true,
            "approvers.principal",
        ),
    ] {
        let found = role_problem(change);
        assert_eq!((found.0, found.1), (Part::Role(0), field));
    }
    // No budget counts for a role.
    let mut all = source(vec![role("debug"), role("clean-up")]);
    all.budgets = vec![crate::policy::rule::budget::BudgetSource {
        id: "test/b".to_owned(),
        subjects: Some(holders(&["debug"])),
        most: [Some(1), None, None, None],
    }];
    assert_eq!(
        problems(all),
        [(Part::Budget(0), "subjects.roles", Some(0))]
    );
    let _plain = policy(vec![debug()]);
}
