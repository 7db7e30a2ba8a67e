//! A kubeconfig as a tree: what is in it stays, in its order, whether this program knows it or not.
//! Comments and the way it was written do not; kubectl's own writer keeps less.

use std::fmt;

use anyhow::{Context as _, bail, ensure};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};

/// Bytes of a kubeconfig; larger ones are something else.
const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// To kubectl `n` is `false` and 1.10 is 1.1, as keys too; written back as text it would be another key.
const KEY_WITHOUT_QUOTES: &str =
    "a key in it is a number or a switch to kubectl, such as `n:`; write it in quotes";

const NUMBER_TOO_LARGE: &str = "a number in it is above 9223372036854775807; write it in quotes";

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
    List(Vec<Self>),
    Map(Vec<(String, Self)>),
}

impl Node {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn map(entries: Vec<(&str, Self)>) -> Self {
        let owned = |(key, value): (&str, Self)| (key.to_owned(), value);
        Self::Map(entries.into_iter().map(owned).collect())
    }

    /// A kubeconfig without entries.
    pub(super) fn empty_config() -> Self {
        Self::map(vec![
            ("apiVersion", Self::text("v1")),
            ("kind", Self::text("Config")),
        ])
    }

    /// Reads a file's text; an empty one is a kubeconfig without entries. Errors have a place and no
    /// text of the file, which may be a credential.
    pub(super) fn parse(text: &str) -> anyhow::Result<Self> {
        ensure!(text.len() <= FILE_BYTES_MAX, "it is too large");
        // As kubectl reads it: 0755 is 493.
        let options = serde_saphyr::options! { legacy_octal_numbers: true };
        let node: Self = match serde_saphyr::from_str_with_options(text, options) {
            Ok(node) => node,
            Err(error) => {
                let said = error.to_string();
                let ours = [KEY_WITHOUT_QUOTES, NUMBER_TOO_LARGE];
                match (ours.iter().find(|it| said.contains(**it)), error.location()) {
                    (Some(why), _) => bail!("{why}"),
                    (None, Some(at)) => bail!(
                        "it is not YAML at line {}, column {}",
                        at.line(),
                        at.column()
                    ),
                    (None, None) => bail!("it is not YAML"),
                }
            }
        };
        match node {
            Self::Null => Ok(Self::empty_config()),
            Self::Map(_) => Ok(node),
            _ => bail!("it is not a kubeconfig"),
        }
    }

    /// As the text of a file; refused if reading that would give anything else than this.
    pub(super) fn render(&self) -> anyhow::Result<String> {
        let options = serde_saphyr::ser_options! {
            prefer_block_scalars: false,
            compact_list_indent: true,
        };
        let text = serde_saphyr::to_string_with_options(self, options).ok();
        let text = text.context("the kubeconfig cannot be written as YAML")?;
        ensure!(
            Self::parse(&text).is_ok_and(|again| again == *self),
            "something in the kubeconfig cannot be written as it was; change it with `kubectl config`"
        );
        Ok(text)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A text that says something.
    pub(super) fn text_at(&self, key: &str) -> Option<&str> {
        self.get(key)
            .and_then(Self::as_text)
            .filter(|text| !text.is_empty())
    }

    /// Sets an entry of a map, where it stands or at the end.
    pub(super) fn set(&mut self, key: &str, value: Self) {
        if let Self::Map(entries) = self {
            match entries.iter_mut().find(|(name, _)| name == key) {
                Some((_, old)) => *old = value,
                None => entries.push((key.to_owned(), value)),
            }
        }
    }

    /// What the list `list` (`clusters`) has under `name`: its `inner` (`cluster`).
    pub(super) fn named(&self, list: &str, inner: &str, name: &str) -> Option<&Self> {
        let Self::List(items) = self.get(list)? else {
            return None;
        };
        items
            .iter()
            .find(|item| item.text_at("name") == Some(name))
            .map(|item| item.get(inner).unwrap_or(&Self::Null))
    }

    /// Puts `value` there, in the place of what has the name, or at the end.
    pub(super) fn set_named(&mut self, list: &str, inner: &str, name: &str, value: Self) {
        if !matches!(self.get(list), Some(Self::List(_))) {
            self.set(list, Self::List(Vec::new()));
        }
        let Self::Map(entries) = self else {
            return;
        };
        for (_, items) in entries.iter_mut().filter(|(key, _)| key == list) {
            let Self::List(items) = items else {
                continue;
            };
            let known = items
                .iter_mut()
                .find(|item| item.text_at("name") == Some(name));
            if let Some(item) = known {
                return item.set(inner, value);
            }
            items.push(Self::map(vec![("name", Self::text(name)), (inner, value)]));
            return;
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("any YAML value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        i64::try_from(value)
            .map(Node::Integer)
            .map_err(|_| E::custom(NUMBER_TOO_LARGE))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map: Vec<(String, Node)> = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Node, Node>()? {
            let Node::Text(key) = key else {
                return Err(de::Error::custom(KEY_WITHOUT_QUOTES));
            };
            if map.iter().any(|(known, _)| *known == key) {
                return Err(de::Error::custom("the same key twice"));
            }
            map.push((key, value));
        }
        Ok(Node::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# mine
apiVersion: v1
kind: Config
preferences: {colors: true}
x-unknown: [1, -2, 1.5, null, 'yes', \"0123\", '1e5', 2026-11-21]
contexts:
- name: 'on'
  context: {cluster: it, user: '007', namespace: ~}
  extensions: [{name: e, extension: {a: b}}]
current-context: \"on\"
users:
- user: {token: 'a: b # c', password: \"line\\nbreak\\t\\u001b\"}
  name: '007'
clusters: []
";

    #[test]
    fn what_is_not_changed_stays() {
        let node = Node::parse(FILE).unwrap();
        let text = node.render().unwrap();
        assert_eq!(Node::parse(&text).unwrap(), node);
        let Node::Map(entries) = &node else {
            panic!("{node:?}")
        };
        let keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(
            keys,
            [
                "apiVersion",
                "kind",
                "preferences",
                "x-unknown",
                "contexts",
                "current-context",
                "users",
                "clusters"
            ]
        );
        assert_eq!(node.text_at("current-context"), Some("on"));
        assert_eq!(
            node.named("users", "user", "007").unwrap().text_at("token"),
            Some("a: b # c")
        );
    }

    /// kubectl reads YAML 1.1: what is written means the same to it as what was read.
    #[test]
    fn numbers_and_switches_stay_what_they_are_to_kubectl() {
        let text = "{mode: 0755, less: -0017, more: 0o17, zero: 0, no: 0899, n: 1.10, b: on, c: '0755', d: 1_000}";
        let text = text.replace("no:", "'no':").replace("n:", "'n':");
        let node = Node::parse(&text).unwrap();
        let written = node.render().unwrap();
        for (key, value) in [
            ("mode", Node::Integer(493)),
            ("less", Node::Integer(-15)),
            ("more", Node::Integer(15)),
            ("zero", Node::Integer(0)),
            ("no", Node::Float(899.0)),
            ("n", Node::Float(1.1)),
            ("b", Node::Bool(true)),
            ("c", Node::text("0755")),
            ("d", Node::Integer(1000)),
        ] {
            assert_eq!(node.get(key), Some(&value), "{key}");
        }
        for line in ["mode: 493", "less: -15", "b: true"] {
            assert!(written.lines().any(|it| it == line), "{line}: {written}");
        }
    }

    #[test]
    fn a_key_that_is_no_text_to_kubectl_is_refused() {
        for key in ["n", "Yes", "on", "1.10", "0755", "~"] {
            let error = Node::parse(&format!("a: b\n{key}: c\n")).unwrap_err();
            assert_eq!(error.to_string(), KEY_WITHOUT_QUOTES, "{key}");
            assert!(Node::parse(&format!("'{key}': c")).is_ok(), "{key}");
        }
    }

    #[test]
    fn a_number_that_cannot_be_written_is_refused_in_words() {
        for number in ["9223372036854775808", "18446744073709551615"] {
            let error = Node::parse(&format!("a: {number}")).unwrap_err();
            assert_eq!(error.to_string(), NUMBER_TOO_LARGE, "{number}");
        }
    }

    #[test]
    fn an_entry_is_replaced_where_it_stands_with_what_is_beside_it() {
        let mut node = Node::parse(FILE).unwrap();
        let value = Node::map(vec![("cluster", Node::text("new"))]);
        node.set_named("contexts", "context", "on", value.clone());
        node.set_named("contexts", "context", "two", value.clone());
        node.set_named("clusters", "cluster", "new", Node::Null);
        let Some(Node::List(contexts)) = node.get("contexts") else {
            panic!("no contexts")
        };
        assert_eq!(contexts.len(), 2);
        assert_eq!(contexts[0].get("context"), Some(&value));
        assert!(contexts[0].get("extensions").is_some());
        assert!(node.named("clusters", "cluster", "new").is_some());
        let mut fresh = Node::parse("").unwrap();
        fresh.set_named("users", "user", "u", Node::Null);
        assert!(fresh.render().unwrap().contains("name: u"));
    }

    #[test]
    fn what_is_no_kubeconfig_is_refused_without_its_text() {
        for text in [
            "- a",
            "hunter2",
            "a: [hunter2",
            "a: 1\na: hunter2",
            "a: b\n---\nc: hunter2",
        ] {
            let error = Node::parse(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
