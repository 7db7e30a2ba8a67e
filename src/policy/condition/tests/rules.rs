//! Rules with conditions.

use super::*;

fn policy(rules: Vec<RuleSource>) -> Policy {
    Policy::compile(PolicySource {
        rules,
        ..PolicySource::default()
    })
    .unwrap()
}

fn decide(policy: &Policy, request: &str, seen: &Seen) -> Decision {
    let identity = Arc::new(Identity::for_tests("alice", &[]));
    policy.decide(&identity, &info(request), "east", seen)
}

fn when(effect: Effect, conditions: &[ConditionSource]) -> RuleSource {
    RuleSource {
        when: conditions.to_vec(),
        ..rule("when", effect, &["create", "patch"], &[""], &["pods"])
    }
}

#[test]
fn a_rule_decides_where_every_condition_holds_and_asks_for_what_it_needs() {
    let denying = policy(vec![
        when(Effect::Deny, &[ready("privileged")]),
        allow_all(),
    ]);
    let asks = decide(&denying, CREATE, &Seen::default());
    assert!(matches!(asks, Decision::Ask(inquiry) if inquiry.wanted() == Wanted::Object));
    let with = |object: Value| Seen::default().object(Some(&object));
    let privileged = json!({"spec": {"containers": [{"securityContext": {"privileged": true}}]}});
    let Decision::Deny(reason) = decide(&denying, CREATE, &with(privileged.clone())) else {
        panic!("allowed");
    };
    assert_eq!(reason.rule.as_deref(), Some("test/when"));
    assert!(
        reason
            .message
            .contains("privileged: a container runs privileged"),
        "{}",
        reason.message
    );
    let ordinary = with(json!({"spec": {"containers": [{"name": "a"}]}}));
    assert!(
        matches!(decide(&denying, CREATE, &ordinary), Decision::Allow(permit) if permit.seen().lacks_nothing())
    );
    // Where the rule does not match otherwise, nothing is asked for.
    let config_maps = "POST /api/v1/namespaces/shop/configmaps";
    assert!(matches!(
        decide(&denying, config_maps, &Seen::default()),
        Decision::Allow(_)
    ));
    // Nor where the answer is no anyway, nor where a cheaper condition says no.
    let hopeless = policy(vec![when(Effect::Deny, &[ready("privileged")])]);
    assert!(matches!(
        decide(&hopeless, CREATE, &Seen::default()),
        Decision::Deny(_)
    ));
    let elsewhere = [ready("privileged"), cel("request.namespace == 'other'")];
    let elsewhere = policy(vec![when(Effect::Deny, &elsewhere), allow_all()]);
    assert!(matches!(
        decide(&elsewhere, CREATE, &Seen::default()),
        Decision::Allow(_)
    ));
    // Each thing is asked for once.
    let old = cel("oldObject != null && object != null");
    let both = policy(vec![when(Effect::Deny, &[old]), allow_all()]);
    let patch = "PATCH /api/v1/namespaces/shop/pods/web";
    let mut seen = Seen::default();
    for wanted in [Wanted::Object, Wanted::OldObject] {
        let asks = decide(&both, patch, &seen);
        assert!(matches!(asks, Decision::Ask(inquiry) if inquiry.wanted() == wanted));
        seen = match wanted {
            Wanted::Object => seen.object(Some(&privileged)),
            _ => seen.old_object(None),
        };
    }
    assert!(matches!(decide(&both, patch, &seen), Decision::Allow(_)));
}

#[test]
fn what_cannot_be_evaluated_denies_whatever_the_rule_decides() {
    let broken = cel("object.spec.nothing == 1");
    let seen = Seen::default().object(Some(&json!({"spec": {}})));
    for effect in [Effect::Allow, Effect::Deny] {
        let policy = policy(vec![
            when(effect, std::slice::from_ref(&broken)),
            allow_all(),
        ]);
        let Decision::Deny(reason) = decide(&policy, CREATE, &seen) else {
            panic!("allowed");
        };
        assert!(
            reason.message.contains("cannot be evaluated"),
            "{}",
            reason.message
        );
        assert_eq!(reason.rule.as_deref(), Some("test/when"));
    }
}

#[test]
fn any_of_holds_when_one_does_and_names_it() {
    let any = ConditionSource {
        any_of: vec![
            ready("privileged"),
            ready("host-namespaces"),
            ready("host-path"),
        ],
        ..ConditionSource::default()
    };
    let denying = policy(vec![when(Effect::Deny, &[any]), allow_all()]);
    let with = |spec: Value| Seen::default().object(Some(&json!({"spec": spec})));
    let Decision::Deny(reason) = decide(&denying, CREATE, &with(json!({"hostPID": true}))) else {
        panic!("allowed");
    };
    assert!(
        reason.message.contains("host-namespaces: the pod shares"),
        "{}",
        reason.message
    );
    assert!(matches!(
        decide(&denying, CREATE, &with(json!({}))),
        Decision::Allow(_)
    ));
}

#[test]
fn a_held_request_says_what_is_risky() {
    let holding = RuleSource {
        hold: Some(Hold::by_one_of(&["on-call"])),
        message: Some("ask".to_owned()),
        ..when(Effect::Hold, &[ready("privileged")])
    };
    let holding = policy(vec![holding, allow_all()]);
    let pod = json!({"spec": {"containers": [{"securityContext": {"privileged": true}}]}});
    let seen = Seen::default().object(Some(&pod));
    let Decision::Hold(question) = decide(&holding, CREATE, &seen) else {
        panic!("not held");
    };
    let message = question.message().unwrap();
    assert!(message.starts_with("ask (privileged: "), "{message}");
    let asks = decide(&holding, CREATE, &Seen::default());
    assert!(matches!(asks, Decision::Ask(_)));
}

#[test]
fn conditions_are_for_decisions() {
    let mask = RuleSource {
        decision: None,
        mask: strings(&["secrets"]),
        ..when(Effect::Allow, &[ready("privileged")])
    };
    let obliging = RuleSource {
        mask: strings(&["secrets"]),
        ..when(Effect::Allow, &[ready("privileged")])
    };
    for source in [mask, obliging] {
        let source = PolicySource {
            rules: vec![source],
            ..PolicySource::default()
        };
        let problems = Policy::compile(source).unwrap_err();
        assert!(problems.iter().any(|(_, problem)| problem.field == "when"));
    }
}

#[test]
fn a_delete_is_a_dry_run_only_when_its_body_agrees() {
    let condition = cel("request.dryRun");
    let delete = "DELETE /api/v1/namespaces/shop/pods/web?dryRun=All";
    assert_eq!(
        evaluate(&condition, delete, &Seen::default()),
        Held::Wants(Wanted::DryRun)
    );
    for dry_run in [true, false] {
        let held = evaluate(&condition, delete, &Seen::default().dry_run(dry_run));
        assert_eq!(held == Held::Yes, dry_run);
    }
    let create = "POST /api/v1/namespaces/shop/pods?dryRun=All";
    assert_eq!(evaluate(&condition, create, &Seen::default()), Held::Yes);
    assert_eq!(evaluate(&condition, CREATE, &Seen::default()), Held::No);
}
