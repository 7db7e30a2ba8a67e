//! Watches and logs over WebSocket: the answer that everyone gets, as messages.
//!
//! The API server is asked for an ordinary stream, and a WebSocket there is only between client and gateway. So what
//! decides, masks and counts the stream knows nothing of frames (threats C-08 to C-10).
//!
//! As API servers do it: an `Origin` is demanded, what the client sends is read and ignored, an event of a watch
//! is one text message, a log is binary messages or, as `base64.binary.k8s.io`, base64 in text messages, and begins with
//! an empty one.

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, HeaderValue, ORIGIN};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::task::TaskTracker;

use super::{Greeting, is_websocket};
use crate::gateway::body::{self, Body, BodyError};
use crate::gateway::refuse::Refusal;
use crate::limits;
use crate::request::RequestInfo;
use crate::wire::side::Side;
use crate::wire::websocket::messages::{Messages, Unit};
use crate::wire::websocket::{self, ControlType, Decoder, Frame, WebSocketError};

/// A client that wants its stream as messages.
pub(in crate::gateway) struct Socket {
    client: OnUpgrade,
    greeting: Greeting,
    unit: Unit,
}

impl Socket {
    /// Whether the request asks for a stream over WebSocket; what else it may ask for stays ordinary (B-16).
    pub(in crate::gateway) fn asked<B>(
        request: &mut Request<B>,
        info: &RequestInfo,
    ) -> Result<Option<Self>, Refusal> {
        let headers = request.headers();
        let watch = info.verb == "watch";
        let log = info.verb == "get" && info.resource == "pods" && info.subresource == "log";
        // API servers refuse those that do not say where they come from; here they get the plain stream.
        if !(watch || log) || !is_websocket(headers) || !headers.contains_key(ORIGIN) {
            return Ok(None);
        }
        let client = hyper::upgrade::on(&mut *request);
        let greeting = Greeting::read(request)?;
        let unit = match greeting.protocol() {
            _ if watch => Unit::Line,
            None | Some("" | "binary.k8s.io") => Unit::Binary,
            Some("base64.binary.k8s.io") => Unit::Base64,
            Some(_) => {
                return Err(Refusal::bad_request(
                    "of a log over WebSocket the subprotocols are binary.k8s.io and base64.binary.k8s.io; offer one of them, or none",
                ));
            }
        };
        if watch {
            ask_for_json(request.headers_mut())?;
        }
        request.headers_mut().remove(ACCEPT_ENCODING);
        Ok(Some(Self {
            client,
            greeting,
            unit,
        }))
    }

    /// Answers with 101 and sends the stream as messages, in a task of its own. An answer that is no stream
    /// stays as it is, as API servers refuse before they switch.
    pub(in crate::gateway) fn switch(
        self,
        answer: Response<Body>,
        tasks: &TaskTracker,
    ) -> Response<Body> {
        if answer.status() != StatusCode::OK {
            return answer;
        }
        let Self {
            client,
            greeting,
            unit,
        } = self;
        let stream = answer.into_body();
        tasks.spawn(async move {
            match client.await {
                Ok(client) => {
                    if let Err(error) = send(TokioIo::new(client), stream, unit).await {
                        tracing::debug!(%error, "a stream over WebSocket broke off");
                    }
                }
                Err(error) => tracing::debug!(%error, "the client left before its stream began"),
            }
        });
        greeting.response().map(|()| body::empty())
    }
}

/// Events of a watch are text here, whatever the client would take besides.
fn ask_for_json(headers: &mut HeaderMap) -> Result<(), Refusal> {
    let kept: Vec<&str> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|range| {
            let media = range.split(';').next().unwrap_or_default().trim();
            ["application/json", "application/*", "*/*"]
                .iter()
                .any(|known| media.eq_ignore_ascii_case(known))
        })
        .collect();
    let ranges = if kept.is_empty() {
        if headers.contains_key(ACCEPT) {
            return Err(Refusal::not_acceptable(
                "a watch over WebSocket is answered in JSON only; add application/json to Accept",
            ));
        }
        "application/json".to_owned()
    } else {
        kept.join(", ")
    };
    let ranges = HeaderValue::from_str(&ranges)
        .map_err(|_| Refusal::bad_request("Accept is not readable text; send application/json"))?;
    headers.insert(ACCEPT, ranges);
    Ok(())
}

/// Sends `stream` to its end, or until the client goes.
async fn send(
    client: impl AsyncRead + AsyncWrite,
    mut stream: Body,
    unit: Unit,
) -> Result<(), Broken> {
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut heard = Decoder::new(Side::Client);
    let mut messages = Messages::new(unit);
    let mut output = Vec::new();
    messages.begin(&mut output);
    let mut input = vec![0; limits::WEBSOCKET_IGNORED_READ_BYTES];
    loop {
        if !output.is_empty() {
            writer.write_all(&output).await?;
            writer.flush().await?;
            output.clear();
        }
        tokio::select! {
            read = reader.read(&mut input) => {
                let count = read?;
                let bytes = input.get(..count).unwrap_or_default();
                if count == 0 || hear(&mut heard, bytes, &mut output)? == Heard::Close {
                    writer.write_all(&output).await?;
                    return Ok(writer.shutdown().await?);
                }
            }
            frame = stream.frame() => match frame {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_else(|_| Bytes::new());
                    messages.push(&data, &mut output);
                }
                // Truncation stays truncation: no Close is sent.
                Some(Err(error)) => return Err(Broken::Stream(error)),
                None => {
                    messages.end(&mut output);
                    websocket::put_close(&mut output, websocket::CLOSE_NORMAL, "", None);
                    writer.write_all(&output).await?;
                    return Ok(writer.shutdown().await?);
                }
            },
        }
    }
}

/// What the client said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// Nothing that matters.
    Nothing,
    /// That it leaves.
    Close,
}

/// Answers pings and a Close; messages are ignored.
fn hear(
    decoder: &mut Decoder,
    mut bytes: &[u8],
    output: &mut Vec<u8>,
) -> Result<Heard, WebSocketError> {
    while let Some(frame) = decoder.next(&mut bytes)? {
        match frame {
            Frame::Control(ControlType::Ping, payload, _) => {
                websocket::put_pong(output, payload, None);
            }
            Frame::Control(ControlType::Close, payload, _) => {
                let code = websocket::close_code(payload).unwrap_or(websocket::CLOSE_NORMAL);
                websocket::put_close(output, code, "", None);
                return Ok(Heard::Close);
            }
            Frame::Control(ControlType::Pong, ..) | Frame::Data(..) | Frame::Payload { .. } => {}
        }
    }
    Ok(Heard::Nothing)
}

/// Why the rest of a stream is not sent.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("the connection to the client broke")]
    Connection(#[from] std::io::Error),
    #[error("the client sends no WebSocket frames")]
    Frames(#[from] WebSocketError),
    #[error("the answer broke off")]
    Stream(#[source] BodyError),
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test waits for its own tasks")]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_that_pings_is_answered_between_messages_and_one_that_leaves_ends_the_stream()
    {
        let (client, mut other) = tokio::io::duplex(1 << 16);
        let (events, stream) = tokio::sync::mpsc::channel(1);
        let stream = futures_util::stream::unfold(stream, |mut stream| async {
            let data: Bytes = stream.recv().await?;
            Some((Ok::<_, BodyError>(http_body::Frame::data(data)), stream))
        });
        let stream = http_body_util::StreamBody::new(stream).boxed_unsync();
        let sending = tokio::spawn(send(client, stream, Unit::Line));

        events.send(Bytes::from_static(b"{\"a\":")).await.unwrap();
        let mut begun = vec![0; 2 + 5];
        other.read_exact(&mut begun).await.unwrap();
        // What has come of an event leaves at once, as the first fragment of a text message.
        assert_eq!(begun, b"\x01\x05{\"a\":");

        let mut ping = vec![0x89, 0x80 | 2, 1, 2, 3, 4];
        ping.extend([b'h' ^ 1, b'i' ^ 2]);
        other.write_all(&ping).await.unwrap();
        let mut pong = vec![0; 4];
        other.read_exact(&mut pong).await.unwrap();
        assert_eq!(pong, b"\x8a\x02hi");

        events.send(Bytes::from_static(b"1}\n")).await.unwrap();
        let mut rest = vec![0; 2 + 3];
        other.read_exact(&mut rest).await.unwrap();
        assert_eq!(rest, b"\x80\x031}\n");

        other.write_all(&[0x88, 0x80, 1, 2, 3, 4]).await.unwrap();
        let mut close = Vec::new();
        other.read_to_end(&mut close).await.unwrap();
        assert_eq!(close, b"\x88\x02\x03\xe8");
        sending.await.unwrap().unwrap();
        assert!(events.is_closed(), "the API server is told");
    }

    #[tokio::test]
    async fn a_stream_that_ends_is_closed_and_one_that_breaks_is_not() {
        for (last, closed) in [(None, true), (Some("cut"), false)] {
            let (client, mut other) = tokio::io::duplex(1 << 16);
            let frames = [Ok(http_body::Frame::data(Bytes::from_static(b"line\n")))];
            let frames = frames
                .into_iter()
                .chain(last.map(|why| Err(BodyError::from(why))));
            let stream = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
            let ended = send(client, stream.boxed_unsync(), Unit::Line).await;
            assert_eq!(ended.is_ok(), closed);
            let mut all = Vec::new();
            other.read_to_end(&mut all).await.unwrap();
            let expected: &[u8] = b"\x81\x05line\n";
            let close: &[u8] = if closed { b"\x88\x02\x03\xe8" } else { b"" };
            assert_eq!(all, [expected, close].concat());
        }
    }

    #[test]
    fn a_watch_is_asked_for_in_json() {
        for (accept, asked) in [
            (None, Some("application/json")),
            (Some("*/*"), Some("*/*")),
            (
                Some(
                    "application/vnd.kubernetes.protobuf, application/json;as=Table;v=v1;g=meta.k8s.io",
                ),
                Some("application/json;as=Table;v=v1;g=meta.k8s.io"),
            ),
            (Some("application/vnd.kubernetes.protobuf"), None),
            (Some("application/yaml"), None),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(ACCEPT, HeaderValue::from_static(accept));
            }
            let outcome = ask_for_json(&mut headers);
            assert_eq!(outcome.is_ok(), asked.is_some(), "{accept:?}");
            if let Some(asked) = asked {
                assert_eq!(headers.get_all(ACCEPT).iter().collect::<Vec<_>>(), [asked]);
            }
        }
    }
}
