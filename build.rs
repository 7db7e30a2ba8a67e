//! Takes the console's terminal player into the build, if `npm ci` was run in `src/control/console/player`, and the
//! automaton of what credentials begin with.

#![expect(clippy::expect_used, reason = "a build stops at what it cannot do")]

use std::path::{Path, PathBuf};

use regex_automata::MatchKind;
use regex_automata::dfa::{StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;

#[path = "src/transform/text/credentials/patterns/lead_ins.rs"]
mod lead_ins;

fn main() {
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    take_player(&out);
    make_automaton(&out);
}

fn take_player(out: &Path) {
    let folder = Path::new("src/control/console/player");
    // The folder and not what npm puts into it: what does not exist counts as changed each time.
    println!("cargo::rerun-if-changed={}", folder.display());
    let package = folder.join("node_modules/asciinema-player");
    for (from, to) in [
        ("asciinema-player.min.js", "player.js"),
        ("asciinema-player.css", "player.css"),
    ] {
        // Without it the console shows recordings as text.
        let bytes = std::fs::read(package.join("dist/bundle").join(from)).unwrap_or_default();
        std::fs::write(out.join(to), bytes).expect("OUT_DIR can be written to");
    }
}

/// More than a second of work, once instead of at every start.
fn make_automaton(out: &Path) {
    println!("cargo::rerun-if-changed=src/transform/text/credentials/patterns/lead_ins.rs");
    let written: Vec<String> = lead_ins::ALL
        .iter()
        .map(|it| lead_ins::in_full(it))
        .collect();
    let automaton = dense::Builder::new()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().utf8(false))
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Unanchored)
                .dfa_size_limit(Some(lead_ins::AUTOMATON_BYTES_MAX))
                .determinize_size_limit(Some(lead_ins::AUTOMATON_BYTES_MAX)),
        )
        .build_many(&written)
        .expect("AUTOMATON_BYTES_MAX is too small for the lead-ins, or one of them is no regular expression");
    let (bytes, padding) = match std::env::var("CARGO_CFG_TARGET_ENDIAN").as_deref() {
        Ok("big") => automaton.to_bytes_big_endian(),
        _ => automaton.to_bytes_little_endian(),
    };
    let bytes = bytes.get(padding..).expect("padding is part of it");
    std::fs::write(out.join("lead_ins.dfa"), bytes).expect("OUT_DIR can be written to");
}
