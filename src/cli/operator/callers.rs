//! `portcullis callers`: who calls, and the switch that keeps somebody out.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail, ensure};
use jiff::Timestamp;

use super::client::{Client, Target};
use crate::approval::{self, Store, StoreError};
use crate::callers::ledger;
use crate::cli::output::{Outcome, Output, finish_talking, note, print_json};
use crate::control::callers::{BlockCall, Blocked, CallerItem, CallerList, block, in_words, whom};
use crate::identity::{Block, Whom};
use crate::limits;

mod print;

/// Looks at who calls; keeps somebody out at once, and lets them in again.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: CallersCommand,
}

/// The subcommands of `portcullis callers`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum CallersCommand {
    /// List who called within the last hour, has something open, or is blocked
    Ls(ListArgs),
    /// Keep a user or an agent out: ends everything they have open, refuses everything they ask
    ///
    /// It is in force within a second, for every token they have or get, until it is lifted; a restart does not lift it.
    /// A user's agents are blocked with the user. Names are compared to the letter: take them from `portcullis callers ls`.
    /// Works without a running gateway, too: it is in force when the gateway starts.
    Block(BlockArgs),
    /// Let a user or an agent in again
    Unblock(UnblockArgs),
}

/// The arguments of `portcullis callers ls`.
#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Also those who have done nothing for an hour
    #[arg(long)]
    pub all: bool,
    /// How to print the list
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// Whom a command is about.
#[derive(Clone, Debug, clap::Args)]
pub struct WhomArgs {
    /// The user, as `portcullis callers ls` names them; all agents that act for them are meant, too
    #[arg(
        value_name = "USER",
        required_unless_present = "agent",
        conflicts_with = "agent"
    )]
    pub user: Option<String>,
    /// Instead of a user: an agent, whoever it acts for
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
}

/// The arguments of `portcullis callers block`.
#[derive(Clone, Debug, clap::Args)]
pub struct BlockArgs {
    /// Whom
    #[command(flatten)]
    pub whom: WhomArgs,
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Why; whoever is blocked reads it, and it is kept in the audit log
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// End by itself after so long (30m, 8h, 7d); until it is lifted when absent
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub lasts: Option<Duration>,
    /// How to print what is in force then
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// The arguments of `portcullis callers unblock`.
#[derive(Clone, Debug, clap::Args)]
pub struct UnblockArgs {
    /// Whom
    #[command(flatten)]
    pub whom: WhomArgs,
    /// Where
    #[command(flatten)]
    pub target: Target,
    /// Why; it is kept in the audit log
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish_talking(execute(args, &mut io::stdout().lock()))
}

async fn execute(args: &Args, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        CallersCommand::Ls(args) => {
            let items = Place::open(&args.target).await?.list(args.all).await?;
            match args.output {
                Output::Json => print_json(&items, out)?,
                Output::Text => print::list(&items, Timestamp::now(), out)?,
            }
        }
        CallersCommand::Block(args) => {
            let told = Place::open(&args.target).await?.block(&args.call()).await?;
            match args.output {
                Output::Json => print_json(&told, out)?,
                Output::Text => print::blocked(&told.block, out)?,
            }
            say_if_unknown(&told);
        }
        CallersCommand::Unblock(args) => {
            let call = args.whom.call(args.reason.clone());
            let whom = Place::open(&args.target).await?.unblock(&call).await?;
            writeln!(
                out,
                "{} is no longer blocked",
                print::visible(&in_words(&whom))
            )?;
        }
    }
    Ok(Outcome::Good)
}

impl WhomArgs {
    fn call(&self, reason: String) -> BlockCall {
        BlockCall {
            user: self.user.clone(),
            agent: self.agent.clone(),
            reason,
            seconds: None,
        }
    }
}

impl BlockArgs {
    fn call(&self) -> BlockCall {
        BlockCall {
            seconds: self.lasts.map(|lasts| lasts.as_secs()),
            ..self.whom.call(self.reason.clone())
        }
    }
}

/// Where blocks are kept.
enum Place {
    Gateway(Box<Client>),
    /// No gateway runs on this data directory, and none starts as long as this lives.
    Files(Store),
}

impl Place {
    async fn open(target: &Target) -> anyhow::Result<Self> {
        if let Some(client) = Client::of(target).await? {
            return Ok(Self::Gateway(Box::new(client)));
        }
        Ok(Self::Files(without_gateway(&target.data_dir)?))
    }

    async fn list(&self, all: bool) -> anyhow::Result<Vec<CallerItem>> {
        match self {
            Self::Gateway(client) => {
                let list: CallerList = client.document(&format!("/v1/callers?all={all}")).await?;
                Ok(list.items)
            }
            Self::Files(store) => {
                note("no gateway runs on this data directory; these are blocked when one starts");
                let now = Timestamp::now();
                let blocks = store.run(move |work| ledger::load(work, now)).await?;
                Ok(blocks.list(now).into_iter().map(CallerItem::from).collect())
            }
        }
    }

    async fn block(&self, call: &BlockCall) -> anyhow::Result<Blocked> {
        let store = match self {
            Self::Gateway(client) => return client.post("/v1/callers/block", call).await,
            Self::Files(store) => store,
        };
        let now = Timestamp::now();
        let block: Block = block(call, "local".to_owned(), now)
            .map_err(|refusal| anyhow!(refusal.message().to_owned()))?;
        let next = block.clone();
        let kept = store.run(move |work| {
            let blocks = ledger::load(work, now)?.with(next, now);
            let fits = blocks.len() <= limits::BLOCKS_MAX;
            if fits {
                ledger::save(work, &blocks.list(now))?;
            }
            Ok(fits)
        });
        ensure!(
            kept.await?,
            "{} callers are blocked, which is the most; lift some first",
            limits::BLOCKS_MAX
        );
        note("no gateway runs on this data directory; it is in force when one starts");
        Ok(Blocked {
            block,
            known: true,
            alike: Vec::new(),
        })
    }

    async fn unblock(&self, call: &BlockCall) -> anyhow::Result<Whom> {
        let store = match self {
            Self::Gateway(client) => return client.post("/v1/callers/unblock", call).await,
            Self::Files(store) => store,
        };
        let whom = whom(call).map_err(|refusal| anyhow!(refusal.message().to_owned()))?;
        let (now, lifted) = (Timestamp::now(), whom.clone());
        let found = store.run(move |work| {
            let Some(blocks) = ledger::load(work, now)?.without(&lifted, now) else {
                return Ok(false);
            };
            ledger::save(work, &blocks.list(now))?;
            Ok(true)
        });
        ensure!(
            found.await?,
            "{} is not blocked; portcullis callers ls lists who is",
            in_words(&whom)
        );
        Ok(whom)
    }
}

/// The database, if no gateway has it open: one that does would not hear of a change.
fn without_gateway(directory: &Path) -> anyhow::Result<Store> {
    let file = directory.join(approval::FILE);
    ensure!(
        file.is_file(),
        "{} is not there; --data-dir names the dataDirectory of a gateway that has run, --server a running one",
        file.display()
    );
    match Store::open_alone(&file) {
        Err(StoreError::InUse) => bail!(
            "a gateway uses this data directory and does not answer at its socket; use --server, or end it first"
        ),
        opened => opened.with_context(|| format!("{} cannot be opened", file.display())),
    }
}

/// A block of a name that nobody has keeps nobody out.
fn say_if_unknown(told: &Blocked) {
    if told.known {
        return;
    }
    let whom = print::visible(&in_words(&told.block.whom));
    let alike: Vec<String> = told
        .alike
        .iter()
        .map(|whom| print::visible(&in_words(whom)))
        .collect();
    note(&format!(
        "{whom} has not called since the gateway started; names are compared to the letter{}",
        match alike.as_slice() {
            [] => ", portcullis callers ls --all has them".to_owned(),
            alike => format!(", and there are: {}", alike.join(", ")),
        }
    ));
}

fn duration(text: &str) -> Result<Duration, String> {
    use jiff::{Span, SpanRelativeTo};

    let span = text
        .parse::<Span>()
        .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
    span.ok()
        .and_then(|span| Duration::try_from(span).ok())
        .filter(|lasts| lasts.as_secs() > 0)
        .ok_or_else(|| "write a duration with its unit, such as 30m, 8h or 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_an_end() {
        for (text, seconds) in [
            ("30m", 1800),
            ("8h", 28_800),
            ("7d", 604_800),
            ("1h30m", 5400),
        ] {
            assert_eq!(duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for wrong in ["", "0s", "-1h", "8", "soon"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn without_a_gateway_blocks_are_written_and_with_one_they_are_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            without_gateway(folder.path()).is_err(),
            "no gateway has run here"
        );
        let file = folder.path().join(approval::FILE);
        let gateway = Store::open(&file).unwrap();
        let error = without_gateway(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("a gateway uses this data directory"),
            "{error}"
        );
        drop(gateway);
        let store = loop {
            match Store::open_alone(&file) {
                Err(StoreError::InUse) => std::thread::yield_now(),
                opened => break opened.unwrap(),
            }
        };
        let place = Place::Files(store);
        let call = BlockCall {
            agent: Some("bot".to_owned()),
            reason: "INC-7".to_owned(),
            ..BlockCall::default()
        };
        place.block(&call).await.unwrap();
        let items = place.list(false).await.unwrap();
        assert_eq!(items[0].agent.as_deref(), Some("bot"));
        assert_eq!(items[0].blocked.as_ref().unwrap().reason, "INC-7");
        let other = BlockCall {
            agent: Some("robot".to_owned()),
            ..BlockCall::default()
        };
        assert!(place.unblock(&other).await.is_err());
        place.unblock(&call).await.unwrap();
        assert!(place.list(false).await.unwrap().is_empty());
    }
}
