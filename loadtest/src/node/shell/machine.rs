//! A simulated container: its files and what it knows about itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::fs::{Budget, Error, FileSystem};
use super::tools;
use crate::node::pod::Container;

/// What all programs in a container share.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(super) fs: FileSystem,
    pub(super) hostname: String,
    pub(super) environment: BTreeMap<String, String>,
    /// The main process, as `ps` shows it.
    pub(super) main: String,
    pub(super) uid: u64,
    pub(super) started: Timestamp,
}

impl Machine {
    /// A fresh container. If the node's memory is used up it has no files, like a full disk.
    pub(crate) fn new(
        budget: Arc<Budget>,
        namespace: &str,
        pod: &str,
        container: &Container,
    ) -> Self {
        let main = if container.argv.is_empty() {
            "/bin/service".to_owned()
        } else {
            container.argv.join(" ")
        };
        let machine = Self {
            fs: FileSystem::new(budget, container.started),
            hostname: pod.to_owned(),
            environment: container.environment.clone(),
            main,
            uid: container.uid,
            started: container.started,
        };
        if let Err(error) = machine.furnish(namespace) {
            tracing::debug!(%error, pod, "simulated container has no files");
        }
        machine
    }

    fn furnish(&self, namespace: &str) -> Result<(), Error> {
        for directory in [
            "/bin", "/etc", "/home", "/proc", "/root", "/srv", "/tmp", "/usr/bin", "/var/log",
        ] {
            self.fs.make_directories(directory)?;
        }
        for name in tools::NAMES {
            self.fs.put(&format!("/bin/{name}"), "", 0o755)?;
        }
        let host = &self.hostname;
        self.fs.put("/etc/hostname", format!("{host}\n"), 0o644)?;
        self.fs.put(
            "/etc/hosts",
            format!("127.0.0.1\tlocalhost\n10.244.0.7\t{host}\n"),
            0o644,
        )?;
        self.fs.put(
            "/etc/os-release",
            "NAME=\"Simulated Linux\"\nID=simulated\nVERSION_ID=1\n",
            0o644,
        )?;
        self.fs.put(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
            0o644,
        )?;
        self.fs.put(
            "/etc/resolv.conf",
            format!("search {namespace}.svc.cluster.local\nnameserver 10.96.0.10\n"),
            0o644,
        )?;
        self.fs
            .put("/srv/index.html", format!("hello from {host}\n"), 0o644)?;
        let secrets = "/var/run/secrets/kubernetes.io/serviceaccount";
        self.fs
            .put(&format!("{secrets}/namespace"), namespace.to_owned(), 0o644)?;
        self.fs.put(
            &format!("{secrets}/token"),
            "simulated-service-account-token-nobody-accepts",
            0o644,
        )
    }

    /// The user's name.
    pub(super) fn user(&self) -> String {
        if self.uid == 0 {
            "root".to_owned()
        } else {
            self.uid.to_string()
        }
    }
}
