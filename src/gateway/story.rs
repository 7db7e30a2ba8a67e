//! What a person did once and a client asked for twice.
//!
//! kubectl ≥ 1.30 opens a session over WebSocket and, when that is refused in whatever way, tries the
//! same over SPDY (`client-go/tools/remotecommand/fallback.go`). Both requests are decided, carried out
//! and audited for themselves, since nothing a client says may spare it a decision; but they are one
//! story, and whoever counts refusals or reads the audit log should see one.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::net::IpAddr;

use http::HeaderMap;
use jiff::Timestamp;
use parking_lot::Mutex;

use crate::identity::Identity;
use crate::limits;
use crate::metrics::Outcome;
use crate::request::RequestInfo;

/// The attempts over WebSocket that were refused a moment ago.
#[derive(Debug, Default)]
pub struct Stories {
    hasher: RandomState,
    /// Oldest first.
    refused: Mutex<VecDeque<Refused>>,
}

#[derive(Debug)]
struct Refused {
    key: u64,
    audit_id: String,
    outcome: Outcome,
    when: Timestamp,
}

/// One request for a session, as part of a story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The audit id of the story's first request.
    pub story: String,
    /// How that came out, when this is the second.
    before: Option<Outcome>,
    key: u64,
    websocket: bool,
}

/// What makes two requests the same act: who, whence, and what; everything but method and transport.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// The verified caller.
    pub identity: &'a Identity,
    /// The address of the connection.
    pub peer: IpAddr,
    /// The method as it came.
    pub method: &'a http::Method,
    /// Where to.
    pub cluster: &'a str,
    /// What is asked for.
    pub info: &'a RequestInfo,
    /// The headers, for what kubectl says its invocation is. A client that lies here tells its own
    /// requests apart, no more.
    pub headers: &'a HeaderMap,
}

impl Stories {
    /// Finds the story of a request: an attempt over WebSocket begins one, one over SPDY may end it.
    pub fn attempt(
        &self,
        act: Act<'_>,
        audit_id: &str,
        websocket: bool,
        now: Timestamp,
    ) -> Attempt {
        let key = self.key(act);
        let first = if websocket { None } else { self.take(key, now) };
        let (story, before) = first.map_or_else(
            || (audit_id.to_owned(), None),
            |first| (first.audit_id, Some(first.outcome)),
        );
        Attempt {
            story,
            before,
            key,
            websocket,
        }
    }

    /// An attempt is over and the client has no session: it may try again over SPDY.
    pub fn refused(&self, attempt: &Attempt, outcome: Outcome, now: Timestamp) {
        if !attempt.websocket {
            return;
        }
        let mut refused = self.refused.lock();
        forget(&mut refused, now);
        if refused.len() >= limits::STORIES_MAX {
            refused.pop_front();
        }
        refused.push_back(Refused {
            key: attempt.key,
            audit_id: attempt.story.clone(),
            outcome,
            when: now,
        });
    }

    fn take(&self, key: u64, now: Timestamp) -> Option<Refused> {
        let mut refused = self.refused.lock();
        forget(&mut refused, now);
        let at = refused.iter().position(|first| first.key == key)?;
        refused.remove(at)
    }

    fn key(&self, act: Act<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        let identity = act.identity;
        let agent = identity.agent().map(|agent| &agent.name);
        (identity.issuer(), identity.username(), agent).hash(&mut hasher);
        (act.peer, act.cluster, act.info.target()).hash(&mut hasher);
        let invocation = act.headers.get("kubectl-session");
        invocation
            .map(http::HeaderValue::as_bytes)
            .hash(&mut hasher);
        hasher.finish()
    }
}

impl Attempt {
    /// Whether the first attempt was refused and this is the second.
    pub fn is_second(&self) -> bool {
        self.before.is_some()
    }

    /// Whether the story was counted with this outcome already.
    pub fn is_counted(&self, outcome: Outcome) -> bool {
        self.before == Some(outcome)
    }
}

fn forget(refused: &mut VecDeque<Refused>, now: Timestamp) {
    let window = limits::STORY_WINDOW.as_secs_f64();
    let old = |first: &Refused| now.duration_since(first.when).as_secs_f64() > window;
    while refused.front().is_some_and(old) {
        refused.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use jiff::SignedDuration;

    use super::*;

    const EXEC: &str = "/api/v1/namespaces/default/pods/web/exec?command=id&container=app";

    fn attempt(stories: &Stories, id: &str, method: &Method, target: &str, who: &str) -> Attempt {
        attempt_at(stories, id, method, (target, who), Timestamp::UNIX_EPOCH)
    }

    fn attempt_at(
        stories: &Stories,
        id: &str,
        method: &Method,
        (target, who): (&str, &str),
        now: Timestamp,
    ) -> Attempt {
        let mut headers = HeaderMap::new();
        headers.insert("kubectl-session", "s-1".parse().unwrap());
        let act = Act {
            identity: &Identity::for_tests(who, &[]),
            peer: [192, 0, 2, 1].into(),
            method,
            cluster: "demo",
            info: &RequestInfo::parse(method, target).unwrap(),
            headers: &headers,
        };
        stories.attempt(act, id, *method == Method::GET, now)
    }

    #[test]
    fn a_refused_websocket_and_the_spdy_after_it_are_one_story() {
        let stories = Stories::default();
        let first = attempt(&stories, "a", &Method::GET, EXEC, "alice");
        assert_eq!((first.story.as_str(), first.before), ("a", None));
        stories.refused(&first, Outcome::Denied, Timestamp::UNIX_EPOCH);
        let second = attempt(&stories, "b", &Method::POST, EXEC, "alice");
        assert_eq!(second.story, "a");
        assert!(second.is_counted(Outcome::Denied) && !second.is_counted(Outcome::Allowed));
        // Once only: who asks again begins anew.
        stories.refused(&second, Outcome::Denied, Timestamp::UNIX_EPOCH);
        let third = attempt(&stories, "c", &Method::POST, EXEC, "alice");
        assert_eq!((third.story.as_str(), third.before), ("c", None));
    }

    #[test]
    fn other_callers_targets_transports_and_times_are_other_stories() {
        let stories = Stories::default();
        let first = attempt(&stories, "a", &Method::GET, EXEC, "alice");
        stories.refused(&first, Outcome::Denied, Timestamp::UNIX_EPOCH);
        let other = EXEC.replace("command=id", "command=ls");
        for (method, target, who) in [
            (Method::GET, EXEC, "alice"),
            (Method::POST, EXEC, "bob"),
            (Method::POST, other.as_str(), "alice"),
        ] {
            let attempt = attempt(&stories, "b", &method, target, who);
            assert_eq!(attempt.story, "b", "{method} {target} {who}");
        }
        let late = Timestamp::UNIX_EPOCH
            + SignedDuration::try_from(limits::STORY_WINDOW).unwrap()
            + SignedDuration::from_millis(1);
        let late = attempt_at(&stories, "b", &Method::POST, (EXEC, "alice"), late);
        assert_eq!(late.story, "b");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let stories = Stories::default();
        for number in 0..2 * limits::STORIES_MAX {
            let who = format!("user-{number}");
            let first = attempt(&stories, "a", &Method::GET, EXEC, &who);
            stories.refused(&first, Outcome::Denied, Timestamp::UNIX_EPOCH);
        }
        assert_eq!(stories.refused.lock().len(), limits::STORIES_MAX);
    }
}
