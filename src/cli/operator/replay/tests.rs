use std::fs;

use clap::Parser as _;

use super::*;
use crate::wire::asciicast::{Events, Header, MARKER, OUTPUT, Version, put_header};

#[derive(clap::Parser)]
struct Program {
    #[command(flatten)]
    args: Args,
}

/// A data directory with one recording of two parts.
fn data_directory() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let day = folder.path().join("recordings/2026/11/20");
    fs::create_dir_all(&day).unwrap();
    let header = Header {
        version: Version::V3,
        columns: 80,
        rows: 24,
        timestamp: 0,
        command: None,
        title: None,
    };
    let metadata = serde_json::json!({"id": "0199-a", "kind": "exec", "tty": true});
    let mut events = Events::new(Version::V3);
    for (name, second, text) in [
        ("0199-a.cast", 1, "$ psql\u{1b}]52;c;eA==\u{7}\u{1b}[6n\r\n"),
        (
            "0199-a.2.cast",
            90,
            "drop table \u{1b}[31musers\u{1b}[m;\r\n",
        ),
    ] {
        let mut part = Vec::new();
        put_header(&mut part, &header, &metadata);
        events.put(&mut part, Duration::from_secs(second), OUTPUT, text);
        events.put(&mut part, Duration::from_secs(second), MARKER, name);
        fs::write(day.join(name), part).unwrap();
    }
    folder
}

fn replay(arguments: &[&str], plays: bool) -> (anyhow::Result<Outcome>, String, String) {
    let folder = data_directory();
    let path = folder.path().display().to_string();
    let first = format!("{path}/recordings/2026/11/20/0199-a.cast");
    let arguments = arguments.iter().map(|it| it.replace("FILE", &first));
    let always = ["replay", "--data-dir", &path].map(str::to_owned);
    let program = Program::parse_from(always.into_iter().chain(arguments));
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let result = execute(&program.args, plays, &mut out, &mut notes);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (result, text(out), text(notes))
}

#[test]
fn an_id_and_a_file_are_the_same_recording() {
    for recording in ["0199-a", "FILE"] {
        let (result, out, notes) = replay(&[recording, "--text"], false);
        assert_eq!(result.unwrap(), Outcome::Good);
        assert_eq!(
            out,
            "$ psql\n[0199-a.cast]\ndrop table users;\n[0199-a.2.cast]\n"
        );
        assert_eq!(notes, "");
    }
    let (result, ..) = replay(&["none"], false);
    let message = result.unwrap_err().to_string();
    assert!(message.contains("no recording \"none\""), "{message}");
}

#[test]
fn only_drawing_reaches_the_output_unless_asked_for() {
    let (_, out, _) = replay(&["0199-a"], false);
    assert!(
        out.starts_with("$ psql\r\n\r\n[0199-a.cast]\r\ndrop table \u{1b}[31musers"),
        "{out:?}"
    );
    assert!(out.ends_with("\u{1b}[?25h\u{1b}[0m"), "{out:?}");
    let (_, out, _) = replay(&["0199-a", "--keep-escapes"], false);
    assert!(
        out.starts_with("$ psql\u{1b}]52;c;eA==\u{7}\u{1b}[6n\r\n"),
        "{out:?}"
    );
}

#[test]
fn searching_prints_lines_with_their_times() {
    let (result, out, _) = replay(&["0199-a", "--search", "TABLE users"], false);
    assert_eq!(result.unwrap(), Outcome::Good);
    assert_eq!(out, "0:01:30.000  drop table users;\n");
    for more in [
        &["--search", "none"][..],
        &["--search", "psql", "--from", "2"],
    ] {
        let (result, out, _) = replay(&[&["0199-a", "--text"], more].concat(), false);
        assert_eq!((result.unwrap(), out.as_str()), (Outcome::Problems, ""));
    }
    let (result, _, notes) = replay(&["0199-a", "--search", "none"], true);
    assert_eq!(result.unwrap(), Outcome::Problems);
    assert!(notes.contains("the text is not shown"), "{notes}");
}

#[test]
fn from_leaves_out_what_was_before() {
    let (_, out, _) = replay(&["0199-a", "--text", "--from", "1:00"], false);
    assert_eq!(out, "drop table users;\n[0199-a.2.cast]\n");
}

#[test]
fn what_is_missing_is_said() {
    let folder = data_directory();
    let day = folder.path().join("recordings/2026/11/20");
    let second = day.join("0199-a.2.cast");
    let whole = fs::read(&second).unwrap();
    fs::write(&second, &whole[..whole.len() - 5]).unwrap();
    let sidecar = r#"{"truncated": true, "capped": true, "failure": "disk full\u001b[m", "durationMs": 90000}"#;
    fs::write(day.join("0199-a.json"), sidecar).unwrap();
    let path = folder.path().display().to_string();
    let program = Program::parse_from(["replay", "0199-a", "--text", "--data-dir", &path]);
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    execute(&program.args, false, &mut out, &mut notes).unwrap();
    assert!(
        String::from_utf8(out)
            .unwrap()
            .ends_with("drop table users;\n")
    );
    let notes = String::from_utf8(notes).unwrap();
    for said in [
        "in the middle of a line",
        "after 0:01:30.000",
        "its size cap",
        "disk full\\u{1b}",
    ] {
        assert!(notes.contains(said), "{said}: {notes}");
    }
}

#[test]
fn senseless_numbers_are_refused() {
    for arguments in [
        ["x", "--speed", "0"],
        ["x", "--speed", "nan"],
        ["x", "--idle-limit", "-1"],
        ["x", "--from", "1:99"],
    ] {
        let arguments = std::iter::once("replay").chain(arguments);
        assert!(Program::try_parse_from(arguments).is_err());
    }
}

/// One `kubectl apply` of 131 objects, which reads and changes each.
#[test]
fn a_run_has_every_request_of_a_long_command() {
    let folder = tempfile::tempdir().unwrap();
    let began = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(1000);
    let event = |number: i64| {
        let at = began + jiff::SignedDuration::from_secs(number);
        let verb = if number % 2 == 0 { "get" } else { "patch" };
        let event = serde_json::json!({
            "auditID": format!("0190-{number:03}"), "stage": "ResponseComplete", "verb": verb,
            "requestURI": "/api/v1/namespaces/shop/configmaps/a", "user": {"username": "dora"},
            "objectRef": {"resource": "configmaps", "namespace": "shop", "name": "a"},
            "responseStatus": {"code": 200}, "requestReceivedTimestamp": at, "stageTimestamp": at,
            "annotations": {"portcullis.dev/decision": "allow", "portcullis.dev/claimed-session": "s1"},
        });
        format!("{event}\n")
    };
    let log: String = (0..262).map(event).collect();
    fs::write(folder.path().join("audit.jsonl"), log).unwrap();
    let path = folder.path().display().to_string();
    for (form, about) in [
        ("json", "\"auditID\":\"0190-"),
        ("text", " configmaps a in shop"),
    ] {
        let words = [
            "replay",
            "--caller",
            "dora",
            "-o",
            form,
            "--data-dir",
            &path,
        ];
        let program = Program::parse_from(words);
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        execute(&program.args, false, &mut out, &mut notes).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out.lines().filter(|line| line.contains(about)).count(), 262);
        assert_eq!(String::from_utf8(notes).unwrap(), "");
    }
}

/// The heading of a command has the day; a request has one of its own where it is another.
#[test]
fn a_run_over_midnight_says_the_days() {
    let folder = tempfile::tempdir().unwrap();
    let times = ["2026-11-20T23:58:00Z", "2026-11-21T00:01:02.345Z"];
    let event = |(number, at): (usize, &str)| {
        let event = serde_json::json!({
            "auditID": format!("0190-{number}"), "stage": "ResponseComplete", "verb": "get",
            "requestURI": "/api/v1/namespaces/shop/configmaps/a", "user": {"username": "dora"},
            "objectRef": {"resource": "configmaps", "namespace": "shop", "name": "a"},
            "responseStatus": {"code": 200}, "requestReceivedTimestamp": at, "stageTimestamp": at,
            "annotations": {"portcullis.dev/decision": "allow", "portcullis.dev/claimed-session": "s1"},
        });
        format!("{event}\n")
    };
    let log: String = times.into_iter().enumerate().map(event).collect();
    fs::write(folder.path().join("audit.jsonl"), log).unwrap();
    let path = folder.path().display().to_string();
    let program = Program::parse_from([
        "replay",
        "--caller",
        "dora",
        "--since",
        "2026-11-20T00:00:00Z",
        "--data-dir",
        &path,
    ]);
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    execute(&program.args, false, &mut out, &mut notes).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "2026-11-20 23:58:00Z  a request  by dora\n  \
         23:58:00.000  allow  200  get configmaps a in shop\n  \
         2026-11-21 00:01:02.345Z  allow  200  get configmaps a in shop\n\n"
    );
}
