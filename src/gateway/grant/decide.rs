//! How a decision comes about: the policy answers at once, or says what it has to see first.
//!
//! An object that the body says is decoded here. What only the API server knows (the result of a patch, what
//! its YAML means) is asked of it with `dryRun=All`, as the caller, so that what is decided on is what the
//! API server would make of exactly these bytes. A patch is then bound to the state that it was decided on:
//! were the object another by the time it arrives, the answer would be 409.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use serde_json::Value;

use crate::gateway::Gateway;
use crate::gateway::body;
use crate::gateway::refuse::Refusal;
use crate::gateway::story::Act;
use crate::gateway::write::payload::Payload;
use crate::gateway::write::{check, may_have_body, readable_type};
use crate::identity::Identity;
use crate::policy::{Decision, Inquiry, Seen, Wanted};
use crate::request::RequestInfo;
use crate::request::body::{self as written, Undecoded};
use crate::transform::Unreleased;
use crate::transform::body::inspect::{self, Inspected};
use crate::upstream::{Call, ReplayableBody};

/// What is looked for, for which request.
#[derive(Clone, Copy)]
pub(super) struct Looking<'a> {
    pub(super) inquiry: &'a Inquiry,
    pub(super) act: Act<'a>,
    pub(super) audit_id: &'a str,
}

impl Looking<'_> {
    fn call(&self) -> Call {
        Call {
            audit_id: self.audit_id.to_owned(),
            peer: self.act.peer,
            long_running: false,
            streams: false,
        }
    }
}

impl Gateway {
    /// What the policy in force says, shown what it wants to see. Never [`Decision::Ask`].
    pub(super) async fn decided(
        &self,
        identity: &Arc<Identity>,
        act: Act<'_>,
        payload: &mut Payload,
        audit_id: &str,
    ) -> Result<Decision, Refusal> {
        let policy = self.holder.in_force.policy.current();
        let mut seen = self.holder.seen(identity);
        for _ in 0..=Wanted::KINDS {
            match policy.decide(identity, act.info, act.cluster, &seen) {
                Decision::Ask(inquiry) => {
                    let looking = Looking {
                        inquiry: &inquiry,
                        act,
                        audit_id,
                    };
                    // Boxed, so that requests of which nothing has to be seen do not carry its size along.
                    let shown = Box::pin(self.show(seen, looking, payload)).await;
                    seen = match shown {
                        Ok(seen) => seen,
                        Err(refusal) => {
                            // Whoever only observes stops nobody who cannot show it.
                            let permit = inquiry.unseen(refusal.message()).ok_or(refusal)?;
                            return Ok(Decision::Allow(permit));
                        }
                    };
                }
                decision => return Ok(decision),
            }
        }
        Err(Refusal::gateway_failed(
            "the policy did not come to a decision; tell the gateway's operator",
        ))
    }

    async fn show(
        &self,
        seen: Seen,
        looking: Looking<'_>,
        payload: &mut Payload,
    ) -> Result<Seen, Refusal> {
        Ok(match looking.inquiry.wanted() {
            Wanted::DryRun => {
                let bytes = self.body(looking, payload).await?;
                seen.dry_run(looking.act.info.is_dry_run(&bytes))
            }
            Wanted::Object => {
                let object = self.object(looking, payload).await?;
                seen.object(object.as_ref())
            }
            Wanted::OldObject => {
                let object = self.old_object(looking).await?;
                seen.old_object(object.as_ref())
            }
        })
    }

    pub(super) async fn body(
        &self,
        looking: Looking<'_>,
        payload: &mut Payload,
    ) -> Result<Bytes, Refusal> {
        if !may_have_body(looking.act.method) {
            return Ok(Bytes::new());
        }
        let caller = looking.act.identity.username();
        payload.read(&self.budget, caller).await
    }

    /// The object that the request writes.
    async fn object(
        &self,
        looking: Looking<'_>,
        payload: &mut Payload,
    ) -> Result<Option<Value>, Refusal> {
        let act = looking.act;
        let info = act.info;
        let content_type = readable_type(looking.act.headers)?;
        let bytes = self.body(looking, payload).await?;
        match decoded(info, content_type, &bytes).await {
            Ok(object) => Ok(object),
            Err(Undecoded::Opaque) => self.dry_run(looking, payload, bytes).await.map(Some),
            Err(why) => Err(Refusal::from(why).about(info)),
        }
    }

    /// What the API server would make of the request; a patch is then bound to that.
    async fn dry_run(
        &self,
        looking: Looking<'_>,
        payload: &mut Payload,
        bytes: Bytes,
    ) -> Result<Value, Refusal> {
        let Looking { inquiry, act, .. } = looking;
        let info = act.info;
        // Nothing is asked for what could not be bound to the answer.
        let content_type = readable_type(act.headers)?;
        let binds = !inquiry.observes();
        let pin = (binds && info.verb == "patch" && info.dry_run_target().is_some())
            .then(|| written::Pin::parse(content_type, &bytes))
            .transpose()
            .map_err(Refusal::from)?;
        match self.rehearse(looking, bytes).await? {
            Inspected::Object(object) => {
                let version = object.pointer("/metadata/resourceVersion");
                if let (Some(pin), Some(Value::String(version))) = (pin, version)
                    && !version.is_empty()
                {
                    payload.pin(Bytes::from(pin.to(version)));
                }
                Ok(object)
            }
            Inspected::Refused(status) => {
                Err(Refusal::answered(status, inquiry.permit()).about(info))
            }
        }
    }

    /// Sends the request as a dry run.
    pub(super) async fn rehearse(
        &self,
        looking: Looking<'_>,
        bytes: Bytes,
    ) -> Result<Inspected, Refusal> {
        let Looking { inquiry, act, .. } = looking;
        let info = act.info;
        let target = info.dry_run_target().ok_or_else(|| {
            Refusal::unsupported_media_type(format!(
                "policy rule {} looks at the object, and what becomes of this body only the API server knows, which cannot be asked for {} of {:?}; send the whole object as application/json",
                inquiry.permit().rule(),
                info.verb,
                info.qualified_resource(),
            ))
        })?;
        // Before anyone could learn from the outcome what a mask hides.
        let content_type = readable_type(act.headers)?;
        check(
            &Arc::new(info.clone()),
            inquiry.permit(),
            content_type,
            &bytes,
        )
        .await
        .map_err(|error| Refusal::from(error).about(info))?;
        let mut asking = Request::new(body::full(bytes.clone()));
        *asking.method_mut() = act.method.clone();
        *asking.uri_mut() = uri(&target)?;
        *asking.headers_mut() = for_json(act.headers);
        asking.extensions_mut().insert(ReplayableBody(bytes));
        let response = self.upstream.ask(asking, inquiry, &looking.call()).await?;
        Ok(inspect::inspect(response).await?)
    }

    /// Reads an object as the caller.
    pub(super) async fn look(
        &self,
        path: &str,
        accept: HeaderValue,
        looking: Looking<'_>,
    ) -> Result<Response<Unreleased>, Refusal> {
        let mut asking = Request::new(body::empty());
        *asking.method_mut() = Method::GET;
        *asking.uri_mut() = uri(path)?;
        *asking.headers_mut() = for_json(&HeaderMap::new());
        asking.headers_mut().insert(ACCEPT, accept);
        let call = looking.call();
        Ok(self.upstream.ask(asking, looking.inquiry, &call).await?)
    }

    /// The object that is there before.
    pub(super) async fn old_object(&self, looking: Looking<'_>) -> Result<Option<Value>, Refusal> {
        let Looking { inquiry, act, .. } = looking;
        let info = act.info;
        let json = HeaderValue::from_static(written::JSON);
        let response = self.look(&info.object_path(), json, looking).await?;
        match inspect::inspect(response).await? {
            Inspected::Object(object) => Ok(Some(object)),
            Inspected::Refused(status) if status.code == 404 => Ok(None),
            Inspected::Refused(status) if status.code == 403 => Err(Refusal::denied(
                info,
                act.identity,
                &format!(
                    "policy rule {} looks at the object as it is, and the cluster does not let you read it",
                    inquiry.permit().rule()
                ),
            )),
            Inspected::Refused(status) => {
                Err(Refusal::answered(status, inquiry.permit()).about(info))
            }
        }
    }
}

/// The object that a body says, decoded on a thread where it may take its time: it takes as long as the body is, and
/// nobody else's requests wait for it.
pub(super) async fn decoded(
    info: &RequestInfo,
    content_type: Option<&str>,
    bytes: &Bytes,
) -> Result<Option<Value>, Undecoded> {
    let (info, bytes) = (info.clone(), bytes.clone());
    let content_type = content_type.map(str::to_owned);
    let decoding = tokio::task::spawn_blocking(move || {
        written::object(&info, content_type.as_deref(), &bytes)
    });
    decoding.await.unwrap_or(Err(Undecoded::Opaque))
}

/// Refuses a body that an approver could read in another way than the API server: one with the same key twice.
pub(super) async fn unambiguous(
    info: &RequestInfo,
    content_type: Option<&str>,
    body: &Bytes,
) -> Result<(), Undecoded> {
    if body.is_empty() || !info.is_resource_request || info.subresource == "proxy" {
        return Ok(());
    }
    let body = body.clone();
    let content_type = content_type.map(str::to_owned);
    let reading = tokio::task::spawn_blocking(move || {
        let (keys, nothing) = (written::Keys::Unique, &mut |_: &[u8]| false);
        written::search::find(content_type.as_deref(), &body, keys, nothing).map(drop)
    });
    reading.await.unwrap_or(Err(Undecoded::Opaque))
}

/// The client's headers, for an answer that is read here.
fn for_json(headers: &HeaderMap) -> HeaderMap {
    let mut asked = HeaderMap::new();
    asked.insert(ACCEPT, HeaderValue::from_static(written::JSON));
    asked.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(content_type) = headers.get(CONTENT_TYPE) {
        asked.insert(CONTENT_TYPE, content_type.clone());
    }
    asked
}

fn uri(target: &str) -> Result<Uri, Refusal> {
    target
        .parse()
        .map_err(|_| Refusal::bad_request("the request target cannot be sent on"))
}
