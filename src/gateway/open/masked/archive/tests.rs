use std::sync::Arc;

use super::*;
use crate::transform::{MaskReport, Placeholders, TextMasker, TextMasks};

fn archive() -> (Archive, Arc<MaskReport>) {
    let placeholders = Arc::new(Placeholders::new(&[7; 32]));
    let texts = TextMasks::new(None, Some(placeholders)).fitting();
    let report = Arc::new(MaskReport::default());
    let masked = Masked {
        masker: TextMasker::new(&texts),
        report: Arc::clone(&report),
    };
    (Archive::new(masked), report)
}

/// What tar writes for a file.
fn file(name: &str, content: &str) -> Vec<u8> {
    let mut header = vec![0; BLOCK_BYTES];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[257..262].copy_from_slice(b"ustar");
    header[CHECKSUM].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.extend_from_slice(content.as_bytes());
    header.resize(header.len().next_multiple_of(BLOCK_BYTES), 0);
    header
}

fn masked(text: &[u8], size: usize) -> Vec<u8> {
    let (mut archive, _) = archive();
    let mut output = Vec::new();
    for chunk in text.chunks(size) {
        archive.push(chunk, &mut output);
        assert!(!archive.waits() && archive.block.len() < BLOCK_BYTES);
    }
    archive.finish(&mut output);
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
    let masked = String::from_utf8(masked(text.as_bytes(), 100)).unwrap();
    assert_eq!(masked.len(), text.len());
    assert!(!masked.contains("hunter2") && masked.contains("[masked:v1:"));
    let mut header = file("x", "");
    assert!(is_header(&header));
    header[0] = b'y';
    assert!(!is_header(&header) && !is_header(&[0; BLOCK_BYTES]) && !is_header(b""));
}
