//! Reads Secrets for the book: pages of a list, and a watch. The only driver here, as the API server sends
//! both piece by piece; what is read goes into the book and nowhere else.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Response;
use http_body_util::BodyExt as _;
use memchr::memchr;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use zeroize::Zeroizing;

use super::Book;
use crate::gateway::body::Body;
use crate::limits::{KNOWN_VALUES_EVENT_BYTES_MAX, KNOWN_VALUES_PAGE_BYTES_MAX};
use crate::transform::Unreleased;

/// Why Secrets could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The API server refuses.
    #[error("the API server answers {0}")]
    Refused(http::StatusCode),
    /// What was said before is no longer known to the API server: everything has to be read again.
    #[error("the resource version is too old")]
    Expired,
    /// The connection broke.
    #[error("the answer broke off")]
    Broken,
    /// More than is held at once.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// Not a list or watch of Secrets. What it is instead is not said: it could be a value.
    #[error("the answer is no list or watch of Secrets")]
    Unreadable,
}

/// One page of a list, put into the book.
#[derive(Debug, Default)]
pub struct Page {
    /// Namespace and name of its Secrets.
    pub secrets: Vec<(String, String)>,
    /// How to ask for the next page; empty on the last.
    pub proceed: String,
    /// From where on to watch.
    pub version: String,
}

/// Reads a page of Secrets into the book.
pub async fn read_page(response: Response<Unreleased>, book: &Book) -> Result<Page, ReadError> {
    let mut body = opened(response)?;
    let mut text = Zeroizing::new(Vec::new());
    while let Some(data) = next(&mut body).await? {
        if text.len() + data.len() > KNOWN_VALUES_PAGE_BYTES_MAX {
            return Err(ReadError::TooLarge(KNOWN_VALUES_PAGE_BYTES_MAX));
        }
        text.extend_from_slice(&data);
    }
    let list: SecretList = serde_json::from_slice(&text).map_err(|_error| ReadError::Unreadable)?;
    let mut secrets = Vec::with_capacity(list.items.len());
    for secret in list.items {
        secrets.push((
            secret.metadata.namespace.clone(),
            secret.metadata.name.clone(),
        ));
        secret.learn(book);
    }
    Ok(Page {
        secrets,
        proceed: list.metadata.proceed,
        version: list.metadata.resource_version,
    })
}

/// A watch of Secrets.
pub struct SecretsWatch {
    body: Body,
    text: Zeroizing<Vec<u8>>,
    /// How much of `text` was searched for the end of an event.
    searched: usize,
}

impl SecretsWatch {
    /// The watch that the API server answered with.
    pub fn new(response: Response<Unreleased>) -> Result<Self, ReadError> {
        Ok(Self {
            body: opened(response)?,
            text: Zeroizing::default(),
            searched: 0,
        })
    }

    /// Puts the next event into the book, and says how far the watch has come. `None` at its end.
    pub async fn next(&mut self, book: &Book) -> Result<Option<String>, ReadError> {
        loop {
            let rest = self.text.get(self.searched..).unwrap_or_default();
            if let Some(end) = memchr(b'\n', rest) {
                let rest = Zeroizing::new(self.text.split_off(self.searched + end + 1));
                let line = std::mem::replace(&mut self.text, rest);
                self.searched = 0;
                return apply(&line, book).map(Some);
            }
            self.searched = self.text.len();
            let Some(data) = next(&mut self.body).await? else {
                return Ok(None);
            };
            if self.text.len() + data.len() > KNOWN_VALUES_EVENT_BYTES_MAX {
                return Err(ReadError::TooLarge(KNOWN_VALUES_EVENT_BYTES_MAX));
            }
            self.text.extend_from_slice(&data);
        }
    }
}

fn opened(response: Response<Unreleased>) -> Result<Body, ReadError> {
    match response.status() {
        http::StatusCode::OK => Ok(response.into_body().open()),
        http::StatusCode::GONE => Err(ReadError::Expired),
        refused => Err(ReadError::Refused(refused)),
    }
}

async fn next(body: &mut Body) -> Result<Option<bytes::Bytes>, ReadError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_error| ReadError::Broken)?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn apply(line: &[u8], book: &Book) -> Result<String, ReadError> {
    let event: Event = serde_json::from_slice(line).map_err(|_error| ReadError::Unreadable)?;
    let secret = event.object;
    let version = secret.metadata.resource_version.clone();
    match event.kind.as_str() {
        "ADDED" | "MODIFIED" => secret.learn(book),
        "DELETED" => book.forget(&secret.metadata.namespace, &secret.metadata.name),
        "BOOKMARK" => {}
        "ERROR" if secret.code == 410 => return Err(ReadError::Expired),
        _ => return Err(ReadError::Unreadable),
    }
    Ok(version)
}

#[derive(Deserialize)]
struct SecretList {
    metadata: Metadata,
    items: Vec<Secret>,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    object: Secret,
}

/// A Secret, or the `Status` in its place.
#[derive(Deserialize)]
struct Secret {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    data: Option<BTreeMap<String, Decoded>>,
    #[serde(default)]
    code: u16,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Metadata {
    name: String,
    namespace: String,
    resource_version: String,
    #[serde(rename = "continue")]
    proceed: String,
}

impl Secret {
    fn learn(self, book: &Book) {
        let data = self.data.unwrap_or_default();
        let data = data
            .iter()
            .map(|(key, value)| (key.as_str(), value.0.clone()));
        book.learn(&self.metadata.namespace, &self.metadata.name, data);
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::gateway::body::full;
    use crate::transform::Placeholders;

    fn book() -> Book {
        Book::new(Arc::new(Placeholders::new(&[7; 32])), 8)
    }

    fn answer(text: &str) -> Response<Unreleased> {
        Response::new(Unreleased::new(full(text.to_owned())))
    }

    fn secret(namespace: &str, name: &str, value: &str) -> String {
        let value = STANDARD.encode(value);
        format!(
            r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","resourceVersion":"7"}},"data":{{"password":"{value}"}}}}"#
        )
    }

    #[tokio::test]
    async fn a_list_and_a_watch_fill_the_book() {
        let book = book();
        let list = format!(
            r#"{{"metadata":{{"resourceVersion":"5","continue":"next"}},"items":[{},{}]}}"#,
            secret("shop", "db", "correct-horse"),
            secret("bank", "db", "battery-staple")
        );
        let page = read_page(answer(&list), &book).await.unwrap();
        assert_eq!(
            (page.proceed.as_str(), page.version.as_str()),
            ("next", "5")
        );
        assert_eq!(page.secrets[0], ("shop".to_owned(), "db".to_owned()));
        assert_eq!(book.renew().known, 2);

        let events = format!(
            "{{\"type\":\"MODIFIED\",\"object\":{}}}\n{{\"type\":\"DELETED\",\"object\":{}}}\n{{\"type\":\"BOOKMARK\",\"object\":{{\"metadata\":{{\"resourceVersion\":\"9\"}}}}}}\n{{\"type\":\"ERROR\",\"object\":{{\"code\":410}}}}\n",
            secret("shop", "db", "open-sesame-1"),
            secret("bank", "db", "battery-staple")
        );
        let mut watch = SecretsWatch::new(answer(&events)).unwrap();
        let shop = book.shelf("shop");
        for version in ["7", "7", "9"] {
            assert_eq!(watch.next(&book).await.unwrap().as_deref(), Some(version));
        }
        assert!(matches!(watch.next(&book).await, Err(ReadError::Expired)));
        assert_eq!(book.renew().known, 1);
        assert_eq!(shop.load().len(), 1);
    }

    #[tokio::test]
    async fn what_is_no_list_is_not_quoted() {
        let book = book();
        let error = read_page(answer(r#"{"items":"hunter2-hunter2"}"#), &book).await;
        assert!(!error.unwrap_err().to_string().contains("hunter2"));
        let mut refused = answer("{}");
        *refused.status_mut() = http::StatusCode::FORBIDDEN;
        assert!(matches!(
            read_page(refused, &book).await,
            Err(ReadError::Refused(http::StatusCode::FORBIDDEN))
        ));
        let mut watch = SecretsWatch::new(answer("{\"type\":\"ADDED\"}\n")).unwrap();
        assert!(matches!(
            watch.next(&book).await,
            Err(ReadError::Unreadable)
        ));
        let mut watch = SecretsWatch::new(answer("")).unwrap();
        assert!(matches!(watch.next(&book).await, Ok(None)));
    }
}
