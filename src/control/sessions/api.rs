//! What a call to the sessions API asks for.

use http::{Method, Uri};

use super::KillCall;
use super::call;
use crate::gateway::refuse::Refusal;
use crate::limits;
use crate::recording::index::Filter;
use crate::recording::index::files::is_id;
use crate::recording::index::search::Quest;
use crate::request::Query;

/// What every path of the API begins with.
pub(in crate::control) const PREFIX: &str = "/v1/";

/// A call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) enum Call {
    /// `GET /v1/sessions`
    List(Box<Filter>),
    /// `GET /v1/sessions/ID`
    Show(String),
    /// `GET /v1/sessions/ID/cast`
    Cast(String),
    /// `GET /v1/sessions/ID/live`
    Live(String),
    /// `POST /v1/sessions/ID/kill`
    Kill(String),
    /// `POST /v1/search`
    Search(Box<Filter>),
}

/// Reads a call. What is not known is refused: a filter with a typing error must not show everything.
pub(in crate::control) fn parse(method: &Method, uri: &Uri) -> Result<Call, Refusal> {
    let parts: Vec<&str> = uri.path().split('/').skip(1).collect();
    let (id, what) = match parts.as_slice() {
        ["v1", "search"] => return search(method, uri),
        ["v1", "sessions"] => (None, None),
        ["v1", "sessions", id] => (Some(*id), None),
        ["v1", "sessions", id, what] => (Some(*id), Some(*what)),
        _ => return Err(nothing_here()),
    };
    if id.is_some_and(|id| !is_id(id)) {
        return Err(Refusal::not_found("that is not the id of a session"));
    }
    let id = id.map(str::to_owned);
    let wanted = if what == Some("kill") {
        Method::POST
    } else {
        Method::GET
    };
    let query = Query::parse(uri.query().unwrap_or_default())?;
    let call = match (id, what) {
        (None, _) => Call::List(Box::new(filter(&query)?)),
        (Some(id), None) => Call::Show(id),
        (Some(id), Some("cast")) => Call::Cast(id),
        (Some(id), Some("live")) => Call::Live(id),
        (Some(id), Some("kill")) => Call::Kill(id),
        (Some(_), Some(_)) => return Err(nothing_here()),
    };
    if !matches!(call, Call::List(_)) {
        call::no_parameters(&query)?;
    }
    if *method != wanted {
        return Err(Refusal::method_not_allowed(format!(
            "this is asked for with {wanted}"
        )));
    }
    Ok(call)
}

/// The text is in the body: it may be the very secret that leaked, and the query is in the audit log.
fn search(method: &Method, uri: &Uri) -> Result<Call, Refusal> {
    if *method != Method::POST {
        return Err(Refusal::method_not_allowed("this is asked for with POST"));
    }
    let query = Query::parse(uri.query().unwrap_or_default())?;
    if query.pairs().any(|(key, _)| key == "limit") {
        return Err(Refusal::bad_request(
            "limit belongs into the body, beside the text",
        ));
    }
    let filter = Filter {
        limit: limits::SESSIONS_LISTED_MAX,
        ..filter(&query)?
    };
    Ok(Call::Search(Box::new(filter)))
}

/// What the body of a search asks for.
pub(in crate::control) fn quest(body: &[u8]) -> Result<Quest, Refusal> {
    let quest: Quest = serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!(
            "the body must be JSON such as {{\"text\": \"…\"}}: {error}"
        ))
    })?;
    if quest.text.trim().is_empty() {
        return Err(Refusal::bad_request("the text to look for is empty"));
    }
    if quest.text.chars().nth(limits::SEARCH_CHARS_MAX).is_some() {
        let most = limits::SEARCH_CHARS_MAX;
        return Err(Refusal::bad_request(format!(
            "the text to look for has more than {most} characters"
        )));
    }
    let most = limits::SESSIONS_LISTED_MAX;
    if !(1..=most).contains(&quest.limit) {
        return Err(Refusal::bad_request(format!(
            "limit must be a number from 1 to {most}"
        )));
    }
    Ok(quest)
}

fn nothing_here() -> Refusal {
    Refusal::not_found(
        "served here: /v1/search, /v1/sessions, /v1/sessions/ID and, below that, cast, live and kill",
    )
}

/// What a list is narrowed down to.
pub(in crate::control) fn filter(query: &Query) -> Result<Filter, Refusal> {
    let mut filter = Filter::default();
    for parameter in call::parameters(query)? {
        let text = Some(parameter.text());
        match parameter.key {
            "id" => filter.id = text,
            "user" => filter.user = text,
            "agent" => filter.agent = text,
            "namespace" => filter.namespace = text,
            "pod" => filter.pod = text,
            "command" => filter.command = text,
            "verdict" => filter.verdict = text,
            "since" => filter.since = parameter.time()?,
            "until" => filter.until = parameter.time()?,
            "exitCode" => {
                let code = parameter.value.parse();
                let bad = |_| parameter.must_be("a number from 0 to 255");
                filter.exit_code = Some(code.map_err(bad)?);
            }
            "live" => filter.live = parameter.yes_or_no()?,
            "limit" => filter.limit = parameter.limit()?,
            _ => {
                return Err(parameter.unknown(
                    "id, user, agent, namespace, pod, command, since, until, exitCode, verdict, live and limit",
                ));
            }
        }
    }
    Ok(filter)
}

/// The reason in the body of a kill. The user of the session reads it in a terminal: nothing in it may
/// act on that.
pub(in crate::control) fn reason(body: &[u8]) -> Result<String, Refusal> {
    let call: KillCall = serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!(
            "the body must be JSON such as {{\"reason\": \"…\"}}: {error}"
        ))
    })?;
    let reason: String = call
        .reason
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(limits::KILL_REASON_CHARS_MAX)
        .collect();
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Refusal::bad_request(
            "reason is empty; the user of the session reads it, so say why",
        ));
    }
    Ok(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(target: &str) -> Result<Call, u16> {
        parse(&Method::GET, &target.parse().unwrap()).map_err(|refusal| refusal.code().as_u16())
    }

    #[test]
    fn calls_are_what_the_documentation_says() {
        assert_eq!(get("/v1/sessions"), Ok(Call::List(Box::default())));
        assert_eq!(get("/v1/sessions/a-1"), Ok(Call::Show("a-1".to_owned())));
        assert_eq!(get("/v1/sessions/a/cast"), Ok(Call::Cast("a".to_owned())));
        assert_eq!(get("/v1/sessions/a/live"), Ok(Call::Live("a".to_owned())));
        let kill = parse(&Method::POST, &"/v1/sessions/a/kill".parse().unwrap());
        assert_eq!(kill, Ok(Call::Kill("a".to_owned())));
        let Ok(Call::List(filter)) = get(
            "/v1/sessions?id=0199&user=a%20b&command=rm+-rf&since=2026-11-20T00:00:00Z&exitCode=7&live=true&limit=3",
        ) else {
            panic!("not a list");
        };
        assert_eq!(filter.id.as_deref(), Some("0199"));
        assert_eq!(filter.user.as_deref(), Some("a b"));
        assert_eq!(filter.command.as_deref(), Some("rm -rf"));
        assert_eq!(
            (filter.exit_code, filter.live, filter.limit),
            (Some(7), true, 3)
        );
        assert!(filter.since.is_some() && filter.until.is_none());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for (target, code) in [
            ("/v1/", 404),
            ("/v1/sessions/", 404),
            ("/v1/sessions/a/b", 404),
            ("/v1/sessions/a/cast/x", 404),
            ("/v1/sessions/..", 404),
            ("/v1/sessions/..%2f..%2fetc", 404),
            ("/v1/sessions/a.2/cast", 404),
            ("/v1/sessions/a/kill", 405),
            ("/v1/sessions?usr=a", 400),
            ("/v1/sessions?user=a&user=b", 400),
            ("/v1/sessions?exitCode=256", 400),
            ("/v1/sessions?since=yesterday", 400),
            ("/v1/sessions?limit=0", 400),
            ("/v1/sessions?limit=10001", 400),
            ("/v1/sessions/a?part=1", 400),
            ("/v1/search", 405),
            ("/v1/search/a", 404),
        ] {
            assert_eq!(get(target), Err(code), "{target}");
        }
        let post = |target: &str| parse(&Method::POST, &target.parse().unwrap());
        for (target, code) in [
            ("/v1/sessions", 405),
            ("/v1/search?usr=a", 400),
            ("/v1/search?limit=5", 400),
            ("/v1/search?text=a", 400),
        ] {
            assert_eq!(post(target).unwrap_err().code().as_u16(), code, "{target}");
        }
    }

    #[test]
    fn a_search_has_its_text_in_the_body_and_is_bounded() {
        let uri = "/v1/search?user=alice".parse().unwrap();
        let Ok(Call::Search(filter)) = parse(&Method::POST, &uri) else {
            panic!("not a search");
        };
        assert_eq!(filter.user.as_deref(), Some("alice"));
        assert_eq!(filter.limit, limits::SESSIONS_LISTED_MAX);
        let read = |body: &str| quest(body.as_bytes()).map_err(|refusal| refusal.code().as_u16());
        let found = read(r#"{"text":"a b","ignoreCase":true}"#).unwrap();
        assert_eq!(
            (found.text.as_str(), found.ignore_case, found.limit),
            ("a b", true, limits::SEARCH_HITS_DEFAULT)
        );
        let long = format!(
            r#"{{"text":"{}"}}"#,
            "ä".repeat(limits::SEARCH_CHARS_MAX + 1)
        );
        for bad in [
            "",
            "{}",
            r#"{"text":" "}"#,
            r#"{"text":"a","limit":0}"#,
            r#"{"text":"a","limit":10001}"#,
            r#"{"text":"a","regex":true}"#,
            &long,
        ] {
            assert_eq!(read(bad), Err(400), "{bad}");
        }
    }

    #[test]
    fn a_reason_is_text_and_cannot_act_on_a_terminal() {
        let read = |body: &str| reason(body.as_bytes()).map_err(|refusal| refusal.code().as_u16());
        assert_eq!(
            read(r#"{"reason":" lunch \u001b]52;c;x\u0007\u009b2J "}"#),
            Ok("lunch  ]52;c;x  2J".to_owned())
        );
        for bad in [
            "",
            "{}",
            r#"{"reason":""}"#,
            r#"{"reason":"\n"}"#,
            r#"{"reason":"a","by":"x"}"#,
        ] {
            assert_eq!(read(bad), Err(400), "{bad}");
        }
        assert_eq!(
            read(&format!(r#"{{"reason":"{}"}}"#, "ä".repeat(999)))
                .unwrap()
                .chars()
                .count(),
            300
        );
    }
}
