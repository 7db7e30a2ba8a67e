//! Whom rules and budgets are about, and the budgets.

use std::collections::BTreeSet;

use super::super::section::{Found, Section};
use super::{check_name, values};
use crate::limits;
use crate::policy::Approvers;
use crate::policy::rule::budget::BudgetSource;
use crate::policy::rule::role::RoleSource;
use crate::policy::rule::{ActingForSource, SubjectsSource};

/// `subjects`, if there are any.
pub(super) fn read_subjects(section: &Section<'_>) -> Option<SubjectsSource> {
    let subjects = section.section("subjects")?;
    let read = SubjectsSource {
        users: values(subjects.texts("users")),
        groups: values(subjects.texts("groups")),
        agents: values(subjects.texts("agents")),
        acting_for: subjects.section("actingFor").map(|humans| {
            let read = ActingForSource {
                users: values(humans.texts("users")),
                groups: values(humans.texts("groups")),
            };
            humans.finish();
            read
        }),
        roles: values(subjects.texts("roles")),
    };
    subjects.finish();
    Some(read)
}

/// One of `roles`. `earlier` are the names of those before it.
pub(super) fn read_role(
    section: &Section<'_>,
    policy: &str,
    earlier: &mut BTreeSet<String>,
) -> RoleSource {
    let document = section.document();
    let name = section.required("name").map_or_else(String::new, |name| {
        check_name(document, &name);
        if !earlier.insert(name.value.clone()) {
            name.report(document, "is the name of an earlier role too");
        }
        name.value
    });
    let role = RoleSource {
        id: format!("{policy}/{name}"),
        name,
        subjects: read_subjects(section),
        approvers: section
            .required_section("approvers")
            .map(|approvers| read_approvers(&approvers)),
        longest: section.duration("longest", limits::GRANT_MIN..=limits::GRANT_MAX),
    };
    section.finish();
    role
}

/// Who may say yes.
pub(super) fn read_approvers(approvers: &Section<'_>) -> Approvers {
    let read = Approvers {
        groups: values(approvers.texts("groups")),
        users: values(approvers.texts("users")),
        count: approvers
            .number("count", 1..=limits::HOLD_APPROVERS_MAX)
            .unwrap_or(1),
        principal: approvers.flag("principal").unwrap_or(false),
    };
    approvers.finish();
    read
}

/// One of `budgets`.
pub(super) fn read_budget(
    section: &Section<'_>,
    policy: &str,
    names: &mut BTreeSet<String>,
) -> BudgetSource {
    let document = section.document();
    let name = section.required("name").map_or_else(String::new, |name| {
        check_name(document, &name);
        if !names.insert(name.value.clone()) {
            name.report(document, "is the name of an earlier budget too");
        }
        name.value
    });
    let number = |key: &'static str, least: usize, most: usize| {
        let found = section.number(key, least..=most);
        found.map(|number| number as u64)
    };
    let budget = BudgetSource {
        id: format!("{policy}/{name}"),
        subjects: read_subjects(section),
        most: [
            number("requestsPerMinute", 1, limits::BUDGET_NUMBER_MAX),
            number("deletesPerHour", 0, limits::BUDGET_NUMBER_MAX),
            number("namespacesPerHour", 1, limits::BUDGET_NAMESPACES_MAX),
            bytes(section, "bytesPerHour"),
        ],
    };
    section.finish();
    budget
}

/// Bytes as a quantity of Kubernetes: `500Mi`, `2Gi`, `1G`.
fn bytes(section: &Section<'_>, key: &'static str) -> Option<u64> {
    let text = section.text(key)?;
    let read = quantity(&text);
    if read.is_none() {
        text.report(
            section.document(),
            "must be a number of bytes with its unit, such as 500Mi or 2Gi, up to 1000Ti",
        );
    }
    read
}

fn quantity(text: &Found<String>) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let (digits, unit) = UNITS
        .iter()
        .find_map(|(unit, size)| Some((text.value.strip_suffix(unit)?, *size)))?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|number| plain && *number > 0)?;
    number
        .checked_mul(unit)
        .filter(|bytes| *bytes <= limits::BUDGET_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Position;

    #[test]
    fn bytes_have_a_unit() {
        let read = |text: &str| {
            quantity(&Found {
                value: text.to_owned(),
                at: Position::default(),
                field: String::new(),
            })
        };
        for (text, bytes) in [("1Ki", 1024), ("500Mi", 524_288_000), ("2G", 2_000_000_000)] {
            assert_eq!(read(text), Some(bytes), "{text}");
        }
        for wrong in [
            "",
            "Mi",
            "1",
            "0Mi",
            "-1Mi",
            "+1Mi",
            "1.5Gi",
            "1 Gi",
            "1KiB",
            "9999999Ti",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
