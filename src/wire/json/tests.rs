use proptest::prelude::*;

use super::*;
use crate::limits::JSON_KEY_BYTES_MAX;

/// What a scan reports, independent of how the text was cut.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Seen {
    Begin(Kind, usize),
    Key(Option<Vec<u8>>, usize),
    End(usize),
}

fn scan(chunks: &[&[u8]], documents: Documents) -> Result<Vec<Seen>, JsonError> {
    let mut scanner = Scanner::new(documents);
    let (mut seen, mut base) = (Vec::new(), 0);
    for chunk in chunks {
        let mut cursor = 0;
        loop {
            match scanner.step(chunk, &mut cursor)? {
                Step::Begin(kind) => seen.push(Seen::Begin(kind, base + cursor)),
                Step::Key => {
                    let key = scanner.key(chunk).map(<[u8]>::to_vec);
                    seen.push(Seen::Key(key, base + cursor));
                }
                Step::End => seen.push(Seen::End(base + cursor)),
                Step::More => break,
            }
        }
        assert!(scanner.held() <= JSON_KEY_BYTES_MAX);
        base += chunk.len();
    }
    if scanner.finish()? {
        seen.push(Seen::End(base));
    }
    Ok(seen)
}

fn scan_one(text: &[u8]) -> Result<Vec<Seen>, JsonError> {
    scan(&[text], Documents::One)
}

fn keys(text: &str) -> Vec<String> {
    let seen = scan_one(text.as_bytes()).unwrap();
    seen.into_iter()
        .filter_map(|seen| match seen {
            Seen::Key(key, _) => Some(String::from_utf8(key.unwrap()).unwrap()),
            _ => None,
        })
        .collect()
}

/// The same, but strings are passed where they can be.
fn scan_plain(chunks: &[&[u8]]) -> (Result<Vec<Seen>, JsonError>, usize) {
    let mut scanner = Scanner::new(Documents::Sequence);
    let (mut seen, mut base, mut passed) = (Vec::new(), 0, 0);
    for chunk in chunks {
        let mut cursor = 0;
        loop {
            match scanner.step(chunk, &mut cursor) {
                Err(error) => return (Err(error), passed),
                Ok(Step::Begin(kind)) => seen.push(Seen::Begin(kind, base + cursor)),
                Ok(Step::Key) => {
                    let key = scanner.key(chunk).map(<[u8]>::to_vec);
                    seen.push(Seen::Key(key, base + cursor));
                    let begins = base + cursor + 2;
                    if let Some(text) = scanner.plain_string(chunk, &mut cursor, blocks::quotes) {
                        assert_eq!(text, &chunk[begins - base..cursor - 1]);
                        seen.push(Seen::Begin(Kind::String, begins));
                        seen.push(Seen::End(base + cursor));
                        passed += 1;
                    }
                }
                Ok(Step::End) => seen.push(Seen::End(base + cursor)),
                Ok(Step::More) => break,
            }
        }
        base += chunk.len();
    }
    match scanner.finish() {
        Ok(true) => seen.push(Seen::End(base)),
        Ok(false) => {}
        Err(error) => return (Err(error), passed),
    }
    (Ok(seen), passed)
}

#[test]
fn strings_that_are_passed_are_those_that_are_read() {
    let long = "x".repeat(200);
    for (text, expected) in [
        (r#"{"a":"b","c":"","d":{"e":"f"},"g":1}"#.to_owned(), 3),
        (
            format!(r#"{{"a":"{long}","b":"{long}\n","c":"{long}"}}"#),
            2,
        ),
        (
            r#"{"a": "b","c" :"d","e":["f"],"g":"\"","h":"\\"}"#.to_owned(),
            0,
        ),
        (r#"{"a":"b"{"#.to_owned(), 1),
        (r#"{"a":"b]"#.to_owned(), 0),
    ] {
        let whole = scan(&[text.as_bytes()], Documents::Sequence);
        assert_eq!(scan_plain(&[text.as_bytes()]), (whole.clone(), expected));
        for at in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(at);
            assert_eq!(scan_plain(&[head, tail]).0, whole, "cut at {at}");
        }
    }
}

#[test]
fn reports_every_value_with_its_place() {
    assert_eq!(
        scan_one(br#" {"a": [1, "x"]} "#).unwrap(),
        [
            Seen::Begin(Kind::Object, 2),
            Seen::Key(Some(b"a".to_vec()), 5),
            Seen::Begin(Kind::Array, 8),
            Seen::Begin(Kind::Scalar(b'1'), 9),
            Seen::End(9),
            Seen::Begin(Kind::String, 12),
            Seen::End(14),
            Seen::End(15),
            Seen::End(16),
        ]
    );
}

#[test]
fn cutting_anywhere_changes_nothing() {
    let text = r#"{"d\u0061ta":{"\ud83d\ude00k":"v\"\\","e":[]},"n":-1.5e+3,"t":[true,null,{}]}"#;
    let whole = scan_one(text.as_bytes()).unwrap();
    for at in 0..=text.len() {
        let (head, tail) = text.as_bytes().split_at(at);
        assert_eq!(
            scan(&[head, tail], Documents::One).unwrap(),
            whole,
            "cut at {at}"
        );
    }
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(scan(&bytes, Documents::One).unwrap(), whole);
}

#[test]
fn keys_are_unescaped() {
    assert_eq!(
        keys(r#"{"d\u0061ta":1,"\u0064\u0061\u0074\u0061":2}"#),
        ["data", "data"]
    );
    assert_eq!(
        keys(r#"{"\ud83d\ude00":1,"\ud83dx":2,"\ud83d":3,"\ude00":4}"#),
        ["\u{1f600}", "\u{fffd}x", "\u{fffd}", "\u{fffd}"]
    );
    assert_eq!(
        keys(r#"{"\ud83d\n":1,"a\/\b":2}"#),
        ["\u{fffd}\n", "a/\u{8}"]
    );
    assert_eq!(scan_one(br#"{"\d":1}"#), Err(JsonError::Escape));
    assert_eq!(scan_one(br#"{"\u12g4":1}"#), Err(JsonError::Escape));
}

#[test]
fn refuses_what_is_not_json() {
    for (text, error) in [
        ("{]", JsonError::Unexpected),
        ("[}", JsonError::Unexpected),
        ("{\"a\" 1}", JsonError::Unexpected),
        ("{\"a\":1 \"b\":2}", JsonError::Unexpected),
        ("{a:1}", JsonError::Unexpected),
        ("[1,]", JsonError::Unexpected),
        ("\u{feff}{}", JsonError::Unexpected),
        ("{}{}", JsonError::Trailing),
        ("{} x", JsonError::Trailing),
        ("{\"a\":", JsonError::Unfinished),
        ("\"abc", JsonError::Unfinished),
        ("[1", JsonError::Unfinished),
        ("[nSECRET]", JsonError::Unexpected),
        ("[nullx]", JsonError::Unexpected),
        ("[nul]", JsonError::Unexpected),
        ("[1x]", JsonError::Unexpected),
        ("tru", JsonError::Unfinished),
    ] {
        assert_eq!(scan_one(text.as_bytes()), Err(error), "{text}");
    }
    assert_eq!(scan_one(b""), Ok(Vec::new()));
    assert_eq!(scan_one(b" \n"), Ok(Vec::new()));
}

#[test]
fn a_sequence_holds_any_number_of_documents() {
    let seen = scan(&[b"{}\n{}\n", b"{}"], Documents::Sequence).unwrap();
    assert_eq!(seen.len(), 6);
}

#[test]
fn depth_is_bounded_when_walking_and_when_skipping() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert!(scan_one(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
    let deep = nested(10_000);
    assert_eq!(scan_one(deep.as_bytes()), Err(JsonError::TooDeep));
    let mut scanner = Scanner::new(Documents::One);
    let mut cursor = 0;
    assert_eq!(
        scanner.step(deep.as_bytes(), &mut cursor),
        Ok(Step::Begin(Kind::Array))
    );
    scanner.skip_value();
    assert_eq!(
        scanner.step(deep.as_bytes(), &mut cursor),
        Err(JsonError::TooDeep)
    );
}

#[test]
fn an_overlong_key_is_no_key_a_path_can_name() {
    for length in [JSON_KEY_BYTES_MAX, JSON_KEY_BYTES_MAX + 1] {
        let text = format!("{{\"{}\":1}}", "k".repeat(length));
        for size in [1, 7, text.len()] {
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let seen = scan(&chunks, Documents::One).unwrap();
            let known = matches!(seen.get(1), Some(Seen::Key(Some(_), _)));
            assert_eq!(known, length == JSON_KEY_BYTES_MAX, "{length} in {size}");
        }
    }
}

#[test]
fn skipping_finds_the_same_end_as_walking() {
    let text = br#"{"a":{"}":"]\"}","b":[[{}],"\\"]},"z":1}"#;
    for size in 1..=text.len() {
        let mut scanner = Scanner::new(Documents::One);
        let (mut base, mut ends) = (0, Vec::new());
        for chunk in text.chunks(size) {
            let mut cursor = 0;
            loop {
                match scanner.step(chunk, &mut cursor).unwrap() {
                    Step::Begin(_) if scanner.depth() == 2 => scanner.skip_value(),
                    Step::End => ends.push(base + cursor),
                    Step::More => break,
                    Step::Begin(_) | Step::Key => {}
                }
            }
            base += chunk.len();
        }
        assert!(!scanner.finish().unwrap());
        assert_eq!(ends, [33, 39, 40], "chunks of {size}");
    }
}

/// What is seen of the members whose key does not begin with `u`.
fn scan_wanted(chunks: &[&[u8]], by_step: bool) -> Result<Vec<Seen>, JsonError> {
    let wants = |key: Option<&[u8]>| key.is_some_and(|key| !key.starts_with(b"u"));
    let mut scanner = Scanner::new(Documents::Sequence);
    let (mut seen, mut base) = (Vec::new(), 0);
    let mut unwanted = false;
    for chunk in chunks {
        let mut cursor = 0;
        loop {
            let step = if by_step {
                scanner.step_where(chunk, &mut cursor, wants)?
            } else {
                scanner.step(chunk, &mut cursor)?
            };
            match step {
                Step::Key if !wants(scanner.key(chunk)) => unwanted = true,
                Step::Begin(_) if unwanted => scanner.skip_value(),
                Step::End if unwanted => unwanted = false,
                Step::Begin(kind) => seen.push(Seen::Begin(kind, base + cursor)),
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
    if scanner.finish()? && !unwanted {
        seen.push(Seen::End(base));
    }
    Ok(seen)
}

/// JSON, mostly, of members that are wanted and members that are not, long and short.
fn members() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        "u?[a-z]{0,4}",
        "u?[a-z]{50,70}",
        r#"\\u?\"[a-z]{0,9}"#,
        r"\u0075x"
    ];
    let scalar = prop_oneof![
        r#""[a-z{}\[,:]{0,8}""#,
        r#""([a-z]|\\"|\\\\){0,80}""#,
        "-?[0-9]{1,3}|true|null",
        r"\{\}|\[\]| \{ \} ",
    ];
    let value = scalar.prop_recursive(4, 40, 6, move |inner| {
        let member =
            (key.clone(), inner.clone()).prop_map(|(key, value)| format!("\"{key}\":{value}"));
        prop_oneof![
            prop::collection::vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(","))),
            prop::collection::vec(inner, 0..6).prop_map(|all| format!("[{}]", all.join(","))),
        ]
    });
    // Something missing, sometimes.
    (value, prop::option::weighted(0.2, 0_usize..200)).prop_map(|(mut text, without)| {
        if let Some(at) = without.filter(|at| *at < text.len() && text.is_ascii()) {
            text.remove(at);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn unwanted_members_are_passed_as_by_hand(text in members(), cut in 0_usize..300) {
        let whole = scan_wanted(&[text.as_bytes()], false);
        prop_assert_eq!(&scan_wanted(&[text.as_bytes()], true), &whole);
        let (head, tail) = text.as_bytes().split_at(cut.min(text.len()));
        prop_assert_eq!(&scan_wanted(&[head, tail], true), &whole);
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        prop_assert_eq!(&scan_wanted(&bytes, true), &whole);
    }
}

#[test]
fn no_place_is_within_an_escape() {
    let (text, mut places) = unescape_with_places(br"a\u00e9b").unwrap();
    let found: Vec<_> = (0..=text.len()).map(|at| places.raw(at)).collect();
    assert_eq!(found, [Some(0), Some(1), None, Some(7), Some(8)]);
}

proptest! {
    #[test]
    fn a_whole_string_is_unescaped_as_its_pieces_are(
        pieces in prop::collection::vec(
            prop::sample::select(vec![
                "a", "\\\\", "\\\"", "\\/", "\\n", "\\u00e9", "\\ud83d", "\\ude00", "\\u12", "\\", "u", "\\x", "\u{e9}",
            ]),
            0..12,
        ),
    ) {
        let raw = pieces.concat();
        let (mut unescaper, mut text) = (Unescaper::default(), Vec::new());
        let mut each = raw.as_bytes().chunks(1);
        let read = each.try_for_each(|byte| unescaper.push(byte, &mut |piece| text.extend_from_slice(piece)));
        let read = read.and_then(|()| unescaper.finish(&mut |piece| text.extend_from_slice(piece)));
        let whole = unescape(raw.as_bytes());
        prop_assert_eq!(whole.as_deref(), read.as_ref().map(|()| text.as_slice()));
        let placed = unescape_with_places(raw.as_bytes());
        prop_assert_eq!(placed.as_ref().map(|(text, _)| text), whole.as_ref());
        if let Ok((text, mut places)) = placed {
            prop_assert_eq!(places.raw(text.len()), Some(raw.len()));
        }
    }

    #[test]
    fn unescaping_agrees_with_serde_json(text in any::<String>(), cut in 0_usize..64) {
        let raw = serde_json::to_string(&text).unwrap();
        let raw = &raw.as_bytes()[1..raw.len() - 1];
        prop_assert_eq!(unescape(raw).unwrap(), text.as_bytes());
        let (head, tail) = raw.split_at(cut.min(raw.len()));
        let (mut unescaper, mut pieces) = (Unescaper::default(), Vec::new());
        unescaper.push(head, &mut |piece| pieces.extend_from_slice(piece)).unwrap();
        unescaper.push(tail, &mut |piece| pieces.extend_from_slice(piece)).unwrap();
        unescaper.finish(&mut |piece| pieces.extend_from_slice(piece)).unwrap();
        prop_assert_eq!(pieces, text.as_bytes());
        let (_, mut places) = unescape_with_places(raw).unwrap();
        for (at, _) in text.char_indices() {
            let (before, _) = text.split_at(at);
            let before = serde_json::to_string(before).unwrap();
            prop_assert_eq!(places.raw(at), Some(before.len() - 2));
        }
        prop_assert_eq!(places.raw(text.len()), Some(raw.len()));
        let mut escaped = Vec::new();
        write_escaped(text.as_bytes(), &mut escaped);
        prop_assert_eq!(unescape(&escaped).unwrap(), text.as_bytes());
    }

    #[test]
    fn no_input_panics_and_no_cut_changes_the_outcome(
        text in r#"[\[\]{}:,"\\u0123dtrue\-\.e \n]{0,40}"#, cut in 0_usize..40,
    ) {
        let text = text.as_bytes();
        let (head, tail) = text.split_at(cut.min(text.len()));
        prop_assert_eq!(
            scan(&[head, tail], Documents::Sequence),
            scan(&[text], Documents::Sequence)
        );
    }

    #[test]
    fn accepts_what_serde_json_accepts(text in r#"[\[\]{}:,"ab1 ]{0,16}"#) {
        if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
            prop_assert!(scan_one(text.as_bytes()).is_ok());
        }
    }
}

#[test]
fn what_has_to_be_escaped_is_found_wherever_it_stands() {
    for length in 1..200 {
        for at in 0..length {
            let mut text = vec![b'x'; length];
            for byte in [b'"', b'\\', b'\n', 0x1f] {
                text[at] = byte;
                let mut escaped = Vec::new();
                write_escaped(&text, &mut escaped);
                let quoted = [b"\"", &escaped[..], b"\""].concat();
                let read: String = serde_json::from_slice(&quoted).unwrap();
                assert_eq!(read.as_bytes(), text);
            }
        }
    }
}
