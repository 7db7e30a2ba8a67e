//! Child processes with a deadline, and everything they said.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

/// How long a client may take before a test calls it stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a finished process left.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// As it would be typed.
    pub(crate) command: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The exit code; 128 + signal when it was killed, as a shell says it.
    pub(crate) code: i32,
}

impl Outcome {
    /// Fails unless the process ended with `code`.
    #[track_caller]
    pub(crate) fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Fails unless standard output holds `text`.
    #[track_caller]
    pub(crate) fn expect(&self, text: &str) -> &Self {
        assert!(
            self.stdout.contains(text),
            "no {text:?} in the output of {self}"
        );
        self
    }

    /// Fails unless standard error holds `text`.
    #[track_caller]
    pub(crate) fn expect_error(&self, text: &str) -> &Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in the errors of {self}"
        );
        self
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "`{}` (exit code {})\n-- stdout\n{}\n-- stderr\n{}\n",
            self.command, self.code, self.stdout, self.stderr
        )
    }
}

/// A process that is to be started.
#[derive(Debug)]
pub(crate) struct Process {
    runtime: Handle,
    command: Command,
    line: String,
    input: Option<Vec<u8>>,
    keep_stdin: bool,
}

impl Process {
    /// `program`, with nothing of this process's environment but a search path.
    pub(crate) fn new(runtime: &Handle, program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LANG", "C.UTF-8")
            .kill_on_drop(true)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self {
            runtime: runtime.clone(),
            command,
            line: name,
            input: None,
            keep_stdin: false,
        }
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.line.push(' ');
            self.line.push_str(&arg.as_ref().to_string_lossy());
            self.command.arg(arg);
        }
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn directory(mut self, directory: impl AsRef<std::path::Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// What the process reads; then its input ends.
    pub(crate) fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Some(input.into());
        self
    }

    /// Leaves standard input open, for [`Running::type_in`].
    pub(crate) fn interactive(mut self) -> Self {
        self.keep_stdin = true;
        self
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(self) -> Outcome {
        self.start().wait()
    }

    /// Starts it.
    #[track_caller]
    pub(crate) fn start(mut self) -> Running {
        let piped = self.input.is_some() || self.keep_stdin;
        self.command
            .stdin(if piped { Stdio::piped() } else { Stdio::null() });
        let _inside = self.runtime.enter();
        let mut child = self.command.spawn().unwrap_or_else(|error| {
            panic!(
                "`{}` does not start: {error}; `make tools` installs the clients",
                self.line
            )
        });
        let stdout = Collected::default();
        let stderr = Collected::default();
        let readers = vec![
            self.runtime
                .spawn(collect(child.stdout.take().unwrap(), stdout.clone())),
            self.runtime
                .spawn(collect(child.stderr.take().unwrap(), stderr.clone())),
        ];
        let mut stdin = child.stdin.take();
        if let Some(input) = self.input {
            let mut pipe = stdin.take().unwrap();
            self.runtime.spawn(async move {
                // A process may end without having read all of it.
                let _sent = pipe.write_all(&input).await;
            });
        }
        Running {
            runtime: self.runtime,
            line: self.line,
            child,
            stdin,
            stdout,
            stderr,
            readers,
        }
    }
}

type Collected = Arc<Mutex<Vec<u8>>>;

async fn collect(mut from: impl AsyncRead + Unpin, into: Collected) {
    let mut chunk = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        into.lock().extend_from_slice(&chunk[..length]);
    }
}

/// A process that runs; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    runtime: Handle,
    line: String,
    child: Child,
    stdin: Option<tokio::process::ChildStdin>,
    stdout: Collected,
    stderr: Collected,
    readers: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The most memory that it ever had in use, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("VmHWM");
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.stdout.lock()).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock()).into_owned()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn type_in(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("an interactive process");
        self.runtime.block_on(async {
            stdin.write_all(text.as_bytes()).await.unwrap();
            stdin.flush().await.unwrap();
        });
    }

    /// Waits until standard output satisfies `enough`, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, enough: impl Fn(&str) -> bool) -> String {
        self.wait_longer(PATIENCE, what, enough)
    }

    /// The same with a patience of its own.
    #[track_caller]
    pub(crate) fn wait_longer(
        &mut self,
        patience: Duration,
        what: &str,
        enough: impl Fn(&str) -> bool,
    ) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let ended = self.has_ended();
            let stdout = self.stdout();
            if enough(&stdout) {
                return stdout;
            }
            if ended || Instant::now() > deadline {
                let state = if ended { "ended" } else { "is stuck" };
                panic!(
                    "`{}` {state} without {what}\n-- stdout\n{stdout}\n-- stderr\n{}",
                    self.line,
                    self.stderr()
                );
            }
            self.pause();
        }
    }

    /// Types a line of JSON into a program that answers each of them with one, and returns the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, wish: &Value, patience: Duration) -> Value {
        let before = self.stdout().matches('\n').count();
        self.type_in(&format!("{wish}\n"));
        let said = self.wait_longer(patience, "an answer", |text| {
            text.matches('\n').count() > before
        });
        serde_json::from_str(said.lines().nth(before).unwrap()).unwrap()
    }

    /// Lets others run for a moment, between two looks.
    pub(crate) fn pause(&self) {
        self.runtime
            .block_on(async { tokio::time::sleep(Duration::from_millis(20)).await });
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(self) -> Outcome {
        self.wait_at_most(PATIENCE)
    }

    #[track_caller]
    pub(crate) fn wait_at_most(mut self, patience: Duration) -> Outcome {
        let Ok(status) = self
            .runtime
            .block_on(async { timeout(patience, self.child.wait()).await })
        else {
            panic!(
                "`{}` is still running after {patience:?}\n-- stdout\n{}\n-- stderr\n{}",
                self.line,
                self.stdout(),
                self.stderr()
            );
        };
        self.outcome(status.unwrap())
    }

    /// Asks it to end, as Ctrl-C does.
    #[track_caller]
    pub(crate) fn interrupt(self) -> Outcome {
        self.signal("INT");
        self.wait()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &self.id().to_string()])
            .status()
            .expect("kill");
        assert!(sent.success(), "`{}` could not be sent {signal}", self.line);
    }

    pub(crate) fn signal_if_running(&mut self, signal: &str) {
        if !self.has_ended() {
            self.signal(signal);
        }
    }

    fn outcome(self, status: std::process::ExitStatus) -> Outcome {
        use std::os::unix::process::ExitStatusExt as _;
        // A grandchild may hold the pipe open; what matters has been read by then.
        for reader in self.readers {
            let _done = self
                .runtime
                .block_on(async { timeout(Duration::from_secs(5), reader).await });
        }
        let text = |bytes: &Collected| String::from_utf8_lossy(&bytes.lock()).into_owned();
        Outcome {
            command: self.line,
            stdout: text(&self.stdout),
            stderr: text(&self.stderr),
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        }
    }
}
