//! Informers that ask as client-go and kubectl did in captures, in protobuf, and go on as client-go's reflector does.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use flate2::read::MultiGzDecoder;
use futures_util::future::join_all;
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use loadtest::apiserver::answer;
use portcullis::gateway::body::read_bounded;
use serde_json::{Value, json};

use super::endpoint::{Endpoint, next_event};
use super::{END, NAMESPACE, RESOURCES, Report, WATCH_SECONDS};

const TYPED: &str = include_str!("../../fixtures/captures/go-informer-typed/001.client.bin");
const METADATA: &str = include_str!("../../fixtures/captures/go-informer-metadata/001.client.bin");
const LIST_WATCH: &str =
    include_str!("../../fixtures/captures/debug-ephemeral-1.32/001.client.bin");

const BODY_BYTES_MAX: usize = 64 << 20;

/// After an error, as client-go's reflector does.
const BACKOFF: Duration = Duration::from_millis(800);

/// How an informer begins.
#[derive(Clone, Copy, Debug)]
enum Start {
    List,
    Stream,
}

/// The informers of a resource: their names and what the captured client sent.
const INFORMERS: [(&str, &str, Start); 3] = [
    ("protobuf list", LIST_WATCH, Start::List),
    ("protobuf stream", TYPED, Start::Stream),
    ("protobuf metadata", METADATA, Start::Stream),
];

/// Follows every resource with every informer until the end of the churn.
pub(super) async fn follow(endpoint: Arc<Endpoint>) -> Vec<Report> {
    let informers = RESOURCES.iter().flat_map(|&resource| {
        let endpoint = &endpoint;
        INFORMERS.map(|(name, capture, start)| Informer {
            endpoint: Arc::clone(endpoint),
            request: Captured::find(capture, start.query()),
            start,
            report: Report {
                informer: name.to_owned(),
                resource: resource.to_owned(),
                ..Report::default()
            },
        })
    });
    join_all(informers.map(Informer::follow)).await
}

impl Start {
    fn query(self) -> &'static str {
        match self {
            Self::List => "limit=500&resourceVersion=0",
            Self::Stream => "sendInitialEvents=true",
        }
    }
}

/// A request as a client sent it.
#[derive(Debug)]
struct Captured {
    target: String,
    headers: Vec<(String, String)>,
}

impl Captured {
    /// The first request of a connection whose target holds `query`.
    fn find(connection: &str, query: &str) -> Self {
        let mut heads = connection.split("\r\n\r\n");
        let head = heads
            .find(|head| head.contains(query))
            .expect("it was captured");
        // A body of the request before may stand in front.
        let (_, head) = head.split_once("GET ").expect("a GET");
        let mut lines = head.split("\r\n");
        let target = lines.next().unwrap().split(' ').next().unwrap().to_owned();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").expect("a header");
            (name.to_owned(), value.to_owned())
        });
        Self {
            target,
            headers: headers.filter(|(name, _)| name != "Host").collect(),
        }
    }

    /// The same for another resource, with some parameters set.
    fn target(&self, resource: &str, set: &[(&str, &str)]) -> String {
        let (_, query) = self.target.split_once('?').expect("a query");
        let pairs = query.split('&').filter_map(|pair| {
            let (name, value) = pair.split_once('=').expect("a value");
            let set = set.iter().find(|(it, _)| *it == name);
            let value = set.map_or(value, |(_, value)| value);
            // It followed one object.
            (name != "fieldSelector").then(|| format!("{name}={value}"))
        });
        let query = pairs.collect::<Vec<_>>().join("&");
        format!("/api/v1/namespaces/{NAMESPACE}/{resource}?{query}")
    }
}

#[derive(Debug)]
struct Informer {
    endpoint: Arc<Endpoint>,
    request: Captured,
    start: Start,
    report: Report,
}

impl Informer {
    async fn follow(mut self) -> Report {
        let mut version: Option<String> = None;
        while !self.report.store.contains_key(END) {
            let went = match (&version, self.start) {
                (None, Start::List) => self.list().await,
                (None, Start::Stream) => self.watch(None).await,
                (Some(version), _) => self.watch(Some(version)).await,
            };
            version = match went {
                Ok(version) => version,
                Err(error) => {
                    if !self.report.errors.contains_key(&error.to_string()) {
                        // Seen even where the others never get so far that reports are compared.
                        eprintln!("{}: {error:#}", self.report.informer);
                    }
                    *self.report.errors.entry(error.to_string()).or_default() += 1;
                    tokio::time::sleep(BACKOFF).await;
                    None
                }
            };
        }
        self.report
    }

    /// Reads what is there; the version to watch from.
    async fn list(&mut self) -> anyhow::Result<Option<String>> {
        let target = self.request.target(&self.report.resource, &[]);
        let response = self.ask(&target, false).await?;
        let gzip = response.headers().get("content-encoding").is_some();
        let mut body = read_bounded(response.into_body(), BODY_BYTES_MAX).await?;
        if gzip {
            let mut whole = Vec::new();
            MultiGzDecoder::new(&body[..]).read_to_end(&mut whole)?;
            body = whole.into();
        }
        self.endpoint.received.lock().write_all(&body).unwrap();
        let list = answer::object(&body).context("a broken list")?;
        assert!(list["metadata"]["continue"].is_null(), "one page is enough");
        self.report.store.clear();
        for item in list["items"].as_array().into_iter().flatten() {
            self.note("LISTED", item);
            self.report.store.insert(name(item), item.clone());
        }
        Ok(version(&list))
    }

    /// Follows the events from a version on, or from the state of now; the version to go on from.
    async fn watch(&mut self, from: Option<&str>) -> anyhow::Result<Option<String>> {
        let seconds = WATCH_SECONDS.to_string();
        let timeout = ("timeoutSeconds", seconds.as_str());
        let target = match from {
            Some(version) => Captured::find(LIST_WATCH, "watch=true").target(
                &self.report.resource,
                &[timeout, ("resourceVersion", version)],
            ),
            None => self.request.target(&self.report.resource, &[timeout]),
        };
        let mut body = self.ask(&target, true).await?.into_body();
        let mut last = from.map(str::to_owned);
        // The state of now replaces the store when all of it is there.
        let mut initial = from.is_none().then(BTreeMap::new);
        let mut buffer = Vec::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            self.endpoint.received.lock().write_all(&data).unwrap();
            buffer.extend_from_slice(&data);
            while let Some(event) = next_event(&mut buffer) {
                let (kind, object) = event?;
                match kind.as_str() {
                    "ERROR" => {
                        bail!(
                            "{} {}",
                            object["code"],
                            object["reason"].as_str().unwrap_or_default()
                        );
                    }
                    "BOOKMARK" => {
                        let annotations = &object["metadata"]["annotations"];
                        if annotations["k8s.io/initial-events-end"] == "true" {
                            self.report.store =
                                initial.take().context("two ends of the initial events")?;
                        }
                    }
                    _ => {
                        self.note(&kind, &object);
                        let store = initial.as_mut().unwrap_or(&mut self.report.store);
                        if kind == "DELETED" {
                            store.remove(&name(&object));
                        } else {
                            store.insert(name(&object), object.clone());
                        }
                    }
                }
                last = version(&object);
                if self.report.store.contains_key(END) {
                    return Ok(last);
                }
            }
        }
        Ok(if initial.is_none() { last } else { None })
    }

    async fn ask(&self, target: &str, watch: bool) -> anyhow::Result<Response<Incoming>> {
        let mut headers = self.request.headers.clone();
        for (_, value) in headers.iter_mut().filter(|(name, _)| name == "User-Agent") {
            // Says who it is, so that requests can be counted.
            value.push(' ');
            value.push_str(&self.report.informer);
        }
        self.endpoint.ask(target, &headers, watch).await
    }

    fn note(&mut self, kind: &str, object: &Value) {
        self.report.events += 1;
        let line = json!({"resource": self.report.resource, "type": kind, "object": object});
        writeln!(self.endpoint.events.lock(), "{line}").unwrap();
    }
}

fn name(object: &Value) -> String {
    object["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned()
}

fn version(object: &Value) -> Option<String> {
    object["metadata"]["resourceVersion"]
        .as_str()
        .map(str::to_owned)
}
