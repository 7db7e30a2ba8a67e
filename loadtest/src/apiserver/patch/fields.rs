//! `managedFields`: who owns which field, and server-side apply on top of it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::strategic::{self, Keys};
use crate::apiserver::types::{self, Field, Message, Shape};

/// A field's path in `fieldsV1` notation: `f:spec`, `k:{"name":"a"}`, `.`.
type Path = Vec<String>;

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) manager: &'a str,
    pub(crate) api_version: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) time: &'a str,
}

/// Server-side apply refused: `(manager, apiVersion, field)` of every conflict.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conflicts(pub(crate) Vec<(String, String, String)>);

/// Records that `writer` changed `old` to `new`; sets `new.metadata.managedFields`.
pub(crate) fn record(
    message: Option<&'static Message>,
    old: Option<&Value>,
    new: &mut Value,
    writer: Writer<'_>,
) {
    let before = old.map(|old| leaves(message, old)).unwrap_or_default();
    let after = leaves(message, new);
    let changed: BTreeSet<Path> = after
        .iter()
        .filter(|(path, value)| before.get(*path) != Some(value))
        .map(|(path, _)| path.clone())
        .collect();
    let mut entries = entries(old.unwrap_or(new));
    for entry in &mut entries {
        let own = is_entry(entry, writer, "Update");
        let mut owned = set_of(entry);
        owned.retain(|path| after.contains_key(path) && (own || !changed.contains(path)));
        if own {
            owned.extend(changed.iter().cloned());
            stamp(entry, writer, !changed.is_empty());
        }
        set_fields(entry, &owned);
    }
    entries.retain(|entry| !set_of(entry).is_empty());
    if !changed.is_empty()
        && !entries
            .iter()
            .any(|entry| is_entry(entry, writer, "Update"))
    {
        entries.push(new_entry(writer, "Update", &changed));
    }
    put(new, entries);
}

/// Server-side apply of `config` onto `live`.
pub(crate) fn apply(
    message: Option<&'static Message>,
    live: &Value,
    config: &Value,
    writer: Writer<'_>,
    force: bool,
) -> Result<Value, Conflicts> {
    let wanted = leaves(message, config);
    let current = leaves(message, live);
    let mut entries = entries(live);
    let conflicts = disputes(&mut entries, writer, (&wanted, &current), force);
    if !conflicts.is_empty() && !force {
        return Err(Conflicts(conflicts));
    }
    let mut result = live.clone();
    let mine = entries
        .iter()
        .find(|entry| is_entry(entry, writer, "Apply"))
        .map(set_of)
        .unwrap_or_default();
    let theirs: BTreeSet<Path> = entries
        .iter()
        .filter(|entry| !is_entry(entry, writer, "Apply"))
        .flat_map(set_of)
        .collect();
    for path in mine
        .iter()
        .filter(|path| !wanted.contains_key(*path) && !theirs.contains(*path))
    {
        remove(&mut result, path);
    }
    // Merging a checked config into an object of the same type cannot fail.
    if strategic::merge(message, &mut result, config, Keys::All).is_err() {
        result = live.clone();
    }
    let wanted: BTreeSet<Path> = wanted.into_keys().collect();
    let same = mine == wanted;
    entries.retain(|entry| !is_entry(entry, writer, "Apply") && !set_of(entry).is_empty());
    let old = live
        .get("metadata")
        .and_then(|metadata| metadata.get("managedFields"));
    let kept = old
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .find(|entry| same && is_entry(entry, writer, "Apply"));
    entries.insert(
        0,
        kept.cloned()
            .unwrap_or_else(|| new_entry(writer, "Apply", &wanted)),
    );
    put(&mut result, entries);
    Ok(result)
}

/// The fields others own and `wanted` changes, as conflicts; with `force` they lose them.
fn disputes(
    entries: &mut [Value],
    writer: Writer<'_>,
    (wanted, current): (&BTreeMap<Path, Value>, &BTreeMap<Path, Value>),
    force: bool,
) -> Vec<(String, String, String)> {
    let mut conflicts = Vec::new();
    for entry in entries {
        if is_entry(entry, writer, "Apply") {
            continue;
        }
        let mut owned = set_of(entry);
        let disputed: Vec<Path> = owned
            .iter()
            .filter(|path| path.last().is_none_or(|last| last != "."))
            .filter(|path| {
                wanted
                    .get(*path)
                    .is_some_and(|value| current.get(*path) != Some(value))
            })
            .cloned()
            .collect();
        for path in disputed {
            conflicts.push((
                text(entry, "manager"),
                text(entry, "apiVersion"),
                readable(&path),
            ));
            owned.remove(&path);
        }
        if force {
            set_fields(entry, &owned);
        }
    }
    conflicts
}

/// All owned fields of an object with their values. Maps and keyed items count as `.` themselves.
fn leaves(message: Option<&'static Message>, value: &Value) -> BTreeMap<Path, Value> {
    let mut out = BTreeMap::new();
    let Value::Object(entries) = value else {
        return out;
    };
    for (key, value) in entries {
        let field = message.and_then(|message| message.field(key));
        match key.as_str() {
            "kind" | "apiVersion" | "status" => {}
            "metadata" => {
                let meta = types::message("ObjectMeta");
                for (key, value) in value.as_object().into_iter().flatten() {
                    if ["labels", "annotations", "finalizers", "ownerReferences"]
                        .contains(&key.as_str())
                    {
                        let field = meta.and_then(|meta| meta.field(key));
                        walk(
                            field,
                            value,
                            vec!["f:metadata".to_owned(), format!("f:{key}")],
                            &mut out,
                        );
                    }
                }
            }
            _ => walk(field, value, vec![format!("f:{key}")], &mut out),
        }
    }
    out
}

fn walk(field: Option<&'static Field>, value: &Value, path: Path, out: &mut BTreeMap<Path, Value>) {
    let shape = field.map(|field| field.shape);
    let keys = field.and_then(|field| field.merge_keys.as_ref());
    match (shape, value, keys) {
        (Some(Shape::List), Value::Array(items), Some(keys)) => {
            for item in items {
                let token = if keys.is_empty() {
                    format!("v:{item}")
                } else {
                    key_token(item, keys)
                };
                let place = child(&path, token);
                if keys.is_empty() {
                    out.insert(place, item.clone());
                } else {
                    out.insert(child(&place, ".".to_owned()), Value::Null);
                    object(field.and_then(Field::message), item, &place, out);
                }
            }
        }
        (Some(Shape::Map) | None, Value::Object(entries), _) if !entries.is_empty() => {
            out.insert(child(&path, ".".to_owned()), Value::Null);
            object(None, value, &path, out);
        }
        (Some(Shape::One), Value::Object(entries), _)
            if !entries.is_empty() && field.and_then(Field::message).is_some() =>
        {
            object(field.and_then(Field::message), value, &path, out);
        }
        _ => {
            out.insert(path, value.clone());
        }
    }
}

fn object(
    message: Option<&'static Message>,
    value: &Value,
    path: &Path,
    out: &mut BTreeMap<Path, Value>,
) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let field = message.and_then(|message| message.field(key));
        walk(field, value, child(path, format!("f:{key}")), out);
    }
}

fn child(path: &Path, token: String) -> Path {
    let mut path = path.clone();
    path.push(token);
    path
}

fn key_token(item: &Value, keys: &[&'static str]) -> String {
    let mut sorted: Vec<_> = keys.to_vec();
    sorted.sort_unstable();
    let entries: Map<String, Value> = sorted
        .into_iter()
        .filter_map(|key| item.get(key).map(|value| (key.to_owned(), value.clone())))
        .collect();
    format!("k:{}", Value::Object(entries))
}

fn set_of(entry: &Value) -> BTreeSet<Path> {
    fn collect(tree: &Value, path: &mut Path, out: &mut BTreeSet<Path>) {
        match tree.as_object() {
            Some(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    path.push(key.clone());
                    collect(value, path, out);
                    path.pop();
                }
            }
            _ if path.is_empty() => {}
            _ => {
                out.insert(path.clone());
            }
        }
    }
    let mut out = BTreeSet::new();
    if let Some(tree) = entry.get("fieldsV1") {
        collect(tree, &mut Vec::new(), &mut out);
    }
    out
}

fn tree_of(set: &BTreeSet<Path>) -> Value {
    let mut tree = json!({});
    for path in set {
        let mut place = &mut tree;
        for token in path {
            if !place.is_object() {
                *place = json!({});
            }
            let Value::Object(entries) = place else { break };
            place = entries.entry(token.clone()).or_insert_with(|| json!({}));
        }
    }
    tree
}

/// Takes the field at a path out of an object.
fn remove(value: &mut Value, path: &[String]) {
    let Some((token, rest)) = path.split_first() else {
        return;
    };
    if let Some(key) = token.strip_prefix("f:") {
        let Value::Object(entries) = value else {
            return;
        };
        let last = rest.is_empty()
            || matches!(rest, [dot] if dot == "." && entries.get(key).and_then(Value::as_object).is_some_and(Map::is_empty));
        if last {
            entries.shift_remove(key);
        } else if let Some(inner) = entries.get_mut(key) {
            remove(inner, rest);
        }
    } else if let (Some(wanted), Value::Array(items)) = (token.strip_prefix("k:"), &mut *value) {
        let Ok(wanted) = serde_json::from_str::<Map<String, Value>>(wanted) else {
            return;
        };
        let matches = |item: &Value| {
            wanted
                .iter()
                .all(|(key, value)| item.get(key) == Some(value))
        };
        if matches!(rest, [dot] if dot == ".") {
            items.retain(|item| !matches(item));
        } else if let Some(item) = items.iter_mut().find(|item| matches(item)) {
            remove(item, rest);
        }
    } else if let (Some(gone), Value::Array(items)) = (token.strip_prefix("v:"), value) {
        items.retain(|item| serde_json::to_string(item).ok().as_deref() != Some(gone));
    }
}

/// `.data.password`, `.spec.template.spec.containers[name="a"].image`.
fn readable(path: &Path) -> String {
    path.iter()
        .map(
            |token| match (token.strip_prefix("f:"), token.strip_prefix("k:")) {
                (Some(key), _) => format!(".{key}"),
                (None, Some(key)) => {
                    let pairs: Map<String, Value> = serde_json::from_str(key).unwrap_or_default();
                    let pairs: Vec<String> = pairs
                        .iter()
                        .map(|(key, value)| format!("{key}={value}"))
                        .collect();
                    format!("[{}]", pairs.join(","))
                }
                _ => format!("[{token}]"),
            },
        )
        .collect()
}

fn entries(object: &Value) -> Vec<Value> {
    let managed = object
        .get("metadata")
        .and_then(|metadata| metadata.get("managedFields"));
    managed
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

fn put(object: &mut Value, entries: Vec<Value>) {
    if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
        metadata.insert("managedFields".to_owned(), Value::Array(entries));
    }
}

fn text(entry: &Value, key: &str) -> String {
    entry
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn is_entry(entry: &Value, writer: Writer<'_>, operation: &str) -> bool {
    text(entry, "manager") == writer.manager
        && text(entry, "operation") == operation
        && text(entry, "subresource") == writer.subresource
}

fn stamp(entry: &mut Value, writer: Writer<'_>, changed: bool) {
    if let (true, Value::Object(entries)) = (changed, entry) {
        entries.insert("time".to_owned(), json!(writer.time));
    }
}

fn set_fields(entry: &mut Value, set: &BTreeSet<Path>) {
    if let Value::Object(entries) = entry {
        entries.insert("fieldsV1".to_owned(), tree_of(set));
    }
}

fn new_entry(writer: Writer<'_>, operation: &str, set: &BTreeSet<Path>) -> Value {
    let mut entry = json!({
        "manager": writer.manager,
        "operation": operation,
        "apiVersion": writer.api_version,
        "time": writer.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": tree_of(set),
    });
    if let (false, Value::Object(entries)) = (writer.subresource.is_empty(), &mut entry) {
        entries.insert("subresource".to_owned(), json!(writer.subresource));
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(manager: &str) -> Writer<'_> {
        Writer {
            manager,
            api_version: "v1",
            subresource: "",
            time: "2026-11-20T17:00:00Z",
        }
    }

    #[test]
    fn a_secret_is_owned_as_in_the_captures() {
        let mut new = json!({"metadata": {"name": "s", "labels": {"a": "b"}}, "data": {"password": "eA=="}, "type": "Opaque"});
        record(types::message("Secret"), None, &mut new, writer("side"));
        assert_eq!(
            new["metadata"]["managedFields"][0]["fieldsV1"],
            json!({"f:data": {".": {}, "f:password": {}}, "f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:type": {}})
        );
    }

    #[test]
    fn apply_removes_what_it_no_longer_names_and_conflicts_with_others() {
        let message = types::message("ConfigMap");
        let live = json!({"metadata": {"name": "c"}});
        let one = apply(
            message,
            &live,
            &json!({"data": {"a": "1", "b": "2"}}),
            writer("ana"),
            false,
        )
        .expect("applies");
        let two = apply(
            message,
            &one,
            &json!({"data": {"a": "1"}}),
            writer("ana"),
            false,
        )
        .expect("applies");
        assert_eq!(two["data"], json!({"a": "1"}));
        let refused = apply(
            message,
            &two,
            &json!({"data": {"a": "9"}}),
            writer("bob"),
            false,
        )
        .expect_err("refused");
        assert_eq!(
            refused,
            Conflicts(vec![(
                "ana".to_owned(),
                "v1".to_owned(),
                ".data.a".to_owned()
            )])
        );
        let forced = apply(
            message,
            &two,
            &json!({"data": {"a": "9"}}),
            writer("bob"),
            true,
        )
        .expect("applies");
        assert_eq!(forced["data"], json!({"a": "9"}));
    }
}
