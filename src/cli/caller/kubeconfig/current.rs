//! The context that kubectl would use now: its gateway, and whose token it shows.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Parser as _;
use secrecy::SecretString;
use tokio_rustls::TlsConnector;

use super::document::Node;
use super::files::{chain, read};
use crate::cli::caller::account::Source;
use crate::cli::caller::get_token;
use crate::cli::caller::obtain::{Effort, Token, obtain};
use crate::cli::https::{trust_file, trust_pem};
use crate::identity::claimed_expiry;

/// Which context is meant.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Selection {
    /// The context, instead of the current one
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// The kubeconfig, instead of `$KUBECONFIG` or ~/.kube/config
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// A context, read.
#[derive(Debug)]
pub(in crate::cli::caller) struct Session {
    /// Its name.
    pub(in crate::cli::caller) context: String,
    /// Where it leads.
    pub(in crate::cli::caller) server: String,
    authority: Authority,
    credential: Credential,
}

#[derive(Debug)]
enum Authority {
    Machine,
    File(PathBuf),
    Data(String),
}

#[derive(Debug)]
enum Credential {
    Source(Box<Source>),
    Token(SecretString),
    /// What this program does not do itself.
    Other(String),
}

/// What `portcullis get-token` is called with.
#[derive(clap::Parser)]
#[command(no_binary_name = true)]
struct Line {
    #[command(flatten)]
    args: get_token::Args,
}

/// Several files, read as one: who comes first has its way.
struct Merged {
    files: Vec<(PathBuf, Node)>,
}

impl Session {
    /// Reads the context that is selected.
    pub(in crate::cli::caller) fn read(selection: &Selection) -> anyhow::Result<Self> {
        let files = chain(selection.kubeconfig.as_deref())?;
        let files = files
            .into_iter()
            .map(|file| read(&file).map(|node| (file, node)))
            .collect::<Result<_, _>>()?;
        let merged = Merged { files };
        let name = match &selection.context {
            Some(name) => name.clone(),
            None => merged.current().context(
                "the kubeconfig has no current context; write one with `portcullis kubeconfig`, or choose with --context",
            )?,
        };
        let (_, context) = merged.named("contexts", "context", &name)?;
        let part = |kind: &str| {
            context
                .text_at(kind)
                .with_context(|| format!("context {name:?} names no {kind}"))
        };
        let (place, cluster) = merged.named("clusters", "cluster", part("cluster")?)?;
        let server = cluster
            .text_at("server")
            .with_context(|| format!("the cluster of context {name:?} has no server"))?
            .to_owned();
        let authority = match (
            cluster.text_at("certificate-authority-data"),
            cluster.text_at("certificate-authority"),
        ) {
            (Some(data), _) => Authority::Data(data.to_owned()),
            (None, Some(file)) => Authority::File(beside(place, file)),
            (None, None) => Authority::Machine,
        };
        let (place, user) = merged.named("users", "user", part("user")?)?;
        let credential = credential(place, user)?;
        Ok(Self {
            context: name,
            server,
            authority,
            credential,
        })
    }

    /// Whom to trust for the gateway.
    pub(in crate::cli::caller) fn trust(&self) -> anyhow::Result<TlsConnector> {
        match &self.authority {
            Authority::Machine => trust_file(None),
            Authority::File(file) => trust_file(Some(file)),
            Authority::Data(data) => {
                let cannot = "the context's certificate-authority-data cannot be used";
                trust_pem(&STANDARD.decode(data.trim()).context(cannot)?).context(cannot)
            }
        }
    }

    /// Where its tokens come from.
    pub(in crate::cli::caller) fn source(self) -> anyhow::Result<Source> {
        match self.credential {
            Credential::Source(source) => Ok(*source),
            Credential::Token(_) => bail!(
                "context {:?} has a token of its own, and no login; write another with `portcullis kubeconfig`",
                self.context
            ),
            Credential::Other(what) => bail!(
                "context {:?} gets its credential by {what}, not by `portcullis get-token`; write another with \
                 `portcullis kubeconfig`",
                self.context
            ),
        }
    }

    /// A token of the context.
    pub(in crate::cli::caller) async fn token(&self, effort: Effort) -> anyhow::Result<Token> {
        match &self.credential {
            Credential::Source(source) => obtain(source, effort).await,
            Credential::Token(token) => {
                use secrecy::ExposeSecret as _;
                Ok(Token {
                    expires_at: claimed_expiry(token.expose_secret()),
                    renew_at: None,
                    secret: token.clone(),
                })
            }
            Credential::Other(what) => bail!(
                "context {:?} gets its credential by {what}; ask with `kubectl auth whoami`",
                self.context
            ),
        }
    }
}

impl Merged {
    fn current(&self) -> Option<String> {
        self.files
            .iter()
            .find_map(|(_, file)| file.text_at("current-context"))
            .map(str::to_owned)
    }

    fn named(&self, list: &str, inner: &str, name: &str) -> anyhow::Result<(&Path, &Node)> {
        self.files
            .iter()
            .find_map(|(path, file)| Some((path.as_path(), file.named(list, inner, name)?)))
            .with_context(|| format!("the kubeconfig has no {inner} {name:?}"))
    }
}

fn credential(place: &Path, user: &Node) -> anyhow::Result<Credential> {
    if let Some(exec) = user.get("exec") {
        let command = exec.text_at("command").unwrap_or_default();
        let Some(Node::List(args)) = exec.get("args") else {
            return Ok(Credential::Other(command.to_owned()));
        };
        let words: Option<Vec<&str>> = args.iter().map(Node::as_text).collect();
        let words = words.context("an argument of the credential plugin is not text")?;
        let ours = Path::new(command)
            .file_name()
            .is_some_and(|name| name == "portcullis");
        let Some((&"get-token", options)) = words.split_first().filter(|_| ours) else {
            return Ok(Credential::Other(command.to_owned()));
        };
        let line = Line::try_parse_from(options).ok().context(
            "the context's `portcullis get-token` has arguments that this version does not know",
        )?;
        let source = line.args.account.source()?;
        let source = source
            .context("the context's `portcullis get-token` says nothing about whose token")?;
        return Ok(Credential::Source(Box::new(source)));
    }
    if let Some(file) = user.text_at("tokenFile") {
        let source = Source::File(beside(place, file));
        return Ok(Credential::Source(Box::new(source)));
    }
    if let Some(token) = user.text_at("token") {
        return Ok(Credential::Token(token.into()));
    }
    ensure!(
        !matches!(user, Node::Map(entries) if entries.is_empty()),
        "the context's user has no credential"
    );
    Ok(Credential::Other("something else than a token".to_owned()))
}

/// A path in a kubeconfig is relative to the file.
fn beside(file: &Path, path: &str) -> PathBuf {
    file.parent().unwrap_or_else(|| Path::new("")).join(path)
}
