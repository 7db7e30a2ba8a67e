//! Sessions for people.

use std::io::{self, Write};

use crate::cli::output::{clean, print_table};
use crate::control::sessions::Details;
use crate::recording::Summary;
use crate::recording::index::Session;
use crate::recording::replay::search::Hit;

/// A table; the command comes last, since it may be long.
pub(super) fn list(sessions: &[Session], out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![
        [
            "ID", "STARTED", "VERDICT", "EXIT", "TIME", "WHO", "POD", "COMMAND",
        ]
        .map(str::to_owned),
    ];
    rows.extend(sessions.iter().map(row));
    print_table(&rows, out)
}

fn row(session: &Session) -> [String; 8] {
    let metadata = &session.metadata;
    let who = match &metadata.agent {
        Some(agent) => format!("{} ({agent})", metadata.user),
        None => metadata.user.clone(),
    };
    let command = if metadata.command.is_empty() {
        format!("[{}]", metadata.kind)
    } else {
        metadata.command_line()
    };
    let mut verdict = session.verdict.clone();
    if !session.recorded {
        verdict.push_str(" (not recorded)");
    }
    [
        metadata.id.clone(),
        metadata.started.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
        verdict,
        session
            .exit_code
            .map_or_else(String::new, |code| code.to_string()),
        clock(session.duration_ms),
        who,
        metadata.target(),
        command,
    ]
    .map(|cell| clean(&cell))
}

/// Everything that is known of a session.
pub(super) fn details(details: &Details, out: &mut dyn Write) -> io::Result<()> {
    let session = &details.session;
    let metadata = &session.metadata;
    let mut put = |name: &str, value: &str| put(out, name, value);
    put("id", &metadata.id)?;
    put("kind", &metadata.kind)?;
    put("user", &metadata.user)?;
    put("groups", &metadata.groups.join(", "))?;
    put("agent", metadata.agent.as_deref().unwrap_or_default())?;
    put("from", &metadata.source_ip)?;
    put("client", &metadata.user_agent)?;
    put("transport", &metadata.transport)?;
    put("cluster", &metadata.cluster)?;
    put("pod", &metadata.target())?;
    put("node", metadata.node.as_deref().unwrap_or_default())?;
    put("command", &metadata.command_line())?;
    put("rule", &metadata.rule)?;
    put("started", &metadata.started.to_string())?;
    put(
        "ended",
        &session.ended.map_or_else(String::new, |at| at.to_string()),
    )?;
    put("time", &clock(session.duration_ms))?;
    put("verdict", &session.verdict)?;
    put(
        "exit code",
        &session
            .exit_code
            .map_or_else(String::new, |code| code.to_string()),
    )?;
    if !session.recorded {
        return put("recording", "none");
    }
    put("recording", &format!("{} bytes", session.recorded_bytes))?;
    match &details.summary {
        Some(summary) => sealed(summary, out),
        None => Ok(()),
    }
}

/// What the sidecar adds.
fn sealed(summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
    let mut put = |name: &str, value: &str| put(out, name, value);
    put("detail", summary.detail.as_deref().unwrap_or_default())?;
    let bytes = &summary.bytes;
    put(
        "passed",
        &format!(
            "{} in, {} out",
            bytes.stdin + bytes.data_sent,
            bytes.stdout + bytes.stderr + bytes.data_received
        ),
    )?;
    for part in &summary.parts {
        put(
            "part",
            &format!("{} {} bytes, BLAKE3 {}", part.file, part.bytes, part.blake3),
        )?;
    }
    if let Some(copy) = &summary.copy {
        let what = format!(
            "{} members, {} bytes, SHA-256 {}",
            copy.members, copy.bytes, copy.sha256
        );
        put("copied", &what)?;
        put("names", &copy.names.join(", "))?;
    }
    if summary.capped {
        put("incomplete", "the recording reached its size cap")?;
    }
    if summary.truncated {
        put("incomplete", "the gateway ended before the session did")?;
    }
    put("incomplete", summary.failure.as_deref().unwrap_or_default())
}

/// A line for what is known; none for what is not.
fn put(out: &mut dyn Write, name: &str, value: &str) -> io::Result<()> {
    if value.is_empty() {
        return Ok(());
    }
    writeln!(out, "{name:<12} {}", clean(value))
}

/// Where a text was found.
pub(super) fn hits(hits: &[Hit], out: &mut dyn Write) -> io::Result<()> {
    for hit in hits {
        let what = format!(
            "{} {} {}/{} {} {}: {}",
            hit.id,
            hit.user,
            hit.namespace,
            hit.pod,
            clock(hit.at_ms),
            hit.stream.as_str(),
            hit.text
        );
        writeln!(out, "{}", clean(&what))?;
    }
    Ok(())
}

/// `1:02:03`.
fn clock(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    format!(
        "{}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}
