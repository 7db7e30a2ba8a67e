use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::policy::mask::{FieldPath, LAST_APPLIED, MaskPlan, MaskRule, Root, builtin};
use crate::request::RequestInfo;
use crate::transform::Placeholders;
use crate::transform::placeholder::Linkable;
use crate::wire::protobuf::tests::field;
use crate::wire::protobuf::{Field, FieldValue, fields};

mod back;
mod familiar;
mod known;
mod odd;
mod pieces;

type Build<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;

const PASSWORD: &[u8] = b"S3cr3t-Pa55w0rd!";

fn info(target: &str) -> RequestInfo {
    RequestInfo::parse(&http::Method::GET, target).unwrap()
}

fn rule(paths: &[&str]) -> MaskRule {
    MaskRule {
        name: "test".to_owned(),
        api_groups: vec!["*".to_owned()],
        resources: vec!["*".to_owned()],
        fields: paths
            .iter()
            .map(|path| FieldPath::parse(path).unwrap())
            .collect(),
        ..MaskRule::default()
    }
}

fn masker(target: &str, form: Form, rule: &MaskRule) -> ProtobufMasker {
    let plan = Arc::new(MaskPlan::compile(&[rule]));
    let kind = kind_for(&info(target), &plan).unwrap();
    ProtobufMasker::new(mask(plan), kind, form, None)
}

fn mask(plan: Arc<MaskPlan>) -> Mask {
    Mask {
        root: plan.root(Root::Object),
        plan,
        placeholders: Arc::new(Placeholders::new(&[7; 32])),
        linkable: Linkable::Yes,
        data_is_base64: true,
        known: None,
    }
}

fn run(mut masker: ProtobufMasker, chunks: &[&[u8]]) -> (Vec<u8>, Result<u64, MaskProtobufError>) {
    let (mut output, mut text) = (Output::default(), Vec::new());
    let mut outcome = Ok(());
    for chunk in chunks {
        outcome = outcome.and_then(|()| masker.push(&Bytes::copy_from_slice(chunk), &mut output));
        while let Some(bytes) = output.pop() {
            text.extend_from_slice(&bytes);
        }
        assert!(masker.held.len() <= PROTOBUF_OBJECT_BYTES_MAX + 2 * chunk.len());
    }
    outcome = outcome.and_then(|()| masker.finish(&mut output));
    while let Some(bytes) = output.pop() {
        text.extend_from_slice(&bytes);
    }
    let report = crate::transform::MaskReport::default();
    report.add(masker.tally());
    (text, outcome.map(|()| report.values_masked()))
}

fn secrets() -> MaskRule {
    builtin("secrets").remove(0)
}

const SECRET: &str = "/api/v1/namespaces/shop/secrets/db";
const SECRETS: &str = "/api/v1/namespaces/shop/secrets";

fn envelope(kind: &str, raw: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [
        MAGIC,
        &field(1, &type_meta),
        &field(2, raw),
        &field(3, b""),
        &field(4, b""),
    ]
    .concat()
}

/// A frame of a watch.
fn event(kind: &str, name: &str, object: &[u8]) -> Vec<u8> {
    let extension = field(1, &envelope(name, object));
    let event = [field(1, kind.as_bytes()), field(2, &extension)].concat();
    let length = u32::try_from(event.len()).unwrap();
    [&length.to_be_bytes()[..], &event].concat()
}

fn entry(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, value)].concat()
}

/// A Secret with a value, and with another in its last-applied annotation.
fn secret(name: &str, key: &str, value: &[u8]) -> Vec<u8> {
    let applied = serde_json::json!({"stringData": {key: String::from_utf8_lossy(value)}});
    let metadata = [
        field(1, name.as_bytes()),
        field(12, &entry("other", b"kept")),
        field(12, &entry(LAST_APPLIED, applied.to_string().as_bytes())),
    ];
    [
        field(1, &metadata.concat()),
        field(2, &entry(key, value)),
        field(2, &entry("empty", b"")),
        field(3, b"Opaque"),
        b"\x28\x01".to_vec(), // immutable
        field(99, b"of a later version"),
    ]
    .concat()
}

/// The value of the first field of this way.
fn at<'a>(message: &'a [u8], way: &[u32]) -> &'a [u8] {
    way.iter().fold(message, |message, number| {
        fields(message)
            .map(Result::unwrap)
            .find_map(|field| match field.value {
                FieldValue::Bytes(bytes) if field.number == *number => Some(bytes),
                _ => None,
            })
            .unwrap()
    })
}

fn placeholder(value: &[u8]) -> String {
    let value = String::from_utf8_lossy(value);
    Placeholders::new(&[7; 32]).of(&*value).text().to_owned()
}

/// The Secret as it must leave, built anew.
fn masked_secret(name: &str, key: &str, value: &[u8]) -> Vec<u8> {
    let text = placeholder(value);
    let whole = secret(name, key, text.as_bytes());
    let empty = field(2, &entry("empty", b""));
    let masked_empty = field(2, &entry("empty", placeholder(b"").as_bytes()));
    let start = memchr::memmem::find(&whole, &empty).unwrap();
    [
        &whole[..start],
        &masked_empty,
        &whole[start + empty.len()..],
    ]
    .concat()
}

#[test]
fn c_03_an_object_gets_whole_placeholders_and_nothing_else_changes() {
    let body = envelope("Secret", &secret("db", "password", PASSWORD));
    let expected = envelope("Secret", &masked_secret("db", "password", PASSWORD));
    for cut in 0..=body.len() {
        let (head, tail) = body.split_at(cut);
        let (text, outcome) = run(masker(SECRET, Form::Object, &secrets()), &[head, tail]);
        assert_eq!(outcome, Ok(3), "cut at {cut}");
        assert_eq!(text, expected, "cut at {cut}");
    }
    let metadata = envelope("PartialObjectMetadata", &secret("db", "password", PASSWORD));
    assert_eq!(
        run(masker(SECRET, Form::Object, &secrets()), &[&metadata]).1,
        Ok(3)
    );
}

#[test]
fn c_07_every_frame_of_a_watch_is_masked_by_itself() {
    let metadata = field(1, &field(1, b"bookmark"));
    let status = field(3, b"too old resource version: 1 (200)");
    let events = |secret: &[u8]| {
        [
            event("ADDED", "Secret", secret),
            event("BOOKMARK", "Secret", &metadata),
            event("DELETED", "Secret", secret),
            event("ERROR", "Status", &status),
        ]
        .concat()
    };
    let body = events(&secret("db", "password", PASSWORD));
    let expected = events(&masked_secret("db", "password", PASSWORD));
    let target = "/api/v1/namespaces/shop/secrets?watch=1";
    for cut in 0..=body.len() {
        let (head, tail) = body.split_at(cut);
        let (text, outcome) = run(masker(target, Form::Watch, &secrets()), &[head, tail]);
        assert_eq!(outcome, Ok(6), "cut at {cut}");
        assert_eq!(text, expected, "cut at {cut}");
    }
    let first = event("ADDED", "Secret", &secret("db", "password", PASSWORD)).len();
    let mut masker = masker(target, Form::Watch, &secrets());
    let mut output = Output::default();
    let chunk = Bytes::copy_from_slice(&body[..first]);
    masker.push(&chunk, &mut output).unwrap();
    assert!(!output.is_empty(), "an event waits for the next one");
}

fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut raw = field(1, &field(2, b"4711"));
    for item in items {
        raw.extend(field(2, item));
    }
    envelope("SecretList", &raw)
}

#[test]
fn c_32_managed_fields_are_masked_as_the_json_they_are() {
    let noted = serde_json::json!({"f:type": {}, "f:data": {"v:\"S3cr3t-Pa55w0rd!\"": {}}});
    let noted = field(1, noted.to_string().as_bytes());
    let entry = [field(1, b"kubectl"), field(7, &noted)].concat();
    let body = envelope("Secret", &field(1, &field(17, &entry)));
    let rule = rule(&["data.*"]);
    let (text, outcome) = run(masker(SECRET, Form::Object, &rule), &[&body]);
    assert_eq!(outcome, Ok(1));
    assert_eq!(memchr::memmem::find(&text, PASSWORD), None);
    let masked = at(at(&text[MAGIC.len()..], &[2]), &[1, 17, 7, 1]);
    let masked: serde_json::Value = serde_json::from_slice(masked).unwrap();
    assert_eq!(masked["f:type"], serde_json::json!({}));
    assert!(
        masked["f:data"]
            .as_str()
            .unwrap()
            .starts_with("[masked:v1:")
    );
}

#[test]
fn c_03_a_short_list_gets_whole_placeholders() {
    let body = list(&[
        secret("a", "password", PASSWORD),
        secret("b", "token", b"x"),
    ]);
    let expected = list(&[
        masked_secret("a", "password", PASSWORD),
        masked_secret("b", "token", b"x"),
    ]);
    for cut in 0..=body.len() {
        let (head, tail) = body.split_at(cut);
        let (text, outcome) = run(masker(SECRETS, Form::List, &secrets()), &[head, tail]);
        assert_eq!(outcome, Ok(6), "cut at {cut}");
        assert_eq!(text, expected, "cut at {cut}");
    }
}

#[test]
fn c_03_a_long_list_passes_item_by_item_and_values_keep_their_length() {
    let filler = vec![b'f'; PROTOBUF_OBJECT_BYTES_MAX / 3];
    let items: Vec<_> = [PASSWORD, b"short", &filler, &filler, &filler, &[b'y'; 53]]
        .iter()
        .map(|value| secret("db", "password", value))
        .collect();
    let body = list(&items);
    let first = body.len() / 100;
    for size in [first, 8192 - 1, body.len()] {
        let chunks: Vec<&[u8]> = body.chunks(size).collect();
        let (text, outcome) = run(masker(SECRETS, Form::List, &secrets()), &chunks);
        // The empty values of a long list stay empty.
        assert_eq!(outcome.unwrap(), 18);
        assert_eq!(text.len(), body.len());
        assert!(memchr::memmem::find(&text, PASSWORD).is_none());
        assert!(memchr::memmem::find(&text, b"short").is_none());
        assert!(memchr::memmem::find(&text, b"ffff").is_none());
        let (masked, original) = (at(&text[4..], &[2]), at(&body[4..], &[2]));
        assert_eq!(at(masked, &[1]), at(original, &[1]));
        let numbers = |list| {
            fields(list)
                .map(|field| field.unwrap().number)
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(masked), numbers(original));
        for item in fields(masked).skip(1) {
            let FieldValue::Bytes(item) = item.unwrap().value else {
                unreachable!("items are messages");
            };
            let value = at(item, &[2, 2]);
            assert!(
                value == vec![0x1a; value.len()] || value.starts_with(b"[masked:v1:"),
                "{value:?}"
            );
            let annotations = fields(at(item, &[1])).filter_map(|field| match field.unwrap() {
                Field {
                    number: 12,
                    value: FieldValue::Bytes(entry),
                } => Some(entry),
                _ => None,
            });
            for entry in annotations.filter(|entry| at(entry, &[1]) == LAST_APPLIED.as_bytes()) {
                serde_json::from_slice::<serde_json::Value>(at(entry, &[2])).unwrap();
            }
        }
    }
    let mut masker = masker(SECRETS, Form::List, &secrets());
    let mut output = Output::default();
    let chunk = Bytes::copy_from_slice(&body[..first]);
    masker.push(&chunk, &mut output).unwrap();
    assert!(!output.is_empty(), "the first item waits for the last");
}

#[track_caller]
fn assert_refused(form: Form, body: &[u8], problem: MaskProtobufError) {
    let target = if form == Form::Object {
        SECRET
    } else {
        SECRETS
    };
    let (text, outcome) = run(masker(target, form, &secrets()), &[body]);
    assert_eq!(outcome, Err(problem), "{form:?} {body:?}");
    assert!(memchr::memmem::find(&text, PASSWORD).is_none());
}

#[test]
fn c_03_what_is_no_envelope_of_the_kind_is_refused() {
    let secret = secret("db", "password", PASSWORD);
    let body = envelope("Secret", &secret);
    let encoded = [&body[..], &field(3, b"gzip")].concat();
    let magic = MaskProtobufError::Wire(ProtobufError::Magic);
    let shape = MaskProtobufError::Shape;
    assert_refused(Form::Object, b"not protobuf", magic);
    assert_refused(Form::Object, b"", magic);
    assert_refused(Form::Object, &encoded, shape);
    assert_refused(Form::Object, &envelope("Pod", &secret), shape);
    assert_refused(Form::Object, &envelope("SecretList", &secret), shape);
    assert_refused(Form::Object, &list(&[]), shape);
    assert_refused(Form::List, &body, shape);
    assert_refused(Form::List, &envelope("SecretList", &field(3, b"")), shape);
    assert_refused(Form::List, MAGIC, MaskProtobufError::Unfinished);
    assert_refused(
        Form::Watch,
        b"\xff\xff\xff\xff",
        MaskProtobufError::TooLarge,
    );
    assert_refused(Form::Watch, b"\0\0\0\x01", MaskProtobufError::Unfinished);
}

#[test]
fn c_03_what_readers_could_read_differently_is_refused() {
    let secret = secret("db", "password", PASSWORD);
    let truncated = MaskProtobufError::Wire(ProtobufError::Truncated);
    let wire_type = MaskProtobufError::Wire(ProtobufError::WireType);
    let broken_entry = [&secret[..], &field(2, b"\x12\xff")].concat();
    assert_refused(Form::Object, &envelope("Secret", &broken_entry), truncated);
    let short = &secret[..secret.len() - 1];
    assert_refused(Form::Object, &envelope("Secret", short), truncated);
    let group = [&secret[..], b"\x13\x14"].concat();
    assert_refused(Form::Object, &envelope("Secret", &group), wire_type);
    let number = [&secret[..], b"\x10\x01"].concat();
    assert_refused(Form::Object, &envelope("Secret", &number), wire_type);
}

#[test]
fn what_is_too_large_is_refused() {
    let large = envelope("Secret", &field(2, &vec![0; PROTOBUF_OBJECT_BYTES_MAX]));
    let (_, outcome) = run(masker(SECRET, Form::Object, &secrets()), &[&large]);
    assert_eq!(outcome, Err(MaskProtobufError::TooLarge));
    let raw = field(2, &vec![0; PROTOBUF_OBJECT_BYTES_MAX]);
    let large = envelope("SecretList", &raw);
    let (_, outcome) = run(masker(SECRETS, Form::List, &secrets()), &[&large]);
    assert_eq!(outcome, Err(MaskProtobufError::TooLarge));
}

#[test]
fn fields_of_pods_and_templates_are_found_at_their_depth() {
    let env = |value: &[u8]| field(7, &[field(1, b"DB"), field(2, value)].concat());
    let probe = field(10, &field(1, &field(1, &field(1, b"sh -c secret"))));
    let container = |value: &[u8]| {
        [
            field(1, b"web"),
            env(value),
            field(4, b"--x"),
            probe.clone(),
        ]
        .concat()
    };
    let spec = |value: &[u8]| {
        [
            field(2, &container(value)),
            field(20, &container(value)),
            field(
                34,
                &[field(1, &container(value)), field(2, b"target")].concat(),
            ),
        ]
        .concat()
    };
    let paths = |prefix: &str| {
        ["containers", "initContainers", "ephemeralContainers"]
            .map(|kind| format!("{prefix}{kind}[*].env[*].value"))
    };
    let template = |value: &[u8]| [field(1, b""), field(2, &spec(value))].concat();
    let pod = |value: &[u8]| [field(1, b""), field(2, &spec(value))].concat();
    let at_3 = |value: &[u8]| field(2, &field(3, &template(value)));
    let cron = |value: &[u8]| field(2, &field(5, &field(2, &field(6, &template(value)))));
    let deployment = "/apis/apps/v1/namespaces/shop/deployments/web";
    let cases: [(&str, &str, &str, Build<'_>); 3] = [
        ("/api/v1/namespaces/shop/pods/web", "Pod", "spec.", &pod),
        (deployment, "Deployment", "spec.template.spec.", &at_3),
        (
            "/apis/batch/v1/namespaces/shop/cronjobs/web",
            "CronJob",
            "spec.jobTemplate.spec.template.spec.",
            &cron,
        ),
    ];
    for (target, kind, prefix, build) in cases {
        let paths = paths(prefix);
        let rule = rule(&paths.each_ref().map(String::as_str));
        let body = envelope(kind, &build(PASSWORD));
        let expected = envelope(kind, &build(placeholder(PASSWORD).as_bytes()));
        let (text, outcome) = run(masker(target, Form::Object, &rule), &[&body]);
        assert_eq!(outcome, Ok(3), "{kind}");
        assert_eq!(text, expected, "{kind}");
    }
    let paths = ["spec.containers[*].livenessProbe.exec.command[*]"];
    let pods = "/api/v1/namespaces/shop/pods/web";
    let body = envelope("Pod", &pod(PASSWORD));
    let (text, _) = run(masker(pods, Form::Object, &rule(&paths)), &[&body]);
    let command = at(&text[4..], &[2, 2, 2, 10, 1, 1, 1]);
    assert_eq!(command, placeholder(b"sh -c secret").as_bytes());

    let revision = "/apis/apps/v1/namespaces/shop/controllerrevisions/web-1";
    let json = br#"{"spec":{"template":{"spec":{"containers":[{"env":[{"value":"S3cr3t-Pa55w0rd!"}]}]}}}}"#;
    let body = envelope("ControllerRevision", &field(2, &field(1, json)));
    let rule = rule(&["data.spec.template.spec.containers[*].env[*].value"]);
    let (text, outcome) = run(masker(revision, Form::Object, &rule), &[&body]);
    assert_eq!(outcome, Ok(1));
    let json: serde_json::Value = serde_json::from_slice(at(&text[4..], &[2, 2, 1])).unwrap();
    let value = json
        .pointer("/spec/template/spec/containers/0/env/0/value")
        .unwrap();
    assert_eq!(value, &placeholder(PASSWORD));
}

#[test]
fn c_45_words_of_a_command_are_read_by_those_before_them() {
    let pod = |password: &str| {
        let command = ["mysqladmin", "-h", "db"].map(|word| field(3, word.as_bytes()));
        let words = [
            format!("-p{password}"),
            "-u".to_owned(),
            format!("bob:{password}"),
        ];
        let args = words.map(|word| field(4, word.as_bytes()));
        let other = field(4, b"-p8080:80");
        let container = [field(1, b"web"), command.concat(), args.concat()].concat();
        let spec = [field(2, &container), field(2, &other)].concat();
        envelope("Pod", &[field(1, b""), field(2, &spec)].concat())
    };
    let workloads = builtin("workloads").remove(0);
    let target = "/api/v1/namespaces/shop/pods/web";
    let password = String::from_utf8_lossy(PASSWORD);
    let (text, outcome) = run(masker(target, Form::Object, &workloads), &[&pod(&password)]);
    assert_eq!(outcome, Ok(2));
    assert_eq!(text, pod(&placeholder(PASSWORD)));
}

#[test]
fn what_the_built_in_masks_hide_has_numbers() {
    let rules: Vec<_> = [
        "workloads",
        "storage",
        "configmaps",
        "events",
        "secrets",
        "credentials",
        "known-values",
    ]
    .into_iter()
    .flat_map(builtin)
    .collect();
    for target in [
        "/api/v1/namespaces/shop/pods",
        "/api/v1/namespaces/shop/podtemplates",
        "/api/v1/namespaces/shop/replicationcontrollers",
        "/api/v1/namespaces/shop/secrets",
        "/api/v1/namespaces/shop/configmaps",
        "/api/v1/namespaces/shop/events",
        "/apis/apps/v1/namespaces/shop/deployments",
        "/apis/apps/v1/namespaces/shop/replicasets",
        "/apis/apps/v1/namespaces/shop/daemonsets",
        "/apis/apps/v1/namespaces/shop/statefulsets",
        "/apis/apps/v1/namespaces/shop/controllerrevisions",
        "/apis/batch/v1/namespaces/shop/jobs",
        "/apis/batch/v1/namespaces/shop/cronjobs",
        "/api/v1/namespaces/shop/services",
        "/api/v1/persistentvolumes",
        "/apis/storage.k8s.io/v1/storageclasses",
        "/apis/storage.k8s.io/v1/volumeattachments",
        "/apis/networking.k8s.io/v1/namespaces/shop/ingresses",
        "/apis/events.k8s.io/v1/namespaces/shop/events",
    ] {
        let info = info(target);
        let applies =
            |rule: &&MaskRule| rule.applies_to(&info.api_group, &info.qualified_resource());
        let applying: Vec<_> = rules.iter().filter(applies).collect();
        let plan = MaskPlan::compile(&applying);
        assert!(kind_for(&info, &plan).is_some(), "{target}");
    }
}

#[test]
fn volumes_and_conditions_are_found_by_their_numbers() {
    let entry = entry("password", PASSWORD);
    let masked = self::entry("password", placeholder(PASSWORD).as_bytes());
    let condition = |value: &[u8], number| [field(1, b"Ready"), field(number, value)].concat();
    let at_2_1 = |volume: &[u8]| field(2, &field(1, &[field(1, b"v"), field(2, volume)].concat()));
    let stands_for = placeholder(PASSWORD);
    let stands_for = stands_for.as_bytes();
    let pods = "/api/v1/namespaces/shop/pods/x";
    let apps = |resource: &str| format!("/apis/apps/v1/namespaces/shop/{resource}/x");
    for (target, kind, path, body, expected) in [
        (
            pods.to_owned(),
            "Pod",
            "spec.volumes[*].csi.volumeAttributes.*",
            at_2_1(&field(28, &field(4, &entry))),
            at_2_1(&field(28, &field(4, &masked))),
        ),
        (
            pods.to_owned(),
            "Pod",
            "spec.volumes[*].flexVolume.options.*",
            at_2_1(&field(12, &field(5, &entry))),
            at_2_1(&field(12, &field(5, &masked))),
        ),
        (
            pods.to_owned(),
            "Pod",
            "status.conditions[*].message",
            field(3, &field(2, &condition(PASSWORD, 6))),
            field(3, &field(2, &condition(stands_for, 6))),
        ),
        (
            apps("deployments"),
            "Deployment",
            "status.conditions[*].message",
            field(3, &field(6, &condition(PASSWORD, 5))),
            field(3, &field(6, &condition(stands_for, 5))),
        ),
        (
            apps("statefulsets"),
            "StatefulSet",
            "status.conditions[*].message",
            field(3, &field(10, &condition(PASSWORD, 5))),
            field(3, &field(10, &condition(stands_for, 5))),
        ),
        (
            "/apis/batch/v1/namespaces/shop/jobs/x".to_owned(),
            "Job",
            "status.conditions[*].message",
            field(3, &field(1, &condition(PASSWORD, 6))),
            field(3, &field(1, &condition(stands_for, 6))),
        ),
        (
            apps("statefulsets"),
            "StatefulSet",
            "spec.volumeClaimTemplates[*].metadata.annotations.*",
            field(2, &field(4, &field(1, &field(12, &entry)))),
            field(2, &field(4, &field(1, &field(12, &masked)))),
        ),
    ] {
        let masker = masker(&target, Form::Object, &rule(&[path]));
        let (text, outcome) = run(masker, &[&envelope(kind, &body)]);
        assert_eq!(outcome, Ok(1), "{kind} {path}");
        assert_eq!(text, envelope(kind, &expected), "{kind} {path}");
    }
}

#[test]
fn fields_without_a_number_are_served_as_json() {
    let kind = |target: &str, paths: &[&str]| {
        kind_for(&info(target), &MaskPlan::compile(&[&rule(paths)])).is_some()
    };
    let pod = "/api/v1/namespaces/shop/pods/web";
    assert!(kind(SECRET, &["data.*", "metadata.annotations.*"]));
    assert!(kind(SECRET, &["type"]));
    assert!(kind(
        "/api/v1/namespaces/shop/pods/web/status",
        &["status.message"]
    ));
    for (target, paths) in [
        (SECRET, &["data"][..]),
        (SECRET, &["*.x"]),
        (pod, &["data.*"]),
        (pod, &["spec.volumes[*].csi"]),
        (pod, &["spec.containers[*]"]),
        (pod, &["spec.*"]),
        (pod, &["spec.priority"]),
        (pod, &["spec.containers[*].resources.limits.*"]),
        ("/api/v1/namespaces/shop/pods/web/log", &["spec.x"]),
        ("/apis/example.com/v1/widgets", &["metadata.annotations.x"]),
        (
            "/apis/batch/v1beta1/namespaces/shop/cronjobs",
            &["metadata.annotations.x"],
        ),
    ] {
        assert!(!kind(target, paths), "{target} {paths:?}");
    }
}

proptest! {
    #[test]
    fn c_03_no_bytes_panic_and_nothing_of_a_broken_object_leaves(
        at in any::<prop::sample::Index>(), with: u8, cut in any::<prop::sample::Index>(),
    ) {
        let mut body = envelope("Secret", &secret("db", "password", PASSWORD));
        let value = memchr::memmem::find(&body, PASSWORD).unwrap();
        let at = at.index(value);
        body[at] = with;
        let (head, tail) = body.split_at(cut.index(body.len()));
        let (text, outcome) = run(masker(SECRET, Form::Object, &secrets()), &[head, tail]);
        if outcome.is_err() {
            prop_assert!(text.is_empty());
        }
    }

    #[test]
    fn c_03_every_value_of_every_key_is_masked(
        values in prop::collection::vec(("[a-z.]{1,9}", prop::collection::vec(any::<u8>(), 0..200)), 0..6),
        size in 1_usize..300,
    ) {
        let build = |masked: bool| {
            let mut object = field(1, &field(1, b"db"));
            for (key, value) in &values {
                let mut digest = Placeholders::new(&[7; 32]).start(
                    crate::transform::placeholder::Content::Text,
                    Linkable::Yes,
                );
                digest.update(value);
                let text = Placeholders::new(&[7; 32]).finish(digest).placeholder();
                let value = if masked { text.text().as_bytes() } else { value };
                object.extend(field(2, &entry(key, value)));
            }
            envelope("Secret", &object)
        };
        let body = build(false);
        let chunks: Vec<&[u8]> = body.chunks(size).collect();
        let (text, outcome) = run(masker(SECRET, Form::Object, &secrets()), &chunks);
        prop_assert_eq!(outcome, Ok(values.len() as u64));
        prop_assert_eq!(text, build(true));
    }
}
