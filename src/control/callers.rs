//! The callers API: who calls, and the switch that keeps somebody out.
//!
//! For whoever may use the socket in the data directory, and at the control address for operators. Every call is an
//! audit event, written before the answer leaves.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response, Uri};
use hyper::body::Incoming;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::call::{self, Api, Door, Records, json, one_line};
use super::sessions::Operators;
use crate::approval::StoreError;
use crate::audit::Event;
use crate::callers::spending::Used;
use crate::callers::table::Activity;
use crate::callers::{self, NotBlocked};
use crate::gateway::body::{self, Body};
use crate::gateway::refuse::Refusal;
use crate::identity::{Authenticator, Block, Blocks, Whom};
use crate::limits;
use crate::policy::Measure;

/// What every path of this API begins with.
pub(super) const PREFIX: &str = "/v1/callers";

/// Everything the callers API needs.
pub struct Callers {
    /// Who calls.
    pub callers: Arc<callers::Callers>,
    /// Where calls are put on record.
    pub audit: Records,
    /// Verifies the tokens of operators.
    pub authenticator: Arc<Authenticator>,
    /// Who may call on the control address; nobody when absent.
    pub operators: Option<Operators>,
}

/// One caller, for lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CallerItem {
    /// The user; of a blocked agent that has not called lately there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The agent that acts for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Who vouches for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// What they are called there for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Open watches and logs.
    pub streams: usize,
    /// Open shells and forwarded ports.
    pub sessions: usize,
    /// Requests in the last minute.
    pub requests_last_minute: u64,
    /// How much of their budgets is used.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetItem>,
    /// When the last one came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_request: Option<Timestamp>,
    /// What keeps them out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocked: Option<Block>,
}

/// How much of one limit is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetItem {
    /// Which budget, as `POLICY/BUDGET`.
    pub budget: String,
    /// What of.
    pub measure: Measure,
    /// How much.
    pub used: u64,
    /// The limit.
    pub most: u64,
}

impl From<Used> for BudgetItem {
    fn from(used: Used) -> Self {
        Self {
            budget: used.limit.budget.to_string(),
            measure: used.measure,
            used: used.used,
            most: used.limit.most,
        }
    }
}

/// The callers that were asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CallerList {
    /// The callers, whoever called last first.
    pub items: Vec<CallerItem>,
}

/// The body of a call that keeps somebody out or lets them in again: a user or an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BlockCall {
    /// A user, with all agents that act for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// An agent, whoever it acts for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Why; whoever is blocked reads it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// After how many seconds the block ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// The answer to a block.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Blocked {
    /// What is in force now.
    #[serde(flatten)]
    pub block: Block,
    /// Whether somebody of this name has called since the gateway started.
    pub known: bool,
    /// Otherwise names that look alike and have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alike: Vec<Whom>,
}

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    List { all: bool },
    Block,
    Unblock,
}

impl Api for Callers {
    fn audit(&self) -> &Records {
        &self.audit
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        door: &Door,
        event: &mut Event,
        now: Timestamp,
    ) -> Result<Response<Body>, Refusal> {
        let operators = (&*self.authenticator, self.operators.as_ref());
        let operator = call::operator(operators, &request, door, event, now).await?;
        let (head, body) = request.into_parts();
        let call = parse(&head.method, &head.uri)?;
        // A disk that is full must not disarm the switch: a block is in force although it cannot be put on record, and
        // the answer then says that it is not.
        if call != Call::Block {
            call::recordable(&self.audit)?;
        }
        match call {
            Call::List { all } => json(&self.list(all, now)),
            Call::Block => {
                let call = read(body).await?;
                let block = self.block(&call, operator.name, event, now).await?;
                json(&self.told(block))
            }
            Call::Unblock => {
                let call = read(body).await?;
                json(&self.unblock(&call, &operator.name, event).await?)
            }
        }
    }
}

impl Callers {
    /// Whether there is anybody who may call on the control address.
    #[must_use]
    pub fn has_operators(&self) -> bool {
        self.operators.is_some()
    }

    /// Keeps somebody out, and puts that on the call's event.
    pub(super) async fn block(
        &self,
        call: &BlockCall,
        by: String,
        event: &mut Event,
        now: Timestamp,
    ) -> Result<Block, Refusal> {
        let heard = BlockCall {
            reason: self.audit.masked(&call.reason),
            ..call.clone()
        };
        let block = block(&heard, by, now)?;
        event.annotate("portcullis.dev/block", in_words(&block.whom));
        event.blocked(&block);
        if let Some(until) = block.until {
            event.annotate("portcullis.dev/blocked-until", until.to_string());
        }
        let block = self.callers.block(block).await.map_err(not_blocked)?;
        tracing::warn!(
            by = block.by,
            reason = block.reason,
            whom = in_words(&block.whom),
            "a caller is blocked"
        );
        Ok(block)
    }

    /// Lets somebody in again, and puts that on the call's event.
    pub(super) async fn unblock(
        &self,
        call: &BlockCall,
        by: &str,
        event: &mut Event,
    ) -> Result<Whom, Refusal> {
        let whom = whom(call)?;
        event.annotate("portcullis.dev/unblock", in_words(&whom));
        let why = reason(&self.audit.masked(&call.reason));
        event.annotate("portcullis.dev/block-reason", why);
        let lifted = self.callers.unblock(&whom).await;
        if !lifted.map_err(|error| not_lifted(&error))? {
            let whom = in_words(&whom);
            return Err(Refusal::not_found(format!(
                "{whom} is not blocked; portcullis callers ls lists who is"
            )));
        }
        tracing::warn!(by, whom = in_words(&whom), "a caller is no longer blocked");
        Ok(whom)
    }

    /// Who calls now, and who is kept out; with `all`, also who called lately.
    pub(super) fn list(&self, all: bool, now: Timestamp) -> CallerList {
        let blocks = self.callers.blocks().current();
        let mut idle: Vec<Block> = blocks.list(now);
        let mut items = Vec::new();
        for activity in self.callers.list() {
            let item = item(&activity, &blocks, now);
            idle.retain(|block| item.blocked.as_ref() != Some(block));
            if all || item.blocked.is_some() || activity.is_active() {
                items.push(item);
            }
        }
        items.extend(idle.into_iter().map(CallerItem::from));
        items.sort_by(|a, b| (b.last_request, &a.user).cmp(&(a.last_request, &b.user)));
        CallerList { items }
    }

    /// Says whether the block keeps out somebody who is known: names count to the letter.
    fn told(&self, block: Block) -> Blocked {
        let name = |whom: &Whom| match whom {
            Whom::User(name) | Whom::Agent(name) => name.to_lowercase(),
        };
        let wanted = name(&block.whom);
        let mut known = false;
        let mut alike: Vec<Whom> = Vec::new();
        for activity in self.callers.list() {
            let Some(key) = activity.key else {
                continue;
            };
            for whom in [Some(Whom::User(activity.user)), key.agent.map(Whom::Agent)]
                .into_iter()
                .flatten()
            {
                known |= whom == block.whom;
                if name(&whom).contains(&wanted) && !alike.contains(&whom) {
                    alike.push(whom);
                }
            }
        }
        if known {
            alike.clear();
        }
        alike.sort();
        alike.truncate(limits::BLOCK_ALIKE_MAX);
        Blocked {
            block,
            known,
            alike,
        }
    }
}

/// What a block is about, for people.
#[must_use]
pub fn in_words(whom: &Whom) -> String {
    match whom {
        Whom::User(name) => format!("user {name:?}"),
        Whom::Agent(name) => format!("agent {name:?}"),
    }
}

/// Somebody who is blocked and does not call.
impl From<Block> for CallerItem {
    fn from(block: Block) -> Self {
        let (user, agent) = match block.whom.clone() {
            Whom::User(name) => (Some(name), None),
            Whom::Agent(name) => (None, Some(name)),
        };
        Self {
            user,
            agent,
            blocked: Some(block),
            ..Self::default()
        }
    }
}

fn item(activity: &Activity, blocks: &Blocks, now: Timestamp) -> CallerItem {
    let key = activity.key.as_ref();
    CallerItem {
        user: key.map(|_| activity.user.clone()),
        agent: key.and_then(|key| key.agent.clone()),
        issuer: key.map(|key| key.subject.issuer.clone()),
        subject: key.map(|key| key.subject.subject.clone()),
        streams: activity.streams,
        sessions: activity.sessions,
        requests_last_minute: activity.requests,
        budgets: activity
            .used
            .iter()
            .cloned()
            .map(BudgetItem::from)
            .collect(),
        last_request: activity.last,
        blocked: activity.blocked(blocks, now),
    }
}

/// The block that is asked for.
pub fn block(call: &BlockCall, by: String, now: Timestamp) -> Result<Block, Refusal> {
    let whom = whom(call)?;
    let reason = reason(&call.reason);
    if reason.is_empty() {
        return Err(Refusal::bad_request(
            "reason is empty; whoever is blocked reads it, so say why",
        ));
    }
    let until = call.seconds.map(|seconds| {
        let lasts = Duration::from_secs(seconds);
        (!lasts.is_zero() && lasts <= limits::BLOCK_LASTS_MAX)
            .then(|| now.checked_add(lasts).ok())
            .flatten()
            .ok_or_else(|| Refusal::bad_request("seconds must be between one and those of a year"))
    });
    Ok(Block {
        whom,
        by,
        at: now,
        reason,
        until: until.transpose()?,
        subjects: Vec::new(),
    })
}

/// Whom a call is about. The name is taken as it is: it is compared to the letter.
pub fn whom(call: &BlockCall) -> Result<Whom, Refusal> {
    let whom = match (&call.user, &call.agent) {
        (Some(user), None) => Whom::User(user.clone()),
        (None, Some(agent)) => Whom::Agent(agent.clone()),
        _ => return Err(Refusal::bad_request("name one: a user or an agent")),
    };
    let (Whom::User(name) | Whom::Agent(name)) = &whom;
    if name.is_empty() || name.len() > limits::BLOCK_NAME_BYTES_MAX {
        return Err(Refusal::bad_request("the name is empty, or too long"));
    }
    Ok(whom)
}

fn reason(text: &str) -> String {
    one_line(text, limits::BLOCK_REASON_CHARS_MAX)
}

/// Reads a call. What is not known is refused.
fn parse(method: &Method, uri: &Uri) -> Result<Call, Refusal> {
    let call = match (uri.path(), uri.query()) {
        (PREFIX, None | Some("all=false")) => Call::List { all: false },
        (PREFIX, Some("all=true")) => Call::List { all: true },
        ("/v1/callers/block", None) => Call::Block,
        ("/v1/callers/unblock", None) => Call::Unblock,
        (PREFIX, Some(_)) => {
            return Err(Refusal::bad_request(
                "there is one parameter: all, true or false",
            ));
        }
        ("/v1/callers/block" | "/v1/callers/unblock", Some(_)) => {
            return Err(Refusal::bad_request("there are no parameters here"));
        }
        _ => {
            return Err(Refusal::not_found(
                "served here: /v1/callers, /v1/callers/block and /v1/callers/unblock",
            ));
        }
    };
    let wanted = if matches!(call, Call::List { .. }) {
        Method::GET
    } else {
        Method::POST
    };
    if *method != wanted {
        return Err(Refusal::method_not_allowed(format!(
            "this is asked for with {wanted}"
        )));
    }
    Ok(call)
}

async fn read(body: Incoming) -> Result<BlockCall, Refusal> {
    let body = body::read_bounded(body, limits::SESSIONS_CALL_BYTES_MAX).await?;
    serde_json::from_slice(&body).map_err(|error| {
        Refusal::bad_request(format!(
            "the body must be JSON such as {{\"user\": \"alice\", \"reason\": \"…\", \"seconds\": 3600}}: {error}"
        ))
    })
}

fn not_blocked(why: NotBlocked) -> Refusal {
    match why {
        NotBlocked::TooMany => Refusal::conflict(format!(
            "{why}; lift some first, or deny them in the policy"
        )),
        NotBlocked::Unwritten(error) => Refusal::gateway_unavailable(
            "the block is in force, but could not be written: it is gone when the gateway restarts. Deny the caller in the policy as well, or block again when the disk works",
        )
        .detail(&error),
    }
}

fn not_lifted(error: &StoreError) -> Refusal {
    Refusal::gateway_unavailable(
        "the block is lifted, but that could not be written: it is back when the gateway restarts. Lift it again when the disk works",
    )
    .detail(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_what_the_documentation_says_and_nothing_else() {
        let (get, post) = (&Method::GET, &Method::POST);
        for (method, target, expected) in [
            (get, "/v1/callers", Ok(Call::List { all: false })),
            (get, "/v1/callers?all=true", Ok(Call::List { all: true })),
            (post, "/v1/callers/block", Ok(Call::Block)),
            (post, "/v1/callers/unblock", Ok(Call::Unblock)),
            // A link that somebody opens blocks nobody.
            (get, "/v1/callers/block", Err(405)),
            (get, "/v1/callers/block?user=alice", Err(400)),
            (post, "/v1/callers", Err(405)),
            (get, "/v1/callers?al=true", Err(400)),
            (get, "/v1/callers/", Err(404)),
            (post, "/v1/callers/alice/block", Err(404)),
        ] {
            let called = parse(method, &target.parse().unwrap());
            let called = called.map_err(|refusal| refusal.code().as_u16());
            assert_eq!(called, expected, "{method} {target}");
        }
    }

    #[test]
    fn a_block_names_one_caller_a_reason_and_an_end_that_can_be_waited_for() {
        let now = Timestamp::UNIX_EPOCH;
        let alice = BlockCall {
            user: Some("alice".to_owned()),
            reason: "INC-7\nforged".to_owned(),
            seconds: Some(60),
            ..BlockCall::default()
        };
        let made = block(&alice, "carol".to_owned(), now).unwrap();
        assert_eq!(made.whom, Whom::User("alice".to_owned()));
        assert_eq!(made.reason, "INC-7 forged");
        assert_eq!(made.until, Some(Timestamp::from_second(60).unwrap()));
        let agent = Some("bot".to_owned());
        for wrong in [
            BlockCall {
                user: None,
                ..alice.clone()
            },
            BlockCall {
                agent,
                ..alice.clone()
            },
            BlockCall {
                user: Some(String::new()),
                ..alice.clone()
            },
            BlockCall {
                user: Some("a".repeat(513)),
                ..alice.clone()
            },
            BlockCall {
                reason: " ".to_owned(),
                ..alice.clone()
            },
            BlockCall {
                seconds: Some(0),
                ..alice.clone()
            },
            BlockCall {
                seconds: Some(u64::MAX),
                ..alice.clone()
            },
        ] {
            let refusal = block(&wrong, "carol".to_owned(), now).unwrap_err();
            assert_eq!(refusal.code(), 400, "{wrong:?}");
        }
    }
}
