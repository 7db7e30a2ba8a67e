//! The upstream of a measurement: a process of its own that is cheap enough to keep a proxy busy. Everything it sends
//! was rendered before. HTTP/2 is hyper's; HTTP/1.1 is written by hand, because a chunk an event at memory speed is
//! what no server library does.

pub mod answer;
mod exec;
pub mod objects;
pub mod templates;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use anyhow::Context as _;
use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::network::{self, tls};
use answer::{Answer, Corpus, Stream};

/// As the API server's `--http2-max-streams-per-connection` default.
const MAX_STREAMS: u32 = 100;
/// What one write takes from a stream that has more at hand.
const BATCH_BYTES: usize = 64 << 10;
const HEAD_BYTES_MAX: usize = 32 << 10;

/// Where it listens and as whom.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The address.
    #[arg(long)]
    listen: SocketAddr,
    /// Where `tls.crt` and `tls.key` are.
    #[arg(long)]
    dir: PathBuf,
}

/// Serves until it is killed.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let corpus = Arc::new(Corpus::default());
    let acceptor = TlsAcceptor::from(tls::server(&args.dir, &["h2", "http/1.1"])?);
    let listener = network::listen(args.listen).context("the upstream cannot listen")?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted?;
                let (acceptor, corpus) = (acceptor.clone(), Arc::clone(&corpus));
                connections.spawn(async move {
                    // A client that goes away in the middle is the usual end of a watch.
                    drop(connection(socket, &acceptor, corpus).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(
    socket: TcpStream,
    acceptor: &TlsAcceptor,
    corpus: Arc<Corpus>,
) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let stream = acceptor.accept(socket).await?;
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        http2(stream, corpus).await
    } else {
        http1(stream, &corpus).await
    }
}

async fn http2(stream: TlsStream<TcpStream>, corpus: Arc<Corpus>) -> anyhow::Result<()> {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let accept = request.headers().get(http::header::ACCEPT);
        let accept = accept.and_then(|accept| accept.to_str().ok());
        let (content_type, answer) = corpus.answer(path, accept.unwrap_or_default());
        let body = match answer {
            Answer::Object(bytes) => Full::new(bytes)
                .map_err(|never| match never {})
                .boxed_unsync(),
            Answer::Stream(stream) => stream.boxed_unsync(),
        };
        let mut response = Response::new(body);
        response.headers_mut().insert(
            http::header::CONTENT_TYPE,
            http::HeaderValue::from_static(content_type),
        );
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    server.max_concurrent_streams(MAX_STREAMS);
    server.max_send_buf_size(BATCH_BYTES);
    Ok(server
        .serve_connection(TokioIo::new(stream), service)
        .await?)
}

async fn http1(mut stream: TlsStream<TcpStream>, corpus: &Corpus) -> anyhow::Result<()> {
    let mut input = Vec::new();
    while let Some(head) = request(&mut stream, &mut input).await? {
        let path = head.split(' ').nth(1).unwrap_or_default();
        if let Some(key) = network::header(&head, "sec-websocket-key") {
            return exec::serve(&mut stream, path, key, corpus).await;
        }
        let accept = network::header(&head, "accept").unwrap_or_default();
        let (content_type, answer) = corpus.answer(path, accept);
        match answer {
            Answer::Object(bytes) => {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
                    bytes.len()
                );
                stream
                    .write_all(&[head.as_bytes(), &bytes].concat())
                    .await?;
            }
            Answer::Stream(answer) => chunks(&mut stream, content_type, answer).await?,
        }
        stream.flush().await?;
    }
    Ok(())
}

/// Reads the head of a request; bodies are not expected. `None` at the end.
async fn request(
    stream: &mut TlsStream<TcpStream>,
    input: &mut Vec<u8>,
) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = memchr::memmem::find(input, b"\r\n\r\n") {
            let head: Vec<u8> = input.drain(..end + 4).collect();
            return Ok(Some(String::from_utf8_lossy(&head).into_owned()));
        }
        if input.len() > HEAD_BYTES_MAX || stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

/// Every piece is a chunk; those at hand leave in one write.
async fn chunks(
    stream: &mut TlsStream<TcpStream>,
    content_type: &str,
    mut answer: Stream,
) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut batch = Vec::with_capacity(BATCH_BYTES * 2);
    let mut ended = false;
    // Who reads a watch says nothing more, but goes away: that must be seen while no event is due.
    let mut nothing = [0; 1];
    while !ended {
        batch.clear();
        let gathered = std::future::poll_fn(|context| {
            while batch.len() < BATCH_BYTES {
                match answer.poll_next(context) {
                    Poll::Ready(Ok(Some(piece))) => put_chunk(&mut batch, &piece),
                    Poll::Ready(Ok(None)) => {
                        batch.extend_from_slice(b"0\r\n\r\n");
                        ended = true;
                        break;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending if batch.is_empty() => {
                        let mut nothing = tokio::io::ReadBuf::new(&mut nothing);
                        let read = tokio::io::AsyncRead::poll_read(
                            Pin::new(&mut *stream),
                            context,
                            &mut nothing,
                        );
                        return read.map(|_| Err(io::ErrorKind::ConnectionAborted.into()));
                    }
                    Poll::Pending => break,
                }
            }
            Poll::Ready(Ok(()))
        });
        gathered.await?;
        stream.write_all(&batch).await?;
        stream.flush().await?;
    }
    Ok(())
}

fn put_chunk(batch: &mut Vec<u8>, piece: &Bytes) {
    use std::io::Write as _;
    // Writing into memory does not fail.
    drop(write!(batch, "{:x}\r\n", piece.len()));
    batch.extend_from_slice(piece);
    batch.extend_from_slice(b"\r\n");
}
