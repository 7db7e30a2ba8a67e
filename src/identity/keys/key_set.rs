//! An issuer's public keys (RFC 7517), each bound to the one algorithm it may verify.
//!
//! The algorithm comes from the key, never from the token: a token's `alg` merely has to agree
//! (RFC 8725 §3.1). Keys that are unfit are left out with a reason; the others stay usable.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::identity::json;
use crate::identity::settings::SigningAlgorithm;
use crate::limits::{ISSUER_KEYS_MAX, KEY_ID_BYTES_MAX};

/// The usable keys of one issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::identity) struct KeySet {
    keys: Vec<VerifyingKey>,
}

/// A public key for one algorithm.
#[derive(Clone)]
pub(in crate::identity) struct VerifyingKey {
    key_id: Option<String>,
    algorithm: SigningAlgorithm,
    material: Vec<Vec<u8>>,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a key set document; the second value names the keys that were left out and why.
    pub(in crate::identity) fn parse(
        document: &[u8],
        allowed: &[SigningAlgorithm],
    ) -> Result<(Self, Vec<String>), String> {
        let document =
            json::object(document).map_err(|error| format!("the key set is not JSON: {error}"))?;
        let Some(Value::Array(entries)) = document.get("keys") else {
            return Err("the key set has no `keys` list".to_owned());
        };
        if entries.len() > ISSUER_KEYS_MAX {
            return Err(format!(
                "the key set has {} keys; the limit is {ISSUER_KEYS_MAX}",
                entries.len()
            ));
        }
        let (mut keys, mut left_out) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            match VerifyingKey::parse(entry, allowed) {
                Ok(key) => keys.push(key),
                Err(reason) => left_out.push(format!("key {index}: {reason}")),
            }
        }
        let keys = without_ambiguous(&keys, &mut left_out);
        if keys.is_empty() {
            return Err(format!(
                "the key set has no usable key ({})",
                left_out.join("; ")
            ));
        }
        Ok((Self { keys }, left_out))
    }

    /// The key that a token with this `kid` names. Without `kid` it is the only key of the token's
    /// algorithm; if there are several, there is no guessing (OIDC Core §10.1).
    pub(in crate::identity) fn find(
        &self,
        key_id: Option<&str>,
        algorithm: SigningAlgorithm,
    ) -> Option<&VerifyingKey> {
        if key_id.is_some() {
            return self.keys.iter().find(|key| key.key_id.as_deref() == key_id);
        }
        let mut candidates = self.keys.iter().filter(|key| key.algorithm == algorithm);
        match (candidates.next(), candidates.next()) {
            (Some(key), None) => Some(key),
            _ => None,
        }
    }
}

impl VerifyingKey {
    /// The only algorithm this key verifies.
    pub(in crate::identity) fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Whether `signature` (base64url) over `message` is this key's.
    pub(in crate::identity) fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let algorithm = library_algorithm(self.algorithm);
        jsonwebtoken::crypto::verify(signature, message, &self.key, algorithm).unwrap_or(false)
    }

    fn parse(entry: &Value, allowed: &[SigningAlgorithm]) -> Result<Self, String> {
        let Value::Object(jwk) = entry else {
            return Err("it is not an object".to_owned());
        };
        let usage = text(jwk, "use")?;
        if usage.is_some_and(|usage| usage != "sig") {
            return Err("its `use` is not `sig`".to_owned());
        }
        if let Some(operations) = jwk.get("key_ops")
            && !operations
                .as_array()
                .is_some_and(|operations| operations.iter().any(|name| name == "verify"))
        {
            return Err("its `key_ops` lack `verify`".to_owned());
        }
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
            .iter()
            .any(|member| jwk.contains_key(*member))
        {
            return Err(
                "it contains private key material and must be considered stolen; rotate it"
                    .to_owned(),
            );
        }
        let key_id = text(jwk, "kid")?;
        if key_id.is_some_and(|key_id| key_id.is_empty() || key_id.len() > KEY_ID_BYTES_MAX) {
            return Err(format!(
                "its `kid` is empty or longer than {KEY_ID_BYTES_MAX} bytes"
            ));
        }
        let (possible, material, key) = public_key(jwk)?;
        let algorithm = bound_algorithm(text(jwk, "alg")?, possible, allowed)?;
        Ok(Self {
            key_id: key_id.map(str::to_owned),
            algorithm,
            material,
            key,
        })
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.key_id == other.key_id
            && self.algorithm == other.algorithm
            && self.material == other.material
    }
}

impl Eq for VerifyingKey {}

impl std::fmt::Debug for VerifyingKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} key {:?}", self.algorithm.name(), self.key_id)
    }
}

/// The algorithm of a key: what its `alg` says, or else the first configured one that fits its type.
fn bound_algorithm(
    declared: Option<&str>,
    possible: &[SigningAlgorithm],
    allowed: &[SigningAlgorithm],
) -> Result<SigningAlgorithm, String> {
    let fits = |algorithm: &SigningAlgorithm| possible.contains(algorithm);
    match declared {
        None => allowed
            .iter()
            .copied()
            .find(fits)
            .ok_or_else(|| "no accepted algorithm fits it".to_owned()),
        Some(declared) => {
            let algorithm = declared.parse::<SigningAlgorithm>()?;
            if !fits(&algorithm) {
                return Err(format!("its `alg` {declared:?} does not fit its type"));
            }
            if !allowed.contains(&algorithm) {
                return Err(format!(
                    "its `alg` {declared:?} is not among the issuer's signingAlgorithms"
                ));
            }
            Ok(algorithm)
        }
    }
}

type PublicKey = (&'static [SigningAlgorithm], Vec<Vec<u8>>, DecodingKey);

/// The algorithms a key's type allows, its numbers and the key itself.
fn public_key(jwk: &Map<String, Value>) -> Result<PublicKey, String> {
    use SigningAlgorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match (text(jwk, "kty")?, text(jwk, "crv")?) {
        (Some("RSA"), _) => {
            let (modulus, exponent) = (number(jwk, "n")?, number(jwk, "e")?);
            check_rsa(&modulus, &exponent)?;
            let key = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
            Ok((
                &[RS256, RS384, RS512, PS256, PS384, PS512],
                vec![modulus, exponent],
                key,
            ))
        }
        (Some("EC"), Some(curve @ ("P-256" | "P-384"))) => {
            let (algorithms, size): (&[_], _) = if curve == "P-256" {
                (&[ES256], 32)
            } else {
                (&[ES384], 48)
            };
            let (x, y) = (number(jwk, "x")?, number(jwk, "y")?);
            if x.len() != size || y.len() != size {
                return Err(format!("its coordinates are not {size} bytes long"));
            }
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            Ok((algorithms, vec![x, y], DecodingKey::from_ec_der(&point)))
        }
        (Some("OKP"), Some("Ed25519")) => {
            let x = number(jwk, "x")?;
            if x.len() != 32 {
                return Err("its key is not 32 bytes long".to_owned());
            }
            let key = DecodingKey::from_ed_der(&x);
            Ok((&[EdDSA], vec![x], key))
        }
        (kind, curve) => Err(format!(
            "keys of type {kind:?} and curve {curve:?} are not supported"
        )),
    }
}

/// 2048 to 8192 bits: weaker moduli can be factored, stronger ones cost too much per request.
fn check_rsa(modulus: &[u8], exponent: &[u8]) -> Result<(), String> {
    let significant = modulus.iter().copied().skip_while(|byte| *byte == 0);
    let bits = match significant.clone().next() {
        Some(first) => significant.count() * 8 - first.leading_zeros() as usize,
        None => 0,
    };
    if !(2048..=8192).contains(&bits) {
        return Err(format!(
            "it is an RSA key of {bits} bits; 2048 to 8192 are accepted"
        ));
    }
    let odd = exponent.last().is_some_and(|last| last % 2 == 1);
    let at_least_three = exponent
        .iter()
        .rev()
        .enumerate()
        .any(|(place, byte)| *byte > if place == 0 { 2 } else { 0 });
    if !odd || !at_least_three || exponent.len() > 8 {
        return Err("its RSA exponent is not an odd number from 3".to_owned());
    }
    Ok(())
}

/// Drops every key whose `kid` another, different key has too: either could be meant.
fn without_ambiguous(keys: &[VerifyingKey], left_out: &mut Vec<String>) -> Vec<VerifyingKey> {
    let mut kept: Vec<VerifyingKey> = Vec::with_capacity(keys.len());
    for key in keys {
        let twin = |other: &VerifyingKey| {
            key.key_id.is_some() && other.key_id == key.key_id && other != key
        };
        if keys.iter().any(twin) {
            left_out.push(format!("{key:?}: another key has the same `kid`"));
        } else if !kept.contains(key) {
            kept.push(key.clone());
        }
    }
    kept
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, String> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("its `{name}` is not a string")),
    }
}

fn number(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, String> {
    let text = text(jwk, name)?.ok_or_else(|| format!("its `{name}` is missing"))?;
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| format!("its `{name}` is not base64url"))
}

fn library_algorithm(algorithm: SigningAlgorithm) -> jsonwebtoken::Algorithm {
    use jsonwebtoken::Algorithm;
    match algorithm {
        SigningAlgorithm::RS256 => Algorithm::RS256,
        SigningAlgorithm::RS384 => Algorithm::RS384,
        SigningAlgorithm::RS512 => Algorithm::RS512,
        SigningAlgorithm::PS256 => Algorithm::PS256,
        SigningAlgorithm::PS384 => Algorithm::PS384,
        SigningAlgorithm::PS512 => Algorithm::PS512,
        SigningAlgorithm::ES256 => Algorithm::ES256,
        SigningAlgorithm::ES384 => Algorithm::ES384,
        SigningAlgorithm::EdDSA => Algorithm::EdDSA,
    }
}

#[cfg(test)]
mod tests {
    use loadtest::issuer::{Algorithm, SigningKeys};
    use serde_json::json;

    use super::*;

    const ALLOWED: [SigningAlgorithm; 3] = [
        SigningAlgorithm::RS256,
        SigningAlgorithm::ES256,
        SigningAlgorithm::EdDSA,
    ];

    #[test]
    fn a28_unfit_keys_are_left_out_and_the_others_stay() {
        let [rsa, ec, ed] = jwks();
        let short = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0xff; bytes]);
        let cases = [
            ("`use`", with(&rsa, "use", json!("enc"))),
            ("`use`", with(&rsa, "use", json!(["sig"]))),
            ("`key_ops`", with(&rsa, "key_ops", json!(["encrypt"]))),
            ("private", with(&rsa, "d", json!("AQAB"))),
            ("private", with(&ec, "d", json!("AQAB"))),
            ("512 bits", with(&rsa, "n", json!(short(64)))),
            (
                "2040 bits",
                with(&rsa, "n", json!(format!("{}{}", "AAAA", short(255)))),
            ),
            ("16384 bits", with(&rsa, "n", json!(short(2048)))),
            ("0 bits", with(&rsa, "n", json!("AAAA"))),
            ("exponent", with(&rsa, "e", json!("AQ"))),
            ("exponent", with(&rsa, "e", json!("AAAAAQ"))),
            ("exponent", with(&rsa, "e", json!("BA"))),
            ("base64url", with(&rsa, "e", json!("AQAB="))),
            ("does not fit", with(&ec, "alg", json!("ES384"))),
            ("does not fit", with(&rsa, "alg", json!("ES256"))),
            ("not among", with(&rsa, "alg", json!("PS256"))),
            ("not an accepted", with(&rsa, "alg", json!("HS256"))),
            ("not an accepted", with(&rsa, "alg", json!("none"))),
            ("not supported", with(&ec, "crv", json!("P-521"))),
            ("not supported", with(&ed, "crv", json!("Ed448"))),
            ("32 bytes", with(&ed, "x", json!("AQAB"))),
            ("32 bytes", with(&ec, "x", json!("AQAB"))),
            ("`kid`", with(&ec, "kid", json!(7))),
            ("`kid`", with(&ec, "kid", json!(""))),
            ("`kid`", with(&ec, "kid", json!("k".repeat(257)))),
            ("not supported", json!({"kty": "oct", "kid": "x"})),
            (
                "private",
                json!({"kty": "oct", "k": "c2VjcmV0", "kid": "x"}),
            ),
            ("not an object", json!("key")),
        ];
        for (expected, bad) in cases {
            let good = with(&ed, "kid", json!("good"));
            let (set, left_out) = parse(&[&bad, &good]).unwrap();
            assert_eq!(set.keys.len(), 1, "{bad}");
            assert!(set.find(Some("good"), SigningAlgorithm::EdDSA).is_some());
            assert!(left_out[0].contains(expected), "{expected}: {left_out:?}");
            assert!(parse(&[&bad]).is_err(), "alone: {bad}");
        }
    }

    #[test]
    fn a28_documents_that_are_no_key_set_are_refused() {
        let many = json!({"keys": vec![jwks()[2].clone(); ISSUER_KEYS_MAX + 1]}).to_string();
        for document in [
            "",
            "<html>",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[]}"#,
            "[]",
            "null",
            &many,
        ] {
            assert!(
                KeySet::parse(document.as_bytes(), &ALLOWED).is_err(),
                "{document}"
            );
        }
    }

    #[test]
    fn a28_two_keys_under_one_id_are_both_left_out() {
        let [rsa, ec, ed] = jwks().map(|key| with(&key, "kid", json!("same")));
        let other = with(&ed, "kid", json!("other"));
        let (set, left_out) = parse(&[&rsa, &ec, &other]).unwrap();
        assert!(set.find(Some("same"), SigningAlgorithm::RS256).is_none());
        assert_eq!(left_out.len(), 2);
        let (set, left_out) = parse(&[&rsa, &rsa]).unwrap();
        assert_eq!(
            (set.keys.len(), left_out.len()),
            (1, 0),
            "the same key twice is one key"
        );
    }

    #[test]
    fn a03_a_key_without_alg_is_bound_to_the_first_configured_algorithm_of_its_type() {
        use SigningAlgorithm::{ES256, PS256, RS256};
        let [mut rsa, ..] = jwks();
        rsa.as_object_mut().unwrap().remove("alg");
        let document = json!({"keys": [rsa]}).to_string();
        for (allowed, expected) in [
            ([ES256, RS256, PS256], RS256),
            ([ES256, PS256, RS256], PS256),
        ] {
            let (set, _) = KeySet::parse(document.as_bytes(), &allowed).unwrap();
            assert_eq!(set.keys[0].algorithm(), expected);
        }
        assert!(KeySet::parse(document.as_bytes(), &[ES256]).is_err());
    }

    #[test]
    fn a_token_without_key_id_finds_only_an_unambiguous_key() {
        let [rsa, ec, ed] = jwks();
        let (set, _) = parse(&[&rsa, &ec, &ed]).unwrap();
        assert!(set.find(None, SigningAlgorithm::ES256).is_some());
        let (set, _) = parse(&[&ec, &with(&jwks()[1], "kid", json!("second"))]).unwrap();
        assert_eq!(set.keys.len(), 2);
        assert!(set.find(None, SigningAlgorithm::ES256).is_none());
        assert!(set.find(Some("second"), SigningAlgorithm::ES256).is_some());
        assert!(
            set.find(Some("../../etc/passwd"), SigningAlgorithm::ES256)
                .is_none()
        );
    }

    fn jwks() -> [Value; 3] {
        let keys = SigningKeys::generate("1").unwrap();
        [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
            .map(|name| keys.get(name).unwrap().public().clone())
    }

    fn with(jwk: &Value, member: &str, value: Value) -> Value {
        let mut jwk = jwk.clone();
        jwk[member] = value;
        jwk
    }

    fn parse(keys: &[&Value]) -> Result<(KeySet, Vec<String>), String> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes(), &ALLOWED)
    }
}
