//! Whether bars hold, judged round by round.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::sample::Sample;
use super::scenario::{Bar, Scenario, Target};

/// The reference against itself must come out within this, or ratios mean nothing.
const SAME: std::ops::RangeInclusive<f64> = 0.9..=1.1;

/// CPU time of nginx by that of the relay, where nginx is not installed and the relay stands in for it: pods over
/// HTTP/1.1, measured side by side (docs/performance.md).
const NGINX_BY_RELAY: f64 = 1.8;

/// What became of a bar.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The median is within the bound.
    Holds,
    /// Three quarters of the rounds are outside.
    Fails,
    /// Neither.
    Undecided,
    /// A target that it needs was left out or is not installed.
    Skipped,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

/// A bar and how it came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// The bar in words.
    pub bar: String,
    /// Over the rounds, ascending.
    pub values: Vec<f64>,
    /// The result.
    pub outcome: Outcome,
}

/// All that is decided by the samples of a scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Judgement {
    /// The reference's second turn by its first, over the rounds, ascending.
    pub same: Vec<f64>,
    /// Why nothing can be said, if so.
    pub void: Option<String>,
    /// Why the run failed whatever its bars say: leaks, broken streams.
    pub broken: Vec<String>,
    /// The bars.
    pub verdicts: Vec<Verdict>,
}

/// Measured values in ascending order.
#[derive(Clone, Debug)]
pub struct Sorted(pub Vec<f64>);

impl Sorted {
    /// Sorts. What is no number, as nothing divided by nothing, is left out.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values
            .into_iter()
            .filter(|value| value.is_finite())
            .collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value below which `part` (0 to 1) of all lie, between two of them if need be; zero when there is none.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among fewer than 2^52 values"
    )]
    pub fn quantile(&self, part: f64) -> f64 {
        let rank = part * self.0.len().saturating_sub(1) as f64;
        let at = |rank: f64| self.0.get(rank as usize).copied().unwrap_or(0.0);
        let (low, high) = (at(rank.floor()), at(rank.ceil()));
        low + (high - low) * rank.fract()
    }

    /// The middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// Judges.
pub fn judge(scenario: &Scenario, samples: &[Sample]) -> Judgement {
    let rounds = samples
        .iter()
        .map(|sample| sample.round + 1)
        .max()
        .unwrap_or(0);
    let compares = scenario.bars.iter().any(|bar| bar.value.by.is_some());
    let same = Sorted::new((0..rounds).filter_map(|round| {
        let metric = |again: bool| {
            samples
                .iter()
                .find(|one| {
                    one.round == round
                        && one.again == again
                        && Some(one.target) == reference(samples)
                })?
                .get("cpuPerUnit")
        };
        Some(metric(true)? / metric(false)?)
    }));
    let middle = same.median();
    let unsteady = compares && !same.0.is_empty() && !SAME.contains(&middle);
    let void = unsteady.then(|| {
        format!("the reference against itself came out at {middle:.3}: the machine is too busy")
    });
    let verdicts = scenario
        .bars
        .iter()
        .map(|bar| verdict(&bar.value, samples, rounds))
        .collect();
    Judgement {
        same: same.0,
        void,
        broken: broken(samples),
        verdicts,
    }
}

/// Who had two turns.
fn reference(samples: &[Sample]) -> Option<Target> {
    samples
        .iter()
        .find(|sample| sample.again)
        .map(|sample| sample.target)
}

fn broken(samples: &[Sample]) -> Vec<String> {
    let mut broken = Vec::new();
    for sample in samples {
        let leaks = sample.get("leaks").unwrap_or(0.0);
        if sample.target.is_masked() && leaks > 0.0 {
            broken.push(format!(
                "{leaks} secret values came through {} in round {}",
                sample.target,
                sample.round + 1
            ));
        }
        if let Some(first) = sample.failures.first() {
            let errors = sample.get("errors").unwrap_or(0.0);
            broken.push(format!(
                "{errors} errors of {} in round {}, the first: {first}",
                sample.target,
                sample.round + 1
            ));
        }
    }
    broken
}

fn verdict(bar: &Bar, samples: &[Sample], rounds: usize) -> Verdict {
    let mut bar = bar.clone();
    let has = |target: Target| samples.iter().any(|sample| sample.target == target);
    // Of CPU time alone is it known how far they are apart.
    let is_cpu = bar.metric.starts_with("cpu");
    if is_cpu && bar.by == Some(Target::Nginx) && !has(Target::Nginx) && has(Target::Relay) {
        bar.by = Some(Target::Relay);
        bar.at_most = bar.at_most.map(|bound| bound * NGINX_BY_RELAY);
        bar.at_least = bar.at_least.map(|bound| bound * NGINX_BY_RELAY);
    }
    let values = Sorted::new((0..rounds).filter_map(|round| value(&bar, samples, round)));
    let outcome = if values.0.is_empty() {
        Outcome::Skipped
    } else {
        let bounds = (
            bar.at_most.unwrap_or(f64::INFINITY),
            bar.at_least.unwrap_or(f64::NEG_INFINITY),
        );
        let within = |value: f64| value <= bounds.0 && value >= bounds.1;
        if within(values.median()) {
            Outcome::Holds
        } else if values.quantile(0.25) > bounds.0 || values.quantile(0.75) < bounds.1 {
            Outcome::Fails
        } else {
            Outcome::Undecided
        }
    };
    Verdict {
        bar: bar.to_string(),
        values: values.0,
        outcome,
    }
}

/// What the bar bounds, in one round.
fn value(bar: &Bar, samples: &[Sample], round: usize) -> Option<f64> {
    let of = |target: Target| {
        let turns = samples
            .iter()
            .filter(|one| one.target == target && one.round == round);
        let values = Sorted::new(turns.filter_map(|one| one.get(&bar.metric)));
        // The reference has two turns, which count as one between them.
        (!values.0.is_empty()).then(|| values.median())
    };
    let less = match bar.minus {
        Some(target) => of(target)?,
        None => 0.0,
    };
    let own = of(bar.of)? - less;
    match bar.by {
        // Where `by` adds nothing a ratio says nothing, and a negative one would be below every bound.
        Some(target) => {
            let by = of(target)? - less;
            (by > 0.0).then_some(own / by)
        }
        None => Some(own),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(target: Target, round: usize, again: bool, cpu: f64) -> Sample {
        let metrics = [("cpuPerUnit".to_owned(), cpu)].into();
        Sample {
            target,
            round,
            again,
            metrics,
            latency: None,
            failures: Vec::new(),
        }
    }

    fn rounds(ratios: &[f64], again: f64) -> Vec<Sample> {
        let mut samples = Vec::new();
        for (round, ratio) in ratios.iter().enumerate() {
            samples.push(sample(Target::Nginx, round, false, 2.0));
            samples.push(sample(
                Target::Portcullis,
                round,
                false,
                ratio * (1.0 + again),
            ));
            samples.push(sample(Target::Nginx, round, true, 2.0 * again));
        }
        samples
    }

    fn scenario() -> Scenario {
        serde_saphyr::from_str(
            "{description: d, targets: [nginx, portcullis], load: [{kind: get, count: 1}],
              bars: [{metric: cpuPerUnit, of: portcullis, by: nginx, atMost: 0.75}]}",
        )
        .unwrap()
    }

    #[test]
    fn a_bar_holds_by_the_median_and_fails_by_the_lower_quartile() {
        for (ratios, outcome) in [
            ([0.7, 0.7, 0.7, 0.9, 0.9], Outcome::Holds),
            ([0.7, 0.7, 0.8, 0.9, 0.9], Outcome::Undecided),
            ([0.7, 0.8, 0.8, 0.9, 0.9], Outcome::Fails),
        ] {
            let judgement = judge(&scenario(), &rounds(&ratios, 1.0));
            assert_eq!(judgement.verdicts[0].outcome, outcome, "{ratios:?}");
            assert!(judgement.void.is_none());
        }
    }

    #[test]
    fn a_reference_that_differs_from_itself_makes_the_run_void() {
        assert!(judge(&scenario(), &rounds(&[0.5; 5], 1.2)).void.is_some());
        assert!(judge(&scenario(), &rounds(&[0.5; 5], 1.05)).void.is_none());
    }

    #[test]
    fn one_leak_breaks_a_run() {
        for (target, breaks) in [
            (Target::PortcullisMasked, 1),
            (Target::PortcullisMaskedRecorded, 1),
            (Target::Portcullis, 0),
        ] {
            let mut samples = rounds(&[0.5; 5], 1.0);
            samples[4].target = target;
            samples[4].metrics.insert("leaks".to_owned(), 1.0);
            assert_eq!(
                judge(&scenario(), &samples).broken.len(),
                breaks,
                "{target}"
            );
        }
    }

    #[test]
    fn the_relay_stands_in_for_nginx_in_cpu_time_alone() {
        let mut samples = rounds(&[1.3; 5], 1.0);
        for sample in &mut samples {
            if sample.target == Target::Nginx {
                sample.target = Target::Relay;
            }
            let cpu = sample.metrics["cpuPerUnit"];
            sample.metrics.insert("p99".to_owned(), cpu);
        }
        let mut scenario = scenario();
        let outcome = |scenario: &Scenario| judge(scenario, &samples).verdicts[0].outcome;
        assert_eq!(outcome(&scenario), Outcome::Holds);
        scenario.bars[0].value.metric = "p99".to_owned();
        assert_eq!(outcome(&scenario), Outcome::Skipped);
    }

    #[test]
    fn a_round_in_which_the_reference_adds_nothing_says_nothing() {
        let bar = "{metric: cpuPerUnit, of: portcullis, by: nginx, minus: direct, atMost: 1}";
        let bar: Bar = serde_saphyr::from_str(bar).unwrap();
        let round = |nginx: f64, gateway: f64| {
            let samples = [
                sample(Target::Direct, 0, false, 10.0),
                sample(Target::Nginx, 0, false, nginx),
                sample(Target::Portcullis, 0, false, gateway),
            ];
            value(&bar, &samples, 0)
        };
        assert_eq!(round(12.0, 14.0), Some(2.0));
        assert_eq!(round(12.0, 9.0), Some(-0.5), "less than directly");
        assert_eq!(round(10.0, 14.0), None);
        assert_eq!(round(9.0, 14.0), None, "this would be below every bound");
    }
}
