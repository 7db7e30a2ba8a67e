//! What an approver sees of a held request. Nothing is written down that was not masked first: the known
//! values of the whole cluster and whatever looks like a credential, and of Secrets every value.

use http::HeaderMap;
use serde_json::Value;

use crate::approval::Shown;
use crate::gateway::Gateway;
use crate::gateway::story::Act;
use crate::limits;
use crate::transform::{TextMasks, masked_text};

impl Gateway {
    /// The strictest masks there are: it is not known yet who will look.
    pub(super) fn display_masks(&self, cluster: &str) -> TextMasks {
        let mut books = self.known.books();
        let book = books.find(|(name, _)| *name == cluster);
        let everything = book.map(|(_, book)| book.shelf(""));
        TextMasks::new(everything, Some(std::sync::Arc::clone(&self.placeholders)))
    }
}

/// The masked picture of a request.
pub(super) fn shown(
    act: Act<'_>,
    content_type: Option<&str>,
    body: &[u8],
    masks: &TextMasks,
) -> Shown {
    let info = act.info;
    let masked = |text: &str| cut(&masked_text(masks, text));
    let session = info.session();
    let mut resource = info.resource.clone();
    if !info.api_group.is_empty() {
        resource = format!("{resource}.{}", info.api_group);
    }
    if !info.subresource.is_empty() {
        resource = format!("{resource}/{}", info.subresource);
    }
    let command = session.map(|session| session.command().map(masked).collect());
    Shown {
        method: act.method.to_string(),
        target: masked(&info.target()),
        verb: info.verb.clone(),
        resource: if info.is_resource_request {
            resource
        } else {
            info.path.clone()
        },
        namespace: info.namespace.clone(),
        name: info.name.clone(),
        claimed_command: masked(&claimed(act.headers, "kubectl-command")),
        user_agent: masked(&claimed(act.headers, "user-agent")),
        source: act.peer.to_string(),
        session_command: command.unwrap_or_default(),
        risks: risks(act),
        body: self::body(act, content_type, body, &masked),
        context: Vec::new(),
    }
}

/// Why a request is risky, as far as that can be seen without knowing the cluster.
fn risks(act: Act<'_>) -> Vec<String> {
    let info = act.info;
    let mut risks = Vec::new();
    let mut say = |text: &str| risks.push(text.to_owned());
    if let Some(session) = info.session() {
        say(match session.kind.as_str() {
            "portforward" => "opens a tunnel to ports of the pod",
            "attach" => "attaches to the process that runs in the container",
            _ if session.stdin() => "opens a shell or another program that takes input",
            _ => "runs a command in the container",
        });
        if session.node.is_some() {
            say("goes through the node's kubelet, past the API server's own checks");
        }
    }
    match info.verb.as_str() {
        "delete" => say("removes the object; what is not declared elsewhere is gone"),
        "deletecollection" => say("removes every object that the selectors match, all at once"),
        _ => {}
    }
    if info.verb == "deletecollection"
        && info.label_selector.is_empty()
        && info.field_selector.is_empty()
    {
        say("has no selector: everything of this kind goes");
    }
    if info.reveal().is_some() {
        say("shows a value that is masked otherwise");
    }
    if info.query.bool("force") {
        say("takes over fields that other managers own (force)");
    }
    risks
}

/// The body for people: JSON with one field a line. Of Secrets only the keys are shown.
fn body(
    act: Act<'_>,
    content_type: Option<&str>,
    body: &[u8],
    masked: &impl Fn(&str) -> String,
) -> String {
    if body.is_empty() {
        return String::new();
    }
    let kind = content_type.unwrap_or("application/json");
    let Ok(text) = std::str::from_utf8(body) else {
        return format!(
            "({} bytes of {}, which is not text)",
            body.len(),
            masked(kind)
        );
    };
    if act.info.resource == "secrets" && act.info.api_group.is_empty() {
        return match serde_json::from_str::<Value>(text) {
            Ok(Value::Object(mut object)) => {
                hide_values(&mut object);
                masked(&pretty(&Value::Object(object)))
            }
            _ => format!(
                "({} bytes of a Secret in a form whose values cannot be told from its names)",
                body.len()
            ),
        };
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value) => masked(&pretty(&value)),
        Err(_) => masked(text),
    }
}

/// Keeps what says which Secret it is, and the keys of its data.
fn hide_values(object: &mut serde_json::Map<String, Value>) {
    for (key, value) in object.iter_mut() {
        match (key.as_str(), value) {
            ("apiVersion" | "kind" | "type" | "immutable", _) => {}
            ("metadata", Value::Object(metadata)) => {
                metadata
                    .retain(|key, _| key == "name" || key == "namespace" || key == "generateName");
            }
            (_, Value::Object(data)) => {
                for value in data.values_mut() {
                    *value = Value::from("(masked)");
                }
            }
            (_, value) => *value = Value::from("(masked)"),
        }
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// A header that the client writes as it likes.
fn claimed(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// Cut where nobody reads on, and saying so: what is hidden behind the end must not look like nothing.
fn cut(text: &str) -> String {
    let most = limits::APPROVAL_SHOWN_BYTES_MAX;
    if text.len() <= most {
        return text.to_owned();
    }
    let (kept, rest) = text.split_at(text.floor_char_boundary(most));
    format!("{kept}\n… {} MORE BYTES ARE NOT SHOWN …", rest.len())
}
