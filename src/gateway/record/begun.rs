//! A short answer leaves in one piece, with its head.
//!
//! The last byte of an answer waits until its event is written. The head would not: it would leave alone, which costs
//! both sides as much as all the rest. So where the end of an answer is at hand already, its head waits as well. The head
//! of an answer that is masked, or as long as it says, waits for its first bytes, as they may be what cannot be masked.
//! Nothing else is held back, and no answer that is long-running comes here. What fails meanwhile is answered with a
//! refusal: nothing of it has left.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::recorded::{Head, Recorded};
use crate::gateway::body::BodyError;
use crate::gateway::refuse::Refusal;
use crate::limits::ANSWER_AT_ONCE_BYTES;

/// An answer of which the beginning was read before its head left.
pub(super) struct Begun {
    ready: VecDeque<Frame<Bytes>>,
    /// How many bytes they have.
    bytes: u64,
    rest: Recorded,
}

impl Begun {
    /// Takes what is at hand, and waits for nothing but the first bytes of an answer that may have to be refused, and the
    /// event of one that is at hand as a whole.
    pub(super) async fn new(rest: Recorded) -> Result<Self, Refusal> {
        let mut begun = Self {
            ready: VecDeque::new(),
            bytes: 0,
            rest,
        };
        let ready = poll_fn(|context| begun.poll_ready(context)).await;
        match (ready, std::mem::replace(&mut begun.rest.head, Head::Left)) {
            (Ok(()), _) => Ok(begun),
            (Err(_), Head::Refused(refusal)) => Err(*refusal),
            (Err(error), _) => Err(Refusal::broke_off(&error)),
        }
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while self.bytes < ANSWER_AT_ONCE_BYTES {
            match Pin::new(&mut self.rest).poll_frame(context)? {
                Poll::Ready(Some(frame)) => {
                    self.bytes += length(&frame);
                    self.ready.push_back(frame);
                }
                Poll::Pending if self.rest.is_ending() => return Poll::Pending,
                Poll::Pending if self.ready.is_empty() && self.rest.begins_soon() => {
                    return Poll::Pending;
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.ready.pop_front() {
            Some(frame) => {
                self.bytes -= length(&frame);
                Poll::Ready(Some(Ok(frame)))
            }
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = if self.rest.is_end_stream() {
            SizeHint::with_exact(0)
        } else {
            self.rest.size_hint()
        };
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + self.bytes);
        }
        hint.set_lower(rest.lower() + self.bytes);
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http::Response;
    use http_body_util::{BodyExt as _, StreamBody};
    use serde_json::Value;
    use tokio::sync::oneshot;

    use super::super::Keeper;
    use super::super::tests::{keeper, lines, record};
    use super::*;
    use crate::gateway::body::{Body, read_bounded};
    use crate::metrics::StreamEnd;

    /// Pieces that are at hand, and the end or nothing behind them.
    fn pieces(pieces: &'static [&'static str], last: Option<Result<(), &'static str>>) -> Body {
        let pieces = stream::iter(pieces).map(|piece| Ok(Frame::data(Bytes::from(*piece))));
        let rest: Vec<_> = last.into_iter().filter_map(Result::err).collect();
        let rest = stream::iter(rest).map(|why| Err(BodyError::from(why)));
        match last {
            Some(_) => StreamBody::new(pieces.chain(rest)).boxed_unsync(),
            None => StreamBody::new(pieces.chain(rest).chain(stream::pending())).boxed_unsync(),
        }
    }

    fn answer(
        keeper: &Arc<Keeper>,
        body: Body,
    ) -> impl Future<Output = Result<Response<Body>, Refusal>> {
        let never = Box::pin(std::future::pending());
        record(keeper).answer(Response::new(body), None, never, false)
    }

    #[tokio::test]
    async fn a_whole_answer_is_on_record_before_its_head_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let response = answer(&keeper, pieces(&["hel", "lo"], Some(Ok(())))).await;
        let response = response.unwrap();
        let text = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        assert!(text.contains("\"portcullis.dev/bytes\":\"5\""), "{text}");
        let body = response.into_body();
        assert_eq!(body.size_hint().exact(), Some(5));
        assert_eq!(read_bounded(body, 5).await.unwrap(), "hello");
        assert_eq!(lines(&keeper, folder.path()).await.len(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_goes_on_waits_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        for begun in [&[][..], &["hel"]] {
            let response = answer(&keeper, pieces(begun, None)).now_or_never();
            let mut body = response.unwrap().unwrap().into_body();
            assert_eq!(body.size_hint().exact(), None);
            for piece in begun {
                let frame = body.frame().await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), piece);
            }
            assert!(body.frame().now_or_never().is_none());
        }
        let kilobyte = &*"0123456789abcdef".repeat(64).leak();
        let long = pieces(vec![kilobyte; 32].leak(), Some(Ok(())));
        let response = answer(&keeper, long).now_or_never().unwrap();
        let body = response.unwrap().into_body();
        assert!(body.size_hint().lower() >= ANSWER_AT_ONCE_BYTES);
        assert_eq!(read_bounded(body, 1 << 15).await.unwrap().len(), 1 << 15);
    }

    #[tokio::test]
    async fn e_01_an_answer_that_broke_at_once_is_refused_and_on_record_so() {
        for begun in [&[][..], &["hel"]] {
            let folder = tempfile::tempdir().unwrap();
            let keeper = keeper(folder.path());
            let broken = pieces(begun, Some(Err("gone")));
            let refusal = answer(&keeper, broken).await.unwrap_err();
            assert_eq!(refusal.code(), 502);
            let lines = lines(&keeper, folder.path()).await;
            assert_eq!(lines.len(), 1);
            assert_eq!(lines[0]["responseStatus"]["code"], 502);
            let said = &lines[0]["annotations"];
            assert_eq!(said["portcullis.dev/ended"], "broken");
            assert_eq!(said["portcullis.dev/decision"], "refuse");
            assert_eq!(said["portcullis.dev/bytes"], Value::Null, "none was sent");
        }
    }

    /// A body of which nothing comes, and that breaks when it is told to.
    fn breaking() -> (Body, oneshot::Sender<()>) {
        let (fail, failed) = oneshot::channel::<()>();
        let body = stream::once(async {
            failed.await.unwrap();
            Err(BodyError::from("gone"))
        });
        (StreamBody::new(body).boxed_unsync(), fail)
    }

    /// As it comes from an API server that writes head and body by themselves.
    #[tokio::test]
    async fn e_01_a_masked_answer_that_breaks_behind_the_upstream_head_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let (body, fail) = breaking();
        let response = Response::new(body);
        let never = Box::pin(std::future::pending());
        let masks = Some(Arc::default());
        let mut answered = Box::pin(record(&keeper).answer(response, masks, never, false));
        assert!(futures_util::poll!(&mut answered).is_pending());
        fail.send(()).unwrap();
        assert_eq!(answered.await.unwrap_err().code(), 502);
        let lines = lines(&keeper, folder.path()).await;
        assert_eq!(lines[0]["responseStatus"]["code"], 502);
    }

    #[tokio::test]
    async fn why_an_answer_breaks_behind_its_head_is_on_record() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let (body, fail) = breaking();
        let answered = answer(&keeper, body).await;
        fail.send(()).unwrap();
        let mut body = answered.unwrap().into_body();
        body.frame().await.unwrap().unwrap_err();
        let lines = lines(&keeper, folder.path()).await;
        assert_eq!(lines[0]["responseStatus"]["code"], 200, "that was sent");
        assert_eq!(lines[0]["annotations"]["portcullis.dev/ended"], "broken");
        assert_eq!(lines[0]["annotations"]["portcullis.dev/detail"], "gone");
    }

    /// Whatever masks apply: the first event of a watch may be hours away.
    #[tokio::test]
    async fn a_long_running_answer_waits_for_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        for status in [200, 410] {
            let mut response = Response::new(pieces(&[], None));
            *response.status_mut() = status.try_into().unwrap();
            let never = Box::pin(std::future::pending());
            let answered = record(&keeper).answer(response, Some(Arc::default()), never, true);
            let patience = std::time::Duration::from_mins(1);
            let answered = tokio::time::timeout(patience, answered).await.unwrap();
            assert!(
                answered
                    .unwrap()
                    .into_body()
                    .frame()
                    .now_or_never()
                    .is_none()
            );
        }
    }

    #[tokio::test]
    async fn who_may_not_see_an_answer_any_more_is_told_why() {
        for (why, code) in [
            (StreamEnd::Expired, 401),
            (StreamEnd::Revoked, 401),
            (StreamEnd::Policy, 403),
            (StreamEnd::Approval, 403),
            (StreamEnd::Blocked, 403),
            (StreamEnd::Budget, 403),
            (StreamEnd::Drain, 503),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let keeper = keeper(folder.path());
            let response = Response::new(pieces(&["hello"], Some(Ok(()))));
            let ended = Box::pin(std::future::ready(why));
            let answered = record(&keeper).answer(response, None, ended, false).await;
            let refusal = answered.unwrap_err();
            assert_eq!(refusal.code(), code);
            assert!(refusal.message().contains("may have been carried out"));
            let lines = lines(&keeper, folder.path()).await;
            assert_eq!(lines[0]["responseStatus"]["code"], code);
        }
    }

    #[tokio::test]
    async fn e_01_an_answer_that_breaks_behind_its_head_does_not_look_whole() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let (cut, ended) = oneshot::channel();
        let ended = Box::pin(async { ended.await.unwrap() });
        let response = Response::new(pieces(&["hel"], None));
        let answered = record(&keeper).answer(response, None, ended, false).await;
        let mut body = answered.unwrap().into_body();
        assert_eq!(body.size_hint().exact(), None);
        let begun = body.frame().await.unwrap().unwrap();
        assert_eq!(begun.into_data().unwrap(), "hel");
        cut.send(StreamEnd::Expired).unwrap();
        body.frame().await.unwrap().unwrap_err();
        assert!(body.frame().await.is_none());
        let lines = lines(&keeper, folder.path()).await;
        assert_eq!(lines[0]["responseStatus"]["code"], 200, "that was sent");
    }
}
