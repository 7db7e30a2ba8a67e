//! The body of a request: read when somebody first asks for it, once, whole and within the budget.
//! What was read is what is sent.

use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;

use super::budget::{BodyBudget, Share};
use crate::gateway::body;
use crate::gateway::refuse::Refusal;
use crate::limits;

/// A body, on the wire or in memory.
pub(in crate::gateway) enum Payload {
    /// As it arrives.
    Unread(Incoming),
    /// Whole.
    Read(Whole),
    /// Gone, because reading it failed.
    Lost,
}

/// A whole body.
pub(in crate::gateway) struct Whole {
    /// As the client sent it.
    bytes: Bytes,
    /// The same, bound to the state of the object that was decided on; goes upstream in its place.
    pinned: Option<Bytes>,
    /// Given back when this is dropped.
    _share: Share,
}

impl From<Incoming> for Payload {
    fn from(body: Incoming) -> Self {
        Self::Unread(body)
    }
}

impl Payload {
    /// The whole body as the client sent it, at most [`limits::REQUEST_BODY_BYTES_MAX`] long. Whoever asks first
    /// waits for it to arrive; `caller` pays for it.
    pub(in crate::gateway) async fn read(
        &mut self,
        budget: &BodyBudget,
        caller: &str,
    ) -> Result<Bytes, Refusal> {
        self.whole(budget, caller)
            .await
            .map(|whole| whole.bytes.clone())
    }

    /// What goes upstream.
    pub(in crate::gateway) async fn outgoing(
        &mut self,
        budget: &BodyBudget,
        caller: &str,
    ) -> Result<Bytes, Refusal> {
        let whole = self.whole(budget, caller).await?;
        Ok(whole.pinned.as_ref().unwrap_or(&whole.bytes).clone())
    }

    /// Whether something else is sent in place of what the client sent.
    pub(in crate::gateway) fn is_pinned(&self) -> bool {
        matches!(self, Self::Read(whole) if whole.pinned.is_some())
    }

    /// Sends `bytes` in place of what the client sent.
    pub(in crate::gateway) fn pin(&mut self, bytes: Bytes) {
        if let Self::Read(whole) = self {
            whole.pinned = Some(bytes);
        }
    }

    async fn whole(&mut self, budget: &BodyBudget, caller: &str) -> Result<&Whole, Refusal> {
        if matches!(self, Self::Unread(_))
            && let Self::Unread(incoming) = std::mem::replace(self, Self::Lost)
        {
            *self = Self::Read(receive(incoming, budget, caller).await?);
        }
        match self {
            Self::Read(whole) => Ok(whole),
            Self::Unread(_) | Self::Lost => Err(Refusal::bad_request(
                "the request body could not be read; send it again",
            )),
        }
    }
}

async fn receive(body: Incoming, budget: &BodyBudget, caller: &str) -> Result<Whole, Refusal> {
    let max = limits::REQUEST_BODY_BYTES_MAX;
    let announced = body
        .size_hint()
        .exact()
        .and_then(|size| usize::try_from(size).ok());
    let share = budget.take(caller, announced.unwrap_or(max).min(max))?;
    let reading = body::read_bounded(body, max);
    let bytes = tokio::time::timeout(limits::REQUEST_BODY_TIMEOUT, reading)
        .await
        .map_err(|_| {
            Refusal::request_timeout("the request body did not arrive within 60 s; send it again")
        })??;
    Ok(Whole {
        bytes,
        pinned: None,
        _share: share,
    })
}
