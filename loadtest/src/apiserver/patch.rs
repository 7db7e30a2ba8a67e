//! The four kinds of PATCH, as functions on JSON values.

pub(crate) mod fields;
pub(crate) mod json_patch;
pub(crate) mod strategic;

use serde_json::{Map, Value};

/// RFC 7386: `null` deletes, objects merge, everything else replaces.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(entries) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(object) = target else {
        return;
    };
    for (key, value) in entries {
        if value.is_null() {
            object.shift_remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A value as Go's `%v` prints a decoded map: what a refused strategic merge patch is quoted as.
pub(crate) fn go_map(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let mut pairs: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{key}:{}", go_map(value)))
                .collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_map).collect();
            format!("[{}]", items.join(" "))
        }
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn merge_patch_deletes_merges_and_replaces() {
        let mut target = json!({"a": {"b": 1, "c": 2}, "l": [1, 2]});
        merge(
            &mut target,
            &json!({"a": {"b": null, "d": {"e": null, "f": 1}}, "l": [3]}),
        );
        assert_eq!(target, json!({"a": {"c": 2, "d": {"f": 1}}, "l": [3]}));
    }

    #[test]
    fn maps_print_as_in_go() {
        let patch = json!({"metadata": {"annotations": {"a": {"b": "c"}}}});
        assert_eq!(
            go_map(&patch),
            "map[metadata:map[annotations:map[a:map[b:c]]]]"
        );
    }
}
