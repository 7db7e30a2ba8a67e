use super::*;
use crate::limits::KNOWN_VALUE_BYTES_MAX;

fn book() -> Book {
    Book::new(Arc::new(Placeholders::new(&[7; 32])), 8)
}

/// What was left out, without the work of making indexes.
fn left_out(book: &Book) -> LeftOutCounts {
    let pages = book.pages.lock();
    let mut counts = LeftOutCounts::new();
    for secret in pages.namespaces["shop"].secrets.values() {
        for (why, count) in &secret.left_out {
            *counts.entry(*why).or_default() += count;
        }
    }
    counts
}

fn bytes(text: &str) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(text.as_bytes().to_vec())
}

#[test]
fn values_are_known_in_their_namespace_until_the_secret_goes() {
    let book = book();
    let (shop, bank, all) = (book.shelf("shop"), book.shelf("bank"), book.shelf(""));
    book.learn(
        "shop",
        "db",
        [("password", bytes("correct-horse")), ("pin", bytes("123"))],
    );
    assert_eq!(shop.load().len(), 0, "learning does not wait for the index");
    let left_out = LeftOutCounts::from([(LeftOut::Short, 1)]);
    assert_eq!(book.renew(), Knowledge { known: 1, left_out });
    let lengths = || [shop.load().len(), bank.load().len(), all.load().len()];
    assert_eq!(lengths(), [1, 0, 1]);

    book.learn(
        "shop",
        "db",
        [
            ("key-a", bytes("correct-horse")),
            ("key-b", bytes("battery-staple")),
        ],
    );
    book.learn("bank", "db", [("key-a", bytes("open-sesame-1"))]);
    assert_eq!(book.renew().known, 3);
    assert_eq!(lengths(), [2, 1, 3]);

    book.retain(|namespace, _| namespace == "bank");
    assert_eq!(book.renew().known, 1);
    assert_eq!(lengths(), [0, 1, 1]);
    book.forget("bank", "db");
    book.forget("bank", "never was");
    assert_eq!(book.renew(), Knowledge::default());
    assert_eq!(lengths(), [0, 0, 0]);
}

#[test]
fn what_did_not_change_makes_no_new_index() {
    let book = book();
    let data = || [("password", bytes("correct-horse"))];
    book.learn("shop", "db", data());
    let shop = book.shelf("shop");
    book.renew();
    let before = shop.load_full();
    book.learn("shop", "db", data());
    book.renew();
    assert!(Arc::ptr_eq(&before, &shop.load_full()));
    book.learn("shop", "db", [("password", bytes("battery-staple"))]);
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
    book.learn("held", "db", [("password", bytes("correct-horse"))]);
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
        book.learn("shop", &number.to_string(), [("key", bytes(&value))]);
        let left_out = left_out(&book);
        if !left_out.is_empty() {
            assert_eq!(left_out, LeftOutCounts::from([(LeftOut::Full, 1)]));
            break;
        }
        known += value.len();
    }
    assert!(known <= KNOWN_VALUE_BYTES_MAX);
    book.forget("shop", "1");
    book.learn("shop", "again", [("key", bytes(&"wxyz".repeat(100)))]);
    assert_eq!(left_out(&book), LeftOutCounts::from([(LeftOut::Full, 1)]));
}
