//! The obligation to record a session. That to keep answers is a [`RecordMode`] and nothing else.

use serde::Serialize;

/// What must be on tape, and what happens when it cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordObligation {
    /// Whether the session depends on its recording.
    pub mode: RecordMode,
    /// Input is recorded too.
    pub stdin: bool,
    /// What is kept of `kubectl cp`.
    pub contents: Contents,
}

/// Whether a session depends on its recording, or an answer on being kept. The greater one is the stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordMode {
    /// Without a working recorder the session goes on, and the loss is counted.
    BestEffort,
    /// No working recorder, no session.
    Required,
}

/// What is kept of `kubectl cp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contents {
    /// Names, counts and a digest.
    Summary,
    /// Everything.
    Full,
}

impl RecordObligation {
    /// An obligation that says no more than its mode.
    #[must_use]
    pub fn new(mode: RecordMode) -> Self {
        Self {
            mode,
            stdin: false,
            contents: Contents::Summary,
        }
    }

    /// Both obligations at once: of each part the stronger one.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            mode: self.mode.max(other.mode),
            stdin: self.stdin || other.stdin,
            contents: self.contents.max(other.contents),
        }
    }

    /// The word for it in rules and explanations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.mode.as_str()
    }
}

impl RecordMode {
    /// The word for it in rules, explanations and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "best-effort",
            Self::Required => "required",
        }
    }
}

/// Whether a session that is recorded as `kept` may go on under a policy that demands `demanded`.
#[must_use]
pub fn satisfies(kept: Option<RecordObligation>, demanded: Option<RecordObligation>) -> bool {
    match (kept, demanded) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(kept), Some(demanded)) => kept.and(demanded) == kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obligations_add_up_and_never_weaken() {
        let weak = RecordObligation::new(RecordMode::BestEffort);
        let strong = RecordObligation::new(RecordMode::Required);
        let input = RecordObligation {
            stdin: true,
            contents: Contents::Full,
            ..weak
        };
        let all = RecordObligation {
            mode: RecordMode::Required,
            ..input
        };
        assert_eq!(strong.and(input), all);
        assert_eq!(input.and(strong), all);
        for (kept, demanded, holds) in [
            (None, None, true),
            (None, Some(weak), false),
            (Some(weak), None, true),
            (Some(weak), Some(strong), false),
            (Some(strong), Some(weak), true),
            (Some(strong), Some(input), false),
            (Some(all), Some(input), true),
        ] {
            assert_eq!(satisfies(kept, demanded), holds, "{kept:?} {demanded:?}");
        }
    }
}
