//! Reads policy files (`kind: Policy`) into one compiled [`Policy`].

mod record;
mod subjects;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;

use super::document::{Position, Problem};
use super::section::{Document, Found, Section};
use crate::limits;
use crate::policy::condition::ConditionSource;
use crate::policy::mask::{BUILTIN, FieldPath, MaskRule};
use crate::policy::matcher::check_resource;
use crate::policy::rule::budget::BudgetSource;
use crate::policy::rule::role::RoleSource;
use crate::policy::rule::{Effect, RuleSource};
use crate::policy::{Hold, Part, Policy, PolicySource};

use record::read_record;
use subjects::{read_approvers, read_budget, read_role, read_subjects};

/// What whoever runs a gateway has to know of a policy that only observes.
pub const OBSERVES: &str = "THE POLICY ONLY OBSERVES (mode: observe): nothing is denied and nothing waits for a yes; masks and recordings apply. Remove `mode: observe` to enforce it";

/// Reads and compiles policy files, in order.
pub fn load(files: &[PathBuf]) -> Result<Policy, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut texts = Vec::with_capacity(files.len());
    for file in files {
        match read(file) {
            Ok(text) => texts.push((file.clone(), text)),
            Err(problem) => problems.push(problem),
        }
    }
    match compile(&texts) {
        Ok(policy) if problems.is_empty() => Ok(policy),
        Ok(_) => Err(problems),
        Err(found) => {
            problems.extend(found);
            Err(problems)
        }
    }
}

/// Reads and compiles the policy files that a document names. One that cannot be read is a problem of
/// that document, at the place that names it; the problems of the others are returned.
pub(super) fn load_named(
    document: &Document,
    files: &[Found<PathBuf>],
) -> Result<Policy, Vec<Problem>> {
    let mut texts = Vec::with_capacity(files.len());
    for file in files {
        match read(&file.value) {
            Ok(text) => texts.push((file.value.clone(), text)),
            Err(problem) => {
                let name = problem.file.display();
                file.report(document, format!("names {name}: {}", problem.message));
            }
        }
    }
    let policy = compile(&texts)?;
    if texts.len() == files.len() {
        Ok(policy)
    } else {
        Err(Vec::new())
    }
}

/// Reads one file, bounded, as text.
pub(super) fn read(file: &Path) -> Result<String, Problem> {
    let problem = |message: String| Problem {
        file: file.to_owned(),
        at: Position::default(),
        field: String::new(),
        message,
    };
    let size = fs::metadata(file)
        .map_err(|error| problem(format!("cannot be read: {error}")))?
        .len();
    if size > limits::CONFIG_FILE_BYTES_MAX as u64 {
        let most = limits::CONFIG_FILE_BYTES_MAX;
        return Err(problem(format!("is larger than {most} bytes")));
    }
    fs::read_to_string(file).map_err(|error| problem(format!("cannot be read: {error}")))
}

/// Compiles the texts of policy files, each with the name it is called by in problems.
pub fn compile(files: &[(PathBuf, String)]) -> Result<Policy, Vec<Problem>> {
    let documents: Vec<Document> = files
        .iter()
        .map(|(file, text)| Document::new(file, text))
        .collect();
    let mut reading = Reading::default();
    for document in &documents {
        reading.read(document);
    }
    // Only what could not even be read hides what compiling it would say.
    documents.iter().for_each(Document::reading_is_done);
    let Reading {
        masks,
        rules,
        sections,
        budgets,
        budget_sections,
        roles,
        role_sections,
        observes,
        ..
    } = reading;
    if let Some(section) = sections.get(limits::POLICY_RULES_MAX) {
        section.report(format!(
            "is rule {} of the policy; {} is the limit",
            limits::POLICY_RULES_MAX + 1,
            limits::POLICY_RULES_MAX
        ));
    }
    let compiled = Policy::compile(PolicySource {
        version: version(files),
        masks,
        budgets,
        roles,
        observes: observes.unwrap_or(false),
        rules,
    });
    let policy = match compiled {
        Ok(policy) => Some(policy),
        Err(found) => {
            for (part, problem) in found {
                let section = match part {
                    Part::Rule(index) => sections.get(index),
                    Part::Budget(index) => budget_sections.get(index),
                    Part::Role(index) => role_sections.get(index),
                };
                if let Some(section) = section {
                    section.report_item(problem.field, problem.index, problem.message);
                }
            }
            None
        }
    };
    drop((sections, budget_sections, role_sections));
    let problems: Vec<Problem> = documents
        .into_iter()
        .flat_map(Document::into_problems)
        .collect();
    match policy {
        Some(policy) if problems.is_empty() => Ok(policy),
        _ => Err(problems),
    }
}

/// A digest over every file's content, in order, as hexadecimal.
pub(super) fn version(files: &[(PathBuf, String)]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for (_, text) in files {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    let digest = context.finish();
    HEXLOWER.encode(digest.as_ref().get(..16).unwrap_or_default())
}

/// Every key there is, given a document that has every section.
#[cfg(test)]
pub(super) fn keys(document: &Document) -> BTreeSet<String> {
    Reading::default().read(document);
    document.keys()
}

/// What was read so far.
#[derive(Default)]
struct Reading<'d> {
    policies: BTreeSet<String>,
    observes: Option<bool>,
    masks: Vec<MaskRule>,
    rules: Vec<RuleSource>,
    /// The rule at the same index, as written.
    sections: Vec<Section<'d>>,
    budgets: Vec<BudgetSource>,
    budget_sections: Vec<Section<'d>>,
    roles: Vec<RoleSource>,
    role_names: BTreeSet<String>,
    role_sections: Vec<Section<'d>>,
}

impl<'d> Reading<'d> {
    fn read(&mut self, document: &'d Document) {
        let Some(top) = document.open("Policy") else {
            return;
        };
        self.read_mode(&top);
        let mut policy = String::new();
        if let Some(metadata) = top.required_section("metadata") {
            if let Some(name) = metadata.required("name") {
                check_name(document, &name);
                if !self.policies.insert(name.value.clone()) {
                    name.report(document, "is the name of an earlier policy file too");
                }
                policy = name.value;
            }
            metadata.finish();
        }
        for section in top.sections("masks") {
            self.masks.extend(read_mask(&section, &self.masks));
        }
        let mut names = BTreeSet::new();
        for section in top.sections("budgets") {
            if self.budgets.len() >= limits::POLICY_BUDGETS_MAX {
                section.report("is one budget too many; 64 is the limit");
                break;
            }
            self.budgets
                .push(read_budget(&section, &policy, &mut names));
            self.budget_sections.push(section);
        }
        for section in top.sections("roles") {
            if self.roles.len() >= limits::POLICY_ROLES_MAX {
                section.report("is one role too many; 64 is the limit");
                break;
            }
            let role = read_role(&section, &policy, &mut self.role_names);
            self.roles.push(role);
            self.role_sections.push(section);
        }
        let sections = top.sections("rules");
        if sections.is_empty() {
            top.report_key(
                "rules",
                "is missing or empty; a policy without rules would deny everything, so say that \
                 with a rule if you mean it",
            );
        }
        let mut names = BTreeSet::new();
        for section in sections {
            self.rules.push(read_rule(&section, &policy, &mut names));
            self.sections.push(section);
        }
        top.finish();
    }
}

impl Reading<'_> {
    /// `mode`: what decides must not depend on which file was written last, so all files say the same.
    fn read_mode(&mut self, top: &Section<'_>) {
        let modes = [("enforce", false), ("observe", true)];
        let observes = top.word("mode", &modes).unwrap_or(false);
        if *self.observes.get_or_insert(observes) != observes {
            top.report_key(
                "mode",
                "is not that of the earlier policy files: either all of them observe or none does",
            );
        }
    }
}

fn check_name(document: &Document, name: &Found<String>) {
    let good = name.value.len() <= 63
        && name
            .value
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !good {
        name.report(
            document,
            "must have at most 63 lower-case letters, digits and '-'",
        );
    }
}

fn read_mask(section: &Section<'_>, earlier: &[MaskRule]) -> Option<MaskRule> {
    let document = section.document();
    let name = section.required("name");
    if let Some(name) = &name {
        check_name(document, name);
        if BUILTIN.contains(&name.value.as_str()) {
            name.report(document, "is the name of a built-in mask");
        } else if earlier.iter().any(|mask| mask.name == name.value) {
            name.report(document, "is the name of an earlier mask too");
        }
        if earlier.len() >= limits::POLICY_OWN_MASKS_MAX {
            name.report(document, "is one mask too many; 64 is the limit");
        }
    }
    let needed = |key: &'static str| {
        let found = section.texts(key);
        if found.is_empty() {
            section.report_key(key, "is missing or empty");
        }
        found
    };
    let api_groups = values(needed("apiGroups"));
    let mut resources = Vec::new();
    for resource in needed("resources") {
        if let Err(why) = check_resource(&resource.value) {
            resource.report(document, why);
        }
        resources.push(resource.value);
    }
    let fields = read_paths(section, "fields");
    let credentials = read_paths(section, "credentials");
    let arguments = read_paths(section, "arguments");
    if !["fields", "credentials", "arguments"]
        .iter()
        .any(|key| section.has(key))
    {
        section.report_key(
            "fields",
            "is missing or empty; it, credentials or arguments is needed",
        );
    }
    section.finish();
    Some(MaskRule {
        name: name?.value,
        api_groups,
        resources,
        fields,
        credentials,
        arguments,
        ..MaskRule::default()
    })
}

fn read_rule(section: &Section<'_>, policy: &str, names: &mut BTreeSet<String>) -> RuleSource {
    let document = section.document();
    let name = section.required("name").map_or_else(String::new, |name| {
        check_name(document, &name);
        if !names.insert(name.value.clone()) {
            name.report(document, "is the name of an earlier rule too");
        }
        name.value
    });
    let texts = |key: &'static str| {
        let found = section.texts(key);
        if found.is_empty() && section.has(key) && key != "clusters" && key != "resourceNames" {
            section.report_key(key, "is empty; leave it out to mean any");
        }
        values(found)
    };
    let (record, responses) = read_record(section);
    let rule = RuleSource {
        id: format!("{policy}/{name}"),
        location: format!("{}:{}", document.file().display(), section.at().line),
        subjects: read_subjects(section),
        verbs: texts("verbs"),
        api_groups: texts("apiGroups"),
        resources: texts("resources"),
        namespaces: texts("namespaces"),
        resource_names: texts("resourceNames"),
        non_resource_urls: texts("nonResourceURLs"),
        clusters: texts("clusters"),
        when: read_conditions(section, "when"),
        mask: texts("mask"),
        reveal: read_paths(section, "reveal"),
        record,
        responses,
        strict_audit: section
            .word("audit", &[("strict", true)])
            .unwrap_or_default(),
        decision: section.word(
            "decision",
            &[
                ("allow", Effect::Allow),
                ("hold", Effect::Hold),
                ("deny", Effect::Deny),
            ],
        ),
        hold: read_hold(section),
        message: section.text("message").map(|message| message.value),
    };
    section.finish();
    rule
}

/// Who may say yes, and what a yes admits.
fn read_hold(rule: &Section<'_>) -> Option<Hold> {
    let section = rule.section("hold")?;
    let approvers = section.required_section("approvers");
    let people = approvers.map(|approvers| read_approvers(&approvers));
    let wait = section.duration("wait", Duration::ZERO..=limits::HOLD_WAIT_MAX);
    let expires = section.duration(
        "expires",
        limits::HOLD_EXPIRES_MIN..=limits::HOLD_EXPIRES_MAX,
    );
    let same_class = section.duration("sameClass", limits::HOLD_CLASS_MIN..=limits::HOLD_CLASS_MAX);
    section.finish();
    Some(Hold {
        approvers: people?,
        wait,
        expires: expires.unwrap_or(Hold::EXPIRES),
        same_class,
    })
}

/// `when` of a rule, and `anyOf` of a condition.
fn read_conditions(section: &Section<'_>, key: &'static str) -> Vec<ConditionSource> {
    let conditions = section.sections(key);
    if conditions.is_empty() && section.has(key) {
        section.report_key(key, "is empty; leave it out where nothing else must hold");
    }
    conditions
        .iter()
        .map(|condition| {
            let any_of = if key == "when" {
                read_conditions(condition, "anyOf")
            } else {
                Vec::new()
            };
            let name = if any_of.is_empty() {
                condition.required("name").map(|name| name.value)
            } else {
                for key in ["expression", "params"] {
                    if condition.has(key) {
                        condition.report_key(key, "has no meaning beside anyOf");
                    }
                }
                condition.text("name").map(|name| name.value)
            };
            let params = condition.texts_by_name("params");
            let read = ConditionSource {
                name: name.unwrap_or_default(),
                expression: condition.text("expression").map(|text| text.value),
                parameters: params
                    .into_iter()
                    .map(|(name, texts)| (name, values(texts)))
                    .collect(),
                any_of,
            };
            condition.finish();
            read
        })
        .collect()
}

fn read_paths(section: &Section<'_>, key: &'static str) -> Vec<FieldPath> {
    let mut paths = Vec::new();
    for field in section.texts(key) {
        match FieldPath::parse(&field.value) {
            Ok(path) => paths.push(path),
            Err(error) => field.report(section.document(), error.to_string()),
        }
    }
    paths
}

fn values(found: Vec<Found<String>>) -> Vec<String> {
    found.into_iter().map(|found| found.value).collect()
}

#[cfg(test)]
mod tests;
