//! Takes the console's terminal player into the build, if `npm ci` was run in `src/control/console/player`.

#![expect(clippy::expect_used, reason = "a build stops at what it cannot do")]

use std::path::{Path, PathBuf};

fn main() {
    let folder = Path::new("src/control/console/player");
    // The folder and not what npm puts into it: what does not exist counts as changed each time.
    println!("cargo::rerun-if-changed={}", folder.display());
    let package = folder.join("node_modules/asciinema-player");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (from, to) in [
        ("asciinema-player.min.js", "player.js"),
        ("asciinema-player.css", "player.css"),
    ] {
        // Without it the console shows recordings as text.
        let bytes = std::fs::read(package.join("dist/bundle").join(from)).unwrap_or_default();
        std::fs::write(out.join(to), bytes).expect("OUT_DIR can be written to");
    }
}
