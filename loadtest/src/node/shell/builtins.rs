//! Commands that change the shell itself.

use super::interpret::Flow;
use super::io::Streams;
use super::{Shell, tools};

impl Shell {
    /// Runs a builtin; `None` if the name is none.
    pub(super) async fn builtin(
        &mut self,
        words: &[String],
        before: u8,
        streams: &Streams,
    ) -> Option<Flow> {
        let (name, arguments) = words.split_first()?;
        let first = arguments.first().map(String::as_str);
        let number = first.and_then(|text| text.parse::<u32>().ok());
        self.status = 0;
        let flow = match name.as_str() {
            ":" | "trap" | "wait" | "umask" | "alias" | "ulimit" | "hash" => Flow::Next,
            "exit" | "return" => {
                let code = match first {
                    Some(text) => text.parse::<i64>().ok(),
                    None => Some(i64::from(before)),
                };
                // Exit codes have eight bits.
                self.status = code.map_or(2, |code| code.to_le_bytes()[0]);
                if name == "exit" {
                    Flow::Exit
                } else {
                    Flow::Return
                }
            }
            "break" => Flow::Break(number.unwrap_or(1)),
            "continue" => Flow::Continue(number.unwrap_or(1)),
            "shift" => {
                let count = number.unwrap_or(1).try_into().unwrap_or(usize::MAX);
                self.arguments.drain(..count.min(self.arguments.len()));
                Flow::Next
            }
            "cd" => self.change_directory(first, streams).await,
            "export" | "local" | "readonly" | "declare" => {
                self.declare(name, arguments, streams).await
            }
            "unset" => {
                for name in arguments {
                    self.variables.remove(name);
                    self.functions.remove(name);
                }
                Flow::Next
            }
            "set" => self.set(arguments),
            "eval" => self.evaluate(&arguments.join(" "), streams).await,
            "." | "source" => self.source(first, streams).await,
            "exec" if arguments.is_empty() => Flow::Next,
            "exec" => {
                Box::pin(self.invoke(arguments.to_vec(), before, streams)).await;
                Flow::Exit
            }
            "read" => self.read(arguments, streams).await,
            "command" | "type" | "which" => self.describe(name, arguments, streams).await,
            _ => {
                self.status = before;
                return None;
            }
        };
        Some(flow)
    }

    async fn change_directory(&mut self, to: Option<&str>, streams: &Streams) -> Flow {
        let to = match to {
            Some("-") => self.parameter("OLDPWD").unwrap_or_default(),
            Some(path) => path.to_owned(),
            None => self.parameter("HOME").unwrap_or_default(),
        };
        let path = self.path(&to);
        match self.machine.fs.stat(&path) {
            Ok(stat) if stat.kind == super::fs::Kind::Directory => {
                let old = std::mem::replace(&mut self.directory, path);
                match self.assign("OLDPWD", old) {
                    Ok(()) => Flow::Next,
                    Err(message) => self.complain(&message, 1, streams).await,
                }
            }
            Ok(_) => {
                self.complain(
                    &format!("cd: can't cd to {to}: Not a directory"),
                    1,
                    streams,
                )
                .await
            }
            Err(error) => {
                self.complain(&format!("cd: can't cd to {to}: {error}"), 1, streams)
                    .await
            }
        }
    }

    async fn declare(&mut self, builtin: &str, arguments: &[String], streams: &Streams) -> Flow {
        if arguments.is_empty() {
            let lines = self.environment();
            let text = format!(
                "export {}
",
                lines.join(
                    "
export "
                )
            );
            self.status = u8::from(streams.output.clone().write(text).await.is_err());
            return Flow::Next;
        }
        for argument in arguments
            .iter()
            .filter(|argument| !argument.starts_with('-'))
        {
            let (name, value) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (argument.as_str(), None),
            };
            let exported = builtin == "export";
            let value = value
                .map(str::to_owned)
                .or_else(|| exported.then(|| self.parameter(name)).flatten());
            if let Err(message) = self.assign(name, value.unwrap_or_default()) {
                return self.complain(&message, 1, streams).await;
            }
            if exported {
                self.export(name);
            }
        }
        Flow::Next
    }

    fn set(&mut self, arguments: &[String]) -> Flow {
        for (index, argument) in arguments.iter().enumerate() {
            match argument.as_str() {
                "--" => {
                    self.arguments = arguments.iter().skip(index + 1).cloned().collect();
                    break;
                }
                options if options.starts_with('-') && options.contains('e') => {
                    self.exit_on_error = true;
                }
                options if options.starts_with('+') && options.contains('e') => {
                    self.exit_on_error = false;
                }
                _ => {}
            }
        }
        Flow::Next
    }

    async fn evaluate(&mut self, text: &str, streams: &Streams) -> Flow {
        if let Err(message) = self.deeper() {
            return self.complain(&message, 2, streams).await;
        }
        let flow = Box::pin(self.run_text(text, streams)).await;
        self.depth -= 1;
        flow
    }

    async fn source(&mut self, path: Option<&str>, streams: &Streams) -> Flow {
        let path = self.path(path.unwrap_or_default());
        match tools::text_of(self, &path) {
            Ok(text) => match self.evaluate(&text, streams).await {
                Flow::Return => Flow::Next,
                flow => flow,
            },
            Err(error) => {
                self.complain(&format!("can't open {path}: {error}"), 2, streams)
                    .await
            }
        }
    }

    /// `read [-s] [-r] [-p prompt] name…`.
    async fn read(&mut self, arguments: &[String], streams: &Streams) -> Flow {
        let (mut names, mut hidden) = (Vec::new(), false);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix('-') {
                Some(options) => {
                    hidden |= options.contains('s');
                    if options.ends_with('p') {
                        let prompt = arguments.next().cloned().unwrap_or_default();
                        // Without a reader there is no prompt, and the next read ends.
                        if streams.error.clone().write(prompt).await.is_err() {
                            self.status = 1;
                            return Flow::Next;
                        }
                    } else if options.ends_with(['t', 'n', 'd']) {
                        arguments.next();
                    }
                }
                None => names.push(argument.clone()),
            }
        }
        let terminal = self.terminal.clone().filter(|_| hidden);
        if let Some(terminal) = &terminal {
            terminal.set_echo(false);
        }
        let line = streams.input.line().await;
        if let Some(terminal) = &terminal {
            terminal.set_echo(true);
        }
        self.status = u8::from(!line.as_ref().is_some_and(|line| line.ends_with(b"\n")));
        let line = line
            .map(|line| String::from_utf8_lossy(&line).into_owned())
            .unwrap_or_default();
        let mut rest = line.trim();
        if names.is_empty() {
            names.push("REPLY".to_owned());
        }
        let last = names.len() - 1;
        for (index, name) in names.iter().enumerate() {
            let (value, after) = match rest.split_once(char::is_whitespace) {
                Some((value, after)) if index < last => (value, after.trim_start()),
                _ => (rest, ""),
            };
            if let Err(message) = self.assign(name, value.to_owned()) {
                return self.complain(&message, 1, streams).await;
            }
            rest = after;
        }
        Flow::Next
    }

    /// `command -v`, `type` and `which`; `command name` runs it.
    async fn describe(&mut self, builtin: &str, arguments: &[String], streams: &Streams) -> Flow {
        let asks =
            builtin != "command" || arguments.first().is_some_and(|argument| argument == "-v");
        if !asks {
            return Box::pin(self.invoke(arguments.to_vec(), self.status, streams)).await;
        }
        for name in arguments
            .iter()
            .filter(|argument| !argument.starts_with('-'))
        {
            let text = match tools::find(self, name) {
                tools::Found::Tool(tool) if builtin == "type" => format!("{name} is /bin/{tool}\n"),
                tools::Found::Tool(tool) => format!("/bin/{tool}\n"),
                _ => {
                    self.status = 127;
                    continue;
                }
            };
            if streams.output.clone().write(text).await.is_err() {
                self.status = 1;
            }
        }
        Flow::Next
    }
}
