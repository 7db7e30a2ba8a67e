//! What the tests of recordings, and of what is built on them, make sessions out of.

use std::time::Duration;

use crate::session::{
    ByteCounts, EndReason, SessionEvent, SessionReport, SessionStream, Side, StreamType,
};

/// A stream of an exec.
pub(crate) fn stream(kind: StreamType) -> SessionStream {
    SessionStream {
        kind,
        port: None,
        connection: None,
    }
}

/// Payload, from the side that sends it.
pub(crate) fn data(kind: StreamType, bytes: &[u8]) -> SessionEvent<'_> {
    let from = match kind {
        StreamType::Stdin => Side::Client,
        _ => Side::Server,
    };
    SessionEvent::Data {
        stream: stream(kind),
        from,
        bytes,
    }
}

/// Payload of stdout.
pub(crate) fn output(bytes: &[u8]) -> SessionEvent<'_> {
    data(StreamType::Stdout, bytes)
}

/// The report of a session that ended in order, after two seconds.
pub(crate) fn report() -> SessionReport {
    SessionReport {
        reason: EndReason::Completed,
        detail: None,
        exit: None,
        bytes: ByteCounts::default(),
        connections: 0,
        duration: Duration::from_secs(2),
    }
}

/// A member of a tar archive.
pub(crate) fn tar_member(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    block[156] = kind;
    block[257..263].copy_from_slice(b"ustar ");
    seal_header(&mut block);
    block.extend_from_slice(content);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// Writes the checksum of the header that a member begins with.
pub(crate) fn seal_header(member: &mut [u8]) {
    member[148..156].fill(b' ');
    let sum: u32 = member[..512].iter().map(|byte| u32::from(*byte)).sum();
    member[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}
