//! What one criterion of a rule matches: names by glob, resources and URLs as Kubernetes RBAC does.

use globset::{GlobBuilder, GlobMatcher};

/// How far a rule has to reach to match a request that may touch more than one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything the request may touch lies within the rule: what an `allow` needs.
    Contains,
    /// The request may touch something within the rule: what a `deny` or a `mask` needs.
    Touches,
}

/// A list of globs over names; matches when one of them does.
#[derive(Clone, Debug, Default)]
pub struct Globs(Vec<Pattern>);

#[derive(Clone, Debug)]
enum Pattern {
    Any,
    Exact(String),
    /// With the text that every name that it matches begins with: nearly all others fail there, for the price of a
    /// comparison instead of a regular expression.
    Glob(String, GlobMatcher),
}

impl Globs {
    /// Compiles globs of `*`, `?`, `[a-z]` and `{a,b}`; a backslash takes the next character as it is.
    /// On failure, the index of the bad one and why.
    pub fn compile(patterns: &[String]) -> Result<Self, (usize, String)> {
        let mut compiled = Vec::with_capacity(patterns.len());
        for (index, pattern) in patterns.iter().enumerate() {
            compiled.push(Pattern::compile(pattern).map_err(|why| (index, why))?);
        }
        Ok(Self(compiled))
    }

    /// Whether one of the globs matches the whole name.
    pub fn matches(&self, name: &str) -> bool {
        self.0.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether one of the globs matches one of these names, which are in the order of their bytes.
    pub fn match_one_of(&self, names: &[String]) -> bool {
        self.0.iter().any(|pattern| pattern.matches_one_of(names))
    }

    /// The names among them that are no patterns; `Err` with them where there are patterns as well.
    pub fn exact(&self) -> Result<Vec<&str>, Vec<&str>> {
        let names = self.0.iter().filter_map(|pattern| match pattern {
            Pattern::Exact(name) => Some(name.as_str()),
            Pattern::Any | Pattern::Glob(..) => None,
        });
        let names: Vec<&str> = names.collect();
        if names.len() == self.0.len() {
            Ok(names)
        } else {
            Err(names)
        }
    }

    /// Whether one of the globs is a plain `*`.
    pub fn matches_everything(&self) -> bool {
        self.0.iter().any(|pattern| matches!(pattern, Pattern::Any))
    }
}

impl Pattern {
    fn compile(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty and would match nothing; write \"*\" for any".to_owned());
        }
        if text.len() > GLOB_BYTES_MAX {
            return Err(format!("is longer than {GLOB_BYTES_MAX} bytes"));
        }
        if text == "*" {
            return Ok(Self::Any);
        }
        let (plain, is_whole) = plain(text);
        if is_whole {
            return Ok(Self::Exact(text.to_owned()));
        }
        // A lone matcher is a regular expression over the whole name; a GlobSet would take short cuts
        // meant for file names.
        GlobBuilder::new(text)
            .backslash_escape(true)
            .literal_separator(false)
            .build()
            .map(|glob| Self::Glob(plain.to_owned(), glob.compile_matcher()))
            .map_err(|error| format!("is not a glob: {}", error.kind()))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(text) => text == name,
            Self::Glob(plain, glob) => name.starts_with(plain.as_str()) && glob.is_match(name),
        }
    }

    fn matches_one_of(&self, names: &[String]) -> bool {
        match self {
            Self::Any => !names.is_empty(),
            Self::Exact(text) => names.binary_search(text).is_ok(),
            Self::Glob(plain, glob) => {
                let first = names.partition_point(|name| name < plain);
                let begin_so = names.iter().skip(first);
                begin_so
                    .take_while(|name| name.starts_with(plain.as_str()))
                    .any(|name| glob.is_match(name))
            }
        }
    }
}

/// What everything that an entry of a rule matches begins with, whichever list it stands in, and whether that is all
/// there is, so that it matches nothing else.
pub fn plain(entry: &str) -> (&str, bool) {
    match entry.split_once(SPECIAL) {
        Some((plain, _)) => (plain, false),
        None => (entry, true),
    }
}

/// What stands for itself nowhere in a glob.
const SPECIAL: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];
/// Names in Kubernetes end at 253 bytes; user names at 256.
const GLOB_BYTES_MAX: usize = 512;

/// Whether an entry of `resources` matches, as RBAC's `ResourceMatches`, plus `pods/*` for every
/// subresource of one resource.
pub fn resource_matches(entry: &str, resource: &str, subresource: &str) -> bool {
    if entry == "*" {
        return true;
    }
    match entry.split_once('/') {
        None => entry == resource && subresource.is_empty(),
        Some((_, _)) if subresource.is_empty() => false,
        Some(("*", sub)) => sub == subresource,
        Some((res, "*")) => res == resource,
        Some((res, sub)) => res == resource && sub == subresource,
    }
}

/// Whether an entry of `resources` names anything that a review asks about, where `*` stands for any resource or any
/// subresource.
pub fn resource_touches(entry: &str, resource: &str, subresource: &str) -> bool {
    let either = |one: &str, other: &str| one == "*" || other == "*" || one == other;
    if entry == "*" || (resource, subresource) == ("*", "") {
        return true;
    }
    match entry.split_once('/') {
        None => either(entry, resource) && subresource.is_empty(),
        Some((res, sub)) => {
            !subresource.is_empty() && either(res, resource) && either(sub, subresource)
        }
    }
}

/// Whether an entry of `resources` is one of the forms that [`resource_matches`] knows.
pub fn check_resource(entry: &str) -> Result<(), &'static str> {
    let good = |part: &str| part == "*" || is_resource_name(part);
    let resource = entry.split('/').next().unwrap_or_default();
    if NOT_PLURAL.contains(&resource) {
        return Err(
            "matches nothing: resources are named by their plural, as pods and secrets are",
        );
    }
    match entry.split_once('/') {
        _ if entry == "*" => Ok(()),
        None if is_resource_name(entry) => Ok(()),
        Some(("*", "*")) => Err("is the same as \"*\"; write that"),
        Some((resource, sub)) if good(resource) && good(sub) => Ok(()),
        _ => Err(
            "is not a resource: write the lower-case plural as in `kubectl api-resources`, \
             RESOURCE/SUBRESOURCE, RESOURCE/*, */SUBRESOURCE or *",
        ),
    }
}

/// Singular and short names that kubectl understands and no request has: a rule for them would never
/// match, and a deny would deny nothing.
const NOT_PLURAL: [&str; 42] = [
    "clusterrole",
    "clusterrolebinding",
    "cm",
    "configmap",
    "controllerrevision",
    "crd",
    "cronjob",
    "csr",
    "daemonset",
    "deploy",
    "deployment",
    "ds",
    "endpoint",
    "ep",
    "event",
    "hpa",
    "ing",
    "ingress",
    "job",
    "lease",
    "limitrange",
    "namespace",
    "networkpolicy",
    "no",
    "node",
    "ns",
    "persistentvolume",
    "persistentvolumeclaim",
    "po",
    "pod",
    "pv",
    "pvc",
    "replicaset",
    "role",
    "rolebinding",
    "rs",
    "sa",
    "secret",
    "service",
    "serviceaccount",
    "sts",
    "svc",
];

fn is_resource_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
}

/// Whether an entry of `nonResourceURLs` matches, as RBAC's `NonResourceURLMatches`.
pub fn url_matches(entry: &str, path: &str) -> bool {
    match entry.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => entry == path,
    }
}

/// Whether an entry of `nonResourceURLs` and the path of a review, either of which may end with `*`, have a path in
/// common.
pub fn url_touches(entry: &str, path: &str) -> bool {
    url_matches(entry, path)
        || path
            .strip_suffix('*')
            .is_some_and(|prefix| entry.trim_end_matches('*').starts_with(prefix))
}

/// Whether an entry of `nonResourceURLs` is a path or a path that ends with one `*`.
pub fn check_url(entry: &str) -> Result<(), &'static str> {
    let path = entry.strip_suffix('*').unwrap_or(entry);
    if path.contains('*') {
        return Err("may have a '*' only at its end");
    }
    if entry == "*" || entry == "/" || path.starts_with('/') && !entry.ends_with('/') {
        return Ok(());
    }
    Err(
        "must start with '/' and not end with it (a request's trailing slash is dropped), or be \"*\"",
    )
}

/// Whether a built-in resource is known to have no namespace. A list without a namespace of anything
/// else may cover every namespace.
pub fn is_cluster_scoped(api_group: &str, resource: &str) -> bool {
    match api_group {
        "" => matches!(
            resource,
            "componentstatuses" | "namespaces" | "nodes" | "persistentvolumes"
        ),
        "rbac.authorization.k8s.io" => resource.starts_with("clusterrole"),
        "networking.k8s.io" => {
            matches!(resource, "ingressclasses" | "ipaddresses" | "servicecidrs")
        }
        "storage.k8s.io" => resource != "csistoragecapacities",
        "authorization.k8s.io" => resource != "localsubjectaccessreviews",
        "certificates.k8s.io" => resource != "podcertificaterequests",
        "resource.k8s.io" => matches!(resource, "deviceclasses" | "resourceslices"),
        "metrics.k8s.io" => resource == "nodes",
        "admissionregistration.k8s.io"
        | "apiextensions.k8s.io"
        | "apiregistration.k8s.io"
        | "authentication.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "internal.apiserver.k8s.io"
        | "node.k8s.io"
        | "scheduling.k8s.io"
        | "storagemigration.k8s.io" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn globs(patterns: &[&str]) -> Globs {
        let patterns: Vec<String> = patterns.iter().map(|&text| text.to_owned()).collect();
        Globs::compile(&patterns).unwrap()
    }

    #[test]
    fn one_of_many_names_is_found_as_one_by_one() {
        let some = ["", "a", "dev", "dev-", "dev-a", "dev-b", "dev.", "ops", "ö"];
        for pattern in [
            "*", "dev", "dev-", "dev-*", "dev-?", "*-a", "z*", "[d]ev", "{ops,x}", "ö*", "dev-c",
        ] {
            let globs = globs(&[pattern]);
            for left_out in 0..=some.len() {
                let names: Vec<String> = some
                    .iter()
                    .skip(left_out)
                    .map(|&name| name.to_owned())
                    .collect();
                let one_by_one = names.iter().any(|name| globs.matches(name));
                assert_eq!(
                    globs.match_one_of(&names),
                    one_by_one,
                    "{pattern} {names:?}"
                );
            }
        }
    }

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "anything/at:all", true),
            ("dev", "dev", true),
            ("dev", "dev2", false),
            ("dev", "Dev", false),
            ("dev-*", "dev-a", true),
            ("dev-*", "dev", false),
            ("dev-*", "dem-a", false),
            ("dev-{a,b}", "dev-b", true),
            (r"dev\-*", "dev-a", true),
            ("[d]ev", "dev", true),
            ("dev-*", "xdev-a", false),
            ("*-dev", "a-dev", true),
            ("*.dev", "a.dev", true),
            ("*.dev", ".dev", true),
            ("*.dev", "a.dev.", false),
            ("https://issuer/*", "https://issuer/a/b", true),
            ("team-?", "team-a", true),
            ("team-?", "team-ab", false),
            ("team-[ab]", "team-c", false),
            ("{a,b}-x", "b-x", true),
            (r"lit\*", "lit*", true),
            (r"lit\*", "litx", false),
            ("*dev*", "a\nb dev", true),
        ] {
            assert_eq!(
                globs(&[pattern]).matches(name),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn what_a_review_asks_about_is_touched_wherever_it_overlaps() {
        for (entry, resource, subresource, expected) in [
            ("pods", "*", "", true),
            ("pods/exec", "*", "", true),
            ("pods", "pods", "", true),
            ("pods", "pods", "*", false),
            ("pods/exec", "pods", "*", true),
            ("pods/exec", "*", "exec", true),
            ("pods/exec", "*", "log", false),
            ("pods/*", "pods", "log", true),
            ("*/scale", "deployments", "*", true),
            ("*/scale", "deployments", "", false),
            ("*", "pods", "log", true),
            ("secrets", "pods", "", false),
        ] {
            assert_eq!(
                resource_touches(entry, resource, subresource),
                expected,
                "{entry} {resource}/{subresource}"
            );
        }
        for (entry, path, expected) in [
            ("/api/*", "/api/v1", true),
            ("/api/v1", "/api/*", true),
            ("/api/v1/*", "/api/*", true),
            ("/metrics", "*", true),
            ("/metrics", "/api/*", false),
            ("/metrics", "/", false),
        ] {
            assert_eq!(url_touches(entry, path), expected, "{entry} {path}");
        }
    }

    #[test]
    fn bad_globs_say_which() {
        let bad = |patterns: &[&str]| {
            let patterns: Vec<String> = patterns.iter().map(|&text| text.to_owned()).collect();
            Globs::compile(&patterns).unwrap_err()
        };
        assert_eq!(bad(&["a", ""]).0, 1);
        assert!(bad(&["[a"]).1.contains("not a glob"));
        assert!(bad(&[&"a".repeat(513)]).1.contains("longer"));
    }

    #[test]
    fn h10_resources_match_as_in_rbac() {
        for (entry, resource, subresource, expected) in [
            ("*", "pods", "exec", true),
            ("pods", "pods", "", true),
            ("pods", "pods", "log", false),
            ("pods/log", "pods", "log", true),
            ("pods/log", "pods", "", false),
            ("pods/*", "pods", "exec", true),
            ("pods/*", "pods", "", false),
            ("pods/*", "podsx", "exec", false),
            ("*/scale", "deployments", "scale", true),
            ("*/scale", "scale", "", false),
            ("pod", "pods", "", false),
        ] {
            assert_eq!(
                resource_matches(entry, resource, subresource),
                expected,
                "{entry} {resource}/{subresource}"
            );
        }
        for bad in [
            "",
            "Pods",
            "pods/",
            "/log",
            "pods/log/x",
            "*/*",
            "po*",
            "pod",
            "secret/status",
            "p s",
        ] {
            assert!(check_resource(bad).is_err(), "{bad}");
        }
        for good in ["*", "pods", "pods/log", "pods/*", "*/scale", "a.b-1"] {
            assert!(check_resource(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn urls_match_as_in_rbac() {
        for (entry, path, expected) in [
            ("/api", "/api", true),
            ("/api", "/api/v1", false),
            ("/api/*", "/api/v1", true),
            ("/api/*", "/api", false),
            ("/health*", "/healthz/etcd", true),
            ("*", "/", true),
            ("/", "/", true),
            ("/", "/metrics", false),
        ] {
            assert_eq!(url_matches(entry, path), expected, "{entry} {path}");
        }
        for bad in ["", "api", "/api/", "/a/*/b", "/a/**"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
        for good in ["*", "/", "/api", "/api/*", "/*"] {
            assert!(check_url(good).is_ok(), "{good}");
        }
    }
}
