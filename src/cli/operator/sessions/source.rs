//! Where the commands get sessions from: a running gateway, or the files it left.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use uuid::Uuid;

use super::print;
use crate::cli::operator::client::{Client, Target};
use crate::control::sessions::{Details, SessionList};
use crate::recording::index::files::is_id;
use crate::recording::index::search::{Audience, Haystack, News, Quest, Rest};
use crate::recording::index::{Catalog, Filter};
use crate::recording::replay::{Parts, files, one_part};

/// Where sessions come from.
pub(in crate::cli) enum Source {
    Gateway(Box<Client>),
    /// No gateway runs on this data directory.
    Files(Catalog),
}

/// Among which sessions one is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Among {
    All,
    /// Those that go on.
    Open,
}

/// How many sessions are shown to whoever has to choose.
const CANDIDATES_MAX: usize = 10;

impl Source {
    /// Finds the gateway, or what it left behind.
    pub(in crate::cli) async fn open(target: &Target) -> anyhow::Result<Self> {
        if let Some(client) = Client::of(target).await? {
            return Ok(Self::Gateway(Box::new(client)));
        }
        Ok(Self::Files(Catalog::of(&target.data_dir)))
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

    /// The id that somebody means with this text: the id itself, or the beginning of no other session's.
    pub(in crate::cli) async fn id(&self, text: &str, among: Among) -> anyhow::Result<String> {
        // A whole id needs no search, and what is no id at all is refused by whoever looks for it.
        if Uuid::try_parse(text).is_ok() || !is_id(text) {
            return Ok(text.to_owned());
        }
        let filter = Filter {
            id: Some(text.to_owned()),
            live: among == Among::Open,
            limit: CANDIDATES_MAX,
            ..Filter::default()
        };
        let list = self.list(&filter).await?;
        match list.items.as_slice() {
            [] => Ok(text.to_owned()),
            [one] if !list.more => Ok(one.metadata.id.clone()),
            several if several.iter().any(|session| session.metadata.id == text) => {
                Ok(text.to_owned())
            }
            several => {
                let mut table = Vec::new();
                print::list(several, &mut table)?;
                let table = String::from_utf8_lossy(&table);
                let more = if list.more { "...\n" } else { "" };
                bail!("several sessions begin with {text}; write more of the id\n{table}{more}")
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
    pub(in crate::cli) async fn show(&self, id: &str) -> anyhow::Result<Details> {
        match self {
            Self::Gateway(client) => client.show(id).await,
            Self::Files(catalog) => {
                let found = catalog.get(id).context("the recordings cannot be read")?;
                let (session, summary) = found.with_context(|| missing(id))?;
                Ok(Details { session, summary })
            }
        }
    }

    /// Looks for a text in the recordings of these sessions, wherever they are: none travels.
    pub(super) async fn search(
        &self,
        filter: &Filter,
        quest: &Quest,
        each: &mut dyn FnMut(News),
    ) -> anyhow::Result<Rest> {
        let mut rest = None;
        let mut take = |news| match news {
            News::Over(over) => rest = Some(over),
            news => each(news),
        };
        match self {
            Self::Gateway(client) => {
                let line = &mut |line: &[u8]| {
                    take(serde_json::from_slice(line)?);
                    Ok(())
                };
                client.search(filter, quest, line).await?;
            }
            Self::Files(catalog) => {
                let list = self.list(filter).await?;
                let hay = Haystack {
                    sessions: list.items,
                    more: list.more,
                    most: u64::MAX,
                };
                let mut tell = |news| {
                    take(news);
                    true
                };
                let mut audience = Audience {
                    tell: &mut tell,
                    listens: &|| true,
                };
                catalog.search(&hay, quest, &mut audience);
            }
        }
        rest.context("the gateway's answer broke off; it may be shutting down")
    }

    /// A recording, to be read as often as need be.
    pub(in crate::cli) async fn tape(&self, id: &str) -> anyhow::Result<Tape> {
        match self {
            Self::Gateway(client) => {
                let file = tempfile::tempfile().context("no temporary file can be made")?;
                let mut out = BufWriter::new(&file);
                client
                    .cast(id, &mut |line| Ok(out.write_all(line)?))
                    .await?;
                out.flush().context("the recording cannot be kept")?;
                drop(out);
                Ok(Tape::Fetched(Arc::new(file)))
            }
            Self::Files(catalog) => {
                let parts = catalog.parts(id).context("the recordings cannot be read")?;
                ensure!(!parts.is_empty(), missing(id));
                Ok(Tape::Files(parts))
            }
        }
    }
}

fn missing(id: &str) -> String {
    format!(
        "there is no recording {id:?} in this data directory; if the configuration keeps recordings elsewhere and the index was lost, `portcullis sessions reindex --recordings DIR` finds them"
    )
}

/// A recording within reach.
pub(in crate::cli) enum Tape {
    /// Its parts, in order.
    Files(Vec<PathBuf>),
    /// What a gateway sent: a file without a name, which is gone when this program ends.
    Fetched(Arc<File>),
}

impl Tape {
    /// Its parts from the beginning.
    pub(in crate::cli) fn parts(&self) -> Parts {
        match self {
            Self::Files(parts) => files::open(parts.clone()),
            Self::Fetched(file) => one_part(BufReader::new(Cursor {
                file: Arc::clone(file),
                at: 0,
            })),
        }
    }
}

/// Reads a file from its beginning, whoever else reads it.
struct Cursor {
    file: Arc<File>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}
