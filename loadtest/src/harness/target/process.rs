//! A process, its children, and what they use, read from `/proc`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout_at};

/// Linux counts CPU time for user space in hundredths of a second (`USER_HZ`, proc(5)).
const TICK: Duration = Duration::from_millis(10);
const READY_WITHIN: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(20);
/// So long without a tick, and a start is over.
const REST: Duration = Duration::from_millis(300);
const REST_WITHIN: Duration = Duration::from_secs(10);

/// A running program; it is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

/// What a process and its children used so far, or hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu: Duration,
    /// Memory that is theirs, with their share of what several map (PSS), in KiB.
    pub pss_kib: u64,
    /// The most that was resident (`VmHWM`) since [`Process::forget_peak`], in KiB; right after that, what is.
    pub peak_kib: u64,
}

impl Process {
    /// Starts a program; what it says goes into `<name>.log` of `folder`.
    pub fn start(
        program: impl AsRef<OsStr>,
        folder: &Path,
        name: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        let path = folder.join(format!("{name}.log"));
        let log = fs::File::create(&path)?;
        let mut command = Command::new(program);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        prepare(&mut command);
        let child = command
            .spawn()
            .with_context(|| format!("{name} does not start"))?;
        Ok(Self { child, log: path })
    }

    /// Starts this program again, in another role.
    pub fn this(
        folder: &Path,
        name: &str,
        prepare: impl FnOnce(&mut Command),
    ) -> anyhow::Result<Self> {
        let program = std::env::var_os("LOADTEST_PROGRAM")
            .map_or_else(std::env::current_exe, |path| Ok(path.into()))?;
        Self::start(program, folder, name, prepare)
    }

    /// Waits until it does what `probe` asks for; fails when it has ended, or after half a minute, with its log.
    pub async fn until(&mut self, probe: impl AsyncFn() -> bool) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while !timeout_at(deadline, probe()).await.unwrap_or(false) {
            let ended = self.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let state =
                    ended.map_or_else(|| "is not ready".to_owned(), |status| status.to_string());
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                bail!("{}: {state}\n{said}", self.log.display());
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        Ok(())
    }

    /// Waits until it has done what its start leaves to the background, such as building tables; after ten seconds
    /// no longer.
    pub async fn rest(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + REST_WITHIN;
        let (mut used, mut since) = (self.cpu()?, Instant::now());
        while since.elapsed() < REST && Instant::now() < deadline {
            tokio::time::sleep(POLL_EVERY).await;
            let now = self.cpu()?;
            if now != used {
                (used, since) = (now, Instant::now());
            }
        }
        Ok(())
    }

    /// What it and its children used and hold.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let mut usage = Usage::default();
        for process in self.tree()? {
            usage.cpu += cpu(process)?;
            usage.pss_kib += field(&format!("/proc/{process}/smaps_rollup"), "Pss:")?;
            usage.peak_kib += field(&format!("/proc/{process}/status"), "VmHWM:")?;
        }
        Ok(usage)
    }

    /// Its CPU time and that of its children, which is cheap to ask for.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        self.tree()?.into_iter().map(cpu).sum()
    }

    /// Counts the peak of memory anew from what is resident now (`clear_refs`, proc(5)).
    pub fn forget_peak(&self) -> anyhow::Result<()> {
        for process in self.tree()? {
            fs::write(format!("/proc/{process}/clear_refs"), "5")?;
        }
        Ok(())
    }

    /// The process and the workers it started.
    fn tree(&self) -> anyhow::Result<Vec<u32>> {
        let own = self.child.id().context("the process has ended")?;
        let mut tree = vec![own];
        let mut next = 0;
        while let Some(&process) = tree.get(next) {
            next += 1;
            for thread in fs::read_dir(format!("/proc/{process}/task"))? {
                let children =
                    fs::read_to_string(thread?.path().join("children")).unwrap_or_default();
                tree.extend(
                    children
                        .split_whitespace()
                        .filter_map(|child| child.parse::<u32>().ok()),
                );
            }
        }
        Ok(tree)
    }
}

/// Fields 14 and 15 of `/proc/<pid>/stat`, counted after the program's name, which may hold anything.
fn cpu(process: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no name in stat")?;
    let ticks = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(str::parse::<u32>)
        .sum::<Result<u32, _>>()?;
    Ok(TICK * ticks)
}

fn field(file: &str, name: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(file)?;
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .with_context(|| format!("no {name} in {file}"))?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_work_of_children_counts() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start("sh", folder.path(), "busy", |command| {
            // Busy for as long as its parent lives, which is killed at the end.
            command.args(["-c", "sh -c 'while kill -0 $PPID; do :; done'; true"]);
        })
        .unwrap();
        let begun = Instant::now();
        while process.usage().unwrap().cpu < Duration::from_millis(50) {
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let usage = process.usage().unwrap();
        assert!(usage.pss_kib > 0 && usage.peak_kib >= usage.pss_kib / 2);
        assert_eq!(process.tree().unwrap().len(), 2);
    }
}
