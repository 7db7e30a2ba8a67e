//! Calls the APIs of a running gateway's control plane: through its socket, or at its control address.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio_util::task::TaskTracker;

use crate::cli::https::{self, Server};
use crate::cli::output::clean;
use crate::control::sessions::{Details, KillCall, SessionList};
use crate::control::socket;
use crate::gateway::body;
use crate::identity::client::login::encoded;
use crate::recording::index::Filter;
use crate::recording::index::search::Quest;

/// Bytes of one line of a recording; the gateway writes far shorter ones.
const LINE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Bytes of a list or another document.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Takes whole lines of an answer, one after the other.
pub(in crate::cli) type Each<'a> = &'a mut dyn FnMut(&[u8]) -> anyhow::Result<()>;

/// Which gateway is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// The gateway's data directory, on this machine; works without a running gateway, too
    #[arg(
        long,
        value_name = "DIR",
        default_value = "data",
        conflicts_with = "server"
    )]
    pub data_dir: PathBuf,

    /// A gateway's control address; needs the token of an operator
    #[arg(long, value_name = "URL", requires = "token_file")]
    pub server: Option<String>,

    /// The file with the operator's token, or with what `portcullis get-token` prints
    #[arg(long, value_name = "FILE", requires = "server")]
    pub token_file: Option<PathBuf>,

    /// Certificates to trust for --server instead of the machine's
    #[arg(long, value_name = "FILE", requires = "server")]
    pub ca_file: Option<PathBuf>,
}

/// A gateway to ask.
pub(in crate::cli) struct Client {
    endpoint: Endpoint,
    /// Drives the connections.
    tasks: TaskTracker,
}

enum Endpoint {
    Socket(PathBuf),
    Server { server: Server, token: SecretString },
}

/// What is read of a refusal.
#[derive(Deserialize)]
struct Refused {
    message: String,
}

/// The gateway says that there is no such thing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::cli) struct Missing(String);

impl Client {
    /// The gateway that is meant; `None` when none runs on the data directory.
    pub(in crate::cli) async fn of(target: &Target) -> anyhow::Result<Option<Self>> {
        if let Some(client) = Self::elsewhere(target)? {
            return Ok(Some(client));
        }
        let directory = &target.data_dir;
        ensure!(
            directory.is_dir(),
            "{} is not a directory; --data-dir names the dataDirectory of a gateway, --server a running one",
            directory.display()
        );
        Self::socket(&directory.join(socket::FILE)).await
    }

    /// The gateway whose control address is meant; `None` when a data directory is.
    pub(in crate::cli) fn elsewhere(target: &Target) -> anyhow::Result<Option<Self>> {
        let Some(server) = &target.server else {
            return Ok(None);
        };
        let token = target
            .token_file
            .as_deref()
            .context("--server needs --token-file")?;
        Self::server(server, token, target.ca_file.as_deref()).map(Some)
    }

    /// The gateway that serves this socket; `None` when none does.
    pub(in crate::cli) async fn socket(path: &Path) -> anyhow::Result<Option<Self>> {
        match UnixStream::connect(path).await {
            Ok(_) => Ok(Some(Self {
                endpoint: Endpoint::Socket(path.to_owned()),
                tasks: TaskTracker::new(),
            })),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| {
                format!(
                    "the gateway cannot be asked through {}; run this as the gateway's user",
                    path.display()
                )
            }),
        }
    }

    /// The gateway at a control address.
    pub(in crate::cli) fn server(
        url: &str,
        token_file: &Path,
        ca_file: Option<&Path>,
    ) -> anyhow::Result<Self> {
        let uri: Uri = url
            .parse()
            .with_context(|| format!("{url:?} is not a URL"))?;
        ensure!(
            matches!(uri.path(), "" | "/") && uri.query().is_none(),
            "{url:?} must end with its host and port"
        );
        let server = Server::of(&uri, || https::trust_file(ca_file))?;
        let token = std::fs::read_to_string(token_file)
            .with_context(|| format!("{} cannot be read", token_file.display()))?;
        let token = bearer(&token)
            .with_context(|| format!("there is no token in {}", token_file.display()))?;
        Ok(Self {
            endpoint: Endpoint::Server {
                server,
                token: SecretString::from(token),
            },
            tasks: TaskTracker::new(),
        })
    }

    pub(super) async fn list(&self, filter: &Filter) -> anyhow::Result<SessionList> {
        self.document(&format!("/v1/sessions?{}", query(filter)))
            .await
    }

    pub(super) async fn show(&self, id: &str) -> anyhow::Result<Details> {
        self.document(&format!("/v1/sessions/{}", encoded(id)))
            .await
    }

    pub(super) async fn kill(&self, id: &str, reason: &str) -> anyhow::Result<()> {
        let call = serde_json::to_vec(&KillCall {
            reason: reason.to_owned(),
        })?;
        let path = format!("/v1/sessions/{}/kill", encoded(id));
        self.send(Method::POST, &path, call).await.map(drop)
    }

    /// Looks for a text in the recordings of these sessions; each news comes as a line.
    pub(super) async fn search(
        &self,
        filter: &Filter,
        quest: &Quest,
        each: Each<'_>,
    ) -> anyhow::Result<()> {
        let path = format!("/v1/search?{}", criteria(filter).join("&"));
        let call = serde_json::to_vec(quest)?;
        lines(self.send(Method::POST, &path, call).await?, each).await
    }

    /// A recording, line by line.
    pub(super) async fn cast(&self, id: &str, each: Each<'_>) -> anyhow::Result<()> {
        self.lines(&format!("/v1/sessions/{}/cast", encoded(id)), each)
            .await
    }

    /// An open session from now on, line by line, until it is over.
    pub(super) async fn live(&self, id: &str, each: Each<'_>) -> anyhow::Result<()> {
        self.lines(&format!("/v1/sessions/{}/live", encoded(id)), each)
            .await
    }

    /// Asks for a document.
    pub(in crate::cli) async fn document<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> anyhow::Result<T> {
        read(self.send(Method::GET, path, Vec::new()).await?).await
    }

    /// Asks for lines, and hands on each.
    pub(in crate::cli) async fn lines(&self, path: &str, each: Each<'_>) -> anyhow::Result<()> {
        lines(self.send(Method::GET, path, Vec::new()).await?, each).await
    }

    /// The same, until it is enough.
    pub(in crate::cli) async fn lines_while(
        &self,
        path: &str,
        wanted: &mut dyn FnMut(&[u8]) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        lines_while(self.send(Method::GET, path, Vec::new()).await?, wanted).await
    }

    /// Asks for at most so many bytes of something; what came of it, and whether that is all.
    pub(in crate::cli) async fn bytes(
        &self,
        path: &str,
        most: usize,
    ) -> anyhow::Result<(Vec<u8>, bool)> {
        let response = self.send(Method::GET, path, Vec::new()).await?;
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return Ok((bytes, false));
            };
            bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
            ensure!(
                bytes.len() <= most,
                "the gateway sent more than {most} bytes"
            );
        }
        Ok((bytes, true))
    }

    /// Sends a document, and reads the one that comes back.
    pub(in crate::cli) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        content: &impl Serialize,
    ) -> anyhow::Result<T> {
        let content = serde_json::to_vec(content)?;
        read(self.send(Method::POST, path, content).await?).await
    }

    /// Calls; an answer that is a refusal becomes an error with its message.
    async fn send(
        &self,
        method: Method,
        path: &str,
        content: Vec<u8>,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::new(Full::new(Bytes::from(content)));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse()?;
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let response = match &self.endpoint {
            Endpoint::Socket(path) => {
                request
                    .headers_mut()
                    .insert(HOST, HeaderValue::from_static("localhost"));
                let stream = UnixStream::connect(path).await;
                let stream = stream.context("the gateway is gone")?;
                https::exchange(stream, request, &self.tasks).await?
            }
            Endpoint::Server { server, token } => {
                let mut bearer =
                    HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                        .context("the token file does not hold a token")?;
                bearer.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, bearer);
                server.send(request, &self.tasks).await?
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status();
        let text = body::read_bounded(response.into_body(), 64 * 1024).await;
        let told = text
            .ok()
            .and_then(|text| serde_json::from_slice::<Refused>(&text).ok());
        match told {
            Some(Refused { message }) if code == StatusCode::NOT_FOUND => {
                Err(Missing(clean(&message)).into())
            }
            Some(Refused { message }) => bail!(clean(&message)),
            None => bail!(
                "the gateway answered {code}; does it serve the sessions API there (control.operators)?"
            ),
        }
    }
}

async fn lines(response: Response<Incoming>, each: Each<'_>) -> anyhow::Result<()> {
    let wanted = &mut |line: &[u8]| each(line).map(|()| true);
    lines_while(response, wanted).await
}

async fn lines_while(
    response: Response<Incoming>,
    wanted: &mut dyn FnMut(&[u8]) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let mut body = response.into_body();
    let mut waiting: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.context(
            "the gateway's answer broke off; it may be shutting down, or your token is over",
        )?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            waiting.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                if !wanted(&waiting)? {
                    return Ok(());
                }
                waiting.clear();
            }
        }
        ensure!(
            (waiting.len() as u64) < LINE_BYTES_MAX,
            "the gateway sent a line without an end"
        );
    }
    Ok(())
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> anyhow::Result<T> {
    let text = body::read_bounded(response.into_body(), ANSWER_BYTES_MAX)
        .await
        .context("the gateway's answer cannot be read")?;
    serde_json::from_slice(&text).context("the gateway's answer is not understood")
}

/// A filter as the query of a list.
pub(super) fn query(filter: &Filter) -> String {
    let mut pairs = criteria(filter);
    pairs.push(format!("limit={}", filter.limit));
    pairs.join("&")
}

/// The same without its limit.
fn criteria(filter: &Filter) -> Vec<String> {
    let mut pairs = Vec::new();
    let mut add = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            pairs.push(format!("{key}={}", encoded(&value)));
        }
    };
    add("id", filter.id.clone());
    add("user", filter.user.clone());
    add("agent", filter.agent.clone());
    add("namespace", filter.namespace.clone());
    add("pod", filter.pod.clone());
    add("command", filter.command.clone());
    add("since", filter.since.map(|at| at.to_string()));
    add("until", filter.until.map(|at| at.to_string()));
    add("exitCode", filter.exit_code.map(|code| code.to_string()));
    add("verdict", filter.verdict.clone());
    add("live", filter.live.then(|| "true".to_owned()));
    pairs
}
/// The token of a file: by itself, or in what `portcullis get-token` prints.
fn bearer(text: &str) -> Option<String> {
    let text = text.trim();
    if !text.starts_with('{') {
        return (!text.is_empty()).then(|| text.to_owned());
    }
    let credential: serde_json::Value = serde_json::from_str(text).ok()?;
    let token = credential.pointer("/status/token")?.as_str()?;
    Some(token.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_by_itself_or_as_a_credential_of_kubectl() {
        let credential = r#"{"kind":"ExecCredential","status":{"token":"a.b.c"}}"#;
        for text in ["a.b.c", " a.b.c\n", credential] {
            assert_eq!(bearer(text).as_deref(), Some("a.b.c"), "{text:?}");
        }
        for text in ["", "\n", "{}", "{", r#"{"status":{"token":1}}"#] {
            assert_eq!(bearer(text), None, "{text:?}");
        }
    }
}
