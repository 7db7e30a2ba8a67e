//! Everything that somebody did, on one timeline: commands, decisions, what they saw, shells.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, ensure};
use jiff::Timestamp;
use serde::Serialize;

use super::terminal::Keyboard;
use super::{Args, Show, answer, told};
use crate::audit::commands::{Command, Filter, Gathering, Request};
use crate::audit::log::FILE;
use crate::audit::responses::read::{Saw, Shelf, State};
use crate::audit::segments::Segments;
use crate::cli::operator::audit::list::read;
use crate::cli::operator::sessions::time;
use crate::cli::output::{Outcome, Output, print_compact};
use crate::limits;
use crate::recording::index::Catalog;
use crate::recording::replay::filter::visible;
use crate::recording::replay::player::{Key, Player};
use crate::recording::replay::{Reader, files, transcript};

/// Whose doings are played, and since when.
#[derive(Clone, Debug, clap::Args)]
pub struct Whose {
    /// Play everything that this user did, or an agent for them
    #[arg(long, value_name = "NAME", help_heading = "A whole run", conflicts_with_all = ["server", "search", "keep_escapes", "from"])]
    pub caller: Option<String>,

    /// Only what this agent did
    #[arg(long, value_name = "NAME", help_heading = "A whole run", conflicts_with_all = ["server", "search", "keep_escapes", "from"])]
    pub agent: Option<String>,

    /// Only from this time on: 2026-11-20T08:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "24h", help_heading = "A whole run")]
    pub since: Timestamp,

    /// Only before this time
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "A whole run")]
    pub until: Option<Timestamp>,

    /// Show answers and transcripts to their ends
    #[arg(long, help_heading = "A whole run")]
    pub full: bool,

    /// The file that the gateway writes, if the configuration keeps it elsewhere (audit.file)
    #[arg(long, value_name = "FILE", help_heading = "A whole run")]
    pub audit_file: Option<PathBuf>,

    /// How to print a run: for people, or a line of JSON for each request
    #[arg(
        short,
        long,
        value_enum,
        default_value_t = Output::Text,
        help_heading = "A whole run",
        conflicts_with = "recording"
    )]
    pub output: Output,
}

/// One request with what there is of it besides its event.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    /// The id of its command.
    command: &'a str,
    #[serde(flatten)]
    request: &'a Request,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Response>,
    /// The transcript of its session.
    #[serde(skip_serializing_if = "Option::is_none")]
    transcript: Option<Vec<String>>,
}

#[derive(Serialize)]
struct Response {
    state: State,
    cut: bool,
    body: serde_json::Value,
}

/// Where the parts of a run are.
struct Sources {
    shelf: Shelf,
    catalog: Catalog,
}

/// Plays a run, or writes all of it at once.
pub(super) fn replay(
    args: &Args,
    plays: bool,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> anyhow::Result<Outcome> {
    let (commands, more) = commands(args)?;
    if more {
        let most = limits::AUDIT_COMMANDS_LISTED_MAX;
        writeln!(
            notes,
            "note: these are the latest {most} commands; --since and --until choose others"
        )?;
    }
    if commands.is_empty() {
        writeln!(
            notes,
            "note: nothing since {}; --since goes back further, `portcullis audit ls` lists who did something",
            args.whose.since
        )?;
        return Ok(Outcome::Problems);
    }
    let catalog = Catalog::of(&args.target.data_dir);
    let sources = Sources {
        shelf: Shelf::of(catalog.directory()),
        catalog,
    };
    if args.whose.output == Output::Json {
        for (command, request) in in_order(&commands) {
            print_compact(&sources.told(command, request)?, out)?;
        }
        return Ok(Outcome::Good);
    }
    let mut stage = Stage {
        args,
        sources,
        clock: plays.then_some(args.whose.since),
        out,
    };
    for command in &commands {
        if !stage.command(command)? {
            break;
        }
    }
    Ok(Outcome::Good)
}

fn in_order(commands: &[Command]) -> impl Iterator<Item = (&Command, &Request)> {
    let of = |command| std::iter::repeat(command);
    commands
        .iter()
        .flat_map(move |command| of(command).zip(&command.requests))
}

/// What they did, in the order in which it began; whether there was more.
fn commands(args: &Args) -> anyhow::Result<(Vec<Command>, bool)> {
    let whose = &args.whose;
    ensure!(
        args.target.data_dir.is_dir(),
        "{} is not a directory; --data-dir names the dataDirectory of a gateway",
        args.target.data_dir.display()
    );
    if whose.until.is_some_and(|until| until <= whose.since) {
        bail!("--until is not after --since");
    }
    let filter = Filter {
        user: whose.caller.clone(),
        agent: whose.agent.clone(),
        since: Some(whose.since),
        until: whose.until,
        ..Filter::default()
    };
    let file = whose.audit_file.clone();
    let segments = Segments::of(&file.unwrap_or_else(|| args.target.data_dir.join(FILE)));
    let mut gathering = Gathering::new(filter, limits::AUDIT_COMMANDS_LISTED_MAX);
    read(&segments, Some(whose.since), &mut |seen| {
        gathering.push(seen);
    })?;
    let (mut commands, more) = gathering.finish();
    for command in &mut commands {
        command.requests.sort_by_key(|request| request.received);
    }
    Ok((commands, more))
}

impl Sources {
    /// What the caller saw of a request's answer, if that was kept.
    fn saw(&self, request: &Request) -> io::Result<Option<Saw>> {
        let note = |name: &str| request.annotations.get(name);
        match note("response") {
            Some(digest) => {
                let kept = note("response-bytes").and_then(|bytes| bytes.parse().ok());
                self.shelf.find(digest, kept.unwrap_or_default())
            }
            None if request.over => Ok(None),
            None => self.shelf.unfinished(&request.audit_id),
        }
    }

    /// The recording of a request's session, from its beginning.
    fn recording(&self, request: &Request) -> anyhow::Result<Option<Reader>> {
        if !request.annotations.contains_key("recording") {
            return Ok(None);
        }
        let parts = self.catalog.parts(&request.audit_id)?;
        if parts.is_empty() {
            return Ok(None);
        }
        Ok(Some(Reader::new(files::open(parts))?))
    }

    fn told<'a>(&self, command: &'a Command, request: &'a Request) -> anyhow::Result<Told<'a>> {
        let response = self.saw(request)?.map(|saw| Response {
            state: saw.state,
            cut: saw.cut,
            body: answer::as_json(&saw.bytes),
        });
        let transcript = self
            .recording(request)?
            .map(|mut reader| lines(&mut reader))
            .transpose()?;
        Ok(Told {
            command: &command.id,
            request,
            response,
            transcript,
        })
    }
}

/// A transcript, as far as it is shown.
fn lines(reader: &mut Reader) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    transcript::lines(reader, &mut |line| {
        if found.len() < limits::REPLAY_TRANSCRIPT_LINES_MAX {
            found.push(line.text);
        }
    })?;
    Ok(found)
}

/// Where a run is shown.
struct Stage<'a> {
    args: &'a Args,
    sources: Sources,
    /// What was shown last happened then, where it is shown at its pace.
    clock: Option<Timestamp>,
    out: &'a mut dyn Write,
}

impl Stage<'_> {
    /// Shows one command; false when whoever looks has enough.
    fn command(&mut self, command: &Command) -> anyhow::Result<bool> {
        if !self.wait(command.started)? {
            return Ok(false);
        }
        told::heading(command, self.out)?;
        for request in &command.requests {
            if !self.wait(request.received)? {
                return Ok(false);
            }
            self.request(request)?;
        }
        if command.more_requests > 0 {
            writeln!(self.out, "  and {} more requests", command.more_requests)?;
        }
        writeln!(self.out)?;
        self.out.flush()?;
        Ok(true)
    }

    fn request(&mut self, request: &Request) -> anyhow::Result<()> {
        told::request(request, self.out)?;
        match self.sources.saw(request)? {
            Some(saw) => self.answer(request, &saw)?,
            None if request.annotations.contains_key("response") => {
                writeln!(
                    self.out,
                    "    (its answer was kept, and is not there any more)"
                )?;
            }
            None => {}
        }
        self.session(request)
    }

    fn answer(&mut self, request: &Request, saw: &Saw) -> anyhow::Result<()> {
        let form = request.annotations.get("response-type");
        let shown = answer::lines(&saw.bytes, form.map_or("", String::as_str));
        self.block("│", &shown)?;
        let note = match saw.state {
            State::Altered => {
                "THIS IS NOT WHAT WAS KEPT: it has another digest than the audit log says"
            }
            State::Unfinished => "not over, or the gateway ended before it",
            State::Verified if saw.cut => "cut here: the answer was longer than what is kept",
            State::Verified => return Ok(()),
        };
        Ok(writeln!(self.out, "    ({note})")?)
    }

    /// Plays the session at its own pace, or prints what it showed.
    fn session(&mut self, request: &Request) -> anyhow::Result<()> {
        let Some(mut reader) = self.sources.recording(request)? else {
            if request.annotations.contains_key("recording") {
                writeln!(self.out, "    (its recording is not there any more)")?;
            }
            return Ok(());
        };
        if self.clock.is_none() {
            let shown = lines(&mut reader)?;
            return self.block("┃", &shown);
        }
        let open = || {
            let parts = self
                .sources
                .catalog
                .parts(&request.audit_id)
                .unwrap_or_default();
            Reader::new(files::open(parts))
        };
        let mut show = Show::new(
            &open,
            reader,
            player(self.args),
            false,
            Vec::new(),
            self.out,
        );
        show.play(Duration::ZERO)?;
        writeln!(self.out)?;
        self.clock = Some(request.at);
        Ok(())
    }

    /// Lines behind a bar, at most as many as one likes to scroll past.
    fn block(&mut self, bar: &str, lines: &[String]) -> anyhow::Result<()> {
        let most = if self.args.whose.full {
            usize::MAX
        } else {
            LINES_SHOWN
        };
        for line in lines.iter().take(most) {
            writeln!(self.out, "    {bar} {}", visible(line).trim_end())?;
        }
        if lines.len() > most {
            let more = lines.len() - most;
            writeln!(
                self.out,
                "    {bar} ... {more} more lines; --full shows them"
            )?;
        }
        Ok(())
    }

    /// Waits as long as they did, but for long pauses. `q` ends, any other key goes on at once.
    fn wait(&mut self, until: Timestamp) -> anyhow::Result<bool> {
        let Some(before) = self.clock else {
            return Ok(true);
        };
        self.clock = Some(before.max(until));
        self.out.flush()?;
        let gap = Duration::try_from(until.duration_since(before)).unwrap_or_default();
        let wait = player(self.args).wait(gap).unwrap_or_default();
        let Some(keyboard) = Keyboard::open(false)? else {
            std::thread::sleep(wait);
            return Ok(true);
        };
        Ok(!keyboard.read(Some(wait))?.contains(&Key::Quit))
    }
}

fn player(args: &Args) -> Player {
    let idle_limit = (args.idle_limit > Duration::ZERO).then_some(args.idle_limit);
    Player::new(args.speed, idle_limit)
}

/// Lines of an answer or a transcript: about a screen.
const LINES_SHOWN: usize = 20;
