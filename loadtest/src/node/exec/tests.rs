use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::*;
use crate::node::Settings;
use crate::node::testing::{
    capture, channels, connect, head, messages, replay, streams, toolbox, without_ids,
};

/// Client bytes of real sessions, replayed: the answers are those of the real server.
#[tokio::test]
async fn websocket_sessions_of_the_captures() {
    let scenarios = [
        ("exec-ws-none", "001"),
        ("exec-ws-v4", "001"),
        ("exec-ws-base64", "001"),
        ("exec-exit7-1.36", "002"),
        ("exec-notfound-1.32", "002"),
        ("exec-noperm-1.36", "002"),
        ("exec-stdin-cat-1.36", "002"),
        ("cp-to-1.32", "002"),
        ("cp-to-1.32", "003"),
    ];
    for (scenario, connection) in scenarios {
        let (ours, our_head) = {
            let answer = replay(toolbox(), scenario, connection, 0).await;
            let (head, body) = head(&answer);
            (messages(&body), head)
        };
        let real = capture(scenario, &format!("{connection}.server.bin"));
        let (real_head, body) = head(&real);
        let real = messages(&body);
        assert_eq!(our_head, real_head, "{scenario}");
        assert_eq!(ours.first(), real.first(), "{scenario}");
        assert_eq!(ours.last(), real.last(), "{scenario}");
        assert_eq!(ours[1].0, real[1].0, "{scenario}");
        if scenario.contains("base64") {
            let texts = |all: &[(u8, Vec<u8>)]| {
                all.iter()
                    .map(|(_, payload)| payload.clone())
                    .collect::<std::collections::BTreeSet<_>>()
            };
            assert_eq!(texts(&ours), texts(&real), "{scenario}");
            continue;
        }
        let (ours, real) = (channels(&ours), channels(&real));
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            real.keys().collect::<Vec<_>>(),
            "{scenario}"
        );
        for (channel, bytes) in &real {
            assert_eq!(
                without_ids(&ours[channel]),
                without_ids(bytes),
                "{scenario} channel {channel}"
            );
        }
    }
}

#[tokio::test]
async fn spdy_sessions_of_the_captures() {
    for (scenario, connection) in [
        ("exec-notfound-1.20", "002"),
        ("exec-spdy-forced-1.36", "002"),
        ("cp-to-1.20", "002"),
        ("cp-to-1.20", "003"),
    ] {
        let (our_head, ours) = head(&replay(toolbox(), scenario, connection, 0).await);
        let (real_head, real) = head(&capture(scenario, &format!("{connection}.server.bin")));
        assert_eq!(our_head, real_head, "{scenario}");
        let ((ours, our_control), (real, real_control)) = (streams(&ours), streams(&real));
        assert_eq!(our_control.last(), real_control.last(), "{scenario}");
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            real.keys().collect::<Vec<_>>(),
            "{scenario}"
        );
        for (stream, (data, _)) in &real {
            assert_eq!(
                without_ids(&ours[stream].0),
                without_ids(data),
                "{scenario} stream {stream}"
            );
        }
        // Whether an input is reset depends on who was first; the outputs and the error do not.
        for (stream, (_, ends)) in real.iter().filter(|(_, (data, _))| !data.is_empty()) {
            assert_eq!(ours[stream].1[1..], ends[1..], "{scenario} stream {stream}");
        }
    }
}

#[tokio::test]
async fn refusals_of_the_captures() {
    let scenarios = [
        ("exec-ws-badproto", "001"),
        ("exec-noupgrade", "001"),
        ("exec-noupgrade", "002"),
        ("exec-spdy-badproto", "001"),
        ("portforward-ws-noport", "001"),
    ];
    for (scenario, connection) in scenarios {
        let bytes = capture(scenario, &format!("{connection}.client.bin"));
        let node = Node::new(Settings::default());
        let mut client = connect(&node, toolbox());
        client.write_all(&bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut ours = Vec::new();
        client.read_to_end(&mut ours).await.unwrap();
        let (our_head, ours) = head(&ours);
        let (real_head, real) = head(&capture(scenario, &format!("{connection}.server.bin")));
        // Our connection ends with the client's half-close, which hyper announces.
        let plain = |lines: Vec<String>| {
            lines
                .into_iter()
                .filter(|line| !line.starts_with("connection"))
                .collect::<Vec<_>>()
        };
        assert_eq!(plain(our_head), plain(real_head), "{scenario}");
        assert_eq!(
            String::from_utf8_lossy(&ours),
            String::from_utf8_lossy(&real),
            "{scenario}"
        );
    }
}

#[tokio::test]
async fn run_attaches_to_the_shell_of_the_pod_and_tells_its_end() {
    let object = json!({"metadata": {"uid": "r"}, "spec": {"containers": [{
        "name": "oneoff", "args": ["sh"], "stdin": true, "stdinOnce": true,
        "env": [{"name": "DB_PASSWORD", "value": "S3cr3t-Pa55w0rd!"}],
    }]}});
    let mut pod = PodRef::new("shop", "oneoff", object);
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&told);
    pod.on_exit = Some(Arc::new(move |container, code| {
        hook.lock().push((container.to_owned(), code));
    }));
    let (our_head, ours) = head(&replay(pod, "run-rm-1.36", "003", 0).await);
    let (real_head, real) = head(&capture("run-rm-1.36", "003.server.bin"));
    assert_eq!(our_head, real_head);
    assert_eq!(channels(&messages(&ours)), channels(&messages(&real)));
    assert_eq!(*told.lock(), [("oneoff".to_owned(), 0)]);
}

type Client = WebSocketStream<DuplexStream>;

async fn websocket(node: &Node, query: &str, protocol: &'static str) -> Client {
    let uri = format!("ws://fake/api/v1/namespaces/shop/pods/toolbox/{query}");
    let mut request = uri.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("sec-websocket-protocol", protocol.parse().unwrap());
    let (client, _) = tokio_tungstenite::client_async(request, connect(node, toolbox()))
        .await
        .unwrap();
    client
}

/// Reads until a text has come on a channel after what was read before.
async fn expect(client: &mut Client, seen: &mut String, text: &str) {
    while !seen.contains(text) {
        let next = tokio::time::timeout(Duration::from_secs(10), client.next()).await;
        let next = next.unwrap_or_else(|_| panic!("waiting for {text:?} in {seen:?}"));
        if let Message::Binary(bytes) = next.unwrap().unwrap() {
            seen.push_str(&String::from_utf8_lossy(&bytes[1..]));
        }
    }
    let at = seen.find(text).unwrap() + text.len();
    seen.drain(..at);
}

#[tokio::test]
async fn a_terminal_over_websocket_with_pings_and_resizes() {
    let node = Node::new(Settings::default());
    let query = "exec?command=sh&stdin=true&stdout=true&tty=true";
    let mut client = websocket(&node, query, "v5.channel.k8s.io").await;
    let mut seen = String::new();
    expect(&mut client, &mut seen, "/ # ").await;
    client
        .send(Message::binary(
            b"\x04{\"Width\":101,\"Height\":33}\n".to_vec(),
        ))
        .await
        .unwrap();
    client
        .send(Message::Ping("are you there".into()))
        .await
        .unwrap();
    client
        .send(Message::binary(b"\x00stty size\r".to_vec()))
        .await
        .unwrap();
    expect(&mut client, &mut seen, "33 101\r\n/ # ").await;
    client
        .send(Message::binary(b"\x00yes\r".to_vec()))
        .await
        .unwrap();
    expect(&mut client, &mut seen, "y\r\ny\r\n").await;
    client
        .send(Message::binary(b"\x00\x03exit 6\r".to_vec()))
        .await
        .unwrap();
    expect(&mut client, &mut seen, "\"message\":\"6\"").await;
    assert!(
        matches!(client.next().await, Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == 1000)
    );
}

#[tokio::test]
async fn a_slow_reader_stops_the_program_and_a_gone_one_ends_it() {
    let node = Node::new(Settings::default());
    let mut client = websocket(
        &node,
        "exec?command=cat&stdin=true&stdout=true",
        "v4.channel.k8s.io",
    )
    .await;
    // Nobody reads: after some pieces the server takes no more.
    let piece = Message::binary(vec![0u8; 32 << 10]);
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(200), client.send(piece.clone()))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 200, "the server buffers without end");
    }
    drop(client);
    node.tasks().close();
    tokio::time::timeout(Duration::from_secs(10), node.tasks().wait())
        .await
        .expect("the session has ended");
}

#[tokio::test]
async fn attach_shows_the_service_and_echoes_nothing_without_stdin() {
    let node = Node::new(Settings {
        log_period: Duration::from_millis(1),
        ..Settings::default()
    });
    let mut client = websocket(&node, "attach?stdout=true&stderr=true", "v5.channel.k8s.io").await;
    let mut seen = String::new();
    expect(&mut client, &mut seen, " harmless\n").await;
    expect(&mut client, &mut seen, "password=S3cr3t-Pa55w0rd!").await;
}
