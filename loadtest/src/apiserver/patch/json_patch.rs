//! RFC 6902.

use serde_json::Value;

/// Applies all operations or none. The error is the server's text for a failed operation.
pub(crate) fn apply(target: &mut Value, operations: &Value) -> Result<(), String> {
    let operations = operations
        .as_array()
        .ok_or("a JSON patch is a list of operations")?;
    let mut result = target.clone();
    for operation in operations {
        one(&mut result, operation)?;
    }
    *target = result;
    Ok(())
}

fn one(target: &mut Value, operation: &Value) -> Result<(), String> {
    let text = |key: &str| operation.get(key).and_then(Value::as_str);
    let path = text("path").ok_or("operation missing path field")?;
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match text("op").unwrap_or_default() {
        "add" => add(target, path, value()),
        "remove" => remove(target, path).map(drop),
        "replace" => {
            let place = target.pointer_mut(path).ok_or_else(|| {
                format!(
                    "replace operation does not apply: doc is missing key: {path}: missing value"
                )
            })?;
            *place = value();
            Ok(())
        }
        "test" if target.pointer(path).unwrap_or(&Value::Null) == &value() => Ok(()),
        "test" => Err(format!("testing value {path} failed: test failed")),
        "copy" => {
            let from = text("from").ok_or("operation missing from field")?;
            let copied = target.pointer(from).cloned().ok_or_else(|| {
                format!(
                    "copy operation does not apply: doc is missing from path: {from}: missing value"
                )
            })?;
            add(target, path, copied)
        }
        "move" => {
            let from = text("from").ok_or("operation missing from field")?;
            let moved = remove(target, from)?;
            add(target, path, moved)
        }
        other => Err(format!("Unexpected kind: {other}")),
    }
}

/// The parent's pointer and the last token, unescaped.
fn split(path: &str) -> Option<(&str, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn missing(operation: &str, path: &str) -> String {
    format!("{operation} operation does not apply: doc is missing path: \"{path}\": missing value")
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let Some((parent, last)) = split(path) else {
        *target = value;
        return Ok(());
    };
    match target.pointer_mut(parent) {
        Some(Value::Object(entries)) => {
            entries.insert(last, value);
        }
        Some(Value::Array(items)) => {
            let index = if last == "-" {
                Some(items.len())
            } else {
                last.parse().ok()
            };
            let index = index
                .filter(|index| *index <= items.len())
                .ok_or_else(|| missing("add", path))?;
            items.insert(index, value);
        }
        _ => return Err(missing("add", path)),
    }
    Ok(())
}

fn remove(target: &mut Value, path: &str) -> Result<Value, String> {
    let gone = || missing("remove", path);
    let (parent, last) = split(path).ok_or_else(gone)?;
    match target.pointer_mut(parent) {
        Some(Value::Object(entries)) => entries.shift_remove(&last).ok_or_else(gone),
        Some(Value::Array(items)) => {
            let index: usize = last.parse().map_err(|_| gone())?;
            if index < items.len() {
                Ok(items.remove(index))
            } else {
                Err(gone())
            }
        }
        _ => Err(gone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_apply_in_order_and_a_failed_one_changes_nothing() {
        let mut target = json!({"a": {"x/y": 1}, "l": [1, 2]});
        apply(
            &mut target,
            &json!([
                {"op": "test", "path": "/a/x~1y", "value": 1},
                {"op": "copy", "from": "/a/x~1y", "path": "/b"},
                {"op": "move", "from": "/l/0", "path": "/l/-"},
                {"op": "replace", "path": "/a/x~1y", "value": 2},
                {"op": "remove", "path": "/l/0"},
            ]),
        )
        .expect("applies");
        assert_eq!(target, json!({"a": {"x/y": 2}, "l": [1], "b": 1}));
        let before = target.clone();
        let failed = apply(
            &mut target,
            &json!([{"op": "remove", "path": "/b"}, {"op": "test", "path": "/l", "value": 0}]),
        );
        assert!(failed.is_err());
        assert_eq!(target, before);
    }
}
