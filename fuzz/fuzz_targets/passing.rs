//! No answer panics what learns from Secrets in passing, no cut changes what it learns, a Secret teaches the same as an
//! object, in a list and in a watch, and what a watch says is gone is forgotten.
#![no_main]

use std::sync::{Arc, LazyLock};

use http::Method;
use libfuzzer_sys::fuzz_target;
use portcullis::request::RequestInfo;
use portcullis::transform::text::known::{Book, Knowledge};
use portcullis::transform::{Placeholders, learn_json, learn_protobuf};

static PLACEHOLDERS: LazyLock<Arc<Placeholders>> =
    LazyLock::new(|| Arc::new(Placeholders::new(&[7; 32])));

/// Writing answers with an object of whatever name.
static OBJECT: LazyLock<RequestInfo> = LazyLock::new(|| info(&Method::POST, ""));
static LIST: LazyLock<RequestInfo> = LazyLock::new(|| info(&Method::GET, ""));
static WATCH: LazyLock<RequestInfo> = LazyLock::new(|| info(&Method::GET, "?watch=1"));

fn info(method: &Method, query: &str) -> RequestInfo {
    let target = format!("/api/v1/namespaces/shop/secrets{query}");
    RequestInfo::parse(method, &target).expect("a target of the API")
}

fn book() -> Arc<Book> {
    let book = Book::new(Arc::clone(&PLACEHOLDERS), 8);
    book.demand();
    Arc::new(book)
}

fn learned(info: &RequestInfo, chunks: &[&[u8]]) -> Knowledge {
    let book = book();
    learn_json(&book, info, chunks.iter().copied());
    book.renew()
}

/// Where containers are nested deeper, one reader may give up before the other.
fn is_flat(text: &[u8]) -> bool {
    text.iter().filter(|byte| b"[{".contains(byte)).count() < 100
}

fuzz_target!(|input: &[u8]| {
    // The first byte says what it is, the second where the rest is cut.
    let Some(([form, cut], text)) = input.split_first_chunk::<2>() else {
        return;
    };
    let (head, tail) = text.split_at(text.len() * usize::from(*cut) / 256);
    let info = match form % 4 {
        0 => &*OBJECT,
        1 => &*LIST,
        2 => &*WATCH,
        _ => {
            let book = book();
            learn_protobuf(&book, &OBJECT, text, false);
            let known = book.renew().known;
            learn_protobuf(&book, &WATCH, text, true);
            assert!(book.renew().known == 0, "{known} were known");
            return;
        }
    };
    let whole = learned(info, &[text]);
    assert_eq!(learned(info, &[head, tail]), whole);
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(learned(info, &bytes), whole);
    if form % 4 == 0
        && is_flat(text)
        && serde_json::from_slice(text).is_ok_and(|value: serde_json::Value| value.is_object())
    {
        let item = [&b"{\"items\":["[..], text, b"]}"];
        assert_eq!(learned(&LIST, &item), whole);
        let added = [&b"{\"type\":\"ADDED\",\"object\":"[..], text, b"}\n"];
        assert_eq!(learned(&WATCH, &added), whole);
        let deleted = [&b"{\"type\":\"DELETED\",\"object\":"[..], text, b"}\n"];
        let both = [added, deleted].concat();
        assert_eq!(learned(&WATCH, &both).known, 0);
    }
});
