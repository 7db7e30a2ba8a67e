//! The programs of a simulated container.

mod archive;
mod checks;
mod files;
mod listing;
mod shells;
mod system;
mod text;
mod text_filters;

use bytes::Bytes;

use super::Shell;
use super::fs::{self, Kind};
use super::io::{Broken, Input, PIECE, Streams, TEXT_LIMIT};

/// Everything that can be run.
pub(super) const NAMES: &[&str] = &[
    "[",
    "ash",
    "base64",
    "basename",
    "bash",
    "cat",
    "chmod",
    "clear",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "echo",
    "env",
    "false",
    "find",
    "grep",
    "head",
    "hostname",
    "id",
    "ls",
    "mkdir",
    "mv",
    "nproc",
    "printenv",
    "printf",
    "ps",
    "pwd",
    "rm",
    "rmdir",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stty",
    "sync",
    "tail",
    "tar",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "tty",
    "uname",
    "uniq",
    "uptime",
    "wc",
    "whoami",
    "yes",
];
/// Where programs are.
const DIRECTORIES: &[&str] = &["/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin"];
/// The status of a program that wrote into a closed pipe.
const BROKEN_PIPE: u8 = 141;

/// What a name leads to.
#[derive(Debug)]
pub(super) enum Found {
    Tool(&'static str),
    /// A file somebody made executable.
    Script(String),
    Denied,
    Nothing,
}

/// A program that is about to run.
pub(super) struct Call<'a> {
    pub(super) tool: &'static str,
    pub(super) arguments: Vec<String>,
    pub(super) shell: &'a mut Shell,
    pub(super) streams: Streams,
}

/// Whether a name or path leads to a program that every container has.
pub(super) fn is_tool(name: &str) -> bool {
    known(name).is_some()
}

fn known(name: &str) -> Option<&'static str> {
    let (directory, base) = name.rsplit_once('/').unwrap_or(("/bin", name));
    let tool = NAMES.iter().find(|known| **known == base).copied();
    tool.filter(|_| DIRECTORIES.contains(&directory))
}

/// Looks a program up, by name or by path.
pub(super) fn find(shell: &Shell, name: &str) -> Found {
    if let Some(tool) = known(name) {
        return Found::Tool(tool);
    }
    if !name.contains('/') {
        return Found::Nothing;
    }
    let path = shell.path(name);
    match shell.machine.fs.stat(&path) {
        Ok(stat) if stat.kind == Kind::File && stat.mode & 0o111 != 0 => {
            match text_of(shell, &path) {
                Ok(text) => Found::Script(text),
                Err(_) => Found::Denied,
            }
        }
        Ok(_) => Found::Denied,
        Err(_) => Found::Nothing,
    }
}

/// Whether a command starts an interactive shell on a terminal.
pub(super) fn is_shell(argv: &[String]) -> bool {
    let (name, options) = match argv.split_first() {
        Some((name, options)) => (name.as_str(), options),
        None => return true,
    };
    let base = name.rsplit('/').next().unwrap_or(name);
    let interactive = options
        .iter()
        .all(|option| matches!(option.as_str(), "-i" | "-l" | "-il" | "--login"));
    matches!(base, "sh" | "bash" | "ash") && interactive
}

/// A file as text, bounded.
pub(super) fn text_of(shell: &Shell, path: &str) -> Result<String, fs::Error> {
    let mut reader = shell.machine.fs.read(path)?;
    let mut text = Vec::new();
    while let Some(chunk) = reader.next_chunk(PIECE) {
        text.extend_from_slice(&chunk);
        if text.len() > TEXT_LIMIT {
            return Err(fs::Error::Denied);
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Runs a program to its end and returns its status.
pub(super) async fn run(mut call: Call<'_>) -> u8 {
    // The program may use up the call, and a late error needs both of these.
    let (tool, mut error) = (call.tool, call.streams.error.clone());
    let done = match tool {
        "sh" | "bash" | "ash" | "env" | "timeout" => Box::pin(shells::run(&mut call)).await,
        "tar" => Box::pin(archive::run(&mut call)).await,
        "[" | "test" => checks::run(&mut call).await,
        "ls" | "find" | "df" | "ps" => listing::run(&mut call).await,
        "cp" | "mv" | "rm" | "rmdir" | "mkdir" | "touch" | "chmod" | "dd" | "basename"
        | "dirname" => Box::pin(files::run(&mut call)).await,
        "cat" | "head" | "tail" | "wc" | "tee" | "base64" | "sha256sum" | "echo" | "printf"
        | "seq" | "yes" => Box::pin(text::run(&mut call)).await,
        "cut" | "grep" | "sort" | "tr" | "uniq" => Box::pin(text_filters::run(&mut call)).await,
        _ => system::run(&mut call).await,
    };
    match done {
        Ok(status) => status,
        Err(Broken::Pipe) => BROKEN_PIPE,
        Err(Broken::File(reason)) => {
            // If the complaint cannot be written either there is nobody left to tell.
            match error
                .write(format!("{tool}: write error: {reason}\n"))
                .await
            {
                Ok(()) | Err(_) => 1,
            }
        }
    }
}

impl Call<'_> {
    async fn print(&mut self, bytes: impl Into<Bytes>) -> Result<(), Broken> {
        self.streams.output.write(bytes).await
    }

    async fn complain(&mut self, message: &str) -> Result<u8, Broken> {
        self.streams
            .error
            .write(format!("{}: {message}\n", self.tool))
            .await?;
        Ok(1)
    }

    /// Opens an argument; `-` is the standard input.
    fn open(&self, path: &str) -> Result<Input, String> {
        match path {
            "-" | "/dev/stdin" => Ok(self.streams.input.clone()),
            _ => {
                let reader = self.shell.machine.fs.read(&self.shell.path(path));
                reader
                    .map(Input::file)
                    .map_err(|error| format!("{path}: {error}"))
            }
        }
    }

    /// Splits leading options (`-a`, `-n 5`, `-n5`) from the other arguments. Letters in `valued`
    /// take a value.
    fn options(&self, valued: &str) -> (Vec<(char, String)>, Vec<String>) {
        let (mut options, mut others) = (Vec::new(), Vec::new());
        let mut arguments = self.arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--" {
                others.extend(arguments.cloned());
                break;
            }
            let Some(letters) = argument.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
                others.push(argument.clone());
                continue;
            };
            let mut letters = letters.chars();
            while let Some(letter) = letters.next() {
                let mut value = String::new();
                if valued.contains(letter) {
                    value = letters.by_ref().collect();
                    if value.is_empty() {
                        value = arguments.next().cloned().unwrap_or_default();
                    }
                }
                options.push((letter, value));
            }
        }
        (options, others)
    }
}

/// The value of an option.
fn value(options: &[(char, String)], letter: char) -> Option<&str> {
    options
        .iter()
        .rev()
        .find(|(name, _)| *name == letter)
        .map(|(_, value)| value.as_str())
}

/// `10`, `4k`, `1M`, `2G`.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor = match text.strip_prefix(digits)? {
        "" | "c" => 1,
        "k" | "K" | "KB" | "kB" => 1 << 10,
        "M" | "MB" | "m" => 1 << 20,
        "G" | "GB" | "g" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}
