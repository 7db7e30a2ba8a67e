//! A search of recordings: done here, so that only what was found travels.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::{Semaphore, mpsc};

use super::SessionList;
use crate::gateway::body::Body;
use crate::gateway::refuse::Refusal;
use crate::limits;
use crate::recording::index::Catalog;
use crate::recording::index::search::{Audience, Haystack, News, Quest};

/// The searches that run.
#[derive(Clone, Debug)]
pub struct Searches(Arc<Semaphore>);

impl Default for Searches {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::SEARCHES_MAX)))
    }
}

impl Searches {
    /// Searches in a thread of its own, as long as the client listens. The answer has a line of JSON for each of the
    /// [`News`], and the one that says it is over is the last.
    pub(in crate::control) fn begin(
        &self,
        catalog: Catalog,
        found: SessionList,
        quest: Quest,
    ) -> Result<Response<Body>, Refusal> {
        let Ok(place) = Arc::clone(&self.0).try_acquire_owned() else {
            let most = limits::SEARCHES_MAX;
            return Err(Refusal::too_many(format!(
                "{most} searches run already, which is all this gateway does at a time; try again when one is over"
            )));
        };
        let hay = Haystack {
            sessions: found.items,
            more: found.more,
            most: limits::SEARCH_BYTES_MAX,
        };
        let (tell, told) = mpsc::channel(limits::SEARCH_NEWS_MAX);
        tokio::task::spawn_blocking(move || {
            let mut audience = Audience {
                tell: &mut |news| tell.blocking_send(line(&news)).is_ok(),
                listens: &|| !tell.is_closed(),
            };
            catalog.search(&hay, &quest, &mut audience);
            drop(place);
        });
        let lines = stream::unfold(told, |mut told| async move {
            let line: Bytes = told.recv().await?;
            Some((Ok(Frame::data(line)), told))
        });
        let mut response = Response::new(StreamBody::new(lines).boxed_unsync());
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/x-ndjson"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(response)
    }
}

fn line(news: &News) -> Bytes {
    let mut line = serde_json::to_vec(news).unwrap_or_default();
    line.push(b'\n');
    Bytes::from(line)
}
