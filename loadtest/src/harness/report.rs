//! What a run says in the end: for the terminal and for files.

mod compare;
mod html;
mod machine;
mod markdown;

use serde::{Deserialize, Serialize};

use super::judge::{Judgement, Outcome, Sorted, judge};
use super::run::{Measured, overhead};
use super::sample::Sample;
use super::scenario::{Scenario, Target};
use super::target::other_build;

/// Everything about a run, as `--json` writes it and `--compare` reads it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its name.
    pub scenario: String,
    /// What it is about.
    pub description: String,
    /// Where it ran.
    pub machine: String,
    /// How often, and how long each time.
    pub method: String,
    /// Targets that are not installed.
    pub skipped: Vec<Target>,
    /// All turns.
    pub samples: Vec<Sample>,
    /// What follows.
    pub judgement: Judgement,
}

impl Report {
    /// In place of a scenario's name, of a report of `overhead`.
    pub const OVERHEAD: &str = "overhead";

    /// Judges what was measured.
    pub fn new(scenario: &Scenario, measured: Measured) -> Self {
        let judgement = judge(scenario, &measured.samples);
        let gateway = other_build().map_or_else(String::new, |program| {
            format!("; the gateway is {}", program.display())
        });
        let method = format!(
            "{} rounds of {:?} after {:?} of warm-up, every target once a round, the reference twice{gateway}",
            scenario.rounds, scenario.duration, scenario.warm_up
        );
        Self {
            scenario: scenario.name.clone(),
            description: scenario.description.clone(),
            machine: machine::describe(),
            method,
            skipped: measured.skipped,
            samples: measured.samples,
            judgement,
        }
    }

    /// The report of `overhead`, which has no bars.
    pub fn overhead(args: &overhead::Args, measured: Measured) -> Self {
        Self {
            scenario: Self::OVERHEAD.to_owned(),
            description: "What the gateway adds before this cluster: everything is done directly and through the gateway, in turn."
                .to_owned(),
            machine: machine::describe(),
            method: format!("{} rounds, everything {} times in each", args.rounds, args.repeat),
            skipped: measured.skipped,
            samples: measured.samples,
            judgement: Judgement::default(),
        }
    }

    /// 0: all bars hold; 1: one fails, or something broke; 2: nothing can be said.
    pub fn exit_code(&self) -> u8 {
        let judgement = &self.judgement;
        let any = |outcome| {
            judgement
                .verdicts
                .iter()
                .any(|verdict| verdict.outcome == outcome)
        };
        if !judgement.broken.is_empty() {
            1
        } else if judgement.void.is_some() {
            2
        } else if any(Outcome::Fails) {
            1
        } else if any(Outcome::Undecided) || any(Outcome::Skipped) {
            2
        } else {
            0
        }
    }

    /// For people: Markdown, which reads well on a terminal too.
    pub fn markdown(&self) -> String {
        markdown::write(self)
    }

    /// For people with a browser: one page without anything to load.
    pub fn html(&self) -> String {
        html::write(self)
    }

    /// What changed since `old`, a report of the same scenario, in Markdown.
    pub fn compared_with(&self, old: &Self) -> String {
        compare::write(old, self).join("\n")
    }

    /// What a metric of a target was in all its turns.
    fn values(&self, target: Target, metric: &str) -> Sorted {
        let turns = self.samples.iter().filter(|it| it.target == target);
        Sorted::new(turns.filter_map(|it| it.get(metric)))
    }

    /// The targets in the order of their first turn.
    fn targets(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        for sample in &self.samples {
            if !targets.contains(&sample.target) {
                targets.push(sample.target);
            }
        }
        targets
    }
}
