//! Masks Kubernetes protobuf: objects, lists and watches (wire.md §5.2, §6.3).
//!
//! Lengths stand before what they count, so a message is rewritten when it is in memory as a whole. An
//! object, an event of a watch and a short list are held up to [`PROTOBUF_OBJECT_BYTES_MAX`] and get
//! whole placeholders. A longer list passes item by item: its length is sent before its items are
//! known, so there every masked value keeps its length.
//!
//! ```text
//! k8s\0 Unknown { 1: TypeMeta { 2: kind }, 2: object or list { 1: metadata, 2: item ... }, 3, 4 }
//! length(4) WatchEvent { 1: type, 2: RawExtension { 1: k8s\0 Unknown { ... } } } ...
//! ```

mod edits;
mod envelope;
mod familiar;
mod rewrite;
mod routes;
mod schema;
mod search;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use self::envelope::{require_kind, require_only};
use self::rewrite::{Length, Rewriter};
pub(super) use self::schema::{Kind, kind_for};
use super::json::Mask;
use super::output::{Output, Sink as _};
use super::report::Tally;
use super::text::known::Passing;
use crate::limits::{PROTOBUF_ENVELOPE_BYTES_MAX, PROTOBUF_OBJECT_BYTES_MAX};
use crate::wire::protobuf::{Head, MAGIC, ProtobufError, Unknown};

/// Bytes of the length before every event.
const FRAME_HEAD: usize = 4;

/// Bytes behind a list: two empty fields.
const BEHIND_LIST: usize = 4;

/// The media type of all of this.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Why protobuf cannot be masked.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub(super) enum MaskProtobufError {
    #[error(transparent)]
    Wire(#[from] ProtobufError),
    /// Another kind than the resource has, or an envelope that holds more than an object.
    #[error("it is not the kind of object that was asked for")]
    Shape,
    /// Larger than [`PROTOBUF_OBJECT_BYTES_MAX`].
    #[error("an object is too large")]
    TooLarge,
    #[error("it broke off")]
    Unfinished,
}

/// How objects follow each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Form {
    Object,
    List,
    Watch,
}

/// The masker of one stream.
pub(super) struct ProtobufMasker {
    kind: Kind,
    place: Place,
    /// What arrived before and has not left.
    held: BytesMut,
    rewriter: Rewriter,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// The rest of one body that is held as a whole.
    Whole { list: bool },
    /// The envelope of a list, of a length that is not known yet.
    ListHead,
    /// So many bytes of a list that is too long to be held.
    Items { left: usize },
    /// What follows such a list.
    ListTail,
    /// A frame of a watch.
    Frame,
}

impl ProtobufMasker {
    pub(super) fn new(mask: Mask, kind: Kind, form: Form, passing: Option<Passing>) -> Self {
        let place = match form {
            Form::Object => Place::Whole { list: false },
            Form::List => Place::ListHead,
            Form::Watch => Place::Frame,
        };
        Self {
            rewriter: Rewriter::new(mask, &kind, passing),
            kind,
            place,
            held: BytesMut::new(),
        }
    }

    /// What was masked since the last call.
    pub(super) fn tally(&mut self) -> &mut Tally {
        self.rewriter.tally()
    }

    /// Between two frames of a watch, gives back what the next one can make anew.
    pub(super) fn rest(&mut self) {
        if self.place == Place::Frame && self.held.is_empty() {
            // Empty it may still share the memory of the last event that came in pieces.
            self.held = BytesMut::new();
            self.rewriter.rest();
        }
    }

    /// Takes the next chunk and releases what is complete.
    pub(super) fn push(
        &mut self,
        chunk: &Bytes,
        output: &mut Output,
    ) -> Result<(), MaskProtobufError> {
        let mut chunk = chunk.clone();
        while self.step(&mut chunk, output)? {}
        self.held.extend_from_slice(&chunk);
        Ok(())
    }

    /// The stream ended.
    pub(super) fn finish(&mut self, output: &mut Output) -> Result<(), MaskProtobufError> {
        let rest = self.held.split().freeze();
        let list = match self.place {
            Place::Whole { list } => list,
            Place::Frame if rest.is_empty() => return Ok(()),
            Place::ListTail => {
                require_only(&rest, &[3, 4])?;
                output.push(rest);
                return Ok(());
            }
            Place::ListHead | Place::Items { .. } | Place::Frame => {
                return Err(MaskProtobufError::Unfinished);
            }
        };
        self.rewriter.begin(Length::Free);
        let unknown = Unknown::parse(&rest)?;
        envelope::body(&self.kind, list, &mut self.rewriter, 0, (&rest, &unknown))?;
        self.rewriter.write(rest.len(), &mut output.of(&rest));
        Ok(())
    }

    /// Releases the next part; false when more bytes are needed. What is then left of the chunk is to be held.
    fn step(&mut self, chunk: &mut Bytes, output: &mut Output) -> Result<bool, MaskProtobufError> {
        match self.place {
            Place::Items { left: 0 } => {
                self.place = Place::ListTail;
                return Ok(true);
            }
            Place::Items { left } => return self.items(left, chunk, output),
            Place::Frame => return self.frame(chunk, output),
            Place::Whole { .. } | Place::ListHead | Place::ListTail => {}
        }
        self.held.extend_from_slice(&std::mem::take(chunk));
        match self.place {
            Place::ListHead => self.list_head(chunk, output),
            Place::Whole { .. } if self.held.len() > PROTOBUF_OBJECT_BYTES_MAX => {
                Err(MaskProtobufError::TooLarge)
            }
            Place::ListTail if self.held.len() > PROTOBUF_ENVELOPE_BYTES_MAX => {
                Err(MaskProtobufError::Shape)
            }
            _ => Ok(false),
        }
    }

    /// Looks for the length of the list. What stands behind the head of a long one is the next `chunk`.
    fn list_head(
        &mut self,
        chunk: &mut Bytes,
        output: &mut Output,
    ) -> Result<bool, MaskProtobufError> {
        let mut at = MAGIC.len();
        let head = loop {
            let Some(head) = Head::parse(self.held.get(at..).unwrap_or_default())? else {
                if self.held.len() > PROTOBUF_ENVELOPE_BYTES_MAX {
                    return Err(MaskProtobufError::Shape);
                }
                return Ok(false);
            };
            let start = at + head.size;
            if head.number == 2 {
                break (at, start, head.length);
            }
            if head.length > PROTOBUF_ENVELOPE_BYTES_MAX {
                return Err(MaskProtobufError::Shape);
            }
            at = start + head.length;
        };
        let (end, start, length) = head;
        if length <= PROTOBUF_OBJECT_BYTES_MAX - 2 * PROTOBUF_ENVELOPE_BYTES_MAX {
            self.place = Place::Whole { list: true };
            let missing = (start + length).saturating_sub(self.held.len());
            self.held.reserve(missing + BEHIND_LIST);
            return Ok(true);
        }
        let envelope = self.held.get(..end).unwrap_or_default();
        require_kind(&self.kind, true, &Unknown::parse(envelope)?)?;
        require_only(envelope.strip_prefix(MAGIC).unwrap_or_default(), &[1])?;
        output.push(self.held.split_to(start).freeze());
        *chunk = self.held.split().freeze();
        self.place = Place::Items { left: length };
        Ok(true)
    }

    /// The next fields of a list of which `left` bytes are to come: all that are there as a whole.
    fn items(
        &mut self,
        left: usize,
        chunk: &mut Bytes,
        output: &mut Output,
    ) -> Result<bool, MaskProtobufError> {
        // Either all of the chunk, or the one field that began before it.
        let (whole, behind) = if self.held.is_empty() {
            (std::mem::take(chunk), Bytes::new())
        } else {
            let field = self.completed(chunk, |held| size_of_field(held, left))?;
            let Some(field) = field else {
                return Ok(false);
            };
            (field, std::mem::take(chunk))
        };
        self.rewriter.begin(Length::Kept);
        let mut done = 0;
        let outcome = loop {
            if done == left {
                break Ok(true);
            }
            let rest = whole.get(done..).unwrap_or_default();
            let size = match size_of_field(rest, left - done) {
                Ok(size) => size,
                Err(error) => break Err(error),
            };
            let Some(item) = size.and_then(|size| rest.get(..size)) else {
                break Ok(!behind.is_empty());
            };
            let masked = envelope::part_of_list(&self.kind, &mut self.rewriter, done, item);
            if let Err(error) = masked {
                break Err(error);
            }
            done += item.len();
        };
        // What came before an error leaves, whatever it came together with.
        self.rewriter.write(done, &mut output.of(&whole));
        self.place = Place::Items { left: left - done };
        *chunk = if behind.is_empty() {
            whole.slice(done..)
        } else {
            behind
        };
        outcome
    }

    fn frame(&mut self, chunk: &mut Bytes, output: &mut Output) -> Result<bool, MaskProtobufError> {
        let Some(frame) = self.completed(chunk, size_of_frame)? else {
            return Ok(false);
        };
        let event = frame.slice(FRAME_HEAD..);
        self.rewriter.begin(Length::Free);
        let growth = envelope::event(&self.kind, &mut self.rewriter, &event)?;
        let length = event.len().checked_add_signed(growth);
        let length = length.and_then(|length| u32::try_from(length).ok());
        let length = length.ok_or(MaskProtobufError::TooLarge)?;
        let mut sink = output.of(&event);
        sink.write(&length.to_be_bytes());
        self.rewriter.write(event.len(), &mut sink);
        Ok(true)
    }

    /// What begins in `held`, or with the chunk, once it is there as a whole; `size` says how long it is, as soon as enough of
    /// it is there. Most begin and end in one chunk, and are not copied.
    fn completed(
        &mut self,
        chunk: &mut Bytes,
        size: impl Fn(&[u8]) -> Result<Option<usize>, MaskProtobufError>,
    ) -> Result<Option<Bytes>, MaskProtobufError> {
        if self.held.is_empty() {
            let whole = size(chunk)?.filter(|size| *size <= chunk.len());
            return Ok(whole.map(|size| chunk.split_to(size)));
        }
        loop {
            // As long as its head is not complete another byte of it is missing, at least.
            let missing = size(&self.held)?.map_or(1, |size| size.saturating_sub(self.held.len()));
            if missing == 0 {
                return Ok(Some(self.held.split().freeze()));
            }
            if chunk.is_empty() {
                return Ok(None);
            }
            let more = chunk.split_to(missing.min(chunk.len()));
            self.held.extend_from_slice(&more);
        }
    }
}

/// How long an event is, with the length before it; `None` while that is not there.
fn size_of_frame(rest: &[u8]) -> Result<Option<usize>, MaskProtobufError> {
    let Some(length) = rest.first_chunk().copied().map(u32::from_be_bytes) else {
        return Ok(None);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > PROTOBUF_OBJECT_BYTES_MAX {
        return Err(MaskProtobufError::TooLarge);
    }
    Ok(Some(FRAME_HEAD + length))
}

/// How long the field is with which the rest of a list begins, of which `left` bytes are to come; `None` while its head is
/// not there.
fn size_of_field(rest: &[u8], left: usize) -> Result<Option<usize>, MaskProtobufError> {
    let truncated = MaskProtobufError::Wire(ProtobufError::Truncated);
    let Some(head) = Head::parse(rest)? else {
        return if rest.len() < left {
            Ok(None)
        } else {
            Err(truncated)
        };
    };
    let size = head.size.saturating_add(head.length);
    if size > left {
        return Err(truncated);
    }
    if size > PROTOBUF_OBJECT_BYTES_MAX {
        return Err(MaskProtobufError::TooLarge);
    }
    Ok(Some(size))
}

#[cfg(test)]
mod tests;
