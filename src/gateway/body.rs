//! The one body type of the path, and the only way to read a whole one: with a bound.

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Response};
use http_body::Body as _;
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use thiserror::Error;

/// Why a body broke off. Never shown to clients; a broken body ends the stream, it is not closed
/// artificially (threats E-01: truncation stays truncation).
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Every request and response body between the listener and the upstream.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body of exactly these bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body without bytes.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// The answer to a HEAD: it says how long it would be. hyper leaves the bytes out itself, but in HTTP/1 only, and clients
/// of HTTP/2 take them for a broken protocol.
pub fn head_only(response: Response<Body>) -> Response<Body> {
    let (mut head, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact().filter(|length| *length > 0) {
        let length = HeaderValue::from(length);
        head.headers.entry(CONTENT_LENGTH).or_insert(length);
    }
    Response::from_parts(head, empty())
}

/// Why a body could not be read whole.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The body is larger than the bound.
    #[error("the request body is larger than {max} bytes")]
    TooLarge {
        /// The bound, in bytes.
        max: usize,
    },
    /// The peer broke off or broke the framing.
    #[error("the request body broke off")]
    Broken(#[source] BodyError),
}

/// Reads a body to its end, holding at most `max` bytes. Trailers are dropped.
pub async fn read_bounded<B>(body: B, max: usize) -> Result<Bytes, ReadError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BodyError>,
{
    if body.size_hint().lower() > max as u64 {
        return Err(ReadError::TooLarge { max });
    }
    let mut body = std::pin::pin!(body);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ReadError::Broken(error.into()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > max {
            return Err(ReadError::TooLarge { max });
        }
        if first.is_empty() {
            first = data; // most bodies arrive in one piece, which is not copied
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    fn pieces(pieces: &'static [&'static str]) -> Body {
        BodyExt::boxed_unsync(StreamBody::new(stream::iter(
            pieces
                .iter()
                .map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))),
        )))
    }

    #[tokio::test]
    async fn reads_what_fits_and_refuses_one_byte_more() {
        assert_eq!(
            read_bounded(pieces(&["ab", "cd"]), 4).await.unwrap(),
            "abcd"
        );
        assert_eq!(read_bounded(pieces(&[]), 0).await.unwrap(), "");
        assert!(matches!(
            read_bounded(pieces(&["ab", "cde"]), 4).await,
            Err(ReadError::TooLarge { max: 4 })
        ));
        assert!(matches!(
            read_bounded(full("abcde"), 4).await,
            Err(ReadError::TooLarge { .. })
        ));
    }
}
