//! One POST to a fixed place: no redirect is followed, and of an answer its code is read and no more than is asked for.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::gateway::body::read_bounded;
use crate::identity::tls_config;
use crate::limits;

/// What is posted.
pub(in crate::control) struct Message {
    /// What it says.
    pub(in crate::control) body: Bytes,
    /// Its type, and what shows that it is ours.
    pub(in crate::control) headers: HeaderMap,
    /// Bytes of the answer that are of interest; a longer one counts as empty.
    pub(in crate::control) answer_bytes_max: usize,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum Failure {
    /// It would not be the next time either.
    Refused(String),
    /// It may be the next time.
    Again(String),
}

/// Posts to one URL.
pub(in crate::control) struct Poster {
    name: String,
    address: Address,
    tls: Option<TlsConnector>,
}

/// Where a URL leads.
struct Address {
    host: String,
    port: u16,
    /// Host and port, as they are written.
    authority: String,
    /// Path and query.
    target: String,
    /// Whose certificate is asked for; without one there is no TLS.
    server: Option<ServerName<'static>>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Refused(why) | Self::Again(why)) = self;
        formatter.write_str(why)
    }
}

/// What stands in a file that the settings name.
pub(in crate::control) fn text_of(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

impl Poster {
    /// To the URL in a file, which is its name: the URL may hold a credential.
    pub(in crate::control) fn open(file: &Path, authority: Option<&str>) -> Result<Self, String> {
        let name = file.display().to_string();
        let poster = Self::new(&name, text_of(file)?.trim(), authority);
        poster.map_err(|why| format!("{name}: {why}"))
    }

    pub(in crate::control) fn new(
        name: &str,
        url: &str,
        authority: Option<&str>,
    ) -> Result<Self, String> {
        let address = Address::of(url)?;
        let tls = address.server.as_ref().map(|_| tls_config(authority));
        Ok(Self {
            name: name.to_owned(),
            tls: tls
                .transpose()?
                .map(|tls| TlsConnector::from(Arc::new(tls))),
            address,
        })
    }

    /// What it is called.
    pub(in crate::control) fn name(&self) -> &str {
        &self.name
    }

    /// What was answered, if it was taken.
    pub(in crate::control) async fn post(&self, message: Message) -> Result<Bytes, Failure> {
        tokio::time::timeout(limits::WEBHOOK_TIMEOUT, self.post_untimed(message))
            .await
            .unwrap_or_else(|_| Err(Failure::Again("no answer in time".to_owned())))
    }

    async fn post_untimed(&self, message: Message) -> Result<Bytes, Failure> {
        let again = |error: &dyn std::fmt::Display| Failure::Again(error.to_string());
        let Address {
            host, port, server, ..
        } = &self.address;
        let socket = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| again(&error))?;
        let (code, answer) = match self.tls.as_ref().zip(server.as_ref()) {
            None => self.exchange(socket, message).await?,
            Some((tls, server)) => {
                let stream = tls
                    .connect(server.clone(), socket)
                    .await
                    .map_err(|error| again(&error))?;
                self.exchange(stream, message).await?
            }
        };
        let why = || format!("it answered {code}");
        match code {
            code if code.is_success() => Ok(answer),
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
        message: Message,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let again = |error: &dyn std::fmt::Display| Failure::Again(error.to_string());
        let Address {
            target, authority, ..
        } = &self.address;
        let request = Request::post(target).header(HOST, authority);
        let mut request = request.header(
            USER_AGENT,
            concat!("portcullis/", env!("CARGO_PKG_VERSION")),
        );
        if let Some(headers) = request.headers_mut() {
            headers.extend(message.headers);
        }
        let request = request
            .body(Full::new(message.body))
            .map_err(|error| Failure::Refused(error.to_string()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| again(&error))?;
        // The exchange reports what went wrong with the connection; the connection only has to run.
        let run = async move {
            drop(connection.await);
            std::future::pending().await
        };
        let asked = async {
            let response = sender.send_request(request).await;
            let (head, body) = response.map_err(|error| again(&error))?.into_parts();
            let answer = match message.answer_bytes_max {
                0 => Bytes::new(),
                most => read_bounded(body, most).await.unwrap_or_default(),
            };
            Ok((head.status, answer))
        };
        tokio::select! {
            answered = asked => answered,
            answered = run => answered,
        }
    }
}

impl Address {
    /// The address of this URL. Of what is wrong with it, nothing of the URL is told.
    fn of(url: &str) -> Result<Self, &'static str> {
        let uri: Uri = url.parse().map_err(|_| "does not hold a URL")?;
        let authority = uri.authority().ok_or("does not hold a whole URL")?;
        // It would go out as the name of a host, and authenticate nobody.
        if authority.as_str().contains('@') {
            return Err("holds a URL with a user; a collector takes a password from headersFile");
        }
        let host = authority.host().trim_matches(['[', ']']);
        let server =
            ServerName::try_from(host.to_owned()).map_err(|_| "holds a URL with no host")?;
        let loopback = host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        let (server, usual) = match uri.scheme_str() {
            Some("https") => (Some(server), 443),
            Some("http") if loopback => (None, 80),
            _ => return Err("must hold a URL that begins with https://"),
        };
        let rest = authority.as_str().strip_prefix(authority.host());
        let port = match rest.and_then(|rest| rest.strip_prefix(':')) {
            Some(port) => port
                .parse()
                .map_err(|_| "holds a URL with no port behind the colon")?,
            None => usual,
        };
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        Ok(Self {
            host: host.to_owned(),
            port,
            authority: authority.to_string(),
            target: target.to_owned(),
            server,
        })
    }
}
