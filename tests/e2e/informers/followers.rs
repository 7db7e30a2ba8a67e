//! The informers of one way: two programs of stock clients, and the ones that speak protobuf.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::endpoint::Endpoint;
use super::protobuf;
use super::{END, INFORMERS, NAMESPACE, Report, WATCH_SECONDS, Way};
use crate::clients::{kube_rs_program, programs};
use crate::support::canary::Canaries;
use crate::support::process::{Process, Running};
use crate::support::world::{World, tool};

/// What writes files of events.
pub(super) const PROGRAMS: [&str; 3] = ["kube-rs", "python", "protobuf"];

/// How long informers may need for what came last: clients back off for up to half a minute.
const PATIENCE: Duration = Duration::from_mins(1);

/// Running informers.
#[derive(Debug)]
pub(super) struct Followers {
    directory: PathBuf,
    programs: Vec<Running>,
    protobuf: JoinHandle<Vec<Report>>,
}

/// Informers that are done.
#[derive(Debug)]
pub(super) struct Followed {
    directory: PathBuf,
    /// Sorted by informer and resource.
    pub(super) reports: Vec<Report>,
}

impl Followers {
    pub(super) fn start(world: &World, way: Way) -> Self {
        let directory = world.path(&format!("{way:?}"));
        std::fs::create_dir_all(&directory).unwrap();
        let kubeconfig = match way {
            Way::Gateway => "developer.kubeconfig",
            Way::Direct => "admin.kubeconfig",
        };
        let kube_rs = Process::new(world.runtime(), kube_rs_program("informers"));
        let python = Process::new(world.runtime(), tool("venv/bin/python"))
            .args([programs().join("python/informers.py")])
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let programs = [(kube_rs, "kube-rs"), (python, "python")].map(|(process, name)| {
            process
                .env("HOME", world.path("home"))
                .env("KUBECONFIG", world.path(kubeconfig))
                .env("NAMESPACE", NAMESPACE)
                .env("WATCH_SECONDS", WATCH_SECONDS.to_string())
                .env("END", END)
                .env("EVENTS", directory.join(name))
                .start()
        });
        let file = |name: &str| File::create(directory.join(name)).unwrap();
        // Last: the first start of a program may build it, and a connection without a request is not kept for so long.
        let endpoint = Endpoint::open(world, way, file("protobuf"), file("received"));
        let endpoint = world.runtime().block_on(endpoint);
        Self {
            programs: programs.into(),
            protobuf: world.runtime().spawn(protobuf::follow(Arc::new(endpoint))),
            directory,
        }
    }

    /// Waits until they have seen the last object.
    #[track_caller]
    pub(super) fn finish(self, world: &World) -> Followed {
        let mut reports = Vec::new();
        for program in self.programs {
            let outcome = program.wait_at_most(PATIENCE);
            outcome.expect_code(0);
            let lines = outcome.stdout.lines();
            reports.extend(lines.map(|line| serde_json::from_str::<Report>(line).unwrap()));
        }
        let protobuf = world
            .runtime()
            .block_on(async { timeout(PATIENCE, self.protobuf).await });
        reports.extend(protobuf.expect("the protobuf informers end").unwrap());
        let position = |report: &Report| INFORMERS.iter().position(|it| *it == report.informer);
        reports.sort_by_key(|report| (position(report), report.resource.clone()));
        Followed {
            directory: self.directory,
            reports,
        }
    }
}

impl Followed {
    /// The informer of the same kind and resource.
    pub(super) fn twin(&self, other: &Report) -> &Report {
        let mut all = self.reports.iter();
        all.find(|it| (&it.informer, &it.resource) == (&other.informer, &other.resource))
            .expect("a twin")
    }

    /// What a program's informers received, in its order.
    pub(super) fn events(&self, program: &str) -> impl Iterator<Item = Value> + use<> {
        let file = File::open(self.directory.join(program)).unwrap();
        BufReader::new(file)
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    }

    /// Searches all that came for secret values: how many bytes, and the first value.
    pub(super) fn search(&self, canaries: &Canaries) -> (usize, Option<String>) {
        let files = std::fs::read_dir(&self.directory).unwrap();
        let files = files.map(|file| std::fs::read(file.unwrap().path()).unwrap());
        files.fold((0, None), |(length, found), bytes| {
            (
                length + bytes.len(),
                found.or_else(|| canaries.find(&bytes)),
            )
        })
    }
}
