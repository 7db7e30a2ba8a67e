//! Writes a recording as one file: the asciicast of all parts, plain text, or a page that plays it.

use std::io::{self, Write};

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::filter::{Filter, visible};
use super::transcript::{self, hidden_note};
use super::{Flaws, Parts, ReadError, Reader, clock_face};
use crate::limits::RECORDING_HTML_BYTES_MAX as HTML_MAX;
use crate::recording::metadata::Metadata;
use crate::wire::asciicast::{EXIT, MARKER, OUTPUT, RESIZE};

/// The program and the looks of the page. Neither has anything of a recording in it.
const SCRIPT: &str = include_str!("player.js");
const STYLE: &str = include_str!("player.css");

/// What a recording is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One asciicast of all parts, as it was recorded: nothing is filtered.
    Cast,
    /// A transcript without escape sequences.
    Text,
    /// One page that plays the recording and loads nothing.
    Html,
}

/// A recording was not written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output cannot be written.
    #[error("cannot write the export: {0}")]
    Write(#[from] io::Error),
}

/// Writes the recording; says what is wrong with it, which its reader should be told.
pub fn export(format: Format, parts: Parts, out: &mut dyn Write) -> Result<Flaws, ExportError> {
    let mut reader = Reader::new(parts)?;
    match format {
        Format::Cast => cast(&mut reader, out)?,
        Format::Text => text(&mut reader, out)?,
        Format::Html => html(&mut reader, out)?,
    }
    out.flush()?;
    Ok(reader.flaws())
}

/// Times go on from part to part in both versions, so the lines of all parts are one recording.
fn cast(reader: &mut Reader, out: &mut dyn Write) -> Result<(), ExportError> {
    put_line(reader.header_line(), out)?;
    while let Some(line) = reader.next_line()? {
        put_line(line, out)?;
    }
    Ok(())
}

fn put_line(line: &[u8], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(line)?;
    if line.ends_with(b"\n") {
        return Ok(());
    }
    out.write_all(b"\n")
}

fn text(reader: &mut Reader, out: &mut dyn Write) -> Result<(), ExportError> {
    let mut written = Ok(());
    transcript::lines(reader, &mut |line| {
        if written.is_ok() {
            written = writeln!(out, "{}", line.text);
        }
    })?;
    if reader.flaws() != Flaws::default() {
        writeln!(out, "[portcullis: {}]", reader.flaws())?;
    }
    Ok(written?)
}

/// What the page needs to begin.
#[derive(Serialize)]
struct Page {
    columns: u16,
    rows: u16,
    tty: bool,
}

fn html(reader: &mut Reader, out: &mut dyn Write) -> Result<(), ExportError> {
    let metadata = reader.metadata();
    let title = match &metadata {
        Some(metadata) => format!("{} {}", metadata.kind, metadata.target()),
        None => "Recording".to_owned(),
    };
    head(&title, out)?;
    facts(&rows(reader, metadata.as_ref()), out)?;
    out.write_all(b"<noscript><p>This page needs JavaScript to play the recording. It loads nothing.</p></noscript>\n<main id=\"player\"></main>\n")?;
    let page = Page {
        columns: reader.header().columns,
        rows: reader.header().rows,
        tty: metadata.is_none_or(|metadata| metadata.tty),
    };
    out.write_all(b"<script type=\"application/json\" id=\"page\">")?;
    put_data(&page, out)?;
    out.write_all(b"</script>\n<script type=\"application/json\" id=\"events\">[\n")?;
    let note = events(reader, out)?;
    out.write_all(b"]</script>\n")?;
    for note in note {
        writeln!(out, "<p class=\"note\">{}</p>", escaped(&note))?;
    }
    writeln!(out, "<script>{SCRIPT}</script>\n</body>\n</html>")?;
    Ok(())
}

/// The head of the page. Its policy names the only program and the only style that may run by their
/// digest: what a recording brings along cannot, even if it got out of its place.
fn head(title: &str, out: &mut dyn Write) -> io::Result<()> {
    let source = |content: &str| {
        let digest = digest::digest(&digest::SHA256, content.as_bytes());
        BASE64.encode(digest.as_ref())
    };
    let title = escaped(&visible(title));
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'sha256-{}'; \
         style-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n",
        source(SCRIPT),
        source(STYLE),
    )
}

/// What is known about the session, as pairs to show.
fn rows(reader: &Reader, metadata: Option<&Metadata>) -> Vec<(&'static str, String)> {
    let Some(metadata) = metadata else {
        let command = reader.header().command.clone().unwrap_or_default();
        return vec![("Command", command)];
    };
    let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
    vec![
        ("Id", metadata.id.clone()),
        ("Started", metadata.started.to_string()),
        ("Cluster", metadata.cluster.clone()),
        ("Target", metadata.target()),
        ("Command", metadata.command_line()),
        ("User", metadata.user.clone()),
        ("Groups", metadata.groups.join(", ")),
        ("Agent", or_empty(&metadata.agent)),
        ("Address", metadata.source_ip.clone()),
        ("Client", metadata.user_agent.clone()),
        ("Transport", metadata.transport.clone()),
        ("Rule", metadata.rule.clone()),
        ("Approval", or_empty(&metadata.approval_id)),
    ]
}

fn facts(rows: &[(&str, String)], out: &mut dyn Write) -> io::Result<()> {
    out.write_all(b"<dl>\n")?;
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let value = escaped(&visible(value));
        writeln!(out, "<dt>{name}</dt><dd>{value}</dd>")?;
    }
    out.write_all(b"</dl>\n")
}

/// Writes `[seconds, code, data]` for everything the page shows; what is to be said below it.
fn events(reader: &mut Reader, out: &mut dyn Write) -> Result<Vec<String>, ExportError> {
    let mut filter = Filter::default();
    let (mut bytes, mut first, mut notes) = (0, true, Vec::new());
    while let Some(moment) = reader.next_moment()? {
        let (code, data) = match moment.code.as_str() {
            OUTPUT => {
                let mut drawn = String::new();
                filter.push(&moment.data, &mut drawn);
                (if moment.stderr { "e" } else { OUTPUT }, drawn)
            }
            MARKER | EXIT => (moment.code.as_str(), visible(&moment.data)),
            RESIZE => (RESIZE, moment.data),
            _ => continue,
        };
        if data.is_empty() {
            continue;
        }
        bytes += data.len();
        if bytes > HTML_MAX {
            notes.push(format!(
                "portcullis: cut at {}: a page holds at most {HTML_MAX} bytes of output; the .cast and the text have all of it",
                clock_face(moment.at)
            ));
            break;
        }
        if !std::mem::take(&mut first) {
            out.write_all(b",\n")?;
        }
        put_data(&(moment.at.as_secs_f64(), code, data), out)?;
    }
    if filter.hidden() > 0 {
        notes.push(hidden_note(filter.hidden()));
    }
    if reader.flaws() != Flaws::default() {
        notes.push(format!("portcullis: {}", reader.flaws()));
    }
    Ok(notes)
}

/// JSON inside a script element: nothing in it can end the element or begin a comment.
fn put_data<T: Serialize>(value: &T, out: &mut dyn Write) -> io::Result<()> {
    let json = serde_json::to_string(value)?;
    for (at, piece) in json.split('<').enumerate() {
        if at > 0 {
            out.write_all(b"\\u003c")?;
        }
        out.write_all(piece.as_bytes())?;
    }
    Ok(())
}

/// Text inside an element or an attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
