//! An answer's body, tied to its record.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::Record;
use super::alarm::Alarm;
use crate::gateway::body::{self, Body, BodyError};
use crate::gateway::refuse::Refusal;
use crate::metrics::StreamEnd;
use crate::transform::body::withheld;

/// An answer's body with its record: ends early when the grant does, and ends only after its event is
/// written.
pub(super) struct Recorded {
    pub(super) inner: Body,
    pub(super) ended: Alarm<StreamEnd>,
    pub(super) long_running: bool,
    pub(super) record: Option<Box<Record>>,
    pub(super) head: Head,
    /// Whether the answer is kept as it has to be, once it is over.
    pub(super) finishing: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    /// What is told when the event is written: the last bytes, or the error.
    pub(super) last: Option<Result<Bytes, BodyError>>,
}

/// Where the head of an answer is.
pub(super) enum Head {
    /// It waits: what fails now can still be answered in words.
    Waits,
    /// It does not leave. The client gets this in its place.
    Refused(Box<Refusal>),
    /// It has left.
    Left,
}

impl http_body::Body for Recorded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.finishing.is_none() {
            if self.record.is_none() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(why) = self.ended.poll(context) {
                self.cut(why);
            } else if ready!(self.poll_kept(context)) {
                let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
                    self.idle(context);
                    return Poll::Pending;
                };
                if let Some(frame) = self.passed(frame) {
                    return Poll::Ready(Some(frame));
                }
            } else {
                self.unrecorded();
            }
        }
        if let Some(finishing) = &mut self.finishing {
            let kept = ready!(finishing.as_mut().poll(context));
            self.finishing = None;
            if !kept && !matches!(self.last, Some(Err(_))) {
                self.last = Some(Err(NOT_KEPT.into()));
                if matches!(self.head, Head::Waits) {
                    self.head = Head::Refused(Box::new(Refusal::not_kept()));
                }
            }
        }
        Poll::Ready(self.last.take()).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.record.is_none() && self.finishing.is_none() && self.last.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Why an answer broke off that policy demands to be kept.
const NOT_KEPT: &str = "ended by the gateway: recorder-failed";

impl Recorded {
    /// Whether nothing more is waited for but the event.
    pub(super) fn is_ending(&self) -> bool {
        self.finishing.is_some()
    }

    /// Whether the first bytes are sure to come, and may be such that the answer has to be refused. Of an answer without
    /// a mask and without an end nobody knows whether the caller waits for more than its head.
    pub(super) fn begins_soon(&self) -> bool {
        let masked = self
            .record
            .as_ref()
            .is_some_and(|record| record.masks.is_some());
        !self.long_running && (masked || self.inner.size_hint().exact().is_some())
    }

    /// Where the head has not left, the client gets a refusal in the place of the answer.
    fn take_back(&mut self, refusal: impl FnOnce() -> Refusal) {
        if let (Head::Waits, Some(record)) = (&self.head, &mut self.record) {
            let refusal = refusal();
            record.takes_back(&refusal);
            self.head = Head::Refused(Box::new(refusal));
        }
    }

    /// Whether more of the answer may be asked for, once there is room for it where it is kept.
    fn poll_kept(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let record = self.record.as_mut();
        record.map_or(Poll::Ready(true), |record| record.poll_kept(context))
    }

    fn idle(&mut self, context: &mut Context<'_>) {
        if let Some(record) = &mut self.record {
            record.kept_idle(context);
        }
    }

    /// What must be kept no longer can be. A stream ends cleanly, and whoever comes back is refused.
    fn unrecorded(&mut self) {
        self.inner = body::empty();
        self.take_back(Refusal::not_kept);
        let last = (!self.long_running).then(|| Err(NOT_KEPT.into()));
        self.finish(last, Some("recorder-failed"));
    }

    /// Lets a frame pass, or keeps it back while the record is completed because it is the last one.
    fn passed(
        &mut self,
        frame: Option<Result<Frame<Bytes>, BodyError>>,
    ) -> Option<Result<Frame<Bytes>, BodyError>> {
        match frame {
            Some(Ok(frame)) => {
                if let (Some(record), Some(data)) = (&mut self.record, frame.data_ref())
                    && !record.passed(data)
                {
                    self.cut(StreamEnd::Budget);
                    return None;
                }
                // hyper stops polling once Content-Length bytes are out: this frame may be the end.
                if self.inner.is_end_stream() || self.inner.size_hint().exact() == Some(0) {
                    self.finish(frame.into_data().ok().map(Ok), None);
                    return None;
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.broke(error);
                None
            }
            None => {
                self.finish(None, None);
                None
            }
        }
    }

    /// The answer broke off, or could not be masked any further. A watch says which, and ends cleanly as after every error.
    fn broke(&mut self, error: BodyError) {
        self.inner = body::empty();
        self.take_back(|| Refusal::broke_off(&error));
        if let Some(record) = &mut self.record {
            record
                .event
                .annotate("portcullis.dev/detail", error.to_string());
        }
        let Some(why) = withheld(&error) else {
            return self.finish(Some(Err(error)), Some("broken"));
        };
        let mut last = Some(Err(error));
        if let Some(record) = &mut self.record
            && let Some(farewell) = record.withheld(&why)
            && record.passed(&farewell)
        {
            last = Some(Ok(farewell));
        }
        self.finish(last, Some("withheld"));
    }

    /// The grant no longer holds. A stream ends cleanly, so that clients come back and are asked again, and a watch
    /// whose caller would be refused then says so; a single document must not look whole (threats E-01).
    fn cut(&mut self, why: StreamEnd) {
        let reason = match why {
            StreamEnd::Expired => "token-expired",
            StreamEnd::Revoked => "token-revoked",
            StreamEnd::Policy => "policy-changed",
            StreamEnd::Approval => "approval-ended",
            StreamEnd::Blocked => "caller-blocked",
            StreamEnd::Budget => "over-budget",
            StreamEnd::Drain => "gateway-drained",
        };
        self.take_back(|| Refusal::shut_out(why));
        let mut last =
            (!self.long_running).then(|| Err(format!("ended by the gateway: {reason}").into()));
        if let Some(record) = &mut self.record {
            record.keeper.metrics.stream_ended(why);
            if let Some(farewell) = record.farewell(why)
                && record.passed(&farewell)
            {
                last = Some(Ok(farewell));
            }
        }
        self.inner = body::empty(); // resets the upstream stream at once
        self.finish(last, Some(reason));
    }

    fn finish(&mut self, last: Option<Result<Bytes, BodyError>>, why: Option<&'static str>) {
        self.last = last;
        if let Some(mut record) = self.record.take() {
            if let Some(why) = why {
                record.event.annotate("portcullis.dev/ended", why);
            }
            let waits = matches!(self.head, Head::Waits);
            self.finishing = Some(Box::pin(async move {
                let kept = record.seal_kept().await;
                if !kept && waits {
                    record.takes_back(&Refusal::not_kept());
                }
                record.complete().await;
                kept
            }));
        }
    }
}
