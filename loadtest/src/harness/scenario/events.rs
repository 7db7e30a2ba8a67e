//! When the events of a watch come, as a scenario file writes it.

use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;

use crate::harness::upstream::answer::Pace;

/// The pace of a watch as a file writes it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Events(pub Pace);

impl Default for Events {
    fn default() -> Self {
        Self(Pace::Idle)
    }
}

impl TryFrom<String> for Events {
    type Error = anyhow::Error;

    fn try_from(text: String) -> anyhow::Result<Self> {
        let pace = match text.as_str() {
            "saturated" => Pace::Saturated,
            "idle" => Pace::Idle,
            rate => {
                let (rate, pace): (_, fn(Duration) -> Pace) = match rate.strip_suffix(" together") {
                    Some(rate) => (rate, Pace::Together),
                    None => (rate, Pace::Every),
                };
                let number = rate
                    .strip_suffix("/s")
                    .and_then(|number| number.parse::<f64>().ok());
                let period = number.filter(|&number| number > 0.0);
                match period.and_then(|number| Duration::try_from_secs_f64(1.0 / number).ok()) {
                    Some(period) => pace(period),
                    None => bail!(
                        "{text:?} is neither `saturated` nor `idle` nor a rate such as `10/s` or `10/s together`"
                    ),
                }
            }
        };
        Ok(Self(pace))
    }
}
