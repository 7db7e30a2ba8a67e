//! What all pages have in common. Everything that `maud` is given is escaped; nothing here goes around that.

use maud::{DOCTYPE, Markup, html};

use super::form::CSRF;

pub(super) mod text;

/// The parts of the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tab {
    /// What waits for a yes.
    Approvals,
    /// What people and agents did.
    Commands,
    /// Shells and forwarded ports.
    Sessions,
    /// Who calls.
    Callers,
    /// What is allowed.
    Policy,
}

impl Tab {
    const ALL: [(Self, &'static str, &'static str); 5] = [
        (Self::Approvals, "/console/approvals", "Approvals"),
        (Self::Commands, "/console/commands", "Commands"),
        (Self::Sessions, "/console/sessions", "Sessions"),
        (Self::Callers, "/console/callers", "Callers"),
        (Self::Policy, "/console/policy", "Policy"),
    ];
}

/// Who looks at a page.
#[derive(Clone, Debug)]
pub(super) struct Viewer {
    /// Their name.
    pub(super) name: String,
    /// Whether they see more than approvals.
    pub(super) operator: bool,
    /// What their forms must bring.
    pub(super) csrf: std::sync::Arc<str>,
}

/// A page of somebody who is logged in.
pub(super) fn of(viewer: &Viewer, tab: Tab, title: &str, content: &Markup) -> Markup {
    let tabs = Tab::ALL
        .into_iter()
        .filter(|(tab, ..)| viewer.operator || *tab == Tab::Approvals);
    frame(
        title,
        &html! {
            header.bar {
                a.brand href="/console/approvals" { (mark()) "Portcullis" }
                nav aria-label="Main" {
                    ul {
                        @for (each, path, name) in tabs {
                            li { a href=(path) aria-current=[(each == tab).then_some("page")] { (name) } }
                        }
                    }
                }
                form.who method="post" action="/console/logout" {
                    (csrf(viewer))
                    span { (text::visible(&viewer.name)) }
                    button.quiet type="submit" { "Log out" }
                }
            }
            main #main { (content) }
        },
    )
}

/// The page of somebody who is not logged in.
pub(super) fn sign_in(provider: &str, next: &str, was_here: bool) -> Markup {
    let login = format!("/console/login?next={next}");
    frame(
        "Log in",
        &html! {
            main #main .door {
                div.card {
                    p.brand { (mark()) "Portcullis" }
                    h1 { "Log in to the console" }
                    @if was_here {
                        p role="status" { "Your session is over. Log in again to go on where you were." }
                    }
                    p { "Answer what waits for approval, look into sessions, and see what the policy says." }
                    p { a.button href=(login) { "Log in with " (provider) } }
                }
            }
        },
    )
}

/// A page that says what went wrong.
pub(super) fn problem(code: u16, message: &str) -> Markup {
    frame(
        "Not done",
        &html! {
            main #main .door {
                div.card {
                    p.brand { (mark()) "Portcullis" }
                    h1 { "That was not done" }
                    p role="alert" { (text::visible(message)) }
                    p.faint { "Code " (code) }
                    p { a.button href="/console/approvals" { "Back to the console" } }
                }
            }
        },
    )
}

/// The hidden field that makes a form one of this session.
pub(super) fn csrf(viewer: &Viewer) -> Markup {
    html! { input type="hidden" name=(CSRF) value=(viewer.csrf); }
}

/// What is shown where there is nothing.
pub(super) fn nothing(title: &str, text: &str) -> Markup {
    html! {
        div.nothing {
            p.title { (title) }
            p { (text) }
        }
    }
}

/// A fact with its name, left out when there is nothing to say.
pub(super) fn fact(name: &str, value: &str) -> Markup {
    html! {
        @if !value.is_empty() {
            div { dt { (name) } dd { (text::visible(value)) } }
        }
    }
}

fn frame(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (text::visible(title)) " · Portcullis" }
                link rel="icon" href="/console/static/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/console/static/console.css";
                script src="/console/static/console.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                (body)
            }
        }
    }
}

/// The product's mark: a gate.
fn mark() -> Markup {
    html! {
        svg.mark viewBox="0 0 24 24" aria-hidden="true" width="22" height="22" {
            path d="M4 21V10a8 8 0 0 1 16 0v11M8 21V7M12 21V3M16 21V7M4 12h16M4 17h16" {}
        }
    }
}
