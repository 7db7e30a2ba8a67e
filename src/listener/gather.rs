//! Gathers what an HTTP/2 connection has to say until it has nothing more to say for the moment.
//!
//! h2 flushes after every frame of some size. Under TLS each frame then costs a record and a system call, and
//! one of 16 KiB two records, because its own head no longer fits. Here frames wait for each other as long as
//! their connection's task runs, and no longer: it flushes before it waits for anything.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::LISTENER_GATHERED_BYTES;

/// The connection as h2 has it.
#[derive(Debug)]
pub(super) struct Gather<I>(Arc<Mutex<Gathered<I>>>);

/// The connection as its task has it. Both are polled by that task alone, so that neither ever waits for the
/// lock.
#[derive(Debug)]
pub(super) struct Flusher<I>(Arc<Mutex<Gathered<I>>>);

#[derive(Debug)]
struct Gathered<I> {
    inner: I,
    /// Without memory while there is nothing to say.
    held: Vec<u8>,
    sent: usize,
}

impl<I: AsyncWrite + Unpin> Gather<I> {
    pub(super) fn new(inner: I) -> (Self, Flusher<I>) {
        let gathered = Arc::new(Mutex::new(Gathered {
            inner,
            held: Vec::new(),
            sent: 0,
        }));
        (Self(Arc::clone(&gathered)), Flusher(gathered))
    }
}

impl<I: AsyncWrite + Unpin> Flusher<I> {
    /// Sends what was gathered.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.lock();
        ready!(gathered.poll_send(cx))?;
        Pin::new(&mut gathered.inner).poll_flush(cx)
    }
}

impl<I: AsyncWrite + Unpin> Gathered<I> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.held.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += count;
        }
        self.held = Vec::new();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }

    /// Makes room; how much there is.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.held.len() >= LISTENER_GATHERED_BYTES {
            ready!(self.poll_send(cx))?;
        }
        Poll::Ready(Ok(LISTENER_GATHERED_BYTES - self.held.len()))
    }

    /// Takes as much as there is room for.
    fn take(&mut self, bytes: &[u8], room: usize) -> usize {
        let count = bytes.len().min(room);
        let taken = bytes.get(..count).unwrap_or_default();
        self.held.extend_from_slice(taken);
        count
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Gather<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().inner).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Gather<I> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = self.0.lock();
        let room = ready!(gathered.poll_room(cx))?;
        Poll::Ready(Ok(gathered.take(bytes, room)))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = self.0.lock();
        let room = ready!(gathered.poll_room(cx))?;
        let mut taken = 0;
        for slice in slices {
            taken += gathered.take(slice, room - taken);
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The task does it, by its [`Flusher`].
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = self.0.lock();
        ready!(gathered.poll_send(cx))?;
        Pin::new(&mut gathered.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn what_is_said_at_once_leaves_at_once_and_nothing_is_held_behind_it() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let (mut gather, flusher) = Gather::new(near);
        for word in ["one ", "two ", "three"] {
            gather.write_all(word.as_bytes()).await.unwrap();
            gather.flush().await.unwrap();
        }
        let mut heard = [0; 100];
        let early = std::time::Duration::from_millis(1);
        let early = tokio::time::timeout(early, far.read(&mut heard)).await;
        assert!(early.is_err(), "not before the task says so");
        poll_fn(|cx| flusher.poll_flush(cx)).await.unwrap();
        let count = far.read(&mut heard).await.unwrap();
        assert_eq!(&heard[..count], b"one two three");
        assert_eq!(flusher.0.lock().held.capacity(), 0);
    }

    #[tokio::test]
    async fn holds_no_more_than_its_bound_for_a_peer_that_takes_nothing() {
        let (near, mut far) = tokio::io::duplex(10);
        let (mut gather, flusher) = Gather::new(near);
        let sent: Vec<u8> = (0..200_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut taken = 0;
        let stuck = async {
            let slices = |from: usize| {
                [
                    IoSlice::new(&sent[from..from + 7]),
                    IoSlice::new(&sent[from + 7..]),
                ]
            };
            loop {
                taken +=
                    poll_fn(|cx| Pin::new(&mut gather).poll_write_vectored(cx, &slices(taken)))
                        .await
                        .unwrap();
            }
        };
        let stuck = tokio::time::timeout(std::time::Duration::from_millis(1), stuck).await;
        assert!(stuck.is_err());
        assert_eq!(taken, LISTENER_GATHERED_BYTES);
        let rest = sent[taken..].to_vec();
        let saying = async move {
            gather.write_all(&rest).await.unwrap();
            poll_fn(|cx| flusher.poll_flush(cx)).await.unwrap();
            gather.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        let ((), read) = tokio::join!(saying, far.read_to_end(&mut heard));
        read.unwrap();
        assert_eq!(heard, sent);
    }
}
