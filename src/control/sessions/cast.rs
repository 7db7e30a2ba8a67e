//! A recording as one asciicast, whatever number of parts it has.

use std::io;
use std::path::PathBuf;

use bytes::BytesMut;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use crate::gateway::body::{Body, BodyError};
use crate::limits;

const CHUNK: usize = 64 * 1024;

/// Reads the parts one after the other; the headers of the later ones are left out, since their
/// times go on from those before.
pub(super) fn body(parts: Vec<PathBuf>) -> Body {
    let reading = Reading {
        parts: parts.into_iter(),
        open: None,
        first: true,
    };
    let chunks = stream::try_unfold(reading, |mut reading| async move {
        let chunk = reading.next().await?;
        Ok::<_, BodyError>(chunk.map(|chunk| (Frame::data(chunk.freeze()), reading)))
    });
    StreamBody::new(chunks).boxed_unsync()
}

struct Reading {
    parts: std::vec::IntoIter<PathBuf>,
    open: Option<BufReader<File>>,
    first: bool,
}

impl Reading {
    async fn next(&mut self) -> io::Result<Option<BytesMut>> {
        loop {
            if let Some(file) = &mut self.open {
                let mut chunk = BytesMut::with_capacity(CHUNK);
                if file.read_buf(&mut chunk).await? > 0 {
                    return Ok(Some(chunk));
                }
                self.open = None;
            }
            let Some(part) = self.parts.next() else {
                return Ok(None);
            };
            let mut file = BufReader::with_capacity(CHUNK, File::open(part).await?);
            if !std::mem::take(&mut self.first) {
                let mut header = Vec::new();
                (&mut file)
                    .take(limits::RECORDING_HEADER_BYTES_MAX)
                    .read_until(b'\n', &mut header)
                    .await?;
            }
            self.open = Some(file);
        }
    }
}
