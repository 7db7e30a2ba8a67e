//! Counts what a long answer consists of while it passes: lines of a log, events of a watch.

/// Counts the events of one answer, in a few bytes of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventCounter {
    /// Logs, and watches in JSON: an event is a line. The last one may lack its line break.
    Lines {
        /// Lines that are complete.
        complete: u64,
        /// Whether one has begun since.
        open: bool,
    },
    /// Watches in protobuf: four bytes with the length of an event, then the event
    /// (`k8s.io/apimachinery/pkg/util/framer`, length-delimited).
    Frames {
        /// Frames that are complete.
        complete: u64,
        /// How many bytes of the length are there, and what they say.
        length: (u8, u32),
        /// Bytes of the event that are still to come.
        left: u32,
    },
}

impl EventCounter {
    /// The counter for an answer of this type; `None` when its events cannot be told apart.
    #[must_use]
    pub fn of(content_type: &str) -> Option<Self> {
        let media_type = content_type.split(';').next().unwrap_or_default().trim();
        match media_type.to_ascii_lowercase().as_str() {
            "application/json" | "text/plain" => Some(Self::Lines {
                complete: 0,
                open: false,
            }),
            "application/vnd.kubernetes.protobuf" => Some(Self::Frames {
                complete: 0,
                length: (0, 0),
                left: 0,
            }),
            _ => None,
        }
    }

    /// Takes the next bytes, wherever they were cut.
    pub fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Lines { complete, open } => {
                let ends = memchr::memchr_iter(b'\n', bytes).count();
                *complete = complete.saturating_add(u64::try_from(ends).unwrap_or(u64::MAX));
                if let Some(last) = bytes.last() {
                    *open = *last != b'\n';
                }
            }
            Self::Frames {
                complete,
                length,
                left,
            } => frames(bytes, complete, length, left),
        }
    }

    /// Whether what has passed ends with a whole event.
    #[must_use]
    pub fn is_between(&self) -> bool {
        match self {
            Self::Lines { open, .. } => !open,
            Self::Frames { length, left, .. } => length.0 == 0 && *left == 0,
        }
    }

    /// Events so far; a line that has no end yet is one.
    #[must_use]
    pub fn count(&self) -> u64 {
        match self {
            Self::Lines { complete, open } => complete.saturating_add(u64::from(*open)),
            Self::Frames { complete, .. } => *complete,
        }
    }
}

fn frames(mut bytes: &[u8], complete: &mut u64, length: &mut (u8, u32), left: &mut u32) {
    while let Some((byte, rest)) = bytes.split_first() {
        if *left > 0 {
            let here = u32::try_from(bytes.len()).unwrap_or(u32::MAX).min(*left);
            *left -= here;
            bytes = bytes
                .get(usize::try_from(here).unwrap_or(usize::MAX)..)
                .unwrap_or_default();
        } else {
            *length = (length.0 + 1, length.1 << 8 | u32::from(*byte));
            bytes = rest;
            if length.0 < 4 {
                continue;
            }
            *left = std::mem::take(length).1;
        }
        if *left == 0 {
            *complete = complete.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(content_type: &str, bytes: &[u8]) -> u64 {
        let count = |cut: usize| {
            let mut counter = EventCounter::of(content_type).unwrap();
            bytes.chunks(cut).for_each(|piece| counter.push(piece));
            counter.count()
        };
        let whole = count(bytes.len().max(1));
        for cut in 1..bytes.len().min(20) {
            assert_eq!(count(cut), whole, "cut every {cut}");
        }
        whole
    }

    #[test]
    fn lines_are_events_of_logs_and_of_watches_in_json() {
        assert_eq!(counted("text/plain", b"one\n\ntwo\nopen"), 4);
        assert_eq!(counted("text/plain", b""), 0);
        let watch = b"{\"type\":\"ADDED\"}\n{\"type\":\"DELETED\"}\n";
        assert_eq!(counted("application/json;stream=watch", watch), 2);
        assert_eq!(EventCounter::of("application/yaml"), None);
    }

    #[test]
    fn frames_are_events_of_watches_in_protobuf() {
        let protobuf = "application/vnd.kubernetes.protobuf;stream=watch";
        let watch = b"\0\0\0\x03abc\0\0\0\0\0\0\x01\x02".to_vec();
        assert_eq!(counted(protobuf, &watch), 2);
        let long = [&watch[..], &[b'x'; 0x102 - 7], b"\0\0\0\x01x"].concat();
        assert_eq!(
            counted(protobuf, &long),
            2,
            "two, and one that is not complete"
        );
        let long = [&watch[..], &[b'x'; 0x102], b"\0\0\0\x01x"].concat();
        assert_eq!(counted(protobuf, &long), 4);
    }
}
