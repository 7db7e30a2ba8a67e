//! A short answer leaves in one piece, with its head.
//!
//! The last byte of an answer waits until its event is written. The head would not: it would leave alone, which costs
//! both sides as much as all the rest. So where the end of an answer is at hand already, its head waits as well; no
//! other answer is held back.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};

use super::recorded::Recorded;
use crate::gateway::body::BodyError;
use crate::limits::ANSWER_AT_ONCE_BYTES;

/// An answer of which the beginning was read before its head left.
pub(super) struct Begun {
    ready: VecDeque<Result<Frame<Bytes>, BodyError>>,
    rest: Recorded,
}

impl Begun {
    /// Takes what is at hand, and waits for nothing but the event of an answer that is at hand as a whole.
    pub(super) async fn new(rest: Recorded) -> Self {
        let mut begun = Self {
            ready: VecDeque::new(),
            rest,
        };
        poll_fn(|context| begun.poll_ready(context)).await;
        begun
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.bytes() < ANSWER_AT_ONCE_BYTES {
            match Pin::new(&mut self.rest).poll_frame(context) {
                Poll::Ready(Some(frame)) => self.ready.push_back(frame),
                Poll::Pending if self.rest.is_ending() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(())
    }

    fn bytes(&self) -> u64 {
        let frames = self.ready.iter().flatten();
        frames
            .filter_map(Frame::data_ref)
            .map(|data| data.len() as u64)
            .sum()
    }
}

impl http_body::Body for Begun {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.ready.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ready.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // What broke off must not look whole: its length is not told.
        if self.ready.iter().any(Result::is_err) {
            return SizeHint::default();
        }
        let rest = if self.rest.is_end_stream() {
            SizeHint::with_exact(0)
        } else {
            self.rest.size_hint()
        };
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + self.bytes());
        }
        hint.set_lower(rest.lower() + self.bytes());
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http::Response;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::super::Keeper;
    use super::super::tests::{keeper, lines, record};
    use super::*;
    use crate::gateway::body::{Body, read_bounded};

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

    fn answer(keeper: &Arc<Keeper>, body: Body) -> impl Future<Output = Response<Body>> {
        let never = Box::pin(std::future::pending());
        record(keeper).answer(Response::new(body), None, never, false)
    }

    #[tokio::test]
    async fn a_whole_answer_is_on_record_before_its_head_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let response = answer(&keeper, pieces(&["hel", "lo"], Some(Ok(())))).await;
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
            let mut body = response.unwrap().into_body();
            assert_eq!(body.size_hint().exact(), None);
            for piece in begun {
                let frame = body.frame().await.unwrap().unwrap();
                assert_eq!(frame.into_data().unwrap(), piece);
            }
            assert!(body.frame().now_or_never().is_none());
        }
        let kilobyte = &*"0123456789abcdef".repeat(64).leak();
        let long = pieces(vec![kilobyte; 32].leak(), Some(Ok(())));
        let body = answer(&keeper, long).now_or_never().unwrap().into_body();
        assert!(body.size_hint().lower() >= ANSWER_AT_ONCE_BYTES);
        assert_eq!(read_bounded(body, 1 << 15).await.unwrap().len(), 1 << 15);
    }

    #[tokio::test]
    async fn e_01_an_answer_that_broke_at_once_does_not_look_whole() {
        let folder = tempfile::tempdir().unwrap();
        let keeper = keeper(folder.path());
        let response = answer(&keeper, pieces(&["hel"], Some(Err("gone")))).await;
        let mut body = response.into_body();
        assert_eq!(body.size_hint().exact(), None);
        assert!(!body.is_end_stream());
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap(),
            "hel"
        );
        body.frame().await.unwrap().unwrap_err();
        assert!(body.frame().await.is_none());
    }
}
