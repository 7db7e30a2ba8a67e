//! What makes two requests the same one: the digest that a yes is bound to, and the class that a wider yes
//! admits.
//!
//! Every part goes in with its length, so that no two cases can run into the same bytes. The headers are
//! left out: the API server acts on none but those that are here or that the gateway builds itself.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};
use data_encoding::HEXLOWER;
use http::Method;
use serde::{Deserialize, Serialize};

use crate::identity::Identity;
use crate::policy::Hold;
use crate::request::RequestInfo;

/// SHA-256 in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

/// One held request: everything that an answer is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// Who asks.
    pub identity: &'a Identity,
    /// Where to.
    pub cluster: &'a str,
    /// The method as it came.
    pub method: &'a Method,
    /// What is asked for.
    pub info: &'a RequestInfo,
    /// The body's `Content-Type`, empty without one.
    pub content_type: &'a str,
    /// The body as it came.
    pub body: &'a [u8],
    /// Which object is there that it acts on, whatever it is called; empty where none is named or nobody can say.
    pub object: &'a str,
    /// The rule that holds it, as `POLICY/RULE`.
    pub rule: &'a str,
    /// Its terms.
    pub terms: &'a Hold,
}

impl Case<'_> {
    /// The digest of exactly this request. It is the same for the two transports of one session, which kubectl
    /// tries one after the other with GET and POST (wire.md §1.4), and in whatever order parameters of
    /// different names come, which no server tells apart.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut parts = self.begin("request");
        let session = self.info.session().is_some();
        parts.add(if session {
            "session"
        } else {
            self.method.as_str()
        });
        parts.add(&self.info.raw_path);
        if self.info.subresource == "proxy" {
            // The parameters are the backend's, which may read them in any way.
            parts.add(self.info.query.raw());
        } else {
            let mut pairs: Vec<(&str, &str)> = self.info.query.pairs().collect();
            pairs.sort_by_key(|(key, _)| *key); // stable: values of one name stay in their order
            parts.add_all(
                pairs.len(),
                pairs.into_iter().flat_map(|(key, value)| [key, value]),
            );
        }
        parts.add(self.content_type);
        parts.add_bytes(self.body);
        parts.add(self.object);
        parts.finish()
    }

    /// The digest of the class: the same caller, rule, verb, resource and namespace. Names, parameters and
    /// bodies are free, as far as the rule still holds them. Behind `proxy` something else stands than objects: what is
    /// proxied has to be the same, and of a kubelet, whose paths have namespaces and pods of their own, the path.
    #[must_use]
    pub fn class(&self) -> Digest {
        let mut parts = self.begin("class");
        let info = self.info;
        let verb = if info.session().is_some() {
            "session"
        } else {
            &info.verb
        };
        for part in [
            verb,
            &info.api_group,
            &info.resource,
            &info.subresource,
            &info.namespace,
        ] {
            parts.add(part);
        }
        // Neither a path that is no resource nor another field to reveal is of the same kind.
        parts.add(if !info.is_resource_request {
            &info.path
        } else if info.subresource != "proxy" {
            ""
        } else if info.resource == "nodes" {
            &info.path
        } else {
            &info.name
        });
        parts.add(info.reveal().map_or("", |reveal| reveal.field));
        parts.finish()
    }

    /// Who asks, where, and under which terms: a token that is renewed is the same caller, one with other
    /// groups or extra attributes is not, since they are what the API server gives rights to.
    fn begin(&self, what: &str) -> Parts {
        let mut parts = Parts(Context::new(&SHA256));
        parts.add("portcullis approval 2");
        parts.add(what);
        parts.add_caller(self.identity);
        parts.add(self.cluster);
        parts.add(self.rule);
        let approvers = &self.terms.approvers;
        for names in [&approvers.groups, &approvers.users] {
            parts.add_all(names.len(), names.iter().map(String::as_str));
        }
        let same_class = self.terms.same_class.map_or(0, |most| most.as_secs());
        parts.add(&format!(
            "{} {} {same_class}",
            approvers.count, approvers.principal
        ));
        parts
    }
}

impl Digest {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digest of a caller, with everything that the API server gives rights to.
    #[must_use]
    pub fn of_caller(identity: &Identity) -> Self {
        let mut parts = Parts(Context::new(&SHA256));
        parts.add("portcullis caller 1");
        parts.add_caller(identity);
        parts.finish()
    }

    /// A digest of other texts, for what is compared and not shown.
    #[must_use]
    pub fn of(texts: &[&str]) -> Self {
        let mut parts = Parts(Context::new(&SHA256));
        parts.add_all(texts.len(), texts.iter().copied());
        parts.finish()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Parts that go into a digest, each with its length.
struct Parts(Context);

impl Parts {
    fn add(&mut self, part: &str) {
        self.add_bytes(part.as_bytes());
    }

    fn add_bytes(&mut self, part: &[u8]) {
        self.0.update(&(part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn add_all<'a>(&mut self, count: usize, parts: impl Iterator<Item = &'a str>) {
        self.0.update(&(count as u64).to_be_bytes());
        for part in parts {
            self.add(part);
        }
    }

    fn add_caller(&mut self, identity: &Identity) {
        for part in [
            identity.issuer(),
            identity.subject(),
            identity.username(),
            identity.uid().unwrap_or_default(),
        ] {
            self.add(part);
        }
        let groups = identity.groups();
        self.add_all(groups.len(), groups.iter().map(String::as_str));
        let extra = identity.extra();
        self.add_all(extra.len(), extra.keys().map(String::as_str));
        for values in extra.values() {
            self.add_all(values.len(), values.iter().map(String::as_str));
        }
        let agent = identity.agent();
        self.add(agent.map_or("", |agent| &agent.name));
        let chain = agent.map_or(&[][..], |agent| &agent.chain);
        self.add_all(chain.len(), chain.iter().map(String::as_str));
    }

    fn finish(self) -> Digest {
        Digest(HEXLOWER.encode(self.0.finish().as_ref()))
    }
}

#[cfg(test)]
mod tests;
