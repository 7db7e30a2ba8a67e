//! The handshakes of exec, attach and port-forward: what the client asked for, what the API server
//! answered, and what the client is told.
//!
//! Nothing is tunnelled on trust (CVE-2018-1002105): both halves are checked word for word, and
//! whatever was not understood is not passed on. Pure.

mod greeting;
pub(super) mod socket;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, ORIGIN, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version, request, response};

pub(super) use self::greeting::Greeting;
use crate::request::{SessionKind, SessionRequest};
use crate::session::{Protocol, Session, Streams};
use crate::wire::channel;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const BEARER_PREFIX: &str = "base64url.bearer.authorization.k8s.io.";
const SPDY: &str = "SPDY/3.1";
const WEBSOCKET: &str = "websocket";
const PORT_FORWARD: &str = "portforward.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// RFC 6455 §1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// An upgrade that is not made. The messages are safe for clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpgradeError {
    /// The client's fault: 400.
    #[error("{0}")]
    BadRequest(String),
    /// The client's fault: 405.
    #[error("{0}")]
    MethodNotAllowed(&'static str),
    /// The client's fault: 403, as API servers answer an offer without a known protocol.
    #[error("none of the stream protocols on offer is known here; offer {0}")]
    NoCommonProtocol(&'static str),
    /// A browser page from elsewhere: 403.
    #[error("the Origin of this WebSocket is not this host")]
    ForeignOrigin,
    /// The API server's fault: 502.
    #[error("the API server answered the upgrade with {0}")]
    Upstream(&'static str),
}

/// How the connection is to be used after the upgrade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// SPDY/3.1 frames.
    Spdy,
    /// WebSocket messages.
    WebSocket,
}

/// Whether the request wants an upgrade at all. Where none is served, the headers are ignored (B-16).
#[must_use]
pub fn is_requested(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE)
}

/// Whether the request asks for a WebSocket: only then may its subprotocols carry the token.
#[must_use]
pub fn is_websocket(headers: &HeaderMap) -> bool {
    let asked = headers.get(UPGRADE).map(HeaderValue::as_bytes);
    asked.is_some_and(|asked| asked.eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

/// A checked request for an upgrade.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    kind: SessionKind,
    transport: Transport,
    /// What the client offers and we can follow, in its order.
    protocols: Vec<String>,
    /// The key of a WebSocket handshake.
    key: Option<String>,
}

impl Offer {
    /// The client's transport in words: `spdy` or `websocket`.
    #[must_use]
    pub fn transport_name(&self) -> &'static str {
        match self.transport {
            Transport::Spdy => "spdy",
            Transport::WebSocket => "websocket",
        }
    }

    /// Checks the client's request for an upgrade of `kind`.
    pub fn parse(request: &request::Parts, kind: SessionKind) -> Result<Self, UpgradeError> {
        let headers = &request.headers;
        if !is_requested(headers) {
            return Err(bad(
                "Upgrade request required; use a client that speaks WebSocket or SPDY",
            ));
        }
        if request.version != Version::HTTP_11 {
            return Err(bad(
                "upgrade needs HTTP/1.1; connect without offering HTTP/2",
            ));
        }
        check_connection(headers)?;
        check_no_body(headers)?;
        let upgrade = single(headers, &UPGRADE)?.unwrap_or_default();
        if upgrade.eq_ignore_ascii_case(SPDY) {
            Self::spdy(request, kind)
        } else if upgrade.eq_ignore_ascii_case(WEBSOCKET) {
            Self::websocket(request, kind)
        } else {
            Err(bad("Upgrade must be exactly websocket or SPDY/3.1"))
        }
    }

    fn spdy(request: &request::Parts, kind: SessionKind) -> Result<Self, UpgradeError> {
        if request.method != Method::POST && request.method != Method::GET {
            return Err(UpgradeError::MethodNotAllowed(
                "a SPDY upgrade is sent with POST",
            ));
        }
        let offered = listed(&request.headers, &STREAM_PROTOCOL)?;
        if offered.is_empty() {
            return Err(bad("X-Stream-Protocol-Version is required with SPDY"));
        }
        let known = if kind == SessionKind::PortForward {
            "portforward.k8s.io"
        } else {
            "v4.channel.k8s.io to channel.k8s.io"
        };
        let protocols = keep(offered, |name| match kind {
            SessionKind::PortForward => name == PORT_FORWARD,
            SessionKind::Exec | SessionKind::Attach => {
                !name.is_empty() && channel::Version::parse(name).is_some()
            }
        });
        if protocols.is_empty() {
            return Err(UpgradeError::NoCommonProtocol(known));
        }
        Ok(Self {
            kind,
            transport: Transport::Spdy,
            protocols,
            key: None,
        })
    }

    fn websocket(request: &request::Parts, kind: SessionKind) -> Result<Self, UpgradeError> {
        let (key, offered) = greeting::read(&request.method, &request.headers)?;
        let none_offered = offered.is_empty();
        let protocols = keep(offered, |name| is_websocket_protocol(name, kind));
        // None at all is legal and means v1; none that is known is not.
        if protocols.is_empty() && !none_offered {
            return Err(UpgradeError::NoCommonProtocol(match kind {
                SessionKind::PortForward => "SPDY/3.1+portforward.k8s.io or v4.channel.k8s.io",
                SessionKind::Exec | SessionKind::Attach => "v5.channel.k8s.io or v4.channel.k8s.io",
            }));
        }
        Ok(Self {
            kind,
            transport: Transport::WebSocket,
            protocols,
            key: Some(key),
        })
    }

    /// How the connection is to be used.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Replaces everything in `headers` that belongs to the handshake by what was checked.
    pub fn rewrite(&self, headers: &mut HeaderMap) -> Result<(), UpgradeError> {
        for name in [
            CONNECTION,
            UPGRADE,
            CONTENT_LENGTH,
            ORIGIN,
            SEC_WEBSOCKET_EXTENSIONS,
            SEC_WEBSOCKET_KEY,
            SEC_WEBSOCKET_PROTOCOL,
            SEC_WEBSOCKET_VERSION,
            STREAM_PROTOCOL,
        ] {
            headers.remove(name);
        }
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        if let Some(key) = &self.key {
            headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            headers.insert(SEC_WEBSOCKET_KEY, value(key)?);
            if !self.protocols.is_empty() {
                headers.insert(SEC_WEBSOCKET_PROTOCOL, value(&self.protocols.join(", "))?);
            }
        } else {
            headers.insert(UPGRADE, HeaderValue::from_static(SPDY));
            // A line each: servers before 1.19 do not split at commas.
            for protocol in &self.protocols {
                headers.append(STREAM_PROTOCOL, value(protocol)?);
            }
        }
        Ok(())
    }

    /// Checks the API server's 101 (B-17). Any other status is an ordinary response, not for here.
    pub fn accept(&self, answer: &response::Parts) -> Result<Agreed, UpgradeError> {
        let headers = &answer.headers;
        if answer.status != StatusCode::SWITCHING_PROTOCOLS {
            return Err(UpgradeError::Upstream("a status other than 101"));
        }
        if upstream_single(headers, &CONNECTION)?
            .is_none_or(|text| !text.eq_ignore_ascii_case("upgrade"))
        {
            return Err(UpgradeError::Upstream(
                "a Connection header other than Upgrade",
            ));
        }
        let (wanted, protocol_header) = match self.transport {
            Transport::Spdy => (SPDY, STREAM_PROTOCOL),
            Transport::WebSocket => (WEBSOCKET, SEC_WEBSOCKET_PROTOCOL),
        };
        if upstream_single(headers, &UPGRADE)?.is_none_or(|text| !text.eq_ignore_ascii_case(wanted))
        {
            return Err(UpgradeError::Upstream(
                "another protocol than was asked for",
            ));
        }
        if headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
            return Err(UpgradeError::Upstream("an extension that was not offered"));
        }
        if headers.contains_key(TRANSFER_ENCODING)
            || headers
                .get(CONTENT_LENGTH)
                .is_some_and(|length| length != "0")
        {
            return Err(UpgradeError::Upstream("a body"));
        }
        let accept = self.key.as_deref().map(accept_of);
        if upstream_single(headers, &SEC_WEBSOCKET_ACCEPT)? != accept.as_deref() {
            return Err(UpgradeError::Upstream("a wrong Sec-WebSocket-Accept"));
        }
        let name = upstream_single(headers, &protocol_header)?.unwrap_or_default();
        // Kubernetes writes an empty line when none was offered.
        let none_agreed = name.is_empty() && self.may_be_unnamed();
        if !none_agreed && !self.protocols.iter().any(|offered| offered == name) {
            return Err(UpgradeError::Upstream(
                "a stream protocol that was not offered",
            ));
        }
        let protocol = self
            .protocol(name)
            .ok_or(UpgradeError::Upstream("an unknown stream protocol"))?;
        Ok(Agreed {
            kind: self.kind,
            transport: self.transport,
            name: name.to_owned(),
            accept,
            protocol,
        })
    }

    /// Whether an answer without a protocol is one to the offer.
    fn may_be_unnamed(&self) -> bool {
        match self.transport {
            Transport::WebSocket => self.protocols.is_empty(),
            Transport::Spdy => self.protocols.iter().any(|name| name == "channel.k8s.io"),
        }
    }

    fn protocol(&self, name: &str) -> Option<Protocol> {
        match (self.transport, self.kind) {
            (Transport::WebSocket, SessionKind::PortForward) if name == TUNNEL => {
                Some(Protocol::Tunnel)
            }
            (Transport::WebSocket, _) => channel::Protocol::parse(name).map(Protocol::Channels),
            (Transport::Spdy, SessionKind::PortForward) => {
                Some(Protocol::Spdy(channel::Version::V4))
            }
            (Transport::Spdy, _) => channel::Version::parse(name).map(Protocol::Spdy),
        }
    }
}

/// An upgrade that both ends agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    kind: SessionKind,
    transport: Transport,
    name: String,
    accept: Option<String>,
    protocol: Protocol,
}

impl Agreed {
    /// The client's 101, made of nothing the API server wrote.
    pub fn response(&self) -> Result<Response<()>, UpgradeError> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let (upgrade, protocol_header) = match self.transport {
            Transport::Spdy => (SPDY, STREAM_PROTOCOL),
            Transport::WebSocket => (WEBSOCKET, SEC_WEBSOCKET_PROTOCOL),
        };
        headers.insert(UPGRADE, HeaderValue::from_static(upgrade));
        if let Some(accept) = &self.accept {
            headers.insert(SEC_WEBSOCKET_ACCEPT, value(accept)?);
        }
        if !self.name.is_empty() {
            headers.insert(protocol_header, value(&self.name)?);
        }
        Ok(response)
    }

    /// The name of the stream protocol; empty when none was agreed.
    #[must_use]
    pub fn protocol_name(&self) -> &str {
        &self.name
    }

    /// What the relay needs to know.
    #[must_use]
    pub fn session(&self, asked: &SessionRequest<'_>) -> Session {
        let streams = match self.kind {
            SessionKind::Exec | SessionKind::Attach => Streams::RemoteCommand {
                stdin: asked.stdin(),
                stdout: asked.stdout(),
                stderr: asked.stderr(),
                tty: asked.tty(),
            },
            SessionKind::PortForward => Streams::PortForward {
                ports: asked.ports().collect(),
            },
        };
        Session::new(streams, self.protocol)
    }
}

fn bad(message: &str) -> UpgradeError {
    UpgradeError::BadRequest(message.to_owned())
}

fn value(text: &str) -> Result<HeaderValue, UpgradeError> {
    HeaderValue::from_str(text).map_err(|_| bad("a handshake header is not valid"))
}

/// Only `upgrade`, and `keep-alive` as browsers add it: other words name headers that hops delete.
fn check_connection(headers: &HeaderMap) -> Result<(), UpgradeError> {
    let mut upgrade = false;
    for word in listed(headers, &CONNECTION)? {
        match word.to_ascii_lowercase().as_str() {
            "upgrade" => upgrade = true,
            "keep-alive" => {}
            _ => return Err(bad("Connection must be exactly Upgrade")),
        }
    }
    if upgrade {
        Ok(())
    } else {
        Err(bad("Connection must be exactly Upgrade"))
    }
}

fn check_no_body(headers: &HeaderMap) -> Result<(), UpgradeError> {
    let length = single(headers, &CONTENT_LENGTH)?;
    if length.is_some_and(|length| length != "0")
        || headers.contains_key(TRANSFER_ENCODING)
        || headers.contains_key(EXPECT)
    {
        return Err(bad(
            "an upgrade request has no body; send Content-Length: 0 and no Expect",
        ));
    }
    Ok(())
}

/// Tools send their own host (the Python client), pages in browsers send theirs (B-46).
fn check_origin(headers: &HeaderMap) -> Result<(), UpgradeError> {
    let Some(origin) = single(headers, &ORIGIN)? else {
        return Ok(());
    };
    let host = single(headers, &HOST)?.unwrap_or_default();
    let authority = origin
        .split_once("://")
        .map_or("", |(_, authority)| authority);
    if host.is_empty() || !authority.eq_ignore_ascii_case(host) {
        return Err(UpgradeError::ForeignOrigin);
    }
    Ok(())
}

fn is_websocket_protocol(name: &str, kind: SessionKind) -> bool {
    match (kind, channel::Protocol::parse(name)) {
        _ if name.is_empty() => false,
        (SessionKind::PortForward, None) => name == TUNNEL,
        // A port-forward has no half-close, and no server offers v5 for it.
        (SessionKind::PortForward, Some(protocol)) => protocol.version < channel::Version::V5,
        (SessionKind::Exec | SessionKind::Attach, protocol) => protocol.is_some(),
    }
}

/// Without repetition, in the client's order.
fn keep(offered: Vec<String>, known: impl Fn(&str) -> bool) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for name in offered {
        if known(&name) && !kept.contains(&name) {
            kept.push(name);
        }
    }
    kept
}

/// The only line of a header; two lines are one too many.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, UpgradeError> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next();
    if lines.next().is_some() {
        return Err(UpgradeError::BadRequest(format!(
            "more than one {name} header"
        )));
    }
    let text = first.map(|line| line.to_str().map(str::trim)).transpose();
    text.map_err(|_| UpgradeError::BadRequest(format!("the {name} header is not text")))
}

fn upstream_single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, UpgradeError> {
    single(headers, name)
        .map_err(|_| UpgradeError::Upstream("a repeated or unreadable handshake header"))
}

/// The words of all lines of a list header.
fn listed(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<String>, UpgradeError> {
    let mut words = Vec::new();
    for line in headers.get_all(name) {
        let text = line
            .to_str()
            .map_err(|_| UpgradeError::BadRequest(format!("the {name} header is not text")))?;
        words.extend(
            text.split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_owned),
        );
    }
    Ok(words)
}

fn accept_of(key: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(ACCEPT_GUID);
    BASE64.encode(context.finish())
}

#[cfg(test)]
mod tests;
