//! One request, from authentication to the handler of its verb.

mod admit;
mod body;
mod huge;
mod kubelet;
mod read;
mod review;
mod subresource;
mod watch;
mod write;

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;
use jiff::Timestamp;
use portcullis::gateway::body::Body;
use serde_json::Value;

use super::auth::{self, User};
use super::request::Info;
use super::respond;
use super::respond::negotiate::{Format, Offer, View, negotiate};
use super::respond::table::{Include, partial, table};
use super::status::{ApiError, Target};
use super::types::resources::Resource;
use super::{Seen, State, discovery};

pub(in crate::apiserver) use admit::{default, defaults, normalise, set};

/// What a handler works with.
struct Call {
    state: Arc<State>,
    user: User,
    info: Info,
    headers: HeaderMap,
    resource: Arc<Resource>,
}

/// Answers a request.
pub(super) async fn handle(state: &Arc<State>, request: Request<Incoming>) -> Response<Body> {
    let headers = request.headers().clone();
    let user = auth::user(&headers, &state.settings.tokens);
    state.remember(Seen {
        method: request.method().clone(),
        uri: request.uri().clone(),
        headers: headers.clone(),
        user: user.as_ref().ok().cloned(),
    });
    let result = match user {
        Ok(user) => dispatch(state, user, request).await,
        Err(error) => Err(error),
    };
    let mut response = result.unwrap_or_else(|error| respond::error(&headers, &error));
    let audit = headers.get("audit-id").cloned();
    let audit = audit.or_else(|| HeaderValue::from_str(&uuid::Uuid::new_v4().to_string()).ok());
    if let Some(audit) = audit {
        response.headers_mut().insert("audit-id", audit);
    }
    let fields = response.headers_mut();
    fields
        .entry("cache-control")
        .or_insert(HeaderValue::from_static("no-cache, private"));
    response
}

async fn dispatch(
    state: &Arc<State>,
    user: User,
    request: Request<Incoming>,
) -> Result<Response<Body>, ApiError> {
    let info = Info::parse(
        request.method(),
        request.uri().path(),
        request.uri().query(),
    );
    if !info.is_resource {
        if user.is_anonymous() && !discovery::is_public(&info.path) {
            return Err(ApiError::forbidden_path(&user.name, &info.verb, &info.path));
        }
        return discovery::answer(state, &info, request.headers());
    }
    authorize(state, &user, &info)?;
    let Some(resource) = state.resource(&info.group, &info.version, &info.plural) else {
        let served = state
            .resources()
            .iter()
            .any(|resource| resource.group == info.group && resource.version == info.version);
        return Err(if served {
            ApiError::no_resource()
        } else {
            ApiError::no_path()
        });
    };
    let call = Call {
        state: Arc::clone(state),
        user,
        info,
        headers: request.headers().clone(),
        resource,
    };
    route(call, request).await
}

async fn route(call: Call, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let info = &call.info;
    if !call.resource.stored {
        return review::answer(&call, request).await;
    }
    if !info.subresource.is_empty() {
        return subresource::answer(call, request).await;
    }
    let named = !info.name.is_empty();
    match info.verb.as_str() {
        "get" => read::get(&call),
        "list" if huge::asked(&call) => huge::list(&call),
        "list" => read::list(&call),
        "watch" => watch::start(&call, request),
        "create" if !named => write::create(&call, request).await,
        "update" if named => write::update(&call, request).await,
        "patch" if named => write::patch(&call, request).await,
        "delete" => write::delete(&call, request).await,
        "deletecollection" if info.path.contains("namespaces/") || !call.resource.namespaced => {
            write::delete_collection(&call)
        }
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Anonymous users may do nothing; others all but the configured denials.
fn authorize(state: &State, user: &User, info: &Info) -> Result<(), ApiError> {
    let full = if info.subresource.is_empty() {
        info.plural.clone()
    } else {
        format!("{}/{}", info.plural, info.subresource)
    };
    let fits = |wanted: &str, given: &str| wanted.is_empty() || wanted == given;
    let denied = state.settings.denials.iter().any(|denial| {
        fits(&denial.user, &user.name)
            && fits(&denial.verb, &info.verb)
            && fits(&denial.resource, &full)
            && fits(&denial.namespace, &info.namespace)
    });
    if denied || user.is_anonymous() {
        return Err(ApiError::forbidden(
            &user.name,
            &info.verb,
            &Target {
                group: &info.group,
                plural: &info.plural,
                subresource: &info.subresource,
                namespace: &info.namespace,
                name: &info.name,
            },
        ));
    }
    Ok(())
}

impl Call {
    /// A second handle on the same call, for a watch that outlives the handler.
    fn share(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            user: self.user.clone(),
            info: self.info.clone(),
            headers: self.headers.clone(),
            resource: Arc::clone(&self.resource),
        }
    }

    /// The namespace objects of this resource are stored under.
    fn namespace(&self) -> &str {
        if self.resource.namespaced {
            &self.info.namespace
        } else {
            ""
        }
    }

    fn offer(&self, watch: bool) -> Offer {
        Offer {
            protobuf: self.resource.message.is_some(),
            watch,
            collection: self.info.name.is_empty(),
        }
    }

    fn format(&self) -> Result<Format, ApiError> {
        negotiate(&self.headers, &self.info.query, self.offer(false))
    }

    /// An object of this resource, as the client wants it.
    fn answer(&self, status: StatusCode, object: &Value) -> Result<Response<Body>, ApiError> {
        self.answer_as(status, object, self.resource.message)
    }

    /// An object of another struct (`Scale`, `TokenRequest`).
    fn answer_as(
        &self,
        status: StatusCode,
        object: &Value,
        message: Option<&str>,
    ) -> Result<Response<Body>, ApiError> {
        let format = self.format()?;
        Ok(match &format.view {
            View::Object => respond::object(status, &self.headers, &format, message, object),
            View::Partial(version) => {
                let view = partial(object, version);
                respond::object(status, &self.headers, &format, Some("ObjectMeta"), &view)
            }
            View::Table(version) => {
                let include = Include::from_query(&self.info.query);
                let metadata = serde_json::json!({"resourceVersion": object.pointer("/metadata/resourceVersion").cloned().unwrap_or_default()});
                let rows = std::iter::once(object);
                let view = table(
                    &self.resource,
                    version,
                    &metadata,
                    rows,
                    (include, true),
                    Timestamp::now(),
                );
                respond::object(status, &self.headers, &format, None, &view)
            }
        })
    }

    /// The manager of this write: `fieldManager`, or the first word of the user agent.
    fn manager(&self) -> String {
        let agent = self.headers.get(http::header::USER_AGENT);
        let agent = agent
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or("unknown");
        match self.info.query.text("fieldManager") {
            "" => agent.split('/').next().unwrap_or("unknown").to_owned(),
            manager => manager.to_owned(),
        }
    }
}

/// The time as objects carry it.
pub(in crate::apiserver) fn timestamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
