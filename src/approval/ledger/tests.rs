//! The ledger: questions that join, single use under concurrency, bounds, and a crash at every point.

#![expect(clippy::disallowed_methods, reason = "a test waits for its own tasks")]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::approval::state::tests::{person, terms};
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

#[tokio::test]
async fn open_questions_are_bounded_and_expired_ones_do_not_count() {
    let world = World::new();
    let own = usize::try_from(limits::APPROVALS_OPEN_PER_CALLER_MAX).unwrap();
    for number in 0..own {
        waits(world.consult(held(number), &format!("q{number}"), 0).await);
    }
    assert!(matches!(
        world.consult(held(own), "x", 1).await,
        Found::Refused(TooMany::OfCaller)
    ));
    // What is open can be asked again, and somebody else can ask.
    waits(world.consult(held(0), "x", 1).await);
    let bob = |number| Held {
        caller: person(&format!("user-{number}"), &[]),
        ..held(1000 + number)
    };
    let all = usize::try_from(limits::APPROVALS_OPEN_MAX).unwrap();
    for number in own..all {
        waits(world.consult(bob(number), &format!("b{number}"), 1).await);
    }
    assert!(matches!(
        world.consult(bob(all), "y", 1).await,
        Found::Refused(TooMany::InAll)
    ));
    waits(world.consult(held(own), "z", 200).await);
}

/// However many agents somebody has, others can ask, and so can they.
#[tokio::test]
async fn the_agents_of_one_human_leave_room_for_others() {
    let world = World::new();
    let of = |number: usize, agent: Option<String>| Held {
        caller: Person {
            agent,
            ..person("alice", &[])
        },
        ..held(number)
    };
    let most = usize::try_from(limits::APPROVALS_OPEN_OF_AGENTS_MAX).unwrap();
    for number in 0..most {
        let bot = Some(format!("bot-{number}"));
        waits(
            world
                .consult(of(number, bot), &format!("q{number}"), 0)
                .await,
        );
    }
    let another = of(most, Some("another".to_owned()));
    assert!(matches!(
        world.consult(another, "x", 1).await,
        Found::Refused(TooMany::OfCaller)
    ));
    waits(world.consult(of(most + 1, None), "own", 1).await);
    let bob = Held {
        caller: Person {
            agent: Some("bot".to_owned()),
            ..person("bob", &[])
        },
        ..held(most + 2)
    };
    waits(world.consult(bob, "bob", 1).await);
}

#[tokio::test]
async fn a_role_is_asked_for_once_and_stays_given_when_the_database_is_opened_again() {
    let world = World::new();
    let alice = Identity::for_tests("alice", &[]);
    let wished = |reason: &str, second| {
        let wish = Wish {
            caller: Person::from(&alice),
            holder: Digest::of_caller(&alice),
            ahead: Ahead {
                role: "debug".to_owned(),
                seconds: 60,
                reason: reason.to_owned(),
            },
            rule: "p/debug".to_owned(),
            terms: terms(1, None),
        };
        let id = format!("{reason}-{second}");
        world
            .store
            .run(move |work| super::wish(work, wish, id, at(second)))
    };
    let (first, is_new) = wished("a", 0).await.unwrap().unwrap();
    assert!(is_new);
    let (again, is_new) = wished("a", 1).await.unwrap().unwrap();
    assert_eq!((again.id, is_new), (first.id.clone(), false));
    let (other, _) = wished("b", 1).await.unwrap().unwrap();
    world.answer(&first.id, Verdict::Yes, 0, 2).await.unwrap();
    world.answer(&other.id, Verdict::No, 0, 2).await.unwrap();
    // A no stands.
    assert_eq!(wished("b", 3).await.unwrap().unwrap().0.id, other.id);
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

/// What the database says after a crash, for those ids.
async fn states(file: &Path, ids: [&'static str; 3]) -> Vec<Option<(State, usize)>> {
    let store = Store::open(file).unwrap();
    let state = |work: &Work<'_>, id: &str| -> Result<_, StoreError> {
        Ok(get(work, id, at(3))?.map(|approval| {
            let used = approval.requests.iter().filter(|one| one.used_by.is_some());
            (approval.state, used.count())
        }))
    };
    let read = store.run(move |work| ids.iter().map(|id| state(work, id)).collect());
    read.await.unwrap()
}

/// Every step is made by appending to the write-ahead log; a crash leaves a beginning of it. So each beginning is
/// tried, cut at every half page: what was told before that point is there, and nothing is there by half.
#[tokio::test]
async fn e_20_a_crash_between_any_two_writes_loses_no_answer_and_forgets_no_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE);
    let store = Store::open(&file).unwrap();
    // The tables are in the file itself, the steps in the log.
    store
        .run(|work| {
            work.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
            Ok(())
        })
        .await
        .unwrap();
    let world = World {
        _folder: folder,
        store,
    };
    let log = file.with_extension("db-wal");
    let ids = ["a", "b", "c"];
    let length = || fs::metadata(&log).map_or(0, |log| log.len());
    // After each step: how long the log is, and what the database says.
    let mut told = vec![(length(), vec![None, None, None])];
    let mut note = |states: [Option<(State, usize)>; 3]| told.push((length(), states.to_vec()));
    let asked = Some((State::Asked, 0));
    waits(world.consult(held(1), "a", 0).await);
    note([asked, None, None]);
    waits(world.consult(held(2), "b", 0).await);
    note([asked, asked, None]);
    world.answer("a", Verdict::Yes, 1, 1).await.unwrap();
    note([Some((State::Approved, 0)), asked, None]);
    let found = world.consult(held(1), "-", 2).await;
    assert!(matches!(found, Found::Admitted(..)));
    note([Some((State::Used, 1)), asked, None]);
    world.answer("b", Verdict::No, 1, 2).await.unwrap();
    note([Some((State::Used, 1)), Some((State::Denied, 0)), None]);
    waits(world.consult(held(3), "c", 2).await);
    note([Some((State::Used, 1)), Some((State::Denied, 0)), asked]);
    world.answer("c", Verdict::Yes, 1, 2).await.unwrap();
    note([
        Some((State::Used, 1)),
        Some((State::Denied, 0)),
        Some((State::Approved, 0)),
    ]);

    let (database, log) = (fs::read(&file).unwrap(), fs::read(&log).unwrap());
    let first = told[0].0;
    let mut cut = usize::try_from(first).unwrap();
    let mut tried = 0;
    while cut <= log.len() {
        let crashed = tempfile::tempdir().unwrap();
        let file = crashed.path().join(FILE);
        fs::write(&file, &database).unwrap();
        fs::write(file.with_extension("db-wal"), &log[..cut]).unwrap();
        let expected = told
            .iter()
            .rev()
            .find(|(length, _)| *length <= cut as u64)
            .unwrap();
        assert_eq!(
            states(&file, ids).await,
            expected.1,
            "the log was cut at {cut} of {}",
            log.len()
        );
        tried += 1;
        cut += 2060; // half of a page and its header
    }
    assert!(tried > 30, "only {tried} crashes were tried");
}
