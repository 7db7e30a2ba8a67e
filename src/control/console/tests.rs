//! A browser at the console, with an issuer whose answers are scripted.

use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http_body_util::BodyExt as _;
use loadtest::issuer::{Answer, Document, Issuer, Running};
use loadtest::pki::Ca;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::policy::Rulebook;
use super::*;
use crate::approval::ledger::Wish;
use crate::approval::{Ahead, Desk, Digest, Person, Store};
use crate::audit::AuditLog;
use crate::callers::Callers as Table;
use crate::config::live::Live;
use crate::control::Records;
use crate::gateway::body;
use crate::identity::{IssuerSettings, Refused, Revocations};
use crate::metrics::Metrics;
use crate::policy::{Hold, Policy};
use crate::recording::index::Catalog;
use crate::recording::{self, Recorder};
use crate::wire::asciicast::Version;

mod commands;
mod logins;
mod questions;

const PLACE: &str = "https://console.test";
const SESSION_COOKIE: &str = "__Host-portcullis-console";
const LOGIN_COOKIE: &str = "__Host-portcullis-login";

/// A console, and the issuer that it trusts.
struct Place {
    issuer: Running,
    console: Console,
    revocations: Arc<Live<Revocations>>,
    folder: TempDir,
}

/// What came back.
struct Shown {
    status: u16,
    headers: http::HeaderMap,
    text: String,
}

impl Shown {
    fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// `name=value` of a cookie that was set.
    fn cookie(&self, name: &str) -> Option<String> {
        let lines = self.headers.get_all(SET_COOKIE).iter();
        let lines = lines.map(|line| line.to_str().unwrap());
        let mut found = lines.filter(|line| line.starts_with(&format!("{name}=")));
        let pair = found.next()?.split(';').next()?;
        Some(pair.to_owned())
    }
}

/// A login whose browser is at the provider.
struct Away {
    cookie: String,
    state: String,
    nonce: String,
}

impl Place {
    async fn start() -> Self {
        let ca = Ca::new().unwrap();
        let tls = ca.server_config(&["localhost"], &["http/1.1"]).unwrap();
        let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), tls)
            .await
            .unwrap();
        let mut settings = IssuerSettings::new(issuer.url(), vec!["console".to_owned()]);
        settings.certificate_authority = Some(ca.pem());
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).unwrap();
        let callers = Table::open(store.clone()).await.unwrap();
        let refused = Refused {
            blocks: Arc::clone(callers.blocks()),
            ..Refused::nobody()
        };
        let revocations = Arc::clone(&refused.revocations);
        let authenticator = Authenticator::start(
            crate::identity::Settings {
                issuers: vec![settings.clone()],
                stream_grace: std::time::Duration::ZERO,
            },
            refused,
            &TaskTracker::new(),
            CancellationToken::new(),
        )
        .unwrap();
        while authenticator.ready().is_err() {
            tokio::task::yield_now().await;
        }
        let client = Client {
            issuer: settings,
            client_id: "console".to_owned(),
            client_secret: None,
            scopes: vec!["profile".to_owned()],
        };
        let rooms = rooms(&folder, authenticator, (store, callers)).await;
        let place = Self {
            console: Console::new(PLACE, client, rooms),
            issuer,
            revocations,
            folder,
        };
        place.answer(place.discovery());
        place
    }

    fn discovery(&self) -> Value {
        let url = self.issuer.url();
        json!({
            "issuer": url,
            "authorization_endpoint": format!("{url}/auth"),
            // Once discovery was read, what is scripted for it is the token endpoint's answer.
            "token_endpoint": format!("{url}/.well-known/openid-configuration"),
            "jwks_uri": format!("{url}/keys"),
        })
    }

    fn answer(&self, document: Value) {
        self.issuer
            .script(Document::Discovery, Answer::Json(document));
    }

    async fn send(&self, request: Request<Body>) -> Shown {
        let peer = "127.0.0.1:1".parse().unwrap();
        let response = self.console.serve(request, peer).await;
        let (head, body) = response.into_parts();
        let bytes = body::read_bounded(body, 1 << 20).await.unwrap();
        Shown {
            status: head.status.as_u16(),
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn get(&self, target: &str, cookie: &str) -> Shown {
        let request = Request::get(target)
            .header("host", "console.test")
            .header(COOKIE, cookie)
            .body(body::empty());
        self.send(request.unwrap()).await
    }

    async fn post(&self, target: &str, cookie: &str, form: &str) -> Shown {
        let request = Request::post(target)
            .header("host", "console.test")
            .header("origin", PLACE)
            .header("content-type", "application/x-www-form-urlencoded")
            .header(COOKIE, cookie)
            .body(body::full(form.to_owned()));
        self.send(request.unwrap()).await
    }

    async fn begin(&self, next: &str) -> Away {
        self.answer(self.discovery());
        let target = format!("/console/login?next={next}");
        let sent = self.get(&target, "").await;
        assert_eq!(sent.status, 303, "{}", sent.text);
        let location = sent.header(LOCATION);
        assert!(
            location.starts_with(&format!("{}/auth?", self.issuer.url())),
            "{location}"
        );
        let query = location.split_once('?').unwrap().1;
        let query = parameters(query).unwrap();
        let of = |name: &str| query.iter().find(|(key, _)| key == name).unwrap().1.clone();
        assert_eq!(of("redirect_uri"), format!("{PLACE}/console/callback"));
        assert_eq!(of("scope"), "openid profile");
        assert_eq!(of("code_challenge_method"), "S256");
        Away {
            cookie: sent.cookie(LOGIN_COOKIE).unwrap(),
            state: of("state"),
            nonce: of("nonce"),
        }
    }

    /// The next ID token: these claims over good ones.
    fn grant(&self, away: &Away, changed: &Value) {
        let mut claims =
            json!({"aud": "console", "sub": "carol", "groups": ["ops"], "nonce": away.nonce});
        let changed = changed.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(changed);
        let token = self.issuer.issue(claims).unwrap();
        self.answer(json!({"id_token": token}));
    }

    async fn come_back(&self, away: &Away) -> Shown {
        let target = format!("/console/callback?code=c0de&state={}", away.state);
        self.get(&target, &away.cookie).await
    }

    /// The cookie of somebody with these claims who has just logged in.
    async fn log_in(&self, claims: Value) -> String {
        let away = self.begin("/console/approvals").await;
        self.grant(&away, &claims);
        let back = self.come_back(&away).await;
        assert_eq!(back.status, 303, "{}", back.text);
        back.cookie(SESSION_COOKIE).unwrap()
    }

    async fn csrf(&self, cookie: &str) -> String {
        let page = self.get("/console/approvals", cookie).await;
        let (_, rest) = page.text.split_once("name=\"csrf\" value=\"").unwrap();
        rest.split_once('"').unwrap().0.to_owned()
    }

    fn audit(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
        let lines = text.lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

async fn rooms(
    folder: &TempDir,
    authenticator: Arc<Authenticator>,
    (store, callers): (Store, Arc<Table>),
) -> Rooms {
    let log = crate::audit::Settings::new(&folder.path().join("audit.jsonl"), folder.path());
    let audit = Records::new(AuditLog::open(&log).unwrap(), |text| text);
    let operators = Some(Operators {
        users: Vec::new(),
        groups: vec!["ops".to_owned()],
    });
    let settings = recording::Settings {
        directory: folder.path().join("recordings"),
        format: Version::V2,
        max_bytes: 1 << 20,
        part_bytes: 1 << 20,
    };
    Rooms {
        approvals: Arc::new(Approvals {
            desk: Desk::open(store, Metrics::new().0).await.unwrap(),
            audit: audit.clone(),
            authenticator: Arc::clone(&authenticator),
            operators: operators.clone(),
            watchers: crate::control::approvals::Watchers::default(),
            policy: Live::new(Arc::new(
                Policy::compile(crate::policy::PolicySource::default()).unwrap(),
            )),
            at: "https://portcullis.example".to_owned(),
        }),
        sessions: Arc::new(Sessions {
            recorder: Arc::new(Recorder::start(settings, None, Metrics::new().0).unwrap()),
            catalog: Catalog::new(
                folder.path().join("index.db"),
                folder.path().join("recordings"),
            ),
            audit: audit.clone(),
            authenticator: Arc::clone(&authenticator),
            operators: operators.clone(),
            searches: crate::control::Searches::default(),
        }),
        callers: Arc::new(Callers {
            callers,
            audit: audit.clone(),
            authenticator: Arc::clone(&authenticator),
            operators: operators.clone(),
        }),
        trail: Arc::new(Trail::of(&log.file)),
        rulebook: Rulebook {
            policy: Live::new(Arc::new(
                Policy::compile(crate::policy::PolicySource::default()).unwrap(),
            )),
            clusters: vec!["east".to_owned()],
            default_cluster: None,
        },
        audit,
        authenticator,
        operators,
    }
}

#[tokio::test]
async fn somebody_logs_in_looks_around_and_logs_out() {
    let place = Place::start().await;
    let nobody = place.get("/console/sessions", "").await;
    assert_eq!(nobody.status, 401);
    assert!(
        nobody
            .text
            .contains("/console/login?next=/console/sessions")
    );

    let away = place.begin("/console/sessions").await;
    place.grant(&away, &json!({}));
    let back = place.come_back(&away).await;
    assert_eq!(
        (back.status, back.header(LOCATION)),
        (303, "/console/sessions")
    );
    assert_eq!(
        back.cookie(LOGIN_COOKIE).unwrap(),
        format!("{LOGIN_COOKIE}=")
    );
    let cookie = back.cookie(SESSION_COOKIE).unwrap();
    for (target, title) in [
        ("/console/approvals", "Nothing waits for you"),
        ("/console/sessions", "No session"),
        ("/console/commands", "No command"),
        ("/console/commands?verdict=deny", "No command"),
        ("/console/callers?all=true", "Block somebody"),
        ("/console/policy", "What would it say?"),
        (
            "/console/policy?user=dora&groups=&agent=&cluster=east&request=GET+/api/v1/pods",
            "since no rule allows it",
        ),
    ] {
        let page = place.get(target, &cookie).await;
        assert!(
            page.status == 200 && page.text.contains(title),
            "{target}: {}",
            page.text
        );
        assert!(page.text.contains("carol") && page.text.contains("Log out"));
    }
    let csrf = place.csrf(&cookie).await;
    let out = place
        .post("/console/logout", &cookie, &format!("csrf={csrf}"))
        .await;
    assert_eq!(out.status, 303);
    assert_eq!(place.get("/console/approvals", &cookie).await.status, 401);

    let events = place.audit();
    let login = &events[0];
    assert_eq!(
        login["requestURI"], "/console/callback",
        "no code is on record"
    );
    assert_eq!(login["user"]["username"], "carol");
    assert_eq!(login["annotations"]["portcullis.dev/console"], "log in");
    let uris: Vec<&str> = events
        .iter()
        .map(|event| event["requestURI"].as_str().unwrap())
        .collect();
    assert!(
        uris.contains(&"/console/sessions") && uris.contains(&"/console/logout"),
        "{uris:?}"
    );
}

#[tokio::test]
async fn every_answer_has_the_strict_headers() {
    let place = Place::start().await;
    let cookie = place.log_in(json!({})).await;
    for (target, cookie) in [
        ("/console", ""),
        ("/console/static/console.css", ""),
        ("/console/static/none", ""),
        ("/console/login", ""),
        ("/console/callback", ""),
        ("/console/approvals", cookie.as_str()),
        ("/console/policy", cookie.as_str()),
        ("/console/none", cookie.as_str()),
    ] {
        place.answer(place.discovery());
        let page = place.get(target, cookie).await;
        let csp = page.header("content-security-policy");
        assert!(
            csp.starts_with("default-src 'none'; script-src 'self'; "),
            "{target}: {csp}"
        );
        assert!(csp.ends_with("frame-ancestors 'none'"), "{target}: {csp}");
        assert!(
            !csp.contains("unsafe") && !csp.contains("data:"),
            "{target}: {csp}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
            ("strict-transport-security", "max-age=31536000"),
        ] {
            assert_eq!(page.header(name), value, "{target}");
        }
        for inline in ["<script>", "style=", " onclick", " onload", "javascript:"] {
            assert!(!page.text.contains(inline), "{target}: {inline}");
        }
    }
}

#[tokio::test]
async fn forms_of_others_change_nothing() {
    let place = Place::start().await;
    let [carol, oscar] = [
        place.log_in(json!({})).await,
        place.log_in(json!({"sub": "oscar"})).await,
    ];
    let (ours, theirs) = (place.csrf(&carol).await, place.csrf(&oscar).await);
    let block = |csrf: &str| format!("csrf={csrf}&kind=user&name=mallory&reason=why");
    let target = "/console/callers/block";
    assert_eq!(place.post(target, &carol, &block("")).await.status, 403);
    assert_eq!(
        place.post(target, &carol, &block(&theirs)).await.status,
        403
    );
    assert_eq!(place.post(target, "", &block(&ours)).await.status, 401);
    let foreign = Request::post(target)
        .header("host", "console.test")
        .header("origin", "https://evil.test")
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/x-www-form-urlencoded")
        .header(COOKIE, &carol)
        .body(body::full(block(&ours)));
    assert_eq!(place.send(foreign.unwrap()).await.status, 403);
    assert_eq!(
        place
            .get(&format!("{target}?{}", block(&ours)), &carol)
            .await
            .status,
        404
    );
    let blocks = || place.console.rooms.callers.callers.blocks().current();
    assert!(blocks().is_empty());
    assert_eq!(place.post(target, &carol, &block(&ours)).await.status, 303);
    assert_eq!(blocks().len(), 1);
    let page = place.get("/console/callers", &carol).await;
    assert!(page.text.contains("mallory"), "{}", page.text);
}

#[tokio::test]
async fn whoever_is_no_operator_sees_approvals_alone() {
    let place = Place::start().await;
    let dora = place
        .log_in(json!({"sub": "dora", "groups": ["developers"]}))
        .await;
    let page = place.get("/console/approvals", &dora).await;
    assert_eq!(page.status, 200);
    assert!(!page.text.contains("/console/sessions"), "{}", page.text);
    for target in [
        "/console/commands",
        "/console/commands/01997c3e-8f0e-7c52-9d2b-6a1f0f4c1f11",
        "/console/sessions",
        "/console/sessions/0199",
        "/console/sessions/0199/cast",
        "/console/sessions/0199/live",
        "/console/sessions/0199/text",
        "/console/callers",
        "/console/policy",
    ] {
        assert_eq!(place.get(target, &dora).await.status, 403, "{target}");
    }
    let csrf = place.csrf(&dora).await;
    for target in [
        "/console/sessions/0199/end",
        "/console/callers/block",
        "/console/callers/unblock",
    ] {
        let form = format!("csrf={csrf}&kind=user&name=carol&reason=x");
        assert_eq!(
            place.post(target, &dora, &form).await.status,
            403,
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_revoked_token_ends_its_session() {
    let place = Place::start().await;
    let carol = place.log_in(json!({"jti": "t-1"})).await;
    assert_eq!(place.get("/console/approvals", &carol).await.status, 200);
    let whose = crate::identity::Whose::User("carol".to_owned());
    let list = Revocations::new("1".to_owned(), [(whose, None)]);
    place.revocations.replace_in_tests(list);
    let page = place.get("/console/approvals", &carol).await;
    assert_eq!(page.status, 401, "{}", page.text);
    assert!(page.text.contains("revoked"), "{}", page.text);
    place.revocations.replace_in_tests(Revocations::default());
    let page = place.get("/console/approvals", &carol).await;
    assert_eq!(page.status, 401, "it is gone for good: {}", page.text);
}

#[tokio::test]
async fn names_that_are_markup_are_shown_and_do_nothing() {
    let place = Place::start().await;
    let evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
    let cookie = place.log_in(json!({"sub": evil})).await;
    let csrf = place.csrf(&cookie).await;
    let name = crate::identity::client::login::encoded(evil);
    let block = format!("csrf={csrf}&kind=user&name={name}x&reason={name}");
    let blocked = place.post("/console/callers/block", &cookie, &block).await;
    assert_eq!(blocked.status, 303, "{}", blocked.text);
    for target in [
        "/console/approvals".to_owned(),
        "/console/callers".to_owned(),
        format!("/console/sessions?user={name}&command={name}"),
        format!("/console/sessions?text={name}"),
        format!("/console/sessions?{name}={name}"),
        format!("/console/commands?user={name}&namespace={name}"),
        format!("/console/commands?{name}={name}"),
        format!("/console/commands/{name}"),
        format!("/console/policy?user={name}&request={name}"),
        format!(
            "/console/policy?user={name}&groups={name}&agent={name}&request=GET+/api/v1/pods&cluster=east"
        ),
        format!("/console/approvals/{name}"),
        format!("/console/{name}"),
    ] {
        let page = place.get(&target, &cookie).await;
        assert!(
            !page.text.contains("<script>") && !page.text.contains("<img"),
            "{target}: {}",
            page.text
        );
        assert!(!page.text.contains("\"'>"), "{target}: {}", page.text);
    }
    let page = place.get("/console/callers", &cookie).await;
    assert!(
        page.text.contains("&lt;script&gt;alert(1)"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn another_host_name_and_another_method_get_nothing() {
    let place = Place::start().await;
    let cookie = place.log_in(json!({})).await;
    for host in ["evil.test", "console.test.evil.test", "127.0.0.1"] {
        let request = Request::get("/console/approvals")
            .header("host", host)
            .header(COOKIE, &cookie)
            .body(body::empty());
        let page = place.send(request.unwrap()).await;
        assert_eq!(page.status, 400, "{host}");
        assert!(!page.text.contains("Log out"), "{host}");
    }
    for method in [Method::PUT, Method::DELETE, Method::HEAD] {
        let mut request = Request::get("/console/approvals")
            .header("host", "console.test")
            .header(COOKIE, &cookie)
            .body(body::empty())
            .unwrap();
        *request.method_mut() = method.clone();
        assert_eq!(place.send(request).await.status, 405, "{method}");
    }
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_so_and_nothing_more() {
    let place = Place::start().await;
    place
        .issuer
        .script(Document::Discovery, Answer::Status(500));
    let page = place.get("/console/login", "").await;
    assert_eq!(page.status, 503);
    assert!(!page.text.contains(place.issuer.url()), "{}", page.text);
    place.answer(json!({"issuer": "https://evil.test", "token_endpoint": "x", "jwks_uri": "x"}));
    assert_eq!(place.get("/console/login", "").await.status, 503);
    let mut plain = place.discovery();
    plain["authorization_endpoint"] = json!("http://evil.test/auth");
    place.answer(plain);
    assert_eq!(place.get("/console/login", "").await.status, 503);
}

#[tokio::test]
async fn what_is_searched_for_is_on_no_record() {
    let place = Place::start().await;
    let carol = place.log_in(json!({})).await;
    let target = "/console/sessions?user=a&text=hunter2&te%78t=hunter2";
    place.get(target, &carol).await;
    place.get("/console/sessions?text=hunter2", &carol).await;
    let told = format!("{:?}", place.audit());
    assert!(told.contains("/console/sessions?text=scrubbed"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_form_that_comes_too_late_leads_back_to_its_page() {
    let place = Place::start().await;
    for (sent, page) in [
        ("/console/approvals/abc/approve", "/console/approvals/abc"),
        ("/console/callers/block", "/console/callers"),
        ("/console/logout", "/console/approvals"),
    ] {
        let answer = place.post(sent, "", "reason=x").await;
        let login = format!("\"/console/login?next={page}\"");
        assert!(
            answer.status == 401 && answer.text.contains(&login),
            "{}",
            answer.text
        );
    }
}
