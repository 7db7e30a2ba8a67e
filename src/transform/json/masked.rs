//! Values that are masked as a whole: their digest, and what stands in their place.

use std::borrow::Cow;

use super::{JsonError, JsonMasker, Kind, Leaf, Mask, Sink};
use crate::transform::placeholder::{Content, Digest, Seal};
use crate::wire::json::{Unescaper, unescape};

/// A value that is masked, of which not all is there yet.
pub(super) struct Masking {
    pub(super) digest: Digest,
    /// Set for strings.
    unescaper: Option<Unescaper>,
    pub(super) base64: bool,
}

impl JsonMasker {
    pub(super) fn masking(&self, leaf: Leaf, kind: Kind) -> Masking {
        let (content, base64) = self.content(leaf, kind);
        Masking {
            digest: self.mask.placeholders.start(content, self.mask.linkable),
            unescaper: (kind == Kind::String).then(Unescaper::default),
            base64,
        }
    }

    /// What a value is, and whether base64 stands in its place.
    fn content(&self, leaf: Leaf, kind: Kind) -> (Content, bool) {
        let base64 = match leaf {
            Leaf::Text => false,
            Leaf::Data => self.mask.data_is_base64,
            Leaf::Binary => true,
        };
        let content = match kind {
            Kind::String if base64 => Content::Base64,
            Kind::String => Content::Text,
            Kind::Object | Kind::Array | Kind::Scalar(_) => Content::Json,
        };
        (content, base64)
    }

    /// Masks a value of which all is there; of a string without its quotes.
    pub(super) fn put_whole(
        &mut self,
        leaf: Leaf,
        kind: Kind,
        text: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), JsonError> {
        let text = match kind {
            Kind::String => unescape(text)?,
            Kind::Object | Kind::Array | Kind::Scalar(_) => Cow::Borrowed(text),
        };
        self.put_unescaped(leaf, kind, &text, sink);
        Ok(())
    }

    /// The same where nothing is left to unescape: strings without their escapes, and other values.
    pub(super) fn put_unescaped(
        &mut self,
        leaf: Leaf,
        kind: Kind,
        text: &[u8],
        sink: &mut impl Sink,
    ) {
        let (content, base64) = self.content(leaf, kind);
        let Mask {
            placeholders,
            linkable,
            ..
        } = &self.mask;
        let seal = placeholders.whole(content, *linkable, text);
        self.put(seal, base64, sink);
    }

    pub(super) fn put(&mut self, seal: Seal, base64: bool, sink: &mut impl Sink) {
        if base64 {
            sink.write(&seal.quoted_base64());
        } else {
            sink.write(&seal.placeholder().quoted());
        }
        self.tally.count_at(self.hidden_by, &self.trail);
    }
}

impl Masking {
    /// Takes a piece of the value; of a string without its quotes.
    pub(super) fn take(&mut self, text: &[u8]) -> Result<(), JsonError> {
        let digest = &mut self.digest;
        let Some(unescaper) = &mut self.unescaper else {
            digest.update(text);
            return Ok(());
        };
        unescaper.push(text, &mut |piece| digest.update(piece))
    }

    fn end(&mut self) -> Result<(), JsonError> {
        let digest = &mut self.digest;
        match &mut self.unescaper {
            Some(unescaper) => unescaper.finish(&mut |piece| digest.update(piece)),
            None => Ok(()),
        }
    }

    /// Takes a piece as it stands in the document: the last one of a string has the quote that closes it.
    pub(super) fn take_as_written(&mut self, text: &[u8], last: bool) -> Result<(), JsonError> {
        if !last {
            return self.take(text);
        }
        let quoted = self.unescaper.is_some();
        self.take(if quoted { without_quote(text) } else { text })?;
        self.end()
    }
}

/// The end of a string without its closing quote.
pub(super) fn without_quote(text: &[u8]) -> &[u8] {
    text.strip_suffix(b"\"").unwrap_or(text)
}
