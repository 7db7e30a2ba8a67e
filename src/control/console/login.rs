//! Logging in: to the provider with the browser, and back with a code that only this browser can use.
//!
//! What a login needs to be finished (state, nonce, PKCE verifier, where to go on) is in a cookie that lasts ten
//! minutes, and nowhere else: who begins a thousand logins fills nothing here. State and nonce bind the provider's
//! answer to that cookie, so a link or a form of somebody else's logs nobody in.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer::{page, see_other, set_cookie};
use super::form::Place;
use super::page;
use super::visits::{NotBegun, Visits};
use crate::audit::Event;
use crate::gateway::body::Body;
use crate::gateway::refuse::Refusal;
use crate::identity::client::http::Http;
use crate::identity::client::login::{Attempt, Awaited, Came};
use crate::identity::client::{Failure, Provider, Registration};
use crate::identity::{Authenticator, BearerToken, IssuerSettings, answers};
use crate::limits;

/// The cookie of somebody who is logged in.
pub(super) const SESSION: &str = "console";
/// The cookie of a login that is under way.
const LOGIN: &str = "login";
/// Where the browser comes back to.
pub(super) const CALLBACK: &str = "/console/callback";
/// Where it goes then, unless it came from elsewhere.
pub(super) const HOME: &str = "/console/approvals";

/// The client that the console is at its provider.
#[derive(Clone, Debug)]
pub struct Client {
    /// The issuer, as the gateway verifies its tokens.
    pub issuer: IssuerSettings,
    /// The client's id.
    pub client_id: String,
    /// Its secret, if it has one.
    pub client_secret: Option<SecretString>,
    /// What it asks for besides `openid`.
    pub scopes: Vec<String>,
}

/// Lets people in.
pub(super) struct Reception {
    client: Client,
    /// What the provider said of itself, and when.
    known: Mutex<Option<(Instant, Arc<Provider>)>>,
    logins: Semaphore,
}

/// A login as its cookie keeps it.
struct Begun {
    attempt: Attempt,
    next: String,
}

impl Reception {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            known: Mutex::new(None),
            logins: Semaphore::new(limits::CONSOLE_LOGINS_MAX),
        }
    }

    /// Whom people log in at: a host.
    pub(super) fn provider_name(&self) -> &str {
        let url = self.client.issuer.url.trim_start_matches("https://");
        url.split('/').next().unwrap_or(url)
    }

    /// Sends the browser to the provider.
    pub(super) async fn begin(&self, place: &Place, next: &str) -> Result<Response<Body>, Refusal> {
        let attempt = Attempt::new(place.url(CALLBACK)).map_err(|error| failed(&error))?;
        let _busy = self.busy()?;
        let mut scopes = vec!["openid"];
        scopes.extend(self.client.scopes.iter().map(String::as_str));
        let more = vec![("scope".to_owned(), scopes.join(" "))];
        let provider = self.provider().await?;
        let url = provider.login_url(&attempt, more);
        let mut response = see_other(&url.map_err(|problem| away(&problem))?);
        let begun = Begun {
            attempt,
            next: safe_path(next).to_owned(),
        };
        let kept = limits::CONSOLE_LOGIN_LIFETIME.as_secs();
        set_cookie(
            &mut response,
            &place.bake(LOGIN, &begun.write(), Some(kept)),
        );
        Ok(response)
    }

    /// Takes the browser back, and begins a session for whoever it is.
    pub(super) async fn finish(
        &self,
        (place, headers, query): (&Place, &HeaderMap, &str),
        (authenticator, visits): (&Authenticator, &Visits),
        event: &mut Event,
    ) -> Result<Response<Body>, Refusal> {
        let begun = place.taste(headers, LOGIN);
        let begun = begun.and_then(|cookie| Begun::read(cookie, place.url(CALLBACK)));
        let begun = begun.ok_or_else(|| {
            Refusal::bad_request("no login of this browser is under way here; begin it again")
        })?;
        let _busy = self.busy()?;
        let provider = self.provider().await?;
        let metadata = &provider.metadata;
        let awaited = Awaited {
            state: &begun.attempt.state,
            issuer: &self.client.issuer.url,
            issuer_is_told: metadata.authorization_response_iss_parameter_supported,
        };
        let code = match awaited.read(query) {
            Came::Code(code) => code,
            Came::Refused(why) => {
                let why = format!("the provider refused the login: {why}");
                return Err(Refusal::never_allowed(why));
            }
            Came::Stray(why) => return Err(Refusal::bad_request(why)),
        };
        let (granted, _) = provider.grant(begun.attempt.form(&code)).await?;
        let token = granted.id_token.ok_or_else(|| {
            away("the provider sent no ID token; does the client have the scope `openid` there?")
        })?;
        let token = BearerToken::new(&token)?;
        // It was issued after the call came, and may be valid only from then on.
        let now = Timestamp::now();
        let identity = authenticator
            .identify(&token, now)
            .await
            .inspect_err(|error| event.refused_caller(error))?;
        event.caller(&identity);
        if identity.issuer() != self.client.issuer.url {
            return Err(Refusal::unauthorized("this token is of another issuer"));
        }
        answers(&token, &self.client.client_id, &begun.attempt.nonce)?;
        if identity.agent().is_some() {
            return Err(Refusal::never_allowed(
                "the console is for people; agents have the API",
            ));
        }
        // Whoever was logged in with this browser no longer is.
        if let Some(former) = place.taste(headers, SESSION) {
            visits.end(former);
        }
        let id = visits
            .begin(token, &identity, now)
            .map_err(|why| match why {
                NotBegun::Full => Refusal::too_many(why.to_string()),
                NotBegun::Random(error) => failed(&error),
            })?;
        let mut response = see_other(&begun.next);
        set_cookie(&mut response, &place.bake(LOGIN, "", Some(0)));
        set_cookie(&mut response, &place.bake(SESSION, &id, None));
        Ok(response)
    }

    /// The page of somebody who is not logged in.
    pub(super) fn sign_in(&self, next: &str, was_here: bool) -> Response<Body> {
        let markup = page::sign_in(self.provider_name(), safe_path(next), was_here);
        page(StatusCode::UNAUTHORIZED, markup)
    }

    fn busy(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Refusal> {
        self.logins
            .try_acquire()
            .map_err(|_| Refusal::too_many("too many people log in at this moment; try again"))
    }

    async fn provider(&self) -> Result<Arc<Provider>, Refusal> {
        let fresh = |at: &Instant| at.elapsed() < limits::CONSOLE_DISCOVERY_LIFETIME;
        if let Some((at, provider)) = &*self.known.lock()
            && fresh(at)
        {
            return Ok(Arc::clone(provider));
        }
        let issuer = &self.client.issuer;
        let authority = issuer.certificate_authority.as_deref();
        let http = Http::new(authority, limits::CONSOLE_PROVIDER_TIMEOUT);
        let registration = Registration {
            issuer: issuer.url.clone(),
            discovery_url: issuer.discovery_url.clone(),
            client_id: self.client.client_id.clone(),
            client_secret: self.client.client_secret.clone(),
        };
        let http = http.map_err(|problem| away(&problem))?;
        let provider = Provider::discover(registration, http).await;
        let provider = Arc::new(provider.map_err(|problem| away(&problem))?);
        *self.known.lock() = Some((Instant::now(), Arc::clone(&provider)));
        Ok(provider)
    }
}

impl Begun {
    fn write(&self) -> String {
        let Attempt {
            state,
            nonce,
            verifier,
            ..
        } = &self.attempt;
        let next = URL_SAFE_NO_PAD.encode(&self.next);
        format!("{state}.{nonce}.{verifier}.{next}")
    }

    fn read(cookie: &str, redirect_uri: String) -> Option<Self> {
        let parts: Vec<&str> = cookie.split('.').collect();
        let [state, nonce, verifier, next] = parts.as_slice() else {
            return None;
        };
        let long = |text: &&str| text.len() == 43;
        if ![state, nonce, verifier].into_iter().all(long) {
            return None;
        }
        let next = URL_SAFE_NO_PAD.decode(next).ok()?;
        Some(Self {
            attempt: Attempt {
                state: (*state).to_owned(),
                nonce: (*nonce).to_owned(),
                verifier: (*verifier).to_owned(),
                redirect_uri,
            },
            next: safe_path(&String::from_utf8(next).ok()?).to_owned(),
        })
    }
}

/// A page of the console, and never another place: no `//host`, no scheme, nothing encoded.
fn safe_path(path: &str) -> &str {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_".contains(&byte);
    let page = path.starts_with("/console/") && !path.contains("//") && path.bytes().all(plain);
    let goes_round = path.starts_with("/console/log") || path == CALLBACK;
    if page && !goes_round { path } else { HOME }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(why) => {
                Self::never_allowed(format!("the provider refused the login: {why}"))
            }
            Failure::Broken(problem) => away(&problem),
        }
    }
}

/// What is wrong with the provider is for the operators' log, and not for everybody who opens the page.
fn away(problem: &str) -> Refusal {
    tracing::warn!(problem, "nobody can log in to the console");
    Refusal::gateway_unavailable(
        "the identity provider cannot be asked at the moment; the gateway's log says why",
    )
    .detail(&problem)
}

fn failed(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::gateway_failed("the login cannot begin").detail(&error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_a_page_of_the_console_and_nowhere_else() {
        for good in ["/console/approvals", "/console/sessions/0199-a_b"] {
            assert_eq!(safe_path(good), good);
        }
        for bad in [
            "",
            "/",
            "https://evil.test",
            "//evil.test",
            "/console//evil.test",
            "/\\evil.test",
            "/console/\\evil.test",
            "/console/%2f%2fevil.test",
            "/console/..//evil.test",
            "/console/../../evil",
            "/console/a?x=https://evil.test",
            "/console/a\r\nSet-Cookie: x",
            "/console/login",
            "/console/logout",
            "/console/callback",
            "/consolex",
            "javascript:alert(1)",
        ] {
            assert_eq!(safe_path(bad), HOME, "{bad:?}");
        }
    }

    #[test]
    fn a_login_is_in_its_cookie_whole() {
        let begun = Begun {
            attempt: Attempt::new("https://gw.test/console/callback").unwrap(),
            next: "/console/sessions".to_owned(),
        };
        let cookie = begun.write();
        assert!(
            cookie
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        );
        let read = Begun::read(&cookie, "https://gw.test/console/callback".to_owned()).unwrap();
        assert!(read.attempt == begun.attempt && read.next == begun.next);
        for bad in ["", "a.b.c.d", "...", &cookie.replacen('.', "", 1)] {
            assert!(Begun::read(bad, String::new()).is_none(), "{bad}");
        }
        let elsewhere = Begun {
            next: "//evil.test".to_owned(),
            ..begun
        };
        let read = Begun::read(&elsewhere.write(), String::new()).unwrap();
        assert_eq!(read.next, HOME);
    }
}
