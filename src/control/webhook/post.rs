//! One POST to a fixed place: no redirect is followed, and no answer is read but its code.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::identity::tls_config;
use crate::limits;

/// The header with the signature.
const SIGNATURE: &str = "portcullis-signature";

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum Failure {
    /// It would not be the next time either.
    Refused(String),
    /// It may be the next time.
    Again(String),
}

/// Posts to one URL.
pub(super) struct Poster {
    uri: Uri,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Refused(why) | Self::Again(why)) = self;
        formatter.write_str(why)
    }
}

impl Poster {
    pub(super) fn new(url: &str, authority: Option<&str>) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "does not hold a URL".to_owned())?;
        let host = uri
            .host()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned();
        let address = host.parse::<std::net::IpAddr>();
        let loopback = host == "localhost" || address.is_ok_and(|address| address.is_loopback());
        let encrypted = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if loopback => false,
            _ => return Err("must hold a URL that begins with https://".to_owned()),
        };
        let tls = encrypted.then(|| tls_config(authority)).transpose()?;
        Ok(Self {
            port: uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 }),
            host,
            tls: tls.map(|tls| TlsConnector::from(Arc::new(tls))),
            uri,
        })
    }

    pub(super) async fn post(&self, body: &str, signature: Option<&str>) -> Result<(), Failure> {
        tokio::time::timeout(limits::WEBHOOK_TIMEOUT, self.post_untimed(body, signature))
            .await
            .unwrap_or_else(|_| Err(Failure::Again("no answer in time".to_owned())))
    }

    async fn post_untimed(&self, body: &str, signature: Option<&str>) -> Result<(), Failure> {
        let again = |error: &dyn std::fmt::Display| Failure::Again(error.to_string());
        let socket = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| again(&error))?;
        let code = match &self.tls {
            None => self.exchange(socket, body, signature).await?,
            Some(tls) => {
                let name =
                    ServerName::try_from(self.host.clone()).map_err(|error| again(&error))?;
                let stream = tls
                    .connect(name, socket)
                    .await
                    .map_err(|error| again(&error))?;
                self.exchange(stream, body, signature).await?
            }
        };
        let why = || format!("it answered {code}");
        match code {
            code if code.is_success() => Ok(()),
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(Failure::Again(why()))
            }
            code if code.is_server_error() => Err(Failure::Again(why())),
            _ => Err(Failure::Refused(why())),
        }
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        body: &str,
        signature: Option<&str>,
    ) -> Result<StatusCode, Failure> {
        let again = |error: &dyn std::fmt::Display| Failure::Again(error.to_string());
        let target = self
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        let mut request = Request::post(target)
            .header(HOST, authority)
            .header(CONTENT_TYPE, "application/json")
            .header(
                USER_AGENT,
                concat!("portcullis/", env!("CARGO_PKG_VERSION")),
            );
        if let Some(signature) = signature {
            request = request.header(SIGNATURE, signature);
        }
        let request = request
            .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .map_err(|error| Failure::Refused(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| again(&error))?;
        // The exchange reports what went wrong with the connection; the connection only has to run.
        let run = async move {
            drop(connection.await);
            std::future::pending().await
        };
        tokio::select! {
            response = sender.send_request(request) => Ok(response.map_err(|error| again(&error))?.status()),
            code = run => code,
        }
    }
}
