//! What comes from a browser: cookies, and forms that only the console's own pages can have sent.

use bytes::Bytes;
use http::header::{COOKIE, STRICT_TRANSPORT_SECURITY};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use subtle::ConstantTimeEq as _;

use crate::gateway::body::{self, BodyError};
use crate::gateway::refuse::Refusal;
use crate::identity::client::login::parameters;
use crate::limits;

/// The field that shows that a form is from a page of this session.
pub(super) const CSRF: &str = "csrf";

/// How long a browser remembers, without the names below this one.
const A_YEAR: &str = "max-age=31536000";

/// Where the console is, as browsers know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Scheme, host and port.
    origin: String,
    /// Host and port.
    host: String,
    /// Whether cookies are only sent over TLS.
    secure: bool,
}

impl Place {
    /// The place with this URL.
    pub(super) fn new(url: &str) -> Self {
        let origin = url.trim_end_matches('/').to_ascii_lowercase();
        let (scheme, host) = origin.split_once("://").unwrap_or(("https", &origin));
        let host = match scheme {
            // As browsers write them.
            "https" => host.strip_suffix(":443").unwrap_or(host),
            _ => host.strip_suffix(":80").unwrap_or(host),
        };
        Self {
            host: host.to_owned(),
            secure: scheme == "https",
            origin: format!("{scheme}://{host}"),
        }
    }

    /// The URL of a path.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Whether a request is for this place and no other name of it: a page whose name was made to point here (DNS
    /// rebinding) has another one.
    pub(super) fn is_named_by(&self, headers: &HeaderMap) -> bool {
        let host = only(headers, "host").map(str::to_ascii_lowercase);
        host.is_some_and(|host| host == self.host)
    }

    /// The whole name of a cookie. The prefix `__Host-` keeps everybody but this very host from setting it; without
    /// TLS, which there is on this machine only, browsers do not take it.
    fn cookie(&self, name: &str) -> String {
        let prefix = if self.secure { "__Host-" } else { "" };
        format!("{prefix}portcullis-{name}")
    }

    /// A cookie for this place; `seconds` is how long it is kept, and without it goes with the browser.
    pub(super) fn bake(&self, name: &str, value: &str, seconds: Option<u64>) -> String {
        let name = self.cookie(name);
        let secure = if self.secure { "; Secure" } else { "" };
        // Lax, since the browser comes back from the provider with it.
        let kept = seconds.map_or_else(String::new, |seconds| format!("; Max-Age={seconds}"));
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{kept}")
    }

    /// The value of a cookie. Of two with the same name, which one is ours cannot be said.
    pub(super) fn taste<'a>(&self, headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
        let name = self.cookie(name);
        let mut found = headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(key, _)| *key == name);
        let (_, value) = found.next()?;
        found.next().is_none().then_some(value)
    }

    /// Tells the browser to ask this host over TLS alone from now on (RFC 6797), so that nobody on the way can answer in
    /// its place. Not of `localhost`, where others serve plain HTTP; of an address browsers take no notice.
    pub(super) fn kept_to_tls<B>(&self, mut answer: Response<B>) -> Response<B> {
        let name = self.host.split(':').next().unwrap_or_default();
        if self.secure && name != "localhost" && !name.ends_with(".localhost") {
            let headers = answer.headers_mut();
            headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(A_YEAR));
        }
        answer
    }

    /// Whether the browser says that one of our own pages sent this.
    fn is_same_origin(&self, headers: &HeaderMap) -> bool {
        let origin = only(headers, "origin");
        // Our pages send no referrer, and a browser then says `null` for the origin of a form.
        let ours = origin.is_some_and(|origin| origin.eq_ignore_ascii_case(&self.origin));
        match only(headers, "sec-fetch-site") {
            Some(site) => site == "same-origin" && (ours || matches!(origin, None | Some("null"))),
            None => ours,
        }
    }
}

/// A header that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(HeaderValue::to_str)?.ok()?;
    values.next().is_none().then_some(value)
}

/// The fields of a form, each there once.
#[derive(Debug)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads the form of a POST that a page of the session with this `csrf` has sent.
    pub(super) async fn read<B>(
        request: Request<B>,
        place: &Place,
        csrf: &str,
    ) -> Result<Self, Refusal>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<BodyError>,
    {
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            return Err(Refusal::method_not_allowed("this is asked for with POST"));
        }
        if !place.is_same_origin(&head.headers) {
            return Err(Refusal::never_allowed(
                "this form was not sent by a page of the console; open the console and try again there",
            ));
        }
        let kind = only(&head.headers, "content-type").unwrap_or_default();
        if !kind.starts_with("application/x-www-form-urlencoded") {
            return Err(Refusal::unsupported_media_type("this is not a form"));
        }
        let body = body::read_bounded(body, limits::CONSOLE_FORM_BYTES_MAX).await?;
        let unreadable = || Refusal::bad_request("this form cannot be read");
        let text = std::str::from_utf8(&body).map_err(|_| unreadable())?;
        let form = Self(parameters(text).ok_or_else(unreadable)?);
        let mut names: Vec<&str> = form.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.get(1)) {
            return Err(Refusal::bad_request("a field is there twice"));
        }
        if bool::from(form.text(CSRF).as_bytes().ct_eq(csrf.as_bytes())) {
            return Ok(form);
        }
        Err(Refusal::never_allowed(
            "this form is from another session of the console; reload the page and try again",
        ))
    }

    /// A field; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        let mut fields = self.0.iter();
        fields
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.trim())
    }

    /// A field with a number; `None` when it is not there or empty.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        match self.text(name) {
            "" => Ok(None),
            text => text
                .parse()
                .map(Some)
                .map_err(|_| Refusal::bad_request(format!("{name} must be a number"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "https://console.test:9443";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn only_our_own_pages_send_forms() {
        let place = Place::new(OURS);
        let good: [&[(&'static str, &str)]; 3] = [
            &[("origin", OURS)],
            &[("origin", OURS), ("sec-fetch-site", "same-origin")],
            &[("origin", "null"), ("sec-fetch-site", "same-origin")],
        ];
        for pairs in good {
            assert!(place.is_same_origin(&headers(pairs)), "{pairs:?}");
        }
        let bad: [&[(&'static str, &str)]; 8] = [
            &[],
            &[("origin", "null")],
            &[("origin", "https://evil.test")],
            &[("origin", "http://console.test:9443")],
            &[("origin", "https://console.test:9443.evil.test")],
            &[("origin", OURS), ("sec-fetch-site", "same-site")],
            &[("origin", "null"), ("sec-fetch-site", "cross-site")],
            &[
                ("origin", "https://evil.test"),
                ("sec-fetch-site", "same-origin"),
            ],
        ];
        for pairs in bad {
            assert!(!place.is_same_origin(&headers(pairs)), "{pairs:?}");
        }
    }

    #[test]
    fn cookies_are_bound_to_this_host_and_are_never_guessed() {
        let place = Place::new(OURS);
        let baked = place.bake("console", "id", None);
        assert_eq!(
            baked,
            "__Host-portcullis-console=id; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        let taste = |line: &str| {
            let headers = headers(&[("cookie", line)]);
            place.taste(&headers, "console").map(str::to_owned)
        };
        let id = Some("id".to_owned());
        assert_eq!(taste("a=b; __Host-portcullis-console=id; c=d"), id);
        assert_eq!(taste("portcullis-console=id"), None);
        assert_eq!(
            taste("__Host-portcullis-console=id; __Host-portcullis-console=other"),
            None
        );
        let plain = Place::new("http://127.0.0.1:9090");
        let baked = plain.bake("login", "x", Some(600));
        assert_eq!(
            baked,
            "portcullis-login=x; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"
        );
    }

    #[test]
    fn another_name_for_this_machine_is_another_place() {
        let place = Place::new("https://Console.test:443/");
        assert_eq!(place.url("/console"), "https://console.test/console");
        assert!(place.is_named_by(&headers(&[("host", "console.test")])));
        for other in ["evil.test", "console.test:9443", "console.test."] {
            assert!(!place.is_named_by(&headers(&[("host", other)])), "{other}");
        }
        assert!(!place.is_named_by(&HeaderMap::new()));
    }

    #[test]
    fn browsers_come_back_over_tls_but_to_localhost() {
        let kept = |url: &str| {
            let answer = Place::new(url).kept_to_tls(Response::new(()));
            answer.headers().contains_key(STRICT_TRANSPORT_SECURITY)
        };
        assert!(kept(OURS) && kept("https://localhost.example.com"));
        for not in [
            "http://127.0.0.1:9090",
            "https://localhost:9090",
            "https://gw.localhost",
        ] {
            assert!(!kept(not), "{not}");
        }
    }

    async fn read(pairs: &[(&'static str, &str)], text: &str) -> Result<Form, u16> {
        let mut request = Request::post("/console/logout").body(body::full(text.to_owned()));
        let request = request.as_mut().map(|request| {
            *request.headers_mut() = headers(pairs);
            std::mem::replace(request, Request::new(body::empty()))
        });
        let form = Form::read(request.unwrap(), &Place::new(OURS), "the-csrf").await;
        form.map_err(|refusal| refusal.code().as_u16())
    }

    #[tokio::test]
    async fn a_form_needs_the_token_of_its_session() {
        let ours = [
            ("origin", OURS),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let form = read(&ours, "csrf=the-csrf&reason=a+b%20%3Cc%3E&minutes=").await;
        let form = form.unwrap();
        assert_eq!(form.text("reason"), "a b <c>");
        assert_eq!(form.number::<u32>("minutes").unwrap(), None);
        assert!(form.number::<u32>("reason").is_err());
        for (text, code) in [
            ("reason=x", 403),
            ("csrf=&reason=x", 403),
            ("csrf=another", 403),
            ("csrf=the-csrf&csrf=the-csrf", 400),
            ("csrf=the-csrf&reason=%ff", 400),
        ] {
            assert_eq!(read(&ours, text).await.unwrap_err(), code, "{text}");
        }
        let json = [("origin", OURS), ("content-type", "application/json")];
        assert_eq!(read(&json, "csrf=the-csrf").await.unwrap_err(), 415);
        let foreign = [
            ("origin", "https://evil.test"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        assert_eq!(read(&foreign, "csrf=the-csrf").await.unwrap_err(), 403);
        let long = format!("csrf=the-csrf&reason={}", "x".repeat(20_000));
        assert_eq!(read(&ours, &long).await.unwrap_err(), 413);
    }
}
