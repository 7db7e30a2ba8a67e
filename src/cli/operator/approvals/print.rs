//! Approvals for people. Nearly every text in them was written by somebody else: nothing of it may act on the
//! terminal, hide behind an invisible character or run backwards (threats H-03).

use std::io::{self, IsTerminal as _, Write};

use jiff::Timestamp;

use crate::approval::{Approval, Asked, State, Verdict};
use crate::cli::output::print_table;
use crate::control::approvals::spell;
pub(in crate::cli) use crate::control::visible;

/// Whether whoever reads this wants colours (<https://no-color.org>).
pub(super) fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty())
}

/// A table, one line for each.
pub(in crate::cli) fn list(approvals: &[Approval], out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![["ID", "STATE", "ASKED", "EXPIRES", "WHO", "WHAT"].map(str::to_owned)];
    rows.extend(approvals.iter().map(|approval| {
        [
            approval.id.clone(),
            state(approval),
            clock(approval.asked),
            clock(approval.expires),
            approval.caller.in_words(),
            subject(approval),
        ]
        .map(|cell| visible(&cell))
    }));
    print_table(&rows, out)
}

/// Everything an approver has to know.
pub(super) fn details(approval: &Approval, colours: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut put = |name: &str, value: &str| {
        if value.is_empty() {
            return Ok(());
        }
        writeln!(out, "{name:10} {}", visible(value))
    };
    put("id", &approval.id)?;
    put("state", &state(approval))?;
    put("who", &approval.caller.in_words())?;
    put("groups", &approval.caller.groups.join(", "))?;
    if let Some(ahead) = &approval.grant {
        put("role", &ahead.role)?;
        put("for", &spell(u64::from(ahead.seconds)))?;
        put("reason", &ahead.reason)?;
    }
    put("cluster", &approval.cluster)?;
    put("rule", &approval.rule)?;
    put("because", approval.message.as_deref().unwrap_or_default())?;
    put("approvers", &approval.terms.approvers.in_words())?;
    put("asked", &approval.asked.to_string())?;
    put("expires", &approval.expires.to_string())?;
    for answer in &approval.answers {
        let said = match answer.verdict {
            Verdict::Yes => "yes".to_owned(),
            Verdict::YesToClass { seconds } => format!("yes, to the class for {seconds} s"),
            Verdict::No => "no".to_owned(),
        };
        put(
            "answer",
            &format!(
                "{said}, by {} at {}: {}",
                answer.by.in_words(),
                answer.at,
                answer.reason
            ),
        )?;
    }
    for (number, request) in approval.requests.iter().enumerate() {
        writeln!(
            out,
            "\nrequest {} of {}",
            number + 1,
            approval.requests.len()
        )?;
        self::request(request, colours, out)?;
    }
    Ok(())
}

fn request(request: &Asked, colours: bool, out: &mut dyn Write) -> io::Result<()> {
    let shown = &request.shown;
    let mut put = |name: &str, value: &str| {
        if value.is_empty() {
            return Ok(());
        }
        writeln!(out, "  {name:10} {}", visible(value))
    };
    put("call", &format!("{} {}", shown.method, shown.target))?;
    put("verb", &format!("{} {}", shown.verb, shown.resource))?;
    put("namespace", &shown.namespace)?;
    put("name", &shown.name)?;
    for argument in &shown.session_command {
        put("argument", argument)?;
    }
    for risk in &shown.risks {
        put("risk", risk)?;
    }
    put("from", &shown.source)?;
    put("claims", &claims(&shown.claimed_command, &shown.user_agent))?;
    put("used", request.used_by.as_deref().unwrap_or_default())?;
    block("context", shown.context.iter().map(String::as_str), out)?;
    changes(&shown.diff, colours, out)?;
    block("body", shown.body.lines(), out)
}

/// A diff, in the colours that everybody knows on a terminal.
fn changes(diff: &str, colours: bool, out: &mut dyn Write) -> io::Result<()> {
    if !diff.is_empty() {
        writeln!(out, "  changes")?;
    }
    for line in diff.lines() {
        let colour = match line.chars().next() {
            Some('+') => "\u{1b}[32m",
            Some('-') => "\u{1b}[31m",
            Some('@') => "\u{1b}[36m",
            _ => "",
        };
        let line = visible(line);
        if colours && !colour.is_empty() {
            writeln!(out, "    | {colour}{line}\u{1b}[0m")?;
        } else {
            writeln!(out, "    | {line}")?;
        }
    }
    Ok(())
}

/// What a client says of itself, marked as that.
fn claims(command: &str, agent: &str) -> String {
    match (command.is_empty(), agent.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!("to be {agent:?}"),
        (false, true) => format!("to run {command:?}"),
        (false, false) => format!("to run {command:?} and to be {agent:?}"),
    }
}

fn block<'a>(
    name: &str,
    lines: impl Iterator<Item = &'a str>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for (number, line) in lines.enumerate() {
        if number == 0 {
            writeln!(out, "  {name}")?;
        }
        writeln!(out, "    | {}", visible(line))?;
    }
    Ok(())
}

/// What became of an answer.
pub(in crate::cli) fn outcome(approval: &Approval, out: &mut dyn Write) -> io::Result<()> {
    let id = visible(&approval.id);
    match approval.state {
        State::Asked => writeln!(
            out,
            "{id}: your yes counts; {} more needed",
            approval.missing()
        ),
        State::Approved if approval.grant.is_some() => writeln!(
            out,
            "{id}: approved; {} has the role until {}",
            visible(&approval.caller.in_words()),
            clock(approval.expires)
        ),
        State::Approved => writeln!(
            out,
            "{id}: approved; {} may go on until {}",
            visible(&approval.caller.in_words()),
            clock(approval.expires)
        ),
        other => writeln!(out, "{id}: {}", other.as_str()),
    }
}

fn state(approval: &Approval) -> String {
    let count = approval.terms.approvers.count;
    if approval.state == State::Asked && count > 1 {
        return format!("asked {}/{count}", count - approval.missing());
    }
    approval.state.as_str().to_owned()
}

/// What it is about, on one line.
pub(super) fn subject(approval: &Approval) -> String {
    if let Some(ahead) = &approval.grant {
        let time = spell(u64::from(ahead.seconds));
        return format!("role {} for {time}: {}", ahead.role, ahead.reason);
    }
    let Some(first) = approval.requests.first() else {
        return String::new();
    };
    let shown = &first.shown;
    let mut text = format!("{} {}", shown.verb, shown.resource);
    if !shown.name.is_empty() {
        text = format!("{text} {}", shown.name);
    }
    if !shown.namespace.is_empty() {
        text = format!("{text} in {}", shown.namespace);
    }
    text = format!("{text} on {}", approval.cluster);
    if !shown.session_command.is_empty() {
        text = format!("{text}: {}", shown.session_command.join(" "));
    }
    match approval.requests.len() {
        1 => text,
        more => format!("{text} and {} more", more - 1),
    }
}

pub(in crate::cli) fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h_03_a_diff_has_our_colours_and_nobody_elses() {
        let diff = "@@ -1 +1 @@\n-a: \u{1b}[8m1\n+a: 2\n b: \u{202e}3\n";
        let printed = |colours| {
            let mut out = Vec::new();
            changes(diff, colours, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            printed(false),
            "  changes\n    | @@ -1 +1 @@\n    | -a: \\u{1b}[8m1\n    | +a: 2\n    |  b: \\u{202e}3\n"
        );
        assert_eq!(
            printed(true),
            "  changes\n    | \u{1b}[36m@@ -1 +1 @@\u{1b}[0m\n    | \u{1b}[31m-a: \\u{1b}[8m1\u{1b}[0m\n    | \u{1b}[32m+a: 2\u{1b}[0m\n    |  b: \\u{202e}3\n"
        );
        let mut out = Vec::new();
        changes("", true, &mut out).unwrap();
        assert!(out.is_empty());
    }

    #[test]
    fn h_03_nothing_hides_and_nothing_acts_on_the_terminal() {
        for (text, shown) in [
            ("a b", "a b"),
            ("größe 名前", "größe 名前"),
            ("\u{1b}[2Jx", "\\u{1b}[2Jx"),
            ("a\rb\nc\td", "a\\u{d}b\\u{a}c\\u{9}d"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("pay\u{200b}pal\u{ad}", "pay\\u{200b}pal\\u{ad}"),
            ("\u{e0041}\u{feff}\u{2066}", "\\u{e0041}\\u{feff}\\u{2066}"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ] {
            assert_eq!(visible(text), shown);
        }
    }
}
