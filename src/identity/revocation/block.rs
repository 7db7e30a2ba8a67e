//! Who is kept out whatever token they hold, until an operator lets them in again.
//!
//! Names are compared byte for byte, as everywhere. Who may choose their own name at the issuer could shed a block with
//! it; so a block of a user also knows the subjects that had the name, which an issuer never gives to anybody else
//! (OIDC Core §2).

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::super::Identity;

/// Whom a block is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Whom {
    /// A user as policy and audit name them, and every agent that acts for them.
    User(String),
    /// An agent, whoever it acts for, in whichever place of a delegation; and its own account, if it has one.
    Agent(String),
}

/// An account as its issuer knows it for good.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subject {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Their `sub`.
    pub subject: String,
}

/// One block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// Whom it is about.
    #[serde(flatten)]
    pub whom: Whom,
    /// Which operator wants it.
    pub by: String,
    /// Since when.
    pub at: Timestamp,
    /// Why; whoever is blocked reads it.
    pub reason: String,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who had the user's name when it was blocked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<Subject>,
}

/// The blocks in force. The default blocks nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    users: HashMap<String, Arc<Block>>,
    agents: HashMap<String, Arc<Block>>,
    subjects: HashMap<Subject, Arc<Block>>,
}

/// Everything that a block can name a caller by.
#[derive(Clone, Debug)]
pub struct Names<'a> {
    /// The user's name.
    pub user: &'a str,
    /// The agents that act for them, if any.
    pub agents: Vec<&'a str>,
    /// The account.
    pub subject: Subject,
}

impl<'a> From<&'a Identity> for Names<'a> {
    fn from(identity: &'a Identity) -> Self {
        let agent = identity.agent();
        let names = agent.map(|agent| agent.chain.iter().chain([&agent.name]));
        Self {
            user: identity.username(),
            agents: names.into_iter().flatten().map(String::as_str).collect(),
            subject: Subject {
                issuer: identity.issuer().to_owned(),
                subject: identity.subject().to_owned(),
            },
        }
    }
}

impl Block {
    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Blocks {
    /// The blocks that are not over. Of several about the same caller the last one counts.
    #[must_use]
    pub fn new(blocks: impl IntoIterator<Item = Block>, now: Timestamp) -> Self {
        let mut all = Self::default();
        for block in blocks.into_iter().filter(|block| !block.is_over(now)) {
            let block = Arc::new(block);
            match &block.whom {
                Whom::User(name) => all.users.insert(name.clone(), Arc::clone(&block)),
                Whom::Agent(name) => all.agents.insert(name.clone(), Arc::clone(&block)),
            };
        }
        for block in all.users.values() {
            for subject in &block.subjects {
                all.subjects.insert(subject.clone(), Arc::clone(block));
            }
        }
        all
    }

    /// Why the caller is kept out, if they are.
    #[must_use]
    pub fn of(&self, identity: &Identity, now: Timestamp) -> Option<&Arc<Block>> {
        // Nearly always: then nothing is made to look it up with.
        if self.is_empty() {
            return None;
        }
        self.named(&Names::from(identity), now)
    }

    /// The same for somebody who is not calling just now.
    #[must_use]
    pub fn named(&self, names: &Names<'_>, now: Timestamp) -> Option<&Arc<Block>> {
        let user = self.users.get(names.user);
        let account = self.agents.get(names.user);
        let subject = self.subjects.get(&names.subject);
        let agents = names
            .agents
            .iter()
            .filter_map(|name| self.agents.get(*name));
        user.into_iter()
            .chain(subject)
            .chain(account)
            .chain(agents)
            .find(|block| !block.is_over(now))
    }

    /// These and another one.
    #[must_use]
    pub fn with(&self, block: Block, now: Timestamp) -> Self {
        Self::new(self.list(now).into_iter().chain([block]), now)
    }

    /// These without one; `None` when there is none about them.
    #[must_use]
    pub fn without(&self, whom: &Whom, now: Timestamp) -> Option<Self> {
        let all = self.list(now);
        let kept: Vec<Block> = all
            .iter()
            .filter(|block| block.whom != *whom)
            .cloned()
            .collect();
        (kept.len() < all.len()).then(|| Self::new(kept, now))
    }

    /// Those that are not over, the latest first.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<Block> {
        let blocks = self.users.values().chain(self.agents.values());
        let mut list: Vec<Block> = blocks
            .filter(|block| !block.is_over(now))
            .map(|block| Block::clone(block))
            .collect();
        list.sort_by(|a, b| (b.at, &a.whom).cmp(&(a.at, &b.whom)));
        list
    }

    /// How many there are, those that ended since the last change included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.users.len() + self.agents.len()
    }

    /// Whether nobody is blocked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn block(whom: Whom) -> Block {
        Block {
            whom,
            by: "carol".to_owned(),
            at: at(0),
            reason: "INC-7".to_owned(),
            until: None,
            subjects: Vec::new(),
        }
    }

    fn user(name: &str) -> Whom {
        Whom::User(name.to_owned())
    }

    fn agent(name: &str) -> Whom {
        Whom::Agent(name.to_owned())
    }

    #[test]
    fn a_block_reaches_the_user_their_agents_and_nobody_else() {
        let alice = Identity::for_tests("alice", &[]);
        let bot = |chain| Identity::for_tests("alice", &[]).with_agent("bot", chain);
        let account = Identity::for_tests("bot", &[]);
        for (whom, identity, blocked) in [
            (user("alice"), &alice, true),
            (user("alice"), &bot(&[]), true),
            (user("Alice"), &alice, false),
            (user("bob"), &alice, false),
            (user("bot"), &bot(&[]), false),
            (agent("bot"), &bot(&[]), true),
            (agent("bot"), &account, true),
            (agent("bot"), &alice, false),
            (agent("alice"), &bot(&[]), true),
            // Whoever it hands its work to is no way around.
            (agent("planner"), &bot(&["router", "planner"]), true),
            (agent("router"), &bot(&["router", "planner"]), true),
            (agent("robot"), &bot(&["router", "planner"]), false),
        ] {
            let blocks = Blocks::new([block(whom.clone())], at(1));
            let found = blocks.of(identity, at(1)).is_some();
            assert_eq!(found, blocked, "{whom:?} {identity:?}");
        }
        assert!(Blocks::default().of(&alice, at(1)).is_none());
    }

    #[test]
    fn another_name_of_the_same_account_is_blocked_too() {
        let known = Subject {
            issuer: "https://issuer.test".to_owned(),
            subject: "alice".to_owned(),
        };
        let block = Block {
            subjects: vec![known],
            ..block(user("alice@example.com"))
        };
        let blocks = Blocks::new([block], at(1));
        let renamed = Identity::for_tests("alice", &[]);
        assert!(blocks.of(&renamed, at(1)).is_some());
        assert!(blocks.of(&Identity::for_tests("bob", &[]), at(1)).is_none());
        let lifted = blocks.without(&user("alice@example.com"), at(1)).unwrap();
        assert!(lifted.of(&renamed, at(1)).is_none());
    }

    #[test]
    fn a_block_ends_by_itself_and_then_counts_no_more() {
        let alice = Identity::for_tests("alice", &[]);
        let short = Block {
            until: Some(at(10)),
            ..block(user("alice"))
        };
        let blocks = Blocks::new([short.clone()], at(0));
        assert!(blocks.of(&alice, at(9)).is_some());
        assert!(blocks.of(&alice, at(10)).is_none());
        assert!(blocks.list(at(10)).is_empty());
        assert!(Blocks::new([short], at(10)).is_empty());
        // One that is over hides no other about the same caller.
        let both = blocks.with(block(agent("bot")), at(0));
        let bot = Identity::for_tests("alice", &[]).with_agent("bot", &[]);
        assert_eq!(both.of(&bot, at(10)).unwrap().whom, agent("bot"));
    }

    #[test]
    fn blocks_are_replaced_lifted_and_written_as_json() {
        let first = Blocks::default().with(block(user("alice")), at(1));
        let again = Block {
            reason: "INC-8".to_owned(),
            at: at(2),
            ..block(user("alice"))
        };
        let second = first.with(again, at(2)).with(block(agent("alice")), at(2));
        assert_eq!(second.len(), 2);
        assert_eq!(second.list(at(2))[0].reason, "INC-8");
        assert!(second.without(&user("bob"), at(2)).is_none());
        let third = second.without(&user("alice"), at(2)).unwrap();
        assert_eq!(third.list(at(2)), [block(agent("alice"))]);
        let text = serde_json::to_string(&block(agent("bot"))).unwrap();
        assert!(
            text.starts_with(r#"{"agent":"bot","by":"carol","#),
            "{text}"
        );
        assert_eq!(
            serde_json::from_str::<Block>(&text).unwrap(),
            block(agent("bot"))
        );
    }
}
