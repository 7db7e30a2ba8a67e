//! The gateway's own credential for a cluster: read from a kubeconfig or the pod, re-read when it
//! changes, never logged.
//!
//! Invariant: a bearer token is preferred. With a client certificate alone, any byte that slipped
//! into an upstream connection would run as the gateway (threats B-45).

mod insecure;
mod kubeconfig;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use http::HeaderValue;
use http::uri::{Authority, Uri};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use self::insecure::NoVerification;
use crate::limits;

/// Where the credential of a cluster comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A kubeconfig file and the name of a context in it; empty or absent: its current context.
    Kubeconfig {
        /// The file.
        file: PathBuf,
        /// The context's name.
        context: Option<String>,
    },
    /// The service account of the pod the gateway runs in.
    InCluster(InCluster),
}

/// What Kubernetes mounts into and tells every pod.
#[derive(Clone, Debug)]
pub struct InCluster {
    /// `KUBERNETES_SERVICE_HOST`.
    pub host: String,
    /// `KUBERNETES_SERVICE_PORT`.
    pub port: String,
    /// The service account's token; the kubelet rotates it.
    pub token_file: PathBuf,
    /// The cluster's certificate authority.
    pub authority_file: PathBuf,
}

impl InCluster {
    /// The pod's own service account, as client-go finds it.
    pub fn from_environment() -> Result<Self, Problem> {
        let directory = Path::new("/var/run/secrets/kubernetes.io/serviceaccount");
        let variable = |name: &str| {
            std::env::var(name)
                .ok()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| {
                    Problem::new(
                        directory,
                        name,
                        "is not set: the gateway does not run in a pod; use a kubeconfig",
                    )
                })
        };
        Ok(Self {
            host: variable("KUBERNETES_SERVICE_HOST")?,
            port: variable("KUBERNETES_SERVICE_PORT")?,
            token_file: directory.join("token"),
            authority_file: directory.join("ca.crt"),
        })
    }
}

/// Something in a credential that must be put right, by file and field. Never holds a value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {field}{}{message}", file.display(), if field.is_empty() { "" } else { " " })]
pub struct Problem {
    /// The file it stands in.
    pub file: PathBuf,
    /// The field of that file, dotted; empty for the file itself.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl Problem {
    fn new(file: &Path, field: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

/// Every problem of a source, for `portcullis check`.
pub fn check(source: &Source) -> Vec<Problem> {
    load(source).err().unwrap_or_default()
}

/// How to reach a cluster and be let in: one immutable snapshot.
pub(super) struct Access {
    pub(super) server: Server,
    pub(super) tls: Arc<rustls::ClientConfig>,
    pub(super) authorization: Option<HeaderValue>,
    /// What connections depend on; when it differs, pooled connections are drained.
    pub(super) connection_digest: Digest,
    /// All that was read; when it is the same, nothing has changed.
    pub(super) digest: Digest,
}

type Digest = [u8; digest::SHA256_OUTPUT_LEN];

impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Access")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// An API server's address, as it stands in a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) authority: Authority,
    pub(super) host: String,
    pub(super) port: u16,
    /// The name its certificate is checked against.
    pub(super) name: ServerName<'static>,
    /// What stands before every path (`https://host/k8s/clusters/x`), without a trailing slash.
    pub(super) prefix: String,
}

impl Server {
    fn parse(url: &str, tls_server_name: Option<&str>) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "is not a URL".to_owned())?;
        if uri.scheme_str() != Some("https") {
            return Err(
                "must start with https://: credentials never travel in the clear".to_owned(),
            );
        }
        let authority = uri.authority().cloned().ok_or("has no host")?;
        if authority.as_str().contains('@') {
            return Err("must not contain a user name".to_owned());
        }
        if uri.query().is_some() {
            return Err("must not contain a query".to_owned());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let name = tls_server_name
            .filter(|name| !name.is_empty())
            .unwrap_or(&host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| "has a name that no certificate can hold".to_owned())?;
        let port = match authority.port() {
            Some(port) => port.as_u16(),
            None => 443,
        };
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self {
            authority,
            host,
            port,
            name,
            prefix,
        })
    }
}

/// What a source says, before it becomes TLS.
struct Material {
    server: Server,
    authority: Option<Vec<u8>>,
    insecure: bool,
    token: Option<SecretString>,
    client_certificate: Option<(Vec<u8>, SecretString)>,
}

/// Reads a source whole. Blocks on files.
pub(super) fn load(source: &Source) -> Result<Access, Vec<Problem>> {
    let mut files = Files::default();
    let (file, material) = match source {
        Source::Kubeconfig { file, context } => (
            file,
            kubeconfig::read(file, context.as_deref(), &mut files)?,
        ),
        Source::InCluster(pod) => (&pod.token_file, in_cluster(pod, &mut files)?),
    };
    let problem = |field: &str, message: String| vec![Problem::new(file, field, message)];
    let authorization =
        match &material.token {
            Some(token) => Some(bearer(token).ok_or_else(|| {
                problem("token", "contains characters that no token has".to_owned())
            })?),
            None => None,
        };
    let tls = tls(&material).map_err(|(field, message)| problem(field, message))?;
    let mut connection = digest::Context::new(&digest::SHA256);
    connection.update(format!("{:?}{}", material.server, material.insecure).as_bytes());
    connection.update(material.authority.as_deref().unwrap_or_default());
    if let (None, Some((certificate, key))) = (&material.token, &material.client_certificate) {
        connection.update(certificate);
        connection.update(key.expose_secret().as_bytes());
    }
    Ok(Access {
        server: material.server,
        tls,
        authorization,
        connection_digest: finish(connection),
        digest: finish(files.seen),
    })
}

fn finish(context: digest::Context) -> Digest {
    let mut bytes = Digest::default();
    bytes.copy_from_slice(context.finish().as_ref());
    bytes
}

fn in_cluster(pod: &InCluster, files: &mut Files) -> Result<Material, Vec<Problem>> {
    let token = files.read_token(&pod.token_file);
    let authority = files.read(&pod.authority_file);
    let host = if pod.host.contains(':') {
        format!("[{}]", pod.host)
    } else {
        pod.host.clone()
    };
    let server = Server::parse(&format!("https://{host}:{}", pod.port), None)
        .map_err(|message| Problem::new(&pod.token_file, "KUBERNETES_SERVICE_HOST", message));
    match (token, authority, server) {
        (Ok(token), Ok(authority), Ok(server)) => Ok(Material {
            server,
            authority: Some(authority),
            insecure: false,
            token: Some(token),
            client_certificate: None,
        }),
        (token, authority, server) => Err([token.err(), authority.err(), server.err()]
            .into_iter()
            .flatten()
            .collect()),
    }
}

fn bearer(token: &SecretString) -> Option<HeaderValue> {
    let token = token.expose_secret();
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true); // printed as `Sensitive`, never indexed by HPACK
    Some(value)
}

/// The TLS side: roots, client certificate. ALPN is chosen for each connection.
fn tls(material: &Material) -> Result<Arc<rustls::ClientConfig>, (&'static str, String)> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ("tls", error.to_string()))?;
    let builder = if material.insecure {
        let verifier = Arc::new(NoVerification::new(provider));
        builder
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    } else {
        builder.with_root_certificates(roots(material.authority.as_deref())?)
    };
    let config = match (&material.token, &material.client_certificate) {
        (None, Some((certificate, key))) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate)
                .collect::<Result<_, _>>()
                .map_err(|error| ("client-certificate", format!("is not PEM: {error}")))?;
            let key = PrivateKeyDer::from_pem_slice(key.expose_secret().as_bytes())
                .map_err(|_| ("client-key", "is not a PEM private key".to_owned()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| ("client-certificate", error.to_string()))?
        }
        // A certificate beside a token is not presented: one credential, the safer one.
        _ => builder.with_no_client_auth(),
    };
    if material.insecure {
        tracing::warn!(
            server = %material.server.authority,
            "insecure-skip-tls-verify: anyone on the way to this cluster can read the gateway's credential; set certificate-authority-data instead"
        );
    }
    if material.token.is_none() {
        tracing::warn!(
            server = %material.server.authority,
            "this cluster is reached with a client certificate; a token is safer, because every request then carries its own credential"
        );
    }
    Ok(Arc::new(config))
}

fn roots(authority: Option<&[u8]>) -> Result<rustls::RootCertStore, (&'static str, String)> {
    const FIELD: &str = "certificate-authority";
    let mut roots = rustls::RootCertStore::empty();
    let Some(pem) = authority else {
        let native = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(native.certs);
        if roots.is_empty() {
            return Err((
                FIELD,
                "is not set, and this machine trusts no authority".to_owned(),
            ));
        }
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| (FIELD, format!("is not PEM: {error}")))?;
        roots
            .add(certificate)
            .map_err(|error| (FIELD, error.to_string()))?;
    }
    if roots.is_empty() {
        return Err((FIELD, "holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Reads files and remembers, as a digest, what was read.
struct Files {
    seen: digest::Context,
}

impl Default for Files {
    fn default() -> Self {
        Self {
            seen: digest::Context::new(&digest::SHA256),
        }
    }
}

impl Files {
    fn read(&mut self, path: &Path) -> Result<Vec<u8>, Problem> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let max = limits::CREDENTIAL_FILE_BYTES_MAX;
        std::fs::File::open(path)
            .and_then(|file| file.take(max + 1).read_to_end(&mut bytes))
            .map_err(|error| Problem::new(path, "", format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > max {
            return Err(Problem::new(
                path,
                "",
                format!("is larger than {max} bytes"),
            ));
        }
        self.seen.update(&(bytes.len() as u64).to_le_bytes());
        self.seen.update(&bytes);
        Ok(bytes)
    }

    fn read_token(&mut self, path: &Path) -> Result<SecretString, Problem> {
        let text = String::from_utf8(self.read(path)?)
            .map_err(|_| Problem::new(path, "", "is not text"))?;
        let token = text.trim();
        if token.is_empty() {
            return Err(Problem::new(path, "", "is empty; it must hold a token"));
        }
        Ok(token.to_owned().into())
    }
}

#[cfg(test)]
mod tests;
