//! Follows a namespace with the stock Rust `watcher`, by list and watch and by streaming lists.
//!
//! Environment: `KUBECONFIG`; `NAMESPACE`; `WATCH_SECONDS`, how long one watch lasts; `END`, the name of the object
//! after which an informer is done; `EVENTS`, a file that gets every event as a line of JSON. Prints a line of JSON an
//! informer: what it counted and what its store holds. `tests/e2e/informers.rs` reads both, and
//! `tests/clients/python/informers.py` writes the same.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::future::join_all;
use http::HeaderValue;
use http::header::USER_AGENT;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::reflector::{self, reflector};
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

#[tokio::main]
async fn main() {
    let seconds = variable("WATCH_SECONDS").parse().expect("seconds");
    let log = Arc::new(Mutex::new(
        File::create(variable("EVENTS")).expect("EVENTS"),
    ));
    let mut informers = Vec::new();
    for resource in [
        ApiResource::erase::<Secret>(&()),
        ApiResource::erase::<ConfigMap>(&()),
        ApiResource::erase::<Pod>(&()),
    ] {
        let listing = Config::default().timeout(seconds);
        let streaming = listing.clone().streaming_lists();
        for (name, config) in [("kube-rs list", listing), ("kube-rs stream", streaming)] {
            informers.push(follow(resource.clone(), name, config, Arc::clone(&log)));
        }
    }
    join_all(informers).await;
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// A client that says who it is, so that requests can be counted.
async fn client(name: &'static str) -> Client {
    let mut config = kube::Config::infer()
        .await
        .expect("KUBECONFIG names a usable cluster");
    let name = HeaderValue::from_static(name);
    config.headers.push((USER_AGENT, name));
    Client::try_from(config).expect("a client")
}

async fn follow(
    resource: ApiResource,
    informer: &'static str,
    config: Config,
    log: Arc<Mutex<File>>,
) {
    let end = variable("END");
    let api: Api<DynamicObject> =
        Api::namespaced_with(client(informer).await, &variable("NAMESPACE"), &resource);
    let writer = reflector::store::Writer::new(resource.clone());
    let store = writer.as_reader();
    let mut stream = reflector(writer, watcher(api, config).default_backoff()).boxed();
    let mut events = 0;
    let mut errors: BTreeMap<String, u64> = BTreeMap::new();
    // The stream of a watcher has no end of its own.
    while let Some(event) = stream.next().await {
        let (kind, object) = match event {
            Ok(Event::Apply(object)) => ("APPLY", object),
            Ok(Event::Delete(object)) => ("DELETE", object),
            Ok(Event::InitApply(object)) => ("LISTED", object),
            Ok(Event::Init) => continue,
            Ok(Event::InitDone) if has(&store, &end) => break,
            Ok(Event::InitDone) => continue,
            Err(error) => {
                *errors.entry(named(&error)).or_default() += 1;
                continue;
            }
        };
        events += 1;
        let line = json!({"resource": resource.plural, "type": kind, "object": object});
        writeln!(log.lock().expect("not poisoned"), "{line}").expect("EVENTS");
        if kind == "APPLY" && object.name_any() == end {
            break;
        }
    }
    let objects: BTreeMap<String, Value> = store
        .state()
        .iter()
        .map(|object| (object.name_any(), json!(**object)))
        .collect();
    let report = json!({
        "informer": informer, "resource": resource.plural,
        "events": events, "errors": errors, "store": objects,
    });
    println!("{report}");
}

fn has(store: &reflector::Store<DynamicObject>, name: &str) -> bool {
    store.state().iter().any(|object| object.name_any() == name)
}

/// The same for the same error, whatever versions it names.
fn named(error: &Error) -> String {
    match error {
        Error::WatchError(status) => format!("{} {}", status.code, status.reason),
        other => other.to_string(),
    }
}
