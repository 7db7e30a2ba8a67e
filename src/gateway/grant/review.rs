//! `kubectl auth can-i`: what the caller may do takes the policy's yes and the cluster's.
//!
//! The cluster is asked first, as the caller, and what it answers is cut down to what the policy would let through.
//! The answer then goes the way of every answer, through the masks. Reviews of others (`SubjectAccessReview`)
//! are about no request here: the cluster answers them alone.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use serde_json::{Value, json};

use super::asking::Said;
use super::decide::decoded;
use crate::gateway::Gateway;
use crate::gateway::body::{self, Body};
use crate::gateway::refuse::{Refusal, help, warning};
use crate::gateway::write::readable_type;
use crate::identity::Identity;
use crate::policy::explain::review::{Access, Outlook, RulesStatus};
use crate::policy::{Permit, Policy, Seen};
use crate::request::RequestInfo;
use crate::request::body::JSON;
use crate::transform::body::inspect::{self, Inspected};
use crate::transform::{Unreleased, negotiate_json};
use crate::upstream::{Call, ReplayableBody};

/// What a caller wants to know about themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Review {
    /// `SelfSubjectAccessReview`: whether they may do one thing.
    Access,
    /// `SelfSubjectRulesReview`: what they may do in one namespace.
    Rules,
}

impl Review {
    /// The review that a request asks for.
    pub(in crate::gateway) fn asked(info: &RequestInfo) -> Option<Self> {
        if info.api_group != "authorization.k8s.io"
            || info.verb != "create"
            || !info.name.is_empty()
        {
            return None;
        }
        match info.resource.as_str() {
            "selfsubjectaccessreviews" => Some(Self::Access),
            "selfsubjectrulesreviews" => Some(Self::Rules),
            _ => None,
        }
    }
}

impl Gateway {
    /// The answer of policy and cluster both.
    pub(in crate::gateway) async fn reviewed(
        &self,
        review: Review,
        mut request: Request<Body>,
        info: &Arc<RequestInfo>,
        permit: &Permit,
        call: &Call,
    ) -> Result<Response<Unreleased>, Refusal> {
        let content_type = readable_type(request.headers())?.map(str::to_owned);
        let bytes = request
            .extensions()
            .get::<ReplayableBody>()
            .map(|body| body.0.clone())
            .unwrap_or_default();
        let asked = decoded(info, content_type.as_deref(), &bytes).await;
        let asked = asked.map_err(|_| {
            Refusal::unsupported_media_type(
                "the gateway answers reviews as well as the cluster does, and cannot read this one; send it as application/json, each key once",
            )
        })?;
        let spec = asked
            .and_then(|asked| asked.get("spec").cloned())
            .unwrap_or_default();
        negotiate_json(request.headers_mut())?;
        let response = self.upstream.send(request, permit, call).await?;
        let audit_id = response.headers().get("audit-id").cloned();
        let mut answer = match inspect::inspect(response).await? {
            Inspected::Object(answer) => answer,
            Inspected::Refused(status) => {
                return Err(Refusal::answered(status, permit).about(info));
            }
        };
        let status = answer.get("status").cloned().unwrap_or_default();
        let policy = self.holder.in_force.policy.current();
        let (identity, cluster) = (Arc::clone(permit.identity()), permit.cluster().to_owned());
        let seen = self.holder.seen(&identity);
        let (status, caveat) = match review {
            Review::Access => {
                let access = Access::of(&spec).ok_or_else(asks_for_nothing)?;
                let outlook = policy.foresee(&identity, &access, &cluster, &seen);
                answer_of(outlook, status, &self.approvals_at)
            }
            Review::Rules => {
                let listing = tokio::task::spawn_blocking(move || {
                    rules(&policy, (&identity, &seen), &cluster, &spec, status)
                });
                let failed = |_| Refusal::gateway_failed("the review failed; try again");
                (listing.await.map_err(failed)??, None)
            }
        };
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("status".to_owned(), status);
        }
        let mut response = Response::new(Unreleased::new(body::full(answer.to_string())));
        *response.status_mut() = StatusCode::CREATED;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        headers.extend(audit_id.map(|id| (http::HeaderName::from_static("audit-id"), id)));
        if let Some(caveat) = caveat {
            response.extensions_mut().insert(Said(caveat));
        }
        Ok(response)
    }
}

fn asks_for_nothing() -> Refusal {
    Refusal::bad_request(
        "the review asks for nothing; send spec.resourceAttributes or spec.nonResourceAttributes",
    )
}

/// A status of both, and what kubectl, which prints no reason behind a yes, is to say besides.
fn answer_of(mut outlook: Outlook, status: Value, server: &str) -> (Value, Option<HeaderValue>) {
    outlook.reason.push_str(&help(&outlook.roles, server));
    let status = both(&outlook, status);
    let caveat = (outlook.depends && status.get("allowed") == Some(&Value::Bool(true)))
        .then(|| warning(&outlook.reason))
        .flatten();
    (status, caveat)
}

fn both(outlook: &Outlook, mut status: Value) -> Value {
    let text = |status: &Value, key: &str| {
        let text = status.get(key).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let given = status.get("allowed") == Some(&Value::Bool(true));
    let said = text(&status, "reason");
    if !outlook.allowed {
        // Denied rather than not allowed: nobody else's yes counts here.
        let mut refused = json!({"allowed": false, "denied": true, "reason": outlook.reason});
        let error = text(&status, "evaluationError");
        if !error.is_empty()
            && let Some(refused) = refused.as_object_mut()
        {
            refused.insert("evaluationError".to_owned(), error.into());
        }
        return refused;
    }
    let reason = match (given, said.as_str(), outlook.reason.as_str()) {
        (false, "", _) => "the cluster's own authorization does not allow it",
        (false, said, _) | (true, said, "") => said,
        (true, "", reason) => reason,
        (true, said, reason) => &format!("{reason}; {said}"),
    };
    if let Some(status) = status.as_object_mut() {
        status.insert("reason".to_owned(), reason.into());
    }
    status
}

fn rules(
    policy: &Policy,
    (identity, seen): (&Identity, &Seen),
    cluster: &str,
    spec: &Value,
    status: Value,
) -> Result<Value, Refusal> {
    let unreadable =
        |_| Refusal::bad_gateway("the cluster's answer to the review is none that can be read");
    let given: RulesStatus = serde_json::from_value(status).map_err(unreadable)?;
    let namespace = spec.get("namespace").and_then(Value::as_str);
    let listed = policy.narrow(
        identity,
        cluster,
        namespace.unwrap_or_default(),
        (&given, seen),
    );
    serde_json::to_value(listed).map_err(unreadable)
}
