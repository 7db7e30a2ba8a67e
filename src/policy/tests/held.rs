//! Rules that hold, and policies that only observe.

use super::*;

/// A rule that holds until somebody of `sre` says yes.
fn hold(name: &str, verbs: &[&str], resources: &[&str], namespaces: &[&str]) -> RuleSource {
    RuleSource {
        namespaces: strings(namespaces),
        hold: Some(Hold::by_one_of(&["sre"])),
        ..rule(name, Effect::Hold, verbs, &[""], resources)
    }
}

#[test]
fn h_10_no_wider_request_goes_around_a_hold_and_no_yes_admits_more_than_rules_do() {
    let denied = RuleSource {
        namespaces: strings(&["kube-system"]),
        ..rule("system", Effect::Deny, &["*"], &[""], &["pods"])
    };
    let held = || {
        hold(
            "held",
            &["delete", "deletecollection"],
            &["pods"],
            &["prod"],
        )
    };
    let open = policy(vec![held(), allow_all()]);
    let guarded = policy(vec![held(), denied, allow_all()]);
    let alone = policy(vec![held()]);
    let twice = policy(vec![
        held(),
        hold("also", &["*"], &["pods"], &["test"]),
        allow_all(),
    ]);
    let one = "/api/v1/namespaces/prod/pods/web";
    let all = "/api/v1/pods";
    for (policy, target, expected) in [
        (&open, one, "hold held"),
        (&guarded, one, "hold held"),
        (&alone, one, "hold held"),
        (&twice, one, "hold held"),
        // All namespaces at once: the rest must be allowed, denied is denied, and two holds are not one.
        (&open, all, "hold held"),
        (&guarded, all, "system"),
        (&alone, all, "default"),
        (&twice, all, "also"),
        (&open, "/api/v1/namespaces/test/pods/web", "ALL"),
    ] {
        assert_eq!(decided(policy, "DELETE", target), expected, "{target}");
    }
}

#[test]
fn a_hold_that_nobody_could_answer_is_a_mistake() {
    let good = || hold("h", &["delete"], &["pods"], &[]);
    let with = |change: &dyn Fn(&mut Hold)| {
        let mut rule = good();
        change(rule.hold.as_mut().unwrap());
        rule
    };
    let nobody = with(&|hold| hold.approvers.groups.clear());
    let few = with(&|hold| {
        hold.approvers.groups.clear();
        hold.approvers.users = strings(&["carol"]);
        hold.approvers.count = 2;
    });
    let own = with(&|hold| hold.approvers.principal = true);
    let agents = RuleSource {
        subjects: Some(SubjectsSource {
            agents: strings(&["*"]),
            ..SubjectsSource::default()
        }),
        ..own.clone()
    };
    let missing = RuleSource {
        hold: None,
        ..good()
    };
    let allowing = RuleSource {
        decision: Some(Effect::Allow),
        ..good()
    };
    for (rule, field) in [
        (good(), None),
        (agents, None),
        (nobody, Some("hold.approvers")),
        (few, Some("hold.approvers.count")),
        (own, Some("hold.approvers.principal")),
        (missing, Some("hold")),
        (allowing, Some("hold")),
    ] {
        let compiled = Policy::compile(PolicySource {
            rules: vec![rule],
            ..PolicySource::default()
        });
        let found = compiled.err().map(|problems| problems[0].1.field);
        assert_eq!(found, field);
    }
}

/// A policy that only observes stops nothing, says what it would have done, and still masks and records.
#[test]
fn a_policy_that_observes_stops_nothing_but_still_masks_and_records() {
    let hold = RuleSource {
        hold: Some(Hold::by_one_of(&["sre"])),
        ..rule("held", Effect::Hold, &["delete"], &[""], &["pods"])
    };
    let rules = vec![
        RuleSource {
            id: "test/mask".to_owned(),
            mask: strings(&["secrets"]),
            ..RuleSource::default()
        },
        RuleSource {
            record: Some(RecordObligation::new(RecordMode::Required)),
            decision: None,
            ..rule("record", Effect::Allow, &["create"], &[""], &["pods/exec"])
        },
        hold,
        rule("denied", Effect::Deny, &["create"], &[""], &["pods/exec"]),
        rule("allowed", Effect::Allow, &["list"], &[""], &["pods"]),
    ];
    let source = |observes| PolicySource {
        version: "v".to_owned(),
        rules: rules.clone(),
        observes,
        ..PolicySource::default()
    };
    let (enforcing, observing) = (
        Policy::compile(source(false)).unwrap(),
        Policy::compile(source(true)).unwrap(),
    );
    let alice = || Identity::for_tests("alice", &[]);
    let secret = "/api/v1/namespaces/shop/secrets/db";
    for (method, target, would, by) in [
        ("GET", "/api/v1/namespaces/shop/pods", None, "test/allowed"),
        ("GET", secret, Some("deny"), "(none)"),
        (
            "GET",
            "/api/v1/namespaces/shop/pods/a/exec?command=sh",
            Some("deny"),
            "test/denied",
        ),
        (
            "DELETE",
            "/api/v1/namespaces/shop/pods/a",
            Some("hold"),
            "test/held",
        ),
    ] {
        let Decision::Allow(permit) = ask(&observing, alice(), method, target) else {
            panic!("{method} {target}")
        };
        assert_eq!(
            permit.would().map(Would::as_str),
            would,
            "{method} {target}"
        );
        assert_eq!(permit.rule(), by);
        assert_eq!(permit.mask().is_some(), target == secret);
        assert_eq!(permit.record().is_some(), target.contains("exec"));
        let enforced = ask(&enforcing, alice(), method, target);
        assert_eq!(matches!(enforced, Decision::Allow(_)), would.is_none());
    }
    // What nobody may see is not observed out of its mask.
    let reveal = format!("{secret}?portcullis.dev/reveal=data.a&portcullis.dev/reason=x");
    assert!(matches!(
        ask(&observing, alice(), "GET", &reveal),
        Decision::Deny(_)
    ));
    // Explanations say what would be decided, and that it is not.
    let info = RequestInfo::parse(&Method::GET, secret).unwrap();
    let told = observing.explain(&Arc::new(alice()), &info, "demo", &Seen::default());
    assert_eq!((told.decision, told.observed), (Effect::Deny, true));
    assert!(told.to_string().starts_with("THE POLICY ONLY OBSERVES"));
}

#[test]
fn what_cannot_be_shown_is_no_obstacle_to_a_policy_that_observes() {
    let looks = || RuleSource {
        when: vec![condition::ConditionSource {
            name: "privileged".to_owned(),
            ..condition::ConditionSource::default()
        }],
        ..rule("baseline", Effect::Deny, &["create"], &[""], &["pods"])
    };
    for observes in [false, true] {
        let policy = Policy::compile(PolicySource {
            rules: vec![looks(), allow_all()],
            observes,
            ..PolicySource::default()
        });
        let alice = Identity::for_tests("alice", &[]);
        let asked = ask(
            &policy.unwrap(),
            alice,
            "POST",
            "/api/v1/namespaces/shop/pods",
        );
        let Decision::Ask(inquiry) = asked else {
            panic!("{asked:?}")
        };
        let permit = inquiry.unseen("no JSON");
        assert_eq!(permit.is_some(), observes);
        let would = permit.as_ref().and_then(Permit::would);
        assert_eq!(would.map(Would::as_str), observes.then_some("deny"));
    }
}
