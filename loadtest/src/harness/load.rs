//! The load: clients that ask, read and count.

mod chunked;
pub mod http;
pub mod meter;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::http::{Client, Endpoint};
use self::meter::{Meter, Tally, Unit};
use super::clock;
use super::scenario::{Http, Load, LoadKind, Scenario};
use super::upstream::answer::Pace;

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
        let mut count = 0;
        for load in &scenario.load {
            clients.add(load).await?;
            count += load.count;
        }
        let all = clients.shared.ready.acquire_many(u32::try_from(count)?);
        let opened = tokio::time::timeout(OPEN_WITHIN, all).await.is_ok();
        if !opened {
            let failures = clients.shared.tally.failures().join("; ");
            anyhow::bail!("not all clients could begin: {failures}");
        }
        Ok(clients)
    }

    async fn add(&mut self, load: &Load) -> anyhow::Result<()> {
        let mut connection = None;
        for number in 0..load.count {
            let shared = Arc::clone(&self.shared);
            let http2 = if load.http == Http::Two {
                if number % load.per_connection == 0 {
                    connection = Some(shared.endpoint.http2(&mut self.reading).await?);
                }
                connection.clone()
            } else {
                None
            };
            let load = load.clone();
            let asks = matches!(load.kind, LoadKind::List | LoadKind::Get);
            let task = async move {
                let client = match http2 {
                    Some(http2) => Ok(Client::Http2(http2)),
                    None => shared.open().await,
                };
                let done = match client {
                    Ok(client) if asks => shared.ask(&load, client).await,
                    Ok(client) => shared.read(&load, client).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = done {
                    shared.tally.failed(&error);
                }
            };
            if asks {
                self.asking.spawn(task);
            } else {
                self.reading.spawn(task);
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
        while self.asking.join_next().await.is_some() {}
        self.shared.tally.count(false);
    }
}

impl Shared {
    async fn open(&self) -> anyhow::Result<Client> {
        let _turn = self.opening.acquire().await?;
        self.endpoint.http1().await
    }

    /// Asks once to warm up and then, during the measurement, again and again.
    async fn ask(&self, load: &Load, mut client: Client) -> anyhow::Result<()> {
        let path = load.path();
        self.request(load, &mut client, &path).await?;
        self.ready.add_permits(1);
        let mut phase = self.phase.clone();
        phase.wait_for(|phase| *phase == Phase::Measured).await?;
        while *self.phase.borrow() == Phase::Measured {
            self.request(load, &mut client, &path).await?;
        }
        Ok(())
    }

    async fn request(&self, load: &Load, client: &mut Client, path: &str) -> anyhow::Result<()> {
        let asked = clock::now();
        client.get(&self.endpoint, path).await?;
        let mut meter = Meter::new(Unit::Whole);
        let mut began = false;
        let mut open = true;
        while open {
            let read = client.read(|bytes| {
                if !began && self.tally.is_counting() {
                    self.tally.began(asked);
                }
                began = true;
                meter.take(bytes, &self.tally, false, self.canaries);
            });
            open = read.await.with_context(|| path.to_owned())?;
        }
        if self.tally.is_counting() {
            self.tally.ended(asked);
        }
        self.tally.done(if load.kind == LoadKind::List {
            load.items as u64
        } else {
            1
        });
        Ok(())
    }

    /// Reads a watch or a log until nobody wants it any more; that it ends is an error.
    async fn read(&self, load: &Load, mut client: Client) -> anyhow::Result<()> {
        let path = load.path();
        client.get(&self.endpoint, &path).await?;
        let mut meter = Meter::new(Unit::Line);
        let mut began = false;
        let stamps = matches!(load.events.0, Pace::Every(_));
        loop {
            let open = client.read(|bytes| {
                if !began {
                    self.ready.add_permits(1);
                }
                began = true;
                meter.take(bytes, &self.tally, stamps, self.canaries);
            });
            anyhow::ensure!(
                open.await.with_context(|| path.clone())?,
                "{path}: the stream ended"
            );
        }
    }
}
