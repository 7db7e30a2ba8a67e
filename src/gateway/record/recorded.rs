//! An answer's body, tied to its record.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::Record;
use super::alarm::Alarm;
use crate::gateway::body::{self, Body, BodyError};
use crate::metrics::StreamEnd;

/// An answer's body with its record: ends early when the grant does, and ends only after its event is
/// written.
pub(super) struct Recorded {
    pub(super) inner: Body,
    pub(super) ended: Alarm<StreamEnd>,
    pub(super) long_running: bool,
    pub(super) record: Option<Record>,
    pub(super) finishing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What is told when the event is written: the last frame, or the error.
    pub(super) last: Option<Result<Frame<Bytes>, BodyError>>,
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
            } else {
                let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
                if let Some(frame) = self.passed(frame) {
                    return Poll::Ready(Some(frame));
                }
            }
        }
        if let Some(finishing) = &mut self.finishing {
            ready!(finishing.as_mut().poll(context));
            self.finishing = None;
        }
        Poll::Ready(self.last.take())
    }

    fn is_end_stream(&self) -> bool {
        self.record.is_none() && self.finishing.is_none() && self.last.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Recorded {
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
                    self.finish(Some(Ok(frame)), None);
                    return None;
                }
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                self.finish(Some(Err(error)), Some("broken"));
                None
            }
            None => {
                self.finish(None, None);
                None
            }
        }
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
        let mut last =
            (!self.long_running).then(|| Err(format!("ended by the gateway: {reason}").into()));
        if let Some(record) = &mut self.record {
            record.keeper.metrics.stream_ended(why);
            if let Some(farewell) = record.farewell(why)
                && record.passed(&farewell)
            {
                last = Some(Ok(Frame::data(farewell)));
            }
        }
        self.inner = body::empty(); // resets the upstream stream at once
        self.finish(last, Some(reason));
    }

    fn finish(&mut self, last: Option<Result<Frame<Bytes>, BodyError>>, why: Option<&'static str>) {
        self.last = last;
        if let Some(mut record) = self.record.take() {
            if let Some(why) = why {
                record.event.annotate("portcullis.dev/ended", why);
            }
            self.finishing = Some(Box::pin(record.complete()));
        }
    }
}
