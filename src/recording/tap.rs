//! The recorder of one session, as the relay sees it.
//!
//! The relay hands every event over before it forwards the bytes behind it, and what it hands over is
//! what the client gets: a mask works on the bytes before they come here.

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::encode::{Encoder, Options};
use super::live::Place;
use super::metadata::{Bytes, Exit, Metadata, Summary};
use super::store::Tape;
use super::{Recorder, Settings, folder_of};
use crate::limits;
use crate::metrics::{InFlight, Metrics};
use crate::policy::RecordMode;
use crate::session::{Filter, Pace, SessionEvent, SessionReport, Side, Tap, TapError};
use crate::wire::asciicast::{Header, put_header};

/// A recording that is being made.
pub struct Recording {
    tape: Arc<Tape>,
    encoder: Encoder,
    metadata: Metadata,
    mode: RecordMode,
    settings: Settings,
    place: Place,
    metrics: Metrics,
    /// Lines of one event; kept for its memory.
    lines: Vec<u8>,
    total_bytes: u64,
    part_bytes: u64,
    capped: bool,
    lost: bool,
    stage: Stage,
    _open: InFlight,
}

/// How far a recording has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The API server has not agreed to the session yet.
    Open,
    Begun,
    Sealed,
}

/// What became of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its first part, relative to the directory of recordings.
    pub path: PathBuf,
    /// Why it is not complete, when it is not.
    pub failure: Option<String>,
}

impl Recording {
    pub(super) fn new(
        recorder: &Recorder,
        tape: Arc<Tape>,
        options: Options,
        metadata: Metadata,
        mode: RecordMode,
        place: Place,
    ) -> Self {
        let Recorder {
            settings, metrics, ..
        } = recorder;
        let header_bytes = header(&metadata, settings).len() as u64;
        Self {
            tape,
            encoder: Encoder::new(options),
            metadata,
            mode,
            settings: settings.clone(),
            place,
            metrics: metrics.clone(),
            lines: Vec::new(),
            total_bytes: header_bytes,
            part_bytes: header_bytes,
            capped: false,
            lost: false,
            stage: Stage::Open,
            _open: metrics.recording(),
        }
    }

    /// The id, which is that of the request.
    pub fn id(&self) -> &str {
        &self.metadata.id
    }

    /// Where the first part is, relative to the directory of recordings.
    pub fn path(&self) -> PathBuf {
        folder_of(&self.metadata).join(format!("{}.cast", self.metadata.id))
    }

    /// Resolves when a session that must be recorded no longer is; never for one that need not be.
    pub fn failed(&self) -> impl Future<Output = String> + Send + 'static + use<> {
        let tape = Arc::clone(&self.tape);
        let mode = self.mode;
        async move {
            match mode {
                RecordMode::Required => tape.failed().await,
                RecordMode::BestEffort => std::future::pending().await,
            }
        }
    }

    /// The session is over: returns when the recording is complete on disk.
    pub async fn seal(mut self, report: &SessionReport) -> Sealed {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        self.encoder.finish(report.duration, &mut lines);
        if !self.lost && !lines.is_empty() && self.keep(&lines).is_err() {
            self.lose();
        }
        let summary = Summary {
            duration_ms: u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX),
            reason: report.reason.as_str().to_owned(),
            detail: report.detail.clone(),
            exit: report.exit.as_ref().map(|exit| Exit {
                code: exit.code,
                message: exit.message.clone(),
            }),
            bytes: Bytes {
                stdin: report.bytes.stdin,
                stdout: report.bytes.stdout,
                stderr: report.bytes.stderr,
                data_sent: report.bytes.data_sent,
                data_received: report.bytes.data_received,
            },
            connections: report.connections,
            ..self.summary()
        };
        self.stage = Stage::Sealed;
        let sealed = self.tape.seal(summary).await;
        let failure = match sealed {
            Ok(summary) => summary.failure,
            Err(error) => Some(error),
        };
        if failure.is_some() && !self.lost {
            self.lose();
        }
        Sealed {
            path: self.path(),
            failure,
        }
    }

    /// Keeps all output, whatever the command looks like: in the metadata it is masked, and the real one copies
    /// nothing. Asked for before the session begins.
    pub fn keep_contents(&mut self) {
        self.encoder.keep_contents();
    }

    /// Masks what of the input is recorded; asked for before the session begins.
    pub fn mask_input(&mut self, mask: Box<dyn Filter>) {
        self.encoder.mask_input(mask);
    }

    /// The API server has agreed to the session. A recording that is dropped before that is removed:
    /// there is nothing it could show.
    pub fn begin(&mut self) {
        self.stage = Stage::Begun;
    }

    /// What is known without the report of the session.
    fn summary(&self) -> Summary {
        Summary {
            version: 1,
            metadata: self.metadata.clone(),
            format: self.settings.format,
            ended: Timestamp::now(),
            events: self.encoder.lines(),
            capped: self.capped,
            copy: self.encoder.copied(),
            ..Summary::default()
        }
    }

    /// Takes whole lines, beginning the next part or stopping at the cap when it is time.
    fn keep(&mut self, lines: &[u8]) -> Result<(), String> {
        let length = lines.len() as u64;
        if self.part_bytes.saturating_add(length) > self.settings.part_bytes {
            self.metadata.part += 1;
            let header = header(&self.metadata, &self.settings);
            self.part_bytes = header.len() as u64;
            self.total_bytes = self.total_bytes.saturating_add(self.part_bytes);
            self.tape.next_part(header);
        }
        self.tape.append(lines)?;
        self.part_bytes = self.part_bytes.saturating_add(length);
        self.total_bytes = self.total_bytes.saturating_add(length);
        self.metrics.recorded(lines.len());
        self.place.show(lines);
        Ok(())
    }

    /// Whether the session ends with the room for its recording: where it must be recorded and the client
    /// tells it what to do, or whoever prints enough could then do anything unseen. A command without
    /// input is on record already; of its output only more is missing.
    fn ends_when_full(&self) -> bool {
        let steered = self.metadata.stdin || self.metadata.kind == "portforward";
        self.mode == RecordMode::Required && steered
    }

    fn lose(&mut self) {
        self.lost = true;
        self.metrics.recording_failed(self.mode);
        let why = self.tape.failure().unwrap_or_default();
        tracing::error!(id = self.id(), why, "a recording is incomplete");
    }
}

impl Tap for Recording {
    /// What is handed over while the recording fails is lost like what waited for the disk then.
    fn ready(&mut self) -> Result<(), TapError> {
        if self.mode == RecordMode::BestEffort {
            return Ok(());
        }
        if self.capped && self.ends_when_full() {
            return Err(TapError::Full(self.settings.max_bytes));
        }
        let failure = self.tape.failure();
        failure.map_or(Ok(()), |why| Err(TapError::Failed(why)))
    }

    fn event(&mut self, event: &SessionEvent<'_>, now: Duration) {
        let mut lines = std::mem::take(&mut self.lines);
        lines.clear();
        self.encoder.event(event, now, &mut lines);
        let room = self.settings.max_bytes.saturating_sub(self.total_bytes);
        if !self.capped && lines.len() as u64 > room {
            self.capped = true;
            let ends = self.ends_when_full();
            // Input is on its way to the command, whatever becomes of the session.
            if !ends
                || !matches!(
                    event,
                    SessionEvent::Data {
                        from: Side::Client,
                        ..
                    }
                )
            {
                lines.clear();
            }
            let most = self.settings.max_bytes;
            self.encoder.full(most, ends, now, &mut lines);
        }
        if !self.lost && !lines.is_empty() && self.keep(&lines).is_err() {
            self.lose();
        }
        lines.shrink_to(limits::RECORDING_QUEUE_BYTES_MAX);
        self.lines = lines;
    }

    fn pace(&self) -> Option<Arc<dyn Pace>> {
        Some(Arc::new(Waiting {
            tape: Arc::clone(&self.tape),
            mode: self.mode,
        }))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.stage == Stage::Open {
            self.tape.discard();
        } else if self.stage == Stage::Begun {
            let summary = Summary {
                reason: "unknown".to_owned(),
                truncated: true,
                ..self.summary()
            };
            // Whoever dropped it does not wait.
            drop(self.tape.start_sealing(summary));
        }
    }
}

/// Waits for the disk.
struct Waiting {
    tape: Arc<Tape>,
    mode: RecordMode,
}

impl Pace for Waiting {
    fn has_room(&self) -> bool {
        self.tape.has_room()
    }

    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            match self.mode {
                RecordMode::Required => self.tape.room().await,
                RecordMode::BestEffort => {
                    let room = self.tape.room();
                    if tokio::time::timeout(limits::RECORDING_STALL_MAX, room)
                        .await
                        .is_err()
                    {
                        self.tape.fail("the disk is too slow".to_owned());
                    }
                }
            }
        })
    }
}

/// The header line of a part.
pub(super) fn header(metadata: &Metadata, settings: &Settings) -> Vec<u8> {
    let command = metadata.command_line();
    let title = format!("{} {}", metadata.kind, metadata.target());
    let header = Header {
        version: settings.format,
        columns: 80,
        rows: 24,
        timestamp: metadata.started.as_second(),
        command: (!command.is_empty()).then_some(&command),
        title: Some(&title),
    };
    let mut line = Vec::new();
    put_header(&mut line, &header, metadata);
    line
}
