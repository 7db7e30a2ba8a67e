//! Every byte of a session is on its recording: however it comes, however it is written, and whenever the gateway dies.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use serde_json::Value;

use super::*;

/// What happens in a session.
#[derive(Clone, Debug)]
enum Step {
    Said(StreamType, Vec<u8>),
    Resized,
    /// Nothing, until all of it is on the disk.
    Rested,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let block = limits::RECORDING_BLOCK_BYTES;
    let odd = [
        "\u{2028}", "\0", "\\\"\r\n", "é", "😀", "\u{9b}", "\u{fffd}",
    ];
    let odd = odd.map(|text| text.as_bytes().to_vec());
    let broken = [&b"\xed\xa0\xbd"[..], b"\xf0\x9f", b"\xff", b"\xc3"]; // half of a surrogate pair, halves of characters
    let broken = broken.map(<[u8]>::to_vec);
    prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 1..60),
        4 => proptest::sample::select(odd.to_vec()),
        4 => proptest::sample::select(broken.to_vec()),
        4 => (1_usize..100_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
        // So that the line ends about where a block does.
        1 => (block - 60..block + 60).prop_map(|length| vec![b'x'; length]),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    use StreamType::{Stderr, Stdin, Stdout};

    let stream = prop_oneof![4 => Just(Stdout), 1 => Just(Stderr), 1 => Just(Stdin)];
    prop_oneof![
        12 => (stream, bytes()).prop_map(|(stream, bytes)| Step::Said(stream, bytes)),
        1 => Just(Step::Resized),
        1 => Just(Step::Rested),
    ]
}

/// The bytes of stdin, stdout and stderr, as somebody reads them who knows `docs/recording.md` only.
fn streams(lines: &[u8]) -> [Vec<u8>; 3] {
    let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let (_, code, data): (f64, String, String) = serde_json::from_slice(line).unwrap();
        match code.as_str() {
            "i" => found.push((0, data.into_bytes())),
            "o" => found.push((1, data.into_bytes())),
            "portcullis.stderr" => {
                let last = found.last_mut().unwrap();
                last.0 = 2;
            }
            "portcullis.raw" => found.last_mut().unwrap().1 = BASE64.decode(data).unwrap(),
            "r" => assert_eq!(data, "80x25"),
            other => panic!("{other}"),
        }
    }
    let mut streams = [const { Vec::new() }; 3];
    for (stream, bytes) in found {
        streams[stream].extend(bytes);
    }
    streams
}

/// Parts in their order, each with its lines behind the header.
fn parts(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let first = folder.join("2026/11/20").join(format!("{ID}.cast"));
    let paths = replay::files::with_later_parts(&first).into_iter();
    let read = paths.map(|path| {
        let content = std::fs::read(&path).unwrap();
        let header = content.iter().position(|byte| *byte == b'\n').unwrap();
        let _json: Value = serde_json::from_slice(&content[..header]).unwrap();
        (path, content[header + 1..].to_vec())
    });
    read.collect()
}

fn lines_of(parts: Vec<(PathBuf, Vec<u8>)>) -> Vec<u8> {
    parts.into_iter().flat_map(|(_, lines)| lines).collect()
}

/// What a crash leaves of a recording of which so many of a thousand parts were written is sealed, and has the beginning of
/// everything.
fn crash(folder: &Path, thousandths: usize, whole: &[Vec<u8>; 3]) {
    let all = parts(folder);
    let last = &all[all.len() * thousandths / 1001].0;
    for (path, _) in all.iter().rev().take_while(|(path, _)| path != last) {
        std::fs::remove_file(path).unwrap();
    }
    std::fs::remove_file(all[0].0.with_extension("json")).unwrap();
    let content = std::fs::read(last).unwrap();
    let header = content.iter().position(|byte| *byte == b'\n').unwrap();
    let cut = header + 1 + (content.len() - header - 1) * thousandths / 1000;
    std::fs::write(last, &content[..cut]).unwrap();
    // Who wrote the last part says that it is done just before it lets go of the file.
    within(Duration::from_secs(5), || {
        seal::seal_all(folder, &Disk).unwrap() == 1
    });
    let sidecar = std::fs::read(all[0].0.with_extension("json")).unwrap();
    assert_digests(folder, &serde_json::from_slice(&sidecar).unwrap());
    let left = lines_of(parts(folder));
    // Of the last bytes what says which they were may be lost.
    let is_said = |line: &&[u8]| -> bool {
        let (_, code, _): (f64, String, String) = serde_json::from_slice(line).unwrap();
        code == "o" || code == "i"
    };
    let lines: Vec<&[u8]> = left.split_inclusive(|byte| *byte == b'\n').collect();
    let last = lines.iter().rposition(is_said).unwrap_or(0);
    for (left, whole) in streams(&lines[..last].concat()).iter().zip(whole) {
        assert!(whole.starts_with(left));
    }
}

fn assert_digests(folder: &Path, summary: &Summary) {
    let found = parts(folder);
    assert_eq!(summary.parts.len(), found.len());
    for (part, (path, _)) in summary.parts.iter().zip(found) {
        let content = std::fs::read(path).unwrap();
        assert_eq!(part.bytes, content.len() as u64);
        assert_eq!(part.blake3, blake3::hash(&content).to_hex().as_str());
    }
}

async fn play(folder: &Path, part_bytes: u64, steps: &[Step]) -> [Vec<u8>; 3] {
    let settings = Settings {
        part_bytes,
        ..settings(folder)
    };
    let recorder = Recorder::start(settings, None, Metrics::new().0).unwrap();
    let (asked, obligation) = with_input();
    let (mut recording, _killed) = recorder.open(asked, obligation).await.unwrap();
    recording.begin();
    let pace = recording.pace().unwrap();
    let mut expected = [const { Vec::new() }; 3];
    for step in steps {
        pace.room().await;
        match step {
            Step::Said(kind, bytes) => {
                recording.event(&data(*kind, bytes), Duration::ZERO);
                let stream = match kind {
                    StreamType::Stdin => 0,
                    StreamType::Stdout => 1,
                    _ => 2,
                };
                expected[stream].extend_from_slice(bytes);
            }
            Step::Resized => {
                let size = session::TerminalSize {
                    width: 80,
                    height: 25,
                };
                recording.event(&SessionEvent::Resize(size), Duration::ZERO);
            }
            Step::Rested => {
                let recorded = recorder.live().get(ID).unwrap().recorded_bytes;
                within(Duration::from_secs(5), || {
                    lines_of(parts(folder)).len() as u64 == recorded
                });
            }
        }
    }
    assert_eq!(recording.seal(&report()).await.failure, None);
    expected
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

    #[test]
    fn e12_every_byte_is_on_tape_and_a_crash_costs_only_the_end(
        steps in proptest::collection::vec(step(), 1..60),
        part_bytes in prop_oneof![2 => Just(1_u64 << 30), 1 => 4000_u64..5_000_000],
        crash_at in 0_usize..=1000,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let expected = runtime.block_on(play(folder.path(), part_bytes, &steps));
        let found = streams(&lines_of(parts(folder.path())));
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!(found == expected, "{} bytes of {}", found.len(), expected.len());
        }
        let sidecar = std::fs::read(parts(folder.path())[0].0.with_extension("json")).unwrap();
        assert_digests(folder.path(), &serde_json::from_slice(&sidecar).unwrap());
        crash(folder.path(), crash_at, &expected);
    }
}
