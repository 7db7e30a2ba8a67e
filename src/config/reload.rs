//! Keeps the policy current: reads its files again on SIGHUP and when their content changes.
//!
//! Content is compared every ten seconds instead of watching file events: Kubernetes swaps symbolic
//! links under a mounted `ConfigMap`, which events show badly. A file that cannot be used keeps the
//! policy in force, and says so in the log, in a metric and to whoever listens.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::document::Problem;
use super::policy_file;
use crate::limits;
use crate::policy::Policy;

/// The policy in force. Every request takes one snapshot and is decided under it.
#[derive(Debug)]
pub struct LivePolicy {
    current: ArcSwap<Policy>,
    generation: watch::Sender<u64>,
}

impl LivePolicy {
    /// Starts with generation 1.
    pub fn new(policy: Arc<Policy>) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::new(policy),
            generation: watch::Sender::new(1),
        })
    }

    /// The policy in force now.
    pub fn current(&self) -> Arc<Policy> {
        self.current.load_full()
    }

    /// How many policies have been in force since the start, this one included.
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Wakes when another policy comes into force: streams that are open then are decided again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.generation.subscribe()
    }

    fn replace(&self, policy: Policy) -> u64 {
        self.current.store(Arc::new(policy));
        self.generation.send_modify(|generation| *generation += 1);
        self.generation()
    }
}

/// What one look at the policy files led to.
#[derive(Debug)]
pub enum Reload {
    /// The files hold what was looked at last.
    Unchanged,
    /// Another policy is in force.
    Applied {
        /// Its generation.
        generation: u64,
        /// Its digest.
        version: Arc<str>,
    },
    /// The files cannot be used; the policy that was in force still is.
    Refused {
        /// Everything that is wrong with them.
        problems: Vec<Problem>,
    },
}

/// Looks at the policy files and puts what they hold into force.
#[derive(Debug)]
pub struct Reloader {
    live: Arc<LivePolicy>,
    files: Vec<PathBuf>,
    /// The digest of what was looked at last, used or refused; `None` when it could not be read.
    seen: Option<String>,
}

impl Reloader {
    /// Continues from the policy in force, which was read from `files`.
    pub fn new(live: Arc<LivePolicy>, files: Vec<PathBuf>) -> Self {
        let seen = Some(live.current().version().to_string());
        Self { live, files, seen }
    }

    /// Reads the files. Asked for explicitly (`force`), content that was refused before is refused,
    /// and reported, again.
    pub fn look(&mut self, force: bool) -> Reload {
        let mut texts = Vec::with_capacity(self.files.len());
        let mut problems = Vec::new();
        for file in &self.files {
            match policy_file::read(file) {
                Ok(text) => texts.push((file.clone(), text)),
                Err(problem) => problems.push(problem),
            }
        }
        let digest = problems.is_empty().then(|| policy_file::version(&texts));
        if digest == self.seen && !force {
            return Reload::Unchanged;
        }
        self.seen.clone_from(&digest);
        if digest.is_none() {
            return Reload::Refused { problems };
        }
        if digest.as_deref() == Some(&**self.live.current().version()) {
            return Reload::Unchanged;
        }
        match policy_file::compile(&texts) {
            Ok(policy) => {
                let version = Arc::clone(policy.version());
                let generation = self.live.replace(policy);
                Reload::Applied {
                    generation,
                    version,
                }
            }
            Err(problems) => Reload::Refused { problems },
        }
    }
}

/// Looks on SIGHUP and every ten seconds until `shutdown`. `told` hears of every look that changed or
/// refused something: there the metric and the audit record are made.
pub async fn run(
    reloader: Reloader,
    told: impl Fn(&Reload) + Send + 'static,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let mut poll = tokio::time::interval(limits::CONFIG_POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    poll.tick().await; // the first tick is at once, and the files have just been read
    let mut reloader = Some(reloader);
    loop {
        let force = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = hangup.recv() => true,
            _ = poll.tick() => false,
        };
        let Some(mut owned) = reloader.take() else {
            return Ok(());
        };
        // Reading and compiling take milliseconds; not on a thread that serves requests.
        let looked = tokio::task::spawn_blocking(move || {
            let reload = owned.look(force);
            (owned, reload)
        });
        let (owned, reload) = looked.await.map_err(std::io::Error::other)?;
        reloader = Some(owned);
        log(&reload, force);
        if !matches!(reload, Reload::Unchanged) {
            told(&reload);
        }
    }
}

fn log(reload: &Reload, force: bool) {
    match reload {
        Reload::Unchanged if force => tracing::info!("the policy files have not changed"),
        Reload::Unchanged => {}
        Reload::Applied {
            generation,
            version,
        } => tracing::info!(generation, %version, "a new policy is in force"),
        Reload::Refused { problems } => {
            for problem in problems {
                tracing::error!(%problem, "the policy files cannot be used; the old policy stays in force");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: p}
rules: [{name: version, nonResourceURLs: [/version], verbs: [get], decision: allow}]
";

    fn start(text: &str) -> (tempfile::TempDir, PathBuf, Reloader, Arc<LivePolicy>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        fs::write(&file, text).unwrap();
        let files = vec![file.clone()];
        let live = LivePolicy::new(Arc::new(policy_file::load(&files).unwrap()));
        let reloader = Reloader::new(Arc::clone(&live), files);
        (folder, file, reloader, live)
    }

    #[test]
    fn a_changed_file_comes_into_force_once() {
        let (_folder, file, mut reloader, live) = start(GOOD);
        assert!(matches!(reloader.look(false), Reload::Unchanged));
        let changes = live.changes();
        let before = live.current();
        fs::write(&file, GOOD.replace("/version", "/healthz")).unwrap();
        assert!(matches!(
            reloader.look(false),
            Reload::Applied { generation: 2, .. }
        ));
        assert!(matches!(reloader.look(true), Reload::Unchanged));
        assert_eq!(live.generation(), 2);
        assert!(changes.has_changed().unwrap());
        assert_ne!(live.current().version(), before.version());
    }

    #[test]
    fn e16_a_bad_file_keeps_the_old_policy() {
        let (_folder, file, mut reloader, live) = start(GOOD);
        let before = live.current();
        let bomb = format!("a: &a [x]\nb: [{}]\n", "*a,".repeat(100_000));
        for bad in [
            "",
            "# nothing\n",
            "{",
            "\tx: 1",
            "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\nrules: []\n",
            &GOOD.replace("decision: allow", "decison: allow"),
            &GOOD.replace("decision: allow", "decision: yes"),
            &GOOD.replace("metadata", "kind: Policy\nmetadata"),
            &GOOD.replace("[get]", "[no]"),
            GOOD.split_at(60).0,
            &bomb,
            &"#".repeat(limits::CONFIG_FILE_BYTES_MAX + 1),
        ] {
            fs::write(&file, bad).unwrap();
            match reloader.look(false) {
                Reload::Refused { problems } => assert!(!problems.is_empty()),
                other => panic!("{other:?} for {:?}", bad.get(..80)),
            }
            if !bad.starts_with("###") {
                assert!(
                    matches!(reloader.look(false), Reload::Unchanged),
                    "told once"
                );
            }
            assert!(
                matches!(reloader.look(true), Reload::Refused { .. }),
                "told when asked"
            );
            assert!(Arc::ptr_eq(&live.current(), &before));
            assert_eq!(live.generation(), 1);
        }
        fs::remove_file(&file).unwrap();
        assert!(matches!(reloader.look(true), Reload::Refused { .. }));
        fs::write(&file, GOOD).unwrap();
        assert!(
            matches!(reloader.look(false), Reload::Unchanged),
            "the policy in force is back"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn content_is_compared_without_a_signal() {
        let (_folder, file, reloader, live) = start(GOOD);
        let shutdown = CancellationToken::new();
        let (send, mut told) = tokio::sync::mpsc::channel(4);
        let told_of = move |reload: &Reload| {
            let applied = matches!(reload, Reload::Applied { .. });
            send.try_send(applied).unwrap();
        };
        let running = run(reloader, told_of, shutdown.clone());
        let watching = async {
            fs::write(&file, "kind: nothing").unwrap();
            assert_eq!(told.recv().await, Some(false));
            fs::write(&file, GOOD.replace("/version", "/healthz")).unwrap();
            assert_eq!(told.recv().await, Some(true));
            assert_eq!(live.generation(), 2);
            shutdown.cancel();
        };
        let (finished, ()) = tokio::join!(running, watching);
        finished.unwrap();
    }
}
