//! A future that is asked only after it was woken.
//!
//! What ends a grant waits for a timer, two channels and a cancellation. To ask all of them before every frame
//! of an answer took a lock that all streams share; to ask whether anything woke it takes none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker, ready};

use futures_util::task::AtomicWaker;

/// A future that seldom has anything to say.
pub(super) struct Alarm<T> {
    future: Pin<Box<dyn Future<Output = T> + Send>>,
    bell: Arc<Bell>,
    /// The same bell, as the future knows it.
    waker: Waker,
}

struct Bell {
    rung: AtomicBool,
    /// Who is told.
    listener: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.listener.wake();
    }
}

impl<T> Alarm<T> {
    pub(super) fn new(future: Pin<Box<dyn Future<Output = T> + Send>>) -> Self {
        let bell = Arc::new(Bell {
            rung: AtomicBool::new(true), // it must be asked once to begin
            listener: AtomicWaker::new(),
        });
        let waker = Waker::from(Arc::clone(&bell));
        Self {
            future,
            bell,
            waker,
        }
    }

    /// As [`Future::poll`]: not to be asked again once it was ready.
    pub(super) fn poll(&mut self, context: &Context<'_>) -> Poll<T> {
        // Before the look, so that whatever rings behind it is heard.
        self.bell.listener.register(context.waker());
        if !self.bell.rung.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        // Before the future is asked, for it may be woken meanwhile.
        self.bell.rung.swap(false, Ordering::AcqRel);
        let said = ready!(
            self.future
                .as_mut()
                .poll(&mut Context::from_waker(&self.waker))
        );
        Poll::Ready(said)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test waits for its own tasks")]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test]
    async fn is_asked_once_and_then_only_when_it_was_woken() {
        let asked = Arc::new(AtomicUsize::new(0));
        let (tell, mut told) = tokio::sync::mpsc::channel::<u8>(1);
        let counted = Arc::clone(&asked);
        let mut alarm = Alarm::new(Box::pin(async move {
            poll_fn(|context| {
                counted.fetch_add(1, Ordering::Relaxed);
                told.poll_recv(context)
            })
            .await
        }));
        for _ in 0..3 {
            let said = poll_fn(|context| Poll::Ready(alarm.poll(context))).await;
            assert!(said.is_pending());
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let task = tokio::spawn(async move { poll_fn(|context| alarm.poll(context)).await });
        tokio::task::yield_now().await;
        tell.send(7).await.unwrap();
        assert_eq!(task.await.unwrap(), Some(7));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn tells_whoever_asked_last() {
        let (tell, told) = tokio::sync::oneshot::channel::<()>();
        let mut alarm = Alarm::new(Box::pin(told));
        let asked = poll_fn(|context| Poll::Ready(alarm.poll(context))).await;
        assert!(asked.is_pending());
        let other = tokio::spawn(async move { poll_fn(|context| alarm.poll(context)).await });
        tokio::task::yield_now().await;
        tell.send(()).unwrap();
        assert_eq!(other.await.unwrap(), Ok(()));
    }
}
