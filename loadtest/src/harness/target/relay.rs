//! The anchor where no proxy is installed: TLS on both sides and bytes copied between them. It knows nothing of HTTP,
//! so nothing that does can do with less.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::ServerName;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Process, Stage};
use crate::harness::network::{self, tls};

const COPY_BYTES: usize = 64 << 10;

/// Where it listens and whom it relays to.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The address.
    #[arg(long)]
    listen: SocketAddr,
    /// The upstream.
    #[arg(long)]
    upstream: SocketAddr,
    /// Where the certificates are.
    #[arg(long)]
    dir: PathBuf,
}

pub(super) fn start(stage: &Stage, listen: SocketAddr) -> anyhow::Result<Process> {
    Process::this(&stage.folder, "relay", |command| {
        command.args([
            "relay",
            "--listen",
            &listen.to_string(),
            "--upstream",
            &stage.upstream.to_string(),
            "--dir",
        ]);
        command.arg(&stage.folder);
    })
}

/// Relays until it is killed.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(tls::server(&args.dir, &["h2", "http/1.1"])?);
    let http1 = TlsConnector::from(tls::client(&args.dir, &["http/1.1"])?);
    let http2 = TlsConnector::from(tls::client(&args.dir, &["h2"])?);
    let both = Arc::new((http1, http2));
    let listener = network::listen(args.listen)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted?;
                let (acceptor, both, upstream) = (acceptor.clone(), Arc::clone(&both), args.upstream);
                connections.spawn(async move {
                    // Either side going away is the usual end.
                    drop(relay(socket, &acceptor, &both, upstream).await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn relay(
    socket: TcpStream,
    acceptor: &TlsAcceptor,
    (http1, http2): &(TlsConnector, TlsConnector),
    upstream: SocketAddr,
) -> anyhow::Result<()> {
    socket.set_nodelay(true)?;
    let mut client = acceptor.accept(socket).await?;
    let is_http2 = client.get_ref().1.alpn_protocol() == Some(b"h2");
    let connector = if is_http2 { http2 } else { http1 };
    let name = ServerName::from(upstream.ip());
    let mut server = connector
        .connect(name, network::connect(upstream).await?)
        .await?;
    copy_bidirectional_with_sizes(&mut client, &mut server, COPY_BYTES, COPY_BYTES).await?;
    Ok(())
}
