//! Recordings in the hands of those who play them: stock asciinema, and `portcullis replay` in a
//! terminal; the page of the HTML export in a JavaScript engine.
//!
//! asciinema and node come from `tests/tools/install.sh`; without them these tests fail and say so.

#![expect(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use portcullis::recording::Metadata;
use portcullis::recording::encode::{Encoder, Options};
use portcullis::recording::export::{Format, export};
use portcullis::recording::replay::files;
use portcullis::session::{ExitStatus, SessionEvent, SessionStream, Side, StreamType};
use portcullis::wire::asciicast::{Header, Version, put_header};
use serde_json::json;

fn tool(path: &str) -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools");
    let path = tools.join(path);
    assert!(
        path.exists(),
        "{} is missing: run tests/tools/install.sh asciinema node",
        path.display()
    );
    path
}

fn data(kind: StreamType, bytes: &[u8]) -> SessionEvent<'_> {
    SessionEvent::Data {
        stream: SessionStream {
            kind,
            connection: None,
            port: None,
        },
        from: Side::Server,
        bytes,
    }
}

/// A recording in two parts with everything the recorder writes; its first file.
fn recording(folder: &Path, version: Version) -> PathBuf {
    let options = Options {
        version,
        stdin: true,
        ..Options::default()
    };
    let mut encoder = Encoder::new(options);
    let input = SessionEvent::Data {
        stream: SessionStream {
            kind: StreamType::Stdin,
            connection: None,
            port: None,
        },
        from: Side::Client,
        bytes: b"typed",
    };
    let status = ExitStatus {
        code: Some(7),
        message: String::new(),
    };
    let exit = SessionEvent::Exit(&status);
    let events = [
        vec![
            data(StreamType::Stdout, b"first\r\n\x1b[31mred\x1b[m\r\n"),
            data(StreamType::Stderr, b"not utf-8: \xff\r\n"),
        ],
        vec![
            input,
            data(StreamType::Stdout, "caf\u{e9}\r\n".as_bytes()),
            exit,
        ],
    ];
    let (mut now, mut paths) = (Duration::ZERO, Vec::new());
    for (part, events) in (1..).zip(&events) {
        let metadata = Metadata {
            id: "0199".to_owned(),
            kind: "exec".to_owned(),
            command: vec!["sh".to_owned()],
            part,
            ..Metadata::default()
        };
        let header = Header {
            version,
            columns: 80,
            rows: 24,
            timestamp: 1_700_000_000,
            command: Some("sh"),
            title: Some("exec shop/web-0"),
        };
        let mut lines = Vec::new();
        put_header(&mut lines, &header, &metadata);
        for event in events {
            now += Duration::from_millis(20);
            encoder.event(event, now, &mut lines);
        }
        let name = if part == 1 {
            "0199.cast"
        } else {
            "0199.2.cast"
        };
        fs::write(folder.join(name), lines).unwrap();
        paths.push(folder.join(name));
    }
    paths.swap_remove(0)
}

fn merged(first: &Path) -> PathBuf {
    let mut out = Vec::new();
    let parts = files::open(files::with_later_parts(first));
    export(Format::Cast, parts, &mut out).unwrap();
    let path = first.with_file_name("merged.cast");
    fs::write(&path, out).unwrap();
    path
}

fn run(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs a command line in a terminal of its own.
fn in_terminal(line: &str) -> Command {
    let mut command = Command::new("script");
    command.args(["-qec", line, "/dev/null"]);
    command.env("TERM", "xterm-256color");
    command
}

const SHOWN: &str = "first\nred\nnot utf-8: \u{fffd}\ncaf\u{e9}\n";

fn shown(output: &[u8]) -> String {
    let text = String::from_utf8(output.to_vec()).unwrap();
    text.replace("\r\n", "\n")
        .replace("\u{1b}[31m", "")
        .replace("\u{1b}[m", "")
}

#[test]
fn asciinema_3_plays_and_converts_both_versions() {
    let asciinema = tool("asciinema/bin/asciinema");
    for version in [Version::V2, Version::V3] {
        let folder = tempfile::tempdir().unwrap();
        let first = recording(folder.path(), version);
        let whole = merged(&first);
        let convert = |format: &str, to: &str| {
            let to = folder.path().join(to);
            run(Command::new(&asciinema)
                .args(["convert", "--overwrite", "-f", format])
                .args([&whole, &to]));
            fs::read_to_string(to).unwrap()
        };
        // asciinema trims the end of its text.
        assert_eq!(convert("txt", "out.txt").trim_end(), SHOWN.trim_end());
        // It begins its raw output with the size of the terminal.
        let raw = convert("raw", "out.raw");
        let raw = raw.trim_start_matches("\u{1b}[8;24;80t");
        assert_eq!(shown(raw.as_bytes()), SHOWN);
        for (format, event) in [("asciicast-v2", "[0.08, \"o\""), ("asciicast-v3", "\"o\"")] {
            let cast = convert(format, "out.cast");
            assert!(
                cast.contains(event) && cast.contains("\"x\", \"7\""),
                "{cast}"
            );
        }
        let line = format!("{} play -s 10 {}", asciinema.display(), whole.display());
        let played = run(&mut in_terminal(&line)).stdout;
        assert!(shown(&played).contains(SHOWN), "{}", shown(&played));
        // The parts as they are: what `cat` joins is what our export joins.
        let joined = run(Command::new(&asciinema)
            .arg("cat")
            .args([&first, &first.with_file_name("0199.2.cast")]));
        let joined = String::from_utf8(joined.stdout).unwrap();
        assert!(joined.contains("caf\u{e9}"), "{joined}");
    }
}

#[test]
fn the_asciinema_of_distributions_plays_version_2() {
    let folder = tempfile::tempdir().unwrap();
    let whole = merged(&recording(folder.path(), Version::V2));
    for command in ["cat", "play"] {
        let output = run(Command::new("python3")
            .env("PYTHONPATH", tool("asciinema/2"))
            .args(["-m", "asciinema", command])
            .arg(&whole));
        assert_eq!(shown(&output.stdout), SHOWN, "{command}");
    }
}

/// `portcullis replay` in a terminal of its own, and whoever sits before it.
struct Viewer {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    seen: String,
}

impl Viewer {
    fn start(arguments: &str) -> Self {
        let line = format!("{} replay {arguments}", env!("CARGO_BIN_EXE_portcullis"));
        let mut child = in_terminal(&line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            keys: child.stdin.take().unwrap(),
            screen: child.stdout.take().unwrap(),
            seen: String::new(),
            child,
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        let mut bytes = [0; 4096];
        while !self.seen.contains(text) {
            let read = self.screen.read(&mut bytes).unwrap();
            assert!(read > 0, "{text} was not shown: {:?}", self.seen);
            let shown = bytes.get(..read).unwrap();
            self.seen.push_str(&String::from_utf8_lossy(shown));
        }
    }

    /// Everything that was shown, once it has ended well.
    fn finish(mut self) -> String {
        self.screen.read_to_string(&mut self.seen).unwrap();
        assert!(self.child.wait().unwrap().success(), "{:?}", self.seen);
        self.seen
    }
}

/// A recording with an hour between its three outputs, the last of which changes the clipboard.
fn slow_recording(folder: &Path) -> PathBuf {
    let path = folder.join("slow.cast");
    let lines = [
        r#"{"version": 2, "width": 80, "height": 24}"#,
        r#"[0.0, "o", "first\u001b]0;title\u0007\u001b[6n\r\n"]"#,
        r#"[3600.0, "o", "second\r\n"]"#,
        r#"[7200.0, "o", "third\u001b]52;c;eA==\u0007\r\n"]"#,
    ];
    fs::write(&path, lines.join("\n")).unwrap();
    path
}

#[test]
fn keys_drive_replay_and_nothing_acts_on_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = slow_recording(folder.path());
    let mut viewer = Viewer::start(&format!("--idle-limit 0 {}", path.display()));
    viewer.wait_for("first");
    viewer.press(b".");
    viewer.wait_for("second");
    // Back to the beginning, which is drawn again, and to the end by steps.
    viewer.press(b"<");
    viewer.wait_for("\u{1b}[2Jfirst");
    viewer.press(b".");
    viewer.wait_for("\u{1b}[2Jfirst\r\nsecond");
    viewer.press(b"q");
    viewer.wait_for("\u{1b}[?25h\u{1b}[0m");
    let seen = viewer.finish();
    for acting in ["third", "\u{1b}]", "\u{1b}[6n"] {
        assert!(!seen.contains(acting), "{acting:?}: {seen:?}");
    }
}

/// What dora did, an hour from one request to the next: a get, a shell in which she waited for hours, a denied delete, a list.
fn slow_run(folder: &Path) {
    let at = |hour: i64| Timestamp::now() - SignedDuration::from_hours(20 - hour);
    let day = folder.join("recordings/2026/11/20");
    fs::create_dir_all(&day).unwrap();
    fs::rename(slow_recording(folder), day.join("0199-shell.cast")).unwrap();
    let mut log = Vec::new();
    for (hour, id, verb, object, decision) in [
        (
            0,
            "0199-get",
            "get",
            json!({"resource": "pods", "name": "web-0"}),
            "allow",
        ),
        (
            1,
            "0199-shell",
            "create",
            json!({"resource": "pods", "subresource": "exec", "name": "web-0"}),
            "allow",
        ),
        (
            5,
            "0199-delete",
            "delete",
            json!({"resource": "pods", "name": "ledger"}),
            "deny",
        ),
        (
            6,
            "0199-list",
            "list",
            json!({"resource": "nodes"}),
            "allow",
        ),
    ] {
        let mut notes = vec![("portcullis.dev/decision", decision)];
        if id == "0199-shell" {
            notes.push(("portcullis.dev/recording", "2026/11/20/0199-shell.cast"));
        }
        let event = json!({
            "auditID": id, "stage": "ResponseComplete", "verb": verb, "requestURI": "/", "user": {"username": "dora"},
            "objectRef": object, "responseStatus": {"code": 200},
            "requestReceivedTimestamp": at(hour), "stageTimestamp": at(hour),
            "annotations": notes.into_iter().collect::<HashMap<_, _>>(),
        });
        log.push(event.to_string() + "\n");
    }
    fs::write(folder.join("audit.jsonl"), log.concat()).unwrap();
}

#[test]
fn a_whole_run_is_played_at_its_pace_and_by_keys() {
    let folder = tempfile::tempdir().unwrap();
    slow_run(folder.path());
    let whole = format!("--caller dora --data-dir {}", folder.path().display());

    // By keys alone: without a limit for pauses nothing comes by itself within the hour.
    let mut viewer = Viewer::start(&format!("{whole} --idle-limit 0"));
    viewer.wait_for("-- space: pause");
    viewer.wait_for("get pods web-0");
    viewer.press(b"n");
    viewer.wait_for("create pods/exec web-0");
    viewer.wait_for("first"); // the shell plays
    viewer.press(b".");
    viewer.wait_for("second");
    viewer.press(b"n"); // leaves the shell; the pause of the step goes on
    viewer.wait_for("\u{1b}[?25h\u{1b}[0m");
    viewer.press(b".");
    viewer.wait_for("delete pods ledger");
    viewer.press(b"q");
    let seen = viewer.finish();
    for hidden in ["third", "nodes", "\u{1b}]"] {
        assert!(!seen.contains(hidden), "{hidden:?}: {seen:?}");
    }

    // Within the shell, too, `q` is the end of it all.
    let mut viewer = Viewer::start(&format!("{whole} --idle-limit 0"));
    viewer.wait_for("get pods web-0");
    viewer.press(b"n");
    viewer.wait_for("first");
    viewer.press(b"q");
    let seen = viewer.finish();
    assert!(!seen.contains("ledger"), "{seen:?}");

    // With short pauses it comes by itself, in its order, to the end.
    let seen = Viewer::start(&format!("{whole} --idle-limit 0.05")).finish();
    let mut rest = seen.as_str();
    for next in [
        "get pods",
        "pods/exec",
        "first",
        "second",
        "third",
        "delete pods ledger",
        "list nodes",
    ] {
        let found = rest.find(next);
        assert!(
            found.is_some(),
            "{next} is not shown, or not in its place: {seen:?}"
        );
        rest = rest.get(found.unwrap()..).unwrap();
    }
}

#[test]
fn a_pipe_gets_everything_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = slow_recording(folder.path());
    let replay = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        String::from_utf8(run(command.arg("replay").arg(&path).args(more)).stdout).unwrap()
    };
    assert_eq!(replay(&["--text"]), "first\nsecond\nthird\n");
    assert_eq!(replay(&["--search", "SECOND"]), "1:00:00.000  second\n");
    assert!(replay(&[]).starts_with("first\r\nsecond\r\nthird\r\n"));
    assert!(replay(&["--keep-escapes"]).contains("\u{1b}]52;c;eA==\u{7}"));
}

#[test]
fn the_page_shows_what_a_terminal_would() {
    let folder = tempfile::tempdir().unwrap();
    let first = recording(folder.path(), Version::V3);
    let (page, mut out) = (folder.path().join("page.html"), Vec::new());
    let parts = files::open(files::with_later_parts(&first));
    export(Format::Html, parts, &mut out).unwrap();
    fs::write(&page, out).unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/node/player.mjs");
    let output = run(Command::new(tool("node/node")).arg(program).arg(&page)).stdout;
    assert_eq!(
        String::from_utf8(output).unwrap(),
        "step: \"first\\nred\"\n\
         end: \"first\\nred\\nnot utf-8: \u{fffd}\\ncaf\u{e9}\"\n\
         stderr: \"not utf-8: \u{fffd}\"\n\
         marks: [\"0:00 exit code 7\"]\n\
         played: \"first\\nred\\nnot utf-8: \u{fffd}\\ncaf\u{e9}\" Play\n\
         search RED: 0:00 / 0:00, 1 / 1 [\"red\"]\n\
         search f: 0:00 / 0:00, 1 / 3 [\"f\"]\n\
         search nowhere: 0:00 / 0:00, 0 matches []\n"
    );
}
