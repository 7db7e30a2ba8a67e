//! What an approver sees of a held request. Nothing is written down that was not masked first: the known
//! values of the whole cluster and whatever looks like a credential, and of Secrets every value.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

use crate::approval::Shown;
use crate::audit::Event;
use crate::gateway::Gateway;
use crate::gateway::story::Act;
use crate::limits;
use crate::policy::mask::MaskPlan;
use crate::request::body::whole;
use crate::request::{RequestInfo, SessionRequest, with_words};
use crate::transform::{
    Placeholders, TextMasks, masked_object, masked_text, masked_words, without_known_values,
};

/// How approvers see things: with everything hidden that any mask of the policy hides, since it is not known yet who
/// will look.
#[derive(Clone)]
pub(super) struct Display {
    info: Arc<RequestInfo>,
    plan: Arc<MaskPlan>,
    texts: TextMasks,
    placeholders: Arc<Placeholders>,
}

impl Display {
    /// A text, masked.
    pub(super) fn text(&self, text: &str) -> String {
        masked_text(&self.texts, text)
    }

    /// The words of a command, masked one behind the other.
    fn words<'a>(&self, words: impl Iterator<Item = &'a str>) -> Vec<String> {
        masked_words(&self.texts, words)
    }

    /// A path and query, masked.
    fn target(&self, target: &str) -> String {
        let words = |words: &[String]| self.words(words.iter().map(String::as_str));
        self.text(&with_words(target, words))
    }

    /// An object of the resource that the request is about; `None` where it cannot be masked.
    pub(super) fn object(&self, object: &Value) -> Option<Value> {
        let with = (&self.texts, &self.placeholders);
        masked_object(object, &self.info, &self.plan, with)
    }

    /// The body for people: JSON with one field a line. Of Secrets only the keys are shown.
    fn body(&self, content_type: Option<&str>, body: &[u8]) -> String {
        let size = body.len();
        let Some(value) = readable(content_type, body) else {
            let Ok(text) = std::str::from_utf8(body) else {
                let kind = self.text(content_type.unwrap_or("application/json"));
                return format!("({size} bytes of {kind}, which cannot be read here)");
            };
            return if self.is_of_secret() {
                unreadable_secret(size)
            } else {
                self.text(text)
            };
        };
        match value {
            Value::Object(mut object) if self.is_of_secret() => {
                hide_values(&mut object);
                self.text(&pretty(&Value::Object(object)))
            }
            _ if self.is_of_secret() => unreadable_secret(size),
            // Of the object's own shape, whole or a part of it; an array is a JSON Patch.
            value @ Value::Object(_) => match self.object(&value) {
                Some(masked) => self.text(&pretty(&masked)),
                None => format!("({size} bytes that cannot be masked)"),
            },
            value => self.text(&pretty(&value)),
        }
    }

    fn is_of_secret(&self) -> bool {
        self.info.resource == "secrets" && self.info.api_group.is_empty()
    }
}

impl Gateway {
    /// The strictest masks there are.
    pub(super) fn display(&self, act: Act<'_>) -> Display {
        Display {
            info: Arc::new(act.info.clone()),
            plan: self.holder.in_force.policy.current().strictest(act.info),
            texts: self.strictest_texts(act.cluster),
            placeholders: Arc::clone(&self.placeholders),
        }
    }

    fn strictest_texts(&self, cluster: &str) -> TextMasks {
        let mut books = self.known.books();
        let book = books.find(|(name, _)| *name == cluster);
        let everything = book.map(|(_, book)| book.shelf(""));
        TextMasks::new(everything, Some(Arc::clone(&self.placeholders)))
    }

    /// The words of a session's command as every record has them: what was typed there as a password is masked.
    pub(in crate::gateway) fn recorded_command(
        &self,
        session: &SessionRequest<'_>,
        cluster: &str,
    ) -> Vec<String> {
        masked_words(&self.strictest_texts(cluster), session.command())
    }

    /// Hides known values in what the client says on record in words of its own.
    pub(in crate::gateway) fn mask_claims(&self, event: &mut Event, cluster: &str) {
        let texts = self.strictest_texts(cluster);
        event.mask_claims(|text| without_known_values(&texts, text));
    }

    /// What somebody says who may speak of any cluster, without the known values of all of them.
    pub fn without_any_known_value(&self, text: String) -> String {
        let clusters = self.known.books().map(|(cluster, _)| cluster);
        clusters.fold(text, |text, cluster| {
            without_known_values(&self.strictest_texts(cluster), text)
        })
    }

    /// The masked picture of a request.
    pub(super) async fn shown(
        &self,
        act: Act<'_>,
        content_type: Option<&str>,
        body: &Bytes,
    ) -> Shown {
        let display = self.display(act);
        let mut shown = shown(act, &display);
        if !body.is_empty() {
            let (body, content_type) = (body.clone(), content_type.map(str::to_owned));
            // As long as the body is, and nobody else's requests wait for it.
            let showing = tokio::task::spawn_blocking(move || {
                cut(&display.body(content_type.as_deref(), &body))
            });
            shown.body = showing.await.unwrap_or_default();
        }
        shown
    }
}

/// What the head of a request says.
fn shown(act: Act<'_>, display: &Display) -> Shown {
    let info = act.info;
    let masked = |text: &str| cut(&display.text(text));
    let session = info.session();
    let mut resource = info.resource.clone();
    if !info.api_group.is_empty() {
        resource = format!("{resource}.{}", info.api_group);
    }
    if !info.subresource.is_empty() {
        resource = format!("{resource}/{}", info.subresource);
    }
    let command = session.map(|session| display.words(session.command()));
    let command = command.unwrap_or_default();
    Shown {
        method: act.method.to_string(),
        target: cut(&display.target(&info.target())),
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
        session_command: command.iter().map(|word| cut(word)).collect(),
        risks: risks(act),
        ..Shown::default()
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

/// A body as a value: whole objects in JSON or protobuf, and whatever else is JSON.
fn readable(content_type: Option<&str>, body: &[u8]) -> Option<Value> {
    let whole = whole(content_type, body).ok();
    whole.or_else(|| serde_json::from_slice(body).ok())
}

fn unreadable_secret(size: usize) -> String {
    format!("({size} bytes of a Secret in a form whose values cannot be told from its names)")
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
