//! OpenTelemetry collectors: events as log records, in protobuf over HTTP (OTLP 1.x, "OTLP/HTTP").

use std::path::PathBuf;

use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde_json::value::RawValue;

use crate::audit::commands::{Request, Seen};
use crate::control::webhook::post::{Failure, Message, Poster, text_of};
use crate::limits;

/// One collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file with the whole URL, such as `https://collector.example:4318/v1/logs`.
    pub url_file: PathBuf,
    /// The file with headers, a `NAME: VALUE` a line: collectors take credentials in them.
    pub headers_file: Option<PathBuf>,
    /// Certificates to trust instead of the machine's, as PEM.
    pub certificate_authority: Option<String>,
}

pub(super) struct Collector {
    poster: Poster,
    headers: HeaderMap,
}

impl Settings {
    /// Why it cannot be used: by the key that it is about.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let authority = self.certificate_authority.as_deref();
        let url = Poster::open(&self.url_file, authority).err();
        let headers = self.headers().err();
        let url = url.map(|why| ("urlFile", why));
        url.into_iter()
            .chain(headers.map(|why| ("headersFile", why)))
            .collect()
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let Some(file) = &self.headers_file else {
            return Ok(HeaderMap::new());
        };
        read_headers(&text_of(file)?)
            .map_err(|line| format!("{}:{line}: is no NAME: VALUE", file.display()))
    }
}

impl Collector {
    /// Reads what the settings name.
    pub(super) fn open(settings: &Settings) -> Result<Self, String> {
        let authority = settings.certificate_authority.as_deref();
        let poster = Poster::open(&settings.url_file, authority)?;
        let mut headers = settings.headers()?;
        let protobuf = HeaderValue::from_static("application/x-protobuf");
        headers.insert(CONTENT_TYPE, protobuf);
        Ok(Self { poster, headers })
    }

    /// The file with its URL, which is its name.
    pub(super) fn name(&self) -> &str {
        self.poster.name()
    }

    /// Tries once. What a collector takes and does not keep (a partial success) it must not get again, says OTLP; the log
    /// of the gateway says how much that was.
    pub(super) async fn post(&self, events: &[Box<RawValue>]) -> Result<(), Failure> {
        let message = Message {
            body: request(events).encode_to_vec().into(),
            headers: self.headers.clone(),
            answer_bytes_max: limits::OTLP_ANSWER_BYTES_MAX,
        };
        let answer = self.poster.post(message).await?;
        let answer = ExportLogsServiceResponse::decode(answer).unwrap_or_default();
        if let Some(partial) = answer.partial_success
            && partial.rejected_log_records > 0
        {
            tracing::error!(
                to = self.name(),
                events = partial.rejected_log_records,
                why = partial.error_message,
                "a collector took audit events and did not keep them; they are in the file only"
            );
        }
        Ok(())
    }
}

/// The headers in a file; the number of the first line that is none.
fn read_headers(text: &str) -> Result<HeaderMap, usize> {
    let mut headers = HeaderMap::new();
    let lines = text.lines().enumerate();
    for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let header = line.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::try_from(name.trim()).ok()?;
            let mut value = HeaderValue::try_from(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name, value))
        });
        let (name, value) = header.ok_or(at + 1)?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn request(events: &[Box<RawValue>]) -> ExportLogsServiceRequest {
    let version = env!("CARGO_PKG_VERSION");
    let resource = Resource {
        attributes: vec![
            attribute("service.name", "portcullis"),
            attribute("service.version", version),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "portcullis.audit".to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    let scope_logs = ScopeLogs {
        scope: Some(scope),
        log_records: events.iter().map(|event| record(event)).collect(),
        ..ScopeLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![scope_logs],
            ..ResourceLogs::default()
        }],
    }
}

/// The event as it is in the file, with what people look for as attributes.
fn record(event: &RawValue) -> LogRecord {
    let request = Seen::read(event.get().as_bytes()).map(Request::from);
    let mut record = LogRecord {
        body: Some(text(event.get())),
        event_name: "audit.k8s.io/v1".to_owned(),
        severity_number: SeverityNumber::Info.into(),
        severity_text: "INFO".to_owned(),
        ..LogRecord::default()
    };
    let Some(request) = request else {
        return record;
    };
    if request.decision != "allow" {
        record.severity_number = SeverityNumber::Warn.into();
        "WARN".clone_into(&mut record.severity_text);
    }
    record.time_unix_nano = nanoseconds(request.at);
    record.observed_time_unix_nano = record.time_unix_nano;
    record.attributes = [
        ("audit.id", Some(request.audit_id.as_str())),
        ("user.name", Some(request.user.as_str())),
        ("portcullis.agent", request.agent.as_deref()),
        ("portcullis.decision", Some(request.decision.as_str())),
        ("portcullis.rule", request.rule.as_deref()),
        ("k8s.cluster.name", request.cluster.as_deref()),
        ("k8s.namespace.name", Some(request.namespace.as_str())),
        ("portcullis.verb", Some(request.verb.as_str())),
        ("portcullis.object", Some(request.object.as_str())),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some(attribute(key, value.filter(|value| !value.is_empty())?)))
    .collect();
    if let Some(code) = request.code {
        record.attributes.push(KeyValue {
            key: "http.response.status_code".to_owned(),
            value: Some(AnyValue {
                value: Some(Value::IntValue(code.into())),
            }),
            ..KeyValue::default()
        });
    }
    record
}

fn nanoseconds(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or_default()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    }
}

fn text(value: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(record: &LogRecord, key: &str) -> Option<Value> {
        let found = record.attributes.iter().find(|it| it.key == key)?;
        found.value.clone()?.value
    }

    #[test]
    fn an_event_is_a_record_with_what_people_look_for() {
        let line = r#"{"auditID":"id-1","stage":"ResponseComplete","verb":"delete","user":{"username":"alice"},"objectRef":{"resource":"pods","namespace":"shop","name":"web-0"},"responseStatus":{"code":403},"requestReceivedTimestamp":"1970-01-01T00:00:01Z","stageTimestamp":"1970-01-01T00:00:02Z","annotations":{"portcullis.dev/decision":"deny","portcullis.dev/agent":"build-bot"}}"#;
        let event: Box<RawValue> = serde_json::from_str(line).unwrap();
        let sent = request(&[event]).encode_to_vec();
        let read = ExportLogsServiceRequest::decode(sent.as_slice()).unwrap();
        let record = &read.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!(record.body, Some(text(line)), "to the byte");
        assert_eq!(record.time_unix_nano, 2_000_000_000);
        assert_eq!(record.severity_text, "WARN");
        let string = |value: &str| Some(Value::StringValue(value.to_owned()));
        assert_eq!(said(record, "user.name"), string("alice"));
        assert_eq!(said(record, "portcullis.agent"), string("build-bot"));
        assert_eq!(said(record, "portcullis.object"), string("pods web-0"));
        assert_eq!(said(record, "portcullis.rule"), None);
        let code = said(record, "http.response.status_code");
        assert_eq!(code, Some(Value::IntValue(403)));
    }

    #[test]
    fn headers_are_read_a_line_each() {
        let headers = read_headers("api-key: abc\n\nAuthorization: Bearer x:y\n").unwrap();
        assert_eq!(headers["authorization"], "Bearer x:y");
        assert_eq!(headers.len(), 2);
        assert_eq!(read_headers("a: b\nnothing"), Err(2));
    }
}
