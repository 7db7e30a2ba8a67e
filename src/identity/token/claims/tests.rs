use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::identity::NameError;
use crate::identity::settings::ClaimRule;

#[test]
fn a_plain_token_maps_as_in_kubernetes() {
    let mut issuer = issuer();
    issuer.claim_mappings.uid = Some("oid".to_owned());
    issuer.claim_mappings.extra = vec![
        ExtraMapping {
            key: "example.com/team".to_owned(),
            claim: "team".to_owned(),
        },
        ExtraMapping {
            key: "example.com/none".to_owned(),
            claim: "none".to_owned(),
        },
        ExtraMapping {
            key: "example.com/empty".to_owned(),
            claim: "empty".to_owned(),
        },
    ];
    let claims = json!({
        "sub": "alice", "groups": ["devs", "Domain Users", "devs"], "oid": "7", "jti": "t-1",
        "team": ["red", "blue"], "empty": [""], "may_act": {"sub": "x"},
    });
    let identity = map(&claims, &issuer).unwrap();
    assert_eq!(identity.username(), "alice");
    assert_eq!(identity.groups(), ["Domain Users", "devs"]);
    assert_eq!(
        (identity.uid(), identity.token_id()),
        (Some("7"), Some("t-1"))
    );
    let team = vec!["red".to_owned(), "blue".to_owned()];
    assert_eq!(
        identity.extra(),
        &BTreeMap::from([("example.com/team".to_owned(), team)])
    );
    assert_eq!(identity.agent(), None);
    assert_eq!(identity.issuer(), "https://issuer.test");
}

#[test]
fn a13_a_token_without_user_is_forbidden() {
    for claims in [json!({}), json!({"sub": ""})] {
        let error = map(&claims, &issuer()).unwrap_err();
        assert_eq!(error, CallerError::NoUser("sub".to_owned()).into());
    }
    for sub in [json!(null), json!(7), json!(["alice"]), json!({"a": 1})] {
        assert!(
            matches!(
                map(&json!({"sub": sub}), &issuer()),
                Err(IdentityError::Token(_))
            ),
            "{sub}"
        );
    }
}

#[test]
fn a15_system_users_are_refused_with_and_without_prefix() {
    for name in [
        "system:admin",
        "system:node:n1",
        "system:serviceaccount:kube-system:x",
        "system:anonymous",
    ] {
        let error = map(&json!({"sub": name}), &issuer()).unwrap_err();
        assert_eq!(name_problem(&error), Some(&NameError::System), "{name}");
        assert!(matches!(&error, IdentityError::Caller(caller) if caller.is_alarming()));
    }
    let mut issuer = issuer();
    issuer.claim_mappings.username.prefix = "sys".to_owned();
    let error = map(&json!({"sub": "tem:admin"}), &issuer).unwrap_err();
    assert_eq!(
        name_problem(&error),
        Some(&NameError::System),
        "made whole by the prefix"
    );
    issuer.claim_mappings.username.prefix = "oidc:".to_owned();
    assert_eq!(
        map(&json!({"sub": "system:admin"}), &issuer)
            .unwrap()
            .username(),
        "oidc:system:admin"
    );
    assert!(
        map(&json!({"sub": " alice"}), &issuer).is_err(),
        "a prefix must not hide the blank"
    );
}

#[test]
fn a16_one_system_group_refuses_the_whole_token() {
    for group in [
        "system:masters",
        "system:nodes",
        "system:authenticated",
        "system:unauthenticated",
        " system:masters",
        "system:masters\t",
        "System:Masters",
        "system\u{200b}:masters",
        "system%3Amasters",
    ] {
        let claims = json!({"sub": "alice", "groups": ["devs", group]});
        assert!(
            matches!(map(&claims, &issuer()), Err(IdentityError::Caller(_))),
            "{group:?}"
        );
    }
}

#[test]
fn a17_groups_of_every_shape() {
    let of = |groups: Value| map(&json!({"sub": "alice", "groups": groups}), &issuer());
    assert_eq!(of(json!("devs")).unwrap().groups(), ["devs"]);
    assert_eq!(
        of(json!("devs,system:masters")).unwrap().groups(),
        ["devs,system:masters"],
        "never split"
    );
    assert_eq!(of(json!([])).unwrap().groups(), [""; 0]);
    assert_eq!(
        map(&json!({"sub": "alice"}), &issuer()).unwrap().groups(),
        [""; 0]
    );
    for wrong in [
        json!(null),
        json!(7),
        json!({"a": 1}),
        json!([7]),
        json!(["a", ["b"]]),
        json!(["a", null]),
    ] {
        assert!(
            matches!(of(wrong.clone()), Err(IdentityError::Token(_))),
            "{wrong}"
        );
    }
    for empty in [json!(""), json!(["a", ""])] {
        assert_eq!(
            name_problem(&of(empty).unwrap_err()),
            Some(&NameError::Empty)
        );
    }
    let numbered = |count: usize| {
        (0..count)
            .map(|number| json!(format!("g{number}")))
            .collect::<Value>()
    };
    assert_eq!(of(numbered(GROUPS_MAX)).unwrap().groups().len(), GROUPS_MAX);
    let too_many = CallerError::TooManyGroups {
        max: GROUPS_MAX,
        unit: "groups",
    };
    assert_eq!(of(numbered(GROUPS_MAX + 1)).unwrap_err(), too_many.into());
    let long: Value = (0..17)
        .map(|number| json!(format!("{number:0>1000}")))
        .collect();
    let too_long = CallerError::TooManyGroups {
        max: GROUPS_BYTES_MAX,
        unit: "bytes",
    };
    assert_eq!(of(long).unwrap_err(), too_long.into());
    assert!(of(json!(["g".repeat(GROUP_BYTES_MAX + 1)])).is_err());
}

#[test]
fn a18_left_out_groups_are_unknown_groups() {
    for note in [
        json!({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph"}}}),
        json!({"_claim_names": "groups"}),
        json!({"hasgroups": true}),
        json!({"hasgroups": "true"}),
    ] {
        let mut claims = json!({"sub": "alice"});
        claims
            .as_object_mut()
            .unwrap()
            .extend(note.as_object().unwrap().clone());
        let error = map(&claims, &issuer()).unwrap_err();
        assert!(
            matches!(error, IdentityError::Caller(CallerError::GroupsUnknown(_))),
            "{note}"
        );
    }
    let elsewhere =
        json!({"sub": "alice", "_claim_names": {"address": "src1"}, "hasgroups": false});
    assert!(map(&elsewhere, &issuer()).is_ok());
}

#[test]
fn a19_prefixes_are_applied_exactly_once() {
    let mut issuer = issuer();
    issuer.claim_mappings.username.prefix = "oidc:".to_owned();
    issuer.claim_mappings.groups = Some(PrefixedClaim {
        claim: "groups".to_owned(),
        prefix: "oidc:".to_owned(),
    });
    issuer.claim_mappings.agent.prefix = "agent:".to_owned();
    let claims = json!({
        "sub": "oidc:alice", "groups": ["admins", "oidc:admins"], "act": {"sub": "a", "act": {"sub": "b"}},
    });
    let identity = map(&claims, &issuer).unwrap();
    assert_eq!(identity.username(), "oidc:oidc:alice");
    assert_eq!(identity.groups(), ["oidc:admins", "oidc:oidc:admins"]);
    let agent = Agent {
        name: "agent:a".to_owned(),
        chain: vec!["agent:b".to_owned()],
    };
    assert_eq!(identity.agent(), Some(&agent));
}

#[test]
fn a20_claim_names_are_exact_whatever_they_look_like() {
    for name in [
        "a.b",
        "https://example.com/groups",
        "__proto__",
        "groups[0]",
        "$.groups",
        "constructor",
    ] {
        let mut issuer = issuer();
        issuer.claim_mappings.groups = Some(PrefixedClaim {
            claim: name.to_owned(),
            prefix: String::new(),
        });
        let claims =
            json!({"sub": "alice", name: ["devs"], "a": {"b": ["admins"]}, "groups": ["ops"]});
        assert_eq!(map(&claims, &issuer).unwrap().groups(), ["devs"], "{name}");
    }
}

#[test]
fn a38_the_actor_is_the_agent_and_the_subject_the_human() {
    let nested = json!({"sub": "alice", "act": {"sub": "coder", "act": {"sub": "planner", "act": {"sub": "root"}}}});
    let identity = map(&nested, &issuer()).unwrap();
    assert_eq!(identity.username(), "alice");
    let chain = vec!["planner".to_owned(), "root".to_owned()];
    assert_eq!(
        identity.agent(),
        Some(&Agent {
            name: "coder".to_owned(),
            chain
        })
    );
}

#[test]
fn a38_a_delegation_that_is_not_understood_refuses_the_token() {
    let deep = (0..=ACTORS_MAX).fold(
        json!({"sub": "x"}),
        |inner, _| json!({"sub": "x", "act": inner}),
    );
    for act in [
        json!(null),
        json!("coder"),
        json!(["coder"]),
        json!({}),
        json!({"sub": 7}),
        json!({"sub": ""}),
        json!({"client_id": "coder"}),
        json!({"sub": "system:node:n1"}),
        json!({"sub": "coder", "act": "planner"}),
        json!({"sub": "coder", "act": {"sub": ["planner"]}}),
        json!({"sub": "coder", "iss": "https://elsewhere.test"}),
        deep,
    ] {
        assert!(
            map(&json!({"sub": "alice", "act": act}), &issuer()).is_err(),
            "{act}"
        );
    }
    let same = json!({"sub": "alice", "act": {"sub": "coder", "iss": "https://issuer.test"}});
    assert_eq!(
        map(&same, &issuer()).unwrap().agent().unwrap().name,
        "coder"
    );
}

#[test]
fn a38_another_agent_claim_can_be_configured_but_act_is_never_ignored() {
    let mut issuer = issuer();
    issuer.claim_mappings.agent = AgentMapping::new("https://example.com/actor.name", "");
    let claims = json!({"sub": "alice", "https://example.com/actor": {"name": "coder"}});
    assert_eq!(
        map(&claims, &issuer).unwrap().agent().unwrap().name,
        "coder"
    );
    issuer.claim_mappings.agent = AgentMapping::new("agent_id", "");
    assert_eq!(
        map(&json!({"sub": "alice", "agent_id": "bot"}), &issuer)
            .unwrap()
            .agent()
            .unwrap()
            .name,
        "bot"
    );
    assert_eq!(
        map(&json!({"sub": "alice"}), &issuer).unwrap().agent(),
        None
    );
    assert!(map(&json!({"sub": "alice", "agent_id": 7}), &issuer).is_err());
    for mapping in ["agent_id", "actor.sub"] {
        issuer.claim_mappings.agent = AgentMapping::new(mapping, "");
        assert!(
            map(&json!({"sub": "alice", "act": {"sub": "coder"}}), &issuer).is_err(),
            "{mapping}"
        );
    }
}

#[test]
fn a39_email_names_must_be_verified_and_plain() {
    let mut issuer = issuer();
    issuer.claim_mappings.username.claim = "email".to_owned();
    let of = |email: &str, verified: Value| {
        let mut claims = json!({"email": email});
        if !verified.is_null() {
            claims["email_verified"] = verified;
        }
        map(&claims, &issuer).map(|identity| identity.username)
    };
    assert_eq!(of("a@corp.com", json!(true)), Ok("a@corp.com".to_owned()));
    assert_eq!(
        of("a@corp.com", json!(null)),
        Ok("a@corp.com".to_owned()),
        "as Kubernetes: absent says nothing"
    );
    assert_eq!(
        of("A@Corp.com", json!(true)),
        Ok("A@Corp.com".to_owned()),
        "bytes are not folded"
    );
    for verified in [json!(false), json!("true"), json!(1), json!([true])] {
        assert!(of("a@corp.com", verified.clone()).is_err(), "{verified}");
    }
    for email in [
        "a@evil.com@corp.com",
        "\"a@evil.com\"@corp.com",
        "corp.com",
        "@corp.com",
        "a@",
        "a b@corp.com",
    ] {
        assert!(of(email, json!(true)).is_err(), "{email}");
    }
    assert!(
        map(
            &json!({"email": "a@corp.com", "email_verified": null}),
            &issuer
        )
        .is_err()
    );
}

#[test]
fn validation_rules_need_the_exact_string() {
    let mut issuer = issuer();
    issuer.claim_validation_rules = vec![ClaimRule {
        claim: "hd".to_owned(),
        required_value: "example.com".to_owned(),
    }];
    assert!(map(&json!({"sub": "alice", "hd": "example.com"}), &issuer).is_ok());
    for hd in [
        json!("Example.com"),
        json!(["example.com"]),
        json!("example.com.evil"),
        json!(null),
        json!(""),
    ] {
        assert!(
            map(&json!({"sub": "alice", "hd": hd}), &issuer).is_err(),
            "{hd}"
        );
    }
    assert!(map(&json!({"sub": "alice"}), &issuer).is_err());
}

#[test]
fn a_refused_name_is_cut_and_escaped_in_the_log() {
    let error = map(&json!({"sub": "alice\r\nfake log line"}), &issuer())
        .unwrap_err()
        .to_string();
    assert!(!error.contains('\n') && error.contains("\\n"), "{error}");
}

proptest! {
    #[test]
    fn a14_a16_whatever_the_claims_are_an_identity_is_clean(
        sub in any_name(), groups in prop::collection::vec(any_name(), 0..4), actor in any_name(),
        prefix in prop::sample::select(vec!["", "oidc:", "sys"]),
    ) {
        let mut issuer = issuer();
        issuer.claim_mappings.username.prefix = prefix.to_owned();
        issuer.claim_mappings.groups = Some(PrefixedClaim { claim: "groups".to_owned(), prefix: prefix.to_owned() });
        let claims = json!({"sub": sub, "groups": groups, "act": {"sub": actor}});
        if let Ok(identity) = map(&claims, &issuer) {
            let agent = identity.agent().map(|agent| agent.name.as_str());
            for name in [identity.username()].into_iter().chain(identity.groups().iter().map(String::as_str)).chain(agent) {
                prop_assert!(!name.is_empty() && name.trim() == name);
                prop_assert!(!name.bytes().any(|byte| byte < 0x20 || byte == 0x7f));
                prop_assert!(!name.to_lowercase().starts_with("system:"));
            }
            prop_assert_eq!(identity.username(), format!("{prefix}{sub}"));
        }
    }
}

/// Ordinary, hostile and random names.
fn any_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{1,8}",
        "(sys)?(tem)?:?[a-z]{0,8}",
        "[ a-z\\r\\n\\t\u{200b}\u{202e}%:A]{0,12}",
        ".{0,12}"
    ]
}

fn issuer() -> IssuerSettings {
    IssuerSettings::new("https://issuer.test", vec!["portcullis".to_owned()])
}

fn map(claims: &Value, issuer: &IssuerSettings) -> Result<Identity, IdentityError> {
    let mut claims = claims.as_object().unwrap().clone();
    claims.insert("iss".to_owned(), json!(issuer.url));
    let checked = Checked {
        subject: "subject",
        issued_at: Timestamp::UNIX_EPOCH,
        expires_at: Timestamp::UNIX_EPOCH,
    };
    identity(&claims, issuer, checked)
}

fn name_problem(error: &IdentityError) -> Option<&NameError> {
    match error {
        IdentityError::Caller(CallerError::Name { problem, .. }) => Some(problem),
        _ => None,
    }
}
