//! What passed before passes again, and nothing else does.

use super::*;

const SECRET_TEXT: &str = "S3cr3tS3cr3t-S3cr3t";

/// What a container's variables, arguments and probes hold: little of it, so that most comes again.
fn text() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "debug",
        "",
        "--password",
        "mysql",
        SECRET_TEXT,
        "postgres://app:S3cr3tS3cr3t-S3cr3t@db/shop",
        "${FROM_ELSEWHERE}",
    ])
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["LOG_LEVEL", "PASSWORD", "DATABASE_URL", "LOG_LEVEL2"])
}

fn texts(number: u32, texts: &[&str]) -> Vec<u8> {
    texts
        .iter()
        .flat_map(|text| field(number, text.as_bytes()))
        .collect()
}

fn variable() -> impl Strategy<Value = Vec<u8>> {
    // The name may stand behind the value, or twice.
    (name(), text(), prop::option::of(name()), any::<bool>()).prop_map(
        |(name, value, other, turned)| {
            let mut fields = vec![field(1, name.as_bytes()), field(2, value.as_bytes())];
            fields.extend(other.map(|other| field(1, other.as_bytes())));
            if turned {
                fields.reverse();
            }
            field(7, &fields.concat())
        },
    )
}

fn container() -> impl Strategy<Value = Vec<u8>> {
    let words = || prop::collection::vec(text(), 0..3);
    let variables = prop::collection::vec(variable(), 0..4);
    (words(), words(), variables, words()).prop_map(|(command, args, variables, probe)| {
        let handler = field(1, &field(1, &texts(1, &probe)));
        let parts = [
            field(1, b"main"),
            texts(3, &command),
            texts(4, &args),
            variables.concat(),
            field(10, &handler),
        ];
        // Among the containers, or the first containers.
        field(if args.len() == 2 { 20 } else { 2 }, &parts.concat())
    })
}

fn pod() -> impl Strategy<Value = Vec<u8>> {
    let containers = prop::collection::vec(container(), 0..3);
    containers.prop_map(|containers| {
        let object = field(2, &containers.concat());
        event("MODIFIED", "Pod", &object)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_passed_before_is_masked_as_what_is_new(
        pods in prop::collection::vec(pod(), 1..8), cuts in prop::collection::vec(1_usize..200, 0..20),
    ) {
        let workloads = builtin("workloads").remove(0);
        let target = "/api/v1/namespaces/shop/pods?watch=1";
        let (mut expected, mut count) = (Vec::new(), 0);
        for pod in &pods {
            let (text, outcome) = run(masker(target, Form::Watch, &workloads), &[pod]);
            expected.extend_from_slice(&text);
            count += outcome.unwrap();
        }
        let stream = pods.concat();
        let (mut pieces, mut rest) = (Vec::new(), stream.as_slice());
        for cut in cuts {
            let (piece, behind) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        pieces.push(rest);
        for pieces in [&[stream.as_slice()][..], &pieces] {
            let (text, outcome) = run(masker(target, Form::Watch, &workloads), pieces);
            prop_assert_eq!(outcome, Ok(count));
            prop_assert_eq!(String::from_utf8_lossy(&text), String::from_utf8_lossy(&expected));
        }
    }
}

#[test]
fn something_passes_because_it_passed_before() {
    let workloads = builtin("workloads").remove(0);
    let mut masker = masker("/api/v1/pods?watch=1", Form::Watch, &workloads);
    let variable = [field(1, b"LOG_LEVEL"), field(2, b"debug")].concat();
    let pod = field(2, &field(2, &field(7, &variable)));
    let pod = Bytes::from(event("MODIFIED", "Pod", &pod));
    let mut output = Output::default();
    assert_eq!(masker.rewriter.familiar.bytes(), 0);
    masker.push(&pod, &mut output).unwrap();
    let remembered = masker.rewriter.familiar.bytes();
    assert!(remembered > 0);
    masker.push(&pod, &mut output).unwrap();
    assert_eq!(masker.rewriter.familiar.bytes(), remembered);
    masker.rest();
    assert_eq!(masker.rewriter.familiar.bytes(), 0);
}

#[test]
fn an_idle_watch_holds_nothing_of_what_came_in_pieces() {
    let target = "/api/v1/namespaces/shop/secrets?watch=1";
    let mut masker = masker(target, Form::Watch, &secrets());
    let value = vec![b'v'; 1 << 20];
    let body = Bytes::from(event("ADDED", "Secret", &secret("db", "password", &value)));
    let mut output = Output::default();
    for piece in [body.slice(..1000), body.slice(1000..)] {
        masker.push(&piece, &mut output).unwrap();
    }
    while output.pop().is_some() {}
    masker.rest();
    assert_eq!(masker.held.capacity(), 0);
}

#[test]
fn little_is_kept_from_one_message_to_the_next() {
    let target = "/api/v1/namespaces/shop/secrets?watch=1";
    let mut masker = masker(target, Form::Watch, &secrets());
    let entries = (0..10_000).flat_map(|key| field(2, &entry(&key.to_string(), b"v")));
    let many = event("ADDED", "Secret", &entries.collect::<Vec<u8>>());
    let few = event("ADDED", "Secret", &field(2, &entry("key", b"v")));
    let mut output = Output::default();
    masker.push(&many.into(), &mut output).unwrap();
    assert!(masker.rewriter.edits.bytes() > 1 << 19);
    masker.push(&few.into(), &mut output).unwrap();
    assert!(masker.rewriter.edits.bytes() < 1 << 16);
}
