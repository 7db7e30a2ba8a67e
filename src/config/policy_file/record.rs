//! `record` of a rule: what is kept of sessions and of answers.

use super::Section;
use crate::policy::{Contents, RecordMode, RecordObligation};

const RECORD_MODES: &[(&str, RecordMode)] = &[
    ("required", RecordMode::Required),
    ("best-effort", RecordMode::BestEffort),
];

/// `record: required`, `record: responses`, or a mapping that says more: of sessions, and of answers.
pub(super) fn read_record(rule: &Section<'_>) -> (Option<RecordObligation>, Option<RecordMode>) {
    if !rule.is_section("record") {
        let words = [
            ("required", (Some(RecordMode::Required), None)),
            ("best-effort", (Some(RecordMode::BestEffort), None)),
            ("responses", (None, Some(RecordMode::Required))),
        ];
        let (mode, responses) = rule.word("record", &words).unwrap_or_default();
        return (mode.map(RecordObligation::new), responses);
    }
    let Some(section) = rule.section("record") else {
        return (None, None);
    };
    let responses = section.word("responses", RECORD_MODES);
    let of_sessions = ["mode", "stdin", "contents"]
        .iter()
        .any(|key| section.has(key));
    if !section.has("mode") && (of_sessions || responses.is_none()) {
        section.report_key("mode", "is missing: say required or best-effort");
    }
    let mode = section.word("mode", RECORD_MODES);
    let stdin = section.flag("stdin").unwrap_or(false);
    let contents = section
        .word(
            "contents",
            &[("summary", Contents::Summary), ("full", Contents::Full)],
        )
        .unwrap_or(Contents::Summary);
    section.finish();
    let record = mode.map(|mode| RecordObligation {
        mode,
        stdin,
        contents,
    });
    (record, responses)
}
