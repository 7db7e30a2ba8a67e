//! The story of one request, top to bottom. Read this file first.
//!
//! [`Gateway::answer`] takes everything the listener lets in. Each step is a room of the house, each
//! `?` ends in [`refuse`], and whatever happens ends in the audit log.

use std::sync::Arc;

use http::header::WARNING;
use http::{HeaderMap, Method, Request, Response};
use hyper::body::Incoming;
use jiff::Timestamp;

use crate::audit::Event;
use crate::callers::Callers;
use crate::identity::Authenticator;
use crate::identity::credential;
use crate::listener::{self, Arrival, Peer, Unreadable};
use crate::metrics::VerbClass;
use crate::policy::Permit;
use crate::recording::Recorder;
use crate::request::RequestInfo;
use crate::transform::text::known::KnownValues;
use crate::transform::{self, MaskReport, Placeholders, Released, Unreleased};
use crate::upstream::{self, Call, Upstream};

pub mod body;
pub mod grant;
pub mod learning;
pub mod open;
pub mod record;
pub mod refuse;
pub mod route;
pub mod story;
pub mod upgrade;
pub mod write;

use body::Body;
use grant::{Ended, Holder, Review};
use record::{Keeper, Record};
use refuse::Refusal;
use route::Clusters;
use story::Act;
use upgrade::socket::Socket;
use write::budget::BodyBudget;
use write::payload::Payload;

/// Everything one request needs on its way.
pub struct Gateway {
    /// Turns tokens into identities.
    pub authenticator: Arc<Authenticator>,
    /// Who calls, and who may not.
    pub callers: Arc<Callers>,
    /// The host names requests may be for; empty is any.
    pub hosts: Vec<String>,
    /// Which clusters there are, and where they hang in the path.
    pub clusters: Clusters,
    /// Decides, and watches over what was decided.
    pub holder: Arc<Holder>,
    /// The way to the API servers.
    pub upstream: Arc<Upstream>,
    /// Makes and recognises placeholders.
    pub placeholders: Arc<Placeholders>,
    /// The values of Secrets, to be masked wherever they turn up.
    pub known: Arc<KnownValues>,
    /// Puts sessions on tape, and knows those that are open.
    pub recorder: Arc<Recorder>,
    /// Where approvers call, as refusals name it.
    pub approvals_at: String,
    /// How much of request bodies may be held.
    pub budget: BodyBudget,
    /// Where records are kept.
    pub keeper: Arc<Keeper>,
}

impl Gateway {
    /// Answers whatever arrives.
    pub async fn answer(self: Arc<Self>, arrival: Arrival, peer: Peer) -> Response<Body> {
        match arrival {
            Arrival::Request(request) => self.serve(request, peer).await,
            Arrival::Unreadable(why) => self.refuse_unread(why, peer).await,
        }
    }

    /// Refuses what the listener did not accept as a request. Nothing of it is known but whence it came.
    async fn refuse_unread(&self, why: Unreadable, peer: Peer) -> Response<Body> {
        let (audit_id, now) = (new_audit_id(), Timestamp::now());
        let from = peer.address.ip();
        let event = Event::received(&audit_id, "", "", &HeaderMap::new(), from, now);
        let record = Record::open(&self.keeper, event, now);
        self.keeper.metrics.unreadable(why);
        let refusal = Refusal::from(why);
        let response = refusal.response();
        record.refused(&refusal).await;
        response
    }

    /// Carries one request from its arrival to its answer.
    async fn serve(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let now = Timestamp::now();
        let mut call = Call {
            audit_id: new_audit_id(),
            peer: peer.address.ip(),
            long_running: false,
            streams: false,
        };
        let target = request
            .uri()
            .path_and_query()
            .map_or("", http::uri::PathAndQuery::as_str);
        let event = Event::received(
            &call.audit_id,
            request.method().as_str(),
            target,
            request.headers(),
            call.peer,
            now,
        );
        let uri = request.uri().clone();
        let is_head = request.method() == Method::HEAD;
        let refused = |refusal: &Refusal| match refusal.response_to(uri.path()) {
            response if is_head => body::head_only(response),
            response => response,
        };
        let mut record = Record::open(&self.keeper, event, now);
        match self.carry(request, &mut call, &mut record, now).await {
            Ok(Answer::Whole {
                response,
                masks,
                ended,
                long_running,
                socket,
            }) => {
                let answered = record.answer(response, masks, ended, long_running).await;
                let response = answered.unwrap_or_else(|late| refused(&late));
                match socket {
                    Some(socket) => socket.switch(response, &self.keeper.tasks),
                    None => response,
                }
            }
            Ok(Answer::Session(opened)) => opened.switch(record, &self.keeper.tasks).await,
            Err(refusal) => {
                let response = refused(&refusal);
                record.refused(&refusal).await;
                response
            }
        }
    }

    async fn carry(
        &self,
        request: Request<Incoming>,
        call: &mut Call,
        record: &mut Record,
        now: Timestamp,
    ) -> Result<Answer, Refusal> {
        // Nothing starts that could not be put on record.
        if !self.keeper.audit.healthy() {
            return Err(Refusal::audit_unavailable());
        }

        // Is it meant for this gateway, in a form that cannot be read in two ways?
        let (head, body) = request.into_parts();
        listener::check_target(&head, &self.hosts)?;
        let mut payload = Payload::from(body);

        // Who is it? Exactly one credential, verified; nothing else the client says about itself counts.
        upstream::refuse_client_identity(&head.headers)?;
        let websocket = upgrade::is_websocket(&head.headers);
        let token = credential::from_headers(&head.headers, websocket)?;
        let identity = self
            .authenticator
            .identify(&token, now)
            .await
            .inspect_err(|error| record.event.refused_caller(error))?;
        record.event.caller(&identity);
        let may = self.holder.in_force.policy.current().allowance(&identity);
        record.metered(self.callers.arrived(&identity, &may, now));

        // What do they want, and where? Exactly as the API server will read it, or not at all.
        let (cluster, target) = self.clusters.route(&head.uri)?;
        let info = Arc::new(RequestInfo::parse(&head.method, target)?);
        record.event.call(&info, cluster);
        record.classed(VerbClass::of(&info));
        call.long_running = info.is_long_running();
        call.streams = call.long_running || info.verb == "list";
        let act = Act {
            identity: &identity,
            peer: call.peer,
            method: &head.method,
            cluster,
            info: &info,
            headers: &head.headers,
        };
        if let Some(session) = info.session() {
            record.attempts(act, &call.audit_id, websocket);
            let command = self.recorded_command(&session, cluster);
            record.event.command(&command);
        }
        self.mask_claims(&mut record.event, cluster);

        // Have they done too much of it already?
        record.counted(act)?;

        // May they? Where that depends on what they write, it is read first; where a rule holds it, somebody has
        // to say yes.
        let permit = self
            .permitted(&identity, act, &mut payload, &call.audit_id, record)
            .await?;
        let permit = Arc::new(permit);
        let spent = record.spends(act);
        let request = Request::from_parts(head, payload);
        let answer = match spent {
            Ok(()) => self.go_on(request, &info, &permit, call, record).await,
            Err(refusal) => Err(refusal),
        };
        if answer.is_err() && !record.is_sent() {
            self.unused(&permit).await;
        }
        answer
    }

    /// Carries out what is permitted.
    async fn go_on(
        &self,
        mut request: Request<Payload>,
        info: &Arc<RequestInfo>,
        permit: &Arc<Permit>,
        call: &Call,
        record: &mut Record,
    ) -> Result<Answer, Refusal> {
        record.allowed(permit);
        // Nothing is asked for that could not be masked.
        self.known.ready(permit)?;
        if info.session().is_some() {
            return Box::pin(self.open_session(request, info, permit, call, record)).await;
        }
        if info.may_be_kubelet_session() {
            open::refuse_kubelet_session(request.headers(), info, permit)?;
        }

        // What do they write, and in which form may the answer come?
        let socket = Socket::asked(&mut request, info)?;
        transform::negotiate(request.headers_mut(), info, permit)?;
        let (request, held) = self.checked(request, info, permit).await?;

        // What they will see has a place, if it is to be kept.
        if let Some(mode) = permit.responses() {
            Box::pin(record.keeps(mode)).await?;
        }

        // As whom, where to? Whatever changes something is on record before it happens, and whoever was blocked, or lost
        // a role, since they came changes nothing.
        self.holder.still_holds(permit)?;
        if info.changes_or_reveals() || permit.strict_audit() {
            record.begun(permit).await?;
        }
        record.sent();
        let mut response = match Review::asked(info) {
            // What they may do, the cluster alone does not know.
            Some(review) => Box::pin(self.reviewed(review, request, info, permit, call)).await?,
            None => self.upstream.send(request, permit, call).await?,
        };
        record.heard();
        self.keep_unused(&mut response, (permit, held), record)
            .await;

        // What may they see, and for how long?
        Ok(self.release(response, info, permit)?.over(socket))
    }

    /// Masks the answer while it comes, and says beside it what the caller should know.
    fn release(
        &self,
        response: Response<Unreleased>,
        info: &Arc<RequestInfo>,
        permit: &Arc<Permit>,
    ) -> Result<Answer, Refusal> {
        let (mut response, masks) =
            transform::release(response, info, permit, &self.placeholders, &self.known)?;
        let own = response.extensions_mut().remove::<grant::Said>();
        let said = own.map(|own| own.0).into_iter();
        let said = said.chain(grant::approved(permit));
        let said = said.chain(grant::observing(
            &self.holder.in_force.policy.current(),
            info,
        ));
        let said = said.map(|said| (WARNING, said));
        response.headers_mut().extend(said);
        let long_running = info.is_long_running();
        Ok(Answer::Whole {
            response: response.map(Released::into_body),
            masks: permit.mask().map(|_| masks),
            ended: self.holder.watch_over(permit, info),
            long_running,
            socket: None,
        })
    }
}

fn new_audit_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// How a request is answered when nothing refuses it.
enum Answer {
    /// An HTTP response, streamed as it comes.
    Whole {
        response: Response<Body>,
        /// What its masks do, if any apply.
        masks: Option<Arc<MaskReport>>,
        ended: Ended,
        long_running: bool,
        /// The client wants it as messages over a WebSocket.
        socket: Option<Socket>,
    },
    /// The API server switched protocols: a shell, an attachment, forwarded ports.
    Session(open::Opened),
}

impl Answer {
    /// The same, over a WebSocket if the client asked for one.
    fn over(mut self, asked: Option<Socket>) -> Self {
        if let Self::Whole { socket, .. } = &mut self {
            *socket = asked;
        }
        self
    }
}
