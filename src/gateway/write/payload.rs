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
    /// Whole. Its share of the budget is given back when it is dropped.
    Read(Bytes, Share),
    /// Gone, because reading it failed.
    Lost,
}

impl From<Incoming> for Payload {
    fn from(body: Incoming) -> Self {
        Self::Unread(body)
    }
}

impl Payload {
    /// The whole body, at most [`limits::REQUEST_BODY_BYTES_MAX`] long. Whoever asks first waits for it to
    /// arrive; `caller` pays for it.
    pub(in crate::gateway) async fn read(
        &mut self,
        budget: &BodyBudget,
        caller: &str,
    ) -> Result<Bytes, Refusal> {
        match std::mem::replace(self, Self::Lost) {
            Self::Unread(incoming) => {
                let (bytes, share) = receive(incoming, budget, caller).await?;
                *self = Self::Read(bytes.clone(), share);
                Ok(bytes)
            }
            Self::Read(bytes, share) => {
                *self = Self::Read(bytes.clone(), share);
                Ok(bytes)
            }
            Self::Lost => Err(Refusal::bad_request(
                "the request body could not be read; send it again",
            )),
        }
    }
}

async fn receive(
    body: Incoming,
    budget: &BodyBudget,
    caller: &str,
) -> Result<(Bytes, Share), Refusal> {
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
    Ok((bytes, share))
}
