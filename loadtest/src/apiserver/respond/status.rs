//! Errors in the API server's words: `Status` objects.

use serde_json::{Map, Value, json};

use crate::apiserver::types::resources::Resource;

/// A failure the client is told about.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Option<Box<Value>>,
    /// A continue token to go on with, in `metadata`.
    pub(crate) resume: Option<String>,
    /// Pretty-printed whatever the request asked for.
    pub(crate) pretty: bool,
    /// Not a Status but a plain text, as unknown paths get.
    pub(crate) plain: bool,
}

impl ApiError {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
            resume: None,
            pretty: false,
            plain: false,
        }
    }

    fn with_details(self, details: Value) -> Self {
        Self {
            details: Some(Box::new(details)),
            ..self
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// `user` may not do it.
    pub(crate) fn forbidden(user: &str, verb: &str, target: &Target<'_>) -> Self {
        let resource = if target.subresource.is_empty() {
            target.plural.to_owned()
        } else {
            format!("{}/{}", target.plural, target.subresource)
        };
        let qualified = qualified(target.group, target.plural);
        let subject = if target.name.is_empty() {
            qualified
        } else {
            format!("{qualified} \"{}\"", target.name)
        };
        let place = if target.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace \"{}\"", target.namespace)
        };
        Self::new(
            403,
            "Forbidden",
            format!(
                "{subject} is forbidden: User \"{user}\" cannot {verb} resource \"{resource}\" in API group \"{}\" {place}",
                target.group
            ),
        )
        .with_details(details(target.name, target.group, target.plural))
    }

    /// A path that is no resource is refused in these words.
    pub(crate) fn forbidden_path(user: &str, verb: &str, path: &str) -> Self {
        Self::new(
            403,
            "Forbidden",
            format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\""),
        )
        .with_details(json!({}))
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} \"{name}\" not found", resource.qualified()),
        )
        .with_details(details(name, &resource.group, &resource.plural))
    }

    /// The group is served, the resource is not.
    pub(crate) fn no_resource() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with_details(json!({}))
    }

    /// Nothing is served under that path.
    pub(crate) fn no_path() -> Self {
        Self {
            plain: true,
            ..Self::new(404, "NotFound", "404 page not found\n")
        }
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(json!({}))
    }

    pub(crate) fn already_exists(resource: &Resource, name: &str) -> Self {
        Self::new(
            409,
            "AlreadyExists",
            format!("{} \"{name}\" already exists", resource.qualified()),
        )
        .with_details(details(name, &resource.group, &resource.plural))
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        Self::new(
            409,
            "Conflict",
            format!(
                "Operation cannot be fulfilled on {} \"{name}\": {why}",
                resource.qualified()
            ),
        )
        .with_details(details(name, &resource.group, &resource.plural))
    }

    /// The object was changed since the writer read it.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// Field errors: `(reason, message, field)`.
    pub(crate) fn invalid(
        resource: &Resource,
        name: &str,
        causes: &[(&str, String, String)],
    ) -> Self {
        let texts: Vec<String> = causes
            .iter()
            .map(|(_, message, field)| format!("{field}: {message}"))
            .collect();
        let text = match texts.as_slice() {
            [only] => only.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let mut details = details(name, &resource.group, &resource.kind);
        if let Value::Object(entries) = &mut details {
            let causes = causes
                .iter()
                .map(|(reason, message, field)| json!({"reason": reason, "message": message, "field": field}))
                .collect();
            entries.insert("causes".to_owned(), Value::Array(causes));
        }
        Self::new(
            422,
            "Invalid",
            format!(
                "{} \"{name}\" is invalid: {text}",
                resource.qualified_kind()
            ),
        )
        .with_details(details)
    }

    /// A patch whose result does not decode. The message quotes what was patched: the whole stored
    /// object for JSON and merge patches, which is how a Secret leaks to a writer without `get`.
    pub(crate) fn patch_result(quoted: &str, why: &str) -> Self {
        let cause = format!("Invalid value: {quoted}: {why}");
        Self::new(422, "Invalid", format!(" \"\" is invalid: patch: {cause}")).with_details(json!({
            "causes": [{"reason": "FieldValueInvalid", "message": cause, "field": "patch"}]
        }))
    }

    pub(crate) fn too_large() -> Self {
        Self::new(413, "RequestEntityTooLarge", "limit is 3145728")
    }

    pub(crate) fn unsupported_media(message: &str) -> Self {
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// The `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.resume {
            metadata.insert("continue".to_owned(), json!(token));
        }
        let mut status = Map::new();
        status.insert("kind".to_owned(), json!("Status"));
        status.insert("apiVersion".to_owned(), json!("v1"));
        status.insert("metadata".to_owned(), Value::Object(metadata));
        status.insert("status".to_owned(), json!("Failure"));
        status.insert("message".to_owned(), json!(self.message));
        if !self.reason.is_empty() {
            status.insert("reason".to_owned(), json!(self.reason));
        }
        if let Some(details) = &self.details {
            status.insert("details".to_owned(), (**details).clone());
        }
        status.insert("code".to_owned(), json!(self.code));
        Value::Object(status)
    }
}

/// What an authorization decision is about.
#[derive(Debug)]
pub(crate) struct Target<'a> {
    pub(crate) group: &'a str,
    pub(crate) plural: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut out = Map::new();
    if !name.is_empty() {
        out.insert("name".to_owned(), json!(name));
    }
    if !group.is_empty() {
        out.insert("group".to_owned(), json!(group));
    }
    out.insert("kind".to_owned(), json!(kind));
    Value::Object(out)
}
