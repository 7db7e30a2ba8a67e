//! What a caller saw, in a form that people read: tables as tables, objects indented, streams an event a line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The lines of an answer of this type.
pub(super) fn lines(bytes: &[u8], form: &str) -> Vec<String> {
    if form.contains("protobuf") {
        return vec![format!("({} bytes of {form})", bytes.len())];
    }
    let text = String::from_utf8_lossy(bytes);
    if let Some(only) = event(&text) {
        return only;
    }
    if let Ok(document) = serde_json::from_str::<Value>(&text) {
        return table(&document).unwrap_or_else(|| indented(&document));
    }
    text.lines()
        .flat_map(|line| event(line).unwrap_or_else(|| wrapped(line)))
        .collect()
}

/// The answer as a value of JSON: what it says, its text, or its bytes in base64.
pub(super) fn as_json(bytes: &[u8]) -> Value {
    if let Ok(document) = serde_json::from_slice(bytes) {
        return document;
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => serde_json::json!({"base64": STANDARD.encode(bytes)}),
    }
}

fn indented(document: &Value) -> Vec<String> {
    let text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// An event of a watch: what happened to what.
fn event(line: &str) -> Option<Vec<String>> {
    let event: Value = serde_json::from_str(line).ok()?;
    let kind = event.get("type")?.as_str()?;
    let object = event.get("object")?;
    if let Some(rows) = table(object) {
        return Some(rows.iter().map(|row| format!("{kind:<9} {row}")).collect());
    }
    let word = |path: &str| object.pointer(path).and_then(Value::as_str);
    let mut said = format!("{kind:<9} {}", word("/kind").unwrap_or("object"));
    if let Some(namespace) = word("/metadata/namespace") {
        said = format!("{said} {namespace}/");
    } else {
        said.push(' ');
    }
    said.push_str(
        word("/metadata/name")
            .or_else(|| word("/message"))
            .unwrap_or(""),
    );
    Some(vec![said])
}

/// A `Table` of `meta.k8s.io` as kubectl prints it: the columns of priority 0.
fn table(document: &Value) -> Option<Vec<String>> {
    if document.get("kind")?.as_str()? != "Table" {
        return None;
    }
    let columns: Vec<(usize, &str)> = document
        .get("columnDefinitions")?
        .as_array()?
        .iter()
        .enumerate()
        .filter(|(_, column)| column.get("priority").and_then(Value::as_u64).unwrap_or(0) == 0)
        .filter_map(|(at, column)| Some((at, column.get("name")?.as_str()?)))
        .collect();
    let mut rows = vec![
        columns
            .iter()
            .map(|(_, name)| name.to_uppercase())
            .collect::<Vec<_>>(),
    ];
    for row in document.get("rows")?.as_array()? {
        let cells = row.get("cells")?.as_array()?;
        let cell = |at: &usize| match cells.get(*at) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        rows.push(columns.iter().map(|(at, _)| cell(at)).collect());
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("   ")
    };
    Some(rows.iter().map(line).collect())
}

/// What has no line breaks of its own, such as a document that was cut.
fn wrapped(line: &str) -> Vec<String> {
    const WIDTH: usize = 160;
    let expanded = line.replace('\t', "    ");
    let characters: Vec<char> = expanded.chars().collect();
    if characters.is_empty() {
        return vec![String::new()];
    }
    let pieces = characters.chunks(WIDTH);
    pieces.map(|piece| piece.iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_table_is_a_table() {
        let column = |name: &str, priority: u8| json!({"name": name, "priority": priority});
        let answer = json!({
            "kind": "Table",
            "columnDefinitions": [column("Name", 0), column("Restarts", 0), column("Node", 1)],
            "rows": [{"cells": ["web-0", 12, "a"]}, {"cells": ["database", 0, "b"]}],
        });
        let shown = lines(answer.to_string().as_bytes(), "application/json;as=Table");
        assert_eq!(
            shown,
            [
                "NAME       RESTARTS",
                "web-0      12      ",
                "database   0       "
            ]
        );
    }

    #[test]
    fn a_watch_is_a_line_for_each_event_and_an_object_is_indented() {
        let pod = json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": "web-0"}});
        let event = json!({"type": "ADDED", "object": pod});
        let status = json!({"type": "ERROR", "object": {"kind": "Status", "message": "too old"}});
        let stream = format!("{event}\n{status}\n");
        assert_eq!(
            lines(stream.as_bytes(), "application/json;stream=watch"),
            ["ADDED     Pod shop/web-0", "ERROR     Status too old"]
        );
        let shown = lines(pod.to_string().as_bytes(), "application/json");
        assert_eq!(shown.first().map(String::as_str), Some("{"));
        assert!(shown.len() > 4, "{shown:?}");
    }

    #[test]
    fn whatever_else_it_is_it_becomes_lines() {
        assert_eq!(lines(b"one\ntw\to\n", "text/plain"), ["one", "tw    o"]);
        let cut = format!("{{\"a\": \"{}", "b".repeat(400));
        assert_eq!(lines(cut.as_bytes(), "application/json").len(), 3);
        assert_eq!(
            lines(b"k8s\0\xff", "application/vnd.kubernetes.protobuf").len(),
            1
        );
        assert_eq!(as_json(b"\xff"), json!({"base64": "/w=="}));
        assert_eq!(as_json(b"{\"a\":1}"), json!({"a": 1}));
    }
}
