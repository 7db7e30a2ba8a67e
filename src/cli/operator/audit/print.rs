//! Commands and requests for people. Most of what is told was chosen by callers.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::audit::commands::{Command, Request};
use crate::cli::output::{clean, print_compact, print_table};

/// A table with a line for each command; what was asked for comes last, since it may be long.
pub(super) fn commands(commands: &[Command], out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![
        [
            "ID",
            "STARTED",
            "DECISION",
            "CODE",
            "WHO",
            "CLAIMED",
            "ASKED FOR",
        ]
        .map(str::to_owned),
    ];
    rows.extend(commands.iter().map(command_row));
    print_table(&rows, out)
}

fn command_row(command: &Command) -> [String; 7] {
    let chief = command.chief();
    [
        command.id.clone(),
        time(command.started),
        command.decision.clone(),
        chief.map(code).unwrap_or_default(),
        who(&command.user, command.agent.as_deref()),
        command.claimed_command.clone().unwrap_or_default(),
        command.asked(),
    ]
    .map(|cell| clean(&cell))
}

/// A table with a line for each request.
pub(super) fn requests(commands: &[Command], out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![
        [
            "ID",
            "RECEIVED",
            "DECISION",
            "CODE",
            "WHO",
            "ASKED FOR",
            "RULE",
        ]
        .map(str::to_owned),
    ];
    let requests = commands.iter().flat_map(|command| &command.requests);
    rows.extend(requests.map(request_row));
    print_table(&rows, out)
}

fn request_row(request: &Request) -> [String; 7] {
    [
        request.audit_id.clone(),
        time(request.received),
        request.decision.clone(),
        code(request),
        who(&request.user, request.agent.as_deref()),
        request.asked(),
        request.rule.clone().unwrap_or_default(),
    ]
    .map(|cell| clean(&cell))
}

/// One request as one line.
pub(super) fn line(request: &Request, out: &mut dyn Write) -> io::Result<()> {
    let [_, received, decision, code, who, asked, rule] = request_row(request);
    let mut text = format!("{received}  {decision:<6}  {code:<4}  {who}  {asked}");
    if !rule.is_empty() {
        text = format!("{text}  [{rule}]");
    }
    if request.decision != "allow"
        && let Some(message) = &request.message
    {
        text = format!("{text}: {}", clean(message));
    }
    writeln!(out, "{text}")
}

/// One request as one line of JSON.
pub(super) fn json_line(request: &Request, out: &mut dyn Write) -> anyhow::Result<()> {
    print_compact(request, out)
}

/// Everything that is known of a command.
pub(super) fn command(command: &Command, out: &mut dyn Write) -> io::Result<()> {
    put(out, "id", &command.id)?;
    put(out, "user", &command.user)?;
    put(out, "agent", command.agent.as_deref().unwrap_or_default())?;
    put(
        out,
        "claimed",
        command.claimed_command.as_deref().unwrap_or_default(),
    )?;
    put(out, "started", &command.started.to_string())?;
    put(out, "decision", &command.decision)?;
    if command.discovery > 0 {
        put(out, "discovery", &format!("{} requests", command.discovery))?;
    }
    for request in &command.requests {
        writeln!(out)?;
        put(out, "request", &request.audit_id)?;
        put(out, "asked for", &request.asked())?;
        put(out, "received", &request.received.to_string())?;
        put(out, "decision", &request.decision)?;
        put(out, "rule", request.rule.as_deref().unwrap_or_default())?;
        put(
            out,
            "cluster",
            request.cluster.as_deref().unwrap_or_default(),
        )?;
        put(out, "code", &code(request))?;
        put(
            out,
            "message",
            request.message.as_deref().unwrap_or_default(),
        )?;
        for (name, value) in &request.annotations {
            put(out, name, value)?;
        }
    }
    if command.more_requests > 0 {
        writeln!(out, "\nand {} more requests", command.more_requests)?;
    }
    Ok(())
}

fn put(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    if value.is_empty() {
        return Ok(());
    }
    writeln!(out, "{name:<20} {}", clean(value))
}

/// The code of the answer; that it is not over.
pub(in crate::cli::operator) fn code(request: &Request) -> String {
    match request.code {
        Some(code) if request.over => code.to_string(),
        _ => "open".to_owned(),
    }
}

fn who(user: &str, agent: Option<&str>) -> String {
    match agent {
        Some(agent) => format!("{user} ({agent})"),
        None if user.is_empty() => "-".to_owned(),
        None => user.to_owned(),
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
