use proptest::prelude::*;

use super::super::builtin;
use super::*;

fn paths(fields: &[&str]) -> Vec<FieldPath> {
    let parse = |field: &&str| FieldPath::parse(field).unwrap();
    fields.iter().map(parse).collect()
}

fn plan(fields: &[&str]) -> MaskPlan {
    let rule = MaskRule {
        fields: paths(fields),
        ..MaskRule::default()
    };
    MaskPlan::compile(&[&rule])
}

/// Follows `way`: keys, and `#` for an array element.
fn action(plan: &MaskPlan, way: &[&str], shape: Shape) -> Action {
    let mut state = plan.root(Root::Object);
    for step in way {
        state = match *step {
            "#" => plan.element(state),
            key => plan.member(state, Some(key.as_bytes())),
        };
    }
    plan.action(state, shape)
}

#[test]
fn c_44_keys_count_in_any_case() {
    let plan = MaskPlan::compile(&[&builtin("secrets")[0]]);
    for key in [
        "data",
        "Data",
        "DATA",
        "stringData",
        "StringData",
        "stringdata",
    ] {
        assert_ne!(
            action(&plan, &[key, "x"], Shape::String),
            Action::Pass,
            "{key}"
        );
    }
}

proptest! {
    #[test]
    fn every_key_is_found_among_others_of_its_length_and_first_letter(
        keys in prop::collection::btree_set("[a-e][a-c]{0,14}", 1..40),
        other in "[a-eA-E][a-cA-C]{0,14}",
    ) {
        let fields: Vec<String> = keys.iter().map(|key| format!("x.{key}")).collect();
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let plan = plan(&fields);
        for key in &keys {
            let upper = key.to_uppercase();
            for key in [key, &upper] {
                let masked = Action::Mask(Leaf::Text);
                prop_assert_eq!(action(&plan, &["x", key], Shape::String), masked, "{}", key);
            }
        }
        if !keys.contains(&other.to_lowercase()) {
            prop_assert_eq!(action(&plan, &["x", &other], Shape::String), Action::Pass);
        }
    }
}

#[test]
fn what_to_do_is_known_of_every_state_and_shape() {
    for name in super::super::BUILTIN {
        for rule in builtin(name) {
            let plan = MaskPlan::compile(&[&rule]);
            for state in (0..).map(StateId).take(plan.nodes.len()) {
                for shape in SHAPES {
                    assert_eq!(plan.action(state, shape), plan.action_of(state, shape));
                }
            }
        }
    }
}

#[test]
fn no_built_in_mask_takes_the_columns_away_that_kubectl_get_prints() {
    let names = super::super::BUILTIN.into_iter();
    for name in names.filter(|name| *name != "tokens") {
        for rule in builtin(name) {
            let printed = MaskPlan::compile(&[&rule]).is_printed();
            assert!(!printed, "{name} of {:?}", rule.resources);
        }
    }
}

#[test]
fn one_field_is_revealed_and_no_other_that_is_called_nearly_so() {
    let secrets = &builtin("secrets")[0];
    let known = &builtin("known-values")[0];
    let own = MaskRule {
        name: "own".to_owned(),
        fields: paths(&["spec.password", "spec.user"]),
        ..MaskRule::default()
    };
    let password = &paths(&["data.password"])[0];
    let plan = MaskPlan::revealing(&[secrets, known], Some(password));
    // The GET of one object has it at these places; elsewhere another object would be.
    for root in [&["items", "#"][..], &["object"], &["object", "items", "#"]] {
        let way = [root, &["data", "password"]].concat();
        let hidden = Action::Mask(Leaf::Data);
        assert_eq!(action(&plan, &way, Shape::String), hidden, "{root:?}");
    }
    for root in [&[][..], &["rows", "#", "object"]] {
        let at = |way: &[&str], shape| action(&plan, &[root, way].concat(), shape);
        assert_eq!(at(&["data", "password"], Shape::String), Action::Pass);
        for key in ["Password", "PASSWORD", "passwort", "token"] {
            let hidden = Action::Mask(Leaf::Data);
            assert_eq!(at(&["data", key], Shape::String), hidden, "{key}");
        }
        // Only what is as simple as a value is one field.
        let object = at(&["data", "password"], Shape::Object);
        assert_eq!(object, Action::Mask(Leaf::Data));
        assert_eq!(
            at(&["stringData", "password"], Shape::String),
            Action::Mask(Leaf::Text)
        );
        assert_eq!(at(&["other", "password"], Shape::String), Action::Search);
    }
    let password = &paths(&["spec.password"])[0];
    let plan = MaskPlan::revealing(&[&own], Some(password));
    let at = |way: &[&str]| action(&plan, way, Shape::String);
    assert_eq!(at(&["spec", "password"]), Action::Pass);
    assert_eq!(at(&["spec", "Password"]), Action::Mask(Leaf::Text));
    assert_eq!(at(&["spec", "user"]), Action::Mask(Leaf::Text));
    assert_ne!(plan, MaskPlan::compile(&[&own]));
}

#[test]
fn secrets_are_masked_at_every_root() {
    let plan = MaskPlan::compile(&[&builtin("secrets")[0]]);
    let roots: [&[&str]; 6] = [
        &[],
        &["items", "#"],
        &["rows", "#", "object"],
        &["object"],
        &["object", "items", "#"],
        &["object", "rows", "#", "object"],
    ];
    for root in roots {
        let at = |way: &[&str], shape| action(&plan, &[root, way].concat(), shape);
        assert_eq!(at(&["data", "x"], Shape::String), Action::Mask(Leaf::Data));
        assert_eq!(
            at(&["stringData", "x"], Shape::Null),
            Action::Mask(Leaf::Text)
        );
        assert_eq!(at(&["data"], Shape::Object), Action::Walk);
        assert_eq!(at(&["data"], Shape::Array), Action::Mask(Leaf::Text));
        assert_eq!(at(&["data"], Shape::Scalar), Action::Mask(Leaf::Text));
        assert_eq!(at(&["data"], Shape::Null), Action::Pass);
        assert_eq!(at(&["type"], Shape::String), Action::Pass);
        let annotation = ["metadata", "annotations", LAST_APPLIED];
        assert_eq!(at(&annotation, Shape::String), Action::Embedded);
        assert_eq!(at(&annotation, Shape::Object), Action::Mask(Leaf::Text));
        assert_eq!(
            at(&["metadata", "annotations", "other"], Shape::String),
            Action::Pass
        );
    }
    assert_eq!(action(&plan, &["items"], Shape::Null), Action::Pass);
    assert_eq!(
        action(&plan, &["rows", "#", "cells", "#"], Shape::String),
        Action::Pass
    );
    assert!(!plan.is_printed());
}

#[test]
fn paths_join_and_wildcards_meet_every_key() {
    let plan = plan(&["spec.containers[*].env[*].value", "spec.*.token", "status"]);
    let env = ["spec", "containers", "#", "env", "#", "value"];
    assert_eq!(action(&plan, &env, Shape::String), Action::Mask(Leaf::Text));
    assert_eq!(action(&plan, &env[..5], Shape::Object), Action::Walk);
    assert_eq!(
        action(&plan, &["spec", "any", "token"], Shape::Array),
        Action::Mask(Leaf::Text)
    );
    // `containers` is expected to be an array by one path and an object by the other.
    assert_eq!(
        action(&plan, &["spec", "containers"], Shape::Object),
        Action::Mask(Leaf::Text)
    );
    assert_eq!(
        action(&plan, &["status"], Shape::Object),
        Action::Mask(Leaf::Text)
    );
    assert!(plan.is_printed());
}

#[test]
fn cells_are_masked_from_the_root_that_asks_for_it() {
    let plan = plan(&["spec.password"]);
    let mut state = plan.root(Root::ObjectAndCells);
    for key in ["object", "rows"] {
        state = plan.member(state, Some(key.as_bytes()));
    }
    state = plan.element(plan.member(plan.element(state), Some(b"cells")));
    assert_eq!(plan.action(state, Shape::String), Action::Mask(Leaf::Text));
}

#[test]
fn a_wildcard_at_the_top_knows_data() {
    let plan = plan(&["*.password"]);
    assert_eq!(
        action(&plan, &["data", "password"], Shape::String),
        Action::Mask(Leaf::Data)
    );
    assert_eq!(
        action(&plan, &["spec", "password"], Shape::String),
        Action::Mask(Leaf::Text)
    );
    let long = plan.member(
        plan.member(plan.root(Root::Object), None),
        Some(b"password"),
    );
    assert_eq!(plan.action(long, Shape::String), Action::Mask(Leaf::Text));
}

#[test]
fn known_values_are_searched_everywhere_but_in_what_identifies_objects() {
    let rules = [builtin("known-values"), builtin("secrets")].concat();
    let plan = MaskPlan::compile(&rules.iter().collect::<Vec<_>>());
    for root in [
        &[][..],
        &["items", "#"],
        &["object"],
        &["rows", "#", "object"],
    ] {
        let at = |way: &[&str], shape| action(&plan, &[root, way].concat(), shape);
        for way in [
            &["kind"][..],
            &["metadata", "name"],
            &["metadata", "resourceVersion"],
            &["metadata", "ownerReferences", "#", "uid"],
        ] {
            assert_eq!(at(way, Shape::String), Action::Pass, "{way:?}");
        }
        for way in [
            &["spec"][..],
            &["metadata", "labels"],
            &["metadata", "annotations", "other"],
            &["data", "name", "x"],
            &["status", "metadata", "name"],
        ] {
            for shape in [Shape::Object, Shape::Array, Shape::String] {
                let found = at(way, shape);
                assert!(
                    matches!(found, Action::Search | Action::Mask(_)),
                    "{way:?} {found:?}"
                );
            }
            assert_ne!(at(way, Shape::String), Action::Pass, "{way:?}");
        }
        assert_eq!(at(&["spec", "replicas"], Shape::Scalar), Action::Pass);
        assert_eq!(at(&["data", "x"], Shape::String), Action::Mask(Leaf::Data));
    }
    let known = builtin("known-values");
    let plan = MaskPlan::compile(&[&known[0]]);
    assert!(plan.is_empty() && plan.texts().known_values);
    assert!(!plan.overlaps(["metadata"]) && !plan.overlaps(["metadata", "name"]));
    assert_eq!(action(&plan, &["metadata"], Shape::String), Action::Search);
    assert_eq!(
        action(&plan, &["rows", "#", "cells", "#"], Shape::String),
        Action::Search
    );
}

#[test]
fn keys_are_matched_by_patterns() {
    let plan = plan(&["data[~='(?i)password']", "data.user", "data[~='^p']"]);
    for (key, masked) in [
        ("user", true),
        ("dbPassword", true),
        ("port", true),
        ("host", false),
    ] {
        let masked = if masked {
            Action::Mask(Leaf::Data)
        } else {
            Action::Pass
        };
        assert_eq!(
            action(&plan, &["data", key], Shape::String),
            masked,
            "{key}"
        );
    }
    let data = plan.member(plan.root(Root::Object), Some(b"data"));
    let long = plan.member(data, None);
    assert_eq!(plan.action(long, Shape::String), Action::Mask(Leaf::Data));
}

#[test]
fn elements_have_the_state_of_the_conditions_they_meet() {
    let rule = MaskRule {
        fields: paths(&["env[name~='(?i)password'].value", "env[kind~='^s'].value"]),
        credentials: paths(&["env[*].value"]),
        arguments: paths(&["args"]),
        ..MaskRule::default()
    };
    let plan = MaskPlan::compile(&[&rule]);
    let env = plan.member(plan.root(Root::Object), Some(b"env"));
    let keys: Vec<&str> = plan
        .conditions(env)
        .map(|condition| condition.key)
        .collect();
    assert_eq!(keys.len(), 2);
    for (holds, action) in [
        ([false, false], Action::Scan(Look::Text)),
        ([true, false], Action::Mask(Leaf::Text)),
        ([false, true], Action::Mask(Leaf::Text)),
        ([true, true], Action::Mask(Leaf::Text)),
    ] {
        let element = plan.element_where(env, holds.into_iter());
        let value = plan.member(element, Some(b"value"));
        assert_eq!(plan.action(value, Shape::String), action, "{holds:?}");
    }
    let place = keys.iter().position(|key| *key == "name").unwrap();
    let name = plan.conditions(env).nth(place).unwrap();
    assert!(name.holds("DB_PASSWORD") && !name.holds("HOST"));
    assert_eq!(
        action(&plan, &["args", "#"], Shape::String),
        Action::Scan(Look::Argument)
    );
    assert_eq!(action(&plan, &["args"], Shape::String), Action::Pass);
    let cell = ["rows", "#", "cells", "#"];
    assert_eq!(
        action(&plan, &cell, Shape::String),
        Action::Scan(Look::Text)
    );
}

#[test]
fn c_32_what_managed_fields_note_of_a_masked_field_is_hidden() {
    let plan = plan(&["spec.password", "spec.users[*].token", "status.**[~='a']"]);
    let noted = |way: &[&str]| {
        let root = ["metadata", "managedFields", "#", "fieldsV1"];
        action(&plan, &[&root, way].concat(), Shape::Object)
    };
    for hidden in [
        &["f:spec", "f:password"][..],
        &["f:spec", "f:users"],
        &["f:status"],
    ] {
        assert_eq!(noted(hidden), Action::Mask(Leaf::Text), "{hidden:?}");
    }
    for shown in [&[][..], &["f:spec"]] {
        assert_eq!(noted(shown), Action::Walk, "{shown:?}");
    }
    for shown in [&["f:spec", "f:engine"][..], &["f:metadata"], &["f:data"]] {
        assert_eq!(noted(shown), Action::Pass, "{shown:?}");
    }
    // `*.pin` may be anywhere.
    let anywhere = self::plan(&["*.pin"]);
    let all = ["metadata", "managedFields", "#", "fieldsV1"];
    assert_eq!(
        action(&anywhere, &all, Shape::Object),
        Action::Mask(Leaf::Text)
    );
    // Built-in masks name no list that `managedFields` knows by its values.
    let secrets = MaskPlan::compile(&[&builtin("secrets")[0]]);
    let managed = ["metadata", "managedFields"];
    assert_eq!(action(&secrets, &managed, Shape::Array), Action::Pass);
}

#[test]
fn any_depth_is_searched_and_bounded_patterns_stay_closed() {
    let plan = plan(&["spec.**[~='(?i)token']"]);
    for way in [
        &["spec", "token"][..],
        &["spec", "a", "apiToken"],
        &["spec", "a", "#", "b", "#", "#", "TOKEN"],
    ] {
        assert_eq!(
            action(&plan, way, Shape::String),
            Action::Mask(Leaf::Text),
            "{way:?}"
        );
    }
    assert_eq!(action(&plan, &["spec", "a"], Shape::String), Action::Pass);
    assert_eq!(action(&plan, &["spec", "a"], Shape::Array), Action::Walk);
    assert_eq!(
        action(&plan, &["status", "token"], Shape::String),
        Action::Pass
    );
    let many: Vec<String> = (0..6)
        .map(|number| format!("data[~='key{number}']"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let plan = self::plan(&many);
    for number in 0..6 {
        let key = format!("key{number}");
        assert_ne!(action(&plan, &["data", &key], Shape::String), Action::Pass);
    }
}

#[test]
fn pointers_overlap_on_above_and_below() {
    let plan = MaskPlan::compile(&[&builtin("secrets")[0]]);
    for pointer in [
        &[][..],
        &["data"],
        &["data", "password"],
        &["data", "password", "x"],
        &["metadata"],
        &["metadata", "annotations"],
        &["metadata", "annotations", LAST_APPLIED],
    ] {
        assert!(plan.overlaps(pointer.iter().copied()), "{pointer:?}");
    }
    for pointer in [
        &["type"][..],
        &["metadata", "labels"],
        &["metadata", "resourceVersion"],
        &["metadata", "annotations", "other"],
    ] {
        assert!(!plan.overlaps(pointer.iter().copied()), "{pointer:?}");
    }
    assert!(!MaskPlan::compile(&[]).overlaps(["data"]));
    let env = self::plan(&["spec.containers[*].env"]);
    assert!(env.overlaps(["spec", "containers", "0", "env"]));
    assert!(env.overlaps(["spec", "containers", "-1"]));
    assert!(!env.overlaps(["spec", "containers", "0", "name"]));
}
