//! Gets the lines of recordings onto the disk.
//!
//! Sessions leave their lines with their [`Tape`] and go on. One thread writes what has gathered, at
//! the latest after twice [`limits::RECORDING_FLUSH_INTERVAL`], and does nothing that could wait for the disk; others
//! write the output of sessions that print a lot, in blocks that the disk takes as they are, make the files of sessions
//! that begin, seal those that are over, and sync once a second. When too
//! much waits, the session is not read further: a slow disk slows it, memory does not grow (D-18).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::metadata::Summary;
use crate::limits;

mod block;
pub mod disk;
mod queue;
mod reel;

pub use disk::Disk;

use block::{Block, Blocks};
use queue::{Shared, When};
use reel::Reel;

/// Where recordings are kept. The disk, except in tests.
pub trait Medium: Send + Sync {
    /// Makes a new file; it must not exist.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn PartFile>>;
    /// Writes a whole small file in one step: it is there as a whole or not at all.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// A file that only grows.
pub trait PartFile: Send + Sync {
    /// Appends.
    fn append(&self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts off what an unsuccessful append left behind.
    fn cut(&self, length: u64) -> io::Result<()>;
    /// Returns when everything appended so far survives a crash of the machine.
    fn sync(&self) -> io::Result<()>;
}

/// The threads behind all recordings. They end when this is dropped and everything is written.
pub struct Store {
    shared: Arc<Shared>,
}

/// One recording on its way to the disk.
pub struct Tape {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Only writers take this lock, before the one of the state: who has it carries out what has gathered, in
    /// order.
    reel: Mutex<Reel>,
    queued: AtomicUsize,
    /// Bytes that may wait.
    most: AtomicUsize,
    room: Notify,
    failed: CancellationToken,
    /// Whether the syncer has been told of the file.
    awaits_sync: AtomicBool,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    /// The last lines; nobody writes them yet.
    gathering: Gathering,
    /// Where in the file it will stand.
    place: u64,
    /// A block that was written, for the next lines.
    spare: Option<Block>,
    /// A block has become full since it was looked last: what gathers is younger than that.
    flows: bool,
    listed: bool,
    failure: Option<String>,
}

enum Gathering {
    Little(Vec<u8>),
    Much(Block),
}

impl Default for Gathering {
    fn default() -> Self {
        Self::Little(Vec::new())
    }
}

enum Job {
    /// Begins the next part with its header.
    Part(Vec<u8>, Option<oneshot::Sender<Result<(), String>>>),
    Lines(Gathering),
    Seal(Box<Summary>, oneshot::Sender<Result<Summary, String>>),
    Discard,
}

impl Store {
    /// Starts the threads.
    pub fn start(medium: Arc<dyn Medium>) -> io::Result<Self> {
        type Life = fn(&Shared);
        let shared = Arc::new(Shared::new(medium));
        let lives: [(&str, Life); 5] = [
            ("recording", Shared::write_gathered),
            ("recording-bulk", |shared| shared.bulk.work()),
            ("recording-open", |shared| shared.opening.work()),
            ("recording-end", |shared| shared.ending.work()),
            ("recording-sync", Shared::sync_all),
        ];
        for (name, life) in lives {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || life(&shared))?;
        }
        Ok(Self { shared })
    }

    /// Bytes of all recordings that wait for the disk.
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// A recording whose files go into `folder` under the name `id`. [`Tape::open`] makes the first.
    pub fn tape(&self, folder: PathBuf, id: &str) -> Arc<Tape> {
        Arc::new(Tape {
            shared: Arc::clone(&self.shared),
            state: Mutex::default(),
            reel: Mutex::new(Reel::new(folder, id)),
            queued: AtomicUsize::new(0),
            most: AtomicUsize::new(limits::RECORDING_QUEUE_BYTES_MAX),
            room: Notify::new(),
            failed: CancellationToken::new(),
            awaits_sync: AtomicBool::new(false),
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Gathering {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Little(lines) => lines,
            Self::Much(block) => block.bytes(),
        }
    }
}

impl State {
    /// Takes lines; true when so much has gathered that it is worth writing.
    fn gather(&mut self, lines: &[u8], blocks: &Blocks) -> bool {
        let mut full = false;
        let mut rest = lines;
        while !rest.is_empty() {
            match &mut self.gathering {
                Gathering::Little(gathered) => {
                    gathered.extend_from_slice(rest);
                    rest = &[];
                    if gathered.len() > limits::RECORDING_WRITE_BYTES {
                        let gathered = std::mem::take(gathered);
                        full |= self.gather_much(gathered, blocks);
                    }
                }
                Gathering::Much(block) => {
                    rest = block.fill(rest);
                    if block.is_full() {
                        self.finish_gathering();
                        if let Some(block) = self.block(blocks) {
                            self.gathering = Gathering::Much(block);
                        }
                        (full, self.flows) = (true, true);
                    }
                }
            }
        }
        full
    }

    /// Goes on in a block; without one, what has gathered is written as it is.
    fn gather_much(&mut self, gathered: Vec<u8>, blocks: &Blocks) -> bool {
        if let Some(block) = self.block(blocks) {
            self.gathering = Gathering::Much(block);
            self.gather(&gathered, blocks)
        } else {
            self.gathering = Gathering::Little(gathered);
            self.finish_gathering();
            true
        }
    }

    fn block(&mut self, blocks: &Blocks) -> Option<Block> {
        let place = self.place;
        let spare = self.spare.take().map(|mut block| {
            block.reset(place);
            block
        });
        spare.or_else(|| blocks.take(place))
    }

    /// What has gathered is to be written before what comes.
    fn finish_gathering(&mut self) {
        let gathered = std::mem::take(&mut self.gathering);
        let length = gathered.bytes().len();
        if length > 0 {
            self.place = self.place.saturating_add(length as u64);
            self.jobs.push(Job::Lines(gathered));
        }
    }

    /// The lines that are to be written before anything else.
    fn take_lines(&mut self) -> Vec<Job> {
        let is_other = |job: &Job| !matches!(job, Job::Lines(_));
        let lines = self.jobs.iter().position(is_other);
        self.jobs
            .drain(..lines.unwrap_or(self.jobs.len()))
            .collect()
    }

    /// Bytes that may wait for the disk.
    fn most(&self) -> usize {
        match self.gathering {
            Gathering::Little(_) => limits::RECORDING_QUEUE_BYTES_MAX,
            Gathering::Much(_) => limits::RECORDING_BULK_BYTES_MAX,
        }
    }
}

impl Tape {
    /// Makes the first file and writes its header; returns when both are done.
    pub async fn open(self: &Arc<Self>, header: Vec<u8>) -> Result<(), String> {
        let (reply, done) = oneshot::channel();
        self.begin_part(header, Some(reply), When::Opening);
        let opened = tokio::time::timeout(limits::RECORDING_OPEN_TIMEOUT, done).await;
        let result = match opened {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("the recorder has stopped".to_owned()),
            Err(_) => Err("the disk does not answer".to_owned()),
        };
        if let Err(error) = &result {
            self.fail(error.clone());
        }
        result
    }

    /// Begins the next part, with its header.
    pub fn next_part(self: &Arc<Self>, header: Vec<u8>) {
        self.begin_part(header, None, When::Full);
    }

    fn begin_part(
        self: &Arc<Self>,
        header: Vec<u8>,
        reply: Option<oneshot::Sender<Result<(), String>>>,
        when: When,
    ) {
        let length = header.len() as u64;
        self.push(Job::Part(header, reply), when, |state| state.place = length);
    }

    /// Takes whole lines; fails once the recording has failed.
    pub fn append(self: &Arc<Self>, lines: &[u8]) -> Result<(), String> {
        let mut state = self.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let full = state.gather(lines, &self.shared.blocks);
        self.shared
            .waiting
            .fetch_add(lines.len(), Ordering::Relaxed);
        self.queued.fetch_add(lines.len(), Ordering::AcqRel);
        self.most.store(state.most(), Ordering::Release);
        let listed = std::mem::replace(&mut state.listed, true);
        drop(state);
        if full {
            self.shared.enqueue(self, When::Full);
        }
        if !listed {
            self.shared.enqueue(self, When::Gathered);
        }
        Ok(())
    }

    /// Ends the recording: the last bytes are written and synced, then the sidecar.
    pub async fn seal(self: &Arc<Self>, summary: Summary) -> Result<Summary, String> {
        let sealed = self.start_sealing(summary);
        sealed
            .await
            .unwrap_or_else(|_| Err("the recorder has stopped".to_owned()))
    }

    /// The same, without waiting for it.
    pub fn start_sealing(
        self: &Arc<Self>,
        summary: Summary,
    ) -> oneshot::Receiver<Result<Summary, String>> {
        let (reply, sealed) = oneshot::channel();
        self.push(Job::Seal(Box::new(summary), reply), When::Ending, |_| {});
        sealed
    }

    /// Removes the recording: its session never began.
    pub fn discard(self: &Arc<Self>) {
        self.push(Job::Discard, When::Ending, |_| {});
    }

    /// Why the recording has failed, if it has.
    pub fn failure(&self) -> Option<String> {
        self.state.lock().failure.clone()
    }

    /// Resolves when the recording fails.
    pub async fn failed(&self) -> String {
        self.failed.cancelled().await;
        self.failure().unwrap_or_default()
    }

    /// Whether the session may be read further.
    pub fn has_room(&self) -> bool {
        self.queued.load(Ordering::Acquire) < self.most.load(Ordering::Acquire)
            || self.failed.is_cancelled()
    }

    /// Resolves when [`Self::has_room`].
    pub async fn room(&self) {
        loop {
            let mut news = std::pin::pin!(self.room.notified());
            news.as_mut().enable();
            if self.has_room() {
                return;
            }
            news.await;
        }
    }

    /// Gives the recording up.
    pub fn fail(&self, why: String) {
        let mut state = self.state.lock();
        state.failure.get_or_insert(why);
        state.jobs.retain(|job| !matches!(job, Job::Lines(_)));
        state.gathering = Gathering::default();
        state.spare = None;
        let queued = self.queued.swap(0, Ordering::AcqRel);
        self.shared.waiting.fetch_sub(queued, Ordering::Relaxed);
        drop(state);
        self.failed.cancel();
        self.room.notify_waiters();
    }

    fn push(self: &Arc<Self>, job: Job, when: When, then: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        state.finish_gathering();
        state.jobs.push(job);
        then(&mut state);
        drop(state);
        self.shared.enqueue(self, when);
    }

    /// Writes what has gathered, unless it is too young for that. Called by a writer that others wait for: so it does
    /// not wait for a writer that has the reel, and leaves it to those to begin and to end files.
    fn write_gathered(self: &Arc<Self>) {
        let reel = self.reel.try_lock();
        let mut state = self.state.lock();
        if !std::mem::take(&mut state.flows) {
            state.finish_gathering();
            state.spare = None;
            if let Some(mut reel) = reel {
                state.listed = false;
                let lines = state.take_lines();
                drop(state);
                return self.carry_out_all(lines, &mut reel);
            }
        }
        drop(state);
        self.shared.enqueue(self, When::Gathered);
    }

    /// Writes what has gathered. Called by a writer that has nothing else to do any more.
    fn write_last(self: &Arc<Self>) {
        self.state.lock().finish_gathering();
        self.write();
    }

    /// Carries out all that is to be done. Called by a writer.
    fn write(self: &Arc<Self>) {
        let mut reel = self.reel.lock();
        let jobs = std::mem::take(&mut self.state.lock().jobs);
        self.carry_out_all(jobs, &mut reel);
    }

    fn carry_out_all(self: &Arc<Self>, jobs: Vec<Job>, reel: &mut Reel) {
        for job in jobs {
            let length = if let Job::Lines(lines) = &job {
                lines.bytes().len()
            } else {
                0
            };
            if let Err(error) = self.carry_out(job, reel) {
                self.fail(error.to_string());
            }
            self.written(length);
        }
    }

    /// Makes room. A failure in between has reset the count already.
    fn written(&self, length: usize) {
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        let less = |queued: usize| Some(queued.saturating_sub(length));
        // The closure always gives a value.
        if let Ok(queued) = self.queued.fetch_update(set, get, less) {
            let less = queued.min(length);
            self.shared.waiting.fetch_sub(less, Ordering::Relaxed);
        }
        self.room.notify_waiters();
    }

    fn carry_out(self: &Arc<Self>, job: Job, reel: &mut Reel) -> io::Result<()> {
        let medium = &*self.shared.medium;
        match job {
            Job::Part(header, reply) => {
                let result = if self.failed.is_cancelled() {
                    Ok(())
                } else {
                    self.synced(); // the part before is, when it is finished
                    reel.next_part(medium, &header)
                };
                if let Some(reply) = reply {
                    // Whoever asked has given up in the meantime; then it is discarded.
                    drop(reply.send(result.as_ref().copied().map_err(ToString::to_string)));
                }
                result
            }
            Job::Lines(_) if self.failed.is_cancelled() => Ok(()),
            Job::Lines(lines) => {
                reel.append(lines.bytes())?;
                self.keep_spare(lines);
                if !self.awaits_sync.swap(true, Ordering::AcqRel)
                    && let Some(file) = reel.file()
                {
                    self.shared.sync_soon(self, file);
                }
                Ok(())
            }
            Job::Seal(mut summary, reply) => {
                let finished = reel.finish_part();
                if let Err(error) = &finished {
                    self.fail(error.to_string());
                }
                summary.failure = self.failure();
                let sealed = reel.sum_up(medium, &mut summary);
                // Nobody may be left to hear it.
                drop(reply.send(match &sealed {
                    Ok(()) => Ok(*summary),
                    Err(error) => Err(format!("the sidecar cannot be written: {error}")),
                }));
                sealed
            }
            Job::Discard => reel.remove(medium),
        }
    }

    /// Memory that was touched before is cheaper than new one.
    fn keep_spare(&self, written: Gathering) {
        let mut state = self.state.lock();
        if let Gathering::Much(block) = written
            && state.flows
        {
            state.spare = Some(block);
        }
    }

    /// From now on the syncer has to be told again of what is written.
    fn synced(&self) {
        self.awaits_sync.store(false, Ordering::Release);
    }
}

/// The name of the `number`th part, from 1.
pub(super) fn part_name(id: &str, number: usize) -> String {
    if number == 1 {
        format!("{id}.cast")
    } else {
        format!("{id}.{number}.cast")
    }
}
