//! What one client does, by the kind of its load.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use portcullis::wire::channel::STDOUT;

use super::exec::Exec;
use super::http::{Client, Http2};
use super::meter::{Early, Finder, Meter, Unit};
use super::{Phase, Shared};
use crate::harness::clock::{self, Alarm};
use crate::harness::scenario::{Load, LoadKind};
use crate::harness::upstream::templates::Encoding;

/// Ends a watch's initial events (KEP-3157).
const SYNCED: &[u8] = b"k8s.io/initial-events-end";

/// Number `number` of a load, on a stream of `http2` or on connections of its own.
pub(super) async fn run(shared: Arc<Shared>, load: Arc<Load>, number: usize, http2: Option<Http2>) {
    let tally = Arc::clone(&shared.tally);
    let one = One {
        shared,
        load,
        number,
        http2,
    };
    if let Err(error) = one.run().await {
        tally.failed(&error);
    }
}

struct One {
    shared: Arc<Shared>,
    load: Arc<Load>,
    number: usize,
    http2: Option<Http2>,
}

impl One {
    async fn run(self) -> anyhow::Result<()> {
        match self.load.kind {
            LoadKind::Watch | LoadKind::Logs | LoadKind::Stalled => self.read().await,
            LoadKind::List | LoadKind::Get => self.ask().await,
            LoadKind::Watchlist | LoadKind::Reconnect => self.begin_again().await,
            LoadKind::Storm => self.storm().await,
            LoadKind::ExecEcho => self.echo().await,
            LoadKind::ExecPrint => self.print().await,
        }
    }

    async fn open(&self) -> anyhow::Result<Client> {
        if let Some(stream) = &self.http2 {
            return Ok(Client::Http2(stream.clone()));
        }
        let _turn = self.shared.opening.acquire().await?;
        self.shared.endpoint.http1().await
    }

    /// Reads a watch or a log until nobody wants it any more; that it ends is an error.
    async fn read(&self) -> anyhow::Result<()> {
        let (shared, path) = (&self.shared, self.load.path());
        let mut client = self.open().await?;
        client
            .get(&shared.endpoint, &path, self.load.content_type)
            .await?;
        let mut meter = Meter::new(match self.load.content_type {
            Encoding::Json => Unit::Line,
            Encoding::Protobuf => Unit::Frame,
        });
        let stamps = self.load.events.0.is_stamped();
        // Its first event may be far off where events have a pace; else it comes at once, and until then nothing is open.
        let mut ready = stamps;
        if ready {
            shared.ready.add_permits(1);
        }
        loop {
            let open =
                client.read(|bytes| meter.take(bytes, &shared.tally, stamps, shared.canaries));
            ensure!(
                open.await.with_context(|| path.clone())?,
                "{path}: the stream ended"
            );
            if !ready {
                ready = true;
                shared.ready.add_permits(1);
            }
            if self.load.kind == LoadKind::Stalled {
                // It stays open and is not read.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Asks again and again on the same connection.
    async fn ask(&self) -> anyhow::Result<()> {
        let mut client = self.open().await?;
        let path = self.load.path();
        self.request(&mut client, &self.load.warm_path(), clock::now())
            .await?;
        self.shared.ready.add_permits(1);
        let mut turns = self.turns().await?;
        while let Some(due) = turns.next().await? {
            self.request(&mut client, &path, due).await?;
        }
        Ok(())
    }

    async fn request(&self, client: &mut Client, path: &str, due: u64) -> anyhow::Result<()> {
        let tally = &self.shared.tally;
        let counts = tally.is_counting();
        client
            .get(&self.shared.endpoint, path, self.load.content_type)
            .await?;
        let mut meter = Meter::new(Unit::Whole);
        let (mut began, mut early) = (None, Early::default());
        let mut open = true;
        while open {
            let read = client.read(|bytes| {
                let began = *began.get_or_insert_with(clock::now);
                if self.load.stamped {
                    early.take(bytes, began);
                }
                meter.take(bytes, tally, false, self.shared.canaries);
            });
            open = read.await.with_context(|| path.to_owned())?;
        }
        if counts {
            tally.began(due, began.unwrap_or_else(clock::now));
            tally.ended(due);
            if self.load.stamped {
                tally.held_back(early.count, self.load.items as u64);
            }
        }
        tally.done(if self.load.kind == LoadKind::List {
            self.load.items as u64
        } else {
            1
        });
        Ok(())
    }

    /// Opens a watch, again and again: until its first event, or until it is in sync.
    async fn begin_again(&self) -> anyhow::Result<()> {
        self.begin(&self.load.warm_path(), clock::now()).await?;
        self.shared.ready.add_permits(1);
        let mut turns = self.turns().await?;
        while let Some(due) = turns.next().await? {
            self.begin(&self.load.path(), due).await?;
        }
        Ok(())
    }

    async fn begin(&self, path: &str, due: u64) -> anyhow::Result<Client> {
        let tally = &self.shared.tally;
        let counts = tally.is_counting();
        let mut client = self.open().await?;
        client
            .get(&self.shared.endpoint, path, self.load.content_type)
            .await?;
        let mut meter = Meter::new(Unit::Whole);
        let mut end = Finder::new(SYNCED, 0);
        let (mut began, mut early, mut done) = (None, Early::default(), false);
        while !done {
            let read = client.read(|bytes| {
                let began = *began.get_or_insert_with(clock::now);
                if self.load.stamped {
                    early.take(bytes, began);
                }
                meter.take(bytes, tally, false, self.shared.canaries);
                if self.load.kind == LoadKind::Watchlist {
                    end.find(bytes, |_| done = true);
                } else {
                    done = true;
                }
            });
            ensure!(
                read.await.with_context(|| path.to_owned())?,
                "{path}: the watch ended"
            );
        }
        if counts {
            tally.began(due, began.unwrap_or_else(clock::now));
            tally.ended(due);
            if self.load.stamped {
                tally.held_back(early.count, self.load.items as u64);
            }
        }
        tally.done(if self.load.kind == LoadKind::Watchlist {
            self.load.items as u64
        } else {
            1
        });
        Ok(client)
    }

    /// Begins one watch when all the others do, and keeps it.
    async fn storm(&self) -> anyhow::Result<()> {
        self.shared.ready.add_permits(1);
        let mut phase = self.shared.phase.clone();
        phase.wait_for(|phase| *phase == Phase::Measured).await?;
        let _open = self.begin(&self.load.path(), clock::now()).await?;
        phase.wait_for(|phase| *phase == Phase::After).await?;
        Ok(())
    }

    /// Presses a key whenever one is due and waits for its echo.
    async fn echo(&self) -> anyhow::Result<()> {
        let tally = &self.shared.tally;
        let mut exec = {
            let _turn = self.shared.opening.acquire().await?;
            Exec::open(&self.shared.endpoint, &self.load.path()).await?
        };
        self.shared.ready.add_permits(1);
        let mut turns = self.turns().await?;
        while let Some(due) = turns.next().await? {
            exec.type_in(b"x").await?;
            let mut shown = false;
            while !shown {
                let open = exec.read(|channel, _| shown |= channel == STDOUT).await?;
                ensure!(open || shown, "the session ended");
            }
            tally.arrived(due);
            tally.done(1);
        }
        Ok(())
    }

    /// Lets a command print, session after session; 10^6 bytes are a unit.
    async fn print(&self) -> anyhow::Result<()> {
        let tally = &self.shared.tally;
        self.shared.ready.add_permits(1);
        let mut turns = self.turns().await?;
        while turns.next().await?.is_some() {
            let mut exec = Exec::open(&self.shared.endpoint, &self.load.path()).await?;
            let mut meter = Meter::new(Unit::Whole);
            let mut bytes = 0;
            while exec
                .read(|channel, text| {
                    if channel == STDOUT {
                        bytes += text.len() as u64;
                        meter.take(text, tally, false, self.shared.canaries);
                    }
                })
                .await?
            {}
            let expected = self.load.megabytes * 1_000_000;
            // What stands in place of a password has another length, and one line in ten has one.
            let spare = if self.shared.canaries {
                expected / 10
            } else {
                0
            };
            let status = exec.status();
            ensure!(
                bytes.abs_diff(expected) <= spare && status.contains("Success"),
                "{bytes} of {expected} bytes arrived: {status}"
            );
            tally.done(self.load.megabytes);
        }
        Ok(())
    }

    /// When to ask: one after the other, or at the load's rate whatever the answers take.
    async fn turns(&self) -> anyhow::Result<Turns> {
        let mut phase = self.shared.phase.clone();
        phase.wait_for(|phase| *phase == Phase::Measured).await?;
        let rate = match self.load.period() {
            None => None,
            Some(period) => {
                // Each has its own place in the period.
                let place = period * self.number as u64 / self.load.count as u64;
                Some((period, clock::now() + place, Alarm::new()?))
            }
        };
        Ok(Turns { phase, rate })
    }
}

struct Turns {
    phase: tokio::sync::watch::Receiver<Phase>,
    /// The period, when the next turn is due, and what wakes us then.
    rate: Option<(u64, u64, Alarm)>,
}

impl Turns {
    /// The time the next turn is due, as soon as it is; `None` when the measurement is over.
    async fn next(&mut self) -> anyhow::Result<Option<u64>> {
        let mut due = clock::now();
        if let Some((period, next, alarm)) = &mut self.rate {
            due = *next;
            *next += *period;
            tokio::select! {
                woken = alarm.wait(due) => woken?,
                over = self.phase.wait_for(|phase| *phase == Phase::After) => drop(over?),
            }
        }
        Ok((*self.phase.borrow() == Phase::Measured).then_some(due))
    }
}
