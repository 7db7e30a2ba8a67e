//! Which roles somebody has, and until when.

use super::*;
use crate::approval::state::Verdict;
use crate::approval::state::tests::{person, terms};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn alice() -> Identity {
    Identity::for_tests("alice", &["dev"])
}

/// Alice asked for a role for 60 seconds, and Carol said yes to it at 0.
pub(crate) fn given(id: &str, role: &str, identity: &Identity) -> Approval {
    let terms = terms(1, None);
    let mut approval = Approval {
        id: id.to_owned(),
        caller: Person::from(identity),
        cluster: String::new(),
        rule: format!("p/{role}"),
        message: None,
        expires: at(100),
        terms,
        class: Digest::of_caller(identity),
        command: None,
        grant: Some(Ahead {
            role: role.to_owned(),
            seconds: 60,
            reason: "INC-7".to_owned(),
        }),
        requests: Vec::new(),
        asked: at(0),
        state: State::Asked,
        answers: Vec::new(),
    };
    let carol = person("carol", &["sre"]);
    let yes = approval.answer(carol, Verdict::Yes, (String::new(), 0), at(0));
    yes.unwrap();
    approval
}

#[test]
fn a_role_is_had_from_the_yes_until_its_end_and_by_nobody_else() {
    let approval = given("g", "debug", &alice());
    let grants = Grants::default().after(&approval, at(1));
    let roles = |identity: &Identity, second| -> Vec<String> {
        let held = grants.of(identity, at(second));
        held.iter().map(|grant| grant.role().to_owned()).collect()
    };
    assert_eq!(roles(&alice(), 1), ["debug"]);
    assert_eq!(roles(&alice(), 59), ["debug"]);
    assert!(roles(&alice(), 60).is_empty());
    // A clock that is set back gives nobody more.
    assert!(roles(&alice(), -61).is_empty());
    // Neither their agent nor the same name elsewhere, nor themselves with other groups.
    for other in [
        alice().with_agent("bot", &[]),
        Identity::for_tests("alice", &["dev", "sre"]),
        Identity::for_tests("bob", &["dev"]),
    ] {
        assert!(roles(&other, 1).is_empty(), "{other:?}");
    }
    let grant = approval.granted(at(1)).unwrap();
    assert!(grants.holds(&grant, at(1)) && !grants.holds(&grant, at(60)));
    assert_eq!((grants.count(at(1)), grants.count(at(60))), (1, 0));
}

#[test]
fn what_is_taken_away_is_gone_and_nothing_else_is() {
    let (one, other) = (
        given("g1", "debug", &alice()),
        given("g2", "debug", &alice()),
    );
    let grants = Grants::default().after(&one, at(1)).after(&other, at(1));
    assert_eq!(grants.count(at(1)), 2);
    let mut revoked = one.clone();
    let carol = person("carol", &["sre"]);
    revoked
        .revoke(carol, false, "over".to_owned(), at(2))
        .unwrap();
    let grants = grants.after(&revoked, at(2));
    let left = grants.of(&alice(), at(2));
    assert_eq!(
        left.iter().map(|grant| grant.id()).collect::<Vec<_>>(),
        ["g2"]
    );
    assert!(!grants.holds(&one.granted(at(1)).unwrap(), at(2)));
}
