//! What a request carries upstream: nothing for reads, a checked body for writes.

pub mod budget;
pub(super) mod payload;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header};
use http_body_util::BodyExt;

use self::payload::Payload;
use super::Gateway;
use super::body::{self, Body};
use super::refuse::Refusal;
use crate::policy::Permit;
use crate::request::RequestInfo;
use crate::transform::{self, MaskError};
use crate::upstream::ReplayableBody;

impl Gateway {
    /// Reads and checks the body of a write, so that the API server never sees a placeholder, and
    /// builds the request that will be sent. What is left of the payload, its share of the body budget, is
    /// to be kept until then.
    pub(super) async fn checked(
        &self,
        request: Request<Payload>,
        info: &Arc<RequestInfo>,
        permit: &Permit,
    ) -> Result<(Request<Body>, Option<Payload>), Refusal> {
        let (mut head, mut payload) = request.into_parts();
        head.uri = target(info)?;
        if !may_have_body(&head.method) {
            // None is sent either.
            return Ok((Request::from_parts(head, body::empty()), None));
        }
        if info.subresource == "proxy"
            && let Payload::Unread(incoming) = payload
        {
            // Opaque application data for a pod, service or node: streamed, as large as it likes.
            let body = incoming.map_err(Into::into).boxed_unsync();
            return Ok((Request::from_parts(head, body), None));
        }
        let content_type = readable_type(&head.headers)?;
        let caller = permit.identity().username();
        let bytes = payload.outgoing(&self.budget, caller).await?;
        let checked = check(info, permit, content_type, &bytes).await;
        checked.map_err(|error| {
            if matches!(error, MaskError::Placeholder { .. }) {
                self.keeper.metrics.placeholder_write();
            }
            Refusal::from(error).about(info)
        })?;
        head.extensions.insert(ReplayableBody(bytes.clone()));
        let request = Request::from_parts(head, body::full(bytes));
        Ok((request, Some(payload)))
    }
}

/// Whether the API server reads a body of a request with this method.
pub(super) fn may_have_body(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD)
}

/// Checks a body on a thread where it may take its time: whoever may write decides how much there is to undo,
/// and nobody else's requests wait for it.
pub(super) async fn check(
    info: &Arc<RequestInfo>,
    permit: &Permit,
    content_type: Option<&str>,
    body: &Bytes,
) -> Result<(), MaskError> {
    let (info, permit, body) = (Arc::clone(info), permit.clone(), body.clone());
    let content_type = content_type.map(str::to_owned);
    let checking = tokio::task::spawn_blocking(move || {
        transform::guard_write(&info, &permit, content_type.as_deref(), &body)
    });
    checking.await.unwrap_or(Err(MaskError::Unreadable {
        problem: "could not be checked",
    }))
}

/// The content type of a body that can be read as it came.
pub(super) fn readable_type(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        // The API server does not decode bodies either; nobody may find out what it would make of one.
        return Err(Refusal::unsupported_media_type(
            "request bodies with a Content-Encoding are not accepted; send it uncompressed",
        ));
    }
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::to_str);
    content_type.transpose().map_err(|_| {
        Refusal::bad_request("Content-Type is not readable text; send application/json")
    })
}

/// The target that was parsed and decided on.
pub(super) fn target(info: &RequestInfo) -> Result<Uri, Refusal> {
    info.target()
        .parse()
        .map_err(|_| Refusal::bad_request("the request target cannot be sent on"))
}
