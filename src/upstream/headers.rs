//! The header list of an upstream request, rebuilt from nothing, and what is kept of an answer's.
//!
//! Invariant: no header reaches the API server because a client sent it, only because this file names
//! it. Whatever bears identity is ours; hop-by-hop headers are built anew, so a client's `Connection`
//! can nominate nothing for deletion (CVE-2021-31999 and its kin).

use std::net::IpAddr;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST,
    PROXY_AUTHENTICATE, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

use super::identity::UpstreamIdentity;

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const WEBSOCKET_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");
const WEBSOCKET_KEY: HeaderName = HeaderName::from_static("sec-websocket-key");
const WEBSOCKET_VERSION: HeaderName = HeaderName::from_static("sec-websocket-version");
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Headers of an answer that concern one hop only, or would point clients past the gateway.
const NOT_FORWARDED: [HeaderName; 13] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    ALT_SVC,                   // would move clients to another address
    SET_COOKIE,                // no cookie ever goes upstream
    STRICT_TRANSPORT_SECURITY, // ours to say
    WWW_AUTHENTICATE,          // the gateway's credential is nobody's challenge
];

/// Why a client's request headers are refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HeadersRefused {
    /// The client says who it is in a header that only the gateway may write (403).
    #[error(
        "the header `{0}` is not accepted: the gateway decides who you are by your token; drop `--as` and the like"
    )]
    ClientIdentity(String),
    /// A name that another hop could read as a different one (400).
    #[error(
        "the header name `{0}` is not accepted: names with an underscore are read differently by different servers"
    )]
    AmbiguousName(String),
    /// A header that may stand once only (400).
    #[error("the header `{0}` must not be repeated")]
    Repeated(&'static str),
    /// An upgrade request the API server cannot be sent (400).
    #[error("the upgrade request is not valid: {0}")]
    Upgrade(&'static str),
}

/// Refuses a client that asserts an identity. Dropping the header instead would run
/// `kubectl --as=readonly delete` with the caller's full rights.
pub fn refuse_client_identity(headers: &HeaderMap) -> Result<(), HeadersRefused> {
    for name in headers.keys() {
        let name = name.as_str();
        if name.starts_with("impersonate-") || name.starts_with("x-remote-") {
            return Err(HeadersRefused::ClientIdentity(name.to_owned()));
        }
        if name.contains('_') {
            return Err(HeadersRefused::AmbiguousName(name.to_owned()));
        }
    }
    Ok(())
}

/// What stands in an upstream request besides the client's harmless headers.
#[derive(Debug)]
pub(super) struct Ours<'a> {
    /// The validated impersonation headers.
    pub(super) identity: &'a UpstreamIdentity,
    /// `Bearer …`, marked sensitive; absent with a client certificate.
    pub(super) authorization: Option<&'a HeaderValue>,
    /// The client's address, for the cluster's audit log.
    pub(super) peer: IpAddr,
    /// Our audit id; the cluster's audit log carries the same.
    pub(super) audit_id: &'a HeaderValue,
}

/// The headers of an ordinary request. `host` is set for HTTP/1.1 only: HTTP/2 has `:authority`.
pub(super) fn request(
    client: &HeaderMap,
    ours: &Ours<'_>,
    host: Option<&HeaderValue>,
) -> Result<HeaderMap, HeadersRefused> {
    refuse_client_identity(client)?;
    let mut headers = HeaderMap::with_capacity(16);
    if let Some(host) = host {
        headers.insert(HOST, host.clone());
    }
    // The API server reads the first `Accept` line and ignores the others; so does it now.
    for name in [ACCEPT, USER_AGENT] {
        if let Some(value) = client.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    if let Some(value) = only(client, &CONTENT_TYPE, "content-type")? {
        headers.insert(CONTENT_TYPE, value.clone());
    }
    // Ours in either case: gzip is what the API server knows and what the masker can open.
    let encoding = if accepts_gzip(client) {
        "gzip"
    } else {
        "identity"
    };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encoding));
    write_ours(&mut headers, ours);
    Ok(headers)
}

/// The headers of an upgrade request, always over HTTP/1.1.
pub(super) fn upgrade(
    client: &HeaderMap,
    ours: &Ours<'_>,
    host: &HeaderValue,
) -> Result<HeaderMap, HeadersRefused> {
    let mut headers = request(client, ours, Some(host))?;
    headers.remove(ACCEPT_ENCODING);
    headers.remove(CONTENT_TYPE);
    let wanted = only(client, &UPGRADE, "upgrade")?
        .ok_or(HeadersRefused::Upgrade("there is no `Upgrade` header"))?
        .as_bytes();
    if wanted.eq_ignore_ascii_case(b"websocket") {
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        write_websocket(&mut headers, client)?;
    } else if wanted.eq_ignore_ascii_case(b"SPDY/3.1") {
        headers.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        // One line per version: API servers up to 1.18 refuse the merged form.
        for version in client.get_all(&STREAM_PROTOCOL) {
            headers.append(STREAM_PROTOCOL, version.clone());
        }
    } else {
        return Err(HeadersRefused::Upgrade(
            "only `websocket` and `SPDY/3.1` are known",
        ));
    }
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    Ok(headers)
}

fn write_websocket(headers: &mut HeaderMap, client: &HeaderMap) -> Result<(), HeadersRefused> {
    for (name, label) in [
        (WEBSOCKET_KEY, "sec-websocket-key"),
        (WEBSOCKET_VERSION, "sec-websocket-version"),
        (WEBSOCKET_PROTOCOL, "sec-websocket-protocol"),
    ] {
        let Some(value) = only(client, &name, label)? else {
            continue;
        };
        // A second credential beside ours: the API server would believe it (threats A-22).
        let lower = value.as_bytes().to_ascii_lowercase();
        if memchr::memmem::find(&lower, BEARER_PROTOCOL.as_bytes()).is_some() {
            return Err(HeadersRefused::Upgrade(
                "a bearer token stands among the subprotocols",
            ));
        }
        headers.insert(name, value.clone());
    }
    Ok(())
}

fn write_ours(headers: &mut HeaderMap, ours: &Ours<'_>) {
    if let Some(authorization) = ours.authorization {
        headers.insert(AUTHORIZATION, authorization.clone());
    }
    if let Ok(peer) = HeaderValue::from_str(&ours.peer.to_canonical().to_string()) {
        headers.insert(X_FORWARDED_FOR, peer);
    }
    headers.insert(AUDIT_ID, ours.audit_id.clone());
    ours.identity.write(headers);
}

fn only<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    label: &'static str,
) -> Result<Option<&'a HeaderValue>, HeadersRefused> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(HeadersRefused::Repeated(label));
    }
    Ok(first)
}

/// Whether `Accept-Encoding` allows gzip by name; a `q` that may be zero counts as a no.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("gzip"))
}

/// Removes from an answer what concerns the upstream hop alone, including what its `Connection`
/// header nominates.
pub(super) fn clean_response(headers: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .collect();
    for name in nominated {
        headers.remove(name);
    }
    for name in &NOT_FORWARDED {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests;
