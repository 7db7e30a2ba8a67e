//! Logins, and whose session it is.

use super::*;

#[tokio::test]
async fn only_the_browser_that_began_a_login_ends_it() {
    let place = Place::start().await;
    let (away, other) = (place.begin("").await, place.begin("").await);
    place.grant(&away, &json!({}));
    let state = &away.state;
    for (what, target, cookie, code) in [
        (
            "no cookie",
            format!("code=c&state={state}"),
            String::new(),
            400,
        ),
        (
            "another login's cookie",
            format!("code=c&state={state}"),
            other.cookie.clone(),
            400,
        ),
        (
            "a wrong state",
            "code=c&state=wrong".to_owned(),
            away.cookie.clone(),
            400,
        ),
        ("no state", "code=c".to_owned(), away.cookie.clone(), 400),
        (
            "no code",
            format!("state={state}"),
            away.cookie.clone(),
            400,
        ),
        (
            "two codes",
            format!("code=c&code=d&state={state}"),
            away.cookie.clone(),
            400,
        ),
        (
            "a cut cookie",
            format!("code=c&state={state}"),
            away.cookie.chars().take(60).collect(),
            400,
        ),
        (
            "two cookies",
            format!("code=c&state={state}"),
            format!("{}; {}", away.cookie, other.cookie),
            400,
        ),
        (
            "another provider",
            format!("code=c&state={state}&iss=https://evil.test"),
            away.cookie.clone(),
            403,
        ),
        (
            "a no",
            format!("error=access_denied&error_description=%3Cscript%3E&state={state}"),
            away.cookie.clone(),
            403,
        ),
    ] {
        let back = place
            .get(&format!("/console/callback?{target}"), &cookie)
            .await;
        assert_eq!(back.status, code, "{what}: {}", back.text);
        assert!(back.cookie(SESSION_COOKIE).is_none(), "{what}");
        assert!(!back.text.contains("<script>"), "{what}: {}", back.text);
    }
    assert_eq!(place.come_back(&away).await.status, 303, "the right one");
}

#[tokio::test]
async fn only_a_token_of_this_login_for_this_console_is_taken() {
    let place = Place::start().await;
    for (what, changed) in [
        ("a nonce of another login", json!({"nonce": "stolen"})),
        ("no nonce", json!({"nonce": null})),
        ("another client's", json!({"aud": "cli"})),
        (
            "handed on",
            json!({"aud": ["console", "cli"], "azp": "cli"}),
        ),
        ("expired", json!({"iat": 1_000, "exp": 2_000})),
        ("of another issuer", json!({"iss": "https://evil.test"})),
        ("an agent's", json!({"act": {"sub": "robot"}})),
        ("a name of Kubernetes", json!({"sub": "system:admin"})),
    ] {
        let away = place.begin("").await;
        place.grant(&away, &changed);
        let back = place.come_back(&away).await;
        assert!((400..500).contains(&back.status), "{what}: {}", back.status);
        assert!(back.cookie(SESSION_COOKIE).is_none(), "{what}");
    }
    // A code is exchanged once: the provider says no to a second time, and so does the console.
    let away = place.begin("").await;
    place.grant(&away, &json!({}));
    assert_eq!(place.come_back(&away).await.status, 303);
    place.answer(json!({"error": "invalid_grant"}));
    let again = place.come_back(&away).await;
    assert!(again.cookie(SESSION_COOKIE).is_none(), "{}", again.text);
    for answer in [
        json!({}),
        json!({"id_token": "opaque"}),
        json!({"id_token": "a.b.c"}),
    ] {
        let away = place.begin("").await;
        place.answer(answer);
        assert!(
            place
                .come_back(&away)
                .await
                .cookie(SESSION_COOKIE)
                .is_none()
        );
    }
}

#[tokio::test]
async fn a_session_id_is_never_one_that_the_browser_brought() {
    let place = Place::start().await;
    let planted = format!("{SESSION_COOKIE}=planted");
    assert_eq!(place.get("/console/approvals", &planted).await.status, 401);
    let away = place.begin("").await;
    place.grant(&away, &json!({}));
    let both = Away {
        cookie: format!("{}; {planted}", away.cookie),
        ..away
    };
    let back = place.come_back(&both).await;
    let first = back.cookie(SESSION_COOKIE).unwrap();
    assert_ne!(first, planted);
    assert_eq!(place.get("/console/approvals", &planted).await.status, 401);
    // Logging in again with the same browser ends the former session.
    let away = place.begin("").await;
    place.grant(&away, &json!({}));
    let again = Away {
        cookie: format!("{}; {first}", away.cookie),
        ..away
    };
    let second = place
        .come_back(&again)
        .await
        .cookie(SESSION_COOKIE)
        .unwrap();
    assert_ne!(first, second);
    assert_eq!(place.get("/console/approvals", &first).await.status, 401);
    assert_eq!(place.get("/console/approvals", &second).await.status, 200);
}
