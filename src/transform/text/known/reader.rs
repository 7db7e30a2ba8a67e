//! Reads Secrets for the book: pages of a list, and a watch. The only driver here, as the API server sends
//! both piece by piece; what is read goes into the book and nowhere else.

use http::Response;
use http_body_util::BodyExt as _;
use memchr::memchr;
use serde::Deserialize;
use thiserror::Error;
use zeroize::Zeroizing;

use super::Book;
use super::secret::{Event, Metadata, Secret, number};
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

impl Page {
    /// The list is complete, and this its last page: the book holds the Secrets for which `exists`, as they
    /// were at the list's version, and what passed since.
    pub fn conclude(&self, book: &Book, exists: impl FnMut(&str, &str) -> bool) {
        book.retain(exists);
        book.followed(number(&self.version));
    }
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
    let list: SecretList<'_> =
        serde_json::from_slice(&text).map_err(|_error| ReadError::Unreadable)?;
    let mut secrets = Vec::with_capacity(list.items.len());
    for secret in list.items {
        learn(&secret, book)?;
        let Metadata {
            namespace, name, ..
        } = secret.metadata;
        secrets.push((namespace.into_owned(), name.into_owned()));
    }
    Ok(Page {
        secrets,
        proceed: list.metadata.proceed.into_owned(),
        version: list.metadata.resource_version.into_owned(),
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
    let event: Event<'_> = serde_json::from_slice(line).map_err(|_error| ReadError::Unreadable)?;
    let secret = event.object;
    match &*event.kind {
        "ADDED" | "MODIFIED" => learn(&secret, book)?,
        "DELETED" => book.forget(secret.at()),
        "BOOKMARK" => {}
        "ERROR" if secret.code == 410 => return Err(ReadError::Expired),
        _ => return Err(ReadError::Unreadable),
    }
    let version = secret.metadata.resource_version.into_owned();
    if !version.is_empty() {
        book.followed(number(&version));
    }
    Ok(version)
}

#[derive(Deserialize)]
struct SecretList<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    items: Vec<Secret<'a>>,
}

fn learn(secret: &Secret<'_>, book: &Book) -> Result<(), ReadError> {
    let data = secret.data().map_err(|_error| ReadError::Unreadable)?;
    book.learn(secret.at(), data.unwrap_or_default().iter());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::super::SecretAt;
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
    async fn list_and_watch_take_over_what_passed_when_they_are_there() {
        let book = book();
        let pass = |name: &str, version| {
            let secret = SecretAt {
                namespace: "shop",
                name,
                version,
            };
            let value = Zeroizing::new(format!("passed-{name}-{version}!").into_bytes());
            book.pass(secret, [("password", value)]);
        };
        pass("gone", 4);
        pass("db", 8);
        let list = format!(
            r#"{{"metadata":{{"resourceVersion":"5"}},"items":[{}]}}"#,
            secret("shop", "web", "battery-staple")
        );
        let page = read_page(answer(&list), &book).await.unwrap();
        page.conclude(&book, |_, name| name == "web");
        assert_eq!(book.renew().known, 2, "gone is gone, db is newer");
        pass("gone", 5);
        assert_eq!(book.renew().known, 2, "late");

        let events = "{\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"7\"}}}\n\
                      {\"type\":\"BOOKMARK\",\"object\":{\"metadata\":{\"resourceVersion\":\"9\"}}}\n";
        let mut watch = SecretsWatch::new(answer(events)).unwrap();
        watch.next(&book).await.unwrap();
        assert_eq!(book.renew().known, 2);
        // Nothing was told of it up to 9: it was deleted and created again, or put back.
        watch.next(&book).await.unwrap();
        assert_eq!(book.renew().known, 1);
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
