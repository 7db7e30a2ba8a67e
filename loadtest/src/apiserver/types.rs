//! The field table of the built-in kinds: names in the API server's order, protobuf numbers, merge keys.
//!
//! One table drives the protobuf codec, field checks, strategic merge and the `OpenAPI` documents, so
//! that they cannot disagree.

pub mod answer;
pub(crate) mod check;
pub(crate) mod proto;
pub(crate) mod resources;

use std::collections::HashMap;
use std::sync::LazyLock;

static TEXT: &str = include_str!("../../assets/types.txt");

static TYPES: LazyLock<HashMap<&'static str, Message>> = LazyLock::new(|| {
    TEXT.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(Message::parse)
        .map(|message| (message.name, message))
        .collect()
});

/// A struct of the API.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<Field>,
}

/// One field of a struct.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) number: u32,
    pub(crate) kind: Kind,
    pub(crate) shape: Shape,
    /// Present on lists that a strategic merge patch merges; empty keys mean a set of scalars.
    pub(crate) merge_keys: Option<Vec<&'static str>>,
    /// The fields of the message stand directly in the parent's JSON object.
    pub(crate) inline: bool,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Bytes,
    Double,
    Duration,
    Int,
    IntOrString,
    Message(&'static str),
    Quantity,
    /// `FieldsV1` and `RawExtension`: any JSON, kept as JSON text in protobuf.
    Raw,
    String,
    /// A list of strings that protobuf wraps in a struct (`extra` of users).
    Strings,
    /// RFC 3339 with whole seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
}

/// How often a field holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    List,
    Map,
    One,
}

/// The struct of that name, when the table has it.
pub(crate) fn message(name: &str) -> Option<&'static Message> {
    TYPES.get(name)
}

/// All structs, in no particular order.
pub(crate) fn messages() -> impl Iterator<Item = &'static Message> {
    TYPES.values()
}

impl Message {
    fn parse(line: &'static str) -> Option<Self> {
        let mut words = line.split(' ');
        let name = words.next()?;
        let fields = words.filter_map(Field::parse).collect();
        Some(Self { name, fields })
    }

    /// The field behind a JSON key, looking into inlined structs.
    pub(crate) fn field(&self, key: &str) -> Option<&'static Field>
    where
        Self: 'static,
    {
        let this = message(self.name)?;
        this.fields.iter().find_map(|field| {
            if field.inline {
                field.message().and_then(|inner| inner.field(key))
            } else {
                (field.name == key).then_some(field)
            }
        })
    }
}

impl Field {
    fn parse(word: &'static str) -> Option<Self> {
        let (name, rest) = word.split_once('=')?;
        let (number, typed) = rest.split_once(':')?;
        let (typed, merge_keys) = match typed.split_once('~') {
            Some((typed, keys)) => (
                typed,
                Some(keys.split('+').filter(|key| !key.is_empty()).collect()),
            ),
            None => (typed, None),
        };
        let (typed, inline) = match typed.strip_prefix('^') {
            Some(typed) => (typed, true),
            None => (typed, false),
        };
        let (typed, shape) = if let Some(inner) = between(typed, '[', ']') {
            (inner, Shape::List)
        } else if let Some(inner) = between(typed, '{', '}') {
            (inner, Shape::Map)
        } else {
            (typed, Shape::One)
        };
        Some(Self {
            name,
            number: number.parse().ok()?,
            kind: Kind::parse(typed),
            shape,
            merge_keys,
            inline,
        })
    }

    /// The struct this field holds, if it holds one.
    pub(crate) fn message(&self) -> Option<&'static Message> {
        match self.kind {
            Kind::Message(name) => message(name),
            _ => None,
        }
    }
}

impl Kind {
    fn parse(name: &'static str) -> Self {
        match name {
            "string" => Self::String,
            "bool" => Self::Bool,
            "int32" | "int64" => Self::Int,
            "double" | "float" => Self::Double,
            "bytes" => Self::Bytes,
            "Quantity" => Self::Quantity,
            "IntOrString" => Self::IntOrString,
            "FieldsV1" | "RawExtension" => Self::Raw,
            "Time" => Self::Time,
            "MicroTime" => Self::MicroTime,
            "Duration" => Self::Duration,
            "Strings" => Self::Strings,
            name => Self::Message(name),
        }
    }
}

fn between(text: &'static str, open: char, close: char) -> Option<&'static str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_struct_a_field_names_is_in_the_table() {
        for message in messages() {
            for field in &message.fields {
                if let Kind::Message(name) = field.kind {
                    assert!(
                        super::message(name).is_some(),
                        "{}.{} names {name}",
                        message.name,
                        field.name
                    );
                }
            }
        }
    }

    #[test]
    fn inlined_fields_are_found_by_their_json_key() {
        let volume = message("Volume").expect("in the table");
        let field = volume.field("configMap").expect("inlined");
        assert_eq!(field.kind, Kind::Message("ConfigMapVolumeSource"));
        let containers = message("PodSpec")
            .and_then(|spec| spec.field("containers"))
            .expect("in the table");
        assert_eq!(containers.merge_keys.as_deref(), Some(&["name"][..]));
    }
}
