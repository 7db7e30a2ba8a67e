//! How commands speak HTTP: to a gateway, and to an identity provider. One connection a request; no
//! redirect is followed, because what is sent is often a credential.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

/// Whom a URL names.
pub(super) struct Server {
    host: String,
    authority: String,
    port: u16,
    tls: Option<TlsConnector>,
}

impl Server {
    /// The server of this URL. Without TLS only on this machine: credentials are sent to it.
    pub(super) fn of(
        url: &Uri,
        tls: impl FnOnce() -> anyhow::Result<TlsConnector>,
    ) -> anyhow::Result<Self> {
        let encrypted = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("{url} must begin with https:// or http://"),
        };
        let authority = url.authority().context("the URL names no host")?;
        ensure!(
            !authority.as_str().contains('@'),
            "credentials do not belong into a URL"
        );
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        ensure!(
            encrypted || is_loopback(&host),
            "a token is not sent over http:// to another machine; use https://"
        );
        Ok(Self {
            host,
            authority: authority.as_str().to_owned(),
            port: authority
                .port_u16()
                .unwrap_or(if encrypted { 443 } else { 80 }),
            tls: encrypted.then(tls).transpose()?,
        })
    }

    /// Sends one request; `tasks` drive its connection.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        tasks: &TaskTracker,
    ) -> anyhow::Result<Response<Incoming>> {
        let (host, port) = (&self.host, self.port);
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_str(&self.authority)?);
        let stream = TcpStream::connect((host.as_str(), port)).await;
        let stream = stream.with_context(|| format!("cannot connect to {host}:{port}"))?;
        let Some(tls) = &self.tls else {
            return exchange(stream, request, tasks).await;
        };
        let name = ServerName::try_from(host.clone())?;
        let stream = tls.connect(name, stream).await;
        let stream = stream.with_context(|| format!("TLS with {host}:{port} failed"))?;
        exchange(stream, request, tasks).await
    }
}

/// Sends one request over a connection that is there.
pub(super) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    tasks: &TaskTracker,
) -> anyhow::Result<Response<Incoming>> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("HTTP failed")?;
    // What goes wrong with the connection is told where its answer is read.
    tasks.spawn(async move { drop(connection.await) });
    sender.send_request(request).await.context("no answer came")
}

/// Whether a host can only be this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Trusts the certificates of a file, or those of the machine.
pub(super) fn trust_file(file: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let Some(file) = file else {
        return trust(machine_roots());
    };
    let cannot = || format!("{} cannot be used", file.display());
    trust_pem(&std::fs::read(file).with_context(cannot)?).with_context(cannot)
}

/// Trusts these PEM certificates.
pub(super) fn trust_pem(pem: &[u8]) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate?)?;
    }
    trust(roots)
}

/// The authorities that this machine trusts.
pub(super) fn machine_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// Trusts these authorities.
pub(super) fn trust(roots: RootCertStore) -> anyhow::Result<TlsConnector> {
    ensure!(
        !roots.is_empty(),
        "there is no certificate to trust; name a file with the authority's"
    );
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
