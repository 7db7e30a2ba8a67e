//! What a held write would change: the API server's own dry run of it, beside the object that is there.
//!
//! Both are asked for as the caller when the question is asked, so it costs the request no more than a dry run does,
//! and an approver learns nothing that the caller may not. What they see of it is masked by every mask that there is.
//! A dry run goes through admission like the request itself; the API server refuses it where a webhook could not
//! be called without side effects.

mod diff;

use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use super::decide::Looking;
use super::shown::Display;
use crate::approval::Found;
use crate::gateway::Gateway;
use crate::gateway::write::payload::Payload;
use crate::request::RequestInfo;
use crate::transform::body::inspect::{Answered, Inspected};

impl Gateway {
    /// What can be told of it, in time.
    pub(super) async fn preview(&self, looking: Looking<'_>, payload: &mut Payload) -> Found {
        let display = self.display(looking.act);
        let looked = tokio::time::timeout(PATIENCE, self.sides(looking, payload, &display)).await;
        let sides = looked.unwrap_or_else(|_| Err("the API server took too long".to_owned()));
        let (before, after) = match sides {
            Ok(sides) => sides,
            Err(why) => return Found::line(format!("what it would change cannot be shown: {why}")),
        };
        let comparing = tokio::task::spawn_blocking(move || {
            let shown = |object: Value| display.object(&diff::without_noise(object));
            let after = shown(after).ok_or("the object cannot be masked")?;
            match before.map(shown) {
                None => Ok(diff::between(None, &after)),
                Some(Some(before)) => Ok(diff::between(Some(&before), &after)),
                Some(None) => Err("the object cannot be masked"),
            }
            .map(|diff| display.text(&diff))
        });
        match comparing.await {
            Ok(Ok(diff)) if diff.is_empty() => Found::line(
                "changes nothing that approvers may see, as far as a dry run tells".to_owned(),
            ),
            Ok(Ok(diff)) => Found {
                context: vec!["what it changes is shown as it was when it was asked".to_owned()],
                diff,
            },
            Ok(Err(why)) => Found::line(format!("what it would change cannot be shown: {why}")),
            Err(_) => Found::line("what it would change could not be compared".to_owned()),
        }
    }

    /// The object before, where there is one, and after.
    async fn sides(
        &self,
        looking: Looking<'_>,
        payload: &mut Payload,
        display: &Display,
    ) -> Result<(Option<Value>, Value), String> {
        let info = looking.act.info;
        if info.dry_run_target().is_none() {
            return Err("the API server knows no dry run of it".to_owned());
        }
        let refused = |answered: &Answered| {
            format!(
                "the API server would refuse it ({} {}{})",
                answered.code,
                display.text(&answered.reason),
                words(answered, info, display)
            )
        };
        let bytes = self
            .body(looking, payload)
            .await
            .map_err(|refusal| refusal.message().to_owned())?;
        let after = match self.rehearse(looking, bytes).await {
            Ok(Inspected::Object(after)) => after,
            Ok(Inspected::Refused(answered)) => return Err(refused(&answered)),
            Err(refusal) => return Err(display.text(refusal.message())),
        };
        if info.verb == "create" && info.subresource.is_empty() {
            return Ok((None, after));
        }
        let before = self.old_object(looking).await;
        let before = before.map_err(|refusal| {
            let why = display.text(refusal.message());
            format!("the object as it is cannot be read: {why}")
        })?;
        Ok((before, after))
    }
}

/// Nobody waits long for it, and admission webhooks have ten seconds by default.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the API server says, without the values that it quotes. Of a Secret anything could be one.
fn words(answered: &Answered, info: &RequestInfo, display: &Display) -> String {
    if info.resource == "secrets" || answered.message.is_empty() {
        return String::new();
    }
    let text = without_values(&answered.message);
    format!(": {}", display.text(&text))
}

/// `Invalid value: "…"` and its like, up to the colon behind the value (`field.Error` in k8s.io/apimachinery).
fn without_values(message: &str) -> String {
    static VALUE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r#"(?s)( value: )("(?:[^"\\]|\\.)*"?|.*?(: |$))"#).ok());
    VALUE.as_ref().map_or_else(String::new, |value| {
        value
            .replace_all(message, "${1}(withheld)${3}")
            .into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_values_are_left_out() {
        for (said, shown) in [
            ("pods \"web\" is forbidden", "pods \"web\" is forbidden"),
            (
                r#"Pod "a" is invalid: spec.x: Invalid value: "hunter\"2": must be y"#,
                r#"Pod "a" is invalid: spec.x: Invalid value: (withheld): must be y"#,
            ),
            (
                r#"a: Invalid value: {"p":"hunter2"}: no; b: Unsupported value: "x": supported values: "y""#,
                r#"a: Invalid value: (withheld): no; b: Unsupported value: (withheld): supported values: "y""#,
            ),
            (
                r#"a: Duplicate value: "hunter2"#,
                "a: Duplicate value: (withheld)",
            ),
        ] {
            assert_eq!(without_values(said), shown);
        }
    }
}
