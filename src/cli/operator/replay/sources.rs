//! Where the parts of a run are: in the files of a gateway, or with one that runs elsewhere.

use anyhow::ensure;

use super::Args;
use crate::audit::commands::{Filter, Request};
use crate::audit::responses::read::{Saw, Shelf};
use crate::cli::operator::audit::LogArgs;
use crate::cli::operator::audit::source::{Log, Wanted};
use crate::cli::operator::client::{Client, Missing};
use crate::cli::operator::sessions::source::{Source, Tape};
use crate::cli::output::{note, talk};
use crate::identity::client::login::encoded;
use crate::limits;
use crate::recording::index::Catalog;

/// Where requests, answers and recordings come from.
pub(super) struct Sources {
    log: Log,
    kept: Kept,
}

enum Kept {
    Files {
        shelf: Shelf,
        catalog: Catalog,
    },
    Gateway {
        client: Box<Client>,
        sessions: Source,
    },
}

impl Sources {
    pub(super) fn open(args: &Args) -> anyhow::Result<Self> {
        let target = &args.target;
        let log = Log::open(&LogArgs {
            target: target.clone(),
            file: args.whose.audit_file.clone(),
        })?;
        let client = || Client::elsewhere(target);
        let kept = if let (Some(client), Some(sessions)) = (client()?, client()?) {
            Kept::Gateway {
                client: Box::new(client),
                sessions: Source::Gateway(Box::new(sessions)),
            }
        } else {
            ensure!(
                target.data_dir.is_dir(),
                "{} is not a directory; --data-dir names the dataDirectory of a gateway, --server a running one",
                target.data_dir.display()
            );
            let catalog = Catalog::of(&target.data_dir);
            Kept::Files {
                shelf: Shelf::of(catalog.directory()),
                catalog,
            }
        };
        Ok(Self { log, kept })
    }

    /// The requests that match, the latest first.
    pub(super) fn requests(&self, filter: &Filter, wanted: Wanted<'_>) -> anyhow::Result<()> {
        self.log.latest(filter, wanted)
    }

    /// What the caller saw of a request's answer, if that was kept.
    pub(super) fn saw(&self, request: &Request) -> anyhow::Result<Option<Saw>> {
        let note = |name: &str| request.annotations.get(name);
        let digest = note("response");
        if digest.is_none() && request.over {
            return Ok(None);
        }
        let kept = note("response-bytes").and_then(|bytes| bytes.parse().ok());
        let kept = kept.unwrap_or_default();
        match (&self.kept, digest) {
            (Kept::Files { shelf, .. }, Some(digest)) => Ok(shelf.find(digest, kept)?),
            (Kept::Files { shelf, .. }, None) => Ok(shelf.unfinished(&request.audit_id)?),
            (Kept::Gateway { client, .. }, Some(digest)) => {
                let bytes = fetch(client, digest)?;
                Ok(bytes.map(|bytes| Saw::of(bytes, digest, kept)))
            }
            (Kept::Gateway { client, .. }, None) => {
                let bytes = fetch(client, &format!("open/{}", encoded(&request.audit_id)))?;
                Ok(bytes.and_then(Saw::unfinished))
            }
        }
    }

    /// The recording of a request's session.
    pub(super) fn recording(&self, request: &Request) -> anyhow::Result<Option<Tape>> {
        if !request.annotations.contains_key("recording") {
            return Ok(None);
        }
        match &self.kept {
            Kept::Files { catalog, .. } => {
                let parts = catalog.parts(&request.audit_id)?;
                Ok((!parts.is_empty()).then_some(Tape::Files(parts)))
            }
            Kept::Gateway { sessions, .. } => {
                unless_missing(talk(sessions.tape(&request.audit_id)))
            }
        }
    }
}

fn fetch(client: &Client, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
    let path = format!("/v1/audit/responses/{name}");
    let most = usize::try_from(limits::RESPONSE_READ_BYTES_MAX).unwrap_or(usize::MAX);
    let answer = unless_missing(talk(client.bytes(&path, most)))?;
    Ok(answer.map(|(bytes, whole)| {
        if !whole {
            note(&format!(
                "the gateway could not send all of the answer {name}; its log says why"
            ));
        }
        bytes
    }))
}

/// What is not there any more is nothing.
fn unless_missing<T>(answer: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match answer {
        Err(error) if error.is::<Missing>() => Ok(None),
        answer => answer.map(Some),
    }
}
