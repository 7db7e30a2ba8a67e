//! The approvals API: what waits for a yes, and the answers to it.
//!
//! Whoever has a token is known here as they are to the gateway, and sees what they may answer, what they asked
//! themselves, and everything if they are an operator. Whoever comes through the socket in the data directory
//! may look, and answers nothing: a yes is somebody's, and the socket does not say whose.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::{self, Api, Door, Records, json, one_line};
use super::sessions::Operators;
use crate::approval::{Answer, Approval, Desk, NotAnswered, Person, State, Unfit, Verdict};
use crate::audit::Event;
use crate::config::live::Live;
use crate::gateway::body::{self, Body};
use crate::gateway::refuse::Refusal;
use crate::identity::{Authenticator, Identity};
use crate::limits;
use crate::policy::Policy;
use crate::request::Query;

mod grants;
mod watchers;

pub use grants::{Revoke, spell};
pub use watchers::Watchers;

/// What the paths of approvals begin with.
const PREFIX: &str = "/v1/approvals";

/// Whether this API answers for a path.
pub(super) fn serves(path: &str) -> bool {
    [PREFIX, grants::PREFIX]
        .iter()
        .any(|prefix| path.starts_with(prefix))
}

/// Everything the approvals API needs.
pub struct Approvals {
    /// Where the questions are.
    pub desk: Desk,
    /// Where calls are put on record.
    pub audit: Records,
    /// Verifies tokens.
    pub authenticator: Arc<Authenticator>,
    /// Who sees everything.
    pub operators: Option<Operators>,
    /// Places for those who watch; health is asked for at the same address.
    pub watchers: Watchers,
    /// Which roles there are to be asked for.
    pub policy: Arc<Live<Policy>>,
    /// Where callers reach all this, as refusals name it.
    pub at: String,
}

/// The approvals that were asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApprovalList {
    /// The approvals, the latest first.
    pub items: Vec<Approval>,
    /// Whether there are more than were asked for.
    #[serde(default)]
    pub more: bool,
}

/// The body of a yes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Yes {
    /// Why; the caller and the audit log of the cluster read it.
    #[serde(default)]
    pub reason: String,
    /// How many requests the question had when the approver looked.
    pub requests: usize,
    /// Admits everything of the class for so many seconds, instead of each request once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_class_seconds: Option<u32>,
}

/// The body of a no.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct No {
    /// Why; the caller reads it.
    pub reason: String,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Call {
    List { open: bool, limit: usize },
    Watch,
    Show(String),
    Approve(String),
    Deny(String),
    Withdraw(String),
    Grants { open: bool, limit: usize },
    Ask,
    Revoke(String),
}

/// Who calls.
#[derive(Clone)]
pub(super) enum Visitor {
    /// Through the socket.
    Local,
    /// With a token.
    Known {
        person: Box<Person>,
        /// Whether they see everything.
        operator: bool,
        /// Whose token it is.
        identity: Arc<Identity>,
    },
}

impl Api for Approvals {
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
        let caller = call::caller(&self.authenticator, &request, door, event, now).await?;
        let visitor = self.visitor(caller);
        let (head, body) = request.into_parts();
        let call = parse(&head.method, &head.uri)?;
        if let Call::Show(id)
        | Call::Approve(id)
        | Call::Deny(id)
        | Call::Withdraw(id)
        | Call::Revoke(id) = &call
        {
            event.annotate("portcullis.dev/approval", one_line(id, 64));
        }
        match call {
            Call::List { open, limit } => json(&self.list(&visitor, open, limit, |_| true).await?),
            Call::Grants { open, limit } => {
                let roles = |approval: &Approval| approval.grant.is_some();
                json(&self.list(&visitor, open, limit, roles).await?)
            }
            Call::Ask => json(&self.ask(&visitor, read(body).await?, event).await?),
            Call::Revoke(id) => json(&self.revoke(&visitor, id, read(body).await?, event).await?),
            Call::Watch => self.watch(visitor),
            Call::Show(id) => json(&self.seen(&visitor, id).await?),
            Call::Approve(id) => {
                let yes: Yes = read(body).await?;
                json(&self.approve(&visitor, id, &yes, event).await?)
            }
            Call::Deny(id) => {
                let no: No = read(body).await?;
                json(&self.deny(&visitor, id, &no, event).await?)
            }
            Call::Withdraw(id) => json(&self.withdraw(&visitor, id).await?),
        }
    }
}

impl Approvals {
    /// Takes a yes, and puts its reason on the call's event.
    pub(super) async fn approve(
        &self,
        visitor: &Visitor,
        id: String,
        yes: &Yes,
        event: &mut Event,
    ) -> Result<Approval, Refusal> {
        let reason = self.reason(&yes.reason);
        let verdict = match yes.same_class_seconds {
            Some(seconds) => Verdict::YesToClass { seconds },
            None => Verdict::Yes,
        };
        event.annotate("portcullis.dev/approval-reason", reason.clone());
        self.say(visitor, id, (verdict, reason, yes.requests)).await
    }

    /// Takes a no, and puts its reason on the call's event.
    pub(super) async fn deny(
        &self,
        visitor: &Visitor,
        id: String,
        no: &No,
        event: &mut Event,
    ) -> Result<Approval, Refusal> {
        let reason = self.reason(&no.reason);
        if reason.is_empty() {
            return Err(Refusal::bad_request(
                "reason is empty; whoever asked reads it, so say why",
            ));
        }
        event.annotate("portcullis.dev/approval-reason", reason.clone());
        self.say(visitor, id, (Verdict::No, reason, 0)).await
    }

    /// Takes a question of the visitor's own back.
    pub(super) async fn withdraw(
        &self,
        visitor: &Visitor,
        id: String,
    ) -> Result<Approval, Refusal> {
        let by = visitor.somebody()?;
        self.seen(visitor, id.clone()).await?;
        let done = self.desk.withdraw(id.clone(), by).await?;
        done.ok_or_else(|| unknown(&id))?
            .map_err(|why| not_answered(&why))
    }

    /// A reason as it may be kept and shown.
    fn reason(&self, said: &str) -> String {
        one_line(&self.audit.masked(said), limits::APPROVAL_REASON_CHARS_MAX)
    }

    /// What somebody may see and do; `None` is whoever came through the socket.
    pub(super) fn visitor(&self, identity: Option<Arc<Identity>>) -> Visitor {
        let Some(identity) = identity else {
            return Visitor::Local;
        };
        let operators = self.operators.as_ref();
        Visitor::Known {
            person: Box::new(Person::from(&*identity)),
            operator: operators.is_some_and(|operators| operators.include(&identity)),
            identity,
        }
    }

    /// What the visitor may see, the latest first.
    pub(super) async fn list(
        &self,
        visitor: &Visitor,
        open: bool,
        limit: usize,
        wanted: impl Fn(&Approval) -> bool,
    ) -> Result<ApprovalList, Refusal> {
        // As many as there are at most, since others may not be seen.
        let mut items = self.desk.list(open, limits::APPROVALS_LISTED_MAX).await?;
        items.retain(|approval| wanted(approval) && visitor.sees(approval));
        let more = items.len() > limit;
        items.truncate(limit);
        Ok(ApprovalList { items, more })
    }

    /// One approval, if the visitor may see it; to others it does not exist.
    pub(super) async fn seen(&self, visitor: &Visitor, id: String) -> Result<Approval, Refusal> {
        let missing = unknown(&id);
        let found = self.desk.get(id).await?;
        found
            .filter(|approval| visitor.sees(approval))
            .ok_or(missing)
    }

    async fn say(
        &self,
        visitor: &Visitor,
        id: String,
        answer: (Verdict, String, usize),
    ) -> Result<Approval, Refusal> {
        let by = visitor.somebody()?;
        self.seen(visitor, id.clone()).await?;
        let said = self.desk.answer(id.clone(), by, answer).await?;
        said.ok_or_else(|| unknown(&id))?
            .map_err(|why| not_answered(&why))
    }

    /// Everything that is open, as one line of JSON, and again whenever it changes.
    fn watch(&self, visitor: Visitor) -> Result<Response<Body>, Refusal> {
        let lists = self.lists(visitor)?;
        let lines = lists.map(|list| {
            let mut line = serde_json::to_vec(&list)?;
            line.push(b'\n');
            Ok(Frame::data(Bytes::from(line)))
        });
        let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-ndjson"),
        );
        Ok(response)
    }

    /// Everything that waits for an answer and that the visitor may see: now, and again whenever it changes, and
    /// every so often although it does not. It ends when the visitor is shut out.
    pub(super) fn lists(
        &self,
        visitor: Visitor,
    ) -> Result<impl Stream<Item = ApprovalList> + Send + use<>, Refusal> {
        let place = self.watchers.admit(&visitor)?;
        let identity = match &visitor {
            Visitor::Local => None,
            Visitor::Known { identity, .. } => Some(Arc::clone(identity)),
        };
        let desk = self.desk.clone();
        let news = desk.news();
        let lists = stream::unfold(
            (desk, news, (visitor, place), true),
            |(desk, mut news, (visitor, place), first)| async move {
                if !first {
                    let patience = tokio::time::sleep(limits::APPROVALS_WATCH_INTERVAL);
                    tokio::select! {
                        () = news.any() => {}
                        () = patience => {} // what is over by itself makes no news
                    }
                }
                let mut items = desk
                    .list(true, limits::APPROVALS_OPEN_MAX as usize)
                    .await
                    .ok()?;
                items.retain(|approval| approval.state == State::Asked && visitor.sees(approval));
                let list = ApprovalList { items, more: false };
                Some((list, (desk, news, (visitor, place), false)))
            },
        );
        let shut_out = call::shut_out(Arc::clone(&self.authenticator), identity);
        Ok(lists.take_until(Box::pin(shut_out)))
    }
}

impl Visitor {
    /// Who answers: somebody with a name.
    fn somebody(&self) -> Result<Person, Refusal> {
        match self {
            Self::Known { person, .. } => Ok(Person::clone(person)),
            Self::Local => Err(Refusal::never_allowed(
                "whoever answers does it in their own name: use --server with your token instead of the data directory",
            )),
        }
    }

    /// Whether their answer would count now: they may give one, and have not said yes before.
    pub(super) fn may_answer(&self, approval: &Approval) -> bool {
        let Self::Known { person, .. } = self else {
            return false;
        };
        let may = person.may_answer(&approval.caller, &approval.terms.approvers);
        let said = |answer: &Answer| answer.by.is_same_human(person);
        may.is_ok() && (approval.state != State::Asked || !approval.answers.iter().any(said))
    }

    /// Whether it is their own question, which they may take back.
    pub(super) fn asked(&self, approval: &Approval) -> bool {
        matches!(self, Self::Known { person, .. } if person.is_same_caller(&approval.caller))
    }

    /// Whether somebody may know of an approval: who asked, who may answer, and operators.
    fn sees(&self, approval: &Approval) -> bool {
        match self {
            Self::Local | Self::Known { operator: true, .. } => true,
            Self::Known { person, .. } => {
                let own = match person.agent {
                    Some(_) => person.is_same_caller(&approval.caller),
                    None => person.is_same_human(&approval.caller),
                };
                own || person
                    .may_answer(&approval.caller, &approval.terms.approvers)
                    .is_ok()
            }
        }
    }
}

/// Reads a call. What is not known is refused.
fn parse(method: &Method, uri: &Uri) -> Result<Call, Refusal> {
    let parts: Vec<&str> = uri.path().split('/').skip(1).collect();
    let call = match parts.as_slice() {
        ["v1", "approvals"] => {
            let query = Query::parse(uri.query().unwrap_or_default())?;
            list(&query)?
        }
        ["v1", "grants", rest @ ..] => {
            let query = Query::parse(uri.query().unwrap_or_default())?;
            grants::parse(method, rest, &query)?
        }
        ["v1", "approvals", "watch"] => Call::Watch,
        ["v1", "approvals", id] => Call::Show(name(id)?),
        ["v1", "approvals", id, "approve"] => Call::Approve(name(id)?),
        ["v1", "approvals", id, "deny"] => Call::Deny(name(id)?),
        ["v1", "approvals", id, "withdraw"] => Call::Withdraw(name(id)?),
        _ => {
            return Err(Refusal::not_found(
                "served here: /v1/approvals, /v1/approvals/watch, /v1/approvals/ID and, below that, approve, deny and withdraw",
            ));
        }
    };
    let lists = matches!(call, Call::List { .. } | Call::Grants { .. });
    let reads = lists || matches!(call, Call::Watch | Call::Show(_));
    let wanted = if reads { Method::GET } else { Method::POST };
    if *method != wanted {
        return Err(Refusal::method_not_allowed(format!(
            "this is asked for with {wanted}"
        )));
    }
    if !lists && uri.query().is_some() {
        return Err(Refusal::bad_request("there are no parameters here"));
    }
    Ok(call)
}

fn list(query: &Query) -> Result<Call, Refusal> {
    let (mut open, mut limit) = (true, limits::SESSIONS_LISTED_DEFAULT);
    for parameter in call::parameters(query)? {
        match parameter.key {
            "open" => open = parameter.yes_or_no()?,
            "limit" => limit = parameter.limit()?,
            _ => return Err(parameter.unknown("open and limit")),
        }
    }
    Ok(Call::List { open, limit })
}

fn name(id: &str) -> Result<String, Refusal> {
    let good = (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    good.then(|| id.to_owned())
        .ok_or_else(|| Refusal::not_found("that is not the id of an approval"))
}

async fn read<T: for<'a> Deserialize<'a>>(body: Incoming) -> Result<T, Refusal> {
    let body = body::read_bounded(body, limits::SESSIONS_CALL_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(|error| {
        Refusal::bad_request(format!(
            "the body must be JSON such as {{\"reason\": \"…\", \"requests\": 1}}: {error}"
        ))
    })
}

fn unknown(id: &str) -> Refusal {
    Refusal::not_found(format!(
        "there is no approval {:?} that you may see",
        one_line(id, 64)
    ))
}

fn not_answered(why: &NotAnswered) -> Refusal {
    let message = format!("your answer does not count: {why}");
    match why {
        NotAnswered::Unfit(Unfit::Own | Unfit::Agent | Unfit::NotNamed | Unfit::NotTheCaller) => {
            Refusal::never_allowed(message)
        }
        NotAnswered::Over(_) | NotAnswered::Twice | NotAnswered::Changed { .. } => {
            Refusal::conflict(message)
        }
        NotAnswered::TooWide(_) => Refusal::bad_request(message),
    }
}

#[cfg(test)]
mod tests;
