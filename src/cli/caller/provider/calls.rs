//! Requests to one provider: HTTPS only, bounded, and with the provider's time beside the answer.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use jiff::Timestamp;
use tokio_rustls::TlsConnector;
use tokio_util::task::TaskTracker;

use crate::cli::caller::account::Account;
use crate::cli::https::{Server, trust_file};
use crate::cli::output::clean;
use crate::gateway::body;
use crate::limits::ISSUER_DOCUMENT_BYTES_MAX;

/// How long one answer may take, connection and body together.
const PATIENCE: Duration = Duration::from_secs(20);

/// Requests to one provider.
pub(super) struct Http {
    tls: TlsConnector,
    tasks: TaskTracker,
}

impl Http {
    pub(super) fn new(account: &Account) -> anyhow::Result<Self> {
        Ok(Self {
            tls: trust_file(account.issuer_ca_file.as_deref())?,
            tasks: TaskTracker::new(),
        })
    }

    pub(super) async fn get(&self, url: &str) -> anyhow::Result<(Bytes, Option<Timestamp>)> {
        let (status, body, date) = self.call(Method::GET, url, Bytes::new(), None).await?;
        ensure!(status == StatusCode::OK, "{} answered {status}", clean(url));
        Ok((body, date))
    }

    pub(super) async fn post(
        &self,
        url: &str,
        form: &str,
        authorization: Option<HeaderValue>,
    ) -> anyhow::Result<(StatusCode, Bytes, Option<Timestamp>)> {
        let body = Bytes::from(form.to_owned());
        self.call(Method::POST, url, body, authorization).await
    }

    async fn call(
        &self,
        method: Method,
        url: &str,
        content: Bytes,
        authorization: Option<HeaderValue>,
    ) -> anyhow::Result<(StatusCode, Bytes, Option<Timestamp>)> {
        let shown = clean(url);
        let uri = secure(url)?;
        let server = Server::of(&uri, || Ok(self.tls.clone()))?;
        let mut request = Request::new(Full::new(content));
        *request.method_mut() = method;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        *request.uri_mut() = target.parse()?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let agent = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        let exchange = async {
            let response = server.send(request, &self.tasks).await?;
            let (parts, body) = response.into_parts();
            let body = body::read_bounded(body, ISSUER_DOCUMENT_BYTES_MAX).await?;
            anyhow::Ok((parts.status, body, http_date(parts.headers.get(DATE))))
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(answer) => answer.with_context(|| shown),
            Err(_) => bail!("{shown} does not answer"),
        }
    }
}

/// An address that secrets may be sent to.
pub(super) fn secure(url: &str) -> anyhow::Result<Uri> {
    let uri: Uri = url
        .parse()
        .with_context(|| format!("the provider's address {:?} is not a URL", clean(url)))?;
    ensure!(
        uri.scheme_str() == Some("https"),
        "the provider's address {} is not https://",
        clean(url)
    );
    Ok(uri)
}

/// An HTTP date (RFC 9110 §5.6.7), in the one form that is still sent.
pub(super) fn http_date(value: Option<&HeaderValue>) -> Option<Timestamp> {
    let text = value?.to_str().ok()?;
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|date| date.timestamp())
}
