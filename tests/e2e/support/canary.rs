//! The canary oracle: secret values that must not show up anywhere, in any form.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memmem;
use parking_lot::RwLock;

/// Part of a value that is looked for on its own: half a password is a leak too.
const PIECE: usize = 16;

/// Every secret value of a world, in all the forms in which it could leak.
#[derive(Debug, Default)]
pub(crate) struct Canaries {
    needles: RwLock<Vec<Needle>>,
}

#[derive(Debug)]
struct Needle {
    value: String,
    form: &'static str,
    bytes: Vec<u8>,
}

impl Canaries {
    /// A fresh value that nothing else contains, remembered.
    pub(crate) fn fresh(&self) -> String {
        let value = format!(
            "canary{}{}",
            uuid::Uuid::now_v7().simple(),
            uuid::Uuid::now_v7().simple()
        );
        self.add(&value);
        value
    }

    /// Remembers a value.
    pub(crate) fn add(&self, value: &str) {
        let mut needles = self.needles.write();
        let bytes = value.as_bytes();
        // A common start would find too much; the ends of a canary are its own.
        let pieces = if bytes.len() > 2 * PIECE + 6 {
            vec![
                bytes,
                &bytes[bytes.len() - PIECE..],
                &bytes[bytes.len() / 2 - PIECE / 2..][..PIECE],
            ]
        } else {
            vec![bytes]
        };
        for piece in pieces {
            for (form, bytes) in forms(piece) {
                needles.push(Needle {
                    value: value.to_owned(),
                    form,
                    bytes,
                });
            }
        }
    }

    /// Fails when `bytes` hold any of the values; `label` says whose bytes they are.
    pub(crate) fn check(&self, label: &str, bytes: &[u8]) {
        if let Some(found) = self.find(bytes) {
            panic!(
                "{label} leaks a secret value: {found}\n--\n{}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    /// The first value found, and in which form.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<String> {
        let needles = self.needles.read();
        let needle = needles
            .iter()
            .find(|needle| memmem::find(bytes, &needle.bytes).is_some())?;
        Some(format!("{} as {}", needle.value, needle.form))
    }
}

fn forms(value: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = value
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let percent: String = value
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(*byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect();
    let json = serde_json::to_string(&String::from_utf8_lossy(value)).unwrap();
    let mut forms = vec![
        ("text", value.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("upper-case hex", hex.to_uppercase().into_bytes()),
        ("a percent-encoded text", percent.into_bytes()),
        ("a JSON string", json.trim_matches('"').as_bytes().to_vec()),
    ];
    for shift in 0..3 {
        forms.push(("base64", base64_inside(&STANDARD_NO_PAD, value, shift)));
        forms.push((
            "URL-safe base64",
            base64_inside(&URL_SAFE_NO_PAD, value, shift),
        ));
    }
    // base64 of base64: a Secret inside an embedded document.
    let once = STANDARD_NO_PAD.encode(value);
    for shift in 0..3 {
        forms.push((
            "base64 of base64",
            base64_inside(&STANDARD_NO_PAD, once.as_bytes(), shift),
        ));
    }
    forms
}

/// The characters that `value` leaves in a base64 text when `shift` bytes stand before it, whatever they and
/// the bytes behind it are.
fn base64_inside(engine: &impl base64::Engine, value: &[u8], shift: usize) -> Vec<u8> {
    let mut padded = vec![0; shift];
    padded.extend_from_slice(value);
    let encoded = engine.encode(&padded);
    let from = (shift * 8).div_ceil(6);
    let to = padded.len() * 8 / 6;
    encoded.as_bytes()[from..to].to_vec()
}

#[test]
fn a_canary_is_found_in_every_form() {
    let canaries = Canaries::default();
    let value = canaries.fresh();
    for before in ["", "x", "xy", "xyz"] {
        let text = format!("{before}{value} and more");
        let once = STANDARD_NO_PAD.encode(&text);
        assert!(canaries.find(text.as_bytes()).is_some());
        assert!(canaries.find(once.as_bytes()).is_some());
        assert!(
            canaries
                .find(URL_SAFE_NO_PAD.encode(&text).as_bytes())
                .is_some()
        );
        assert!(
            canaries
                .find(
                    STANDARD_NO_PAD
                        .encode(STANDARD_NO_PAD.encode(&value))
                        .as_bytes()
                )
                .is_some()
        );
    }
    assert!(
        canaries.find(&value.as_bytes()[30..]).is_some(),
        "a part is found"
    );
    assert!(canaries.find(b"nothing here").is_none());
}
