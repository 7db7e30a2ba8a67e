//! `portcullis policy`: what would the policy say, and does it say what its tests expect?

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;

use crate::cli::output::{Outcome, Output, finish, print_json, print_problems};
use crate::config::case_file::{self, CaseFile};
use crate::config::{Config, Problem, policy_file};
use crate::gateway::route::Clusters;
use crate::identity::Identity;
use crate::policy::cases::parse_request;
use crate::policy::{Policy, Seen};
use crate::request::RequestInfo;

mod draft;

pub use draft::{Destructive, DraftArgs};

/// Explains, tests and drafts policies, without a running gateway.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// The subcommands of `portcullis policy`.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum PolicyCommand {
    /// Say which rule decides a request, and why the earlier ones do not
    Explain(Box<ExplainArgs>),
    /// Run the cases of policy tests (kind: `PolicyTest`); exit code 1 if one fails
    Test(TestArgs),
    /// Write a policy that lets through what an audit log has seen, and nothing else
    Draft(Box<DraftArgs>),
}

/// The arguments of `portcullis policy explain`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  portcullis policy explain --config gateway.yaml --as alice --as-group developers \\\n      --request 'GET /api/v1/namespaces/default/secrets'"
)]
pub struct ExplainArgs {
    #[command(flatten)]
    question: Question,

    /// How to print the result
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

// What is asked about: whose policy, which caller, which request. No doc comment: clap would take it
// for the help of the command that asks.
#[derive(Clone, Debug, clap::Args)]
pub(in crate::cli) struct Question {
    /// The gateway's configuration; its policy files are used
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "policy",
        conflicts_with = "policy"
    )]
    config: Option<PathBuf>,

    /// A policy file (kind: Policy); repeat it for several, in order
    #[arg(long, value_name = "FILE")]
    policy: Vec<PathBuf>,

    /// The user's name, as the gateway maps it from the token
    #[arg(long = "as", value_name = "USER")]
    user: String,

    /// A group of the user; repeat it for several
    #[arg(long = "as-group", value_name = "GROUP")]
    groups: Vec<String>,

    /// The agent that acts for the user
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,

    /// A role that was given to the caller; repeat it for several. It counts if they may ask for it
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,

    /// The cluster; a /clusters/NAME prefix of the request says it too. Without either it is the
    /// configuration's default cluster, and with --policy one of the name "default"
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// The request: METHOD PATH
    #[arg(long, value_name = "REQUEST")]
    request: String,

    /// The object that the request writes, in JSON or YAML; of a patch, what becomes of it. For rules with
    /// conditions
    #[arg(long, value_name = "FILE")]
    object: Option<PathBuf>,

    /// The object that is there before
    #[arg(long, value_name = "FILE")]
    old_object: Option<PathBuf>,
}

/// The arguments of `portcullis policy test`.
#[derive(Clone, Debug, clap::Args)]
pub struct TestArgs {
    /// Files of cases (kind: `PolicyTest`)
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Print the passing cases too
    #[arg(short, long)]
    pub verbose: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish(execute(args, &mut io::stdout().lock()))
}

fn execute(args: &Args, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    match &args.command {
        PolicyCommand::Explain(args) => explain(args, out),
        PolicyCommand::Test(args) => test(args, out),
        PolicyCommand::Draft(args) => draft::draft(args, out),
    }
}

fn explain(args: &ExplainArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let asked = match prepare(&args.question)? {
        Prepared::Asked(asked) => asked,
        Prepared::Refused(why) => {
            writeln!(out, "REFUSED {why}")?;
            return Ok(Outcome::Problems);
        }
        Prepared::Faulty(problems) => {
            print_problems(&problems, out)?;
            return Ok(Outcome::Problems);
        }
    };
    let explanation =
        asked
            .policy
            .explain(&asked.identity, &asked.info, &asked.cluster, &asked.seen);
    match args.output {
        Output::Text => writeln!(out, "{explanation}")?,
        Output::Json => print_json(&explanation, out)?,
    }
    Ok(Outcome::Good)
}

/// A policy and a request to it.
pub(in crate::cli) struct Asked {
    pub(in crate::cli) policy: Policy,
    pub(in crate::cli) identity: Arc<Identity>,
    pub(in crate::cli) info: RequestInfo,
    pub(in crate::cli) cluster: String,
    pub(in crate::cli) seen: Seen,
}

/// What becomes of the arguments.
pub(in crate::cli) enum Prepared {
    Asked(Box<Asked>),
    /// The gateway would answer before it looks at a rule, or what the request needs is missing.
    Refused(String),
    /// There is no policy to ask.
    Faulty(Vec<Problem>),
}

/// Loads and reads what the arguments name.
pub(in crate::cli) fn prepare(question: &Question) -> anyhow::Result<Prepared> {
    let (policy, clusters) = match load_policy(question) {
        Ok(loaded) => loaded,
        Err(problems) => return Ok(Prepared::Faulty(problems)),
    };
    let (prefix, request) = split_cluster(&question.request);
    if let (Some(option), Some(prefix)) = (question.cluster.as_deref(), prefix.as_deref())
        && option != prefix
    {
        anyhow::bail!(
            "--cluster says {option:?} and the request's prefix says {prefix:?}; leave one of them out"
        );
    }
    let named = prefix.or_else(|| question.cluster.clone());
    let asked = match &clusters {
        Some(clusters) => served(named, clusters),
        None => Ok(named.unwrap_or_else(|| "default".to_owned())),
    }
    .and_then(|cluster| Ok((cluster, parse_request(&request)?)));
    let (cluster, info) = match asked {
        Ok(asked) => asked,
        Err(message) => {
            return Ok(Prepared::Refused(format!("before any rule: {message}")));
        }
    };
    let seen = match seen(question, &info) {
        Ok(seen) => seen,
        Err(message) => return Ok(Prepared::Refused(format!("without its object: {message}"))),
    };
    let groups: Vec<&str> = question.groups.iter().map(String::as_str).collect();
    let identity = case_file::caller(&question.user, &groups, question.agent.as_deref());
    Ok(Prepared::Asked(Box::new(Asked {
        policy,
        identity,
        info,
        cluster,
        seen,
    })))
}

/// What the request shows besides its head.
fn seen(question: &Question, info: &RequestInfo) -> Result<Seen, String> {
    let mut seen = Seen::default()
        .supposing(question.roles.clone())
        .dry_run(info.is_dry_run(b""));
    if let Some(file) = &question.object {
        seen = seen.object(Some(&case_file::load_object(file)?));
    }
    // Without one, nothing was there.
    let old_object = question.old_object.as_deref();
    let old_object = old_object.map(case_file::load_object).transpose()?;
    Ok(seen.old_object(old_object.as_ref()))
}

/// The policy, and the clusters if a configuration says which there are.
fn load_policy(question: &Question) -> Result<(Policy, Option<Clusters>), Vec<Problem>> {
    match &question.config {
        Some(config) => {
            let (policy, clusters) = Config::load_deciding(config)?;
            Ok((policy, Some(clusters)))
        }
        None => Ok((policy_file::load(&question.policy)?, None)),
    }
}

/// The cluster that the gateway would ask, or why it answers 404.
fn served(named: Option<String>, clusters: &Clusters) -> Result<String, String> {
    let names = clusters.names.join(", ");
    match named.or_else(|| clusters.default.clone()) {
        Some(name) if clusters.names.contains(&name) => Ok(name),
        Some(name) => Err(format!(
            "404, no cluster {name:?} is served here; the names are: {names}"
        )),
        None => Err(format!(
            "404, no default cluster is served here; name one with --cluster or a /clusters/NAME prefix: {names}"
        )),
    }
}

/// `GET /clusters/east/api/v1/pods` → `east`, `GET /api/v1/pods`.
fn split_cluster(request: &str) -> (Option<String>, String) {
    let prefixed = request
        .trim()
        .split_once(' ')
        .and_then(|(method, target)| Some((method, target.trim().strip_prefix("/clusters/")?)));
    let Some((method, prefixed)) = prefixed else {
        return (None, request.to_owned());
    };
    let end = prefixed.find(['/', '?']).unwrap_or(prefixed.len());
    let (cluster, rest) = prefixed.split_at(end);
    let rest = if rest.is_empty() { "/" } else { rest };
    (Some(cluster.to_owned()), format!("{method} {rest}"))
}

fn test(args: &TestArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let (mut passed, mut failed, mut unusable) = (0_usize, 0_usize, 0_usize);
    for file in &args.files {
        match case_file::load(file) {
            Ok(cases) => {
                let failures = run_cases(&cases, args.verbose, out)
                    .with_context(|| format!("cannot print the result of {}", file.display()))?;
                failed += failures;
                passed += cases.cases.len() - failures;
            }
            Err(problems) => {
                print_problems(&problems, out)?;
                unusable += 1;
            }
        }
    }
    write!(out, "{passed} passed, {} failed", failed + unusable)?;
    match unusable {
        0 => writeln!(out)?,
        1 => writeln!(out, " (1 file cannot be used)")?,
        many => writeln!(out, " ({many} files cannot be used)")?,
    }
    Ok(if failed + unusable > 0 {
        Outcome::Problems
    } else {
        Outcome::Good
    })
}

/// Runs the cases of one file; how many failed.
fn run_cases(cases: &CaseFile, verbose: bool, out: &mut dyn Write) -> io::Result<usize> {
    let mut failed = 0;
    for (line, case) in &cases.cases {
        let place = format!("{}:{line}", cases.file.display());
        match case.run(&cases.policy) {
            Ok(()) if verbose => writeln!(out, "pass {place}: {}", case.name)?,
            Ok(()) => {}
            Err(failure) => {
                failed += 1;
                writeln!(out, "FAIL {place}: {}", case.name)?;
                writeln!(out, "     {}", failure.message)?;
                if let Some(explanation) = failure.explanation {
                    for line in explanation.to_string().lines() {
                        writeln!(out, "     {line}")?;
                    }
                }
            }
        }
    }
    Ok(failed)
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
- {name: mask-secrets, mask: [secrets]}
- name: read
  clusters: [east]
  subjects: {groups: [devs]}
  verbs: [get, list]
  apiGroups: ['']
  resources: [secrets]
  decision: allow
";

    const CASES: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: PolicyTest
policies: [policy.yaml]
as: {user: alice, groups: [devs]}
cases:
- {name: good, request: GET /api/v1/secrets, cluster: east, expect: allow, rule: read, mask: [secrets]}
- {name: other, request: GET /api/v1/secrets, cluster: west, expect: deny}
";

    fn portcullis(arguments: &[&str]) -> (Outcome, String) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
        fs::write(folder.path().join("cases.yaml"), CASES).unwrap();
        fs::write(
            folder.path().join("failing.yaml"),
            CASES.replace("mask: [secrets]", "mask: []"),
        )
        .unwrap();
        let folder = folder.path().display().to_string();
        let arguments = arguments
            .iter()
            .map(|&text| text.replace("FOLDER", &folder));
        let program = Program::parse_from(std::iter::once("policy".to_owned()).chain(arguments));
        let mut out = Vec::new();
        let outcome = execute(&program.args, &mut out).unwrap();
        (outcome, String::from_utf8(out).unwrap())
    }

    #[test]
    fn explain_names_the_rule() {
        let ask = |request: &str, more: &[&str]| {
            let mut arguments = vec![
                "explain",
                "--policy",
                "FOLDER/policy.yaml",
                "--as",
                "alice",
                "--as-group",
                "devs",
                "--request",
                request,
            ];
            arguments.extend(more);
            portcullis(&arguments)
        };
        let (outcome, text) = ask("GET /clusters/east/api/v1/secrets", &[]);
        assert_eq!(outcome, Outcome::Good);
        assert!(text.starts_with("ALLOWED by rule p/read\n"), "{text}");
        assert!(text.contains("masked:  secrets"), "{text}");
        let (_, text) = ask("GET /api/v1/secrets", &["-o", "json"]);
        let explanation: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(explanation["decision"], "deny");
        assert_eq!(explanation["steps"][1]["mismatch"]["field"], "clusters");
        let (outcome, text) = ask("GET /api/v1/namespaces//secrets", &[]);
        assert_eq!(outcome, Outcome::Problems);
        assert!(
            text.starts_with("REFUSED before any rule: the request path has an empty segment"),
            "{text}"
        );
    }

    #[test]
    fn test_prints_what_differs_and_fails() {
        let (outcome, text) = portcullis(&["test", "FOLDER/cases.yaml"]);
        assert_eq!(
            (outcome, text.as_str()),
            (Outcome::Good, "2 passed, 0 failed\n")
        );
        let (outcome, text) =
            portcullis(&["test", "FOLDER/cases.yaml", "FOLDER/failing.yaml", "-v"]);
        assert_eq!(outcome, Outcome::Problems);
        assert!(
            text.contains("failing.yaml:6: good\n     expected masks [], got [\"secrets\"]\n"),
            "{text}"
        );
        assert!(text.ends_with("3 passed, 1 failed\n"), "{text}");
        let (outcome, text) = portcullis(&["test", "FOLDER/cases.yaml", "FOLDER/none.yaml"]);
        assert_eq!(outcome, Outcome::Problems);
        assert!(
            text.ends_with("\n2 passed, 1 failed (1 file cannot be used)\n"),
            "{text}"
        );
    }

    const CONFIG: &str = "\
apiVersion: portcullis.dev/v1alpha1
kind: GatewayConfiguration
clusters:
- {name: west, kubeconfig: {file: none}}
- {name: east, default: true, kubeconfig: {file: none}}
policy: {files: [policy.yaml]}
";

    fn with_config(config: &str, request: &str, more: &[&str]) -> anyhow::Result<String> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
        let file = folder.path().join("gateway.yaml");
        fs::write(&file, config).unwrap();
        let file = file.display().to_string();
        let mut arguments = vec!["policy", "explain", "--config", &file, "--as", "alice"];
        arguments.extend(["--as-group", "devs", "--request", request]);
        arguments.extend(more);
        let mut out = Vec::new();
        execute(&Program::parse_from(arguments).args, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn explain_asks_the_cluster_that_the_gateway_would() {
        let ask = |request: &str, more: &[&str]| with_config(CONFIG, request, more).unwrap();
        assert!(ask("GET /api/v1/secrets", &[]).starts_with("ALLOWED by rule p/read\n"));
        let west = ask("GET /clusters/west/api/v1/secrets", &[]);
        assert!(west.starts_with("DENIED"), "{west}");
        let west = ask("GET /api/v1/secrets", &["--cluster", "west"]);
        assert!(west.starts_with("DENIED"), "{west}");
        let both = ask("GET /clusters/east/api/v1/secrets", &["--cluster", "east"]);
        assert!(both.starts_with("ALLOWED by rule p/read\n"), "{both}");
        for unknown in [
            ask("GET /clusters/north/api/v1/secrets", &[]),
            ask("GET /api/v1/secrets", &["--cluster", "north"]),
        ] {
            assert_eq!(
                unknown,
                "REFUSED before any rule: 404, no cluster \"north\" is served here; the names are: west, east\n"
            );
        }
        let contradiction = with_config(
            CONFIG,
            "GET /clusters/east/api/v1/secrets",
            &["--cluster", "west"],
        );
        let message = contradiction.unwrap_err().to_string();
        assert!(message.contains("leave one of them out"), "{message}");
        let none = CONFIG.replace("default: true", "default: false");
        let text = with_config(&none, "GET /api/v1/secrets", &[]).unwrap();
        assert!(text.contains("no default cluster is served here"), "{text}");
    }
}
