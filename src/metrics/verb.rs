//! How requests are sorted by what they do.

use crate::request::RequestInfo;

/// What kind of work a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerbClass {
    /// get and list
    Read,
    /// create, update, patch, delete, deletecollection
    Write,
    /// watch and followed logs
    Stream,
    /// exec, attach and port-forward
    Session,
    /// Not an API object: discovery, version, or not readable at all.
    Other,
}

impl VerbClass {
    /// The class of a request.
    pub fn of(info: &RequestInfo) -> Self {
        match info.verb.as_str() {
            _ if info.session().is_some() => Self::Session,
            _ if !info.is_resource_request => Self::Other,
            "watch" => Self::Stream,
            "get" if info.subresource == "log" => Self::Stream,
            "get" | "list" => Self::Read,
            _ => Self::Write,
        }
    }
}
