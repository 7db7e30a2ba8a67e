//! Elements of arrays whose masking depends on a member, such as the value of a variable on its name.
//!
//! An element that is all there is judged by a look ahead, and then walked like everything else. One that goes
//! on in the next chunk is held until it is complete.

use super::JsonMasker;
use super::familiar::Place;
use crate::limits::EMBEDDED_JSON_BYTES_MAX;
use crate::policy::mask::{Action, Condition, Look, MaskPlan, Shape, StateId};
use crate::transform::text::credentials::{self, Found};
use crate::wire::json::{Documents, JsonError, Kind, Scanner, Step, compact_members, unescape};

/// Members of an element that are looked at without walking it.
const MEMBERS_MAX: usize = 8;

/// What a look ahead says of an element.
pub(super) enum Ahead {
    /// Nothing in it is to be masked, nor in those that may follow it within this length.
    Passes { length: usize },
    /// It has this state.
    Is(StateId),
    /// It goes on in the next chunk.
    Open,
}

impl JsonMasker {
    /// Looks at the element of `array` that begins at `first`.
    pub(super) fn look_ahead(&mut self, array: StateId, chunk: &[u8], first: usize) -> Ahead {
        let depth = self.scanner.depth();
        let place = Place::of(array, true, depth);
        let quiet = self.quiet_text(chunk, first);
        if let Some(length) = self.familiar.length(place, quiet, true) {
            return Ahead::Passes { length };
        }
        let text = chunk.get(first..).unwrap_or_default();
        let plan = &self.mask.plan;
        let ahead = compact(plan, array, text, depth)
            .or_else(|| Some((state_ahead(plan, array, text)?, None)));
        match ahead {
            Some((_, Some(length))) if self.is_quiet(chunk, first, first + length) => {
                self.familiar.learn(place, text, length);
                Ahead::Passes { length }
            }
            Some((state, _)) => Ahead::Is(state),
            None => Ahead::Open,
        }
    }
}

/// Looks at an element in the common form: what [`state_ahead`] says of it, and if it would pass a walk that does not look
/// for known values, its length.
fn compact(
    plan: &MaskPlan,
    array: StateId,
    text: &[u8],
    depth: usize,
) -> Option<(StateId, Option<usize>)> {
    let mut members = [(&b""[..], &b""[..]); MEMBERS_MAX];
    let (mut count, mut met) = (0, 0);
    let length = compact_members(text, depth, |key, value| {
        let Some(place) = members.get_mut(count) else {
            return false;
        };
        *place = (key, value);
        count += 1;
        meet(plan, array, key, raw_text(value), &mut met).is_ok()
    })?;
    if length > EMBEDDED_JSON_BYTES_MAX {
        return Some((plan.element(array), None));
    }
    let state = state_where(plan, array, met);
    let walked = matches!(
        plan.action(state, Shape::Object),
        Action::Walk | Action::Pass | Action::Search
    );
    let passes = |(key, value): &(&[u8], &[u8])| {
        let state = plan.member(state, Some(key));
        state.is_dead() || field_passes(plan, state, value)
    };
    let passes = walked && members.iter().take(count).all(passes);
    Some((state, passes.then_some(length)))
}

/// Does a field in this state leave as it is, unless there is a known value in it?
fn field_passes(plan: &MaskPlan, state: StateId, value: &[u8]) -> bool {
    let shape = match value.first() {
        Some(b'"') => Shape::String,
        Some(b'{') => Shape::Object,
        _ => Shape::Array,
    };
    match plan.action(state, shape) {
        Action::Pass | Action::Search => true,
        // What an argument is depends on those before it.
        Action::Walk | Action::Mask(_) | Action::Embedded | Action::Scan(Look::Argument) => false,
        Action::Scan(look) => raw_text(value)
            .and_then(|raw| unescape(raw).ok())
            .is_some_and(|text| credentials::look(&text, look) == Found::Nothing),
    }
}

/// The inside of a string.
fn raw_text(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// The state of the element of `array` that `text` begins with; `None` if it does not end there. What cannot be
/// read meets every condition, and so does what would be too large to be held.
pub(super) fn state_ahead(plan: &MaskPlan, array: StateId, text: &[u8]) -> Option<StateId> {
    match met(plan, array, text) {
        Ok((met, length)) if length <= EMBEDDED_JSON_BYTES_MAX => {
            Some(state_where(plan, array, met))
        }
        Err(JsonError::Unfinished) => None,
        Ok(_) | Err(_) => Some(plan.element(array)),
    }
}

/// The state of an element that meets these of the conditions, as bits in their order.
fn state_where(plan: &MaskPlan, array: StateId, met: u64) -> StateId {
    let holds = (0..u64::BITS).map(|place| met >> place & 1 == 1);
    let holds = plan.conditions(array).zip(holds).map(|(_, holds)| holds);
    plan.element_where(array, holds)
}

/// Adds the conditions that a member of an element meets: all of those on it if it is no string.
fn meet(
    plan: &MaskPlan,
    array: StateId,
    key: &[u8],
    raw: Option<&[u8]>,
    met: &mut u64,
) -> Result<(), JsonError> {
    let conditions = plan.conditions(array).enumerate();
    let mut on_it = conditions
        .filter(|(_, condition)| is_on(key, *condition))
        .peekable();
    if on_it.peek().is_none() {
        return Ok(());
    }
    let text = raw.map(unescape).transpose()?;
    let text = text
        .as_deref()
        .and_then(|text| std::str::from_utf8(text).ok());
    for (place, condition) in on_it {
        if text.is_none_or(|text| condition.holds(text)) {
            *met |= 1 << place;
        }
    }
    Ok(())
}

fn is_on(key: &[u8], condition: Condition<'_>) -> bool {
    condition.key.as_bytes().eq_ignore_ascii_case(key)
}

/// Which of the conditions the element meets, as bits in their order, and its length. A member that is no string
/// meets those on it, and of several of the same name one is enough.
fn met(plan: &MaskPlan, array: StateId, text: &[u8]) -> Result<(u64, usize), JsonError> {
    let mut scanner = Scanner::new(Documents::One);
    let (mut cursor, mut met, mut kind) = (0, 0, None);
    // No condition is on a key that is too long to be read.
    let wanted = |key: Option<&[u8]>| {
        key.is_some_and(|key| {
            plan.conditions(array)
                .any(|condition| is_on(key, condition))
        })
    };
    loop {
        let from = cursor;
        match scanner.step_where(text, &mut cursor, wanted)? {
            Step::Begin(begun) if scanner.depth() > 1 || kind.is_some() => {
                kind = Some(begun);
                scanner.skip_value();
            }
            Step::Begin(_) => kind = Some(Kind::Object),
            Step::Key => {}
            Step::End if scanner.depth() == 0 => return Ok((met, cursor)),
            Step::End => {
                let value = text.get(from..cursor).unwrap_or_default();
                let key = scanner.key(text).unwrap_or_default();
                let raw = (kind == Some(Kind::String))
                    .then(|| value.strip_suffix(b"\"").unwrap_or(value));
                meet(plan, array, key, raw, &mut met)?;
            }
            Step::More => return Err(JsonError::Unfinished),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::tests::{mask_by, run, run_pieces};
    use crate::policy::mask::builtin;

    fn workloads() -> super::super::Mask {
        mask_by(&builtin("workloads")[0])
    }

    fn pod(env: &str) -> String {
        // Elements are looked at ahead where more follows them.
        let rest = " ".repeat(100);
        format!(
            r#"{{"spec":{{"containers":[{{"command":["mysql"],"env":[{env}],"args":["-pS3cr3t","x"]}}]}}{rest}}}"#
        )
    }

    #[test]
    fn elements_that_are_there_are_masked_as_those_that_come_in_pieces() {
        for (env, absent) in [
            (r#"{"name":"A","value":"b"}"#, ""),
            (
                r#"{"name":"A","value":"b \"c\" \u0041"},{"name":"B","valueFrom":{"x":{"y":[]}}}"#,
                "",
            ),
            (r#"{"name":"PASSWORD","value":"hunter2"}"#, "hunter2"),
            (r#"{"value":"hunter2","name":"PASSWORD"}"#, "hunter2"),
            (
                r#"{"name":"A","value":"hunter2","name":"PASSWORD"}"#,
                "hunter2",
            ),
            (
                r#"{"Name":"PASSWORD","VALUE":"hunter2","name":"A"}"#,
                "hunter2",
            ),
            (r#"{"name":{"a":1},"value":"hunter2"}"#, "hunter2"),
            (r#"{"name":"P\u0041SSWORD","value":"hunter2"}"#, "hunter2"),
            (r#"{"n\u0061me":"PASSWORD","value":"hunter2"}"#, "hunter2"),
            (
                r#"{ "name" : "PASSWORD" , "value" : "hunter2" }"#,
                "hunter2",
            ),
            (
                r#"{"name":"A","value":"b"},{"name":"B","value":"postgres://bob:hunter2@db"}"#,
                "hunter2",
            ),
            (
                r#"{"name":"A","value":"a \"password\": \"hunter2\""}"#,
                "hunter2",
            ),
            (r#"{"name":"PASSWORD","value":["hunter2"]}"#, "hunter2"),
            (r#"{},{"value":"x"},null,"hunter2",{"name":"A"}"#, "hunter2"),
        ] {
            let masked = run(&workloads(), &pod(env));
            assert!(absent.is_empty() || !masked.contains(absent), "{masked}");
            // The arguments are those of the command, whatever stands between.
            assert!(!masked.contains("S3cr3t"), "{masked}");
            if absent.is_empty() {
                assert!(masked.contains(env), "{masked}");
            }
        }
    }

    fn elements() -> impl Strategy<Value = String> {
        let text = prop_oneof![
            prop::sample::select(vec![
                "A",
                "DB_PASSWORD",
                "x_TOKEN",
                "name",
                "value",
                "-p",
                "--password=x",
                "a://b:c@d",
                "a \"quote\"",
                "token: abcdefgh12345678",
                "",
            ])
            .prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        let value = prop_oneof![
            4 => text,
            1 => Just(json!({"secretKeyRef": {"name": "a", "key": "b"}})),
            1 => Just(json!([1, "a://b:c@d"])),
            1 => any::<i8>().prop_map(Value::from),
        ];
        let key = prop::sample::select(vec![
            "name",
            "Name",
            "value",
            "VALUE",
            "valueFrom",
            "x",
            "\u{e9}\n",
        ]);
        let member = (key, value).prop_map(|(key, value)| format!("{}:{value}", json!(key)));
        prop::collection::vec(member, 0..10)
            .prop_map(|members| format!("{{{}}}", members.join(",")))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn a_look_ahead_says_what_a_walk_says(
            elements in prop::collection::vec(elements(), 0..4), size in 1_usize..40,
        ) {
            let text = pod(&elements.join(","));
            let (whole, outcome) = run_pieces(&workloads(), &[text.as_bytes()]);
            prop_assert_eq!(outcome, Ok(()));
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            prop_assert_eq!(run_pieces(&workloads(), &pieces), (whole, Ok(())));
        }
    }
}
