//! What do they want? [`RequestInfo`], exactly as the API server computes it.
//!
//! Invariant 4 of the design: the gateway reads a request exactly as the API server does. Where the
//! two could read a path or a query differently, [`Malformed`] refuses it before anyone decides.
//! What was read is what is sent: [`RequestInfo::target`] is built from the parsed parts.

pub mod body;
pub mod dry_run;
pub mod path;
pub mod query;
pub mod reveal;
pub mod selector;
pub mod session;

use std::borrow::Cow;

use http::Method;

pub use query::{Query, named_in, with_words};
pub use reveal::Reveal;
pub use session::{SessionKind, SessionRequest};

/// Why a request is refused before anyone decides it. Always the client's fault; answered with 400
/// (405 for [`Malformed::Method`]). The text says what is wrong and what to send instead, and quotes
/// nothing of the request but names the client chose.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A method the Kubernetes API does not know.
    #[error(
        "method {0} is not used by the Kubernetes API; send GET, HEAD, POST, PUT, PATCH or DELETE"
    )]
    Method(String),
    /// Not an absolute path: absolute-form, authority-form or `*`.
    #[error(
        "the request target must be a path that starts with '/'; send the path alone, without scheme and host"
    )]
    Target,
    /// The path breaks the grammar of [`path`].
    #[error("the request path {0}")]
    Path(&'static str),
    /// The query breaks the grammar of [`query`].
    #[error("the request query {0}")]
    Query(&'static str),
    /// A parameter that decides what the request means is given more than once.
    #[error(
        "query parameter {0:?} is given more than once and readers disagree which one counts; send it once"
    )]
    Repeated(String),
    /// A list parameter the API server could not decode, so that it would ignore the others.
    #[error("query parameter {0:?} {1}")]
    Parameter(&'static str, &'static str),
    /// `/api/v1/watch/...`: deprecated since Kubernetes 1.11.
    #[error(
        "the legacy /watch/ path form is not served here; send the plain collection path with ?watch=true"
    )]
    LegacyWatch,
    /// `/api/v1/proxy/...`: removed from Kubernetes in 1.10.
    #[error(
        "the legacy /proxy/ path form is not served here; send .../pods/NAME/proxy or .../services/NAME/proxy"
    )]
    LegacyProxy,
    /// The name of a `proxy` subresource is not `name`, `name:port` or `scheme:name:port`.
    #[error(
        "the name before /proxy must be NAME, NAME:PORT or SCHEME:NAME:PORT with scheme http or https"
    )]
    ProxyName,
}

impl Malformed {
    /// Whether the answer is 405 rather than 400.
    pub fn is_method(&self) -> bool {
        matches!(self, Self::Method(_))
    }
}

/// A request as the API server understands it; field by field the `RequestInfo` of
/// `k8s.io/apiserver/pkg/endpoints/request`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestInfo {
    /// Whether this is a request for an API resource; otherwise only `path` and `verb` mean something.
    pub is_resource_request: bool,
    /// The path, percent-decoded, without a trailing slash.
    pub path: String,
    /// The path as it goes upstream: the canonical encoding of `path`, and behind `/proxy/` the client's bytes.
    pub raw_path: String,
    /// Kubernetes' verb (`list`, `deletecollection`, ...), or the lower-case method of a non-resource request.
    pub verb: String,
    /// `api` or `apis`.
    pub api_prefix: String,
    /// Empty for the core group.
    pub api_group: String,
    /// `v1`, `v1beta1`, ...
    pub api_version: String,
    /// Empty for cluster scope and for lists across all namespaces.
    pub namespace: String,
    /// The plural, `pods`.
    pub resource: String,
    /// `log`, `exec`, `status`, ...; empty for the object itself.
    pub subresource: String,
    /// The object's name as the API server sees it; also taken from `fieldSelector=metadata.name=x`.
    pub name: String,
    /// The path from the resource on: resource, name, subresource and whatever follows.
    pub parts: Vec<String>,
    /// The field selector of a list, watch or deletecollection.
    pub field_selector: String,
    /// The label selector of a list, watch or deletecollection.
    pub label_selector: String,
    /// Every parameter.
    pub query: Query,
}

impl RequestInfo {
    /// Reads a request line. `path_and_query` is the origin-form target as received, the
    /// `/clusters/<name>` prefix already stripped.
    pub fn parse(method: &Method, path_and_query: &str) -> Result<Self, Malformed> {
        let method_verb = method_verb(method)?;
        let (raw_path, raw_query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, query),
            None => (path_and_query, ""),
        };
        let path = path::Path::parse(raw_path)?;
        let query = Query::parse(raw_query)?;
        let info = Self::read(method, method_verb, path, query)?;
        info.refuse_ambiguity()?;
        Ok(info)
    }

    /// The path and query to send upstream: what was checked is what is sent.
    pub fn target(&self) -> String {
        if self.query.raw().is_empty() {
            self.raw_path.clone()
        } else {
            format!("{}?{}", self.raw_path, self.query.raw())
        }
    }

    /// The path of the object that the request changes, as it is there before: of a pod, whose containers are added
    /// through a subresource that is no object of its own, the pod's.
    pub fn object_path(&self) -> String {
        let parent = !matches!(self.subresource.as_str(), "" | "status" | "scale");
        match self.raw_path.rsplit_once('/') {
            Some((object, _)) if parent => object.to_owned(),
            _ => self.raw_path.clone(),
        }
    }

    /// The session that is asked for, whatever the method and transport; `None` for everything else.
    pub fn session(&self) -> Option<SessionRequest<'_>> {
        SessionRequest::read(self)
    }

    /// Whether the answer is a stream of watch events.
    pub fn is_watch(&self) -> bool {
        self.is_resource_request && self.verb == "watch"
    }

    /// Whether carrying it out changes something or shows Secrets or what is masked, so that it must be on
    /// record before it happens (threats F-07). Not the GETs that a pod or service behind `proxy` may take for writes.
    pub fn changes_or_reveals(&self) -> bool {
        let reads = ["get", "list", "watch", "head", "options"].contains(&self.verb.as_str());
        let reveals = self.reveal().is_some();
        !reads || reveals || self.is_resource_request && self.resource == "secrets"
    }

    /// Whether the API server exempts the request from its 60 s limit.
    pub fn is_long_running(&self) -> bool {
        if !self.is_resource_request {
            return self.path.starts_with("/debug/pprof/");
        }
        matches!(self.verb.as_str(), "watch" | "proxy")
            || matches!(
                self.subresource.as_str(),
                "attach" | "exec" | "proxy" | "log" | "portforward"
            )
    }

    /// `pods`, or `pods/log`: the resource as RBAC spells it.
    pub fn qualified_resource(&self) -> Cow<'_, str> {
        if self.subresource.is_empty() {
            Cow::Borrowed(&self.resource)
        } else {
            Cow::Owned(format!("{}/{}", self.resource, self.subresource))
        }
    }

    /// The object's own name: `svc` where the path of a proxy request says `https:svc:443`.
    pub fn object_name(&self) -> &str {
        match self.proxy_target() {
            Some(target) => target.name,
            None => &self.name,
        }
    }

    /// Whether this may reach a kubelet's own exec, attach, run or port-forward through `nodes/NAME/proxy`:
    /// a shell in a pod, whether or not [`Self::session`] can read it as one. Too many rather than too few:
    /// the word counts anywhere in the path, since a kubelet may clean that up in its own way.
    pub fn may_be_kubelet_session(&self) -> bool {
        const SESSIONS: [&str; 5] = ["exec", "attach", "run", "portforward", "cri"];
        self.resource == "nodes"
            && self.subresource == "proxy"
            && self
                .parts
                .iter()
                .skip(3)
                .any(|part| SESSIONS.contains(&part.to_ascii_lowercase().as_str()))
    }

    /// The parts of the name of a `pods|services|nodes/NAME/proxy` request.
    pub fn proxy_target(&self) -> Option<ProxyTarget<'_>> {
        self.is_proxied()
            .then(|| ProxyTarget::split(&self.name))
            .flatten()
    }

    fn is_proxied(&self) -> bool {
        self.is_resource_request
            && path::is_proxied(&self.api_group, &self.resource)
            && self.subresource == "proxy"
    }

    /// The algorithm of `RequestInfoFactory.NewRequestInfo`, step by step.
    fn read(
        method: &Method,
        method_verb: &str,
        path: path::Path,
        query: Query,
    ) -> Result<Self, Malformed> {
        let mut info = Self {
            is_resource_request: false,
            verb: method.as_str().to_ascii_lowercase(),
            path: path.decoded,
            raw_path: path.raw,
            api_prefix: String::new(),
            api_group: String::new(),
            api_version: String::new(),
            namespace: String::new(),
            resource: String::new(),
            subresource: String::new(),
            name: String::new(),
            parts: Vec::new(),
            field_selector: String::new(),
            label_selector: String::new(),
            query,
        };
        let mut parts = path.segments.into_iter();
        if parts.len() < 3 {
            return Ok(info);
        }
        match parts.as_slice().first().map(String::as_str) {
            Some("api") => {}
            Some("apis") if parts.len() >= 4 => {}
            _ => return Ok(info),
        }
        info.api_prefix = parts.next().unwrap_or_default();
        if info.api_prefix == "apis" {
            info.api_group = parts.next().unwrap_or_default();
        }
        info.is_resource_request = true;
        info.api_version = parts.next().unwrap_or_default();
        method_verb.clone_into(&mut info.verb);
        match parts.as_slice().first().map(String::as_str) {
            Some("watch") => return Err(Malformed::LegacyWatch),
            Some("proxy") => return Err(Malformed::LegacyProxy),
            _ => {}
        }
        info.read_resource(parts.collect());
        info.read_collection_verb()?;
        Ok(info)
    }

    fn read_resource(&mut self, mut parts: Vec<String>) {
        if let [first, namespace, rest @ ..] = parts.as_slice()
            && first == "namespaces"
        {
            self.namespace.clone_from(namespace);
            // `namespaces/NAME/status` and `/finalize` are subresources of the namespace itself.
            if let Some(next) = rest.first()
                && next != "status"
                && next != "finalize"
            {
                parts.drain(..2);
            }
        }
        let mut named = parts.iter();
        self.resource = named.next().cloned().unwrap_or_default();
        self.name = named.next().cloned().unwrap_or_default();
        self.subresource = named.next().cloned().unwrap_or_default();
        self.parts = parts;
    }

    /// A request for a collection: `get` becomes `list` or `watch`, `delete` becomes `deletecollection`.
    fn read_collection_verb(&mut self) -> Result<(), Malformed> {
        if !self.name.is_empty() {
            return Ok(());
        }
        match self.verb.as_str() {
            "get" => {
                let watch = self.query.bool("watch");
                if watch { "watch" } else { "list" }.clone_into(&mut self.verb);
                // The API server ignores *all* list options when one of them does not decode.
                for key in ["limit", "timeoutSeconds"] {
                    self.query.check_integer(key)?;
                }
            }
            "delete" => "deletecollection".clone_into(&mut self.verb),
            _ => return Ok(()),
        }
        if let Some(text) = self.query.first("labelSelector") {
            text.clone_into(&mut self.label_selector);
        }
        if let Some(text) = self.query.first("fieldSelector") {
            text.clone_into(&mut self.field_selector);
        }
        let terms = selector::parse(&self.field_selector)?;
        if self.verb != "deletecollection"
            && let Some(name) = selector::exact_name(&terms)
        {
            name.clone_into(&mut self.name);
        }
        Ok(())
    }

    fn refuse_ambiguity(&self) -> Result<(), Malformed> {
        let proxied = self.is_proxied();
        if proxied && self.proxy_target().is_none() {
            return Err(Malformed::ProxyName);
        }
        self.check_reveal()?;
        // The query of a proxied request belongs to the backend, except for our own `path`.
        self.query.refuse_repeated(proxied)
    }
}

/// The name of a `proxy` request, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyTarget<'a> {
    /// `http`, `https` or empty.
    pub scheme: &'a str,
    /// The object's name.
    pub name: &'a str,
    /// Number or name of a port; may be empty.
    pub port: &'a str,
}

impl<'a> ProxyTarget<'a> {
    /// `SplitSchemeNamePort` of `k8s.io/apimachinery/pkg/util/net`.
    fn split(id: &'a str) -> Option<Self> {
        let mut parts = id.split(':');
        let (scheme, name, port) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(name), None, None, None) => ("", name, ""),
            (Some(name), Some(port), None, None) => ("", name, port),
            (Some(scheme), Some(name), Some(port), None) => (scheme, name, port),
            _ => return None,
        };
        let known = matches!(scheme, "" | "http" | "https");
        (known && !name.is_empty()).then_some(Self { scheme, name, port })
    }
}

/// The verb of a resource request that has a name; also the list of methods that exist.
fn method_verb(method: &Method) -> Result<&'static str, Malformed> {
    match method.as_str() {
        "GET" | "HEAD" => Ok("get"),
        "POST" => Ok("create"),
        "PUT" => Ok("update"),
        "PATCH" => Ok("patch"),
        "DELETE" => Ok("delete"),
        other => Err(Malformed::Method(
            other.chars().take(32).collect::<String>(),
        )),
    }
}

#[cfg(test)]
mod tests;
