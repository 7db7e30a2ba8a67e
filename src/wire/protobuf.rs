//! Protobuf without schemas: the fields of a message, and the envelope Kubernetes wraps objects in.
//!
//! Everything is a slice of what came in; nothing is allocated by a length that the sender claims.

use thiserror::Error;

/// How a Kubernetes protobuf body begins.
pub const MAGIC: &[u8] = b"k8s\0";

/// Largest field number that protobuf knows.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// Why bytes are not a message for us.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum ProtobufError {
    /// A field ends after the message.
    #[error("the message ends inside a field")]
    Truncated,
    /// A number that does not fit in 64 bits.
    #[error("a varint is too long")]
    Varint,
    /// Zero, or more than 29 bits.
    #[error("a field number is out of range")]
    FieldNumber,
    /// A group, which Kubernetes does not use, or a type that does not exist.
    #[error("a field has an unknown wire type")]
    WireType,
    /// No `k8s\0` in front.
    #[error("the body does not begin as Kubernetes protobuf does")]
    Magic,
}

/// One field of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Field<'a> {
    /// Its number in the `.proto` file.
    pub number: u32,
    /// What it holds.
    pub value: FieldValue<'a>,
}

/// The value of a field, as the wire tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FieldValue<'a> {
    /// A number or bool.
    Varint(u64),
    /// Eight bytes, little-endian.
    Fixed64(u64),
    /// Four bytes, little-endian.
    Fixed32(u32),
    /// A string, bytes, a message or an entry of a map.
    Bytes(&'a [u8]),
}

/// The fields of `message` in the order of the wire; after an error there is nothing more.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields { rest: message }
}

/// Is all of this a message with at least one field? Short texts may be one by accident.
pub fn is_message(bytes: &[u8]) -> bool {
    !bytes.is_empty() && fields(bytes).all(|field| field.is_ok())
}

/// The length-delimited fields of that number; those behind what is broken are not among them.
pub fn all_bytes(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    fields(message)
        .map_while(Result::ok)
        .filter_map(move |field| match field.value {
            FieldValue::Bytes(bytes) if field.number == number => Some(bytes),
            _ => None,
        })
}

/// The last length-delimited field of that number; empty when there is none, or the message is broken
/// before it. As protobuf has it, the last one counts.
pub fn last_bytes(message: &[u8], number: u32) -> &[u8] {
    all_bytes(message, number).last().unwrap_or_default()
}

/// An iterator over the fields of a message.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, ProtobufError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    /// How many bytes of the message are not read yet.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn field(&mut self) -> Result<Field<'a>, ProtobufError> {
        // Most are one of the first fifteen, with a text or message of up to 16 KiB in it.
        if let [tag @ 0x0a..0x80, rest @ ..] = self.rest
            && tag & 7 == 2
            && let Some((length, rest)) = short_length(rest)
            && let Some((bytes, rest)) = rest.split_at_checked(length)
        {
            self.rest = rest;
            let (number, value) = (u32::from(tag >> 3), FieldValue::Bytes(bytes));
            return Ok(Field { number, value });
        }
        self.any_field()
    }

    fn any_field(&mut self) -> Result<Field<'a>, ProtobufError> {
        let tag = self.varint()?;
        let number = match tag >> 3 {
            number @ 1..=FIELD_NUMBER_MAX => u32::try_from(number).ok(),
            _ => None,
        };
        let number = number.ok_or(ProtobufError::FieldNumber)?;
        let value = match tag & 7 {
            0 => FieldValue::Varint(self.varint()?),
            1 => FieldValue::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                // What does not fit in memory is certainly longer than the message.
                let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
                let (bytes, rest) = self
                    .rest
                    .split_at_checked(length)
                    .ok_or(ProtobufError::Truncated)?;
                self.rest = rest;
                FieldValue::Bytes(bytes)
            }
            5 => FieldValue::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(ProtobufError::WireType),
        };
        Ok(Field { number, value })
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, ProtobufError> {
        // Most tags and lengths are of one byte.
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, ProtobufError> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(ProtobufError::Truncated)?;
            self.rest = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(ProtobufError::Varint);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ProtobufError::Varint)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtobufError> {
        let (bytes, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(ProtobufError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

/// A length of one byte or two, and what stands behind it.
#[inline]
fn short_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    match bytes {
        [length @ 0..0x80, rest @ ..] => Some((usize::from(*length), rest)),
        [low, high @ 0..0x80, rest @ ..] => {
            let length = usize::from(low & 0x7f) | usize::from(*high) << 7;
            Some((length, rest))
        }
        _ => None,
    }
}

/// Appends what stands before the bytes of a length-delimited field.
pub fn write_head(number: u32, length: usize, out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3 | 2, out);
    write_varint(length as u64, out);
}

/// Appends a field that is a number.
pub fn write_number(number: u32, value: u64, out: &mut Vec<u8>) {
    write_varint(u64::from(number) << 3, out);
    write_varint(value, out);
}

fn write_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// What stands before a length-delimited field that has not arrived as a whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Head {
    /// The field's number.
    pub number: u32,
    /// How many bytes the head itself has.
    pub size: usize,
    /// How many bytes follow.
    pub length: usize,
}

impl Head {
    /// Reads the head at the beginning of `bytes`; `None` while it is incomplete.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, ProtobufError> {
        let mut fields = fields(bytes);
        let (tag, length) = match fields.varint().and_then(|tag| Ok((tag, fields.varint()?))) {
            Err(ProtobufError::Truncated) => return Ok(None),
            read => read?,
        };
        if tag & 7 != 2 {
            return Err(ProtobufError::WireType);
        }
        Ok(Some(Self {
            number: u32::try_from(tag >> 3).map_err(|_error| ProtobufError::FieldNumber)?,
            size: bytes.len() - fields.remaining(),
            length: usize::try_from(length).map_err(|_error| ProtobufError::Truncated)?,
        }))
    }
}

/// Kubernetes' `runtime.Unknown`: what an object travels in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Unknown<'a> {
    /// `v1`, `apps/v1`; empty when it is not said or not text.
    pub api_version: &'a str,
    /// `Secret`; empty when it is not said or not text.
    pub kind: &'a str,
    /// The object itself.
    pub raw: &'a [u8],
}

impl<'a> Unknown<'a> {
    /// Reads a body that begins with [`MAGIC`].
    pub fn parse(body: &'a [u8]) -> Result<Self, ProtobufError> {
        let message = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
        let mut unknown = Self::default();
        for field in fields(message) {
            match field? {
                Field {
                    number: 1,
                    value: FieldValue::Bytes(type_meta),
                } => {
                    let text =
                        |number| std::str::from_utf8(last_bytes(type_meta, number)).unwrap_or("");
                    (unknown.api_version, unknown.kind) = (text(1), text(2));
                }
                Field {
                    number: 2,
                    value: FieldValue::Bytes(raw),
                } => unknown.raw = raw,
                _ => {}
            }
        }
        Ok(unknown)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A length-delimited field.
    pub(crate) fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_head(number, bytes.len(), &mut out);
        out.extend(bytes);
        out
    }

    fn varint(number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        write_varint(number, &mut out);
        out
    }

    fn encode(all: &[Field<'_>]) -> Vec<u8> {
        let tag = |number: u32, kind: u64| varint(u64::from(number) << 3 | kind);
        let one = |item: &Field<'_>| match item.value {
            FieldValue::Varint(number) => [tag(item.number, 0), varint(number)].concat(),
            FieldValue::Fixed64(number) => {
                [tag(item.number, 1), number.to_le_bytes().to_vec()].concat()
            }
            FieldValue::Fixed32(number) => {
                [tag(item.number, 5), number.to_le_bytes().to_vec()].concat()
            }
            FieldValue::Bytes(bytes) => field(item.number, bytes),
        };
        all.iter().flat_map(one).collect()
    }

    #[test]
    fn what_is_no_message_is_refused_once() {
        for (bytes, error) in [
            (&b"\x08"[..], ProtobufError::Truncated),
            (b"\x08\x80", ProtobufError::Truncated),
            (b"\x09\0\0\0\0\0\0\0", ProtobufError::Truncated),
            (b"\x0d\0\0\0", ProtobufError::Truncated),
            (b"\x0a\x05abcd", ProtobufError::Truncated),
            (
                b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a",
                ProtobufError::Truncated,
            ),
            (
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
                ProtobufError::Varint,
            ),
            (
                b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0",
                ProtobufError::Varint,
            ),
            (b"\0\0", ProtobufError::FieldNumber),
            (b"\x80\x80\x80\x80\x10\0", ProtobufError::FieldNumber),
            (b"\x0b\x0c", ProtobufError::WireType),
            (b"\x0e", ProtobufError::WireType),
        ] {
            let seen: Vec<_> = fields(bytes).collect();
            assert_eq!(seen, [Err(error)], "{bytes:?}");
            assert!(!is_message(bytes));
        }
        assert!(!is_message(b""));
        assert_eq!(Unknown::parse(b"k8s"), Err(ProtobufError::Magic));
    }

    #[test]
    fn the_envelope_says_the_last_kind_and_object() {
        let type_meta = |kind: &[u8]| field(1, &[field(1, b"v1"), field(2, kind)].concat());
        let message = [
            MAGIC,
            &type_meta(b"Pod"),
            &field(2, b"first"),
            &type_meta(b"Secret"),
            &field(2, b"last"),
            &field(4, b""),
        ]
        .concat();
        let expected = Unknown {
            api_version: "v1",
            kind: "Secret",
            raw: b"last",
        };
        assert_eq!(Unknown::parse(&message), Ok(expected));
        let broken = [MAGIC, &field(1, b"v1"), &field(2, b"x")].concat();
        assert_eq!(Unknown::parse(&broken).unwrap().kind, "");
    }

    #[test]
    fn a_head_is_read_as_soon_as_it_is_complete() {
        let text = field(77, &[b'x'; 300]);
        for size in 0..4 {
            assert_eq!(Head::parse(&text[..size]), Ok(None), "{size}");
        }
        let head = Head {
            number: 77,
            size: 4,
            length: 300,
        };
        assert_eq!(Head::parse(&text[..4]), Ok(Some(head)));
        assert_eq!(Head::parse(&text), Ok(Some(head)));
        assert_eq!(Head::parse(b"\x08\x01"), Err(ProtobufError::WireType));
    }

    fn value() -> impl Strategy<Value = (u8, u64, Vec<u8>)> {
        (0..4_u8, any::<u64>(), any::<Vec<u8>>())
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, envelope: bool) {
            let body = if envelope { [MAGIC, &bytes].concat() } else { bytes };
            let foreign = Unknown::parse(&body) == Err(ProtobufError::Magic);
            prop_assert_eq!(foreign, !body.starts_with(MAGIC));
            prop_assert!(fields(&body).count() <= body.len());
            prop_assert!(last_bytes(&body, 2).len() < body.len().max(1));
        }

        #[test]
        fn a_short_field_is_read_as_any_other(
            tag in 0_u8..0x90, length in 0_u8..14, rest in proptest::collection::vec(any::<u8>(), 0..12),
        ) {
            let bytes = [&[tag, length][..], &rest].concat();
            let (mut quickly, mut slowly) = (fields(&bytes), fields(&bytes));
            let field = quickly.field();
            prop_assert_eq!(field, slowly.any_field());
            prop_assert!(field.is_err() || quickly.remaining() == slowly.remaining());
        }

        #[test]
        fn fields_are_read_as_they_were_written(
            all in proptest::collection::vec((1..1_u32 << 29, value()), 0..8),
        ) {
            let all: Vec<_> = all
                .iter()
                .map(|(number, (kind, bits, bytes))| Field {
                    number: *number,
                    value: match kind {
                        0 => FieldValue::Varint(*bits),
                        1 => FieldValue::Fixed64(*bits),
                        2 => FieldValue::Fixed32((*bits >> 32).try_into().unwrap()),
                        _ => FieldValue::Bytes(bytes),
                    },
                })
                .collect();
            let message = encode(&all);
            prop_assert_eq!(fields(&message).collect::<Result<Vec<_>, _>>(), Ok(all));
        }
    }
}
