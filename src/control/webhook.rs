//! Tells other programs what waits for a human's yes: one signed POST for every change of an approval.
//!
//! Whoever waits for an answer never waits for a webhook. Of each the messages wait in a queue with an end; what
//! does not fit, or is not taken after a few tries, is dropped and logged. The question itself stays.

mod message;
pub(super) mod post;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::approval::{Approval, Change, Desk, News};
use crate::limits;
use post::{Failure, Message, Poster, text_of};

pub use message::{Format, Places};

/// One webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The file with its URL: chat services put a credential into it.
    pub url_file: PathBuf,
    /// The file with the key that messages are signed with; not signed when absent.
    pub secret_file: Option<PathBuf>,
    /// Certificates to trust instead of the machine's, as PEM.
    pub certificate_authority: Option<String>,
    /// The form of its messages.
    pub format: Format,
}

/// The webhooks of a gateway, ready to be started.
pub struct Webhooks {
    hooks: Vec<Hook>,
    desk: Desk,
    /// Listens from the beginning: nothing that happens before the tasks run is missed.
    news: News,
    places: Places,
}

pub(super) struct Hook {
    format: Format,
    poster: Poster,
    key: Option<hmac::Key>,
}

impl Settings {
    /// Why it cannot be used: by the key that it is about.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let authority = self.certificate_authority.as_deref();
        let url = Poster::open(&self.url_file, authority).err();
        let key = self.key().err();
        let url = url.map(|why| ("urlFile", why));
        url.into_iter()
            .chain(key.map(|why| ("secretFile", why)))
            .collect()
    }

    /// What messages are signed with.
    fn key(&self) -> Result<Option<hmac::Key>, String> {
        let Some(file) = &self.secret_file else {
            return Ok(None);
        };
        let text = text_of(file)?;
        let secret = text.trim().as_bytes();
        if secret.len() < SECRET_BYTES_MIN {
            let name = file.display();
            return Err(format!(
                "{name}: the secret is shorter than {SECRET_BYTES_MIN} bytes"
            ));
        }
        Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }
}

impl Webhooks {
    /// Reads what the settings name.
    pub fn open(settings: &[Settings], desk: Desk, places: Places) -> Result<Self, String> {
        let hooks = settings.iter().map(Hook::open).collect::<Result<_, _>>()?;
        Ok(Self {
            hooks,
            news: desk.news(),
            desk,
            places,
        })
    }

    /// Follows the approvals until the end.
    pub async fn run(self, end: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut queues: Vec<(Format, Sender<Arc<str>>)> = Vec::new();
        for hook in self.hooks {
            let (queue, messages) = mpsc::channel(limits::WEBHOOK_QUEUE_MAX);
            queues.push((hook.format, queue));
            tasks.spawn(hook.run(messages));
        }
        if !queues.is_empty() {
            tokio::select! {
                () = end.cancelled() => {}
                () = follow(&self.desk, self.news, &self.places, &queues) => {}
            }
        }
        drop(queues);
        tasks.close();
        // What is under way has a moment.
        let _late = tokio::time::timeout(limits::WEBHOOK_TIMEOUT, tasks.wait()).await;
    }
}

async fn follow(
    desk: &Desk,
    mut news: News,
    places: &Places,
    queues: &[(Format, Sender<Arc<str>>)],
) {
    let mut told: HashMap<Arc<str>, Change> = HashMap::new();
    loop {
        let Some(change) = news.next().await else {
            tracing::warn!("more approvals changed than webhooks could be told of");
            continue;
        };
        if !is_new(&mut told, &change) {
            continue;
        }
        let approval = match desk.get(change.id.to_string()).await {
            Ok(Some(approval)) => as_it_stood(approval, &change),
            Ok(None) => continue,
            Err(error) => {
                tracing::error!(%error, "webhooks cannot be told of an approval");
                continue;
            }
        };
        for (format, queue) in queues {
            let message = message::body(*format, &approval, places);
            if queue.try_send(Arc::from(message)).is_err() {
                tracing::error!(approval = %approval.id, "a webhook is too slow; it is not told of an approval");
            }
        }
    }
}

/// Whether anything has changed that webhooks are told of: what was found out about a request is not.
fn is_new(told: &mut HashMap<Arc<str>, Change>, change: &Change) -> bool {
    if told.get(&change.id) == Some(change) {
        return false;
    }
    if told.len() >= limits::WEBHOOK_TOLD_MAX {
        told.clear(); // at worst something is told twice
    }
    told.insert(Arc::clone(&change.id), change.clone());
    true
}

/// A yes may be used before it was told. Both are told, each as it was; requests and answers are only ever added.
fn as_it_stood(mut approval: Approval, change: &Change) -> Approval {
    approval.state = change.state;
    approval.requests.truncate(change.requests);
    approval.answers.truncate(change.answers);
    approval
}

impl Hook {
    /// Reads what the settings name.
    pub(super) fn open(settings: &Settings) -> Result<Self, String> {
        let authority = settings.certificate_authority.as_deref();
        Ok(Self {
            format: settings.format,
            poster: Poster::open(&settings.url_file, authority)?,
            key: settings.key()?,
        })
    }

    async fn run(self, mut messages: Receiver<Arc<str>>) {
        while let Some(message) = messages.recv().await {
            self.deliver(&message).await;
        }
    }

    /// The file with its URL, which is its name.
    pub(super) fn name(&self) -> &str {
        self.poster.name()
    }

    /// Tries once.
    pub(super) async fn post(&self, message: &str) -> Result<(), Failure> {
        let now = Timestamp::now().as_second();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &self.key {
            let signature = message::signature(key, now, message);
            let signature = HeaderValue::try_from(signature)
                .map_err(|error| Failure::Refused(error.to_string()))?;
            headers.insert(SIGNATURE, signature);
        }
        let message = Message {
            body: Bytes::copy_from_slice(message.as_bytes()),
            headers,
            answer_bytes_max: 0,
        };
        self.poster.post(message).await.map(drop)
    }

    async fn deliver(&self, message: &str) {
        for pause in PAUSES {
            match self.post(message).await {
                Ok(()) => return,
                Err(Failure::Refused(why)) => {
                    tracing::error!(
                        webhook = self.name(),
                        why,
                        "a webhook does not take a message"
                    );
                    return;
                }
                Err(Failure::Again(why)) => {
                    tracing::warn!(webhook = self.name(), why, "a webhook cannot be told yet");
                }
            }
            tokio::time::sleep(pause).await;
        }
        tracing::error!(webhook = self.name(), "a message to a webhook is given up");
    }
}

/// The header with the signature.
const SIGNATURE: HeaderName = HeaderName::from_static("portcullis-signature");

/// How long to wait after each try.
const PAUSES: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(20),
    Duration::ZERO,
];

/// A key that can be guessed signs nothing.
const SECRET_BYTES_MIN: usize = 16;

#[cfg(test)]
mod tests;
