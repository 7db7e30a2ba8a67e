//! A grant lasts only while it holds (invariant 5): token expiry and revocation, a policy that changed
//! its mind and the gateway's own end are told to every answer that is still streaming.

mod asking;
mod context;
mod decide;
mod preview;
mod review;
mod shown;

pub(super) use asking::{Said, approved, observing};
pub(super) use review::Review;

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::approval::{Desk, Grant};
use crate::config::live::Live;
use crate::gateway::refuse::Refusal;
use crate::identity::{Block, Blocks, Identity, Revocations};
use crate::metrics::StreamEnd;
use crate::policy::{Decision, Permit, Policy, Seen};
use crate::request::RequestInfo;

/// Resolves when the grant no longer holds, with the reason.
pub type Ended = Pin<Box<dyn Future<Output = StreamEnd> + Send>>;

/// What decides how long a grant holds.
pub struct Holder {
    /// What is in force.
    pub in_force: InForce,
    /// How long a stream may outlive its token.
    pub stream_grace: Duration,
    /// Where answers are looked up.
    pub desk: Desk,
    /// Cancelled when the gateway starts to go down.
    pub draining: CancellationToken,
    /// Cancelled when the time for draining is over.
    pub ending: CancellationToken,
}

/// What is in force, and may end what is open when another comes in its place.
pub struct InForce {
    /// The policy.
    pub policy: Arc<Live<Policy>>,
    /// The revocation list.
    pub revocations: Arc<Live<Revocations>>,
    /// Who is blocked.
    pub blocks: Arc<Live<Blocks>>,
    /// Rung when any of them is replaced.
    bell: Arc<Notify>,
}

impl InForce {
    /// These, from now on.
    pub fn new(
        policy: Arc<Live<Policy>>,
        revocations: Arc<Live<Revocations>>,
        blocks: Arc<Live<Blocks>>,
    ) -> Self {
        let bell = Arc::default();
        policy.rings(&bell);
        revocations.rings(&bell);
        blocks.rings(&bell);
        Self {
            policy,
            revocations,
            blocks,
            bell,
        }
    }
}

impl Holder {
    /// Refuses somebody whose request has waited and who may no longer make it.
    pub fn still_welcome(&self, identity: &Identity) -> Result<(), Refusal> {
        self.not_blocked(identity)?;
        if self.in_force.revocations.current().revokes(identity) {
            return Err(Refusal::unauthorized(
                "your token was revoked while the request waited; log in again",
            ));
        }
        if identity.expires_at() <= Timestamp::now() {
            return Err(Refusal::unauthorized(
                "your token expired while the request waited for an answer; log in and run the same command again",
            ));
        }
        Ok(())
    }

    /// Refuses somebody who was blocked since they came.
    pub fn not_blocked(&self, identity: &Identity) -> Result<(), Refusal> {
        match self.block_of(identity) {
            Some(block) => Err(Refusal::blocked(&block)),
            None => Ok(()),
        }
    }

    /// Refuses what somebody may no longer do who could a moment ago: they were blocked, or a role was taken from them.
    pub fn still_holds(&self, permit: &Permit) -> Result<(), Refusal> {
        self.not_blocked(permit.identity())?;
        match self.lost(permit) {
            Some(grant) => Err(Refusal::grant_ended(grant)),
            None => Ok(()),
        }
    }

    /// What is known of a caller before their request shows anything: the roles that they were given.
    pub fn seen(&self, identity: &Identity) -> Seen {
        let grants = self.desk.grants().current();
        Seen::default().granted(grants.of(identity, Timestamp::now()))
    }

    /// A grant of the permit that no longer counts.
    fn lost<'p>(&self, permit: &'p Permit) -> Option<&'p Arc<Grant>> {
        let needed = permit.grants();
        if needed.is_empty() {
            return None;
        }
        let (grants, now) = (self.desk.grants().current(), Timestamp::now());
        needed.iter().find(|grant| !grants.holds(grant, now))
    }

    /// What keeps a caller out, if anything does.
    pub fn block_of(&self, identity: &Identity) -> Option<Arc<Block>> {
        let blocks = self.in_force.blocks.current();
        blocks.of(identity, Timestamp::now()).cloned()
    }

    /// Resolves when the caller is blocked.
    pub async fn blocked(&self, identity: &Identity) {
        let mut changes = self.in_force.blocks.changes();
        while self.block_of(identity).is_none() {
            if changes.changed().await.is_err() {
                pending::<()>().await; // nobody is left to block anybody
            }
        }
    }

    /// Watches over one granted request. When the gateway drains, watches and logs end at once, so that
    /// clients reconnect elsewhere; short answers and sessions have the time for draining.
    pub fn watch_over(self: &Arc<Self>, permit: &Arc<Permit>, info: &Arc<RequestInfo>) -> Ended {
        let (holder, permit, info) = (Arc::clone(self), Arc::clone(permit), Arc::clone(info));
        Box::pin(async move { holder.ended(&permit, &info).await })
    }

    async fn ended(&self, permit: &Permit, info: &RequestInfo) -> StreamEnd {
        let reconnects = info.is_long_running() && info.session().is_none();
        let drained = if reconnects {
            &self.draining
        } else {
            &self.ending
        };
        let left = permit
            .identity()
            .expires_at()
            .duration_since(Timestamp::now());
        let left = Duration::try_from(left).unwrap_or(Duration::ZERO) + self.stream_grace;
        let mut expired = std::pin::pin!(tokio::time::sleep(left));
        let mut answered = self.unanswered(permit);
        let mut ungranted = self.ungranted(permit);
        // The first look is for what came between the decision and this line.
        loop {
            let rung = self.in_force.bell.notified(); // before the look, so that no change is missed
            if self
                .in_force
                .revocations
                .current()
                .revokes(permit.identity())
            {
                return StreamEnd::Revoked;
            }
            if !self.still_permits(permit, info) {
                return StreamEnd::Policy;
            }
            if self.block_of(permit.identity()).is_some() {
                return StreamEnd::Blocked;
            }
            tokio::select! {
                biased;
                () = &mut expired => return StreamEnd::Expired,
                () = &mut answered => return StreamEnd::Approval,
                () = &mut ungranted => return StreamEnd::Approval,
                () = drained.cancelled() => return StreamEnd::Drain,
                () = rung => {}
            }
        }
    }

    /// Resolves when a yes to a class of requests ends, or is taken back. Boxed, as most permits need none.
    fn unanswered<'a>(&'a self, permit: &'a Permit) -> BoxFuture<'a, ()> {
        let Some(admission) = permit.admission() else {
            return pending().boxed();
        };
        let Some(until) = admission.until() else {
            return pending().boxed();
        };
        let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
        Box::pin(async move {
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = self.desk.taken_back(admission) => {}
            }
        })
    }

    /// Resolves when a role that the permit needs ends, or is taken away. Boxed, as most permits need none.
    fn ungranted<'a>(&'a self, permit: &'a Permit) -> BoxFuture<'a, ()> {
        let Some(until) = permit.grants().iter().map(|grant| grant.until()).min() else {
            return pending().boxed();
        };
        Box::pin(async move {
            let mut changes = self.desk.grants().changes();
            while self.lost(permit).is_none() {
                let left = until.duration_since(Timestamp::now());
                let left = Duration::try_from(left).unwrap_or_default();
                tokio::select! {
                    () = tokio::time::sleep(left) => return,
                    changed = changes.changed() => if changed.is_err() {
                        return; // nobody is left to keep it
                    },
                }
            }
        })
    }

    /// Whether the policy in force would open the same stream with the same masks, and ask for no
    /// more of it to be recorded.
    fn still_permits(&self, permit: &Permit, info: &RequestInfo) -> bool {
        let policy = self.in_force.policy.current();
        if **policy.version() == *permit.policy_version() {
            return true;
        }
        let grants = self.desk.grants().current();
        let granted = grants.of(permit.identity(), Timestamp::now());
        let seen = permit.seen().clone().granted(granted);
        match policy.decide(permit.identity(), info, permit.cluster(), &seen) {
            Decision::Allow(now) => permit.holds_like(&now),
            // A yes counts as long as the rule asks the same people for it. What was open without one ends.
            Decision::Hold(question) => question.keeps(permit),
            // Where the policy wants to see more than it did, nothing is there to be shown any more.
            Decision::Deny(_) | Decision::Ask(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use http::Method;

    use super::*;
    use crate::approval::ledger::Wish;
    use crate::approval::{Ahead, Digest, Person, State, Store, Verdict};
    use crate::config::policy_file;
    use crate::config::reload::{Reload, Reloader};
    use crate::identity::{Identity, Whom, Whose};
    use crate::metrics::Metrics;
    use crate::policy::{Approvers, Hold};

    const EXEC: &str = "/api/v1/namespaces/shop/pods/web-0/exec?command=sh&stdin=true&tty=true";
    const WATCH: &str = "/api/v1/namespaces/shop/pods?watch=1";
    const POLICY: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: p}
rules:
- {name: no-mallory, subjects: {users: [mallory]}, verbs: ['*'], apiGroups: [''], resources: [pods, pods/exec], decision: deny}
- {name: shells, subjects: {users: [alice]}, verbs: ['*'], apiGroups: [''], resources: [pods, pods/exec], decision: allow}
";

    struct World {
        folder: tempfile::TempDir,
        reloader: Reloader<Policy>,
        holder: Arc<Holder>,
    }

    impl World {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("policy.yaml");
            fs::write(&file, POLICY).unwrap();
            let files = vec![file];
            let store = Store::open(&folder.path().join("state.db")).unwrap();
            let desk = Desk::open(store, Metrics::new().0).await.unwrap();
            let policy = Live::new(Arc::new(policy_file::load(&files).unwrap()));
            let (revocations, blocks) = (Live::new(Arc::default()), Live::new(Arc::default()));
            let reloader = Reloader::policy(Arc::clone(&policy), files);
            Self {
                folder,
                reloader,
                holder: Arc::new(Holder {
                    in_force: InForce::new(policy, revocations, blocks),
                    desk,
                    stream_grace: Duration::from_secs(5),
                    draining: CancellationToken::new(),
                    ending: CancellationToken::new(),
                }),
            }
        }

        fn open(&self, identity: Identity, target: &str) -> Ended {
            let info = Arc::new(RequestInfo::parse(&Method::GET, target).unwrap());
            let policy = self.holder.in_force.policy.current();
            match policy.decide(&Arc::new(identity), &info, "demo", &Seen::default()) {
                Decision::Allow(permit) => self.holder.watch_over(&Arc::new(permit), &info),
                other => panic!("{other:?}"),
            }
        }

        fn put_into_force(&mut self, policy: &str) {
            fs::write(self.folder.path().join("policy.yaml"), policy).unwrap();
            let reload = self.reloader.look(false);
            assert!(matches!(reload, Reload::Applied { .. }), "{reload:?}");
        }
    }

    fn alice() -> Identity {
        Identity::for_tests("alice", &[])
    }

    #[tokio::test]
    async fn a_policy_that_no_longer_permits_ends_what_is_open_and_another_does_not() {
        let mut world = World::new().await;
        let mut shell = world.open(alice(), EXEC);
        let mut watch = world.open(alice(), WATCH);
        assert_eq!((&mut shell).now_or_never(), None);
        assert_eq!((&mut watch).now_or_never(), None);
        world.put_into_force(&POLICY.replace("no-mallory", "never-mallory"));
        assert_eq!((&mut shell).now_or_never(), None);
        assert_eq!((&mut watch).now_or_never(), None);
        world.put_into_force(&POLICY.replace("[alice]", "[bob]"));
        assert_eq!(shell.await, StreamEnd::Policy);
        assert_eq!(watch.await, StreamEnd::Policy);
    }

    #[tokio::test]
    async fn a_revoked_token_ends_its_streams_at_once_and_no_others() {
        let world = World::new().await;
        let (shell, watch) = (world.open(alice(), EXEC), world.open(alice(), WATCH));
        let mut other = world.open(alice().with_token_id("new"), EXEC);
        let revoke = |id: &str| {
            let entry = Whose::Token {
                issuer: alice().issuer().to_owned(),
                id: id.to_owned(),
            };
            let list = Revocations::new(String::new(), [(entry, None)]);
            world.holder.in_force.revocations.replace_in_tests(list);
        };
        let old = world.open(alice().with_token_id("old"), EXEC);
        revoke("old");
        assert_eq!(old.await, StreamEnd::Revoked);
        assert_eq!((&mut other).now_or_never(), None);
        let everything = Revocations::new(String::new(), [(Whose::User("alice".to_owned()), None)]);
        world
            .holder
            .in_force
            .revocations
            .replace_in_tests(everything);
        for stream in [shell, watch, other] {
            assert_eq!(stream.await, StreamEnd::Revoked);
        }
        // A stream whose token was revoked while it was being opened never begins to last.
        let late = world.open(alice(), EXEC);
        assert_eq!(late.now_or_never(), Some(StreamEnd::Revoked));
    }

    #[tokio::test]
    async fn a_blocked_caller_loses_what_is_open_at_once_and_nobody_else_does() {
        let world = World::new().await;
        let (shell, watch) = (world.open(alice(), EXEC), world.open(alice(), WATCH));
        let agent = world.open(alice().with_agent("bot", &[]), WATCH);
        let block = |whom: Whom| Block {
            whom,
            by: "carol".to_owned(),
            at: Timestamp::now(),
            reason: "INC-7".to_owned(),
            until: None,
            subjects: Vec::new(),
        };
        let now = Timestamp::now();
        let bot = block(Whom::Agent("bot".to_owned()));
        let blocks = &world.holder.in_force.blocks;
        blocks.replace_in_tests(Blocks::new([bot.clone()], now));
        assert_eq!(agent.await, StreamEnd::Blocked);
        let mut shell = shell;
        assert_eq!((&mut shell).now_or_never(), None);
        assert!(world.holder.not_blocked(&alice()).is_ok());
        let user = block(Whom::User("alice".to_owned()));
        blocks.replace_in_tests(Blocks::new([bot, user], now));
        assert_eq!(shell.await, StreamEnd::Blocked);
        assert_eq!(watch.await, StreamEnd::Blocked);
        // What was being opened meanwhile never begins to last.
        let late = world.open(alice(), EXEC);
        assert_eq!(late.now_or_never(), Some(StreamEnd::Blocked));
        let refusal = world.holder.still_welcome(&alice()).unwrap_err();
        assert_eq!(refusal.code(), 403);
        assert!(refusal.message().contains("INC-7"), "{refusal:?}");
    }

    const WITH_ROLES: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: p}
roles:
- {name: debug, subjects: {users: [alice]}, approvers: {groups: [sre]}, longest: 1h}
rules:
- {name: shells, subjects: {roles: [debug]}, verbs: ['*'], apiGroups: [''], resources: [pods, pods/exec], decision: allow}
";

    /// What Alice asks for.
    fn wish() -> Wish {
        Wish {
            caller: Person::from(&alice()),
            holder: Digest::of_caller(&alice()),
            ahead: Ahead {
                role: "debug".to_owned(),
                seconds: 60,
                reason: "INC-7".to_owned(),
            },
            rule: "p/debug".to_owned(),
            terms: Hold {
                approvers: Approvers {
                    groups: vec!["sre".to_owned()],
                    users: Vec::new(),
                    count: 1,
                    principal: false,
                },
                wait: None,
                expires: Duration::from_mins(1),
                same_class: None,
            },
        }
    }

    /// Alice asks for the role, and Carol says yes; the id of the grant.
    async fn give(world: &World) -> String {
        let desk = &world.holder.desk;
        let id = desk.wish(wish()).await.unwrap().unwrap().id;
        let yes = (Verdict::Yes, String::new(), 0);
        let answered = desk.answer(id.clone(), carol(), yes).await.unwrap();
        assert_eq!(answered.unwrap().unwrap().state, State::Approved);
        id
    }

    fn carol() -> Person {
        Person::from(&Identity::for_tests("carol", &["sre"]))
    }

    fn shell_by_role(world: &World) -> Option<(Arc<Permit>, Ended)> {
        let info = Arc::new(RequestInfo::parse(&Method::GET, EXEC).unwrap());
        let policy = world.holder.in_force.policy.current();
        let seen = world.holder.seen(&alice());
        match policy.decide(&Arc::new(alice()), &info, "demo", &seen) {
            Decision::Allow(permit) => {
                let permit = Arc::new(permit);
                let ended = world.holder.watch_over(&permit, &info);
                Some((permit, ended))
            }
            _ => None,
        }
    }

    #[tokio::test]
    async fn what_a_role_opened_ends_when_it_is_taken_away_or_changed_and_nothing_new_begins() {
        let mut world = World::new().await;
        world.put_into_force(WITH_ROLES);
        assert!(shell_by_role(&world).is_none());
        let id = give(&world).await;
        let (permit, mut shell) = shell_by_role(&world).unwrap();
        assert_eq!((&mut shell).now_or_never(), None);
        assert!(world.holder.still_holds(&permit).is_ok());
        let (desk, why) = (&world.holder.desk, "over".to_owned());
        let again = desk.wish(wish()).await.unwrap().unwrap();
        assert_eq!(again.id, id, "the same is not asked twice");
        assert_eq!((&mut shell).now_or_never(), None);
        let revoked = desk.revoke(id, (carol(), false), why).await.unwrap();
        assert_eq!(revoked.unwrap().unwrap().state, State::Revoked);
        assert_eq!(shell.now_or_never(), Some(StreamEnd::Approval));
        let refusal = world.holder.still_holds(&permit).unwrap_err();
        assert_eq!(refusal.code(), 403);
        assert!(shell_by_role(&world).is_none());
        // With other approvers it is another role.
        give(&world).await;
        let (_, shell) = shell_by_role(&world).unwrap();
        world.put_into_force(&WITH_ROLES.replace("[sre]", "[security]"));
        assert_eq!(shell.now_or_never(), Some(StreamEnd::Policy));
        // What was given is there after a restart.
        let reopened = Desk::open(world.holder.desk.store().clone(), Metrics::new().0)
            .await
            .unwrap();
        assert_eq!(reopened.grants().current().count(Timestamp::now()), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_role_opened_ends_with_its_time() {
        let mut world = World::new().await;
        world.put_into_force(WITH_ROLES);
        give(&world).await;
        let opened = tokio::time::Instant::now();
        let (_, shell) = shell_by_role(&world).unwrap();
        assert_eq!(shell.await, StreamEnd::Approval);
        let lasted = opened.elapsed();
        assert!((58..=60).contains(&lasted.as_secs()), "{lasted:?}");
    }

    #[tokio::test]
    async fn a_revoked_user_is_gone_with_the_next_policy() {
        let mut world = World::new().await;
        let shell = world.open(alice(), EXEC);
        world.put_into_force(&POLICY.replace("[mallory]", "[mallory, alice]"));
        assert_eq!(shell.await, StreamEnd::Policy);
    }

    #[tokio::test]
    async fn a_policy_that_asks_for_a_recording_ends_what_has_none() {
        let mut world = World::new().await;
        let shell = world.open(alice(), EXEC);
        let recorded = POLICY.replace(
            "decision: allow}",
            "decision: allow, record: {mode: required}}",
        );
        world.put_into_force(&recorded);
        assert_eq!(shell.await, StreamEnd::Policy);
        // What is opened from now on goes on.
        assert_eq!(world.open(alice(), EXEC).now_or_never(), None);
    }

    #[tokio::test]
    async fn what_was_decided_under_an_older_policy_is_decided_again_at_once() {
        let mut world = World::new().await;
        let shell = world.open(alice(), EXEC); // not polled before the policy changes
        world.put_into_force(&POLICY.replace("[alice]", "[bob]"));
        assert_eq!(shell.now_or_never(), Some(StreamEnd::Policy));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_outlives_its_token_by_the_grace_and_no_longer() {
        let world = World::new().await;
        let expiring = alice().expiring(Timestamp::now() + Duration::from_mins(1));
        let opened = tokio::time::Instant::now();
        let end = world.open(expiring, EXEC).await;
        assert_eq!(end, StreamEnd::Expired);
        let lasted = opened.elapsed();
        assert!((64..=66).contains(&lasted.as_secs()), "{lasted:?}");
    }

    #[tokio::test]
    async fn draining_ends_watches_at_once_and_shells_when_its_time_is_over() {
        let world = World::new().await;
        let mut shell = world.open(alice(), EXEC);
        let watch = world.open(alice(), WATCH);
        world.holder.draining.cancel();
        assert_eq!(watch.await, StreamEnd::Drain);
        assert_eq!((&mut shell).now_or_never(), None);
        world.holder.ending.cancel();
        assert_eq!(shell.await, StreamEnd::Drain);
    }
}
