//! `exec` and `attach`: a program in a container, over SPDY or WebSocket.

mod outcome;
mod service;
mod spdy;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::{mpsc, watch};

use super::logs::Log;
use super::pod::{Container, PodRef};
use super::query::Query;
use super::reply::Fault;
use super::shell::{self, Outcome, Session};
use super::spdy::Gone;
use super::{Body, Node, upgrade, websocket as handshake};

/// Pieces between the connection and the program.
const PIECES: usize = 4;
/// How long a program may leave its input unread before the session is given up.
const STALL_LIMIT: Duration = Duration::from_mins(10);
/// How long the client may take to close a connection whose end it was told.
const GOODBYE_LIMIT: Duration = Duration::from_secs(5);
/// The size of a terminal nobody has resized yet.
const FIRST_SIZE: (u16, u16) = (80, 24);

/// Which streams a client wants.
#[derive(Debug, Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the parameters of the request as they are"
)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

/// An output of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channel {
    Stdout,
    Stderr,
}

/// What a client sends.
#[derive(Debug)]
enum FromClient {
    Stdin(Bytes),
    StdinEnd,
    /// Columns and rows.
    Resize(u16, u16),
}

/// The client's side of a session, reading.
trait Receive: Send {
    /// `None` when the client has gone.
    fn next(&mut self) -> impl Future<Output = Option<FromClient>> + Send;

    /// Waits until the client has closed the connection.
    fn drain(&mut self) -> impl Future<Output = ()> + Send;
}

/// The client's side of a session, writing.
trait Deliver: Send {
    fn output(
        &mut self,
        channel: Channel,
        bytes: Bytes,
    ) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Tells how the program ended and closes.
    fn finish(&mut self, outcome: &Outcome) -> impl Future<Output = Result<(), Gone>> + Send;
}

/// What runs.
#[derive(Debug, Clone)]
enum Program {
    /// A command of the client's.
    Command(Vec<String>),
    /// The container's main process, when it is something the shell knows.
    Main(Vec<String>),
    /// The container's main process, when it is not: a service that prints its log.
    Service(Box<Log>),
}

/// A session that is about to start.
#[derive(Clone)]
struct Plan {
    node: Node,
    pod: PodRef,
    container: Container,
    wanted: Wanted,
    program: Program,
}

/// Answers `…/exec`.
pub(super) fn exec<B>(
    node: &Node,
    request: Request<B>,
    query: &Query,
    pod: PodRef,
) -> Result<Response<Body>, Fault> {
    let container = pod.container(query.text("container"))?;
    let program = Program::Command(query.all("command"));
    let wanted = Wanted::parse(query);
    start(
        request,
        Plan {
            node: node.clone(),
            pod,
            container,
            wanted,
            program,
        },
    )
}

/// Answers `…/attach`.
pub(super) fn attach<B>(
    node: &Node,
    request: Request<B>,
    query: &Query,
    pod: PodRef,
) -> Result<Response<Body>, Fault> {
    let container = pod.container(query.text("container"))?;
    let program = match container.argv.as_slice() {
        [] if container.stdin => Program::Main(vec!["sh".to_owned()]),
        argv if container.stdin && shell::knows(argv) => Program::Main(argv.to_vec()),
        _ => Program::Service(Box::new(Log::of(node, &pod, &container))),
    };
    let mut wanted = Wanted::parse(query);
    // What the container does not have cannot be attached to.
    wanted.stdin &= container.stdin;
    wanted.tty &= container.tty;
    start(
        request,
        Plan {
            node: node.clone(),
            pod,
            container,
            wanted,
            program,
        },
    )
}

impl Wanted {
    fn parse(query: &Query) -> Self {
        let tty = query.flag("tty");
        Self {
            stdin: query.flag("stdin"),
            stdout: query.flag("stdout"),
            stderr: query.flag("stderr") && !tty,
            tty,
        }
    }
}

fn start<B>(request: Request<B>, plan: Plan) -> Result<Response<Body>, Fault> {
    let headers = request.headers();
    upgrade::require(headers)?;
    let wanted = plan.wanted;
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        let message = "you must specify at least 1 of stdin, stdout, stderr\n";
        return Err(Fault::text(StatusCode::BAD_REQUEST, message));
    }
    if plan.pod.is_finished() {
        let message = format!("container not found (\"{}\")\n", plan.container.name);
        return Err(Fault::text(StatusCode::INTERNAL_SERVER_ERROR, message));
    }
    let tasks = plan.node.tasks().clone();
    if handshake::is_upgrade(headers) {
        let supported: &[&str] = if handshake::offered(headers)
            .iter()
            .any(|offer| offer == websocket::V5)
        {
            &[websocket::V5]
        } else {
            websocket::SUPPORTED
        };
        let accepted = handshake::accept(request, supported)?;
        tasks.spawn(async move {
            if let Some(socket) = handshake::connect(accepted.upgrade).await {
                websocket::serve(socket, accepted.protocol, plan).await;
            }
        });
        return Ok(accepted.response);
    }
    let accepted = upgrade::accept(request, spdy::SUPPORTED)?;
    tasks.spawn(async move {
        if let Ok(upgraded) = accepted.upgrade.await {
            spdy::serve(TokioIo::new(upgraded), accepted.version, plan).await;
        }
    });
    Ok(accepted.response)
}

/// Connects a program with its client until one of them ends.
async fn converse(mut receive: impl Receive, mut deliver: impl Deliver, plan: Plan) {
    let wanted = plan.wanted;
    let (to_program, stdin) = mpsc::channel(PIECES);
    let (stdout, from_stdout) = mpsc::channel(PIECES);
    let (stderr, from_stderr) = mpsc::channel(PIECES);
    let (size, resized) = watch::channel(FIRST_SIZE);
    let session = Session {
        stdin: wanted.stdin.then_some(stdin),
        stdout: wanted.stdout.then_some(stdout),
        stderr: wanted.stderr.then_some(stderr),
        tty: wanted.tty,
        size: resized,
    };
    let running = async {
        let (outcome, delivered) = tokio::join!(
            plan.run(session),
            pass_on(&mut deliver, from_stdout, from_stderr)
        );
        (outcome, delivered)
    };
    let listening = listen(&mut receive, to_program, &size);
    tokio::select! {
        (outcome, delivered) = running => {
            plan.ended(&outcome);
            if delivered.is_ok() && deliver.finish(&outcome).await.is_ok() {
                let goodbye = tokio::time::timeout(GOODBYE_LIMIT, receive.drain()).await;
                tracing::debug!(pod = ?plan.pod, in_time = goodbye.is_ok(), "session closed");
            }
        }
        () = listening => plan.abandoned(),
    }
}

/// Sends what the program writes.
async fn pass_on(
    deliver: &mut impl Deliver,
    mut stdout: mpsc::Receiver<Bytes>,
    mut stderr: mpsc::Receiver<Bytes>,
) -> Result<(), Gone> {
    loop {
        let (channel, bytes) = tokio::select! {
            Some(bytes) = stdout.recv() => (Channel::Stdout, bytes),
            Some(bytes) = stderr.recv() => (Channel::Stderr, bytes),
            else => return Ok(()),
        };
        deliver.output(channel, bytes).await?;
    }
}

/// Hands what the client sends to the program; ends when the client has gone.
async fn listen(
    receive: &mut impl Receive,
    stdin: mpsc::Sender<Bytes>,
    size: &watch::Sender<(u16, u16)>,
) {
    let mut stdin = Some(stdin);
    while let Some(event) = receive.next().await {
        match event {
            FromClient::Stdin(bytes) => {
                if let Some(program) = &stdin {
                    match tokio::time::timeout(STALL_LIMIT, program.send(bytes)).await {
                        Ok(Ok(())) => {}
                        // The program reads no more; what is sent to it is dropped.
                        Ok(Err(_)) => stdin = None,
                        Err(_) => return,
                    }
                }
            }
            FromClient::StdinEnd => stdin = None,
            FromClient::Resize(columns, rows) => {
                size.send_replace((columns, rows));
            }
        }
    }
}

impl Plan {
    async fn run(&self, session: Session) -> Outcome {
        let machine = self.node.machine(&self.pod, &self.container);
        match &self.program {
            Program::Command(argv) | Program::Main(argv) => {
                shell::run(machine, argv.clone(), session).await
            }
            Program::Service(log) => service::run(log, session).await,
        }
    }

    /// The arguments, as the container runtime shows them in its messages.
    fn command(&self) -> String {
        match &self.program {
            Program::Command(argv) => argv.join(" "),
            Program::Main(_) | Program::Service(_) => String::new(),
        }
    }

    /// Whether this is the container's own process.
    fn is_main(&self) -> bool {
        matches!(self.program, Program::Main(_) | Program::Service(_))
    }

    fn ended(&self, outcome: &Outcome) {
        let code = match outcome {
            Outcome::Exited(code) => *code,
            Outcome::NotStarted(_) => 127,
        };
        self.tell(code);
    }

    /// With `stdinOnce` the process does not outlive its client.
    fn abandoned(&self) {
        if self.container.stdin_once {
            self.tell(0);
        }
    }

    fn tell(&self, code: u8) {
        if let (Program::Main(_), Some(hook)) = (&self.program, &self.pod.on_exit) {
            let hook = Arc::clone(hook);
            hook(&self.container.name, code);
        }
    }
}

#[cfg(test)]
mod tests;
