//! One look at an issuer's documents: discovery and key set, by [`Http`] and so within limits.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;

use super::key_set::KeySet;
use crate::identity::client::http::Http;
use crate::identity::settings::{IssuerSettings, SigningAlgorithm, https_authority};

/// A key set and a note for each key that was left out of it; or why there is none.
pub(in crate::identity) type Fetched = Result<(KeySet, Vec<String>), String>;

/// Fetches the keys of one issuer.
pub(in crate::identity) struct Fetcher {
    issuer: String,
    discovery_url: String,
    algorithms: Vec<SigningAlgorithm>,
    http: Http,
    keys_url: Mutex<Option<String>>,
}

/// The two members of a discovery document that matter here (OIDC Discovery §3).
#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Fetcher {
    /// Prepares TLS; fails if there is nothing to trust.
    pub(in crate::identity) fn new(issuer: &IssuerSettings) -> Result<Self, String> {
        let base = issuer.url.trim_end_matches('/');
        let discovery_url = issuer
            .discovery_url
            .clone()
            .unwrap_or_else(|| format!("{base}/.well-known/openid-configuration"));
        Ok(Self {
            issuer: issuer.url.clone(),
            discovery_url,
            algorithms: issuer.signing_algorithms.clone(),
            http: Http::new(
                issuer.certificate_authority.as_deref(),
                issuer.key_timing.fetch_timeout,
            )?,
            keys_url: Mutex::new(None),
        })
    }

    /// Fetches the key set, and before it the discovery document if `rediscover` asks for it or
    /// none was read yet.
    pub(in crate::identity) async fn fetch(&self, rediscover: bool) -> Fetched {
        let known = self.keys_url.lock().clone().filter(|_| !rediscover);
        let keys_url = match known {
            Some(url) => url,
            None => self.discover().await?,
        };
        let document = self.http.get(&keys_url).await?.body;
        KeySet::parse(&document, &self.algorithms)
            .map_err(|problem| format!("{keys_url}: {problem}"))
    }

    async fn discover(&self) -> Result<String, String> {
        let document = self.http.get(&self.discovery_url).await?.body;
        let url = &self.discovery_url;
        let discovery: Discovery = serde_json::from_slice(&document)
            .map_err(|error| format!("{url}: it is not a discovery document: {error}"))?;
        if discovery.issuer != self.issuer {
            return Err(format!(
                "{url}: its issuer is {:?}, not {:?}; write issuer.url exactly as the issuer does",
                discovery.issuer, self.issuer
            ));
        }
        https_authority(&discovery.jwks_uri).map_err(|problem| {
            format!(
                "{url}: its jwks_uri {:?} cannot be used: {problem}",
                discovery.jwks_uri
            )
        })?;
        *self.keys_url.lock() = Some(discovery.jwks_uri.clone());
        Ok(discovery.jwks_uri)
    }
}

/// What is wrong with an issuer's `certificateAuthority`, worded to follow that name. Without one,
/// the machine's own authorities are trusted; there may be none.
pub(crate) fn check_authority(pem: Option<&str>) -> Result<(), String> {
    trusted(pem).map(drop)
}

fn trusted(pem: Option<&str>) -> Result<RootCertStore, String> {
    if let Some(pem) = pem {
        return authorities(pem);
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("is missing, and this machine trusts no authority of its own".to_owned());
    }
    Ok(roots)
}

fn authorities(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no PEM certificate".to_owned());
    }
    Ok(roots)
}

/// How to speak TLS to whoever this authority vouches for, or one of the machine's.
pub(crate) fn tls_config(authority: Option<&str>) -> Result<ClientConfig, String> {
    let roots = trusted(authority).map_err(|problem| format!("certificateAuthority {problem}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use loadtest::issuer::{Algorithm, Answer, Document, Issuer, Running};
    use loadtest::pki::Ca;
    use serde_json::{Value, json};

    use super::*;
    use crate::limits::ISSUER_DOCUMENT_BYTES_MAX;

    #[tokio::test]
    async fn a_good_issuer_gives_its_keys_and_is_discovered_once() {
        let (_ca, issuer, fetcher) = start().await;
        let (first, left_out) = fetcher.fetch(false).await.unwrap();
        assert!(left_out.is_empty());
        let key_id = issuer
            .keys()
            .get(Algorithm::ES256)
            .unwrap()
            .key_id()
            .to_owned();
        assert!(first.find(Some(&key_id), SigningAlgorithm::ES256).is_some());
        assert_eq!(fetcher.fetch(false).await.unwrap().0, first);
        assert_eq!(
            (
                issuer.fetches(Document::Discovery),
                issuer.fetches(Document::Keys)
            ),
            (1, 2)
        );
        fetcher.fetch(true).await.unwrap();
        assert_eq!(
            (
                issuer.fetches(Document::Discovery),
                issuer.fetches(Document::Keys)
            ),
            (2, 3)
        );
    }

    #[tokio::test]
    async fn a28_every_bad_answer_is_a_failed_fetch() {
        let (_ca, issuer, fetcher) = start().await;
        let huge = Bytes::from(vec![b' '; ISSUER_DOCUMENT_BYTES_MAX + 1]);
        let cases = [
            ("500", Answer::Status(500)),
            ("404", Answer::Status(404)),
            ("204", Answer::Status(204)),
            ("not JSON", Answer::Html),
            ("302", Answer::Redirect(format!("{}/keys", issuer.url()))),
            ("larger than", Answer::Bytes(huge)),
            (
                "not JSON",
                Answer::Bytes(Bytes::from_static(b"{\"keys\":[")),
            ),
            ("no usable key", Answer::Json(json!({"keys": []}))),
            ("no `keys` list", Answer::Json(json!({}))),
        ];
        for (expected, answer) in cases {
            issuer.script(Document::Keys, answer.clone());
            let problem = fetcher.fetch(false).await.unwrap_err();
            assert!(problem.contains(expected), "{answer:?}: {problem}");
        }
        issuer.script(Document::Keys, Answer::Good);
        assert!(fetcher.fetch(false).await.is_ok());
    }

    #[tokio::test]
    async fn a28_slow_answers_are_given_up() {
        let (_ca, issuer, mut fetcher) = start().await;
        fetcher.fetch(false).await.unwrap();
        fetcher.http.patience = Duration::from_millis(500);
        for answer in [Answer::Slow(Duration::from_hours(1)), Answer::Drip] {
            issuer.script(Document::Keys, answer.clone());
            let problem = fetcher.fetch(false).await.unwrap_err();
            assert!(
                problem.contains("no complete answer within 500 ms"),
                "{answer:?}: {problem}"
            );
        }
    }

    #[tokio::test]
    async fn a31_a_discovery_document_must_be_this_issuers_and_stay_on_https() {
        let (_ca, issuer, fetcher) = start().await;
        let document = |issuer: &str, keys: &str| json!({"issuer": issuer, "jwks_uri": keys});
        let keys = format!("{}/keys", issuer.url());
        let http = keys.replace("https", "http");
        let cases: [(&str, Value); 8] = [
            (
                "its issuer is",
                document(&format!("{}/", issuer.url()), &keys),
            ),
            ("its issuer is", document("https://evil.test", &keys)),
            ("must begin with https", document(issuer.url(), &http)),
            ("not a URL", document(issuer.url(), "file:///etc/passwd")),
            (
                "must have no user",
                document(issuer.url(), "https://u:p@localhost/keys"),
            ),
            ("not a discovery document", json!({"issuer": issuer.url()})),
            (
                "not a discovery document",
                json!({"issuer": [issuer.url()], "jwks_uri": keys}),
            ),
            ("not a discovery document", json!("https://issuer")),
        ];
        for (expected, document) in cases {
            issuer.script(Document::Discovery, Answer::Json(document.clone()));
            let problem = fetcher.fetch(true).await.unwrap_err();
            assert!(problem.contains(expected), "{document}: {problem}");
        }
        assert_eq!(issuer.fetches(Document::Keys), 0);
    }

    #[tokio::test]
    async fn a_key_set_address_may_have_a_query() {
        let (_ca, issuer, fetcher) = start().await;
        let keys = format!("{}/keys?p=b2c_1_policy", issuer.url());
        let document = json!({"issuer": issuer.url(), "jwks_uri": keys});
        issuer.script(Document::Discovery, Answer::Json(document));
        assert!(fetcher.fetch(true).await.is_ok());
    }

    #[tokio::test]
    async fn an_issuer_with_another_authority_is_not_talked_to() {
        let (_ca, issuer, _) = start().await;
        let fetcher = fetcher(&issuer, &Ca::new().unwrap());
        let problem = fetcher.fetch(false).await.unwrap_err();
        assert!(problem.contains("TLS failed"), "{problem}");
        assert_eq!(issuer.fetches(Document::Discovery), 0);
    }

    #[test]
    fn an_empty_or_broken_authority_is_refused_at_the_start() {
        for pem in [
            "",
            "nonsense",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(tls_config(Some(pem)).is_err(), "{pem:?}");
        }
    }

    async fn start() -> (Ca, Running, Fetcher) {
        let ca = Ca::new().unwrap();
        let tls = ca.server_config(&["localhost"], &["http/1.1"]).unwrap();
        let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), tls)
            .await
            .unwrap();
        let fetcher = fetcher(&issuer, &ca);
        (ca, issuer, fetcher)
    }

    fn fetcher(issuer: &Running, ca: &Ca) -> Fetcher {
        let mut settings = IssuerSettings::new(issuer.url(), vec!["portcullis".to_owned()]);
        settings.certificate_authority = Some(ca.pem());
        settings.key_timing.fetch_timeout = Duration::from_mins(1); // for machines under load
        Fetcher::new(&settings).unwrap()
    }
}
