//! Sessions on tape: what passes through a session is written down as asciicast while it passes.
//!
//! [`encode`] says what the lines are (pure), [`store`] gets them onto the disk, [`tap`] stands
//! between the relay and both, [`seal`] closes a recording, also one that a crash left open, [`live`]
//! knows the sessions that are open, [`index`] finds the others, [`replay`] reads recordings back.
//! `docs/recording.md` describes the files.

pub mod copy;
pub mod encode;
pub mod index;
pub mod live;
pub mod metadata;
pub mod replay;
pub mod seal;
pub mod store;
pub mod tap;
mod typed;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::policy::{Contents, RecordMode, RecordObligation};
use crate::wire::asciicast::Version;

pub use live::{Kill, Live, Place};
pub use metadata::{Metadata, Summary};
pub use replay::export;
pub use tap::{Recording, Sealed};

use copy::Copy;
use encode::Options;
use index::{Indexed, Indexer};
use store::{Disk, Medium, Store};

/// Where recordings go and how large they may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder; recordings are in `<yyyy>/<mm>/<dd>/` below it.
    pub directory: PathBuf,
    /// The format.
    pub format: Version,
    /// Bytes of one recording, all parts together; what comes later is only counted.
    pub max_bytes: u64,
    /// Bytes of one part.
    pub part_bytes: u64,
}

/// The recorder of this gateway.
pub struct Recorder {
    settings: Settings,
    store: Store,
    live: Arc<Live>,
    indexer: Option<Indexer>,
    metrics: Metrics,
}

/// The recorder does not work: the message is for the log, not for clients.
#[derive(Debug, thiserror::Error)]
#[error("the recording {id} cannot be written: {reason}")]
pub struct RecorderError {
    /// Which recording.
    pub id: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Recorder {
    /// Starts the recorder, and seals in the background what a crash left behind. An unusable folder
    /// is no error yet: policy says which sessions depend on it.
    ///
    /// `index` is the file of the index, which the recorder keeps up to date.
    pub fn start(settings: Settings, index: Option<PathBuf>, metrics: Metrics) -> io::Result<Self> {
        let directory = settings.directory.clone();
        let indexer = index
            .map(|file| Indexer::start(file, directory.clone(), metrics.clone()))
            .transpose()?;
        let medium: Arc<dyn Medium> = match &indexer {
            Some(indexer) => Arc::new(Indexed(indexer.clone())),
            None => Arc::new(Disk),
        };
        seal::start(directory, Arc::clone(&medium))?;
        let recorder = Self::on(medium, settings, metrics)?;
        Ok(Self {
            indexer,
            ..recorder
        })
    }

    /// A recorder on any medium.
    pub fn on(medium: Arc<dyn Medium>, settings: Settings, metrics: Metrics) -> io::Result<Self> {
        Ok(Self {
            settings,
            store: Store::start(medium)?,
            live: Arc::default(),
            indexer: None,
            metrics,
        })
    }

    /// The sessions that are open now.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Where recordings are.
    pub fn directory(&self) -> &Path {
        &self.settings.directory
    }

    /// Bytes of recordings that wait for the disk.
    pub fn waiting(&self) -> usize {
        self.store.waiting()
    }

    /// Begins a recording: when this returns, its header is in the file.
    pub async fn open(
        &self,
        mut metadata: Metadata,
        obligation: RecordObligation,
    ) -> Result<(Recording, oneshot::Receiver<Kill>), RecorderError> {
        metadata.stdin_recorded = obligation.stdin && metadata.stdin;
        metadata.part = 1;
        let header = tap::header(&metadata, &self.settings);
        let folder = self.settings.directory.join(folder_of(&metadata));
        let first = folder.join(store::part_name(&metadata.id, 1));
        let tape = self.store.tape(folder, &metadata.id);
        if let Err(reason) = tape.open(header.clone()).await {
            self.metrics.recording_failed(obligation.mode);
            tape.discard();
            return Err(RecorderError {
                id: metadata.id,
                reason,
            });
        }
        if let Some(indexer) = &self.indexer {
            indexer.note(&first);
        }
        let summed_up = obligation.contents == Contents::Summary && metadata.kind == "exec";
        let options = Options {
            version: self.settings.format,
            stdin: metadata.stdin_recorded,
            tty: metadata.tty,
            copy: summed_up
                .then(|| Copy::of(&metadata.command, metadata.tty, metadata.stdin))
                .flatten(),
        };
        let shown = (Bytes::from(header), self.settings.format);
        let (place, killed) = self.live.enter(metadata.clone(), Some(shown));
        let recording = Recording::new(self, tape, options, metadata, obligation.mode, place);
        Ok((recording, killed))
    }

    /// Whether a recording could begin now: one is begun, and removed again. `id` is of whom that is asked for.
    pub async fn works(&self, id: &str, mode: RecordMode) -> Result<(), RecorderError> {
        let metadata = Metadata {
            id: format!("probe-{id}"),
            started: Timestamp::now(),
            ..Metadata::default()
        };
        let header = tap::header(&metadata, &self.settings);
        let folder = self.settings.directory.join(folder_of(&metadata));
        let tape = self.store.tape(folder, &metadata.id);
        let opened = tape.open(header).await;
        tape.discard();
        opened.map_err(|reason| {
            self.metrics.recording_failed(mode);
            RecorderError {
                id: metadata.id,
                reason,
            }
        })
    }

    /// Enters a session that is not recorded among those that are open.
    pub fn enter(&self, metadata: Metadata) -> (Place, oneshot::Receiver<Kill>) {
        self.live.enter(metadata, None)
    }
}

/// Where below the directory a recording is: `<yyyy>/<mm>/<dd>`.
pub fn folder_of(metadata: &Metadata) -> PathBuf {
    PathBuf::from(metadata.started.strftime("%Y/%m/%d").to_string())
}

#[cfg(test)]
pub(crate) mod tests;
