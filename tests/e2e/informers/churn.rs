//! Objects that come, change and go, with secrets at every place where the masks look.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use loadtest::apiserver;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{END, NAMESPACE, RESOURCES};
use crate::support::canary::Canaries;

/// Objects of a kind at most.
const SLOTS: u64 = 30;

/// The secret values of a run. All begin and end alike, so that a few needles find any of them in any form.
#[derive(Debug)]
pub(super) struct Values {
    begin: String,
    end: String,
    /// The value of a Secret that is never changed. Elsewhere it stands where only `known-values` finds it.
    pub(super) stable: String,
    /// How many there are.
    pub(super) count: u64,
}

impl Values {
    pub(super) fn new(canaries: &Canaries) -> Self {
        let [begin, end] = [(); 2].map(|()| format!("canary{}", Uuid::new_v4().simple()));
        canaries.add(&begin);
        canaries.add(&end);
        Self {
            begin,
            end,
            stable: format!("stable{}", Uuid::new_v4().simple()),
            count: 1,
        }
    }

    /// The text with the first value in the place of the stable one, which begins and ends otherwise.
    pub(super) fn with_stable(&self, text: &str) -> String {
        text.replace(&self.stable, &self.value(0))
    }

    fn value(&self, number: u64) -> String {
        format!("{}{number:06}{}", self.begin, self.end)
    }

    /// Cuts a text at its values: what stands between them, and what tells them apart.
    pub(super) fn cut<'a>(&self, text: &'a str) -> (Vec<&'a str>, Vec<&'a str>) {
        cut(text, &self.begin, &self.end)
    }
}

/// Cuts a text at everything from `begin` to `end`: the texts outside, and those inside.
pub(super) fn cut<'a>(mut text: &'a str, begin: &str, end: &str) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut outside, mut inside) = (Vec::new(), Vec::new());
    while let Some((before, rest)) = text.split_once(begin)
        && let Some((within, after)) = rest.split_once(end)
    {
        outside.push(before);
        inside.push(within);
        text = after;
    }
    outside.push(text);
    (outside, inside)
}

/// Changes a namespace of the simulated API server.
#[derive(Debug)]
pub(super) struct Churn<'a> {
    server: &'a apiserver::Running,
    pub(super) values: Values,
    objects: BTreeMap<(usize, u64), Object>,
    random: u64,
    /// How often each operation was carried out.
    pub(super) operations: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Object {
    uid: Uuid,
    value: String,
    round: u64,
}

impl<'a> Churn<'a> {
    pub(super) fn new(server: &'a apiserver::Running, values: Values) -> Self {
        Self {
            server,
            values,
            objects: BTreeMap::new(),
            random: 1,
            operations: BTreeMap::new(),
        }
    }

    /// One change, the next of a sequence that is the same in every run.
    pub(super) fn step(&mut self) {
        let kind = usize::try_from(self.below(3)).unwrap();
        let slot = self.below(SLOTS);
        let Some(mut object) = self.objects.remove(&(kind, slot)) else {
            let object = Object {
                uid: Uuid::new_v4(),
                value: self.some_value(),
                round: 0,
            };
            self.put(kind, slot, object);
            return self.count("create");
        };
        let operation = match self.below(4) {
            0 => {
                let name = format!("object-{slot}");
                self.server
                    .delete(RESOURCES[kind], NAMESPACE, &name)
                    .unwrap();
                return self.count("delete");
            }
            // The placeholder must change, or not.
            1 | 2 => {
                object.value = self.some_value();
                "change the secret value"
            }
            _ => "change something else",
        };
        object.round += 1;
        self.put(kind, slot, object);
        self.count(operation);
    }

    /// Creates in every collection the object after which informers are done.
    pub(super) fn end(&mut self) {
        for kind in 0..RESOURCES.len() {
            let object = Object {
                uid: Uuid::new_v4(),
                value: self.some_value(),
                round: 0,
            };
            self.server.put(self.object(kind, END, &object)).unwrap();
        }
    }

    fn put(&mut self, kind: usize, slot: u64, object: Object) {
        self.server
            .put(self.object(kind, &format!("object-{slot}"), &object))
            .unwrap();
        self.objects.insert((kind, slot), object);
    }

    fn count(&mut self, operation: &'static str) {
        *self.operations.entry(operation).or_default() += 1;
    }

    /// A new value, or one time in five one that was there before.
    fn some_value(&mut self) -> String {
        if self.below(5) == 0 {
            let number = 1 + self.below(self.values.count);
            return self.values.value(number);
        }
        self.values.count += 1;
        self.values.value(self.values.count)
    }

    /// A number below `bound` (Knuth's MMIX generator).
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn object(&self, kind: usize, name: &str, object: &Object) -> Value {
        let value = &object.value;
        let mut applied = match RESOURCES[kind] {
            "secrets" => secret(name, value),
            "configmaps" => json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "data": {
                    "db.password": value,
                    "app.properties": format!("db.url=postgres://shop:{value}@db:5432/shop\nlog.level=info\n"),
                    // Known from its Secret only.
                    "notes": format!("the vault opens with {} since Monday", self.values.stable),
                },
            }),
            _ => json!({
                "apiVersion": "v1", "kind": "Pod",
                "spec": {"containers": [{
                    "name": "main", "image": "busybox:1.37",
                    "args": ["serve", format!("--token={value}"), "--verbose"],
                    "env": [
                        {"name": "LOG_LEVEL", "value": "info"},
                        {"name": "DB_PASSWORD", "value": value},
                        {"name": "DB_URL", "value": format!("postgres://shop:{value}@db/shop")},
                    ],
                }]},
            }),
        };
        applied["metadata"] = json!({
            "name": name, "namespace": NAMESPACE, "labels": {"round": object.round.to_string()},
        });
        let last_applied = format!("{applied}\n");
        applied["metadata"]["uid"] = json!(object.uid.to_string());
        applied["metadata"]["creationTimestamp"] = json!("2026-11-21T08:00:00Z");
        applied["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/last-applied-configuration": last_applied});
        applied
    }
}

/// A Secret that holds `value` under two keys.
pub(super) fn secret(name: &str, value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "data": {"password": STANDARD.encode(value), "token": STANDARD.encode(value)},
    })
}
