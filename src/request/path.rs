//! The grammar of an API path: one spelling per path, or no answer.
//!
//! The API server routes and authorizes on the percent-decoded path and resolves nothing in it, so a
//! proxy that normalises reads other requests than the server does (`dev%2Fsecrets` lists the Secrets
//! of `dev`; `namespaces//secrets` lists all namespaces). We decode once, refuse every spelling with a
//! second reading, and send the canonical encoding of what we read:
//!
//! - unreserved characters (`A-Z a-z 0-9 - . _ ~`) must be plain;
//! - `! $ & ' ( ) * + , = : @` may be plain or encoded (the JavaScript and Python clients encode `:`)
//!   and are sent plain;
//! - anything else must be encoded; slash, backslash, percent, semicolon, controls, invisible
//!   formatting characters and invalid UTF-8 may not appear at all;
//! - one trailing slash is dropped (the Python and JavaScript clients send `/apis/apps/`).
//!
//! Behind `pods|services|nodes/NAME/proxy/` the tail belongs to the backend and is kept byte for byte;
//! only what a hop on the way might resolve into another API path is refused there.

use std::fmt::Write as _;

use super::Malformed;
use crate::limits;

/// A path that passed the grammar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Percent-decoded, without trailing slash.
    pub decoded: String,
    /// The canonical encoding.
    pub raw: String,
    /// The decoded segments; none for `/`. A proxy tail is cut at its decoded slashes.
    pub segments: Vec<String>,
}

impl Path {
    /// Reads the path of an origin-form target, without the query.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.len() > limits::REQUEST_PATH_BYTES_MAX {
            return Err(Malformed::Path("is too long; 8 KiB is the limit"));
        }
        let Some(inner) = text.strip_prefix('/') else {
            return Err(Malformed::Target);
        };
        let mut path = Self {
            decoded: String::with_capacity(text.len()),
            raw: String::with_capacity(text.len()),
            segments: Vec::new(),
        };
        let mut rest = Some(inner);
        while let Some(text) = rest {
            if path.is_at_proxy_tail() {
                path.push_tail(text)?;
                break;
            }
            let (segment, after) = match text.split_once('/') {
                Some((segment, after)) => (segment, Some(after)),
                None => (text, None),
            };
            rest = after;
            if segment.is_empty() {
                if rest.is_none() {
                    break; // the path is "/" or ends with one slash
                }
                return Err(Malformed::Path(
                    "has an empty segment ('//'); send each '/' once",
                ));
            }
            path.push_segment(segment)?;
        }
        if path.raw.is_empty() {
            path.decoded.push('/');
            path.raw.push('/');
        }
        Ok(path)
    }

    fn push_segment(&mut self, raw: &str) -> Result<(), Malformed> {
        if self.segments.len() >= limits::REQUEST_PATH_SEGMENTS_MAX {
            return Err(Malformed::Path("has too many segments; 128 is the limit"));
        }
        let segment = decode_segment(raw)?;
        self.decoded.push('/');
        self.decoded.push_str(&segment);
        self.raw.push('/');
        if segment == raw {
            self.raw.push_str(raw); // nothing in it is encoded
        } else {
            encode_segment(&segment, &mut self.raw);
        }
        self.segments.push(segment);
        Ok(())
    }

    /// Whether the segments so far are `/api/VERSION[/namespaces/NS]/pods|services|nodes/NAME/proxy`.
    fn is_at_proxy_tail(&self) -> bool {
        let mut parts = self.segments.iter().map(String::as_str);
        if parts.next() != Some("api") || parts.next().is_none() {
            return false;
        }
        let mut resource = parts.next();
        if resource == Some("namespaces") {
            let mut peek = parts.clone();
            let namespaced = peek.nth(1).is_some_and(|next| is_proxied("", next));
            if !namespaced {
                return false;
            }
            parts.next();
            resource = parts.next();
        }
        resource.is_some_and(|resource| is_proxied("", resource))
            && parts.next().is_some()
            && parts.next() == Some("proxy")
            && parts.next().is_none()
    }

    fn push_tail(&mut self, raw: &str) -> Result<(), Malformed> {
        if raw.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(Malformed::Path(
                "holds a blank, a control or a non-ASCII byte; percent-encode it",
            ));
        }
        if raw.bytes().any(|byte| matches!(byte, b'#' | b'\\')) {
            return Err(Malformed::Path("holds a '#' or a backslash"));
        }
        let decoded = percent_decode(raw)?;
        if decoded.chars().any(char::is_control) {
            return Err(Malformed::Path("holds an encoded control character"));
        }
        // Nobody may resolve the tail into an API path: not we, not a hop between us and the server.
        if decoded.split(['/', '\\']).any(is_dots) {
            return Err(Malformed::Path(DOTS));
        }
        self.decoded.push('/');
        self.decoded.push_str(&decoded);
        self.raw.push('/');
        self.raw.push_str(raw);
        self.segments.extend(decoded.split('/').map(str::to_owned));
        // As RequestInfo does: trailing slashes are trimmed before the path is cut.
        while self.segments.last().is_some_and(String::is_empty) {
            self.segments.pop();
        }
        Ok(())
    }
}

/// Whether `resource` of `api_group` has a `proxy` subresource with an opaque tail.
pub fn is_proxied(api_group: &str, resource: &str) -> bool {
    api_group.is_empty() && matches!(resource, "pods" | "services" | "nodes")
}

const DOTS: &str = "holds a '.' or '..' segment; send the resolved path";

pub(super) fn decode_segment(raw: &str) -> Result<String, Malformed> {
    for byte in raw.bytes() {
        if byte != b'%' && !is_plain(byte) {
            return Err(Malformed::Path(match byte {
                b';' => "holds a ';' (path parameters do not exist in the Kubernetes API)",
                b'#' => "holds a '#'; a fragment is never sent to a server",
                b'\\' => "holds a backslash",
                0..=b' ' | 0x7f.. => {
                    "holds a blank, a control or a non-ASCII byte; percent-encode it"
                }
                _ => "holds a character that must be percent-encoded",
            }));
        }
    }
    if is_dots(raw) {
        return Err(Malformed::Path(DOTS));
    }
    if !raw.contains('%') {
        return Ok(raw.to_owned());
    }
    let segment = percent_decode(raw)?;
    refuse_needless_encoding(raw)?;
    for character in segment.chars() {
        if let Some(problem) = forbidden(character) {
            return Err(Malformed::Path(problem));
        }
    }
    if segment.trim() != segment {
        return Err(Malformed::Path(
            "has a segment that starts or ends with a blank",
        ));
    }
    Ok(segment)
}

fn forbidden(character: char) -> Option<&'static str> {
    match character {
        '/' => {
            Some("holds an encoded '/' (%2F), which the API server reads as a separator; send '/'")
        }
        '\\' => Some("holds an encoded backslash (%5C)"),
        '%' => Some("holds an encoded '%' (%25); encode once only"),
        ';' => Some("holds an encoded ';' (%3B)"),
        _ if character.is_control() => Some("holds an encoded control character"),
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{061c}' => Some("holds an invisible formatting character"),
        _ => None,
    }
}

/// `%73` for `s`: the server reads both, so a reader of the raw path would see another resource.
fn refuse_needless_encoding(raw: &str) -> Result<(), Malformed> {
    for code in raw.split('%').skip(1) {
        let byte = code
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if byte.is_some_and(is_unreserved) {
            return Err(Malformed::Path(
                "percent-encodes a letter, digit, '-', '.', '_' or '~'; send it plain",
            ));
        }
    }
    Ok(())
}

/// Decodes `%XX`, strictly: two hexadecimal digits, and UTF-8 as the result.
pub(super) fn percent_decode(raw: &str) -> Result<String, Malformed> {
    let mut bytes = raw.bytes();
    let mut decoded = Vec::with_capacity(raw.len());
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = bytes.next().and_then(hex_digit);
            let low = bytes.next().and_then(hex_digit);
            let (Some(high), Some(low)) = (high, low) else {
                return Err(Malformed::Path(
                    "has a '%' that two hexadecimal digits do not follow",
                ));
            };
            decoded.push(high << 4 | low);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).map_err(|_| Malformed::Path("is not UTF-8 when decoded"))
}

pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

fn encode_segment(segment: &str, out: &mut String) {
    for byte in segment.bytes() {
        if is_plain(byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
}

fn is_plain(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@'
        )
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The bytes that names of objects are written in, and what stands between them.
pub(super) fn is_of_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'/')
}

fn is_dots(segment: &str) -> bool {
    segment == "." || segment == ".."
}
