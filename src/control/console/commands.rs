//! Commands: what people and agents did, a line for each run of kubectl, from the audit log; and everything that is known
//! of one.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use maud::{Markup, html};
use uuid::Uuid;

use super::Guest;
use super::Trail;
use super::answer;
use super::page::text::{clock, moment, visible};
use super::page::{self, Tab, fact, nothing};
use crate::audit::commands::{Command, DECISIONS, Filter, Request};
use crate::audit::follow::Place;
use crate::audit::history::Told;
use crate::gateway::body::Body;
use crate::gateway::refuse::Refusal;
use crate::identity::client::login::{form_text, parameters};
use crate::limits;

/// What one can look for by a word, with the label of its field.
const WORDS: [(&str, &str); 3] = [
    ("user", "User"),
    ("agent", "Agent"),
    ("namespace", "Namespace"),
];
/// What one can look for by a time, with the label of its field.
const TIMES: [(&str, &str); 2] = [("since", "Since (UTC)"), ("until", "Before (UTC)")];

/// What somebody looks for.
#[derive(Debug, Default)]
struct Wish {
    /// The fields as they were filled in.
    fields: Vec<(String, String)>,
    filter: Filter,
    from: Option<Place>,
}

/// The commands that the query asks for, the latest first.
pub(super) async fn list(
    trail: &Trail,
    guest: &Guest,
    query: &str,
    now: Timestamp,
) -> Result<Response<Body>, Refusal> {
    let wish = Wish::read(query)?;
    let (filter, from) = (wish.filter.clone(), wish.from);
    let bounds = (
        limits::CONSOLE_COMMANDS_MAX,
        limits::CONSOLE_COMMANDS_READ_BYTES_MAX,
    );
    let found = trail.read(move |history| history.page(&filter, from, bounds));
    let found = found.await?;
    let content = html! {
        div.head { h1 { "Commands" } }
        (wish.form())
        @if found.commands.is_empty() {
            @if found.older.is_some() {
                (nothing("Not in this part of the log", "What you look for may be further back."))
            } @else {
                (nothing("No command", "Whatever is asked of the gateway is listed here, and what came of it."))
            }
        } @else { (table(&found.commands, wish.from.is_some(), now)) }
        p.row {
            @if let Some(older) = found.older { a href=(wish.link(Some(older))) rel="next" { "Older" } }
            @if wish.from.is_some() { a href=(wish.link(None)) { "Latest" } }
        }
    };
    let viewer = guest.viewer();
    let page = page::of(&viewer, Tab::Commands, "Commands", &content);
    Ok(answer::page(StatusCode::OK, page))
}

impl Wish {
    fn read(query: &str) -> Result<Self, Refusal> {
        let unreadable = || Refusal::bad_request("the query cannot be read");
        let mut fields = parameters(query).ok_or_else(unreadable)?;
        fields.retain(|(_, value)| !value.trim().is_empty());
        let mut wish = Self::default();
        for (name, value) in &fields {
            let text = Some(value.trim().to_owned());
            let filter = &mut wish.filter;
            match name.as_str() {
                "user" => filter.user = text,
                "agent" => filter.agent = text,
                "namespace" => filter.namespace = text,
                "verdict" => {
                    filter.decision = text.filter(|word| DECISIONS.contains(&word.as_str()));
                    if filter.decision.is_none() {
                        let words = DECISIONS.join(", ");
                        return Err(Refusal::bad_request(format!("verdict is one of {words}")));
                    }
                }
                "since" => filter.since = Some(time(value)?),
                "until" => filter.until = Some(time(value)?),
                "at" => {
                    let place = place(value)
                        .ok_or_else(|| Refusal::bad_request("there is no such place in the log"))?;
                    wish.from = Some(place);
                }
                _ => return Err(Refusal::bad_request(format!("there is no field {name:?}"))),
            }
        }
        wish.fields = fields;
        wish.fields.retain(|(name, _)| name != "at");
        Ok(wish)
    }

    fn of(&self, name: &str) -> &str {
        let mut fields = self.fields.iter();
        fields
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.trim())
    }

    /// The same from another place.
    fn link(&self, from: Option<Place>) -> String {
        let mut fields = self.fields.clone();
        fields.extend(from.map(|place| {
            let at = format!("{}-{}", place.segment, place.bytes);
            ("at".to_owned(), at)
        }));
        format!("/console/commands?{}", form_text(&fields))
    }

    fn form(&self) -> Markup {
        let verdict = self.of("verdict");
        html! {
            form.filters.narrow method="get" action="/console/commands" role="search" {
                @for (name, label) in WORDS {
                    div { label for=(name) { (label) } input id=(name) name=(name) value=(self.of(name)) autocomplete="off" spellcheck="false"; }
                }
                div { label for="verdict" { "Verdict" } select #verdict name="verdict" {
                    option value="" { "any" }
                    @for word in DECISIONS { option value=(word) selected[word == verdict] { (word) } }
                } }
                @for (name, label) in TIMES {
                    div.wide { label for=(name) { (label) } input id=(name) name=(name) type="datetime-local" value=(self.of(name)); }
                }
                div { button type="submit" { "Look" } }
            }
        }
    }
}

/// A time as browsers write it, in UTC, or with its zone (RFC 3339).
fn time(text: &str) -> Result<Timestamp, Refusal> {
    let text = text.trim();
    let bare = || text.parse::<DateTime>()?.to_zoned(TimeZone::UTC);
    let time = text.parse().or_else(|_| bare().map(|at| at.timestamp()));
    time.map_err(|_| Refusal::bad_request("a time is such as 2026-11-20T08:00"))
}

/// A place as links have it.
fn place(text: &str) -> Option<Place> {
    let (segment, bytes) = text.split_once('-')?;
    Some(Place {
        segment: segment.parse().ok()?,
        bytes: bytes.parse().ok()?,
    })
}

fn table(commands: &[Command], is_older: bool, now: Timestamp) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Commands" {
            table {
                thead { tr { th scope="col" { "Asked for" } th scope="col" { "Who" } th scope="col" { "Claimed command" } th scope="col" { "Verdict" } th scope="col" { "Answer" } th scope="col" { "When" } } }
                tbody {
                    @for command in commands {
                        @let chief = command.chief();
                        tr {
                            td { a href={ "/console/commands/" (command.id) } { (visible(&command.asked())) } }
                            td { (who(command)) }
                            td { (visible(command.claimed_command.as_deref().unwrap_or_default())) }
                            td { (verdict(&command.decision)) }
                            td { @if let Some(chief) = chief { (outcome(chief, is_older)) } }
                            td { (moment(command.started, now)) }
                        }
                    }
                }
            }
        }
    }
}

fn who(command: &Command) -> Markup {
    html! {
        @if let Some(agent) = &command.agent { span.agent { (visible(agent)) } " for " }
        @if command.user.is_empty() { span.faint { "nobody who is known" } } @else { b { (visible(&command.user)) } }
    }
}

fn verdict(word: &str) -> Markup {
    html! { span class={ "tag effect-" (word) } { (visible(word)) } }
}

/// The code of the answer. What is not over in an older part of the log may be over in a later one.
fn outcome(request: &Request, is_older: bool) -> Markup {
    html! {
        @match request.code {
            Some(code) if request.over => { (code) }
            _ if is_older => { span.tag { "began" } }
            _ => { span.tag.state-open { "open" } }
        }
    }
}

/// One command with all that is known of it.
pub(super) async fn show(
    trail: &Trail,
    guest: &Guest,
    id: &str,
) -> Result<Response<Body>, Refusal> {
    let unknown = || {
        Refusal::not_found(
            "the log has no such request; `portcullis audit show` looks through all of it",
        )
    };
    let id = Uuid::try_parse(id).map_err(|_| unknown())?;
    let bytes = limits::CONSOLE_COMMAND_READ_BYTES_MAX;
    let told = trail
        .read(move |history| history.command(id, bytes))
        .await?;
    let Told { command, cut } = told.ok_or_else(unknown)?;
    let title = command.asked();
    let open = command.requests.iter().any(|request| !request.over);
    let content = html! {
        p.crumb { a href="/console/commands" { "Commands" } " / " (command.id) }
        div.head { h1 { (visible(&title)) } (verdict(&command.decision)) }
        @if cut && open {
            p.notice role="status" { "The log goes on beyond what was looked through; what is open here may be over. `portcullis audit show " (command.id) "` looks through all of it." }
        }
        div.split {
            div {
                @for (number, request) in command.requests.iter().enumerate() {
                    (self::request(request, number + 1, command.requests.len()))
                }
                @if command.more_requests > 0 {
                    p.notice role="status" { (command.more_requests) " more requests are not listed here; `portcullis audit show " (command.id) "` has them." }
                }
            }
            div.side { (about(&command)) }
        }
    };
    let viewer = guest.viewer();
    let page = page::of(&viewer, Tab::Commands, &title, &content);
    Ok(answer::page(StatusCode::OK, page))
}

fn about(command: &Command) -> Markup {
    let claimed = command.claimed_command.as_deref().unwrap_or_default();
    html! {
        section.card aria-labelledby="about" {
            h2 #about { "About it" }
            dl {
                div { dt { "Who" } dd { (who(command)) } }
                (fact("Claimed", claimed))
                div { dt { "Began" } dd { (clock(command.started)) } }
                @if command.discovery > 0 { (fact("Discovery", &format!("{} requests, not listed", command.discovery))) }
            }
        }
    }
}

/// What the annotations of an event are called here; others have their own names.
const NAMES: [(&str, &str); 21] = [
    ("duration-ms", "Took, ms"),
    ("bytes", "Bytes"),
    ("bytes-in", "Bytes from the client"),
    ("bytes-out", "Bytes to the client"),
    ("masked-values", "Masked values"),
    ("masked-paths", "Masked at"),
    ("approved-by", "Approved by"),
    ("approved-at", "Approved"),
    ("approval-reason", "Reason of the approval"),
    ("role", "Role"),
    ("granted-by", "Role given by"),
    ("grant-reason", "Reason of the role"),
    ("exit-code", "Exit code"),
    ("ended", "Ended early"),
    ("killed-by", "Ended by"),
    ("kill-reason", "Reason of the end"),
    ("revealed", "Shown although masked"),
    ("reason", "Reason given"),
    ("would", "Would have been"),
    ("budget", "Budget used up"),
    ("agent-chain", "Agent acts through"),
];
/// What is told elsewhere on the page.
const TOLD: [&str; 5] = [
    "approval",
    "grant",
    "recording",
    "claimed-command",
    "claimed-session",
];

fn request(request: &Request, number: usize, of: usize) -> Markup {
    let mut rest: BTreeMap<&str, &str> = request
        .annotations
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| !TOLD.contains(name))
        .collect();
    let known: Vec<(&str, &str)> = NAMES
        .iter()
        .filter_map(|(key, name)| Some((*name, rest.remove(key)?)))
        .collect();
    let text = |of: &Option<String>| of.clone().unwrap_or_default();
    html! {
        section.card {
            h2 { @if of > 1 { "Request " (number) " of " (of) } @else { "The request" } }
            p.call { code { (visible(&request.asked())) } " " (verdict(&request.decision)) }
            @if let Some(message) = &request.message { p.risk { (visible(message)) } }
            dl {
                (fact("Rule", &text(&request.rule)))
                (fact("Cluster", &text(&request.cluster)))
                div { dt { "Came" } dd { (clock(request.received)) } }
                div { dt { "Answer" } dd { (outcome(request, false)) } }
                @for (name, value) in known { (fact(name, value)) }
                @if let Some(approval) = request.annotations.get("approval") { (approvals("Approval", approval)) }
                @if let Some(grant) = request.annotations.get("grant") { (approvals("Given by", grant)) }
                @if request.annotations.contains_key("recording") {
                    div { dt { "Recording" } dd { a href={ "/console/sessions/" (request.audit_id) } { "Play it" } } }
                }
                @for (name, value) in rest { (fact(name, value)) }
                (fact("Audit id", &request.audit_id))
            }
        }
    }
}

/// Links to approvals, of which a request may need several.
fn approvals(name: &str, ids: &str) -> Markup {
    let is_id = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    html! {
        div { dt { (name) } dd {
            @for id in ids.split("; ") {
                @if is_id(id) { a href={ "/console/approvals/" (id) } { (id) } " " } @else { (visible(id)) " " }
            }
        } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_browsers_and_people_write_them() {
        let expected: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
        for text in [
            "2026-11-20T08:00",
            "2026-11-20T08:00:00",
            "2026-11-20 08:00",
            "2026-11-20T09:00:00+01:00",
            " 2026-11-20T08:00:00Z ",
        ] {
            assert_eq!(time(text).unwrap(), expected, "{text}");
        }
        for bad in ["", "yesterday", "2026-13-01T00:00", "1e9"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_link_keeps_what_was_looked_for() {
        let wish = Wish::read("user=a%26b&agent=&verdict=deny&at=3-99").unwrap();
        let from = wish.from.unwrap();
        assert_eq!((from.segment, from.bytes), (3, 99));
        assert_eq!(
            wish.link(Some(from)),
            "/console/commands?user=a%26b&verdict=deny&at=3-99"
        );
        assert_eq!(wish.link(None), "/console/commands?user=a%26b&verdict=deny");
        for bad in [
            "verdict=no",
            "at=3",
            "at=-1-2",
            "at=a-b",
            "usr=a",
            "since=x",
            "user=%ff",
        ] {
            assert!(Wish::read(bad).is_err(), "{bad}");
        }
    }
}
