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
mod rewrite;
mod schema;
mod search;

use bytes::{Buf as _, BytesMut};
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
    mask: Mask,
    kind: Kind,
    place: Place,
    /// What has arrived and not left.
    held: BytesMut,
    /// Learns from the Secrets in it.
    passing: Option<Passing>,
    tally: Tally,
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
            mask,
            kind,
            place,
            held: BytesMut::new(),
            passing,
            tally: Tally::default(),
        }
    }

    /// What was masked since the last call.
    pub(super) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Between two frames of a watch, gives back what the next one can make anew.
    pub(super) fn rest(&mut self) {
        if self.place == Place::Frame && self.held.is_empty() {
            self.tally.rest();
        }
    }

    /// Takes the next chunk and releases what is complete.
    pub(super) fn push(
        &mut self,
        chunk: &[u8],
        output: &mut Output,
    ) -> Result<(), MaskProtobufError> {
        self.held.extend_from_slice(chunk);
        while self.step(output)? {}
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
        let mut rewriter = Rewriter::new(
            &self.mask,
            Length::Free,
            self.passing.as_ref(),
            &mut self.tally,
        );
        envelope::body(self.kind, list, &mut rewriter, 0, &rest)?;
        rewriter.write(rest.len(), &mut output.of(&rest));
        Ok(())
    }

    /// Releases the next part; false when more bytes are needed.
    fn step(&mut self, output: &mut Output) -> Result<bool, MaskProtobufError> {
        match self.place {
            Place::Whole { .. } if self.held.len() > PROTOBUF_OBJECT_BYTES_MAX => {
                Err(MaskProtobufError::TooLarge)
            }
            Place::ListTail if self.held.len() > PROTOBUF_ENVELOPE_BYTES_MAX => {
                Err(MaskProtobufError::Shape)
            }
            Place::Whole { .. } | Place::ListTail => Ok(false),
            Place::ListHead => self.list_head(output),
            Place::Items { left: 0 } => {
                self.place = Place::ListTail;
                Ok(true)
            }
            Place::Items { left } => self.items(left, output),
            Place::Frame => self.frame(output),
        }
    }

    /// Looks for the length of the list.
    fn list_head(&mut self, output: &mut Output) -> Result<bool, MaskProtobufError> {
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
        require_kind(self.kind, true, &Unknown::parse(envelope)?)?;
        require_only(envelope.strip_prefix(MAGIC).unwrap_or_default(), &[1])?;
        output.push(self.held.split_to(start).freeze());
        self.place = Place::Items { left: length };
        Ok(true)
    }

    /// The next fields of a list of which `left` bytes are to come: all that are there as a whole.
    fn items(&mut self, left: usize, output: &mut Output) -> Result<bool, MaskProtobufError> {
        let mut rewriter = Rewriter::new(
            &self.mask,
            Length::Kept,
            self.passing.as_ref(),
            &mut self.tally,
        );
        let mut done = 0;
        let outcome = loop {
            if done == left {
                break Ok(true);
            }
            let rest = self.held.get(done..).unwrap_or_default();
            let item = match whole_field(rest, left - done) {
                Ok(Some(item)) => item,
                Ok(None) => break Ok(false),
                Err(error) => break Err(error),
            };
            if let Err(error) = envelope::part_of_list(self.kind, &mut rewriter, done, item) {
                break Err(error);
            }
            done += item.len();
        };
        // What came before an error leaves, whatever it came together with.
        let items = self.held.split_to(done).freeze();
        rewriter.write(done, &mut output.of(&items));
        self.place = Place::Items { left: left - done };
        outcome
    }

    fn frame(&mut self, output: &mut Output) -> Result<bool, MaskProtobufError> {
        let Some(length) = self.held.first_chunk().copied().map(u32::from_be_bytes) else {
            return Ok(false);
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > PROTOBUF_OBJECT_BYTES_MAX {
            return Err(MaskProtobufError::TooLarge);
        }
        if self.held.len() < FRAME_HEAD + length {
            return Ok(false);
        }
        self.held.advance(FRAME_HEAD);
        let event = self.held.split_to(length).freeze();
        let mut rewriter = Rewriter::new(
            &self.mask,
            Length::Free,
            self.passing.as_ref(),
            &mut self.tally,
        );
        let growth = envelope::event(self.kind, &mut rewriter, &event)?;
        let length = length
            .checked_add_signed(growth)
            .and_then(|length| u32::try_from(length).ok());
        let length = length.ok_or(MaskProtobufError::TooLarge)?;
        let mut sink = output.of(&event);
        sink.write(&length.to_be_bytes());
        rewriter.write(event.len(), &mut sink);
        Ok(true)
    }
}

/// The field at the beginning of the rest of a list, of which `left` bytes are to come; `None` while it is not there as a
/// whole.
fn whole_field(rest: &[u8], left: usize) -> Result<Option<&[u8]>, MaskProtobufError> {
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
    Ok(rest.get(..size))
}

#[cfg(test)]
mod tests;
