use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::node::testing::{
    capture, channels, connect, head, messages, replay, streams, toolbox, without_ids,
};
use crate::node::{Node, Settings};

#[tokio::test]
async fn a_refused_port_in_the_tunnel() {
    let (our_head, ours) = head(&replay(toolbox(), "portforward-refused-1.36", "002", 100).await);
    let (real_head, real) = head(&capture("portforward-refused-1.36", "002.server.bin"));
    assert_eq!(our_head, real_head);
    let joined = |bytes: &[u8]| -> Vec<u8> {
        messages(bytes)
            .into_iter()
            .filter(|(opcode, _)| *opcode == 2)
            .flat_map(|(_, payload)| payload)
            .collect()
    };
    assert_eq!(messages(&ours).last(), messages(&real).last());
    let (ours, real) = (streams(&joined(&ours)).0, streams(&joined(&real)).0);
    for (stream, (data, ends)) in &real {
        assert_eq!(without_ids(&ours[stream].0), without_ids(data));
        assert_eq!(&ours[stream].1[1..], &ends[1..], "stream {stream}");
    }
}

#[tokio::test]
async fn connections_over_spdy() {
    let (our_head, ours) = head(&replay(toolbox(), "portforward-1.20", "002", 0).await);
    let (real_head, real) = head(&capture("portforward-1.20", "002.server.bin"));
    assert_eq!(our_head, real_head);
    let (ours, real) = (streams(&ours).0, streams(&real).0);
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        real.keys().collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_legacy_form() {
    let (our_head, ours) = head(&replay(toolbox(), "portforward-ws-legacy", "001", 0).await);
    let (real_head, real) = head(&capture("portforward-ws-legacy", "001.server.bin"));
    assert_eq!(our_head, real_head);
    let (ours, real) = (messages(&ours), messages(&real));
    // Port numbers first, three bytes each: some clients depend on it.
    assert_eq!(ours[..2], real[..2]);
    assert_eq!(ours.last(), real.last());
    let text = |all| String::from_utf8_lossy(&channels(all)[&0]).into_owned();
    let page = "\r\n\r\nhello from toolbox, password=S3cr3t-Pa55w0rd!\n";
    assert!(
        text(&ours).ends_with(page) && text(&real).ends_with(page),
        "{}",
        text(&ours)
    );
}

#[tokio::test]
async fn an_echo_answers_and_a_blackhole_takes_only_so_much() {
    let node = Node::new(Settings::default());
    let uri = "ws://fake/api/v1/namespaces/shop/pods/toolbox/portforward?ports=7,9";
    let mut request = uri.into_client_request().unwrap();
    request.headers_mut().insert(
        "sec-websocket-protocol",
        "v4.channel.k8s.io".parse().unwrap(),
    );
    let (mut client, _) = tokio_tungstenite::client_async(request, connect(&node, toolbox()))
        .await
        .unwrap();
    client
        .send(Message::binary(b"\x00hello".to_vec()))
        .await
        .unwrap();
    let echoed = client.by_ref().skip(4).next().await.unwrap().unwrap();
    assert_eq!(echoed.into_data().as_ref(), b"\x00hello");
    let piece = Message::binary([vec![2u8], vec![b'x'; 32 << 10]].concat());
    let mut sent = 0;
    while tokio::time::timeout(Duration::from_millis(200), client.send(piece.clone()))
        .await
        .is_ok()
    {
        sent += 1;
        assert!(sent < 200, "the blackhole buffers without end");
    }
}
