//! How much a caller may do: limits that come beside the decision, whatever rule allows the request.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::RuleProblem;
use super::subjects::{Subjects, SubjectsSource};
use crate::identity::Identity;

/// A budget as written in a policy file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetSource {
    /// `POLICY/BUDGET`: what refusals, audit and explanations call it.
    pub id: String,
    /// Whose; each of them has it for themselves. `None` is everyone.
    pub subjects: Option<SubjectsSource>,
    /// How much of each measure, in the order of [`Measure::ALL`].
    pub most: [Option<u64>; 4],
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Measure {
    /// Requests in a minute.
    Requests,
    /// Deletes in an hour.
    Deletes,
    /// Different namespaces in an hour.
    Namespaces,
    /// Bytes of answers in an hour.
    Bytes,
}

/// A compiled budget.
#[derive(Debug)]
pub(in crate::policy) struct Budget {
    id: Arc<str>,
    subjects: Option<Subjects>,
    most: [Option<u64>; 4],
}

/// How much of one measure a caller may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The most.
    pub most: u64,
    /// Which budget says so, as `POLICY/BUDGET`.
    pub budget: Arc<str>,
}

/// What all budgets of a caller come to: of each measure, the smallest limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowance([Option<Limit>; 4]);

impl Measure {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Deletes, Self::Namespaces, Self::Bytes];

    /// What of it in which time, for people.
    #[must_use]
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Requests => "requests a minute",
            Self::Deletes => "deletes an hour",
            Self::Namespaces => "different namespaces an hour",
            Self::Bytes => "bytes an hour",
        }
    }
}

impl Budget {
    pub(in crate::policy) fn compile(source: &BudgetSource) -> Result<Self, Vec<RuleProblem>> {
        let mut problems = Vec::new();
        let subjects = source.subjects.as_ref();
        let subjects = subjects.map(|subjects| Subjects::compile(subjects, &[], &mut problems));
        if source.most.iter().all(Option::is_none) {
            problems.push(RuleProblem {
                field: "",
                index: None,
                message: "limits nothing: give requestsPerMinute, deletesPerHour, namespacesPerHour or bytesPerHour".to_owned(),
            });
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            id: Arc::from(source.id.as_str()),
            subjects,
            most: source.most,
        })
    }

    fn is_about(&self, identity: &Identity) -> bool {
        self.subjects
            .as_ref()
            .is_none_or(|subjects| subjects.include(identity, 0))
    }
}

impl Allowance {
    /// What these budgets come to for a caller.
    pub(in crate::policy) fn of(budgets: &[Budget], identity: &Identity) -> Self {
        let mut all = Self::default();
        for budget in budgets.iter().filter(|budget| budget.is_about(identity)) {
            for (limit, most) in all.0.iter_mut().zip(budget.most) {
                let tighter = most.filter(|most| limit.as_ref().is_none_or(|old| *most < old.most));
                if let Some(most) = tighter {
                    *limit = Some(Limit {
                        most,
                        budget: Arc::clone(&budget.id),
                    });
                }
            }
        }
        all
    }

    /// How much of a measure; `None` is any amount.
    #[must_use]
    pub fn limit(&self, measure: Measure) -> Option<&Limit> {
        self.0.get(measure as usize).and_then(Option::as_ref)
    }

    /// Every limit there is.
    pub fn limits(&self) -> impl Iterator<Item = (Measure, &Limit)> {
        Measure::ALL
            .into_iter()
            .filter_map(move |measure| Some((measure, self.limit(measure)?)))
    }

    /// Whether anything is limited but how often one may ask.
    #[must_use]
    pub fn counts_what_is_done(&self) -> bool {
        self.limits()
            .any(|(measure, _)| measure != Measure::Requests)
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (measure, limit)) in self.limits().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(
                out,
                "{comma}{} {} ({})",
                limit.most,
                measure.in_words(),
                limit.budget
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(id: &str, groups: Option<&str>, most: [Option<u64>; 4]) -> BudgetSource {
        BudgetSource {
            id: id.to_owned(),
            subjects: groups.map(|group| SubjectsSource {
                groups: vec![group.to_owned()],
                ..SubjectsSource::default()
            }),
            most,
        }
    }

    #[test]
    fn of_all_budgets_that_match_the_smallest_limits_count() {
        let budgets = [
            budget("p/all", None, [Some(100), Some(5), None, None]),
            budget("p/dev", Some("dev"), [Some(20), Some(50), None, Some(7)]),
            budget("p/sre", Some("sre"), [Some(1), None, Some(1), None]),
        ];
        let budgets: Vec<Budget> = budgets
            .iter()
            .map(|source| Budget::compile(source).unwrap())
            .collect();
        let text = |groups: &[&str]| {
            Allowance::of(&budgets, &Identity::for_tests("alice", groups)).to_string()
        };
        assert_eq!(
            text(&[]),
            "100 requests a minute (p/all), 5 deletes an hour (p/all)"
        );
        assert_eq!(
            text(&["dev"]),
            "20 requests a minute (p/dev), 5 deletes an hour (p/all), 7 bytes an hour (p/dev)"
        );
        let none = Allowance::of(&[], &Identity::for_tests("alice", &[]));
        assert_eq!(none, Allowance::default());
        assert!(!none.counts_what_is_done());
    }

    #[test]
    fn a_budget_without_limits_or_subjects_is_a_problem() {
        assert!(Budget::compile(&budget("p/x", None, [None; 4])).is_err());
        let nobody = BudgetSource {
            subjects: Some(SubjectsSource::default()),
            ..budget("p/x", None, [Some(1); 4])
        };
        assert_eq!(Budget::compile(&nobody).unwrap_err()[0].field, "subjects");
    }
}
