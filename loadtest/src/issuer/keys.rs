//! The issuer's signing keys: one each for RS256, ES256 and `EdDSA`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};

/// Why a key or a token could not be made.
#[derive(Debug)]
pub struct KeyError(String);

/// One key for each algorithm.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    keys: Vec<SigningKey>,
}

/// A private key with its public half as a JSON Web Key.
#[derive(Clone, Debug)]
pub struct SigningKey {
    algorithm: Algorithm,
    key_id: String,
    private: EncodingKey,
    public: Value,
}

impl SigningKeys {
    /// New keys whose ids end in `-<suffix>`.
    pub fn generate(suffix: &str) -> Result<Self, KeyError> {
        let keys = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
            .into_iter()
            .map(|algorithm| {
                SigningKey::generate(algorithm, &format!("{algorithm:?}-{suffix}").to_lowercase())
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }

    /// The key for `algorithm`.
    pub fn get(&self, algorithm: Algorithm) -> Result<&SigningKey, KeyError> {
        self.keys
            .iter()
            .find(|key| key.algorithm == algorithm)
            .ok_or_else(|| {
                KeyError(format!(
                    "the issuer has no {algorithm:?} key; use RS256, ES256 or EdDSA"
                ))
            })
    }

    /// The public keys as a JSON Web Key Set (RFC 7517).
    pub fn key_set(&self) -> Value {
        json!({ "keys": self.keys.iter().map(|key| key.public.clone()).collect::<Vec<_>>() })
    }
}

impl SigningKey {
    /// A new key; `algorithm` is RS256 (2048 bit), ES256 or `EdDSA`.
    pub fn generate(algorithm: Algorithm, key_id: &str) -> Result<Self, KeyError> {
        let kind = match algorithm {
            Algorithm::RS256 => &PKCS_RSA_SHA256,
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::EdDSA => &PKCS_ED25519,
            other => return Err(KeyError(format!("{other:?} keys are not made here"))),
        };
        let pair = KeyPair::generate_for(kind)?;
        let private = match algorithm {
            // jsonwebtoken wants the key inside the PKCS#8 envelope; its PEM reader opens it.
            Algorithm::RS256 => EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes())?,
            Algorithm::ES256 => EncodingKey::from_ec_der(pair.serialized_der()),
            _ => EncodingKey::from_ed_der(pair.serialized_der()),
        };
        let mut public = match algorithm {
            Algorithm::EdDSA => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(pair.public_key_raw())})
            }
            _ => serde_json::to_value(Jwk::from_encoding_key(&private, algorithm)?)?,
        };
        if let Some(members) = public.as_object_mut() {
            members.insert("kid".to_owned(), json!(key_id));
            members.insert("alg".to_owned(), json!(format!("{algorithm:?}")));
            members.insert("use".to_owned(), json!("sig"));
        }
        Ok(Self {
            algorithm,
            key_id: key_id.to_owned(),
            private,
            public,
        })
    }

    /// The key's id.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public half as a JSON Web Key.
    pub fn public(&self) -> &Value {
        &self.public
    }

    /// A token with exactly `claims` and the usual header.
    pub fn token(&self, claims: &Value) -> Result<String, KeyError> {
        let header =
            json!({"alg": format!("{:?}", self.algorithm), "typ": "JWT", "kid": self.key_id});
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token with this header and payload, whatever they say, and a genuine signature over them.
    pub fn sign(&self, header: &str, payload: &str) -> Result<String, KeyError> {
        self.sign_encoded(
            &URL_SAFE_NO_PAD.encode(header),
            &URL_SAFE_NO_PAD.encode(payload),
        )
    }

    /// A token of two parts that are used as they are, with a genuine signature over them.
    pub fn sign_encoded(&self, header: &str, payload: &str) -> Result<String, KeyError> {
        let message = format!("{header}.{payload}");
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm)?;
        Ok(format!("{message}.{signature}"))
    }
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for KeyError {}

impl From<rcgen::Error> for KeyError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<jsonwebtoken::errors::Error> for KeyError {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        Self(error.to_string())
    }
}

impl From<serde_json::Error> for KeyError {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;

    #[test]
    fn a_token_verifies_with_the_published_key_alone() {
        let (keys, others) = (
            SigningKeys::generate("1").unwrap(),
            SigningKeys::generate("1").unwrap(),
        );
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
            let token = keys
                .get(algorithm)
                .unwrap()
                .token(&json!({"sub": "alice", "exp": 32_503_680_000_u64}))
                .unwrap();
            assert_eq!(
                verify(&token, &keys, algorithm),
                Some("alice".to_owned()),
                "{algorithm:?}"
            );
            assert_eq!(verify(&token, &others, algorithm), None, "{algorithm:?}");
        }
    }

    fn verify(token: &str, keys: &SigningKeys, algorithm: Algorithm) -> Option<String> {
        let public: Jwk =
            serde_json::from_value(keys.get(algorithm).unwrap().public().clone()).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.validate_aud = false;
        let data = jsonwebtoken::decode::<Value>(
            token,
            &DecodingKey::from_jwk(&public).unwrap(),
            &validation,
        )
        .ok()?;
        data.claims["sub"].as_str().map(str::to_owned)
    }
}
