//! `exec-echo`: how long a key takes to show.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use portcullis::wire::channel::STDOUT;
use tokio::time::Instant;

use super::Report;
use super::client::{Endpoint, Exec};
use super::numbers::{Sorted, machine, micros};
use super::stage::Stage;

/// Added to the median by the gateway, at most.
const BAR: Duration = Duration::from_micros(100);

/// How much is typed.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Keystrokes on each path.
    #[arg(long, default_value_t = 10_000)]
    keystrokes: usize,
    /// The pause between two keystrokes.
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 1000)]
    pause: u64,
    /// Where everything is kept.
    #[arg(long, value_name = "DIR", default_value = "target/measure")]
    dir: PathBuf,
}

/// Three terminals side by side; every key is pressed in each of them, one after the other.
pub(super) async fn run(args: &Args) -> anyhow::Result<Report> {
    let machine = machine();
    let stage = Stage::start(&args.dir, false).await?;
    let paths = [
        ("direct", &stage.direct),
        ("gateway", &stage.plain),
        ("gateway, recorded", &stage.recorded),
    ];
    let mut terminals = Vec::new();
    for (_, endpoint) in paths {
        terminals.push(Terminal::open(endpoint, args.keystrokes).await?);
    }
    let warm_up = args.keystrokes / 10;
    for number in 0..args.keystrokes + warm_up {
        // A letter and a backspace in turn, so that the line never gets long.
        let key = if number % 2 == 0 { b"x" } else { b"\x7f" };
        // Nobody is always first.
        for turn in 0..terminals.len() {
            let at = (turn + number) % terminals.len();
            if let Some(terminal) = terminals.get_mut(at) {
                let took = terminal.press(key).await?;
                if number >= warm_up {
                    terminal.took.push(micros(took));
                }
            }
            tokio::time::sleep(Duration::from_micros(args.pause)).await;
        }
    }
    Ok(report(
        args,
        &machine,
        &paths.map(|(name, _)| name),
        &terminals,
    ))
}

struct Terminal {
    exec: Exec,
    took: Vec<f64>,
}

impl Terminal {
    async fn open(endpoint: &Endpoint, keystrokes: usize) -> anyhow::Result<Self> {
        let exec = endpoint
            .exec("command=cat&stdin=true&stdout=true&tty=true")
            .await?;
        let took = Vec::with_capacity(keystrokes);
        Ok(Self { exec, took })
    }

    /// Presses a key and waits for what the terminal shows.
    async fn press(&mut self, key: &[u8]) -> anyhow::Result<Duration> {
        let pressed = Instant::now();
        self.exec.type_in(key).await?;
        let mut shown = false;
        while !shown {
            let open = self
                .exec
                .read(|channel, _| shown |= channel == STDOUT)
                .await?;
            ensure!(open || shown, "the session ended");
        }
        Ok(pressed.elapsed())
    }
}

fn report(args: &Args, machine: &str, names: &[&str], terminals: &[Terminal]) -> Report {
    let base = terminals.first().map_or(&[][..], |direct| &direct.took);
    let mut holds = true;
    let rows: Vec<String> = names
        .iter()
        .zip(terminals)
        .map(|(name, terminal)| {
            let (all, direct) = (Sorted::new(&terminal.took), Sorted::new(base));
            let pairs = terminal.took.iter().zip(base);
            let differences: Vec<f64> = pairs.map(|(one, other)| one - other).collect();
            let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|part| all.quantile(part));
            let [added, added_p99] = [0.5, 0.99].map(|part| all.quantile(part) - direct.quantile(part));
            holds &= added < micros(BAR);
            let paired = Sorted::new(&differences).median();
            format!("| {name} | {p50:.0} | {p90:.0} | {p99:.0} | {added:.0} | {added_p99:.0} | {paired:.0} |")
        })
        .collect();
    let verdict = if holds { "holds" } else { "does not hold" };
    let text = format!(
        "# exec-echo

From a keystroke to its echo, in microseconds: WebSocket v5, TLS on both sides, a terminal, {} keystrokes on each
path, one every {} µs, the paths in turn. *Added* is against the direct path: the difference of the quantiles, and
the median of the differences of the same keystroke.

{machine}

| path | p50 | p90 | p99 | added p50 | added p99 | median of the differences |
| --- | --- | --- | --- | --- | --- | --- |
{}

The bar (less than {} µs added to the median) {verdict}.
",
        args.keystrokes,
        args.pause,
        rows.join("\n"),
        BAR.as_micros()
    );
    Report { text, holds }
}
