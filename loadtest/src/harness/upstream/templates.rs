//! What the upstream sends, rendered once in each encoding.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::objects::{self, Kind, NO_STAMP, STAMP, STAMP_DIGITS};
use crate::apiserver::types::{self, proto};

/// The version that lists and bookmarks have.
const VERSION: &str = "2000000";

/// How objects are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// As kubectl asks for.
    #[default]
    Json,
    /// As controllers and kubelets ask for.
    Protobuf,
}

impl Encoding {
    /// What an `Accept` header asks for.
    pub fn accepted(accept: &str) -> Self {
        if accept.starts_with(Self::Protobuf.media_type()) {
            Self::Protobuf
        } else {
            Self::Json
        }
    }

    /// The `Accept` header that asks for it, as client-go writes it.
    pub fn accept(self) -> &'static str {
        match self {
            Self::Json => self.media_type(),
            Self::Protobuf => "application/vnd.kubernetes.protobuf,application/json",
        }
    }

    /// The media type of objects.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// That of the events of a watch.
    pub fn media_type_of_watches(self) -> &'static str {
        match self {
            Self::Json => self.media_type(),
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        }
    }

    /// An object by itself.
    fn object(self, kind: &str, body: &Value) -> Vec<u8> {
        match self {
            Self::Json => format!("{}\n", typed(kind, body)).into_bytes(),
            Self::Protobuf => proto::envelope("v1", kind, &message(kind, body)),
        }
    }

    /// An object as it stands in a list.
    fn item(self, kind: &str, body: &Value) -> Vec<u8> {
        match self {
            Self::Json => body.to_string().into_bytes(),
            Self::Protobuf => {
                let mut item = Vec::new();
                proto::bytes_field(&mut item, 2, &message(kind, body));
                item
            }
        }
    }

    /// An event of a watch.
    fn event(self, what: &str, kind: &str, body: &Value) -> Vec<u8> {
        match self {
            Self::Json => {
                let event = json!({"type": what, "object": typed(kind, body)});
                format!("{event}\n").into_bytes()
            }
            Self::Protobuf => {
                let event = proto::watch_event(what, &self.object(kind, body));
                let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
                [&length.to_be_bytes(), event.as_slice()].concat()
            }
        }
    }
}

/// The object as it stands by itself.
fn typed(kind: &str, body: &Value) -> Value {
    let mut whole = json!({"kind": kind, "apiVersion": "v1"});
    if let (Some(whole), Some(body)) = (whole.as_object_mut(), body.as_object()) {
        whole.extend(body.clone());
    }
    whole
}

fn message(kind: &str, body: &Value) -> Vec<u8> {
    let message = types::message(kind).zip(body.as_object());
    message.map_or_else(Vec::new, |(message, body)| proto::encode(message, body))
}

/// One rendered text and where its stamp is.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Bytes,
    stamp_at: Option<usize>,
}

impl Template {
    fn new(text: Vec<u8>) -> Self {
        let stamp_at = memchr::memmem::find(&text, NO_STAMP.as_bytes());
        Self {
            bytes: text.into(),
            stamp_at: stamp_at.map(|at| at + STAMP.len()),
        }
    }

    /// The text with its stamp at zero.
    pub fn plain(&self) -> &Bytes {
        &self.bytes
    }

    /// A copy that says `due`.
    pub fn stamped(&self, due: u64) -> Bytes {
        let mut copy = self.bytes.to_vec();
        let digits = format!("{due:0STAMP_DIGITS$}");
        let place = self
            .stamp_at
            .and_then(|at| copy.get_mut(at..at + STAMP_DIGITS));
        if let Some(place) = place {
            place.copy_from_slice(digits.as_bytes());
        }
        copy.into()
    }
}

/// All texts of a kind.
#[derive(Debug)]
pub struct Templates {
    kind: &'static str,
    /// How they are written.
    pub encoding: Encoding,
    /// Watch events, or log lines.
    pub events: Vec<Template>,
    /// Ends the initial events of a watch (KEP-3157).
    pub synced: Bytes,
    /// Items of a list.
    pub items: Vec<Template>,
    /// An object by itself.
    pub object: Bytes,
}

impl Templates {
    /// Renders the texts of a kind.
    pub fn new(kind: Kind, encoding: Encoding) -> Self {
        let (name, bodies) = (kind.name(), kind.objects());
        let all = |render: &dyn Fn(&Value) -> Vec<u8>| {
            let texts = bodies.iter().map(render);
            texts.map(Template::new).collect()
        };
        let annotations = json!({"k8s.io/initial-events-end": "true"});
        let bookmark =
            json!({"metadata": {"resourceVersion": VERSION, "annotations": annotations}});
        let first = bodies.first().map(|body| encoding.object(name, body));
        Self {
            kind: name,
            encoding,
            events: all(&|body| encoding.event("MODIFIED", name, body)),
            synced: encoding.event("BOOKMARK", name, &bookmark).into(),
            items: all(&|body| encoding.item(name, body)),
            object: first.unwrap_or_default().into(),
        }
    }

    /// Renders the lines of a log.
    pub fn lines() -> Self {
        let lines = objects::lines().into_iter().map(String::into_bytes);
        Self {
            kind: "",
            encoding: Encoding::Json,
            events: lines.map(Template::new).collect(),
            synced: Bytes::new(),
            items: Vec::new(),
            object: Bytes::new(),
        }
    }

    /// Item number `number` of a list, which has them again and again.
    pub fn item(&self, number: usize) -> Option<&Template> {
        self.items.get(number % self.items.len().max(1))
    }

    /// What stands before the items of a list that has so many.
    pub fn list_head(&self, items: usize) -> Vec<u8> {
        let kind = format!("{}List", self.kind);
        match self.encoding {
            Encoding::Json => {
                let metadata = json!({"resourceVersion": VERSION});
                format!("{{\"kind\":\"{kind}\",\"apiVersion\":\"v1\",\"metadata\":{metadata},\"items\":[")
                    .into_bytes()
            }
            Encoding::Protobuf => {
                let mut metadata = Vec::new();
                let version = Map::from_iter([("resourceVersion".to_owned(), json!(VERSION))]);
                let list = types::message("ListMeta").map(|it| proto::encode(it, &version));
                proto::bytes_field(&mut metadata, 1, &list.unwrap_or_default());
                let items = (0..items).filter_map(|number| self.item(number));
                let length = items.map(|item| item.plain().len()).sum::<usize>();
                proto::envelope_head("v1", &kind, &metadata, length)
            }
        }
    }

    /// What stands between two items.
    pub fn between_items(&self) -> &'static [u8] {
        match self.encoding {
            Encoding::Json => b",",
            Encoding::Protobuf => b"",
        }
    }

    /// What stands behind the items of a list.
    pub fn list_tail(&self) -> &'static [u8] {
        match self.encoding {
            Encoding::Json => b"]}\n",
            Encoding::Protobuf => proto::BEHIND,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::objects::{CANARY, CANARY_BASE64};
    use super::*;
    use crate::apiserver::types::answer;

    const KINDS: [Kind; 5] = [
        Kind::Pod,
        Kind::DistinctPod,
        Kind::Secret,
        Kind::Event,
        Kind::ConfigMap,
    ];
    const ENCODINGS: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

    fn mean(templates: &[Template]) -> usize {
        templates.iter().map(|one| one.plain().len()).sum::<usize>() / templates.len()
    }

    #[test]
    fn sizes_are_those_of_clusters() {
        for (kind, encoding, expected) in [
            (Kind::Pod, Encoding::Json, 9_500..11_000),
            (Kind::Secret, Encoding::Json, 4_000..5_000),
            (Kind::ConfigMap, Encoding::Json, 1_800..2_200),
            (Kind::Pod, Encoding::Protobuf, 7_000..9_000),
            (Kind::Secret, Encoding::Protobuf, 3_000..4_000),
        ] {
            let mean = mean(&Templates::new(kind, encoding).events);
            assert!(expected.contains(&mean), "{kind:?} {encoding:?}: {mean}");
        }
        let events = Templates::new(Kind::Event, Encoding::Json).events;
        let sizes: Vec<usize> = events.iter().map(|one| one.plain().len()).collect();
        assert!(
            sizes.iter().all(|size| (250..=3_400).contains(size)),
            "{sizes:?}"
        );
    }

    #[test]
    fn protobuf_says_what_json_says() {
        for kind in KINDS {
            let all = Templates::new(kind, Encoding::Protobuf);
            for (event, body) in all.events.iter().zip(kind.objects()) {
                let (length, event) = event.plain().split_first_chunk().unwrap();
                assert_eq!(u32::from_be_bytes(*length) as usize, event.len());
                let (what, object) = answer::watch_event(event).unwrap();
                assert_eq!(what, "MODIFIED");
                let said = |object: &Value, way| object.pointer(way).cloned();
                for way in [
                    "/metadata/name",
                    "/metadata/annotations",
                    "/metadata/managedFields/0/fieldsV1",
                    "/data",
                    "/message",
                    "/spec/containers/2/env",
                    "/spec/containers/2/livenessProbe/httpGet/path",
                    "/spec/volumes/1/projected/sources/0/serviceAccountToken/path",
                    "/status/containerStatuses/2/containerID",
                    "/status/startTime",
                ] {
                    assert_eq!(said(&object, way), said(&body, way), "{kind:?} {way}");
                }
            }
            let (what, object) = answer::watch_event(&all.synced[4..]).unwrap();
            assert_eq!(what, "BOOKMARK");
            assert_eq!(object["metadata"]["resourceVersion"], VERSION);
        }
    }

    #[test]
    fn stamps_are_written_where_they_are_found() {
        let mut all: Vec<Template> = Templates::lines().events;
        for (kind, encoding) in KINDS
            .into_iter()
            .flat_map(|kind| ENCODINGS.map(|it| (kind, it)))
        {
            let templates = Templates::new(kind, encoding);
            all.extend(templates.events.into_iter().chain(templates.items));
        }
        for template in all {
            let text = template.stamped(1_234_567);
            assert_eq!(text.len(), template.plain().len());
            let found = memchr::memmem::find(&text, b"due=00000000000001234567");
            assert!(found.is_some(), "{}", String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn whatever_is_masked_holds_canaries() {
        let has =
            |template: &Template, canary| memchr::memmem::find(template.plain(), canary).is_some();
        let secrets = Templates::new(Kind::Secret, Encoding::Json).items;
        assert!(secrets.iter().all(|it| has(it, CANARY_BASE64)));
        let secrets = Templates::new(Kind::Secret, Encoding::Protobuf).items;
        assert!(secrets.iter().all(|it| has(it, CANARY)));
        for encoding in ENCODINGS {
            for kind in [Kind::Pod, Kind::DistinctPod] {
                let pods = Templates::new(kind, encoding).events;
                assert!(pods.iter().all(|it| has(it, CANARY)));
            }
        }
    }
}
