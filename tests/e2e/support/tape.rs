//! What is on tape, read as any reader of asciicast would.

use std::path::PathBuf;
use std::time::Duration;

use portcullis::wire::asciicast::Event;
use serde_json::Value;

use super::world::World;

/// How long a session may take to be sealed after its client has gone.
const SEALED_WITHIN: Duration = Duration::from_secs(20);

/// The recording of a session that is over.
#[derive(Debug)]
pub(crate) struct Tape {
    /// Its first part, below the directory of recordings.
    pub(crate) path: String,
    /// The sidecar.
    pub(crate) summary: Value,
}

impl World {
    /// The recording of the next session that is over, which is added to those that were `seen`.
    #[track_caller]
    pub(crate) fn next_tape(&self, seen: &mut Vec<String>) -> Tape {
        let deadline = tokio::time::Instant::now() + SEALED_WITHIN;
        while tokio::time::Instant::now() < deadline {
            let over = self
                .audit()
                .into_iter()
                .filter(|event| event["stage"] == "ResponseComplete");
            let mut paths = over.filter_map(|event| {
                let path = event["annotations"]["portcullis.dev/recording"].as_str()?;
                Some(path.to_owned())
            });
            if let Some(path) = paths.find(|path| !seen.contains(path)) {
                seen.push(path.clone());
                let sidecar = self.read(&format!(
                    "data/recordings/{}",
                    path.replace(".cast", ".json")
                ));
                let summary = serde_json::from_str(&sidecar).unwrap();
                return Tape { path, summary };
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no session came to an end on tape");
    }

    /// The files of a recording, in their order.
    pub(crate) fn parts(&self, tape: &Tape) -> Vec<PathBuf> {
        let first = self.path(&format!("data/recordings/{}", tape.path));
        let names = tape.summary["parts"].as_array().unwrap().iter();
        names
            .map(|part| first.with_file_name(part["file"].as_str().unwrap()))
            .collect()
    }

    /// All that happened in a recording, part after part.
    pub(crate) fn events(&self, tape: &Tape) -> Vec<Event> {
        let parts = self.parts(tape);
        let texts = parts
            .iter()
            .map(|path| std::fs::read_to_string(path).unwrap());
        texts.flat_map(|text| events_of(&text)).collect()
    }
}

/// The events after the header.
pub(crate) fn events_of(cast: &str) -> Vec<Event> {
    let lines = cast.lines().skip(1);
    lines
        .map(|line| Event::parse(line.as_bytes()).unwrap())
        .collect()
}
