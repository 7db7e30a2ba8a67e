//! Opening a session: exec, attach and port-forward.
//!
//! The API server is asked first, on a connection of its own; the client hears of a switch of protocols
//! only after the API server's answer was validated, and no client byte travels before (threats B-15).

mod masked;
mod metered;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderMap, Request, Response};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use self::masked::Withheld;
use self::metered::Metered;
use super::body::{self, Body};
use super::record::Record;
use super::refuse::Refusal;
use super::upgrade::{self, Offer};
use super::write::{self, payload::Payload};
use super::{Answer, Gateway};
use crate::identity::Block;
use crate::limits;
use crate::metrics::StreamEnd;
use crate::policy::{Permit, RecordMode};
use crate::recording::copy::Copy;
use crate::recording::{Kill, Metadata, Place, RecorderError, Recording};
use crate::request::{RequestInfo, SessionRequest};
use crate::session::{self, EndReason, Ending, Filters, NoTap, Session, Tap, TapError};
use crate::transform::TextMasks;
use crate::upstream::{Call, UpgradeAnswer};

/// A session the API server has agreed to and the client does not know of yet.
pub(super) struct Opened {
    response: Response<Body>,
    client: OnUpgrade,
    upstream: TokioIo<Upgraded>,
    session: Session,
    filters: Option<Filters>,
    /// Says when a filter lets nothing out any more.
    withheld: Withheld,
    /// Resolves when the grant no longer holds, with what its user is told.
    ended: Pin<Box<dyn Future<Output = Ending> + Send>>,
    watched: Watched,
}

/// Who looks on: the recorder if policy says so, and the operator's list of open sessions.
struct Watched {
    recording: Option<Box<Recording>>,
    /// Why a session that may do without a recording has none.
    unrecorded: Option<String>,
    /// The place of an unrecorded session on the list; a recording has its own.
    _place: Option<Place>,
    killed: oneshot::Receiver<Kill>,
}

impl Gateway {
    /// Asks the API server to switch protocols; a refusal of its own is an ordinary, masked answer.
    pub(super) async fn open_session(
        &self,
        mut request: Request<Payload>,
        info: &Arc<RequestInfo>,
        permit: &Arc<Permit>,
        call: &Call,
        record: &mut Record,
    ) -> Result<Answer, Refusal> {
        let asked = &info
            .session()
            .ok_or_else(|| Refusal::bad_request("the request asks for no session"))?;
        let client = hyper::upgrade::on(&mut request);
        let (mut head, _) = request.into_parts();
        let offer = Offer::parse(&head, asked.kind)?;
        let mut metadata = describe(&head.headers, &offer, asked, permit, call);
        offer.rewrite(&mut head.headers)?;
        head.uri = write::target(info)?;

        let texts = TextMasks::of(permit, asked.namespace, &self.placeholders, &self.known)?;
        let copy = Copy::of(&metadata.command, metadata.tty, metadata.stdin);
        metadata.command = self.recorded_command(asked, permit.cluster());
        let archive = copy.map(|copy| copy.stream());
        let withheld = Withheld::new(permit.rule());
        let input = texts.as_ref().map(masked::input);
        let filters =
            texts.map(|texts| masked::filters(texts, record.masks(), archive, withheld.clone()));

        // A session that must be recorded does not exist before its recording does, and none before
        // it is on record that it was opened.
        let mut watched = self.watch(metadata, permit).await?;
        if let Some(recording) = &mut watched.recording {
            if archive.is_none() {
                recording.keep_contents();
            }
            if let Some(mask) = input {
                recording.mask_input(mask);
            }
        }
        self.holder.still_holds(permit)?;
        record.begun(permit).await?;
        record.sent();
        let request = Request::from_parts(head, ());
        let answer = self.upstream.upgrade(request, permit, call).await?;
        record.heard();
        match answer {
            UpgradeAnswer::Refused(response) => {
                self.unused(permit).await;
                self.release(response, info, permit)
            }
            UpgradeAnswer::Switched { response, io } => {
                let agreed = offer.accept(&response.into_parts().0)?;
                if let Some(recording) = &mut watched.recording {
                    recording.begin();
                }
                Ok(Answer::Session(Opened {
                    response: agreed.response()?.map(|()| body::empty()),
                    client,
                    upstream: io,
                    session: agreed.session(asked),
                    filters,
                    withheld,
                    ended: self.until(permit, info),
                    watched,
                }))
            }
        }
    }

    fn until(
        &self,
        permit: &Arc<Permit>,
        info: &Arc<RequestInfo>,
    ) -> Pin<Box<dyn Future<Output = Ending> + Send>> {
        let (holder, identity) = (Arc::clone(&self.holder), Arc::clone(permit.identity()));
        let ended = holder.watch_over(permit, info);
        Box::pin(async move {
            let why = ended.await;
            farewell(why, holder.block_of(&identity).as_deref())
        })
    }

    /// Opens the recording if there has to be one, and enters the session among those that are open.
    async fn watch(&self, metadata: Metadata, permit: &Permit) -> Result<Watched, Refusal> {
        let mut unrecorded = None;
        if let Some(obligation) = permit.record() {
            match self.recorder.open(metadata.clone(), obligation).await {
                Ok((recording, killed)) => {
                    return Ok(Watched {
                        recording: Some(Box::new(recording)),
                        unrecorded: None,
                        _place: None,
                        killed,
                    });
                }
                Err(error) => {
                    tracing::error!(%error, "a session cannot be recorded");
                    if obligation.mode == RecordMode::Required {
                        return Err(unrecordable(&error));
                    }
                    unrecorded = Some(error.to_string());
                }
            }
        }
        let (place, killed) = self.recorder.enter(metadata);
        Ok(Watched {
            recording: None,
            unrecorded,
            _place: Some(place),
            killed,
        })
    }
}

/// 503: no session without its recording.
fn unrecordable(error: &RecorderError) -> Refusal {
    Refusal::gateway_unavailable(
        "policy demands that this session is recorded, and the gateway's recorder does not work; try again later or tell the platform team",
    )
    .detail(error)
}

impl Gateway {
    /// Whether a session could be recorded that has to be: asked before anybody says yes to it, and looked at again
    /// when it begins.
    pub(super) async fn recordable(&self, permit: &Permit, id: &str) -> Result<(), Refusal> {
        match permit.record() {
            Some(obligation) if obligation.mode == RecordMode::Required => {
                let works = self.recorder.works(id, obligation.mode).await;
                works.map_err(|error| unrecordable(&error))
            }
            _ => Ok(()),
        }
    }
}

/// What reaches a kubelet's shells in a form that cannot be read as a session (`run`, `cri`, odd spellings)
/// has no tap here: it is refused to everyone who has to be recorded anywhere, and as a stream to everyone
/// (threats C-67).
pub(super) fn refuse_kubelet_session(
    headers: &HeaderMap,
    info: &RequestInfo,
    permit: &Permit,
) -> Result<(), Refusal> {
    if permit.record().is_some() {
        return Err(Refusal::denied(
            info,
            permit.identity(),
            "policy demands that your sessions are recorded, and in this form one through nodes/proxy cannot be; use kubectl exec, attach or port-forward",
        ));
    }
    if upgrade::is_requested(headers) {
        return Err(Refusal::bad_request(
            "of a kubelet only the streams /exec, /attach and /portForward are served here; use kubectl exec, attach or port-forward on the pod",
        ));
    }
    Ok(())
}

impl Opened {
    /// Answers the client with 101 and relays in a task of its own until the session is over.
    pub(super) async fn switch(
        self,
        mut record: Box<Record>,
        tasks: &TaskTracker,
    ) -> Response<Body> {
        if let Some(recording) = &self.watched.recording {
            record.recorded(&recording.path());
        }
        if let Some(why) = &self.watched.unrecorded {
            record.recording_failed(why);
        }
        record.started(self.response.status()).await;
        let Self {
            response,
            client,
            upstream,
            session,
            filters,
            withheld,
            ended,
            watched,
        } = self;
        let until = async move {
            tokio::select! {
                ending = ended => ending,
                ending = withheld.ending() => ending,
            }
        };
        tasks.spawn(async move {
            match client.await {
                Ok(client) => {
                    let client = TokioIo::new(client);
                    watched
                        .relay(client, upstream, (session, filters), until, &mut record)
                        .await;
                }
                Err(error) => {
                    tracing::debug!(%error, "the client left before the session began");
                    record.event.annotate("portcullis.dev/ended", "client-gone");
                }
            }
            record.complete().await;
        });
        response
    }
}

impl Watched {
    /// Relays the session and closes its recording.
    async fn relay(
        mut self,
        client: TokioIo<Upgraded>,
        upstream: TokioIo<Upgraded>,
        (session, filters): (Session, Option<Filters>),
        ended: impl Future<Output = Ending> + Send,
        record: &mut Record,
    ) {
        let mut ordered = None;
        let failed = self.recording.as_ref().map(|recording| recording.failed());
        let killed = self.killed;
        let until = async {
            tokio::select! {
                ending = ended => ending,
                Ok(kill) = killed => {
                    let message =
                        format!("portcullis: an operator ended this session: {}", kill.reason);
                    ordered = Some(kill);
                    Ending {
                        reason: EndReason::Killed,
                        message,
                    }
                }
                Some(why) = async { Some(failed?.await) } => {
                    tracing::error!(why, "a session ends because it can no longer be recorded");
                    Ending::refused(&TapError::Failed(why))
                }
            }
        };
        let mut no_tap = NoTap;
        let tap: &mut dyn Tap = match &mut self.recording {
            Some(recording) => recording.as_mut(),
            None => &mut no_tap,
        };
        let mut tap = Metered::beside(tap, record.meter());
        let report = session::relay(client, upstream, session, filters, until, &mut tap).await;
        let over = tap.over.take();
        record.session(&report);
        if let Some(over) = over {
            record.over_budget(&over);
        }
        if let Some(kill) = ordered {
            record.event.annotate("portcullis.dev/killed-by", kill.by);
            record
                .event
                .annotate("portcullis.dev/kill-reason", kill.reason);
        }
        if let Some(recording) = self.recording {
            let sealed = recording.seal(&report).await;
            if let Some(why) = sealed.failure {
                record.recording_failed(&why);
            }
        }
    }
}

/// What a recording says about its session.
fn describe(
    headers: &HeaderMap,
    offer: &Offer,
    asked: &SessionRequest<'_>,
    permit: &Permit,
    call: &Call,
) -> Metadata {
    let identity = permit.identity();
    let user_agent = headers
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    Metadata {
        id: call.audit_id.clone(),
        kind: asked.kind.as_str().to_owned(),
        cluster: permit.cluster().to_owned(),
        namespace: asked.namespace.to_owned(),
        pod: asked.pod.to_owned(),
        container: asked.container.to_owned(),
        node: asked.node.map(ToOwned::to_owned),
        command: asked.command().map(ToOwned::to_owned).collect(),
        tty: asked.tty(),
        stdin: asked.stdin(),
        user: identity.username().to_owned(),
        groups: identity.groups().to_vec(),
        agent: identity.agent().map(|agent| agent.name.clone()),
        source_ip: call.peer.to_string(),
        transport: offer.transport_name().to_owned(),
        user_agent: user_agent
            .chars()
            .take(limits::AUDIT_CLAIM_CHARS_MAX)
            .collect(),
        rule: permit.rule().to_owned(),
        approval_id: permit
            .admission()
            .map(|admission| admission.id().to_owned()),
        started: Timestamp::now(),
        ..Metadata::default()
    }
}

/// What the person at the terminal is told when the grant no longer holds.
fn farewell(why: StreamEnd, block: Option<&Block>) -> Ending {
    let (reason, message) = match why {
        StreamEnd::Blocked => return blocked(block),
        StreamEnd::Budget => (
            EndReason::OverBudget,
            "portcullis: the budget of bytes is used up, and this session ends",
        ),
        StreamEnd::Expired => (
            EndReason::Expired,
            "portcullis: your token has expired and this session with it; log in again and reconnect",
        ),
        StreamEnd::Revoked => (
            EndReason::Revoked,
            "portcullis: your token was revoked and this session with it; log in again, and if that is refused ask the gateway's operator",
        ),
        StreamEnd::Policy => (
            EndReason::PolicyChanged,
            "portcullis: the policy changed and no longer allows this session",
        ),
        StreamEnd::Approval => (
            EndReason::ApprovalEnded,
            "portcullis: the approval or role that opened this session ended or was taken back; ask for it again",
        ),
        StreamEnd::Drain => (
            EndReason::Shutdown,
            "portcullis: the gateway is shutting down; reconnect to continue",
        ),
    };
    Ending {
        reason,
        message: message.to_owned(),
    }
}

fn blocked(block: Option<&Block>) -> Ending {
    let why = block.map_or_else(String::new, |block| {
        format!(" by {:?}: {}", block.by, block.reason)
    });
    Ending {
        reason: EndReason::Blocked,
        message: format!(
            "portcullis: you were blocked{why}; this session ends, and an operator of the gateway can say more"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_loses_a_session_reads_why() {
        for (why, reason, said) in [
            (
                StreamEnd::Expired,
                EndReason::Expired,
                "your token has expired",
            ),
            (
                StreamEnd::Revoked,
                EndReason::Revoked,
                "your token was revoked",
            ),
            (
                StreamEnd::Policy,
                EndReason::PolicyChanged,
                "no longer allows this session",
            ),
            (
                StreamEnd::Approval,
                EndReason::ApprovalEnded,
                "ended or was taken back",
            ),
            (StreamEnd::Blocked, EndReason::Blocked, "you were blocked; "),
            (
                StreamEnd::Drain,
                EndReason::Shutdown,
                "reconnect to continue",
            ),
        ] {
            let ending = farewell(why, None);
            assert_eq!(ending.reason, reason);
            assert!(ending.message.starts_with("portcullis: ") && ending.message.contains(said));
        }
    }
}
