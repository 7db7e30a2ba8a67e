//! Rounds: every target has its turn in each, the reference two.

pub mod overhead;
mod progress;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::load::Clients;
use super::load::meter::Tally;
use super::sample::{Around, Sample};
use super::scenario::{Scenario, Target};
use super::target::{Candidate, Process, Stage, Usage};
use progress::Progress;

/// Between two turns: what was cut off is gone by then.
const PAUSE: Duration = Duration::from_millis(200);

/// Everything that was measured.
#[derive(Debug)]
pub struct Measured {
    /// In the order they were taken.
    pub samples: Vec<Sample>,
    /// Targets that are not installed.
    pub skipped: Vec<Target>,
}

/// Measures a scenario, with all files in `folder`.
pub fn run(scenario: &Scenario, folder: &Path) -> anyhow::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(rounds(scenario, folder))
}

async fn rounds(scenario: &Scenario, folder: &Path) -> anyhow::Result<Measured> {
    let stage = Stage::start(folder).await?;
    let mut candidates = BTreeMap::new();
    let (mut order, mut skipped) = (Vec::new(), Vec::new());
    for &target in &scenario.targets {
        match stage.start_target(target, scenario).await? {
            Some(candidate) => {
                order.push(target);
                candidates.insert(target, candidate);
            }
            None => skipped.push(target),
        }
    }
    if skipped.contains(&Target::Nginx) && !candidates.contains_key(&Target::Relay) {
        // Its anchor instead.
        if let Some(relay) = stage.start_target(Target::Relay, scenario).await? {
            order.insert(0, Target::Relay);
            candidates.insert(Target::Relay, relay);
        }
    }
    let mut samples = Vec::new();
    let progress = Progress::new(scenario);
    for round in 0..scenario.rounds {
        for (target, again) in turns(&order, round) {
            if scenario.fresh {
                candidates.remove(&target);
                let candidate = stage.start_target(target, scenario).await?;
                candidates.extend(candidate.map(|candidate| (target, candidate)));
            }
            if let Some(candidate) = candidates.get(&target) {
                let sample = turn(scenario, candidate, (round, again), &progress).await?;
                progress.sample(&sample);
                samples.push(sample);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    Ok(Measured { samples, skipped })
}

/// Who has a turn in a round, and whether it is the second: the reference, the first that is a process, begins and
/// ends it. Every other round goes backwards.
fn turns(order: &[Target], round: usize) -> Vec<(Target, bool)> {
    let mut turns: Vec<(Target, bool)> = order.iter().map(|&target| (target, false)).collect();
    let reference = order.iter().find(|target| **target != Target::Direct);
    turns.extend(reference.map(|&reference| (reference, true)));
    if round % 2 == 1 {
        turns.reverse();
    }
    turns
}

/// One target carries the load once.
async fn turn(
    scenario: &Scenario,
    candidate: &Candidate,
    turn: (usize, bool),
    progress: &Progress,
) -> anyhow::Result<Sample> {
    let usage = || {
        candidate
            .process
            .as_ref()
            .map_or_else(|| Ok(Usage::default()), Process::usage)
    };
    if let Some(process) = &candidate.process {
        process.forget_peak()?;
    }
    let idle = usage()?;
    let tally = Arc::new(Tally::default());
    let canaries = candidate.target.is_masked();
    let mut clients = Clients::start(
        scenario,
        candidate.endpoint.clone(),
        Arc::clone(&tally),
        canaries,
    )
    .await?;
    tokio::time::sleep(scenario.warm_up).await;
    let before = usage()?;
    let begun = Instant::now();
    let watching = progress.watch(candidate, turn.0, &tally);
    tokio::select! {
        () = clients.measure(scenario.duration) => {}
        () = watching => {}
    }
    let took = begun.elapsed();
    tokio::time::sleep(scenario.settle).await;
    let after = usage()?;
    drop(clients);
    let around = Around {
        idle,
        before,
        after,
        took,
        clients: scenario.clients(),
    };
    Ok(Sample::new(candidate.target, turn, &tally, &around))
}
