//! The objects in memory, and each collection's history for watches.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

use super::respond::json_text;
use super::status::ApiError;

/// The first resourceVersion. Above 1, so that "too old" can be asked for as in the captures.
const FIRST_VERSION: u64 = 1000;

/// One stored version of an object; never changed.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) value: Value,
    pub(crate) version: u64,
    json: OnceLock<Bytes>,
}

impl Object {
    pub(crate) fn new(value: Value, version: u64) -> Self {
        Self {
            value,
            version,
            json: OnceLock::new(),
        }
    }

    /// Its JSON text on one line, made once for all readers.
    pub(crate) fn json(&self) -> &Bytes {
        self.json
            .get_or_init(|| Bytes::from(json_text(&self.value)))
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

/// An entry of a collection's history.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) change: Change,
    /// The object now; for `Deleted` its last state with the version of the deletion.
    pub(crate) object: Arc<Object>,
    /// The object before, which selectors need.
    pub(crate) previous: Option<Arc<Object>>,
}

/// What a writer decided, given the current object.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Store this; nothing happens when it equals what is there.
    Put(Value),
    /// Answer with this, store nothing (`dryRun=All`).
    Dry(Value),
    Delete,
    DryDelete,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) object: Arc<Object>,
    pub(crate) change: Option<Change>,
}

/// The position after which a watch continues.
#[derive(Debug)]
pub(crate) enum Batch {
    Events(Vec<Arc<Event>>),
    /// The history does not reach back that far; holds the oldest version it can resume from.
    TooOld(u64),
}

/// All objects of the server.
#[derive(Debug)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
    history: usize,
}

#[derive(Debug)]
struct Inner {
    version: u64,
    collections: HashMap<String, Collection>,
}

#[derive(Debug)]
struct Collection {
    objects: BTreeMap<(String, String), Arc<Object>>,
    log: VecDeque<Arc<Event>>,
    /// Watches may resume from this version or a later one.
    oldest: u64,
    changed: watch::Sender<u64>,
}

impl Store {
    /// A store that keeps `history` events a collection.
    pub(crate) fn new(history: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                version: FIRST_VERSION,
                collections: HashMap::new(),
            }),
            history: history.max(1),
        }
    }

    /// The current resourceVersion.
    pub(crate) fn version(&self) -> u64 {
        self.inner.lock().version
    }

    pub(crate) fn get(&self, key: &str, namespace: &str, name: &str) -> Option<Arc<Object>> {
        let inner = self.inner.lock();
        let objects = &inner.collections.get(key)?.objects;
        objects
            .get(&(namespace.to_owned(), name.to_owned()))
            .cloned()
    }

    /// The version and all objects, of one namespace or (empty) of all, sorted by namespace and name.
    pub(crate) fn list(&self, key: &str, namespace: &str) -> (u64, Vec<Arc<Object>>) {
        let inner = self.inner.lock();
        let objects = inner.collections.get(key).map(|collection| {
            let all = collection.objects.iter();
            all.filter(|((place, _), _)| namespace.is_empty() || place == namespace)
                .map(|(_, object)| Arc::clone(object))
                .collect()
        });
        (inner.version, objects.unwrap_or_default())
    }

    /// Names of the collections that hold something.
    pub(crate) fn collections(&self) -> Vec<String> {
        self.inner.lock().collections.keys().cloned().collect()
    }

    /// Lets `decide` look at the current object and change it, in one step.
    pub(crate) fn write(
        &self,
        key: &str,
        namespace: &str,
        name: &str,
        decide: impl FnOnce(Option<&Arc<Object>>) -> Result<Decision, ApiError>,
    ) -> Result<Outcome, ApiError> {
        let mut inner = self.inner.lock();
        let next = inner.version + 1;
        let oldest = inner.version;
        let collection = inner
            .collections
            .entry(key.to_owned())
            .or_insert_with(|| Collection::new(oldest));
        let place = (namespace.to_owned(), name.to_owned());
        let current = collection.objects.get(&place).cloned();
        let outcome = match (decide(current.as_ref())?, current) {
            (Decision::Dry(value), _) => Outcome {
                object: Arc::new(Object::new(value, next)),
                change: None,
            },
            (Decision::Put(value), Some(current)) if same(&value, &current.value) => Outcome {
                object: current,
                change: None,
            },
            (Decision::Put(mut value), current) => {
                set_version(&mut value, next);
                let object = Arc::new(Object::new(value, next));
                let change = if current.is_some() {
                    Change::Modified
                } else {
                    Change::Added
                };
                collection.objects.insert(place, Arc::clone(&object));
                collection.record(change, &object, current, self.history);
                Outcome {
                    object,
                    change: Some(change),
                }
            }
            (Decision::DryDelete, Some(current)) => Outcome {
                object: current,
                change: None,
            },
            (Decision::Delete, Some(current)) => {
                collection.objects.remove(&place);
                let mut value = current.value.clone();
                set_version(&mut value, next);
                let object = Arc::new(Object::new(value, next));
                collection.record(Change::Deleted, &object, Some(current), self.history);
                Outcome {
                    object,
                    change: Some(Change::Deleted),
                }
            }
            (Decision::Delete | Decision::DryDelete, None) => {
                return Err(ApiError::new(404, "NotFound", "the object is gone"));
            }
        };
        if outcome.change.is_some() {
            inner.version = next;
        }
        Ok(outcome)
    }

    /// Forgets what happened up to now, in every collection.
    pub(crate) fn compact(&self) {
        let mut inner = self.inner.lock();
        inner.version += 1;
        let version = inner.version;
        for collection in inner.collections.values_mut() {
            collection.log.clear();
            collection.oldest = version;
            collection.changed.send_replace(version);
        }
    }

    /// A receiver that hears of every change of the collection.
    pub(crate) fn subscribe(&self, key: &str) -> watch::Receiver<u64> {
        let mut inner = self.inner.lock();
        let oldest = inner.version;
        inner
            .collections
            .entry(key.to_owned())
            .or_insert_with(|| Collection::new(oldest))
            .changed
            .subscribe()
    }

    /// Up to `most` events after `version`.
    pub(crate) fn events_after(&self, key: &str, version: u64, most: usize) -> Batch {
        let inner = self.inner.lock();
        let Some(collection) = inner.collections.get(key) else {
            return Batch::Events(Vec::new());
        };
        if version < collection.oldest {
            return Batch::TooOld(collection.oldest);
        }
        let from = collection
            .log
            .partition_point(|event| event.version <= version);
        Batch::Events(
            collection
                .log
                .iter()
                .skip(from)
                .take(most)
                .cloned()
                .collect(),
        )
    }
}

impl Collection {
    fn new(oldest: u64) -> Self {
        Self {
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            oldest: oldest.min(FIRST_VERSION),
            changed: watch::Sender::new(oldest),
        }
    }

    fn record(
        &mut self,
        change: Change,
        object: &Arc<Object>,
        previous: Option<Arc<Object>>,
        history: usize,
    ) {
        let event = Event {
            version: object.version,
            change,
            object: Arc::clone(object),
            previous,
        };
        self.log.push_back(Arc::new(event));
        while self.log.len() > history {
            if let Some(dropped) = self.log.pop_front() {
                self.oldest = dropped.version;
            }
        }
        self.changed.send_replace(object.version);
    }
}

/// Equal apart from the version and the managers' times: such a write changes nothing.
fn same(left: &Value, right: &Value) -> bool {
    fn bare(value: &Value) -> Value {
        let mut value = value.clone();
        if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
            metadata.shift_remove("resourceVersion");
            metadata.shift_remove("managedFields");
        }
        value
    }
    bare(left) == bare(right)
}

fn set_version(value: &mut Value, version: u64) {
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        if metadata.contains_key("resourceVersion") {
            metadata.insert(
                "resourceVersion".to_owned(),
                Value::String(version.to_string()),
            );
        } else {
            // Behind `uid`, where the API server prints it.
            let index = metadata
                .keys()
                .position(|key| key == "uid")
                .map_or(metadata.len(), |index| index + 1);
            metadata.shift_insert(
                index,
                "resourceVersion".to_owned(),
                Value::String(version.to_string()),
            );
        }
    }
}
