use clap::Parser as _;
use loadtest::issuer::{Answer, Document, Issuer, Running};
use loadtest::pki::Ca;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::cli::caller::account::{AccountArgs, Source};

#[tokio::test]
async fn a_provider_must_be_the_one_that_was_named() {
    let place = Place::start().await;
    place.provider().await.unwrap();
    let good = place.discovery();
    for (problem, changed) in [
        ("its issuer is", json!({"issuer": "https://evil.test"})),
        (
            "its issuer is",
            json!({"issuer": format!("{}/", place.issuer.url())}),
        ),
        ("not a discovery document", json!({"token_endpoint": null})),
        ("not a discovery document", json!({"issuer": ["x"]})),
    ] {
        place.answer(Answer::Json(with(&good, changed)));
        let error = format!("{:#}", place.provider().await.err().unwrap());
        assert!(error.contains(problem), "{problem}: {error}");
    }
    let elsewhere = format!("{}/keys", place.issuer.url());
    for answer in [
        Answer::Redirect(elsewhere),
        Answer::Html,
        Answer::Status(500),
    ] {
        place.answer(answer.clone());
        assert!(place.provider().await.is_err(), "{answer:?}");
    }
}

#[tokio::test]
async fn nothing_is_sent_to_an_address_without_tls() {
    let place = Place::start().await;
    for address in [
        "http://127.0.0.1:1/token",
        "ftp://x/",
        "token",
        "https://u:p@localhost/",
    ] {
        let changed = with(&place.discovery(), json!({"token_endpoint": address}));
        place.answer(Answer::Json(changed));
        let provider = place.provider().await.unwrap();
        let failure = provider.obtain(Vec::new(), Expected::default()).await.err();
        let error = format!("{:#}", failure.unwrap().explained("refused"));
        assert!(
            ["https", "not a URL", "credentials"]
                .iter()
                .any(|problem| error.contains(problem)),
            "{address}: {error}"
        );
        assert!(!error.contains("refused"), "{error}");
    }
}

#[tokio::test]
async fn only_a_verified_token_of_this_login_is_taken() {
    let place = Place::start().await;
    let provider = place.provider().await.unwrap();
    let expected = Expected {
        nonce: Some("n"),
        subject: Some("dora"),
    };
    let good = json!({"aud": "cli", "sub": "dora", "nonce": "n"});
    let token = |claims: &Value| place.issuer.issue(claims.clone()).unwrap();
    place.answer(Answer::Json(
        json!({"id_token": token(&good), "refresh_token": "r"}),
    ));
    let tokens = provider.obtain(Vec::new(), expected).await.unwrap();
    assert_eq!(tokens.subject.as_deref(), Some("dora"));
    assert_eq!(tokens.refresh.unwrap().expose_secret(), "r");
    let left = tokens.expires_at.duration_since(Timestamp::now()).as_secs();
    assert!((3500..=3605).contains(&left), "{left}");

    let forged = Issuer::start("127.0.0.1:0".parse().unwrap(), place.tls())
        .await
        .unwrap();
    let bad = [
        token(&with(&good, json!({"aud": "another"}))),
        token(&with(&good, json!({"iss": "https://evil.test"}))),
        token(&with(&good, json!({"nonce": "m"}))),
        token(&with(&good, json!({"sub": "mallory"}))),
        token(&with(&good, json!({"iat": 1, "exp": 2}))),
        forged
            .issue(with(&good, json!({"iss": place.issuer.url()})))
            .unwrap(),
        "opaque".to_owned(),
    ];
    for token in bad {
        place.answer(Answer::Json(
            json!({"id_token": token, "access_token": "a"}),
        ));
        let error = failure(&provider, expected).await;
        assert!(!error.contains(&token), "{error}");
    }
    place.answer(Answer::Json(json!({"access_token": "the-access-token"})));
    let error = failure(
        &provider,
        Expected {
            nonce: Some("n"),
            subject: None,
        },
    )
    .await;
    assert!(
        error.contains("openid") && !error.contains("the-access"),
        "{error}"
    );
    place.answer(Answer::Json(
        json!({"id_token": 7, "expires_in": "the-access-token"}),
    ));
    let error = failure(&provider, expected).await;
    assert!(!error.contains("the-access"), "{error}");
}

#[tokio::test]
async fn a_machine_whose_clock_is_wrong_still_knows_when_a_token_ends() {
    let place = Place::start().await;
    let provider = place.provider().await.unwrap();
    for apart in [-7200, -600, 0, 600, 7200] {
        let now = Timestamp::now();
        let there = now - SignedDuration::from_secs(apart);
        let claims = json!({
            "aud": "cli", "sub": "dora", "iat": there.as_second(), "exp": there.as_second() + 300,
        });
        let granted = Granted {
            id_token: Some(place.issuer.issue(claims).unwrap()),
            access_token: None,
            refresh_token: None,
            expires_in: None,
        };
        let tokens = provider
            .accept(granted, Some(there), Expected::default())
            .await
            .unwrap();
        let left = tokens.expires_at.duration_since(now).as_secs();
        assert!((298..=302).contains(&left), "{apart}: {left}");
    }
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    account: AccountArgs,
}

/// An issuer whose discovery document's address is its token endpoint, too: both can be scripted.
struct Place {
    ca: Ca,
    issuer: Running,
    account: Account,
    _home: TempDir,
}

impl Place {
    async fn start() -> Self {
        let ca = Ca::new().unwrap();
        let tls = ca.server_config(&["localhost"], &["http/1.1"]).unwrap();
        let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), tls)
            .await
            .unwrap();
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("ca.crt");
        std::fs::write(&file, ca.pem()).unwrap();
        let line = Line::parse_from([
            "",
            &format!("--issuer={}", issuer.url()),
            "--client-id=cli",
            &format!("--issuer-ca-file={}", file.display()),
            &format!("--cache-dir={}", home.path().join("cache").display()),
        ]);
        let Some(Source::Provider(account)) = line.account.source().unwrap() else {
            panic!("no account")
        };
        let place = Self {
            ca,
            issuer,
            account,
            _home: home,
        };
        place.answer(Answer::Json(place.discovery()));
        place
    }

    fn tls(&self) -> std::sync::Arc<rustls::ServerConfig> {
        self.ca
            .server_config(&["localhost"], &["http/1.1"])
            .unwrap()
    }

    fn discovery(&self) -> Value {
        let url = self.issuer.url();
        json!({
            "issuer": url,
            "token_endpoint": format!("{url}/.well-known/openid-configuration"),
            "jwks_uri": format!("{url}/keys"),
            "id_token_signing_alg_values_supported": ["RS256"],
        })
    }

    fn answer(&self, answer: Answer) {
        self.issuer.script(Document::Discovery, answer);
    }

    async fn provider(&self) -> anyhow::Result<Provider<'_>> {
        Provider::discover(&self.account).await
    }
}

async fn failure(provider: &Provider<'_>, expected: Expected<'_>) -> String {
    let failed = provider
        .obtain(Vec::new(), expected)
        .await
        .expect_err("a failure");
    format!("{:#}", failed.explained("refused"))
}

fn with(value: &Value, changed: Value) -> Value {
    let mut value = value.clone();
    if let (Some(members), Value::Object(changed)) = (value.as_object_mut(), changed) {
        members.extend(changed);
    }
    value
}
