//! The ledger: questions that join, single use under concurrency, bounds, and a crash at every point.

#![expect(clippy::disallowed_methods, reason = "a test waits for its own tasks")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::approval::state::tests::{person, terms};
use crate::approval::store::tests::Crashes;
use crate::approval::store::{FILE, Store};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn held(number: usize) -> Held {
    Held {
        digest: Digest::of(&["request", &number.to_string()]),
        class: Digest::of(&["class"]),
        command: None,
        caller: person("alice", &[]),
        cluster: "demo".to_owned(),
        rule: "p/r".to_owned(),
        message: None,
        terms: terms(1, None),
        shown: Shown::default(),
        audit_id: format!("audit-{number}"),
    }
}

struct World {
    _folder: tempfile::TempDir,
    store: Store,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join(FILE)).unwrap();
        Self {
            _folder: folder,
            store,
        }
    }

    async fn consult(&self, held: Held, id: &str, second: i64) -> Found {
        let id = id.to_owned();
        self.store
            .run(move |work| consult(work, &held, id, at(second)))
            .await
            .unwrap()
    }

    async fn answer(
        &self,
        id: &str,
        verdict: Verdict,
        seen: usize,
        second: i64,
    ) -> Result<Approval, NotAnswered> {
        let id = id.to_owned();
        let answer = (verdict, "because".to_owned(), seen);
        self.store
            .run(move |work| answer_by_carol(work, &id, answer, second))
            .await
            .unwrap()
    }

    /// Alice asks for a role for a minute.
    async fn wish(&self, role: &str, id: &str, second: i64) -> Result<(Approval, bool), TooMany> {
        let alice = Identity::for_tests("alice", &[]);
        let wish = Wish {
            caller: Person::from(&alice),
            holder: Digest::of_caller(&alice),
            ahead: Ahead {
                role: role.to_owned(),
                seconds: 60,
                reason: "INC-7".to_owned(),
            },
            rule: format!("p/{role}"),
            terms: terms(1, None),
        };
        let id = id.to_owned();
        let asked = self.store.run(move |work| wish_of(work, wish, id, second));
        asked.await.unwrap()
    }

    async fn revoke(&self, id: &str, second: i64) -> Result<Approval, NotAnswered> {
        let id = id.to_owned();
        let by = (person("carol", &["sre"]), false);
        let taken = self.store.run(move |work| {
            let taken = revoke(work, &id, by, "over".to_owned(), at(second))?;
            Ok(taken.unwrap())
        });
        taken.await.unwrap()
    }
}

fn wish_of(
    work: &Work<'_>,
    asks: Wish,
    id: String,
    second: i64,
) -> Result<Result<(Approval, bool), TooMany>, StoreError> {
    wish(work, asks, id, at(second))
}

fn answer_by_carol(
    work: &Work<'_>,
    id: &str,
    said: (Verdict, String, usize),
    second: i64,
) -> Result<Result<Approval, NotAnswered>, StoreError> {
    Ok(answer(work, id, person("carol", &["sre"]), said, at(second))?.unwrap())
}

fn waits(found: Found) -> Approval {
    match found {
        Found::Asked(approval) | Found::Waits(approval) => *approval,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_same_request_is_one_question_and_its_yes_admits_it_once() {
    let world = World::new();
    assert_eq!(waits(world.consult(held(1), "a", 0).await).id, "a");
    let again = world.consult(held(1), "b", 1).await;
    assert!(matches!(again, Found::Waits(approval) if approval.id == "a"));
    assert_eq!(waits(world.consult(held(2), "c", 1).await).id, "c");
    world.answer("a", Verdict::Yes, 1, 2).await.unwrap();
    assert!(
        matches!(world.consult(held(1), "d", 3).await, Found::Admitted(approval, Admits::Once) if approval.id == "a")
    );
    // Used up: the same again is a new question.
    assert_eq!(waits(world.consult(held(1), "e", 4).await).id, "e");
}

#[tokio::test]
async fn a_no_stands_until_the_question_would_have_ended() {
    let world = World::new();
    waits(world.consult(held(1), "a", 0).await);
    world.answer("a", Verdict::No, 1, 10).await.unwrap();
    assert!(
        matches!(world.consult(held(1), "b", 109).await, Found::Denied(approval) if approval.id == "a")
    );
    assert_eq!(waits(world.consult(held(1), "c", 110).await).id, "c");
}

#[tokio::test]
async fn requests_of_one_command_join_an_open_question_of_their_class_and_caller_only() {
    let world = World::new();
    let of = |number, session: &str| Held {
        command: Some(Digest::of(&[session])),
        ..held(number)
    };
    waits(world.consult(of(1, "s"), "a", 0).await);
    assert_eq!(
        waits(world.consult(of(2, "s"), "b", 1).await)
            .requests
            .len(),
        2
    );
    assert_eq!(waits(world.consult(of(3, "t"), "c", 1).await).id, "c");
    let other_class = Held {
        class: Digest::of(&["other"]),
        ..of(4, "s")
    };
    assert_eq!(waits(world.consult(other_class, "d", 1).await).id, "d");
    assert_eq!(waits(world.consult(held(5), "e", 1).await).id, "e");
    // A yes is for those that were seen; the header brings nothing in later.
    assert!(world.answer("a", Verdict::Yes, 1, 2).await.is_err());
    world.answer("a", Verdict::Yes, 2, 2).await.unwrap();
    assert_eq!(waits(world.consult(of(6, "s"), "f", 3).await).id, "f");
    for number in [1, 2] {
        assert!(matches!(
            world.consult(of(number, "x"), "-", 3).await,
            Found::Admitted(..)
        ));
        assert!(matches!(
            world
                .consult(of(number, "x"), &format!("n{number}"), 3)
                .await,
            Found::Asked(_)
        ));
    }
}

#[tokio::test]
async fn a_yes_to_a_class_admits_others_of_it_until_it_ends_or_is_taken_back() {
    let world = World::new();
    let wide = |number| Held {
        terms: terms(1, Some(Duration::from_mins(1))),
        ..held(number)
    };
    waits(world.consult(wide(1), "a", 0).await);
    world
        .answer("a", Verdict::YesToClass { seconds: 60 }, 1, 0)
        .await
        .unwrap();
    for number in [1, 2, 1] {
        let found = world.consult(wide(number), "-", 59).await;
        assert!(matches!(found, Found::Admitted(_, Admits::Until(until)) if until == at(60)));
    }
    let other = Held {
        class: Digest::of(&["other"]),
        ..wide(3)
    };
    assert_eq!(waits(world.consult(other, "b", 1).await).id, "b");
    world.answer("a", Verdict::No, 1, 30).await.unwrap();
    assert!(matches!(
        world.consult(wide(2), "c", 31).await,
        Found::Asked(_)
    ));
}

/// A held request of somebody, or of their agent.
fn held_of(number: usize, user: &str, agent: Option<String>) -> Held {
    Held {
        caller: Person {
            agent,
            ..person(user, &[])
        },
        ..held(number)
    }
}

impl World {
    /// As many questions of one caller as are taken, numbered from `first`; how many that were, and why no more.
    async fn fill(
        &self,
        first: usize,
        of: impl Fn(usize) -> Held + Send + 'static,
    ) -> (u32, TooMany) {
        let all = move |work: &Work<'_>| {
            let mut taken = 0;
            for number in first.. {
                match consult(work, &of(number), format!("q{number}"), at(0))? {
                    Found::Asked(_) => taken += 1,
                    Found::Refused(why) => return Ok((taken, why)),
                    other => panic!("{other:?}"),
                }
            }
            unreachable!()
        };
        self.store.run(all).await.unwrap()
    }
}

#[tokio::test]
async fn open_questions_are_bounded_and_expired_ones_do_not_count() {
    let world = World::new();
    let own = limits::APPROVALS_OPEN_PER_CALLER_MAX;
    let filled = world.fill(0, |number| held_of(number, "alice", None)).await;
    assert_eq!(filled, (own, TooMany::OfCaller));
    // What is open can be asked again, and somebody else can ask.
    waits(world.consult(held(0), "x", 1).await);
    waits(world.consult(held_of(900, "bob", None), "y", 1).await);
    // Another account of the same name is the same human.
    let mut twin = held_of(901, "alice", None);
    twin.caller.subject = "alice-2".to_owned();
    let twin = world.consult(twin, "z", 1).await;
    assert!(
        matches!(twin, Found::Refused(TooMany::OfCaller)),
        "{twin:?}"
    );
    waits(world.consult(held_of(902, "alice", None), "z", 200).await);
}

/// Nobody fills the approvers' inbox by asking and taking back.
#[tokio::test]
async fn d_21_what_is_asked_within_an_hour_is_bounded_however_it_ends() {
    let world = World::new();
    let most = usize::try_from(limits::APPROVALS_ASKED_PER_HOUR_MAX).unwrap();
    let asked_and_taken_back = move |work: &Work<'_>| {
        for number in 0..most {
            let id = format!("q{number}");
            waits(consult(work, &held(number), id.clone(), at(0))?);
            let by = person("alice", &[]);
            withdraw(work, &id, &by, at(0))?.unwrap().unwrap();
        }
        Ok(())
    };
    world.store.run(asked_and_taken_back).await.unwrap();
    let more = world.consult(held(most), "x", 3599).await;
    assert!(
        matches!(more, Found::Refused(TooMany::InAnHour)),
        "{more:?}"
    );
    waits(world.consult(held_of(most, "bob", None), "b", 3599).await);
    waits(world.consult(held(most), "x", 3600).await);
}

/// However many agents somebody has, others can ask, and so can they.
#[tokio::test]
async fn the_agents_of_one_human_leave_room_for_others() {
    let world = World::new();
    let most = limits::APPROVALS_OPEN_OF_AGENTS_MAX;
    let each = |number| held_of(number, "alice", Some(format!("bot-{number}")));
    assert_eq!(world.fill(0, each).await, (most, TooMany::OfAgents));
    waits(world.consult(held_of(900, "alice", None), "own", 1).await);
    let bobs = held_of(901, "bob", Some("bot".to_owned()));
    waits(world.consult(bobs, "bob", 1).await);
}

/// Few who ask all they can leave a half to those who have not asked: everybody else has room for a question of their
/// own and one of their agents.
#[tokio::test]
async fn whoever_is_busy_leaves_room_for_whoever_is_not() {
    let world = World::new();
    let mut asked = 0;
    let mut busy = 0;
    while asked < limits::APPROVALS_OPEN_BUSY {
        for agent in [None, Some("bot".to_owned())] {
            let user = format!("busy-{busy}");
            let first = 1000 * usize::try_from(asked + 1).unwrap();
            let user = user.clone();
            let of = move |number| held_of(number, &user, agent.clone());
            asked += world.fill(first, of).await.0;
        }
        busy += 1;
    }
    assert_eq!((busy, asked), (4, limits::APPROVALS_OPEN_BUSY));
    let mut quiet = 0;
    let full = loop {
        let user = format!("quiet-{quiet}");
        for (side, agent) in [None, Some("bot".to_owned())].into_iter().enumerate() {
            let first = 1_000_000 + 10 * (2 * quiet + side);
            let user = user.clone();
            let of = move |number| held_of(number, &user, agent.clone());
            let (taken, why) = world.fill(first, of).await;
            if taken == 1 {
                assert!(matches!(why, TooMany::Busy | TooMany::InAll), "{why:?}");
                asked += 1;
            } else {
                assert_eq!((taken, why), (0, TooMany::InAll));
            }
        }
        if asked == limits::APPROVALS_OPEN_MAX {
            break quiet + 1;
        }
        quiet += 1;
    };
    assert_eq!(full, 64);
    let late = world.consult(held_of(7, "late", None), "late", 0).await;
    assert!(matches!(late, Found::Refused(TooMany::InAll)));
}

#[tokio::test]
async fn a_role_is_asked_for_once_and_stays_given_when_the_database_is_opened_again() {
    let world = World::new();
    let (first, is_new) = world.wish("a", "first", 0).await.unwrap();
    assert!(is_new);
    let (again, is_new) = world.wish("a", "again", 1).await.unwrap();
    assert_eq!((again.id, is_new), (first.id.clone(), false));
    let (other, _) = world.wish("b", "other", 1).await.unwrap();
    world.answer(&first.id, Verdict::Yes, 0, 2).await.unwrap();
    world.answer(&other.id, Verdict::No, 0, 2).await.unwrap();
    // A no stands.
    assert_eq!(world.wish("b", "more", 3).await.unwrap().0.id, other.id);
    for (second, count) in [(3, 1), (61, 1), (62, 0)] {
        let given = world.store.run(move |work| grants(work, at(second))).await;
        assert_eq!(given.unwrap().count(at(second)), count, "{second}");
    }
}

#[tokio::test]
async fn e_20_of_many_who_use_one_yes_at_once_one_does() {
    let world = World::new();
    for round in 0..20_usize {
        let id = format!("q{round}");
        waits(world.consult(held(round), &id, 0).await);
        world.answer(&id, Verdict::Yes, 1, 1).await.unwrap();
        let admitted = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        for number in 0..16 {
            // Two databases over one file, as a second process would have.
            let store = world.store.clone();
            let admitted = Arc::clone(&admitted);
            let asks = Held {
                audit_id: format!("{round}-{number}"),
                caller: person(&format!("c{round}-{number}"), &[]),
                ..held(round)
            };
            tasks.push(tokio::spawn(async move {
                let found = store
                    .run(move |work| consult(work, &asks, format!("n{round}-{number}"), at(2)))
                    .await
                    .unwrap();
                if matches!(found, Found::Admitted(..)) {
                    admitted.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(admitted.load(Ordering::Relaxed), 1);
        // Those that were not admitted asked again; they make room for the next round.
        world
            .store
            .run(|work| Ok(work.execute("DELETE FROM approvals WHERE state = 'asked'", [])?))
            .await
            .unwrap();
    }
}

/// What the database says of each approval, as it was written: where it stands, how often it was used, and whether it
/// gives a role.
async fn told(store: &Store) -> BTreeMap<String, (State, usize, bool)> {
    let early = at(3);
    let read = move |work: &Work<'_>| {
        let all = list(work, false, 100, early)?.into_iter();
        let said = |approval: Approval| {
            let used = approval.requests.iter().filter(|one| one.used_by.is_some());
            let said = (
                approval.state,
                used.count(),
                approval.granted(early).is_some(),
            );
            (approval.id, said)
        };
        Ok(all.map(said).collect())
    };
    store.run(read).await.unwrap()
}

/// What was told before a crash is there, nothing is there by half, no yes is lost, and none is used twice.
#[expect(clippy::too_many_lines, reason = "one history")]
#[tokio::test]
async fn e_20_a_crash_between_any_two_writes_loses_no_answer_and_forgets_no_use() {
    let mut crashes = Crashes::begin().await;
    let world = World {
        _folder: tempfile::tempdir().unwrap(),
        store: crashes.store.clone(),
    };
    let mut after = vec![told(&world.store).await];
    let mut step = async || {
        crashes.told();
        after.push(told(&crashes.store).await);
    };
    waits(world.consult(held(1), "a", 0).await);
    step().await;
    waits(world.consult(held(2), "b", 0).await);
    step().await;
    world.answer("a", Verdict::Yes, 1, 1).await.unwrap();
    step().await;
    let found = world.consult(held(1), "-", 2).await;
    assert!(matches!(found, Found::Admitted(..)));
    step().await;
    world.answer("b", Verdict::No, 1, 2).await.unwrap();
    step().await;
    waits(world.consult(held(3), "c", 2).await);
    step().await;
    world.answer("c", Verdict::Yes, 1, 2).await.unwrap();
    step().await;
    for (role, id) in [("debug", "g"), ("deploy", "h")] {
        world.wish(role, id, 2).await.unwrap();
        step().await;
        world.answer(id, Verdict::Yes, 0, 2).await.unwrap();
        step().await;
    }
    world.revoke("g", 3).await.unwrap();
    step().await;
    // Whoever asks next writes down that the others are over.
    waits(world.consult(held(4), "d", 500).await);
    step().await;
    let history = |id: &str| {
        let mut states: Vec<State> = after
            .iter()
            .filter_map(|told| told.get(id).map(|said| said.0))
            .collect();
        states.dedup();
        states
    };
    assert_eq!(history("a"), [State::Asked, State::Approved, State::Used]);
    assert_eq!(history("b"), [State::Asked, State::Denied]);
    assert_eq!(
        history("c"),
        [State::Asked, State::Approved, State::Expired]
    );
    assert_eq!(
        history("g"),
        [State::Asked, State::Approved, State::Revoked]
    );
    assert_eq!(
        history("h"),
        [State::Asked, State::Approved, State::Expired]
    );

    crashes
        .each(async |store, steps| {
            let expected = &after[steps];
            assert_eq!(told(&store).await, *expected, "after {steps} steps");
            let given = expected.values().filter(|said| said.2).count();
            // Whoever comes back with the same requests, twice.
            let use_all = |work: &Work<'_>| {
                let grants = grants(work, at(3))?.count(at(3));
                let mut admitted = [0; 2];
                for (number, admitted) in [1, 3].into_iter().zip(&mut admitted) {
                    for again in ["x", "y"] {
                        let id = format!("{number}-{again}");
                        let found = consult(work, &held(number), id, at(3))?;
                        *admitted += usize::from(matches!(found, Found::Admitted(..)));
                    }
                }
                Ok((grants, admitted))
            };
            let may = |id: &str| {
                let said = expected.get(id);
                usize::from(said.is_some_and(|said| said.0 == State::Approved))
            };
            let used = store.run(use_all).await.unwrap();
            assert_eq!(used, (given, [may("a"), may("c")]), "after {steps} steps");
        })
        .await;
}
