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
use crate::callers::Callers as Table;
use crate::config::live::Live;
use crate::gateway::body;
use crate::identity::{IssuerSettings, Refused, Revocations};
use crate::metrics::Metrics;
use crate::policy::{Hold, Policy};
use crate::recording::index::Catalog;
use crate::recording::{self, Recorder};
use crate::wire::asciicast::Version;

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
    let audit = AuditLog::open(&log).unwrap();
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
async fn only_the_browser_that_began_a_login_ends_it() {
    let place = Place::start().await;
    let (away, other) = (place.begin("").await, place.begin("").await);
    place.grant(&away, &json!({}));
    let state = &away.state;
    for (what, target, cookie, code) in [
        (
            "no cookie",
            format!("code=c&state={state}"),
            String::new(),
            400,
        ),
        (
            "another login's cookie",
            format!("code=c&state={state}"),
            other.cookie.clone(),
            400,
        ),
        (
            "a wrong state",
            "code=c&state=wrong".to_owned(),
            away.cookie.clone(),
            400,
        ),
        ("no state", "code=c".to_owned(), away.cookie.clone(), 400),
        (
            "no code",
            format!("state={state}"),
            away.cookie.clone(),
            400,
        ),
        (
            "two codes",
            format!("code=c&code=d&state={state}"),
            away.cookie.clone(),
            400,
        ),
        (
            "a cut cookie",
            format!("code=c&state={state}"),
            away.cookie.chars().take(60).collect(),
            400,
        ),
        (
            "two cookies",
            format!("code=c&state={state}"),
            format!("{}; {}", away.cookie, other.cookie),
            400,
        ),
        (
            "another provider",
            format!("code=c&state={state}&iss=https://evil.test"),
            away.cookie.clone(),
            403,
        ),
        (
            "a no",
            format!("error=access_denied&error_description=%3Cscript%3E&state={state}"),
            away.cookie.clone(),
            403,
        ),
    ] {
        let back = place
            .get(&format!("/console/callback?{target}"), &cookie)
            .await;
        assert_eq!(back.status, code, "{what}: {}", back.text);
        assert!(back.cookie(SESSION_COOKIE).is_none(), "{what}");
        assert!(!back.text.contains("<script>"), "{what}: {}", back.text);
    }
    assert_eq!(place.come_back(&away).await.status, 303, "the right one");
}

#[tokio::test]
async fn only_a_token_of_this_login_for_this_console_is_taken() {
    let place = Place::start().await;
    for (what, changed) in [
        ("a nonce of another login", json!({"nonce": "stolen"})),
        ("no nonce", json!({"nonce": null})),
        ("another client's", json!({"aud": "cli"})),
        (
            "handed on",
            json!({"aud": ["console", "cli"], "azp": "cli"}),
        ),
        ("expired", json!({"iat": 1_000, "exp": 2_000})),
        ("of another issuer", json!({"iss": "https://evil.test"})),
        ("an agent's", json!({"act": {"sub": "robot"}})),
        ("a name of Kubernetes", json!({"sub": "system:admin"})),
    ] {
        let away = place.begin("").await;
        place.grant(&away, &changed);
        let back = place.come_back(&away).await;
        assert!((400..500).contains(&back.status), "{what}: {}", back.status);
        assert!(back.cookie(SESSION_COOKIE).is_none(), "{what}");
    }
    // A code is exchanged once: the provider says no to a second time, and so does the console.
    let away = place.begin("").await;
    place.grant(&away, &json!({}));
    assert_eq!(place.come_back(&away).await.status, 303);
    place.answer(json!({"error": "invalid_grant"}));
    let again = place.come_back(&away).await;
    assert!(again.cookie(SESSION_COOKIE).is_none(), "{}", again.text);
    for answer in [
        json!({}),
        json!({"id_token": "opaque"}),
        json!({"id_token": "a.b.c"}),
    ] {
        let away = place.begin("").await;
        place.answer(answer);
        assert!(
            place
                .come_back(&away)
                .await
                .cookie(SESSION_COOKIE)
                .is_none()
        );
    }
}

#[tokio::test]
async fn a_session_id_is_never_one_that_the_browser_brought() {
    let place = Place::start().await;
    let planted = format!("{SESSION_COOKIE}=planted");
    assert_eq!(place.get("/console/approvals", &planted).await.status, 401);
    let away = place.begin("").await;
    place.grant(&away, &json!({}));
    let both = Away {
        cookie: format!("{}; {planted}", away.cookie),
        ..away
    };
    let back = place.come_back(&both).await;
    let first = back.cookie(SESSION_COOKIE).unwrap();
    assert_ne!(first, planted);
    assert_eq!(place.get("/console/approvals", &planted).await.status, 401);
    // Logging in again with the same browser ends the former session.
    let away = place.begin("").await;
    place.grant(&away, &json!({}));
    let again = Away {
        cookie: format!("{}; {first}", away.cookie),
        ..away
    };
    let second = place
        .come_back(&again)
        .await
        .cookie(SESSION_COOKIE)
        .unwrap();
    assert_ne!(first, second);
    assert_eq!(place.get("/console/approvals", &first).await.status, 401);
    assert_eq!(place.get("/console/approvals", &second).await.status, 200);
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

/// What a caller claims, asks for and is told is shown as it is, and hides nothing.
#[tokio::test]
async fn commands_show_what_callers_chose_and_nothing_of_it_acts() {
    let place = Place::start().await;
    let evil = "<script>alert(1)</script><img src=x>\"' \u{202e}\u{1b}[2J";
    let carol = place.log_in(json!({})).await;
    let id = uuid::Uuid::now_v7().to_string();
    let now = Timestamp::now();
    let event = json!({
        "auditID": id, "stage": "ResponseComplete", "verb": "delete", "requestURI": evil, "user": {"username": evil},
        "objectRef": {"resource": evil, "namespace": evil, "name": evil, "apiVersion": "v1"},
        "responseStatus": {"code": 403, "message": evil}, "requestReceivedTimestamp": now, "stageTimestamp": now,
        "annotations": {
            "portcullis.dev/decision": "deny", "portcullis.dev/rule": evil, "portcullis.dev/agent": evil,
            "portcullis.dev/cluster": evil, "portcullis.dev/claimed-command": evil, "portcullis.dev/claimed-session": evil,
            "portcullis.dev/approval": evil, "portcullis.dev/grant": evil, "portcullis.dev/recording": evil,
            "portcullis.dev/masked-paths": evil, "portcullis.dev/other": evil,
        },
    });
    let file = place.folder.path().join("audit.jsonl");
    let mut log = std::fs::OpenOptions::new().append(true).open(file).unwrap();
    std::io::Write::write_all(&mut log, format!("{event}\n").as_bytes()).unwrap();

    let agent = crate::identity::client::login::encoded(evil);
    for target in [
        "/console/commands".to_owned(),
        format!("/console/commands?agent={agent}&verdict=deny"),
        format!("/console/commands/{id}"),
    ] {
        let page = place.get(&target, &carol).await;
        assert_eq!(page.status, 200, "{target}: {}", page.text);
        assert!(
            page.text.contains("&lt;script&gt;alert(1)"),
            "{target}: {}",
            page.text
        );
        assert!(page.text.contains(&format!("/console/commands/{id}")) || target.ends_with(&id));
        // What was typed into a field stays in it as it was.
        let behind = page.text.rsplit("</form>").next().unwrap();
        let told = if target.contains('?') {
            behind
        } else {
            &page.text
        };
        for bad in ["<script>", "<img", "\"'"] {
            assert!(
                !page.text.contains(bad),
                "{target}: {bad:?} in {}",
                page.text
            );
        }
        for bad in ["\u{202e}", "\u{1b}"] {
            assert!(!told.contains(bad), "{target}: {bad:?} in {told}");
        }
    }
}

#[tokio::test]
async fn what_people_look_at_is_on_record_and_not_in_their_way() {
    let place = Place::start().await;
    let carol = place.log_in(json!({})).await;
    // What people look at here is on record, and not in their way.
    let list = place.get("/console/commands", &carol).await;
    assert!(
        !list.text.contains("get /console/commands"),
        "{}",
        list.text
    );
    let audit = place.audit();
    assert!(
        audit
            .iter()
            .any(|event| event["requestURI"] == "/console/commands")
    );
    for (target, status) in [
        ("/console/commands/x", 404),
        (
            "/console/commands/01997c3e-8f0e-7c52-9d2b-6a1f0f4c1f11",
            404,
        ),
        ("/console/commands?verdict=maybe", 400),
        ("/console/commands?since=yesterday", 400),
        ("/console/commands?at=x", 400),
        ("/console/commands?at=99-99", 200),
    ] {
        assert_eq!(place.get(target, &carol).await.status, status, "{target}");
    }
}

#[tokio::test]
async fn so_many_read_the_log_at_one_time() {
    let place = Place::start().await;
    let carol = place.log_in(json!({})).await;
    let all = place.console.rooms.trail.hold_in_tests();
    assert_eq!(place.get("/console/commands", &carol).await.status, 429);
    drop(all);
    assert_eq!(place.get("/console/commands", &carol).await.status, 200);
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

impl Place {
    /// A question of carol's that people of these groups may answer; its id.
    async fn question(&self, reason: &str, groups: &[&str]) -> String {
        let carol = Identity::for_tests("carol", &["ops"]);
        let caller = Person {
            issuer: self.issuer.url().to_owned(),
            subject: "carol".to_owned(),
            ..Person::from(&carol)
        };
        let wish = Wish {
            caller,
            holder: Digest::of_caller(&carol),
            ahead: Ahead {
                role: reason.to_owned(),
                seconds: 600,
                reason: reason.to_owned(),
            },
            rule: reason.to_owned(),
            terms: Hold::by_one_of(groups),
        };
        let desk = &self.console.rooms.approvals.desk;
        desk.wish(wish).await.unwrap().unwrap().id
    }

    /// What goes on until somebody ends it.
    async fn follow(&self, cookie: &str) -> (Body, String) {
        let request = Request::get("/console/approvals/events")
            .header("host", "console.test")
            .header(COOKIE, cookie)
            .body(body::empty());
        let peer = "127.0.0.1:1".parse().unwrap();
        let response = self.console.serve(request.unwrap(), peer).await;
        assert_eq!(response.status(), 200);
        let mut body = response.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        (body, String::from_utf8(first.to_vec()).unwrap())
    }
}

/// Whoever asked may look and take it back; a form that their page does not have changes nothing (threats H-04).
#[tokio::test]
async fn h_04_nobody_answers_their_own_question_with_a_form_of_their_own_making() {
    let place = Place::start().await;
    let id = place.question("debugging", &["ops"]).await;
    let carol = place.log_in(json!({})).await;
    let oscar = place.log_in(json!({"sub": "oscar"})).await;
    let dora = place
        .log_in(json!({"sub": "dora", "groups": ["developers"]}))
        .await;
    let page = format!("/console/approvals/{id}");
    let own = place.get(&page, &carol).await;
    assert!(
        own.text.contains("Withdraw it") && !own.text.contains("/approve"),
        "{}",
        own.text
    );
    let (csrf, theirs) = (place.csrf(&carol).await, place.csrf(&dora).await);
    let approve = format!("{page}/approve");
    for (cookie, csrf, status) in [(&carol, &csrf, 403), (&dora, &theirs, 404)] {
        let form = format!("csrf={csrf}&requests=0&reason=mine");
        assert_eq!(place.post(&approve, cookie, &form).await.status, status);
    }
    // A yes to another number of requests than there are is one to something else; links and previews say nothing.
    let csrf = place.csrf(&oscar).await;
    for what in ["approve", "deny", "withdraw"] {
        let link = format!("{page}/{what}?csrf={csrf}&requests=0&reason=x");
        assert_eq!(place.get(&link, &oscar).await.status, 404, "{what}");
    }
    assert!(place.get(&page, &oscar).await.text.contains("/approve"));
    let form = format!("csrf={csrf}&requests=0&reason=fine");
    assert_eq!(place.post(&approve, &oscar, &form).await.status, 303);
    let again = place.post(&approve, &oscar, &form).await;
    assert_eq!(again.status, 409, "{}", again.text);
    let page = place.get(&page, &oscar).await;
    assert!(page.text.contains("state-approved"), "{}", page.text);
}

/// What asks for a yes cannot reach into the page that it is read on, nor into its live news.
#[tokio::test]
async fn h_03_what_a_question_says_is_shown_and_does_nothing() {
    let place = Place::start().await;
    let evil = "<script>alert(1)</script><img src=x>\"' \u{202e}\u{1b}[2J\r\n\r\nevent: approvals";
    let id = place.question(evil, &["ops"]).await;
    let oscar = place.log_in(json!({"sub": "oscar"})).await;
    for target in [
        "/console/approvals".to_owned(),
        format!("/console/approvals/{id}"),
    ] {
        let page = place.get(&target, &oscar).await;
        assert!(
            page.text.contains("&lt;script&gt;alert(1)"),
            "{}",
            page.text
        );
        for bad in ["<script>", "<img", "\u{202e}", "\u{1b}", "\"'"] {
            assert!(!page.text.contains(bad), "{bad:?} in {}", page.text);
        }
    }
    let (_body, news) = place.follow(&oscar).await;
    assert!(
        news.starts_with("event: approvals\ndata: {\"waiting\":1,"),
        "{news}"
    );
    assert_eq!(news.matches("event:").count(), 1, "{news}");
    assert!(!news.contains("script"), "{news}");
}

/// What a page follows ends with its session, however that ends; and one person has not all of the places.
#[tokio::test]
async fn h_07_live_news_end_with_the_session_the_block_and_the_revocation() {
    let place = Place::start().await;
    for how in ["log out", "another login", "block", "revocation"] {
        let name = how.replace(' ', "-");
        let carol = place.log_in(json!({"sub": name})).await;
        let (mut body, news) = place.follow(&carol).await;
        assert!(news.contains("\"waiting\":0"), "{news}");
        let whose = crate::identity::Whose::User(name);
        match how {
            "log out" => {
                let form = format!("csrf={}", place.csrf(&carol).await);
                assert_eq!(
                    place.post("/console/logout", &carol, &form).await.status,
                    303
                );
            }
            "another login" => {
                let away = place.begin("").await;
                place.grant(&away, &json!({"sub": "somebody-else"}));
                let both = Away {
                    cookie: format!("{}; {carol}", away.cookie),
                    ..away
                };
                assert_eq!(place.come_back(&both).await.status, 303);
            }
            "block" => {
                let oscar = place.log_in(json!({"sub": "oscar"})).await;
                let csrf = place.csrf(&oscar).await;
                let form = format!("csrf={csrf}&kind=user&name=block&reason=why");
                let blocked = place.post("/console/callers/block", &oscar, &form).await;
                assert_eq!(blocked.status, 303, "{}", blocked.text);
            }
            _ => {
                let list = Revocations::new("1".to_owned(), [(whose, None)]);
                place.revocations.replace_in_tests(list);
            }
        }
        let end = tokio::time::timeout(std::time::Duration::from_secs(20), async {
            while let Some(Ok(_)) = body.frame().await {}
        });
        assert!(end.await.is_ok(), "{how}: it goes on");
        let page = place.get("/console/approvals", &carol).await;
        assert!([401, 403].contains(&page.status), "{how}: {}", page.text);
    }
    let dave = place.log_in(json!({"sub": "dave"})).await;
    let mut open = Vec::new();
    for _ in 0..crate::limits::APPROVALS_WATCHERS_PER_PERSON_MAX {
        open.push(place.follow(&dave).await);
    }
    let more = place.get("/console/approvals/events", &dave).await;
    assert_eq!(more.status, 429, "{}", more.text);
    let erin = place.log_in(json!({"sub": "erin"})).await;
    place.follow(&erin).await;
}
