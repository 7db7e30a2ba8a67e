//! What reached the API server, by informer: who lists again has lost its place.

use std::collections::BTreeMap;

use loadtest::apiserver;

use super::{INFORMERS, RESOURCES, Report, Way};

/// What informers ask for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Asked {
    /// The whole state, as a list or as initial events.
    State,
    /// What happened since.
    Watch,
}

/// The requests of informers, counted.
#[derive(Debug)]
pub(super) struct Requests(BTreeMap<(Way, &'static str, &'static str, Asked), u64>);

impl Requests {
    /// None yet, of any informer.
    pub(super) fn none() -> Self {
        let mut counts = BTreeMap::new();
        for way in Way::ALL {
            for informer in INFORMERS {
                for resource in RESOURCES {
                    counts.insert((way, informer, resource, Asked::State), 0);
                    counts.insert((way, informer, resource, Asked::Watch), 0);
                }
            }
        }
        Self(counts)
    }

    /// Counts what has arrived at the API server since the last time.
    pub(super) fn count(&mut self, api_server: &apiserver::Running) {
        for seen in api_server.take_requests() {
            let text = |name| {
                seen.headers
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default()
            };
            let found = |names: &[&'static str], text: &str| {
                names.iter().copied().find(|name| text.ends_with(name))
            };
            let path = seen.uri.path();
            let (Some(informer), Some(resource)) = (
                found(&INFORMERS, text("user-agent")),
                found(&RESOURCES, path),
            ) else {
                continue;
            };
            let user = seen.user.as_ref().expect("a user");
            let way = if user.name == "admin" {
                Way::Direct
            } else {
                Way::Gateway
            };
            let query = seen.uri.query().unwrap_or_default();
            let asked = if query.contains("watch=") && !query.contains("sendInitialEvents=true") {
                Asked::Watch
            } else {
                Asked::State
            };
            *self.0.entry((way, informer, resource, asked)).or_default() += 1;
        }
    }

    /// How often every informer asked at least.
    pub(super) fn least(&self, asked: Asked) -> u64 {
        let counts = self.0.iter().filter(|((.., what), _)| *what == asked);
        counts.map(|(_, count)| *count).min().unwrap_or_default()
    }

    /// How often an informer asked.
    pub(super) fn of(&self, way: Way, informer: &Report, asked: Asked) -> u64 {
        let who = (
            way,
            informer.informer.as_str(),
            informer.resource.as_str(),
            asked,
        );
        self.0.get(&who).copied().unwrap_or_default()
    }
}
