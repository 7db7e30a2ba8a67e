//! Messages as no generated writer makes them, and how Go's generated readers take them.

use super::*;

const POD: &str = "/api/v1/namespaces/shop/pods/web";

/// A field whose tag and length are longer than they need to be.
fn long_winded(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).unwrap();
    [
        &[
            number << 3 | 2 | 0x80,
            0x80,
            0,
            length & 0x7f | 0x80,
            length >> 7 | 0x80,
            0x80,
            0,
        ][..],
        bytes,
    ]
    .concat()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn c_03_a_value_is_masked_or_refused_however_its_message_is_put_together() {
    let name = |text: &[u8]| field(1, text);
    let value = field(2, PASSWORD);
    let spec = |env: &[u8]| field(2, &field(2, &field(7, env)));
    let number = |number: u8| vec![number << 3, 0x2a];
    let group = |inner: &[u8]| [b"\x2b", inner, b"\x2c"].concat();
    let plain = [name(b"PASSWORD"), value.clone()].concat();
    for (case, raw, refused) in [
        (
            "value first",
            spec(&[value.clone(), name(b"PASSWORD")].concat()),
            false,
        ),
        (
            "value twice",
            spec(&[plain.clone(), value.clone()].concat()),
            false,
        ),
        (
            "name twice",
            spec(&[name(b"HOST"), plain.clone()].concat()),
            false,
        ),
        (
            "name and another",
            spec(&[plain.clone(), name(b"HOST")].concat()),
            false,
        ),
        ("spec twice", [spec(&plain), spec(&plain)].concat(), false),
        (
            "spec in pieces",
            [spec(&name(b"HOST")), spec(&plain), field(2, b"")].concat(),
            false,
        ),
        (
            "containers between others",
            [
                field(
                    2,
                    &[field(98, b"x"), field(2, &field(7, &plain)), number(5)].concat(),
                ),
                field(1, b""),
            ]
            .concat(),
            false,
        ),
        (
            "unknown beside",
            spec(&[number(15), plain.clone(), field(31, b"x")].concat()),
            false,
        ),
        (
            "long heads",
            long_winded(
                2,
                &long_winded(
                    2,
                    &long_winded(
                        7,
                        &[long_winded(1, b"PASSWORD"), long_winded(2, PASSWORD)].concat(),
                    ),
                ),
            ),
            false,
        ),
        ("a group around", group(&spec(&plain)), true),
        (
            "a group within",
            spec(&[plain.clone(), group(b"")].concat()),
            true,
        ),
        (
            "a number for the value",
            spec(&[plain.clone(), number(2)].concat()),
            true,
        ),
        (
            "a number for the list",
            field(2, &[number(2), field(2, &field(7, &plain))].concat()),
            true,
        ),
        (
            "cut short",
            {
                let raw = spec(&plain);
                raw[..raw.len() - 1].to_vec()
            },
            true,
        ),
        (
            "field 0",
            spec(&[plain.clone(), b"\x02\x00".to_vec()].concat()),
            true,
        ),
        // Go keeps the lower 32 bits of a number.
        (
            "a number above 32 bits",
            spec(
                &[
                    name(b"PASSWORD"),
                    [b"\x92\x80\x80\x80\x80\x01\x10", PASSWORD].concat(),
                ]
                .concat(),
            ),
            true,
        ),
    ] {
        let workloads = builtin("workloads").remove(0);
        let body = envelope("Pod", &raw);
        let (text, outcome) = run(masker(POD, Form::Object, &workloads), &[&body]);
        assert_eq!(outcome.is_err(), refused, "{case}: {outcome:?}");
        let found = memchr::memmem::find(&text, PASSWORD);
        assert_eq!(found, None, "{case}");
        assert!(refused || outcome.unwrap() > 0, "{case}");
    }
}

#[test]
fn c_03_an_entry_of_a_map_is_masked_by_its_last_key_in_whatever_order() {
    let (key, value) = (|text: &[u8]| field(1, text), field(2, PASSWORD));
    let rule = rule(&["data.password"]);
    for (case, entry, masked) in [
        ("swapped", [value.clone(), key(b"password")].concat(), true),
        (
            "another key first",
            [key(b"user"), value.clone(), key(b"password")].concat(),
            true,
        ),
        (
            "another key last",
            [key(b"password"), value.clone(), key(b"user")].concat(),
            false,
        ),
        (
            "value twice",
            [key(b"password"), value.clone(), value.clone()].concat(),
            true,
        ),
        ("no key", value.clone(), false),
    ] {
        let body = envelope(
            "Secret",
            &[field(2, &entry), field(2, &key(b"password"))].concat(),
        );
        let (text, outcome) = run(masker(SECRET, Form::Object, &rule), &[&body]);
        assert!(outcome.is_ok(), "{case}: {outcome:?}");
        let found = memchr::memmem::find(&text, PASSWORD);
        assert_eq!(found.is_none(), masked, "{case}");
    }
}

#[test]
fn c_03_a_revealed_field_is_the_only_one_that_shows() {
    let secrets = secrets();
    let password = FieldPath::parse("data.password").unwrap();
    let plan = Arc::new(MaskPlan::revealing(&[&secrets], Some(&password)));
    let kind = kind_for(&info(SECRET), &plan).unwrap();
    let mask = mask(plan);
    for (key, shown) in [
        ("password", true),
        ("Password", false),
        ("password\0", false),
        ("passwor", false),
    ] {
        let body = envelope("Secret", &secret("db", key, PASSWORD));
        let (text, outcome) = run(
            ProtobufMasker::new(mask.clone(), kind.clone(), Form::Object, None),
            &[&body],
        );
        // The copy in the last-applied annotation and the empty value stay masked.
        assert_eq!(outcome, Ok(if shown { 2 } else { 3 }), "{key:?}");
        assert_eq!(
            memchr::memmem::find_iter(&text, PASSWORD).count(),
            usize::from(shown),
            "{key:?}"
        );
    }
}
