//! Opening a session: exec, attach and port-forward.
//!
//! The API server is asked first, on a connection of its own; the client hears of a switch of protocols
//! only after the API server's answer was validated, and no client byte travels before (threats B-15).

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

use super::body::{self, Body};
use super::grant::Ended;
use super::record::Record;
use super::refuse::Refusal;
use super::upgrade::Offer;
use super::{Answer, Gateway, write};
use crate::metrics::StreamEnd;
use crate::policy::Permit;
use crate::request::{RequestInfo, SessionKind};
use crate::session::{self, EndReason, Ending, NoTap, Session};
use crate::upstream::{Call, UpgradeAnswer};

/// A session the API server has agreed to and the client does not know of yet.
pub(super) struct Opened {
    response: Response<Body>,
    client: OnUpgrade,
    upstream: TokioIo<Upgraded>,
    session: Session,
    ended: Ended,
}

impl Gateway {
    /// Asks the API server to switch protocols; a refusal of its own is an ordinary, masked answer.
    pub(super) async fn open_session(
        &self,
        mut request: Request<Incoming>,
        kind: SessionKind,
        info: Arc<RequestInfo>,
        permit: &Permit,
        call: &Call,
    ) -> Result<Answer, Refusal> {
        let client = hyper::upgrade::on(&mut request);
        let (mut head, _) = request.into_parts();
        let offer = Offer::parse(&head, kind)?;
        offer.rewrite(&mut head.headers)?;
        head.uri = write::target(&info)?;

        match self
            .upstream
            .upgrade(Request::from_parts(head, ()), permit, call)
            .await?
        {
            UpgradeAnswer::Refused(response) => self.release(response, &info, permit),
            UpgradeAnswer::Switched { response, io } => {
                let agreed = offer.accept(&response.into_parts().0)?;
                Ok(Answer::Session(Opened {
                    response: agreed.response()?.map(|()| body::empty()),
                    client,
                    upstream: io,
                    session: agreed.session(&info),
                    ended: self.holder.watch_over(permit, &info),
                }))
            }
        }
    }
}

impl Opened {
    /// Answers the client with 101 and relays in a task of its own until the session is over.
    pub(super) async fn switch(self, mut record: Record, tasks: &TaskTracker) -> Response<Body> {
        record.started(self.response.status()).await;
        let Self {
            response,
            client,
            upstream,
            session,
            ended,
        } = self;
        tasks.spawn(async move {
            match client.await {
                Ok(client) => {
                    let until = async { farewell(ended.await) };
                    let report =
                        session::relay(TokioIo::new(client), upstream, session, until, &mut NoTap)
                            .await;
                    record.session(&report);
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

/// What the person at the terminal is told when the grant no longer holds.
fn farewell(why: StreamEnd) -> Ending {
    let (reason, message) = match why {
        StreamEnd::Expired => (
            EndReason::Expired,
            "portcullis: your token has expired and this session with it; log in again and reconnect",
        ),
        StreamEnd::Policy => (
            EndReason::Revoked,
            "portcullis: the policy changed and no longer allows this session",
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
