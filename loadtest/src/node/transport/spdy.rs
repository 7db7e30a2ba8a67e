//! The server's end of a SPDY/3.1 connection, as `moby/spdystream` behaves.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use portcullis::wire::spdy::{
    Control, Decoder, Deflater, Frame, HeaderBlock, HeaderError, Inflater, frame,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Mutex;

/// Bytes read at a time.
const READ: usize = 32 << 10;

/// Something the client did.
#[derive(Debug)]
pub(in crate::node) enum Event {
    /// Opened a stream, which waits for [`Sender::accept`].
    Opened {
        stream: u32,
        headers: HeaderBlock,
    },
    Data {
        stream: u32,
        bytes: Bytes,
    },
    /// Will send nothing more on a stream.
    Finished(u32),
    Reset(u32),
}

/// What the client sends.
pub(in crate::node) struct Receiver<I> {
    io: ReadHalf<I>,
    decoder: Decoder,
    inflater: Inflater,
    events: VecDeque<Event>,
    pings: Vec<u32>,
    /// The stream of the DATA frame that is being read, and whether it is its last.
    data: (u32, bool),
    last_stream: u32,
    over: bool,
    sender: Sender<I>,
}

/// What the client gets; clones write to the same connection, whole frames at a time.
pub(in crate::node) struct Sender<I>(Arc<Mutex<Writing<I>>>);

struct Writing<I> {
    io: WriteHalf<I>,
    deflater: Deflater,
}

impl<I> Clone for Sender<I> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

/// The client is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct Gone;

/// Both halves of a connection after its 101.
pub(in crate::node) fn serve<I>(io: I) -> Result<(Receiver<I>, Sender<I>), HeaderError>
where
    I: AsyncRead + AsyncWrite,
{
    let (reading, writing) = tokio::io::split(io);
    let sender = Sender(Arc::new(Mutex::new(Writing {
        io: writing,
        deflater: Deflater::new()?,
    })));
    let receiver = Receiver {
        io: reading,
        decoder: Decoder::new(),
        inflater: Inflater::new(),
        events: VecDeque::new(),
        pings: Vec::new(),
        data: (0, false),
        last_stream: 0,
        over: false,
        sender: sender.clone(),
    };
    Ok((receiver, sender))
}

impl<I: AsyncRead + AsyncWrite> Receiver<I> {
    /// The next event; `None` when the client has gone, said so, or broke the protocol.
    pub(in crate::node) async fn next(&mut self) -> Option<Event> {
        let mut buffer = vec![0; READ];
        loop {
            while let Some(id) = self.pings.pop() {
                self.sender.ping(id).await.ok()?;
            }
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            let read = self
                .io
                .read(&mut buffer)
                .await
                .ok()
                .filter(|read| *read > 0)?;
            if let Err(error) = self.parse(buffer.get(..read).unwrap_or_default()) {
                tracing::debug!(error, "SPDY client broke the protocol");
                self.over = true;
            }
        }
    }

    /// Reads until the client has closed its side, so that what was written last is not lost.
    pub(in crate::node) async fn drain(&mut self) {
        let mut buffer = vec![0; READ];
        while self.io.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    }

    fn parse(&mut self, mut input: &[u8]) -> Result<(), String> {
        while let Some(frame) = self
            .decoder
            .next(&mut input)
            .map_err(|error| error.to_string())?
        {
            match frame {
                Frame::Data {
                    stream,
                    fin,
                    length,
                    ..
                } => {
                    self.data = (stream, fin);
                    if length == 0 && fin {
                        self.events.push_back(Event::Finished(stream));
                    }
                }
                Frame::Payload { bytes, rest } => {
                    let (stream, fin) = self.data;
                    self.events.push_back(Event::Data {
                        stream,
                        bytes: Bytes::copy_from_slice(bytes),
                    });
                    if rest == 0 && fin {
                        self.events.push_back(Event::Finished(stream));
                    }
                }
                Frame::Control(control, _) => match control {
                    Control::SynStream { stream, block, .. } => {
                        let headers = self
                            .inflater
                            .block(block)
                            .map_err(|error| error.to_string())?;
                        if stream <= self.last_stream || stream % 2 == 0 {
                            return Err(format!("stream {stream} after {}", self.last_stream));
                        }
                        self.last_stream = stream;
                        self.events.push_back(Event::Opened { stream, headers });
                    }
                    Control::SynReply { block, .. } | Control::Headers { block, .. } => {
                        self.inflater
                            .block(block)
                            .map_err(|error| error.to_string())?;
                    }
                    Control::RstStream { stream, .. } => {
                        self.events.push_back(Event::Reset(stream));
                    }
                    Control::Ping { id } if id % 2 == 1 => self.pings.insert(0, id),
                    Control::GoAway { .. } => {
                        self.over = true;
                        return Ok(());
                    }
                    Control::Ping { .. } | Control::Settings | Control::WindowUpdate { .. } => {}
                },
            }
        }
        Ok(())
    }

    /// The highest stream the client opened.
    pub(in crate::node) fn last_stream(&self) -> u32 {
        self.last_stream
    }
}

impl<I: AsyncRead + AsyncWrite> Sender<I> {
    async fn write(&self, frames: &[u8]) -> Result<(), Gone> {
        let mut writing = self.0.lock().await;
        writing.io.write_all(frames).await.map_err(|_| Gone)?;
        writing.io.flush().await.map_err(|_| Gone)
    }

    /// Answers an opened stream.
    pub(in crate::node) async fn accept(&self, stream: u32) -> Result<(), Gone> {
        // Compressed and written under one lock: blocks must leave in the order they were made.
        let mut writing = self.0.lock().await;
        let block = writing.deflater.block(&[]).map_err(|_| Gone)?;
        let mut frames = Vec::new();
        frame::put_syn_reply(&mut frames, stream, false, &block);
        writing.io.write_all(&frames).await.map_err(|_| Gone)?;
        writing.io.flush().await.map_err(|_| Gone)
    }

    pub(in crate::node) async fn data(
        &self,
        stream: u32,
        fin: bool,
        bytes: &[u8],
    ) -> Result<(), Gone> {
        let mut frames = Vec::with_capacity(bytes.len() + 8);
        frame::put_data(&mut frames, stream, fin, bytes);
        self.write(&frames).await
    }

    pub(in crate::node) async fn reset(&self, stream: u32, status: u32) -> Result<(), Gone> {
        let mut frames = Vec::new();
        frame::put_rst_stream(&mut frames, stream, status);
        self.write(&frames).await
    }

    async fn ping(&self, id: u32) -> Result<(), Gone> {
        let mut frames = Vec::new();
        frame::put_ping(&mut frames, id);
        self.write(&frames).await
    }

    /// Says that nothing more is read, and closes this side.
    pub(in crate::node) async fn go_away(&self, last_stream: u32) -> Result<(), Gone> {
        let mut frames = Vec::new();
        frame::put_goaway(&mut frames, last_stream, frame::GOAWAY_OK);
        self.write(&frames).await?;
        self.0.lock().await.io.shutdown().await.map_err(|_| Gone)
    }
}
