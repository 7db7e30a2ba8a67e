//! What kubectl and client-go say to a credential plugin, and what it answers
//! (`client.authentication.k8s.io`, KEP-541).

use anyhow::{Context as _, bail};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The variable with the question.
const QUESTION: &str = "KUBERNETES_EXEC_INFO";
const GROUP: &str = "client.authentication.k8s.io/";

/// A version of the API. kubectl has v1 since 1.22.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ExecVersion {
    /// For kubectl from 1.22.
    #[default]
    V1,
    /// For kubectl from 1.11.
    V1beta1,
}

/// What the client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// The answer must have the same version.
    pub(super) version: ExecVersion,
    /// The client has a terminal for questions; `None` when it does not say.
    pub(super) interactive: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    kind: String,
    spec: Option<Spec>,
}

#[derive(Deserialize)]
struct Spec {
    interactive: Option<bool>,
}

impl ExecVersion {
    fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V1beta1 => "v1beta1",
        }
    }

    /// The `apiVersion` of objects of this version.
    pub(super) fn api_version(self) -> String {
        format!("{GROUP}{}", self.name())
    }
}

impl Question {
    /// Reads the question out of the environment; who types the command by hand has none.
    pub(super) fn read(default: ExecVersion) -> anyhow::Result<Self> {
        match std::env::var(QUESTION) {
            Ok(text) if !text.is_empty() => Self::parse(&text),
            _ => Ok(Self {
                version: default,
                interactive: None,
            }),
        }
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let asked: ExecCredential = serde_json::from_str(text)
            .with_context(|| format!("{QUESTION} does not hold an ExecCredential"))?;
        let version = match asked.api_version.strip_prefix(GROUP) {
            Some("v1") if asked.kind == "ExecCredential" => ExecVersion::V1,
            Some("v1beta1") if asked.kind == "ExecCredential" => ExecVersion::V1beta1,
            _ => bail!(
                "{QUESTION} asks for {:?} {:?}; this answers ExecCredential in {GROUP}v1 and {GROUP}v1beta1",
                asked.api_version,
                asked.kind
            ),
        };
        Ok(Self {
            version,
            interactive: asked.spec.and_then(|spec| spec.interactive),
        })
    }

    /// The answer. The client keeps the token until `ends_at`, and asks again then, or when it got a 401.
    pub(super) fn answer(self, token: &str, ends_at: Option<Timestamp>) -> impl Serialize {
        // RFC 3339 in whole seconds, which every version of client-go reads.
        let whole = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at);
        let status = match ends_at {
            Some(at) => json!({"token": token, "expirationTimestamp": whole(at)}),
            None => json!({"token": token}),
        };
        json!({"apiVersion": self.version.api_version(), "kind": "ExecCredential", "status": status})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_has_the_version_of_the_question() {
        for (version, name) in [(ExecVersion::V1, "v1"), (ExecVersion::V1beta1, "v1beta1")] {
            let text = format!(
                r#"{{"kind":"ExecCredential","apiVersion":"{GROUP}{name}","spec":{{"interactive":false}}}}"#
            );
            let question = Question::parse(&text).unwrap();
            assert_eq!(
                (question.version, question.interactive),
                (version, Some(false))
            );
            let ends_at = "2026-11-21T12:00:00.75Z".parse().unwrap();
            let answer = question.answer("t", Some(ends_at));
            assert_eq!(
                serde_json::to_value(answer).unwrap(),
                json!({
                    "apiVersion": format!("{GROUP}{name}"), "kind": "ExecCredential",
                    "status": {"token": "t", "expirationTimestamp": "2026-11-21T12:00:00Z"},
                })
            );
        }
    }

    #[test]
    fn other_questions_are_refused() {
        for text in [
            "nonsense",
            "{}",
            r#"{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1alpha1"}"#,
            r#"{"kind":"Other","apiVersion":"client.authentication.k8s.io/v1"}"#,
            r#"{"kind":"ExecCredential","apiVersion":"v1"}"#,
        ] {
            assert!(Question::parse(text).is_err(), "{text}");
        }
    }
}
