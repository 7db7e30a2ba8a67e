//! One answer while it is kept: what gathers of it, and its file, which is here or with the writer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_util::sync::PollSender;

use super::writer::{Draft, Job};
use super::{CUT, Responses, stopped};
use crate::limits;
use crate::policy::RecordMode;

/// One answer while it is kept.
pub struct Keeping {
    jobs: PollSender<Job>,
    file: Place,
    mode: RecordMode,
    /// Bytes that are kept so far.
    bytes: u64,
    /// There was more than that.
    cut: bool,
    digest: digest::Context,
    gathered: Vec<u8>,
    /// When what has gathered is written at the latest.
    due: Option<Pin<Box<Sleep>>>,
    /// When the writer has held up the answer for too long.
    patience: Option<Pin<Box<Sleep>>>,
    failure: Option<String>,
    keeper: Arc<Responses>,
}

/// What is kept of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The SHA-256 of it, in hexadecimal: its name.
    pub digest: String,
    /// How many bytes of the answer.
    pub bytes: u64,
}

/// Where the file of an answer is.
enum Place {
    Here(Draft),
    /// With the writer, who gives it back.
    Away(oneshot::Receiver<Result<Draft, String>>),
    /// Nowhere.
    Gone,
}

impl Keeping {
    pub(super) fn new(keeper: Arc<Responses>, draft: Draft, mode: RecordMode) -> Self {
        Self {
            jobs: PollSender::new(keeper.jobs.clone()),
            file: Place::Here(draft),
            mode,
            bytes: 0,
            cut: false,
            digest: digest::Context::new(&digest::SHA256),
            gathered: Vec::new(),
            due: None,
            patience: None,
            failure: None,
            keeper,
        }
    }

    /// Whether the answer depends on being kept.
    #[must_use]
    pub fn mode(&self) -> RecordMode {
        self.mode
    }

    /// Why it is not kept any more, if so.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Ready when there is room for the next piece. One that is kept as far as possible is given up when the disk holds
    /// the answer up for too long.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.gathered.len() < limits::RESPONSE_BLOCK_BYTES || self.failure.is_some() {
            return Poll::Ready(());
        }
        if self.poll_hand_over(context).is_ready() {
            self.patience = None;
            return Poll::Ready(());
        }
        if self.mode == RecordMode::BestEffort {
            let patience = self
                .patience
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(limits::RECORDING_STALL_MAX)));
            ready!(patience.as_mut().poll(context));
            self.fail("the disk is too slow".to_owned());
            return Poll::Ready(());
        }
        Poll::Pending
    }

    /// Takes the next piece of the answer; after [`Self::poll_ready`].
    pub fn push(&mut self, piece: &[u8]) {
        if self.cut || self.failure.is_some() {
            return;
        }
        let room = usize::try_from(self.keeper.max_bytes - self.bytes).unwrap_or(usize::MAX);
        let (kept, rest) = piece.split_at_checked(room).unwrap_or((piece, &[]));
        self.bytes += kept.len() as u64;
        self.gather(kept);
        if !rest.is_empty() {
            self.cut = true;
            self.gather(CUT.as_bytes());
        }
    }

    fn gather(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        self.gathered.extend_from_slice(bytes);
    }

    /// Bytes of it that are in memory here.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.gathered.len()
    }

    /// Nothing comes for the moment: what has gathered is written when it has waited long enough.
    pub fn poll_idle(&mut self, context: &mut Context<'_>) {
        if self.gathered.is_empty() || self.failure.is_some() {
            return;
        }
        let due = self
            .due
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limits::RESPONSE_FLUSH_INTERVAL)));
        if due.as_mut().poll(context).is_ready() && self.poll_hand_over(context).is_ready() {
            self.due = None;
        }
    }

    /// Hands over what has gathered, once the writer has given the file back.
    fn poll_hand_over(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Place::Away(back) = &mut self.file {
            match ready!(Pin::new(back).poll(context)) {
                Ok(Ok(draft)) => self.file = Place::Here(draft),
                Ok(Err(why)) => self.fail(why),
                Err(_) => self.fail(stopped()),
            }
        }
        if self.failure.is_some() {
            return Poll::Ready(());
        }
        let reserved = ready!(self.jobs.poll_reserve(context));
        let Place::Here(draft) = std::mem::replace(&mut self.file, Place::Gone) else {
            return Poll::Ready(());
        };
        let (reply, back) = oneshot::channel();
        let block = std::mem::take(&mut self.gathered);
        let sent = reserved.and_then(|()| self.jobs.send_item(Job::Append(draft, block, reply)));
        match sent {
            Ok(()) => self.file = Place::Away(back),
            Err(_) => self.fail(stopped()),
        }
        Poll::Ready(())
    }

    fn fail(&mut self, why: String) {
        if self.failure.is_none() {
            self.keeper.metrics.response_failed(self.mode);
            tracing::error!(why, "what a caller sees is not kept");
        }
        self.failure.get_or_insert(why);
        self.file = Place::Gone;
        self.gathered = Vec::new();
        self.due = None;
    }

    /// Ends it: what is kept, and what puts it in its place. Nothing, if the answer had no bytes or is not kept any
    /// more.
    pub fn seal(
        self,
    ) -> Option<(
        Kept,
        impl Future<Output = Result<(), String>> + Send + 'static,
    )> {
        if self.failure.is_some() || self.bytes == 0 {
            return None;
        }
        let kept = Kept {
            digest: HEXLOWER.encode(self.digest.clone().finish().as_ref()),
            bytes: self.bytes,
        };
        let (name, mode, bytes) = (kept.digest.clone(), self.mode, self.bytes);
        let keeper = Arc::clone(&self.keeper);
        let sealed = async move {
            let put = self.put(name);
            let done = if mode == RecordMode::BestEffort {
                let done = tokio::time::timeout(limits::RECORDING_STALL_MAX, put).await;
                done.unwrap_or_else(|_| Err("the disk is too slow".to_owned()))
            } else {
                put.await
            };
            match &done {
                Ok(()) => keeper.metrics.response_kept(bytes),
                Err(why) => {
                    keeper.metrics.response_failed(mode);
                    tracing::error!(why, "what a caller saw is not kept");
                }
            }
            done
        };
        Some((kept, sealed))
    }

    async fn put(self, name: String) -> Result<(), String> {
        let draft = match self.file {
            Place::Here(draft) => draft,
            Place::Away(back) => back.await.map_err(|_| stopped())??,
            Place::Gone => return Err(stopped()),
        };
        let (reply, done) = oneshot::channel();
        let commit = Job::Commit(draft, self.gathered, name, reply);
        self.keeper.jobs.send(commit).await.map_err(|_| stopped())?;
        done.await.map_err(|_| stopped())?
    }
}
