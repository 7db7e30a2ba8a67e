//! A query as Go's `net/url` and Kubernetes' decoders read it; what they would drop or read twice is
//! refused.
//!
//! Go drops a pair with a `;` or a bad escape, and everything beyond 10 000 pairs, silently: a reader
//! that keeps them sees a dry run where the server deletes. Of repeated keys the first counts for
//! Kubernetes and the last for others, so keys that decide something may appear once.

use super::path::{decode_segment, hex_digit};
use super::{Malformed, RequestInfo};
use crate::limits;

/// The parameters of a request, in order, decoded once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    raw: String,
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Reads the text behind the `?`.
    pub fn parse(raw: &str) -> Result<Self, Malformed> {
        if raw.len() > limits::REQUEST_QUERY_BYTES_MAX {
            return Err(Malformed::Query("is too long; 16 KiB is the limit"));
        }
        if raw.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return Err(Malformed::Query(
                "holds a blank, a control or a non-ASCII byte; percent-encode it",
            ));
        }
        if raw.contains('#') {
            return Err(Malformed::Query(
                "holds a '#'; a fragment is never sent to a server",
            ));
        }
        if raw.contains(';') {
            return Err(Malformed::Query(
                "holds a ';', at which the API server drops the parameter; encode it as %3B",
            ));
        }
        let given = raw.split('&').filter(|pair| !pair.is_empty());
        let most = limits::REQUEST_QUERY_PARAMETERS_MAX;
        let mut pairs = Vec::with_capacity(given.clone().count().min(most));
        for pair in given {
            if pairs.len() >= most {
                return Err(Malformed::Query("has more than 256 parameters"));
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(key)?, decode(value)?));
        }
        Ok(Self {
            raw: raw.to_owned(),
            pairs,
        })
    }

    /// The query as received, which is what goes upstream.
    pub fn raw(&self) -> &str {
        &self.raw
    }

    /// The value that counts: the first, as in Kubernetes' decoders. Keys are case-sensitive.
    pub fn first(&self, key: &str) -> Option<&str> {
        self.pairs()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// Every value of a key in order, as for `command`.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.pairs()
            .filter(move |(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// Every pair in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Kubernetes' boolean: absent, `0` and `false` (any case) are false; anything else is true, an
    /// empty value included.
    pub fn bool(&self, key: &str) -> bool {
        self.first(key)
            .is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// Refuses a list option that Go's `strconv.ParseInt` would not take.
    pub(super) fn check_integer(&self, key: &'static str) -> Result<(), Malformed> {
        match self.first(key) {
            Some(text) if text.parse::<i64>().is_err() => {
                Err(Malformed::Parameter(key, "must be a whole number"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a repeated key of [`SINGLE`]; for a proxied request only `path` is ours.
    pub(super) fn refuse_repeated(&self, proxied: bool) -> Result<(), Malformed> {
        for key in SINGLE {
            if proxied && *key != "path" {
                continue;
            }
            if self.all(key).nth(1).is_some() {
                return Err(Malformed::Repeated((*key).to_owned()));
            }
        }
        Ok(())
    }

    /// Whether the raw text holds exactly this pair, unencoded.
    pub(super) fn has_literal(&self, pair: &str) -> bool {
        self.raw.split('&').any(|candidate| candidate == pair)
    }
}

/// The keys that change what a request means or what its answer holds. `command` and `ports` repeat
/// by design; unknown keys are an aggregated API's own.
const SINGLE: &[&str] = &[
    "allowWatchBookmarks",
    "container",
    "continue",
    "dryRun",
    "fieldManager",
    "fieldSelector",
    "fieldValidation",
    "follow",
    "force",
    "gracePeriodSeconds",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
    "includeObject",
    "insecureSkipTLSVerifyBackend",
    "labelSelector",
    "limit",
    "limitBytes",
    "orphanDependents",
    "path",
    "portcullis.dev/reason",
    "portcullis.dev/reveal",
    "pretty",
    "previous",
    "propagationPolicy",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "shardSelector",
    "sinceSeconds",
    "sinceTime",
    "stderr",
    "stdin",
    "stdout",
    "stream",
    "tailLines",
    "timeout",
    "timeoutSeconds",
    "timestamps",
    "tty",
    "watch",
];

/// So many bytes of a target, as it was sent, name what is asked for; the rest is the query, or is for what stands behind
/// `proxy`.
pub fn named_in(target: &str, info: Option<&RequestInfo>) -> usize {
    let path = target.split('?').next().unwrap_or_default();
    let proxied = info.filter(|info| info.subresource == "proxy");
    proxied
        .and_then(|info| proxy_tail(path, &info.name))
        .unwrap_or(path.len())
}

/// Where in a path what is for the object of this name begins. Clients may encode a name, such as its `:` as `%3A`.
fn proxy_tail(path: &str, name: &str) -> Option<usize> {
    let mut at = 0;
    let mut named = false;
    for segment in path.split('/') {
        at += segment.len() + 1;
        if named && segment == "proxy" {
            return Some(at.min(path.len()));
        }
        named = decode_segment(segment).is_ok_and(|decoded| decoded == name);
    }
    None
}

/// A target in which the words of its command, those of `command` (exec) and `cmd` (a kubelet's `run`), are
/// replaced by `replace`, which gets all of them in order; the rest stays as it was sent. Reads what no query
/// may hold as well, since it is for records of requests that are refused, too.
pub fn with_words(target: &str, replace: impl FnOnce(&[String]) -> Vec<String>) -> String {
    let Some((path, query)) = target.split_once('?') else {
        return target.to_owned();
    };
    let mut pairs: Vec<String> = query.split('&').map(str::to_owned).collect();
    let words = |pair: &String| {
        let (key, value) = pair.split_once('=')?;
        let word = decode(value).unwrap_or_else(|_malformed| value.to_owned());
        ["command", "cmd"].contains(&key).then_some(word)
    };
    let before: Vec<String> = pairs.iter().filter_map(words).collect();
    if before.is_empty() {
        return target.to_owned();
    }
    let after = replace(&before);
    let mut replaced = before.iter().zip(after);
    for pair in &mut pairs {
        if words(pair).is_some()
            && let Some((before, after)) = replaced.next()
            && *before != after
            && let Some((key, _)) = pair.split_once('=')
        {
            *pair = format!("{key}={}", encode(&after));
        }
    }
    format!("{path}?{}", pairs.join("&"))
}

/// `url.QueryEscape`, but for the brackets and colons of placeholders, which people read.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => encoded.push('+'),
            _ if byte.is_ascii_alphanumeric() || b"-_.~[]:".contains(&byte) => {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                for digit in [byte >> 4, byte & 15] {
                    let digit = char::from_digit(digit.into(), 16).unwrap_or_default();
                    encoded.push(digit.to_ascii_uppercase());
                }
            }
        }
    }
    encoded
}

/// `url.QueryUnescape`: `+` is a blank, `%XX` a byte; anything else with `%` is refused, not dropped.
fn decode(text: &str) -> Result<String, Malformed> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let high = bytes.next().and_then(hex_digit);
                let low = bytes.next().and_then(hex_digit);
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(Malformed::Query(
                        "has a '%' that two hexadecimal digits do not follow; the API server would drop the parameter",
                    ));
                };
                decoded.push(high << 4 | low);
            }
            _ => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map_err(|_| Malformed::Query("is not UTF-8 when decoded"))
}
