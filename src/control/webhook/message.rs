//! What a webhook is told of an approval. Who and what, as words; no body, no parameters, no arguments of a
//! command: a chat keeps what it is told, and its readers are not the approvers (threats H-08).

use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use serde_json::{Value, json};

use crate::approval::{Approval, State};
use crate::control::approvals::spell;

/// The form of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For programs.
    Json,
    /// An incoming webhook of Slack.
    Slack,
    /// A workflow of Microsoft Teams that takes an adaptive card.
    Teams,
}

/// Where people look closer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Where the approvals API is, as a URL.
    pub server: String,
    /// Whether the console is there, too.
    pub console: bool,
}

impl Places {
    /// The console's page about an approval, which shows and asks: to open it answers nothing.
    fn page(&self, approval: &Approval) -> Option<String> {
        let Self { server, console } = self;
        console.then(|| format!("{server}/console/approvals/{}", approval.id))
    }
}

/// The body of the message about an approval as it stands.
pub(super) fn body(format: Format, approval: &Approval, places: &Places) -> String {
    match format {
        Format::Json => plain(approval, places),
        Format::Slack => slack(approval, places),
        Format::Teams => teams(approval, places),
    }
    .to_string()
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over the time, a dot and the body. Who takes messages compares it, and takes
/// none that is older than five minutes.
pub(super) fn signature(key: &hmac::Key, now: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{now}.{body}").as_bytes());
    format!("t={now},v1={}", HEXLOWER.encode(tag.as_ref()))
}

fn plain(approval: &Approval, places: &Places) -> Value {
    let requests = approval.requests.iter().map(|request| {
        let shown = &request.shown;
        json!({
            "verb": visible(&shown.verb), "resource": visible(&shown.resource),
            "namespace": visible(&shown.namespace), "name": visible(&shown.name), "risks": shown.risks,
        })
    });
    json!({
        "event": format!("approval.{}", approval.state.as_str()),
        "id": approval.id,
        "user": visible(&approval.caller.user),
        "agent": approval.caller.agent.as_deref().map(visible),
        "cluster": approval.cluster,
        "rule": approval.rule,
        "message": approval.message,
        "approvers": approval.terms.approvers,
        "expires": approval.expires,
        "grant": approval.grant.as_ref().map(|ahead| json!({
            "role": ahead.role, "seconds": ahead.seconds, "reason": visible(&ahead.reason),
        })),
        "requests": requests.collect::<Vec<_>>(),
        "answers": approval.answers.iter().map(|answer| visible(&answer.by.user)).collect::<Vec<_>>(),
        "url": format!("{}/v1/approvals/{}", places.server, approval.id),
        "console": places.page(approval),
    })
}

fn slack(approval: &Approval, places: &Places) -> Value {
    let text = words(approval, &places.server);
    // The blocks are plain text, in which nothing is marked up; the other is for notifications, where only these
    // three characters mean something: https://docs.slack.dev/messaging/formatting-message-text.
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let mut blocks = vec![
        json!({"type": "section", "text": {"type": "plain_text", "text": text, "emoji": false}}),
    ];
    // The one text that is marked up has nothing in it that anybody but the operator has written.
    let link = places.page(approval).map(|page| {
        let text = format!("<{page}|{}>", title(approval));
        json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
    });
    blocks.extend(link);
    json!({"text": escaped, "blocks": blocks})
}

fn teams(approval: &Approval, places: &Places) -> Value {
    let page = places.page(approval);
    let actions =
        page.map(|page| json!({"type": "Action.OpenUrl", "title": title(approval), "url": page}));
    let actions: Vec<Value> = actions.into_iter().collect();
    // A run of text is not read as Markdown, unlike a TextBlock.
    json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": [{
                    "type": "RichTextBlock",
                    "inlines": [{"type": "TextRun", "text": words(approval, &places.server)}],
                }],
                "actions": actions,
            },
        }],
    })
}

/// The message for people.
fn words(approval: &Approval, server: &str) -> String {
    let who = visible(&approval.caller.in_words());
    let what = approval
        .requests
        .first()
        .map_or_else(String::new, |request| {
            let shown = &request.shown;
            let mut what = format!("{} {}", shown.verb, shown.resource);
            for part in [&shown.name, &shown.namespace] {
                if !part.is_empty() {
                    what = format!("{what} {part}");
                }
            }
            visible(&what)
        });
    let role = approval.grant.as_ref().map(|ahead| {
        format!(
            "{who}: role {} for {} ({})",
            visible(&ahead.role),
            spell(u64::from(ahead.seconds)),
            visible(&ahead.reason)
        )
    });
    let more = match approval.requests.len() {
        0 | 1 => String::new(),
        several => format!(" and {} more", several - 1),
    };
    let id = &approval.id;
    let head = role.unwrap_or_else(|| {
        format!(
            "{who}: {what}{more} on cluster {}",
            visible(&approval.cluster)
        )
    });
    let why = approval
        .message
        .as_deref()
        .map_or_else(String::new, |why| format!("\n{}", visible(why)));
    let by = || {
        let names: Vec<String> = approval
            .answers
            .iter()
            .map(|answer| visible(&answer.by.user))
            .collect();
        names.join(", ")
    };
    match approval.state {
        State::Asked => format!(
            "Approval {id} is asked for\n{head}{why}\nApprovers: {}\nportcullis approvals show {id} --server {server}",
            visible(&approval.terms.approvers.in_words()),
        ),
        State::Approved => format!("Approval {id} was given by {}\n{head}", by()),
        State::Denied => format!("Approval {id} was denied by {}\n{head}", by()),
        State::Used => format!("Approval {id} was used\n{head}"),
        State::Expired => format!("Approval {id} expired\n{head}"),
        State::Revoked => format!("Approval {id} was revoked\n{head}"),
        State::Withdrawn => format!("Approval {id} was withdrawn\n{head}"),
    }
}

/// What a link to the console's page is called.
fn title(approval: &Approval) -> String {
    format!("Approval {} in the console", approval.id)
}

/// A text on one line, of which nothing is hidden and which is not endless.
fn visible(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{2060}'..='\u{206f}'
                | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e0fff}')
    };
    text.chars()
        .take(CHARACTERS_MAX)
        .map(|c| if hidden(c) { '\u{fffd}' } else { c })
        .collect()
}

/// Names of objects have at most 253 characters.
const CHARACTERS_MAX: usize = 300;
