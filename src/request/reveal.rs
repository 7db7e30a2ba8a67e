//! Asking to see one masked field, and saying why:
//! `GET …/secrets/db?portcullis.dev/reveal=data.password&portcullis.dev/reason=INC-42`.
//!
//! In the query, because that is what every stock client can set (`kubectl get --raw`) and every audit log
//! on the way keeps. The API server ignores parameters it does not know.

use super::{Malformed, RequestInfo};

/// The parameter that names the field.
const FIELD: &str = "portcullis.dev/reveal";
/// The parameter that says why.
const REASON: &str = "portcullis.dev/reason";

/// A reason fits on a screen and into an audit event.
const REASON_CHARACTERS_MAX: usize = 256;

/// What somebody wants to see unmasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reveal<'a> {
    /// The path of the field, as a policy would write it; not checked yet.
    pub field: &'a str,
    /// Why, in the caller's words: at most 256 characters, none of them a control character.
    pub reason: &'a str,
}

impl RequestInfo {
    /// The field that is to be shown unmasked; `None` when nothing of the kind is asked for.
    pub fn reveal(&self) -> Option<Reveal<'_>> {
        if self.is_proxied() {
            return None; // the query is the backend's
        }
        Some(Reveal {
            field: self.query.first(FIELD)?,
            reason: self.query.first(REASON)?.trim(),
        })
    }

    /// Refuses to read half of a question, and one about more than one object.
    pub(super) fn check_reveal(&self) -> Result<(), Malformed> {
        let said = |key| self.query.first(key).is_some();
        if self.is_proxied() || !said(FIELD) && !said(REASON) {
            return Ok(());
        }
        let single = self.is_resource_request && self.verb == "get" && self.subresource.is_empty();
        if !single {
            return Err(Malformed::Parameter(
                FIELD,
                "works for the GET of one object, not for lists, watches, subresources and writes",
            ));
        }
        let Some(Reveal { reason, .. }) = self.reveal() else {
            return Err(Malformed::Parameter(
                FIELD,
                "needs portcullis.dev/reason beside it: say why the field has to be seen",
            ));
        };
        let readable = !reason.chars().any(char::is_control)
            && reason.chars().nth(REASON_CHARACTERS_MAX).is_none();
        if reason.is_empty() || !readable {
            return Err(Malformed::Parameter(
                REASON,
                "must say why in 1 to 256 characters on one line",
            ));
        }
        Ok(())
    }
}
