//! A login page that believes everybody: whoever opens it says which of the demo's people they are.
//!
//! Authorization code with PKCE (OIDC Core §3.1, RFC 7636), for public clients. No password, no session, no refresh
//! token; what clients must get right is checked all the same, so that what works here works elsewhere.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::body::Incoming;
use maud::{DOCTYPE, Markup, html};
use parking_lot::Mutex;
use portcullis::gateway::body::read_bounded;
use portcullis::identity::client::login::{form_text, parameters, random_text};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Reply, Shared, json_reply, text};

/// Where browsers are sent to.
pub(super) const AUTHORIZE_PATH: &str = "/authorize";
/// Where codes are exchanged.
pub(super) const TOKEN_PATH: &str = "/token";

/// Who may come in, and from where.
#[derive(Clone, Debug)]
pub struct Door {
    /// The programs that people log in to.
    pub clients: Vec<Client>,
    /// The people.
    pub people: Vec<Person>,
}

/// A public client.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its id, and the audience of its tokens.
    pub id: String,
    /// Where browsers come back to. One at `http://127.0.0.1` without a port stands for every port (RFC 8252 §7.3).
    pub redirect_uri: String,
}

/// Somebody.
#[derive(Clone, Debug)]
pub struct Person {
    /// What is on their button.
    pub name: String,
    /// What they are, in words.
    pub title: String,
    /// The claims of their ID tokens, besides those of the protocol.
    pub claims: Value,
}

/// A door, and the codes that were given at it.
#[derive(Debug)]
pub(super) struct Open {
    door: Door,
    codes: Mutex<Vec<Code>>,
}

/// A code that was given and not used.
#[derive(Debug)]
struct Code {
    text: String,
    given: Instant,
    asked: Asked,
    claims: Value,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    client_id: String,
    redirect_uri: String,
    state: String,
    nonce: String,
    challenge: String,
}

/// How long a code is good (RFC 6749 §4.1.2 recommends at most ten minutes).
const CODE_LIFETIME: Duration = Duration::from_mins(1);
/// Codes that wait to be used; the oldest gives way.
const CODES_MAX: usize = 64;
/// Bytes of a form.
const FORM_BYTES_MAX: usize = 16 * 1024;

impl Open {
    pub(super) fn new(door: Door) -> Self {
        Self {
            door,
            codes: Mutex::default(),
        }
    }

    /// What the discovery document says of it.
    pub(super) fn discovery(url: &str) -> Value {
        json!({
            "authorization_endpoint": format!("{url}{AUTHORIZE_PATH}"),
            "token_endpoint": format!("{url}{TOKEN_PATH}"),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none"],
            "scopes_supported": ["openid", "profile", "groups"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    /// Answers a browser or a client.
    pub(super) async fn answer(&self, request: Request<Incoming>, shared: &Shared) -> Reply {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let form = if method == Method::POST {
            match read_bounded(request.into_body(), FORM_BYTES_MAX).await {
                Ok(body) => body,
                Err(_) => return wrong("this form cannot be read"),
            }
        } else {
            Bytes::from(query)
        };
        let fields = std::str::from_utf8(&form).ok().and_then(parameters);
        let Some(fields) = fields else {
            return wrong("this cannot be read");
        };
        match (method, path.as_str()) {
            (Method::GET, AUTHORIZE_PATH) => self.ask(&fields),
            (Method::POST, AUTHORIZE_PATH) => self.let_in(&fields, &shared.url),
            (Method::POST, TOKEN_PATH) => self.exchange(&fields, shared),
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "not so"),
        }
    }

    /// The page.
    fn ask(&self, fields: &Fields) -> Reply {
        match self.asked(fields) {
            Ok(asked) => html_reply(StatusCode::OK, &page(&self.door.people, &asked)),
            Err(why) => wrong(why),
        }
    }

    /// Sends somebody back with a code.
    fn let_in(&self, fields: &Fields, issuer: &str) -> Reply {
        let asked = match self.asked(fields) {
            Ok(asked) => asked,
            Err(why) => return wrong(why),
        };
        let name = field(fields, "person").unwrap_or_default();
        let person = self.door.people.iter().find(|person| person.name == name);
        let (Some(person), Ok(code)) = (person, random_text()) else {
            return wrong("nobody here has that name");
        };
        let back = form_text(&[
            ("code".to_owned(), code.clone()),
            ("state".to_owned(), asked.state.clone()),
            ("iss".to_owned(), issuer.to_owned()),
        ]);
        let joint = if asked.redirect_uri.contains('?') {
            '&'
        } else {
            '?'
        };
        let location = format!("{}{joint}{back}", asked.redirect_uri);
        let mut codes = self.codes.lock();
        if codes.len() >= CODES_MAX {
            codes.remove(0);
        }
        codes.push(Code {
            text: code,
            given: Instant::now(),
            asked,
            claims: person.claims.clone(),
        });
        let mut reply = text(StatusCode::SEE_OTHER, "text/plain", "go on");
        if let Ok(location) = HeaderValue::from_str(&location) {
            reply.headers_mut().insert(LOCATION, location);
        }
        reply
    }

    /// An ID token for a code, once.
    fn exchange(&self, fields: &Fields, shared: &Shared) -> Reply {
        let of = |name: &str| field(fields, name).unwrap_or_default();
        if of("grant_type") != "authorization_code" {
            return refused("unsupported_grant_type");
        }
        let given = {
            let mut codes = self.codes.lock();
            let place = codes.iter().position(|one| one.text == of("code"));
            place.map(|place| codes.remove(place))
        };
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, of("code_verifier").as_bytes()));
        let Some(given) = given.filter(|given| {
            given.given.elapsed() < CODE_LIFETIME
                && given.asked.client_id == of("client_id")
                && given.asked.redirect_uri == of("redirect_uri")
                && given.asked.challenge == challenge
        }) else {
            return refused("invalid_grant");
        };
        let mut claims = given.claims;
        if let Some(claims) = claims.as_object_mut() {
            claims.insert("aud".to_owned(), json!(given.asked.client_id));
            if !given.asked.nonce.is_empty() {
                claims.insert("nonce".to_owned(), json!(given.asked.nonce));
            }
        }
        let token = shared.issue(super::Algorithm::RS256, claims);
        let (Ok(token), Ok(access)) = (token, random_text()) else {
            return refused("server_error");
        };
        json_reply(&json!({
            "access_token": access, "token_type": "Bearer", "expires_in": 3600, "id_token": token,
        }))
    }

    /// Reads what a client asks for. What does not come from a client that is known is told to nobody but who reads the page.
    fn asked(&self, fields: &Fields) -> Result<Asked, &'static str> {
        let of = |name: &str| field(fields, name).unwrap_or_default().to_owned();
        let asked = Asked {
            client_id: of("client_id"),
            redirect_uri: of("redirect_uri"),
            state: of("state"),
            nonce: of("nonce"),
            challenge: of("code_challenge"),
        };
        let client = self.door.clients.iter();
        let mut client = client.filter(|client| client.id == asked.client_id);
        let client = client.next().ok_or("there is no such client here")?;
        if !is_same_place(&asked.redirect_uri, &client.redirect_uri) {
            return Err("this client has another redirect URI");
        }
        if of("response_type") != "code" || of("code_challenge_method") != "S256" {
            return Err("logins here are by authorization code with PKCE (S256)");
        }
        if asked.challenge.len() != 43 {
            return Err("the code challenge is not one");
        }
        Ok(asked)
    }
}

type Fields = [(String, String)];

fn field<'a>(fields: &'a Fields, name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

/// Whether a browser may be sent there: to the letter, but for the port on this machine.
fn is_same_place(asked: &str, registered: &str) -> bool {
    const HERE: &str = "http://127.0.0.1";
    let without_port = |uri: &str| {
        let rest = uri.strip_prefix(HERE)?;
        let (port, path) = rest.split_once('/')?;
        let is_port = port
            .strip_prefix(':')
            .is_some_and(|port| port.parse::<u16>().is_ok());
        (port.is_empty() || is_port).then(|| path.to_owned())
    };
    let any_port = registered.starts_with("http://127.0.0.1/");
    asked == registered
        || (any_port
            && without_port(asked).is_some()
            && without_port(asked) == without_port(registered))
}

fn page(people: &[Person], asked: &Asked) -> Markup {
    let hidden = [
        ("client_id", &asked.client_id),
        ("redirect_uri", &asked.redirect_uri),
        ("state", &asked.state),
        ("nonce", &asked.nonce),
        ("code_challenge", &asked.challenge),
    ];
    frame(
        "Who are you?",
        &html! {
            p { "You log in to " b { (asked.client_id) } ". This is the demo's issuer: it believes what you say." }
            form method="post" action=(AUTHORIZE_PATH) {
                input type="hidden" name="response_type" value="code";
                input type="hidden" name="code_challenge_method" value="S256";
                @for (name, value) in hidden { input type="hidden" name=(name) value=(value); }
                @for person in people {
                    p { button type="submit" name="person" value=(person.name) { (person.name) } " " (person.title) }
                }
            }
        },
    )
}

fn frame(title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; meta name="color-scheme" content="light dark"; title { (title) } }
            body { main { h1 { (title) } (content) } }
        }
    }
}

fn wrong(why: &str) -> Reply {
    let content = html! { p { (why) "." } };
    html_reply(
        StatusCode::BAD_REQUEST,
        &frame("That does not work", &content),
    )
}

fn html_reply(status: StatusCode, page: &Markup) -> Reply {
    text(status, "text/html; charset=utf-8", page.0.clone())
}

/// RFC 6749 §5.2.
fn refused(error: &str) -> Reply {
    let mut reply = json_reply(&json!({"error": error}));
    *reply.status_mut() = StatusCode::BAD_REQUEST;
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issuer::Issuer;
    use crate::pki::Ca;

    const CONSOLE: &str = "http://127.0.0.1:9090/console/callback";
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"; // RFC 7636, appendix B
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn fields(pairs: &[(&str, &str)], changed: (&str, &str)) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut fields: Vec<(String, String)> = vec![owned(&changed)]; // of two the first one counts
        fields.extend(pairs.iter().map(owned));
        fields
    }

    fn open() -> Open {
        Open::new(Door {
            clients: vec![Client {
                id: "console".to_owned(),
                redirect_uri: CONSOLE.to_owned(),
            }],
            people: vec![Person {
                name: "omar".to_owned(),
                title: "on call".to_owned(),
                claims: json!({"sub": "omar", "groups": ["on-call"]}),
            }],
        })
    }

    fn login(changed: (&str, &str)) -> Vec<(String, String)> {
        let asked = [
            ("response_type", "code"),
            ("client_id", "console"),
            ("redirect_uri", CONSOLE),
            ("state", "<state>"),
            ("nonce", "n-1"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
            ("person", "omar"),
        ];
        fields(&asked, changed)
    }

    fn code_of(reply: &Reply) -> String {
        let location = reply.headers()[LOCATION].to_str().unwrap();
        let (place, query) = location.split_once('?').unwrap();
        assert_eq!(place, CONSOLE);
        let query = parameters(query).unwrap();
        assert_eq!(field(&query, "state"), Some("<state>"));
        assert_eq!(field(&query, "iss"), Some("https://issuer.test"));
        field(&query, "code").unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_code_is_good_once_for_who_began_the_login() {
        let ca = Ca::new().unwrap();
        let tls = ca.server_config(&["localhost"], &["http/1.1"]).unwrap();
        let issuer = Issuer::start("127.0.0.1:0".parse().unwrap(), tls);
        let issuer = issuer.await.unwrap();
        let door = open();
        let exchange = |code: &str, changed| {
            let asked = [
                ("grant_type", "authorization_code"),
                ("client_id", "console"),
                ("redirect_uri", CONSOLE),
                ("code", code),
                ("code_verifier", VERIFIER),
            ];
            door.exchange(&fields(&asked, changed), &issuer.shared)
                .status()
        };
        let code = || code_of(&door.let_in(&login(("", "")), "https://issuer.test"));
        let once = code();
        assert_eq!(exchange(&once, ("", "")), StatusCode::OK);
        assert_eq!(exchange(&once, ("", "")), StatusCode::BAD_REQUEST);
        for changed in [
            ("grant_type", "password"),
            ("client_id", "another"),
            ("redirect_uri", "http://127.0.0.1:9090/elsewhere"),
            ("code", "guessed"),
            ("code_verifier", "another"),
        ] {
            let refused = exchange(&code(), changed);
            assert_eq!(refused, StatusCode::BAD_REQUEST, "{changed:?}");
        }
        for _ in 0..200 {
            code();
        }
        assert_eq!(door.codes.lock().len(), CODES_MAX);
    }

    #[test]
    fn who_asks_wrongly_is_sent_nowhere() {
        let door = open();
        assert_eq!(door.ask(&login(("", ""))).status(), StatusCode::OK);
        for changed in [
            ("response_type", "token"),
            ("client_id", "another"),
            ("redirect_uri", "https://evil.test/console/callback"),
            ("code_challenge", ""),
            ("code_challenge_method", "plain"),
        ] {
            for reply in [door.ask(&login(changed)), door.let_in(&login(changed), "x")] {
                assert_eq!(reply.status(), StatusCode::BAD_REQUEST, "{changed:?}");
                assert!(!reply.headers().contains_key(LOCATION));
            }
        }
        let nobody = door.let_in(&login(("person", "root")), "x");
        assert_eq!(nobody.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn browsers_are_sent_back_to_their_client_and_nowhere_else() {
        let cli = "http://127.0.0.1/callback";
        for good in [cli, "http://127.0.0.1:4711/callback"] {
            assert!(is_same_place(good, cli), "{good}");
        }
        for bad in [
            "http://127.0.0.1:4711/other",
            "http://127.0.0.1:99999/callback",
            "http://127.0.0.1.evil.test/callback",
            "http://127.0.0.1@evil.test/callback",
            "http://127.0.0.1:1@evil.test/callback",
            "https://127.0.0.1/callback",
            "http://localhost/callback",
            "",
        ] {
            assert!(!is_same_place(bad, cli), "{bad}");
        }
        assert!(is_same_place(CONSOLE, CONSOLE));
        assert!(!is_same_place(
            "http://127.0.0.1:9091/console/callback",
            CONSOLE
        ));
    }
}
