//! Every refusal as a Kubernetes `Status`; the only place that knows HTTP codes.
//!
//! A refusal says whose fault it is, what happened and what to do next. Bodies stay below 1 KiB:
//! kubectl keeps no more of a refused WebSocket upgrade (wire.md §1.4). The shape follows
//! `k8s.io/apimachinery` `metav1.Status`, always as JSON, which every client decodes (wire.md §9.3).

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;

use crate::gateway::body::{self, Body};
use crate::identity::Identity;
use crate::request::RequestInfo;

pub(in crate::gateway) use discovery::warning;
pub(in crate::gateway) use held::help;

mod callers;
mod discovery;
mod held;
mod rooms;
mod unsent;

/// Whose fault a refusal is; a label of the requests metric and of the audit event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is malformed, unauthenticated or asks what cannot be answered.
    Client,
    /// Policy says no.
    Policy,
    /// Policy says that somebody has to say yes, and nobody has yet.
    Held,
    /// The API server failed or answered what must not be passed on.
    Upstream,
    /// The gateway cannot do its work (audit log, keys, overload).
    Gateway,
}

/// A request that will not be answered by the API server, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose fault it is.
    pub fault: Fault,
    code: StatusCode,
    reason: &'static str,
    message: String,
    details: Option<Box<Details>>,
    /// What only the audit event and the log may say.
    detail: Option<String>,
}

impl Refusal {
    /// 400: the request cannot be read without ambiguity.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Client,
            StatusCode::BAD_REQUEST,
            "BadRequest",
            message,
        )
    }

    /// 401: no identity. Never used for policy, since it makes clients run their credential plugin again.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Client,
            StatusCode::UNAUTHORIZED,
            "Unauthorized",
            message,
        )
    }

    /// 403 for something the caller may never send, whatever the policy says.
    pub fn never_allowed(message: impl Into<String>) -> Self {
        Self::new(Fault::Client, StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// 403: policy denies this request. Worded as the API server words its own refusals.
    pub fn denied(info: &RequestInfo, identity: &Identity, why: &str) -> Self {
        let message = denial(info, identity, why);
        Self::new(Fault::Policy, StatusCode::FORBIDDEN, "Forbidden", message).about(info)
    }

    /// 404 for a place that is the gateway's own (an unknown cluster).
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Fault::Client, StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// 405: a method the API server does not serve.
    pub fn method_not_allowed(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Client,
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            message,
        )
    }

    /// 406: every representation the client accepts is one we cannot mask.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Client,
            StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            message,
        )
    }

    /// 408: the request's head or body did not arrive in time.
    pub fn request_timeout(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Client,
            StatusCode::REQUEST_TIMEOUT,
            "Timeout",
            message,
        )
    }

    /// 409: what is asked for does not fit what has happened meanwhile.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Fault::Client, StatusCode::CONFLICT, "Conflict", message)
    }

    /// 413: the body is larger than the API server would take.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Client,
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            message,
        )
    }

    /// 415: a body in a form that cannot be checked for placeholders.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Client,
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
    }

    /// 422: the request is readable and must not be carried out; `field` says where.
    pub fn invalid(message: impl Into<String>, field: Option<String>) -> Self {
        let message = message.into();
        let mut refusal = Self::new(
            Fault::Client,
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            message.clone(),
        );
        if let Some(field) = field {
            // Clients print the field before each cause; it does not have to stand there twice.
            let message = message
                .strip_prefix(&format!("{field}: "))
                .unwrap_or(&message)
                .to_owned();
            refusal.details = Some(Box::new(Details {
                causes: vec![Cause {
                    reason: "FieldValueInvalid",
                    message,
                    field,
                }],
                ..Details::default()
            }));
        }
        refusal
    }

    /// 429: too many at once. With `Retry-After: 1`, after which clients try again by themselves.
    pub fn too_many(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Client,
            StatusCode::TOO_MANY_REQUESTS,
            "TooManyRequests",
            message,
        )
    }

    /// 502: the API server's answer must not be passed on.
    pub fn bad_gateway(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Upstream,
            StatusCode::BAD_GATEWAY,
            "InternalError",
            message,
        )
    }

    /// 503: the API server cannot be reached.
    pub fn upstream_unavailable(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Upstream,
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        )
    }

    /// 503: the gateway cannot do its own part (no keys, no audit log) and therefore does nothing.
    pub fn gateway_unavailable(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Gateway,
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        )
    }

    /// 503: nothing is carried out that cannot be put on record.
    pub fn audit_unavailable() -> Self {
        Self::gateway_unavailable(
            "the gateway's audit log cannot be written, so no request is carried out; try again later or tell the platform team",
        )
    }

    /// 431 (RFC 6585 §5): the request's head is larger than is read.
    pub fn headers_too_large(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Client,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "RequestEntityTooLarge",
            message,
        )
    }

    /// 500: a fault of the gateway itself.
    pub fn gateway_failed(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Gateway,
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            message,
        )
    }

    /// 504: the API server did not answer in time.
    pub fn upstream_timeout(message: impl Into<String>) -> Self {
        Self::new(
            Fault::Upstream,
            StatusCode::GATEWAY_TIMEOUT,
            "Timeout",
            message,
        )
    }

    /// Names the object of the request in `details`, as clients expect it.
    #[must_use]
    pub fn about(mut self, info: &RequestInfo) -> Self {
        // Of a create, whose name is in the body, kubectl would say `The secrets "" is invalid`.
        let unnamed = self.code == StatusCode::UNPROCESSABLE_ENTITY && info.name.is_empty();
        if info.is_resource_request && !unnamed {
            let details = self.details.get_or_insert_default();
            details.name.clone_from(&info.name);
            details.group.clone_from(&info.api_group);
            details.kind.clone_from(&info.resource);
        }
        self
    }

    /// Adds what the audit event and the log may know and the client may not.
    #[must_use]
    pub fn detail(mut self, detail: &impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    /// The HTTP status code it answers with.
    pub fn code(&self) -> StatusCode {
        self.code
    }

    /// Kubernetes' machine-readable reason.
    pub fn reason(&self) -> &'static str {
        self.reason
    }

    /// What the client is told.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the audit event may know besides.
    pub fn hidden_detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The answer: a `Status` object that kubectl prints well.
    pub fn response(&self) -> Response<Body> {
        let status = Status {
            kind: "Status",
            api_version: "v1",
            metadata: Empty {},
            status: "Failure",
            message: &self.message,
            reason: self.reason,
            details: self.details.as_deref(),
            code: self.code.as_u16(),
        };
        let bytes = serde_json::to_vec(&status).unwrap_or_default();
        let mut response = Response::new(body::full(bytes));
        *response.status_mut() = self.code;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        if self.code == StatusCode::TOO_MANY_REQUESTS {
            let details = self.details.as_ref();
            let seconds = details.map_or(1, |details| details.retry_after_seconds.max(1));
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache, private"),
        );
        response
    }

    /// The same answer to a request for `path`. kubectl drops the `Status` that answers discovery and
    /// says `unknown` in its place, but it prints warnings.
    pub fn response_to(&self, path: &str) -> Response<Body> {
        let mut response = self.response();
        if discovery::is_asked_for(path)
            && let Some(warning) = warning(&self.message)
        {
            response.headers_mut().insert(header::WARNING, warning);
        }
        response
    }

    fn new(
        fault: Fault,
        code: StatusCode,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            fault,
            code,
            reason,
            message: message.into(),
            details: None,
            detail: None,
        }
    }
}

/// What the API server would say to a caller who may not do this.
fn denial(info: &RequestInfo, identity: &Identity, why: &str) -> String {
    // The human may well be allowed what the agent acting for them is not.
    let who = match identity.agent() {
        Some(agent) => format!(
            "Agent \"{}\" acting for user \"{}\"",
            agent.name,
            identity.username()
        ),
        None => format!("User \"{}\"", identity.username()),
    };
    if info.is_resource_request {
        let scope = if info.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", info.namespace)
        };
        format!(
            "{} is forbidden: {who} cannot {} resource \"{}\" in API group \"{}\" {scope}: {why}",
            described(info),
            info.verb,
            resource_path(info),
            info.api_group,
        )
    } else {
        format!(
            "forbidden: {who} cannot {} path \"{}\": {why}",
            info.verb, info.path
        )
    }
}

/// `secrets "db"`, `deployments.apps "web"` or only the resource, as the API server writes it.
fn described(info: &RequestInfo) -> String {
    let mut text = info.resource.clone();
    if !info.api_group.is_empty() {
        text.push('.');
        text.push_str(&info.api_group);
    }
    if !info.name.is_empty() {
        text = format!("{text} \"{}\"", info.name);
    }
    text
}

fn resource_path(info: &RequestInfo) -> String {
    if info.subresource.is_empty() {
        info.resource.clone()
    } else {
        format!("{}/{}", info.resource, info.subresource)
    }
}

#[derive(Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "metav1.Status has a field `status`"
)]
struct Status<'a> {
    kind: &'static str,
    #[serde(rename = "apiVersion")]
    api_version: &'static str,
    metadata: Empty,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Details>,
    code: u16,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
    #[serde(rename = "retryAfterSeconds", skip_serializing_if = "is_zero")]
    retry_after_seconds: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Cause {
    reason: &'static str,
    message: String,
    field: String,
}
