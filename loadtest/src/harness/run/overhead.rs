//! `overhead`: what the gateway adds on any cluster. Everything is done directly and through the gateway, in turn; of
//! events and log lines it is the very same one that is timed on both ways.

pub mod kubeconfig;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use parking_lot::Mutex;
use portcullis::wire::channel::STDOUT;
use tokio::task::JoinSet;

use super::Measured;
use crate::harness::clock;
use crate::harness::judge::Sorted;
use crate::harness::load::exec::Exec;
use crate::harness::load::http::Endpoint;
use crate::harness::sample::Sample;
use crate::harness::scenario::Target;
use crate::harness::upstream::templates::Encoding;

/// How long an event or a line may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
const MARK: &str = "loadtest-overhead";

/// What is compared, and with what.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The kubeconfig that leads straight to the API server. It must say token or client certificate itself.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// The kubeconfig that leads through the gateway.
    #[arg(long, value_name = "FILE")]
    pub gateway_kubeconfig: PathBuf,
    /// Where Pods are listed and the `ConfigMap` `loadtest-overhead` is written.
    #[arg(long, default_value = "default")]
    pub namespace: String,
    /// A Pod of the namespace that has `cat` and keeps logging lines that differ. Without it no session is opened and no log
    /// read.
    #[arg(long)]
    pub pod: Option<String>,
    /// The Pod's container.
    #[arg(long, default_value = "main")]
    pub container: String,
    /// How often everything is done in a round.
    #[arg(long, default_value_t = 100)]
    pub repeat: usize,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
}

/// Both ways, and what was measured on each, in microseconds by the name of what was done.
struct Ways {
    direct: Endpoint,
    gateway: Endpoint,
    took: BTreeMap<(Target, &'static str), Vec<f64>>,
}

/// Measures.
pub fn run(args: &Args) -> anyhow::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(rounds(args))
}

async fn rounds(args: &Args) -> anyhow::Result<Measured> {
    let mut samples = Vec::new();
    for round in 0..args.rounds {
        let mut ways = Ways {
            direct: kubeconfig::endpoint(&args.kubeconfig).await?,
            gateway: kubeconfig::endpoint(&args.gateway_kubeconfig).await?,
            took: BTreeMap::new(),
        };
        let namespace = format!("/api/v1/namespaces/{}", args.namespace);
        ways.gets("get", &namespace, args.repeat).await?;
        ways.gets("list", &format!("{namespace}/pods?limit=500"), args.repeat)
            .await?;
        ways.events(&namespace, args.repeat).await?;
        if let Some(pod) = &args.pod {
            let pod = format!("{namespace}/pods/{pod}");
            ways.echoes(
                &format!(
                    "{pod}/exec?container={}&command=cat&stdin=true&stdout=true&tty=true",
                    args.container
                ),
                args.repeat,
            )
            .await?;
            ways.lines(
                &format!(
                    "{pod}/log?container={}&follow=true&tailLines=1",
                    args.container
                ),
                args.repeat,
            )
            .await?;
        }
        for target in [Target::Direct, Target::Portcullis] {
            samples.push(ways.sample(target, round));
        }
    }
    Ok(Measured {
        samples,
        skipped: Vec::new(),
    })
}

impl Ways {
    fn both(&self) -> [(Target, Endpoint); 2] {
        [
            (Target::Direct, self.direct.clone()),
            (Target::Portcullis, self.gateway.clone()),
        ]
    }

    /// Notes what something took that was due or sent at `since`.
    fn note(&mut self, target: Target, what: &'static str, since: u64, until: u64) {
        let micros = Duration::from_nanos(until.saturating_sub(since)).as_secs_f64() * 1e6;
        self.took.entry((target, what)).or_default().push(micros);
    }

    async fn gets(&mut self, what: &'static str, path: &str, repeat: usize) -> anyhow::Result<()> {
        let mut clients = Vec::new();
        for (target, endpoint) in self.both() {
            clients.push((target, endpoint.http1().await?, endpoint));
        }
        // The first answers are for warming up.
        for number in 0..repeat + 3 {
            for (target, client, endpoint) in &mut clients {
                let asked = clock::now();
                client.get(endpoint, path, Encoding::Json).await?;
                while client.read(|_| ()).await? {}
                if number >= 3 {
                    self.note(*target, what, asked, clock::now());
                }
            }
            clients.reverse();
        }
        Ok(())
    }

    /// Writes a `ConfigMap` directly; both ways watch it.
    async fn events(&mut self, namespace: &str, repeat: usize) -> anyhow::Result<()> {
        let path = format!("{namespace}/configmaps/{MARK}");
        let apply = format!("{path}?fieldManager=loadtest&force=true");
        let body = |number: usize| {
            format!(
                r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{MARK}"}},"data":{{"number":"{MARK}-{number};"}}}}"#
            )
        };
        let mut writer = self.direct.http1().await?;
        writer.apply(&self.direct, &apply, &body(0)).await?;
        while writer.read(|_| ()).await? {}
        let watch =
            format!("{namespace}/configmaps?watch=true&fieldSelector=metadata.name%3D{MARK}");
        let seen = self.follow(&watch, Seen::marked).await?;
        for number in 1..=repeat {
            let sent = clock::now();
            writer.apply(&self.direct, &apply, &body(number)).await?;
            while writer.read(|_| ()).await? {}
            for (target, seen) in &seen.ways {
                let at = seen
                    .when(&number.to_string())
                    .await
                    .with_context(|| format!("no event came {target}"))?;
                self.note(*target, "event", sent, at);
            }
        }
        Ok(())
    }

    /// A terminal on each way, a key in each of them in turn.
    async fn echoes(&mut self, path: &str, repeat: usize) -> anyhow::Result<()> {
        let mut terminals = Vec::new();
        for (target, endpoint) in self.both() {
            terminals.push((target, Exec::open(&endpoint, path).await?));
        }
        for number in 0..repeat {
            let key = if number % 2 == 0 { b"x" } else { b"\x7f" };
            for (target, exec) in &mut terminals {
                let pressed = clock::now();
                exec.type_in(key).await?;
                let mut shown = false;
                while !shown {
                    let open = exec.read(|channel, _| shown |= channel == STDOUT).await?;
                    ensure!(open || shown, "the session ended: {}", exec.status());
                }
                self.note(*target, "echo", pressed, clock::now());
            }
            terminals.reverse();
        }
        Ok(())
    }

    /// When nobody knows when a line was written, the earlier arrival is where counting begins.
    async fn lines(&mut self, path: &str, repeat: usize) -> anyhow::Result<()> {
        let seen = self.follow(path, Seen::whole).await?;
        let [(_, direct), (_, gateway)] = &seen.ways;
        let mut paired = 0;
        let deadline = clock::now() + 60_000_000_000;
        while paired < repeat && clock::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let both: Vec<(u64, u64)> = {
                let (mut direct, mut gateway) = (direct.at.lock(), gateway.at.lock());
                let common: Vec<String> = direct
                    .keys()
                    .filter(|line| gateway.contains_key(*line))
                    .cloned()
                    .collect();
                common
                    .iter()
                    .filter_map(|line| Some((direct.remove(line)?, gateway.remove(line)?)))
                    .collect()
            };
            for (one, other) in both {
                let first = one.min(other);
                self.note(Target::Direct, "line", first, one);
                self.note(Target::Portcullis, "line", first, other);
                paired += 1;
            }
        }
        ensure!(paired > 0, "the Pod logged no line that came on both ways");
        Ok(())
    }

    /// Reads the same stream on both ways.
    async fn follow(
        &self,
        path: &str,
        key: fn(&str) -> Option<String>,
    ) -> anyhow::Result<Following> {
        let mut tasks = JoinSet::new();
        let mut seen = Vec::new();
        for (target, endpoint) in self.both() {
            let mut client = endpoint.http1().await?;
            client.get(&endpoint, path, Encoding::Json).await?;
            let one = Arc::new(Seen::default());
            seen.push((target, Arc::clone(&one)));
            tasks.spawn(async move {
                let mut line = Vec::new();
                // It ends when nobody follows any more.
                while client
                    .read(|bytes| one.take(&mut line, bytes, key))
                    .await
                    .unwrap_or(false)
                {}
            });
        }
        let ways = seen
            .try_into()
            .map_err(|_| anyhow::anyhow!("there are two ways"))?;
        Ok(Following {
            ways,
            _tasks: tasks,
        })
    }

    fn sample(&self, target: Target, round: usize) -> Sample {
        let mut metrics = BTreeMap::new();
        for ((own, what), took) in &self.took {
            if *own == target {
                let took = Sorted::new(took.iter().copied());
                metrics.insert(format!("{what}P50"), took.median());
                metrics.insert(format!("{what}P99"), took.quantile(0.99));
            }
        }
        Sample {
            target,
            round,
            again: false,
            metrics,
            latency: None,
            failures: Vec::new(),
        }
    }
}

/// Two streams that are read.
struct Following {
    ways: [(Target, Arc<Seen>); 2],
    _tasks: JoinSet<()>,
}

/// What came on one way, and when.
#[derive(Default)]
struct Seen {
    at: Mutex<BTreeMap<String, u64>>,
}

impl Seen {
    fn take(&self, line: &mut Vec<u8>, bytes: &[u8], key: fn(&str) -> Option<String>) {
        let now = clock::now();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            line.extend_from_slice(part);
            if line.ends_with(b"\n") {
                if let Some(key) = key(&String::from_utf8_lossy(line)) {
                    self.at.lock().insert(key, now);
                }
                line.clear();
            }
        }
    }

    /// The number in an event of the `ConfigMap`.
    fn marked(line: &str) -> Option<String> {
        let (_, rest) = line.rsplit_once(&format!("{MARK}-"))?;
        Some(rest.split_once(';')?.0.to_owned())
    }

    #[expect(clippy::unnecessary_wraps, reason = "one of two ways to find a key")]
    fn whole(line: &str) -> Option<String> {
        Some(line.to_owned())
    }

    async fn when(&self, key: &str) -> anyhow::Result<u64> {
        let arrived = async {
            loop {
                let at = self.at.lock().remove(key);
                match at {
                    Some(at) => return at,
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        Ok(tokio::time::timeout(ARRIVES_WITHIN, arrived).await?)
    }
}
