//! What goes back to a browser: pages, redirects and the console's own files, all under one strict set of headers.

use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION, REFERRER_POLICY,
    SET_COOKIE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Response, StatusCode};
use maud::Markup;

use crate::gateway::body::{self, Body};

/// What a page may do: be shown, and talk to where it came from. Nothing inline, nothing from elsewhere.
const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// The same for the page with the player, whose terminal is a program in WebAssembly.
const CONTENT_SECURITY_OF_PLAYER: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
     img-src 'self'; font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 6] = [
    (CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// A page.
pub(super) fn page(status: StatusCode, markup: Markup) -> Response<Body> {
    let mut response = Response::new(body::full(markup.into_string()));
    *response.status_mut() = status;
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, html);
    response
}

/// Lets this page run the player.
pub(super) fn with_player(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_SECURITY_OF_PLAYER),
    );
    response
}

/// Sends the browser elsewhere, with GET.
pub(super) fn see_other(place: &str) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    match HeaderValue::from_str(place) {
        Ok(place) => {
            response.headers_mut().insert(LOCATION, place);
        }
        Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
    }
    response
}

/// Sets a cookie besides those that are set already.
pub(super) fn set_cookie(response: &mut Response<Body>, cookie: &str) {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Adds the headers that every answer of the console has.
pub(super) fn secured(mut response: Response<Body>) -> Response<Body> {
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

/// The player, if it was there when the gateway was built; otherwise empty.
const PLAYER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/player.js"));
const PLAYER_STYLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/player.css"));

/// Whether this gateway has the player.
pub(super) fn has_player() -> bool {
    !PLAYER.is_empty()
}

/// One of the console's own files.
pub(super) fn file(name: &str) -> Option<Response<Body>> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    const STYLE: &str = "text/css; charset=utf-8";
    let (kind, bytes): (&str, &'static [u8]) = match name {
        "console.css" => (STYLE, include_bytes!("static/console.css")),
        "console.js" => (SCRIPT, include_bytes!("static/console.js")),
        "icon.svg" => ("image/svg+xml", include_bytes!("static/icon.svg")),
        "player.js" if has_player() => (SCRIPT, PLAYER),
        "player.css" if has_player() => (STYLE, PLAYER_STYLE),
        _ => return None,
    };
    let mut response = Response::new(body::full(bytes));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Some(response)
}
