use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;

/// Files of a log; a second lies between two of its events.
struct Log {
    folder: tempfile::TempDir,
    count: u32,
    text: String,
}

impl Log {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            count: 0,
            text: String::new(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("audit.jsonl")
    }

    /// One line: an event of the next second, of alice's `kubectl get` unless something else is said.
    fn add(&mut self, changes: &Value) -> String {
        self.count += 1;
        let at = at(self.count);
        let id = id_of(self.count);
        let mut event = json!({
            "auditID": id, "stage": "ResponseComplete", "verb": "list",
            "requestURI": "/api/v1/namespaces/shop/pods",
            "user": {"username": "alice"},
            "objectRef": {"resource": "pods", "namespace": "shop", "apiVersion": "v1"},
            "responseStatus": {"code": 200},
            "requestReceivedTimestamp": at, "stageTimestamp": at,
            "annotations": {
                "portcullis.dev/decision": "allow",
                "portcullis.dev/claimed-session": format!("s{}", self.count),
                // lines of all lengths
                "portcullis.dev/masked-paths": "x".repeat(self.count as usize * 37 % 3000),
            },
        });
        merge(&mut event, changes);
        self.text.push_str(&event.to_string());
        self.text.push('\n');
        event["auditID"].as_str().unwrap().to_owned()
    }

    /// What was added so far is a full segment.
    fn rotate(&mut self, number: u64) {
        let segments = Segments::of(&self.file());
        fs::write(segments.full(number), std::mem::take(&mut self.text)).unwrap();
    }

    fn history(&self) -> History {
        fs::write(self.file(), &self.text).unwrap();
        History::new(Segments::of(&self.file()))
    }
}

fn merge(into: &mut Value, changes: &Value) {
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Object(_) if into[key].is_object() => merge(&mut into[key], value),
            value => into[key] = value.clone(),
        }
    }
}

fn at(second: u32) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + i64::from(second)).unwrap()
}

fn id_of(second: u32) -> String {
    let seconds = u64::try_from(at(second).as_second()).unwrap();
    let clock = uuid::Timestamp::from_unix_time(seconds, 0, 0, 0);
    Uuid::new_v7(clock).to_string()
}

fn of_session(name: &str) -> Value {
    json!({"annotations": {"portcullis.dev/claimed-session": name}})
}

/// Every page there is, and how often the log was asked.
fn all(history: &History, filter: &Filter, bounds: (usize, u64)) -> (Vec<Command>, usize) {
    let (mut found, mut from, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = history.page(filter, from, bounds).unwrap();
        assert!(page.commands.len() <= bounds.0);
        found.extend(page.commands);
        pages += 1;
        match page.older {
            Some(older) => {
                assert!(from.is_none_or(|from| older < from), "it goes on");
                from = Some(older);
            }
            None => return (found, pages),
        }
    }
}

fn ids(commands: &[Command]) -> Vec<String> {
    commands.iter().map(|command| command.id.clone()).collect()
}

fn three_segments(events: u32) -> (Log, Vec<String>) {
    let (mut log, mut expected) = (Log::new(), Vec::new());
    for number in 0..events {
        expected.insert(0, log.add(&json!({})));
        match number {
            _ if number == events / 3 => log.rotate(1),
            _ if number == events / 2 => log.rotate(2),
            _ => {}
        }
    }
    (log, expected)
}

#[test]
fn pages_have_every_command_once_the_latest_first_over_segments() {
    let (log, expected) = three_segments(400);
    let history = log.history();
    for bounds in [(50, 1 << 20), (7, 1 << 20), (1000, 1), (1000, 1 << 30)] {
        let (found, pages) = all(&history, &Filter::default(), bounds);
        assert_eq!(ids(&found), expected, "{bounds:?}");
        assert_eq!(pages > 1, bounds != (1000, 1 << 30), "{bounds:?}");
    }
}

#[test]
fn one_page_reads_a_bounded_part_of_a_long_log() {
    let (log, _) = three_segments(2000);
    let history = log.history();
    let nobody = Filter {
        user: Some("nobody".to_owned()),
        ..Filter::default()
    };
    let page = history.page(&nobody, None, (50, 1)).unwrap();
    assert!(page.commands.is_empty());
    let older = page.older.unwrap();
    assert_eq!(older.segment, 3);
    let length = fs::metadata(log.file()).unwrap().len();
    assert!(
        older.bytes > 0 && older.bytes < length,
        "one piece of {length}, from {older:?}"
    );
    let (found, _) = all(&history, &nobody, (50, 1 << 30));
    assert!(found.is_empty());
}

#[test]
fn filters_find_what_the_whole_log_has_of_it() {
    let mut log = Log::new();
    let mut denied = Vec::new();
    for number in 0..300 {
        let change = match number % 50 {
            7 => {
                json!({"annotations": {"portcullis.dev/decision": "deny", "portcullis.dev/agent": "a \"bot\""}, "responseStatus": {"code": 403}})
            }
            // a name that is in other fields of other lines
            8 => json!({"user": {"username": "a \"bot\""}}),
            _ => json!({}),
        };
        let id = log.add(&change);
        if number % 50 == 7 {
            denied.insert(0, id);
        }
    }
    let history = log.history();
    let text = |text: &str| Some(text.to_owned());
    for filter in [
        Filter {
            decision: text("deny"),
            ..Filter::default()
        },
        Filter {
            agent: text("a \"bot\""),
            ..Filter::default()
        },
    ] {
        assert_eq!(ids(&all(&history, &filter, (2, 1 << 16)).0), denied);
    }
    let filter = Filter {
        namespace: text("payments"),
        ..Filter::default()
    };
    assert!(all(&history, &filter, (2, 1 << 20)).0.is_empty());
}

#[test]
fn times_are_found_without_reading_what_is_before_and_behind() {
    let (log, expected) = three_segments(2000);
    let history = log.history();
    let filter = Filter {
        since: Some(at(900)),
        until: Some(at(905)),
        ..Filter::default()
    };
    let (found, _) = all(&history, &filter, (50, 1 << 30));
    let latest_first: Vec<String> = expected
        .iter()
        .rev()
        .skip(899)
        .take(5)
        .rev()
        .cloned()
        .collect();
    assert_eq!(ids(&found), latest_first);
    for second in [0, 1, 700, 1001, 1999, 2001] {
        let (before, behind) = around(&history.segments, at(second)).unwrap();
        assert!(before <= behind);
        let mut lines = Backwards::from(history.segments.clone(), before).unwrap();
        if let Some(line) = lines.advance().unwrap() {
            assert!(
                Seen::read(&line).unwrap().written() < at(second),
                "{second}"
            );
        }
        let mut lines = Follower::at(history.segments.clone(), behind);
        if let Some(line) = lines.advance().unwrap()
            && let Some(seen) = Seen::read(&line)
        {
            assert!(seen.written() >= at(second), "{second}");
        }
    }
}

#[test]
fn a_request_is_told_once_and_a_command_with_all_its_requests() {
    let mut log = Log::new();
    log.add(&json!({"annotations": {"portcullis.dev/claimed-session": "s", "portcullis.dev/claimed-command": "kubectl exec"}, "requestURI": "/api", "objectRef": null, "verb": "get"}));
    let shell = id_of(2);
    let of_shell = |stage: &str, decision: &str| {
        json!({"auditID": shell, "stage": stage, "verb": "create", "objectRef": {"subresource": "exec", "name": "web-0"},
            "requestReceivedTimestamp": at(2),
            "annotations": {"portcullis.dev/claimed-session": "s", "portcullis.dev/claimed-command": "kubectl exec", "portcullis.dev/decision": decision}})
    };
    log.add(&of_shell("RequestReceived", "allow"));
    log.add(&of_shell("ResponseStarted", "allow"));
    log.rotate(1);
    for _ in 0..20 {
        log.add(&json!({}));
    }
    // The same session of somebody else is another command.
    let mallory = json!({"user": {"username": "mallory"}});
    let mut claimed = of_session("s");
    merge(&mut claimed, &mallory);
    log.add(&claimed);
    let open = log.history();
    let told = open
        .command(shell.parse().unwrap(), 1 << 30)
        .unwrap()
        .unwrap();
    assert!(!told.cut && !told.command.requests[0].over);
    let (found, _) = all(&open, &Filter::default(), (50, 1 << 30));
    assert_eq!(found.last().unwrap().requests.len(), 1);

    log.add(&of_shell("ResponseComplete", "refuse"));
    let history = log.history();
    let told = history.command(shell.parse().unwrap(), 1 << 30).unwrap();
    let told = told.unwrap();
    assert_eq!(told.command.requests.len(), 1);
    assert_eq!(told.command.discovery, 1);
    assert_eq!(told.command.user, "alice");
    assert!(told.command.requests[0].over);
    // What it was before is not told where it was not that in the end.
    let allowed = Filter {
        decision: Some("allow".to_owned()),
        user: Some("alice".to_owned()),
        ..Filter::default()
    };
    let (found, _) = all(&history, &allowed, (50, 1 << 30));
    assert!(
        found
            .iter()
            .all(|command| command.requests[0].audit_id != shell)
    );
    let (found, _) = all(&history, &Filter::default(), (50, 1 << 30));
    assert_eq!(found.len(), 22);
    assert_eq!(
        (found[0].decision.as_str(), found[0].discovery),
        ("refuse", 1)
    );
    // Not all of the log: then it says so.
    let cut = history.command(shell.parse().unwrap(), 1).unwrap();
    assert!(cut.is_none_or(|told| told.cut));
    let none = history.command(id_of(5).parse().unwrap(), 1 << 30).unwrap();
    assert!(none.is_none());
    assert!(history.command(Uuid::nil(), 1 << 30).unwrap().is_none());
}

/// What one session asked for long before and long after is not told of a command, and what a shell began with is.
#[test]
fn a_command_has_what_a_long_shell_joins_and_nothing_beyond_a_silence() {
    let mut log = Log::new();
    let hours = |hours: u32| 3600 * hours;
    let mut add = |second: u32, changes: &Value| {
        log.count = second - 1;
        let mut of_run = of_session("s");
        merge(&mut of_run, changes);
        log.add(&of_run)
    };
    let other = add(1, &json!({}));
    let first = add(hours(2), &json!({}));
    let id = id_of(hours(2) + 1);
    let shell = json!({"requestReceivedTimestamp": at(hours(2) + 1), "auditID": id,
        "verb": "create", "objectRef": {"subresource": "attach"}});
    let mut begun = shell.clone();
    merge(&mut begun, &json!({"stage": "ResponseStarted"}));
    add(hours(2) + 1, &begun);
    add(hours(7), &shell);
    add(hours(7) + 1, &json!({"verb": "delete"}));
    let later = add(hours(8), &json!({}));
    let history = log.history();
    for (id, requests) in [(&other, 1), (&first, 3), (&id, 3), (&later, 1)] {
        let told = history.command(id.parse().unwrap(), 1 << 30).unwrap();
        let told = told.unwrap();
        assert_eq!(told.command.requests.len(), requests, "{id}");
        assert!(told.command.requests.iter().all(|it| it.over));
    }
}

#[test]
fn what_is_no_event_is_passed_over() {
    let mut log = Log::new();
    let first = log.add(&json!({}));
    log.text.push_str("{\"half\n\n");
    log.text.push_str(&"y".repeat(600_000));
    log.text.push('\n');
    let second = log.add(&json!({}));
    log.text.push_str("{\"kind\":\"Ev"); // it is being written
    let history = log.history();
    let (found, _) = all(&history, &Filter::default(), (50, 1 << 30));
    assert_eq!(ids(&found), [second, first]);
    // A place that nobody was sent to, in the middle of a line or nowhere.
    for (segment, bytes) in [(1, 10), (1, u64::MAX), (0, 0), (9, 9), (u64::MAX, 0)] {
        let place = Some(Place { segment, bytes });
        assert!(
            history
                .page(&Filter::default(), place, (50, 1 << 30))
                .is_ok()
        );
    }
    fs::remove_file(log.file()).unwrap();
    assert!(
        history
            .page(&Filter::default(), None, (50, 1 << 30))
            .unwrap()
            .commands
            .is_empty()
    );
}
