//! One TLS connection to an API server. What is spoken on it is chosen by ALPN.

mod read_ahead;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::read_ahead::ReadAhead;
use super::credential::Access;
use crate::limits;

pub(super) type Stream = TlsStream<ReadAhead<TcpStream>>;

/// What a new connection may speak.
#[derive(Clone, Copy, Debug)]
pub(super) enum Offer {
    /// HTTP/2, else HTTP/1.1: ordinary requests.
    Any,
    /// HTTP/1.1 alone: upgrades, and streams on a connection of their own. An API server that speaks HTTP/2 here would answer with its frames.
    Http1,
}

/// Connects, bounded in time. The error is for the log.
pub(super) async fn connect(access: &Access, offer: Offer) -> io::Result<Stream> {
    timeout(limits::UPSTREAM_CONNECT_TIMEOUT, dial(access, offer))
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time"))?
}

async fn dial(access: &Access, offer: Offer) -> io::Result<Stream> {
    let server = &access.server;
    let addresses = tokio::net::lookup_host((server.host.as_str(), server.port)).await?;
    let tcp = first_to_answer(addresses).await?;
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(limits::TCP_KEEPALIVE)
        .with_interval(limits::TCP_KEEPALIVE_INTERVAL);
    socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    let alpn = match offer {
        Offer::Any => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        Offer::Http1 => vec![b"http/1.1".to_vec()],
    };
    TlsConnector::from(Arc::clone(&access.tls))
        .with_alpn(alpn)
        .connect(server.name.clone(), ReadAhead::new(tcp))
        .await
}

/// The addresses in the resolver's order, each for a bounded time: a dead one does not use up the
/// whole wait.
async fn first_to_answer(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(
            limits::UPSTREAM_ADDRESS_TIMEOUT,
            TcpStream::connect(address),
        )
        .await
        {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "an address did not answer"),
        }
    }
    Err(last)
}

/// Whether HTTP/2 was agreed on.
pub(super) fn speaks_http2(stream: &Stream) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
