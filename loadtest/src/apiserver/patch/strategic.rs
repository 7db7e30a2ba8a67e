//! Strategic merge patch, and the merging half of server-side apply.

use serde_json::{Map, Value};

use crate::apiserver::types::{Field, Message, Shape};

/// How list items are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keys {
    /// By all keys of the list: server-side apply.
    All,
    /// By the first: strategic merge patch.
    First,
}

/// Merges `patch` into `target`. Without a struct, objects merge and lists replace.
pub(crate) fn merge(
    message: Option<&'static Message>,
    target: &mut Value,
    patch: &Value,
    keys: Keys,
) -> Result<(), String> {
    let (Value::Object(object), Value::Object(entries)) = (&mut *target, patch) else {
        if let Some(message) = message {
            // A struct cannot be replaced by something else.
            if !patch.is_object() {
                return Err(format!("unrecognized type: {}", message.name));
            }
        }
        let mut fresh = Value::Object(Map::new());
        if patch.is_object() {
            merge(message, &mut fresh, patch, keys)?;
            *target = fresh;
        } else {
            *target = patch.clone();
        }
        return Ok(());
    };
    match entries.get("$patch").and_then(Value::as_str) {
        Some("replace") => {
            object.clone_from(entries);
            object.shift_remove("$patch");
            return Ok(());
        }
        Some("delete") => {
            object.clear();
            return Ok(());
        }
        _ => {}
    }
    if let Some(Value::Array(retained)) = entries.get("$retainKeys") {
        object.retain(|key, _| retained.iter().any(|kept| kept == key));
    }
    for (key, value) in entries.iter().filter(|(key, _)| !key.starts_with('$')) {
        let field = message.and_then(|message| message.field(key));
        if value.is_null() {
            object.shift_remove(key);
            continue;
        }
        let place = object.entry(key.clone()).or_insert(Value::Null);
        merge_field(field, place, value, keys)?;
    }
    directives(message, object, entries);
    Ok(())
}

fn merge_field(
    field: Option<&'static Field>,
    place: &mut Value,
    value: &Value,
    keys: Keys,
) -> Result<(), String> {
    let shape = field.map(|field| field.shape);
    let merge_keys = field.and_then(|field| field.merge_keys.as_ref());
    match (shape, value, merge_keys) {
        (Some(Shape::List), Value::Array(items), Some(list_keys)) => {
            let mut current = place.as_array().cloned().unwrap_or_default();
            if list_keys.is_empty() {
                for item in items {
                    if !current.contains(item) {
                        current.push(item.clone());
                    }
                }
            } else {
                let list_keys = match keys {
                    Keys::All => list_keys.as_slice(),
                    Keys::First => list_keys.get(..1).unwrap_or_default(),
                };
                merge_list(field, &mut current, items, list_keys, keys)?;
            }
            *place = Value::Array(current);
            Ok(())
        }
        (Some(Shape::Map), Value::Object(entries), _) => {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            for (key, value) in entries {
                if value.is_object() && field.and_then(Field::message).is_none() {
                    return Err("unrecognized type: string".to_owned());
                }
                merge(
                    None,
                    place,
                    &Value::Object(Map::from_iter([(key.clone(), value.clone())])),
                    keys,
                )?;
            }
            Ok(())
        }
        (Some(Shape::One), Value::Object(_), _) => {
            merge(field.and_then(Field::message), place, value, keys)
        }
        (None, Value::Object(_), _) => merge(None, place, value, keys),
        _ => {
            *place = value.clone();
            Ok(())
        }
    }
}

fn merge_list(
    field: Option<&'static Field>,
    current: &mut Vec<Value>,
    items: &[Value],
    list_keys: &[&'static str],
    keys: Keys,
) -> Result<(), String> {
    let directive = |item: &Value| {
        item.get("$patch")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    if items
        .iter()
        .any(|item| directive(item).as_deref() == Some("replace"))
    {
        *current = items
            .iter()
            .filter(|item| directive(item).is_none())
            .cloned()
            .collect();
        return Ok(());
    }
    for item in items {
        let position = current
            .iter()
            .position(|known| same_item(known, item, list_keys));
        match (directive(item).as_deref(), position) {
            (Some("delete"), Some(position)) => {
                current.remove(position);
            }
            (Some("delete"), None) => {}
            (_, Some(position)) => {
                if let Some(known) = current.get_mut(position) {
                    merge(field.and_then(Field::message), known, item, keys)?;
                }
            }
            (_, None) => {
                let mut fresh = Value::Object(Map::new());
                merge(field.and_then(Field::message), &mut fresh, item, keys)?;
                current.push(fresh);
            }
        }
    }
    Ok(())
}

/// Equal in all keys; a missing `protocol` means TCP.
fn same_item(left: &Value, right: &Value, keys: &[&'static str]) -> bool {
    keys.iter().all(|key| {
        let part = |item: &Value| match item.get(key) {
            None if *key == "protocol" => Value::String("TCP".to_owned()),
            other => other.cloned().unwrap_or(Value::Null),
        };
        part(left) == part(right)
    })
}

/// `$deleteFromPrimitiveList/x` and `$setElementOrder/x`.
fn directives(
    message: Option<&'static Message>,
    object: &mut Map<String, Value>,
    entries: &Map<String, Value>,
) {
    for (key, value) in entries {
        let Value::Array(listed) = value else {
            continue;
        };
        if let Some(key) = key.strip_prefix("$deleteFromPrimitiveList/") {
            if let Some(Value::Array(items)) = object.get_mut(key) {
                items.retain(|item| !listed.contains(item));
            }
        } else if let Some(key) = key.strip_prefix("$setElementOrder/") {
            let field = message.and_then(|message| message.field(key));
            let merge_key = field
                .and_then(|field| field.merge_keys.as_ref())
                .and_then(|keys| keys.first().copied());
            if let Some(Value::Array(items)) = object.get_mut(key) {
                let rank = |item: &Value| {
                    let wanted = |one: &Value| match merge_key {
                        Some(key) => one.get(key) == item.get(key),
                        None => one == item,
                    };
                    listed.iter().position(wanted).unwrap_or(listed.len())
                };
                items.sort_by_key(rank);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::apiserver::types::message;

    fn patched(kind: &str, mut target: Value, patch: &Value) -> Value {
        merge(message(kind), &mut target, patch, Keys::First).expect("applies");
        target
    }

    #[test]
    fn containers_merge_by_name_and_env_by_name() {
        let target = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "a", "image": "one", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b", "image": "two"},
        ]}}}});
        let patch = json!({"spec": {"template": {"spec": {
            "$setElementOrder/containers": [{"name": "b"}, {"name": "a"}],
            "containers": [{"name": "a", "image": "three", "env": [{"name": "X", "$patch": "delete"}]}],
        }}}});
        assert_eq!(
            patched("Deployment", target, &patch),
            json!({"spec": {"template": {"spec": {"containers": [
                {"name": "b", "image": "two"},
                {"name": "a", "image": "three", "env": [{"name": "Y", "value": "2"}]},
            ]}}}})
        );
    }

    #[test]
    fn maps_drop_nulls_sets_unite_and_other_lists_replace() {
        let target = json!({"metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x"]}, "spec": {"podCIDR": "p", "taints": [{"key": "a"}]}});
        let patch = json!({"metadata": {"labels": {"a": null, "c": "3"}, "finalizers": ["y"]}, "spec": {"taints": [{"key": "b"}]}});
        assert_eq!(
            patched("Node", target, &patch),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}, "finalizers": ["x", "y"]}, "spec": {"podCIDR": "p", "taints": [{"key": "b"}]}})
        );
    }

    // Capture err-422-patch-echo: only the patch is quoted, with these words.
    #[test]
    fn an_annotation_given_an_object_is_refused() {
        let mut target = json!({"metadata": {"name": "s"}});
        let refused = merge(
            message("Secret"),
            &mut target,
            &json!({"metadata": {"annotations": {"a": {"b": "c"}}}}),
            Keys::First,
        );
        assert_eq!(refused.expect_err("refused"), "unrecognized type: string");
    }
}
