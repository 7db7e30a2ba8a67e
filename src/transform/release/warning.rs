//! The header `Warning`: ours says which masks are on the answer, and the API server's pass if they quote no value.

use http::{HeaderMap, HeaderValue, header};

use super::status::is_field;
use crate::policy::Permit;

/// What stands in the place of a warning that may quote values, as those of admission policies may.
const WITHHELD: &str = "299 - \"a warning of the API server is withheld, as it may quote values that are masked by policy\"";

/// Warnings of the API server itself about fields of the request (`k8s.io/apiserver/pkg/endpoints/handlers`).
const ABOUT_FIELDS: [&str; 2] = ["unknown field ", "duplicate field "];

/// How its warnings about deprecated kinds go on behind their name
/// (`k8s.io/apiserver/pkg/endpoints/deprecation`).
const DEPRECATED: &str = " is deprecated in v";

/// Withholds all warnings but those of known forms: in others an admission policy may have quoted what is masked (threats C-27).
pub(super) fn withhold(headers: &mut HeaderMap) {
    let warnings: Vec<HeaderValue> = headers
        .get_all(header::WARNING)
        .into_iter()
        .cloned()
        .collect();
    headers.remove(header::WARNING);
    for warning in warnings {
        let said = if warning.to_str().is_ok_and(quotes_nothing) {
            warning
        } else {
            HeaderValue::from_static(WITHHELD)
        };
        headers.append(header::WARNING, said);
    }
}

/// `299 - "unknown field \"spec.x\""`, `299 - "v1 ComponentStatus is deprecated in v1.19+"`
fn quotes_nothing(warning: &str) -> bool {
    let text = warning
        .strip_prefix("299 - \"")
        .and_then(|rest| rest.strip_suffix('"'));
    let Some(text) = text else {
        return false;
    };
    let field = ABOUT_FIELDS.iter().find_map(|form| text.strip_prefix(form));
    if let Some(field) = field {
        let name = field
            .strip_prefix("\\\"")
            .and_then(|rest| rest.strip_suffix("\\\""));
        return name.is_some_and(is_field);
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" ./+-,;".contains(&byte);
    let kind = text.split_once(DEPRECATED).map(|(kind, _)| kind);
    // GROUP/VERSION KIND
    kind.is_some_and(|kind| kind.split(' ').count() == 2) && text.bytes().all(plain)
}

/// Says what is masked, in the words kubectl prints; not where a mask only looks for credentials, as there mostly are
/// none.
pub(super) fn own(permit: &Permit) -> Option<HeaderValue> {
    if permit.certain_masks().is_empty() {
        return None;
    }
    let plain = |character: &char| matches!(character, ' '..='~') && !"\"\\".contains(*character);
    let names: String = permit
        .certain_masks()
        .join(", ")
        .chars()
        .filter(plain)
        .collect();
    let warning =
        HeaderValue::from_str(&format!("299 - \"values are masked by policy ({names})\""));
    Some(
        warning.unwrap_or_else(|_error| {
            HeaderValue::from_static("299 - \"values are masked by policy\"")
        }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c_27_only_warnings_of_known_forms_pass() {
        let known = [
            r#"299 - "unknown field \"spec.containers[0].foo\"""#,
            r#"299 - "duplicate field \"data.a\"""#,
            r#"299 - "v1 ComponentStatus is deprecated in v1.19+""#,
            r#"299 - "policy/v1beta1 PodSecurityPolicy is deprecated in v1.21+, unavailable in v1.25+; use x""#,
        ];
        let others = [
            r#"299 - "password hunter2 is weak""#,
            r#"299 - "unknown field \"a b\"""#,
            r#"299 - "unknown field hunter2""#,
            r#"299 - "the password hunter2 is deprecated in v1.0""#,
            r#"299 - "v1 hunter2=x is deprecated in v1.0""#,
            r#"199 - "v1 ComponentStatus is deprecated in v1.19+""#,
            "299 - \"caf\u{e9}\"",
            "",
        ];
        let mut headers = HeaderMap::new();
        for warning in known.iter().chain(&others) {
            let value = HeaderValue::from_bytes(warning.as_bytes()).unwrap();
            headers.append(header::WARNING, value);
        }
        withhold(&mut headers);
        let left: Vec<&str> = headers
            .get_all(header::WARNING)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        assert_eq!(left[..known.len()], known);
        assert_eq!(left[known.len()..], [WITHHELD; 8]);
    }
}
