use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use loadtest::issuer::{AUDIENCE, Issuer, Running};
use loadtest::pki::Ca;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::audit::{self, AuditLog};
use crate::control::{self, Records, Reports, Settings, Socket, socket};
use crate::identity::{Block, Blocks, IssuerSettings, Refused, Whom};
use crate::metrics::Metrics;
use crate::policy::{RecordMode, RecordObligation};
use crate::recording::index::{FILE, files};
use crate::recording::tests::fixtures::{output, report};
use crate::recording::{self, Metadata, Recording};
use crate::session::Tap as _;
use crate::wire::asciicast::Version;

struct World {
    folder: tempfile::TempDir,
    issuer: Running,
    recorder: Arc<Recorder>,
    refused: Refused,
    address: SocketAddr,
    socket: Option<Socket>,
    shutdown: CancellationToken,
    _background: TaskTracker,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// One whose parts hold a header and two events.
fn recorder(directory: &Path, index: &Path, metrics: Metrics) -> Recorder {
    let settings = recording::Settings {
        directory: directory.to_owned(),
        format: Version::V2,
        max_bytes: 1 << 20,
        part_bytes: 600,
    };
    Recorder::start(settings, Some(index.to_owned()), metrics).unwrap()
}

/// What reports on these sessions and on nothing else.
fn reports(sessions: Sessions, metrics: metrics_exporter_prometheus::PrometheusHandle) -> Reports {
    Reports {
        measure: Box::new(|| {}),
        certificate: Box::new(|_| {}),
        metrics,
        not_ready: Box::new(Vec::new),
        degraded: Box::new(Vec::new),
        sessions: Some(Arc::new(sessions)),
        callers: None,
        audits: None,
        approvals: None,
        shipping: Vec::new(),
        console: None,
        private: true,
    }
}

impl World {
    async fn start(operators: Option<Operators>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = Ca::new().unwrap();
        let tls = ca
            .server_config(&["localhost", "127.0.0.1"], &["http/1.1"])
            .unwrap();
        let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), tls)
            .await
            .unwrap();
        let mut settings = IssuerSettings::new(issuer.url(), vec![AUDIENCE.to_owned()]);
        settings.certificate_authority = Some(ca.pem());
        let (background, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let refused = Refused::nobody();
        let authenticator = Authenticator::start(
            crate::identity::Settings {
                issuers: vec![settings],
                stream_grace: Duration::ZERO,
            },
            refused.clone(),
            &background,
            shutdown.clone(),
        )
        .unwrap();
        let (metrics, rendering) = Metrics::new();
        let directory = folder.path().join("recordings");
        let index = folder.path().join(FILE);
        let recorder = Arc::new(recorder(&directory, &index, metrics));
        let sessions = Sessions {
            recorder: Arc::clone(&recorder),
            catalog: Catalog::new(index, directory),
            audit: Records::new(
                AuditLog::open(&audit::Settings::new(
                    &folder.path().join("audit.jsonl"),
                    folder.path(),
                ))
                .unwrap(),
                |text| text.replace("known-value-1", "*"),
            ),
            authenticator,
            operators: operators.clone(),
            searches: Searches::default(),
        };
        let reports = reports(sessions, rendering);
        let settings = Settings {
            url: None,
            address: "127.0.0.1:0".parse().unwrap(),
            operators,
            webhooks: Vec::new(),
            tls: None,
            console: None,
        };
        let (address, socket) =
            control::start(&settings, folder.path(), reports, shutdown.clone()).unwrap();
        Self {
            folder,
            issuer,
            recorder,
            refused,
            address,
            socket,
            shutdown,
            _background: background,
        }
    }

    fn token(&self, user: &str, groups: &[&str], agent: Option<&str>) -> String {
        let mut claims = json!({"sub": user, "groups": groups});
        if let Some(agent) = agent {
            claims["act"] = json!({"sub": agent});
        }
        self.issuer.issue(claims).unwrap()
    }

    async fn at_address(&self, line: &str, token: Option<&str>, body: &str) -> (u16, String) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let bearer = token.map_or_else(String::new, |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        exchange(stream, line, &bearer, body).await
    }

    async fn at_socket(&self, line: &str, body: &str) -> (u16, Value) {
        let stream = UnixStream::connect(self.folder.path().join(socket::FILE)).await;
        let (code, text) = exchange(stream.unwrap(), line, "", body).await;
        (code, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn block(&self, user: &str) {
        let now = Timestamp::now();
        let block = Block {
            whom: Whom::User(user.to_owned()),
            by: "root".to_owned(),
            at: now,
            reason: "she left".to_owned(),
            until: None,
            subjects: Vec::new(),
        };
        let blocks = &self.refused.blocks;
        blocks.replace_in_tests(Blocks::new([block], now));
    }

    async fn record(&self, id: &str) -> (Recording, tokio::sync::oneshot::Receiver<Kill>) {
        let obligation = RecordObligation::new(RecordMode::Required);
        let opened = self.recorder.open(metadata(id), obligation).await;
        let (mut recording, killed) = opened.unwrap();
        recording.begin();
        (recording, killed)
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    line: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.contains("chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    (code, body)
}

fn unchunked(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        out.push_str(rest.get(..length).unwrap());
        body = rest.get(length + 2..).unwrap();
        if length == 0 {
            break;
        }
    }
    out
}

fn metadata(id: &str) -> Metadata {
    Metadata {
        id: id.to_owned(),
        kind: "exec".to_owned(),
        namespace: "shop".to_owned(),
        pod: "web-0".to_owned(),
        command: vec!["sh".to_owned()],
        user: "alice".to_owned(),
        started: Timestamp::now(),
        ..Metadata::default()
    }
}

fn operators() -> Operators {
    Operators {
        users: vec!["root".to_owned()],
        groups: vec!["operators".to_owned()],
    }
}

#[tokio::test]
async fn only_operators_are_answered_on_the_control_address() {
    let world = World::start(Some(operators())).await;
    let (_recording, mut killed) = world.record("one").await;
    let stranger = world.token("eve", &["developers"], None);
    let operator = world.token("olga", &["staff", "operators"], None);
    let named = world.token("root", &[], None);
    let agent = world.token("olga", &["operators"], Some("coder"));
    let lookalike = world.token("operators", &["root", "operators2"], None);
    let cases = [
        (None, 401),
        (Some("rubbish"), 401),
        (Some(stranger.as_str()), 403),
        (Some(lookalike.as_str()), 403),
        (Some(agent.as_str()), 403),
        (Some(operator.as_str()), 200),
        (Some(named.as_str()), 200),
    ];
    for (token, expected) in cases {
        for path in ["/v1/sessions", "/v1/sessions/one", "/v1/sessions/one/cast"] {
            let (code, text) = world.at_address(&format!("GET {path}"), token, "").await;
            assert_eq!(code, expected, "{path}: {text}");
            if expected != 200 {
                assert!(text.contains(r#""kind":"Status""#), "{text}");
                assert!(!text.contains("alice"), "{text}");
            }
        }
    }
    let token = Some(operator.as_str());
    for (line, expected) in [
        ("GET /v1/sessions/none", 404),
        ("GET /v1/sessions/none/cast", 404),
        ("GET /v1/sessions/none/live", 404),
        ("GET /v1/sessions/../../audit.jsonl", 404),
        ("GET /v1/else", 404),
        ("GET /v1/sessions/one/kill", 405),
        ("GET /v1/sessions?usr=x", 400),
    ] {
        assert_eq!(
            world.at_address(line, token, "").await.0,
            expected,
            "{line}"
        );
    }
    let kill = |id: &str| format!("POST /v1/sessions/{id}/kill");
    let why = r#"{"reason":"lunch"}"#;
    for token in [None, Some(stranger.as_str()), Some(agent.as_str())] {
        assert!(world.at_address(&kill("one"), token, why).await.0 > 400);
    }
    assert!(killed.try_recv().is_err(), "nobody may");
    assert_eq!(world.at_address(&kill("one"), token, "{}").await.0, 400);
    assert_eq!(world.at_address(&kill("none"), token, why).await.0, 404);
    let why = r#"{"reason":"lunch known-value-1"}"#;
    assert_eq!(world.at_address(&kill("one"), token, why).await.0, 200);
    let kill = killed.await.unwrap();
    assert_eq!(
        (kill.by.as_str(), kill.reason.as_str()),
        ("olga", "lunch *")
    );

    let last = world.audit().pop().unwrap();
    assert_eq!(last["user"]["username"], "olga");
    assert_eq!(last["requestURI"], "/v1/sessions/one/kill");
    assert_eq!(last["annotations"]["portcullis.dev/kill-reason"], "lunch *");
    assert_eq!(last["annotations"]["portcullis.dev/operator"], "olga");
    let refused = |event: &&Value| event["annotations"]["portcullis.dev/decision"] == "refuse";
    assert!(world.audit().iter().filter(refused).count() > 15);
    assert_eq!(world.at_address("GET /healthz", None, "").await.0, 200);
}

#[tokio::test]
async fn whoever_is_blocked_sees_no_more_of_what_they_follow() {
    let world = World::start(Some(operators())).await;
    let (_recording, _killed) = world.record("one").await;
    let olga = world.token("olga", &["operators"], None);
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = format!(
        "GET /v1/sessions/one/live HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {olga}\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![0; "HTTP/1.1 200 ".len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 ");
    world.block("olga");
    let rest = stream.read_to_end(&mut answer);
    tokio::time::timeout(Duration::from_secs(20), rest)
        .await
        .expect("the answer ends, although the session goes on")
        .unwrap();
    let again = world.at_address("GET /v1/sessions", Some(&olga), "").await;
    assert_eq!(again.0, 403, "{}", again.1);
    assert!(again.1.contains("she left"), "{}", again.1);
}

#[tokio::test]
async fn whoever_is_blocked_gets_no_more_of_a_recording_or_a_search() {
    let world = World::start(Some(operators())).await;
    let (recording, _killed) = world.record("one").await;
    recording.seal(&report()).await;
    let index = world.folder.path().join(FILE);
    let is_indexed = || {
        let db = rusqlite::Connection::open(&index).ok()?;
        let sealed = "SELECT count(*) FROM sessions WHERE sealed";
        db.query_row(sealed, [], |row| row.get(0)).ok()
    };
    while is_indexed() != Some(1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A recording that is never read to its end.
    let folder = world.folder.path().join("recordings");
    let day = files::days(&folder).unwrap().remove(0);
    let cast = folder.join(day).join("one.cast");
    std::fs::remove_file(&cast).unwrap();
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &cast, fifo, mode, 0).unwrap();
    let both_ways = std::fs::File::options().read(true).write(true).open(&cast);
    let olga = world.token("olga", &["operators"], None);
    let head = format!("Host: gateway\r\nAuthorization: Bearer {olga}\r\nContent-Length: ");
    let body = r#"{"text":"needle"}"#;
    let ask = async |line: &str, body: &str| {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let request = format!("{line} HTTP/1.1\r\n{head}{}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let blocking = async {
        while world.audit().len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.block("olga");
    };
    let asking = async {
        tokio::join!(
            ask("GET /v1/sessions/one/cast", ""),
            ask("POST /v1/search", body),
            blocking
        )
    };
    let (cast, search, ()) = tokio::time::timeout(Duration::from_secs(20), asking)
        .await
        .expect("the answers end");
    for answer in [cast, search] {
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "it looks whole: {answer}");
    }
    drop(both_ways); // the readers come to an end
}

#[tokio::test]
async fn without_operators_nothing_is_served_on_the_control_address() {
    let world = World::start(None).await;
    let token = world.token("root", &["operators"], None);
    for line in ["GET /v1/sessions", "GET /v1/sessions/one"] {
        assert_eq!(world.at_address(line, Some(&token), "").await.0, 404);
    }
    let (code, _) = world
        .at_address("POST /v1/sessions/one/kill", Some(&token), "{}")
        .await;
    assert_eq!(code, 405);
    assert!(world.audit().is_empty());
}

#[tokio::test]
async fn the_socket_is_for_the_owner_of_the_data_directory_and_goes_with_the_gateway() {
    use std::os::unix::fs::PermissionsExt as _;

    let mut world = World::start(None).await;
    let path = world.folder.path().join(socket::FILE);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(socket::bind(world.folder.path()).is_err(), "it is in use");

    let (place, killed) = world.recorder.enter(metadata("one"));
    let (code, list) = world.at_socket("GET /v1/sessions?live=true", "").await;
    assert_eq!(code, 200);
    assert_eq!(list["items"][0]["id"], "one");
    assert_eq!(list["items"][0]["verdict"], "open");
    assert_eq!(list["items"][0]["recorded"], false);
    assert_eq!(
        world.at_socket("GET /v1/sessions/one/live", "").await.0,
        404
    );
    let why = r#"{"reason":"a\u001b[2Jb"}"#;
    let (code, _) = world.at_socket("POST /v1/sessions/one/kill", why).await;
    assert_eq!(code, 200);
    let kill = killed.await.unwrap();
    assert_eq!(
        (kill.by.as_str(), kill.reason.as_str()),
        ("local", "a [2Jb")
    );
    let (code, _) = world.at_socket("POST /v1/sessions/one/kill", why).await;
    assert_eq!(code, 404, "it is ending already");
    let last = world.audit().pop().unwrap();
    let operator = last["annotations"]["portcullis.dev/operator"]
        .as_str()
        .unwrap();
    assert!(operator.starts_with("local, uid "), "{operator}");
    drop(place);

    drop(world.socket.take());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_session_is_listed_followed_and_read_until_it_is_over() {
    let world = World::start(None).await;
    let (mut recording, _killed) = world.record("one").await;
    let path = world.folder.path().join(socket::FILE);
    let follower = UnixStream::connect(&path).await.unwrap();
    let live = &world.recorder.live();
    let following = exchange(follower, "GET /v1/sessions/one/live", "", "");
    let session = async {
        while live.get("one").is_none_or(|session| session.followers == 0) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for second in 1..=8 {
            let event = format!("event {second} {}", "x".repeat(100));
            let at = Duration::from_secs(second);
            recording.event(&output(event.as_bytes()), at);
        }
        recording.seal(&report()).await
    };
    let ((code, followed), sealed) = tokio::join!(following, session);
    assert_eq!((code, sealed.failure), (200, None));
    assert_eq!(followed.lines().count(), 1 + 8, "{followed}");

    let stream = UnixStream::connect(&path).await.unwrap();
    let (code, cast) = exchange(stream, "GET /v1/sessions/one/cast", "", "").await;
    assert_eq!(code, 200);
    let (_, details) = world.at_socket("GET /v1/sessions/one", "").await;
    assert!(details["summary"]["parts"].as_array().unwrap().len() > 2);
    assert_eq!(details["verdict"], "completed");
    // Parts become one recording, which is what was followed.
    assert_eq!(cast, followed);
    let (_, list) = world.at_socket("GET /v1/sessions?user=alice", "").await;
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    assert_eq!(list["items"][0]["id"], "one");
    let (_, list) = world.at_socket("GET /v1/sessions?user=bob", "").await;
    assert_eq!(list["items"], json!([]));
    assert!(Path::new(&path).exists());
}

fn news(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn a_search_answers_what_it_found_and_that_it_is_over() {
    let world = World::start(Some(operators())).await;
    for (id, said) in [("one", "a needle\nhay\n"), ("two", "hay\nNEEDLE two\n")] {
        let (mut recording, _killed) = world.record(id).await;
        recording.event(&output(said.as_bytes()), Duration::from_secs(1));
        recording.seal(&report()).await;
    }
    let operator = world.token("olga", &["operators"], None);
    let search = async |query: &str, body: &str| {
        let line = format!("POST /v1/search{query}");
        world.at_address(&line, Some(&operator), body).await
    };
    let (code, text) = search("", r#"{"text":"needle","ignoreCase":true}"#).await;
    assert_eq!(code, 200);
    let found = news(&text);
    assert_eq!(found.len(), 3, "{text}");
    assert_eq!(found[0]["hit"]["id"], "two", "the latest first");
    assert_eq!(found[0]["hit"]["text"], "NEEDLE two");
    assert_eq!(found[1]["hit"]["stream"], "output");
    assert_eq!(found[1]["hit"]["atMs"], 1000);
    assert_eq!(found[2], json!({"over": {"full": false}}));
    let (_, text) = search("", r#"{"text":"needle","ignoreCase":true,"limit":1}"#).await;
    let found = news(&text);
    assert_eq!(found[1..], [json!({"over": {"full": true}})], "{text}");
    let (_, text) = search("?user=bob", r#"{"text":"needle"}"#).await;
    assert_eq!(news(&text), [json!({"over": {"full": false}})]);
    let file = world.folder.path().join("recordings");
    let day = files::days(&file).unwrap().remove(0);
    std::fs::write(file.join(day).join("two.cast"), "rubbish\n").unwrap();
    let (_, text) = search("", r#"{"text":"needle"}"#).await;
    let found = news(&text);
    assert_eq!(found[0]["unreadable"]["id"], "two", "{text}");
    assert_eq!(found[1]["hit"]["id"], "one", "{text}");

    assert_eq!(search("", "{}").await.0, 400);
    assert_eq!(search("?usr=bob", r#"{"text":"needle"}"#).await.0, 400);
    let stranger = world.token("eve", &["developers"], None);
    for (token, expected) in [(None, 401), (Some(stranger.as_str()), 403)] {
        let body = r#"{"text":"needle"}"#;
        let (code, text) = world.at_address("POST /v1/search", token, body).await;
        assert_eq!(code, expected, "{text}");
    }
    let events = world.audit();
    let searched = |event: &&Value| event["requestURI"] == "/v1/search";
    assert_eq!(events.iter().filter(searched).count(), 6);
    assert!(!format!("{events:?}").contains("needle"));
}

#[tokio::test]
async fn only_so_many_searches_run_at_a_time() {
    let searches = Searches::default();
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::of(folder.path());
    let begin = || {
        let found = SessionList {
            // More news than wait for a client that does not read them.
            items: (0..1000)
                .map(|number| Session {
                    metadata: metadata(&format!("id-{number}")),
                    recorded: true,
                    ..Session::default()
                })
                .collect(),
            more: false,
        };
        let quest = serde_json::from_value(json!({"text": "needle"})).unwrap();
        searches.begin(catalog.clone(), found, quest)
    };
    let running: Vec<_> = (0..limits::SEARCHES_MAX)
        .map(|_| begin().unwrap())
        .collect();
    assert_eq!(begin().unwrap_err().code().as_u16(), 429);
    // Their clients leave.
    drop(running);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while begin().is_err() {
        assert!(tokio::time::Instant::now() < deadline, "they go on");
        tokio::task::yield_now().await;
    }
}
