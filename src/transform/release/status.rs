//! Errors of masked resources. The API server quotes objects in them (a patch that does not fit
//! prints the whole Secret), so a `Status` is built anew and takes over only what is known to be
//! harmless: reason, code, field names, and messages of a few known forms.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::policy::mask::{Look, MaskPlan};
use crate::request::RequestInfo;
use crate::transform::text::credentials::{self, Found};
use crate::wire::protobuf::{Field, FieldValue, MAGIC, ProtobufError, Unknown, fields, last_bytes};

/// What a withheld message says instead.
const WITHHELD: &str = "the API server refused the request; its message is withheld because this \
                        resource is masked by policy and the message may quote values";

/// What a withheld cause says instead.
const CAUSE_WITHHELD: &str = "withheld: may quote masked values";

/// Messages above this many bytes quote more than a field.
const HARMLESS_BYTES_MAX: usize = 2048;

/// Causes that are kept; the rest are dropped.
const CAUSES_MAX: usize = 32;

/// Reasons of `metav1.StatusReason`, with the code that stands for each.
const REASONS: [(&str, u16); 18] = [
    ("BadRequest", 400),
    ("Unauthorized", 401),
    ("Forbidden", 403),
    ("NotFound", 404),
    ("MethodNotAllowed", 405),
    ("NotAcceptable", 406),
    ("Conflict", 409),
    ("AlreadyExists", 409),
    ("Gone", 410),
    ("Expired", 410),
    ("RequestEntityTooLarge", 413),
    ("UnsupportedMediaType", 415),
    ("Invalid", 422),
    ("TooManyRequests", 429),
    ("InternalError", 500),
    ("ServiceUnavailable", 503),
    ("Timeout", 504),
    ("ServerTimeout", 500),
];

/// Reasons whose message quotes nothing when the request only read.
const SAFE_FOR_READS: [&str; 8] = [
    "BadRequest",
    "Expired",
    "Gone",
    "MethodNotAllowed",
    "NotAcceptable",
    "ServiceUnavailable",
    "Timeout",
    "TooManyRequests",
];

/// Rebuilds the error of one request.
pub(in crate::transform) struct Scrubber {
    code: u16,
    reads: bool,
    /// Set where nothing is hidden but by a name that texts would quote along with it.
    harmless: Option<Arc<MaskPlan>>,
    group: String,
    resource: String,
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Upstream {
    kind: String,
    message: String,
    reason: String,
    metadata: Metadata,
    details: Option<UpstreamDetails>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Metadata {
    #[serde(rename = "continue", skip_serializing_if = "String::is_empty")]
    proceed: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct UpstreamDetails {
    causes: Option<Vec<Cause>>,
    retry_after_seconds: u32,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Cause {
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata,
    status: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    details: Details<'a>,
    code: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    group: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    kind: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero")]
    retry_after_seconds: u32,
}

impl Upstream {
    /// From JSON or protobuf; what is neither is no `Status`.
    fn parse(body: &[u8]) -> Self {
        if body.starts_with(MAGIC) {
            Self::from_protobuf(body).unwrap_or_default()
        } else {
            serde_json::from_slice(body).unwrap_or_default()
        }
    }

    /// The fields of `metav1.Status` with their numbers in `generated.proto`.
    fn from_protobuf(body: &[u8]) -> Result<Self, ProtobufError> {
        let unknown = Unknown::parse(body)?;
        let text =
            |message, number| String::from_utf8_lossy(last_bytes(message, number)).into_owned();
        let details = last_bytes(unknown.raw, 5);
        let mut read = UpstreamDetails::default();
        let mut causes = Vec::new();
        for field in fields(details) {
            match field? {
                Field {
                    number: 4,
                    value: FieldValue::Bytes(cause),
                } => causes.push(Cause {
                    reason: text(cause, 1),
                    message: text(cause, 2),
                    field: text(cause, 3),
                }),
                Field {
                    number: 5,
                    value: FieldValue::Varint(seconds),
                } => {
                    read.retry_after_seconds = u32::try_from(seconds).unwrap_or_default();
                }
                _ => {}
            }
        }
        read.causes = Some(causes);
        Ok(Self {
            kind: unknown.kind.to_owned(),
            message: text(unknown.raw, 3),
            reason: text(unknown.raw, 4),
            metadata: Metadata {
                proceed: text(last_bytes(unknown.raw, 1), 3),
            },
            details: Some(read),
        })
    }
}

impl Scrubber {
    fn is_harmless(&self, text: &str) -> bool {
        let plan = self.harmless.as_deref();
        plan.is_some_and(|plan| is_harmless(text, plan))
    }

    pub(in crate::transform) fn new(
        code: StatusCode,
        info: &RequestInfo,
        harmless: Option<Arc<MaskPlan>>,
    ) -> Self {
        Self {
            code: code.as_u16(),
            reads: matches!(info.verb.as_str(), "get" | "list" | "watch"),
            harmless,
            group: info.api_group.clone(),
            resource: info.resource.clone(),
            name: info.name.clone(),
        }
    }

    /// The error as it may leave.
    pub(in crate::transform) fn rebuild(&self, body: &[u8]) -> Bytes {
        let parsed = Upstream::parse(body);
        if parsed.kind != "Status" {
            return self.without_body();
        }
        let known = |reason: &&(&'static str, u16)| reason.0 == parsed.reason;
        let reason = REASONS.iter().find(known).map_or("", |reason| reason.0);
        let message = if self.is_safe(reason, &parsed.message) {
            parsed.message.as_str()
        } else {
            WITHHELD
        };
        let mut details = parsed.details.unwrap_or_default();
        let mut causes = details.causes.take().unwrap_or_default();
        causes.truncate(CAUSES_MAX);
        for cause in &mut causes {
            if !(self.is_harmless(&cause.message) && self.is_harmless(&cause.field)) {
                CAUSE_WITHHELD.clone_into(&mut cause.message);
            }
            if !is_word(&cause.reason) {
                cause.reason.clear();
            }
            if !is_field(&cause.field) {
                cause.field.clear();
            }
        }
        let mut metadata = parsed.metadata;
        if !(self.reads && reason == "Expired") {
            metadata = Metadata::default();
        }
        self.answer(
            message,
            reason,
            metadata,
            causes,
            details.retry_after_seconds,
        )
    }

    /// The error as far as the HTTP status tells it.
    pub(in crate::transform) fn without_body(&self) -> Bytes {
        let standard = |reason: &&(&'static str, u16)| reason.1 == self.code;
        let reason = REASONS.iter().find(standard).map_or("", |reason| reason.0);
        self.answer(WITHHELD, reason, Metadata::default(), Vec::new(), 0)
    }

    fn answer(
        &self,
        message: &str,
        reason: &str,
        metadata: Metadata,
        causes: Vec<Cause>,
        retry_after_seconds: u32,
    ) -> Bytes {
        let answer = Answer {
            kind: "Status",
            api_version: "v1",
            metadata,
            status: "Failure",
            message,
            reason,
            details: Details {
                name: &self.name,
                group: &self.group,
                kind: &self.resource,
                causes,
                retry_after_seconds,
            },
            code: self.code,
        };
        let mut text = serde_json::to_vec(&answer).unwrap_or_default();
        text.push(b'\n');
        text.into()
    }

    /// Is the message one of the forms that quote nothing but the request?
    fn is_safe(&self, reason: &str, message: &str) -> bool {
        let qualified = if self.group.is_empty() {
            self.resource.clone()
        } else {
            format!("{}.{}", self.resource, self.group)
        };
        let object = format!("{qualified} \"{}\"", self.name);
        if self.is_harmless(message) {
            return true;
        }
        match reason {
            "NotFound" => message == format!("{object} not found"),
            // A create has no name in its path; the name is the client's own either way.
            "AlreadyExists" => message
                .strip_prefix(&format!("{qualified} \""))
                .and_then(|rest| rest.strip_suffix("\" already exists"))
                .is_some_and(is_object_name),
            "Conflict" => {
                let stale = "the object has been modified; please apply your changes to the latest \
                             version and try again";
                message == format!("Operation cannot be fulfilled on {object}: {stale}")
                    || is_apply_conflict(message)
            }
            "Forbidden" => is_access_review(message, &qualified),
            "Unauthorized" => message == "Unauthorized",
            _ => self.reads && SAFE_FOR_READS.contains(&reason),
        }
    }
}

/// Neither an object, or a part of one, nor a credential is quoted, and no masked field is named.
fn is_harmless(message: &str, plan: &MaskPlan) -> bool {
    let blank = |character: char| character.is_whitespace() || ",;\"'".contains(character);
    message.len() <= HARMLESS_BYTES_MAX
        && !message.contains(['{', '}', '\\'])
        && credentials::look(message.as_bytes(), Look::Text) == Found::Nothing
        && !message.split(blank).any(|word| names_masked(word, plan))
}

/// Is it the path of a masked field, or of what holds one, as `field.Path` of apimachinery prints it:
/// `spec.containers[0].env[1].value`, `data[DB_PASSWORD]`?
fn names_masked(word: &str, plan: &MaskPlan) -> bool {
    if !word.ends_with(':') && !word.contains(['.', '[']) {
        return false;
    }
    let word = word
        .trim_start_matches(['[', '('])
        .trim_end_matches([':', '.', ')']);
    let mut tokens = Vec::new();
    for part in word.split_inclusive([']', '[']) {
        match part.strip_suffix(']') {
            Some(key) => tokens.push(key),
            None => tokens.extend(
                part.trim_end_matches('[')
                    .split('.')
                    .filter(|key| !key.is_empty()),
            ),
        }
    }
    !tokens.is_empty() && plan.overlaps(tokens)
}

/// The refusal of the RBAC authorizer, which quotes the user, the verb and the resource.
fn is_access_review(message: &str, qualified: &str) -> bool {
    message.starts_with(&format!("{qualified} "))
        && message.contains("is forbidden: User \"")
        && message.contains("\" cannot ")
        && message.contains(" resource \"")
        && (message.ends_with("at the cluster scope") || message.ends_with('"'))
        && !message.contains(['\n', '{', '}', '\\'])
}

/// `Apply failed with 1 conflict: conflict with "m" using v1: .data.a`: managers and field paths.
fn is_apply_conflict(message: &str) -> bool {
    message.starts_with("Apply failed with ")
        && message.contains(" conflict")
        && !message.contains(['{', '}', '\\'])
}

fn is_object_name(name: &str) -> bool {
    name.len() <= 253
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
}

fn is_word(text: &str) -> bool {
    text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

pub(super) fn is_field(text: &str) -> bool {
    text.len() <= 256
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-/[]*()\"".contains(&byte))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use http::Method;
    use serde_json::{Value, json};

    use super::*;
    use crate::policy::mask::{MaskRule, builtin};
    use crate::wire::protobuf::tests::field;

    fn scrub(method: &Method, code: u16, status: &Value) -> Value {
        let info = RequestInfo::parse(method, "/api/v1/namespaces/shop/secrets/db").unwrap();
        let code = StatusCode::from_u16(code).unwrap();
        let text = Scrubber::new(code, &info, None).rebuild(status.to_string().as_bytes());
        serde_json::from_slice(&text).unwrap()
    }

    fn status(reason: &str, message: &str) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
               "message": message, "reason": reason, "code": 1})
    }

    #[test]
    fn known_messages_are_kept() {
        for (code, reason, message) in [
            (404, "NotFound", "secrets \"db\" not found"),
            (409, "AlreadyExists", "secrets \"other\" already exists"),
            (
                409,
                "Conflict",
                "Operation cannot be fulfilled on secrets \"db\": the object has been modified; \
                 please apply your changes to the latest version and try again",
            ),
            (
                409,
                "Conflict",
                "Apply failed with 1 conflict: conflict with \"kubectl\" using v1: .data.password",
            ),
            (
                403,
                "Forbidden",
                "secrets \"db\" is forbidden: User \"alice\" cannot patch resource \"secrets\" in \
                 API group \"\" in the namespace \"shop\"",
            ),
        ] {
            let scrubbed = scrub(&Method::PATCH, code, &status(reason, message));
            assert_eq!(scrubbed["message"], message);
            assert_eq!(scrubbed["reason"], reason);
            assert_eq!(scrubbed["code"], code);
            assert_eq!(scrubbed["details"]["name"], "db");
            assert_eq!(scrubbed["details"]["kind"], "secrets");
        }
    }

    #[test]
    fn c_25_c_27_messages_that_may_quote_values_are_withheld() {
        for (code, reason, message) in [
            (404, "NotFound", "secrets \"s3cr3t-value\" not found"),
            (
                409,
                "AlreadyExists",
                "secrets \"S3cr3t-value\" already exists",
            ),
            (
                409,
                "Conflict",
                "secrets \"db\": the value s3cr3t-value is stale",
            ),
            (
                403,
                "Forbidden",
                "admission webhook \"w\" denied the request: s3cr3t-value",
            ),
            (
                422,
                "Invalid",
                "Secret \"db\" is invalid: type: Invalid value: \"s3cr3t-value\"",
            ),
            (400, "BadRequest", "illegal base64 data: s3cr3t-value"),
            (500, "InternalError", "s3cr3t-value"),
            (400, "s3cr3t-value", "s3cr3t-value"),
        ] {
            let mut leaky = status(reason, message);
            leaky["details"] = json!({
                "name": "s3cr3t-value", "kind": "s3cr3t-value", "group": "s3cr3t-value",
                "uid": "s3cr3t-value", "retryAfterSeconds": 3,
                "causes": [{"reason": "FieldValueInvalid", "message": "s3cr3t-value", "field": "metadata.labels"},
                           {"reason": "s3cr3t-value", "field": "x s3cr3t-value"}],
            });
            leaky["data"] = json!({"a": "s3cr3t-value"});
            leaky["metadata"] = json!({"continue": "s3cr3t-value", "name": "s3cr3t-value"});
            let scrubbed = scrub(&Method::PATCH, code, &leaky);
            assert!(
                !scrubbed.to_string().to_lowercase().contains("s3cr3t-value"),
                "{scrubbed}"
            );
            assert_eq!(scrubbed["message"], WITHHELD);
            assert_eq!(scrubbed["details"]["causes"][0]["field"], "metadata.labels");
            assert_eq!(
                scrubbed["details"]["causes"][0]["reason"],
                "FieldValueInvalid"
            );
            assert_eq!(scrubbed["details"]["retryAfterSeconds"], 3);
        }
    }

    #[test]
    fn c_25_messages_of_workloads_are_kept_unless_they_quote_an_object_or_a_credential() {
        let target = "/apis/apps/v1/namespaces/shop/deployments/web";
        let info = RequestInfo::parse(&Method::PATCH, target).unwrap();
        let rules = builtin("workloads");
        let rules: Vec<&MaskRule> = rules
            .iter()
            .filter(|rule| rule.applies_to("apps", "deployments"))
            .collect();
        let plan = Arc::new(MaskPlan::compile(&rules));
        let rebuild = |message: &str| {
            let text = status("Invalid", message).to_string();
            let plan = Some(Arc::clone(&plan));
            let scrubber = Scrubber::new(StatusCode::UNPROCESSABLE_ENTITY, &info, plan);
            serde_json::from_slice::<Value>(&scrubber.rebuild(text.as_bytes())).unwrap()
        };
        let invalid = "Deployment \"web\" is invalid: spec.replicas: Invalid value: -1";
        assert_eq!(rebuild(invalid)["message"], invalid);
        for kept in [
            "Deployment.apps \"web\" is invalid: spec.template.spec.containers[0].image: Required value",
            "pods \"web\" is forbidden: violates PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
             (container \"c\" must set securityContext.allowPrivilegeEscalation=false)",
            "the namespace from the provided object \"a\" does not match the namespace \"b\"",
            "pods \"web\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=10, limited: pods=10",
        ] {
            assert_eq!(rebuild(kept)["message"], kept);
        }
        for quoted in [
            "cannot decode v1.EnvVar{Name:\"DB\", Value:\"s3cr3t-value\"}",
            "denied: args are --password=s3cr3t-value",
            "Deployment.apps \"web\" is invalid: spec.template.spec.containers[0].env[1].value: Invalid value: \
             \"s3cr3t-value\": too weak",
            "[spec.template.spec.containers[0].args[2]: Invalid value: \"s3cr3t-value\", spec.replicas: bad]",
            "spec.template.metadata.annotations[a.b/c]: Invalid value: \"s3cr3t-value\"",
            "Deployment.apps \"web\" is invalid: spec.template: Invalid value: \"s3cr3t-value\"",
            "spec: Invalid value: \"object\": password may not change from s3cr3t-value",
        ] {
            assert_eq!(rebuild(quoted)["message"], WITHHELD);
        }
    }

    #[test]
    fn c_24_an_error_in_protobuf_is_read_as_one() {
        let info = RequestInfo::parse(&Method::GET, "/api/v1/namespaces/shop/secrets/db").unwrap();
        let rebuild = |message: &str| {
            let cause = [field(1, b"FieldValueInvalid"), field(3, b"data[a]")].concat();
            let details = [field(4, &cause), b"\x28\x03".to_vec()].concat();
            let status = [
                field(3, message.as_bytes()),
                field(4, b"NotFound"),
                field(5, &details),
            ];
            let type_meta = [field(1, b"v1"), field(2, b"Status")].concat();
            let body = [MAGIC, &field(1, &type_meta), &field(2, &status.concat())].concat();
            let text = Scrubber::new(StatusCode::NOT_FOUND, &info, None).rebuild(&body);
            serde_json::from_slice::<Value>(&text).unwrap()
        };
        let status = rebuild("secrets \"db\" not found");
        assert_eq!(status["message"], "secrets \"db\" not found");
        assert_eq!(status["reason"], "NotFound");
        assert_eq!(status["details"]["causes"][0]["field"], "data[a]");
        assert_eq!(status["details"]["retryAfterSeconds"], 3);
        assert_eq!(rebuild("s3cr3t-value")["message"], WITHHELD);
    }

    #[test]
    fn an_object_that_claims_to_be_an_error_is_not_passed() {
        let object = json!({"kind": "Secret", "data": {"a": "s3cr3t-value"}});
        let scrubbed = scrub(&Method::GET, 404, &object);
        assert!(!scrubbed.to_string().contains("s3cr3t-value"));
        assert_eq!(scrubbed["reason"], "NotFound");
        assert_eq!(scrubbed["kind"], "Status");
    }

    #[test]
    fn expired_lists_keep_the_token_to_go_on_with() {
        let mut expired = status("Expired", "The provided continue parameter is too old");
        expired["metadata"] = json!({"continue": "abc"});
        let scrubbed = scrub(&Method::GET, 410, &expired);
        assert_eq!(scrubbed["metadata"]["continue"], "abc");
        assert_eq!(
            scrubbed["message"],
            "The provided continue parameter is too old"
        );
    }
}
