//! The answer on record: what the caller sees, kept where a rule says `record: responses`.

use std::task::{Context, Poll, ready};

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use tokio::task::JoinHandle;

use super::Record;
use crate::audit::responses::Keeping;
use crate::gateway::refuse::Refusal;
use crate::policy::RecordMode;

impl Record {
    /// Makes a place for the answer, as the policy demands that it is kept: before the API server is asked.
    pub async fn keeps(&mut self, mode: RecordMode) -> Result<(), Refusal> {
        match self.keeper.responses.open(self.event.id(), mode).await {
            Ok(kept) => self.kept = Some(Box::new(kept)),
            Err(why) if mode == RecordMode::Required => {
                tracing::error!(why, "an answer cannot be kept");
                return Err(Refusal::gateway_unavailable(
                    "policy demands that answers to you are kept, and the gateway cannot keep them; try again later or tell the platform team",
                )
                .detail(&why));
            }
            Err(why) => self.not_kept(&why),
        }
        Ok(())
    }

    /// In which form the answer comes.
    pub(super) fn keeps_as(&mut self, headers: &HeaderMap) {
        let form = headers
            .get(CONTENT_TYPE)
            .and_then(|form| form.to_str().ok());
        if let (Some(_), Some(form)) = (&self.kept, form) {
            self.event
                .annotate("portcullis.dev/response-type", form.to_owned());
        }
    }

    /// Whether the answer may go on, once there is room for more of it.
    pub(super) fn poll_kept(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        let Some(kept) = &mut self.kept else {
            return Poll::Ready(true);
        };
        ready!(kept.poll_ready(context));
        let Some(why) = kept.failure().map(str::to_owned) else {
            return Poll::Ready(true);
        };
        let mode = kept.mode();
        self.kept = None;
        self.not_kept(&why);
        Poll::Ready(mode != RecordMode::Required)
    }

    /// The API server has nothing to say for the moment.
    pub(super) fn kept_idle(&mut self, context: &mut Context<'_>) {
        if let Some(kept) = &mut self.kept {
            kept.poll_idle(context);
            if kept.failure().is_some() {
                context.waker().wake_by_ref();
            }
        }
    }

    /// Puts the answer in its place. False if it must not end well because it is not kept.
    pub(super) async fn seal_kept(&mut self) -> bool {
        let Some(kept) = self.kept.take() else {
            return true;
        };
        let mode = kept.mode();
        if let Some(why) = kept.failure().map(str::to_owned) {
            self.not_kept(&why);
            return mode != RecordMode::Required;
        }
        let Some(sealing) = self.start_sealing(*kept) else {
            return true;
        };
        let why = match sealing.await {
            Ok(Ok(())) => return true,
            Ok(Err(why)) => why,
            Err(_) => "the gateway ends".to_owned(),
        };
        self.not_kept(&why);
        mode != RecordMode::Required
    }

    /// The caller is gone: the answer is put in its place without anybody waiting for it. Drain does.
    pub(super) fn leave_kept(&mut self) {
        if let Some(kept) = self.kept.take() {
            drop(self.start_sealing(*kept));
        }
    }

    /// In a task of its own, so that nobody who leaves can cancel it.
    fn start_sealing(&mut self, kept: Keeping) -> Option<JoinHandle<Result<(), String>>> {
        let (kept, sealed) = kept.seal()?;
        self.event.annotate("portcullis.dev/response", kept.digest);
        self.event
            .annotate("portcullis.dev/response-bytes", kept.bytes.to_string());
        Some(self.keeper.tasks.spawn(sealed))
    }

    fn not_kept(&mut self, why: &str) {
        self.event
            .annotate("portcullis.dev/response-failure", why.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use http::Response;
    use http_body_util::BodyExt as _;
    use serde_json::Value;

    use super::super::tests::{keeper, lines, record};
    use super::super::{Keeper, Record};
    use super::*;
    use crate::audit::responses::read::{Shelf, State};
    use crate::gateway::body::{self, Body};

    async fn kept(keeper: &Arc<Keeper>, mode: RecordMode) -> Box<Record> {
        let mut record = record(keeper);
        let kept = keeper.responses.open("id-1", mode).await.unwrap();
        record.kept = Some(Box::new(kept));
        record
    }

    async fn answered(record: Box<Record>) -> Result<Body, Refusal> {
        let never = Box::pin(std::future::pending());
        let mut response = Response::new(body::full("hello"));
        let text = "text/plain".parse().unwrap();
        response.headers_mut().insert(CONTENT_TYPE, text);
        let response = record.answer(response, None, never, false).await;
        response.map(Response::into_body)
    }

    fn said(line: &Value, name: &str) -> String {
        let said = &line["annotations"][format!("portcullis.dev/{name}")];
        said.as_str().unwrap_or_default().to_owned()
    }

    fn state(folder: &Path, line: &Value) -> Option<State> {
        let found = Shelf::of(folder).find(&said(line, "response"), 5).unwrap();
        found.map(|saw| saw.state)
    }

    #[tokio::test]
    async fn what_a_caller_saw_is_in_its_place_before_the_last_byte() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let body = answered(kept(&keeper, RecordMode::Required).await).await;
        body.unwrap().frame().await.unwrap().unwrap();
        let text = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(state(folder.path(), &line), Some(State::Verified));
        assert_eq!(said(&line, "response-bytes"), "5");
        assert_eq!(said(&line, "response-type"), "text/plain");
    }

    #[tokio::test]
    async fn what_a_caller_saw_before_they_left_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let mut record = kept(&keeper, RecordMode::Required).await;
        assert!(record.passed(b"hello"));
        drop(record);
        keeper.tasks.close();
        keeper.tasks.wait().await;
        let lines = lines(&keeper, folder.path()).await;
        assert_eq!(said(&lines[0], "ended"), "client-gone");
        assert_eq!(state(folder.path(), &lines[0]), Some(State::Verified));
    }

    #[tokio::test]
    async fn an_answer_that_must_be_kept_and_is_not_is_refused() {
        for (mode, code) in [(RecordMode::Required, 503), (RecordMode::BestEffort, 200)] {
            let folder = tempfile::tempdir().unwrap();
            let keeper = keeper(folder.path());
            let record = kept(&keeper, mode).await;
            // The digest of `hello` begins so.
            std::fs::write(folder.path().join("responses/2c"), "in the way").unwrap();
            let answered = answered(record).await;
            assert_eq!(answered.err().map_or(200, |why| why.code().as_u16()), code);
            let lines = lines(&keeper, folder.path()).await;
            assert_ne!(said(&lines[0], "response-failure"), "", "{lines:?}");
            assert_eq!(lines[0]["responseStatus"]["code"], code);
        }
    }

    #[tokio::test]
    async fn a_request_that_is_refused_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let record = kept(&keeper, RecordMode::Required).await;
        record.refused(&Refusal::audit_unavailable()).await;
        let open = std::fs::read_dir(folder.path().join("responses/open")).unwrap();
        assert_eq!(open.count(), 0);
    }
}
