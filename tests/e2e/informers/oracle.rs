//! What an object must look like behind the masks, without asking the masks.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::Report;
use super::churn::{Values, cut};
use super::followers::{Followed, PROGRAMS};

/// Compares what was seen through the gateway with what is there. Outside secret values both are equal; in the place
/// of a value stands a placeholder, the same for the same value wherever it stands and another for every other one.
#[derive(Debug)]
pub(super) struct Oracle<'a> {
    values: &'a Values,
    placeholders: HashMap<String, String>,
    of: HashMap<String, String>,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(values: &'a Values) -> Self {
        Self {
            values,
            placeholders: HashMap::new(),
            of: HashMap::new(),
        }
    }

    /// The twin has what the API server has, and the other the same with placeholders.
    #[track_caller]
    pub(super) fn stores(&mut self, seen: &Report, twin: &Report, real: &BTreeMap<String, Value>) {
        // The last object is not compared: the simulated kubelet may still write to it.
        let sizes = (seen.store.len(), twin.store.len());
        assert_eq!(sizes, (real.len() + 1, real.len() + 1), "{seen}");
        for (name, object) in real {
            let (masked, plain) = (&seen.store[name], &twin.store[name]);
            let object = as_seen(object, masked, &seen.informer);
            assert_eq!(
                as_seen(plain, plain, &seen.informer),
                object,
                "{twin}, directly: {name}"
            );
            let path = format!("{seen}: {name}");
            self.compare(&object, &as_seen(masked, masked, &seen.informer), &path)
                .unwrap();
        }
    }

    /// Compares everything that came through the gateway with the same version of the object seen directly.
    #[track_caller]
    pub(super) fn events(&mut self, followed: &Followed, direct: &Followed) -> u64 {
        let version = |line: &Value| {
            (
                line["resource"].to_string(),
                line["object"]["metadata"]["resourceVersion"].to_string(),
            )
        };
        // Protobuf does not tell zeros from nothing.
        let real = ["kube-rs", "python"].map(|program| direct.events(program));
        let real: HashMap<_, Value> = real
            .into_iter()
            .flatten()
            .map(|mut line| (version(&line), line["object"].take()))
            .collect();
        let (mut compared, mut all) = (0, 0);
        for name in PROGRAMS {
            for line in followed.events(name) {
                all += 1;
                let seen = &line["object"];
                // A version that was written over before anybody listed again directly.
                let Some(real) = real.get(&version(&line)) else {
                    continue;
                };
                self.compare(
                    &as_seen(real, seen, name),
                    &as_seen(seen, seen, name),
                    &format!("{name} {line}"),
                )
                .unwrap();
                compared += 1;
            }
        }
        assert!(compared > all / 10 * 9, "{compared} of {all} were compared");
        compared
    }
    /// Fails with the path and both sides where they differ.
    fn compare(&mut self, real: &Value, seen: &Value, path: &str) -> Result<(), String> {
        match (real, seen) {
            (Value::Object(real), Value::Object(seen)) => {
                if let Some(key) = seen.keys().find(|key| !real.contains_key(*key)) {
                    return Err(format!("{path}.{key} is there only behind the gateway"));
                }
                real.iter().try_for_each(|(key, real)| {
                    let path = format!("{path}.{key}");
                    let seen = seen.get(key).ok_or_else(|| format!("{path} is lost"))?;
                    self.compare(real, seen, &path)
                })
            }
            (Value::Array(real), Value::Array(seen)) if real.len() == seen.len() => {
                let mut both = real.iter().zip(seen).enumerate();
                both.try_for_each(|(index, (real, seen))| {
                    self.compare(real, seen, &format!("{path}[{index}]"))
                })
            }
            (Value::String(real), Value::String(seen)) => self.texts(real, seen, path),
            _ if real == seen => Ok(()),
            _ => Err(format!("{path}: {real} became {seen}")),
        }
    }

    fn texts(&mut self, real: &str, seen: &str, path: &str) -> Result<(), String> {
        if real.starts_with('{')
            && let (Ok(real), Ok(seen)) = (serde_json::from_str(real), serde_json::from_str(seen))
        {
            let (real, seen): (Value, Value) = (real, seen);
            return self.compare(&real, &seen, path);
        }
        if let Some(real) = self.inside_base64(real) {
            let seen = STANDARD.decode(seen).map_err(|error| {
                format!("{path}: {seen:?} is no base64, which clients expect: {error}")
            })?;
            return self.plain(&real, &String::from_utf8_lossy(&seen), path);
        }
        // The value of the stable Secret is masked also where only `known-values` finds it.
        self.plain(&self.values.with_stable(real), seen, path)
    }

    fn plain(&mut self, real: &str, seen: &str, path: &str) -> Result<(), String> {
        let (real_rest, values) = self.values.cut(real);
        let (seen_rest, placeholders) = cut(seen, "[masked:v1:", "]");
        if real_rest != seen_rest {
            return Err(format!("{path}: {real:?} became {seen:?}"));
        }
        for (value, placeholder) in values.into_iter().zip(placeholders) {
            let known = self
                .placeholders
                .entry(value.to_owned())
                .or_insert_with(|| placeholder.to_owned());
            if known != placeholder {
                return Err(format!("{path}: a value is {known} and {placeholder}"));
            }
            let known = self
                .of
                .entry(placeholder.to_owned())
                .or_insert_with(|| value.to_owned());
            if known != value {
                return Err(format!("{path}: two values are {placeholder}"));
            }
        }
        Ok(())
    }

    /// The text of a base64 text that holds a value.
    fn inside_base64(&self, text: &str) -> Option<String> {
        let decoded = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        let decoded = self.values.with_stable(&decoded);
        (!self.values.cut(&decoded).1.is_empty()).then_some(decoded)
    }
}

/// An object without what lists leave out, what whoever has seen metadata only has not seen, and what protobuf does not
/// tell from nothing.
fn as_seen(object: &Value, seen: &Value, informer: &str) -> Value {
    let mut object = object.clone();
    let fields = object.as_object_mut().unwrap();
    let metadata_only = seen["kind"] == "PartialObjectMetadata";
    fields.retain(|key, _| {
        key == "metadata" || (!metadata_only && key != "kind" && key != "apiVersion")
    });
    if informer.starts_with("protobuf") {
        leave_out_zeros(&mut object);
    }
    object
}

fn leave_out_zeros(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(leave_out_zeros);
            let zeros = [
                json!(0),
                json!(false),
                json!(""),
                json!({}),
                json!([]),
                Value::Null,
            ];
            fields.retain(|_, value| !zeros.contains(value));
        }
        Value::Array(items) => items.iter_mut().for_each(leave_out_zeros),
        _ => {}
    }
}
