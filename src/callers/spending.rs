//! What a caller has used of their budgets: pure counters, with the time passed in.
//!
//! Time is what has passed since the gateway started, on a clock that nobody sets, so setting the machine's clock renews
//! no budget. A limit is never exceeded in any window, wherever it begins ([`super::window`]).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::window::{Hour, Minute};
use crate::policy::{Allowance, Limit, Measure};

/// What one caller used lately.
#[derive(Debug)]
pub struct Spending {
    requests: Minute,
    /// Only of callers whom a budget limits in what they do.
    done: Option<Box<Done>>,
}

#[derive(Debug)]
struct Done {
    deletes: Hour,
    bytes: Hour,
    /// When each was touched last. Digests, so that a name of any length takes the same room.
    namespaces: HashMap<u64, Duration>,
}

/// What a request takes besides being one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Objects that it deletes.
    pub deletes: Deletes,
    /// Namespaces that it touches.
    pub namespaces: Touches,
}

/// How many objects a request deletes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deletes {
    /// None.
    #[default]
    None,
    /// One.
    One,
    /// Nobody knows how many: as much as there is.
    Any,
}

/// Which namespaces a request touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Touches {
    /// None.
    #[default]
    None,
    /// One, by a digest of cluster and name.
    One(u64),
    /// All there are.
    All,
}

/// A budget is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// What of.
    pub measure: Measure,
    /// The limit, and who sets it.
    pub limit: Limit,
    /// How much is used.
    pub used: u64,
    /// How long it takes until there is room, if the same request ever finds any.
    pub recovers: Option<Duration>,
}

/// How much of one limit is used, for lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// What of.
    pub measure: Measure,
    /// The limit, and who sets it.
    pub limit: Limit,
    /// How much.
    pub used: u64,
}

const HOUR: Duration = Duration::from_hours(1);

impl Exceeded {
    /// When to come again, for people.
    #[must_use]
    pub fn room_again(&self) -> String {
        match self.recovers {
            Some(after) => {
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                match seconds {
                    0..=90 => format!("there is room again in {seconds} s"),
                    _ => format!("there is room again in {} minutes", seconds.div_ceil(60)),
                }
            }
            None if self.measure == Measure::Namespaces => {
                "this spans all namespaces; name one with -n".to_owned()
            }
            None => "ask whoever runs this gateway for more".to_owned(),
        }
    }
}

impl fmt::Display for Exceeded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Limit { most, budget } = &self.limit;
        let (used, measure) = (self.used, self.measure.in_words());
        write!(out, "budget {budget}: {used} of {most} {measure} are used")
    }
}

impl Default for Spending {
    fn default() -> Self {
        Self {
            requests: Minute::minute(),
            done: None,
        }
    }
}

impl Spending {
    /// Requests in the last minute.
    pub fn requests(&mut self, now: Duration) -> u64 {
        self.requests.sum(now)
    }

    /// Counts a request, unless there were too many. What is refused is not counted, so that who keeps asking is let in
    /// again.
    pub fn request(&mut self, allowance: &Allowance, now: Duration) -> Result<(), Exceeded> {
        if let Some(limit) = allowance.limit(Measure::Requests) {
            let used = self.requests.sum(now);
            if used >= limit.most {
                let at = self.requests.down_to(limit.most.saturating_sub(1), now);
                return Err(over(Measure::Requests, limit, used, Some(at), now));
            }
        }
        self.requests.add(1, now);
        Ok(())
    }

    /// Whether there is room for what a request takes. Counts nothing.
    pub fn has_room(
        &mut self,
        cost: Cost,
        allowance: &Allowance,
        now: Duration,
    ) -> Result<(), Exceeded> {
        if !allowance.counts_what_is_done() {
            return Ok(());
        }
        let done = self.done.get_or_insert_default();
        done.room_for_deletes(cost.deletes, allowance, now)?;
        done.room_for_namespaces(cost.namespaces, allowance, now)?;
        done.room_for_bytes(allowance, now)
    }

    /// Counts what a request takes, if there is room.
    pub fn take(
        &mut self,
        cost: Cost,
        allowance: &Allowance,
        now: Duration,
    ) -> Result<(), Exceeded> {
        self.has_room(cost, allowance, now)?;
        let Some(done) = &mut self.done else {
            return Ok(());
        };
        let deletes = match (cost.deletes, allowance.limit(Measure::Deletes)) {
            (Deletes::None, _) => 0,
            (Deletes::Any, Some(limit)) => limit.most,
            (Deletes::One | Deletes::Any, _) => 1,
        };
        done.deletes.add(deletes, now);
        if let (Touches::One(namespace), Some(_)) =
            (cost.namespaces, allowance.limit(Measure::Namespaces))
        {
            let last = done.namespaces.entry(namespace).or_insert(now);
            *last = now.max(*last);
        }
        Ok(())
    }

    /// Counts bytes that are about to pass, if there is room for them. If there is not, nothing is left.
    pub fn bytes(
        &mut self,
        amount: u64,
        allowance: &Allowance,
        now: Duration,
    ) -> Result<(), Exceeded> {
        let Some(limit) = allowance.limit(Measure::Bytes) else {
            return Ok(());
        };
        let done = self.done.get_or_insert_default();
        let used = done.bytes.sum(now);
        if used.saturating_add(amount) <= limit.most {
            done.bytes.add(amount, now);
            return Ok(());
        }
        // Or whoever asks again would be let in, and cut off by the same piece.
        done.bytes.add(limit.most.saturating_sub(used), now);
        let at = done.bytes.down_to(limit.most.saturating_sub(1), now);
        Err(over(
            Measure::Bytes,
            limit,
            limit.most.max(used),
            Some(at),
            now,
        ))
    }

    /// How much of each limit is used.
    pub fn used(&mut self, allowance: &Allowance, now: Duration) -> Vec<Used> {
        let limits: Vec<(Measure, Limit)> = allowance
            .limits()
            .map(|(measure, limit)| (measure, limit.clone()))
            .collect();
        limits
            .into_iter()
            .map(|(measure, limit)| Used {
                measure,
                limit,
                used: match (measure, &mut self.done) {
                    (Measure::Requests, _) => self.requests.sum(now),
                    (_, None) => 0,
                    (Measure::Deletes, Some(done)) => done.deletes.sum(now),
                    (Measure::Bytes, Some(done)) => done.bytes.sum(now),
                    (Measure::Namespaces, Some(done)) => done.touched(now),
                },
            })
            .collect()
    }
}

impl Default for Done {
    fn default() -> Self {
        Self {
            deletes: Hour::hour(),
            bytes: Hour::hour(),
            namespaces: HashMap::new(),
        }
    }
}

impl Done {
    fn room_for_deletes(
        &mut self,
        deletes: Deletes,
        allowance: &Allowance,
        now: Duration,
    ) -> Result<(), Exceeded> {
        let Some(limit) = allowance.limit(Measure::Deletes) else {
            return Ok(());
        };
        // Who deletes nobody knows how much at once uses the whole budget.
        let amount = match deletes {
            Deletes::None => return Ok(()),
            Deletes::One => 1,
            Deletes::Any => limit.most,
        };
        let used = self.deletes.sum(now);
        if limit.most > 0 && used.saturating_add(amount) <= limit.most {
            return Ok(());
        }
        let at = (limit.most > 0).then(|| self.deletes.down_to(limit.most - amount, now));
        Err(over(Measure::Deletes, limit, used, at, now))
    }

    fn room_for_namespaces(
        &mut self,
        touches: Touches,
        allowance: &Allowance,
        now: Duration,
    ) -> Result<(), Exceeded> {
        let Some(limit) = allowance.limit(Measure::Namespaces) else {
            return Ok(());
        };
        let used = self.touched(now);
        match touches {
            Touches::None => Ok(()),
            Touches::One(namespace) if self.namespaces.contains_key(&namespace) => Ok(()),
            Touches::One(_) if used < limit.most => Ok(()),
            Touches::One(_) => {
                let first = self.namespaces.values().min();
                let at = first.map(|first| *first + HOUR);
                Err(over(Measure::Namespaces, limit, used, at, now))
            }
            Touches::All => Err(over(Measure::Namespaces, limit, used, None, now)),
        }
    }

    fn room_for_bytes(&mut self, allowance: &Allowance, now: Duration) -> Result<(), Exceeded> {
        let Some(limit) = allowance.limit(Measure::Bytes) else {
            return Ok(());
        };
        let used = self.bytes.sum(now);
        if used < limit.most {
            return Ok(());
        }
        let at = self.bytes.down_to(limit.most.saturating_sub(1), now);
        Err(over(Measure::Bytes, limit, used, Some(at), now))
    }

    /// How many namespaces were touched within the hour.
    fn touched(&mut self, now: Duration) -> u64 {
        self.namespaces
            .retain(|_, last| now.saturating_sub(*last) < HOUR);
        self.namespaces.len() as u64
    }
}

fn over(
    measure: Measure,
    limit: &Limit,
    used: u64,
    at: Option<Duration>,
    now: Duration,
) -> Exceeded {
    Exceeded {
        measure,
        limit: Limit {
            most: limit.most,
            budget: Arc::clone(&limit.budget),
        },
        used,
        recovers: at.map(|at| at.saturating_sub(now)),
    }
}

#[cfg(test)]
mod tests;
