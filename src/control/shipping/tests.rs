use std::net::Ipv4Addr;

use http::HeaderMap;
use jiff::Timestamp;
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
        let settings = webhook::Settings {
            url_file: self.folder.path().join("url"),
            secret_file: None,
            certificate_authority: None,
            format: webhook::Format::Json,
        };
        let file = self.folder.path().join("audit.jsonl");
        Shipping::open(&settings, &file, self.folder.path(), Metrics::new().0).unwrap()
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
        let place = read_place(&self.folder.path().join(FILE)).unwrap();
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
