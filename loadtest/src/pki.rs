//! A certificate authority for the demo and for tests: it lives in memory and nobody trusts it.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What certificate generation can report: a name that no certificate can hold, for example.
pub type Error = rcgen::Error;

/// A certificate authority with a fresh key.
#[derive(Debug)]
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    /// Makes a new authority; every call has a key of its own.
    pub fn new() -> Result<Self, Error> {
        let mut params = params(&[], "Portcullis test authority", None)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?,
        })
    }

    /// The authority's certificate, as it stands in a `certificateAuthority` field or a kubeconfig.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A server certificate for `names` (DNS names or IP addresses): `(certificate PEM, key PEM)`.
    pub fn server(&self, names: &[&str]) -> Result<(String, String), Error> {
        let common_name = names.first().copied().unwrap_or("server");
        self.sign(
            params(names, common_name, None)?,
            ExtendedKeyUsagePurpose::ServerAuth,
        )
    }

    /// A client certificate in Kubernetes' form (`CN` is the user, `O` its group; rcgen writes one):
    /// `(certificate PEM, key PEM)`.
    pub fn client(
        &self,
        common_name: &str,
        organization: Option<&str>,
    ) -> Result<(String, String), Error> {
        self.sign(
            params(&[], common_name, organization)?,
            ExtendedKeyUsagePurpose::ClientAuth,
        )
    }

    /// A rustls server with a certificate for `names` that offers `alpn` (for example `["h2", "http/1.1"]`).
    pub fn server_config(
        &self,
        names: &[&str],
        alpn: &[&str],
    ) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let (certificate, key) = self.server(names)?;
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    /// A rustls client that trusts this authority alone and offers `alpn`.
    pub fn client_config(&self, alpn: &[&str]) -> Result<Arc<rustls::ClientConfig>, TlsError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.issuer.der().clone())?;
        let mut config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<(String, String), Error> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

/// Why a rustls configuration could not be made.
#[derive(Debug)]
pub struct TlsError(String);

impl std::fmt::Display for TlsError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

impl From<rcgen::Error> for TlsError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<rustls::pki_types::pem::Error> for TlsError {
    fn from(error: rustls::pki_types::pem::Error) -> Self {
        Self(error.to_string())
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn params(
    names: &[&str],
    common_name: &str,
    organization: Option<&str>,
) -> Result<CertificateParams, Error> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names)?;
    // Python's ssl module has refused chains without this extension since 3.13.
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    if let Some(organization) = organization {
        params
            .distinguished_name
            .push(DnType::OrganizationName, organization);
    }
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_trusts_the_authority_completes_a_handshake() {
        let ca = Ca::new().unwrap();
        assert!(handshake(&ca, &ca, "localhost").is_ok());
        assert!(handshake(&ca, &ca, "127.0.0.1").is_ok());
    }

    #[test]
    fn another_authority_or_another_name_is_refused() {
        let ca = Ca::new().unwrap();
        assert!(handshake(&ca, &Ca::new().unwrap(), "localhost").is_err());
        assert!(handshake(&ca, &ca, "example.com").is_err());
    }

    #[test]
    fn a_client_certificate_names_user_and_group() {
        let (certificate, _) = Ca::new().unwrap().client("alice", Some("devs")).unwrap();
        let der = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
        for text in ["alice", "devs"] {
            assert!(
                der.windows(text.len())
                    .any(|window| window == text.as_bytes()),
                "{text} is missing"
            );
        }
    }

    /// Both ends of a handshake in memory.
    fn handshake(server: &Ca, trusted: &Ca, name: &'static str) -> Result<(), rustls::Error> {
        let mut server = rustls::ServerConnection::new(
            server
                .server_config(&["localhost", "127.0.0.1"], &["h2"])
                .unwrap(),
        )?;
        let name = rustls::pki_types::ServerName::try_from(name).unwrap();
        let mut client =
            rustls::ClientConnection::new(trusted.client_config(&["h2"]).unwrap(), name)?;
        while client.is_handshaking() || server.is_handshaking() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut slice = bytes.as_slice();
            while !slice.is_empty() {
                server.read_tls(&mut slice).unwrap();
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut slice = bytes.as_slice();
            while !slice.is_empty() {
                client.read_tls(&mut slice).unwrap();
                client.process_new_packets()?;
            }
        }
        assert_eq!(client.alpn_protocol(), Some(&b"h2"[..]));
        Ok(())
    }
}
