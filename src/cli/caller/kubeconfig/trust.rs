//! Which authority vouches for the gateway: named by a file, known to this machine, or taken from the
//! gateway itself by its fingerprint.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::cli::https::{machine_roots, trust};

/// How long the gateway may take to show its certificate.
const PATIENCE: Duration = Duration::from_secs(15);

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

/// Reads a fingerprint as openssl prints it, or without colons.
pub(super) fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    let wrong = "it must be 32 bytes in hexadecimal, as `openssl x509 -noout -fingerprint -sha256 -in ca.crt` prints";
    let lower = text.to_ascii_lowercase();
    let digits = lower
        .strip_prefix("sha256 fingerprint=")
        .or_else(|| lower.strip_prefix("sha256:"))
        .unwrap_or(&lower)
        .replace(':', "");
    let mut bytes = [0; 32];
    let mut nibbles = digits.chars().map(|digit| digit.to_digit(16));
    for byte in &mut bytes {
        let (Some(Some(high)), Some(Some(low))) = (nibbles.next(), nibbles.next()) else {
            return Err(wrong.to_owned());
        };
        *byte = u8::try_from(high * 16 + low).map_err(|_| wrong)?;
    }
    match nibbles.next() {
        None => Ok(Fingerprint(bytes)),
        Some(_) => Err(wrong.to_owned()),
    }
}

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; 32];
        let digest = digest::digest(&digest::SHA256, certificate);
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes: Vec<String> = self.0.iter().map(|byte| format!("{byte:02X}")).collect();
        out.write_str(&bytes.join(":"))
    }
}

/// The PEM that belongs into the kubeconfig; `None` if this machine knows the authority anyway.
pub(super) async fn authority(
    server: &str,
    file: Option<&Path>,
    wanted: Option<Fingerprint>,
) -> anyhow::Result<Option<String>> {
    if let Some(file) = file {
        return from_file(file).map(Some);
    }
    let looked = async {
        let roots = machine_roots();
        // A fingerprint that was given is what counts, whatever else this machine trusts.
        if wanted.is_none() && !roots.is_empty() && connects(server, &trust(roots)?).await.is_ok() {
            return Ok(None);
        }
        from_gateway(server, wanted).await.map(Some)
    };
    tokio::time::timeout(PATIENCE, looked)
        .await
        .with_context(|| {
            format!("{server} does not answer; name the file with --certificate-authority")
        })?
}

/// The certificates of a file, and nothing else of it: a private key may stand beside them.
fn from_file(file: &Path) -> anyhow::Result<String> {
    let cannot = || format!("{} cannot be used", file.display());
    let mut pem = String::new();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(cannot)? {
        let certificate = certificate.with_context(cannot)?;
        pem.push_str(&as_pem(&certificate)?);
        roots.add(certificate).with_context(cannot)?;
    }
    ensure!(
        !roots.is_empty(),
        "{} holds no PEM certificate",
        file.display()
    );
    Ok(pem)
}

/// What the gateway shows last is its authority's, or it shows none. It is trusted only if its
/// fingerprint was known before: who stands in between shows another.
async fn from_gateway(server: &str, wanted: Option<Fingerprint>) -> anyhow::Result<String> {
    let shown = certificates(server).await?;
    let last = shown.last().context("the gateway shows no certificate")?;
    let fingerprint = Fingerprint::of(last);
    match wanted {
        None => bail!(
            "this machine does not know the authority of {server}. Name its certificate with --certificate-authority. \
             Or ask the gateway's operator for the fingerprint (openssl x509 -noout -fingerprint -sha256 -in ca.crt) \
             and, only if it is this one, add --trust-fingerprint={fingerprint}"
        ),
        Some(wanted) if wanted != fingerprint => bail!(
            "{server} shows an authority with the fingerprint {fingerprint}, not the one that is to be trusted; \
             somebody may stand in between. Ask the gateway's operator"
        ),
        Some(_) => {}
    }
    let mut roots = RootCertStore::empty();
    roots
        .add(last.clone())
        .context("the gateway's last certificate cannot be an authority's")?;
    connects(server, &trust(roots)?).await.context(
        "the gateway does not show the certificate of its authority; name the file with --certificate-authority",
    )?;
    as_pem(last)
}

fn as_pem(certificate: &CertificateDer<'_>) -> anyhow::Result<String> {
    let text = STANDARD.encode(certificate);
    let mut pem = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line)?);
        pem.push('\n');
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    Ok(pem)
}

/// Whether TLS with the gateway comes about.
async fn connects(server: &str, tls: &TlsConnector) -> anyhow::Result<()> {
    let (name, stream) = reach(server).await?;
    tls.connect(name, stream).await?;
    Ok(())
}

async fn reach(server: &str) -> anyhow::Result<(ServerName<'static>, TcpStream)> {
    let uri: Uri = server.parse()?;
    let host = uri.host().context("it names no host")?;
    let host = host.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(443);
    let stream = TcpStream::connect((host.as_str(), port)).await;
    let stream = stream.with_context(|| {
        format!("cannot connect to {server} to see its certificate; name the file with --certificate-authority")
    })?;
    Ok((ServerName::try_from(host)?, stream))
}

/// What the gateway shows. No handshake is completed, and nothing is sent: the certificates are looked
/// at, and then it is broken off.
async fn certificates(server: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let look = Arc::new(Look {
        seen: Mutex::default(),
        provider: Arc::clone(&provider),
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&look) as Arc<dyn ServerCertVerifier>)
        .with_no_client_auth();
    let (name, stream) = reach(server).await?;
    let outcome = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await;
    let seen = std::mem::take(&mut *look.seen.lock());
    if seen.is_empty() {
        outcome.with_context(|| format!("TLS with {server} failed"))?;
    }
    Ok(seen)
}

/// Trusts nobody, and remembers who came.
#[derive(Debug)]
struct Look {
    seen: Mutex<Vec<CertificateDer<'static>>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = std::iter::once(end_entity).chain(intermediates);
        *self.seen.lock() = shown
            .map(|certificate| certificate.clone().into_owned())
            .collect();
        Err(rustls::Error::General("only looked at".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only looked at".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only looked at".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests;
