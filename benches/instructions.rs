//! How many instructions the way of a request and that of an answer take: the same in every run, whatever else the
//! machine is doing, so that CI can tell when it becomes longer. `tests/tools/instructions.py` runs each case below
//! callgrind, which counts what happens in [`measured`], and compares with what is on record.
//!
//! `instructions NAME` runs one case, `instructions --list` names all with how much of what they take, and without an
//! argument every case runs once.

#[path = "support/answers.rs"]
mod answers;
#[path = "support/requests.rs"]
mod requests;

use answers::{Case, Masks, Sent, cases};
use requests::{REQUESTS, Requests};

/// Few, because valgrind waits until they are learned; the search costs the same with more.
const KNOWN: usize = 100;

/// What is counted. Never inlined: callgrind knows it by its name.
#[inline(never)]
fn measured(run: &dyn Fn() -> usize) -> usize {
    run()
}

/// One for each way through the masks: to count all would take minutes, most of them for what all share.
const ANSWERS: [&str; 6] = [
    "secrets/list json",
    "secrets/list protobuf",
    "secrets/watch json",
    "pods/workloads",
    "pods/workloads protobuf",
    "pods/known-values",
];

fn answers() -> impl Iterator<Item = Case> {
    cases()
        .into_iter()
        .filter(|case| ANSWERS.contains(&case.name))
}

/// From the request line to the decision, and the audit event of each.
const REQUEST: &str = "requests";

#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|it| it == "--list") {
        for case in answers() {
            let name = case.name;
            println!("{name}\t{}\tbyte", Sent::new(case).bytes);
        }
        println!("{REQUEST}\t{}\trequest", REQUESTS.len());
        return;
    }
    // Cargo adds options of its own.
    let wanted = arguments.into_iter().find(|it| !it.starts_with("--"));
    let is_wanted = |name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    if is_wanted(REQUEST) {
        let requests = Requests::new();
        twice(&|| requests.decide());
    }
    if wanted.as_deref() == Some(REQUEST) {
        return; // to learn the values of the masks takes long below valgrind
    }
    let masks = Masks::new(KNOWN);
    for case in answers().filter(|case| is_wanted(case.name)) {
        let sent = Sent::new(case);
        twice(&|| sent.release(&masks));
    }
}

/// What all share after the first one is made by the first one, which is not counted.
fn twice(run: &dyn Fn() -> usize) {
    run();
    measured(run);
}
