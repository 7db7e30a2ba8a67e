//! The audit API: what was asked for, as the audit log has it, and the answers that are on record.
//!
//! Served to whoever may use the socket in the data directory, and on the control address to the operators of the
//! configuration. Every call is an audit event, written before the answer leaves. What it sends is what the files hold;
//! whoever wants proof needs the files themselves.

use std::io;
use std::sync::Arc;

use http::{Method, Request, Response, Uri};
use hyper::body::Incoming;
use jiff::Timestamp;

use super::call::{self, Api, Door, Records};
use super::sessions::Operators;
use crate::audit::Event;
use crate::audit::commands::{DECISIONS, Filter};
use crate::audit::responses::read::Shelf;
use crate::gateway::body::Body;
use crate::gateway::refuse::Refusal;
use crate::identity::Authenticator;
use crate::limits;
use crate::request::Query;

mod trail;

pub use trail::Trail;

/// What every path of the API begins with.
pub(super) const PREFIX: &str = "/v1/audit/";

/// Everything the audit API needs.
pub struct Audits {
    /// The log that is looked into.
    pub trail: Arc<Trail>,
    /// The answers on record.
    pub shelf: Shelf,
    /// Where calls are put on record.
    pub audit: Records,
    /// Verifies the tokens of operators.
    pub authenticator: Arc<Authenticator>,
    /// Who may call on the control address; nobody when absent.
    pub operators: Option<Operators>,
}

/// A call.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    /// `GET /v1/audit/events`
    Events(Box<Filter>),
    /// `GET /v1/audit/events?follow=true`
    Follow(Box<Filter>),
    /// `GET /v1/audit/responses/DIGEST`
    Answer(String),
    /// `GET /v1/audit/responses/open/ID`
    Begun(String),
}

impl Api for Audits {
    fn audit(&self) -> &Records {
        &self.audit
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        door: &Door,
        event: &mut Event,
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        call::recordable(&self.audit)?;
        let operators = (&*self.authenticator, self.operators.as_ref());
        let operator = call::operator(operators, &request, door, event, now).await?;
        let answer = match parse(request.method(), request.uri())? {
            Call::Events(filter) => self.trail.events(*filter)?,
            Call::Follow(filter) => {
                self.trail
                    .follow(*filter, operator.identity.as_deref())
                    .await?
            }
            Call::Answer(digest) => {
                let kept = self.open(move |shelf| shelf.kept(&digest)).await?;
                self.trail.answer(
                    kept.ok_or_else(|| Refusal::not_found("there is no such answer on record"))?,
                )?
            }
            Call::Begun(id) => {
                // Of most open requests there is nothing yet or no answer is kept: who asks did nothing wrong.
                match self.open(move |shelf| shelf.begun(&id)).await? {
                    Some(begun) => self.trail.answer(begun)?,
                    None => self.trail.answer(io::empty())?,
                }
            }
        };
        let authenticator = Arc::clone(&self.authenticator);
        Ok(answer.map(|body| call::while_allowed(body, authenticator, operator)))
    }
}

impl Audits {
    /// Whether there is anybody who may call on the control address.
    pub(super) fn has_operators(&self) -> bool {
        self.operators.is_some()
    }

    /// Opens an answer, without holding up this thread: disks can be slow.
    async fn open<T: Send + 'static>(
        &self,
        find: impl FnOnce(Shelf) -> io::Result<Option<T>> + Send + 'static,
    ) -> Result<Option<T>, Refusal> {
        let shelf = self.shelf.clone();
        let opened = tokio::task::spawn_blocking(move || find(shelf)).await;
        let opened = opened.unwrap_or_else(|error| Err(io::Error::other(error)));
        opened.map_err(|error| {
            tracing::warn!(%error, "an answer on record cannot be read");
            Refusal::gateway_failed("the answer cannot be read; the gateway's log says why")
                .detail(&error)
        })
    }
}

/// Reads a call. What is not known is refused: a filter with a typing error must not show everything.
fn parse(method: &Method, uri: &Uri) -> Result<Call, Refusal> {
    let parts: Vec<&str> = uri.path().split('/').skip(3).collect();
    let query = Query::parse(uri.query().unwrap_or_default())?;
    let call = match parts.as_slice() {
        ["events"] => events(&query)?,
        ["responses", digest] => Call::Answer((*digest).to_owned()),
        ["responses", "open", id] if Shelf::is_id(id) => Call::Begun((*id).to_owned()),
        ["responses", "open", _] => {
            return Err(Refusal::bad_request(format!(
                "the id of a request has letters, digits and `-`, at most {} of them; `portcullis audit ls --requests` lists them",
                limits::AUDIT_ID_BYTES_MAX
            )));
        }
        _ => {
            return Err(Refusal::not_found(
                "served here: /v1/audit/events, /v1/audit/responses/DIGEST and /v1/audit/responses/open/ID",
            ));
        }
    };
    let takes_none = matches!(call, Call::Answer(_) | Call::Begun(_));
    if takes_none {
        call::no_parameters(&query)?;
    }
    if *method != Method::GET {
        return Err(Refusal::method_not_allowed("this is asked for with GET"));
    }
    Ok(call)
}

/// Which events are asked for.
fn events(query: &Query) -> Result<Call, Refusal> {
    let (mut filter, mut follow) = (Filter::default(), false);
    for parameter in call::parameters(query)? {
        let text = Some(parameter.text());
        match parameter.key {
            "id" => filter.id = text,
            "user" => filter.user = text,
            "agent" => filter.agent = text,
            "namespace" => filter.namespace = text,
            "verb" => filter.verb = text,
            "session" => filter.session = text,
            "decision" if DECISIONS.contains(&parameter.value) => filter.decision = text,
            "decision" => {
                return Err(parameter.must_be(&format!("one of {}", DECISIONS.join(", "))));
            }
            "since" => filter.since = parameter.time()?,
            "until" => filter.until = parameter.time()?,
            "follow" => follow = parameter.yes_or_no()?,
            _ => {
                return Err(parameter.unknown(
                    "id, user, agent, namespace, verb, decision, session, since, until and follow",
                ));
            }
        }
    }
    if !follow {
        return Ok(Call::Events(Box::new(filter)));
    }
    if filter.since.is_some() || filter.until.is_some() {
        return Err(Refusal::bad_request(
            "what is followed begins now: since and until do not belong to it",
        ));
    }
    Ok(Call::Follow(Box::new(filter)))
}

#[cfg(test)]
mod tests;
