use std::fs;
use std::path::Path;

use clap::Parser as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    args: Args,
}

/// A log with two full segments' worth of what happened: a `kubectl get`, a denied delete with an escape
/// sequence in its claims, an open shell.
fn data_directory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let event = |id: u32, changes: &[(&str, Value)]| {
        let mut event = json!({
            "auditID": format!("0190000{id}-aaaa"), "stage": "ResponseComplete", "verb": "get",
            "requestURI": "/api/v1/namespaces/shop/secrets/db", "user": {"username": "alice"},
            "objectRef": {"resource": "secrets", "namespace": "shop", "name": "db", "apiVersion": "v1"},
            "responseStatus": {"code": 200}, "requestReceivedTimestamp": now, "stageTimestamp": now,
            "annotations": {"portcullis.dev/decision": "allow", "portcullis.dev/rule": "dev/read",
                "portcullis.dev/claimed-command": "kubectl get", "portcullis.dev/claimed-session": "s1"},
        });
        for (pointer, value) in changes {
            let (parent, key) = pointer.rsplit_once('|').unwrap_or(("", pointer));
            let place = if parent.is_empty() {
                &mut event
            } else {
                &mut event[parent]
            };
            place[key] = value.clone();
        }
        format!("{event}\n")
    };
    let first = [
        event(
            1,
            &[("requestURI", json!("/api")), ("objectRef", Value::Null)],
        ),
        event(2, &[]),
    ];
    let second = [
        event(
            3,
            &[
                ("verb", json!("delete")),
                (
                    "responseStatus",
                    json!({"code": 403, "message": "rule dev/no\u{1b}[2J says no"}),
                ),
                ("annotations|portcullis.dev/decision", json!("deny")),
                ("annotations|portcullis.dev/claimed-session", json!("s2")),
                (
                    "annotations|portcullis.dev/claimed-command",
                    json!("kubectl \u{9b}31m delete"),
                ),
            ],
        ),
        event(
            4,
            &[
                ("stage", json!("ResponseStarted")),
                ("objectRef|subresource", json!("exec")),
                ("annotations|portcullis.dev/claimed-session", json!("s3")),
                ("annotations|portcullis.dev/agent", json!("bot")),
            ],
        ),
        "{\"torn\n".to_owned(),
    ];
    fs::write(folder.path().join("audit-00000001.jsonl"), first.concat()).unwrap();
    fs::write(folder.path().join("audit.jsonl"), second.concat()).unwrap();
    folder
}

fn run(folder: &Path, words: &[&str]) -> anyhow::Result<(Outcome, String)> {
    let mut all = vec!["audit"];
    all.extend(words);
    all.extend(["--data-dir", folder.to_str().unwrap()]);
    let program = Program::try_parse_from(all).unwrap();
    let mut out = Vec::new();
    let outcome = execute(&program.args, &mut out)?;
    Ok((outcome, String::from_utf8(out).unwrap()))
}

fn json(folder: &Path, words: &[&str]) -> Value {
    serde_json::from_str(&run(folder, words).unwrap().1).unwrap()
}

#[test]
fn ls_has_a_line_for_each_command_and_nothing_that_acts_on_a_terminal() {
    let folder = data_directory();
    let (_, text) = run(folder.path(), &["ls"]).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(
        lines[1].contains("open  alice (bot)") && lines[1].contains("get secrets/exec db in shop"),
        "{text}"
    );
    assert!(
        lines[2].contains("deny") && lines[2].contains("delete secrets db in shop"),
        "{text}"
    );
    assert!(
        lines[3].starts_with("01900001-aaaa") && !lines[3].contains("/api"),
        "{text}"
    );
    assert!(
        text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
    let (_, text) = run(folder.path(), &["show", "01900003"]).unwrap();
    assert!(
        text.contains("says no") && text.chars().all(|c| c == '\n' || !c.is_control()),
        "{text:?}"
    );
}

#[test]
fn json_pipes() {
    let folder = data_directory();
    let commands = json(folder.path(), &["ls", "-o", "json"]);
    let ids: Vec<&str> = commands
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["01900004-aaaa", "01900003-aaaa", "01900001-aaaa"]);
    assert_eq!(commands[2]["discovery"], 1);
    assert_eq!(commands[0]["requests"][0]["over"], false);
    let requests = json(folder.path(), &["ls", "--requests", "-o", "json"]);
    assert_eq!(requests.as_array().unwrap().len(), 4);
    assert_eq!(requests[3]["object"], "/api");
    let denied = json(folder.path(), &["ls", "--decision", "deny", "-o", "json"]);
    assert_eq!(denied.as_array().unwrap().len(), 1);
    let none = json(folder.path(), &["ls", "--user", "bob", "-o", "json"]);
    assert_eq!(none, json!([]));
}

#[test]
fn show_tells_the_whole_command_of_any_of_its_requests() {
    let folder = data_directory();
    for id in ["01900001", "01900002-aaaa"] {
        let command = json(folder.path(), &["show", id, "-o", "json"]);
        assert_eq!(command["id"], "01900001-aaaa");
        assert_eq!(command["discovery"], 1);
        assert_eq!(command["requests"][0]["rule"], "dev/read");
    }
    let several = run(folder.path(), &["show", "0190000"]).unwrap_err();
    assert!(
        several.to_string().contains("write more of it"),
        "{several}"
    );
    let none = run(folder.path(), &["show", "ffff"]).unwrap_err();
    assert!(none.to_string().contains("no request has the id"), "{none}");
}

/// A list has some requests of a long command, and `show` has all.
#[test]
fn show_leaves_nothing_of_a_long_command_out() {
    let folder = tempfile::tempdir().unwrap();
    let event = |number: i64| {
        let at = Timestamp::now() - jiff::SignedDuration::from_secs(1000 - number);
        let (verb, decision) = match number {
            210 => ("delete", "deny"),
            _ => ("get", "allow"),
        };
        let event = json!({
            "auditID": format!("0190-{number:03}"), "stage": "ResponseComplete", "verb": verb,
            "requestURI": "/api/v1/namespaces/shop/configmaps/a", "user": {"username": "alice"},
            "objectRef": {"resource": "configmaps", "namespace": "shop", "name": "a"},
            "responseStatus": {"code": 200}, "requestReceivedTimestamp": at, "stageTimestamp": at,
            "annotations": {"portcullis.dev/decision": decision, "portcullis.dev/claimed-session": "s1"},
        });
        format!("{event}\n")
    };
    let log: String = (0..420).map(event).collect();
    fs::write(folder.path().join("audit.jsonl"), log).unwrap();

    let (_, text) = run(folder.path(), &["ls"]).unwrap();
    assert!(
        text.contains("delete configmaps a in shop (+419)"),
        "{text}"
    );
    let listed = json(folder.path(), &["ls", "-o", "json"]);
    assert_eq!(listed[0]["requests"].as_array().unwrap().len(), 200);
    assert_eq!(listed[0]["moreRequests"], 220);
    let command = json(folder.path(), &["show", "0190-000", "-o", "json"]);
    assert_eq!(command["requests"].as_array().unwrap().len(), 420);
    assert_eq!(command["requests"][210]["verb"], "delete");
    assert_eq!(command["moreRequests"], Value::Null);
}

/// Whoever uses one session for hours did several things, and `show` tells the one that is meant.
#[test]
fn a_session_of_hours_is_several_commands() {
    let folder = tempfile::tempdir().unwrap();
    let event = |(number, minutes_ago): (u32, i64)| {
        let at = Timestamp::now() - jiff::SignedDuration::from_mins(minutes_ago);
        let event = json!({
            "auditID": format!("0190-{number}"), "stage": "ResponseComplete", "verb": "get",
            "requestURI": "/api/v1/namespaces/shop/configmaps/a", "user": {"username": "alice"},
            "objectRef": {"resource": "configmaps", "namespace": "shop", "name": "a"},
            "responseStatus": {"code": 200}, "requestReceivedTimestamp": at, "stageTimestamp": at,
            "annotations": {"portcullis.dev/decision": "allow", "portcullis.dev/claimed-session": "s1"},
        });
        format!("{event}\n")
    };
    let log = [(1, 200), (2, 190), (3, 150), (4, 125), (5, 10)].map(event);
    fs::write(folder.path().join("audit.jsonl"), log.concat()).unwrap();
    let ids = |list: &Value, name: &str| -> Vec<String> {
        let list = list.as_array().unwrap().iter();
        list.map(|it| it[name].as_str().unwrap().to_owned())
            .collect()
    };
    let listed = json(folder.path(), &["ls", "-o", "json"]);
    assert_eq!(ids(&listed, "id"), ["0190-5", "0190-3", "0190-1"]);
    for (id, requests) in [
        ("0190-1", &["0190-1", "0190-2"][..]),
        ("0190-2", &["0190-1", "0190-2"]),
        ("0190-4", &["0190-3", "0190-4"]),
        ("0190-5", &["0190-5"]),
    ] {
        let command = json(folder.path(), &["show", id, "-o", "json"]);
        assert_eq!(ids(&command["requests"], "auditID"), requests, "{id}");
    }
    let several = run(folder.path(), &["show", "0190-"]).unwrap_err();
    assert!(several.to_string().contains("write more of it"));
}

/// However long ago that was: a full id says when to begin to look, and the command itself how far back.
#[test]
fn show_goes_back_to_the_beginning_of_a_command_of_days() {
    let folder = tempfile::tempdir().unwrap();
    let begun = Timestamp::now() - jiff::SignedDuration::from_hours(80);
    let event = |number: i64| {
        // A request every 20 minutes for 72 hours, and one of another day before it.
        let at = match number {
            0 => begun - jiff::SignedDuration::from_hours(1),
            _ => begun + jiff::SignedDuration::from_mins(20 * number),
        };
        let (high, low) = (at.as_millisecond() >> 16, at.as_millisecond() & 0xffff);
        let id = format!("{high:08x}-{low:04x}-7000-8000-{number:012x}");
        let event = json!({
            "auditID": id, "stage": "ResponseComplete", "verb": if number == 1 { "delete" } else { "get" },
            "requestURI": "/api/v1/namespaces/shop/configmaps/a", "user": {"username": "alice"},
            "objectRef": {"resource": "configmaps", "namespace": "shop", "name": "a"},
            "responseStatus": {"code": 200}, "requestReceivedTimestamp": at, "stageTimestamp": at,
            "annotations": {"portcullis.dev/decision": "allow", "portcullis.dev/claimed-session": "s1"},
        });
        (id, format!("{event}\n"))
    };
    let (ids, lines): (Vec<String>, Vec<String>) = (0..=216).map(event).unzip();
    fs::write(folder.path().join("audit.jsonl"), lines.concat()).unwrap();
    for id in [&ids[1], &ids[100], &ids[216]] {
        let command = json(folder.path(), &["show", id, "-o", "json"]);
        let requests = command["requests"].as_array().unwrap();
        assert_eq!(
            (requests.len(), &requests[0]["verb"]),
            (216, &json!("delete"))
        );
        assert_eq!(command["id"], json!(ids[1]));
    }
}

/// A watch that lasted longer than what is looked through at once.
#[test]
fn show_finds_the_beginning_of_a_watch_of_days() {
    let folder = tempfile::tempdir().unwrap();
    let now = Timestamp::now();
    let mut lines = Vec::new();
    let mut add = |number: i64, verb: &str, came: i64, over: i64| {
        let [at, over] = [came, over].map(|minutes| now - jiff::SignedDuration::from_mins(minutes));
        let (high, low) = (at.as_millisecond() >> 16, at.as_millisecond() & 0xffff);
        let id = format!("{high:08x}-{low:04x}-7000-8000-{number:012x}");
        let event = json!({
            "auditID": id, "stage": "ResponseComplete", "verb": verb,
            "requestURI": "/api/v1/namespaces/shop/pods", "user": {"username": "alice"},
            "objectRef": {"resource": "pods", "namespace": "shop"},
            "responseStatus": {"code": 200}, "requestReceivedTimestamp": at, "stageTimestamp": over,
            "annotations": {"portcullis.dev/decision": "allow", "portcullis.dev/claimed-session": "s1"},
        });
        lines.push(format!("{event}\n"));
        id
    };
    let ids = [
        add(0, "get", 30 * 60, 30 * 60),
        add(1, "watch", 30 * 60 - 1, 120),
        add(2, "delete", 115, 115),
    ];
    fs::write(folder.path().join("audit.jsonl"), lines.concat()).unwrap();
    for id in &ids {
        let command = json(folder.path(), &["show", id, "-o", "json"]);
        assert_eq!(command["requests"].as_array().unwrap().len(), 3, "{id}");
        assert_eq!(command["id"], json!(ids[0]));
    }
}

#[test]
fn where_there_is_no_log_the_next_command_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["ls"][..],
        &["show", "1"],
        &["tail"],
        &["verify"],
        &["key"],
    ] {
        let error = format!("{:#}", run(folder.path(), words).unwrap_err());
        assert!(error.contains("--data-dir"), "{words:?}: {error}");
    }
}
