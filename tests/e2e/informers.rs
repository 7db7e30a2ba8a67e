//! Informers stay in sync through masking.
//!
//! A namespace of the simulated API server is changed all the time while informers of stock clients follow it through
//! the gateway, and their twins directly. Watches end, versions expire. At the end every store must be what the API
//! server has, with placeholders in the place of secret values, after as many lists and errors as the twin had. Every
//! object that came on the way is compared, too, and everything is searched for secret values.
//!
//! `make informers` does this for ten minutes and prints what was counted.

mod churn;
mod endpoint;
mod followers;
mod oracle;
mod protobuf;
mod requests;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::canary::Canaries;
use crate::support::world::{Caller, Kubectl, Options, Workshop, World};
use churn::{Churn, Values};
use followers::{Followed, Followers};
use oracle::Oracle;
use requests::{Asked, Requests};

const NAMESPACE: &str = "churn";
/// The object after which an informer is done.
const END: &str = "the-end";
const RESOURCES: [&str; 3] = ["secrets", "configmaps", "pods"];
const INFORMERS: [&str; 6] = [
    "kube-rs list",
    "kube-rs stream",
    "python",
    "protobuf list",
    "protobuf stream",
    "protobuf metadata",
];

/// How long one watch lasts: short, so that there are many.
const WATCH_SECONDS: u64 = 4;
/// How long the churn lasts, unless `CHURN_SECONDS` says otherwise.
const CHURN_SECONDS: u64 = 20;
/// Between two changes.
const PACE: Duration = Duration::from_millis(50);
/// How long clients may take to start.
const STARTED_IN: Duration = Duration::from_secs(40);
/// Between two compactions at most. Clients back off, some for half a minute.
const COMPACTION_SECONDS_MAX: u64 = 100;

/// What an informer counted, and its store.
#[derive(Debug, Default, Deserialize)]
struct Report {
    informer: String,
    resource: String,
    events: u64,
    errors: BTreeMap<String, u64>,
    store: BTreeMap<String, Value>,
}

/// The way to the API server.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Way {
    /// With the masks of the developers' profile.
    Gateway,
    /// Past the gateway.
    Direct,
}

#[test]
fn informers_stay_in_sync_through_masking() {
    let seconds =
        std::env::var("CHURN_SECONDS").map_or(CHURN_SECONDS, |text| text.parse().unwrap());
    let world = world();
    let values = Values::new(&world.canaries);
    know(&world, &values);
    let mut churn = Churn::new(&world.api_server, values);
    for _ in 0..60 {
        churn.step();
    }

    let followers = Way::ALL.map(|way| Followers::start(&world, way));
    let mut requests = Requests::none();
    let deadline = Instant::now() + STARTED_IN;
    while requests.least(Asked::Watch) == 0 {
        let late = Instant::now() > deadline;
        assert!(!late, "not all watch in time: {requests:?}");
        step(&mut churn, &mut requests, &world);
    }
    let compactions = change(&mut churn, &mut requests, &world, seconds);
    churn.end();
    let real = state(&world);
    let [gateway, direct] = followers.map(|followers| followers.finish(&world));
    requests.count(&world.api_server);

    let mut table = Table::default();
    let mut oracle = Oracle::new(&churn.values);
    for seen in &gateway.reports {
        let twin = direct.twin(seen);
        oracle.stores(seen, twin, &real[seen.resource.as_str()]);
        let expired = BTreeMap::from([("410 Expired".to_owned(), compactions)]);
        assert_eq!((&seen.errors, &twin.errors), (&expired, &expired), "{seen}");
        let states = Way::ALL.map(|way| requests.of(way, seen, Asked::State));
        assert_eq!(states, [1 + compactions; 2], "{seen}: lists");
        table.row(seen, twin, &requests);
    }
    let compared = oracle.events(&gateway, &direct);
    let searched = search(&world, &churn.values, &gateway, &direct);
    eprintln!(
        "{seconds} s of churn: {}. {compactions} compactions, {} secret values, {} objects at the end.\n\n{}\n\
         Objects received that were compared with what the twin received: {compared}. Bytes searched for secret values: {searched}. Leaks: 0. Peak memory of the gateway: {} KiB.",
        counted(&churn.operations),
        churn.values.count,
        real.values().map(BTreeMap::len).sum::<usize>(),
        table.0,
        world.gateway().peak_memory() / 1024,
    );
}

/// For people.
fn counted(counts: &BTreeMap<impl Display, u64>) -> String {
    let counts = counts
        .iter()
        .map(|(what, count)| format!("{count} × {what}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Changes objects for so long, and compacts now and then, but not before all have come back from the last time: how
/// often.
fn change(churn: &mut Churn<'_>, requests: &mut Requests, world: &World, seconds: u64) -> u64 {
    let begun = Instant::now();
    let mut compactions = 0;
    let between = (seconds / 3).clamp(1, COMPACTION_SECONDS_MAX);
    while begun.elapsed() < Duration::from_secs(seconds) {
        step(churn, requests, world);
        let due = begun.elapsed().as_secs() / between > compactions;
        if due && requests.least(Asked::State) > compactions {
            world.api_server.compact();
            compactions += 1;
        }
    }
    assert!(compactions > 0, "nobody had to list again: {requests:?}");
    compactions
}

/// One change, and a look at what was asked meanwhile.
fn step(churn: &mut Churn<'_>, requests: &mut Requests, world: &World) {
    churn.step();
    requests.count(&world.api_server);
    std::thread::sleep(PACE);
}

/// Secret values are in nothing that came through the gateway; directly they are, so they would be found. How many
/// bytes were searched.
fn search(world: &World, values: &Values, gateway: &Followed, direct: &Followed) -> usize {
    let stable = Canaries::default();
    stable.add(&values.stable);
    let searched = [gateway.search(&world.canaries), gateway.search(&stable)];
    assert!(
        searched.iter().all(|(_, found)| found.is_none()),
        "{searched:?}"
    );
    for canaries in [&world.canaries, &stable] {
        assert!(
            direct.search(canaries).1.is_some(),
            "whoever goes past the gateway sees them"
        );
    }
    searched.iter().map(|(bytes, _)| bytes).sum()
}

/// What was counted, in Markdown.
struct Table(String);

impl Default for Table {
    fn default() -> Self {
        Self(
            "| informer | resource | objects received (directly) | lists (directly) | watches (directly) | errors (directly) |\n\
             | --- | --- | --- | --- | --- | --- |\n"
                .to_owned(),
        )
    }
}

impl Table {
    fn row(&mut self, seen: &Report, twin: &Report, requests: &Requests) {
        let both = |what| Way::ALL.map(|way| requests.of(way, seen, what));
        let ([states, states_directly], [watches, watches_directly]) =
            (both(Asked::State), both(Asked::Watch));
        writeln!(
            self.0,
            "| {} | {} | {} ({}) | {states} ({states_directly}) | {watches} ({watches_directly}) | {} ({}) |",
            seen.informer, seen.resource, seen.events, twin.events, counted(&seen.errors), counted(&twin.errors))
        .unwrap();
    }
}

impl Way {
    const ALL: [Self; 2] = [Self::Gateway, Self::Direct];
}

impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}, {}", self.informer, self.resource)
    }
}

/// A world in which developers have the masks of their profile.
fn world() -> World {
    let profile = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/developer.yaml");
    let profile = std::fs::read_to_string(profile).unwrap();
    let options = Options {
        policy: Some(profile),
        bookmark_interval: Some(Duration::from_secs(1)),
        ..Options::default()
    };
    World::start_with(Arc::new(Workshop::new()), &options)
}

/// Makes the Secret whose value is known, and waits until it is.
#[track_caller]
fn know(world: &World, values: &Values) {
    let put = |object| world.api_server.put(object).unwrap();
    put(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}));
    put(churn::secret("stable", &values.stable));
    put(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "copied", "namespace": NAMESPACE},
        "data": {"notes": format!("opens with {}", values.stable)},
    }));
    let deadline = Instant::now() + Duration::from_secs(20);
    while world
        .kubectl(Kubectl::Current, Caller::Developer)
        .args(["get", "configmap", "copied", "-n", NAMESPACE, "-o", "yaml"])
        .run()
        .stdout
        .contains(&values.stable)
    {
        assert!(Instant::now() < deadline, "the value is not known in time");
    }
}

/// What the API server has, by resource and name, without the last object.
fn state(world: &World) -> BTreeMap<&'static str, BTreeMap<String, Value>> {
    let of = |resource: &'static str| {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/{resource}");
        let list: Value =
            serde_json::from_str(&world.admin(&["get", "--raw", &path]).stdout).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        let named = items.map(|item| {
            (
                item["metadata"]["name"].as_str().unwrap().to_owned(),
                item.clone(),
            )
        });
        (resource, named.filter(|(name, _)| name != END).collect())
    };
    RESOURCES.map(of).into()
}
