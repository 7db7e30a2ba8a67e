//! Reads the answer to an inquiry of the policy. What is read is decided on; it goes to nobody.

use http::Response;
use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use super::Unreleased;
use crate::gateway::body::read_bounded;
use crate::limits;
use crate::request::body::from_json;

/// What the API server answered.
#[derive(Debug)]
pub enum Inspected {
    /// The object.
    Object(Value),
    /// It refuses.
    Refused(Answered),
}

/// A `Status` that says no, as far as it is readable.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Answered {
    /// The HTTP status code.
    #[serde(skip)]
    pub code: u16,
    /// Kubernetes' word for it.
    pub reason: String,
    /// May quote the object.
    pub message: String,
}

/// Why an answer could not be read.
#[derive(Clone, Copy, Debug, Error)]
pub enum InspectError {
    /// The connection broke, or there is more than is held.
    #[error("the API server's answer, which a policy rule looks at, broke off or is too large")]
    Broken,
    /// Not JSON, or not an object.
    #[error("the API server's answer, which a policy rule looks at, cannot be read")]
    Unreadable,
}

/// Reads the whole answer, at most [`limits::CONDITION_ANSWER_BYTES_MAX`] of it.
pub async fn inspect(response: Response<Unreleased>) -> Result<Inspected, InspectError> {
    let status = response.status();
    let body = response.into_body().open();
    let bytes = read_bounded(body, limits::CONDITION_ANSWER_BYTES_MAX)
        .await
        .map_err(|_error| InspectError::Broken)?;
    if status.is_success() {
        let object = from_json(&bytes).map_err(|_error| InspectError::Unreadable)?;
        return Ok(Inspected::Object(object));
    }
    let answered: Answered = serde_json::from_slice(&bytes).unwrap_or_default();
    Ok(Inspected::Refused(Answered {
        code: status.as_u16(),
        ..answered
    }))
}
