//! No target panics the parser, and what it accepts it reads the same way again: what is decided is what is sent.
#![no_main]

use http::Method;
use libfuzzer_sys::fuzz_target;
use portcullis::request::RequestInfo;

fuzz_target!(|input: &[u8]| {
    let Some((&number, target)) = input.split_first() else {
        return;
    };
    let Ok(target) = std::str::from_utf8(target) else {
        return;
    };
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
    ];
    let method = &methods[usize::from(number) % methods.len()];
    if let Ok(info) = RequestInfo::parse(method, target) {
        let again =
            RequestInfo::parse(method, &info.target()).expect("its own target is canonical");
        assert_eq!(
            format!("{info:?}"),
            format!("{again:?}"),
            "the second reading differs"
        );
    }
});
