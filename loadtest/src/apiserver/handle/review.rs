//! Reviews: questions asked with POST, answered and not stored.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use portcullis::gateway::body::Body;
use serde_json::{Value, json};

use super::{Call, body, timestamp};
use crate::apiserver::status::ApiError;

/// Answers a review; everything but the configured denials is allowed.
pub(super) async fn answer(
    call: &Call,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    if call.info.verb != "create" || !call.info.name.is_empty() {
        return Err(ApiError::method_not_allowed());
    }
    let resource = &call.resource;
    let bytes = body::read(request).await?;
    let asked = body::parse(&call.headers, &bytes, &resource.kind)?;
    let spec = asked.get("spec").cloned().unwrap_or_else(|| json!({}));
    let metadata = asked.get("metadata").cloned().unwrap_or_else(|| json!({}));
    let mut answer = json!({"kind": resource.kind, "apiVersion": resource.api_version(), "metadata": metadata, "spec": spec});
    let status = match resource.kind.as_str() {
        "SelfSubjectReview" => {
            answer = json!({
                "kind": resource.kind, "apiVersion": resource.api_version(),
                "metadata": {"creationTimestamp": timestamp(Timestamp::now())},
            });
            json!({"userInfo": call.user.info()})
        }
        "SelfSubjectRulesReview" => {
            // The API server does not repeat what it was asked.
            if let Some(spec) = answer.get_mut("spec") {
                *spec = json!({});
            }
            rules()
        }
        "TokenReview" => token_review(call, &spec),
        "Binding" => json!({}),
        _ => access(call, &spec),
    };
    if let Value::Object(entries) = &mut answer {
        entries.insert("status".to_owned(), status);
    }
    call.answer(StatusCode::CREATED, &answer)
}

fn access(call: &Call, spec: &Value) -> Value {
    let text = |key: &str| {
        let path = format!("/resourceAttributes/{key}");
        spec.pointer(&path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let user = match spec.get("user").and_then(Value::as_str) {
        Some(user) if call.resource.kind != "SelfSubjectAccessReview" => user,
        _ => &call.user.name,
    };
    let resource = match text("subresource").as_str() {
        "" => text("resource"),
        subresource => format!("{}/{subresource}", text("resource")),
    };
    let fits = |wanted: &str, given: &str| wanted.is_empty() || wanted == given;
    let denied = call.state.settings.denials.iter().any(|denial| {
        fits(&denial.user, user)
            && fits(&denial.verb, &text("verb"))
            && fits(&denial.resource, &resource)
            && fits(&denial.namespace, &text("namespace"))
    });
    json!({"allowed": !denied})
}

/// What a cluster administrator is told, as in capture kubectl-auth-1.36.
fn rules() -> Value {
    json!({
        "resourceRules": [
            {"verbs": ["create"], "apiGroups": ["authorization.k8s.io"], "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"]},
            {"verbs": ["create"], "apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"]},
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        ],
        "nonResourceRules": [
            {"verbs": ["get"], "nonResourceURLs": ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz", "/version", "/version/"]},
            {"verbs": ["get"], "nonResourceURLs": ["/.well-known", "/.well-known/*"]},
            {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz", "/version", "/version/"]},
            {"verbs": ["*"], "nonResourceURLs": ["*"]},
        ],
        "incomplete": false,
    })
}

fn token_review(call: &Call, spec: &Value) -> Value {
    let token = spec
        .get("token")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match call
        .state
        .settings
        .tokens
        .iter()
        .find(|known| known.token == token)
    {
        Some(known) => {
            json!({"authenticated": true, "user": {"username": known.user, "groups": known.groups}})
        }
        None => json!({"authenticated": false, "error": "invalid bearer token"}),
    }
}

/// Three base64url parts with the claims of a bound token; the signature is none.
pub(super) fn unsigned_token(
    subject: &str,
    audiences: &Value,
    now: Timestamp,
    expires: Timestamp,
) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "aud": audiences, "exp": expires.as_second(), "iat": now.as_second(), "nbf": now.as_second(),
        "iss": "https://kubernetes.default.svc.cluster.local", "sub": subject,
    });
    format!(
        "{}.{}.{}",
        part(json!({"alg": "RS256", "kid": "simulated"})),
        part(claims),
        URL_SAFE_NO_PAD.encode("no signature: this token was issued by a simulated API server")
    )
}
