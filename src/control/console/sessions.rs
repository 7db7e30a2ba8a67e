//! Sessions: who is in a shell now and who was, on a player; and the way to end one.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::Guest;
use super::answer::{has_player, page, see_other, with_player};
use super::form::Form;
use super::page::text::{bytes, length, moment, visible};
use super::page::{self, Tab, Viewer, csrf, fact, nothing};
use crate::audit::Event;
use crate::control::sessions::api;
use crate::control::sessions::{Details, SessionList, Sessions};
use crate::gateway::body::Body;
use crate::gateway::refuse::Refusal;
use crate::identity::client::login::{form_text, parameters};
use crate::limits;
use crate::recording::index::search::{News, Quest};
use crate::recording::index::session::OPEN;
use crate::recording::index::{Filter, Session};
use crate::recording::replay::search::Hit;
use crate::recording::replay::transcript::{Line, Transcript};
use crate::recording::replay::{ReadError, Reader, files};
use crate::request::Query;
use crate::wire::asciicast::{Clock, Event as Moment, ParsedHeader};

/// What one can look for, with the label of its field.
const FIELDS: [(&str, &str); 5] = [
    ("user", "User"),
    ("agent", "Agent"),
    ("namespace", "Namespace"),
    ("pod", "Pod"),
    ("command", "Command has"),
];

/// The sessions that the query asks for; with `text`, where that was seen or typed in them.
pub(super) async fn list(
    api: &Sessions,
    guest: &Guest,
    query: &str,
    now: Timestamp,
) -> Result<Response<Body>, Refusal> {
    let unreadable = || Refusal::bad_request("the query cannot be read");
    let mut fields = parameters(query).ok_or_else(unreadable)?;
    fields.retain(|(_, value)| !value.trim().is_empty());
    let of = |name: &str| {
        let found = fields.iter().find(|(key, _)| key == name);
        found.map_or("", |(_, value)| value.as_str())
    };
    let live = !of("live").is_empty();
    let text = of("text").to_owned();
    let filters: Vec<(String, String)> = fields
        .iter()
        .filter(|(key, _)| key != "text")
        .cloned()
        .collect();
    let filter = api::filter(&Query::parse(&form_text(&filters))?)?;
    let found = api
        .list(Filter {
            limit: limits::CONSOLE_ROWS_MAX,
            ..filter.clone()
        })
        .await?;
    let hits = if text.is_empty() {
        None
    } else {
        Some(search(api, filter, text.clone()).await?)
    };
    let content = html! {
        div.head { h1 { "Sessions" } }
        form.filters method="get" action="/console/sessions" role="search" {
            @for (name, label) in FIELDS {
                div { label for=(name) { (label) } input id=(name) name=(name) value=(of(name)) autocomplete="off"; }
            }
            div { label for="text" { "Seen or typed in it" } input #text name="text" value=(text) autocomplete="off"; }
            div {
                label for="live" { "Which" }
                select #live-only name="live" aria-label="Which" {
                    option value="" selected[!live] { "all" }
                    option value="true" selected[live] { "open now" }
                }
            }
            div { button type="submit" { "Look" } }
        }
        @if let Some((hits, more)) = &hits {
            (self::hits(hits, *more))
        } @else if found.items.is_empty() {
            (nothing("No session", "Shells, attached terminals and forwarded ports show up here, open ones first."))
        } @else {
            (table(&found, now))
        }
    };
    let viewer = guest.viewer();
    Ok(page(
        StatusCode::OK,
        page::of(&viewer, Tab::Sessions, "Sessions", &content),
    ))
}

fn table(found: &SessionList, now: Timestamp) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Sessions" {
            table {
                thead { tr { th scope="col" { "What" } th scope="col" { "Who" } th scope="col" { "Where" } th scope="col" { "State" } th scope="col" { "Began" } th.number scope="col" { "Lasted" } } }
                tbody {
                    @for session in &found.items {
                        tr {
                            td { a href={ "/console/sessions/" (session.metadata.id) } { (visible(&title(session))) } }
                            td { (who(session)) }
                            td { (visible(&session.metadata.target())) }
                            td { (verdict(session)) }
                            td { (moment(session.metadata.started, now)) }
                            td.number { (lasted(session)) }
                        }
                    }
                }
            }
        }
        @if found.more { p.faint { "There are more; narrow them down." } }
    }
}

fn hits(hits: &[Hit], more: bool) -> Markup {
    html! {
        @if hits.is_empty() {
            (nothing("Not found", "No recording among these has that text."))
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Where it was found" {
                table {
                    thead { tr { th scope="col" { "Session" } th scope="col" { "Who" } th.number scope="col" { "At" } th scope="col" { "Text" } } }
                    tbody {
                        @for hit in hits {
                            tr {
                                td { a href={ "/console/sessions/" (hit.id) } { (visible(&hit.namespace)) "/" (visible(&hit.pod)) } }
                                td { (visible(&hit.user)) }
                                td.number { (length(milliseconds(hit.at_ms))) }
                                td { code { (visible(&hit.text)) } }
                            }
                        }
                    }
                }
            }
            @if more { p.faint { "There is more; narrow it down." } }
        }
    }
}

/// Searches as the API does, and waits for all of it.
async fn search(api: &Sessions, filter: Filter, text: String) -> Result<(Vec<Hit>, bool), Refusal> {
    let quest = Quest {
        text,
        ignore_case: true,
        limit: limits::CONSOLE_ROWS_MAX,
    };
    let quest = serde_json::to_vec(&quest).unwrap_or_default();
    let response = api.search(filter, api::quest(&quest)?).await?;
    let mut body = response.into_body();
    let (mut hits, mut more) = (Vec::new(), false);
    while let Some(Ok(frame)) = body.frame().await {
        let Ok(line) = frame.into_data() else {
            continue;
        };
        match serde_json::from_slice(&line) {
            Ok(News::Hit(hit)) => hits.push(hit),
            Ok(News::Over(rest)) => more = rest.full || rest.since.is_some(),
            Ok(News::Unreadable { .. }) | Err(_) => {}
        }
    }
    Ok((hits, more))
}

/// One session, on the player if there is one.
pub(super) async fn show(
    api: &Sessions,
    guest: &Guest,
    id: &str,
    now: Timestamp,
) -> Result<Response<Body>, Refusal> {
    let id = checked(id)?;
    let details = api.show(id.clone()).await?;
    let session = &details.session;
    let open = session.verdict == OPEN;
    // The text of one that is being written comes with the page, too: it is what happened so far.
    let text = if session.recorded && (open || !is_played(session)) {
        let parts = api.parts(id.clone()).await.unwrap_or_default();
        Some(beginning(parts).await)
    } else {
        None
    };
    let viewer = guest.viewer();
    let content = html! {
        p.crumb { a href="/console/sessions" { "Sessions" } " / " (id) }
        div.head { h1 { (visible(&title(session))) } (verdict(session)) }
        div.split {
            div {
                (screen(session, open))
                @if let Some((lines, more)) = &text { (so_far(&id, lines, *more, open)) }
            }
            div.side {
                @if open { (end(&id, &viewer)) }
                (facts(&details, &id, now))
            }
        }
        @if session.recorded && is_played(session) {
            link rel="stylesheet" href="/console/static/player.css";
            script src="/console/static/player.js" defer {}
        }
    };
    let response = page(
        StatusCode::OK,
        page::of(&viewer, Tab::Sessions, &title(session), &content),
    );
    Ok(with_player(response))
}

/// Whether the player can show it: this gateway has one, and a browser can hold the recording.
fn is_played(session: &Session) -> bool {
    let open = session.verdict == OPEN;
    has_player() && (open || session.recorded_bytes <= limits::CONSOLE_PLAYED_BYTES_MAX)
}

fn screen(session: &Session, open: bool) -> Markup {
    let id = &session.metadata.id;
    html! {
        @if !session.recorded {
            (nothing("Not recorded", "No rule asked for a recording of this session."))
        } @else if is_played(session) {
            @if open {
                div #player .screen data-live={ "/console/sessions/" (id) "/live" } {}
            } @else {
                div #player .screen data-tty=(session.metadata.tty) data-cast={ "/console/sessions/" (id) "/cast" } {}
            }
        }
    }
}

fn so_far(id: &str, lines: &[Line], more: bool, open: bool) -> Markup {
    html! {
        section.card aria-labelledby="text" {
            h2 #text { @if open { "What happened so far, as text" } @else { "As text" } }
            pre tabindex="0" { @for line in lines { (visible(&line.text)) "\n" } }
            @if more { p { a href={ "/console/sessions/" (id) "/text" } { "All of it" } } }
        }
    }
}

fn facts(details: &Details, id: &str, now: Timestamp) -> Markup {
    let session = &details.session;
    let metadata = &session.metadata;
    let exit = session.exit_code.map(|code| code.to_string());
    let failure = details.summary.as_ref().and_then(|it| it.failure.clone());
    html! {
        section.card aria-labelledby="facts" {
            h2 #facts { "About it" }
            dl {
                div { dt { "Who" } dd { (who(session)) } }
                (fact("Cluster", &metadata.cluster))
                (fact("Where", &metadata.target()))
                (fact("Kind", &metadata.kind))
                div { dt { "Began" } dd { (moment(metadata.started, now)) } }
                div { dt { "Lasted" } dd { (lasted(session)) } }
                (fact("Exit code", &exit.unwrap_or_default()))
                (fact("From", &metadata.source_ip))
                (fact("Rule", &metadata.rule))
                @if let Some(approval) = &metadata.approval_id {
                    div { dt { "Approval" } dd { a href={ "/console/approvals/" (approval) } { (visible(approval)) } } }
                }
                @if session.recorded { (fact("Recording", &bytes(session.recorded_bytes))) }
                (fact("Incomplete", &failure.unwrap_or_default()))
            }
            @if session.recorded {
                p.row {
                    a href={ "/console/sessions/" (id) "/text" } { "As text" }
                    a href={ "/console/sessions/" (id) "/cast" } download={ (id) ".cast" } { "Download" }
                }
            }
        }
    }
}

fn end(id: &str, viewer: &Viewer) -> Markup {
    html! {
        section.card.decide aria-labelledby="end" {
            h2 #end { "End this session" }
            form method="post" action={ "/console/sessions/" (id) "/end" } {
                (csrf(viewer))
                label for="reason" { "Reason " span.faint { "(its user reads it)" } }
                input #reason name="reason" required maxlength=(limits::KILL_REASON_CHARS_MAX) autocomplete="off";
                button.no type="submit" { "End it" }
            }
        }
    }
}

/// Ends a session.
pub(super) fn kill(
    api: &Sessions,
    guest: &Guest,
    id: &str,
    form: &Form,
    event: &mut Event,
) -> Result<Response<Body>, Refusal> {
    let id = checked(id)?;
    let call = serde_json::json!({"reason": form.text("reason")}).to_string();
    let reason = api::reason(call.as_bytes())?;
    event.annotate("portcullis.dev/kill-reason", reason.clone());
    let by = guest.identity.username().to_owned();
    api.kill(&id, by, &reason)?;
    Ok(see_other(&format!("/console/sessions/{id}")))
}

/// The asciicast itself.
pub(super) async fn cast(api: &Sessions, id: &str) -> Result<Response<Body>, Refusal> {
    api.cast(checked(id)?).await
}

/// An open session as events that the player understands: times since the beginning, one event each.
pub(super) fn live(api: &Sessions, id: &str) -> Result<Response<Body>, Refusal> {
    let follower = api.follow(&checked(id)?)?;
    let events = stream::unfold((follower, None), |(mut follower, mut clock)| async move {
        let lines: Bytes = follower.next().await?;
        let mut text = String::new();
        for line in lines.split(|byte| *byte == b'\n') {
            text.push_str(&event_of(line, &mut clock).unwrap_or_default());
        }
        Some((text, (follower, clock)))
    });
    let ended = stream::once(async { "event: done\ndata: {}\n\n".to_owned() });
    let frames = events
        .chain(ended)
        .map(|text| Ok(Frame::data(Bytes::from(text))));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// One line of a recording as an event of the stream; `None` for what is none.
fn event_of(line: &[u8], clock: &mut Option<Clock>) -> Option<String> {
    let data = match clock {
        None => {
            let header = ParsedHeader::parse(line).ok()?;
            *clock = Some(Clock::new(header.version));
            // Line feeds are new lines (LNM, ECMA-48 §7.2.10), or what has no terminal would run off to the right;
            // of terminals each line has its carriage return anyway.
            serde_json::json!({"cols": header.columns, "rows": header.rows, "init": "\u{1b}[20h"})
        }
        Some(clock) => {
            let moment = Moment::parse(line).ok()?;
            let at = clock.at(&moment).as_secs_f64();
            serde_json::json!([at, moment.code, moment.data])
        }
    };
    Some(format!("data: {data}\n\n"))
}

/// The whole recording as plain text.
pub(super) async fn text(api: &Sessions, id: &str) -> Result<Response<Body>, Refusal> {
    let parts = api.parts(checked(id)?).await?;
    let (tell, told) = tokio::sync::mpsc::channel(limits::SEARCH_NEWS_MAX);
    tokio::task::spawn_blocking(move || {
        read(parts, &mut |line| {
            let text = format!("{}\n", visible(&line.text));
            tell.blocking_send(text).is_ok()
        });
    });
    let lines = stream::unfold(told, |mut told| async move {
        let line = told.recv().await?;
        Some((Ok(Frame::data(Bytes::from(line))), told))
    });
    let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// The first lines of a recording, and whether there are more.
async fn beginning(parts: Vec<PathBuf>) -> (Vec<Line>, bool) {
    let lines = tokio::task::spawn_blocking(move || {
        let (mut lines, mut more) = (Vec::new(), false);
        read(parts, &mut |line| {
            more = lines.len() >= limits::CONSOLE_TRANSCRIPT_LINES_MAX;
            if !more {
                lines.push(line);
            }
            !more
        });
        (lines, more)
    });
    lines.await.unwrap_or_default()
}

/// Hands over the lines of a recording until nobody wants more.
fn read(parts: Vec<PathBuf>, wants_more: &mut dyn FnMut(Line) -> bool) {
    let read = || {
        let mut reader = Reader::new(files::open(parts))?;
        let (mut transcript, mut at, mut goes_on) = (Transcript::default(), Duration::ZERO, true);
        while goes_on && let Some(moment) = reader.next_moment()? {
            at = moment.at;
            transcript.push(&moment, &mut |line| goes_on = goes_on && wants_more(line));
        }
        transcript.finish(at, &mut |line| goes_on = goes_on && wants_more(line));
        Ok::<(), ReadError>(())
    };
    if let Err(error) = read() {
        tracing::warn!(%error, "a recording cannot be shown as text");
    }
}

fn checked(id: &str) -> Result<String, Refusal> {
    if crate::recording::index::files::is_id(id) {
        return Ok(id.to_owned());
    }
    Err(Refusal::not_found("that is not the id of a session"))
}

fn title(session: &Session) -> String {
    let metadata = &session.metadata;
    let command = metadata.command_line();
    let what = if command.is_empty() {
        &metadata.kind
    } else {
        &command
    };
    format!("{what} in {}", metadata.pod)
}

fn who(session: &Session) -> Markup {
    let metadata = &session.metadata;
    html! {
        @if let Some(agent) = &metadata.agent { span.agent { (visible(agent)) } " for " }
        b { (visible(&metadata.user)) }
    }
}

fn verdict(session: &Session) -> Markup {
    html! { span class={ "tag state-" (session.verdict) } { (visible(&session.verdict)) } }
}

fn lasted(session: &Session) -> String {
    length(milliseconds(session.duration_ms))
}

fn milliseconds(count: u64) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(count).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_both_formats_become_events_with_times_since_the_beginning() {
        let v2 = [
            r#"{"version":2,"width":80,"height":24}"#,
            r#"[1.5,"o","a"]"#,
            r#"[2.0,"o","b"]"#,
        ];
        let v3 = [
            r#"{"version":3,"term":{"cols":80,"rows":24}}"#,
            r#"[1.5,"o","a"]"#,
            r#"[0.5,"o","b"]"#,
        ];
        for lines in [v2, v3] {
            let mut clock = None;
            let events: Vec<String> = lines
                .iter()
                .filter_map(|line| event_of(line.as_bytes(), &mut clock))
                .collect();
            let data: Vec<serde_json::Value> = events
                .iter()
                .map(|event| event.strip_prefix("data: ").unwrap().trim_end())
                .map(|data| serde_json::from_str(data).unwrap())
                .collect();
            let expected = [
                serde_json::json!({"cols": 80, "rows": 24, "init": "\u{1b}[20h"}),
                serde_json::json!([1.5, "o", "a"]),
                serde_json::json!([2.0, "o", "b"]),
            ];
            assert_eq!(data, expected);
        }
    }

    #[test]
    fn what_a_session_printed_cannot_add_an_event() {
        let mut clock = Some(Clock::new(crate::wire::asciicast::Version::V2));
        let line = r#"[1.0,"o","x\r\n\r\nevent: done\ndata: {}\u2028"]"#;
        let event = event_of(line.as_bytes(), &mut clock).unwrap();
        assert_eq!(event.matches('\n').count(), 2, "{event}");
        assert!(event.ends_with("\n\n") && !event.contains('\r'), "{event}");
        assert!(event_of(b"nonsense", &mut clock).is_none());
    }
}
