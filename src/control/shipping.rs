//! Sends the audit log elsewhere, in batches: to a program that takes what the API server's audit webhook sends, and to
//! an OpenTelemetry collector.
//!
//! What is sent is read from the files of the log, from a place that is kept in the data directory. So nothing
//! waits in memory, nothing waits for the other program, and what it missed it gets when it is back, however
//! long that takes and however often the gateway is restarted. It may get a batch twice, and none never.

pub mod collector;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use collector::Collector;

use super::webhook::post::Failure;
use super::webhook::{self, Hook};
use crate::audit::follow::{Follower, Place};
use crate::audit::segments::{Segments, replace};
use crate::limits;
use crate::metrics::{AuditSink, Metrics};

/// Where a log is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settings {
    /// To a program.
    Webhook(webhook::Settings),
    /// To an OpenTelemetry collector.
    Collector(collector::Settings),
}

enum Sink {
    Webhook(Box<Hook>),
    Collector(Box<Collector>),
}

/// Sends one log to one place.
pub struct Shipping {
    sink: Sink,
    follower: Follower,
    place_file: PathBuf,
    metrics: Metrics,
}

impl Shipping {
    /// Reads what the settings name, and how far it has come.
    pub fn open(
        settings: &Settings,
        audit_file: &Path,
        data_directory: &Path,
        metrics: Metrics,
    ) -> Result<Self, String> {
        if !audit_file.is_file() {
            let name = audit_file.display();
            return Err(format!(
                "it needs a log that can be read again, and {name} is no file"
            ));
        }
        let sink = match settings {
            Settings::Webhook(settings) => Sink::Webhook(Box::new(Hook::open(settings)?)),
            Settings::Collector(settings) => Sink::Collector(Box::new(Collector::open(settings)?)),
        };
        let place_file = data_directory.join(sink.place_file());
        let place = read_place(&place_file)
            .map_err(|error| format!("{}: {error}", place_file.display()))?;
        Ok(Self {
            sink,
            follower: Follower::at(Segments::of(audit_file), place),
            place_file,
            metrics,
        })
    }

    /// Sends what there is, and then what comes, until the end.
    pub async fn run(self, end: CancellationToken) {
        tokio::select! {
            () = end.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(mut self) {
        let mut failing = false;
        loop {
            // Disks can be slow, and health and metrics are answered by this thread.
            let read = tokio::task::spawn_blocking(move || {
                let batch = Batch::read(&mut self.follower);
                (self, batch)
            });
            let Ok((back, batch)) = read.await else {
                return; // the runtime ends
            };
            self = back;
            self.report();
            match batch {
                Ok(batch) if !batch.events.is_empty() => self.deliver(&batch.events).await,
                Ok(batch) if batch.read => {}
                Ok(_) => {
                    tokio::time::sleep(LOOK_AGAIN_AFTER).await;
                    continue;
                }
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::error!(%error, "the audit log cannot be read to be sent");
                    }
                    tokio::time::sleep(PAUSE_MAX).await;
                    continue;
                }
            }
            failing = false;
            let (file, place) = (self.place_file.clone(), self.follower.place());
            let kept = tokio::task::spawn_blocking(move || keep_place(&file, place));
            if let Ok(Err(error)) = kept.await {
                tracing::warn!(%error, "how far the audit log was sent is not kept; after a restart some of it is sent again");
            }
        }
    }

    /// Tries until it is taken.
    async fn deliver(&self, events: &[Box<RawValue>]) {
        let mut pause = PAUSE_MIN;
        while let Err(why) = self.sink.post(events).await {
            if pause == PAUSE_MIN {
                tracing::error!(
                    to = self.sink.name(), %why,
                    "the audit log is not taken; it is kept and sent later"
                );
            }
            self.report();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        if pause > PAUSE_MIN {
            tracing::info!(to = self.sink.name(), "the audit log is taken again");
        }
    }

    fn report(&self) {
        let behind = self.follower.behind();
        self.metrics
            .audit_shipped(self.sink.kind(), behind, self.follower.lost_segments());
    }
}

impl Sink {
    fn kind(&self) -> AuditSink {
        match self {
            Self::Webhook(_) => AuditSink::Webhook,
            Self::Collector(_) => AuditSink::Otlp,
        }
    }

    /// The name in the data directory of the file that says how far it has come.
    fn place_file(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "audit-webhook.json",
            Self::Collector(_) => "audit-otlp.json",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Webhook(hook) => hook.name(),
            Self::Collector(collector) => collector.name(),
        }
    }

    /// Tries once.
    async fn post(&self, events: &[Box<RawValue>]) -> Result<(), Failure> {
        match self {
            Self::Webhook(hook) => hook.post(&event_list(events)).await,
            Self::Collector(collector) => collector.post(events).await,
        }
    }
}

/// As the API server's audit webhook sends them.
fn event_list(events: &[Box<RawValue>]) -> String {
    let events: Vec<&str> = events.iter().map(|event| event.get()).collect();
    format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{}]}}"#,
        events.join(",")
    )
}

/// Events that are sent as one.
#[derive(Default)]
struct Batch {
    events: Vec<Box<RawValue>>,
    bytes: usize,
    /// Something was read, if only what is no event.
    read: bool,
}

impl Batch {
    /// Reads what there is, up to the bounds of a batch.
    fn read(follower: &mut Follower) -> io::Result<Self> {
        let mut batch = Self::default();
        while batch.events.len() < limits::AUDIT_SHIPPED_EVENTS_MAX
            && batch.bytes < limits::AUDIT_SHIPPED_BYTES_MAX
        {
            let Some(line) = follower.advance()? else {
                break;
            };
            batch.read = true;
            batch.push(&line);
        }
        Ok(batch)
    }

    /// What a crash tore is no event, and stays in the file only.
    fn push(&mut self, line: &[u8]) {
        if let Ok(event) = serde_json::from_slice::<Box<RawValue>>(line) {
            self.bytes += line.len();
            self.events.push(event);
        }
    }
}

/// How far it has come; from the beginning if nothing says so.
fn read_place(file: &Path) -> io::Result<Place> {
    match std::fs::read(file) {
        Ok(text) => Ok(serde_json::from_slice(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Place::default()),
        Err(error) => Err(error),
    }
}

fn keep_place(file: &Path, place: Place) -> io::Result<()> {
    replace(file, &serde_json::to_vec(&place)?)
}

/// How long to wait for more; batches gather meanwhile.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long to wait after the first try that failed, and at most.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests;
