//! Questions that wait for a yes, and live news of them.

use super::*;

impl Place {
    /// A question of carol's that people of these groups may answer; its id.
    async fn question(&self, reason: &str, groups: &[&str]) -> String {
        let carol = Identity::for_tests("carol", &["ops"]);
        let caller = Person {
            issuer: self.issuer.url().to_owned(),
            subject: "carol".to_owned(),
            ..Person::from(&carol)
        };
        let wish = Wish {
            caller,
            holder: Digest::of_caller(&carol),
            ahead: Ahead {
                role: reason.to_owned(),
                seconds: 600,
                reason: reason.to_owned(),
            },
            rule: reason.to_owned(),
            terms: Hold::by_one_of(groups),
        };
        let desk = &self.console.rooms.approvals.desk;
        desk.wish(wish).await.unwrap().unwrap().id
    }

    /// What goes on until somebody ends it.
    async fn follow(&self, cookie: &str) -> (Body, String) {
        let request = Request::get("/console/approvals/events")
            .header("host", "console.test")
            .header(COOKIE, cookie)
            .body(body::empty());
        let peer = "127.0.0.1:1".parse().unwrap();
        let response = self.console.serve(request.unwrap(), peer).await;
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        (body, String::from_utf8(first.to_vec()).unwrap())
    }
}

/// Whoever asked may look and take it back; a form that their page does not have changes nothing (threats H-04).
#[tokio::test]
async fn h_04_nobody_answers_their_own_question_with_a_form_of_their_own_making() {
    let place = Place::start().await;
    let id = place.question("debugging", &["ops"]).await;
    let carol = place.log_in(json!({})).await;
    let oscar = place.log_in(json!({"sub": "oscar"})).await;
    let dora = place
        .log_in(json!({"sub": "dora", "groups": ["developers"]}))
        .await;
    let page = format!("/console/approvals/{id}");
    let own = place.get(&page, &carol).await;
    assert!(
        own.text.contains("Withdraw it") && !own.text.contains("/approve"),
        "{}",
        own.text
    );
    let (csrf, theirs) = (place.csrf(&carol).await, place.csrf(&dora).await);
    let approve = format!("{page}/approve");
    for (cookie, csrf, status) in [(&carol, &csrf, 403), (&dora, &theirs, 404)] {
        let form = format!("csrf={csrf}&requests=0&reason=mine");
        assert_eq!(place.post(&approve, cookie, &form).await.status, status);
    }
    // A yes to another number of requests than there are is one to something else; links and previews say nothing.
    let csrf = place.csrf(&oscar).await;
    for what in ["approve", "deny", "withdraw"] {
        let link = format!("{page}/{what}?csrf={csrf}&requests=0&reason=x");
        assert_eq!(place.get(&link, &oscar).await.status, 404, "{what}");
    }
    assert!(place.get(&page, &oscar).await.text.contains("/approve"));
    let form = format!("csrf={csrf}&requests=0&reason=fine");
    assert_eq!(place.post(&approve, &oscar, &form).await.status, 303);
    let again = place.post(&approve, &oscar, &form).await;
    assert_eq!(again.status, 409, "{}", again.text);
    let page = place.get(&page, &oscar).await;
    assert!(page.text.contains("state-approved"), "{}", page.text);
}

/// What asks for a yes cannot reach into the page that it is read on, nor into its live news.
#[tokio::test]
async fn h_03_what_a_question_says_is_shown_and_does_nothing() {
    let place = Place::start().await;
    let evil = "<script>alert(1)</script><img src=x>\"' \u{202e}\u{1b}[2J\r\n\r\nevent: approvals";
    let id = place.question(evil, &["ops"]).await;
    let oscar = place.log_in(json!({"sub": "oscar"})).await;
    for target in [
        "/console/approvals".to_owned(),
        format!("/console/approvals/{id}"),
    ] {
        let page = place.get(&target, &oscar).await;
        assert!(
            page.text.contains("&lt;script&gt;alert(1)"),
            "{}",
            page.text
        );
        for bad in ["<script>", "<img", "\u{202e}", "\u{1b}", "\"'"] {
            assert!(!page.text.contains(bad), "{bad:?} in {}", page.text);
        }
    }
    let (_body, news) = place.follow(&oscar).await;
    assert!(
        news.starts_with("event: approvals\ndata: {\"waiting\":1,"),
        "{news}"
    );
    assert_eq!(news.matches("event:").count(), 1, "{news}");
    assert!(!news.contains("script"), "{news}");
}

/// What a page follows ends with its session, however that ends; and one person has not all of the places.
#[tokio::test]
async fn h_07_live_news_end_with_the_session_the_block_and_the_revocation() {
    let place = Place::start().await;
    for how in ["log out", "another login", "block", "revocation"] {
        let name = how.replace(' ', "-");
        let carol = place.log_in(json!({"sub": name})).await;
        let (mut body, news) = place.follow(&carol).await;
        assert!(news.contains("\"waiting\":0"), "{news}");
        let whose = crate::identity::Whose::User(name);
        match how {
            "log out" => {
                let form = format!("csrf={}", place.csrf(&carol).await);
                assert_eq!(
                    place.post("/console/logout", &carol, &form).await.status,
                    303
                );
            }
            "another login" => {
                let away = place.begin("").await;
                place.grant(&away, &json!({"sub": "somebody-else"}));
                let both = Away {
                    cookie: format!("{}; {carol}", away.cookie),
                    ..away
                };
                assert_eq!(place.come_back(&both).await.status, 303);
            }
            "block" => {
                let oscar = place.log_in(json!({"sub": "oscar"})).await;
                let csrf = place.csrf(&oscar).await;
                let form = format!("csrf={csrf}&kind=user&name=block&reason=why");
                let blocked = place.post("/console/callers/block", &oscar, &form).await;
                assert_eq!(blocked.status, 303, "{}", blocked.text);
            }
            _ => {
                let list = Revocations::new("1".to_owned(), [(whose, None)]);
                place.revocations.replace_in_tests(list);
            }
        }
        let end = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            while let Some(Ok(_)) = body.frame().await {}
        });
        assert!(end.await.is_ok(), "{how}: it goes on");
        let page = place.get("/console/approvals", &carol).await;
        assert!([401, 403].contains(&page.status), "{how}: {}", page.text);
    }
    let dave = place.log_in(json!({"sub": "dave"})).await;
    let mut open = Vec::new();
    for _ in 0..crate::limits::APPROVALS_WATCHERS_PER_PERSON_MAX {
        open.push(place.follow(&dave).await);
    }
    let more = place.get("/console/approvals/events", &dave).await;
    assert_eq!(more.status, 429, "{}", more.text);
    let erin = place.log_in(json!({"sub": "erin"})).await;
    place.follow(&erin).await;
}
