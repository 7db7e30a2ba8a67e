//! A byte-recording upstream: it keeps what was really sent to it and answers from a script.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What to do when a request's head is complete.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Written as they are.
    pub bytes: Vec<u8>,
    /// Whether the connection ends after them; else recording goes on.
    pub close: bool,
}

/// The bytes of each connection, in the order they were accepted.
pub type Recording = Arc<Mutex<Vec<Vec<u8>>>>;

/// A running recorder.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    recording: Recording,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Recorder {
    /// Listens on a free port of the loopback address. `script` is called with the number of the
    /// connection and each head that arrives on it; a body is expected only by its `Content-Length`.
    pub async fn start<S>(tls: Arc<rustls::ServerConfig>, script: S) -> io::Result<Self>
    where
        S: Fn(usize, &str) -> Reply + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let recorder = Self {
            address: listener.local_addr()?,
            recording: Recording::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let accept = accept(
            listener,
            TlsAcceptor::from(tls),
            Arc::new(script),
            Arc::clone(&recorder.recording),
            recorder.tasks.clone(),
        );
        let stopped = recorder.stop.clone().cancelled_owned();
        recorder.tasks.spawn(async move {
            tokio::select! {
                () = stopped => {}
                () = accept => {}
            }
        });
        Ok(recorder)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far, connection by connection.
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        self.recording.lock().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept<S>(
    listener: TcpListener,
    tls: TlsAcceptor,
    script: Arc<S>,
    recording: Recording,
    tasks: TaskTracker,
) where
    S: Fn(usize, &str) -> Reply + Send + Sync + 'static,
{
    while let Ok((tcp, _)) = listener.accept().await {
        let (tls, script, recording) = (tls.clone(), Arc::clone(&script), Arc::clone(&recording));
        tasks.spawn(async move {
            let number = {
                let mut connections = recording.lock();
                connections.push(Vec::new());
                connections.len() - 1
            };
            if let Ok(stream) = tls.accept(tcp).await
                && let Err(error) = record(stream, number, script.as_ref(), &recording).await
            {
                tracing::debug!(%error, "a recorded connection broke");
            }
        });
    }
}

async fn record<I, S>(mut io: I, number: usize, script: &S, recording: &Recording) -> io::Result<()>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    S: Fn(usize, &str) -> Reply,
{
    let mut pending = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = io.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let bytes = buffer.get(..count).unwrap_or_default();
        if let Some(connection) = recording.lock().get_mut(number) {
            connection.extend_from_slice(bytes);
        }
        pending.extend_from_slice(bytes);
        while let Some(head) = take_request(&mut pending) {
            let reply = script(number, &head);
            io.write_all(&reply.bytes).await?;
            io.flush().await?;
            if reply.close {
                return io.shutdown().await;
            }
        }
    }
}

/// Removes a whole request from the front and returns its head.
fn take_request(pending: &mut Vec<u8>) -> Option<String> {
    let end = pending
        .windows(4)
        .position(|window| window == b"\r\n\r\n")?
        + 4;
    let head = String::from_utf8_lossy(pending.get(..end)?).into_owned();
    let body = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0);
    if pending.len() < end + body {
        return None;
    }
    pending.drain(..end + body);
    Some(head)
}
