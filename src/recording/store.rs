//! Gets the lines of recordings onto the disk.
//!
//! Sessions leave their lines with their [`Tape`] and go on; one thread writes what has gathered, at
//! the latest after [`limits::RECORDING_FLUSH_INTERVAL`], another one syncs it once a second. When too
//! much waits, the session is not read further: a slow disk slows it, memory does not grow (D-18).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::hex;
use super::metadata::{Part, Summary};
use crate::limits;

pub mod disk;

pub use disk::Disk;

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

struct Shared {
    medium: Arc<dyn Medium>,
    queue: Mutex<Queue>,
    wake: Condvar,
    unsynced: Mutex<Vec<Unsynced>>,
}

/// A file to sync, and the recording that has failed if that fails.
type Unsynced = (Arc<Tape>, Arc<dyn PartFile>);

#[derive(Default)]
struct Queue {
    waiting: Vec<Arc<Tape>>,
    urgent: bool,
    closed: bool,
}

/// One recording on its way to the disk.
pub struct Tape {
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Only the writer takes this lock.
    reel: Mutex<Reel>,
    queued: AtomicUsize,
    room: Notify,
    failed: CancellationToken,
}

#[derive(Default)]
struct State {
    jobs: Vec<Job>,
    listed: bool,
    failure: Option<String>,
}

enum Job {
    /// Begins the next part with its header.
    Part(Vec<u8>, Option<oneshot::Sender<Result<(), String>>>),
    Lines(Vec<u8>),
    Seal(Box<Summary>, oneshot::Sender<Result<Summary, String>>),
    Discard,
}

/// The files of a recording, as the writer knows them.
struct Reel {
    folder: PathBuf,
    id: String,
    open: Option<OpenPart>,
    parts: Vec<Part>,
}

struct OpenPart {
    file: Arc<dyn PartFile>,
    name: String,
    bytes: u64,
    digest: digest::Context,
    /// Bytes since the last sync was asked for.
    unsynced: bool,
}

impl Store {
    /// Starts the threads.
    pub fn start(medium: Arc<dyn Medium>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            medium,
            queue: Mutex::default(),
            wake: Condvar::new(),
            unsynced: Mutex::default(),
        });
        let writer = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("recording".to_owned())
            .spawn(move || writer.write_all())?;
        let syncer = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("recording-sync".to_owned())
            .spawn(move || syncer.sync_all())?;
        Ok(Self { shared })
    }

    /// A recording whose files go into `folder` under the name `id`. [`Tape::open`] makes the first.
    pub fn tape(&self, folder: PathBuf, id: &str) -> Arc<Tape> {
        Arc::new(Tape {
            shared: Arc::clone(&self.shared),
            state: Mutex::default(),
            reel: Mutex::new(Reel {
                folder,
                id: id.to_owned(),
                open: None,
                parts: Vec::new(),
            }),
            queued: AtomicUsize::new(0),
            room: Notify::new(),
            failed: CancellationToken::new(),
        })
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.shared.queue.lock().closed = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    /// The writer's life.
    fn write_all(&self) {
        loop {
            let tapes = {
                let mut queue = self.queue.lock();
                while queue.waiting.is_empty() && !queue.closed {
                    self.wake.wait(&mut queue);
                }
                if !queue.urgent && !queue.closed {
                    // Lets small pieces gather: a keystroke needs no write of its own.
                    let timeout = limits::RECORDING_FLUSH_INTERVAL;
                    self.wake.wait_while_for(
                        &mut queue,
                        |queue| !queue.urgent && !queue.closed,
                        timeout,
                    );
                }
                queue.urgent = false;
                if queue.waiting.is_empty() && queue.closed {
                    drop(queue);
                    // Tapes in here would keep this, and the medium, for ever.
                    drop(std::mem::take(&mut *self.unsynced.lock()));
                    return;
                }
                std::mem::take(&mut queue.waiting)
            };
            for tape in tapes {
                tape.write();
            }
        }
    }

    /// The syncer's life.
    fn sync_all(&self) {
        const EVERY: Duration = Duration::from_secs(1);
        loop {
            {
                let mut queue = self.queue.lock();
                let closed = self
                    .wake
                    .wait_while_for(&mut queue, |queue| !queue.closed, EVERY);
                if !closed.timed_out() {
                    return; // what is sealed from now on is synced by the writer itself
                }
            }
            let files = std::mem::take(&mut *self.unsynced.lock());
            for (tape, file) in files {
                if let Err(error) = file.sync() {
                    tape.fail(format!("cannot be synced to disk: {error}"));
                }
            }
        }
    }

    fn enqueue(&self, tape: &Arc<Tape>, urgent: bool) {
        let mut queue = self.queue.lock();
        let first = queue.waiting.is_empty();
        queue.waiting.push(Arc::clone(tape));
        let wakes = first || urgent && !queue.urgent;
        queue.urgent |= urgent;
        drop(queue);
        if wakes {
            self.wake.notify_all();
        }
    }

    fn hurry(&self) {
        let mut queue = self.queue.lock();
        if !queue.urgent {
            queue.urgent = true;
            drop(queue);
            self.wake.notify_all();
        }
    }
}

impl Tape {
    /// Makes the first file and writes its header; returns when both are done.
    pub async fn open(self: &Arc<Self>, header: Vec<u8>) -> Result<(), String> {
        let (reply, done) = oneshot::channel();
        self.push(Job::Part(header, Some(reply)), true);
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
        self.push(Job::Part(header, None), false);
    }

    /// Takes whole lines; fails once the recording has failed.
    pub fn append(self: &Arc<Self>, lines: &[u8]) -> Result<(), String> {
        let mut state = self.state.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        if let Some(Job::Lines(waiting)) = state.jobs.last_mut() {
            waiting.extend_from_slice(lines);
        } else {
            state.jobs.push(Job::Lines(lines.to_vec()));
        }
        let before = self.queued.fetch_add(lines.len(), Ordering::AcqRel);
        let urgent = before + lines.len() >= limits::RECORDING_WRITE_BYTES;
        let listed = std::mem::replace(&mut state.listed, true);
        drop(state);
        if !listed {
            self.shared.enqueue(self, urgent);
        } else if urgent && before < limits::RECORDING_WRITE_BYTES {
            self.shared.hurry();
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
        self.push(Job::Seal(Box::new(summary), reply), true);
        sealed
    }

    /// Removes the recording: its session never began.
    pub fn discard(self: &Arc<Self>) {
        self.push(Job::Discard, true);
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
        self.queued.load(Ordering::Acquire) < limits::RECORDING_QUEUE_BYTES_MAX
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
        self.queued.store(0, Ordering::Release);
        drop(state);
        self.failed.cancel();
        self.room.notify_waiters();
    }

    fn push(self: &Arc<Self>, job: Job, urgent: bool) {
        let mut state = self.state.lock();
        state.jobs.push(job);
        let listed = std::mem::replace(&mut state.listed, true);
        drop(state);
        if !listed {
            self.shared.enqueue(self, urgent);
        } else if urgent {
            self.shared.hurry();
        }
    }

    /// Writes what has gathered. Called by the writer.
    fn write(self: &Arc<Self>) {
        let jobs = {
            let mut state = self.state.lock();
            state.listed = false;
            std::mem::take(&mut state.jobs)
        };
        let mut reel = self.reel.lock();
        for job in jobs {
            let length = if let Job::Lines(lines) = &job {
                lines.len()
            } else {
                0
            };
            if let Err(error) = self.carry_out(job, &mut reel) {
                self.fail(error.to_string());
            }
            self.written(length);
        }
        if let Some(part) = &mut reel.open
            && std::mem::take(&mut part.unsynced)
        {
            let file = Arc::clone(&part.file);
            self.shared.unsynced.lock().push((Arc::clone(self), file));
        }
    }

    /// Makes room. A failure in between has reset the count already.
    fn written(&self, length: usize) {
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        let less = |queued: usize| Some(queued.saturating_sub(length));
        // The closure always gives a value.
        let _infallible = self.queued.fetch_update(set, get, less).is_ok();
        self.room.notify_waiters();
    }

    fn carry_out(&self, job: Job, reel: &mut Reel) -> io::Result<()> {
        let medium = &*self.shared.medium;
        match job {
            Job::Part(header, reply) => {
                let result = if self.failed.is_cancelled() {
                    Ok(())
                } else {
                    reel.next_part(medium, &header)
                };
                if let Some(reply) = reply {
                    // Whoever asked has given up in the meantime; then it is discarded.
                    drop(reply.send(result.as_ref().copied().map_err(ToString::to_string)));
                }
                result
            }
            Job::Lines(lines) => match &mut reel.open {
                Some(part) if !self.failed.is_cancelled() => part.append(&lines),
                _ => Ok(()),
            },
            Job::Seal(mut summary, reply) => {
                let finished = reel.finish_part();
                if let Err(error) = &finished {
                    self.fail(error.to_string());
                }
                summary.parts.clone_from(&reel.parts);
                summary.failure = self.failure();
                let sidecar = reel.folder.join(format!("{}.json", reel.id));
                let content = serde_json::to_vec(&summary).unwrap_or_default();
                let sealed = medium.write(&sidecar, &content);
                // Nobody may be left to hear it.
                drop(reply.send(match &sealed {
                    Ok(()) => Ok(*summary),
                    Err(error) => Err(format!("the sidecar cannot be written: {error}")),
                }));
                sealed
            }
            Job::Discard => {
                let names = reel.parts.drain(..).map(|part| part.name_in(&reel.folder));
                let open = reel.open.take().map(|part| reel.folder.join(part.name));
                names.chain(open).try_for_each(|path| medium.remove(&path))
            }
        }
    }
}

impl Part {
    fn name_in(&self, folder: &Path) -> PathBuf {
        folder.join(&self.file)
    }
}

impl Reel {
    fn next_part(&mut self, medium: &dyn Medium, header: &[u8]) -> io::Result<()> {
        self.finish_part()?;
        let name = part_name(&self.id, self.parts.len() + 1);
        let mut part = OpenPart {
            file: medium.create(&self.folder.join(&name))?,
            name,
            bytes: 0,
            digest: digest::Context::new(&digest::SHA256),
            unsynced: false,
        };
        let result = part.append(header);
        self.open = Some(part);
        result
    }

    fn finish_part(&mut self) -> io::Result<()> {
        let Some(part) = self.open.take() else {
            return Ok(());
        };
        self.parts.push(Part {
            file: part.name,
            bytes: part.bytes,
            sha256: hex(part.digest.finish().as_ref()),
        });
        part.file.sync()
    }
}

impl OpenPart {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.append(bytes) {
            // What is left ends with a whole line; if even that fails, readers ignore half a line.
            drop(self.file.cut(self.bytes));
            return Err(error);
        }
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        self.unsynced = true;
        Ok(())
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
