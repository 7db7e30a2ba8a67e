//! What a path is answered with. A label says how, or the name of a Pod whose log is read: see [`Wish`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};

use super::super::clock::{self, Alarm};
use super::objects::Kind;
use super::templates::{Encoding, Templates};

/// Items of a list that leave together.
const LIST_CHUNK_BYTES: usize = 32 << 10;
const LIST_ITEMS: usize = 100;

/// When the events of a stream are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// As fast as they are taken.
    Saturated,
    /// One, and then no more.
    Idle,
    /// One every so often, each with the time it was due, however slow they are taken.
    Every(Duration),
    /// The same, and on all streams at the same moment, as when all watch the same object.
    Together(Duration),
}

impl Pace {
    /// Whether its events say when they were due.
    pub fn is_stamped(self) -> bool {
        matches!(self, Self::Every(_) | Self::Together(_))
    }
}

/// Selects by the label that says what is wished.
pub const SELECTED: &str = "loadtest%3D";

/// What is wished of an answer: words between dashes, such as `items-500-every-100000` (microseconds), `saturated`, or
/// `items-10000-stamped`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Of a stream.
    pub pace: Pace,
    /// Items of a list, and of the initial events of a watch that asks for them.
    pub items: usize,
    /// Whether items of a list and initial events say when they were sent.
    pub stamped: bool,
    /// Whether Pods have nothing in common.
    pub distinct: bool,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            pace: Pace::Idle,
            items: LIST_ITEMS,
            stamped: false,
            distinct: false,
        }
    }
}

impl Wish {
    /// The words that say this.
    pub fn words(&self) -> String {
        let pace = match self.pace {
            Pace::Saturated => "saturated".to_owned(),
            Pace::Idle => "idle".to_owned(),
            Pace::Every(period) => format!("every-{}", period.as_micros()),
            Pace::Together(period) => format!("together-{}", period.as_micros()),
        };
        let stamped = if self.stamped { "-stamped" } else { "" };
        let distinct = if self.distinct { "-distinct" } else { "" };
        format!("items-{}-{pace}{stamped}{distinct}", self.items)
    }

    fn read(words: &str) -> Self {
        let mut wish = Self::default();
        let mut words = words.split('-');
        while let Some(word) = words.next() {
            let mut number = || {
                words
                    .next()
                    .and_then(|word| word.parse::<u64>().ok())
                    .unwrap_or(0)
            };
            match word {
                "saturated" => wish.pace = Pace::Saturated,
                "every" => wish.pace = Pace::Every(Duration::from_micros(number().max(1))),
                "together" => wish.pace = Pace::Together(Duration::from_micros(number().max(1))),
                "items" => wish.items = usize::try_from(number()).unwrap_or(usize::MAX),
                "stamped" => wish.stamped = true,
                "distinct" => wish.distinct = true,
                _ => {}
            }
        }
        wish
    }
}

/// All that can be sent, rendered once by `default`.
#[derive(Debug)]
pub struct Corpus {
    json: Objects,
    protobuf: Objects,
    lines: Arc<Templates>,
}

/// All objects in one encoding.
#[derive(Debug)]
struct Objects {
    pods: Arc<Templates>,
    distinct_pods: Arc<Templates>,
    secrets: Arc<Templates>,
    events: Arc<Templates>,
    config_maps: Arc<Templates>,
}

impl Objects {
    fn new(encoding: Encoding) -> Self {
        let make = |kind| Arc::new(Templates::new(kind, encoding));
        Self {
            pods: make(Kind::Pod),
            distinct_pods: make(Kind::DistinctPod),
            secrets: make(Kind::Secret),
            events: make(Kind::Event),
            config_maps: make(Kind::ConfigMap),
        }
    }
}

impl Default for Corpus {
    fn default() -> Self {
        Self {
            json: Objects::new(Encoding::Json),
            protobuf: Objects::new(Encoding::Protobuf),
            lines: Arc::new(Templates::lines()),
        }
    }
}

impl Corpus {
    /// The lines of a log.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.events.iter().map(|line| line.plain().as_ref())
    }

    /// What `path` (with its query) is answered with, in what is accepted, and its media type. What nobody asked for is an
    /// empty object, as gateways look whether anyone is there.
    pub fn answer(&self, path: &str, accept: &str) -> (&'static str, Answer) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut parts = path.split('/').skip(3);
        let mut next = parts.next().unwrap_or_default();
        if next == "namespaces" {
            next = parts.nth(1).unwrap_or_default();
        }
        let (name, subresource) = (parts.next(), parts.next());
        let selector = query
            .split('&')
            .find_map(|part| part.strip_prefix("labelSelector="));
        let label = selector.and_then(|selector| selector.strip_prefix(SELECTED));
        let wish = Wish::read(label.or(name).unwrap_or_default());
        let encoding = Encoding::accepted(accept);
        let objects = match encoding {
            Encoding::Json => &self.json,
            Encoding::Protobuf => &self.protobuf,
        };
        let templates = match next {
            "pods" if wish.distinct => &objects.distinct_pods,
            "pods" => &objects.pods,
            "secrets" => &objects.secrets,
            "events" => &objects.events,
            "configmaps" => &objects.config_maps,
            _ => {
                let nothing = Answer::Object(Bytes::from_static(b"{}\n"));
                return (Encoding::Json.media_type(), nothing);
            }
        };
        let asks = |what: &str| query.split('&').any(|part| part == what);
        if subresource == Some("log") {
            let lines = Stream::events(Arc::clone(&self.lines), wish.pace);
            return ("text/plain", Answer::Stream(lines));
        }
        if name.is_some() {
            let object = Answer::Object(templates.object.clone());
            return (encoding.media_type(), object);
        }
        if asks("watch=true") {
            let mut stream = Stream::events(Arc::clone(templates), wish.pace);
            if asks("sendInitialEvents=true") {
                stream.initial = wish.items;
                stream.stamped = wish.stamped;
            }
            return (encoding.media_type_of_watches(), Answer::Stream(stream));
        }
        let list = Stream::list(Arc::clone(templates), wish);
        (encoding.media_type(), Answer::Stream(list))
    }
}

/// An answer with status 200.
#[derive(Debug)]
pub enum Answer {
    /// All of it.
    Object(Bytes),
    /// Piece by piece.
    Stream(Stream),
}

/// A list or a watch. Every frame is one event, or some items of a list.
#[derive(Debug)]
pub struct Stream {
    templates: Arc<Templates>,
    /// Events or items sent so far.
    sent: usize,
    what: What,
    /// Initial events that are still to be sent, and then a bookmark.
    initial: usize,
    /// Whether these say when they were sent.
    stamped: bool,
}

#[derive(Debug)]
enum What {
    Events {
        pace: Pace,
        /// When the next one is, where it has a time.
        due: u64,
        alarm: Option<Alarm>,
    },
    List(Wish),
    Ended,
}

impl Stream {
    fn events(templates: Arc<Templates>, pace: Pace) -> Self {
        let what = What::Events {
            pace,
            due: match pace {
                Pace::Saturated | Pace::Idle => 0,
                Pace::Every(period) => clock::now() + place(nanos(period)),
                Pace::Together(period) => clock::now().next_multiple_of(nanos(period)),
            },
            alarm: None,
        };
        Self {
            templates,
            sent: 0,
            what,
            initial: 0,
            stamped: false,
        }
    }

    fn list(templates: Arc<Templates>, wish: Wish) -> Self {
        Self {
            templates,
            sent: 0,
            what: What::List(wish),
            initial: 0,
            stamped: false,
        }
    }

    /// The next piece; `None` is the end of a list.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if self.initial > 0 {
            return Poll::Ready(Ok(Some(self.next_initial())));
        }
        let number = self.sent;
        let template = |templates: &Templates| {
            templates
                .events
                .get(number % templates.events.len().max(1))
                .cloned()
        };
        match &mut self.what {
            What::Ended => Poll::Ready(Ok(None)),
            What::List(wish) => {
                let wish = *wish;
                Poll::Ready(Ok(Some(self.next_items(wish))))
            }
            What::Events {
                pace: Pace::Idle, ..
            } if number > 0 => Poll::Pending,
            What::Events {
                pace: Pace::Every(period) | Pace::Together(period),
                due,
                alarm,
            } => {
                let period = nanos(*period);
                let alarm = match alarm {
                    Some(alarm) => alarm,
                    None => alarm.insert(Alarm::new()?),
                };
                ready!(alarm.poll_wait(context, *due))?;
                let event = template(&self.templates).map(|one| one.stamped(*due));
                *due += period;
                self.sent += 1;
                Poll::Ready(Ok(event))
            }
            What::Events { .. } => {
                self.sent += 1;
                Poll::Ready(Ok(template(&self.templates).map(|one| one.plain().clone())))
            }
        }
    }

    fn next_initial(&mut self) -> Bytes {
        self.initial -= 1;
        if self.initial == 0 {
            return self.templates.synced.clone();
        }
        let number = self.initial % self.templates.events.len().max(1);
        match self.templates.events.get(number) {
            Some(event) if self.stamped => event.stamped(clock::now()),
            Some(event) => event.plain().clone(),
            None => Bytes::new(),
        }
    }

    fn next_items(&mut self, wish: Wish) -> Bytes {
        let mut chunk = Vec::with_capacity(LIST_CHUNK_BYTES + (16 << 10));
        if self.sent == 0 {
            chunk.extend_from_slice(&self.templates.list_head(wish.items));
        }
        while chunk.len() < LIST_CHUNK_BYTES && self.sent < wish.items {
            if self.sent > 0 {
                chunk.extend_from_slice(self.templates.between_items());
            }
            if let Some(item) = self.templates.item(self.sent) {
                if wish.stamped {
                    chunk.extend_from_slice(&item.stamped(clock::now()));
                } else {
                    chunk.extend_from_slice(item.plain());
                }
            }
            self.sent += 1;
        }
        if self.sent >= wish.items {
            chunk.extend_from_slice(self.templates.list_tail());
            self.what = What::Ended;
        }
        chunk.into()
    }
}

fn nanos(period: Duration) -> u64 {
    u64::try_from(period.as_nanos()).unwrap_or(u64::MAX)
}

/// Where in its period a stream sends: each somewhere else, also those that began together. Multiples of the golden ratio lie
/// as far apart as can be (Knuth, TAOCP 6.4).
fn place(period: u64) -> u64 {
    static STREAMS: AtomicU64 = AtomicU64::new(1);
    let number = STREAMS.fetch_add(1, Ordering::Relaxed);
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % period
}

impl Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let next = ready!(self.poll_next(context));
        Poll::Ready(next.map(|bytes| bytes.map(Frame::data)).transpose())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::types::answer;

    #[test]
    fn words_say_what_is_wished() {
        for pace in [
            Pace::Saturated,
            Pace::Idle,
            Pace::Every(Duration::from_millis(100)),
            Pace::Together(Duration::from_secs(1)),
        ] {
            for stamped in [false, true] {
                let wish = Wish {
                    pace,
                    items: 500,
                    stamped,
                    distinct: !stamped,
                };
                assert_eq!(Wish::read(&wish.words()), wish);
            }
        }
    }

    #[test]
    fn a_list_is_one_document_with_all_items() {
        let corpus = Corpus::default();
        let accepts = ["application/json", "application/vnd.kubernetes.protobuf"];
        for (items, accept) in [0, 1, 250]
            .into_iter()
            .flat_map(|it| accepts.map(|accept| (it, accept)))
        {
            let wish = Wish {
                items,
                stamped: true,
                ..Wish::default()
            };
            let path = format!(
                "/api/v1/namespaces/default/secrets?labelSelector={SELECTED}{}",
                wish.words()
            );
            let (content_type, answer) = corpus.answer(&path, accept);
            assert_eq!(content_type, accept);
            let Answer::Stream(mut stream) = answer else {
                panic!("no list");
            };
            let mut text = Vec::new();
            let mut context = Context::from_waker(std::task::Waker::noop());
            while let Poll::Ready(Ok(Some(chunk))) = stream.poll_next(&mut context) {
                text.extend_from_slice(&chunk);
            }
            let list = answer::object(&text).or_else(|| serde_json::from_slice(&text).ok());
            let list = list.unwrap();
            assert_eq!(list["items"].as_array().unwrap().len(), items);
            assert_eq!(list["kind"], "SecretList");
        }
    }
}
