//! The console: pages for people at the control address, behind a login of their own.
//!
//! It decides nothing. Who sees and does what is said by the code that serves the APIs ([`super::approvals`],
//! [`super::sessions`], [`super::callers`]), which gets the identity of a verified token either way; and every page
//! is an audit event, as a call over the API is. What is its own is the way in ([`login`], [`visits`]), what guards
//! a browser ([`form`], [`answer`]) and how things look.

mod answer;
mod approvals;
mod callers;
mod commands;
mod form;
mod login;
mod page;
mod policy;
mod sessions;
mod visits;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use jiff::Timestamp;

use self::answer::{see_other, set_cookie};
use self::form::{Form, Place};
use self::login::{CALLBACK, HOME, Reception, SESSION};
use self::page::Viewer;
use self::visits::{Pass, Visits};
use super::approvals::Approvals;
use super::audit::Trail;
use super::call::{self, Door, Records};
use super::callers::Callers;
use super::sessions::{Operators, Sessions};
use crate::audit::Event;
use crate::gateway::body::{Body, BodyError};
use crate::gateway::refuse::Refusal;
use crate::identity::client::login::parameters;
use crate::identity::{Authenticator, Fault, Identity};

pub use login::Client;
pub(crate) use page::text::visible;
pub use policy::Rulebook;

/// What every path of the console begins with.
pub(super) const PREFIX: &str = "/console";

/// How the console is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The client that it is at the issuer.
    pub client_id: String,
    /// The file with the client's secret; public clients have none.
    pub client_secret_file: Option<PathBuf>,
    /// The issuer; the only one when absent.
    pub issuer: Option<String>,
    /// What it asks for besides `openid`.
    pub scopes: Vec<String>,
}

/// The console.
pub struct Console {
    place: Place,
    reception: Reception,
    visits: Visits,
    rooms: Rooms,
}

/// What the console shows.
pub struct Rooms {
    /// What waits for a yes.
    pub approvals: Arc<Approvals>,
    /// The sessions, open and past.
    pub sessions: Arc<Sessions>,
    /// What was asked for.
    pub trail: Arc<Trail>,
    /// Who calls.
    pub callers: Arc<Callers>,
    /// What is allowed.
    pub rulebook: Rulebook,
    /// Where every page is put on record.
    pub audit: Records,
    /// Verifies tokens.
    pub authenticator: Arc<Authenticator>,
    /// Who sees more than approvals.
    pub operators: Option<Operators>,
}

/// Somebody who is logged in, as their token says at this moment.
#[derive(Clone)]
struct Guest {
    identity: Arc<Identity>,
    operator: bool,
    pass: Pass,
}

impl Guest {
    /// What a page loads for as long as it lasts. It breaks off when the session is over or its person shut out.
    fn lasting(
        &self,
        answer: Response<Body>,
        authenticator: &Arc<Authenticator>,
    ) -> Response<Body> {
        let over = self.pass.over.clone();
        let identity = Some(Arc::clone(&self.identity));
        let shut_out = call::shut_out(Arc::clone(authenticator), identity);
        let end = async move {
            tokio::select! {
                () = over.cancelled() => {}
                () = shut_out => {}
            }
        };
        answer.map(|body| call::broken_off(body, end))
    }

    fn viewer(&self) -> Viewer {
        Viewer {
            name: self.identity.username().to_owned(),
            operator: self.operator,
            csrf: Arc::clone(&self.pass.csrf),
        }
    }
}

impl Console {
    /// A console at this URL.
    #[must_use]
    pub fn new(url: &str, client: Client, rooms: Rooms) -> Self {
        Self {
            place: Place::new(url),
            reception: Reception::new(client),
            visits: Visits::default(),
            rooms,
        }
    }

    /// Ends the sessions whose time is over.
    pub(super) fn sweep(&self) {
        self.visits.sweep(Timestamp::now());
    }

    /// Answers a browser.
    pub(super) async fn serve<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BodyError>,
    {
        let answer = answer::secured(self.route(request, peer).await);
        self.place.kept_to_tls(answer)
    }

    async fn route<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BodyError>,
    {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        if let Some(name) = path.strip_prefix("/console/static/") {
            let found = answer::file(name).filter(|_| method == Method::GET);
            return found.unwrap_or_else(|| problem(&Refusal::not_found("there is no such file")));
        }
        if !self.place.is_named_by(request.headers()) {
            return problem(&Refusal::bad_request(format!(
                "the console is at {} and has no other name",
                self.place.url(PREFIX)
            )));
        }
        match (method, path.as_str()) {
            (Method::GET, "/console/login") => {
                let query = parameters(request.uri().query().unwrap_or_default());
                let query = query.unwrap_or_default();
                let next = query.iter().find(|(key, _)| key == "next");
                let next = next.map_or(HOME, |(_, next)| next);
                let begun = self.reception.begin(&self.place, next).await;
                begun.unwrap_or_else(|refusal| problem(&refusal))
            }
            (Method::GET, CALLBACK) => self.call_back(&request, peer).await,
            _ => self.receive(request, peer).await,
        }
    }

    /// Ends a login, which is on record either way. Its query has a code in it, and is not.
    async fn call_back<B>(&self, request: &Request<B>, peer: SocketAddr) -> Response<Body> {
        let now = Timestamp::now();
        let mut event = call::received_at(CALLBACK, request, &Door::Address(peer), now);
        event.annotate("portcullis.dev/console", "log in");
        if let Err(unrecorded) = call::recordable(&self.rooms.audit) {
            return problem(&unrecorded);
        }
        let query = request.uri().query().unwrap_or_default();
        let finished = self.reception.finish(
            (&self.place, request.headers(), query),
            (&self.rooms.authenticator, &self.visits),
            &mut event,
        );
        let answer = finished.await;
        call::answered_as(&self.rooms.audit, event, answer, &problem).await
    }

    /// Shows who is logged in what they asked for, and the way in to everybody else.
    async fn receive<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BodyError>,
    {
        let now = Timestamp::now();
        let path = request.uri().path().to_owned();
        let id = self.place.taste(request.headers(), SESSION);
        let by_itself = request.headers().get("sec-fetch-mode");
        let by_hand = by_itself.is_none_or(|mode| mode == "navigate");
        let pass = id.and_then(|id| self.visits.look(id, now, by_hand));
        let (Some(id), Some(pass)) = (id.map(str::to_owned), pass) else {
            // What a form was sent to is no page: one goes on at the page that had the form.
            let page = match (request.method(), path.rsplit_once('/')) {
                (&Method::POST, Some((page, _))) => page,
                _ => &path,
            };
            return self.reception.sign_in(page, id.is_some());
        };
        let target = on_record(request.uri());
        let mut event = call::received_at(&target, &request, &Door::Address(peer), now);
        let identity = match self.rooms.authenticator.identify(&pass.token, now).await {
            Ok(identity) => identity,
            Err(error) => {
                // An issuer whose keys are away says nothing about the token.
                if error.fault() != Fault::Gateway {
                    self.visits.end(&id);
                }
                event.refused_caller(&error);
                let answer = Err(error.into());
                return call::answered_as(&self.rooms.audit, event, answer, &problem).await;
            }
        };
        let operators = self.rooms.operators.as_ref();
        let guest = Guest {
            operator: operators.is_some_and(|operators| operators.include(&identity)),
            identity,
            pass,
        };
        event.caller(&guest.identity);
        let answer = self
            .show(request, (&guest, &id, peer), &mut event, now)
            .await;
        call::answered_as(&self.rooms.audit, event, answer, &problem).await
    }

    async fn show<B>(
        &self,
        request: Request<B>,
        (guest, id, peer): (&Guest, &str, SocketAddr),
        event: &mut Event,
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BodyError>,
    {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.split('/').skip(2).collect();
        // A disk that is full must not disarm the switch.
        let blocks = matches!(parts.as_slice(), ["callers", "block"]);
        if !blocks {
            call::recordable(&self.rooms.audit)?;
        }
        if matches!(
            parts.first(),
            Some(&("commands" | "sessions" | "callers" | "policy"))
        ) {
            let door = Door::Console(peer, Arc::clone(&guest.identity));
            let operators = (&*self.rooms.authenticator, self.rooms.operators.as_ref());
            call::operator(operators, &request, &door, event, now).await?;
        }
        if let ["approvals", id, ..] = parts.as_slice()
            && *id != "events"
        {
            event.annotate("portcullis.dev/approval", call::one_line(id, 64));
        }
        if *request.method() == Method::GET {
            let query = request.uri().query().unwrap_or_default();
            return self.read(&parts, query, guest, now).await;
        }
        let form = Form::read(request, &self.place, &guest.pass.csrf).await?;
        match parts.as_slice() {
            ["logout"] => {
                self.visits.end(id);
                event.annotate("portcullis.dev/console", "log out");
                let mut response = see_other(PREFIX);
                set_cookie(&mut response, &self.place.bake(SESSION, "", Some(0)));
                Ok(response)
            }
            ["approvals", id, what] => {
                approvals::answer(&self.rooms.approvals, guest, (id, what), &form, event).await
            }
            ["sessions", id, "end"] => {
                sessions::kill(&self.rooms.sessions, guest, id, &form, event)
            }
            ["callers", what @ ("block" | "unblock")] => {
                let change = (*what == "block", &form);
                callers::change(&self.rooms.callers, guest, change, event, now).await
            }
            _ => Err(nothing_here()),
        }
    }

    /// The pages, and what they load.
    async fn read(
        &self,
        parts: &[&str],
        query: &str,
        guest: &Guest,
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        let Rooms {
            approvals: desk,
            sessions: shells,
            callers: people,
            ..
        } = &self.rooms;
        let lasting = |answer: Result<Response<Body>, Refusal>| {
            answer.map(|answer| guest.lasting(answer, &self.rooms.authenticator))
        };
        match parts {
            [] | [""] => Ok(see_other(HOME)),
            ["approvals"] => approvals::list(desk, guest, now).await,
            ["approvals", "events"] => lasting(approvals::events(desk, guest)),
            ["approvals", id] => approvals::show(desk, guest, id, now).await,
            ["commands"] => commands::list(&self.rooms.trail, guest, query, now).await,
            ["commands", id] => commands::show(&self.rooms.trail, guest, id).await,
            ["sessions"] => sessions::list(shells, guest, query, now).await,
            ["sessions", id] => sessions::show(shells, guest, id, now).await,
            ["sessions", id, "cast"] => lasting(sessions::cast(shells, id).await),
            ["sessions", id, "text"] => lasting(sessions::text(shells, id).await),
            ["sessions", id, "live"] => lasting(sessions::live(shells, id)),
            ["callers"] => Ok(callers::list(people, guest, query == "all=true", now)),
            ["policy"] => policy::show(&self.rooms.rulebook, guest, query),
            _ => Err(nothing_here()),
        }
    }
}

/// The target of a request as the audit log keeps it: what is searched for in recordings may be the very secret that
/// leaked.
fn on_record(uri: &http::Uri) -> String {
    let Some(query) = uri.query() else {
        return uri.path().to_owned();
    };
    let kept: Vec<&str> = query
        .split('&')
        .map(|pair| {
            if pair.starts_with("text=") {
                "text=scrubbed"
            } else {
                pair
            }
        })
        .collect();
    format!("{}?{}", uri.path(), kept.join("&"))
}

fn nothing_here() -> Refusal {
    Refusal::not_found("there is no such page in the console")
}

/// Who opens the control address itself wants the console.
pub(super) fn at_the_root() -> Response<Body> {
    answer::secured(see_other(PREFIX))
}

/// A refusal as a page.
fn problem(refusal: &Refusal) -> Response<Body> {
    let code: StatusCode = refusal.code();
    answer::page(code, page::problem(code.as_u16(), refusal.message()))
}

#[cfg(test)]
mod tests;
