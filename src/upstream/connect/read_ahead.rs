//! Reads as much as the system has at once. TLS asks for 4 KiB at a time, which would be a system call each.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::limits::UPSTREAM_READ_AHEAD_BYTES;

/// A connection with what was read ahead of it.
#[derive(Debug)]
pub(in crate::upstream) struct ReadAhead<I> {
    inner: I,
    /// Without memory while it is empty and nothing comes, so that idle streams cost nothing.
    held: Vec<u8>,
    taken: usize,
}

impl<I> ReadAhead<I> {
    pub(super) fn new(inner: I) -> Self {
        Self {
            inner,
            held: Vec::new(),
            taken: 0,
        }
    }

    /// Bytes that were read and are still held.
    pub(in crate::upstream) fn held(&self) -> usize {
        self.held.len().saturating_sub(self.taken)
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ReadAhead<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.held() == 0 {
            this.held.clear();
            this.taken = 0;
            this.held.reserve_exact(UPSTREAM_READ_AHEAD_BYTES);
            let read = tokio_util::io::poll_read_buf(Pin::new(&mut this.inner), cx, &mut this.held);
            if !matches!(read, Poll::Ready(Ok(1..))) {
                this.held = Vec::new();
            }
            ready!(read)?;
        }
        let waiting = this.held.get(this.taken..).unwrap_or_default();
        let count = waiting.len().min(buf.remaining());
        buf.put_slice(waiting.get(..count).unwrap_or_default());
        this.taken += count;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ReadAhead<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn hands_out_every_byte_in_order_and_holds_nothing_when_idle() {
        let (near, mut far) = tokio::io::duplex(100_000);
        let mut ahead = ReadAhead::new(near);
        let sent: Vec<u8> = (0..80_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        far.write_all(&sent).await.unwrap();
        let mut first = [0; 10];
        ahead.read_exact(&mut first).await.unwrap();
        assert_eq!(ahead.held(), UPSTREAM_READ_AHEAD_BYTES - 10);
        let mut rest = vec![0; sent.len() - 10];
        ahead.read_exact(&mut rest).await.unwrap();
        assert_eq!([&first[..], &rest].concat(), sent);
        let idle = tokio::time::timeout(std::time::Duration::from_millis(1), ahead.read_u8()).await;
        assert!(idle.is_err());
        assert_eq!((ahead.held(), ahead.held.capacity()), (0, 0));
        drop(far);
        assert_eq!(ahead.read(&mut first).await.unwrap(), 0, "the end is told");
    }
}
