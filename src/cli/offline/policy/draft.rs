//! `portcullis policy draft`: the least policy that lets through what the audit log has seen.
//!
//! Somebody who reads it decides; so it is written like the profiles, says of every rule how often it was needed, and
//! is read by the loader before anybody else sees it.

mod rules;
mod seen;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;

use anyhow::{Context as _, ensure};

use crate::cli::output::{Outcome, note, print_problems};
use crate::config::policy_file;
use rules::{Draft, Effect, quoted};
use seen::{Seen, Whom};

/// The arguments of `portcullis policy draft`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_help = "Example:\n  portcullis policy draft --audit data/audit.jsonl --agent coding-assistant --name agents > agents.yaml\n  portcullis policy explain --policy agents.yaml --as alice --agent coding-assistant \\\n      --request 'GET /api/v1/namespaces/shop/pods'\n\nWhere nothing is to be refused before the draft is known, let a policy with `mode: observe` watch for a while first."
)]
pub struct DraftArgs {
    /// An audit log of the gateway; repeat it for several
    #[arg(long, value_name = "FILE", required = true)]
    pub audit: Vec<PathBuf>,

    /// Only what this user did, without an agent
    #[arg(long, value_name = "NAME", group = "whom")]
    pub user: Option<String>,

    /// Only what users of this group did, for all of them
    #[arg(long, value_name = "NAME", group = "whom")]
    pub group: Option<String>,

    /// Only what this agent did, whoever it acted for
    #[arg(long, value_name = "NAME", group = "whom")]
    pub agent: Option<String>,

    /// The policy's name
    #[arg(long, value_name = "NAME", default_value = "draft")]
    pub name: String,

    /// What becomes of deletes and evictions
    #[arg(long, value_enum, default_value_t = Destructive::Hold)]
    pub destructive: Destructive,

    /// A group that approves what is held; repeat it for several
    #[arg(long, value_name = "GROUP", default_value = "on-call")]
    pub approvers: Vec<String>,
}

/// What a draft decides about verbs that destroy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Destructive {
    /// They wait for a human's yes
    Hold,
    /// They are allowed like everything else that was seen
    Allow,
    /// They are left out, which denies them
    Deny,
}

/// Writes the draft.
pub(super) fn draft(args: &DraftArgs, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let mut seen = Seen::default();
    let whom = whom(args);
    for file in &args.audit {
        let read = File::open(file)
            .map_err(anyhow::Error::from)
            .and_then(|open| seen.read(BufReader::new(open), whom.as_ref()));
        read.with_context(|| format!("{} cannot be read", file.display()))?;
    }
    ensure!(
        seen.counted > 0,
        "nothing was seen that a policy could allow: {} requests were refused, {} were of others and {} lines are none of an audit log",
        seen.refused,
        seen.others,
        seen.unreadable
    );
    let text = written(&seen, args);
    // What the loader would not take is nobody's policy.
    let named = [(PathBuf::from("draft.yaml"), text.clone())];
    if let Err(problems) = policy_file::compile(&named) {
        print_problems(&problems, out)?;
        return Ok(Outcome::Problems);
    }
    out.write_all(text.as_bytes())?;
    note(&format!(
        "drafted from {} requests; {} that were refused and {} of others are left out",
        seen.counted, seen.refused, seen.others
    ));
    if seen.unreadable > 0 {
        note(&format!("{} lines could not be read", seen.unreadable));
    }
    Ok(Outcome::Good)
}

fn whom(args: &DraftArgs) -> Option<Whom> {
    let user = args.user.clone().map(Whom::User);
    let group = args.group.clone().map(Whom::Group);
    user.or(group)
        .or_else(|| args.agent.clone().map(Whom::Agent))
}

/// The policy as text.
fn written(seen: &Seen, args: &DraftArgs) -> String {
    let mut text = String::new();
    let from = seen.first.map_or_else(String::new, |at| format!("{at:.0}"));
    let to = seen.last.map_or_else(String::new, |at| format!("{at:.0}"));
    // Writing to a String cannot fail.
    let _infallible = write!(
        text,
        "# Drafted from {} requests between {from} and {to}. It lets through what was seen and nothing else; what is
# seen is not always what is needed, nor what should be. Read it, try it with `portcullis policy explain`, and
# with `mode: observe` before it decides.
apiVersion: portcullis.dev/v1alpha1
kind: Policy
metadata: {{name: {}}}
rules:
- name: mask                               # adds to whichever rule decides; remove what has to be seen
  mask: [secrets, tokens, workloads, configmaps, events, storage, known-values, credentials]
",
        seen.counted,
        quoted(&args.name),
    );
    let held = match args.destructive {
        Destructive::Hold => Effect::Hold(&args.approvers),
        Destructive::Allow => Effect::Allow,
        Destructive::Deny => Effect::Deny,
    };
    let mut draft = Draft::new(text, held);
    for (number, (whom, acts)) in seen.acts.iter().enumerate() {
        draft.caller(number + 1, whom, acts);
    }
    draft.finish()
}

#[cfg(test)]
mod tests;
