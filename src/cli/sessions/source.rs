//! Where the commands get sessions from: a running gateway, or the files it left.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};

use anyhow::{Context as _, bail, ensure};

use super::Target;
use super::client::{Client, LINE_BYTES_MAX};
use crate::control::sessions::{Details, SessionList};
use crate::control::socket;
use crate::recording::index::{Catalog, Filter};

/// Takes whole lines of asciicast, one after the other.
pub(super) type Each<'a> = &'a mut dyn FnMut(&[u8]) -> anyhow::Result<()>;

/// Where sessions come from.
pub(super) enum Source {
    Gateway(Box<Client>),
    /// No gateway runs on this data directory.
    Files(Catalog),
}

impl Source {
    /// Finds the gateway, or what it left behind.
    pub(super) async fn open(target: &Target) -> anyhow::Result<Self> {
        if let Some(server) = &target.server {
            let token = target
                .token_file
                .as_deref()
                .context("--server needs --token-file")?;
            let client = Client::server(server, token, target.ca_file.as_deref())?;
            return Ok(Self::Gateway(Box::new(client)));
        }
        let directory = target
            .data_dir
            .as_deref()
            .context("name the gateway's data directory with --data-dir")?;
        ensure!(
            directory.is_dir(),
            "{} is not a directory; --data-dir names the dataDirectory of a gateway",
            directory.display()
        );
        let path = directory.join(socket::FILE);
        if let Some(client) = Client::socket(&path).await? {
            return Ok(Self::Gateway(Box::new(client)));
        }
        Ok(Self::Files(Catalog::of(directory)))
    }

    /// For what only a running gateway can do.
    pub(super) fn gateway(self) -> anyhow::Result<Box<Client>> {
        match self {
            Self::Gateway(client) => Ok(client),
            Self::Files(_) => {
                bail!("no gateway runs on this data directory, so no session is open")
            }
        }
    }

    /// The sessions that are looked for.
    pub(super) async fn list(&self, filter: &Filter) -> anyhow::Result<SessionList> {
        match self {
            Self::Gateway(client) => client.list(filter).await,
            Self::Files(catalog) => {
                let mut items = catalog
                    .list(&Filter {
                        limit: filter.limit + 1,
                        ..filter.clone()
                    })
                    .context("the recordings cannot be read")?;
                let more = items.len() > filter.limit;
                items.truncate(filter.limit);
                Ok(SessionList { items, more })
            }
        }
    }

    /// One session.
    pub(super) async fn show(&self, id: &str) -> anyhow::Result<Details> {
        match self {
            Self::Gateway(client) => client.show(id).await,
            Self::Files(catalog) => {
                let found = catalog.get(id).context("the recordings cannot be read")?;
                let (session, summary) = found.with_context(|| missing(id))?;
                Ok(Details { session, summary })
            }
        }
    }

    /// A recording line by line, all parts as one. An unfinished last line is left out.
    pub(super) async fn cast(&self, id: &str, each: Each<'_>) -> anyhow::Result<()> {
        let catalog = match self {
            Self::Gateway(client) => return client.cast(id, each).await,
            Self::Files(catalog) => catalog,
        };
        let parts = catalog.parts(id)?;
        ensure!(!parts.is_empty(), missing(id));
        for (number, path) in parts.iter().enumerate() {
            let cannot = || format!("{} cannot be read", path.display());
            let mut file = BufReader::new(File::open(path).with_context(cannot)?);
            let (mut line, mut is_header) = (Vec::new(), true);
            loop {
                line.clear();
                (&mut file)
                    .take(LINE_BYTES_MAX)
                    .read_until(b'\n', &mut line)
                    .with_context(cannot)?;
                if !line.ends_with(b"\n") {
                    ensure!(
                        (line.len() as u64) < LINE_BYTES_MAX,
                        "{} has a line that no gateway wrote",
                        path.display()
                    );
                    break;
                }
                // The times of later parts go on from those before, so their headers are not needed.
                if number == 0 || !is_header {
                    each(&line)?;
                }
                is_header = false;
            }
        }
        Ok(())
    }
}

fn missing(id: &str) -> String {
    format!("there is no recording {id:?} in this data directory")
}
