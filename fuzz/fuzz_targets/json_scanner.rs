//! No text panics the scanner, no cut changes what it reports, and what serde_json accepts it accepts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::wire::json::{Documents, JsonError, Kind, Scanner, Step};
use serde::de::IgnoredAny;

#[derive(Debug, PartialEq)]
enum Seen {
    Begin(Kind, usize),
    Key(Option<Vec<u8>>, usize),
    End(usize),
}

fn scan(chunks: [&[u8]; 2], skip: bool) -> Result<Vec<Seen>, JsonError> {
    let mut scanner = Scanner::new(Documents::One);
    let (mut seen, mut base) = (Vec::new(), 0);
    for chunk in chunks {
        let mut cursor = 0;
        loop {
            match scanner.step(chunk, &mut cursor)? {
                Step::Begin(kind) => {
                    seen.push(Seen::Begin(kind, base + cursor));
                    if skip && scanner.depth() > 1 {
                        scanner.skip_value();
                    }
                }
                Step::Key => {
                    let key = scanner.key(chunk).map(<[u8]>::to_vec);
                    seen.push(Seen::Key(key, base + cursor));
                }
                Step::End => seen.push(Seen::End(base + cursor)),
                Step::More => break,
            }
        }
        base += chunk.len();
    }
    if scanner.finish()? {
        seen.push(Seen::End(base));
    }
    Ok(seen)
}

fuzz_target!(|input: &[u8]| {
    let Some((&cut, text)) = input.split_first() else {
        return;
    };
    let (head, tail) = text.split_at(usize::from(cut).min(text.len()));
    for skip in [false, true] {
        let whole = scan([text, &[]], skip);
        assert_eq!(whole, scan([head, tail], skip), "a cut changes the outcome");
        if serde_json::from_slice::<IgnoredAny>(text).is_ok() {
            assert!(
                whole.is_ok() || whole == Err(JsonError::TooDeep),
                "valid JSON is refused: {whole:?}"
            );
        }
    }
});
