//! What people did, found in a log of any length with bounded work: the latest commands before a place in it, and one
//! command by the id of one of its requests.

use std::collections::HashMap;
use std::io;

use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;
use uuid::Uuid;

use super::commands::recent::Recent;
use super::commands::{Command, Filter, Gathering, Request, Seen};
use super::follow::{Follower, Place};
use super::segments::Segments;
use crate::limits;

mod backwards;

use backwards::{Backwards, around};

/// A log that is looked into.
#[derive(Clone, Debug)]
pub struct History {
    segments: Segments,
}

/// Some of the commands.
#[derive(Debug)]
pub struct Page {
    /// The latest first.
    pub commands: Vec<Command>,
    /// Where the ones before them are; nothing if there are none.
    pub older: Option<Place>,
}

/// One command.
#[derive(Debug)]
pub struct Told {
    /// What it asked for.
    pub command: Command,
    /// The log went on beyond what was read: what is not over here may be over by now.
    pub cut: bool,
}

/// How long after a request came it may be answered, if it is no stream: a held one waits for minutes.
const ANSWERED_LATE: SignedDuration = SignedDuration::from_mins(10);
/// How far the order of the log may differ from that of times: events of one moment wait for each other.
const OUT_OF_ORDER: SignedDuration = SignedDuration::from_secs(60);
/// How long before one of its requests others of a command are looked for: most have far shorter silences.
const BEGAN_BEFORE: SignedDuration = SignedDuration::from_hours(1);

impl History {
    /// The log of these files.
    #[must_use]
    pub fn new(segments: Segments) -> Self {
        Self { segments }
    }

    /// At most so many commands that match, the latest before a place (or the end), from at most so many bytes of the log
    /// and what is read at once.
    ///
    /// A command whose requests are on both sides of the end of a page is told on both, each time with those that are there.
    pub fn page(
        &self,
        filter: &Filter,
        from: Option<Place>,
        (most, bytes): (usize, u64),
    ) -> io::Result<Page> {
        let mut latest = Latest {
            lines: self.before(filter, from)?,
            ..self.latest(filter)?
        };
        let mut recent = Recent::new(most);
        let mut older = None;
        while let Some(found) = latest.advance(bytes)? {
            if !recent.push(found.request) {
                older = Some(found.place);
                break;
            }
        }
        Ok(Page {
            commands: recent.finish(),
            older: older.or_else(|| latest.rest()),
        })
    }

    /// The requests that match, the latest first.
    pub fn latest(&self, filter: &Filter) -> io::Result<Latest> {
        let stop = match filter.since.map(|since| earlier(since, OUT_OF_ORDER)) {
            Some(since) => around(&self.segments, since)?.0,
            None => Place::default(),
        };
        Ok(Latest {
            lines: Backwards::from_end(self.segments.clone())?,
            stop,
            needles: needles(filter),
            filter: filter.clone(),
            told: HashMap::new(),
            told_max: limits::AUDIT_OPEN_REQUESTS_MAX,
            over: false,
        })
    }

    /// The log from now on.
    pub fn follow(&self) -> io::Result<Follower> {
        Follower::from_end(self.segments.clone())
    }

    fn before(&self, filter: &Filter, from: Option<Place>) -> io::Result<Backwards> {
        let segments = self.segments.clone();
        match (from, filter.until) {
            (Some(place), _) => Backwards::from(segments, place),
            (None, Some(until)) => {
                let (_, place) = around(&segments, later(until, ANSWERED_LATE))?;
                Backwards::from(segments, place)
            }
            (None, None) => Backwards::from_end(segments),
        }
    }

    /// The command that a request belongs to; nothing if there is no such request. It is looked for in so many bytes of the
    /// log before the request came, but an hour at most, and twice in so many from there on.
    pub fn command(&self, id: Uuid, bytes: u64) -> io::Result<Option<Told>> {
        let Some(came) = made(id) else {
            return Ok(None);
        };
        let id = id.to_string();
        let mut found = None;
        let (here, _) = around(&self.segments, earlier(came, OUT_OF_ORDER))?;
        self.read(here, bytes, &id, &mut |seen| {
            let request = Request::from(seen);
            let is = request.audit_id == id;
            if is {
                found = Some(request);
            }
            !is
        })?;
        let Some(request) = found else {
            return Ok(None);
        };
        let run = request.run();
        let session = run.as_ref().map(|run| run.session().to_owned());
        let needle = session.as_deref().map_or_else(|| id.clone(), in_json);
        let filter = Filter {
            id: run.is_none().then_some(id),
            session,
            run,
            ..Filter::default()
        };
        let mut gathering = Gathering::new(request.received);
        let mut before = Latest {
            lines: Backwards::from(self.segments.clone(), here)?,
            stop: around(&self.segments, earlier(came, BEGAN_BEFORE))?.0,
            ..self.latest(&filter)?
        };
        while let Some(found) = before.advance(bytes)? {
            gathering.push(found.request);
        }
        let ended = self.read(here, bytes, &needle, &mut |seen| {
            let request = Request::from(seen);
            if filter.matches(&request) {
                gathering.push(request);
            }
            true
        })?;
        Ok(gathering.finish().map(|command| Told {
            command,
            cut: !ended,
        }))
    }

    /// Hands over the events from a place on whose lines have a text in them, until it is enough or so many bytes were read;
    /// whether the log ended.
    fn read(
        &self,
        from: Place,
        bytes: u64,
        text: &str,
        wants_more: &mut dyn FnMut(Seen) -> bool,
    ) -> io::Result<bool> {
        let mut lines = Follower::at(self.segments.clone(), from);
        let needle = Finder::new(text);
        let mut read = 0;
        while let Some(line) = lines.advance()? {
            read += line.len() as u64;
            if needle.find(&line).is_some()
                && let Some(seen) = Seen::read(&line)
                && !wants_more(seen)
            {
                return Ok(false);
            }
            if read >= bytes {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Requests that match, the latest first, each once and as far as it has come.
#[derive(Debug)]
pub struct Latest {
    lines: Backwards,
    /// Nothing before this place matters.
    stop: Place,
    needles: Vec<Finder<'static>>,
    filter: Filter,
    /// What was met as far as it has come, and when it came: the events before that are earlier stages of it.
    told: HashMap<String, Timestamp>,
    /// With more than these, those are forgotten of which nothing else can come.
    told_max: usize,
    over: bool,
}

/// A request that matches.
#[derive(Debug)]
pub struct Found {
    /// Behind its line.
    pub place: Place,
    /// The line as the log has it.
    pub line: Vec<u8>,
    /// What it says.
    pub request: Request,
}

impl Latest {
    /// The next one; nothing when there is none, or so many bytes of the log have been read in all.
    pub fn advance(&mut self, bytes: u64) -> io::Result<Option<Found>> {
        loop {
            let place = self.lines.place();
            self.over |= place <= self.stop;
            if self.over || self.lines.read >= bytes {
                return Ok(None);
            }
            let Some(line) = self.lines.advance()? else {
                self.over = true;
                return Ok(None);
            };
            let mut needles = self.needles.iter();
            if !needles.all(|needle| needle.find(&line).is_some()) {
                continue;
            }
            let Some(seen) = Seen::read(&line) else {
                continue;
            };
            let written = seen.written();
            let request = Request::from(seen);
            if self.is_earlier_stage(&request, written) || !self.filter.matches(&request) {
                continue;
            }
            return Ok(Some(Found {
                place,
                line,
                request,
            }));
        }
    }

    /// Behind what was not read; nothing if that is nothing.
    pub fn rest(&self) -> Option<Place> {
        (!self.over).then(|| self.lines.place())
    }

    /// How many bytes have been read.
    pub fn read(&self) -> u64 {
        self.lines.read
    }

    fn is_earlier_stage(&mut self, request: &Request, written: Timestamp) -> bool {
        if self.told.len() >= self.told_max {
            let here = later(written, OUT_OF_ORDER);
            self.told.retain(|_, came| *came <= here);
            self.told_max = limits::AUDIT_OPEN_REQUESTS_MAX.max(self.told.len() * 2);
        }
        let id = request.audit_id.clone();
        self.told.insert(id, request.received).is_some()
    }
}

/// What stands in each line that can matter: most lines need not be read as JSON. A request that was allowed when it came
/// may be refused later, so `allow` is in lines that do not match and must be read.
fn needles(filter: &Filter) -> Vec<Finder<'static>> {
    let decision = filter.decision.as_ref().filter(|word| *word != "allow");
    let texts = [
        filter.user.as_ref(),
        filter.agent.as_ref(),
        filter.namespace.as_ref(),
        filter.session.as_ref(),
        decision,
    ];
    let texts = texts.into_iter().flatten().map(|text| in_json(text));
    // Of an id there is only the beginning.
    let texts = texts.chain(filter.id.clone());
    texts.map(|text| Finder::new(&text).into_owned()).collect()
}

/// A text as it stands in a line of the log.
fn in_json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// When an id was made (UUID v7, RFC 9562 §5.7).
pub fn made(id: Uuid) -> Option<Timestamp> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    Timestamp::new(seconds.try_into().ok()?, nanoseconds.try_into().ok()?).ok()
}

fn earlier(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_sub(by).unwrap_or(Timestamp::MIN)
}

fn later(time: Timestamp, by: SignedDuration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
