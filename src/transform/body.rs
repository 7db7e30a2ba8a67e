//! The bodies of answers: not yet released, released, and the adapter between them.
//!
//! The adapter pulls: it asks the upstream for more only when the client took all there was, so
//! back-pressure passes through and one chunk is the most it holds besides the masker's own state.
//! What a chunk releases leaves before the next chunk is asked for.

pub(super) mod gzip;
pub mod inspect;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::{Body as _, Frame};
use thiserror::Error;
use tokio::time::{Instant, Sleep};

use self::gzip::{GzipError, Inflate};
use super::MaskError;
use super::json::JsonMasker;
use super::output::Output;
use super::protobuf::{MaskProtobufError, ProtobufMasker};
use super::release::status::Scrubber;
use super::report::MaskReport;
use super::text::TextMasker;
use super::text::known::{JsonPassing, Strings};
use crate::gateway::body::{Body, BodyError, read_bounded};
use crate::limits::{self, ERROR_STATUS_BYTES_MAX};
use crate::wire::json::JsonError;

/// A body that nobody may forward yet. Only this room can open it.
pub struct Unreleased(Body);

/// A body that may leave. Only this room can make one.
pub struct Released(Leaving);

enum Leaving {
    Unchanged(Body),
    Rewritten(Box<Rewriting>),
}

impl Unreleased {
    /// Takes what the API server answered.
    pub fn new(body: Body) -> Self {
        Self(body)
    }

    pub(super) fn open(self) -> Body {
        self.0
    }
}

/// Reads an object whole, for the gateway to say a few words about it. The words are masked by whoever says them; a
/// refusal of the API server is its code and nothing else.
pub async fn read_to_show(response: Response<Unreleased>) -> Result<serde_json::Value, String> {
    let status = response.status();
    if !status.is_success() {
        return Err(format!("the API server answered {status} to the caller"));
    }
    let body = response.into_body().open();
    let bytes = read_bounded(body, limits::APPROVAL_CONTEXT_BYTES_MAX)
        .await
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&bytes).map_err(|_| "it is not JSON".to_owned())
}

impl Released {
    /// The body, to be sent to the client.
    pub fn into_body(self) -> Body {
        match self.0 {
            Leaving::Unchanged(body) => body,
            Leaving::Rewritten(body) => http_body_util::BodyExt::boxed_unsync(*body),
        }
    }

    /// No mask applies.
    pub(super) fn unchanged(body: Body) -> Self {
        Self(Leaving::Unchanged(body))
    }

    /// As `pipeline` leaves it.
    pub(super) fn rewritten(body: Body, pipeline: Pipeline, report: Arc<MaskReport>) -> Self {
        let rewriting = Rewriting {
            body,
            pipeline,
            report,
            input: Bytes::new(),
            output: Output::default(),
            state: State::Reading,
            begun: Instant::now(),
            pause: None,
        };
        Self(Leaving::Rewritten(Box::new(rewriting)))
    }
}

impl fmt::Debug for Unreleased {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Unreleased(..)")
    }
}

impl fmt::Debug for Released {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Released(..)")
    }
}

/// Why a body broke off on its way through the mask.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(super) enum TransformError {
    #[error("the answer of the API server is not JSON that can be masked: {0}")]
    Json(#[from] JsonError),
    #[error("the answer of the API server cannot be masked: {0}")]
    Gzip(#[from] GzipError),
    #[error("the answer of the API server is not protobuf that can be masked: {0}")]
    Protobuf(#[from] MaskProtobufError),
}

/// Why a body broke off, if that is because it cannot be masked.
pub fn withheld(error: &BodyError) -> Option<MaskError> {
    let problem = match error.downcast_ref()? {
        TransformError::Json(_) => "it is not JSON that can be masked",
        TransformError::Gzip(_) => "it cannot be inflated",
        TransformError::Protobuf(MaskProtobufError::TooLarge) => {
            "it has an object above 4 MiB, which is not masked in protobuf; ask for application/json instead"
        }
        TransformError::Protobuf(_) => "it is not protobuf that can be masked",
    };
    Some(MaskError::Upstream { problem })
}

/// What happens to a body.
pub(super) struct Pipeline {
    pub(super) inflate: Option<Inflate>,
    pub(super) last: Last,
}

/// The last step of a pipeline.
pub(super) enum Last {
    /// Mask JSON.
    Json {
        masker: Box<JsonMasker>,
        /// Learns from the Secrets in it.
        passing: Option<Box<JsonPassing>>,
    },
    /// Mask protobuf.
    Protobuf(Box<ProtobufMasker>),
    /// Mask text.
    Text(Box<TextMasker>),
    /// Rebuild an error, once it is complete.
    Status {
        scrubber: Box<Scrubber>,
        text: BytesMut,
        /// Looks for known values in what is rebuilt.
        strings: Option<Box<Strings>>,
    },
}

impl Pipeline {
    /// Takes a bounded part of `input`, which came `now`. True if the rest of the body does not matter.
    fn push(
        &mut self,
        input: &mut Bytes,
        now: Duration,
        output: &mut Output,
    ) -> Result<bool, TransformError> {
        let chunk = match &mut self.inflate {
            Some(inflate) => inflate.next(input)?,
            None => std::mem::take(input),
        };
        match &mut self.last {
            Last::Json { masker, passing } => {
                if let Some(passing) = passing {
                    passing.push(&chunk);
                }
                masker.push(&chunk, &mut output.of(&chunk))?;
            }
            Last::Protobuf(masker) => masker.push(&chunk, output)?,
            Last::Text(masker) => masker.push(&chunk, now, &mut output.of(&chunk)),
            Last::Status { scrubber, text, .. } => {
                if text.len() + chunk.len() > ERROR_STATUS_BYTES_MAX {
                    output.push(scrubber.without_body());
                    return Ok(true);
                }
                text.extend_from_slice(&chunk);
            }
        }
        Ok(false)
    }

    fn finish(&mut self, output: &mut Output) -> Result<(), TransformError> {
        let complete = self.inflate.as_ref().map_or(Ok(()), Inflate::finish);
        match &mut self.last {
            Last::Json { masker, .. } => {
                complete?;
                masker.finish(&mut output.of(&Bytes::new()))?;
            }
            Last::Protobuf(masker) => {
                complete?;
                masker.finish(output)?;
            }
            Last::Text(masker) => {
                masker.finish(&mut output.of(&Bytes::new()));
                complete?;
            }
            Last::Status {
                scrubber,
                text,
                strings,
            } => {
                let status = scrubber.rebuild(text);
                match strings {
                    Some(strings) => strings.push(&status, &mut output.of(&status)),
                    None => output.push(status),
                }
            }
        }
        Ok(())
    }

    /// When text that is held back has to leave, whether more has come or not.
    fn due(&self) -> Option<Duration> {
        match &self.last {
            Last::Text(masker) => masker.due(),
            _ => None,
        }
    }

    /// Nothing more comes for the moment.
    fn release(&mut self, now: Duration, output: &mut Output) {
        if let Last::Text(masker) = &mut self.last {
            masker.release(now, &mut output.of(&Bytes::new()));
        }
    }
}

#[derive(Debug)]
enum State {
    Reading,
    /// The error follows what was released before it.
    Failing(BodyError),
    Done,
}

struct Rewriting {
    body: Body,
    pipeline: Pipeline,
    report: Arc<MaskReport>,
    /// What the upstream sent and was not taken yet; empty unless it is being inflated.
    input: Bytes,
    output: Output,
    state: State,
    /// Since when time is counted.
    begun: Instant,
    /// The time until something of what is held has to leave.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Rewriting {
    fn step(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let pending = self
            .pipeline
            .inflate
            .as_ref()
            .is_some_and(Inflate::is_pending);
        if self.input.is_empty() && !pending {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
                return self.paused(context).map(Ok);
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.input = data,
                    Err(_trailers) => return Poll::Ready(Ok(())), // could say anything; dropped
                },
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => {
                    self.state = State::Done;
                    let outcome = self.pipeline.finish(&mut self.output);
                    self.count();
                    return Poll::Ready(outcome.map_err(Into::into));
                }
            }
        }
        let now = self.begun.elapsed();
        let enough = self.pipeline.push(&mut self.input, now, &mut self.output);
        self.count();
        if enough? {
            self.input = Bytes::new();
            self.state = State::Done;
        }
        Poll::Ready(Ok(()))
    }

    /// The API server has nothing to say at the moment: what is held leaves when it was held long enough.
    fn paused(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let due = self.pipeline.due();
        let Some(at) = due.and_then(|due| self.begun.checked_add(due)) else {
            self.pause = None;
            return Poll::Pending;
        };
        let pause = self
            .pause
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if pause.deadline() != at {
            pause.as_mut().reset(at);
        }
        std::task::ready!(pause.as_mut().poll(context));
        self.pause = None;
        self.pipeline
            .release(self.begun.elapsed(), &mut self.output);
        self.count();
        Poll::Ready(())
    }

    fn count(&mut self) {
        match &mut self.pipeline.last {
            Last::Json { masker, .. } => {
                self.report.add(masker.tally());
                masker.rest();
            }
            Last::Protobuf(masker) => {
                self.report.add(masker.tally());
                masker.rest();
            }
            Last::Text(masker) => self.report.add(masker.tally()),
            Last::Status {
                strings: Some(strings),
                ..
            } => self.report.add(strings.tally()),
            Last::Status { .. } => {}
        }
    }
}

impl http_body::Body for Rewriting {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = this.output.pop() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            match std::mem::replace(&mut this.state, State::Done) {
                State::Done => return Poll::Ready(None),
                State::Failing(error) => return Poll::Ready(Some(Err(error))),
                State::Reading => this.state = State::Reading,
            }
            if let Err(error) = std::task::ready!(this.step(context)) {
                this.state = State::Failing(error);
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::Done) && self.output.is_empty()
    }
}
