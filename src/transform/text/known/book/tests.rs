use super::*;
use crate::limits::{
    KNOWN_VALUE_BYTES_MAX, KNOWN_VALUES_PASSED_ENTRY_BYTES, KNOWN_VALUES_PASSED_LIFE,
};

fn book() -> Book {
    Book::new(Arc::new(Placeholders::new(&[7; 32])), 8)
}

fn at<'a>(namespace: &'a str, name: &'a str, version: u64) -> SecretAt<'a> {
    SecretAt {
        namespace,
        name,
        version,
    }
}

/// What was left out, without the work of making indexes.
fn left_out(book: &Book) -> LeftOutCounts {
    book.pages.lock().left_out()
}

fn bytes(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

#[test]
fn a_value_that_is_not_found_as_it_is_counts_as_left_out_too() {
    let book = book();
    book.learn(at("shop", "db", 1), [("password", bytes("Pa55\\wrd"))]);
    let left_out = LeftOutCounts::from([(LeftOut::Short, 1)]);
    assert_eq!(book.renew(), Knowledge { known: 1, left_out });
}

#[test]
fn values_are_known_in_their_namespace_until_the_secret_goes() {
    let book = book();
    let (shop, bank, all) = (book.shelf("shop"), book.shelf("bank"), book.shelf(""));
    book.learn(
        at("shop", "db", 1),
        [("password", bytes("correct-horse")), ("pin", bytes("123"))],
    );
    assert_eq!(shop.load().len(), 0, "learning does not wait for the index");
    let left_out = LeftOutCounts::from([(LeftOut::Short, 1)]);
    assert_eq!(book.renew(), Knowledge { known: 1, left_out });
    let lengths = || [shop.load().len(), bank.load().len(), all.load().len()];
    assert_eq!(lengths(), [1, 0, 1]);

    book.learn(
        at("shop", "db", 1),
        [
            ("key-a", bytes("correct-horse")),
            ("key-b", bytes("battery-staple")),
        ],
    );
    book.learn(at("bank", "db", 1), [("key-a", bytes("open-sesame-1"))]);
    assert_eq!(book.renew().known, 3);
    assert_eq!(lengths(), [2, 1, 3]);

    book.retain(|namespace, _| namespace == "bank");
    assert_eq!(book.renew().known, 1);
    assert_eq!(lengths(), [0, 1, 1]);
    book.forget(at("bank", "db", 2));
    book.forget(at("bank", "never was", 2));
    assert_eq!(book.renew(), Knowledge::default());
    assert_eq!(lengths(), [0, 0, 0]);
}

#[test]
fn what_did_not_change_makes_no_new_index() {
    let book = book();
    let data = || [("password", bytes("correct-horse"))];
    book.learn(at("shop", "db", 1), data());
    let shop = book.shelf("shop");
    book.renew();
    let before = shop.load_full();
    book.learn(at("shop", "db", 1), data());
    book.renew();
    assert!(Arc::ptr_eq(&before, &shop.load_full()));
    book.learn(at("shop", "db", 1), [("password", bytes("battery-staple"))]);
    book.renew();
    assert!(!Arc::ptr_eq(&before, &shop.load_full()));
}

#[test]
fn shelves_that_nobody_reads_and_nobody_fills_are_taken_away() {
    let book = book();
    drop(book.shelf("empty"));
    let held = book.shelf("held");
    book.renew();
    let namespaces: Vec<String> = book.pages.lock().namespaces.keys().cloned().collect();
    assert_eq!(namespaces, ["held"]);
    book.learn(at("held", "db", 1), [("password", bytes("correct-horse"))]);
    book.renew();
    assert_eq!(held.load().len(), 1);
}

#[test]
fn what_is_known_is_bounded() {
    let book = book();
    let mut known = 0;
    let mut number = 0;
    loop {
        let value = format!("{number:08}{}", "abcd".repeat(4000));
        number += 1;
        book.learn(at("shop", &number.to_string(), 1), [("key", bytes(&value))]);
        let left_out = left_out(&book);
        if !left_out.is_empty() {
            assert_eq!(left_out, LeftOutCounts::from([(LeftOut::Full, 1)]));
            break;
        }
        known += value.len();
    }
    assert!(known <= KNOWN_VALUE_BYTES_MAX);
    book.forget(at("shop", "1", 2));
    book.learn(
        at("shop", "again", 1),
        [("key", bytes(&"wxyz".repeat(100)))],
    );
    assert_eq!(left_out(&book), LeftOutCounts::from([(LeftOut::Full, 1)]));
}

/// The values that are known, as text.
fn known(book: &Book) -> Vec<String> {
    let pages = book.pages.lock();
    let mut values: Vec<_> = pages
        .values()
        .map(|value| String::from_utf8(value.bytes.to_vec()).unwrap())
        .collect();
    values.sort();
    values
}

fn password(value: &str) -> [(&'static str, Zeroizing<Vec<u8>>); 1] {
    [("password", bytes(value))]
}

#[test]
fn what_passes_stands_beside_what_is_told_until_the_watch_is_there_too() {
    let book = book();
    book.learn(at("shop", "db", 3), password("old-horse-1"));
    book.followed(5);
    // Late, from a cache: the watch has told all of that.
    book.pass(at("shop", "db", 4), password("stale-horse-1"));
    book.pass(at("shop", "gone", 5), password("stale-horse-2"));
    assert_eq!(known(&book), ["old-horse-1"]);
    book.pass(at("shop", "db", 8), password("new-horse-1"));
    book.pass(at("shop", "db", 7), password("between-horse-1"));
    book.pass(at("shop", "other", 9), password("other-horse-1"));
    assert_eq!(
        known(&book),
        ["new-horse-1", "old-horse-1", "other-horse-1"]
    );

    // The watch comes nearer, event by event; what it says of a Secret does not hide newer news.
    book.learn(at("shop", "db", 6), password("told-horse-1"));
    book.followed(6);
    assert_eq!(
        known(&book),
        ["new-horse-1", "other-horse-1", "told-horse-1"]
    );
    book.learn(at("shop", "db", 8), password("new-horse-1"));
    book.followed(8);
    assert_eq!(known(&book), ["new-horse-1", "other-horse-1"]);
    // Created and deleted again, and only the end was told.
    book.forget(at("shop", "other", 10));
    book.followed(10);
    assert_eq!(known(&book), ["new-horse-1"]);
}

#[test]
fn a_full_list_is_the_truth_but_for_what_passed_since() {
    let book = book();
    book.pass(at("shop", "gone", 4), password("gone-horse-1"));
    book.learn(at("shop", "told", 2), password("told-horse-1"));
    book.pass(at("shop", "later", 9), password("later-horse-1"));
    book.learn(at("shop", "later", 5), password("listed-horse-1"));
    book.retain(|_, name| name == "later");
    book.followed(6);
    assert_eq!(known(&book), ["later-horse-1", "listed-horse-1"]);
    // The cluster was put back to an earlier state: versions begin anew.
    book.followed(3);
    book.pass(at("shop", "db", 4), password("db-horse-1"));
    assert!(known(&book).contains(&"db-horse-1".to_owned()));
}

#[test]
fn without_a_watch_what_passed_is_known_for_a_bounded_time() {
    let book = book();
    book.pass(at("shop", "early", 1), password("early-horse-1"));
    let begun = tokio::time::Instant::now().into_std();
    book.tick(begun);
    book.pass(at("shop", "db", 2), password("first-horse-1"));
    assert!(!book.wants(at("shop", "db", 2)) && !book.wants(at("shop", "db", 1)));
    book.pass(at("shop", "db", 3), password("second-horse-1"));
    assert_eq!(known(&book), ["early-horse-1", "second-horse-1"]);

    // Seen again, unchanged.
    book.tick(begun + KNOWN_VALUES_PASSED_LIFE / 2);
    assert!(!book.wants(at("shop", "db", 3)));
    book.tick(begun + KNOWN_VALUES_PASSED_LIFE * 9 / 10);
    assert_eq!(known(&book).len(), 2);
    book.tick(begun + KNOWN_VALUES_PASSED_LIFE);
    assert_eq!(known(&book), ["second-horse-1"]);
    book.tick(begun + KNOWN_VALUES_PASSED_LIFE * 3 / 2);
    assert!(known(&book).is_empty());
    book.renew(); // lets go of the shelf
    assert_eq!(book.renew(), Knowledge::default());
    assert!(book.pages.lock().namespaces.is_empty());

    book.pass(at("shop", "db", 9), password("third-horse-1"));
    book.pass_away(at("shop", "db", 8));
    assert_eq!(known(&book), ["third-horse-1"]);
    book.pass_away(at("shop", "db", 10));
    assert!(known(&book).is_empty());
}

#[test]
fn what_passes_unchanged_makes_no_new_index() {
    let book = book();
    book.learn(at("shop", "db", 1), password("correct-horse"));
    book.followed(1);
    let shop = book.shelf("shop");
    book.renew();
    let before = shop.load_full();
    // Another label.
    book.pass(at("shop", "db", 2), password("correct-horse"));
    assert_eq!(book.renew().known, 1);
    book.learn(at("shop", "db", 2), password("correct-horse"));
    book.followed(2);
    book.renew();
    assert!(Arc::ptr_eq(&before, &shop.load_full()));
    // From passing to told the value is known all the time.
    book.pass(at("shop", "web", 3), password("battery-staple"));
    book.renew();
    let with_news = shop.load_full();
    assert_eq!(with_news.len(), 2);
    book.learn(at("shop", "web", 3), password("battery-staple"));
    book.followed(3);
    book.renew();
    assert!(Arc::ptr_eq(&with_news, &shop.load_full()));
}

#[test]
fn secrets_that_pass_without_end_find_an_end_and_it_is_said() {
    let book = book();
    let begun = tokio::time::Instant::now().into_std();
    book.tick(begun);
    let most = KNOWN_VALUE_BYTES_MAX / KNOWN_VALUES_PASSED_ENTRY_BYTES;
    for number in 0..most as u64 + 10 {
        book.pass(
            at("shop", &number.to_string(), number + 1),
            password("short"),
        );
    }
    assert!(book.pages.lock().namespaces["shop"].passed.len() < most);
    assert!(left_out(&book)[&LeftOut::Full] > 0);
    // There is room again when their time is over.
    book.tick(begun + KNOWN_VALUES_PASSED_LIFE);
    assert_eq!(book.renew(), Knowledge::default());
    book.pass(at("shop", "db", 1), password("correct-horse"));
    assert_eq!(known(&book), ["correct-horse"]);
}
