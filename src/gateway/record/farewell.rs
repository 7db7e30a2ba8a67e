//! What a watch says last when its caller will not be let in again.

use bytes::Bytes;
use serde_json::json;

use crate::metrics::StreamEnd;
use crate::transform::MaskError;
use crate::wire::events::EventCounter;
use crate::wire::protobuf::{MAGIC, write_head, write_number};

/// An event of type `ERROR` with a `Status`, in the form of the events before it. `None` where the last of them is not
/// complete, and for ends after which clients should simply come back: with a new token, to another gateway, or to be
/// decided on anew. To those an error would be a reason to list everything again.
pub(super) fn event(passed: &EventCounter, why: StreamEnd) -> Option<Bytes> {
    let (code, reason, message) = match why {
        StreamEnd::Revoked => (
            401,
            "Unauthorized",
            "portcullis: your token was revoked and this watch with it; log in again, and if that is refused ask the gateway's operator",
        ),
        StreamEnd::Approval => (
            403,
            "Forbidden",
            "portcullis: the approval that opened this watch ended or was taken back; ask for it again",
        ),
        StreamEnd::Blocked => (
            403,
            "Forbidden",
            "portcullis: you were blocked and this watch ends; an operator of the gateway can say more",
        ),
        StreamEnd::Expired | StreamEnd::Policy | StreamEnd::Budget | StreamEnd::Drain => {
            return None;
        }
    };
    error(passed, code, reason, message)
}

/// The same for a watch of which the next event cannot be masked.
pub(super) fn withheld(passed: &EventCounter, why: &MaskError) -> Option<Bytes> {
    let message = format!("portcullis: {why}");
    error(passed, why.code().as_u16(), "InternalError", &message)
}

fn error(passed: &EventCounter, code: u16, reason: &str, message: &str) -> Option<Bytes> {
    if !passed.is_between() {
        return None;
    }
    Some(Bytes::from(match passed {
        EventCounter::Lines { .. } => {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": message, "reason": reason, "code": code,
            });
            format!("{}\n", json!({"type": "ERROR", "object": status})).into_bytes()
        }
        EventCounter::Frames { .. } => frame(message, reason, code),
    }))
}

/// `WatchEvent {1: type, 2: RawExtension {1: Unknown {1: {1: apiVersion, 2: kind}, 2: Status}}}`, and its length before it
/// (wire.md §6.3; `k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto`).
fn frame(message: &str, reason: &str, code: u16) -> Vec<u8> {
    let mut status = fields(&[
        (1, b""), // ListMeta
        (2, b"Failure"),
        (3, message.as_bytes()),
        (4, reason.as_bytes()),
    ]);
    write_number(6, code.into(), &mut status);
    let kind = fields(&[(1, b"v1"), (2, b"Status")]);
    let unknown = [MAGIC, &fields(&[(1, &kind), (2, &status)])].concat();
    let event = fields(&[(1, b"ERROR"), (2, &fields(&[(1, &unknown)]))]);
    let length = u32::try_from(event.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), event.as_slice()].concat()
}

fn fields(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, bytes) in fields {
        write_head(*number, bytes.len(), &mut out);
        out.extend_from_slice(bytes);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::protobuf::{Unknown, last_bytes};

    fn after(content_type: &str, passed: &[u8], why: StreamEnd) -> Option<Bytes> {
        let mut counter = EventCounter::of(content_type).unwrap();
        counter.push(passed);
        event(&counter, why)
    }

    #[test]
    fn a_watch_in_json_ends_with_a_line() {
        let json = "application/json;stream=watch";
        for passed in ["", "{\"type\":\"ADDED\"}\n"] {
            let line = after(json, passed.as_bytes(), StreamEnd::Revoked).unwrap();
            assert_eq!(memchr::memchr_iter(b'\n', &line).count(), 1);
            let event: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(event["type"], "ERROR");
            assert_eq!(event["object"]["kind"], "Status");
            assert_eq!(event["object"]["code"], 401);
        }
        assert_eq!(after(json, b"{\"type\":", StreamEnd::Revoked), None);
    }

    #[test]
    fn a_watch_in_protobuf_ends_with_a_frame() {
        let protobuf = "application/vnd.kubernetes.protobuf;stream=watch";
        let frame = after(protobuf, b"\0\0\0\x02ab", StreamEnd::Approval).unwrap();
        let (length, event) = frame.split_first_chunk().unwrap();
        assert_eq!(u32::from_be_bytes(*length) as usize, event.len());
        assert_eq!(last_bytes(event, 1), b"ERROR");
        let object = Unknown::parse(last_bytes(last_bytes(event, 2), 1)).unwrap();
        assert_eq!((object.api_version, object.kind), ("v1", "Status"));
        assert_eq!(last_bytes(object.raw, 4), b"Forbidden");
        assert!(object.raw.ends_with(b"\x30\x93\x03"), "code: 403");
        for passed in [&b"\0"[..], b"\0\0\0\x02a"] {
            assert_eq!(after(protobuf, passed, StreamEnd::Approval), None);
        }
    }

    #[test]
    fn what_cannot_be_masked_ends_a_watch_with_a_reason() {
        let why = MaskError::Upstream {
            problem: "it is too large",
        };
        let mut counter = EventCounter::of("application/vnd.kubernetes.protobuf").unwrap();
        let frame = withheld(&counter, &why).unwrap();
        let object = Unknown::parse(last_bytes(last_bytes(&frame[4..], 2), 1)).unwrap();
        assert_eq!(last_bytes(object.raw, 4), b"InternalError");
        assert!(last_bytes(object.raw, 3).ends_with(b"withheld: it is too large"));
        assert!(object.raw.ends_with(b"\x30\xf6\x03"), "code: 502");
        counter.push(b"\0\0");
        assert_eq!(withheld(&counter, &why), None);
    }

    #[test]
    fn who_may_come_back_is_told_nothing() {
        for why in [StreamEnd::Expired, StreamEnd::Policy, StreamEnd::Drain] {
            assert_eq!(after("application/json", b"", why), None);
        }
    }
}
