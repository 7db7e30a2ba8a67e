use proptest::prelude::*;

use super::*;
use crate::recording::tests::fixtures::{seal_header, tar_member};

/// What the parts of a stream are, one letter for each byte.
fn letters(stream: &[u8], cut: usize) -> String {
    let mut reader = Reader::default();
    let mut letters = String::new();
    let mut all = Vec::new();
    for piece in stream.chunks(cut) {
        reader.push(piece, &mut |part| {
            let (letter, bytes) = match part {
                Part::Header { block, .. } => ("h", block),
                Part::Content(bytes) => ("c", bytes),
                Part::End(bytes) => ("e", bytes),
                Part::Other(bytes) => ("o", bytes),
            };
            assert!(!bytes.is_empty());
            letters += &letter.repeat(bytes.len());
            all.extend_from_slice(bytes);
        });
    }
    let rest = reader.rest();
    letters += &"o".repeat(rest.len());
    all.extend(rest);
    assert_eq!(all, stream);
    assert_eq!(
        reader.is_complete(),
        !letters.contains('o') && reader.skip == 0 && reader.extended.is_none()
    );
    letters
}

/// The same, a letter for each run of them.
fn runs(stream: &[u8]) -> String {
    let whole = letters(stream, stream.len().max(1));
    for cut in [1, 7, 511, 512, 513] {
        assert_eq!(letters(stream, cut), whole, "{cut}");
    }
    let mut letters: Vec<char> = whole.chars().collect();
    letters.dedup();
    letters.iter().collect()
}

#[test]
fn headers_are_where_sizes_lead_to() {
    let looks_like_one = tar_member("inside", b'0', b"");
    let archive = [
        tar_member("etc/", b'5', b""),
        tar_member("etc/x", b'0', &[&looks_like_one[..], b"x"].concat()),
        tar_member("etc/empty", b'0', b""),
        vec![0; 3 * BLOCK_BYTES],
    ];
    assert_eq!(runs(&archive.concat()), "hche");
    let all = letters(&archive.concat(), 100);
    assert_eq!(all.matches('h').count(), 3 * BLOCK_BYTES);
    assert_eq!(all.matches('c').count(), 2 * BLOCK_BYTES);
    assert_eq!(runs(&[&archive[0][..], b"x"].concat()), "ho");
    assert_eq!(runs(&[&archive.concat()[..], b"\0x\0"].concat()), "hcheo");
    assert_eq!(runs(b""), "");
}

#[test]
fn c_51_what_is_no_header_ends_the_archive() {
    let good = tar_member("etc/x", b'0', b"");
    assert_eq!(runs(&good), "h");
    for (change, at, byte) in [
        ("name", 0, b'X'),
        ("mode", 100, b'x'),
        ("owner", 110, b'9'),
        ("time", 140, b'-'),
        ("size", 130, b' '),
        ("type", 156, b'Q'),
        ("magic", 257, b'U'),
        ("padding", 510, b'1'),
    ] {
        let mut block = good.clone();
        block[at] = byte;
        assert_eq!(runs(&block), "o", "{change}");
        // Of what a sum is right for, only the name may be anything.
        seal_header(&mut block);
        let expected = if change == "name" { "h" } else { "o" };
        assert_eq!(runs(&block), expected, "{change}");
    }
    let mut old = good;
    old[136..148].copy_from_slice(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe");
    seal_header(&mut old);
    assert_eq!(runs(&old), "h", "a time before 1970");
}

#[test]
fn records_of_pax_that_are_broken_say_nothing() {
    let mut next = Next::default();
    for broken in [
        "",
        "x",
        "5",
        "99 path=x\n",
        "0 path=x\n",
        "3 path=x\n",
        "-1 path=x\n",
    ] {
        next.pax(broken.as_bytes());
    }
    assert!(next.name.is_none() && next.size.is_none());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), kind: u8, cut in 1..600_usize) {
        let archive = [tar_member("x", kind, &bytes), bytes].concat();
        letters(&archive, cut);
    }
}
