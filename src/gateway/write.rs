//! What a request carries upstream: nothing for reads, a checked body for writes.

use http::{Method, Request, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::Gateway;
use super::body::{self, Body};
use super::refuse::Refusal;
use crate::limits;
use crate::policy::Permit;
use crate::request::RequestInfo;
use crate::transform::{self, MaskError};
use crate::upstream::ReplayableBody;

impl Gateway {
    /// Reads and checks the body of a write, so that the API server never sees a placeholder, and
    /// builds the request that will be sent.
    pub(super) async fn checked(
        &self,
        request: Request<Incoming>,
        info: &RequestInfo,
        permit: &Permit,
    ) -> Result<Request<Body>, Refusal> {
        let (mut head, incoming) = request.into_parts();
        head.uri = target(info)?;
        let body = if matches!(head.method, Method::GET | Method::HEAD) {
            body::empty() // the API server reads no body here, so none is sent
        } else if info.subresource == "proxy" {
            // Opaque application data for a pod, service or node: streamed, as large as it likes.
            incoming.map_err(Into::into).boxed_unsync()
        } else {
            let reading = body::read_bounded(incoming, limits::REQUEST_BODY_BYTES_MAX);
            let bytes = tokio::time::timeout(limits::REQUEST_BODY_TIMEOUT, reading)
                .await
                .map_err(|_| {
                    Refusal::request_timeout(
                        "the request body did not arrive within 60 s; send it again",
                    )
                })??;
            if head
                .headers
                .get(header::CONTENT_ENCODING)
                .is_some_and(|encoding| encoding != "identity")
            {
                // The API server does not decode bodies either; nobody may find out what it would make of one.
                return Err(Refusal::unsupported_media_type(
                    "request bodies with a Content-Encoding are not accepted; send it uncompressed",
                ));
            }
            let content_type = head
                .headers
                .get(header::CONTENT_TYPE)
                .map(|value| value.to_str())
                .transpose();
            let content_type = content_type
                .map_err(|_| Refusal::bad_request("Content-Type is not readable text"))?;
            transform::guard_write(info, permit, content_type, &bytes).inspect_err(|error| {
                if matches!(error, MaskError::Placeholder { .. }) {
                    self.keeper.metrics.placeholder_write();
                }
            })?;
            head.extensions.insert(ReplayableBody(bytes.clone()));
            body::full(bytes)
        };
        Ok(Request::from_parts(head, body))
    }
}

/// The target that was parsed and decided on.
pub(super) fn target(info: &RequestInfo) -> Result<Uri, Refusal> {
    info.target()
        .parse()
        .map_err(|_| Refusal::bad_request("the request target cannot be sent on"))
}
