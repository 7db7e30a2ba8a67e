//! How the end of a program is told on the error channel.

use aws_lc_rs::digest;
use serde_json::json;

use super::{Outcome, Plan};
use crate::node::reply::{self, go_json};

/// Who tells: the container runtime, or the translator of v5 that quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Teller {
    Runtime,
    Translator,
}

/// The `Status` object of v4 and v5.
pub(super) fn status(outcome: &Outcome, plan: &Plan, teller: Teller) -> String {
    let value = match outcome {
        // Whoever attaches is told that the attachment ended well, not how the process did.
        Outcome::Exited(_) if plan.is_main() => json!({"metadata": {}, "status": "Success"}),
        Outcome::Exited(0) => json!({"metadata": {}, "status": "Success"}),
        Outcome::Exited(code) => json!({
            "metadata": {},
            "status": "Failure",
            "message": exit_message(*code, plan, teller),
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Outcome::NotStarted(reason) => {
            let quoted = match teller {
                Teller::Runtime => "",
                Teller::Translator => "Internal error occurred: ",
            };
            let cause = quoted.to_owned() + &start_message(reason, plan);
            json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {cause}"),
                "reason": "InternalError",
                "details": {"causes": [{"message": cause}]},
                "code": 500,
            })
        }
    };
    go_json(&value)
}

/// The plain text of the older protocols; nothing for success.
pub(super) fn text(outcome: &Outcome, plan: &Plan) -> String {
    match outcome {
        Outcome::Exited(0) => String::new(),
        Outcome::Exited(_) if plan.is_main() => String::new(),
        Outcome::Exited(code) => exit_message(*code, plan, Teller::Runtime),
        Outcome::NotStarted(reason) => start_message(reason, plan),
    }
}

fn exit_message(code: u8, plan: &Plan, teller: Teller) -> String {
    let how = match teller {
        Teller::Runtime => format!(
            "error executing command [{}], exit code {code}",
            plan.command()
        ),
        Teller::Translator => format!("command terminated with exit code {code}"),
    };
    format!("command terminated with non-zero exit code: {how}")
}

fn start_message(reason: &str, plan: &Plan) -> String {
    let id = plan.pod.key() + &plan.command();
    let id = digest::digest(&digest::SHA256, id.as_bytes());
    let id = reply::hexadecimal(id.as_ref());
    format!(
        "error executing command in container: failed to exec in container: failed to start exec \"{id}\": \
         OCI runtime exec failed: exec failed: unable to start container process: {reason}"
    )
}
