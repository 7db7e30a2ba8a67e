//! A list of Secrets of any size, made while it is sent: what a gateway must mask without holding it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use portcullis::gateway::body::Body;

use super::Call;
use crate::apiserver::status::ApiError;

/// Bytes handed over at a time.
const CHUNK: usize = 64 * 1024;
/// Bytes of filler in each Secret besides its password: a kubeconfig or a small key.
const FILLER: usize = 1536;

/// True for `/api/v1/namespaces/huge/secrets` when a size is configured.
pub(super) fn asked(call: &Call) -> bool {
    call.state.settings.huge_list_bytes.is_some()
        && call.info.namespace == "huge"
        && call.resource.qualified() == "secrets"
}

struct Generator {
    wanted: u64,
    made: u64,
    item: u64,
    filler: String,
    done: bool,
    sent: Arc<AtomicU64>,
}

/// Answers with the list; nothing is made before the connection takes what came before it.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the handlers of verbs share one signature"
)]
pub(super) fn list(call: &Call) -> Result<Response<Body>, ApiError> {
    let filler: Vec<u8> = (0..FILLER)
        .map(|index| u8::try_from(index % 251).unwrap_or(0))
        .collect();
    let generator = Generator {
        wanted: call.state.settings.huge_list_bytes.unwrap_or(0),
        made: 0,
        item: 0,
        filler: STANDARD.encode(filler),
        done: false,
        sent: Arc::clone(&call.state.bytes_sent),
    };
    let frames = stream::unfold(generator, |mut generator| async move {
        let bytes = generator.next()?;
        Some((Ok(Frame::data(bytes)), generator))
    });
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

impl Generator {
    fn next(&mut self) -> Option<Bytes> {
        if self.done {
            return None;
        }
        let mut out = Vec::with_capacity(CHUNK + FILLER * 2);
        if self.made == 0 {
            out.extend_from_slice(b"{\"kind\":\"SecretList\",\"apiVersion\":\"v1\",\"metadata\":{\"resourceVersion\":\"1000\"},\"items\":[");
        }
        while out.len() < CHUNK && self.made + (out.len() as u64) < self.wanted {
            if self.item > 0 {
                out.push(b',');
            }
            self.item += 1;
            let number = self.item;
            let password = STANDARD.encode(format!("correct-horse-battery-{number:010}"));
            out.extend_from_slice(
                format!(
                    "{{\"metadata\":{{\"name\":\"huge-{number:010}\",\"namespace\":\"huge\",\"uid\":\"00000000-0000-4000-8000-{number:012}\",\"resourceVersion\":\"1000\",\"creationTimestamp\":\"2026-11-20T16:03:44Z\"}},\"data\":{{\"filler\":\"{}\",\"password\":\"{password}\"}},\"type\":\"Opaque\"}}",
                    self.filler
                )
                .as_bytes(),
            );
        }
        if self.made + (out.len() as u64) >= self.wanted {
            out.extend_from_slice(b"]}\n");
            self.done = true;
        }
        self.made += out.len() as u64;
        self.sent.fetch_add(out.len() as u64, Ordering::Relaxed);
        Some(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_make_one_json_document_of_about_the_wanted_size() {
        let sent = Arc::new(AtomicU64::new(0));
        let mut generator = Generator {
            wanted: 300_000,
            made: 0,
            item: 0,
            filler: "QUFB".to_owned(),
            done: false,
            sent: Arc::clone(&sent),
        };
        let mut all = Vec::new();
        while let Some(bytes) = generator.next() {
            all.extend_from_slice(&bytes);
        }
        assert!((300_000..301_000).contains(&all.len()), "{}", all.len());
        assert_eq!(sent.load(Ordering::Relaxed), all.len() as u64);
        let list: serde_json::Value = serde_json::from_slice(&all).expect("JSON");
        let items = list["items"].as_array().expect("a list");
        assert!(items.len() > 100 && items.iter().all(|item| item.get("kind").is_none()));
    }
}
