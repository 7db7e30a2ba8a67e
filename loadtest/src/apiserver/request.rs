//! What a request asks for, by Kubernetes' rules for paths and queries.

use http::Method;

/// A parsed request line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info {
    pub(crate) path: String,
    /// False for discovery, health and everything else that is no resource.
    pub(crate) is_resource: bool,
    pub(crate) verb: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) plural: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    pub(crate) query: Query,
}

/// The query parameters, decoded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        Self(
            query
                .split('&')
                .filter(|pair| !pair.is_empty() && !pair.contains(';'))
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key, true), decode(value, true))
                })
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub(crate) fn first(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The first value, empty when absent.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.first(key).unwrap_or_default()
    }

    /// Kubernetes' rule for booleans: present and neither `false` nor `0`.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.first(key)
            .is_some_and(|value| value != "false" && value != "0")
    }
}

impl Info {
    pub(crate) fn parse(method: &Method, path: &str, query: Option<&str>) -> Self {
        let path = decode(path, false);
        let mut info = Self {
            verb: method.as_str().to_ascii_lowercase(),
            query: Query::parse(query.unwrap_or_default()),
            ..Self::default()
        };
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let rest = match parts.as_slice() {
            ["api", version, rest @ ..] if !rest.is_empty() => {
                (*version).clone_into(&mut info.version);
                rest
            }
            ["apis", group, version, rest @ ..] if !rest.is_empty() => {
                (*group).clone_into(&mut info.group);
                (*version).clone_into(&mut info.version);
                rest
            }
            _ => &[],
        };
        // Kubernetes' RequestInfo would trim a doubled slash in front, its router does not.
        if rest.is_empty() || path.starts_with("//") {
            info.path = path;
            return info;
        }
        info.is_resource = true;
        info.resource(method, rest);
        info.path = path;
        info
    }

    fn resource(&mut self, method: &Method, mut rest: &[&str]) {
        let mut watching = false;
        if let ["watch", tail @ ..] = rest {
            watching = true;
            rest = tail;
        }
        let verb = match method.as_str() {
            "POST" => "create",
            "GET" | "HEAD" => "get",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" => "delete",
            _ => "",
        };
        verb.clone_into(&mut self.verb);
        if let ["namespaces", namespace, tail @ ..] = rest {
            (*namespace).clone_into(&mut self.namespace);
            if !matches!(tail, [] | ["status" | "finalize", ..]) {
                rest = tail;
            }
        }
        let part = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
        self.plural = part(0);
        self.name = part(1);
        self.subresource = part(2);
        if watching {
            "watch".clone_into(&mut self.verb);
        } else if self.verb == "get" && self.name.is_empty() {
            let verb = if self.query.flag("watch") {
                "watch"
            } else {
                "list"
            };
            verb.clone_into(&mut self.verb);
        } else if self.verb == "delete" && self.name.is_empty() {
            "deletecollection".clone_into(&mut self.verb);
        }
    }

    /// True when nothing is to be stored.
    pub(crate) fn dry_run(&self) -> bool {
        self.query
            .first("dryRun")
            .is_some_and(|value| value == "All")
    }
}

/// Percent-decoding as Go's `net/url` does it; `plus` is a space in queries only.
fn decode(text: &str, plus: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let mut ahead = bytes.clone();
                match (ahead.next().and_then(hex), ahead.next().and_then(hex)) {
                    (Some(high), Some(low)) => {
                        out.push(high << 4 | low);
                        bytes = ahead;
                    }
                    _ => out.push(b'%'),
                }
            }
            b'+' if plus => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// A parsed label or field selector: all of its terms must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector(Vec<Term>);

#[derive(Clone, Debug)]
enum Term {
    Equals(String, String),
    Differs(String, String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

impl Selector {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut terms = Vec::new();
        for part in split_terms(text) {
            let part = part.trim();
            if part.is_empty() {
                continue;
            }
            terms.push(
                Term::parse(part).ok_or_else(|| format!("unable to parse requirement: {part}"))?,
            );
        }
        Ok(Self(terms))
    }

    pub(crate) fn matches<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|term| match term {
            Term::Equals(key, wanted) => value(key) == Some(wanted),
            Term::Differs(key, unwanted) => value(key) != Some(unwanted),
            Term::In(key, wanted) => {
                value(key).is_some_and(|value| wanted.iter().any(|one| one == value))
            }
            Term::NotIn(key, unwanted) => {
                value(key).is_none_or(|value| unwanted.iter().all(|one| one != value))
            }
            Term::Exists(key) => value(key).is_some(),
            Term::Absent(key) => value(key).is_none(),
        })
    }

    /// Adds a term: `key` must be `value`.
    pub(crate) fn require(&mut self, key: &str, value: &str) {
        self.0.push(Term::Equals(key.to_owned(), value.to_owned()));
    }

    /// The keys it speaks of.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|term| match term {
            Term::Equals(key, _)
            | Term::Differs(key, _)
            | Term::In(key, _)
            | Term::NotIn(key, _)
            | Term::Exists(key)
            | Term::Absent(key) => key.as_str(),
        })
    }
}

impl Term {
    fn parse(part: &str) -> Option<Self> {
        let owned = |text: &str| text.trim().to_owned();
        if let Some(list) = part.strip_suffix(')') {
            let (head, values) = list.split_once('(')?;
            let values = values.split(',').map(owned).collect();
            let head = head.trim();
            return if let Some(key) = head.strip_suffix(" notin") {
                Some(Self::NotIn(owned(key), values))
            } else {
                Some(Self::In(owned(head.strip_suffix(" in")?), values))
            };
        }
        if let Some((key, value)) = part.split_once("!=") {
            return Some(Self::Differs(owned(key), owned(value)));
        }
        if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            return Some(Self::Equals(owned(key), owned(value)));
        }
        Some(match part.strip_prefix('!') {
            Some(key) => Self::Absent(owned(key)),
            None => Self::Exists(owned(part)),
        })
    }
}

/// Splits at commas outside parentheses.
fn split_terms(text: &str) -> Vec<String> {
    let mut terms = vec![String::new()];
    let mut depth = 0usize;
    for letter in text.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                terms.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = terms.last_mut() {
            last.push(letter);
        }
    }
    terms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verb_and_place(method: &str, target: &str) -> (String, String, String, String, String) {
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(path, query)| (path, Some(query)));
        let info = Info::parse(
            &Method::from_bytes(method.as_bytes()).expect("a method"),
            path,
            query,
        );
        (
            info.verb,
            info.namespace,
            info.plural,
            info.name,
            info.subresource,
        )
    }

    fn want(parts: [&str; 5]) -> (String, String, String, String, String) {
        let [verb, namespace, plural, name, subresource] = parts.map(str::to_owned);
        (verb, namespace, plural, name, subresource)
    }

    #[test]
    fn paths_follow_request_info() {
        for (method, target, expected) in [
            (
                "GET",
                "/api/v1/namespaces/shop/secrets?watch=x",
                ["watch", "shop", "secrets", "", ""],
            ),
            (
                "GET",
                "/api/v1/namespaces/shop/secrets?watch=0",
                ["list", "shop", "secrets", "", ""],
            ),
            (
                "GET",
                "/api/v1/namespaces//secrets",
                ["list", "", "secrets", "", ""],
            ),
            (
                "GET",
                "/api/v1/namespaces/shop%2Fsecrets",
                ["list", "shop", "secrets", "", ""],
            ),
            (
                "GET",
                "/api/v1/namespaces/shop",
                ["get", "shop", "namespaces", "shop", ""],
            ),
            (
                "PUT",
                "/api/v1/namespaces/shop/finalize",
                ["update", "shop", "namespaces", "shop", "finalize"],
            ),
            (
                "GET",
                "/api/v1/watch/namespaces/shop/secrets/a",
                ["watch", "shop", "secrets", "a", ""],
            ),
            (
                "POST",
                "/apis/apps/v1/namespaces/a/deployments/b/scale",
                ["create", "a", "deployments", "b", "scale"],
            ),
            (
                "DELETE",
                "/api/v1/namespaces/a/pods",
                ["deletecollection", "a", "pods", "", ""],
            ),
            (
                "BREW",
                "/api/v1/namespaces/a/pods/b",
                ["", "a", "pods", "b", ""],
            ),
        ] {
            assert_eq!(
                verb_and_place(method, target),
                want(expected),
                "{method} {target}"
            );
        }
    }

    #[test]
    fn selectors_select() {
        let labels = |key: &str| match key {
            "app" => Some("web"),
            "tier" => Some("front"),
            _ => None,
        };
        for (text, matches) in [
            ("", true),
            ("app=web,tier==front", true),
            ("app!=web", false),
            ("app in (api, web),!gone", true),
            ("app notin (api,web)", false),
            ("gone", false),
        ] {
            assert_eq!(
                Selector::parse(text).expect("parses").matches(labels),
                matches,
                "{text}"
            );
        }
    }
}
