//! What is kept of one request: its audit event and its counts, finished exactly once however the
//! request ends, and finished before the last byte of the answer leaves.

mod alarm;
mod begun;
mod farewell;
mod kept;
mod recorded;
mod refused;
mod timing;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt;
use jiff::Timestamp;
use tokio_util::task::TaskTracker;

use self::alarm::Alarm;
use self::begun::Begun;
use self::recorded::{Head, Recorded};
use self::timing::Timing;
use crate::approval::Approval;
use crate::audit::responses::{Keeping, Responses};
use crate::audit::{AuditLog, Event, Stage, Until};
use crate::callers::meter::Meter;
use crate::callers::spending::Exceeded;
use crate::callers::table::Open;
use crate::gateway::body::Body;
use crate::gateway::grant::Ended;
use crate::gateway::refuse::Refusal;
use crate::gateway::story::{Act, Attempt, Stories};
use crate::metrics::{InFlight, Metrics, Outcome, StreamEnd, VerbClass};
use crate::policy::Permit;
use crate::session::{EndReason, SessionReport};
use crate::transform::{MaskError, MaskReport};
use crate::wire::events::EventCounter;

/// The record of one request in the making.
pub struct Record {
    /// The event, open for what the rooms have to say.
    pub event: Event,
    keeper: Arc<Keeper>,
    outcome: Outcome,
    class: VerbClass,
    arrived: Timestamp,
    masks: Option<Arc<MaskReport>>,
    bytes: u64,
    /// Lines of a log, events of a watch.
    events: Option<EventCounter>,
    /// They are events of a watch.
    watches: bool,
    _arrived: InFlight,
    /// As a stream or a session, once it is answered.
    opened: Option<InFlight>,
    /// Who calls, once that is known.
    meter: Option<Meter>,
    /// What they have open.
    open: Option<Open>,
    /// The session that is asked for, as part of its story.
    attempt: Option<Box<Attempt>>,
    /// The answer, if it is kept.
    kept: Option<Box<Keeping>>,
    /// Who took how long.
    timing: Timing,
    /// The request is in the metrics.
    summed_up: bool,
    /// The last event is with the audit log; from here on nothing more may be written.
    closed: bool,
}

/// Where records are kept.
pub struct Keeper {
    /// The audit log.
    pub audit: AuditLog,
    /// The answers that are kept.
    pub responses: Arc<Responses>,
    /// The counts.
    pub metrics: Metrics,
    /// What was refused over WebSocket and may come again over SPDY.
    pub stories: Arc<Stories>,
    /// Carries the event of a client that left while the audit log was busy.
    pub tasks: TaskTracker,
}

impl Record {
    /// Opens the record of a request that has just arrived. Boxed, since it goes from hand to hand.
    pub fn open(keeper: &Arc<Keeper>, event: Event, arrived: Timestamp) -> Box<Self> {
        Box::new(Self {
            event,
            keeper: Arc::clone(keeper),
            outcome: Outcome::Failed,
            class: VerbClass::Other,
            arrived,
            masks: None,
            bytes: 0,
            events: None,
            watches: false,
            _arrived: keeper.metrics.arrived(),
            opened: None,
            meter: None,
            open: None,
            attempt: None,
            kept: None,
            timing: Timing::default(),
            summed_up: false,
            closed: false,
        })
    }

    /// The request is this caller's.
    pub fn metered(&mut self, meter: Meter) {
        self.meter = Some(meter);
    }

    /// What counts the bytes of the caller, if a budget limits them.
    pub fn meter(&self) -> Option<Meter> {
        self.meter.clone().filter(Meter::counts_bytes)
    }

    /// Counts the request; refuses it if the caller's budgets have no room for it or for what it does.
    pub fn counted(&mut self, act: Act<'_>) -> Result<(), Refusal> {
        self.afford(act, |meter| {
            meter.request()?;
            meter.has_room(act.info, act.cluster)
        })
    }

    /// Counts what the request does, which is about to be done.
    pub fn spends(&mut self, act: Act<'_>) -> Result<(), Refusal> {
        self.afford(act, |meter| meter.take(act.info, act.cluster))
    }

    fn afford(
        &mut self,
        act: Act<'_>,
        spend: impl FnOnce(&Meter) -> Result<(), Exceeded>,
    ) -> Result<(), Refusal> {
        let said = self.meter.as_ref().map_or(Ok(()), spend);
        said.map_err(|over| {
            self.over_budget(&over);
            Refusal::over_budget(act.info, act.identity, &over)
        })
    }

    /// A budget is used up.
    pub fn over_budget(&mut self, over: &Exceeded) {
        self.keeper.metrics.over_budget(over.measure);
        self.event
            .annotate("portcullis.dev/budget", over.to_string());
    }

    /// Sorts the request for the metrics.
    pub fn classed(&mut self, class: VerbClass) {
        self.class = class;
    }

    /// The request is for a session: it begins a story or ends one.
    pub fn attempts(&mut self, act: Act<'_>, audit_id: &str, websocket: bool) {
        let attempt = self
            .keeper
            .stories
            .attempt(act, audit_id, websocket, self.arrived);
        self.event
            .annotate("portcullis.dev/story", attempt.story.clone());
        self.attempt = Some(Box::new(attempt));
    }

    /// Whether this is the second try of a session whose first one was refused.
    pub fn is_second_attempt(&self) -> bool {
        self.attempt.as_deref().is_some_and(Attempt::is_second)
    }

    /// The request may go on; a policy that only observes may have thought otherwise.
    pub fn allowed(&mut self, permit: &Permit) {
        self.timing.goes_on(Timestamp::now());
        self.event.allowed(permit);
        if let Some(would) = permit.would() {
            self.keeper.metrics.observed(would);
        }
    }

    /// The request waits for somebody to answer this.
    pub fn asked(&mut self, approval: &Approval) {
        self.timing.asks(Timestamp::now());
        self.event.annotate("portcullis.dev/decision", "hold");
        self.event
            .annotate("portcullis.dev/rule", approval.rule.clone());
        self.event
            .annotate("portcullis.dev/approval", approval.id.clone());
    }

    /// Keeps that an allowed request is about to be carried out. Until that is written nothing of it
    /// happens, and if it cannot be written nothing does. Where a rule says so, until it is on the disk and sealed.
    pub async fn begun(&mut self, permit: &Permit) -> Result<(), Refusal> {
        self.event.at(Stage::RequestReceived, Timestamp::now());
        let audit = &self.keeper.audit;
        let until = if permit.strict_audit() {
            Until::Sealed
        } else {
            Until::Written
        };
        let written = audit.write_or_fail(&self.event, until).await;
        self.keeper.metrics.audited(audit.queued());
        written.map_err(|_error| Refusal::audit_unavailable())
    }

    /// Keeps that a long-running answer begins, so that an open shell is on record before it ends.
    pub async fn started(&mut self, code: StatusCode) {
        self.event.answered(code, None, None);
        self.event.at(Stage::ResponseStarted, Timestamp::now());
        self.keep(false).await;
        self.opened = Some(self.keeper.metrics.opened(self.class));
        let session = self.class == VerbClass::Session;
        self.open = self.meter.as_ref().map(|meter| meter.opens(session));
    }

    /// Where what is masked in a session is counted.
    pub fn masks(&mut self) -> Arc<MaskReport> {
        Arc::clone(self.masks.get_or_insert_default())
    }

    /// Ties the record to an answer: the event is written before the answer's last byte. What fails before its head
    /// leaves is refused.
    pub async fn answer(
        mut self: Box<Self>,
        response: Response<Body>,
        masks: Option<Arc<MaskReport>>,
        ended: Ended,
        long_running: bool,
    ) -> Result<Response<Body>, Refusal> {
        self.outcome = Outcome::Allowed;
        self.answers();
        self.masks = masks;
        self.event.answered(response.status(), None, None);
        if long_running && response.status().is_success() {
            if self.class == VerbClass::Stream {
                self.events = counter(response.headers());
                // Logs are plain text.
                let kind = response.headers().get(CONTENT_TYPE);
                self.watches =
                    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/"));
            }
            self.started(response.status()).await;
        }
        self.keeps_as(response.headers());
        let (head, body) = response.into_parts();
        if body.is_end_stream() {
            // hyper does not poll such a body, so nothing is left to tie the record to.
            self.kept = None;
            self.complete().await;
            return Ok(Response::from_parts(head, body));
        }
        let body = Recorded {
            inner: body,
            ended: Alarm::new(ended),
            long_running,
            record: Some(self),
            head: if long_running {
                Head::Left
            } else {
                Head::Waits
            },
            finishing: None,
            last: None,
        };
        let body = if long_running {
            body.boxed_unsync()
        } else {
            Begun::new(body).await?.boxed_unsync()
        };
        Ok(Response::from_parts(head, body))
    }

    /// Bytes of the answer leave, if the caller's budget has room for them.
    fn passed(&mut self, bytes: &[u8]) -> bool {
        if let Some(Err(over)) = self.meter.as_ref().map(|meter| meter.bytes(bytes.len())) {
            self.over_budget(&over);
            return false;
        }
        self.bytes += bytes.len() as u64;
        if let Some(events) = &mut self.events {
            events.push(bytes);
        }
        if let Some(kept) = &mut self.kept {
            kept.push(bytes);
        }
        true
    }

    /// The last event of a watch that ends for this reason.
    fn farewell(&self, why: StreamEnd) -> Option<Bytes> {
        let passed = self.events.as_ref().filter(|_| self.watches)?;
        farewell::event(passed, why)
    }

    /// The last event of a watch of which the next cannot be masked.
    fn withheld(&self, why: &MaskError) -> Option<Bytes> {
        let passed = self.events.as_ref().filter(|_| self.watches)?;
        farewell::withheld(passed, why)
    }

    /// A session is over.
    pub fn session(&mut self, report: &SessionReport) {
        self.outcome = Outcome::Allowed;
        let bytes = &report.bytes;
        self.event.annotate(
            "portcullis.dev/bytes-in",
            (bytes.stdin + bytes.data_sent).to_string(),
        );
        let out = bytes.stdout + bytes.stderr + bytes.data_received;
        self.event
            .annotate("portcullis.dev/bytes-out", out.to_string());
        if report.connections > 0 {
            self.event
                .annotate("portcullis.dev/connections", report.connections.to_string());
        }
        if let Some(code) = report.exit.as_ref().and_then(|exit| exit.code) {
            self.event
                .annotate("portcullis.dev/exit-code", code.to_string());
        }
        if report.reason != EndReason::Completed {
            self.event
                .annotate("portcullis.dev/ended", report.reason.as_str());
        }
        if let Some(detail) = &report.detail {
            self.event.annotate("portcullis.dev/detail", detail.clone());
        }
        let ended = match report.reason {
            EndReason::Expired => StreamEnd::Expired,
            EndReason::Revoked => StreamEnd::Revoked,
            EndReason::PolicyChanged => StreamEnd::Policy,
            EndReason::ApprovalEnded => StreamEnd::Approval,
            EndReason::Blocked => StreamEnd::Blocked,
            EndReason::OverBudget => StreamEnd::Budget,
            EndReason::Shutdown => StreamEnd::Drain,
            _ => return,
        };
        self.keeper.metrics.stream_ended(ended);
    }

    /// The session is on tape; `path` is below the directory of recordings.
    pub fn recorded(&mut self, path: &Path) {
        self.event
            .annotate("portcullis.dev/recording", path.display().to_string());
    }

    /// The session is not on tape, or not all of it.
    pub fn recording_failed(&mut self, why: &str) {
        self.event
            .annotate("portcullis.dev/recording-failure", why.to_owned());
    }

    /// The answer has no more bytes.
    pub async fn complete(mut self: Box<Self>) {
        self.close();
        self.keep(true).await;
    }

    /// The caller is gone: nobody waits for the answer, and nobody may wait for the audit log.
    fn abandoned(&mut self) {
        self.event.annotate("portcullis.dev/ended", "client-gone");
        self.leave_kept();
        self.close();
        if let Err(event) = self.hand_over() {
            // The queue is full: a task waits in our place, and drain waits for the task.
            let audit = self.keeper.audit.clone();
            self.keeper
                .tasks
                .spawn(async move { drop(audit.write(&event).await) });
        }
    }

    /// Leaves the event with the audit log, unless its queue is full.
    fn hand_over(&self) -> Result<(), Box<Event>> {
        let queued = self.keeper.audit.queued();
        self.keeper
            .audit
            .write_detached(Box::new(self.event.clone()))?;
        self.keeper.metrics.audited(queued);
        Ok(())
    }

    fn close(&mut self) {
        let now = Timestamp::now();
        self.event.at(Stage::ResponseComplete, now);
        self.note_durations(now);
        if self.bytes > 0 || self.events.is_some() {
            self.event
                .annotate("portcullis.dev/bytes", self.bytes.to_string());
        }
        if let Some(events) = &self.events {
            self.event
                .annotate("portcullis.dev/events", events.count().to_string());
        }
        let masked = self.masks.as_ref().map_or(0, |masks| masks.values_masked());
        if let Some(masks) = &self.masks
            && masked > 0
        {
            self.event
                .annotate("portcullis.dev/masked-values", masked.to_string());
            let paths = masks.masked_paths().join(" ");
            self.event.annotate("portcullis.dev/masked-paths", paths);
        }
        // A client that leaves while the last event waits for its place brings us here again.
        if std::mem::replace(&mut self.summed_up, true) {
            return;
        }
        for (mask, values) in self.masks.iter().flat_map(|masks| masks.by_mask()) {
            self.keeper.metrics.masked(mask, values);
        }
        if let Some(attempt) = &self.attempt {
            if !self.event.is_switched() {
                self.keeper.stories.refused(attempt, self.outcome, now);
            }
            if attempt.is_counted(self.outcome) {
                return;
            }
        }
        let took = now.duration_since(self.arrived).as_secs_f64();
        self.keeper.metrics.answered(self.outcome, self.class, took);
    }

    /// Writes the event as it stands. Cancelled before the event has a place in the queue, the record
    /// stays open and [`Drop`] takes over; cancelled later, the event is written all the same.
    async fn keep(&mut self, last: bool) {
        let audit = self.keeper.audit.clone();
        match audit.place().await {
            Ok(place) => {
                self.closed = last;
                let written = place.write(&self.event);
                self.keeper.metrics.audited(audit.queued());
                if written.await.is_ok() {
                    return;
                }
            }
            Err(error) => tracing::error!(%error, "an audit event was not kept"),
        }
        self.closed = last;
    }
}

impl Drop for Record {
    /// A client that leaves cancels whatever was under way for it; its request is on record all the same.
    fn drop(&mut self) {
        if !self.closed {
            self.closed = true;
            self.abandoned();
        }
    }
}

/// What counts the events of a long answer, if they can be told apart.
fn counter(headers: &HeaderMap) -> Option<EventCounter> {
    if headers.contains_key(CONTENT_ENCODING) {
        return None;
    }
    EventCounter::of(headers.get(CONTENT_TYPE)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::audit::{Settings, responses};
    use crate::limits;

    pub(super) fn keeper(folder: &Path) -> Arc<Keeper> {
        Arc::new(Keeper {
            audit: AuditLog::open(&Settings::new(&folder.join("audit.jsonl"), folder)).unwrap(),
            responses: Responses::start(responses::Settings::new(folder), Metrics::new().0)
                .unwrap(),
            metrics: Metrics::new().0,
            stories: Arc::default(),
            tasks: TaskTracker::new(),
        })
    }

    pub(super) fn record(keeper: &Arc<Keeper>) -> Box<Record> {
        let (peer, now) = (Ipv4Addr::LOCALHOST.into(), Timestamp::now());
        let event = Event::received("id-1", "GET", "/api", &HeaderMap::new(), peer, now);
        Record::open(keeper, event, now)
    }

    /// The lines in the file, once a later event is behind them.
    pub(super) async fn lines(keeper: &Arc<Keeper>, folder: &Path) -> Vec<serde_json::Value> {
        record(keeper).complete().await;
        let text = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
        let mut lines: Vec<_> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        lines.pop();
        lines
    }

    #[tokio::test]
    async fn f_01_a_request_whose_client_left_is_on_record_once() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        drop(record(&keeper)); // cancelled before anything was answered
        let lines = lines(&keeper, folder.path()).await;
        assert_eq!(lines.len(), 1);
        assert_eq!(
            lines[0]["annotations"]["portcullis.dev/ended"],
            "client-gone"
        );
    }

    #[tokio::test]
    async fn f_01_leaving_while_the_last_event_waits_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let (metrics, rendering) = Metrics::new();
        let keeper = Arc::new(Keeper {
            metrics,
            ..Arc::into_inner(keeper(folder.path())).unwrap()
        });
        let mut places = Vec::new();
        for _ in 0..limits::AUDIT_QUEUE_LINES_MAX {
            places.push(keeper.audit.place().await.unwrap());
        }
        let mut completing = Box::pin(record(&keeper).complete());
        assert!(futures_util::poll!(&mut completing).is_pending());
        drop(completing);
        drop(places);
        keeper.tasks.close();
        keeper.tasks.wait().await;
        let answered = |text: String| {
            let counts = text
                .lines()
                .filter(|line| line.starts_with("portcullis_requests_total"));
            counts
                .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
                .sum::<u64>()
        };
        assert_eq!(answered(rendering.render()), 1);
        let lines = lines(&keeper, folder.path()).await;
        assert_eq!(lines.len(), 1);
        assert_eq!(
            lines[0]["annotations"]["portcullis.dev/ended"],
            "client-gone"
        );
    }

    /// It is noticed by writing, so the log looks as if it could be written when the refusal comes.
    #[tokio::test]
    async fn f_07_the_first_refusal_at_a_full_disk_does_not_wait_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let full = Settings::new(Path::new("/dev/full"), folder.path());
        let keeper = Arc::new(Keeper {
            audit: AuditLog::open(&full).unwrap(),
            ..Arc::into_inner(keeper(folder.path())).unwrap()
        });
        assert!(keeper.audit.healthy());
        for queued in 0..3 {
            let refusal = Refusal::audit_unavailable();
            let refused = record(&keeper).refused(&refusal);
            let patience = std::time::Duration::from_mins(1);
            tokio::time::timeout(patience, refused).await.unwrap();
            assert!(!keeper.audit.healthy());
            assert_eq!(keeper.audit.queued(), queued, "each is kept for it, once");
        }
    }

    #[tokio::test]
    async fn the_end_of_a_log_or_watch_has_bytes_and_events() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        for (header, value, counted) in [
            (CONTENT_TYPE, "text/plain", true),
            (CONTENT_TYPE, "application/json;stream=watch", true),
            (CONTENT_ENCODING, "gzip", false),
        ] {
            let mut response = Response::new(crate::gateway::body::full("one\ntwo\n"));
            response
                .headers_mut()
                .insert(header, value.parse().unwrap());
            let never = Box::pin(std::future::pending());
            let mut record = record(&keeper);
            record.classed(VerbClass::Stream);
            let response = record.answer(response, None, never, true).await;
            let mut body = response.unwrap().into_body();
            while let Some(frame) = body.frame().await {
                frame.unwrap();
            }
            let lines = lines(&keeper, folder.path()).await;
            let [.., start, end] = lines.as_slice() else {
                panic!("{lines:?}");
            };
            assert_eq!(start["stage"], "ResponseStarted");
            assert_eq!(end["stage"], "ResponseComplete");
            assert_eq!(end["annotations"]["portcullis.dev/bytes"], "8");
            let events = end["annotations"]["portcullis.dev/events"].as_str();
            assert_eq!(events, counted.then_some("2"), "{value}");
        }
    }

    #[tokio::test]
    async fn an_answer_is_on_record_before_its_last_byte() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let response = Response::new(crate::gateway::body::full("hello"));
        let never = Box::pin(std::future::pending());
        let response = record(&keeper).answer(response, None, never, false).await;
        let mut body = response.unwrap().into_body();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "hello");
        let text = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        assert!(text.contains("\"portcullis.dev/bytes\":\"5\""), "{text}");
        assert!(body.is_end_stream() || body.frame().await.is_none());
        drop(body);
        assert_eq!(lines(&keeper, folder.path()).await.len(), 1);
    }

    #[tokio::test]
    async fn a_cut_stream_ends_cleanly() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let response = Response::new(crate::gateway::body::full("hello"));
        let now = Box::pin(std::future::ready(StreamEnd::Expired));
        let response = record(&keeper).answer(response, None, now, true).await;
        assert!(response.unwrap().into_body().frame().await.is_none());
        let lines = lines(&keeper, folder.path()).await;
        assert_eq!(lines.len(), 2); // one for its beginning
        assert_eq!(
            lines[1]["annotations"]["portcullis.dev/ended"],
            "token-expired"
        );
    }
}
