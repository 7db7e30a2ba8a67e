//! No output panics the encoder of recordings, every line reads back, and no byte is lost.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use portcullis::recording::encode::{Encoder, Options, RAW, STDERR};
use portcullis::session::{SessionEvent, SessionStream, Side, StreamType};
use portcullis::wire::asciicast::Event;

fn stream(kind: StreamType) -> SessionStream {
    SessionStream {
        kind,
        port: None,
        connection: None,
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, bytes)) = input.split_first() else {
        return;
    };
    let mut encoder = Encoder::new(Options {
        stdin: first & 1 != 0,
        tty: first & 2 != 0,
        ..Options::default()
    });
    let (mut lines, mut stdout) = (Vec::new(), Vec::new());
    // Every piece begins with its length and its stream.
    let mut rest = bytes;
    let mut now = Duration::ZERO;
    while let Some((&head, tail)) = rest.split_first() {
        let (piece, tail) = tail.split_at(usize::from(head >> 2).min(tail.len()));
        rest = tail;
        now += Duration::from_millis(u64::from(head));
        let (kind, from) = match head & 3 {
            0 => (StreamType::Stdin, Side::Client),
            1 => (StreamType::Stderr, Side::Server),
            _ => (StreamType::Stdout, Side::Server),
        };
        if piece.is_empty() {
            continue;
        }
        if kind == StreamType::Stdout {
            stdout.extend_from_slice(piece);
        }
        let event = SessionEvent::Data {
            stream: stream(kind),
            from,
            bytes: piece,
        };
        encoder.event(&event, now, &mut lines);
    }
    encoder.finish(now, &mut lines);
    let text = std::str::from_utf8(&lines).expect("lines are UTF-8");
    let events: Vec<Event> = text
        .lines()
        .map(|line| Event::parse(line.as_bytes()).expect("every line reads back"))
        .collect();
    // Output that was shown as it came must be in what was sent; the rest is told by its neighbours.
    let mut shown = String::new();
    for (at, event) in events.iter().enumerate() {
        let is_stderr = events.get(at + 1).is_some_and(|next| next.code == STDERR);
        if event.code == "o" && !is_stderr {
            shown.push_str(&event.data);
        }
        assert!(event.code != RAW || at > 0, "raw bytes belong to a line");
    }
    assert_eq!(shown, String::from_utf8_lossy(&stdout));
});
