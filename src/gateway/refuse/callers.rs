//! Refusals of callers whatever rule would allow what they ask: an operator keeps them out, or a budget is used up.
//!
//! Too many requests in a minute are answered with 429 and `Retry-After`: client-go waits as long and asks again, up to ten
//! times (wire.md §9.3), so that kubectl becomes slower and does not fail. What takes up to an hour is 403.

use http::StatusCode;

use super::{Cause, Fault, Refusal, denial};
use crate::callers::spending::Exceeded;
use crate::identity::{Block, Identity};
use crate::policy::Measure;
use crate::request::RequestInfo;

impl Refusal {
    /// 403: an operator keeps the caller out. Not 401, which would make clients log in again and again.
    pub fn blocked(block: &Block) -> Self {
        let until = block.until.map_or_else(
            || "until an operator lifts it".to_owned(),
            |until| format!("until {until:.0}, unless an operator lifts it before"),
        );
        let message = format!(
            "you are blocked by {:?} since {:.0}: {}. Every request is refused {until}; ask {:?} or another operator of this gateway",
            block.by, block.at, block.reason, block.by,
        );
        Self::new(Fault::Policy, StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// 429 or 403: a budget of the caller has no room for this.
    pub fn over_budget(info: &RequestInfo, identity: &Identity, over: &Exceeded) -> Self {
        let why = format!("{over}; {}", over.room_again());
        let (code, reason) = match over.measure {
            Measure::Requests => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
            _ => (StatusCode::FORBIDDEN, "Forbidden"),
        };
        let message = denial(info, identity, &why);
        let mut refusal = Self::new(Fault::Policy, code, reason, message).about(info);
        let cause = |field: &str, message: String| Cause {
            reason: "OverBudget",
            message,
            field: field.to_owned(),
        };
        let details = refusal.details.get_or_insert_default();
        details.causes = vec![
            cause("budget.name", over.limit.budget.to_string()),
            cause("budget.limit", over.limit.most.to_string()),
            cause("budget.used", over.used.to_string()),
        ];
        if let Some(after) = over.recovers {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            details.retry_after_seconds = u32::try_from(seconds).unwrap_or(u32::MAX).max(1);
        }
        refusal
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use http::Method;
    use http::header::RETRY_AFTER;

    use super::*;
    use crate::policy::Limit;

    fn refused(measure: Measure, recovers: Option<Duration>) -> Refusal {
        let target = "/api/v1/namespaces/shop/pods/web";
        let info = RequestInfo::parse(&Method::DELETE, target).unwrap();
        let limit = Limit {
            most: 20,
            budget: Arc::from("shop/agents"),
        };
        let over = Exceeded {
            measure,
            limit,
            used: 20,
            recovers,
        };
        Refusal::over_budget(&info, &Identity::for_tests("alice", &[]), &over)
    }

    #[test]
    fn clients_repeat_what_was_too_fast_and_nothing_else() {
        let fast = refused(Measure::Requests, Some(Duration::from_millis(2_100)));
        assert_eq!(fast.code(), 429);
        assert_eq!(fast.response().headers()[RETRY_AFTER], "3");
        let much = refused(Measure::Deletes, Some(Duration::from_mins(14)));
        assert_eq!(much.code(), 403);
        assert!(much.response().headers().get(RETRY_AFTER).is_none());
        assert!(
            much.message().ends_with(
                "budget shop/agents: 20 of 20 deletes an hour are used; there is room again in 14 minutes"
            ),
            "{}",
            much.message()
        );
        let wide = refused(Measure::Namespaces, None);
        assert!(
            wide.message().ends_with("name one with -n"),
            "{}",
            wide.message()
        );
    }
}
