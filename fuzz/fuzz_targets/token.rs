//! No bytes panic the token reader, and whatever a verified payload says, the identity it becomes
//! holds no string that could start a header, be trimmed or pass for one of Kubernetes' own names.
#![cfg_attr(fuzzing, no_main)]

// What it calls is open to fuzz targets only.
#[cfg(fuzzing)]
use portcullis::identity::{credential, fuzzing};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    if let Ok(text) = std::str::from_utf8(input) {
        fuzzing::read_token(text);
    }
    if let Ok(value) = http::HeaderValue::from_bytes(input) {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::SEC_WEBSOCKET_PROTOCOL, value.clone());
        drop(credential::from_headers(&headers, true));
        headers.clear();
        headers.insert(http::header::AUTHORIZATION, value);
        drop(credential::from_headers(&headers, true));
    }
    if let Some(identity) = fuzzing::map_claims(input) {
        let agent = identity.agent().into_iter();
        let actors = agent.flat_map(|agent| std::iter::once(&agent.name).chain(&agent.chain));
        let names = std::iter::once(identity.username())
            .chain(identity.groups().iter().map(String::as_str))
            .chain(actors.map(String::as_str));
        for name in names {
            assert!(!name.is_empty());
            assert_eq!(name.trim(), name);
            assert!(!name.bytes().any(|byte| byte < b' ' || byte == 0x7f));
            assert!(!name.to_lowercase().starts_with("system:"));
            assert!(http::HeaderValue::from_str(name).is_ok());
        }
    }
});

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("run it by: fuzz/run token");
}
