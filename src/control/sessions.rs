//! The sessions API: who is in a shell now, who was, what they saw; and the way to end it.
//!
//! Served to whoever may use the socket in the data directory, and on the control address to the
//! operators of the configuration. Every call is an audit event, written before the answer leaves.

pub(super) mod api;
mod cast;
mod search;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Request, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::{self, Api, Door, Operator, Records, json};
use crate::audit::Event;
use crate::gateway::body::{self, Body};
use crate::gateway::refuse::Refusal;
use crate::identity::{Authenticator, Identity};
use crate::limits;
use crate::recording::index::search::Quest;
use crate::recording::index::{Catalog, Filter, Session, latest_first};
use crate::recording::live::Follower;
use crate::recording::{Kill, Recorder, Summary};

use api::Call;
pub use search::Searches;

/// Who may use the sessions API on the control address. Names are compared as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operators {
    /// Users.
    pub users: Vec<String>,
    /// Groups; one of them is enough.
    pub groups: Vec<String>,
}

impl Operators {
    /// Whether somebody is an operator. An agent is none, whoever it acts for.
    #[must_use]
    pub fn include(&self, identity: &Identity) -> bool {
        let named = self.users.iter().any(|user| user == identity.username());
        let grouped = identity
            .groups()
            .iter()
            .any(|group| self.groups.contains(group));
        identity.agent().is_none() && (named || grouped)
    }
}

/// Everything the sessions API needs.
pub struct Sessions {
    /// Knows the sessions that are open.
    pub recorder: Arc<Recorder>,
    /// Knows the others.
    pub catalog: Catalog,
    /// Where calls are put on record.
    pub audit: Records,
    /// Verifies the tokens of operators.
    pub authenticator: Arc<Authenticator>,
    /// Who may call on the control address; nobody when absent.
    pub operators: Option<Operators>,
    /// The searches that run.
    pub searches: Searches,
}

/// A session with everything that is known of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Details {
    /// As in lists.
    #[serde(flatten)]
    pub session: Session,
    /// The sidecar of its recording, once that is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// The sessions that were asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SessionList {
    /// The sessions, the latest first.
    pub items: Vec<Session>,
    /// Whether there are more than were asked for.
    #[serde(default)]
    pub more: bool,
}

/// The body of a call that ends a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillCall {
    /// Why; the user reads it.
    pub reason: String,
}

impl Api for Sessions {
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
        let (head, body) = request.into_parts();
        match api::parse(&head.method, &head.uri)? {
            Call::List(filter) => json(&self.list(*filter).await?),
            Call::Show(id) => json(&self.show(id).await?),
            Call::Cast(id) => Ok(self.while_allowed(self.cast(id).await?, operator)),
            Call::Live(id) => Ok(self.while_allowed(self.live(&id)?, operator)),
            Call::Search(filter) => {
                let body = body::read_bounded(body, limits::SESSIONS_CALL_BYTES_MAX).await?;
                let answer = self.search(*filter, api::quest(&body)?).await?;
                Ok(self.while_allowed(answer, operator))
            }
            Call::Kill(id) => {
                let body = body::read_bounded(body, limits::SESSIONS_CALL_BYTES_MAX).await?;
                let reason = api::reason(&body)?;
                event.annotate("portcullis.dev/kill-reason", reason.clone());
                self.kill(&id, operator.name, &reason)?;
                json(&serde_json::json!({"id": id, "killed": true}))
            }
        }
    }
}

impl Sessions {
    /// Whether there is anybody who may call on the control address.
    #[must_use]
    pub fn has_operators(&self) -> bool {
        self.operators.is_some()
    }

    fn while_allowed(&self, answer: Response<Body>, operator: Operator) -> Response<Body> {
        answer.map(|body| call::while_allowed(body, Arc::clone(&self.authenticator), operator))
    }

    /// The sessions that a filter lets through, open ones among them.
    pub(super) async fn list(&self, filter: Filter) -> Result<SessionList, Refusal> {
        let limit = filter.limit;
        let filter = Filter {
            limit: limit + 1,
            ..filter
        };
        let live = self.recorder.live().list();
        let mut items: Vec<Session> = live
            .into_iter()
            .map(Session::from)
            .filter(|session| filter.matches(session))
            .map(Session::shortened)
            .collect();
        let past = self
            .look_up(move |catalog| catalog.list(&filter))
            .await?
            .into_iter()
            .filter(|past| self.recorder.live().get(&past.metadata.id).is_none())
            .filter(|past| {
                items
                    .iter()
                    .all(|open| open.metadata.id != past.metadata.id)
            })
            .collect::<Vec<_>>();
        items.extend(past);
        latest_first(&mut items);
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(SessionList { items, more })
    }

    /// One session.
    pub(super) async fn show(&self, id: String) -> Result<Details, Refusal> {
        if let Some(live) = self.recorder.live().get(&id) {
            return Ok(Details {
                session: live.into(),
                summary: None,
            });
        }
        let missing = unknown(&id);
        let found = self.look_up(move |catalog| catalog.get(&id)).await?;
        let (session, summary) = found.ok_or(missing)?;
        Ok(Details { session, summary })
    }

    /// The files of a recording, in order.
    pub(super) async fn parts(&self, id: String) -> Result<Vec<PathBuf>, Refusal> {
        let missing = unknown(&id);
        let parts = self.look_up(move |catalog| catalog.parts(&id)).await?;
        if parts.is_empty() {
            return Err(missing);
        }
        Ok(parts)
    }

    /// A recording as an asciicast.
    pub(super) async fn cast(&self, id: String) -> Result<Response<Body>, Refusal> {
        let parts = self.parts(id).await?;
        let mut response = Response::new(cast::body(parts));
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-asciicast"),
        );
        Ok(response)
    }

    /// Follows a session. What was recorded before the call is not part of it.
    fn live(&self, id: &str) -> Result<Response<Body>, Refusal> {
        let follower = self.follow(id)?;
        let lines = stream::unfold(follower, |mut follower| async move {
            let lines: Bytes = follower.next().await?;
            Some((Ok(Frame::data(lines)), follower))
        });
        let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-asciicast"),
        );
        Ok(response)
    }

    /// Where a text was seen or typed, as lines of [`News`](crate::recording::index::search::News).
    pub(super) async fn search(
        &self,
        filter: Filter,
        quest: Quest,
    ) -> Result<Response<Body>, Refusal> {
        let found = self.list(filter).await?;
        self.searches.begin(self.catalog.clone(), found, quest)
    }

    /// Whoever follows an open session.
    pub(super) fn follow(&self, id: &str) -> Result<Follower, Refusal> {
        self.recorder
            .live()
            .follow(id)
            .ok_or_else(|| match self.recorder.live().get(id) {
                Some(_) => Refusal::not_found(format!(
                    "session {id} is not recorded, so there is nothing to follow"
                )),
                None => Refusal::not_found(format!("no session {id} is open")),
            })
    }

    /// Ends a session.
    pub(super) fn kill(&self, id: &str, by: String, reason: &str) -> Result<(), Refusal> {
        let reason = self.audit.masked(reason);
        if !self.recorder.live().kill(id, Kill { by, reason }) {
            return Err(Refusal::not_found(format!(
                "no session {id} is open, or it is ending already"
            )));
        }
        Ok(())
    }

    /// Asks the catalog, which reads files, without holding up this thread.
    async fn look_up<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Catalog) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Refusal> {
        let catalog = self.catalog.clone();
        let answer = tokio::task::spawn_blocking(move || ask(&catalog)).await;
        let failed = |detail: &dyn std::fmt::Display| {
            tracing::error!(%detail, "recordings cannot be read");
            Refusal::gateway_failed("the recordings cannot be read; the gateway's log says why")
                .detail(&detail.to_string())
        };
        match answer {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(failed(&error)),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn unknown(id: &str) -> Refusal {
    let id: String = id.chars().take(64).collect();
    Refusal::not_found(format!("there is no recording and no open session {id:?}"))
}

#[cfg(test)]
mod tests;
