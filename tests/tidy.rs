//! Keeps the house in order: what pure code may touch, which room may use which, how long a file may
//! grow, and that the documents name what the code has.
//!
//! Each test prints every violation it finds, with file and line, and says what to do.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::string_slice,
    reason = "a test stops at what it did not expect"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Files and folders that are pure: bytes and `now` come in as arguments, bytes and events go out.
/// A folder's entry covers `name.rs` and everything in `name/`.
const PURE: &[&str] = &[
    "wire",
    "request",
    "policy",
    "approval/digest",
    "approval/grant",
    "audit/chain",
    "audit/commands",
    "audit/seal",
    "approval/person",
    "approval/state",
    "approval/waiting",
    "transform",
    "recording/metadata",
    "recording/encode",
    "recording/copy",
    "recording/typed",
    "recording/replay",
    "identity/token",
    "identity/client/login",
    "identity/credential",
    "identity/revocation",
    "callers/spending",
    "callers/window",
    "upstream/headers",
    "limits",
];

/// The drivers that live inside a pure room.
const DRIVERS: &[&str] = &[
    "transform/body.rs",
    "transform/body/inspect.rs",
    "transform/text/known/reader.rs",
    "recording/replay/files.rs",
];

/// The only file with unsafe code: calls of functions that are compiled for AVX2 and AVX-512.
const UNSAFE: &str = "wire/json/blocks/x86.rs";

/// What pure code never says.
const IMPURE: &[&str] = &[
    "tokio::",
    "tokio_",
    "hyper::",
    "hyper_util",
    "std::net::Tcp",
    "std::net::Udp",
    "std::fs",
    "async fn",
    "async {",
    "async move",
    ".await",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "spawn",
];

/// Which room may use which. A room may always use itself; `app` and `cli` may use everything.
const MAY_USE: &[(&str, &[&str])] = &[
    ("listener", &["gateway::body", "limits", "metrics"]),
    (
        "gateway",
        &[
            "approval",
            "audit",
            "callers",
            "config::live",
            "identity",
            "limits",
            "listener",
            "metrics",
            "policy",
            "recording",
            "request",
            "session",
            "transform",
            "upstream",
            "wire",
        ],
    ),
    (
        "recording",
        &["limits", "metrics", "policy", "session", "wire"],
    ),
    ("identity", &["config::live", "limits", "metrics"]),
    ("request", &["limits", "wire"]),
    // nothing is permitted that a rule holds before somebody has said yes
    (
        "policy",
        &[
            "approval::Admission",
            "approval::Grant",
            "identity",
            "limits",
            "request",
        ],
    ),
    (
        "approval",
        &[
            "config::live",
            "identity",
            "limits",
            "metrics",
            "policy",
            "request",
        ],
    ),
    (
        "callers",
        &[
            "approval",
            "config::live",
            "identity",
            "limits",
            "policy",
            "request",
        ],
    ),
    (
        "upstream",
        &[
            "gateway::body",
            "identity",
            "limits",
            "metrics",
            "policy",
            "request",
            "transform::Unreleased",
            "wire::budget",
            "wire::http1",
        ],
    ),
    (
        "transform",
        &["gateway::body", "limits", "policy", "request", "wire"],
    ),
    (
        "session",
        &["limits", "metrics", "policy", "request", "wire"],
    ),
    (
        "audit",
        &[
            "approval",
            "identity",
            "limits",
            "metrics",
            "policy",
            "request",
            "transform::scrubbed_words",
        ],
    ),
    ("wire", &["limits"]),
    (
        "control",
        &[
            "approval",
            "audit",
            "callers",
            "config::case_file",
            "config::live",
            "gateway::body",
            "gateway::refuse",
            "identity",
            "limits",
            "listener",
            "metrics",
            "policy",
            "recording",
            "request",
            "wire::asciicast",
        ],
    ),
    (
        "config",
        &[
            "audit",
            "control",
            "gateway",
            "identity",
            "limits",
            "listener",
            "policy",
            "recording",
            "request::body",
            "transform::text::known",
            "upstream",
            "wire",
        ],
    ),
    // the labels of a request and of a recording
    (
        "metrics",
        &[
            "approval::Answered",
            "limits",
            "listener::Unreadable",
            "policy",
            "request",
            "transform::text::known",
        ],
    ),
    ("limits", &[]),
];

const MAX_LINES: usize = 500;
const MAX_FILES: usize = 10;

struct Source {
    /// Relative to the folder that was walked, with `/`.
    path: String,
    /// Comments, strings and `#[cfg(test)]` items blanked; lines kept.
    code: String,
    /// As written.
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/")
    }

    /// The first part of the path: `policy` of `policy/mask.rs`.
    fn room(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or_default()
    }

    fn is_in(&self, module: &str) -> bool {
        self.path
            .strip_prefix(module)
            .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` for which `wanted` says yes, in order.
fn files(folder: &Path, wanted: fn(&Path) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if path.is_dir() && !path.is_symlink() {
                if !matches!(
                    name,
                    "target" | ".git" | "node_modules" | "__pycache__" | "corpus" | "artifacts"
                ) {
                    folders.push(path);
                }
            } else if wanted(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_rust(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

fn sources(folder: &str) -> Vec<Source> {
    let folder = root().join(folder);
    files(&folder, is_rust)
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let relative = path
                .strip_prefix(&folder)
                .expect("below the folder")
                .to_string_lossy()
                .replace('\\', "/");
            Source {
                path: relative,
                code: without_tests(&blank(&text)),
                text,
            }
        })
        .collect()
}

/// Replaces comments, strings and character literals by blanks, keeping line breaks.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let end = if rest.starts_with("//") {
            at + rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            at + rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest) {
            at + length
        } else if rest.starts_with('"') {
            at + quoted(rest)
        } else if let Some(length) = character(rest) {
            at + length
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..length]);
            at += length;
            continue;
        };
        out.extend(
            text[at..end]
                .chars()
                .map(|c| if c == '\n' { '\n' } else { ' ' }),
        );
        at = end;
    }
    out
}

/// The length of the raw string that `rest` begins with.
fn raw_string(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    if !body[hashes..].starts_with('"') {
        return None;
    }
    let start = rest.len() - body.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    Some(
        rest[start..]
            .find(&close)
            .map_or(rest.len(), |end| start + end + close.len()),
    )
}

/// The length of the string that `rest` begins with.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of the character literal that `rest` begins with; a lifetime is none.
fn character(rest: &str) -> Option<usize> {
    let inner = rest.strip_prefix('\'')?;
    if let Some(escape) = inner.strip_prefix('\\') {
        let skipped = escape.chars().next()?.len_utf8();
        return escape[skipped..]
            .find('\'')
            .map(|end| 2 + skipped + end + 1);
    }
    let length = inner.chars().next()?.len_utf8();
    inner[length..].starts_with('\'').then_some(length + 2)
}

/// Removes `#[cfg(test)]` items from blanked code, keeping line breaks.
fn without_tests(code: &str) -> String {
    let marker = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(start) = rest.find(marker) {
        out.push_str(&rest[..start]);
        let item = &rest[start..];
        let mut depth = 0_u32;
        let mut end = item.len();
        for (at, c) in item.char_indices().skip(marker.len()) {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 && matches!(c, '}' | ';') {
                end = at + 1;
                break;
            }
        }
        out.extend(item[..end].chars().filter(|c| *c == '\n'));
        rest = &item[end..];
    }
    out.push_str(rest);
    out
}

/// Every path that `line..` names after `crate::`, groups opened: `crate::{a, b::c}` is `a` and `b::c`.
fn crate_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(['$', '_']) || code[..at].ends_with(char::is_alphanumeric) {
            continue; // a macro's own `$crate`, or the end of another name
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let end = closing(group);
                found.extend(
                    split_group(&group[..end])
                        .into_iter()
                        .map(|path| (line, path)),
                );
            }
            None => found.push((line, simple_path(rest))),
        }
    }
    found
}

/// Where the group that was just opened closes.
fn closing(group: &str) -> usize {
    let mut depth = 1_u32;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at;
        }
    }
    group.len()
}

fn split_group(group: &str) -> Vec<String> {
    let mut depth = 0_u32;
    group
        .split(|c| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(|part| simple_path(part.trim()))
        .filter(|path| !path.is_empty())
        .collect()
}

fn simple_path(text: &str) -> String {
    let end = text
        .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
        .unwrap_or(text.len());
    text[..end].trim_end_matches(':').to_owned()
}

/// Whether a table's entry (`wire`, `gateway::body`) covers a path.
fn covers(entry: &str, path: &str) -> bool {
    path.strip_prefix(entry)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn report(violations: &[String], advice: &str) {
    assert!(
        violations.is_empty(),
        "{} violations:\n  {}\n{advice}\n",
        violations.len(),
        violations.join("\n  ")
    );
}

#[test]
fn pure_code_does_no_io_and_reads_no_clock() {
    let mut violations = Vec::new();
    for source in sources("src") {
        let pure = PURE.iter().any(|module| source.is_in(module))
            && !DRIVERS.contains(&source.path.as_str());
        if !pure || source.is_test() {
            continue;
        }
        for (number, line) in source.code.lines().enumerate() {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                violations.push(format!("src/{}:{}: {word}", source.path, number + 1));
            }
        }
    }
    report(
        &violations,
        "Pass bytes and `now` in as arguments, or move the driver to a file that is not pure.",
    );
}

#[test]
fn one_file_alone_is_unsafe() {
    let mut violations = Vec::new();
    for folder in ["src", "loadtest", "benches", "tests"] {
        for source in sources(folder) {
            let allowed = folder == "src" && source.path == UNSAFE;
            for (number, line) in source.code.lines().enumerate() {
                let code = ["unsafe ", "unsafe_code"]
                    .iter()
                    .any(|word| line.contains(word));
                if code && !allowed {
                    violations.push(format!("{folder}/{}:{}", source.path, number + 1));
                }
            }
        }
    }
    report(
        &violations,
        "Use a safe library; if vectors are needed, they belong beside the others.",
    );
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let mut violations = Vec::new();
    for source in sources("src") {
        let room = source.room().to_owned();
        if source.is_test() || matches!(room.as_str(), "app" | "cli" | "main" | "lib") {
            continue;
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            violations.push(format!(
                "src/{}: room `{room}` has no row in MAY_USE",
                source.path
            ));
            continue;
        };
        for (line, path) in crate_paths(&source.code) {
            if !covers(&room, &path) && !allowed.iter().any(|entry| covers(entry, &path)) {
                violations.push(format!("src/{}:{line}: uses crate::{path}", source.path));
            }
        }
    }
    report(
        &violations,
        "Rooms depend in one direction; a new arrow is first a row in MAY_USE, with its reason in the commit.",
    );
}

/// Where the policy is asked: once for a request, and once more for what is open when the policy changes.
const DECIDES: &[&str] = &["gateway/grant.rs", "gateway/grant/decide.rs"];
/// Where it is asked what it would say, of requests that nobody sends.
const SUPPOSES: &[&str] = &["cli/offline/mask.rs"];

#[test]
fn nothing_is_decided_per_event() {
    let mut asking: Vec<String> = sources("src")
        .iter()
        .filter(|source| !source.is_test() && source.code.contains(".decide("))
        .map(|source| source.path.clone())
        .collect();
    asking.sort();
    let mut known: Vec<&str> = [DECIDES, SUPPOSES].concat();
    known.sort_unstable();
    assert_eq!(
        asking, known,
        "streams are decided on when they begin, never event by event"
    );
}

#[test]
fn files_stay_short() {
    let mut violations = Vec::new();
    for folder in ["src", "loadtest/src"] {
        for source in sources(folder).iter().filter(|source| !source.is_test()) {
            let tests = source
                .text
                .find("\n#[cfg(test)]\nmod ")
                .unwrap_or(source.text.len());
            let lines = source.text[..tests].lines().count();
            if lines > MAX_LINES {
                violations.push(format!(
                    "{folder}/{}: {lines} lines without its tests",
                    source.path
                ));
            }
        }
    }
    report(
        &violations,
        &format!(
            "A file holds at most {MAX_LINES} lines besides its tests: split it by what it answers."
        ),
    );
}

#[test]
fn folders_stay_small() {
    let mut folders = std::collections::BTreeMap::<String, usize>::new();
    for top in ["src", "loadtest/src"] {
        for source in sources(top).iter().filter(|source| !source.is_test()) {
            if let Some((folder, _)) = source.path.rsplit_once('/') {
                *folders.entry(format!("{top}/{folder}")).or_default() += 1;
            }
        }
    }
    let violations: Vec<String> = folders
        .iter()
        .filter(|(_, count)| **count > MAX_FILES)
        .map(|(folder, count)| format!("{folder}: {count} files"))
        .collect();
    report(
        &violations,
        &format!("A folder holds at most {MAX_FILES} files."),
    );
}

fn is_written_by_us(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let captured = path.components().any(|part| part.as_os_str() == "captures");
    let known = [
        "rs", "toml", "md", "yaml", "yml", "sh", "py", "mjs", "json", "js", "html", "css",
    ];
    !captured
        && name != "package-lock.json"
        && (matches!(name, "Makefile" | "run" | "Dockerfile")
            || path
                .extension()
                .and_then(|extension| extension.to_str())
                .is_some_and(|it| known.contains(&it)))
}

#[test]
fn every_todo_names_an_issue_and_no_file_names_this_machine() {
    // Put together here, so that this file does not find itself.
    let todo = ["TO", "DO"].concat();
    let unnamed = [["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    let machine = ["/tmp/", "wt/"].concat();
    let homes = [
        machine,
        ["/work/", "main"].concat(),
        ["/work/", "shared"].concat(),
        ["/root/", "."].concat(),
    ];
    let mut violations = Vec::new();
    for path in files(root(), is_written_by_us) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        let shown = path
            .strip_prefix(root())
            .unwrap_or(&path)
            .display()
            .to_string();
        for (number, line) in text.lines().enumerate() {
            let at = format!("{shown}:{}", number + 1);
            for (start, _) in line.match_indices(&todo) {
                let named = line[start + todo.len()..]
                    .strip_prefix("(#")
                    .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
                if !named && !line.contains("todo!") {
                    violations.push(format!("{at}: {todo} without an issue; write {todo}(#12)"));
                }
            }
            violations.extend(
                unnamed
                    .iter()
                    .filter(|word| line.contains(*word))
                    .map(|word| format!("{at}: {word}")),
            );
            violations.extend(
                homes
                    .iter()
                    .filter(|home| line.contains(*home))
                    .map(|home| format!("{at}: {home}")),
            );
        }
    }
    report(
        &violations,
        "Work left over lives in an issue; a path of one machine means nothing on another.",
    );
}

/// Every word in `text` that `is_word` accepts, split at everything else.
fn words(text: &str, is_word: fn(&str) -> bool) -> std::collections::BTreeSet<&str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| is_word(word))
        .collect()
}

#[test]
fn the_metrics_page_names_every_metric() {
    let page = fs::read_to_string(root().join("docs/metrics.md")).expect("docs/metrics.md");
    let names: String = sources("src")
        .into_iter()
        .filter(|source| source.is_in("metrics"))
        .map(|source| source.text)
        .collect();
    let violations: Vec<&str> = words(&names, |word| {
        word.starts_with("portcullis_") && word.len() > 11
    })
    .into_iter()
    .filter(|name| !page.contains(name))
    .collect();
    assert!(
        violations.is_empty(),
        "docs/metrics.md does not mention {violations:?}"
    );
}

#[test]
fn the_map_names_every_room() {
    let map =
        fs::read_to_string(root().join("docs/ARCHITECTURE.md")).expect("docs/ARCHITECTURE.md");
    let missing: Vec<String> = sources("src")
        .iter()
        .filter(|source| {
            !source.path.contains('/') && !matches!(source.path.as_str(), "main.rs" | "lib.rs")
        })
        .map(|source| source.room().to_owned())
        .filter(|room| !map.contains(&format!("`{room}")) && !map.contains(&format!("src/{room}")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/ARCHITECTURE.md does not mention {missing:?}"
    );
}

#[test]
fn the_scanner_of_this_test_sees_what_it_should() {
    let code = blank(
        "use crate::{a, b::{c, d}}; // crate::no\nlet s = \"crate::no \\\" \"; let r = r#\"crate::no\"#; 'x'; &'a crate::e::F;",
    );
    let paths: Vec<String> = crate_paths(&code)
        .into_iter()
        .map(|(_, path)| path)
        .collect();
    assert_eq!(paths, ["a", "b", "e::F"]);
    let code =
        without_tests("fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { tokio::x }\n}\nfn c() {}\n");
    assert_eq!(code, "fn a() {}\n\n\n\n\nfn c() {}\n");
    assert!(
        covers("gateway::body", "gateway::body::Body")
            && !covers("gateway::body", "gateway::bodyguard")
    );
}

/// The threats to masks, by their numbers in the catalogue that the tests' names carry (`c_20_…`).
const THREATS: [std::ops::RangeInclusive<u8>; 5] = [1..=13, 20..=32, 40..=54, 60..=75, 80..=88];

/// Those that no gateway can close, and where the manual says so.
const LEFT_OPEN: [(u8, &str, &str); 3] = [
    (
        29,
        "docs/masking.md",
        "keeps `resourceVersion`, so who may write and guesses right sees it",
    ),
    (73, "docs/masking.md", "past the gateway"),
    (
        75,
        "docs/masking.md",
        "they do not hold\nwhoever may run commands",
    ),
];

#[test]
fn every_threat_to_masks_is_tried() {
    let wanted = |path: &Path| is_rust(path) || path.extension().is_some_and(|it| it == "yaml");
    let folders = ["src", "tests/e2e", "profiles/tests"].map(|folder| root().join(folder));
    let texts = folders
        .iter()
        .flat_map(|folder| files(folder, wanted))
        .map(|path| fs::read_to_string(path).expect("text"));
    let mut tried = std::collections::BTreeSet::new();
    for text in texts {
        for (at, _) in text.match_indices(['c', 'C']) {
            let (before, rest) = text.split_at(at);
            let begins = !before.ends_with(|it: char| it.is_alphanumeric());
            let rest = rest.get(1..).unwrap_or_default();
            let digits = rest.strip_prefix(['-', '_']).unwrap_or(rest);
            let number = digits.get(..2).and_then(|number| number.parse::<u8>().ok());
            let ends = !digits
                .get(2..)
                .unwrap_or_default()
                .starts_with(|it: char| it.is_ascii_alphanumeric());
            if begins && ends {
                tried.extend(number);
            }
        }
    }
    for (number, page, says) in LEFT_OPEN {
        let page = fs::read_to_string(root().join(page)).expect("a page");
        assert!(page.contains(says), "C-{number}: {says}");
        tried.insert(number);
    }
    let missing: Vec<u8> = THREATS
        .into_iter()
        .flatten()
        .filter(|number| !tried.contains(number))
        .collect();
    assert!(
        missing.is_empty(),
        "no test has these in its name or its table: C-{missing:?}"
    );
}
