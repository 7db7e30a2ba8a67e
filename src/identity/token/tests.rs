use std::sync::LazyLock;
use std::time::Duration;

use loadtest::issuer::{Algorithm, SigningKeys};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::identity::error::CallerError;
use crate::identity::keys::key_set::KeySet;

static KEYS: LazyLock<SigningKeys> = LazyLock::new(|| SigningKeys::generate("1").unwrap());
static SET: LazyLock<KeySet> = LazyLock::new(|| set(&KEYS));

const NOW: i64 = 1_800_000_000;
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

#[test]
fn a_good_token_of_each_algorithm_is_accepted() {
    for algorithm in ALGORITHMS {
        let token = KEYS.get(algorithm).unwrap().token(&claims()).unwrap();
        let verified = check(&token, &issuer()).unwrap();
        assert_eq!(verified.identity.username(), "alice");
        assert_eq!(verified.ends_at.as_second(), NOW + 3600);
        assert_eq!(
            verified.identity.expires_at().as_second(),
            NOW + 3630,
            "exp and skew"
        );
    }
}

#[test]
fn a01_no_algorithm_is_no_signature() {
    let payload = encode(&claims().to_string());
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"None"}"#,
        r#"{"alg":"nOnE"}"#,
        r#"{"alg":""}"#,
        "{}",
        r#"{"alg":["RS256"]}"#,
        r#"{"alg":null}"#,
        r#"{"alg":"rs256"}"#,
    ] {
        for signature in ["", "AA"] {
            refused(&format!("{}.{payload}.{signature}", encode(header)));
        }
        let key = KEYS.get(Algorithm::RS256).unwrap();
        refused(&key.sign(header, &claims().to_string()).unwrap());
    }
    let good = good();
    refused(good.rsplit_once('.').unwrap().0);
    refused(&format!("{}.", good.rsplit_once('.').unwrap().0));
}

#[test]
fn a02_a_public_key_is_never_a_shared_secret() {
    let rsa = KEYS.get(Algorithm::RS256).unwrap().public();
    let ec = KEYS.get(Algorithm::ES256).unwrap().public();
    let mut secrets: Vec<Vec<u8>> = Vec::new();
    for jwk in [rsa, ec] {
        for text in [
            jwk.to_string(),
            format!("{jwk}\n"),
            serde_json::to_string_pretty(jwk).unwrap(),
        ] {
            secrets.push(text.into_bytes());
        }
        for member in ["n", "x", "y", "e"]
            .iter()
            .filter_map(|member| jwk[*member].as_str())
        {
            secrets.push(member.as_bytes().to_vec());
            let der = URL_SAFE_NO_PAD.decode(member).unwrap();
            let pem = base64::engine::general_purpose::STANDARD.encode(&der);
            secrets.push(
                format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----").into_bytes(),
            );
            secrets.push(
                format!("-----BEGIN PUBLIC KEY-----\n{pem}\n-----END PUBLIC KEY-----\n")
                    .into_bytes(),
            );
            secrets.push(der);
        }
    }
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        for (secret, key_id) in secrets
            .iter()
            .flat_map(|secret| [(secret, "rs256-1"), (secret, "es256-1")])
        {
            let header =
                json!({"alg": format!("{algorithm:?}"), "kid": key_id, "typ": "JWT"}).to_string();
            let message = format!("{}.{}", encode(&header), encode(&claims().to_string()));
            let key = jsonwebtoken::EncodingKey::from_secret(secret);
            let signature =
                jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
            refused(&format!("{message}.{signature}"));
        }
    }
}

#[test]
fn a03_the_key_decides_the_algorithm() {
    let mut issuer = issuer();
    issuer.signing_algorithms = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ]
    .map(|name| name.parse().unwrap())
    .to_vec();
    for algorithm in ALGORITHMS {
        let key = KEYS.get(algorithm).unwrap();
        for claimed in &issuer.signing_algorithms {
            let header = json!({"alg": claimed.name(), "kid": key.key_id()}).to_string();
            let token = key.sign(&header, &claims().to_string()).unwrap();
            let accepted = check(&token, &issuer).is_ok();
            assert_eq!(
                accepted,
                claimed.name() == format!("{algorithm:?}"),
                "{algorithm:?} as {}",
                claimed.name()
            );
        }
    }
    issuer.signing_algorithms = vec![SigningAlgorithm::ES256];
    assert!(
        check(&good(), &issuer).is_err(),
        "the issuer's list counts even if the key set has the key"
    );
}

#[test]
fn a03_another_issuers_key_of_the_same_id_does_not_verify() {
    let other = SigningKeys::generate("1").unwrap();
    for algorithm in ALGORITHMS {
        let token = other.get(algorithm).unwrap().token(&claims()).unwrap();
        assert_eq!(
            check(&token, &issuer()).unwrap_err(),
            TokenError::Signature.into()
        );
    }
}

#[test]
fn a04_key_ids_are_opaque_and_short() {
    let long = "k".repeat(64 * 1024 / 8);
    for key_id in [
        json!("../../etc/passwd"),
        json!("http://evil.test/jwks"),
        json!("x' OR '1'='1"),
        json!("$(id)"),
        json!("rs256-1\0"),
        json!(long),
        json!(""),
        json!(1),
        json!(null),
        json!(["rs256-1"]),
    ] {
        let header = json!({"alg": "RS256", "kid": key_id}).to_string();
        refused(
            &KEYS
                .get(Algorithm::RS256)
                .unwrap()
                .sign(&header, &claims().to_string())
                .unwrap(),
        );
    }
}

#[test]
fn a05_keys_in_the_header_are_ignored_and_extensions_refused() {
    let attacker = SigningKeys::generate("1").unwrap();
    let header = |extra: Value| {
        let mut header = json!({"alg": "RS256", "kid": "rs256-1", "typ": "JWT"});
        header
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        header.to_string()
    };
    let jwk = attacker.get(Algorithm::RS256).unwrap().public();
    for hint in [
        json!({"jwk": jwk}),
        json!({"jku": "https://evil.test/keys"}),
        json!({"x5u": "https://evil.test/cert"}),
        json!({"x5c": ["MIIB"]}),
        json!({"x5t": "AAAA"}),
    ] {
        let (header, payload) = (header(hint.clone()), claims().to_string());
        refused(
            &attacker
                .get(Algorithm::RS256)
                .unwrap()
                .sign(&header, &payload)
                .unwrap(),
        );
        let own = KEYS
            .get(Algorithm::RS256)
            .unwrap()
            .sign(&header, &payload)
            .unwrap();
        assert!(
            check(&own, &issuer()).is_ok(),
            "{hint} is ignored, not fatal"
        );
    }
    for extension in [
        json!({"crit": ["x"], "x": 1}),
        json!({"crit": []}),
        json!({"crit": "exp"}),
        json!({"b64": false}),
        json!({"b64": false, "crit": ["b64"]}),
        json!({"zip": "DEF"}),
        json!({"enc": "A128GCM"}),
        json!({"cty": "JWT"}),
    ] {
        refused(
            &KEYS
                .get(Algorithm::RS256)
                .unwrap()
                .sign(&header(extension), &claims().to_string())
                .unwrap(),
        );
    }
}

#[test]
fn a06_odd_encodings_and_signatures_are_refused() {
    for algorithm in ALGORITHMS {
        let token = KEYS.get(algorithm).unwrap().token(&claims()).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let mut longer = raw.clone();
        longer.insert(0, 0);
        let signed = |bytes: &[u8]| format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes));
        for odd in [
            signed(&longer),
            signed(&vec![0; raw.len()]),
            signed(&raw[..raw.len() - 1]),
            signed(&[]),
            signed(&[0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01]),
            signed(&der(&raw)),
            format!("{token}="),
            format!("{token}=="),
            format!("{token} "),
            format!(" {token}"),
            format!("{token}\n"),
            format!("{token}."),
            format!(".{token}"),
            format!("{token}.{signature}.{signature}"),
            token.replacen('.', "..", 1),
            token.replacen('.', ".\n", 1),
            token.replacen('.', "=.", 1),
            format!("{message}.{}", spare_bits(signature)),
            token.replace(['-', '_'], "+"),
            format!(
                "{message}.{}",
                base64::engine::general_purpose::STANDARD.encode(&raw)
            ),
        ] {
            if odd != token {
                refused(&odd);
            }
        }
    }
    let nested = json!({"alg": "RS256", "kid": "rs256-1", "cty": "JWT"}).to_string();
    refused(
        &KEYS
            .get(Algorithm::RS256)
            .unwrap()
            .sign(&nested, &format!("\"{}\"", good()))
            .unwrap(),
    );
}

#[test]
fn a07_time_claims_of_the_wrong_type_are_refused() {
    let texts = [
        "\"never\"",
        "null",
        "1e400",
        "\"9999999999\"",
        "[1900000000]",
        "{}",
        "-1",
        "1900000000.5",
        "1.9e9",
        "true",
        "18446744073709551615",
        "99999999999999999999",
        "253402300800",
    ];
    for name in ["exp", "nbf", "iat"] {
        for text in texts {
            let mut all = claims();
            all[name] = json!(1);
            let payload = all
                .to_string()
                .replace(&format!("\"{name}\":1"), &format!("\"{name}\":{text}"));
            assert!(payload.contains(text), "{payload}");
            let header = json!({"alg": "ES256", "kid": "es256-1"}).to_string();
            refused(
                &KEYS
                    .get(Algorithm::ES256)
                    .unwrap()
                    .sign(&header, &payload)
                    .unwrap(),
            );
        }
    }
    for name in ["exp", "iat", "iss", "sub", "aud"] {
        let mut without = claims();
        without.as_object_mut().unwrap().remove(name);
        refused(&sign(&without));
        refused(&sign(&with(name, json!(null))));
        refused(&sign(&with(name, json!({}))));
    }
    for name in ["iss", "sub"] {
        refused(&sign(&with(name, json!(""))));
        refused(&sign(&with(name, json!(["alice"]))));
    }
}

#[test]
fn a08_times_at_the_edges_of_the_skew() {
    let at = |exp: i64, iat: i64, nbf: i64| {
        let mut all = claims();
        all["exp"] = json!(exp);
        all["iat"] = json!(iat);
        all["nbf"] = json!(nbf);
        check(&sign(&all), &issuer()).map(|_| ())
    };
    let past = NOW - 1000;
    assert_eq!(at(NOW - 29, past, past), Ok(()));
    assert_eq!(
        at(NOW - 30, past, past),
        Err(TokenError::Expired(30).into())
    );
    assert_eq!(
        at(NOW - 31, past, past),
        Err(TokenError::Expired(31).into())
    );
    let future = NOW + 1000;
    for (ahead, accepted) in [(29, true), (30, true), (31, false)] {
        assert_eq!(
            at(future, past, NOW + ahead).is_ok(),
            accepted,
            "nbf {ahead} s ahead"
        );
        assert_eq!(
            at(future, NOW + ahead, past).is_ok(),
            accepted,
            "iat {ahead} s ahead"
        );
    }
    assert!(
        at(NOW + 100, NOW + 100, past).is_err(),
        "exp must be after iat"
    );
}

#[test]
fn a08_lifetimes_are_capped() {
    let mut issuer = issuer();
    issuer.token_lifetime_max = Duration::from_mins(10);
    let of = |exp: i64| check(&sign(&with("exp", json!(exp))), &issuer).map(|_| ());
    assert_eq!(of(NOW + 600), Ok(()));
    assert_eq!(
        of(NOW + 601),
        Err(TokenError::Lifetime {
            lifetime: 601,
            max: 600
        }
        .into())
    );
    assert!(of(253_402_300_799).is_err(), "the year 9999");
    issuer.token_lifetime_max = Duration::MAX;
    assert!(
        check(
            &sign(&with("exp", json!(Timestamp::MAX.as_second()))),
            &issuer
        )
        .is_err(),
        "no overflow"
    );
}

#[test]
fn a09_the_issuer_is_compared_byte_for_byte() {
    for iss in [
        "https://issuer.test/",
        "https://Issuer.test",
        "HTTPS://issuer.test",
        "http://issuer.test",
        "https://іssuer.test",
        "https://issuer.test ",
    ] {
        let error = check(&sign(&with("iss", json!(iss))), &issuer()).unwrap_err();
        assert_eq!(error, TokenError::UnknownIssuer(iss.to_owned()).into());
    }
    refused(&sign(&with("iss", json!(["https://issuer.test"]))));
}

#[test]
fn a10_the_audience_names_us_and_the_client_is_ours() {
    let of = |aud: Value, azp: Value| {
        let mut all = with("aud", aud);
        if !azp.is_null() {
            all["azp"] = azp;
        }
        check(&sign(&all), &issuer()).is_ok()
    };
    let none = || json!(null);
    assert!(of(json!("portcullis"), none()));
    assert!(of(json!(["portcullis"]), none()));
    assert!(of(json!(["portcullis", "other"]), json!("portcullis")));
    assert!(of(json!("portcullis"), json!("portcullis")));
    for aud in [
        json!(["portcullis", "other"]),
        json!("other"),
        json!(""),
        json!([]),
        json!("portcullis2"),
    ] {
        assert!(!of(aud.clone(), none()), "{aud}");
    }
    for aud in [
        json!("portcul"),
        json!("Portcullis"),
        json!("portcullis,other"),
        json!(["portcullis", 7]),
        json!(7),
    ] {
        assert!(!of(aud.clone(), none()), "{aud}");
    }
    for azp in [json!("other"), json!(""), json!(["portcullis"]), json!(7)] {
        assert!(!of(json!("portcullis"), azp.clone()), "{azp}");
        assert!(!of(json!(["portcullis", "other"]), azp.clone()), "{azp}");
    }
    let mut issuer = issuer();
    issuer.authorized_parties = vec!["kubelogin".to_owned()];
    assert!(check(&sign(&with("azp", json!("kubelogin"))), &issuer).is_ok());
    assert!(check(&sign(&with("azp", json!("portcullis"))), &issuer).is_err());
}

#[test]
fn a11_only_the_configured_kind_of_token() {
    let typed = |typ: Value| {
        let header = json!({"alg": "ES256", "kid": "es256-1", "typ": typ}).to_string();
        KEYS.get(Algorithm::ES256)
            .unwrap()
            .sign(&header, &claims().to_string())
            .unwrap()
    };
    for typ in ["JWT", "jwt", "application/jwt"] {
        assert!(check(&typed(json!(typ)), &issuer()).is_ok(), "{typ}");
    }
    for typ in [
        "at+jwt",
        "application/at+jwt",
        "logout+jwt",
        "dpop+jwt",
        "secevent+jwt",
        "",
        "JOSE",
    ] {
        let error = check(&typed(json!(typ)), &issuer()).unwrap_err();
        assert!(
            matches!(error, IdentityError::Token(TokenError::Type(_))),
            "{typ}: {error}"
        );
    }
    refused(&typed(json!(["JWT"])));
    let header = json!({"alg": "ES256", "kid": "es256-1"}).to_string();
    let untyped = KEYS
        .get(Algorithm::ES256)
        .unwrap()
        .sign(&header, &claims().to_string())
        .unwrap();
    assert!(check(&untyped, &issuer()).is_ok(), "Dex sends no typ");

    let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    refused(&sign(&with("events", events)));
    for keycloak in ["Refresh", "Offline", "Logout", "Bearer"] {
        refused(&sign(&with("typ", json!(keycloak))));
    }
    assert!(check(&sign(&with("typ", json!("ID"))), &issuer()).is_ok());

    let mut issuer = issuer();
    issuer.token_types = vec!["at+jwt".to_owned()];
    assert!(check(&typed(json!("at+jwt")), &issuer).is_ok());
    assert!(check(&typed(json!("JWT")), &issuer).is_err());
    assert!(check(&untyped, &issuer).is_err());
}

#[test]
fn a13_a_user_that_maps_to_nothing_is_forbidden_not_unauthorized() {
    let mut issuer = issuer();
    issuer.claim_mappings.username.claim = "email".to_owned();
    let error = check(&good(), &issuer).unwrap_err();
    assert_eq!(error, CallerError::NoUser("email".to_owned()).into());
}

#[test]
fn a20_repeated_keys_are_refused_in_header_and_payload() {
    let key = KEYS.get(Algorithm::ES256).unwrap();
    let header = r#"{"alg":"ES256","kid":"es256-1"}"#;
    let payload = claims().to_string();
    assert!(check(&key.sign(header, &payload).unwrap(), &issuer()).is_ok());
    let twice = payload.replacen('{', r#"{"groups":["a"],"groups":["b"],"#, 1);
    refused(&key.sign(header, &twice).unwrap());
    refused(
        &key.sign(&header.replacen('{', r#"{"kid":"x","#, 1), &payload)
            .unwrap(),
    );
    refused(
        &key.sign(&header.replacen('{', r#"{"alg":"none","#, 1), &payload)
            .unwrap(),
    );
}

#[test]
fn a24_hostile_sizes_are_refused_cheaply() {
    refused(&"a".repeat(1024 * 1024));
    refused(&".".repeat(100_000));
    refused(&".".repeat(TOKEN_BYTES_MAX));
    let key = KEYS.get(Algorithm::ES256).unwrap();
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(5000), "]".repeat(5000));
    refused(
        &key.sign(r#"{"alg":"ES256","kid":"es256-1"}"#, &deep)
            .unwrap(),
    );
}

proptest! {
    #[test]
    fn a06_a_changed_character_never_verifies(position in any::<prop::sample::Index>(), replacement in "[A-Za-z0-9_.-]") {
        let token = KEYS.get(Algorithm::ES256).unwrap().token(&claims()).unwrap();
        let index = position.index(token.len());
        let mut changed = token.clone();
        changed.replace_range(index..=index, &replacement);
        prop_assume!(changed != token);
        prop_assert!(check(&changed, &issuer()).is_err());
    }

    #[test]
    fn a24_any_text_is_refused_without_panic(token in "[A-Za-z0-9_.-]{0,200}|.{0,100}") {
        prop_assert!(check(&token, &issuer()).is_err());
    }
}

fn issuer() -> IssuerSettings {
    IssuerSettings::new("https://issuer.test", vec!["portcullis".to_owned()])
}

fn claims() -> Value {
    json!({"iss": "https://issuer.test", "aud": "portcullis", "sub": "alice", "iat": NOW, "exp": NOW + 3600})
}

fn with(name: &str, value: Value) -> Value {
    let mut all = claims();
    all[name] = value;
    all
}

fn good() -> String {
    KEYS.get(Algorithm::RS256)
        .unwrap()
        .token(&claims())
        .unwrap()
}

fn sign(claims: &Value) -> String {
    KEYS.get(Algorithm::ES256).unwrap().token(claims).unwrap()
}

fn set(keys: &SigningKeys) -> KeySet {
    let allowed = issuer().signing_algorithms;
    KeySet::parse(keys.key_set().to_string().as_bytes(), &allowed)
        .unwrap()
        .0
}

/// What the authenticator does, without its cache and its key fetching.
fn check(token: &str, issuer: &IssuerSettings) -> Result<Verified, IdentityError> {
    let token = Unverified::parse(token)?;
    let key = SET
        .find(token.key_id(), token.algorithm())
        .ok_or_else(|| TokenError::UnknownKey(token.key_id().map(str::to_owned)))?;
    token.verify(key, issuer, Timestamp::from_second(NOW).unwrap())
}

#[track_caller]
fn refused(token: &str) {
    match check(token, &issuer()) {
        Err(IdentityError::Token(_)) => {}
        other => panic!(
            "{other:?} for {}",
            token.chars().take(300).collect::<String>()
        ),
    }
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A raw ECDSA signature as ASN.1, which JWS does not use (RFC 7518 §3.4).
fn der(raw: &[u8]) -> Vec<u8> {
    let (r, s) = raw.split_at(raw.len() / 2);
    let integer = |bytes: &[u8]| {
        [
            &[0x02, u8::try_from(bytes.len() + 1).unwrap_or(0x7f), 0],
            bytes,
        ]
        .concat()
    };
    let body = [integer(r), integer(s)].concat();
    [
        &[0x30, u8::try_from(body.len()).unwrap_or(0x7f)],
        body.as_slice(),
    ]
    .concat()
}

/// The same bytes with a last character that has bits to spare, if the length leaves any.
fn spare_bits(encoded: &str) -> String {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut characters: Vec<char> = encoded.chars().collect();
    let last = characters.pop().unwrap();
    let next = (ALPHABET.find(last).unwrap() + 1) % ALPHABET.len();
    characters.push(ALPHABET.chars().nth(next).unwrap());
    characters.into_iter().collect()
}
