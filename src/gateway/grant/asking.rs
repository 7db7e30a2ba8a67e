//! May they, and where a rule holds it: has somebody said yes?
//!
//! The policy is asked again before every look at the answer, so that what goes on is what the policy in force
//! holds, and whoever lost their token while they waited does not go on. A client that leaves drops the future
//! that waits here: its question stays, and a yes admits the identical request later, once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use jiff::Timestamp;
use tokio::time::Instant;

use super::decide::{Looking, unambiguous};
use crate::approval::ledger::{Held, TooMany};
use crate::approval::{Case, Digest, Found, Person, Standing};
use crate::gateway::Gateway;
use crate::gateway::open;
use crate::gateway::record::Record;
use crate::gateway::refuse::{Refusal, help, warning};
use crate::gateway::story::Act;
use crate::gateway::write::payload::Payload;
use crate::gateway::write::{check, may_have_body, readable_type};
use crate::identity::Identity;
use crate::policy::{Decision, Permit, Policy, Question};
use crate::request::RequestInfo;
use crate::transform::{self, Unreleased};

impl Gateway {
    /// The permit for a request, waited for if need be.
    pub(in crate::gateway) async fn permitted(
        &self,
        identity: &Arc<Identity>,
        act: Act<'_>,
        payload: &mut Payload,
        audit_id: &str,
        record: &mut Record,
    ) -> Result<Permit, Refusal> {
        let mut waits_until = None;
        loop {
            let question = match self.decided(identity, act, payload, audit_id).await? {
                Decision::Allow(permit) => return Ok(permit),
                Decision::Hold(question) => question,
                Decision::Deny(reason) => {
                    if let Some(rule) = &reason.rule {
                        record.event.annotate("portcullis.dev/rule", rule.clone());
                    }
                    let why = reason.message + &help(&reason.roles, &self.approvals_at);
                    return Err(Refusal::denied(act.info, identity, &why));
                }
                Decision::Ask(_) => {
                    return Err(Refusal::gateway_failed(
                        "the policy did not come to a decision; tell the gateway's operator",
                    ));
                }
            };
            let until = *waits_until.get_or_insert_with(|| {
                // Of a session that is tried twice, the first attempt has waited.
                let twice = record.is_second_attempt();
                let wait = question.terms().wait_of(identity.agent().is_some());
                Instant::now() + if twice { Duration::ZERO } else { wait }
            });
            // Before the first look, so that no answer is missed.
            let mut news = self.holder.desk.news();
            let body = self.body_of(act, payload).await?;
            self.may_go_on(act, &body, (&question, audit_id)).await?;
            let held = self.held(act, &body, &question, audit_id).await?;
            self.holder.still_welcome(identity)?;
            let digest = held.digest.clone();
            let consulted = Box::pin(self.holder.desk.consult(question.clone(), held));
            let approval = match consulted.await? {
                Standing::Admitted(permit) => return Ok(*permit),
                Standing::Denied(approval) => {
                    return Err(Refusal::approval_denied(act.info, identity, &approval));
                }
                Standing::TooMany(why) => return Err(self.too_many(why, act.info)),
                Standing::Waits(approval) => approval,
            };
            record.asked(&approval);
            if approval.lacks_context(&digest) {
                let of = (approval.id.as_str(), digest);
                self.find_out(act, &question, (payload, audit_id), of)
                    .await?;
            }
            let left = approval.expires.duration_since(Timestamp::now());
            let over = Instant::now() + Duration::try_from(left).unwrap_or_default();
            let answered = async {
                tokio::select! {
                    biased;
                    () = self.holder.draining.cancelled() => false,
                    () = tokio::time::sleep_until(until.min(over)) => false,
                    () = self.holder.blocked(identity) => true,
                    () = news.about(&approval.id) => true,
                }
            };
            let answered = answered.await;
            self.holder.not_blocked(identity)?;
            if !answered {
                return Err(Refusal::held(
                    act.info,
                    identity,
                    &approval,
                    &self.approvals_at,
                ));
            }
        }
    }

    fn too_many(&self, why: TooMany, info: &RequestInfo) -> Refusal {
        Refusal::too_many_questions(why, &self.approvals_at).about(info)
    }

    /// Adds to a question what it is about.
    async fn find_out(
        &self,
        act: Act<'_>,
        question: &Question,
        (payload, audit_id): (&mut Payload, &str),
        (id, digest): (&str, Digest),
    ) -> Result<(), Refusal> {
        let inquiry = question.inquiry();
        let looking = Looking {
            inquiry: &inquiry,
            act,
            audit_id,
        };
        let found = Box::pin(self.look_at(looking, payload)).await;
        if found != Found::default() {
            let desk = &self.holder.desk;
            desk.add_context(id.to_owned(), digest, found).await?;
        }
        Ok(())
    }

    /// Nothing came of a yes: the request was refused here before it was sent, or the API server did not switch
    /// protocols for a session. Nobody has to be asked about the same again; kubectl tries a session over the other
    /// transport (wire.md §1.4).
    pub(in crate::gateway) async fn unused(&self, permit: &Permit) {
        let Some(admission) = permit.admission() else {
            return;
        };
        if let Err(error) = self.holder.desk.give_back(admission).await {
            tracing::warn!(%error, "a yes to something that did not go on stays used");
        }
    }

    /// The object is another than the patch was decided on, says the API server of what the gateway bound it to: so
    /// nothing was changed, and nobody has to be asked again. Of any other 409 that is not certain.
    pub(in crate::gateway) async fn keep_unused(
        &self,
        response: &mut Response<Unreleased>,
        (permit, sent): (&Permit, Option<Payload>),
        record: &mut Record,
    ) {
        let pinned = sent.is_some_and(|payload| payload.is_pinned());
        let Some(admission) = permit.admission().filter(|_| pinned) else {
            return;
        };
        if response.status() != StatusCode::CONFLICT {
            return;
        }
        match self.holder.desk.give_back(admission).await {
            Ok(true) => {
                let id = admission.id();
                let key = "portcullis.dev/approval-given-back";
                record.event.annotate(key, id.to_owned());
                let said = format!(
                    "approval {id} was not used up, as the object has changed meanwhile: run the same command again"
                );
                if let Some(said) = warning(&said) {
                    response.extensions_mut().insert(Said(said));
                }
            }
            // The yes is over, or holds for the class anyway.
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "a yes to a patch that changed nothing stays used");
            }
        }
    }

    /// What would be refused after a yes is refused before anybody is asked: no yes is used up for nothing.
    async fn may_go_on(
        &self,
        act: Act<'_>,
        body: &Bytes,
        (question, audit_id): (&Question, &str),
    ) -> Result<(), Refusal> {
        let inquiry = question.inquiry();
        let permit = inquiry.permit();
        self.known.ready(permit)?;
        if act.info.session().is_some() {
            return self.recordable(permit, audit_id).await;
        }
        if act.info.may_be_kubelet_session() {
            open::refuse_kubelet_session(act.headers, act.info, permit)?;
        }
        transform::negotiate(&mut act.headers.clone(), act.info, permit)?;
        if !may_have_body(act.method) {
            return Ok(());
        }
        let info = Arc::new(act.info.clone());
        let content_type = readable_type(act.headers)?;
        let checked = check(&info, permit, content_type, body).await;
        checked.map_err(|error| Refusal::from(error).about(&info))?;
        let read = unambiguous(&info, content_type, body).await;
        read.map_err(|error| Refusal::from(error).about(&info))
    }

    /// The body that an answer is bound to; a session has none.
    async fn body_of(&self, act: Act<'_>, payload: &mut Payload) -> Result<Bytes, Refusal> {
        if act.info.session().is_some() || !may_have_body(act.method) {
            return Ok(Bytes::new());
        }
        payload.read(&self.budget, act.identity.username()).await
    }

    async fn held(
        &self,
        act: Act<'_>,
        body: &Bytes,
        question: &Question,
        audit_id: &str,
    ) -> Result<Held, Refusal> {
        let content_type = if body.is_empty() {
            None
        } else {
            readable_type(act.headers)?
        };
        let inquiry = question.inquiry();
        let looking = Looking {
            inquiry: &inquiry,
            act,
            audit_id,
        };
        let object = Box::pin(self.object_there(looking, content_type)).await?;
        let case = Case {
            identity: act.identity,
            cluster: act.cluster,
            method: act.method,
            info: act.info,
            content_type: content_type.unwrap_or_default(),
            body,
            object: &object,
            rule: question.rule(),
            terms: question.terms(),
        };
        Ok(Held {
            digest: case.digest(),
            class: case.class(),
            command: invocation(act),
            caller: Person::from(act.identity),
            cluster: act.cluster.to_owned(),
            rule: question.rule().to_owned(),
            message: question.message().map(str::to_owned),
            terms: question.terms().clone(),
            shown: self.shown(act, content_type, body).await,
            audit_id: audit_id.to_owned(),
        })
    }
}

/// What the gateway itself tells the caller besides an answer. It goes around the masks, which withhold the API
/// server's warnings, and quotes nothing of any object.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Said(pub(in crate::gateway) HeaderValue);

/// Tells the caller who said yes, as the warning that clients print.
pub(in crate::gateway) fn approved(permit: &Permit) -> Option<HeaderValue> {
    let admission = permit.admission()?;
    let said: Vec<String> = admission
        .answers()
        .iter()
        .map(|answer| match answer.reason.as_str() {
            "" => answer.by.user.clone(),
            reason => format!("{} ({reason})", answer.by.user),
        })
        .collect();
    warning(&format!(
        "approval {} by {}",
        admission.id(),
        said.join(", ")
    ))
}

/// Tells whoever asks who they are that the policy stops nobody.
pub(in crate::gateway) fn observing(policy: &Policy, info: &RequestInfo) -> Option<HeaderValue> {
    let asks = info.api_group == "authentication.k8s.io" && info.resource == "selfsubjectreviews";
    let observes = asks && policy.observes();
    observes
        .then(|| {
            warning(
                "this gateway's policy only observes (mode: observe): it denies and holds nothing",
            )
        })
        .flatten()
}

/// Which invocation of kubectl a request is from, as it says itself. Two requests with the same are shown to
/// approvers together, if they are of one caller and class, too; each still needs its own yes.
fn invocation(act: Act<'_>) -> Option<Digest> {
    let session = act.headers.get("kubectl-session")?.to_str().ok()?;
    (!session.is_empty()).then(|| Digest::of(&[session]))
}
