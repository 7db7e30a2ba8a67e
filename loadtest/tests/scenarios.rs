//! Every scenario runs, for a moment and with few clients: nothing breaks and something comes through every target.
//! How fast is not asked here.

use std::process::Command;

use anyhow::Context as _;
use loadtest::harness::report::Report;
use loadtest::harness::scenario::{Load, LoadKind, Scenario};
use loadtest::harness::upstream::answer::Pace;
use parking_lot::Mutex;

/// Most of a run waits, for programs to start and for its seconds to be over.
const AT_ONCE: usize = 4;

#[test]
fn every_scenario_runs() {
    let scenarios = Mutex::new(Scenario::all().unwrap().into_iter());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = scenarios.lock().next();
                    let Some(scenario) = next else { break };
                    runs(&scenario).unwrap();
                }
            });
        }
    });
}

fn runs(scenario: &Scenario) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let json = folder.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args([
            &scenario.name,
            "--rounds",
            "1",
            "--duration",
            "0.3",
            "--warm-up",
            "0.3",
            "--scale",
            "0.01",
            "--items",
            "0.01",
            "--dir",
        ])
        .arg(folder.path().join("files"))
        .arg("--json")
        .arg(&json)
        .arg("--html")
        .arg(folder.path().join("report.html"))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let text = std::fs::read(&json).with_context(|| format!("{}: {said}", scenario.name))?;
    let report: Report = serde_json::from_slice(&text)?;
    assert_eq!(
        report.judgement.broken,
        Vec::<String>::new(),
        "{}",
        scenario.name
    );
    assert!(report.samples.len() > 1, "{}: {said}", scenario.name);
    // Nothing is to come, or only when this is over.
    let silent = |load: &Load| {
        load.kind == LoadKind::Watch && matches!(load.events.0, Pace::Idle | Pace::Together(_))
    };
    if scenario.load.iter().all(|load| silent(&load.value)) {
        return Ok(());
    }
    for sample in &report.samples {
        let rate = sample.get("rate").unwrap_or(0.0);
        assert!(
            rate > 0.0,
            "{}: nothing came through {}",
            scenario.name,
            sample.target
        );
    }
    Ok(())
}
