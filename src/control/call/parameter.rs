//! The parameters in the query of a call.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::gateway::refuse::Refusal;
use crate::limits;
use crate::request::Query;

/// A parameter of a call.
#[derive(Clone, Copy, Debug)]
pub(in crate::control) struct Parameter<'a> {
    pub(in crate::control) key: &'a str,
    pub(in crate::control) value: &'a str,
}

/// The parameters of a call; none of them is there twice.
pub(in crate::control) fn parameters(query: &Query) -> Result<Vec<Parameter<'_>>, Refusal> {
    let mut seen = BTreeSet::new();
    let once = |(key, value)| {
        seen.insert(key)
            .then_some(Parameter { key, value })
            .ok_or_else(|| Refusal::bad_request(format!("{key} is there twice")))
    };
    query.pairs().map(once).collect()
}

/// A call without parameters.
pub(in crate::control) fn no_parameters(query: &Query) -> Result<(), Refusal> {
    match query.pairs().next() {
        None => Ok(()),
        Some((key, _)) => Err(Refusal::bad_request(format!(
            "there is no parameter {key:?} here"
        ))),
    }
}

impl Parameter<'_> {
    pub(in crate::control) fn text(self) -> String {
        self.value.to_owned()
    }

    pub(in crate::control) fn time(self) -> Result<Option<Timestamp>, Refusal> {
        let time = self.value.parse().map(Some);
        time.map_err(|_| self.must_be("a time such as 2026-11-20T08:00:00Z"))
    }

    pub(in crate::control) fn yes_or_no(self) -> Result<bool, Refusal> {
        let word = self.value.parse();
        word.map_err(|_| self.must_be("true or false"))
    }

    /// How much is listed.
    pub(in crate::control) fn limit(self) -> Result<usize, Refusal> {
        let most = limits::SESSIONS_LISTED_MAX;
        let limit = self.value.parse().ok();
        limit
            .filter(|limit| (1..=most).contains(limit))
            .ok_or_else(|| self.must_be(&format!("a number from 1 to {most}")))
    }

    pub(in crate::control) fn must_be(self, what: &str) -> Refusal {
        Refusal::bad_request(format!("{} must be {what}", self.key))
    }

    /// There is none of this name, but of these.
    pub(in crate::control) fn unknown(self, known: &str) -> Refusal {
        let key = self.key;
        Refusal::bad_request(format!("there is no parameter {key:?}; there are {known}"))
    }
}
