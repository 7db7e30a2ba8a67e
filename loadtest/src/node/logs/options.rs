//! `PodLogOptions` and their validation.

use jiff::{SignedDuration, Timestamp};

use crate::node::query::Query;
use crate::node::reply::Fault;

/// What a client wants to see of a log.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) follow: bool,
    pub(super) previous: bool,
    pub(super) timestamps: bool,
    pub(super) tail: Option<u64>,
    pub(super) limit: Option<u64>,
    seconds: Option<u64>,
    time: Option<Timestamp>,
}

impl Options {
    pub(super) fn parse(query: &Query, pod: &str) -> Result<Self, Fault> {
        let time = match query.text("sinceTime") {
            None => None,
            Some(text) => Some(text.parse::<Timestamp>().map_err(|_| {
                Fault::bad_request(&format!(
                    "parsing time \"{text}\" as \"2006-01-02T15:04:05Z07:00\""
                ))
            })?),
        };
        let seconds = number(query, pod, "sinceSeconds", 1)?;
        if time.is_some() && seconds.is_some() {
            let message =
                "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified";
            return Err(Fault::invalid(
                "PodLogOptions",
                pod,
                "[]",
                "FieldValueForbidden",
                message,
            ));
        }
        Ok(Self {
            follow: query.flag("follow"),
            previous: query.flag("previous"),
            timestamps: query.flag("timestamps"),
            tail: number(query, pod, "tailLines", 0)?,
            limit: number(query, pod, "limitBytes", 1)?,
            seconds,
            time,
        })
    }

    /// The time before which nothing is shown.
    pub(super) fn since(&self, now: Timestamp) -> Option<Timestamp> {
        let seconds = self.seconds.map(|seconds| {
            let back = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
            now.checked_sub(back).unwrap_or(Timestamp::MIN)
        });
        self.time.or(seconds)
    }
}

fn number(query: &Query, pod: &str, key: &str, least: i64) -> Result<Option<u64>, Fault> {
    let Some(text) = query.text(key) else {
        return Ok(None);
    };
    let value: i64 = text.parse().map_err(|_| {
        Fault::bad_request(&format!(
            "strconv.ParseInt: parsing \"{text}\": invalid syntax"
        ))
    })?;
    if value < least {
        let rule = if least == 0 {
            "must be greater than or equal to 0"
        } else {
            "must be greater than 0"
        };
        let message = format!("Invalid value: {value}: {rule}");
        return Err(Fault::invalid(
            "PodLogOptions",
            pod,
            key,
            "FieldValueInvalid",
            &message,
        ));
    }
    Ok(u64::try_from(value).ok())
}
