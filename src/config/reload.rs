//! Keeps what was read from files current: reads them again on SIGHUP and when their content changes.
//!
//! Content is compared every ten seconds instead of watching file events: Kubernetes swaps symbolic
//! links under a mounted `ConfigMap`, which events show badly. A file that cannot be used keeps what is
//! in force, and says so in the log, in a metric and to whoever listens.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::document::Problem;
use super::live::Live;
use super::{policy_file, revocation_file};
use crate::identity::Revocations;
use crate::limits;
use crate::policy::Policy;

/// What one look at the files led to.
#[derive(Debug)]
pub enum Reload {
    /// The files hold what was looked at last.
    Unchanged,
    /// What they hold now is in force.
    Applied {
        /// Its generation.
        generation: u64,
        /// Its digest.
        version: String,
    },
    /// The files cannot be used; what was in force still is.
    Refused {
        /// Everything that is wrong with them.
        problems: Vec<Problem>,
    },
}

/// Looks at files and puts what they hold into force.
pub struct Reloader<T> {
    /// What they hold, in words for the log.
    what: &'static str,
    live: Arc<Live<T>>,
    files: Vec<PathBuf>,
    compile: Compile<T>,
    /// The digest of what is in force.
    in_force: String,
    /// The digest of what was looked at last, used or refused; `None` when it could not be read.
    seen: Option<String>,
}

/// Makes something of the texts of files, or says everything that is wrong with them.
type Compile<T> = Box<dyn Fn(&[(PathBuf, String)]) -> Result<T, Vec<Problem>> + Send>;

impl Reloader<Policy> {
    /// Continues from the policy in force, which was read from `files`.
    pub fn policy(live: Arc<Live<Policy>>, files: Vec<PathBuf>) -> Self {
        let in_force = live.current().version().to_string();
        let compile = Box::new(policy_file::compile);
        Self::new("policy", live, files, compile, in_force)
    }
}

impl Reloader<Revocations> {
    /// Continues from the revocation list in force, which was read from `file`; its entries may name
    /// these issuers.
    pub fn revocations(live: Arc<Live<Revocations>>, file: PathBuf, issuers: Vec<String>) -> Self {
        let in_force = live.current().version().to_owned();
        let compile = move |files: &[_]| revocation_file::compile(files, &issuers);
        let compile = Box::new(compile);
        Self::new("revocation list", live, vec![file], compile, in_force)
    }
}

impl<T> Reloader<T> {
    fn new(
        what: &'static str,
        live: Arc<Live<T>>,
        files: Vec<PathBuf>,
        compile: Compile<T>,
        in_force: String,
    ) -> Self {
        Self {
            what,
            live,
            files,
            compile,
            seen: Some(in_force.clone()),
            in_force,
        }
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
        let Some(version) = digest else {
            return Reload::Refused { problems };
        };
        if version == self.in_force {
            return Reload::Unchanged;
        }
        match (self.compile)(&texts) {
            Ok(next) => {
                self.in_force.clone_from(&version);
                let generation = self.live.replace(next);
                Reload::Applied {
                    generation,
                    version,
                }
            }
            Err(problems) => Reload::Refused { problems },
        }
    }
}

impl<T> fmt::Debug for Reloader<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Reloader")
            .field("what", &self.what)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Looks on SIGHUP and every ten seconds until `shutdown`. `told` hears of every look that changed or
/// refused something: there the metric and the audit record are made.
pub async fn run<T: Send + Sync + 'static>(
    reloader: Reloader<T>,
    told: impl Fn(&Reload) + Send + 'static,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let mut poll = tokio::time::interval(limits::CONFIG_POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    poll.tick().await; // the first tick is at once, and the files have just been read
    let what = reloader.what;
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
        log(what, &reload, force);
        if !matches!(reload, Reload::Unchanged) {
            told(&reload);
        }
    }
}

fn log(what: &str, reload: &Reload, force: bool) {
    match reload {
        Reload::Unchanged if force => tracing::info!("the {what} has not changed"),
        Reload::Unchanged => {}
        Reload::Applied {
            generation,
            version,
        } => tracing::info!(generation, %version, "a new {what} is in force"),
        Reload::Refused { problems } => {
            for problem in problems {
                tracing::error!(%problem, "the new {what} cannot be used; the old one stays in force");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::identity::Identity;

    const GOOD: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: p}
rules: [{name: version, nonResourceURLs: [/version], verbs: [get], decision: allow}]
";

    fn start(
        text: &str,
    ) -> (
        tempfile::TempDir,
        PathBuf,
        Reloader<Policy>,
        Arc<Live<Policy>>,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("policy.yaml");
        fs::write(&file, text).unwrap();
        let files = vec![file.clone()];
        let live = Live::new(Arc::new(policy_file::load(&files).unwrap()));
        let reloader = Reloader::policy(Arc::clone(&live), files);
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

    #[test]
    fn revocations_are_followed_like_the_policy() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("revoked.yaml");
        let list = |entries: &str| {
            format!(
                "apiVersion: portcullis.dev/v1alpha1\nkind: RevocationList\nrevoked: [{entries}]\n"
            )
        };
        let alice = Identity::for_tests("alice", &[]);
        let read = |text: &str| {
            fs::write(&file, text).unwrap();
            revocation_file::compile(&[(file.clone(), text.to_owned())], &[]).unwrap()
        };
        let live = Live::new(Arc::new(read(&list(""))));
        let mut reloader = Reloader::revocations(Arc::clone(&live), file.clone(), Vec::new());
        assert!(matches!(reloader.look(false), Reload::Unchanged));
        fs::write(&file, list("{user: alice}")).unwrap();
        assert!(matches!(reloader.look(false), Reload::Applied { .. }));
        assert!(live.current().revokes(&alice));
        for bad in [
            list("{user: alice}, {}"),
            list("{jti: x, issuer: y}"),
            String::new(),
        ] {
            fs::write(&file, bad).unwrap();
            assert!(matches!(reloader.look(false), Reload::Refused { .. }));
        }
        fs::remove_file(&file).unwrap();
        assert!(matches!(reloader.look(true), Reload::Refused { .. }));
        assert!(
            live.current().revokes(&alice),
            "the old list stays in force"
        );
        fs::write(&file, list("")).unwrap();
        assert!(matches!(
            reloader.look(false),
            Reload::Applied { generation: 3, .. }
        ));
        assert!(!live.current().revokes(&alice));
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
