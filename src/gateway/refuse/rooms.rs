//! How each room's errors are answered. The rooms say what happened; only here it becomes HTTP.

use http::StatusCode;

use super::{Fault, Refusal};
use crate::gateway::body::ReadError;
use crate::gateway::upgrade::UpgradeError;
use crate::identity::credential::CredentialError;
use crate::identity::{Fault as IdentityFault, IdentityError};
use crate::listener::{TargetRefused, Unreadable};
use crate::policy::Permit;
use crate::request::Malformed;
use crate::request::body::Undecoded;
use crate::transform::MaskError;
use crate::transform::body::inspect::{Answered, InspectError};
use crate::upstream::{HeadersRefused, UpstreamError};

impl From<TargetRefused> for Refusal {
    fn from(error: TargetRefused) -> Self {
        Self::bad_request(error.to_string())
    }
}

impl From<Unreadable> for Refusal {
    fn from(error: Unreadable) -> Self {
        let message = error.to_string();
        match error {
            Unreadable::NotCanonical(_) => Self::bad_request(message),
            Unreadable::TooLarge => Self::headers_too_large(message),
            Unreadable::TooSlow => Self::request_timeout(message),
        }
    }
}

impl From<CredentialError> for Refusal {
    fn from(error: CredentialError) -> Self {
        if error.is_bad_request() {
            Self::bad_request(error.to_string())
        } else {
            Self::unauthorized(error.to_string())
        }
    }
}

impl From<IdentityError> for Refusal {
    fn from(error: IdentityError) -> Self {
        if let Some(block) = error.block() {
            return Self::blocked(block);
        }
        let message = error.client_message();
        match error.fault() {
            IdentityFault::Credential => Self::unauthorized(message),
            IdentityFault::Caller => Self::never_allowed(message),
            IdentityFault::Gateway => Self::gateway_unavailable(message),
        }
        .detail(&error)
    }
}

impl From<Malformed> for Refusal {
    fn from(error: Malformed) -> Self {
        if error.is_method() {
            Self::method_not_allowed(error.to_string())
        } else {
            Self::bad_request(error.to_string())
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        match &error {
            ReadError::TooLarge { .. } => {
                Self::too_large(format!("{error}; split the request into smaller ones"))
            }
            ReadError::Broken(source) => match Unreadable::behind(source.as_ref()) {
                Some(why) => why.into(),
                None => Self::bad_request(error.to_string()),
            },
        }
    }
}

impl From<UpgradeError> for Refusal {
    fn from(error: UpgradeError) -> Self {
        let message = error.to_string();
        match error {
            UpgradeError::BadRequest(_) => Self::bad_request(message),
            UpgradeError::MethodNotAllowed(_) => Self::method_not_allowed(message),
            UpgradeError::NoCommonProtocol(_) | UpgradeError::ForeignOrigin => {
                Self::never_allowed(message)
            }
            UpgradeError::Upstream(_) => Self::bad_gateway(message),
        }
    }
}

impl From<HeadersRefused> for Refusal {
    fn from(error: HeadersRefused) -> Self {
        match error {
            HeadersRefused::ClientIdentity(_) => Self::never_allowed(error.to_string()),
            HeadersRefused::AmbiguousName(_)
            | HeadersRefused::Repeated(_)
            | HeadersRefused::Upgrade(_) => Self::bad_request(error.to_string()),
        }
    }
}

impl From<Undecoded> for Refusal {
    fn from(error: Undecoded) -> Self {
        let message = error.to_string();
        match error {
            Undecoded::Malformed(_) => Self::bad_request(message),
            Undecoded::TooLarge => Self::too_large(message),
            Undecoded::Opaque | Undecoded::MediaType => Self::unsupported_media_type(message),
        }
    }
}

impl From<InspectError> for Refusal {
    fn from(error: InspectError) -> Self {
        Self::bad_gateway(error.to_string())
    }
}

impl Refusal {
    /// What the API server says to a request that it was asked about before the policy decided. It would say the
    /// same to the request itself, so clients get its code and reason; its words only where no mask applies.
    pub(in crate::gateway) fn answered(answered: Answered, permit: &Permit) -> Self {
        const REASONS: [(&str, u16); 9] = [
            ("BadRequest", 400),
            ("Unauthorized", 502),
            ("Forbidden", 403),
            ("NotFound", 404),
            ("MethodNotAllowed", 405),
            ("AlreadyExists", 409),
            ("Conflict", 409),
            ("UnsupportedMediaType", 415),
            ("Invalid", 422),
        ];
        let words = if permit.mask().is_none() {
            answered.message
        } else {
            "(its words are withheld, since masks apply to this resource)".to_owned()
        };
        let message = format!(
            "the API server refuses this request, asked for the object that policy rule {} looks at: {words}",
            permit.rule()
        );
        let known = REASONS
            .iter()
            .find(|(reason, code)| *reason == answered.reason && *code == answered.code)
            .and_then(|(reason, code)| Some((*reason, StatusCode::from_u16(*code).ok()?)));
        match known {
            Some((reason, code)) => Self::new(Fault::Client, code, reason, message),
            None if answered.code < 500 => Self::bad_request(message),
            None => Self::bad_gateway(message),
        }
    }
}

impl From<UpstreamError> for Refusal {
    fn from(error: UpstreamError) -> Self {
        let message = error.to_string();
        match error {
            UpstreamError::Headers(refused) => refused.into(),
            UpstreamError::Identity(_) => Self::never_allowed(message),
            UpstreamError::UnknownCluster(_) | UpstreamError::Unbuildable => {
                Self::gateway_failed(message)
            }
            UpstreamError::Unreachable { .. }
            | UpstreamError::Busy { .. }
            | UpstreamError::Unprocessed { .. } => Self::upstream_unavailable(message),
            UpstreamError::Unauthorized { .. }
            | UpstreamError::Broken { .. }
            | UpstreamError::Unacceptable { .. } => Self::bad_gateway(message),
            UpstreamError::Timeout { .. } => Self::upstream_timeout(message),
        }
    }
}

impl From<MaskError> for Refusal {
    fn from(error: MaskError) -> Self {
        let message = error.to_string();
        match error {
            MaskError::NotAcceptable => Self::not_acceptable(message),
            MaskError::UnsupportedMediaType { .. } => Self::unsupported_media_type(message),
            MaskError::Unreadable { .. } | MaskError::Selector { .. } => Self::bad_request(message),
            MaskError::Placeholder { field }
            | MaskError::PatchReads { field, .. }
            | MaskError::PatchNames { field, .. } => Self::invalid(message, Some(field)),
            MaskError::NotLearned => Self::gateway_unavailable(message),
            MaskError::Upstream { .. } => Self::bad_gateway(message),
        }
    }
}
