//! `portcullis rotate-key`: a new key for placeholders.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::output::{Outcome, finish};
use crate::config::placeholder_key;

/// Makes the key anew that placeholders are made with.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The gateway's data directory
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data_dir: PathBuf,
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    finish(execute(args, &mut io::stdout().lock()))
}

fn execute(args: &Args, out: &mut dyn Write) -> anyhow::Result<Outcome> {
    let file = placeholder_key::rotate(&args.data_dir)?;
    writeln!(out, "{}: a new key", file.display())?;
    out.write_all(NEXT.as_bytes())?;
    Ok(Outcome::Good)
}

/// What changes, and what is to be done.
const NEXT: &str = "
Next: restart the gateway. A running one keeps the key it has read at its start.

From then on every masked value has another placeholder: whoever compares placeholders (kubectl
diff, watches, GitOps tools) sees each value as changed, once. Nothing else changes. Placeholders
made with the old key, and those of other gateways, are still refused in writes.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_to_do_next_or_why_nothing_was_done() {
        let folder = tempfile::tempdir().unwrap();
        let args = Args {
            data_dir: folder.path().to_owned(),
        };
        let mut out = Vec::new();
        let error = execute(&args, &mut out).unwrap_err();
        assert!(error.to_string().contains("there is no key to replace"));
        assert!(out.is_empty());
        placeholder_key::open(folder.path()).unwrap();
        assert_eq!(execute(&args, &mut out).unwrap(), Outcome::Good);
        let text = String::from_utf8(out).unwrap();
        let file = folder.path().join("placeholder.key");
        assert!(text.starts_with(&format!("{}: a new key", file.display())));
        assert!(text.contains("Next: restart the gateway."), "{text}");
    }
}
