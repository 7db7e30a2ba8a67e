//! Never more than the limit in any window, whatever comes when.

use proptest::prelude::*;

use super::*;
use crate::identity::Identity;
use crate::policy::rule::budget::BudgetSource;
use crate::policy::{Policy, PolicySource};

const MINUTE: Duration = Duration::from_mins(1);

/// Requests, deletes, namespaces, bytes.
fn allowance(most: [Option<u64>; 4]) -> Allowance {
    let budget = BudgetSource {
        id: "p/b".to_owned(),
        subjects: None,
        most,
    };
    let policy = Policy::compile(PolicySource {
        budgets: vec![budget],
        ..PolicySource::default()
    });
    let policy = policy.unwrap();
    Allowance::clone(&policy.allowance(&Identity::for_tests("alice", &[])))
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

fn delete(deletes: Deletes) -> Cost {
    Cost {
        deletes,
        ..Cost::default()
    }
}

fn touch(namespaces: Touches) -> Cost {
    Cost {
        namespaces,
        ..Cost::default()
    }
}

#[test]
fn requests_come_back_when_it_is_said() {
    let allowance = allowance([Some(2), None, None, None]);
    let mut spending = Spending::default();
    let second = Duration::from_secs;
    for at in [0, 30] {
        spending.request(&allowance, second(at)).unwrap();
    }
    let over = spending.request(&allowance, second(31)).unwrap_err();
    assert_eq!((over.measure, over.used), (Measure::Requests, 2));
    assert_eq!(over.recovers, Some(second(34)));
    assert!(spending.request(&allowance, second(64)).is_err());
    assert_eq!(
        spending.requests(second(64)),
        2,
        "what is refused is not counted"
    );
    spending.request(&allowance, second(65)).unwrap();
}

#[test]
fn deletes_are_counted_once_they_are_let_through_and_a_collection_takes_all() {
    let allowance = allowance([None, Some(3), None, None]);
    let mut spending = Spending::default();
    spending
        .has_room(delete(Deletes::One), &allowance, minutes(0))
        .unwrap();
    spending
        .take(delete(Deletes::One), &allowance, minutes(0))
        .unwrap();
    let over = spending
        .take(delete(Deletes::Any), &allowance, minutes(1))
        .unwrap_err();
    assert_eq!((over.used, over.recovers), (1, Some(minutes(60))));
    spending
        .take(delete(Deletes::Any), &allowance, minutes(61))
        .unwrap();
    assert!(
        spending
            .take(delete(Deletes::One), &allowance, minutes(121))
            .is_err()
    );
    spending
        .take(delete(Deletes::One), &allowance, minutes(122))
        .unwrap();
    // Reading goes on.
    spending
        .take(Cost::default(), &allowance, minutes(122))
        .unwrap();
}

#[test]
fn a_limit_of_no_deletes_is_one_that_does_not_recover() {
    let allowance = allowance([None, Some(0), None, None]);
    let mut spending = Spending::default();
    for deletes in [Deletes::One, Deletes::Any] {
        let over = spending
            .take(delete(deletes), &allowance, minutes(0))
            .unwrap_err();
        assert_eq!(over.recovers, None);
    }
}

#[test]
fn a_namespace_that_is_in_use_stays_and_all_of_them_are_too_many() {
    let allowance = allowance([None, None, Some(2), None]);
    let mut spending = Spending::default();
    let mut visit =
        |namespace, at| spending.take(touch(Touches::One(namespace)), &allowance, minutes(at));
    visit(1, 0).unwrap();
    visit(2, 10).unwrap();
    let over = visit(3, 20).unwrap_err();
    assert_eq!((over.used, over.recovers), (2, Some(minutes(40))));
    visit(1, 50).unwrap();
    assert!(visit(3, 60).is_err(), "the first was visited again");
    visit(3, 70).unwrap();
    let over = spending
        .take(touch(Touches::All), &allowance, minutes(700))
        .unwrap_err();
    assert_eq!((over.used, over.recovers), (0, None));
}

#[test]
fn a_piece_that_does_not_fit_uses_up_what_is_left() {
    let allowance = allowance([None, None, None, Some(100)]);
    let mut spending = Spending::default();
    spending.bytes(90, &allowance, minutes(0)).unwrap();
    spending
        .has_room(Cost::default(), &allowance, minutes(0))
        .unwrap();
    let over = spending.bytes(20, &allowance, minutes(1)).unwrap_err();
    assert_eq!((over.used, over.recovers), (100, Some(minutes(60))));
    assert!(
        spending
            .has_room(Cost::default(), &allowance, minutes(2))
            .is_err()
    );
    spending
        .has_room(Cost::default(), &allowance, minutes(61))
        .unwrap();
    spending.bytes(90, &allowance, minutes(61)).unwrap();
    assert!(
        spending.bytes(1, &allowance, minutes(61)).is_err(),
        "the rest of then is used up until it is over"
    );
}

#[test]
fn without_limits_nothing_is_refused_and_little_is_kept() {
    let mut spending = Spending::default();
    let none = Allowance::default();
    for _ in 0..1000 {
        spending.request(&none, minutes(0)).unwrap();
        spending
            .take(delete(Deletes::Any), &none, minutes(0))
            .unwrap();
        spending.bytes(u64::MAX, &none, minutes(0)).unwrap();
    }
    assert!(spending.done.is_none());
    assert_eq!(spending.requests(minutes(0)), 1000);
}

/// What somebody asks for, a while after the last time.
#[derive(Clone, Copy, Debug)]
enum Ask {
    Request,
    Delete,
    Namespace(u64),
    Bytes(u64),
}

fn ask() -> impl Strategy<Value = (u64, Ask)> {
    let what = prop_oneof![
        Just(Ask::Request),
        Just(Ask::Delete),
        (0_u64..12).prop_map(Ask::Namespace),
        (1_u64..60).prop_map(Ask::Bytes),
    ];
    (0_u64..400_000, what)
}

proptest! {
    #[test]
    fn no_window_has_more_than_any_limit(
        requests in 1_u64..6, deletes in 0_u64..6, namespaces in 1_u64..5, bytes in 1_u64..200,
        asks in prop::collection::vec(ask(), 1..150),
    ) {
        let allowance = allowance([Some(requests), Some(deletes), Some(namespaces), Some(bytes)]);
        let mut spending = Spending::default();
        let mut now = Duration::ZERO;
        let mut admitted: Vec<(Duration, Ask)> = Vec::new();
        for (pause, ask) in asks {
            now += Duration::from_millis(pause);
            let cost = match ask {
                Ask::Delete => delete(Deletes::One),
                Ask::Namespace(namespace) => touch(Touches::One(namespace)),
                Ask::Request | Ask::Bytes(_) => Cost::default(),
            };
            let said = match ask {
                Ask::Request => spending.request(&allowance, now),
                Ask::Bytes(amount) => spending.bytes(amount, &allowance, now),
                _ => spending.take(cost, &allowance, now),
            };
            match said {
                Ok(()) => admitted.push((now, ask)),
                Err(Exceeded { measure: Measure::Requests, recovers: Some(after), .. }) => {
                    prop_assert!(spending.request(&allowance, now + after).is_ok());
                    admitted.push((now + after, Ask::Request));
                    now += after;
                }
                Err(_) => {}
            }
        }
        for (from, _) in &admitted {
            let within = |length: Duration| {
                admitted.iter().filter(move |(at, _)| at >= from && *at < *from + length)
            };
            let count = within(MINUTE).filter(|(_, ask)| matches!(ask, Ask::Request)).count();
            prop_assert!(count as u64 <= requests);
            let count = within(HOUR).filter(|(_, ask)| matches!(ask, Ask::Delete)).count();
            prop_assert!(count as u64 <= deletes);
            let sum: u64 = within(HOUR)
                .map(|(_, ask)| if let Ask::Bytes(amount) = ask { *amount } else { 0 })
                .sum();
            prop_assert!(sum <= bytes);
            let visited: std::collections::BTreeSet<u64> = within(HOUR)
                .filter_map(|(_, ask)| if let Ask::Namespace(of) = ask { Some(*of) } else { None })
                .collect();
            prop_assert!(visited.len() as u64 <= namespaces);
        }
    }
}
