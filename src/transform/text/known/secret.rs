//! A Secret as the API server writes it, as far as it matters here. Values stay text until they are asked for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::SecretAt;

/// A Secret, or the `Status` in its place.
#[derive(Deserialize)]
pub(super) struct Secret<'a> {
    #[serde(borrow, default)]
    pub(super) metadata: Metadata<'a>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    /// Such as `Opaque`.
    #[serde(borrow, default, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    /// Of a `Status`.
    #[serde(default)]
    pub(super) code: u16,
}

/// The metadata of a Secret, or of a list of them.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata<'a> {
    #[serde(borrow)]
    pub(super) name: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) namespace: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) resource_version: Cow<'a, str>,
    #[serde(borrow, rename = "continue")]
    pub(super) proceed: Cow<'a, str>,
}

/// An event of a watch.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    /// `ADDED` and the like.
    #[serde(borrow, rename = "type")]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) object: Secret<'a>,
}

/// What a Secret holds, by key.
#[derive(Default)]
pub(super) struct Data(BTreeMap<String, Decoded>);

impl Secret<'_> {
    pub(super) fn at(&self) -> SecretAt<'_> {
        SecretAt {
            namespace: &self.metadata.namespace,
            name: &self.metadata.name,
            version: number(&self.metadata.resource_version),
        }
    }

    /// The values, if it says what they are.
    pub(super) fn data(&self) -> Result<Option<Data>, serde_json::Error> {
        let data = self.data.map(|data| serde_json::from_str(data.get()));
        Ok(data.transpose()?.map(Data))
    }
}

impl Data {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Zeroizing<Vec<u8>>)> {
        let values = self.0.iter();
        values.map(|(key, value)| (key.as_str(), value.0.clone()))
    }
}

/// A resource version as the number that it is; 0 where it is none.
pub(super) fn number(resource_version: &str) -> u64 {
    resource_version.parse().unwrap_or_default()
}

/// The bytes behind base64; none where it is not base64.
struct Decoded(Zeroizing<Vec<u8>>);

impl<'de> Deserialize<'de> for Decoded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(DecodedVisitor)
    }
}

struct DecodedVisitor;

impl Visitor<'_> for DecodedVisitor {
    type Value = Decoded;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("base64")
    }

    fn visit_str<E>(self, text: &str) -> Result<Decoded, E> {
        Ok(Decoded(Zeroizing::new(
            STANDARD.decode(text).unwrap_or_default(),
        )))
    }
}
