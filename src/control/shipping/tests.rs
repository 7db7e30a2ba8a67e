use std::net::Ipv4Addr;

use http::HeaderMap;
use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message as _;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::audit::{self, AuditLog, Event};

/// A gateway's folder and its log, and a program to send it to.
struct World {
    folder: tempfile::TempDir,
    collector: TcpListener,
    log: AuditLog,
}

impl World {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/audit", collector.local_addr().unwrap());
        std::fs::write(folder.path().join("url"), url).unwrap();
        let settings = audit::Settings {
            segment_bytes: 1,
            ..audit::Settings::new(&folder.path().join("audit.jsonl"), folder.path())
        };
        Self {
            log: AuditLog::open(&settings).unwrap(),
            folder,
            collector,
        }
    }

    async fn write(&self, ids: &[&str]) {
        for id in ids {
            let (peer, now) = (Ipv4Addr::LOCALHOST.into(), Timestamp::UNIX_EPOCH);
            let event = Event::received(id, "GET", "/version", &HeaderMap::new(), peer, now);
            self.log.write(&event).await.unwrap();
        }
    }

    fn shipping(&self) -> Shipping {
        let settings = Settings::Webhook(webhook::Settings {
            url_file: self.folder.path().join("url"),
            secret_file: None,
            certificate_authority: None,
            format: webhook::Format::Json,
        });
        let file = self.folder.path().join("audit.jsonl");
        Shipping::open(&settings, &file, self.folder.path(), Metrics::new().0).unwrap()
    }

    fn collecting(&self) -> Shipping {
        let url_file = self.folder.path().join("url");
        let headers_file = self.folder.path().join("headers");
        std::fs::write(&headers_file, "api-key: abc\n").unwrap();
        let settings = Settings::Collector(collector::Settings {
            url_file,
            headers_file: Some(headers_file),
            certificate_authority: None,
        });
        let file = self.folder.path().join("audit.jsonl");
        Shipping::open(&settings, &file, self.folder.path(), Metrics::new().0).unwrap()
    }

    /// Takes one batch as a collector does; the bodies of its records.
    async fn collect(&self, answer: &str) -> Vec<String> {
        let (mut stream, _) = self.collector.accept().await.unwrap();
        let mut request = Vec::new();
        let body = loop {
            stream.read_buf(&mut request).await.unwrap();
            let Some(at) = memchr::memmem::find(&request, b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8(request[..at].to_vec()).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let body = &request[at + 4..];
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                assert!(head.contains("content-type: application/x-protobuf\r\n"));
                assert!(head.contains("api-key: abc\r\n"), "{head}");
                break ExportLogsServiceRequest::decode(body).unwrap();
            }
        };
        let said = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(said.as_bytes()).await.unwrap();
        let records = &body.resource_logs[0].scope_logs[0].log_records;
        let body = |record: &LogRecord| match record.body.clone().unwrap().value.unwrap() {
            any_value::Value::StringValue(text) => text,
            other => panic!("{other:?}"),
        };
        records.iter().map(body).collect()
    }

    /// Ships until so many batches were answered with this; the ids of their events.
    async fn shipped(&self, batches: usize, answer: &str) -> Vec<String> {
        let end = CancellationToken::new();
        let taking = async {
            let mut ids = Vec::new();
            for _ in 0..batches {
                ids.extend(self.take(answer).await);
            }
            // What was answered is kept before it is asked whether there is more.
            while answer.contains("200") && !self.kept() {
                tokio::task::yield_now().await;
            }
            end.cancel();
            ids
        };
        tokio::join!(self.shipping().run(end.clone()), taking).1
    }

    /// Whether everything that was written counts as sent.
    fn kept(&self) -> bool {
        let place = read_place(&self.folder.path().join("audit-webhook.json")).unwrap();
        let segments = Segments::of(&self.folder.path().join("audit.jsonl"));
        Follower::at(segments, place).behind() == 0
    }

    async fn take(&self, answer: &str) -> Vec<String> {
        let (mut stream, _) = self.collector.accept().await.unwrap();
        let mut request = Vec::new();
        let body = loop {
            stream.read_buf(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() == length.unwrap().parse::<usize>().unwrap() {
                break serde_json::from_str::<Value>(body).unwrap();
            }
        };
        let said = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(said.as_bytes()).await.unwrap();
        assert_eq!(body["kind"], "EventList");
        assert_eq!(body["apiVersion"], "audit.k8s.io/v1");
        let items = body["items"].as_array().unwrap().iter();
        items
            .map(|event| event["auditID"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[tokio::test]
async fn what_was_missed_is_sent_later_in_order_and_once() {
    let world = World::start().await;
    world.write(&["one", "two"]).await; // each in a segment of its own
    assert_eq!(
        world.shipped(1, "503 Service Unavailable").await,
        ["one", "two"]
    );
    world.write(&["three"]).await;
    assert_eq!(world.shipped(1, "200 OK").await, ["one", "two", "three"]);
    std::fs::OpenOptions::new()
        .append(true)
        .open(world.folder.path().join("audit.jsonl"))
        .and_then(|mut file| io::Write::write_all(&mut file, b"{\"torn\n"))
        .unwrap();
    world.write(&["four"]).await;
    assert_eq!(world.shipped(1, "200 OK").await, ["four"]);
}

#[tokio::test]
async fn a_batch_has_an_end() {
    let world = World::start().await;
    let ids: Vec<String> = (0..=limits::AUDIT_SHIPPED_EVENTS_MAX)
        .map(|number| number.to_string())
        .collect();
    let event = |id: &String| format!("{{\"auditID\":\"{id}\"}}\n");
    let lines: Vec<String> = ids.iter().map(event).collect();
    std::fs::write(world.folder.path().join("audit.jsonl"), lines.concat()).unwrap();
    assert_eq!(world.shipped(2, "200 OK").await, ids);
}

#[tokio::test(start_paused = true)]
async fn a_collector_gets_the_lines_of_the_file_and_those_it_missed() {
    let world = World::start().await;
    world.write(&["one", "two"]).await;
    let end = CancellationToken::new();
    let taking = async {
        let refused = world.collect("503 Service Unavailable").await;
        let taken = world.collect("200 OK").await;
        assert_eq!(refused, taken);
        world.write(&["three"]).await;
        let more = world.collect("200 OK").await;
        end.cancel();
        (taken, more)
    };
    let ((), (taken, more)) = tokio::join!(world.collecting().run(end.clone()), taking);
    let file = |name: &str| std::fs::read_to_string(world.folder.path().join(name)).unwrap();
    let lines = [file("audit-00000001.jsonl"), file("audit-00000002.jsonl")].concat();
    assert_eq!(taken, lines.lines().collect::<Vec<_>>());
    assert_eq!(more.len(), 1, "{more:?}");
    assert!(world.folder.path().join("audit-otlp.json").exists());
}
