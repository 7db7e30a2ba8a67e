//! The simulated node: what stands behind `pods/log`, `exec`, `attach` and `portforward`.
//!
//! Nothing here runs a process, opens a file or connects anywhere. A container is a shell with a
//! file system in memory (`shell`), its log is computed from its name and the clock ([`logs`]),
//! its ports are answered by functions (`portforward`). What a client can do to it is bounded by
//! [`Settings::memory`].

mod machines;
pub(crate) mod pod;
mod query;
mod reply;

mod exec;
pub mod logs;
mod portforward;
mod transport;
pub(crate) mod shell;

use std::sync::{Arc, LazyLock};
use std::time::Duration;
use transport::{spdy, upgrade, websocket};

use http::{Request, Response};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use machines::Machines;
pub use pod::{ExitHook, PodRef};
pub use portcullis::gateway::body::{Body, BodyError};
use query::Query;
use reply::Fault;
use shell::Machine;

/// How the simulated node behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Time between two log lines of a container.
    pub log_period: Duration,
    /// Log lines a container keeps, as log rotation would.
    pub log_lines: u64,
    /// Bytes all files of all containers may hold together.
    pub memory: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            log_period: Duration::from_millis(200),
            log_lines: 500,
            memory: 256 << 20,
        }
    }
}

/// A simulated node; clones share their containers.
#[derive(Debug, Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    tasks: TaskTracker,
    machines: Mutex<Machines>,
}

impl Node {
    /// A node without containers; they come to be when they are first asked for.
    pub fn new(settings: Settings) -> Self {
        let machines = Mutex::new(Machines::new(settings.memory));
        let tasks = TaskTracker::new();
        Self {
            inner: Arc::new(Inner {
                settings,
                tasks,
                machines,
            }),
        }
    }

    /// Answers a request for a subresource of `pod`. The pod exists: the caller has looked it up.
    pub fn handle<B>(&self, request: Request<B>, pod: PodRef) -> Response<Body>
    where
        B: Send + 'static,
    {
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let answer = match subresource(request.uri().path()) {
            "log" => logs::answer(self, request, &query, &pod),
            "exec" => exec::exec(self, request, &query, pod),
            "attach" => exec::attach(self, request, &query, pod),
            "portforward" => portforward::answer(self, request, &query, &pod),
            other => Err(Fault::not_found(&format!(
                "the simulated node serves no {other:?}"
            ))),
        };
        answer.unwrap_or_else(Fault::into_response)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Forgets the containers of a pod that is no more.
    pub fn forget(&self, pod: &PodRef) {
        self.inner.machines.lock().forget(pod);
    }

    pub(crate) fn machine(&self, pod: &PodRef, container: &pod::Container) -> Arc<Machine> {
        self.inner.machines.lock().get(pod, container)
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.inner.tasks
    }
}

static SHARED: LazyLock<Node> = LazyLock::new(|| Node::new(Settings::default()));

/// Answers on the node that the whole process shares; tests that count make their own [`Node`].
#[expect(
    clippy::unused_async,
    reason = "the callers' side of a node is asynchronous, whatever this one needs"
)]
pub async fn handle<B>(request: Request<B>, pod: PodRef) -> Response<Body>
where
    B: Send + 'static,
{
    SHARED.handle(request, pod)
}

/// Forgets the containers of a pod that is no more, on the node of the whole process.
pub fn forget(pod: &PodRef) {
    SHARED.forget(pod);
}

fn subresource(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod testing;
