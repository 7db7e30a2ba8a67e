//! Running commands.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::mpsc;

use super::io::{Input, Output, PIPE_PIECES, Streams};
use super::syntax::{Command, Redirect, Simple, Target, Word};
use super::{Shell, fs, pattern, syntax, tools};

/// Most stages of a pipeline.
const STAGE_LIMIT: usize = 64;

/// What happens after a command; its status is in the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    Exit,
    Return,
    Break(u32),
    Continue(u32),
}

impl Shell {
    /// Runs a command and leaves its status in the shell.
    pub(crate) fn run<'a>(
        &'a mut self,
        command: &'a Command,
        streams: &'a Streams,
    ) -> BoxFuture<'a, Flow> {
        async move {
            match command {
                Command::Simple(simple) => {
                    let flow = self.simple(simple, streams).await;
                    if self.exit_on_error && !self.testing && self.status != 0 {
                        Flow::Exit
                    } else {
                        flow
                    }
                }
                Command::Pipeline(negated, stages) => {
                    self.pipeline(*negated, stages, streams).await
                }
                Command::And(left, right) => self.chain(left, right, true, streams).await,
                Command::Or(left, right) => self.chain(left, right, false, streams).await,
                Command::Sequence(commands) => {
                    for command in commands {
                        let flow = self.run(command, streams).await;
                        if flow != Flow::Next {
                            return flow;
                        }
                    }
                    Flow::Next
                }
                Command::If(branches) => self.conditional(branches, streams).await,
                Command::While {
                    until,
                    condition,
                    body,
                } => self.while_loop(*until, condition, body, streams).await,
                Command::For { name, words, body } => {
                    self.for_loop(name, words.as_deref(), body, streams).await
                }
                Command::Case { subject, arms } => self.case(subject, arms, streams).await,
                Command::Subshell(body, redirects) => {
                    self.in_subshell(body, redirects, streams).await
                }
                Command::Group(body, redirects) => {
                    match self.redirected(redirects, streams).await {
                        Ok(streams) => self.run(body, &streams).await,
                        Err(message) => self.complain(&message, 1, streams).await,
                    }
                }
                Command::Function(name, body) => {
                    self.functions.insert(name.clone(), Arc::clone(body));
                    self.status = 0;
                    Flow::Next
                }
            }
        }
        .boxed()
    }

    /// Runs a text; incomplete text is an error here.
    pub(crate) async fn run_text(&mut self, text: &str, streams: &Streams) -> Flow {
        match syntax::parse(text) {
            Ok(command) => self.run(&command, streams).await,
            Err(error) => {
                let message = syntax_message(&error);
                self.complain(&message, 2, streams).await;
                Flow::Exit
            }
        }
    }

    /// Prints an error of the shell itself.
    pub(super) async fn complain(&mut self, message: &str, status: u8, streams: &Streams) -> Flow {
        self.status = status;
        let line = format!("{}: {message}\n", self.name);
        // A complaint that nobody can read is lost, as in any shell.
        match streams.error.clone().write(line).await {
            Ok(()) | Err(_) => Flow::Next,
        }
    }

    async fn in_subshell(
        &mut self,
        body: &Command,
        redirects: &[Redirect],
        streams: &Streams,
    ) -> Flow {
        let (mut inner, streams) =
            match (self.subshell(), self.redirected(redirects, streams).await) {
                (Ok(inner), Ok(streams)) => (inner, streams),
                (Err(message), _) | (_, Err(message)) => {
                    return self.complain(&message, 1, streams).await;
                }
            };
        inner.run(body, &streams).await;
        self.status = inner.status;
        Flow::Next
    }

    async fn pipeline(&mut self, negated: bool, stages: &[Command], streams: &Streams) -> Flow {
        let flow = match stages {
            [only] => {
                let testing = std::mem::replace(&mut self.testing, true);
                let flow = self.run(only, streams).await;
                self.testing = testing;
                flow
            }
            several if several.len() > STAGE_LIMIT => {
                return self.complain("too many pipes", 2, streams).await;
            }
            several => {
                let mut running = Vec::new();
                let mut input = streams.input.clone();
                for (index, stage) in several.iter().enumerate() {
                    let mut inner = match self.subshell() {
                        Ok(inner) => inner,
                        Err(message) => return self.complain(&message, 2, streams).await,
                    };
                    let (mut output, mut next) = (streams.output.clone(), Input::nothing());
                    if index + 1 < several.len() {
                        let (sender, receiver) = mpsc::channel::<Bytes>(PIPE_PIECES);
                        (output, next) = (Output::Pipe(sender), Input::pipe(receiver));
                    }
                    let own = Streams {
                        input,
                        output,
                        error: streams.error.clone(),
                    };
                    input = next;
                    // The streams go with the stage, so that its neighbours see its end.
                    running.push(async move {
                        inner.run(stage, &own).await;
                        inner.status
                    });
                }
                self.status = join_all(running).await.last().copied().unwrap_or(0);
                Flow::Next
            }
        };
        if negated {
            self.status = u8::from(self.status == 0);
        }
        flow
    }

    async fn chain(
        &mut self,
        left: &Command,
        right: &Command,
        and: bool,
        streams: &Streams,
    ) -> Flow {
        let flow = self.test(left, streams).await;
        if flow != Flow::Next || (self.status == 0) != and {
            return flow;
        }
        self.run(right, streams).await
    }

    /// Runs a command whose failure is no error.
    async fn test(&mut self, command: &Command, streams: &Streams) -> Flow {
        let testing = std::mem::replace(&mut self.testing, true);
        let flow = self.run(command, streams).await;
        self.testing = testing;
        flow
    }

    async fn conditional(
        &mut self,
        branches: &[(Option<Command>, Command)],
        streams: &Streams,
    ) -> Flow {
        for (condition, body) in branches {
            if let Some(condition) = condition {
                let flow = self.test(condition, streams).await;
                if flow != Flow::Next {
                    return flow;
                }
                if self.status != 0 {
                    continue;
                }
            }
            return self.run(body, streams).await;
        }
        self.status = 0;
        Flow::Next
    }

    async fn while_loop(
        &mut self,
        until: bool,
        condition: &Command,
        body: &Command,
        streams: &Streams,
    ) -> Flow {
        let mut last = 0;
        loop {
            // An endless loop must not keep others from running.
            tokio::task::yield_now().await;
            let flow = self.test(condition, streams).await;
            if flow != Flow::Next {
                return flow;
            }
            if (self.status == 0) == until {
                self.status = last;
                return Flow::Next;
            }
            match self.run(body, streams).await {
                Flow::Next | Flow::Continue(0..=1) => {}
                Flow::Break(0..=1) => return Flow::Next,
                Flow::Break(levels) => return Flow::Break(levels - 1),
                Flow::Continue(levels) => return Flow::Continue(levels - 1),
                other => return other,
            }
            last = self.status;
        }
    }

    async fn for_loop(
        &mut self,
        name: &str,
        words: Option<&[Word]>,
        body: &Command,
        streams: &Streams,
    ) -> Flow {
        let values = match words {
            None => Ok(self.arguments.clone()),
            Some(words) => self.arguments_of(words, streams).await,
        };
        let values = match values {
            Ok(values) => values,
            Err(message) => return self.complain(&message, 1, streams).await,
        };
        self.status = 0;
        for value in values {
            tokio::task::consume_budget().await;
            if let Err(message) = self.assign(name, value) {
                return self.complain(&message, 1, streams).await;
            }
            match self.run(body, streams).await {
                Flow::Next | Flow::Continue(0..=1) => {}
                Flow::Break(0..=1) => return Flow::Next,
                Flow::Break(levels) => return Flow::Break(levels - 1),
                Flow::Continue(levels) => return Flow::Continue(levels - 1),
                other => return other,
            }
        }
        Flow::Next
    }

    async fn case(
        &mut self,
        subject: &Word,
        arms: &[(Vec<Word>, Command)],
        streams: &Streams,
    ) -> Flow {
        let text = match self.text_of(subject, streams).await {
            Ok(text) => text,
            Err(message) => return self.complain(&message, 1, streams).await,
        };
        self.status = 0;
        for (patterns, body) in arms {
            for word in patterns {
                match self.pattern_of(word, streams).await {
                    Ok(pattern) if pattern::matches(&pattern, &text) => {
                        return self.run(body, streams).await;
                    }
                    Ok(_) => {}
                    Err(message) => return self.complain(&message, 1, streams).await,
                }
            }
        }
        Flow::Next
    }

    async fn simple(&mut self, simple: &Simple, streams: &Streams) -> Flow {
        let before = self.status;
        let prepared = async {
            let words = self.arguments_of(&simple.words, streams).await?;
            let mut assignments = Vec::new();
            for (name, word) in &simple.assignments {
                assignments.push((name.clone(), self.text_of(word, streams).await?));
            }
            let streams = self.redirected(&simple.redirects, streams).await?;
            Ok::<_, String>((words, assignments, streams))
        };
        let (words, assignments, inner) = match prepared.await {
            Ok(prepared) => prepared,
            Err(message) => return self.complain(&message, 1, streams).await,
        };
        if words.is_empty() {
            if !uses_output(simple) {
                self.status = 0;
            }
            for (name, value) in assignments {
                if let Err(message) = self.assign(&name, value) {
                    return self.complain(&message, 1, streams).await;
                }
            }
            return Flow::Next;
        }
        if assignments.is_empty() {
            return self.invoke(words, before, &inner).await;
        }
        // Assignments before a command hold for that command only.
        let saved = self.variables.clone();
        for (name, value) in assignments {
            if self.assign(&name, value).is_ok() {
                self.export(&name);
            }
        }
        let flow = self.invoke(words, before, &inner).await;
        self.variables = saved;
        flow
    }

    /// Runs a function, a builtin or a tool.
    pub(super) async fn invoke(
        &mut self,
        words: Vec<String>,
        before: u8,
        streams: &Streams,
    ) -> Flow {
        let Some(name) = words.first().cloned() else {
            return Flow::Next;
        };
        if let Some(body) = self.functions.get(&name).cloned() {
            return self.function(&body, words, streams).await;
        }
        if let Some(flow) = self.builtin(&words, before, streams).await {
            return flow;
        }
        match tools::find(self, &name) {
            tools::Found::Tool(tool) => {
                let arguments = words.into_iter().skip(1).collect();
                let call = tools::Call {
                    tool,
                    arguments,
                    shell: self,
                    streams: streams.clone(),
                };
                self.status = tools::run(call).await;
                Flow::Next
            }
            tools::Found::Script(text) => {
                let mut inner = match self.subshell() {
                    Ok(inner) => inner,
                    Err(message) => return self.complain(&message, 126, streams).await,
                };
                inner.name = name;
                inner.arguments = words.into_iter().skip(1).collect();
                inner.run_text(&text, streams).await;
                self.status = inner.status;
                Flow::Next
            }
            tools::Found::Denied => {
                self.complain(&format!("{name}: Permission denied"), 126, streams)
                    .await
            }
            tools::Found::Nothing => {
                self.complain(&format!("{name}: not found"), 127, streams)
                    .await
            }
        }
    }

    async fn function(&mut self, body: &Command, words: Vec<String>, streams: &Streams) -> Flow {
        if self.deeper().is_err() {
            return self
                .complain("functions are nested too deep", 2, streams)
                .await;
        }
        let arguments = words.into_iter().skip(1).collect();
        let saved = std::mem::replace(&mut self.arguments, arguments);
        let flow = self.run(body, streams).await;
        self.arguments = saved;
        self.depth -= 1;
        if flow == Flow::Return {
            Flow::Next
        } else {
            flow
        }
    }

    /// The streams of a command with its redirections.
    async fn redirected(
        &mut self,
        redirects: &[Redirect],
        streams: &Streams,
    ) -> Result<Streams, String> {
        let mut streams = streams.clone();
        for redirect in redirects {
            let outer = streams.clone();
            match &redirect.target {
                Target::Read(word) => {
                    let path = self.text_of(word, &outer).await?;
                    streams.input = self.open_input(&path, &outer)?;
                }
                Target::Write(word) | Target::Append(word) => {
                    let path = self.text_of(word, &outer).await?;
                    let append = matches!(redirect.target, Target::Append(_));
                    let output = self.open_output(&path, append, &outer)?;
                    set(&mut streams, redirect.descriptor, output);
                }
                Target::Duplicate(1) => set(&mut streams, redirect.descriptor, outer.output),
                Target::Duplicate(2) => set(&mut streams, redirect.descriptor, outer.error),
                Target::Duplicate(other) => return Err(format!("{other}: Bad file descriptor")),
                Target::Here(word) => {
                    let text = match word.get() {
                        Some(word) => self.text_of(word, &outer).await?,
                        None => String::new(),
                    };
                    streams.input = Input::text(text);
                }
                Target::HereString(word) => {
                    streams.input = Input::text(self.text_of(word, &outer).await? + "\n");
                }
            }
        }
        Ok(streams)
    }

    /// Opens a file for reading; `/dev/stdin` is the input that is there already.
    pub(super) fn open_input(&self, path: &str, streams: &Streams) -> Result<Input, String> {
        if matches!(path, "/dev/stdin" | "/dev/tty") {
            return Ok(streams.input.clone());
        }
        let absolute = fs::absolute(&self.directory, path);
        let reader = self.machine.fs.read(&absolute);
        reader
            .map(Input::file)
            .map_err(|error| format!("can't open {path}: {error}"))
    }

    fn open_output(&self, path: &str, append: bool, streams: &Streams) -> Result<Output, String> {
        match path {
            "/dev/stdout" | "/dev/tty" => return Ok(streams.output.clone()),
            "/dev/stderr" => return Ok(streams.error.clone()),
            _ => {}
        }
        let absolute = fs::absolute(&self.directory, path);
        let writer = self.machine.fs.write(&absolute, append);
        writer
            .map(Output::File)
            .map_err(|error| format!("can't create {path}: {error}"))
    }
}

fn set(streams: &mut Streams, descriptor: u8, output: Output) {
    match descriptor {
        1 => streams.output = output,
        2 => streams.error = output,
        // Other descriptors are not simulated; nothing can read from them either.
        _ => {}
    }
}

fn uses_output(simple: &Simple) -> bool {
    use syntax::Content;
    let pieces = simple.assignments.iter().flat_map(|(_, word)| &word.0);
    pieces
        .into_iter()
        .any(|piece| matches!(piece.content, Content::Output(_)))
}

/// What the shell says about a text that is no command.
pub(super) fn syntax_message(error: &syntax::SyntaxError) -> String {
    match error {
        syntax::SyntaxError::Incomplete => "syntax error: unexpected end of file".to_owned(),
        syntax::SyntaxError::Unexpected(what) => format!("syntax error: unexpected \"{what}\""),
        syntax::SyntaxError::TooDeep => "syntax error: nested too deep".to_owned(),
    }
}
