//! `portcullis kubeconfig`: the contexts that lead kubectl through a gateway.

mod document;
mod files;
mod merge;

pub mod current;
pub mod trust;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;

use super::account::{AccountArgs, Source};
use super::exec::ExecVersion;
use crate::cli::output::{Outcome, finish_talking, note};
use document::Node;
use merge::Addition;

/// Writes contexts for a gateway into your kubeconfig.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The gateway, as callers reach it
    #[arg(long, value_name = "URL")]
    pub server: String,

    /// A cluster behind the gateway (`/clusters/NAME` there), one context each; repeatable
    #[arg(long = "cluster", value_name = "NAME")]
    pub clusters: Vec<String>,

    /// What cluster, user and context are called; with --cluster, NAME-CLUSTER
    #[arg(long, value_name = "NAME", default_value = "portcullis")]
    pub name: String,

    /// The contexts' namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,

    /// The certificate of the authority that the gateway's own is signed by; it goes into the file
    #[arg(long, value_name = "FILE")]
    pub certificate_authority: Option<PathBuf>,

    /// Take the authority's certificate from the gateway itself, if this is its SHA-256 fingerprint
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "certificate_authority", value_parser = trust::fingerprint)]
    pub trust_fingerprint: Option<trust::Fingerprint>,

    /// The version of the exec API; kubectl before 1.22 has v1beta1 only
    #[arg(long, value_name = "VERSION", value_enum, default_value_t)]
    pub exec_api: ExecVersion,

    /// The file to write, instead of `$KUBECONFIG` or ~/.kube/config
    #[arg(long, value_name = "FILE", conflicts_with = "stdout")]
    pub kubeconfig: Option<PathBuf>,

    /// Replace entries of the same name that say something else
    #[arg(long, conflicts_with = "stdout")]
    pub overwrite: bool,

    /// Leave the current context as it is
    #[arg(long, conflicts_with = "stdout")]
    pub keep_current: bool,

    /// Print a kubeconfig of its own, and change no file
    #[arg(long)]
    pub stdout: bool,

    /// Whose token
    #[command(flatten)]
    pub account: AccountArgs,
}

pub(in crate::cli) const EXAMPLES: &str = "\
Examples:
  # people: a browser opens when a login is needed
  portcullis kubeconfig --server https://kube.example.com --certificate-authority ca.crt \\
      --issuer https://dex.example.com --client-id kubernetes --scope groups --scope offline_access
  # two clusters behind one gateway: contexts portcullis-east and portcullis-west
  portcullis kubeconfig --server https://kube.example.com --cluster east --cluster west \\
      --issuer https://dex.example.com --client-id kubernetes
  # a pod, with a projected token that the kubelet keeps fresh
  portcullis kubeconfig --server https://kube.example.com --certificate-authority ca.crt \\
      --token-file /var/run/secrets/portcullis/token --stdout > /tmp/kubeconfig";

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish_talking(write(args))
}

async fn write(args: &Args) -> anyhow::Result<Outcome> {
    let source = args.account.source()?.context(
        "whose token? Name --issuer and --client-id of the identity provider, or --token-file",
    )?;
    let server = base(&args.server)?;
    let authority = trust::authority(
        &server,
        args.certificate_authority.as_deref(),
        args.trust_fingerprint,
    )
    .await?;
    let addition = addition(args, server.as_str(), authority.as_deref())?;
    if args.stdout {
        let mut whole = Node::empty_config();
        addition.put_into(&mut whole);
        whole.set("current-context", Node::text(addition.first_context()));
        write!(io::stdout(), "{}", whole.render()?)?;
        return Ok(Outcome::Good);
    }
    let written = addition.write(
        args.kubeconfig.as_deref(),
        args.overwrite,
        !args.keep_current,
    )?;
    let mut out = io::stdout().lock();
    for (file, names) in &written.contexts {
        writeln!(out, "{}: {}", file.display(), names.join(", "))?;
    }
    if let Some(before) = &written.context_before {
        note(&format!(
            "the current context is {}, it was {before}",
            addition.first_context()
        ));
    }
    if matches!(source, Source::Provider(_)) {
        writeln!(out, "next: `portcullis login`, or any kubectl command")?;
    }
    Ok(Outcome::Good)
}

/// The gateway's address without anything behind host and port.
fn base(server: &str) -> anyhow::Result<String> {
    let uri: Uri = server
        .parse()
        .with_context(|| format!("--server {server:?} is not a URL"))?;
    ensure!(
        uri.scheme_str() == Some("https"),
        "--server must begin with https://: kubectl sends no token without TLS"
    );
    let authority = uri.authority().context("--server names no host")?;
    ensure!(
        !authority.as_str().contains('@'),
        "credentials do not belong into --server"
    );
    ensure!(
        matches!(uri.path(), "" | "/") && uri.query().is_none(),
        "--server must end with its host and port; name clusters behind the gateway with --cluster"
    );
    Ok(format!("https://{authority}"))
}

/// What is to be in the file.
fn addition(args: &Args, server: &str, authority: Option<&str>) -> anyhow::Result<Addition> {
    let mut addition = Addition::default();
    let user = &args.name;
    let names: Vec<(String, String)> = if args.clusters.is_empty() {
        vec![(args.name.clone(), server.to_owned())]
    } else {
        let one = |cluster: &String| {
            ensure!(
                is_segment(cluster),
                "--cluster {cluster:?} is not the name of a cluster: a-z, 0-9 and - between"
            );
            let url = format!("{server}/clusters/{cluster}");
            Ok((format!("{}-{cluster}", args.name), url))
        };
        args.clusters.iter().map(one).collect::<Result<_, _>>()?
    };
    for (name, url) in names {
        let mut cluster = vec![("server", Node::text(&url))];
        if let Some(authority) = authority {
            let data = STANDARD.encode(authority);
            cluster.push(("certificate-authority-data", Node::text(&data)));
        }
        addition.add("clusters", "cluster", &name, Node::map(cluster));
        let mut context = vec![("cluster", Node::text(&name)), ("user", Node::text(user))];
        if let Some(namespace) = &args.namespace {
            context.push(("namespace", Node::text(namespace)));
        }
        addition.add("contexts", "context", &name, Node::map(context));
    }
    let mut words = vec!["get-token".to_owned()];
    words.extend(args.account.to_arguments()?);
    if args.exec_api != ExecVersion::default() {
        words.push("--api-version=v1beta1".to_owned());
    }
    let exec = Node::map(vec![
        ("apiVersion", Node::text(&args.exec_api.api_version())),
        ("command", Node::text(&program()?)),
        (
            "args",
            Node::List(words.iter().map(|word| Node::text(word)).collect()),
        ),
        ("interactiveMode", Node::text("IfAvailable")),
        ("provideClusterInfo", Node::Bool(false)),
        (
            "installHint",
            Node::text("portcullis is needed to log in; get it from whoever runs the gateway"),
        ),
    ]);
    addition.add("users", "user", user, Node::map(vec![("exec", exec)]));
    Ok(addition)
}

/// How kubectl calls this program: by its name, if that finds it, so that the file can be shared.
fn program() -> anyhow::Result<String> {
    let this = std::env::current_exe().context("where this program is cannot be found out")?;
    let this = this.canonicalize().unwrap_or(this);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("portcullis"))
        .find(|candidate| candidate.is_file());
    if found.is_some_and(|found| found.canonicalize().is_ok_and(|found| found == this)) {
        return Ok("portcullis".to_owned());
    }
    let this = this
        .to_str()
        .context("the path of this program is not UTF-8 text")?;
    Ok(this.to_owned())
}

/// A DNS label, as the gateway's clusters have.
fn is_segment(name: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(inside)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests;
