//! What was done, and who looks at that.

use super::*;

/// What a caller claims, asks for and is told is shown as it is, and hides nothing.
#[tokio::test]
async fn commands_show_what_callers_chose_and_nothing_of_it_acts() {
    let place = Place::start().await;
    let evil = "<script>alert(1)</script><img src=x>\"' \u{202e}\u{1b}[2J";
    let carol = place.log_in(json!({})).await;
    let id = uuid::Uuid::now_v7().to_string();
    let now = Timestamp::now();
    let event = json!({
        "auditID": id, "stage": "ResponseComplete", "verb": "delete", "requestURI": evil, "user": {"username": evil},
        "objectRef": {"resource": evil, "namespace": evil, "name": evil, "apiVersion": "v1"},
        "responseStatus": {"code": 403, "message": evil}, "requestReceivedTimestamp": now, "stageTimestamp": now,
        "annotations": {
            "portcullis.dev/decision": "deny", "portcullis.dev/rule": evil, "portcullis.dev/agent": evil,
            "portcullis.dev/cluster": evil, "portcullis.dev/claimed-command": evil, "portcullis.dev/claimed-session": evil,
            "portcullis.dev/approval": evil, "portcullis.dev/grant": evil, "portcullis.dev/recording": evil,
            "portcullis.dev/masked-paths": evil, "portcullis.dev/other": evil,
        },
    });
    let file = place.folder.path().join("audit.jsonl");
    let mut log = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    std::io::Write::write_all(&mut log, format!("{event}\n").as_bytes()).unwrap();

    let agent = crate::identity::client::login::encoded(evil);
    for target in [
        "/console/commands".to_owned(),
        format!("/console/commands?agent={agent}&verdict=deny"),
        format!("/console/commands/{id}"),
    ] {
        let page = place.get(&target, &carol).await;
        assert_eq!(page.status, 200, "{target}: {}", page.text);
        assert!(
            page.text.contains("&lt;script&gt;alert(1)"),
            "{target}: {}",
            page.text
        );
        assert!(page.text.contains(&format!("/console/commands/{id}")) || target.ends_with(&id));
        // What was typed into a field stays in it as it was.
        let behind = page.text.rsplit("</form>").next().unwrap();
        let told = if target.contains('?') {
            behind
        } else {
            &page.text
        };
        for bad in ["<script>", "<img", "\"'"] {
            assert!(
                !page.text.contains(bad),
                "{target}: {bad:?} in {}",
                page.text
            );
        }
        for bad in ["\u{202e}", "\u{1b}"] {
            assert!(!told.contains(bad), "{target}: {bad:?} in {told}");
        }
    }
}

#[tokio::test]
async fn what_people_look_at_is_on_record_and_not_in_their_way() {
    let place = Place::start().await;
    let carol = place.log_in(json!({})).await;
    // What people look at here is on record, and not in their way.
    let list = place.get("/console/commands", &carol).await;
    assert!(
        !list.text.contains("get /console/commands"),
        "{}",
        list.text
    );
    let audit = place.audit();
    assert!(
        audit
            .iter()
            .any(|event| event["requestURI"] == "/console/commands")
    );
    for (target, status) in [
        ("/console/commands/x", 404),
        (
            "/console/commands/01997c3e-8f0e-7c52-9d2b-6a1f0f4c1f11",
            404,
        ),
        ("/console/commands?verdict=maybe", 400),
        ("/console/commands?since=yesterday", 400),
        ("/console/commands?at=x", 400),
        ("/console/commands?at=99-99", 200),
    ] {
        assert_eq!(place.get(target, &carol).await.status, status, "{target}");
    }
}

#[tokio::test]
async fn so_many_read_the_log_at_one_time() {
    let place = Place::start().await;
    let carol = place.log_in(json!({})).await;
    let all = place.console.rooms.trail.hold_in_tests();
    assert_eq!(place.get("/console/commands", &carol).await.status, 429);
    drop(all);
    assert_eq!(place.get("/console/commands", &carol).await.status, 200);
}
