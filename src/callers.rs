//! Who calls, may they call at all, and how much?
//!
//! [`table`] knows who has called lately and what they have open; a block keeps somebody out until an operator lets
//! them in again. The blocks in force are in memory, where every request and every stream looks them up; [`ledger`]
//! keeps them in the database. [`spending`] counts what budgets limit, for one request behind a [`meter`]. A block is in force first and on the disk then: a disk that does not work must not
//! disarm the switch.

pub mod ledger;
pub mod meter;
pub mod spending;
pub mod table;
pub mod window;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::approval::{Store, StoreError};
use crate::config::live::Live;
use crate::identity::{Block, Blocks, Identity, Names, Subject, Whom};
use crate::limits;
use crate::policy::Allowance;
use meter::Meter;
use table::{Activity, Table};

/// Everybody who calls.
#[derive(Debug)]
pub struct Callers {
    table: Table,
    blocks: Arc<Live<Blocks>>,
    /// Held while the blocks are replaced.
    changing: Mutex<()>,
    store: Store,
    /// What goes on when whoever asked for it has left.
    tasks: TaskTracker,
    began: Instant,
}

/// Why a block is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum NotBlocked {
    /// There are as many as are kept.
    #[error("{} callers are blocked, which is the most", limits::BLOCKS_MAX)]
    TooMany,
    /// It is in force, and a restart would forget it.
    #[error("it is in force until the gateway restarts, and could not be written: {0}")]
    Unwritten(StoreError),
}

impl Callers {
    /// Reads who is blocked.
    pub async fn open(store: Store) -> Result<Arc<Self>, StoreError> {
        let blocks = store
            .run(|work| ledger::load(work, Timestamp::now()))
            .await?;
        Ok(Arc::new(Self {
            table: Table::default(),
            blocks: Live::new(Arc::new(blocks)),
            changing: Mutex::default(),
            store,
            tasks: TaskTracker::new(),
            began: Instant::now(),
        }))
    }

    /// The blocks in force, and news of changes.
    pub fn blocks(&self) -> &Arc<Live<Blocks>> {
        &self.blocks
    }

    /// The database, for other rooms that keep state in it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Takes note of a request, which may take so much.
    pub fn arrived(&self, identity: &Identity, may: &Arc<Allowance>, at: Timestamp) -> Meter {
        let now = self.began.elapsed();
        let caller = self.table.arrived(identity, may, (at, now));
        Meter::new(caller, Arc::clone(may), self.began)
    }

    /// What everybody does.
    pub fn list(&self) -> Vec<Activity> {
        self.table.list(self.began.elapsed())
    }

    /// Keeps somebody out. When this returns, it is in force and on the disk.
    pub async fn block(&self, mut block: Block) -> Result<Block, NotBlocked> {
        if let Whom::User(name) = &block.whom {
            block.subjects = self.subjects_of(name);
        }
        let now = Timestamp::now();
        self.replace(|blocks| {
            let next = blocks.with(block.clone(), now);
            (next.len() <= limits::BLOCKS_MAX).then_some(next)
        })
        .ok_or(NotBlocked::TooMany)?;
        self.save().await.map_err(NotBlocked::Unwritten)?;
        Ok(block)
    }

    /// Lets somebody in again; `false` when they were not blocked.
    pub async fn unblock(&self, whom: &Whom) -> Result<bool, StoreError> {
        let now = Timestamp::now();
        if self.replace(|blocks| blocks.without(whom, now)).is_none() {
            return Ok(false);
        }
        self.save().await.map(|()| true)
    }

    fn replace(&self, next: impl FnOnce(&Blocks) -> Option<Blocks>) -> Option<()> {
        let _alone = self.changing.lock();
        let next = next(&self.blocks.current())?;
        self.blocks.replace(next);
        Some(())
    }

    /// Writes what is in force when its turn comes: of two changes, whichever is written last, both are there.
    async fn save(&self) -> Result<(), StoreError> {
        let (store, blocks) = (self.store.clone(), Arc::clone(&self.blocks));
        // In a task of its own, since the store drops what nobody waits for.
        let saving = self.tasks.spawn(async move {
            store
                .run(move |work| ledger::save(work, &blocks.current().list(Timestamp::now())))
                .await
        });
        saving.await.unwrap_or(Err(StoreError::Abandoned))
    }

    /// The accounts that called by this name.
    fn subjects_of(&self, name: &str) -> Vec<Subject> {
        let mut found: Vec<Subject> = Vec::new();
        for activity in self.list() {
            if let Some(key) = activity.key
                && activity.user == name
                && !found.contains(&key.subject)
                && found.len() < limits::BLOCK_SUBJECTS_MAX
            {
                found.push(key.subject);
            }
        }
        found
    }
}

impl Activity {
    /// The block that keeps them out.
    #[must_use]
    pub fn blocked(&self, blocks: &Blocks, now: Timestamp) -> Option<Block> {
        let key = self.key.as_ref()?;
        let names = Names {
            user: &self.user,
            agents: key.agent.as_deref().into_iter().collect(),
            subject: key.subject.clone(),
        };
        blocks.named(&names, now).map(|block| Block::clone(block))
    }

    /// Whether they do something, or did lately.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.streams + self.sessions > 0 || self.idle <= Duration::from_hours(1)
    }
}

#[cfg(test)]
mod tests;
