//! Asks the API server for a form that can be masked: JSON, or protobuf of kinds whose fields are known,
//! not compressed (wire.md §6.3 to §6.5).

mod selector;

use http::{HeaderMap, HeaderValue, header};

use self::selector::refuse_selected_masks;
use super::release::is_text;
use super::{MaskError, cells_are_safe, protobuf};
use crate::policy::Permit;
use crate::request::RequestInfo;

const JSON: &str = "application/json";
const PROTOBUF: &str = protobuf::MEDIA_TYPE;

/// Parameters that say what is asked for, whatever the encoding.
const KEPT: [&str; 3] = ["as", "g", "v"];

/// Rewrites the headers of a request on its way to the API server so that the answer can be masked, and
/// refuses what would tell masked values whatever the answer looks like.
/// Nothing changes where no mask applies, but that an answer that is kept comes as it is read.
pub fn negotiate(
    headers: &mut HeaderMap,
    info: &RequestInfo,
    permit: &Permit,
) -> Result<(), MaskError> {
    let plan = permit.mask();
    if plan.is_some() || permit.responses().is_some() {
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
    }
    let Some(plan) = plan else {
        return Ok(());
    };
    refuse_selected_masks(info, plan)?;
    refuse_encoded_body(headers)?;
    // Part of a document cannot be masked.
    headers.remove(header::RANGE);
    headers.remove(header::IF_RANGE);
    if is_text(info, plan) {
        return Ok(());
    }
    let accept = accepted(headers)?;
    let form = Form {
        tables: cells_are_safe(info, plan),
        // All that the plan hides is looked for in the kind, once: not for those who never ask.
        protobuf: accept.contains(PROTOBUF) && protobuf::kind_for(info, plan).is_some(),
    };
    let accept = form.narrow(&accept)?;
    let accept = HeaderValue::from_str(&accept).map_err(|_error| MaskError::NotAcceptable)?;
    headers.insert(header::ACCEPT, accept);
    Ok(())
}

/// Asks the API server for JSON, of which the gateway makes the answer.
pub fn negotiate_json(headers: &mut HeaderMap) -> Result<(), MaskError> {
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    let plain = Form {
        tables: false,
        protobuf: false,
    };
    plain.narrow(&accepted(headers)?)?;
    headers.insert(header::ACCEPT, HeaderValue::from_static(JSON));
    Ok(())
}

/// Every `Accept` of a request as one.
fn accepted(headers: &HeaderMap) -> Result<String, MaskError> {
    let mut accept = String::new();
    for value in headers.get_all(header::ACCEPT) {
        let value = value.to_str().map_err(|_error| MaskError::NotAcceptable)?;
        if !accept.is_empty() {
            accept.push(',');
        }
        accept.push_str(value);
    }
    Ok(accept)
}

/// What is compressed cannot be searched for placeholders. The API server reads no such body either.
fn refuse_encoded_body(headers: &HeaderMap) -> Result<(), MaskError> {
    for encoding in headers.get_all(header::CONTENT_ENCODING) {
        if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
            return Err(MaskError::UnsupportedMediaType {
                media_type: String::from_utf8_lossy(encoding.as_bytes()).into_owned(),
            });
        }
    }
    Ok(())
}

/// What can be masked for one request.
struct Form {
    tables: bool,
    protobuf: bool,
}

impl Form {
    /// What is left of an Accept header.
    fn narrow(&self, accept: &str) -> Result<String, MaskError> {
        let mut kept = Vec::new();
        let mut replaced = None;
        let mut asked = false;
        for clause in split(accept, ',') {
            let mut parts = split(clause, ';').map(str::trim);
            let media_type = parts.next().unwrap_or_default();
            if media_type.is_empty() {
                continue;
            }
            asked = true;
            let parameters: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
            if !self.tables && parameters.iter().any(|part| is_table(part)) {
                continue;
            }
            match media_type {
                JSON | "application/*" | "*/*" => kept.push(with(JSON, &parameters)),
                PROTOBUF if self.protobuf => kept.push(with(PROTOBUF, &parameters)),
                PROTOBUF if replaced.is_none() => {
                    let what = |part: &&str| KEPT.contains(&name(part));
                    let parameters: Vec<&str> = parameters.into_iter().filter(what).collect();
                    replaced = Some(with(JSON, &parameters));
                }
                _ => {}
            }
        }
        if !asked {
            return Ok(JSON.to_owned());
        }
        kept.dedup();
        if kept.is_empty() {
            return replaced.ok_or(MaskError::NotAcceptable);
        }
        Ok(kept.join(","))
    }
}

fn with(media_type: &str, parameters: &[&str]) -> String {
    let mut clause = media_type.to_owned();
    for parameter in parameters {
        clause.push(';');
        clause.push_str(parameter);
    }
    clause
}

fn name(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default().trim()
}

fn is_table(parameter: &str) -> bool {
    let value = parameter.split_once('=').map_or("", |(_, value)| value);
    name(parameter).eq_ignore_ascii_case("as")
        && value.trim().trim_matches('"').eq_ignore_ascii_case("table")
}

/// Splits at `separator` outside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        let cut = character == separator && !quoted;
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        cut
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json_only(accept: &str, tables: bool) -> Result<String, MaskError> {
        let protobuf = false;
        Form { tables, protobuf }.narrow(accept)
    }

    #[test]
    fn c_03_protobuf_is_asked_for_where_it_can_be_masked() {
        let form = Form {
            tables: true,
            protobuf: true,
        };
        for (accept, expected) in [
            (
                "application/vnd.kubernetes.protobuf,application/json",
                "application/vnd.kubernetes.protobuf,application/json",
            ),
            (
                "application/vnd.kubernetes.protobuf, application/yaml, */*",
                "application/vnd.kubernetes.protobuf,application/json",
            ),
            ("application/*", "application/json"),
            (PROTOBUF, PROTOBUF),
        ] {
            assert_eq!(form.narrow(accept).as_deref(), Ok(expected), "{accept}");
        }
    }

    #[test]
    fn only_json_is_asked_for() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        for (accept, expected) in [
            ("", JSON),
            ("application/json", JSON),
            ("application/json, */*", JSON),
            (
                "application/json, */*;q=0.8",
                "application/json,application/json;q=0.8",
            ),
            ("application/vnd.kubernetes.protobuf,application/json", JSON),
            ("application/vnd.kubernetes.protobuf, */*", JSON),
            ("application/vnd.kubernetes.protobuf", JSON),
            (
                "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1;q=1",
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            ),
            (
                "application/json;q=0.9,application/cbor;q=1",
                "application/json;q=0.9",
            ),
            ("application/yaml,application/json", JSON),
            (
                &format!("{table},application/json"),
                &format!("{table},application/json"),
            ),
            (
                "application/json; pretty=\"a,b;c\"",
                "application/json;pretty=\"a,b;c\"",
            ),
        ] {
            assert_eq!(json_only(accept, true).as_deref(), Ok(expected), "{accept}");
        }
    }

    #[test]
    fn c_02_c_04_what_cannot_be_json_is_not_acceptable() {
        for accept in [
            "application/yaml",
            "application/yaml;as=Table;v=v1;g=meta.k8s.io",
            "application/cbor",
            "application/cbor-seq",
            "application/*+json",
            "APPLICATION/JSON",
            "text/html",
        ] {
            assert_eq!(
                json_only(accept, true),
                Err(MaskError::NotAcceptable),
                "{accept}"
            );
        }
    }

    #[test]
    fn c_05_tables_whose_cells_may_show_the_field_are_not_asked_for() {
        let accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;v=v1; as = \"table\",application/json";
        assert_eq!(json_only(accept, false).as_deref(), Ok(JSON));
        assert_eq!(
            json_only("application/json;as=Table;v=v1;g=meta.k8s.io", false),
            Err(MaskError::NotAcceptable)
        );
    }
}
