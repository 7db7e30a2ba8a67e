//! The listener's certificate: loaded, checked, and exchanged without dropping a connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::limits;

/// The certificate as it is now. New handshakes take the newest; open connections keep theirs.
#[derive(Debug)]
pub(super) struct Certificates {
    files: Files,
    provider: Arc<CryptoProvider>,
    current: ArcSwap<Loaded>,
}

#[derive(Clone, Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    digest: Vec<u8>,
}

impl Certificates {
    /// Reads both files; the error names the one that is wrong.
    pub(super) fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let files = Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let loaded = read(&files, &provider)?;
        Ok(Arc::new(Self {
            files,
            provider,
            current: ArcSwap::from_pointee(loaded),
        }))
    }

    /// When the server's own certificate ends, in seconds since 1970; `None` where that cannot be read.
    pub(super) fn until(&self) -> Option<i64> {
        let loaded = self.current.load();
        let (_, certificate) = X509Certificate::from_der(loaded.key.cert.first()?).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }

    /// TLS 1.2 and 1.3, and these protocols (ALPN). No early data, which could be replayed, and no
    /// resumption, which would outlive a change of the certificate.
    pub(super) fn server_config(
        self: &Arc<Self>,
        protocols: &[&[u8]],
    ) -> Result<Arc<ServerConfig>, rustls::Error> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }

    /// Reads the files again; true if a new certificate is in use. A pair that does not fit, as in
    /// the middle of a rotation, leaves the former one in place. Blocks on files.
    pub(super) fn reload(&self) -> Result<bool, String> {
        let loaded = read(&self.files, &self.provider)?;
        if loaded.digest == self.current.load().digest {
            return Ok(false);
        }
        self.current.store(Arc::new(loaded));
        Ok(true)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.load().key))
    }
}

fn read(files: &Files, provider: &CryptoProvider) -> Result<Loaded, String> {
    let named = |path: &Path, what: String| format!("{}: {what}", path.display());
    let (certificate, chain) =
        read_chain(&files.certificate).map_err(|what| named(&files.certificate, what))?;
    let (key, private) = read_key(&files.key).map_err(|what| named(&files.key, what))?;
    // Also checks that the key belongs to the certificate.
    let certified = CertifiedKey::from_der(chain, private, provider)
        .map_err(|error| named(&files.key, format!("does not fit the certificate: {error}")))?;
    let mut seen = digest::Context::new(&digest::SHA256);
    seen.update(&certificate);
    seen.update(&key);
    Ok(Loaded {
        key: Arc::new(certified),
        digest: seen.finish().as_ref().to_vec(),
    })
}

type Bytes = Zeroizing<Vec<u8>>;

fn read_chain(path: &Path) -> Result<(Bytes, Vec<CertificateDer<'static>>), String> {
    let bytes = read_file(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("is not PEM: {error}"))?;
    if chain.is_empty() {
        return Err("holds no PEM certificate".to_owned());
    }
    Ok((bytes, chain))
}

fn read_key(path: &Path) -> Result<(Bytes, PrivateKeyDer<'static>), String> {
    let bytes = read_file(path)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| "holds no PEM private key without password".to_owned())?;
    Ok((bytes, key))
}

/// What is wrong with a certificate's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateProblem {
    /// The certificate itself.
    Certificate(String),
    /// The key, or that it belongs to another certificate.
    Key(String),
}

/// Everything that would keep the listener from using these files.
pub fn check_certificate(certificate: &Path, key: &Path) -> Vec<CertificateProblem> {
    let mut problems = Vec::new();
    let chain = read_chain(certificate)
        .map_err(|what| problems.push(CertificateProblem::Certificate(what)));
    let private = read_key(key).map_err(|what| problems.push(CertificateProblem::Key(what)));
    if let (Ok((_, chain)), Ok((_, private))) = (chain, private)
        && let Err(error) = CertifiedKey::from_der(
            chain,
            private,
            &rustls::crypto::aws_lc_rs::default_provider(),
        )
    {
        let what = format!("does not fit the certificate: {error}");
        problems.push(CertificateProblem::Key(what));
    }
    problems
}

fn read_file(path: &Path) -> Result<Bytes, String> {
    use std::io::Read as _;
    let mut bytes = Zeroizing::new(Vec::new());
    std::fs::File::open(path)
        .and_then(|file| {
            file.take(limits::CREDENTIAL_FILE_BYTES_MAX)
                .read_to_end(&mut bytes)
        })
        .map_err(|error| format!("cannot be read: {error}"))?;
    Ok(bytes)
}

#[cfg(test)]
impl Certificates {
    pub(super) fn end_entity(&self) -> Vec<u8> {
        self.current.load().key.cert[0].to_vec()
    }
}
