//! One call to the APIs of the control plane: put on record before its answer leaves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::Serialize;

use super::sessions::Operators;
use crate::audit::{AuditLog, Event, Stage, Until};
use crate::gateway::body::{self, Body};
use crate::gateway::refuse::Refusal;
use crate::identity::{Authenticator, Identity, credential};

mod parameter;

pub(super) use parameter::{no_parameters, parameters};

/// Where a call comes from.
#[derive(Clone, Debug)]
pub(super) enum Door {
    /// The control address: a token decides.
    Address(SocketAddr),
    /// The socket in the data directory: its mode has decided. With the caller's user id.
    Socket(Option<u32>),
    /// The console: its session has decided, by the token that it was begun with.
    Console(SocketAddr, Arc<Identity>),
}

/// The audit log as the control plane writes it: whoever calls may speak of any cluster, so what they say in words of
/// their own is kept without the known values of all of them.
#[derive(Clone)]
pub struct Records {
    log: AuditLog,
    masked: Arc<dyn Fn(String) -> String + Send + Sync>,
}

impl Records {
    /// Written to `log`, as `masked` makes it.
    pub fn new(log: AuditLog, masked: impl Fn(String) -> String + Send + Sync + 'static) -> Self {
        Self {
            log,
            masked: Arc::new(masked),
        }
    }

    /// What somebody said, to be kept and shown to others.
    pub(super) fn masked(&self, text: &str) -> String {
        (self.masked)(text.to_owned())
    }
}

/// An API of the control plane.
pub(super) trait Api {
    /// Where its calls are put on record.
    fn audit(&self) -> &Records;

    /// Answers one call; what is known of it besides goes onto its event.
    async fn answer(
        &self,
        request: Request<Incoming>,
        door: &Door,
        event: &mut Event,
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal>;

    /// Answers one call and puts it on record.
    async fn serve(&self, request: Request<Incoming>, door: Door) -> Response<Body> {
        let now = Timestamp::now();
        let mut event = received(&request, &door, now);
        let answer = self.answer(request, &door, &mut event, now).await;
        answered(self.audit(), event, answer).await
    }
}

/// The event of a call that has just arrived.
pub(super) fn received<B>(request: &Request<B>, door: &Door, now: Timestamp) -> Event {
    let target = request.uri().path_and_query();
    let target = target.map_or("", http::uri::PathAndQuery::as_str);
    received_at(target, request, door, now)
}

/// The same for a call whose target is not to be put on record as it is.
pub(super) fn received_at<B>(
    target: &str,
    request: &Request<B>,
    door: &Door,
    now: Timestamp,
) -> Event {
    let peer = match door {
        Door::Address(address) | Door::Console(address, _) => address.ip(),
        Door::Socket(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    Event::received(
        &uuid::Uuid::now_v7().to_string(),
        request.method().as_str(),
        target,
        request.headers(),
        peer,
        now,
    )
}

/// An operator who calls.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// For whoever feels the call, and for the record.
    pub(super) name: String,
    /// Whose token it was; `None` through the socket.
    pub(super) identity: Option<Arc<Identity>>,
}

/// Who calls; `None` through the socket.
pub(super) async fn caller<B>(
    authenticator: &Authenticator,
    request: &Request<B>,
    door: &Door,
    event: &mut Event,
    now: Timestamp,
) -> Result<Option<Arc<Identity>>, Refusal> {
    let identity = match door {
        Door::Socket(uid) => {
            let uid = uid.map_or_else(|| "unknown".to_owned(), |uid| uid.to_string());
            event.annotate("portcullis.dev/operator", format!("local, uid {uid}"));
            return Ok(None);
        }
        Door::Console(_, identity) => Arc::clone(identity),
        Door::Address(_) => {
            let token = credential::from_headers(request.headers(), false)?;
            let found = authenticator.identify(&token, now).await;
            found.inspect_err(|error| event.refused_caller(error))?
        }
    };
    event.caller(&identity);
    Ok(Some(identity))
}

/// Which operator calls.
pub(super) async fn operator<B>(
    (authenticator, operators): (&Authenticator, Option<&Operators>),
    request: &Request<B>,
    door: &Door,
    event: &mut Event,
    now: Timestamp,
) -> Result<Operator, Refusal> {
    let nobody = matches!(door, Door::Address(_)) && operators.is_none();
    if nobody {
        return Err(Refusal::not_found("this API is not served here"));
    }
    let Some(identity) = caller(authenticator, request, door, event, now).await? else {
        return Ok(Operator {
            name: "local".to_owned(),
            identity: None,
        });
    };
    if !operators.is_some_and(|operators| operators.include(&identity)) {
        return Err(Refusal::never_allowed(
            "you are not an operator of this gateway; control.operators in its configuration names them",
        ));
    }
    let name = identity.username().to_owned();
    event.annotate("portcullis.dev/operator", name.clone());
    Ok(Operator {
        name,
        identity: Some(identity),
    })
}

/// Resolves when the operator is shut out, or their token is over: then nothing goes on that they look at.
pub(super) async fn shut_out(authenticator: Arc<Authenticator>, identity: Option<Arc<Identity>>) {
    let Some(identity) = identity else {
        return std::future::pending().await;
    };
    let left = identity.expires_at().duration_since(Timestamp::now());
    tokio::select! {
        () = authenticator.shut_out(&identity) => {}
        () = tokio::time::sleep(Duration::try_from(left).unwrap_or_default()) => {}
    }
}

/// What an operator reads for as long as it lasts. It breaks off when they are shut out or their token is over: an
/// answer that was cut must not look whole.
pub(super) fn while_allowed(
    body: Body,
    authenticator: Arc<Authenticator>,
    operator: Operator,
) -> Body {
    broken_off(body, shut_out(authenticator, operator.identity))
}

/// A body that breaks off at this moment.
pub(super) fn broken_off(body: Body, end: impl Future<Output = ()> + Send + 'static) -> Body {
    let frames = stream::unfold(Some((body, Box::pin(end))), |reading| async {
        let (mut body, mut end) = reading?;
        // What was written before this moment leaves first, the head of the answer above all: who is shut out before a
        // byte has left would otherwise see a connection that broke, and no answer.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = &mut end => Some((Err("its reader is shut out".into()), None)),
            frame = body.frame() => Some((frame?, Some((body, end)))),
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// The answer, once it is on record.
pub(super) async fn answered(
    audit: &Records,
    event: Event,
    answer: Result<Response<Body>, Refusal>,
) -> Response<Body> {
    answered_as(audit, event, answer, &Refusal::response).await
}

/// The same, with refusals in another form than a `Status`.
pub(super) async fn answered_as(
    audit: &Records,
    mut event: Event,
    answer: Result<Response<Body>, Refusal>,
    form: &(dyn Fn(&Refusal) -> Response<Body> + Send + Sync),
) -> Response<Body> {
    let response = match answer {
        Ok(response) => {
            event.annotate("portcullis.dev/decision", "allow");
            event.answered(response.status(), None, None);
            response
        }
        Err(refusal) => {
            event.annotate("portcullis.dev/decision", "refuse");
            if let Some(detail) = refusal.hidden_detail() {
                event.annotate("portcullis.dev/detail", detail);
            }
            let message = Some(refusal.message().to_owned());
            event.answered(refusal.code(), Some(refusal.reason()), message);
            form(&refusal)
        }
    };
    event.at(Stage::ResponseComplete, Timestamp::now());
    event.mask_claims(|text| (audit.masked)(text));
    let written = audit.log.write_or_fail(&event, Until::Written).await;
    if written.is_err() {
        return form(&unrecorded());
    }
    response
}

/// Nothing is answered that cannot be put on record.
pub(super) fn recordable(audit: &Records) -> Result<(), Refusal> {
    audit.log.healthy().then_some(()).ok_or_else(unrecorded)
}

/// What is answered instead.
fn unrecorded() -> Refusal {
    Refusal::gateway_unavailable(
        "the gateway's audit log cannot be written, so no call is answered",
    )
}

/// An answer in JSON.
pub(super) fn json(value: &impl Serialize) -> Result<Response<Body>, Refusal> {
    let text = serde_json::to_vec(value)
        .map_err(|error| Refusal::gateway_failed("the answer cannot be written").detail(&error))?;
    let mut response = Response::new(body::full(text));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A text that somebody else will read in a terminal or a log: on one line, and not endless.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(most)
        .collect();
    text.trim().to_owned()
}
