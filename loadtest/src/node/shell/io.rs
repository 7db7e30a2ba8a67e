//! What a simulated program reads from and writes to. All pipes are bounded: a reader that does
//! not read stops the writer, up to the connection of the client.

use std::fmt;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::fs::{self, Reader, Writer};

/// The size of one piece in a pipe.
pub(crate) const PIECE: usize = 32 << 10;
/// Pieces a pipe holds.
pub(crate) const PIPE_PIECES: usize = 4;
/// The longest line, and the longest output of `$(…)`.
pub(crate) const TEXT_LIMIT: usize = 1 << 20;

/// Why a write failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Nobody reads any more; programs end silently, as with `SIGPIPE`.
    Pipe,
    /// The file system refused.
    File(fs::Error),
}

/// Where input comes from; clones read from the same place.
#[derive(Clone)]
pub(crate) struct Input(Arc<tokio::sync::Mutex<Source>>);

struct Source {
    from: From,
    pending: Bytes,
    /// On a terminal an empty piece means Ctrl-D: the end for one reader, not for good.
    terminal: bool,
}

enum From {
    Nothing,
    Pipe(mpsc::Receiver<Bytes>),
    File(Reader),
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Input")
    }
}

impl Input {
    fn new(from: From, pending: Bytes, terminal: bool) -> Self {
        Self(Arc::new(tokio::sync::Mutex::new(Source {
            from,
            pending,
            terminal,
        })))
    }

    pub(crate) fn nothing() -> Self {
        Self::new(From::Nothing, Bytes::new(), false)
    }

    pub(crate) fn text(text: impl Into<Bytes>) -> Self {
        Self::new(From::Nothing, text.into(), false)
    }

    pub(crate) fn pipe(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self::new(From::Pipe(receiver), Bytes::new(), false)
    }

    pub(crate) fn terminal(receiver: mpsc::Receiver<Bytes>) -> Self {
        Self::new(From::Pipe(receiver), Bytes::new(), true)
    }

    pub(crate) fn file(reader: Reader) -> Self {
        Self::new(From::File(reader), Bytes::new(), false)
    }

    /// Up to `most` bytes; `None` at the end.
    pub(crate) async fn chunk(&self, most: usize) -> Option<Bytes> {
        let mut source = self.0.lock().await;
        if source.pending.is_empty() {
            source.pending = source.next().await?;
        }
        let most = most.min(source.pending.len());
        Some(source.pending.split_to(most))
    }

    /// One line with its newline, if it has one; `None` at the end.
    pub(crate) async fn line(&self) -> Option<Bytes> {
        let mut source = self.0.lock().await;
        let mut line = BytesMut::new();
        loop {
            if source.pending.is_empty() {
                match source.next().await {
                    Some(piece) => source.pending = piece,
                    None => return (!line.is_empty()).then(|| line.freeze()),
                }
            }
            let end = source.pending.iter().position(|byte| *byte == b'\n');
            let take = end.map_or(source.pending.len(), |at| at + 1);
            if line.is_empty() && end.is_some() {
                return Some(source.pending.split_to(take));
            }
            line.extend_from_slice(&source.pending.split_to(take));
            if end.is_some() || line.len() >= TEXT_LIMIT {
                return Some(line.freeze());
            }
        }
    }
}

impl Source {
    async fn next(&mut self) -> Option<Bytes> {
        match &mut self.from {
            From::Nothing => None,
            From::Pipe(receiver) => loop {
                match receiver.recv().await? {
                    end if end.is_empty() && self.terminal => return None,
                    empty if empty.is_empty() => {}
                    piece => return Some(piece),
                }
            },
            From::File(reader) => {
                // Files are always ready: give others their turn.
                tokio::task::consume_budget().await;
                reader.next_chunk(PIECE)
            }
        }
    }
}

/// Where output goes; clones write to the same place.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    Nothing,
    Pipe(mpsc::Sender<Bytes>),
    /// A pipe to a terminal: newlines become carriage return and newline.
    Terminal(mpsc::Sender<Bytes>),
    File(Writer),
    /// What `$(…)` collects.
    Memory(Arc<Mutex<BytesMut>>),
}

impl Output {
    pub(crate) async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), Broken> {
        let mut bytes = bytes.into();
        match self {
            Self::Pipe(sender) => {
                while bytes.has_remaining() {
                    let piece = bytes.split_to(bytes.len().min(PIECE));
                    sender.send(piece).await.map_err(|_| Broken::Pipe)?;
                }
                return Ok(());
            }
            Self::Terminal(sender) => {
                while bytes.has_remaining() {
                    let piece = cooked(&bytes.split_to(bytes.len().min(PIECE)));
                    sender.send(piece).await.map_err(|_| Broken::Pipe)?;
                }
                return Ok(());
            }
            Self::Nothing => {}
            Self::File(writer) => writer.write(&bytes).map_err(Broken::File)?,
            Self::Memory(memory) => {
                let mut memory = memory.lock();
                if memory.len() + bytes.len() > TEXT_LIMIT {
                    return Err(Broken::Pipe);
                }
                memory.extend_from_slice(&bytes);
            }
        }
        tokio::task::consume_budget().await;
        Ok(())
    }

    /// Writes to a terminal what is not cooked again: echo. False if nobody looks any more.
    pub(crate) async fn echo(&self, text: String) -> bool {
        match self {
            Self::Pipe(sender) | Self::Terminal(sender) if !text.is_empty() => {
                sender.send(text.into()).await.is_ok()
            }
            _ => true,
        }
    }
}

fn cooked(bytes: &Bytes) -> Bytes {
    if !bytes.contains(&b'\n') {
        return bytes.clone();
    }
    let mut out = BytesMut::with_capacity(bytes.len() + 64);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match line.strip_suffix(b"\n") {
            Some(content) => {
                out.extend_from_slice(content);
                out.extend_from_slice(b"\r\n");
            }
            None => out.extend_from_slice(line),
        }
    }
    out.freeze()
}

/// The three streams of a program.
#[derive(Debug, Clone)]
pub(crate) struct Streams {
    pub(crate) input: Input,
    pub(crate) output: Output,
    pub(crate) error: Output,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_put_together_from_pieces() {
        let (sender, receiver) = mpsc::channel(8);
        for piece in ["one\ntw", "o\n", "", "three"] {
            sender
                .send(Bytes::from_static(piece.as_bytes()))
                .await
                .unwrap();
        }
        drop(sender);
        let input = Input::pipe(receiver);
        assert_eq!(input.line().await.unwrap(), "one\n");
        assert_eq!(input.line().await.unwrap(), "two\n");
        assert_eq!(input.line().await.unwrap(), "three");
        assert_eq!(input.line().await, None);
    }

    #[tokio::test]
    async fn control_d_ends_one_reader_of_a_terminal() {
        let (sender, receiver) = mpsc::channel(8);
        for piece in ["a\n", "", "b\n"] {
            sender
                .send(Bytes::from_static(piece.as_bytes()))
                .await
                .unwrap();
        }
        let input = Input::terminal(receiver);
        assert_eq!(input.chunk(10).await.unwrap(), "a\n");
        assert_eq!(input.chunk(10).await, None);
        assert_eq!(input.chunk(10).await.unwrap(), "b\n");
    }

    #[test]
    fn a_terminal_gets_carriage_returns() {
        assert_eq!(cooked(&Bytes::from_static(b"a\nb\n\nc")), "a\r\nb\r\n\r\nc");
    }
}
