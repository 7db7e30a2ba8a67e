use std::time::Duration;

use loadtest::issuer::{Algorithm, Answer, Document, Issuer as LocalIssuer, Running};
use loadtest::pki::Ca;
use serde_json::{Value, json};

use super::*;
use crate::identity::{Block, Whom, Whose};

#[tokio::test]
async fn a_token_of_a_real_issuer_becomes_an_identity() {
    let world = World::start(1).await;
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let claims =
            json!({"sub": "alice", "groups": ["devs"], "act": {"sub": "coder"}, "jti": "t1"});
        let token = world.issuers[0].issue_with(algorithm, claims).unwrap();
        let identity = world.identify(&token).await.unwrap();
        assert_eq!(
            (identity.username(), identity.groups()),
            ("i0:alice", &["i0:devs".to_owned()][..])
        );
        assert_eq!(identity.agent().unwrap().name, "coder");
    }
    assert_eq!(world.authenticator.ready(), Ok(()));
    assert_eq!(world.issuers[0].fetches(Document::Keys), 1);
}

#[tokio::test]
async fn a04_a05_nothing_in_a_token_makes_the_gateway_fetch_from_elsewhere() {
    let world = World::start(1).await;
    let elsewhere = World::start(1).await;
    let other = &elsewhere.issuers;
    // Both have their keys: what is fetched from now on is the token's doing.
    elsewhere.identify(&elsewhere.token(0)).await.unwrap();
    world.identify(&world.token(0)).await.unwrap();
    let hint = format!("{}/keys", other[0].url());
    let header = json!({"alg": "RS256", "kid": hint, "jku": hint, "x5u": hint}).to_string();
    let before = other[0].fetches(Document::Keys);
    let token = other[0]
        .keys()
        .get(Algorithm::RS256)
        .unwrap()
        .sign(&header, &world.claims(0).to_string())
        .unwrap();
    let error = world.identify(&token).await.unwrap_err();
    assert_eq!(error, TokenError::UnknownKey(Some(hint)).into());
    assert_eq!(other[0].fetches(Document::Keys), before);
}

#[tokio::test]
async fn a09_keys_are_looked_up_at_the_tokens_own_issuer_only() {
    let world = World::start(2).await;
    for index in 0..2 {
        let name = format!("i{index}:alice");
        assert_eq!(
            world
                .identify(&world.token(index))
                .await
                .unwrap()
                .username(),
            name
        );
    }
    // Both issuers use the same key ids.
    let key = world.issuers[1].keys();
    let forged = key
        .get(Algorithm::RS256)
        .unwrap()
        .token(&world.claims(0))
        .unwrap();
    assert_eq!(
        world.identify(&forged).await.unwrap_err(),
        TokenError::Signature.into()
    );
}

#[tokio::test]
async fn a12_a_service_account_of_the_cluster_is_a_stranger() {
    let world = World::start(1).await;
    let claims = json!({
        "iss": "https://kubernetes.default.svc.cluster.local", "sub": "system:serviceaccount:default:default",
        "aud": ["https://kubernetes.default.svc.cluster.local"],
    });
    let token = world.issuers[0].issue(claims).unwrap();
    let error = world.identify(&token).await.unwrap_err();
    assert!(
        matches!(error, IdentityError::Token(TokenError::UnknownIssuer(_))),
        "{error}"
    );
}

#[tokio::test]
async fn a28_an_issuer_that_is_down_takes_only_its_own_callers_with_it() {
    let world = World::start_with(2, |index, issuer| {
        if index == 1 {
            issuer.script(Document::Discovery, Answer::Status(500));
        }
    })
    .await;
    let error = world.identify(&world.token(1)).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Gateway);
    assert!(error.to_string().contains("500"), "{error}");
    assert!(world.identify(&world.token(0)).await.is_ok());
    assert_eq!(world.authenticator.ready(), Ok(()));
}

#[tokio::test]
async fn a28_without_any_keys_the_gateway_is_not_ready() {
    let world = World::start_with(1, |_, issuer| issuer.script(Document::Keys, Answer::Html)).await;
    assert_eq!(
        world.identify(&world.token(0)).await.unwrap_err().fault(),
        Fault::Gateway
    );
    let problem = world.authenticator.ready().unwrap_err();
    assert!(problem.contains("not JSON"), "{problem}");
}

#[tokio::test]
async fn a30_a_rotated_key_is_picked_up_by_the_first_token_it_signed() {
    let world = World::start(1).await;
    let old = world.token(0);
    world.identify(&old).await.unwrap();
    world.issuers[0].rotate().unwrap();
    assert!(world.identify(&world.token(0)).await.is_ok());
    let error = world.identify(&old).await.unwrap_err();
    assert!(
        matches!(error, IdentityError::Token(TokenError::UnknownKey(_))),
        "remembered or not: {error}"
    );
}

#[tokio::test]
async fn a32_a_remembered_token_ends_at_its_exp_plus_skew_and_not_later() {
    let world = World::start(1).await;
    let now = Timestamp::now();
    let token = BearerToken::new(&world.token(0)).unwrap();
    for (later, accepted) in [
        (0, true),
        (3598, true),
        (3628, true),
        (3640, false),
        (0, true),
    ] {
        let at = now + Duration::from_secs(later);
        assert_eq!(
            world.authenticator.identify(&token, at).await.is_ok(),
            accepted,
            "{later} s later"
        );
    }
    assert_eq!(world.authenticator.stats().remembered, 1, "only before exp");
}

#[tokio::test]
async fn a32_refusals_are_not_remembered_and_identities_are() {
    let world = World::start(1).await;
    let token = world.token(0);
    let first = world.identify(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &world.identify(&token).await.unwrap()));
    let refused = format!("{token}x");
    for _ in 0..2 {
        world.identify(&refused).await.unwrap_err();
    }
    let stats = world.authenticator.stats();
    assert_eq!(
        (stats.accepted, stats.remembered, stats.refused_tokens),
        (2, 1, 2)
    );
}

#[tokio::test]
async fn a_revoked_token_is_refused_though_it_is_remembered() {
    let world = World::start(2).await;
    let now = Timestamp::now().as_second();
    let token = |issuer: usize, id: &str, issued: i64| {
        let claims = json!({"sub": "alice", "jti": id, "iat": issued, "exp": now + 3600});
        world.issuers[issuer].issue(claims).unwrap()
    };
    let (old, older) = (token(0, "old", now - 10), token(0, "older", now - 60));
    let (new, namesake) = (token(0, "new", now), token(1, "old", now - 60));
    for accepted in [&old, &older, &new, &namesake] {
        world.identify(accepted).await.unwrap();
    }
    let revoke = |whose: Whose, issued_before: Option<i64>| {
        let moment = issued_before.map(|second| Timestamp::from_second(second).unwrap());
        let list = Revocations::new(String::new(), [(whose, moment)]);
        world.refused.revocations.replace_in_tests(list);
    };
    let issuer = world.issuers[0].url().to_owned();
    let (id, subject) = ("old".to_owned(), "alice".to_owned());
    let one = Whose::Token {
        issuer: issuer.clone(),
        id,
    };
    revoke(one, None);
    let error = world.identify(&old).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Credential);
    assert_eq!(error.genuine().unwrap().username(), "i0:alice");
    assert!(error.client_message().contains("was revoked; log in again"));
    for accepted in [&older, &new, &namesake] {
        world.identify(accepted).await.unwrap();
    }
    revoke(Whose::Subject { issuer, subject }, Some(now));
    for refused in [&old, &older] {
        let error = world.identify(refused).await.unwrap_err();
        assert!(matches!(error, IdentityError::Revoked(_)), "{error}");
    }
    for accepted in [&new, &namesake] {
        world.identify(accepted).await.unwrap();
    }
    revoke(Whose::User("i1:alice".to_owned()), None);
    assert!(world.identify(&namesake).await.is_err());
    assert!(world.identify(&old).await.is_ok());
}

#[tokio::test]
async fn a_blocked_caller_is_refused_whatever_token_they_hold() {
    let world = World::start(2).await;
    let token = |issuer: usize, claims| world.issuers[issuer].issue(claims).unwrap();
    let (alice, bob) = (
        token(0, json!({"sub": "alice"})),
        token(0, json!({"sub": "bob"})),
    );
    let agent = token(0, json!({"sub": "alice", "act": {"sub": "bot"}}));
    let namesake = token(1, json!({"sub": "alice"}));
    for accepted in [&alice, &bob, &agent, &namesake] {
        world.identify(accepted).await.unwrap();
    }
    let block = Block {
        whom: Whom::User("i0:alice".to_owned()),
        by: "carol".to_owned(),
        at: Timestamp::now(),
        reason: "INC-7".to_owned(),
        until: None,
        subjects: Vec::new(),
    };
    let blocks = Blocks::new([block], Timestamp::now());
    world.refused.blocks.replace_in_tests(blocks);
    let renewed = token(0, json!({"sub": "alice", "jti": "another"}));
    for refused in [&alice, &agent, &renewed] {
        let error = world.identify(refused).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Caller);
        assert_eq!(error.genuine().unwrap().username(), "i0:alice");
        assert_eq!(error.block().unwrap().reason, "INC-7");
    }
    for accepted in [&bob, &namesake] {
        world.identify(accepted).await.unwrap();
    }
}

#[tokio::test]
async fn a33_every_refused_token_gets_the_same_answer() {
    let world = World::start(1).await;
    let issue = |claims: Value| world.issuers[0].issue(claims).unwrap();
    let good = world.token(0);
    let forged = world.issuers[0].keys();
    world.issuers[0].replace_under_same_key_ids().unwrap();
    let tokens = [
        good.rsplit_once('.').unwrap().0.to_owned(),
        format!("{}.AAAA", good.rsplit_once('.').unwrap().0),
        issue(json!({"sub": "alice", "aud": "other"})),
        issue(json!({"sub": "alice", "exp": 1})),
        issue(json!({"sub": "alice", "iss": "https://elsewhere.test"})),
        issue(json!({"sub": 7})),
        forged
            .get(Algorithm::ES256)
            .unwrap()
            .sign(r#"{"alg":"ES256","kid":"x"}"#, "{}")
            .unwrap(),
    ];
    let mut reasons = std::collections::BTreeSet::new();
    for token in tokens {
        let error = world.identify(&token).await.unwrap_err();
        assert_eq!(error.fault(), Fault::Credential);
        assert_eq!(
            error.client_message(),
            IdentityError::from(TokenError::Signature).client_message()
        );
        let reason = error.to_string();
        assert!(
            !reason.contains(&token),
            "the reason must not hold the token"
        );
        reasons.insert(reason);
    }
    assert!(reasons.len() >= 6, "the log tells them apart: {reasons:#?}");
}

#[tokio::test]
async fn a16_a_system_group_is_counted_for_an_alert() {
    let world = World::start_prefixed(1, false, |_, _| {}).await;
    let token = world.issuers[0]
        .issue(json!({"sub": "alice", "groups": ["system:masters"]}))
        .unwrap();
    let error = world.identify(&token).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Caller);
    assert_eq!(world.authenticator.stats().refused_system_names, 1);
}

#[tokio::test]
async fn unusable_settings_do_not_start() {
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let none = Settings {
        issuers: Vec::new(),
        stream_grace: Duration::ZERO,
    };
    let refused = Refused::nobody();
    let error = Authenticator::start(none, refused.clone(), &tasks, shutdown.clone()).unwrap_err();
    assert!(matches!(error, StartError::Settings(_)));
    let mut issuer = IssuerSettings::new("https://issuer.test", vec!["portcullis".to_owned()]);
    issuer.certificate_authority = Some("nonsense".to_owned());
    let broken = Settings {
        issuers: vec![issuer],
        stream_grace: Duration::ZERO,
    };
    assert!(matches!(
        Authenticator::start(broken, refused, &tasks, shutdown),
        Err(StartError::Issuer { .. })
    ));
}

/// Issuers and an authenticator that accepts their tokens.
struct World {
    issuers: Vec<Running>,
    authenticator: Arc<Authenticator>,
    refused: Refused,
    shutdown: CancellationToken,
}

impl World {
    async fn start(count: usize) -> Self {
        Self::start_with(count, |_, _| {}).await
    }

    async fn start_with(count: usize, prepare: impl Fn(usize, &Running)) -> Self {
        Self::start_prefixed(count, true, prepare).await
    }

    async fn start_prefixed(
        count: usize,
        prefixed: bool,
        prepare: impl Fn(usize, &Running),
    ) -> Self {
        let ca = Ca::new().unwrap();
        let (mut issuers, mut settings) = (Vec::new(), Vec::new());
        for index in 0..count {
            let tls = ca.server_config(&["localhost"], &["http/1.1"]).unwrap();
            let issuer = LocalIssuer::start("127.0.0.1:0".parse().unwrap(), tls)
                .await
                .unwrap();
            prepare(index, &issuer);
            let mut one = IssuerSettings::new(issuer.url(), vec!["portcullis".to_owned()]);
            one.certificate_authority = Some(ca.pem());
            one.key_timing.fetch_timeout = Duration::from_mins(1); // for machines under load
            if prefixed {
                one.claim_mappings.username.prefix = format!("i{index}:");
                one.claim_mappings.groups.as_mut().unwrap().prefix = format!("i{index}:");
            }
            settings.push(one);
            issuers.push(issuer);
        }
        let settings = Settings {
            issuers: settings,
            stream_grace: Duration::ZERO,
        };
        let shutdown = CancellationToken::new();
        let refused = Refused::nobody();
        let authenticator = Authenticator::start(
            settings,
            refused.clone(),
            &TaskTracker::new(),
            shutdown.clone(),
        )
        .unwrap();
        Self {
            issuers,
            authenticator,
            refused,
            shutdown,
        }
    }

    async fn identify(&self, token: &str) -> Result<Arc<Identity>, IdentityError> {
        self.authenticator
            .identify(&BearerToken::new(token).unwrap(), Timestamp::now())
            .await
    }

    fn token(&self, issuer: usize) -> String {
        self.issuers[issuer].issue(json!({"sub": "alice"})).unwrap()
    }

    fn claims(&self, issuer: usize) -> Value {
        let now = Timestamp::now().as_second();
        json!({
            "iss": self.issuers[issuer].url(), "sub": "alice", "aud": "portcullis", "iat": now, "exp": now + 600,
        })
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
