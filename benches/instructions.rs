//! How many instructions the way of an answer takes: the same in every run, whatever else the machine is doing, so that
//! CI can tell when it becomes longer. `tests/tools/instructions.py` runs each case below callgrind, which counts what
//! happens in [`measured`], and compares with what is on record.
//!
//! `instructions NAME` runs one case, `instructions --list` names all with the bytes of their answers, and without an
//! argument every case runs once.

#[path = "support/answers.rs"]
mod answers;

use answers::{Case, Masks, Sent, cases};

/// Few, because valgrind waits until they are learned; the search costs the same with more.
const KNOWN: usize = 100;

/// What is counted. Never inlined: callgrind knows it by its name.
#[inline(never)]
fn measured(sent: &Sent, masks: &Masks) -> usize {
    sent.release(masks)
}

/// One for each way through the masks: to count all would take minutes, most of them for what all share.
const COUNTED: [&str; 6] = [
    "secrets/list json",
    "secrets/list protobuf",
    "secrets/watch json",
    "pods/workloads",
    "pods/workloads protobuf",
    "pods/known-values",
];

fn counted() -> impl Iterator<Item = Case> {
    cases()
        .into_iter()
        .filter(|case| COUNTED.contains(&case.name))
}

#[expect(clippy::print_stdout, reason = "the list is what was asked for")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|it| it == "--list") {
        for case in counted() {
            let name = case.name;
            println!("{name}\t{}", Sent::new(case).bytes);
        }
        return;
    }
    // Cargo adds options of its own.
    let wanted = arguments.into_iter().find(|it| !it.starts_with("--"));
    let masks = Masks::new(KNOWN);
    for case in counted() {
        if wanted.as_ref().is_some_and(|name| name != case.name) {
            continue;
        }
        let sent = Sent::new(case);
        // What all answers after the first one share is made by the first one.
        sent.release(&masks);
        measured(&sent, &masks);
    }
}
