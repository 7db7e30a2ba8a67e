//! Sessions at a kubelet, through `nodes/NAME/proxy`: another way to the same shell, and on tape like every
//! other. What cannot be recorded there is in `raw`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::recorder::without_folder;
use crate::support::process::Process;
use crate::support::tape::Tape;
use crate::support::world::{Caller, World, tool};

const NODE: &str = "node-1";

/// What kubectl 1.20 sent for exec without input: three streams, and nothing more.
const OUTPUT_ONLY: &[u8] = include_bytes!("../fixtures/captures/exec-exit7-1.20/002.client.bin");
/// What it sent for a port-forward: three requests to port 8080, and a `GOAWAY`.
const THREE_REQUESTS: &[u8] =
    include_bytes!("../fixtures/captures/portforward-1.20/002.client.bin");
/// How a frame begins that opens a stream.
const SYN_STREAM: &[u8] = b"\x80\x03\0\x01";
/// How one begins that accepts it.
const SYN_REPLY: &[u8] = b"\x80\x03\0\x02";
/// Bytes of a `GOAWAY` frame.
const GOAWAY_BYTES: usize = 16;

/// A running pod and its container.
fn target(world: &World) -> (String, String) {
    let pod = world.pod();
    let names = "-o=jsonpath={.spec.containers[0].name}";
    let container = world.admin(&["get", "pod", &pod, names]).stdout;
    (pod, container)
}

/// The recordings of the next sessions that are over, by their kind.
fn tapes(world: &World, seen: &mut Vec<String>, count: usize) -> BTreeMap<String, Tape> {
    let tapes = (0..count).map(|_| world.next_tape(seen));
    tapes
        .map(|tape| {
            (
                tape.summary["metadata"]["kind"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
                tape,
            )
        })
        .collect()
}

/// What the header of a recording says of its session.
fn header(world: &World, tape: &Tape) -> Value {
    let cast = std::fs::read_to_string(&world.parts(tape)[0]).unwrap();
    let header: Value = serde_json::from_str(cast.lines().next().unwrap()).unwrap();
    header["portcullis"].clone()
}

/// Everything of one code in a recording, joined.
fn said(world: &World, tape: &Tape, code: &str) -> String {
    let events = world.events(tape);
    let of_code = events.iter().filter(|event| event.code == code);
    of_code.map(|event| event.data.as_str()).collect()
}

/// The lines of a recording's output, sorted: stdout and stderr are streams of their own.
fn lines(world: &World, tape: &Tape) -> Vec<String> {
    let output = said(world, tape, "o");
    let mut lines: Vec<String> = output.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// The last audit event of a recorded session.
fn end(world: &World, tape: &Tape) -> Value {
    let of_tape = |event: &Value| {
        event["stage"] == "ResponseComplete"
            && event["annotations"]["portcullis.dev/recording"] == tape.path.as_str()
    };
    world.audit().into_iter().rfind(of_tape).unwrap()
}

/// Sends a SPDY upgrade, and the frames of a captured client once it was made. The head of the answer, and
/// what follows until it is `enough` or the gateway ends it.
fn spdy(
    world: &World,
    path: &str,
    client: &[u8],
    enough: impl Fn(&str) -> bool,
) -> (String, String) {
    let token = world.token(Caller::OnCall);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\
         Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\
         X-Stream-Protocol-Version: portforward.k8s.io\r\n\r\n"
    );
    let captured = memchr::memmem::find(client, b"\r\n\r\n").unwrap() + 4;
    let talk = async {
        let tcp = TcpStream::connect(world.url().replace("https://", ""))
            .await
            .unwrap();
        let tls = TlsConnector::from(world.ca.client_config(&["http/1.1"]).unwrap());
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let mut stream = tls.connect(name, tcp).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let end = loop {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "an answer");
            if let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let mut rest = answer.split_off(end);
        let head = String::from_utf8(answer).unwrap();
        if head.starts_with("HTTP/1.1 101") {
            let mut asked = 0;
            for frame in frames(&client[captured..]) {
                stream.write_all(frame).await.unwrap();
                // As kubectl does: a stream is used when it was accepted.
                asked += usize::from(frame.starts_with(SYN_STREAM));
                while memchr::memmem::find_iter(&rest, SYN_REPLY).count() < asked
                    && stream.read_buf(&mut rest).await.unwrap() > 0
                {}
            }
            while !enough(&String::from_utf8_lossy(&rest))
                && stream.read_buf(&mut rest).await.unwrap() > 0
            {}
        }
        (head, String::from_utf8_lossy(&rest).into_owned())
    };
    let patience = Duration::from_mins(1);
    let talked = world
        .runtime()
        .block_on(async { tokio::time::timeout(patience, talk).await });
    talked.expect("an answer that is enough, or an end")
}

/// Each frame of a SPDY stream: eight bytes, the last three of which say how many follow.
fn frames(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length: [u8; 4] = bytes.get(4..8)?.try_into().unwrap();
        let length = usize::try_from(u32::from_be_bytes(length) & 0x00ff_ffff).unwrap();
        let (frame, rest) = bytes.split_at(8 + length);
        bytes = rest;
        Some(frame)
    })
}

/// Runs the stock Python client's streams against a node: exec, attach and port-forward.
fn python(world: &World, node: &str, pod: &str, container: &str) -> Vec<Value> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/python/kubelet.py");
    let outcome = Process::new(world.runtime(), tool("venv/bin/python"))
        .args([program])
        .env("HOME", world.path("home"))
        .env("KUBECONFIG", world.path("developer.kubeconfig"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NODE", node)
        .env("POD", pod)
        .env("CONTAINER", container)
        .run();
    world.check(&outcome);
    outcome.expect_code(0);
    let steps = outcome.stdout.lines();
    steps
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The recording and the audit event both say which pod it was, and that it went by the node.
#[track_caller]
fn expect_place(world: &World, tape: &Tape, kind: &str, place: [&str; 2]) {
    let [pod, container] = place;
    let header = header(world, tape);
    let said = |key: &str| header[key].as_str().unwrap_or_default();
    assert_eq!(
        ["kind", "node", "namespace", "pod", "container"].map(said),
        [kind, NODE, "default", pod, container]
    );
    let end = end(world, tape);
    let told = |key: &str| end["annotations"][format!("portcullis.dev/{key}")].clone();
    assert_eq!((told("node"), told("session")), (NODE.into(), kind.into()));
    let target = format!("default/{pod}/{container}");
    assert_eq!(told("pod"), target.trim_end_matches('/'));
    assert_eq!(end["objectRef"]["resource"], "nodes");
}

#[test]
fn c67_websocket_sessions_through_a_node_are_on_tape() {
    let world = World::start();
    let (pod, container) = target(&world);
    let mut seen = Vec::new();
    for node in [NODE, "https:node-1:10250"] {
        let steps = python(&world, node, &pod, &container);
        let exec = json!({"step": "exec", "stdout": "out\n", "stderr": "err\n", "exit": 7});
        assert_eq!(steps[0], exec);
        let line = steps[1]["line"].as_str();
        let line = line.unwrap_or_else(|| panic!("{steps:?}"));
        assert!(!line.is_empty(), "{steps:?}");
        assert_eq!(steps[2]["status"], "HTTP/1.1 200 OK", "{steps:?}");

        let tapes = tapes(&world, &mut seen, 3);
        let (exec, attach, forward) = (&tapes["exec"], &tapes["attach"], &tapes["portforward"]);
        expect_place(&world, exec, "exec", [&pod, &container]);
        expect_place(&world, attach, "attach", [&pod, &container]);
        expect_place(&world, forward, "portforward", [&pod, ""]);
        let command = json!(["sh", "-c", "echo out; echo err >&2; exit 7"]);
        assert_eq!(header(&world, exec)["command"], command);
        assert_eq!(header(&world, exec)["transport"], "websocket");
        assert_eq!(lines(&world, exec), ["err", "out"]);
        assert_eq!(said(&world, exec, "x"), "7");
        let end = end(&world, exec);
        assert_eq!(end["verb"], "get");
        let written = &end["annotations"]["portcullis.dev/command"];
        assert_eq!(written, "sh -c echo out; echo err >&2; exit 7");
        assert!(said(&world, attach, "o").contains(line));
        let connection = said(&world, forward, "portcullis.connection");
        assert!(connection.contains("\"port\":8080"), "{connection}");
    }
}

#[test]
fn c67_a_spdy_session_through_a_node_is_on_tape() {
    let world = World::start();
    let (pod, container) = target(&world);
    let mut seen = Vec::new();
    for path in [
        format!("{NODE}/proxy/exec/default/{pod}/{container}"),
        format!("https:{NODE}:10250/proxy/exec/default/{pod}/uid-1/{container}/"),
    ] {
        let command = "command=sh&command=-c&command=echo+out%3B+echo+err+%3E%262%3B+exit+7";
        let path = format!("/api/v1/nodes/{path}?{command}&output=1&error=1");
        let (head, answer) = spdy(&world, &path, OUTPUT_ONLY, |_| false);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        for expected in ["out\n", "err\n", "NonZeroExitCode"] {
            assert!(answer.contains(expected), "{answer:?}");
        }
        let tape = world.next_tape(&mut seen);
        let header = header(&world, &tape);
        assert_eq!(
            (&header["kind"], &header["node"]),
            (&"exec".into(), &NODE.into())
        );
        assert_eq!(
            (&header["container"], &header["transport"]),
            (&container.as_str().into(), &"spdy".into())
        );
        assert_eq!(lines(&world, &tape), ["err", "out"]);
        assert_eq!(said(&world, &tape, "x"), "7");
        assert_eq!(end(&world, &tape)["verb"], "create");
    }
}

#[test]
fn c67_attach_and_port_forward_over_spdy_through_a_node_are_on_tape() {
    let world = World::start();
    let (pod, container) = target(&world);
    let mut seen = Vec::new();

    let path = format!("/api/v1/nodes/{NODE}/proxy/attach/default/{pod}/{container}");
    let whole_lines = |text: &str| text.matches('\n').count() > 1;
    let (head, answer) = spdy(
        &world,
        &format!("{path}?output=1&error=1"),
        OUTPUT_ONLY,
        whole_lines,
    );
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let tape = world.next_tape(&mut seen);
    expect_place(&world, &tape, "attach", [&pod, &container]);
    assert_eq!(header(&world, &tape)["transport"], "spdy");
    let output = said(&world, &tape, "o");
    let shown = output.lines().next().unwrap();
    assert!(
        !shown.is_empty() && answer.contains(shown),
        "{shown:?} {answer:?}"
    );

    let path = format!("/api/v1/nodes/{NODE}/proxy/portForward/default/{pod}");
    let (requests, _goaway) = THREE_REQUESTS.split_at(THREE_REQUESTS.len() - GOAWAY_BYTES);
    let three = |text: &str| text.matches("HTTP/1.1 ").count() == 3;
    let (head, answer) = spdy(&world, &path, requests, three);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(three(&answer), "{answer:?}");
    let tape = world.next_tape(&mut seen);
    expect_place(&world, &tape, "portforward", [&pod, ""]);
    assert_eq!(header(&world, &tape)["transport"], "spdy");
    let connections = said(&world, &tape, "portcullis.connection");
    assert_eq!(
        connections.matches("\"port\":8080").count(),
        3,
        "{connections}"
    );
    assert_eq!(
        end(&world, &tape)["annotations"]["portcullis.dev/connections"],
        "3"
    );
}

#[test]
fn c67_without_a_recorder_there_is_no_session_through_a_node_either() {
    let world = without_folder(None);
    let (pod, container) = target(&world);
    let before = world.api_server.requests().len();
    for path in [
        format!("exec/default/{pod}/{container}?command=id&output=1"),
        format!("attach/default/{pod}/{container}?output=1"),
        format!("portForward/default/{pod}"),
    ] {
        let path = format!("/api/v1/nodes/{NODE}/proxy/{path}");
        let (head, _) = spdy(&world, &path, OUTPUT_ONLY, |_| false);
        assert!(head.starts_with("HTTP/1.1 503 "), "{path}: {head}");
    }
    let seen = world.api_server.requests().split_off(before);
    let asked = seen
        .iter()
        .filter(|seen| seen.uri.path().contains("/proxy/"));
    assert_eq!(asked.count(), 0, "the kubelet was asked");
}
