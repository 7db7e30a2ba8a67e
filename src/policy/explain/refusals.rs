//! The words of refusals.

use std::fmt::Write as _;

use crate::identity::Identity;
use crate::policy::condition::Scope;
use crate::policy::condition::explain::held;
use crate::policy::matcher::Reach;
use crate::policy::rule::{Asked, Criterion, Rule};

/// What the caller of a denied request reads: who said no, why, and what to do next.
pub(in crate::policy) fn denied_by(rule: &Rule, scope: &Scope<'_>) -> String {
    let asked = scope.asked;
    let mut text = match &rule.source.message {
        Some(message) => format!("denied by policy rule {}: {message}", rule.source.id),
        None => format!(
            "policy rule {} denies to {}; ask whoever runs this gateway if you need it",
            rule.source.id,
            action(asked)
        ),
    };
    if let Some(held) = held(rule, scope) {
        // Writing to a String cannot fail.
        let _infallible = write!(text, " ({})", short(&held));
    }
    let narrower = |field: Criterion| rule.mismatch(asked, Reach::Contains) == Some(field);
    if narrower(Criterion::Namespaces) {
        text.push_str(
            " (the request spans all namespaces, one of them is denied; name one with -n)",
        );
    } else if narrower(Criterion::ResourceNames) {
        text.push_str(" (the request covers every name, one of them is denied; name one object)");
    }
    text
}

/// The same when a request spans what one rule holds and more that another one does.
pub(in crate::policy) fn held_twice(first: &Rule, second: &Rule, asked: &Asked<'_>) -> String {
    format!(
        "policy rules {} and {} both hold a part of what it takes to {}; ask for less at a time, as with -n",
        first.source.id,
        second.source.id,
        action(asked)
    )
}

/// The same when no rule decided.
pub(in crate::policy) fn denied_by_default(asked: &Asked<'_>) -> String {
    format!(
        "no policy rule allows {} to {}; ask whoever runs this gateway for a rule that does",
        caller(asked.identity),
        action(asked)
    )
}

pub(in crate::policy) fn caller(identity: &Identity) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = match identity.agent() {
        Some(agent) => write!(
            text,
            "agent {:?} acting for {:?}",
            short(&agent.name),
            short(identity.username())
        ),
        None => write!(text, "{:?}", short(identity.username())),
    };
    text
}

/// `create pods/exec "web-0" in namespace "shop"`.
pub(in crate::policy) fn action(asked: &Asked<'_>) -> String {
    let info = asked.info;
    if !info.is_resource_request {
        return format!("{} {}", asked.verb, short(&info.path));
    }
    let also = asked
        .also
        .map_or_else(String::new, |also| format!(" and {also}"));
    let mut text = format!("{}{also} {}", asked.verb, short(&info.resource));
    if !info.subresource.is_empty() {
        text.push('/');
        text.push_str(&short(&info.subresource));
    }
    if !info.api_group.is_empty() {
        text.push('.');
        text.push_str(&short(&info.api_group));
    }
    if !info.name.is_empty() {
        // Writing to a String cannot fail.
        let _infallible = write!(text, " {:?}", short(&info.name));
    }
    if !info.namespace.is_empty() && info.resource != "namespaces" {
        // Writing to a String cannot fail.
        let _infallible = write!(text, " in namespace {:?}", short(&info.namespace));
    }
    text
}

/// Refusals must fit into the 1024 bytes that clients keep of a refused upgrade.
pub(in crate::policy) fn short(text: &str) -> String {
    const CHARACTERS_MAX: usize = 100;
    if text.chars().nth(CHARACTERS_MAX).is_none() {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(CHARACTERS_MAX).collect();
    cut.push('…');
    cut
}
