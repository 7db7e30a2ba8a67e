//! The command line. One file a command; this one lists them.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod caller;
mod https;
pub mod offline;
pub mod operator;
pub mod output;
pub mod serve;

use caller::{get_token, kubeconfig, login, logout, whoami};
use offline::{check, mask, policy, rotate_key, size};
use operator::{approvals, audit, callers, grants, replay, request, sessions};

/// The streaming access gateway for Kubernetes.
///
/// Portcullis stands between people, CI jobs, AI agents and the Kubernetes API server. They keep using
/// stock kubectl, helm, k9s and client-go with an OIDC token; the gateway holds the cluster credential,
/// decides by policy, masks secrets while responses stream, relays shells and writes an audit event for
/// every request.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, after_help = EXAMPLES, after_long_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
First steps:
  # every problem of a configuration, with file, line and field
  portcullis check gateway.yaml
  # run the gateway; SIGTERM drains it, SIGHUP reloads the policy
  portcullis serve --config gateway.yaml
  # which rule decides a request, and why the others do not
  portcullis policy explain --config gateway.yaml --as alice \\
      --as-group developers --request 'DELETE /api/v1/namespaces/shop/pods/web-0'
  # run the cases of a policy, as CI does
  portcullis policy test profiles/tests/*.yaml
  # what a caller would see of an answer of the API server
  kubectl get --raw /api/v1/namespaces/shop/secrets/db | \\
      portcullis mask --config gateway.yaml --as bot --as-group ai-agents \\
      --request 'GET /api/v1/namespaces/shop/secrets/db'
  # who was in which pod, and how it ended
  portcullis sessions ls --data-dir data --user alice --since 2h
  # what was denied today
  portcullis audit ls --data-dir data --decision deny
  # is the audit log as it was written?
  portcullis audit verify --data-dir data --key audit.pub
  # end everything that somebody has open, and refuse what they ask
  portcullis callers block mallory --reason INC-42 --data-dir data
  # a kubeconfig that leads through a gateway, and a login
  portcullis kubeconfig --server https://kube.example.com --certificate-authority ca.crt \\
      --issuer https://issuer.example.com --client-id kubernetes
  portcullis login && portcullis whoami
  # how large a machine 2,000 watches, 500 requests and 5 MB/s of masked answers need
  portcullis size --watches 2000 --requests 500 --masked 5 --sessions 200

No cluster at hand? `make demo` in a checkout starts a simulated API server, an OIDC issuer and the
gateway in front of them, and writes kubeconfigs to try.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Args),
    /// Validate a configuration and everything it names; print every problem with file, line and field.
    ///
    /// Run it as the user and on the machine the gateway runs as: whether files can be read, directories
    /// be written to and addresses be listened on is asked there. It changes nothing and sends nothing:
    /// whether issuers and API servers answer is what the running gateway's `/readyz` and log say.
    ///
    /// Exit code 0 if the gateway starts with the configuration, 1 if not.
    Check(check::Args),
    /// Try a policy: explain one decision, or run test cases.
    Policy(policy::Args),
    /// Print what a caller would see of an answer of the API server, read from standard input.
    Mask(mask::Args),
    /// Write contexts for a gateway into your kubeconfig, with its certificate authority and a login.
    ///
    /// kubectl then gets its tokens from `portcullis get-token`, so nothing secret stands in the file. It
    /// is merged into the files that kubectl reads: what is there stays, entries of the same name are only
    /// replaced with --overwrite.
    #[command(after_help = kubeconfig::EXAMPLES)]
    Kubeconfig(kubeconfig::Args),
    /// Log in at the identity provider, with a browser, a device code or a client's own secret.
    ///
    /// Without arguments: the login of the current context. kubectl asks for one by itself when it is
    /// needed; this is for a time of your choice, and for machines on which kubectl runs unattended.
    #[command(after_help = login::EXAMPLES)]
    Login(login::Args),
    /// Forget the tokens of a login, here and at the provider.
    Logout(logout::Args),
    /// Ask the gateway who it takes you for.
    Whoami(whoami::Args),
    /// Print a token for kubectl (`client.authentication.k8s.io`, the exec plugin of a kubeconfig).
    ///
    /// From the cache, renewed by the refresh token, or by a login; twenty that run at once do that once.
    /// What is asked is asked on standard error.
    GetToken(get_token::Args),
    /// Play a recorded session in the terminal, print it as text, or search it.
    Replay(replay::Args),
    /// Look at sessions, open and past; watch one, end one, search them.
    Sessions(sessions::Args),
    /// Look at the audit log: what people did, and whether it is as it was written.
    Audit(audit::Args),
    /// Answer requests that wait for a human's yes.
    Approvals(approvals::Args),
    /// Ask ahead of time for a role that the policy has, for a while.
    ///
    /// Approvers answer as they answer held requests. What the role allows is said by the rules of the policy
    /// that name it; `kubectl auth can-i` says which role would help.
    Request(request::Args),
    /// Look at the roles that were given ahead of time; take one away at once.
    Grants(grants::Args),
    /// Look at who calls; keep a user or an agent out at once.
    Callers(callers::Args),
    /// Make the key of placeholders anew, when it may have become known.
    RotateKey(rotate_key::Args),
    /// Calculate how many cores and how much memory a gateway needs.
    Size(size::Args),
}

impl Cli {
    /// Runs the command that was asked for.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Serve(args) => serve::run(&args),
            Command::Check(args) => check::run(&args),
            Command::Policy(args) => policy::run(&args),
            Command::Mask(args) => mask::run(&args),
            Command::Kubeconfig(args) => kubeconfig::run(&args),
            Command::Login(args) => login::run(&args),
            Command::Logout(args) => logout::run(&args),
            Command::Whoami(args) => whoami::run(&args),
            Command::GetToken(args) => get_token::run(&args),
            Command::Replay(args) => replay::run(&args),
            Command::Sessions(args) => sessions::run(&args),
            Command::Audit(args) => audit::run(&args),
            Command::Approvals(args) => approvals::run(&args),
            Command::Request(args) => request::run(&args),
            Command::Grants(args) => grants::run(&args),
            Command::Callers(args) => callers::run(&args),
            Command::RotateKey(args) => rotate_key::run(&args),
            Command::Size(args) => size::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
