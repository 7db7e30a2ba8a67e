//! `portcullis mask`: what would a caller see of this answer?

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;

use super::policy::{Prepared, Question, prepare};
use crate::cli::output::{Outcome, complain, finish, note, print_problems};
use crate::gateway::body::full;
use crate::policy::{Decision, Permit};
use crate::request::RequestInfo;
use crate::transform::text::known::KnownValues;
use crate::transform::{MaskReport, Placeholders, Released, Unreleased, negotiate, release};

/// Reads the body of an API server's answer and prints what the caller would get. Exit code 3 when the
/// gateway would refuse the request or withhold the answer.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kubectl get --raw /api/v1/namespaces/shop/secrets/db | portcullis mask --config gateway.yaml \\\n      --as bot --as-group ai-agents --request 'GET /api/v1/namespaces/shop/secrets/db'\n\nWith ?watch=1 in the request the body is a watch.\nPlaceholders are made with a key of this call: they are not those of the gateway. Known values are those of a running gateway: none is masked here."
)]
pub struct Args {
    #[command(flatten)]
    question: Question,

    /// What the caller accepts and the body is: application/json, application/vnd.kubernetes.protobuf
    #[arg(long, value_name = "TYPE", default_value = "application/json")]
    pub content_type: String,

    /// How the body is compressed: gzip
    #[arg(long, value_name = "ENCODING")]
    pub content_encoding: Option<String>,

    /// The HTTP status of the answer
    #[arg(long, value_name = "CODE", default_value_t = 200)]
    pub status: u16,
}

/// An answer on its way to the caller, and what was masked in it.
type Answer = (Response<Released>, Arc<MaskReport>);

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let (input, output) = (&mut io::stdin().lock(), &mut io::stdout().lock());
    finish(execute(args, input, output))
}

fn execute(args: &Args, input: &mut dyn io::Read, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let asked = match prepare(&args.question)? {
        Prepared::Asked(asked) => asked,
        Prepared::Refused(why) => return Ok(refused(&why)),
        Prepared::Faulty(problems) => {
            print_problems(&problems, out)?;
            return Ok(Outcome::Problems);
        }
    };
    let permit =
        match asked
            .policy
            .decide(&asked.identity, &asked.info, &asked.cluster, &asked.seen)
        {
            Decision::Allow(permit) => permit,
            Decision::Hold(question) => {
                let approvers = question.terms().approvers.in_words();
                return Ok(refused(&format!("403: held for approval by {approvers}")));
            }
            Decision::Deny(reason) => return Ok(refused(&format!("403: {}", reason.message))),
            Decision::Ask(inquiry) => {
                let rule = inquiry.permit().rule();
                return Ok(refused(&format!(
                    "policy rule {rule} looks at the object; give it with --object or --old-object"
                )));
            }
        };
    let mut body = Vec::new();
    input
        .read_to_end(&mut body)
        .context("cannot read the body")?;
    if body.is_empty() {
        note("the body is empty");
    }
    let released = match released(args, body, &asked.info, &permit)? {
        Ok(released) => released,
        Err(why) => return Ok(refused(&why)),
    };
    print(released, out)
}

/// The answer as it would leave, or why it would not.
fn released(
    args: &Args,
    body: Vec<u8>,
    info: &RequestInfo,
    permit: &Permit,
) -> anyhow::Result<Result<Answer, String>> {
    let value = |text: &str| HeaderValue::from_str(text).context("not the value of a header");
    let mut asked = HeaderMap::new();
    asked.insert(header::ACCEPT, value(&args.content_type)?);
    if let Err(error) = negotiate(&mut asked, info, permit) {
        return Ok(Err(format!("{}: {error}", error.code().as_u16())));
    }
    let mut response = Response::new(Unreleased::new(full(body)));
    *response.status_mut() = StatusCode::from_u16(args.status).context("no HTTP status")?;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, value(&args.content_type)?);
    if let Some(encoding) = &args.content_encoding {
        headers.insert(header::CONTENT_ENCODING, value(encoding)?);
    }
    let mut key = [0; 32];
    aws_lc_rs::rand::fill(&mut key).map_err(|_error| anyhow::anyhow!("no randomness"))?;
    let placeholders = Arc::new(Placeholders::new(&key));
    // Which values are known, only a running gateway knows.
    let released = release(
        response,
        info,
        permit,
        &placeholders,
        &KnownValues::default(),
    );
    Ok(released.map_err(|error| format!("{}: {error}", error.code().as_u16())))
}

fn print((response, report): Answer, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut body = response.into_body().into_body();
    while let Some(frame) = runtime.block_on(body.frame()) {
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(data)) => out.write_all(&data)?,
            Ok(Err(_trailers)) => {}
            Err(error) => {
                out.flush()?;
                return Ok(refused(&format!("the answer breaks off here: {error}")));
            }
        }
    }
    out.flush()?;
    if report.values_masked() > 0 {
        let paths = report.masked_paths().join(", ");
        note(&format!(
            "{} values masked: {paths}",
            report.values_masked()
        ));
    }
    Ok(Outcome::Good)
}

fn refused(why: &str) -> Outcome {
    complain(&format!("refused: {why}"));
    Outcome::Refused
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    const POLICY: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {name: p}
rules:
- {name: all, subjects: {users: [bob]}, verbs: ['*'], apiGroups: ['*'], resources: ['*'], decision: allow}
- {name: mask, mask: [secrets, workloads]}
";

    fn try_it(user: &str, request: &str, more: &[&str], body: &[u8]) -> (Outcome, String) {
        let folder = tempfile::tempdir().unwrap();
        let policy = folder.path().join("policy.yaml");
        fs::write(&policy, POLICY).unwrap();
        let policy = policy.to_str().unwrap();
        let given = [
            "mask",
            "--policy",
            policy,
            "--as",
            user,
            "--request",
            request,
        ];
        let args = Program::parse_from(given.iter().chain(more)).args;
        let (mut input, mut out) = (body, Vec::new());
        let outcome = execute(&args, &mut input, &mut out).unwrap();
        (outcome, String::from_utf8_lossy(&out).into_owned())
    }

    const SECRET: &str = "GET /api/v1/namespaces/shop/secrets/db";

    #[test]
    fn what_the_caller_would_see_is_printed() {
        let (outcome, text) = try_it("bob", SECRET, &[], br#"{"data":{"a":"c2VjcmV0"},"b":1}"#);
        assert_eq!(outcome, Outcome::Good);
        assert!(
            text.starts_with(r#"{"data":{"a":"W21hc2tlZDp2MT"#),
            "{text}"
        );
        assert!(text.ends_with(r#""},"b":1}"#), "{text}");
        let events = br#"{"type":"ADDED","object":{"data":{"a":"c2VjcmV0"}}}
{"type":"DELETED","object":{"data":{"a":"c2VjcmV0"}}}
"#;
        let watch = "GET /api/v1/namespaces/shop/secrets?watch=1";
        let (outcome, text) = try_it("bob", watch, &[], events);
        assert_eq!((outcome, text.lines().count()), (Outcome::Good, 2));
        assert!(!text.contains("c2VjcmV0"), "{text}");
        let status = br#"{"kind":"Status","message":"c2VjcmV0","reason":"Invalid"}"#;
        let (_, text) = try_it("bob", SECRET, &["--status", "422"], status);
        assert!(
            text.contains("withheld") && !text.contains("c2VjcmV0"),
            "{text}"
        );
    }

    #[test]
    fn other_encodings_are_masked_or_refused() {
        let protobuf = ["--content-type", "application/vnd.kubernetes.protobuf"];
        let body = b"k8s\0\x0a\x0e\x0a\x02v1\x12\x06Secret\x12\x0d\x12\x0b\x0a\x01a\x12\x06secret";
        let (outcome, text) = try_it("bob", SECRET, &protobuf, body);
        assert_eq!(outcome, Outcome::Refused, "{text}"); // its lengths are wrong
        let body = b"k8s\0\x0a\x0c\x0a\x02v1\x12\x06Secret\x12\x0d\x12\x0b\x0a\x01a\x12\x06secret";
        let (outcome, text) = try_it("bob", SECRET, &protobuf, body);
        assert_eq!(outcome, Outcome::Good);
        assert!(
            text.contains("[masked:v1:") && !text.contains("\u{6}secret"),
            "{text}"
        );
        let field = |number: u8, bytes: &[u8]| {
            let head = [number << 3 | 2, u8::try_from(bytes.len()).unwrap()];
            [&head[..], bytes].concat()
        };
        let event = [field(1, b"ADDED"), field(2, &field(1, body))].concat();
        let length = u32::try_from(event.len()).unwrap().to_be_bytes();
        let frames = [&length[..], &event].concat().repeat(2);
        let watch = "GET /api/v1/namespaces/shop/secrets?watch=1";
        let stream = "application/vnd.kubernetes.protobuf;stream=watch";
        let (outcome, text) = try_it("bob", watch, &["--content-type", stream], &frames);
        assert_eq!(outcome, Outcome::Good, "{text}");
        assert_eq!(text.matches("[masked:v1:").count(), 2, "{text}");
        assert!(!text.contains("\u{6}secret"), "{text}");
        for more in [
            &["--content-type", "application/yaml"][..],
            &["--content-type", "application/cbor"],
            &["--content-encoding", "br"],
            &["--content-encoding", "gzip"],
        ] {
            let (outcome, text) = try_it("bob", SECRET, more, b"data: {a: c2VjcmV0}");
            assert_eq!((outcome, text.as_str()), (Outcome::Refused, ""), "{more:?}");
        }
    }

    #[test]
    fn what_policy_denies_is_refused() {
        let (outcome, text) = try_it("eve", SECRET, &[], b"{}");
        assert_eq!((outcome, text.as_str()), (Outcome::Refused, ""));
        let (outcome, text) = try_it("bob", "GET relative", &[], b"{}");
        assert_eq!((outcome, text.as_str()), (Outcome::Refused, ""));
    }
}
