//! Callers for people.

use std::io::{self, Write};

use jiff::Timestamp;

pub(super) use crate::cli::operator::approvals::visible;
use crate::cli::output::print_table;
use crate::control::callers::{CallerItem, in_words};
use crate::identity::Block;
use crate::policy::Measure;

/// A table, one line for each.
pub(super) fn list(items: &[CallerItem], now: Timestamp, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![
        [
            "USER",
            "AGENT",
            "STREAMS",
            "SESSIONS",
            "REQUESTS/MIN",
            "LAST",
            "BUDGETS",
            "BLOCKED",
        ]
        .map(str::to_owned),
    ];
    rows.extend(items.iter().map(|item| {
        let nobody = if item.agent.is_some() {
            "(any)"
        } else {
            "(others)"
        };
        [
            item.user.clone().unwrap_or_else(|| nobody.to_owned()),
            item.agent.clone().unwrap_or_else(|| "-".to_owned()),
            item.streams.to_string(),
            item.sessions.to_string(),
            item.requests_last_minute.to_string(),
            item.last_request
                .map_or_else(|| "-".to_owned(), |at| ago(at, now)),
            budgets(item),
            item.blocked.as_ref().map_or_else(|| "-".to_owned(), why),
        ]
        .map(|cell| visible(&cell))
    }));
    print_table(&rows, out)
}

/// What was done.
pub(super) fn blocked(block: &Block, out: &mut dyn Write) -> io::Result<()> {
    let until = block.until.map_or_else(
        || "until it is lifted".to_owned(),
        |until| format!("until {until:.0}"),
    );
    let whom = in_words(&block.whom);
    writeln!(out, "{} is blocked {until}", visible(&whom))
}

fn budgets(item: &CallerItem) -> String {
    if item.budgets.is_empty() {
        return "-".to_owned();
    }
    let used = item.budgets.iter().map(|budget| {
        let what = match budget.measure {
            Measure::Requests => "requests/min",
            Measure::Deletes => "deletes/h",
            Measure::Namespaces => "namespaces/h",
            Measure::Bytes => "bytes/h",
        };
        format!("{}/{} {what}", budget.used, budget.most)
    });
    used.collect::<Vec<_>>().join(", ")
}

fn why(block: &Block) -> String {
    let until = block
        .until
        .map_or_else(String::new, |until| format!(" until {until:.0}"));
    format!(
        "by {} since {:.0}{until}: {}",
        block.by, block.at, block.reason
    )
}

fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds}s ago"),
        60..3600 => format!("{}m ago", seconds / 60),
        _ => format!("{}h ago", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Whom;

    #[test]
    fn what_somebody_else_wrote_is_visible() {
        let at = Timestamp::UNIX_EPOCH;
        let item = CallerItem {
            user: Some("al\u{202e}ice".to_owned()),
            last_request: Some(at),
            blocked: Some(Block {
                whom: Whom::User("al\u{202e}ice".to_owned()),
                by: "carol".to_owned(),
                at,
                reason: "INC-7 \u{1b}[31m".to_owned(),
                until: None,
                subjects: Vec::new(),
            }),
            ..CallerItem::default()
        };
        let mut out = Vec::new();
        list(&[item], at, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.contains("al\\u{202e}ice") && text.contains("\\u{1b}[31m"),
            "{text}"
        );
        assert!(
            text.contains("by carol since 1970-01-01T00:00:00Z"),
            "{text}"
        );
    }
}
