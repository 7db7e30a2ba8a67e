//! The load: clients that ask, read and count.

mod chunked;
mod client;
pub mod exec;
pub mod http;
pub mod meter;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};

use self::http::Endpoint;
use self::meter::Tally;
use super::scenario::{Http, Load, Scenario};

/// Connections that are opened at a time before a measurement.
const OPENING: usize = 64;
/// How long they all may take.
const OPEN_WITHIN: Duration = Duration::from_mins(1);

/// All clients of a measurement.
pub struct Clients {
    shared: Arc<Shared>,
    phase: watch::Sender<Phase>,
    /// They end by themselves when the measurement is over.
    asking: JoinSet<()>,
    /// They read until they are dropped, as do the connections they share.
    reading: JoinSet<()>,
}

/// What a client needs.
struct Shared {
    endpoint: Endpoint,
    tally: Arc<Tally>,
    canaries: bool,
    phase: watch::Receiver<Phase>,
    /// A permit for each that is ready.
    ready: Semaphore,
    opening: Semaphore,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Before,
    Measured,
    After,
}

impl Clients {
    /// Opens everything and waits until all of it is open.
    pub async fn start(
        scenario: &Scenario,
        endpoint: Endpoint,
        tally: Arc<Tally>,
        canaries: bool,
    ) -> anyhow::Result<Self> {
        let (phase, follow) = watch::channel(Phase::Before);
        let shared = Arc::new(Shared {
            endpoint,
            tally,
            canaries,
            phase: follow,
            ready: Semaphore::new(0),
            opening: Semaphore::new(OPENING),
        });
        let mut clients = Self {
            shared,
            phase,
            asking: JoinSet::new(),
            reading: JoinSet::new(),
        };
        for load in &scenario.load {
            clients.add(&load.value).await?;
        }
        let count = u32::try_from(scenario.clients())?;
        let shared = Arc::clone(&clients.shared);
        let opened = async {
            tokio::select! {
                _all = shared.ready.acquire_many(count) => true,
                // Whoever cannot begin ends, and is never ready.
                _ended = clients.first_to_end() => false,
                () = tokio::time::sleep(OPEN_WITHIN) => false,
            }
        };
        if !opened.await {
            let failures = shared.tally.failures().join("; ");
            anyhow::bail!("not all clients could begin: {failures}");
        }
        Ok(clients)
    }

    async fn first_to_end(&mut self) {
        tokio::select! {
            Some(done) = self.asking.join_next() => note(done, &self.shared.tally),
            Some(done) = self.reading.join_next() => note(done, &self.shared.tally),
            else => {}
        }
    }

    async fn add(&mut self, load: &Load) -> anyhow::Result<()> {
        let load = Arc::new(load.clone());
        let mut connection = None;
        for number in 0..load.count {
            if load.http == Http::Two && number % load.per_connection == 0 {
                connection = Some(self.shared.endpoint.http2(&mut self.reading).await?);
            }
            let client = client::run(
                Arc::clone(&self.shared),
                Arc::clone(&load),
                number,
                connection.clone(),
            );
            if load.kind.ends_by_itself() {
                self.asking.spawn(client);
            } else {
                self.reading.spawn(client);
            }
        }
        Ok(())
    }

    /// Lets everything run for `duration`, and what was begun by then to its end.
    pub async fn measure(&mut self, duration: Duration) {
        self.shared.tally.count(true);
        self.phase.send_replace(Phase::Measured);
        tokio::time::sleep(duration).await;
        self.phase.send_replace(Phase::After);
        while let Some(done) = self.asking.join_next().await {
            note(done, &self.shared.tally);
        }
        self.shared.tally.count(false);
    }
}

/// A client that panicked failed too; the others say so themselves.
fn note(done: Result<(), JoinError>, tally: &Tally) {
    if let Err(error) = done {
        tally.failed(&error.into());
    }
}
