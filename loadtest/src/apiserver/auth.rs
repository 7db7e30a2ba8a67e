//! Who is asking: bearer tokens and impersonation.

use std::collections::BTreeMap;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use super::Token;
use super::status::ApiError;

/// The user a request runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// `user.Name`.
    pub name: String,
    /// `user.UID`.
    pub uid: String,
    /// `user.Groups`.
    pub groups: Vec<String>,
    /// `user.Extra`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Without credentials; may only read health and version.
    pub(crate) fn anonymous() -> Self {
        Self {
            name: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    pub(crate) fn is_anonymous(&self) -> bool {
        self.name == "system:anonymous"
    }

    /// `status.userInfo` of a review.
    pub(crate) fn info(&self) -> Value {
        let mut info = json!({"username": self.name});
        if let Value::Object(entries) = &mut info {
            if !self.uid.is_empty() {
                entries.insert("uid".to_owned(), json!(self.uid));
            }
            entries.insert("groups".to_owned(), json!(self.groups));
            if !self.extra.is_empty() {
                entries.insert("extra".to_owned(), json!(self.extra));
            }
        }
        info
    }
}

/// Authenticates, then applies `Impersonate-*`.
pub(crate) fn user(headers: &HeaderMap, tokens: &[Token]) -> Result<User, ApiError> {
    let real = match headers.get(AUTHORIZATION) {
        None => User::anonymous(),
        Some(value) => {
            let given = value.to_str().ok().and_then(|text| text.split_once(' '));
            let known = given
                .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
                .and_then(|(_, token)| tokens.iter().find(|known| known.token == token.trim()));
            let known = known.ok_or_else(ApiError::unauthorized)?;
            with_authenticated(User {
                name: known.user.clone(),
                groups: known.groups.clone(),
                ..User::default()
            })
        }
    };
    impersonated(headers, real)
}

/// A header's value as Go's `net/http` hands it over: its bytes, which are UTF-8 in identities.
fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn impersonated(headers: &HeaderMap, real: User) -> Result<User, ApiError> {
    let lines = |name: &str| {
        let values = headers.get_all(name).iter();
        values.map(text).collect::<Vec<_>>()
    };
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix("impersonate-extra-") {
            extra.entry(unescape(key)).or_default().push(text(value));
        }
    }
    let groups = lines("impersonate-group");
    let uid = lines("impersonate-uid").into_iter().next();
    let Some(name) = lines("impersonate-user").into_iter().next() else {
        return if groups.is_empty() && uid.is_none() && extra.is_empty() {
            Ok(real)
        } else {
            Err(ApiError::new(
                400,
                "BadRequest",
                "requested impersonation without impersonating a user",
            ))
        };
    };
    if real.is_anonymous() {
        return Err(ApiError::new(
            403,
            "Forbidden",
            format!(
                "users \"{name}\" is forbidden: User \"system:anonymous\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
            ),
        ));
    }
    Ok(with_authenticated(User {
        name,
        uid: uid.unwrap_or_default(),
        groups,
        extra,
    }))
}

/// Service accounts get their groups, everybody else `system:authenticated`.
fn with_authenticated(mut user: User) -> User {
    if user.groups.is_empty()
        && let Some((namespace, _)) = user
            .name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split_once(':'))
    {
        user.groups = vec![
            "system:serviceaccounts".to_owned(),
            format!("system:serviceaccounts:{namespace}"),
        ];
    }
    let decided = ["system:authenticated", "system:unauthenticated"];
    if !user
        .groups
        .iter()
        .any(|group| decided.contains(&group.as_str()))
    {
        user.groups.push("system:authenticated".to_owned());
    }
    user
}

/// Percent-decodes the key of an extra header.
fn unescape(key: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = key.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        match (byte, digit(ahead.next()), digit(ahead.next())) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                bytes = ahead;
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn tokens() -> Vec<Token> {
        vec![Token::new("t", "gateway", &["gateways"])]
    }

    #[test]
    fn identities_outside_ascii_stay_what_they_are() {
        let mut headers = headers(&[("authorization", "Bearer t")]);
        for name in [
            "impersonate-user",
            "impersonate-group",
            "impersonate-extra-agent",
        ] {
            headers.insert(name, HeaderValue::from_bytes("é".as_bytes()).unwrap());
        }
        let user = user(&headers, &tokens()).unwrap();
        assert_eq!(user.name, "é");
        assert!(user.groups.contains(&"é".to_owned()), "{:?}", user.groups);
        assert_eq!(user.extra["agent"], ["é"]);
    }

    #[test]
    fn each_group_line_is_a_group_and_keys_are_decoded() {
        let user = user(
            &headers(&[
                ("authorization", "Bearer t"),
                ("impersonate-user", "ana"),
                ("impersonate-group", "dev"),
                ("impersonate-group", "a,b"),
                ("impersonate-extra-example.com%2fteam", "one"),
                ("impersonate-extra-example.com%2fteam", "two"),
            ]),
            &tokens(),
        )
        .expect("accepted");
        assert_eq!(user.groups, ["dev", "a,b", "system:authenticated"]);
        assert_eq!(
            user.extra.get("example.com/team").expect("decoded"),
            &["one", "two"]
        );
    }

    #[test]
    fn a_wrong_token_is_401_none_is_anonymous_and_groups_alone_are_400() {
        let refused =
            user(&headers(&[("authorization", "Bearer x")]), &tokens()).expect_err("refused");
        assert_eq!(refused.code, 401);
        assert!(
            user(&HeaderMap::new(), &tokens())
                .expect("accepted")
                .is_anonymous()
        );
        let refused = user(
            &headers(&[("authorization", "Bearer t"), ("impersonate-group", "dev")]),
            &tokens(),
        );
        assert_eq!(refused.expect_err("refused").code, 400);
    }
}
