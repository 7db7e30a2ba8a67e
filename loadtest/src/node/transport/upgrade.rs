//! SPDY handshakes as the container runtime answers them.

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::upgrade::OnUpgrade;

use crate::node::reply::{self, Fault};
use crate::node::{Body, websocket};

/// The header with the offered and the chosen version.
const VERSION: &str = "x-stream-protocol-version";
const ACCEPTED: &str = "x-accepted-stream-protocol-versions";

/// A handshake that was accepted.
pub(in crate::node) struct Accepted {
    pub(in crate::node) response: Response<Body>,
    pub(in crate::node) upgrade: OnUpgrade,
    pub(in crate::node) version: &'static str,
}

/// Whether a request asks for SPDY/3.1; the method does not matter.
pub(in crate::node) fn is_spdy(headers: &HeaderMap) -> bool {
    websocket::asks_for(headers, "SPDY/3.1")
}

/// Refuses a request that asks for no upgrade at all, as the API server does.
pub(in crate::node) fn require(headers: &HeaderMap) -> Result<(), Fault> {
    let mut connection = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    if connection.any(|value| value.to_ascii_lowercase().contains("upgrade"))
        && headers.contains_key(header::UPGRADE)
    {
        return Ok(());
    }
    Err(Fault::bad_request("Upgrade request required"))
}

/// Picks the first offered version that is `supported`.
pub(in crate::node) fn accept<B>(
    mut request: Request<B>,
    supported: &[&'static str],
) -> Result<Accepted, Fault> {
    let headers = request.headers();
    if !is_spdy(headers) {
        return Err(twice(
            StatusCode::BAD_REQUEST,
            "unable to upgrade: missing upgrade headers in request",
            &[],
        ));
    }
    let lines = headers
        .get_all(VERSION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let offered: Vec<&str> = lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .collect();
    if offered.is_empty() {
        let message = format!(
            "unable to upgrade: header X-Stream-Protocol-Version does not exist in request with {} headers",
            headers.keys_len()
        );
        return Err(twice(StatusCode::BAD_REQUEST, &message, &[]));
    }
    let mut choices = offered
        .iter()
        .filter_map(|offer| supported.iter().find(|known| *known == offer));
    let Some(version) = choices.next() else {
        let message = format!(
            "unable to upgrade: unable to negotiate protocol: client supports [{}], server accepts [{}]",
            offered.join(" "),
            supported.join(" ")
        );
        return Err(twice(StatusCode::FORBIDDEN, &message, supported));
    };
    let mut response = Response::new(reply::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let target = response.headers_mut();
    target.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    target.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    target.insert(VERSION, HeaderValue::from_static(version));
    let upgrade = hyper::upgrade::on(&mut request);
    Ok(Accepted {
        response,
        upgrade,
        version,
    })
}

/// The runtime writes its message, and then its caller writes it again.
fn twice(code: StatusCode, message: &str, accepted: &[&str]) -> Fault {
    let headers = [("x-content-type-options", "nosniff".to_owned())];
    let versions = accepted
        .iter()
        .map(|version| (ACCEPTED, (*version).to_owned()));
    Fault::Text {
        code,
        message: format!("{message}\n{message}\n"),
        headers: versions.chain(headers).collect(),
    }
}
