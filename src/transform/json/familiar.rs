//! Objects and arrays that passed before. Many read the same, in the Pods of one workload and in the events of one Pod:
//! what was looked through once, and had nothing to mask in it, is known by its bytes when it comes again.

pub(in crate::transform) mod memory;

use std::ops::Range;

use self::memory::{Key, Memory};
use super::{Frame, JsonMasker};
use crate::limits::FAMILIAR_CONTAINER_BYTES_MAX;
use crate::policy::mask::StateId;

/// The bytes of a container by which it is looked for: mostly of a name, as `{"name":` stands before them.
const CHOOSING: Range<usize> = 8..40;

/// Where a container stands. All else that is thought of it depends on its bytes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Place {
    state: StateId,
    /// It is an element whose own state depends on its members; this one is the array's.
    judged: bool,
    /// How many containers are open with it.
    depth: u16,
}

impl Place {
    pub(super) fn of(state: StateId, judged: bool, depth: usize) -> Self {
        Self {
            state,
            judged,
            depth: u16::try_from(depth).unwrap_or(u16::MAX),
        }
    }
}

impl JsonMasker {
    /// Enters the container that begins at `first` of `chunk`, unless it passed here before. Then this is its length,
    /// with that of those behind it in the same array of which this is true as well.
    pub(super) fn enter(
        &mut self,
        state: StateId,
        array: bool,
        apart: bool,
        chunk: &[u8],
        first: usize,
    ) -> Option<usize> {
        let remembered = !apart && self.may_be_remembered(state, array);
        if remembered {
            let place = Place::of(state, false, self.scanner.depth());
            let text = self.quiet_text(chunk, first);
            let within_array = self.frames.last().is_some_and(|frame| frame.array);
            if let Some(length) = self.familiar.length(place, text, within_array) {
                self.scanner.leave_value();
                self.arguments.enter(array);
                return Some(length);
            }
        }
        self.frames.push(Frame {
            state,
            array,
            trail_length: self.trail.len(),
            sees_all: array || self.mask.plan.names_all(state),
            apart,
            words: self.is_within_words() || array && self.mask.plan.has_words(state),
            first: remembered.then_some(first),
        });
        if apart {
            self.around.push(std::mem::take(&mut self.arguments));
        }
        self.arguments.enter(array);
        None
    }

    /// Whether what is about to be walked depends on its bytes alone, and has no part in how the words of a command are
    /// read that come behind it. An object is a command of its own; a list is one unless a program was named before.
    fn may_be_remembered(&self, state: StateId, array: bool) -> bool {
        self.mask.plan.looks(state)
            && !self.is_within_words()
            && (!array || self.arguments.has_no_program())
    }

    /// Whether a list of words goes on around the value that begins. The last word within that value, however deep it
    /// stands, says what the next one of the list may be.
    fn is_within_words(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.words)
    }

    /// The container of the innermost frame ended before `end`. It is remembered if all of it is in `chunk` and passes:
    /// behind its beginning nothing was `released` by itself.
    pub(super) fn remember(&mut self, chunk: &[u8], end: usize, released: usize) {
        let frame = self.frames.last();
        let begun = frame.and_then(|frame| Some((frame.state, frame.first?)));
        if let Some((state, first)) = begun.filter(|(_, first)| *first >= released)
            && self.arguments.has_no_program()
        {
            let text = chunk.get(first..).unwrap_or_default();
            let place = Place::of(state, false, self.scanner.depth() + 1);
            self.familiar.learn(place, text, end - first);
        }
    }
}

/// The memory of one stream; none before something has passed.
#[derive(Default)]
pub(super) struct Familiar(Option<Box<Memory<Place>>>);

impl Familiar {
    /// How long the container is that `text` begins with, if it passed here before; within an array with those behind it
    /// of which this is true as well, and the commas between.
    pub(super) fn length(&self, place: Place, text: &[u8], within_array: bool) -> Option<usize> {
        let memory = self.0.as_ref()?;
        // It is complete, so nothing begins with it that goes on in another way.
        let one = |text: &[u8]| memory.begins(place, key(text)?, text);
        let mut length = one(text)?;
        while within_array
            && let Some([b',', next @ ..]) = text.get(length..)
            && let Some(more) = one(next)
        {
            length += 1 + more;
        }
        Some(length)
    }

    /// A container passed, which `text` begins with and has this `length`.
    pub(super) fn learn(&mut self, place: Place, text: &[u8], length: usize) {
        if length <= FAMILIAR_CONTAINER_BYTES_MAX
            && let Some((container, key)) = text.get(..length).zip(key(text))
        {
            let memory = self.0.get_or_insert_default();
            memory.learn(place, key, container);
        }
    }

    /// Gives its memory back.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

fn key(text: &[u8]) -> Option<Key> {
    Some(Key::of(text.get(CHOOSING)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::tests::{mask_by, run_pieces};
    use super::super::{Documents, Mask};
    use super::*;
    use crate::limits::FAMILIAR_BYTES_MAX;
    use crate::policy::mask::{FieldPath, LAST_APPLIED, MaskRule, builtin};
    use crate::transform::output::Output;

    fn workloads() -> Mask {
        mask_by(&builtin("workloads")[0])
    }

    /// A mask by which lists of words stand within each other.
    fn words() -> Mask {
        let paths = ["spec.**", "spec.containers[*].args[*].a"];
        mask_by(&MaskRule {
            arguments: paths.map(|path| FieldPath::parse(path).unwrap()).to_vec(),
            ..builtin("workloads")[0].clone()
        })
    }

    fn members() -> impl Strategy<Value = &'static str> {
        prop::sample::select(vec![
            r#""image":"registry.example.com/team/main:v1.0.0""#,
            r#""command":["mysql","-h","db.shop.svc.cluster.local"]"#,
            r#""command":["/usr/local/bin/mysql-of-some-image"]"#,
            r#""args":["-pS3cr3t","one","two","three","four","five"]"#,
            r#""args":["-h","db.shop.svc.cluster.local","--password"]"#,
            r#""args":["S3cr3t","one","two","three","four","five"]"#,
            r#""args":[{"a":["-pS3cr3t"]},["--password"],"S3cr3t","one"]"#,
            r#""args":[{"a":["-h","db.shop.svc.cluster.local","--password"]},"S3cr3tS3cr3t","one"]"#,
            r#""args":[{"a":{"b":["-h","db.shop.svc.cluster","--password"]}},"S3cr3tS3cr3t","one"]"#,
            r#""args":[["-h","db.shop.svc.cluster.local","--password"],"S3cr3tS3cr3t","one"]"#,
            r#""livenessProbe":{"exec":{"command":["mysql","-h","db"]}}"#,
            r#""livenessProbe":{"httpGet":{"path":"/healthz","port":"http"}}"#,
            r#""livenessProbe":{"httpGet":{"path":"/x?token=S3cr3t-S3cr3t"}}"#,
            r#""env":[{"name":"LOG_LEVEL_OF_MAIN","value":"debug"},{"name":"PASSWORD","value":"S3cr3t"}]"#,
            r#""env":[{"name":"LOG_LEVEL_OF_MAIN","value":"debug"},{"value":"S3cr3t","name":"TOKEN"}]"#,
            r#""env":[["S3cr3t"],{"name":"LOG_LEVEL_OF_MAIN","value":"a://b:S3cr3t@c"}]"#,
            r#""env":{"name":"LOG_LEVEL_OF_MAIN","value":"debug"},"lastState":{}"#,
        ])
    }

    fn pod() -> impl Strategy<Value = String> {
        let container = prop::collection::vec(members(), 0..5)
            .prop_map(|members| format!("{{{}}}", members.join(",")));
        let containers = prop::collection::vec(container, 0..4).prop_map(|all| all.join(","));
        containers.prop_map(|all| format!(r#"{{"spec":{{"containers":[{all}]}}}}"#))
    }

    fn pods() -> impl Strategy<Value = String> {
        (pod(), prop::option::of(pod()), 0..3).prop_map(|(pod, applied, levels)| {
            let Some(mut applied) = applied else {
                return pod;
            };
            for _ in 0..levels {
                let annotations = json!({LAST_APPLIED: applied});
                applied = json!({"metadata": {"annotations": annotations}}).to_string();
            }
            let annotations = json!({LAST_APPLIED: applied});
            format!(r#"{{"metadata":{{"annotations":{annotations}}},"object":{pod}}}"#)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn what_was_seen_before_is_masked_as_what_is_new(
            pods in prop::collection::vec(pods(), 1..8), size in 1_usize..4000, own: bool,
        ) {
            let mask = if own { words() } else { workloads() };
            let mut expected = Vec::new();
            for pod in &pods {
                // What comes byte by byte is not remembered.
                let bytes: Vec<&[u8]> = pod.as_bytes().chunks(1).collect();
                let (masked, outcome) = run_pieces(&mask, &bytes);
                prop_assert_eq!(outcome, Ok(()));
                expected.extend_from_slice(&masked);
            }
            let stream = pods.concat();
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            for pieces in [&[stream.as_bytes()][..], &pieces] {
                let (masked, outcome) = run_pieces(&mask, pieces);
                prop_assert_eq!(outcome, Ok(()));
                prop_assert_eq!(String::from_utf8_lossy(&masked), String::from_utf8_lossy(&expected));
            }
        }
    }

    #[test]
    fn what_is_not_json_is_refused_however_familiar_its_parts_are() {
        let probe = r#"{"httpGet":{"path":"/healthz-of-this-container","port":"http"}}"#;
        let pod = format!(r#"{{"spec":{{"containers":[{{"livenessProbe":{probe}}}]}}}}"#);
        let refused = [
            format!(r#"{{"spec":{{"containers":[{{"livenessProbe":{probe},{probe}}}]}}}}"#),
            format!("{pod},{pod}"),
        ];
        for broken in refused {
            let stream = [&pod, &pod, &pod, &broken].map(String::as_str).concat();
            run_pieces(&workloads(), &[stream.as_bytes()])
                .1
                .unwrap_err();
        }
    }

    fn push(masker: &mut JsonMasker, text: &str) {
        let chunk = bytes::Bytes::copy_from_slice(text.as_bytes());
        masker
            .push(&chunk, &mut Output::default().of(&chunk))
            .unwrap();
    }

    #[test]
    fn what_is_remembered_is_bounded_and_given_back_between_documents() {
        let mut masker = JsonMasker::new(workloads(), Documents::Sequence);
        push(&mut masker, r#"{"spec":{"containers":[{"env":["#);
        for batch in 0..100 {
            let variable =
                |number| format!(r#"{{"name":"VARIABLE_{batch}_{number}","value":"of a Pod"}},"#);
            push(&mut masker, &(0..100).map(variable).collect::<String>());
            masker.rest();
            let memory = masker.familiar.0.as_ref().unwrap();
            assert!((1..=FAMILIAR_BYTES_MAX).contains(&memory.bytes()));
        }
        push(&mut masker, "{}]}]}}");
        masker.rest();
        assert!(masker.familiar.0.is_none());
    }
}
