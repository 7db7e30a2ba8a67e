//! Refusals in the place of answers that the API server gave and of which nothing has left.
//!
//! By then the request may have been carried out, so each says so: whoever only reads that it was refused would repeat it.

use http::StatusCode;

use super::{Fault, Refusal};
use crate::gateway::body::BodyError;
use crate::metrics::StreamEnd;
use crate::transform::body::withheld;

impl Refusal {
    /// 502: the answer broke off, or cannot be masked.
    pub fn broke_off(error: &BodyError) -> Self {
        match withheld(error) {
            Some(why) => Self::bad_gateway(format!("{why}; the request may have been carried out")),
            None => Self::bad_gateway(unsent("it broke off", "look before you repeat it")),
        }
        .detail(error)
    }

    /// 401, 403 or 503: the grant ended before the answer was sent.
    pub fn shut_out(why: StreamEnd) -> Self {
        let forbidden = |why, next| {
            let message = unsent(why, next);
            Self::new(Fault::Policy, StatusCode::FORBIDDEN, "Forbidden", message)
        };
        match why {
            StreamEnd::Expired => Self::unauthorized(unsent("your token expired", "log in again")),
            StreamEnd::Revoked => Self::unauthorized(unsent(
                "your token was revoked",
                "log in again, and if that is refused ask the gateway's operator",
            )),
            StreamEnd::Policy => forbidden(
                "the policy changed meanwhile",
                "look before you repeat it, and you are told what it says now",
            ),
            StreamEnd::Approval => forbidden(
                "the approval or role that it needs ended",
                "ask for it again",
            ),
            StreamEnd::Blocked => forbidden(
                "you were blocked",
                "an operator of the gateway can say more",
            ),
            StreamEnd::Budget => forbidden(
                "it does not fit into your budget of bytes an hour",
                "wait until there is room again, or ask for less",
            ),
            StreamEnd::Drain => Self::gateway_unavailable(unsent(
                "the gateway is going down",
                "look before you repeat it",
            )),
        }
    }

    /// 503: policy demands that the answer is kept, and it could not be.
    pub fn not_kept() -> Self {
        Self::gateway_unavailable(unsent(
            "policy demands that answers to you are kept, and the gateway cannot keep it",
            "try again later or tell the platform team",
        ))
    }
}

fn unsent(why: &str, next: &str) -> String {
    format!(
        "the API server's answer is not sent, since {why}; the request may have been carried out; {next}"
    )
}
