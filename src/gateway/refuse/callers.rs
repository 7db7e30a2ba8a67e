//! Refusals of callers whatever they ask for: an operator keeps them out.

use http::StatusCode;

use super::{Fault, Refusal};
use crate::identity::Block;

impl Refusal {
    /// 403: an operator keeps the caller out. Not 401, which would make clients log in again and again.
    pub fn blocked(block: &Block) -> Self {
        let until = block.until.map_or_else(
            || "until an operator lifts it".to_owned(),
            |until| format!("until {until:.0}, unless an operator lifts it before"),
        );
        let message = format!(
            "you are blocked by {:?} since {:.0}: {}. Every request is refused {until}; ask {:?} or another operator of this gateway",
            block.by, block.at, block.reason, block.by,
        );
        Self::new(Fault::Policy, StatusCode::FORBIDDEN, "Forbidden", message)
    }
}
