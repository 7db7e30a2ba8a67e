//! A small simulated shell and the tools people use in a container.
//!
//! It interprets; it never starts a process. Everything a client can grow is bounded: nesting,
//! text, variables, arguments and files ([`fs::Budget`]). A session ends when its future is
//! dropped, so that nothing survives the connection it belongs to.

mod builtins;
mod expand;
pub(crate) mod fs;
mod interpret;
pub(crate) mod io;
mod machine;
mod syntax;
pub(crate) mod terminal;
mod tools;

use expand::pattern;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};

use interpret::Flow;
use io::{Input, Output, Streams};
pub(crate) use machine::Machine;
use syntax::{Command, SyntaxError};
use terminal::Terminal;

/// How deep shells, functions and substitutions may be nested.
const DEPTH_LIMIT: u32 = 24;
/// Bytes all variables of a shell may hold.
const VARIABLES_LIMIT: usize = 4 << 20;
/// Lines that were typed ahead.
const TYPED_LINES: usize = 256;
/// The status of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// What connects a program to its client. Absent streams were not asked for.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) stdin: Option<mpsc::Receiver<Bytes>>,
    pub(crate) stdout: Option<mpsc::Sender<Bytes>>,
    pub(crate) stderr: Option<mpsc::Sender<Bytes>>,
    pub(crate) tty: bool,
    /// Columns and rows.
    pub(crate) size: watch::Receiver<(u16, u16)>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Exited(u8),
    /// It could not be started; in the words of the container runtime.
    NotStarted(String),
}

/// Whether the shell can run a command, or would only say that it cannot.
pub(crate) fn knows(argv: &[String]) -> bool {
    argv.first().is_some_and(|name| tools::is_tool(name))
}

/// Runs a program in a container until it ends.
pub(crate) async fn run(machine: Arc<Machine>, argv: Vec<String>, session: Session) -> Outcome {
    let output = |sender: Option<mpsc::Sender<Bytes>>| match sender {
        Some(sender) if session.tty => Output::Terminal(sender),
        Some(sender) => Output::Pipe(sender),
        None => Output::Nothing,
    };
    let screen = output(session.stdout);
    let mut shell = Shell::new(machine);
    shell.export_variable("TERM", session.tty.then_some("xterm"));
    if !session.tty {
        let input = session.stdin.map_or_else(Input::nothing, Input::pipe);
        let streams = Streams {
            input,
            output: screen,
            error: output(session.stderr),
        };
        return shell.start(argv, &streams).await;
    }
    let terminal = Arc::new(Terminal::new(session.size));
    shell.terminal = Some(Arc::clone(&terminal));
    let (sender, lines) = mpsc::channel(TYPED_LINES);
    let streams = Streams {
        input: Input::terminal(lines),
        output: screen.clone(),
        error: screen.clone(),
    };
    let mut interrupts = terminal.interrupts();
    let program = async {
        if tools::is_shell(&argv) {
            return Outcome::Exited(shell.interactive(&streams).await);
        }
        tokio::select! {
            outcome = shell.start(argv, &streams) => outcome,
            _ = interrupts.changed() => Outcome::Exited(INTERRUPTED),
        }
    };
    let typing = async {
        if let Some(typed) = session.stdin {
            terminal.pump(typed, sender, screen).await;
        }
        // Closed input is the end of input; the program decides when it ends.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = program => outcome,
        () = typing => Outcome::Exited(INTERRUPTED),
    }
}

#[derive(Debug, Clone)]
struct Variable {
    value: String,
    exported: bool,
}

/// A shell: the state that commands read and change.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    machine: Arc<Machine>,
    terminal: Option<Arc<Terminal>>,
    directory: String,
    variables: BTreeMap<String, Variable>,
    variable_bytes: usize,
    functions: BTreeMap<String, Arc<Command>>,
    /// `$0`.
    name: String,
    arguments: Vec<String>,
    status: u8,
    exit_on_error: bool,
    /// Inside of a condition, where failure is no error.
    testing: bool,
    depth: u32,
}

impl Shell {
    fn new(machine: Arc<Machine>) -> Self {
        let variables = machine.environment.iter().map(|(name, value)| {
            (
                name.clone(),
                Variable {
                    value: value.clone(),
                    exported: true,
                },
            )
        });
        Self {
            variables: variables.collect(),
            variable_bytes: 0,
            machine,
            terminal: None,
            directory: "/".to_owned(),
            functions: BTreeMap::new(),
            name: "sh".to_owned(),
            arguments: Vec::new(),
            status: 0,
            exit_on_error: false,
            testing: false,
            depth: 0,
        }
    }

    /// Starts a program the way a container runtime does: without a shell around it.
    async fn start(&mut self, argv: Vec<String>, streams: &Streams) -> Outcome {
        let program = argv.first().cloned().unwrap_or_default();
        let missing = |reason: &str| Outcome::NotStarted(format!("exec: \"{program}\": {reason}"));
        match tools::find(self, &program) {
            tools::Found::Denied => return missing("permission denied"),
            tools::Found::Nothing if program.contains('/') => {
                return missing(&format!("stat {program}: no such file or directory"));
            }
            tools::Found::Nothing => return missing("executable file not found in $PATH"),
            tools::Found::Tool(_) | tools::Found::Script(_) => {}
        }
        self.invoke(argv, 0, streams).await;
        Outcome::Exited(self.status)
    }

    /// Reads commands from a terminal until `exit` or Ctrl-D.
    async fn interactive(&mut self, streams: &Streams) -> u8 {
        let Some(terminal) = self.terminal.clone() else {
            return 2;
        };
        let mut interrupts = terminal.interrupts();
        let mut text = String::new();
        loop {
            terminal.set_echo(true);
            let prompt = if text.is_empty() {
                format!("{} # ", self.directory)
            } else {
                "> ".to_owned()
            };
            if streams.output.clone().write(prompt).await.is_err() {
                return self.status;
            }
            let line = tokio::select! {
                line = streams.input.line() => line,
                _ = interrupts.changed() => {
                    text.clear();
                    self.status = INTERRUPTED;
                    streams.output.echo("\r\n".to_owned()).await;
                    continue;
                }
            };
            let Some(line) = line else {
                streams.output.echo("\r\n".to_owned()).await;
                return self.status;
            };
            text.push_str(&String::from_utf8_lossy(&line));
            match syntax::parse(&text) {
                Err(SyntaxError::Incomplete) if text.len() < io::TEXT_LIMIT => continue,
                Err(error) => {
                    self.complain(&interpret::syntax_message(&error), 2, streams)
                        .await;
                }
                Ok(command) => {
                    let flow = tokio::select! {
                        flow = self.run(&command, streams) => Some(flow),
                        _ = interrupts.changed() => None,
                    };
                    match flow {
                        Some(Flow::Exit) => return self.status,
                        Some(_) => {}
                        None => {
                            // What ran was dropped in the middle: nothing of its nesting is left.
                            self.status = INTERRUPTED;
                            self.testing = false;
                            self.depth = 0;
                            streams.output.echo("\r\n".to_owned()).await;
                        }
                    }
                }
            }
            text.clear();
        }
    }

    /// Reads commands from an input that is no terminal.
    async fn script(&mut self, streams: &Streams) -> u8 {
        let mut text = String::new();
        while let Some(line) = streams.input.line().await {
            text.push_str(&String::from_utf8_lossy(&line));
            match syntax::parse(&text) {
                Err(SyntaxError::Incomplete) if text.len() < io::TEXT_LIMIT => continue,
                Err(error) => {
                    self.complain(&interpret::syntax_message(&error), 2, streams)
                        .await;
                    return self.status;
                }
                Ok(command) => {
                    if self.run(&command, streams).await == Flow::Exit {
                        return self.status;
                    }
                }
            }
            text.clear();
        }
        if !text.trim().is_empty() {
            self.complain("syntax error: unexpected end of file", 2, streams)
                .await;
        }
        self.status
    }

    /// A copy for `(…)`, `$(…)` and pipelines.
    fn subshell(&self) -> Result<Self, String> {
        let mut inner = self.clone();
        inner.deeper()?;
        Ok(inner)
    }

    fn deeper(&mut self) -> Result<(), String> {
        if self.depth >= DEPTH_LIMIT {
            return Err("nested too deep".to_owned());
        }
        self.depth += 1;
        Ok(())
    }

    /// The value of `$name`, if it is set.
    fn parameter(&self, name: &str) -> Option<String> {
        match name {
            "?" => Some(self.status.to_string()),
            "$" => Some((17 + self.depth).to_string()),
            "#" => Some(self.arguments.len().to_string()),
            "@" | "*" => Some(self.arguments.join(" ")),
            "-" => Some(String::new()),
            "!" => None,
            "0" => Some(self.name.clone()),
            "PWD" => Some(self.directory.clone()),
            _ => match name.parse::<usize>() {
                Ok(number) => self.arguments.get(number.checked_sub(1)?).cloned(),
                Err(_) => self
                    .variables
                    .get(name)
                    .map(|variable| variable.value.clone()),
            },
        }
    }

    fn assign(&mut self, name: &str, value: String) -> Result<(), String> {
        let old = self
            .variables
            .get(name)
            .map_or(0, |variable| variable.value.len() + name.len());
        let bytes = (self.variable_bytes + name.len() + value.len()).saturating_sub(old);
        if bytes > VARIABLES_LIMIT || self.variables.len() > 4096 {
            return Err(format!("{name}: out of memory"));
        }
        self.variable_bytes = bytes;
        let exported = self
            .variables
            .get(name)
            .is_some_and(|variable| variable.exported);
        self.variables
            .insert(name.to_owned(), Variable { value, exported });
        Ok(())
    }

    fn export(&mut self, name: &str) {
        if let Some(variable) = self.variables.get_mut(name) {
            variable.exported = true;
        }
    }

    fn export_variable(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.variables.insert(
                name.to_owned(),
                Variable {
                    value: value.to_owned(),
                    exported: true,
                },
            );
        }
    }

    /// What `env` prints.
    fn environment(&self) -> Vec<String> {
        let exported = self
            .variables
            .iter()
            .filter(|(_, variable)| variable.exported);
        let mut all: Vec<String> = exported
            .map(|(name, variable)| format!("{name}={}", variable.value))
            .collect();
        all.push(format!("PWD={}", self.directory));
        all
    }

    fn path(&self, path: &str) -> String {
        fs::absolute(&self.directory, path)
    }
}

#[cfg(test)]
mod tests;
