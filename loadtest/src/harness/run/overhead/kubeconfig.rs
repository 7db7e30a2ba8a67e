//! Of a kubeconfig what is needed to ask: server, authority, and a token or a client certificate.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_pki_types::ServerName;
use serde::Deserialize;

use crate::harness::load::http::Endpoint;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: String,
    contexts: Vec<NamedContext>,
    clusters: Vec<NamedCluster>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority: Option<String>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    token: Option<String>,
    client_certificate: Option<String>,
    client_certificate_data: Option<String>,
    client_key: Option<String>,
    client_key_data: Option<String>,
}

/// Where the current context of the file leads.
pub async fn endpoint(file: &Path) -> anyhow::Result<Endpoint> {
    let shown = file.display();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    let config: Kubeconfig = serde_saphyr::from_str(&text).with_context(|| format!("{shown}"))?;
    let missing = |what: &str| format!("{shown}: no {what}");
    let context = config
        .contexts
        .iter()
        .find(|one| one.name == config.current_context);
    let context = &context.with_context(|| missing("current context"))?.context;
    let cluster = config
        .clusters
        .iter()
        .find(|one| one.name == context.cluster);
    let cluster = &cluster.with_context(|| missing("cluster"))?.cluster;
    let user = config.users.iter().find(|one| one.name == context.user);
    let user = &user.with_context(|| missing("user"))?.user;

    let url: http::Uri = cluster
        .server
        .parse()
        .with_context(|| missing("usable server"))?;
    ensure!(
        url.scheme_str() == Some("https"),
        "{shown}: the server is not https"
    );
    let host = url
        .host()
        .with_context(|| missing("host"))?
        .trim_matches(['[', ']'])
        .to_owned();
    let looked_up = tokio::net::lookup_host((host.as_str(), url.port_u16().unwrap_or(443)))
        .await?
        .next();
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let authority = either(
        folder,
        cluster.certificate_authority_data.as_ref(),
        cluster.certificate_authority.as_ref(),
    )?;
    let authority = authority.with_context(|| missing("certificate authority"))?;
    let certificate = either(
        folder,
        user.client_certificate_data.as_ref(),
        user.client_certificate.as_ref(),
    )?;
    let key = either(
        folder,
        user.client_key_data.as_ref(),
        user.client_key.as_ref(),
    )?;
    let token = user.token.clone().unwrap_or_default();
    ensure!(
        !token.is_empty() || certificate.is_some(),
        "{shown}: neither token nor client certificate"
    );
    let tls = |alpn: &str| client(&authority, certificate.as_deref().zip(key.as_deref()), alpn);
    Ok(Endpoint {
        address: looked_up.with_context(|| missing("address"))?,
        name: ServerName::try_from(host)?,
        prefix: url.path().trim_end_matches('/').to_owned(),
        token,
        tls_http1: tls("http/1.1")?,
        tls_http2: tls("h2")?,
    })
}

/// What stands in the file itself, or in another that it names.
fn either(
    folder: &Path,
    data: Option<&String>,
    file: Option<&String>,
) -> anyhow::Result<Option<Vec<u8>>> {
    Ok(match (data, file) {
        (Some(data), _) => Some(STANDARD.decode(data)?),
        (None, Some(file)) => Some(std::fs::read(folder.join(file))?),
        (None, None) => None,
    })
}

fn client(
    authority: &[u8],
    identity: Option<(&[u8], &[u8])>,
    alpn: &str,
) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority) {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match identity {
        Some((certificate, key)) => {
            let chain =
                CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>()?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Ok(Arc::new(config))
}
