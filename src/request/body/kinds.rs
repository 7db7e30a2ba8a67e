//! The fields of Kubernetes' built-in kinds, with their numbers in protobuf and their names in JSON.
//!
//! `kinds.txt` is made from the `generated.proto` and `types.go` files of k8s.io/api and k8s.io/apimachinery
//! (1.20 to 1.37): a line `version GROUP/VERSION PREFIX`, then of each message its name and one line for each
//! field, `NUMBER NAME [optional|inline] [list|map] TYPE`. Numbers never change; a field that is newer than the
//! table makes a request's body opaque, so that it hides nothing; of an answer it is searched as what it looks like.

use std::collections::HashMap;
use std::sync::LazyLock;

static TEXT: &str = include_str!("kinds.txt");

/// Parsed once, when the first protobuf body is looked into.
static KINDS: LazyLock<Kinds> = LazyLock::new(|| Kinds::parse(TEXT));

/// A message: its fields.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) fields: Vec<Field>,
}

/// A field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) number: u32,
    /// Its key in JSON; empty where its own fields stand in its parent's object.
    pub(crate) key: &'static str,
    pub(crate) presence: Presence,
    pub(crate) shape: Shape,
    pub(crate) holds: Holds,
}

/// What an absent field and a zero mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// A Go value: always sent, and a zero is left out of JSON.
    Value,
    /// A Go pointer: a zero that is sent is meant.
    Pointer,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    List,
    /// With strings for keys.
    Map,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Text,
    Bool,
    Int32,
    Int64,
    Double,
    /// Base64 in JSON.
    Bytes,
    /// A message with text in field 1.
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    /// A message with JSON in field 1.
    Json,
    /// A message with texts in field 1.
    Texts,
    /// By its place in the table.
    Message(usize),
}

struct Kinds {
    messages: Vec<Message>,
    /// `core.Pod` → its place.
    names: HashMap<&'static str, usize>,
    /// `v1` → `core`.
    versions: HashMap<&'static str, &'static str>,
    /// `core` → `pods` → `Pod` and its place.
    resources: HashMap<&'static str, HashMap<String, (&'static str, usize)>>,
}

/// The message of a kind.
pub(crate) fn kind(api_version: &str, kind: &str) -> Option<&'static Message> {
    // Options are the same in every group.
    let prefix = if kind == "DeleteOptions" {
        "meta"
    } else {
        KINDS.versions.get(api_version)?
    };
    let place = KINDS.names.get(format!("{prefix}.{kind}").as_str())?;
    message(*place)
}

/// The kind that a resource holds, and its message: `deployments` are `Deployment`, as client-go guesses
/// (apimachinery, `pkg/api/meta/restmapper.go`). Only what has metadata is one.
pub(crate) fn of_resource(
    api_version: &str,
    resource: &str,
) -> Option<(&'static str, &'static Message)> {
    let prefix = KINDS.versions.get(api_version)?;
    let (kind, place) = KINDS.resources.get(prefix)?.get(resource)?;
    Some((kind, message(*place)?))
}

fn plural(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    match kind.strip_suffix('y') {
        _ if kind == "endpoints" => kind,
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    }
}

/// The message at a place of the table.
pub(crate) fn message(place: usize) -> Option<&'static Message> {
    KINDS.messages.get(place)
}

impl Field {
    /// The message that it holds, or each of its elements.
    pub(crate) fn message(&self) -> Option<&'static Message> {
        match self.holds {
            Holds::Message(place) => message(place),
            _ => None,
        }
    }

    /// The message whose fields stand in its parent's object in JSON.
    pub(crate) fn inline(&self) -> Option<&'static Message> {
        self.message().filter(|_| self.key.is_empty())
    }
}

impl Message {
    pub(crate) fn field(&self, number: u32) -> Option<&Field> {
        // They stand in the order of their numbers, of which few are missing.
        let up_to = self.fields.iter().take(number as usize).rev();
        up_to
            .take_while(|field| field.number >= number)
            .find(|field| field.number == number)
    }
}

impl Kinds {
    fn parse(text: &'static str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines().filter(|line| is_name(line)) {
            let place = names.len();
            names.insert(line, place);
        }
        let mut kinds = Self {
            messages: Vec::with_capacity(names.len()),
            names,
            versions: HashMap::new(),
            resources: HashMap::new(),
        };
        for line in text.lines() {
            if let Some(version) = line.strip_prefix("version ") {
                kinds.versions.extend(version.split_once(' '));
            } else if is_name(line) {
                kinds.messages.push(Message::default());
            } else if let Some(field) = kinds.field(line)
                && let Some(message) = kinds.messages.last_mut()
            {
                message.fields.push(field);
            }
        }
        kinds.find_resources();
        kinds
    }

    fn find_resources(&mut self) {
        for (name, place) in &self.names {
            let first = self.messages.get(*place).and_then(|it| it.fields.first());
            let has_metadata = first.is_some_and(|it| it.number == 1 && it.key == "metadata");
            if let (true, Some((prefix, kind))) = (has_metadata, name.split_once('.')) {
                let held = self.resources.entry(prefix).or_default();
                held.insert(plural(kind), (kind, *place));
            }
        }
    }

    fn field(&self, line: &'static str) -> Option<Field> {
        let mut words = line.split_whitespace();
        let number = words.next()?.parse().ok()?;
        let key = words.next()?;
        let (mut presence, mut shape, mut inline) = (Presence::Value, Shape::One, false);
        let mut word = words.next()?;
        loop {
            match word {
                "optional" => presence = Presence::Pointer,
                "inline" => inline = true,
                "list" => shape = Shape::List,
                "map" => shape = Shape::Map,
                _ => break,
            }
            word = words.next()?;
        }
        Some(Field {
            number,
            key: if inline { "" } else { key },
            presence,
            shape,
            holds: self.holds(word)?,
        })
    }

    fn holds(&self, word: &str) -> Option<Holds> {
        Some(match word {
            "string" => Holds::Text,
            "bool" => Holds::Bool,
            "int32" => Holds::Int32,
            "int64" => Holds::Int64,
            "double" => Holds::Double,
            "bytes" => Holds::Bytes,
            "quantity" => Holds::Quantity,
            "intOrString" => Holds::IntOrString,
            "time" => Holds::Time,
            "microTime" => Holds::MicroTime,
            "json" => Holds::Json,
            "texts" => Holds::Texts,
            message => Holds::Message(*self.names.get(message)?),
        })
    }
}

fn is_name(line: &str) -> bool {
    !line.starts_with([' ', '#']) && !line.starts_with("version ") && !line.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_understood() {
        let kinds = Kinds::parse(TEXT);
        let names = TEXT.lines().filter(|line| is_name(line)).count();
        let versions = TEXT
            .lines()
            .filter(|line| line.starts_with("version "))
            .count();
        let fields: usize = kinds
            .messages
            .iter()
            .map(|message| message.fields.len())
            .sum();
        assert_eq!(kinds.messages.len(), names);
        assert_eq!(kinds.names.len(), names);
        assert_eq!(fields + names + versions, TEXT.lines().count());
        // No two kinds have one resource.
        let metadata = |message: &&Message| {
            message
                .fields
                .first()
                .is_some_and(|it| it.key == "metadata")
        };
        let resources: usize = kinds.resources.values().map(HashMap::len).sum();
        assert_eq!(resources, kinds.messages.iter().filter(metadata).count());
        for message in &kinds.messages {
            assert!(
                message
                    .fields
                    .is_sorted_by(|one, next| one.number < next.number)
            );
            let all = message.fields.iter();
            all.for_each(|field| assert_eq!(message.field(field.number).unwrap().key, field.key));
            assert!(message.field(0).is_none() && message.field(u32::MAX).is_none());
        }
        let pod = kind("v1", "Pod").unwrap();
        assert_eq!(pod.field(2).unwrap().key, "spec");
        assert!(kind("v1", "Podd").is_none() && kind("v2", "Pod").is_none());
        assert!(kind("policy/v1", "DeleteOptions").is_some());
    }

    #[test]
    fn resources_hold_the_kinds_they_are_named_after() {
        for (version, resource, kind) in [
            ("v1", "pods", Some("Pod")),
            ("v1", "endpoints", Some("Endpoints")),
            ("v1", "componentstatuses", Some("ComponentStatus")),
            (
                "networking.k8s.io/v1",
                "networkpolicies",
                Some("NetworkPolicy"),
            ),
            ("networking.k8s.io/v1", "ingresses", Some("Ingress")),
            ("storage.k8s.io/v1", "storageclasses", Some("StorageClass")),
            ("apps/v1", "deployments", Some("Deployment")),
            ("apps/v1", "pods", None),
            ("apps/v2", "deployments", None),
            ("v1", "podspecs", None),
            ("v1", "Pods", None),
        ] {
            let found = of_resource(version, resource).map(|(kind, _)| kind);
            assert_eq!(found, kind, "{version} {resource}");
        }
    }
}
