//! Sends the audit log to another program, in batches as the API server's audit webhook sends them.
//!
//! What is sent is read from the files of the log, from a place that is kept in the data directory. So nothing
//! waits in memory, nothing waits for the other program, and what it missed it gets when it is back, however
//! long that takes and however often the gateway is restarted. It may get a batch twice, and none never.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::webhook::{self, Hook};
use crate::audit::follow::{Follower, Place};
use crate::audit::segments::{Segments, replace};
use crate::limits;
use crate::metrics::Metrics;

/// The name in the data directory of the file that says how far it has come.
const FILE: &str = "audit-webhook.json";

/// Sends one log to one program.
pub struct Shipping {
    hook: Hook,
    follower: Follower,
    place_file: PathBuf,
    metrics: Metrics,
}

impl Shipping {
    /// Reads what the settings name, and how far it has come.
    pub fn open(
        settings: &webhook::Settings,
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
        let place_file = data_directory.join(FILE);
        let place = read_place(&place_file)
            .map_err(|error| format!("{}: {error}", place_file.display()))?;
        Ok(Self {
            hook: Hook::open(settings)?,
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
                Ok(batch) if batch.events > 0 => self.deliver(&batch.body).await,
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
    async fn deliver(&self, body: &str) {
        let mut pause = PAUSE_MIN;
        while let Err(why) = self.hook.post(body).await {
            if pause == PAUSE_MIN {
                tracing::error!(
                    webhook = self.hook.name(), %why,
                    "the audit log is not taken; it is kept and sent later"
                );
            }
            self.report();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        if pause > PAUSE_MIN {
            tracing::info!(webhook = self.hook.name(), "the audit log is taken again");
        }
    }

    fn report(&self) {
        let behind = self.follower.behind();
        self.metrics
            .audit_shipped(behind, self.follower.lost_segments());
    }
}

/// Events that are sent as one.
#[derive(Default)]
struct Batch {
    body: String,
    events: usize,
    /// Something was read, if only what is no event.
    read: bool,
}

impl Batch {
    /// Reads what there is, up to the bounds of a batch.
    fn read(follower: &mut Follower) -> io::Result<Self> {
        let mut batch = Self::default();
        while batch.events < limits::AUDIT_SHIPPED_EVENTS_MAX
            && batch.body.len() < limits::AUDIT_SHIPPED_BYTES_MAX
        {
            let Some(line) = follower.advance()? else {
                break;
            };
            batch.read = true;
            batch.push(&line);
        }
        batch.body.push_str("]}");
        Ok(batch)
    }

    /// What a crash tore is no event, and stays in the file only.
    fn push(&mut self, line: &[u8]) {
        let Ok(event) = serde_json::from_slice::<&serde_json::value::RawValue>(line) else {
            return;
        };
        self.body
            .push_str(if self.events == 0 { HEAD } else { "," });
        self.body.push_str(event.get());
        self.events += 1;
    }
}

/// How the API server's audit webhook begins.
const HEAD: &str = r#"{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{},"items":["#;

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
