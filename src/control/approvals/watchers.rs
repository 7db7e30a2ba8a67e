//! Places for those who watch approvals. Everybody with a token may, so nobody has all of them.

use super::Visitor;
use crate::control::places::{Place, Places, Taken};
use crate::gateway::refuse::Refusal;
use crate::limits;

/// Who watches, and how often at the same time.
#[derive(Clone, Debug)]
pub struct Watchers(Places);

impl Default for Watchers {
    fn default() -> Self {
        Self(Places::new(
            limits::APPROVALS_WATCHERS_MAX,
            limits::APPROVALS_WATCHERS_PER_PERSON_MAX,
        ))
    }
}

impl Watchers {
    /// A place for somebody, if there is one.
    pub(super) fn admit(&self, visitor: &Visitor) -> Result<Place, Refusal> {
        let identity = match visitor {
            Visitor::Local => None,
            Visitor::Known { identity, .. } => Some(&**identity),
        };
        self.0.admit(identity).map_err(|taken| {
            Refusal::too_many(match taken {
                Taken::All => {
                    "too many people watch approvals here; list them instead, or try again later"
                }
                Taken::Own => {
                    "you watch approvals so many times already; end one of them, or list them instead"
                }
            })
        })
    }
}
