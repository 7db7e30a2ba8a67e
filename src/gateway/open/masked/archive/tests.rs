use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::gateway::open::masked::filters;
use crate::recording::copy::tar::BLOCK_BYTES;
use crate::recording::tests::fixtures::tar_member;
use crate::session::{Ending, StreamType};
use crate::transform::text::known::{Index, Shelf, Value};
use crate::transform::{MaskReport, Placeholders, TextMasks};

const KNOWN: &str = "hunter2!hunter2!";
const SUCCESS: &[u8] = br#"{"metadata":{},"status":"Success"}"#;

fn texts() -> TextMasks {
    let placeholders = Arc::new(Placeholders::new(&[7; 32]));
    let known = Arc::new(Value {
        bytes: KNOWN.as_bytes().to_vec().into(),
        source: "secrets/shop/db".to_owned(),
    });
    let shelf = Arc::new(Shelf::from_pointee(Index::new(&[known], &placeholders)));
    TextMasks::new(Some(shelf), Some(placeholders))
}

fn file(name: &str, content: &str) -> Vec<u8> {
    tar_member(name, b'0', content.as_bytes())
}

/// What leaves of an archive, of the final status after it, and why it ended.
fn copied(stream: &[u8], size: usize) -> (Vec<u8>, Vec<u8>, Option<Ending>) {
    let withheld = Withheld::new("shop/copies");
    let report = Arc::new(MaskReport::default());
    let mut filters = filters(texts(), report, Some(StreamType::Stdout), withheld.clone());
    let (mut archive, mut status) = (filters(StreamType::Stdout), filters(StreamType::Error));
    let (mut output, mut last) = (Vec::new(), Vec::new());
    for chunk in stream.chunks(size) {
        archive.push(chunk, Duration::ZERO, &mut output);
        assert_eq!(archive.due(), None);
    }
    archive.finish(&mut output);
    status.push(SUCCESS, Duration::ZERO, &mut last);
    status.finish(&mut last);
    (output, last, withheld.ending().now_or_never())
}

fn masked(stream: &[u8], size: usize) -> Vec<u8> {
    let (output, status, ending) = copied(stream, size);
    assert_eq!(ending, None);
    assert_eq!(status, SUCCESS);
    output
}

#[test]
fn c_51_an_archive_stays_one_and_its_files_keep_their_length() {
    let long = "password: p@ss!word(9)*x\nline 2\nline 3\n";
    let hidden = "password: [masked:v1:";
    // It ends with its block, so that the next header follows at once.
    let full = format!("{}token=S3cr3t", "x".repeat(BLOCK_BYTES - 12));
    let files = [
        file("password=S3cr3t", long),
        file("full", &full),
        file("token: x", "token: y\n"),
        vec![0; 2 * BLOCK_BYTES],
    ];
    let text = files.concat();
    for size in [1, 7, BLOCK_BYTES, 1000, text.len()] {
        let masked = masked(&text, size);
        assert_eq!(masked.len(), text.len());
        let mut at = 0;
        for file in &files {
            // Headers are as they were.
            assert_eq!(masked[at..at + BLOCK_BYTES], file[..BLOCK_BYTES]);
            at += file.len();
        }
        let content = String::from_utf8(masked).unwrap();
        assert!(!content.contains("p@ss!word") && content.contains("\nline 2\nline 3\n"));
        assert_eq!(content.find(hidden), Some(BLOCK_BYTES));
        assert!(content.contains("xtoken=\u{1a}\u{1a}\u{1a}\u{1a}\u{1a}\u{1a}token: x"));
        assert!(content.contains("token: \u{1a}\n"));
    }
}

#[test]
fn what_is_no_archive_is_masked_all_the_same() {
    let text = "DB_PASSWORD=hunter2-hunter2\n".repeat(100);
    let after = [&file("x", "y")[..], &[0; BLOCK_BYTES], text.as_bytes()].concat();
    for stream in [text.as_bytes(), &after] {
        let masked = String::from_utf8(masked(stream, 100)).unwrap();
        assert_eq!(masked.len(), stream.len());
        assert!(!masked.contains("hunter2") && masked.contains("[masked:v1:"));
    }
}

#[test]
fn c_51_what_looks_like_a_header_within_a_file_is_content() {
    let inner = file("password=p@ss!word(9)*x", "");
    let outer = [
        file("backup.tar", str::from_utf8(&inner).unwrap()),
        vec![0; 1024],
    ]
    .concat();
    // A block of the same looks behind the archive is none either.
    for stream in [outer.clone(), [outer, inner].concat()] {
        for size in [1, BLOCK_BYTES, stream.len()] {
            let masked = masked(&stream, size);
            assert_eq!(masked.len(), stream.len());
            let text = String::from_utf8_lossy(&masked);
            assert!(!text.contains("p@ss!word"), "{text}");
        }
    }
}

#[test]
fn c_51_a_known_value_ends_the_copy_and_the_user_is_told_where() {
    let before = file("etc/hosts", "127.0.0.1 localhost\n");
    let end = vec![0; 2 * BLOCK_BYTES];
    let value = format!("url = postgres://u:{KNOWN}@db\n");
    for (bad, place) in [
        (file("etc/app.ini", &value), "the file \"etc/app.ini\""),
        (file(KNOWN, ""), "the name of a file or its owner"),
    ] {
        let stream = [&before[..], &bad, &file("etc/later", "x"), &end].concat();
        for size in [1, 100, BLOCK_BYTES, stream.len()] {
            let (output, status, ending) = copied(&stream, size);
            let ending = ending.unwrap();
            assert!(ending.message.contains(place), "{}", ending.message);
            assert!(
                ending.message.contains("known-values") && ending.message.contains("shop/copies")
            );
            let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
            assert_eq!(
                (&status["status"], &status["code"]),
                (&"Failure".into(), &403.into())
            );
            assert_eq!(status["message"], ending.message.as_str());
            // Headers that pass, and what stood before; nothing of what came behind.
            assert!(output.len() <= before.len() + BLOCK_BYTES + value.len());
            let text = String::from_utf8_lossy(&output);
            assert!(
                !text.contains("hunter2!h") && !text.contains("later"),
                "{text}"
            );
        }
    }
    // Where it is in none of the files, it ends so too.
    let (_, status, ending) = copied(value.as_bytes(), 5);
    assert!(ending.unwrap().message.contains("it holds the value"));
    assert_ne!(status, SUCCESS);
}
