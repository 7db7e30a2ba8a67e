//! The client's half of a WebSocket handshake (RFC 6455 §4), checked.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};

use super::{
    BEARER_PREFIX, UpgradeError, WEBSOCKET, accept_of, bad, check_connection, check_no_body,
    check_origin, listed, single, value,
};

/// A handshake that the gateway answers itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct Greeting {
    key: String,
    protocol: Option<String>,
}

impl Greeting {
    /// Checks the client's half; it may offer one subprotocol at most.
    pub(in crate::gateway) fn read<B>(request: &Request<B>) -> Result<Self, UpgradeError> {
        let headers = request.headers();
        if request.version() != Version::HTTP_11 {
            return Err(bad(
                "upgrade needs HTTP/1.1; connect without offering HTTP/2",
            ));
        }
        check_connection(headers)?;
        check_no_body(headers)?;
        let (key, mut offered) = read(request.method(), headers)?;
        let protocol = offered.pop();
        if !offered.is_empty() {
            return Err(bad("offer one Sec-WebSocket-Protocol, or none"));
        }
        if let Some(protocol) = &protocol {
            // It is echoed, so it must be one.
            value(protocol)?;
        }
        Ok(Self { key, protocol })
    }

    /// The subprotocol on offer.
    pub(in crate::gateway) fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// The other half.
    pub(in crate::gateway) fn response(&self) -> Response<()> {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
        let lines = [
            (SEC_WEBSOCKET_ACCEPT, Some(accept_of(&self.key))),
            (SEC_WEBSOCKET_PROTOCOL, self.protocol.clone()),
        ];
        for (name, line) in lines {
            if let Some(line) = line.and_then(|line| HeaderValue::try_from(line).ok()) {
                headers.insert(name, line);
            }
        }
        response
    }
}

/// The key, and the subprotocols on offer but for the bearer token: that is a credential, read elsewhere and never
/// passed on.
pub(super) fn read(
    method: &Method,
    headers: &HeaderMap,
) -> Result<(String, Vec<String>), UpgradeError> {
    if method != Method::GET {
        return Err(UpgradeError::MethodNotAllowed(
            "a WebSocket upgrade is sent with GET",
        ));
    }
    if single(headers, &SEC_WEBSOCKET_VERSION)? != Some("13") {
        return Err(bad("Sec-WebSocket-Version must be 13"));
    }
    let key = single(headers, &SEC_WEBSOCKET_KEY)?.unwrap_or_default();
    if !BASE64.decode(key).is_ok_and(|bytes| bytes.len() == 16) {
        return Err(bad("Sec-WebSocket-Key must be 16 bytes in base64"));
    }
    check_origin(headers)?;
    let mut offered = listed(headers, &SEC_WEBSOCKET_PROTOCOL)?;
    offered.retain(|name| !name.starts_with(BEARER_PREFIX));
    Ok((key.to_owned(), offered))
}
