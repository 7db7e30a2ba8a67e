//! Two states of an object as a unified diff of YAML, bounded.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;
use similar::{Algorithm, TextDiff};

use crate::limits;

/// Fields that every write changes, and that say nothing of what it does.
const NOISE: [&str; 6] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// Unchanged lines around a change.
const AROUND: usize = 3;
/// After that the rest is one change; two texts without a line in common would take long.
const PATIENCE: Duration = Duration::from_millis(200);

/// The object without what every write changes.
pub(super) fn without_noise(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|key, _| !NOISE.contains(&key.as_str()));
    }
    object
}

/// The diff; empty when nothing changes. What does not fit is said.
pub(super) fn between(before: Option<&Value>, after: &Value) -> String {
    let yaml = |object: &Value| serde_saphyr::to_string(object).unwrap_or_default();
    let (old, new) = (before.map(yaml).unwrap_or_default(), yaml(after));
    if old == new {
        return String::new();
    }
    if old.len().max(new.len()) > limits::APPROVAL_COMPARED_BYTES_MAX {
        return format!(
            "… IT CHANGES MORE THAN CAN BE SHOWN: {} BYTES BECOME {} …\n",
            old.len(),
            new.len()
        );
    }
    let diff = TextDiff::configure()
        .algorithm(Algorithm::Patience)
        .timeout(PATIENCE)
        .diff_lines(&old, &new);
    let shown = diff
        .unified_diff()
        .context_radius(AROUND)
        .missing_newline_hint(false)
        .to_string();
    cut(&shown)
}

/// Whole lines as far as they fit. Long ones lose their end, and no change is lost without a word.
fn cut(diff: &str) -> String {
    let mut kept = String::new();
    let mut lines = diff.lines();
    for line in lines.by_ref() {
        let (shown, rest) = line.split_at(line.floor_char_boundary(LINE_BYTES_MAX));
        if kept.len() + shown.len() > limits::APPROVAL_DIFF_BYTES_MAX {
            let left = lines.count() + 1;
            return format!("{kept}… {left} MORE LINES ARE NOT SHOWN …\n");
        }
        kept.push_str(shown);
        if !rest.is_empty() {
            // Writing to a String cannot fail.
            let _infallible = write!(kept, "… {} MORE BYTES", rest.len());
        }
        kept.push('\n');
    }
    kept
}

/// What still fits on a screen; a certificate has some hundred lines of 64.
const LINE_BYTES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changes_is_shown_with_a_little_around() {
        let object = |image: &str, version: &str| {
            without_noise(json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "web", "resourceVersion": version, "uid": version, "managedFields": [version],
                    "generation": 3, "creationTimestamp": version},
                "spec": {"containers": [{"image": image, "name": "app"}], "nodeName": "n"},
            }))
        };
        assert_eq!(between(Some(&object("a", "1")), &object("a", "2")), "");
        assert_eq!(
            between(Some(&object("a", "1")), &object("b", "2")),
            "@@ -4,6 +4,6 @@\n   name: web\n spec:\n   containers:\n-  - image: a\n+  - image: b\n     name: app\n   nodeName: \"n\"\n"
        );
        let created = between(None, &object("b", "1"));
        assert!(
            created.lines().skip(1).all(|line| line.starts_with('+')),
            "{created}"
        );
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let lines: Vec<String> = (0..5000).map(|number| format!("line {number}")).collect();
        let diff = between(None, &json!({ "data": lines }));
        assert!(diff.len() < limits::APPROVAL_DIFF_BYTES_MAX + 100);
        assert!(diff.ends_with("MORE LINES ARE NOT SHOWN …\n"));
        let long = between(None, &json!({"a": "x".repeat(2000)}));
        assert!(long.contains("MORE BYTES") && long.len() < 700, "{long}");
        let huge = "x".repeat(limits::APPROVAL_COMPARED_BYTES_MAX);
        assert!(between(None, &json!({"a": huge})).contains("MORE THAN CAN BE SHOWN"));
    }

    #[test]
    fn no_text_of_an_object_looks_like_another_line_of_it() {
        let forged = "x\nspec:\n  privileged: false\n+ok";
        let diff = between(
            None,
            &json!({"a": {"b": forged}, "spec": {"privileged": true}}),
        );
        assert!(
            !diff
                .lines()
                .any(|line| line == "+spec:\n" || line == "+  privileged: false")
        );
        assert!(
            diff.lines().any(|line| line == "+  privileged: true"),
            "{diff}"
        );
    }

    proptest! {
        #[test]
        fn any_two_objects_can_be_compared(one in ".{0,60}", other in ".{0,60}") {
            let (one, other) = (json!({"a": [one]}), json!({"a": [other]}));
            let diff = between(Some(&one), &other);
            prop_assert_eq!(diff.is_empty(), one == other);
        }
    }
}
