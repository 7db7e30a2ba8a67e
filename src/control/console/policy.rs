//! The policy in force, and what it would say to a request.

use std::sync::Arc;

use http::{Response, StatusCode};
use maud::{Markup, html};

use super::Guest;
use super::answer::page;
use super::page::text::{block, visible};
use super::page::{self, Tab};
use crate::config::case_file;
use crate::config::live::Live;
use crate::gateway::body::Body;
use crate::gateway::refuse::Refusal;
use crate::identity::client::login::parameters;
use crate::policy::cases::parse_request;
use crate::policy::explain::Explanation;
use crate::policy::rule::{Effect, RuleSource};
use crate::policy::{Policy, Seen};

/// What the page on policies needs.
pub struct Rulebook {
    /// The policy in force.
    pub policy: Arc<Live<Policy>>,
    /// Every cluster's name.
    pub clusters: Vec<String>,
    /// The one that is asked about unless another one is named.
    pub default_cluster: Option<String>,
}

/// What somebody asks about: a caller and a request.
#[derive(Debug, Default)]
struct Wish {
    user: String,
    groups: String,
    agent: String,
    request: String,
    cluster: String,
}

/// The rules, and the explanation that the query asks for.
pub(super) fn show(book: &Rulebook, guest: &Guest, query: &str) -> Result<Response<Body>, Refusal> {
    let wish = read(query)?;
    let policy = book.policy.current();
    let answer = (!wish.request.is_empty()).then(|| explain(book, &policy, &wish));
    let sources: Vec<&RuleSource> = policy.sources().collect();
    let default = book
        .default_cluster
        .as_deref()
        .or_else(|| book.clusters.first().map(String::as_str));
    let content = html! {
        div.head {
            h1 { "Policy" }
            p.state { (sources.len()) " rules, version " code { (policy.version().chars().take(12).collect::<String>()) } }
        }
        section.card aria-labelledby="explain" {
            h2 #explain { "What would it say?" }
            form method="get" action="/console/policy" {
                div.filters {
                    (input("user", "User", &wish.user, "alice"))
                    (input("groups", "Groups, with commas", &wish.groups, "developers"))
                    (input("agent", "Agent, if one acts", &wish.agent, ""))
                    div { label for="cluster" { "Cluster" } select #cluster name="cluster" {
                        @for name in &book.clusters {
                            @let chosen = if wish.cluster.is_empty() { default == Some(name) } else { wish.cluster == *name };
                            option selected[chosen] { (name) }
                        }
                    } }
                }
                label for="request" { "Request" }
                div.row {
                    input #request name="request" required value=(wish.request) placeholder="DELETE /api/v1/namespaces/default/pods/web-0" autocomplete="off" spellcheck="false";
                    button type="submit" { "Explain" }
                }
            }
            @match &answer {
                Some(Ok(explanation)) => { (explained(explanation)) }
                Some(Err(problem)) => { p.risk role="alert" { (visible(problem)) } }
                None => {}
            }
        }
        h2 { "Rules in order; the first that decides wins" }
        (rules(&sources))
    };
    let viewer = guest.viewer();
    Ok(page(
        StatusCode::OK,
        page::of(&viewer, Tab::Policy, "Policy", &content),
    ))
}

fn input(name: &str, label: &str, value: &str, example: &str) -> Markup {
    html! {
        div { label for=(name) { (label) } input id=(name) name=(name) value=(value) placeholder=(example) autocomplete="off" spellcheck="false"; }
    }
}

fn read(query: &str) -> Result<Wish, Refusal> {
    let fields =
        parameters(query).ok_or_else(|| Refusal::bad_request("the query cannot be read"))?;
    let mut wish = Wish::default();
    for (name, value) in fields {
        let value = value.trim().to_owned();
        match name.as_str() {
            "user" => wish.user = value,
            "groups" => wish.groups = value,
            "agent" => wish.agent = value,
            "request" => wish.request = value,
            "cluster" => wish.cluster = value,
            _ => return Err(Refusal::bad_request(format!("there is no field {name:?}"))),
        }
    }
    Ok(wish)
}

fn explain(book: &Rulebook, policy: &Policy, wish: &Wish) -> Result<Explanation, String> {
    if wish.user.is_empty() {
        return Err("name a user: rules are about somebody".to_owned());
    }
    let named = (!wish.cluster.is_empty()).then(|| wish.cluster.clone());
    let cluster = named
        .or_else(|| book.default_cluster.clone())
        .filter(|name| book.clusters.contains(name));
    let cluster = cluster.ok_or("no cluster of that name is served here")?;
    let info = parse_request(&wish.request)?;
    let groups: Vec<&str> = wish
        .groups
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty())
        .collect();
    let agent = (!wish.agent.is_empty()).then_some(wish.agent.as_str());
    let caller = case_file::caller(&wish.user, &groups, agent);
    let seen = Seen::default().dry_run(info.is_dry_run(b""));
    Ok(policy.explain(&caller, &info, &cluster, &seen))
}

fn explained(explanation: &Explanation) -> Markup {
    let verdict = if explanation.undecided {
        "depends on the object"
    } else {
        word(Some(explanation.decision))
    };
    html! {
        h3 {
            span class={ "tag effect-" (word(Some(explanation.decision))) } { (verdict) }
            @if let Some(rule) = &explanation.rule { " by rule " (visible(rule)) } @else { " since no rule allows it" }
        }
        @if let Some(message) = &explanation.message { p { (visible(message)) } }
        (block(&explanation.to_string()))
    }
}

fn word(effect: Option<Effect>) -> &'static str {
    match effect {
        Some(Effect::Allow) => "allow",
        Some(Effect::Hold) => "hold",
        Some(Effect::Deny) => "deny",
        None => "",
    }
}

fn rules(sources: &[&RuleSource]) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label="Rules" {
            table {
                thead { tr { th.number scope="col" { "#" } th scope="col" { "Rule" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "Decides" } th scope="col" { "Besides" } } }
                tbody {
                    @for (number, rule) in sources.iter().enumerate() {
                        tr {
                            td.number { (number + 1) }
                            td { (visible(&rule.id)) div.faint { (visible(&rule.location)) } }
                            td { (visible(&rule.subjects.as_ref().map_or_else(|| "everybody".to_owned(), ToString::to_string))) }
                            td { (visible(&what(rule))) }
                            td { @if rule.decision.is_some() { span class={ "tag effect-" (word(rule.decision)) } { (word(rule.decision)) } } }
                            td { (visible(&besides(rule))) }
                        }
                    }
                }
            }
        }
    }
}

fn what(rule: &RuleSource) -> String {
    let mut text = rule.verbs.join(", ");
    for list in [&rule.resources, &rule.non_resource_urls] {
        if !list.is_empty() {
            text = format!("{text} {}", list.join(", "));
        }
    }
    let narrowed = named(&[
        ("in", &rule.namespaces),
        ("named", &rule.resource_names),
        ("on", &rule.clusters),
    ]);
    let conditions = if rule.when.is_empty() {
        String::new()
    } else {
        format!(" when {} conditions hold", rule.when.len())
    };
    format!("{text} {narrowed}{conditions}").trim().to_owned()
}

fn besides(rule: &RuleSource) -> String {
    let mut parts = Vec::new();
    if !rule.mask.is_empty() {
        parts.push(format!("masks {}", rule.mask.join(", ")));
    }
    if let Some(record) = &rule.record {
        parts.push(format!("records ({})", record.as_str()));
    }
    if let Some(responses) = rule.responses {
        parts.push(format!("keeps answers ({})", responses.as_str()));
    }
    if !rule.reveal.is_empty() {
        parts.push("reveals fields with a reason".to_owned());
    }
    parts.join("; ")
}

fn named(lists: &[(&str, &Vec<String>)]) -> String {
    let named = lists.iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = named
        .map(|(word, names)| format!("{word} {}", names.join(", ")))
        .collect();
    parts.join("; ")
}
