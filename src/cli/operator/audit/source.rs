//! Where the commands get events from: the files of a log, or a running gateway.

use std::time::Duration;

use anyhow::{Context as _, bail};

use super::LogArgs;
use crate::audit::commands::{Filter, Request, Seen};
use crate::audit::history::History;
use crate::audit::log::FILE;
use crate::audit::segments::Segments;
use crate::cli::operator::client::Client;
use crate::cli::output::talk;
use crate::identity::client::login::encoded;

/// A log.
pub(in crate::cli::operator) enum Log {
    /// Its files, within reach.
    Files(Segments),
    /// A gateway that has it.
    Gateway(Box<Client>),
}

/// What is done with an event; whether there may be more.
pub(in crate::cli::operator) type Wanted<'a> = &'a mut dyn FnMut(Request) -> anyhow::Result<bool>;

/// How long to wait for the next line of a file.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);

impl Log {
    /// The one that is named.
    pub(in crate::cli::operator) fn open(args: &LogArgs) -> anyhow::Result<Self> {
        if let Some(client) = Client::elsewhere(&args.target)? {
            return Ok(Self::Gateway(Box::new(client)));
        }
        let inside = args.target.data_dir.join(FILE);
        let file = args.file.as_ref().unwrap_or(&inside);
        Ok(Self::Files(Segments::of(file)))
    }

    /// The requests that match, the latest first, each once and as far as it has come.
    pub(in crate::cli::operator) fn latest(
        &self,
        filter: &Filter,
        wanted: Wanted<'_>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Files(segments) => of_files(segments, filter, wanted),
            Self::Gateway(client) => {
                let path = format!("/v1/audit/events?{}", query(filter));
                talk(client.lines_while(&path, &mut |line| hand_on(line, filter, wanted)))
            }
        }
    }

    /// Every event that matches from now on, until nobody wants more. `idle` is called when there is none for the moment.
    pub(super) fn follow(
        &self,
        filter: &Filter,
        wanted: Wanted<'_>,
        idle: &mut dyn FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        match self {
            Self::Files(segments) => {
                let cannot = || unreadable(segments);
                let history = History::new(segments.clone());
                let mut follower = history.follow().with_context(cannot)?;
                loop {
                    match follower.advance().with_context(cannot)? {
                        Some(line) if hand_on(&line, filter, wanted)? => {}
                        Some(_) => return Ok(()),
                        None => {
                            idle()?;
                            std::thread::sleep(LOOK_AGAIN_AFTER);
                        }
                    }
                }
            }
            Self::Gateway(client) => {
                let path = format!("/v1/audit/events?follow=true&{}", query(filter));
                talk(client.lines_while(&path, &mut |line| {
                    let more = hand_on(line, filter, wanted)?;
                    idle()?;
                    Ok(more)
                }))
            }
        }
    }
}

fn of_files(segments: &Segments, filter: &Filter, wanted: Wanted<'_>) -> anyhow::Result<()> {
    let cannot = || unreadable(segments);
    let is_there = segments.active().try_exists().with_context(cannot)?;
    if !is_there && segments.numbers().with_context(cannot)?.is_empty() {
        bail!(
            "there is no audit log at {}; --data-dir names the dataDirectory of a gateway, --file its audit.file",
            segments.active().display()
        );
    }
    let history = History::new(segments.clone());
    let mut latest = history.latest(filter).with_context(cannot)?;
    while let Some(found) = latest.advance(u64::MAX).with_context(cannot)? {
        if !wanted(found.request)? {
            break;
        }
    }
    Ok(())
}

fn unreadable(segments: &Segments) -> String {
    format!(
        "{} cannot be read; --data-dir names the dataDirectory of a gateway, --file its audit.file",
        segments.active().display()
    )
}

/// Hands on what a line says, if it matches.
fn hand_on(line: &[u8], filter: &Filter, wanted: Wanted<'_>) -> anyhow::Result<bool> {
    match Seen::read(line).map(Request::from) {
        Some(request) if filter.matches(&request) => wanted(request),
        _ => Ok(true),
    }
}

/// A filter as the query of a call.
fn query(filter: &Filter) -> String {
    let time = |at: Option<jiff::Timestamp>| at.map(|at| at.to_string());
    let pairs = [
        ("id", filter.id.clone()),
        ("user", filter.user.clone()),
        ("agent", filter.agent.clone()),
        ("namespace", filter.namespace.clone()),
        ("verb", filter.verb.clone()),
        ("decision", filter.decision.clone()),
        ("session", filter.session.clone()),
        ("since", time(filter.since)),
        ("until", time(filter.until)),
    ];
    let pairs = pairs.into_iter().filter_map(|(name, value)| {
        let value = value?;
        Some(format!("{name}={}", encoded(&value)))
    });
    pairs.collect::<Vec<_>>().join("&")
}
