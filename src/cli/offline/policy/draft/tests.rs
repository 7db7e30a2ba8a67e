//! A draft lets through what was seen, and nothing else.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::config::case_file::caller;
use crate::policy::cases::parse_request;
use crate::policy::{Decision, Policy, Seen as Shown};

/// One line of an audit log.
fn line(user: &str, agent: Option<&str>, verb: &str, target: &str) -> String {
    let method = match verb {
        "create" => "POST",
        "delete" | "deletecollection" => "DELETE",
        "patch" => "PATCH",
        "update" => "PUT",
        _ => "GET",
    };
    let info = parse_request(&format!("{method} {target}")).unwrap();
    let object = info.is_resource_request.then(|| {
        json!({
            "resource": info.resource, "namespace": info.namespace, "apiGroup": info.api_group,
            "subresource": info.subresource, "apiVersion": info.api_version,
        })
    });
    let mut annotations =
        json!({"portcullis.dev/cluster": "demo", "portcullis.dev/decision": "allow"});
    if let Some(agent) = agent {
        annotations["portcullis.dev/agent"] = agent.into();
    }
    let event = json!({
        "stage": "ResponseComplete", "verb": info.verb, "requestURI": target,
        "user": {"username": user, "groups": ["dev"]}, "objectRef": object,
        "responseStatus": {"code": 200}, "stageTimestamp": "2026-11-21T12:00:00Z", "annotations": annotations,
    });
    event.to_string()
}

fn log() -> String {
    let mut lines = vec![
        line("alice", None, "get", "/api/v1/namespaces/shop/pods/web-0"),
        line("alice", None, "list", "/api/v1/namespaces/shop/pods"),
        line("alice", None, "list", "/api/v1/namespaces/shop/services"),
        line("alice", None, "get", "/api/v1/namespaces/shop/services/web"),
        line("alice", None, "list", "/apis/apps/v1/deployments"),
        line(
            "alice",
            None,
            "delete",
            "/api/v1/namespaces/shop/pods/web-0",
        ),
        line(
            "alice",
            None,
            "get",
            "/api/v1/namespaces/shop/pods/web-0/exec?command=sh",
        ),
        line("alice", None, "get", "/apis?timeout=32s"),
        line("alice", None, "get", "/metrics"),
        line(
            "eve*\n- x",
            None,
            "get",
            "/api/v1/namespaces/shop/pods/web-0",
        ),
        line("alice", Some("bot"), "list", "/api/v1/namespaces/no/events"),
    ];
    // What was refused, what is not over, a call of the control plane, and a torn line.
    let refused = line("alice", None, "get", "/api/v1/nodes");
    lines.push(refused.replace("200", "403"));
    lines.push(refused.replace("\"allow\"", "\"deny\""));
    lines.push(refused.replace("ResponseComplete", "RequestReceived"));
    lines.push(refused.replace("portcullis.dev/cluster", "portcullis.dev/operator"));
    lines.push(refused.chars().take(80).collect());
    lines.join("\n")
}

fn args(whom: impl FnOnce(&mut DraftArgs)) -> DraftArgs {
    let mut args = DraftArgs {
        audit: Vec::new(),
        user: None,
        group: None,
        agent: None,
        name: "draft".to_owned(),
        destructive: Destructive::Hold,
        approvers: vec!["on-call".to_owned()],
    };
    whom(&mut args);
    args
}

fn drafted(args: &mut DraftArgs) -> (String, Policy) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    std::fs::write(&file, log()).unwrap();
    args.audit = vec![file];
    let mut out = Vec::new();
    let outcome = draft(args, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(matches!(outcome, Outcome::Good), "{text}");
    let policy = policy_file::compile(&[(PathBuf::from("draft.yaml"), text.clone())]);
    (text, policy.unwrap())
}

fn says(policy: &Policy, user: &str, agent: Option<&str>, request: &str) -> &'static str {
    let info = parse_request(request).unwrap();
    let who = caller(user, &["dev"], agent);
    match policy.decide(&Arc::clone(&who), &info, "demo", &Shown::default()) {
        Decision::Allow(_) => "allow",
        Decision::Hold(_) => "hold",
        Decision::Deny(_) => "deny",
        Decision::Ask(_) => "ask",
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one policy, and all that is asked of it"
)]
fn a_draft_lets_through_what_was_seen_and_nothing_else() {
    let (text, policy) = drafted(&mut args(|_| {}));
    insta::assert_snapshot!(text);
    let (alice, bot) = (None, Some("bot"));
    for (user, agent, request, expected) in [
        (
            "alice",
            alice,
            "GET /api/v1/namespaces/shop/pods/web-0",
            "allow",
        ),
        (
            "alice",
            alice,
            "GET /api/v1/namespaces/shop/services",
            "allow",
        ),
        ("alice", alice, "GET /apis/apps/v1/deployments", "allow"),
        (
            "alice",
            alice,
            "DELETE /api/v1/namespaces/shop/pods/web-0",
            "hold",
        ),
        (
            "alice",
            alice,
            "POST /api/v1/namespaces/shop/pods/web-0/exec?command=sh",
            "allow",
        ),
        ("alice", alice, "GET /api/v1", "allow"),
        ("alice", alice, "GET /metrics", "allow"),
        ("alice", bot, "GET /api/v1/namespaces/no/events", "allow"),
        (
            "eve*\n- x",
            alice,
            "GET /api/v1/namespaces/shop/pods/web-0",
            "allow",
        ),
        // Another namespace, resource, verb, group, caller.
        (
            "alice",
            alice,
            "GET /api/v1/namespaces/other/pods/web-0",
            "deny",
        ),
        ("alice", alice, "GET /api/v1/pods", "deny"),
        (
            "alice",
            alice,
            "GET /api/v1/namespaces/shop/secrets/web",
            "deny",
        ),
        (
            "alice",
            alice,
            "GET /apis/apps/v1/namespaces/shop/deployments/web",
            "deny",
        ),
        (
            "alice",
            alice,
            "DELETE /api/v1/namespaces/shop/services/web",
            "deny",
        ),
        (
            "alice",
            alice,
            "DELETE /api/v1/namespaces/shop/pods",
            "deny",
        ),
        ("alice", alice, "GET /api/v1/nodes", "deny"),
        (
            "eve-anything",
            alice,
            "GET /api/v1/namespaces/shop/pods/web-0",
            "deny",
        ),
        (
            "bob",
            alice,
            "GET /api/v1/namespaces/shop/pods/web-0",
            "deny",
        ),
        (
            "alice",
            Some("other"),
            "GET /api/v1/namespaces/no/events",
            "deny",
        ),
    ] {
        let said = says(&policy, user, agent, request);
        assert_eq!(said, expected, "{user} {agent:?} {request}\n{text}");
    }
}

#[test]
fn a_draft_is_for_whom_it_is_asked() {
    let read = "GET /api/v1/namespaces/shop/pods/web-0";
    let (_, of_agent) = drafted(&mut args(|args| args.agent = Some("bot".to_owned())));
    let events = "GET /api/v1/namespaces/no/events";
    assert_eq!(says(&of_agent, "carol", Some("bot"), events), "allow");
    assert_eq!(says(&of_agent, "alice", None, read), "deny");
    let (_, of_group) = drafted(&mut args(|args| args.group = Some("dev".to_owned())));
    assert_eq!(says(&of_group, "carol", None, read), "allow");
    assert_eq!(says(&of_group, "carol", None, events), "deny");
    let delete = "DELETE /api/v1/namespaces/shop/pods/web-0";
    for (destructive, expected) in [(Destructive::Allow, "allow"), (Destructive::Deny, "deny")] {
        let (text, policy) = drafted(&mut args(|args| args.destructive = destructive));
        assert_eq!(says(&policy, "alice", None, delete), expected, "{text}");
        assert_eq!(says(&policy, "alice", None, read), "allow");
    }
    let mut nobody = args(|args| args.user = Some("nobody".to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    std::fs::write(&file, log()).unwrap();
    nobody.audit = vec![file];
    let nothing = draft(&nobody, &mut Vec::new()).unwrap_err();
    assert!(
        nothing.to_string().contains("nothing was seen"),
        "{nothing}"
    );
}

#[test]
fn h_03_a_name_in_a_draft_is_what_it_looks_like() {
    for (text, written) in [
        ("shop", "shop"),
        ("no", "\"no\""),
        ("", "\"\""),
        ("a\"b\\c", r#""a\"b\\c""#),
        ("größe", "\"größe\""),
        (
            "\u{202e}txt\n- x: \u{1b}[2J",
            r#""\U0000202etxt\U0000000a- x: \U0000001b[2J""#,
        ),
    ] {
        assert_eq!(quoted(text), written);
        let read: String = serde_saphyr::from_str(&quoted(text)).unwrap();
        assert_eq!(read, text);
    }
}
