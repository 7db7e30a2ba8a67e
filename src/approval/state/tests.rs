//! The machine against a model that keeps nothing but what has happened.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::identity::Identity;
use crate::policy::Approvers;

pub(crate) fn person(name: &str, groups: &[&str]) -> Person {
    Person::from(&Identity::for_tests(name, groups))
}

pub(crate) fn terms(count: usize, same_class: Option<Duration>) -> Hold {
    Hold {
        approvers: Approvers {
            groups: vec!["sre".to_owned()],
            users: Vec::new(),
            count,
            principal: false,
        },
        wait: None,
        expires: Duration::from_secs(100),
        same_class,
    }
}

fn digest(number: usize) -> Digest {
    Digest::of(&["request", &number.to_string()])
}

fn asked(number: usize) -> Asked {
    Asked {
        digest: digest(number),
        at: at(0),
        shown: Shown::default(),
        used_by: None,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn approval(terms: Hold) -> Approval {
    Approval {
        id: "q".to_owned(),
        caller: person("alice", &["dev", "sre"]),
        cluster: "demo".to_owned(),
        rule: "p/r".to_owned(),
        message: None,
        expires: later(at(0), terms.expires),
        terms,
        class: Digest::of(&["class"]),
        command: None,
        grant: None,
        requests: vec![asked(0)],
        asked: at(0),
        state: State::Asked,
        answers: Vec::new(),
    }
}

fn yes(approval: &mut Approval, who: &str, second: i64) -> Result<(), NotAnswered> {
    let seen = approval.requests.len();
    approval.answer(
        person(who, &["sre"]),
        Verdict::Yes,
        (String::new(), seen),
        at(second),
    )
}

#[test]
fn a_yes_admits_once() {
    let mut approval = approval(terms(1, None));
    assert_eq!(approval.take(&digest(0), "a", at(1)), None);
    yes(&mut approval, "carol", 2).unwrap();
    assert_eq!(approval.take(&digest(1), "a", at(3)), None);
    assert_eq!(approval.take(&digest(0), "a", at(3)), Some(Admits::Once));
    assert_eq!(approval.state, State::Used);
    assert_eq!(approval.take(&digest(0), "b", at(3)), None);
    // Nobody but the request that used it gives it back.
    assert!(!approval.give_back(&digest(0), "b", at(4)));
    assert!(approval.give_back(&digest(0), "a", at(4)));
    assert!(!approval.give_back(&digest(0), "a", at(4)));
    assert_eq!(approval.take(&digest(0), "c", at(5)), Some(Admits::Once));
}

#[test]
fn h_04_nobody_answers_for_themselves_nor_for_their_agent() {
    let mut own = approval(terms(1, None));
    assert_eq!(yes(&mut own, "alice", 1), Err(Unfit::Own.into()));
    // The same person by another name, and another one who is called the same.
    let mut renamed = person("alice-admin", &["sre"]);
    renamed.subject = "alice".to_owned();
    let mut namesake = person("alice", &["sre"]);
    namesake.issuer = "https://other.test".to_owned();
    for by in [renamed, namesake] {
        let refused = own.answer(by, Verdict::Yes, (String::new(), 1), at(1));
        assert_eq!(refused, Err(Unfit::Own.into()));
    }
    let bot = Identity::for_tests("carol", &["sre"]).with_agent("bot", &[]);
    let refused = own.answer(Person::from(&bot), Verdict::Yes, (String::new(), 1), at(1));
    assert_eq!(refused, Err(Unfit::Agent.into()));
    assert_eq!(
        own.answer(
            person("dave", &["dev"]),
            Verdict::Yes,
            (String::new(), 1),
            at(1)
        ),
        Err(Unfit::NotNamed.into())
    );

    let mut of_agent = approval(terms(1, None));
    of_agent.caller.agent = Some("bot".to_owned());
    assert_eq!(yes(&mut of_agent, "alice", 1), Err(Unfit::Own.into()));
    assert_eq!(yes(&mut of_agent, "bot", 1), Err(Unfit::Agent.into()));
    of_agent.caller.chain = vec!["hub".to_owned()];
    assert_eq!(yes(&mut of_agent, "hub", 1), Err(Unfit::Agent.into()));
    of_agent.terms.approvers.principal = true;
    assert_eq!(yes(&mut of_agent, "alice", 1), Ok(()));
    // That is for what agents ask and for nothing else.
    own.terms.approvers.principal = true;
    assert_eq!(yes(&mut own, "alice", 1), Err(Unfit::Own.into()));
    assert_eq!(own.state, State::Asked);
}

#[test]
fn two_people_are_two_people() {
    let mut approval = approval(terms(2, None));
    yes(&mut approval, "carol", 1).unwrap();
    assert_eq!((approval.state, approval.missing()), (State::Asked, 1));
    assert_eq!(yes(&mut approval, "carol", 2), Err(NotAnswered::Twice));
    let mut again = person("carol-2", &["sre"]);
    again.subject = "carol".to_owned();
    assert_eq!(
        approval.answer(again, Verdict::Yes, (String::new(), 1), at(2)),
        Err(NotAnswered::Twice)
    );
    // Whoever said yes first has not seen what would join now.
    assert!(!approval.join(asked(1), at(2)));
    yes(&mut approval, "dave", 3).unwrap();
    assert_eq!(approval.state, State::Approved);
}

#[test]
fn an_answer_is_for_what_was_seen() {
    let mut approval = approval(terms(1, None));
    assert!(approval.join(asked(1), at(1)));
    let blind = approval.answer(
        person("carol", &["sre"]),
        Verdict::Yes,
        (String::new(), 1),
        at(2),
    );
    assert_eq!(blind, Err(NotAnswered::Changed { now: 2, seen: 1 }));
    // No is no to everything.
    approval
        .answer(
            person("carol", &["sre"]),
            Verdict::No,
            (String::new(), 1),
            at(2),
        )
        .unwrap();
    assert_eq!(approval.state, State::Denied);
    let mut full = Approval {
        state: State::Asked,
        answers: Vec::new(),
        requests: vec![asked(0)],
        ..approval
    };
    for number in 1..2 * limits::APPROVAL_REQUESTS_MAX {
        assert_eq!(
            full.join(asked(number), at(1)),
            number < limits::APPROVAL_REQUESTS_MAX
        );
    }
}

#[test]
fn a_class_is_admitted_for_as_long_as_the_most_careful_approver_said() {
    let class = |seconds| Verdict::YesToClass { seconds };
    let answer = |approval: &mut Approval, who, verdict| {
        approval.answer(person(who, &["sre"]), verdict, (String::new(), 1), at(1))
    };
    let mut narrow = approval(terms(1, None));
    assert!(matches!(
        answer(&mut narrow, "carol", class(1)),
        Err(NotAnswered::TooWide(_))
    ));
    let mut wide = approval(terms(2, Some(Duration::from_mins(1))));
    assert!(matches!(
        answer(&mut wide, "carol", class(61)),
        Err(NotAnswered::TooWide(_))
    ));
    assert!(matches!(
        answer(&mut wide, "carol", class(0)),
        Err(NotAnswered::TooWide(_))
    ));
    answer(&mut wide, "carol", class(60)).unwrap();
    answer(&mut wide, "dave", class(30)).unwrap();
    assert_eq!(
        wide.take(&digest(7), "a", at(30)),
        Some(Admits::Until(at(31)))
    );
    assert_eq!(
        wide.take(&digest(8), "a", at(30)),
        Some(Admits::Until(at(31)))
    );
    assert_eq!(wide.take(&digest(8), "a", at(31)), None);
    let mut once = approval(terms(2, Some(Duration::from_mins(1))));
    answer(&mut once, "carol", class(60)).unwrap();
    answer(&mut once, "dave", Verdict::Yes).unwrap();
    assert_eq!(once.admits(at(2)), Some(Admits::Once));
}

#[test]
fn a_clock_that_is_set_back_makes_no_yes_last_longer() {
    let mut approval = approval(terms(1, None));
    yes(&mut approval, "carol", 90).unwrap();
    assert_eq!(approval.admits(at(29)), None);
    assert_eq!(approval.admits(at(31)), Some(Admits::Once));
    assert_eq!(approval.admits(at(90 + 100)), None);
}

#[test]
fn a_role_is_taken_away_by_whoever_has_it_who_could_say_no_and_operators() {
    let given =
        || super::super::grant::tests::given("g", "debug", &Identity::for_tests("alice", &["dev"]));
    let agent = |name| Person::from(&Identity::for_tests(name, &["sre"]).with_agent("bot", &[]));
    let revoke = |by: Person, is_operator| {
        let mut approval = given();
        let done = approval.revoke(by, is_operator, "over".to_owned(), at(1));
        (done.is_ok(), approval.state)
    };
    for by in [person("alice", &[]), person("carol", &["sre"])] {
        assert_eq!(revoke(by, false), (true, State::Revoked));
    }
    assert_eq!(revoke(Person::local(), true), (true, State::Revoked));
    for by in [
        person("bob", &["dev"]),
        agent("alice"),
        agent("carol"),
        Person::local(),
    ] {
        assert_eq!(revoke(by, false), (false, State::Approved));
    }
    // A no takes it away as well, and then it is not given again.
    let mut denied = given();
    let no = denied.answer(
        person("carol", &["sre"]),
        Verdict::No,
        (String::new(), 0),
        at(1),
    );
    assert_eq!((no, denied.state), (Ok(()), State::Revoked));
    assert_eq!(
        yes(&mut denied, "dave", 2),
        Err(NotAnswered::Over(State::Revoked))
    );
    // Nor is it given for longer than was asked, or to whoever asks.
    let mut asked = Approval {
        state: State::Asked,
        answers: Vec::new(),
        ..given()
    };
    let class = Verdict::YesToClass { seconds: 90 };
    let wide = asked.answer(person("carol", &["sre"]), class, (String::new(), 0), at(1));
    assert!(matches!(wide, Err(NotAnswered::TooWide(_))));
    asked.caller = person("carol", &["sre"]);
    assert_eq!(yes(&mut asked, "carol", 1), Err(Unfit::Own.into()));
    // It admits no request by itself.
    assert_eq!(given().take(&digest(0), "a", at(1)), None);
}

#[derive(Clone, Debug)]
enum Ahead {
    Pass(i64),
    Answer(usize, bool, usize),
    Revoke(usize, bool),
    Withdraw(usize),
}

fn ahead() -> impl Strategy<Value = Vec<Ahead>> {
    let step = prop_oneof![
        3 => (0_i64..40).prop_map(Ahead::Pass),
        6 => (0_usize..5, any::<bool>(), 0_usize..2).prop_map(|(who, yes, seen)| Ahead::Answer(who, yes, seen)),
        1 => (0_usize..5, any::<bool>()).prop_map(|(who, operator)| Ahead::Revoke(who, operator)),
        1 => (0_usize..5).prop_map(Ahead::Withdraw),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// A role is had exactly from the last yes that was needed for as long as was asked for, unless it was taken away.
    #[test]
    fn no_role_is_had_that_was_not_given(count in 1_usize..3, steps in ahead()) {
        const WHO: [(&str, &str); 5] = [("alice", "sre"), ("carol", "sre"), ("dave", "sre"), ("erin", "sre"), ("frank", "dev")];
        let alice = Identity::for_tests("alice", &["dev"]);
        let mut machine = super::super::grant::tests::given("g", "debug", &alice);
        machine.terms.approvers.count = count;
        machine.state = State::Asked;
        machine.answers.clear();
        machine.expires = later(at(0), machine.terms.expires);
        let mut clock = 0_i64;
        let mut yes: Vec<usize> = Vec::new();
        let mut yes_at = None;
        let mut over = false;
        for step in steps {
            match step {
                Ahead::Pass(seconds) => clock += seconds,
                Ahead::Answer(who, says_yes, seen) => {
                    let (name, group) = WHO[who];
                    let verdict = if says_yes { Verdict::Yes } else { Verdict::No };
                    let answered = machine.answer(person(name, &[group]), verdict, (String::new(), seen), at(clock));
                    if answered.is_ok() {
                        prop_assert!((1..=3).contains(&who) && !over, "{name} may not answer");
                        if says_yes {
                            prop_assert!(yes_at.is_none() && clock < 100 && !yes.contains(&who) && seen == 0);
                            yes.push(who);
                            yes_at = (yes.len() == count).then_some(clock);
                        } else {
                            over = true;
                        }
                    }
                }
                Ahead::Revoke(who, operator) => {
                    let (name, group) = WHO[who];
                    let given = yes_at.is_some_and(|then| clock < then + 60) && !over;
                    let revoked = machine.revoke(person(name, &[group]), operator, String::new(), at(clock));
                    prop_assert_eq!(revoked.is_ok(), given && (operator || who < 4));
                    over |= revoked.is_ok();
                }
                Ahead::Withdraw(who) => {
                    let withdrawn = machine.withdraw(&person(WHO[who].0, &[]), at(clock));
                    prop_assert!(withdrawn.is_err() || who == 0);
                    over |= withdrawn.is_ok();
                }
            }
            let had = !over && yes_at.is_some_and(|then| clock < then + 60);
            prop_assert_eq!(machine.granted(at(clock)).is_some(), had, "{:?} at {}", machine, clock);
            let text = serde_json::to_string(&machine).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Approval>(&text).unwrap(), &machine);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Join(usize),
    Answer(usize, Verdict, usize),
    Take(usize),
    GiveBack(usize),
    Withdraw(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let verdict = prop_oneof![
        4 => Just(Verdict::Yes),
        2 => (0_u32..90).prop_map(|seconds| Verdict::YesToClass { seconds }),
        1 => Just(Verdict::No),
    ];
    let step = prop_oneof![
        3 => (0_i64..40).prop_map(Step::Pass),
        2 => (1_usize..4).prop_map(Step::Join),
        6 => (0_usize..5, verdict, 1_usize..4).prop_map(|(who, verdict, seen)| Step::Answer(who, verdict, seen)),
        6 => (0_usize..4).prop_map(Step::Take),
        1 => (0_usize..4).prop_map(Step::GiveBack),
        1 => any::<bool>().prop_map(Step::Withdraw),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What must hold, told without the machine's own states: a list of what happened.
    #[test]
    fn nothing_is_admitted_that_was_not_answered(count in 1_usize..3, wide in any::<bool>(), steps in steps()) {
        const WHO: [(&str, &str); 5] = [("alice", "sre"), ("carol", "sre"), ("dave", "sre"), ("erin", "sre"), ("frank", "dev")];
        let mut machine = approval(terms(count, wide.then_some(Duration::from_mins(1))));
        let mut clock = 0_i64;
        // The model: who said yes to how many requests, when the last of them did, and what went on.
        let mut yes: Vec<(usize, Verdict)> = Vec::new();
        let mut yes_at = None;
        let mut over = false; // a no, a withdrawal
        let mut asked_for = vec![0_usize];
        let mut used: Vec<usize> = Vec::new();
        for step in steps {
            match step {
                Step::Pass(seconds) => clock += seconds,
                Step::Join(number) => {
                    if machine.join(asked(number), at(clock)) {
                        prop_assert!(yes.is_empty() && !over && clock < 100);
                        asked_for.push(number);
                    }
                }
                Step::Answer(who, verdict, seen) => {
                    let (name, group) = WHO[who];
                    let answered = machine.answer(person(name, &[group]), verdict, (String::new(), seen), at(clock));
                    if answered.is_ok() {
                        prop_assert!((1..=3).contains(&who), "{name} may not answer");
                        prop_assert!(!over);
                        if verdict == Verdict::No {
                            over = true;
                        } else {
                            prop_assert!(yes.len() < count && clock < 100);
                            prop_assert!(yes.iter().all(|(before, _)| *before != who));
                            prop_assert_eq!(seen, asked_for.len());
                            yes.push((who, verdict));
                            yes_at = Some(clock);
                        }
                    }
                }
                Step::Take(number) => {
                    let class = yes.iter().map(|(_, verdict)| match verdict {
                        Verdict::YesToClass { seconds } => Some(i64::from(*seconds)),
                        _ => None,
                    }).min().flatten();
                    let enough = yes.len() == count && !over;
                    let lives = yes_at.is_some_and(|then| clock < then + class.unwrap_or(100));
                    let times = asked_for.iter().filter(|one| **one == number).count();
                    let taken = used.iter().filter(|one| **one == number).count();
                    let expected = enough && lives && (class.is_some() || taken < times);
                    let got = machine.take(&digest(number), &format!("r{number}"), at(clock));
                    prop_assert_eq!(got.is_some(), expected, "{:?} at {}", machine, clock);
                    if got == Some(Admits::Once) {
                        used.push(number);
                    }
                }
                Step::GiveBack(number) => {
                    if machine.give_back(&digest(number), &format!("r{number}"), at(clock)) {
                        let place = used.iter().position(|one| *one == number);
                        prop_assert!(place.is_some());
                        used.remove(place.unwrap());
                    }
                }
                Step::Withdraw(own) => {
                    let by = person(if own { "alice" } else { "carol" }, &[]);
                    if machine.withdraw(&by, at(clock)).is_ok() {
                        prop_assert!(own);
                        over = true;
                    }
                }
            }
            // What is written down is what is read.
            let text = serde_json::to_string(&machine).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Approval>(&text).unwrap(), &machine);
        }
    }
}
