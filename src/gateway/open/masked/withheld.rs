//! The end of a copy with a known value in it, which no placeholder of the same length can hide for certain.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Masked;
use crate::session::{EndReason, Ending, Filter};

/// Characters of a file name that the message quotes.
const NAME_CHARS_MAX: usize = 200;

/// Whether nothing leaves any more, and why. Clones are of one session.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Withheld {
    /// The rule by which the session was opened.
    rule: Arc<str>,
    ending: Arc<OnceLock<Ending>>,
    told: CancellationToken,
}

/// Where a known value turned up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    File(&'a str),
    Header,
    /// In what belongs to no file.
    Elsewhere,
}

impl Withheld {
    /// Nothing was withheld yet of a session that this rule opened.
    pub(in crate::gateway) fn new(rule: &str) -> Self {
        Self {
            rule: Arc::from(rule),
            ending: Arc::default(),
            told: CancellationToken::new(),
        }
    }

    /// A known value turned up there.
    pub(super) fn set(&self, place: Place<'_>) {
        let place = match place {
            Place::File(name) => {
                let name: String = name.chars().take(NAME_CHARS_MAX).collect();
                format!("the file {name:?}")
            }
            Place::Header => "the name of a file or its owner".to_owned(),
            Place::Elsewhere => "it".to_owned(),
        };
        let rule = &self.rule;
        self.ending.get_or_init(|| Ending {
            reason: EndReason::Withheld,
            message: format!(
                "portcullis: the copy ended early and is incomplete: {place} holds the value of a Secret, which the mask \
                 known-values hides (rule {rule}), and an archive with a placeholder in it would be broken; copy the \
                 other files without this one"
            ),
        });
        self.told.cancel();
    }

    pub(super) fn is_set(&self) -> bool {
        self.ending.get().is_some()
    }

    /// Waits until something is withheld, which ends the session.
    pub(in crate::gateway) async fn ending(&self) -> Ending {
        self.told.cancelled().await;
        match self.ending.get() {
            Some(ending) => ending.clone(),
            None => std::future::pending().await,
        }
    }
}

/// The final status of a command, which has not succeeded if something of its output was withheld. It may come with the
/// last of the output, before the session is ended.
pub(super) struct FinalStatus {
    pub(super) masked: Masked,
    pub(super) withheld: Withheld,
}

impl Filter for FinalStatus {
    fn push(&mut self, bytes: &[u8], now: Duration, output: &mut Vec<u8>) {
        match self.withheld.ending.get() {
            Some(ending) => output.extend(ending.instead_of(bytes)),
            None => self.masked.push(bytes, now, output),
        }
    }

    fn due(&self) -> Option<Duration> {
        self.masked.due()
    }

    fn release(&mut self, now: Duration, output: &mut Vec<u8>) {
        self.masked.release(now, output);
    }

    fn finish(&mut self, output: &mut Vec<u8>) {
        self.masked.finish(output);
    }
}
