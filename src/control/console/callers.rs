//! Callers: who calls, how much of their budgets is used, and the switch that keeps somebody out.

use http::{Response, StatusCode};
use jiff::Timestamp;
use maud::{Markup, html};

use super::Guest;
use super::answer::{page, see_other};
use super::form::Form;
use super::page::text::{moment, visible};
use super::page::{self, Tab, Viewer, csrf, nothing};
use crate::audit::Event;
use crate::control::callers::{BlockCall, CallerItem, Callers};
use crate::gateway::body::Body;
use crate::gateway::refuse::Refusal;
use crate::limits;

/// Who calls, with `all` also those who did lately.
pub(super) fn list(api: &Callers, guest: &Guest, all: bool, now: Timestamp) -> Response<Body> {
    let callers = api.list(all, now).items;
    let viewer = guest.viewer();
    let content = html! {
        div.head {
            h1 { "Callers" }
            p.state {
                @if all { a href="/console/callers" { "Only active and blocked ones" } }
                @else { a href="/console/callers?all=true" { "Everybody who called since the start" } }
            }
        }
        @if callers.is_empty() {
            (nothing("Nobody calls", "Whoever has something open, called in the last minute or is blocked is listed here."))
        } @else { (table(&callers, &viewer, now)) }
        section.card aria-labelledby="block" {
            h2 #block { "Block somebody" }
            p.faint { "Everything they have open ends at once, and what they ask is refused until the block ends or is lifted." }
            form method="post" action="/console/callers/block" {
                (csrf(&viewer))
                div.filters {
                    div { label for="kind" { "Whom" } select #kind name="kind" { option value="user" { "a user" } option value="agent" { "an agent" } } }
                    div { label for="name" { "Name, to the letter" } input #name name="name" required maxlength=(limits::BLOCK_NAME_BYTES_MAX) autocomplete="off"; }
                    div { label for="why" { "Reason (they read it)" } input #why name="reason" required maxlength=(limits::BLOCK_REASON_CHARS_MAX) autocomplete="off"; }
                    div { label for="minutes" { "For" } select #minutes name="minutes" {
                        option value="" { "until it is lifted" }
                        option value="15" { "15 min" }
                        option value="60" { "1 h" }
                        option value="1440" { "1 day" }
                    } }
                    div { button.no type="submit" { "Block" } }
                }
            }
        }
    };
    page(
        StatusCode::OK,
        page::of(&viewer, Tab::Callers, "Callers", &content),
    )
}

fn table(callers: &[CallerItem], viewer: &Viewer, now: Timestamp) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Callers" {
            table {
                thead { tr {
                    th scope="col" { "Who" } th.number scope="col" { "Requests, last minute" } th.number scope="col" { "Streams" }
                    th.number scope="col" { "Sessions" } th scope="col" { "Budgets" } th scope="col" { "Last request" } th scope="col" { "State" }
                } }
                tbody {
                    @for caller in callers.iter().take(limits::CONSOLE_ROWS_MAX) {
                        tr {
                            td { (who(caller)) }
                            td.number { (caller.requests_last_minute) }
                            td.number { (caller.streams) }
                            td.number { (caller.sessions) }
                            td {
                                @for budget in &caller.budgets {
                                    div { (visible(&budget.budget)) ": " (budget.used) " of " (budget.most) }
                                }
                            }
                            td { @if let Some(last) = caller.last_request { (moment(last, now)) } }
                            td { (blocked(caller, viewer, now)) }
                        }
                    }
                }
            }
        }
    }
}

fn who(caller: &CallerItem) -> Markup {
    html! {
        @if let Some(agent) = &caller.agent { span.agent { (visible(agent)) } " " }
        @match &caller.user {
            Some(user) => { b { (visible(user)) } }
            None if caller.agent.is_none() => { span.faint { "everybody else" } }
            None => {}
        }
    }
}

fn blocked(caller: &CallerItem, viewer: &Viewer, now: Timestamp) -> Markup {
    let Some(block) = &caller.blocked else {
        return html! { span.tag { "active" } };
    };
    let (kind, name) = match &block.whom {
        crate::identity::Whom::User(name) => ("user", name),
        crate::identity::Whom::Agent(name) => ("agent", name),
    };
    html! {
        span.tag.state-blocked { "blocked" }
        div { q { (visible(&block.reason)) } " " (visible(&block.by)) ", " (moment(block.at, now)) }
        @if let Some(until) = block.until { div { "ends " (moment(until, now)) } }
        form method="post" action="/console/callers/unblock" {
            (csrf(viewer))
            input type="hidden" name="kind" value=(kind);
            input type="hidden" name="name" value=(name);
            button.quiet type="submit" aria-label={ "Lift the block of " (visible(name)) } { "Lift" }
        }
    }
}

/// Keeps somebody out, or lets them in again.
pub(super) async fn change(
    api: &Callers,
    guest: &Guest,
    (block, form): (bool, &Form),
    event: &mut Event,
    now: Timestamp,
) -> Result<Response<Body>, Refusal> {
    let name = Some(form.text("name").to_owned());
    let (user, agent) = match form.text("kind") {
        "user" => (name, None),
        "agent" => (None, name),
        _ => return Err(Refusal::bad_request("kind must be user or agent")),
    };
    let minutes: Option<u64> = form.number("minutes")?;
    let call = BlockCall {
        user,
        agent,
        reason: form.text("reason").to_owned(),
        seconds: minutes.map(|minutes| minutes.saturating_mul(60)),
    };
    let by = guest.identity.username();
    if block {
        api.block(&call, by.to_owned(), event, now).await?;
    } else {
        api.unblock(&call, by, event).await?;
    }
    Ok(see_other("/console/callers"))
}
