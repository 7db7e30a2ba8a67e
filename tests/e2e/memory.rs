//! A huge list: masked as it passes, in constant memory, from the first byte on.

use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::support::world::{Caller, Options, Workshop, World};

const LIST_BYTES: u64 = 1 << 30;
/// Every value begins with it, so four needles find any of them.
const MARKER: &str = "canary-of-the-huge-list-";
/// What the gateway may need above idle.
const MEMORY: u64 = 64 << 20;

/// An API server that has one list of a gigabyte, and a gate after the first part of it.
struct HugeList {
    sent: AtomicU64,
    gate: watch::Sender<bool>,
    items: Bytes,
}

impl HugeList {
    fn new() -> Self {
        let item = |number: u32| {
            let value = STANDARD.encode(format!("{MARKER}{number}"));
            let key = STANDARD.encode(format!("{MARKER}{}", "k".repeat(1700)));
            format!(
                r#",{{"metadata":{{"name":"s-{number}","namespace":"default"}},"data":{{"password":"{value}","tls.key":"{key}"}},"type":"Opaque"}}"#
            )
        };
        let items: String = (0..28).map(item).collect();
        Self {
            sent: AtomicU64::new(0),
            gate: watch::Sender::new(false),
            items: items.into(),
        }
    }

    fn item_count(&self) -> u64 {
        28 * LIST_BYTES.div_ceil(self.items.len() as u64)
    }

    /// The list, chunk by chunk; before it has sent one per cent it waits for the gate.
    fn body(self: Arc<Self>) -> impl http_body::Body<Data = Bytes, Error = Infallible> {
        let head: &'static str = r#"{"kind":"SecretList","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":["#;
        let state = (self, 0_u64);
        StreamBody::new(stream::unfold(state, move |(list, number)| async move {
            let total = LIST_BYTES.div_ceil(list.items.len() as u64);
            if list.sent.load(Ordering::SeqCst) > LIST_BYTES / 128 {
                let mut gate = list.gate.subscribe();
                let _open = gate.wait_for(|open| *open).await;
            }
            let chunk = match number {
                0 => Bytes::from_static(head.as_bytes()),
                1 => list.items.slice(1..), // no comma before the first
                _ if number <= total => list.items.clone(),
                _ if number == total + 1 => Bytes::from_static(b"]}"),
                _ => return None,
            };
            list.sent.fetch_add(chunk.len() as u64, Ordering::SeqCst);
            Some((Ok(Frame::data(chunk)), (list, number + 1)))
        }))
    }

    /// Serves it until the runtime ends.
    async fn serve(self: Arc<Self>, tls: Arc<rustls::ServerConfig>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accept = TlsAcceptor::from(tls);
        tokio::runtime::Handle::current().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (list, accept) = (Arc::clone(&self), accept.clone());
                tokio::runtime::Handle::current().spawn(async move {
                    let Ok(stream) = accept.accept(stream).await else {
                        return;
                    };
                    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
                        assert_eq!(request.uri().path(), "/api/v1/secrets");
                        let body = Arc::clone(&list).body();
                        async {
                            Response::builder()
                                .header("content-type", "application/json")
                                .body(Box::pin(body))
                        }
                    });
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // The client goes away when the test is over.
                    let _ended = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        address
    }
}

/// Waits until the API server has stopped sending, and returns how much it sent.
fn sent_when_quiet(list: &HugeList) -> u64 {
    let mut before = u64::MAX;
    loop {
        let sent = list.sent.load(Ordering::SeqCst);
        if sent == before {
            return sent;
        }
        before = sent;
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
fn a_gigabyte_of_secrets_streams_in_constant_memory() {
    let workshop = Arc::new(Workshop::new());
    let tls = workshop
        .ca
        .server_config(&["127.0.0.1"], &["h2", "http/1.1"])
        .unwrap();
    let list = Arc::new(HugeList::new());
    let upstream = workshop.runtime().block_on(Arc::clone(&list).serve(tls));
    let options = Options {
        upstream: Some(format!("https://{upstream}")),
        ..Options::default()
    };
    let world = World::start_with(Arc::clone(&workshop), &options);
    let gateway = world.gateway();
    let idle = gateway.peak_memory();

    let mut curl = std::process::Command::new("curl")
        .args(["-sS", "--no-buffer", "--max-time", "240", "--cacert"])
        .arg(world.path("ca.crt"))
        .args([
            "-H",
            &format!("Authorization: Bearer {}", world.token(Caller::Developer)),
        ])
        .arg(format!("{}/api/v1/secrets", world.url()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answer = curl.stdout.take().unwrap();

    // The gate is closed: what arrives now arrives before one per cent has been sent.
    let mut first = [0; 1];
    answer
        .read_exact(&mut first)
        .expect("the first byte, long before the last");
    assert_eq!(&first, b"{");
    assert!(
        list.sent.load(Ordering::SeqCst) <= LIST_BYTES / 100,
        "more than one per cent was sent"
    );

    // A reader that reads nothing: the API server has to wait, the gateway does not fill up.
    list.gate.send_replace(true);
    let ahead = sent_when_quiet(&list);
    assert!(
        ahead < MEMORY,
        "{ahead} bytes were taken from the API server for a reader that does not read"
    );

    let (bytes, items) = read_masked(&mut answer);
    assert!(curl.wait().unwrap().success(), "the list ended early");
    assert_eq!(items, list.item_count(), "items are missing");
    let needed = gateway.peak_memory() - idle;
    eprintln!(
        "{bytes} bytes left the gateway; it needed {} KiB above idle ({} KiB)",
        needed >> 10,
        idle >> 10
    );
    assert!(
        needed < MEMORY,
        "the gateway needed {needed} bytes above idle"
    );
}

/// Reads to the end: how many bytes and how many items there were. None may hold a value.
fn read_masked(answer: &mut impl std::io::Read) -> (u64, u64) {
    let mut needles = vec![MARKER.as_bytes().to_vec()];
    for shift in 0..3 {
        let mut padded = vec![b'x'; shift];
        padded.extend_from_slice(MARKER.as_bytes());
        let encoded = STANDARD.encode(&padded);
        needles.push(encoded.as_bytes()[(shift * 8).div_ceil(6)..padded.len() * 8 / 6].to_vec());
    }
    let needles: Vec<_> = needles.iter().map(memmem::Finder::new).collect();
    let item = memmem::Finder::new(b"\"type\":\"Opaque\"");
    let (mut bytes, mut items) = (1, 0);
    let mut window = Vec::with_capacity(2 << 20);
    let mut chunk = vec![0; 1 << 20];
    loop {
        let length = answer.read(&mut chunk).unwrap();
        bytes += length as u64;
        window.extend_from_slice(&chunk[..length]);
        for needle in &needles {
            assert!(
                needle.find(&window).is_none(),
                "a value left the gateway unmasked near byte {bytes}"
            );
        }
        // Cut after the last item's end, so that no text is counted twice or cut in two.
        let cut = if length == 0 {
            window.len()
        } else {
            memmem::rfind(&window, b"},{").unwrap_or(0)
        };
        items += item.find_iter(&window[..cut]).count() as u64;
        if length == 0 {
            assert!(
                window.ends_with(b"]}") || window.is_empty(),
                "the list is not whole"
            );
            return (bytes, items);
        }
        window.drain(..cut);
    }
}
