use super::*;

fn problems(text: &str) -> Vec<String> {
    match compile(&[(PathBuf::from("p.yaml"), text.to_owned())]) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn every_problem_is_listed_with_line_and_field() {
    let text = r#"apiVersion: portcullis.dev/v1
kind: Policy
metadata: {name: My Policy, labels: {}}
masks:
- name: secrets
  apiGroups: [""]
  resources: [secrets]
  fields: ["data.["]
- {name: widget-tokens, apiGroups: [x.io], resources: [widgets], fields: [spec.token]}
rules:
- name: read
  subject: {groups: [devs]}
  subjects: {group: [devs]}
  verbs: [get, read]
  apiGroups: ["", apps]
  resources: [Pods, deployments]
  namespaces: [1, no, "[x"]
  resourceNames: pods
  mask: [token]
  decision: allow
- name: read
  decision: maybe
- name: third
  decision: allow
"#;
    insta::assert_snapshot!(problems(text).join("\n"));
}

#[test]
fn problems_of_budgets_have_their_place() {
    let text = r#"apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: p}
budgets:
- {name: a, subjects: {groups: [x]}}
- {name: b, subjects: {actingFor: {groups: [x]}, users: ["[x"]}, deletesPerHour: 1}
- {name: b, requestsPerMinute: 0, namespacesPerHour: 257, bytesPerHour: 10}
- {name: c, deletesPerDay: 1}
rules: [{name: version, nonResourceURLs: [/version], verbs: [get], decision: allow}]
"#;
    let found = problems(text);
    for (line, field, said) in [
        (5, "budgets[0]", "limits nothing"),
        (6, "budgets[1].subjects.actingFor", "needs agents"),
        (6, "budgets[1].subjects.users[0]", "is not a glob"),
        (7, "budgets[2].name", "an earlier budget"),
        (7, "budgets[2].requestsPerMinute", "between 1 and"),
        (7, "budgets[2].namespacesPerHour", "between 1 and 256"),
        (7, "budgets[2].bytesPerHour", "must be a string"),
        (8, "budgets[3].deletesPerDay", ""),
    ] {
        let place = format!("p.yaml:{line}:");
        let is_it = |problem: &&String| {
            problem.starts_with(&place) && problem.contains(field) && problem.contains(said)
        };
        assert!(
            found.iter().any(|problem| is_it(&problem)),
            "{line} {field} {said}: {found:#?}"
        );
    }
}

#[test]
fn roles_and_modes_have_their_place() {
    let text = r"apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: p}
mode: watch
roles:
- {name: a, subjects: {groups: [x]}, approvers: {groups: [sre]}, longest: 25h}
- {name: a, approvers: {}, longest: 1h}
- {name: b, subjects: {groups: [x]}, longest: 1h}
rules:
- {name: r, subjects: {roles: [a, c]}, verbs: [get], apiGroups: [''], resources: [pods], decision: allow}
";
    let found = problems(text);
    for (line, said) in [
        (4, "mode must be enforce or observe"),
        (6, "roles[0].longest must be between"),
        (7, "roles[1].name is the name of an earlier role"),
        (7, "roles[1].subjects is missing"),
        (7, "roles[1].approvers names nobody"),
        (8, "roles[2].approvers is missing"),
        (
            10,
            "rules[0].subjects.roles[1] \"c\" is not a role of this policy",
        ),
    ] {
        let is_it = |problem: &&String| {
            problem.starts_with(&format!("p.yaml:{line}:")) && problem.contains(said)
        };
        assert!(
            found.iter().any(|problem| is_it(&problem)),
            "{line} {said}: {found:#?}"
        );
    }
}

/// One file among several that observes would turn off what the others enforce.
#[test]
fn all_files_of_a_policy_observe_or_none_does() {
    let file = |name: &str, mode: &str| {
        let text = format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\n{mode}rules: [{{name: r, nonResourceURLs: [/version], verbs: [get], decision: allow}}]\n"
        );
        (PathBuf::from(format!("{name}.yaml")), text)
    };
    let observes = |modes: [&str; 2]| {
        let [one, other] = modes;
        compile(&[file("a", one), file("b", other)]).map(|policy| policy.observes())
    };
    assert!(!observes(["", "mode: enforce\n"]).unwrap());
    assert!(observes(["mode: observe\n", "mode: observe\n"]).unwrap());
    for mixed in [["mode: observe\n", ""], ["", "mode: observe\n"]] {
        let found = observes(mixed).unwrap_err();
        assert!(found[0].to_string().starts_with("b.yaml:"), "{found:?}");
    }
}

#[test]
fn syntax_errors_have_a_line() {
    for (text, line) in [
        ("a: [\n", 2),
        ("apiVersion: x\n\tkind: y\n", 2),
        ("a: 1\na: 2\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: !!python/object x\n", 1),
        ("x: &x {a: 1}\ny: {<<: *x}\n", 2),
    ] {
        let found = problems(text);
        let [only] = found.as_slice() else {
            panic!("{found:?}")
        };
        assert!(only.starts_with("p.yaml:"), "{only}");
        let found: u64 = only.split(':').nth(1).unwrap().trim().parse().unwrap();
        assert!(found.abs_diff(line) <= 1, "{only}");
    }
}

#[test]
fn h11_types_are_strict() {
    let text = |user: &str| {
        format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p}}\nrules:\n\
             - name: r\n  subjects: {{users: [{user}]}}\n  decision: deny\n"
        )
    };
    for bad in [
        "no", "On", "y", "NO", "1e3", "12", "true", "0x1F", "1.5", "~", "[a]", "{a: b}",
    ] {
        let found = problems(&text(bad));
        assert!(
            found
                .iter()
                .any(|problem| problem.contains("rules[0].subjects.users[0] must be a string")),
            "{bad}: {found:?}"
        );
    }
    for good in ["\"no\"", "'1e3'", "alice", "\"12\"", "no-one", "1e3x"] {
        assert_eq!(problems(&text(good)), [""; 0], "{good}");
    }
}

#[test]
fn policies_of_several_files_are_one() {
    let file = |name: &str, url: &str| {
        (
            PathBuf::from(format!("{name}.yaml")),
            format!(
                "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\nmetadata: {{name: {name}}}\nrules:\n\
                 - {{name: r, nonResourceURLs: [{url}], verbs: [get], decision: allow}}\n"
            ),
        )
    };
    let policy = compile(&[file("a", "/a"), file("b", "/b")]).unwrap();
    assert_eq!(policy.rules(), 2);
    let other = compile(&[file("b", "/b"), file("a", "/a")]).unwrap();
    assert_ne!(policy.version(), other.version());
    let twice = compile(&[file("a", "/a"), file("a", "/b")]).unwrap_err();
    assert!(twice[0].message.contains("earlier policy file"));
}

#[test]
fn problems_in_one_place_do_not_hide_each_other() {
    let found = problems(
        "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\nmetadata: {name: p}\nrules:\n\
         - {name: r, nonResourceURLs: [a, b], resources: [pods], decision: deny}\n",
    );
    assert_eq!(found.len(), 3, "{found:#?}");
    for (problem, field) in found.iter().zip([
        "nonResourceURLs ",
        "nonResourceURLs[0] ",
        "nonResourceURLs[1] ",
    ]) {
        assert!(problem.contains(field), "{problem}");
    }
}

#[test]
fn problems_of_conditions_have_their_place() {
    let file = |when: &str| {
        format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: Policy\nmetadata: {{name: p}}\nrules:\n- name: r\n  when:\n{when}  decision: deny\n"
        )
    };
    let good = "  - {name: image-registry, params: {registries: [registry.example/]}}\n\
                \x20 - anyOf: [{name: privileged}, {name: own, expression: 'object.spec.x == 1'}]\n";
    assert_eq!(problems(&file(good)), Vec::<String>::new());
    for (when, expected) in [
        (
            "  - {name: privilegd}\n",
            "p.yaml:7:5: rules[0].when[0] has no expression and \"privilegd\" is no ready condition",
        ),
        (
            "  - {name: privileged}\n  - {name: a, expression: 'true &&\n    objekt.x'}\n",
            "p.yaml:8:5: rules[0].when[1] has an unknown variable \"objekt\"",
        ),
        (
            "  - {name: a, expression: 'true', sample: x}\n",
            "p.yaml:7:35: rules[0].when[0].sample is not a known key",
        ),
        (
            "  - {anyOf: [{name: privileged}], expression: 'true'}\n",
            "rules[0].when[0].expression has no meaning beside anyOf",
        ),
        (
            "  - {expression: 'true'}\n",
            "rules[0].when[0].name is missing",
        ),
        (
            "  - {name: image-registry, params: {registries: registry.example/}}\n",
            "params.registries must be a list",
        ),
    ] {
        let found = problems(&file(when));
        assert!(
            found.iter().any(|problem| problem.contains(expected)),
            "{expected}: {found:#?}"
        );
    }
}
