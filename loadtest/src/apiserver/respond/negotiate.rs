//! Content negotiation as the API server does it (case-sensitive, `application/*` matches nothing).

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING, USER_AGENT};

use crate::apiserver::request::Query;
use crate::apiserver::status::ApiError;

/// The serialization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Protobuf,
    Yaml,
}

/// The transformation asked for with `as=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum View {
    Object,
    /// `PartialObjectMetadata` or its list, of that `meta.k8s.io` version.
    Partial(String),
    Table(String),
}

/// What the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) media: Media,
    pub(crate) view: View,
    pub(crate) pretty: bool,
}

/// What the resource offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Objects of this resource have a protobuf form.
    pub(crate) protobuf: bool,
    pub(crate) watch: bool,
    /// The path is that of a collection, which can be watched; refusals say so.
    pub(crate) collection: bool,
}

struct Clause<'a> {
    media: &'a str,
    quality: f32,
    params: Vec<(&'a str, &'a str)>,
}

/// Chooses the form of an answer.
pub(crate) fn negotiate(
    headers: &HeaderMap,
    query: &Query,
    offer: Offer,
) -> Result<Format, ApiError> {
    let accept = accept(headers);
    if accept.is_empty() {
        return Ok(Format {
            media: Media::Json,
            view: View::Object,
            pretty: pretty(headers, query, false),
        });
    }
    let mut named = false;
    for clause in clauses(&accept) {
        let Some(media) = media(clause.media) else {
            continue;
        };
        named = true;
        if media == Media::Yaml && offer.watch {
            continue;
        }
        let param = |key: &str| {
            clause
                .params
                .iter()
                .find(|(name, _)| *name == key)
                .map(|(_, value)| *value)
        };
        let version = param("v").unwrap_or("v1");
        let meta = param("g").is_none_or(|group| group == "meta.k8s.io")
            && matches!(version, "v1" | "v1beta1");
        let view = match param("as") {
            None => View::Object,
            Some("Table") if meta && media != Media::Protobuf => View::Table(version.to_owned()),
            Some("PartialObjectMetadata" | "PartialObjectMetadataList") if meta => {
                View::Partial(version.to_owned())
            }
            Some(_) => continue,
        };
        if media == Media::Protobuf && !offer.protobuf && view == View::Object {
            continue;
        }
        let asked = param("pretty").is_some_and(|value| value == "1" || value == "true");
        return Ok(Format {
            media,
            view,
            pretty: pretty(headers, query, asked) && !offer.watch,
        });
    }
    Err(not_acceptable(named, offer))
}

/// Errors ignore `as=`; a Table request gets indented JSON.
pub(crate) fn for_errors(headers: &HeaderMap) -> Format {
    let accept = accept(headers);
    for clause in clauses(&accept) {
        if let Some(media) = media(clause.media) {
            let table = clause.params.contains(&("as", "Table"));
            return Format {
                media,
                view: View::Object,
                pretty: table && clauses(&accept).len() == 1,
            };
        }
    }
    // Nothing acceptable: indented JSON, unless there was no wish at all or a bare wildcard.
    let pretty = !accept.is_empty() && !accept.contains('*');
    Format {
        media: Media::Json,
        view: View::Object,
        pretty,
    }
}

/// `gzip` as a token of its own; a `;q=` disables it.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|token| token.trim() == "gzip")
}

/// The media type of a name in `Accept`.
fn media(name: &str) -> Option<Media> {
    match name {
        "application/json" | "*/*" => Some(Media::Json),
        "application/yaml" => Some(Media::Yaml),
        "application/vnd.kubernetes.protobuf" => Some(Media::Protobuf),
        _ => None,
    }
}

fn accept(headers: &HeaderMap) -> String {
    let values = headers.get_all(ACCEPT).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept
        .split(',')
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let params: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let quality = params.iter().find(|(key, _)| *key == "q");
            let quality = quality
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or(1.0);
            Clause {
                media,
                quality,
                params,
            }
        })
        .collect();
    clauses.sort_by(|left, right| right.quality.total_cmp(&left.quality));
    clauses
}

fn pretty(headers: &HeaderMap, query: &Query, asked: bool) -> bool {
    if query.first("pretty").is_some() {
        return query.flag("pretty");
    }
    let agent = headers
        .get(USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    asked
        || ["curl", "Wget", "Mozilla/5.0"]
            .iter()
            .any(|start| agent.starts_with(start))
}

fn not_acceptable(named: bool, offer: Offer) -> ApiError {
    let all = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let streams = if offer.collection {
        ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
    } else {
        ""
    };
    let message = if !named {
        format!("406: Not Acceptable\n\nAvailable representations: {all}{streams}")
    } else if offer.watch {
        "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch".to_owned()
    } else {
        format!("only the following media types are accepted: {all}")
    };
    let mut error = ApiError::new(406, "NotAcceptable", message);
    if !named {
        error.details = Some(Box::new(serde_json::json!({})));
    }
    error
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn chosen(accept: &'static str, protobuf: bool, watch: bool) -> Result<(Media, View), String> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        negotiate(
            &headers,
            &Query::default(),
            Offer {
                protobuf,
                watch,
                collection: watch,
            },
        )
        .map(|format| (format.media, format.view))
        .map_err(|error| error.message)
    }

    // The requests of captures raw-accept-order, cr-list, err-406-415-405 and watch-yaml.
    #[test]
    fn the_server_chooses_as_in_the_captures() {
        let json = Ok((Media::Json, View::Object));
        assert_eq!(
            chosen(
                "text/csv, application/yaml;q=0.5, application/json;q=0.9",
                true,
                false
            ),
            json
        );
        assert_eq!(
            chosen("application/cbor, application/json;q=0.1", true, false),
            json
        );
        assert_eq!(
            chosen(
                "application/vnd.kubernetes.protobuf,application/json",
                false,
                false
            ),
            json
        );
        assert_eq!(
            chosen(
                "application/vnd.kubernetes.protobuf,application/json",
                true,
                false
            ),
            Ok((Media::Protobuf, View::Object))
        );
        assert_eq!(
            chosen(
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                true,
                false
            ),
            Ok((Media::Json, View::Table("v1".to_owned())))
        );
        assert!(
            chosen("application/*", true, false)
                .expect_err("refused")
                .starts_with("406: Not Acceptable")
        );
        assert!(chosen("APPLICATION/JSON", true, false).is_err());
        assert!(chosen("application/vnd.kubernetes.protobuf", false, false).is_err());
        assert!(
            chosen("application/yaml", true, true)
                .expect_err("refused")
                .contains("stream=watch")
        );
    }
}
