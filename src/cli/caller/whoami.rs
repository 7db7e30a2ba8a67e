//! `portcullis whoami`: who the gateway takes its caller for.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT, WARNING};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::Full;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use tokio_util::task::TaskTracker;

use super::account::AccountArgs;
use super::kubeconfig::current::{Selection, Session};
use super::login::span;
use super::obtain::{Effort, Token, obtain};
use super::provider::browser::has_display;
use crate::cli::https::{Server, trust_file};
use crate::cli::output::{Outcome, Output, clean, finish_talking, note, print_json};
use crate::gateway::body;

/// Where the API server answers who asks (KEP-3325).
const PATH: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const QUESTION: &str = r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
/// The extra attribute in which the gateway names the agent.
const AGENT: &str = "portcullis.dev/agent";
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long the gateway may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the gateway who it takes you for.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which context
    #[command(flatten)]
    pub selection: Selection,

    /// A gateway, or a cluster of it (`…/clusters/NAME`), instead of the context's
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,

    /// Certificates to trust for --server instead of the machine's
    #[arg(long, value_name = "FILE", requires = "server")]
    pub certificate_authority: Option<PathBuf>,

    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,

    /// Whose token, instead of the context's
    #[command(flatten)]
    pub account: AccountArgs,
}

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    server: String,
    user: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    groups: Vec<String>,
    /// The agent that acts for the user.
    agent: Option<String>,
    extra: BTreeMap<String, Vec<String>>,
    /// When the token ends.
    expires_at: Option<Timestamp>,
}

#[derive(Deserialize)]
struct Review {
    status: ReviewStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReviewStatus {
    user_info: UserInfo,
}

#[derive(Deserialize)]
struct UserInfo {
    username: String,
    uid: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Refused {
    message: String,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish_talking(ask(args))
}

async fn ask(args: &Args) -> anyhow::Result<Outcome> {
    let effort = Effort::IfNeeded {
        attended: has_display() || io::IsTerminal::is_terminal(&io::stderr()),
    };
    let named = args.account.source()?;
    let session = match (&args.server, &named) {
        (Some(_), Some(_)) => None,
        _ => Some(Session::read(&args.selection)?),
    };
    let token = match (&named, &session) {
        (Some(source), _) => Box::pin(obtain(source, effort)).await?,
        (None, Some(session)) => Box::pin(session.token(effort)).await?,
        (None, None) => bail!("whose token? Name --issuer and --client-id, or --token-file"),
    };
    let (url, tls) = match (&args.server, &session) {
        (Some(url), _) => (
            url.clone(),
            trust_file(args.certificate_authority.as_deref()),
        ),
        (None, Some(session)) => (session.server.clone(), session.trust()),
        (None, None) => bail!("which gateway? Name --server"),
    };
    let uri: Uri = url
        .parse()
        .with_context(|| format!("{url:?} is not a URL"))?;
    let server = Server::of(&uri, || tls)?;
    let reviewed = review(&server, &uri, &token);
    let user = tokio::time::timeout(PATIENCE, reviewed)
        .await
        .with_context(|| format!("{url} does not answer"))?
        .with_context(|| url.clone())?;
    let answer = Answer {
        server: url,
        user: user.username,
        uid: user.uid,
        groups: user.groups,
        agent: user
            .extra
            .get(AGENT)
            .and_then(|names| names.first())
            .cloned(),
        extra: user.extra,
        expires_at: token.expires_at,
    };
    let mut out = io::stdout().lock();
    match args.output {
        Output::Json => print_json(&answer, &mut out)?,
        Output::Text => print(&answer, &mut out)?,
    }
    Ok(Outcome::Good)
}

async fn review(server: &Server, uri: &Uri, token: &Token) -> anyhow::Result<UserInfo> {
    let mut request = Request::new(Full::new(Bytes::from_static(QUESTION.as_bytes())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = format!("{}{PATH}", uri.path().trim_end_matches('/')).parse()?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.secret.expose_secret()))
        .ok()
        .context("the token cannot be sent")?;
    bearer.set_sensitive(true);
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, bearer);
    let json = HeaderValue::from_static("application/json");
    headers.insert(CONTENT_TYPE, json.clone());
    headers.insert(ACCEPT, json);
    let agent = concat!("portcullis/", env!("CARGO_PKG_VERSION"));
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    let tasks = TaskTracker::new();
    let response = server.send(request, &tasks).await?;
    let status = response.status();
    let warnings = warnings(response.headers());
    let text = body::read_bounded(response.into_body(), ANSWER_BYTES_MAX).await?;
    if status.is_success() {
        let review: Review =
            serde_json::from_slice(&text).context("the answer is not understood")?;
        for said in &warnings {
            note(said);
        }
        return Ok(review.status.user_info);
    }
    let told = serde_json::from_slice::<Refused>(&text).ok();
    let told = told.map_or_else(|| status.to_string(), |told| clean(&told.message));
    ensure!(
        status != StatusCode::UNAUTHORIZED,
        "{told} (401); type `portcullis login` for a new token"
    );
    bail!("{told} ({})", status.as_u16());
}

/// What the gateway says besides (RFC 7234 §5.5, as Kubernetes writes it: `299 - "text"`).
fn warnings(headers: &HeaderMap) -> Vec<String> {
    let texts = headers.get_all(WARNING).iter();
    texts
        .filter_map(|value| value.to_str().ok()?.split_once(" - "))
        .map(|(_, text)| clean(text.trim_matches('"')))
        .collect()
}

fn print(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    let mut line = |name: &str, text: &str| writeln!(out, "{name:<9}{}", clean(text));
    line("user", &answer.user)?;
    if let Some(agent) = &answer.agent {
        line("agent", &format!("{agent}, acting for this user"))?;
    }
    line("groups", &answer.groups.join(", "))?;
    for (key, values) in answer.extra.iter().filter(|(key, _)| *key != AGENT) {
        line("extra", &format!("{key}={}", values.join(", ")))?;
    }
    if let Some(ends_at) = answer.expires_at {
        line(
            "token",
            &format!("holds for {}, until {ends_at}", span(ends_at)),
        )?;
    }
    line("server", &answer.server)
}
