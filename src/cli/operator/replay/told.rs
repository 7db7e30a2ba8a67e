//! What is said of commands and requests. Most of it was chosen by callers.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::audit::commands::{Command, Request};
use crate::cli::operator::audit::print::code;
use crate::recording::replay::filter::visible;

/// Who ran what, and when.
pub(super) fn heading(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let at = command.started.strftime("%Y-%m-%d %H:%M:%SZ");
    let who = match &command.agent {
        Some(agent) => format!("{} ({agent})", command.user),
        None => command.user.clone(),
    };
    let claimed = command.claimed_command.as_deref().unwrap_or("a request");
    write!(out, "{at}  {}  by {}", visible(claimed), visible(&who))?;
    if command.discovery > 0 {
        write!(
            out,
            "  (+{} that asked what the API has)",
            command.discovery
        )?;
    }
    writeln!(out)
}

/// What was asked for, what was decided, and why. The heading says on which day, unless midnight came between.
pub(super) fn request(request: &Request, command: &Command, out: &mut dyn Write) -> io::Result<()> {
    let (code, asked) = (code(request), request.asked());
    let rule = request.rule.as_ref();
    let rule = rule.map_or_else(String::new, |rule| format!("  [{rule}]"));
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    let at = if day(request.received) == day(command.started) {
        request.received.strftime("%H:%M:%S%.3f")
    } else {
        request.received.strftime("%Y-%m-%d %H:%M:%S%.3fZ")
    };
    let line = format!("{:<6} {code:<4} {asked}{rule}", request.decision);
    writeln!(out, "  {at}  {}", visible(&line))?;
    for (name, what) in SAID {
        if let Some(said) = request.annotations.get(*name) {
            writeln!(out, "    {what}: {}", visible(said))?;
        }
    }
    match &request.message {
        Some(message) => writeln!(out, "    because: {}", visible(message)),
        None => Ok(()),
    }
}

/// What of an event is worth a line, in this order.
const SAID: &[(&str, &str)] = &[
    ("would", "the policy only observes; it would"),
    ("approval", "approval"),
    ("approved-by", "approved by"),
    ("approval-reason", "reason of the approval"),
    ("role", "by the role"),
    ("granted-by", "granted by"),
    ("reason", "reason given"),
    ("revealed", "shown unmasked"),
    ("masked-values", "masked values"),
    ("masked-paths", "masked at"),
    ("command", "command"),
    ("budget", "over budget"),
    ("exit-code", "exit code"),
    ("ended", "ended early"),
    ("killed-by", "ended by"),
    ("kill-reason", "reason"),
    ("response-failure", "its answer is not on record"),
    ("recording", "recording"),
    ("recording-failure", "its recording is not whole"),
];
