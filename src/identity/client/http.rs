//! Requests to an identity provider: HTTPS only, within limits, and with the provider's time beside the answer.
//!
//! Follows no redirect, trusts only the configured authority or the machine's roots, reads at most
//! [`ISSUER_DOCUMENT_BYTES_MAX`] bytes and gives up when the time is over, however slowly bytes arrive.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::identity::settings::https_authority;
use crate::identity::tls_config;
use crate::limits::ISSUER_DOCUMENT_BYTES_MAX;

/// Requests to one provider.
pub struct Http {
    tls: TlsConnector,
    /// How long one answer may take, connection and body together.
    pub(in crate::identity) patience: Duration,
}

/// What a provider answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The code.
    pub status: StatusCode,
    /// The body, whole.
    pub body: Bytes,
    /// The provider's time, if it says so.
    pub date: Option<Timestamp>,
}

impl Http {
    /// Prepares TLS; fails if there is nothing to trust. `authority` is PEM; without it the machine's
    /// authorities are trusted.
    pub fn new(authority: Option<&str>, patience: Duration) -> Result<Self, String> {
        Ok(Self {
            tls: TlsConnector::from(Arc::new(tls_config(authority)?)),
            patience,
        })
    }

    /// Reads a document; any answer but 200 is an error.
    pub async fn get(&self, url: &str) -> Result<Answer, String> {
        let request = Request::get("/").body(Full::default());
        let answer = self.call(url, request).await?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        let url = url.escape_debug();
        Err(format!("{url}: it answered {}", answer.status))
    }

    /// Sends a form.
    pub async fn post(
        &self,
        url: &str,
        form: String,
        authorization: Option<HeaderValue>,
    ) -> Result<Answer, String> {
        let mut request = Request::new(Full::from(form));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(CONTENT_TYPE, form);
        headers.extend(authorization.map(|value| (AUTHORIZATION, value)));
        self.call(url, Ok(request)).await
    }

    async fn call(
        &self,
        url: &str,
        request: http::Result<Request<Full<Bytes>>>,
    ) -> Result<Answer, String> {
        // A document that somebody else wrote may name the address.
        let shown = url.escape_debug();
        let request = request.map_err(|error| error.to_string())?;
        match tokio::time::timeout(self.patience, self.call_untimed(url, request)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(problem)) => Err(format!("{shown}: {problem}")),
            Err(_) => Err(format!(
                "{shown}: no complete answer within {} ms",
                self.patience.as_millis()
            )),
        }
    }

    async fn call_untimed(
        &self,
        url: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Answer, String> {
        let (host, port) = https_authority(url)?;
        let uri: Uri = url.parse().map_err(|_| "it is not a URL")?;
        // An IPv6 address stands in brackets in a URL and without them everywhere else.
        let host = host.trim_matches(['[', ']']).to_owned();
        let socket = TcpStream::connect((host.as_str(), port))
            .await
            .map_err(|error| format!("cannot connect: {error}"))?;
        let name = ServerName::try_from(host)
            .map_err(|error| format!("its host cannot be verified: {error}"))?;
        let stream = self
            .tls
            .connect(name, socket)
            .await
            .map_err(|error| format!("TLS failed: {error}"))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("HTTP failed: {error}"))?;
        let exchange = async move {
            let response = sender.send_request(addressed(request, &uri)?).await;
            let response = response.map_err(|error| format!("HTTP failed: {error}"))?;
            let (parts, body) = response.into_parts();
            Ok(Answer {
                status: parts.status,
                body: read(body).await?,
                date: http_date(parts.headers.get(DATE)),
            })
        };
        // The exchange reports what went wrong with the connection; the connection only has to run.
        let run = async move {
            drop(connection.await);
            std::future::pending().await
        };
        tokio::select! {
            answer = exchange => answer,
            answer = run => answer,
        }
    }
}

fn addressed(mut request: Request<Full<Bytes>>, uri: &Uri) -> Result<Request<Full<Bytes>>, String> {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = target.parse().map_err(|_| "it is not a URL")?;
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(authority).map_err(|error| error.to_string())?;
    let agent = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    Ok(request)
}

async fn read(mut body: hyper::body::Incoming) -> Result<Bytes, String> {
    let mut document = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if document.len() + data.len() > ISSUER_DOCUMENT_BYTES_MAX {
            return Err(format!(
                "the answer is larger than {ISSUER_DOCUMENT_BYTES_MAX} bytes"
            ));
        }
        document.extend_from_slice(&data);
    }
    Ok(document.into())
}

/// An HTTP date (RFC 9110 §5.6.7), in the one form that is still sent.
fn http_date(value: Option<&HeaderValue>) -> Option<Timestamp> {
    let text = value?.to_str().ok()?;
    jiff::fmt::rfc2822::parse(text)
        .ok()
        .map(|date| date.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_answers_are_read() {
        let date = HeaderValue::from_static("Sat, 21 Nov 2026 15:28:23 GMT");
        let read = http_date(Some(&date)).unwrap();
        assert_eq!(read.to_string(), "2026-11-21T15:28:23Z");
        for bad in ["", "soon", "\u{1b}[m"] {
            let bad = HeaderValue::from_bytes(bad.as_bytes()).ok();
            assert!(http_date(bad.as_ref()).is_none());
        }
    }
}
