//! Known values in protobuf: what leaves of an object is what leaves of it in JSON.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::Value;
use zeroize::Zeroizing;

use super::*;
use crate::policy::mask::{BUILTIN, MaskName};
use crate::request::body::{PROTOBUF, whole};
use crate::transform::MaskReport;
use crate::transform::json::JsonMasker;
use crate::transform::output::Collected;
use crate::transform::placeholder::{FAMILY, FILL};
use crate::transform::text::known::{Index, Shelf, Value as Known};
use crate::wire::json::Documents;
use crate::wire::protobuf::is_message;

const VALUE: &str = "k0rrect-h\"rse\\ba&tery";
const SHORT: &str = "x7Kp-q2Z";
/// A value with a credential in it.
const PAIRED: &str = "AKIAIOSFODNN7EXAMPLE:k0rrect-rest";
const POD: &str = "/api/v1/namespaces/shop/pods/web";

/// Every built-in mask on pods, and two values to be looked for.
static MASK: LazyLock<(Mask, Kind)> = LazyLock::new(|| {
    let info = info(POD);
    let rules: Vec<MaskRule> = BUILTIN.into_iter().flat_map(builtin).collect();
    let applies = |rule: &&MaskRule| rule.applies_to(&info.api_group, &info.qualified_resource());
    let applying: Vec<&MaskRule> = rules.iter().filter(applies).collect();
    let plan = Arc::new(MaskPlan::compile(&applying));
    let kind = kind_for(&info, &plan).unwrap();
    let values = [VALUE, SHORT, PAIRED].map(|text| {
        Arc::new(Known {
            bytes: Zeroizing::new(text.as_bytes().to_vec()),
            source: "secrets/db".to_owned(),
        })
    });
    let placeholders = Arc::new(Placeholders::new(&[7; 32]));
    let index = Index::new(&values, &placeholders);
    let mask = Mask {
        root: plan.root(Root::Object),
        plan,
        placeholders,
        linkable: Linkable::Yes,
        data_is_base64: false,
        known: Some(Arc::new(Shelf::from_pointee(index))),
    };
    (mask, kind)
});

fn masked(form: Form, chunks: &[&[u8]]) -> (Vec<u8>, u64) {
    let (mask, kind) = MASK.clone();
    let (text, outcome) = run(ProtobufMasker::new(mask, kind, form, None), chunks);
    (text, outcome.unwrap())
}

/// How many values each mask hid.
fn counted(tally: &mut Tally) -> Vec<(MaskName, u64)> {
    let report = MaskReport::default();
    report.add(tally);
    report.by_mask()
}

/// An object that is masked as JSON.
fn masked_json(object: &Value) -> (Value, Vec<(MaskName, u64)>) {
    let text = object.to_string();
    let mut masked = Vec::new();
    let mut masker = JsonMasker::new(MASK.0.clone(), Documents::One);
    let mut sink = Collected::new(text.as_bytes(), &mut masked);
    masker.push(text.as_bytes(), &mut sink).unwrap();
    masker.finish(&mut sink).unwrap();
    let counts = counted(masker.tally());
    (serde_json::from_slice(&masked).unwrap(), counts)
}

/// A value as programs write it.
fn forms(value: &str) -> Vec<String> {
    let hex = |byte: u8| format!("{byte:02x}");
    let percent = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    let mut forms = vec![
        value.to_owned(),
        serde_json::to_string(value)
            .unwrap()
            .trim_matches('"')
            .to_owned(),
        value.bytes().map(hex).collect(),
        value.bytes().map(percent).collect(),
    ];
    for before in ["", "a", "ab"] {
        forms.push(STANDARD.encode(format!("{before}{value}")));
        forms.push(URL_SAFE_NO_PAD.encode(format!("{before}{value}~")));
    }
    forms
}

#[track_caller]
fn assert_absent(text: &[u8]) {
    for value in [VALUE, SHORT] {
        for form in forms(value) {
            // The ends of base64 depend on what is beside it.
            let certain = form.get(2..form.len() - 2).unwrap();
            let found = memchr::memmem::find(text, certain.as_bytes());
            assert_eq!(found, None, "{form} in {}", String::from_utf8_lossy(text));
        }
    }
}

/// Would the guard of writes know what was masked again, if it came back? It looks at every text, and at all that
/// may be a message as both.
#[track_caller]
fn assert_recognisable(masked: &[u8], original: &[u8]) {
    let holds = memchr::memmem::find(masked, FAMILY.as_bytes()).is_some();
    if masked == original || holds || masked.iter().all(|byte| *byte == FILL) {
        return;
    }
    assert!(is_message(masked), "{masked:?}");
    let leaves = |message| {
        fields(message).filter_map(|field| match field.ok()?.value {
            FieldValue::Bytes(bytes) => Some(bytes),
            _ => None,
        })
    };
    leaves(masked)
        .zip(leaves(original))
        .for_each(|(masked, original)| assert_recognisable(masked, original));
}

/// A text with values in it, whole or nearly.
fn text() -> impl Strategy<Value = String> {
    let forms = [VALUE, SHORT].map(forms).concat();
    let piece = prop_oneof![
        4 => prop::sample::select(forms),
        4 => "[ -~]{0,12}",
        1 => Just("password=hunter2-horse ".to_owned()),
        1 => Just(format!("key={PAIRED} ")),
        1 => Just("k0rrect-h\"rse".to_owned()),
        1 => Just("ünïcödé\n".to_owned()),
    ];
    prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// A pod, as a message.
fn pod(texts: &[String]) -> Vec<u8> {
    let text = |place: usize| texts[place % texts.len()].as_bytes();
    let noted = serde_json::json!({"f:data": {format!("k:{}", texts[0]): {}, "n": 7}});
    let metadata = [
        field(1, SHORT.as_bytes()),
        field(5, VALUE.as_bytes()),
        field(11, &entry("app", text(1))),
        field(12, &entry("note", text(2))),
        field(
            12,
            &entry(
                LAST_APPLIED,
                serde_json::json!({"x": texts[0]}).to_string().as_bytes(),
            ),
        ),
        field(13, &[field(3, SHORT.as_bytes()), field(4, b"1")].concat()),
        field(14, text(3)),
        field(
            17,
            &[
                field(1, text(4)),
                field(7, &field(1, noted.to_string().as_bytes())),
            ]
            .concat(),
        ),
    ];
    let named = |name: &[u8], value: usize| {
        [field(1, name), field(2, &[b"=", text(value)].concat())].concat()
    };
    // An IntOrString that is a string.
    let port = [b"\x08\x01", &field(3, text(12))[..]].concat();
    let limits = entry("cpu", &field(1, text(5)));
    let container = [
        field(1, b"web"),
        field(2, text(5)),
        field(3, text(6)),
        field(4, text(7)),
        field(4, text(8)),
        field(7, &named(b"DB_PASSWORD", 9)),
        field(7, &named(b"HOST", 10)),
        field(8, &field(1, &limits)),
        field(
            10,
            &field(
                1,
                &field(2, &[field(1, text(11)), field(2, &port)].concat()),
            ),
        ),
    ];
    let spec = [
        field(2, &container.concat()),
        field(7, &entry(&format!("1{}", texts[0]), text(1))),
    ];
    let status = [field(1, b"Running"), field(3, text(2))];
    [
        field(1, &metadata.concat()),
        field(2, &spec.concat()),
        field(3, &status.concat()),
    ]
    .concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn c_03_what_leaves_is_what_leaves_of_json(
        texts in prop::collection::vec(text(), 1..6), cut in any::<prop::sample::Index>(),
    ) {
        let body = envelope("Pod", &pod(&texts));
        let (head, tail) = body.split_at(cut.index(body.len()));
        let (out, _) = masked(Form::Object, &[head, tail]);
        let object = whole(Some(PROTOBUF), &body).unwrap();
        let (json, counts) = masked_json(&object);
        prop_assert!(!json.to_string().contains("k0rrect-rest"), "{json}");
        prop_assert_eq!(whole(Some(PROTOBUF), &out).unwrap(), json);
        let (mask, kind) = MASK.clone();
        let mut masker = ProtobufMasker::new(mask, kind, Form::Object, None);
        let mut output = Output::default();
        masker.push(&body.into(), &mut output).unwrap();
        masker.finish(&mut output).unwrap();
        prop_assert_eq!(counted(masker.tally()), counts);
    }

    #[test]
    fn c_03_in_a_field_that_no_table_knows_a_value_is_found_on_every_level(
        way in prop::collection::vec((1_u32..40, prop::collection::vec(any::<u8>(), 0..20)), 0..6),
        before in "[ -$&-\\[\\]-~]{0,90}", value in prop::sample::select(vec![VALUE, SHORT]), after in "[ -~]{0,90}",
    ) {
        let leaf = format!("{before}{value}{after}");
        let nested = way.iter().fold(leaf.clone().into_bytes(), |inner, (number, beside)| {
            [field(*number, &inner), field(*number + 1, beside)].concat()
        });
        let body = envelope("Pod", &field(2, &field(98, &nested)));
        let (out, _) = masked(Form::Object, &[&body]);
        prop_assert_eq!(out.len(), body.len());
        assert_absent(&out);
        let numbers: Vec<u32> = [2, 2, 98].into_iter().chain(way.iter().rev().map(|(number, _)| *number)).collect();
        let found = at(&out[MAGIC.len()..], &numbers);
        prop_assert_eq!(found.len(), leaf.len());
        assert_recognisable(found, leaf.as_bytes());
    }

    // The bytes of heads are letters, digits, quotes and breaks, too: `2` for a text in field 6, `\n` in field 1, `0` for 48 bytes.
    #[test]
    fn c_03_a_form_of_a_value_in_such_a_field_leaves_everything_around_it_as_it_was(
        form in prop::sample::select([VALUE, SHORT].map(forms).concat()), number in 1_u32..14,
        before in "[ -~]{0,60}", after in "[ -~]{0,90}", beside in "[ -~]{0,90}",
    ) {
        let (ahead, behind) = (format!("{form} {after}"), format!("{before} {form}"));
        let texts = [
            field(number, ahead.as_bytes()),
            field(number + 1, behind.as_bytes()),
            field(number + 2, beside.as_bytes()),
        ];
        let nested = [field(3, &texts.concat()), field(4, behind.as_bytes()), field(5, beside.as_bytes())];
        let body = envelope("Pod", &field(2, &field(98, &nested.concat())));
        let (out, _) = masked(Form::Object, &[&body]);
        prop_assert_eq!(out.len(), body.len());
        assert_absent(&out);
        let nested = at(&out[MAGIC.len()..], &[2, 2, 98]);
        prop_assert_eq!(at(nested, &[5]), beside.as_bytes());
        prop_assert_eq!(at(nested, &[3, number + 2]), beside.as_bytes());
        for (way, original) in [(&[4][..], &behind), (&[3, number], &ahead), (&[3, number + 1], &behind)] {
            let masked = at(nested, way);
            prop_assert_eq!(masked.len(), original.len());
            std::str::from_utf8(masked).unwrap();
            assert_recognisable(masked, original.as_bytes());
        }
    }
}

#[test]
fn c_03_lists_and_watches_are_searched_wherever_they_are_cut() {
    let texts = [
        format!("x {VALUE} y"),
        SHORT.to_owned(),
        STANDARD.encode(format!("user:{VALUE}")),
    ];
    let item = pod(&texts);
    let status = field(3, format!("invalid value {VALUE}").as_bytes());
    let shard = [field(2, b"4711"), field(5, &field(1, VALUE.as_bytes()))].concat();
    let raw = [field(1, &shard), field(2, &item), field(2, &item)].concat();
    for (form, body) in [
        (Form::List, envelope("PodList", &raw)),
        (
            Form::Watch,
            [
                event("ADDED", "Pod", &item),
                event("DELETED", "Pod", &item),
                event("ERROR", "Status", &status),
            ]
            .concat(),
        ),
    ] {
        let (whole, count) = masked(form, &[&body]);
        assert!(count > 20, "{count}");
        let name = field(1, SHORT.as_bytes());
        let uid = field(5, VALUE.as_bytes());
        let owner = field(3, SHORT.as_bytes());
        // What tells objects apart stays, and is all that does.
        let mut rest = whole.clone();
        for kept in [&name, &uid, &owner] {
            while let Some(start) = memchr::memmem::find(&rest, kept) {
                rest.drain(start..start + kept.len());
            }
        }
        assert_absent(&rest);
        for cut in 0..=body.len() {
            let (head, tail) = body.split_at(cut);
            assert!(masked(form, &[head, tail]).0 == whole, "cut at {cut}");
        }
    }
}

#[test]
fn c_03_c_81_in_a_long_list_values_keep_their_length_and_are_known_when_they_come_back() {
    let filler = field(
        2,
        &field(2, &field(98, &vec![b'f'; PROTOBUF_OBJECT_BYTES_MAX / 2])),
    );
    let texts = [SHORT, "ab", SHORT, "ab"];
    let texts = [
        texts.concat(),
        format!("ü{SHORT}"),
        format!("{SHORT}ü"),
        VALUE.to_owned(),
        "password=hunter2 y".to_owned(),
    ];
    let item = field(
        1,
        &texts
            .iter()
            .map(|text| field(12, &entry("a", text.as_bytes())))
            .collect::<Vec<_>>()
            .concat(),
    );
    let items = [
        field(1, b""),
        field(2, &item),
        filler.clone(),
        filler,
        field(2, &item),
    ];
    let body = envelope("PodList", &items.concat());
    let (out, count) = masked(Form::List, &[&body]);
    assert_eq!((out.len(), count), (body.len(), 12));
    assert_absent(&out);
    for (masked, original) in fields(at(at(&out[4..], &[2]), &[2, 1])).zip(&texts) {
        let FieldValue::Bytes(masked) = masked.unwrap().value else {
            unreachable!("annotations are messages");
        };
        let masked = at(masked, &[2]);
        assert_recognisable(masked, original.as_bytes());
        std::str::from_utf8(masked).unwrap();
    }
}

#[test]
fn c_03_messages_deeper_than_any_of_kubernetes_are_covered() {
    let nest = |depth: u32| {
        let way = (0..depth).fold(VALUE.as_bytes().to_vec(), |inner, _| field(1, &inner));
        envelope("Pod", &field(2, &field(98, &way)))
    };
    for depth in [1, 30, 31, 32, 33, 60] {
        let body = nest(depth);
        let (out, count) = masked(Form::Object, &[&body]);
        assert_absent(&out);
        assert_eq!(out.len(), body.len());
        assert_eq!(count > 0, depth < 33, "{depth}");
    }
}

#[test]
fn d_15_what_would_cost_too_much_to_look_through_is_covered() {
    let text = [VALUE.as_bytes(), &vec![b' '; 2 << 20]].concat();
    for (depth, found) in [(3, true), (20, false)] {
        let way = (0..depth).fold(text.clone(), |inner, _| field(1, &inner));
        let beside = field(12, &entry("note", VALUE.as_bytes()));
        let body = envelope(
            "Pod",
            &[field(2, &field(98, &way)), field(1, &beside)].concat(),
        );
        let (out, count) = masked(Form::Object, &[&body]);
        assert_absent(&out);
        assert!(out.len() >= body.len());
        // What a table knows is searched all the same.
        assert_eq!(count > 1, found, "{depth}");
        assert!(count > 0, "{depth}");
    }
}

#[test]
fn c_03_what_stands_before_a_text_is_no_part_of_a_value_in_it() {
    // A field's length may look like the backslash of an escape, or like whatever else goes with a value.
    for (number, length) in [1, 6, 11]
        .into_iter()
        .flat_map(|number| (8..=127).map(move |length| (number, length)))
    {
        let text = format!("{SHORT}{}", " ".repeat(length - SHORT.len()));
        let body = envelope(
            "Pod",
            &field(2, &field(98, &field(number, text.as_bytes()))),
        );
        let (out, _) = masked(Form::Object, &[&body]);
        let found = at(&out[MAGIC.len()..], &[2, 2, 98, number]);
        assert_eq!(found.len(), length, "field {number}");
        assert_absent(found);
    }
}
