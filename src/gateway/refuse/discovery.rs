//! Refused discovery. A kubectl that has nothing cached asks for discovery first, and client-go reads
//! no `Status` there (`Result.Raw`, k8s.io/client-go/rest/request.go): the reason of a refusal would be
//! lost. It does print `Warning: 299` headers, once each.

use http::HeaderValue;

/// Whether a path, with or without its cluster, is one that clients discover the API with.
pub(super) fn is_asked_for(path: &str) -> bool {
    let path = path.trim_matches('/');
    let path = match path.strip_prefix("clusters/") {
        Some(rest) => rest.split_once('/').map_or("", |(_cluster, path)| path),
        None => path,
    };
    let parts: Vec<&str> = path.split('/').collect();
    matches!(
        parts.as_slice(),
        ["api" | "apis" | "version"] | ["api" | "apis", _] | ["apis", _, _] | ["openapi", ..]
    )
}

/// The header's value: code, no agent, the text as a quoted string (RFC 7234 section 5.5).
pub(in crate::gateway) fn warning(message: &str) -> Option<HeaderValue> {
    let mut text = String::with_capacity(message.len() + 16);
    for character in message.chars() {
        match character {
            '"' | '\\' => text.extend(['\\', character]),
            ' '..='~' => text.push(character),
            _ => text.push('?'),
        }
    }
    HeaderValue::try_from(format!("299 - \"{text}\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discovery_is_what_comes_before_any_resource() {
        for path in [
            "/api",
            "/api/",
            "/api/v1",
            "/apis/apps",
            "/apis/apps/v1",
            "/openapi/v3/apis/apps/v1",
            "/version",
            "/clusters/east/api",
        ] {
            assert!(is_asked_for(path), "{path}");
        }
        for path in [
            "/",
            "/api/v1/pods",
            "/apis/apps/v1/deployments",
            "/clusters/east",
            "/clusters/api",
            "/metrics",
        ] {
            assert!(!is_asked_for(path), "{path}");
        }
    }

    #[test]
    fn a_warning_is_one_quoted_string() {
        assert_eq!(
            warning("User \"dana\" \\ ü\n").unwrap(),
            r#"299 - "User \"dana\" \\ ??""#
        );
    }
}
