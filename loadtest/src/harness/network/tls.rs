//! TLS of a measurement: 1.3 with AES-128-GCM and X25519 on every leg, whoever stands in the middle.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

/// A server with `tls.crt` and `tls.key` of `dir`.
pub fn server(dir: &Path, alpn: &[&str]) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let chain = vec![CertificateDer::from_pem_slice(&fs::read(
        dir.join("tls.crt"),
    )?)?];
    let key = PrivateKeyDer::from_pem_slice(&fs::read(dir.join("tls.key"))?)?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = names(alpn);
    Ok(Arc::new(config))
}

/// A client that trusts `ca.crt` of `dir`.
pub fn client(dir: &Path, alpn: &[&str]) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&fs::read(
        dir.join("ca.crt"),
    )?)?)?;
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = names(alpn);
    Ok(Arc::new(config))
}

fn names(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|name| name.as_bytes().to_vec()).collect()
}
