//! Port-forward under load: many connections at once, and a reader that does not read.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::process::Running;
use crate::support::world::{Caller, KUBECTLS, Kubectl, World};

const CONNECTIONS: u64 = 200;
/// What each of them fetches.
const ANSWER_BYTES: usize = 256 * 1024;
/// What the stalled one asks for at first: more than it is sent unasked, and little enough that kubectl
/// gets rid of it. SPDY here has no flow control, so beyond that kubectl itself holds up its neighbours.
const STALLED_BYTES: usize = 128 * 1024;
/// What it asks for in the end: more than anybody holds on the way.
const HUGE_BYTES: usize = 64 << 20;
/// What the gateway may need above idle.
const MEMORY: u64 = 48 << 20;
const PATIENCE: Duration = Duration::from_mins(2);

fn forward(world: &World, version: Kubectl, pod: &str) -> (Running, u16) {
    let args = ["port-forward", pod, ":8080", "--address=127.0.0.1"];
    let mut forward = world.kubectl(version, Caller::Developer).args(args).start();
    let said = forward.wait_for("its port", |text| {
        text.contains("Forwarding from 127.0.0.1:")
    });
    let port = said
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .and_then(|port| port.parse().ok());
    (forward, port.expect("a port"))
}

/// Asks for an answer of so many bytes.
async fn ask(port: u16, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET /bytes/{bytes} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Reads the answer to its end; how long its body was.
async fn body_bytes(mut stream: TcpStream) -> usize {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let body = chunked_body(&answer);
    assert!(body.iter().all(|byte| *byte == b'x'), "other bytes arrived");
    body.len()
}

/// The body of an answer in chunks.
fn chunked_body(answer: &[u8]) -> Vec<u8> {
    let after =
        |bytes: &[u8], end: &[u8]| memchr::memmem::find(bytes, end).map(|at| at + end.len());
    let mut rest = &answer[after(answer, b"\r\n\r\n").expect("a head")..];
    let mut body = Vec::new();
    while let Some(start) = after(rest, b"\r\n") {
        let size = std::str::from_utf8(&rest[..start - 2]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        body.extend_from_slice(&rest[start..start + size]);
        rest = &rest[start + size + 2..];
    }
    body
}

#[test]
fn two_hundred_connections_share_a_port_forward_with_one_that_is_not_read() {
    let world = World::start();
    let pod = world.pod();
    let idle = world.gateway().peak_memory();
    let mut seen = Vec::new();
    for version in KUBECTLS {
        let (forward, port) = forward(&world, version, &pod);
        world.runtime().block_on(async {
            let stalled = ask(port, STALLED_BYTES).await;
            let others: Vec<_> = (1..CONNECTIONS)
                .map(|_| {
                    let fetch = async move { body_bytes(ask(port, ANSWER_BYTES).await).await };
                    tokio::runtime::Handle::current().spawn(fetch)
                })
                .collect();
            for other in others {
                let fetched = timeout(PATIENCE, other).await.expect("the others finish");
                assert_eq!(fetched.unwrap(), ANSWER_BYTES);
            }
            assert_eq!(body_bytes(stalled).await, STALLED_BYTES);

            // Whoever reads nothing of something huge stops the API server and fills nobody's memory.
            let huge = ask(port, HUGE_BYTES).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            let needed = world.gateway().peak_memory() - idle;
            assert!(needed < MEMORY, "{needed} bytes above idle");
            let fetched = timeout(PATIENCE, body_bytes(huge)).await;
            assert_eq!(fetched.expect("it goes on"), HUGE_BYTES);
        });
        forward.interrupt();
        let tape = world.next_tape(&mut seen);
        assert_eq!(tape.summary["connections"], CONNECTIONS + 1);
        let events = world.events(&tape);
        let connections = events
            .iter()
            .filter(|event| event.code == "portcullis.connection");
        assert_eq!(connections.count() as u64, CONNECTIONS + 1);
    }
    let needed = world.gateway().peak_memory() - idle;
    eprintln!("the gateway needed {} KiB above idle", needed >> 10);
    assert!(needed < MEMORY, "{needed} bytes above idle");
}
