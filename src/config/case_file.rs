//! Reads the cases of a policy (`kind: PolicyTest`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::document::Problem;
use super::policy_file;
use super::section::{Document, Found, Section};
use crate::identity::Identity;
use crate::policy::cases::{Case, parse_request};
use crate::policy::rule::Effect;
use crate::policy::{Policy, Seen};
use crate::request::body;

/// A file of cases and the policy they are about.
#[derive(Debug)]
pub struct CaseFile {
    /// The file.
    pub file: PathBuf,
    /// The policy, compiled from the files that this one names.
    pub policy: Policy,
    /// The cases, each with its line.
    pub cases: Vec<(u64, Case)>,
}

/// Reads a file of cases and the policy files it names, or says everything that is wrong.
pub fn load(file: &Path) -> Result<CaseFile, Vec<Problem>> {
    let text = policy_file::read(file).map_err(|problem| vec![problem])?;
    let document = Document::new(file, &text);
    let (files, cases) = read(&document);
    if files.is_empty() {
        return Err(document.into_problems());
    }
    let policy = policy_file::load_named(&document, &files);
    let mut problems = document.into_problems();
    match policy {
        Ok(policy) if problems.is_empty() => Ok(CaseFile {
            file: file.to_owned(),
            policy,
            cases,
        }),
        Ok(_) => Err(problems),
        Err(found) => {
            problems.extend(found);
            Err(problems)
        }
    }
}

/// Every key there is, given a document that has every section.
#[cfg(test)]
pub(super) fn keys(document: &Document) -> std::collections::BTreeSet<String> {
    let _cases = read(document);
    document.keys()
}

fn read(document: &Document) -> (Vec<Found<PathBuf>>, Vec<(u64, Case)>) {
    let Some(top) = document.open("PolicyTest") else {
        return (Vec::new(), Vec::new());
    };
    let folder = document.file().parent().unwrap_or_else(|| Path::new(""));
    let files: Vec<Found<PathBuf>> = top
        .texts("policies")
        .into_iter()
        .map(|found| Found {
            value: folder.join(&found.value),
            at: found.at,
            field: found.field,
        })
        .collect();
    if files.is_empty() {
        top.report_item(
            "policies",
            None,
            "is missing or empty; name the policy files to test",
        );
    }
    let defaults = top.section("as").map(|section| read_caller(&section));
    let sections = top.sections("cases");
    if sections.is_empty() {
        top.report_key("cases", "is missing or empty");
    }
    let cases = sections
        .iter()
        .filter_map(|section| {
            let case = read_case(section, defaults.as_ref(), folder)?;
            Some((section.at().line, case))
        })
        .collect();
    top.finish();
    (files, cases)
}

fn read_case(section: &Section<'_>, default: Option<&Caller>, folder: &Path) -> Option<Case> {
    let name = section.required("name");
    let caller = section
        .section("as")
        .map(|section| read_caller(&section))
        .or_else(|| default.cloned());
    if caller.is_none() {
        section.report_key("as", "is missing, here and at the top of the file");
    }
    let request = section.required("request");
    let info = request
        .as_ref()
        .map(|request| parse_request(&request.value));
    if let (Some(request), Some(Err(problem))) = (&request, &info) {
        request.report(section.document(), problem);
    }
    let object = read_object(section, "object", folder);
    let old_object = read_object(section, "oldObject", folder);
    let dry_run = matches!(info, Some(Ok(info)) if info.is_dry_run(b""));
    let (identity, roles) = caller.unzip();
    let mut seen = Seen::default()
        .supposing(roles.unwrap_or_default())
        .dry_run(dry_run)
        .old_object(old_object.as_ref());
    if object.is_some() {
        seen = seen.object(object.as_ref());
    }
    let effects = [
        ("allow", Effect::Allow),
        ("hold", Effect::Hold),
        ("deny", Effect::Deny),
    ];
    let expect = section.word("expect", &effects);
    if !section.has("expect") {
        section.report_key("expect", "is missing: say allow, hold or deny");
    }
    let mask = section.has("mask").then(|| {
        let found = section.texts("mask");
        found.into_iter().map(|found| found.value).collect()
    });
    let rule = section.text("rule").map(|rule| rule.value);
    let cluster = section.text("cluster");
    section.finish();
    Some(Case {
        name: name?.value,
        identity: identity?,
        request: request?.value,
        cluster: cluster.map_or_else(|| "test".to_owned(), |cluster| cluster.value),
        expect: expect?,
        rule,
        mask,
        seen,
    })
}

/// `object: FILE`, or the object itself.
fn read_object(section: &Section<'_>, key: &'static str, folder: &Path) -> Option<Value> {
    if section.is_section(key) {
        return section.json(key);
    }
    let file = section.text(key)?;
    match load_object(&folder.join(&file.value)) {
        Ok(object) => Some(object),
        Err(problem) => {
            file.report(section.document(), problem);
            None
        }
    }
}

/// Reads an object from a file in JSON or YAML.
pub fn load_object(file: &Path) -> Result<Value, String> {
    let name = file.display();
    let text = policy_file::read(file).map_err(|problem| problem.to_string())?;
    let value: Value = serde_saphyr::from_str(&text).map_err(|error| {
        format!(
            "{name} is neither JSON nor YAML: {}",
            error.without_snippet()
        )
    })?;
    body::from_json(value.to_string().as_bytes()).map_err(|error| format!("{name}: {error}"))
}

/// Somebody, and the roles that were given to them.
type Caller = (Arc<Identity>, Vec<String>);

fn read_caller(section: &Section<'_>) -> Caller {
    let user = section.required("user").map(|user| user.value);
    let groups = section.texts("groups");
    let groups: Vec<&str> = groups.iter().map(|group| group.value.as_str()).collect();
    let agent = section.text("agent");
    let roles = section.texts("roles").into_iter();
    let roles = roles.map(|role| role.value).collect();
    section.finish();
    let identity = caller(
        user.as_deref().unwrap_or_default(),
        &groups,
        agent.as_ref().map(|agent| agent.value.as_str()),
    );
    (identity, roles)
}

/// A caller that exists only to be decided about.
pub fn caller(user: &str, groups: &[&str], agent: Option<&str>) -> Arc<Identity> {
    let identity = Identity::for_tests(user, groups);
    Arc::new(match agent {
        Some(agent) => identity.with_agent(agent, &[]),
        None => identity,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(folder: &str) -> Vec<PathBuf> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "yaml")
            })
            .collect()
    }

    /// C-60 to C-72 and what each profile is for.
    #[test]
    fn profiles_decide_as_their_cases_say() {
        let files = profiles("profiles/tests");
        assert!(files.len() >= profiles("profiles").len());
        for file in files {
            let cases = load(&file).unwrap_or_else(|problems| panic!("{problems:#?}"));
            for (line, case) in &cases.cases {
                if let Err(failure) = case.run(&cases.policy) {
                    panic!("{}:{line}: {}: {failure:#?}", file.display(), case.name);
                }
            }
            if file.ends_with("combined.yaml") {
                continue;
            }
            for row in 60..=72 {
                let id = format!("C-{row} ");
                let is_there = cases
                    .cases
                    .iter()
                    .any(|(_, case)| case.name.starts_with(&id));
                assert!(is_there, "{} has no case {id}", file.display());
            }
        }
    }

    /// Each row of C4: a readable reason, that names the rule for the audit record.
    #[test]
    fn denials_of_the_agent_profile_are_readable() {
        let cases = load(
            &profiles("profiles/tests")
                .into_iter()
                .find(|file| file.ends_with("ai-agent.yaml"))
                .unwrap(),
        )
        .unwrap();
        for (_, case) in cases
            .cases
            .iter()
            .filter(|(_, case)| case.name.starts_with("C-"))
        {
            let info = parse_request(&case.request).unwrap();
            let crate::policy::Decision::Deny(reason) =
                cases
                    .policy
                    .decide(&case.identity, &info, "test", &case.seen)
            else {
                panic!("{} is allowed", case.name);
            };
            let rule = reason.rule.unwrap();
            assert!(rule.starts_with("ai-agent/"));
            assert!(
                reason
                    .message
                    .starts_with(&format!("denied by policy rule {rule}: ")),
                "{}",
                reason.message
            );
        }
    }

    #[test]
    fn problems_of_cases_and_policies_are_listed_together() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cases.yaml");
        let text = "apiVersion: portcullis.dev/v1alpha1\nkind: PolicyTest\npolicies: [none.yaml]\ncases:\n\
                    - {name: x, request: FETCH, expect: maybe, want: deny}\n\
                    - {name: y, as: {user: a}, request: GET /a//b}\n";
        std::fs::write(&file, text).unwrap();
        let problems: Vec<String> = load(&file)
            .unwrap_err()
            .iter()
            .map(|problem| {
                problem
                    .to_string()
                    .replace(&format!("{}/", folder.path().display()), "")
            })
            .collect();
        insta::assert_snapshot!(problems.join("\n"));
    }
}
