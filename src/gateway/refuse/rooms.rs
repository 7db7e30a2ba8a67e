//! How each room's errors are answered. The rooms say what happened; only here it becomes HTTP.

use super::Refusal;
use crate::gateway::body::ReadError;
use crate::gateway::upgrade::UpgradeError;
use crate::identity::credential::CredentialError;
use crate::identity::{Fault, IdentityError};
use crate::listener::{TargetRefused, Unreadable};
use crate::request::Malformed;
use crate::transform::MaskError;
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
        let message = error.client_message();
        match error.fault() {
            Fault::Credential => Self::unauthorized(message),
            Fault::Caller => Self::never_allowed(message),
            Fault::Gateway => Self::gateway_unavailable(message),
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
