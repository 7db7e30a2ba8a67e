//! WebSocket handshakes as `golang.org/x/net/websocket` answers them.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::node::Body;
use crate::node::reply::{self, Fault};

/// The largest message a client may send; the receive limit of the real server.
const MESSAGE_LIMIT: usize = 32 << 20;

/// An upgraded connection.
pub(in crate::node) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether a request asks for a WebSocket.
pub(in crate::node) fn is_upgrade(headers: &HeaderMap) -> bool {
    asks_for(headers, "websocket")
}

/// Whether `Connection` holds `upgrade` and `Upgrade` names `protocol`.
pub(in crate::node) fn asks_for(headers: &HeaderMap, protocol: &str) -> bool {
    let mut connection = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let upgrade = headers
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok());
    connection.any(|value| value.to_ascii_lowercase().contains("upgrade"))
        && upgrade.is_some_and(|value| value.trim().eq_ignore_ascii_case(protocol))
}

/// A handshake that was accepted: the answer to send and the connection that follows it.
pub(in crate::node) struct Accepted {
    pub(in crate::node) response: Response<Body>,
    pub(in crate::node) upgrade: OnUpgrade,
    /// The chosen subprotocol; empty when the client offered none.
    pub(in crate::node) protocol: &'static str,
}

/// Picks the first offered subprotocol that is `supported`.
pub(in crate::node) fn accept<B>(
    mut request: Request<B>,
    supported: &[&'static str],
) -> Result<Accepted, Fault> {
    if request.method() != Method::GET {
        return Err(Fault::Handshake {
            code: StatusCode::METHOD_NOT_ALLOWED,
            message: "bad method",
        });
    }
    let headers = request.headers();
    let key = headers
        .get("sec-websocket-key")
        .filter(|key| !key.is_empty());
    let version = headers
        .get("sec-websocket-version")
        .is_some_and(|value| value == "13");
    let (Some(key), true) = (key, version) else {
        return Err(Fault::Handshake {
            code: StatusCode::BAD_REQUEST,
            message: "missing or bad WebSocket-Key",
        });
    };
    let offered = offered(headers);
    let protocol = if offered.is_empty() {
        ""
    } else {
        let mut choices = offered
            .iter()
            .filter_map(|offer| supported.iter().find(|known| *known == offer));
        choices.next().ok_or(Fault::Handshake {
            code: StatusCode::FORBIDDEN,
            message: "",
        })?
    };
    let mut response = Response::new(reply::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let target = response.headers_mut();
    target.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    target.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let proof = derive_accept_key(key.as_bytes());
    let proof =
        HeaderValue::from_str(&proof).map_err(|_| Fault::bad_request("bad Sec-WebSocket-Key"))?;
    target.insert("sec-websocket-accept", proof);
    // Without a subprotocol the real server sends the header too, empty.
    target.insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
    let upgrade = hyper::upgrade::on(&mut request);
    Ok(Accepted {
        response,
        upgrade,
        protocol,
    })
}

/// The subprotocols a client offers, in its order.
pub(in crate::node) fn offered(headers: &HeaderMap) -> Vec<String> {
    let lines = headers
        .get_all("sec-websocket-protocol")
        .iter()
        .filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(|entry| entry.trim().to_owned())
        .filter(|entry| !entry.is_empty())
        .collect()
}

/// The connection after the 101; nothing if the client left before.
pub(in crate::node) async fn connect(upgrade: OnUpgrade) -> Option<Socket> {
    let upgraded = upgrade.await.ok()?;
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_LIMIT))
        .max_frame_size(Some(MESSAGE_LIMIT))
        .max_write_buffer_size(4 * MESSAGE_LIMIT)
        .write_buffer_size(0);
    Some(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(config)).await)
}
