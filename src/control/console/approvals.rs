//! The inbox: what waits for a yes, everything that one has to know to say it, and what was answered lately.

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::{SignedDuration, Timestamp};
use maud::{Markup, html};

use super::Guest;
use super::answer::{page, see_other};
use super::form::Form;
use super::page::text::{block, diff, length, moment, visible};
use super::page::{self, Tab, Viewer, csrf, fact, nothing};
use crate::approval::{Answer, Approval, Asked, State, Verdict};
use crate::audit::Event;
use crate::control::approvals::{Approvals, No, Visitor, Yes, spell};
use crate::gateway::body::Body;
use crate::gateway::refuse::Refusal;
use crate::limits;

/// For how many minutes a class may be admitted, as far as the rule allows.
const MINUTES: [u32; 5] = [5, 15, 30, 60, 240];

/// The inbox itself.
pub(super) async fn list(
    api: &Approvals,
    guest: &Guest,
    now: Timestamp,
) -> Result<Response<Body>, Refusal> {
    let visitor = api.visitor(Some(guest.identity.clone()));
    let found = api
        .list(&visitor, false, limits::CONSOLE_ROWS_MAX, |_| true)
        .await?;
    let (open, past): (Vec<Approval>, Vec<Approval>) = found
        .items
        .into_iter()
        .partition(|approval| approval.state == State::Asked);
    let (mine, others): (Vec<Approval>, Vec<Approval>) = open
        .into_iter()
        .partition(|approval| visitor.may_answer(approval));
    let content = html! {
        div #live data-events="/console/approvals/events" {
            div.head {
                h1 { "Approvals" }
                p.state role="status" { (waiting(mine.len())) }
            }
            @if mine.is_empty() {
                (nothing("Nothing waits for you", "Requests that a rule holds show up here by themselves."))
            } @else {
                ul.cards { @for approval in &mine { (card(approval, now)) } }
            }
            @if !others.is_empty() {
                h2 { "Waiting for somebody else" }
                ul.cards { @for approval in &others { (card(approval, now)) } }
            }
            h2 { "Answered lately" }
            @if past.is_empty() {
                (nothing("Nothing yet", "What was approved, denied or expired is listed here."))
            } @else { (answered(&past, now)) }
        }
    };
    let viewer = guest.viewer();
    Ok(page(
        StatusCode::OK,
        page::of(&viewer, Tab::Approvals, "Approvals", &content),
    ))
}

/// One question with all that belongs to it.
pub(super) async fn show(
    api: &Approvals,
    guest: &Guest,
    id: &str,
    now: Timestamp,
) -> Result<Response<Body>, Refusal> {
    let visitor = api.visitor(Some(guest.identity.clone()));
    let approval = api.seen(&visitor, id.to_owned()).await?;
    let viewer = guest.viewer();
    let title = format!("Approval {}", approval.id);
    let content = details(&approval, &visitor, &viewer, now);
    Ok(page(
        StatusCode::OK,
        page::of(&viewer, Tab::Approvals, &title, &content),
    ))
}

/// Takes an answer.
pub(super) async fn answer(
    api: &Approvals,
    guest: &Guest,
    (id, what): (&str, &str),
    form: &Form,
    event: &mut Event,
) -> Result<Response<Body>, Refusal> {
    let visitor = api.visitor(Some(guest.identity.clone()));
    let id = id.to_owned();
    let reason = form.text("reason").to_owned();
    match what {
        "approve" => {
            let seconds = form.number::<u32>("minutes")?;
            let yes = Yes {
                reason,
                requests: form.number("requests")?.unwrap_or(0),
                same_class_seconds: seconds.map(|minutes| minutes.saturating_mul(60)),
            };
            api.approve(&visitor, id, &yes, event).await?;
        }
        "deny" => {
            api.deny(&visitor, id, &No { reason }, event).await?;
        }
        "withdraw" => {
            api.withdraw(&visitor, id).await?;
        }
        _ => return Err(Refusal::not_found("there is nothing here")),
    }
    Ok(see_other("/console/approvals"))
}

/// Tells the page whenever something changed: how many questions wait for its reader, and a number that changes with
/// whatever they may see.
pub(super) fn events(api: &Approvals, guest: &Guest) -> Result<Response<Body>, Refusal> {
    let visitor = api.visitor(Some(guest.identity.clone()));
    let lists = api.lists(visitor.clone())?;
    let mut last = String::new();
    let news = lists.map(move |list| {
        let mine = list.items.iter().filter(|one| visitor.may_answer(one));
        let state: Vec<String> = list.items.iter().map(version).collect();
        let state = format!("{}\n{}", mine.count(), state.join(","));
        let text = if state == last {
            ": nothing new\n\n".to_owned() // a proxy on the way keeps the connection
        } else {
            let (count, state) = state.split_once('\n').unwrap_or_default();
            format!("event: approvals\ndata: {{\"waiting\":{count},\"state\":\"{state}\"}}\n\n")
        };
        last = state;
        Ok(Frame::data(Bytes::from(text)))
    });
    let mut response = Response::new(StreamBody::new(news).boxed_unsync());
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// What differs once anything about a question has changed: letters, digits and marks only.
fn version(approval: &Approval) -> String {
    let contexts = approval
        .requests
        .iter()
        .filter(|request| !request.shown.context.is_empty() || !request.shown.diff.is_empty());
    format!(
        "{}:{}:{}:{}",
        approval.id,
        approval.requests.len(),
        approval.answers.len(),
        contexts.count()
    )
}

fn waiting(count: usize) -> String {
    match count {
        0 => "All clear".to_owned(),
        1 => "1 waits for your answer".to_owned(),
        many => format!("{many} wait for your answer"),
    }
}

fn card(approval: &Approval, now: Timestamp) -> Markup {
    let first = approval.requests.first();
    html! {
        li.card.question {
            h3 { a href={ "/console/approvals/" (approval.id) } { (visible(&subject(approval))) } }
            p.from { (caller(approval)) }
            @if let Some(message) = &approval.message { p { (visible(message)) } }
            @if let Some(ahead) = &approval.grant { p { q { (visible(&ahead.reason)) } } }
            @for risk in first.iter().flat_map(|first| &first.shown.risks) { p.risk { (visible(risk)) } }
            p.meta {
                span.tag { (approval.cluster) }
                @if approval.requests.len() > 1 { span.tag { (approval.requests.len()) " requests" } }
                span { "asked " (moment(approval.asked, now)) }
                span { "expires " (moment(approval.expires, now)) }
            }
        }
    }
}

fn answered(past: &[Approval], now: Timestamp) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Answered lately" {
            table {
                thead { tr { th scope="col" { "What" } th scope="col" { "Who asked" } th scope="col" { "Outcome" } th scope="col" { "Answer" } th scope="col" { "Asked" } } }
                tbody {
                    @for approval in past.iter().take(50) {
                        tr {
                            td { a href={ "/console/approvals/" (approval.id) } { (visible(&subject(approval))) } }
                            td { (caller(approval)) }
                            td { (state(approval.state)) }
                            td { @if let Some(answer) = approval.answers.last() { (said(answer)) } }
                            td { (moment(approval.asked, now)) }
                        }
                    }
                }
            }
        }
    }
}

fn state(state: State) -> Markup {
    html! { span class={ "tag state-" (state.as_str()) } { (state.as_str()) } }
}

/// Who asks, and for whom.
fn caller(approval: &Approval) -> Markup {
    let person = &approval.caller;
    html! {
        @if let Some(agent) = &person.agent {
            span.agent { (visible(agent)) } " for "
        }
        b { (visible(&person.user)) }
    }
}

/// What is asked for, in one line.
fn subject(approval: &Approval) -> String {
    if let Some(ahead) = &approval.grant {
        return format!(
            "role {} for {}",
            ahead.role,
            spell(u64::from(ahead.seconds))
        );
    }
    let Some(first) = approval.requests.first() else {
        return approval.rule.clone();
    };
    let shown = &first.shown;
    let mut words = vec![shown.verb.clone(), shown.resource.clone()];
    if !shown.name.is_empty() {
        words.push(shown.name.clone());
    }
    if !shown.namespace.is_empty() {
        words.push(format!("in {}", shown.namespace));
    }
    let more = approval.requests.len().saturating_sub(1);
    if more > 0 {
        words.push(format!("and {more} more"));
    }
    words.join(" ")
}

fn said(answer: &Answer) -> Markup {
    let verdict = match answer.verdict {
        Verdict::Yes => "yes".to_owned(),
        Verdict::YesToClass { seconds } => {
            let lasts = SignedDuration::from_secs(i64::from(seconds));
            format!("yes, to all of its kind for {}", length(lasts))
        }
        Verdict::No => "no".to_owned(),
    };
    html! {
        (verdict) ", " (visible(&answer.by.user))
        @if !answer.reason.is_empty() { ": " q { (visible(&answer.reason)) } }
    }
}

fn details(approval: &Approval, visitor: &Visitor, viewer: &Viewer, now: Timestamp) -> Markup {
    let terms = &approval.terms;
    html! {
        p.crumb { a href="/console/approvals" { "Approvals" } " / " (approval.id) }
        div.head data-watch=(version(approval)) data-id=(approval.id) data-events="/console/approvals/events" {
            h1 { (visible(&subject(approval))) }
            (state(approval.state))
        }
        p #changed .notice role="status" hidden { "This question has changed. " a href="" { "Reload" } " before you answer." }
        div.split {
            div {
                section.card aria-labelledby="why" {
                    h2 #why { "Why it is held" }
                    @if let Some(message) = &approval.message { p.risk { (visible(message)) } }
                    dl {
                        div { dt { "Who" } dd { (caller(approval)) } }
                        (fact("Groups", &approval.caller.groups.join(", ")))
                        @if let Some(ahead) = &approval.grant {
                            (fact("Role", &ahead.role))
                            (fact("For", &spell(u64::from(ahead.seconds))))
                            (fact("Their reason", &ahead.reason))
                        }
                        (fact("Cluster", &approval.cluster))
                        (fact("Rule", &approval.rule))
                        (fact("Who may answer", &terms.approvers.in_words()))
                        div { dt { "Asked" } dd { (moment(approval.asked, now)) } }
                        div { dt { "Expires" } dd { (moment(approval.expires, now)) } }
                    }
                }
                @for (number, request) in approval.requests.iter().enumerate() {
                    (self::request(request, number + 1, approval.requests.len()))
                }
            }
            div.side {
                (decision(approval, visitor, viewer))
                @if !approval.answers.is_empty() {
                    section.card aria-labelledby="answers" {
                        h2 #answers { "Answers" }
                        ul { @for answer in &approval.answers { li { (said(answer)) " " span.faint { (moment(answer.at, now)) } } } }
                    }
                }
            }
        }
    }
}

fn request(asked: &Asked, number: usize, of: usize) -> Markup {
    let shown = &asked.shown;
    let command = shown.session_command.join(" ");
    html! {
        section.card {
            h2 { @if of > 1 { "Request " (number) " of " (of) } @else { "The request" } }
            @if !shown.risks.is_empty() {
                ul.risks aria-label="Why it is risky" { @for risk in &shown.risks { li.risk { (visible(risk)) } } }
            }
            p.call { code { b { (shown.method) } " " (visible(&shown.target)) } }
            dl {
                (fact("Command in the container", &command))
                (fact("From", &shown.source))
                (fact("Claimed command", &shown.claimed_command))
                (fact("Claimed client", &shown.user_agent))
                (fact("Carried out as", asked.used_by.as_deref().unwrap_or_default()))
            }
            @if !shown.context.is_empty() {
                h3 { "What it is about" }
                (block(&shown.context.join("\n")))
            }
            @if !shown.diff.is_empty() {
                h3 { "What it would change" }
                (diff(&shown.diff))
            }
            @if !shown.body.is_empty() {
                details open[shown.diff.is_empty()] {
                    summary { "Request body, decoded and masked" }
                    (block(&shown.body))
                }
            }
        }
    }
}

/// The forms, as far as the visitor may use them.
fn decision(approval: &Approval, visitor: &Visitor, viewer: &Viewer) -> Markup {
    let path = format!("/console/approvals/{}", approval.id);
    let asked = approval.state == State::Asked;
    let open = approval.state.is_open();
    let answers = visitor.may_answer(approval);
    let own = visitor.asked(approval);
    html! {
        section.card.decide aria-labelledby="decide" {
            h2 #decide { "Your answer" }
            @if asked && answers {
                @let missing = approval.missing();
                @if missing > 1 { p.faint { (missing) " people have to say yes." } }
                form method="post" action={ (path) "/approve" } {
                    (csrf(viewer))
                    input type="hidden" name="requests" value=(approval.requests.len());
                    label for="yes-reason" { "Reason " span.faint { "(optional)" } }
                    input #yes-reason name="reason" maxlength=(limits::APPROVAL_REASON_CHARS_MAX) autocomplete="off";
                    (width(approval))
                    button.yes type="submit" { "Approve" }
                }
            }
            @if open && answers {
                form method="post" action={ (path) "/deny" } {
                    (csrf(viewer))
                    label for="no-reason" { "Reason for a no " span.faint { "(whoever asked reads it)" } }
                    input #no-reason name="reason" required maxlength=(limits::APPROVAL_REASON_CHARS_MAX) autocomplete="off";
                    button.no type="submit" { @if asked { "Deny" } @else { "Take the yes back" } }
                }
            }
            @if open && own {
                form method="post" action={ (path) "/withdraw" } {
                    (csrf(viewer))
                    p { "You asked this yourself." }
                    button type="submit" { "Withdraw it" }
                }
            }
            @if open && !answers && !own { p { "Somebody else has to answer this." } }
            @if !open { p { "It is " (approval.state.as_str()) "; there is nothing to answer any more." } }
        }
    }
}

/// Once, or everything of the kind for some minutes, if the rule lets people say that.
fn width(approval: &Approval) -> Markup {
    if let Some(ahead) = &approval.grant {
        let lasts = spell(u64::from(ahead.seconds));
        return html! { p.faint { "A yes gives the role for " (lasts) "; what it lets through needs no further answer." } };
    }
    let Some(most) = approval.terms.same_class else {
        return html! { p.faint { "A yes admits each request once." } };
    };
    let most = u32::try_from(most.as_secs() / 60).unwrap_or(u32::MAX);
    let mut choices: Vec<u32> = MINUTES.into_iter().filter(|each| *each <= most).collect();
    if most > 0 && !choices.contains(&most) {
        choices.push(most);
    }
    html! {
        label for="minutes" { "Admits" }
        select #minutes name="minutes" {
            option value="" selected { "each request once" }
            @for minutes in choices { option value=(minutes) { "all of its kind for " (minutes) " min" } }
        }
    }
}
