//! Reads the revocation list (`kind: RevocationList`): which tokens are no longer believed.

use std::path::PathBuf;

use jiff::Timestamp;

use super::document::Problem;
use super::policy_file::{self, version};
use super::section::{Document, Found, Section};
use crate::identity::{Revocations, Whose};

/// Reads the revocation list that a document names. One that cannot be read is a problem of that
/// document, at the place that names it; what is wrong in the list itself is returned.
pub(super) fn load_named(
    document: &Document,
    file: &Found<PathBuf>,
    issuers: &[String],
) -> Result<Revocations, Vec<Problem>> {
    match policy_file::read(&file.value) {
        Ok(text) => compile(&[(file.value.clone(), text)], issuers),
        Err(problem) => {
            let name = problem.file.display();
            file.report(document, format!("names {name}: {}", problem.message));
            Err(Vec::new())
        }
    }
}

/// Compiles the texts of revocation lists. Entries may only name `issuers`: one with a typing error
/// would revoke nothing, and nobody would notice.
pub fn compile(
    files: &[(PathBuf, String)],
    issuers: &[String],
) -> Result<Revocations, Vec<Problem>> {
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    for (file, text) in files {
        let document = Document::new(file, text);
        if let Some(top) = document.open("RevocationList") {
            // A file that was cut off must not lift every revocation.
            if !top.has("revoked") {
                top.report_key("revoked", "is missing; write [] to revoke nothing");
            }
            for section in top.sections("revoked") {
                entries.extend(read_entry(&section, issuers));
            }
            top.finish();
        }
        problems.extend(document.into_problems());
    }
    if problems.is_empty() {
        Ok(Revocations::new(version(files), entries))
    } else {
        Err(problems)
    }
}

/// Every key there is, given a document that has every section.
#[cfg(test)]
pub(super) fn keys(document: &Document) -> std::collections::BTreeSet<String> {
    if let Some(top) = document.open("RevocationList") {
        for section in top.sections("revoked") {
            read_entry(&section, &[]);
        }
    }
    document.keys()
}

type Entry = (Whose, Option<Timestamp>);

fn read_entry(section: &Section<'_>, issuers: &[String]) -> Option<Entry> {
    let text = |key| section.has(key).then(|| section.required(key)).flatten();
    let [issuer, jti, sub, user] = ["issuer", "jti", "sub", "user"].map(text);
    let issued_before = read_moment(section, "issuedBefore");
    section.finish();
    let named = ["jti", "sub", "user"].map(|key| usize::from(section.has(key)));
    if named.iter().sum::<usize>() != 1 {
        section.report("needs exactly one of jti, sub and user: what it revokes");
        return None;
    }
    if section.has("user") && section.has("issuer") {
        section.report_key(
            "issuer",
            "cannot stand beside user; a user is named as the policy names them, prefix included",
        );
    }
    if section.has("jti") && section.has("issuedBefore") {
        section.report_key(
            "issuedBefore",
            "cannot stand beside jti, which names a single token",
        );
    }
    let whose = if section.has("user") {
        Whose::User(user?.value)
    } else {
        let issuer = known_issuer(section, issuer, issuers)?;
        match jti {
            Some(id) => Whose::Token {
                issuer,
                id: id.value,
            },
            None => Whose::Subject {
                issuer,
                subject: sub?.value,
            },
        }
    };
    Some((whose, issued_before))
}

fn known_issuer(
    section: &Section<'_>,
    issuer: Option<Found<String>>,
    known: &[String],
) -> Option<String> {
    if !section.has("issuer") {
        section.report_key("issuer", "is missing; jti and sub are an issuer's own");
    }
    let issuer = issuer?;
    if !known.contains(&issuer.value) {
        let known = known.join(", ");
        issuer.report(
            section.document(),
            format!("is no issuer of authentication.jwt; there: {known}"),
        );
    }
    Some(issuer.value)
}

/// A moment, if there is one. Whoever gets `None` for a bad one never uses it: a problem was reported.
fn read_moment(section: &Section<'_>, key: &'static str) -> Option<Timestamp> {
    let found = section.text(key)?;
    let moment = found.value.parse().ok();
    if moment.is_none() {
        found.report(
            section.document(),
            "must be a moment with its time zone, such as 2026-11-20T08:00:00Z",
        );
    }
    moment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Identity;

    const ISSUER: &str = "https://issuer.test";

    fn read(entries: &str) -> Result<Revocations, String> {
        let text = format!(
            "apiVersion: portcullis.dev/v1alpha1\nkind: RevocationList\nrevoked:\n{entries}\n"
        );
        read_whole(text)
    }

    fn read_whole(text: String) -> Result<Revocations, String> {
        let files = [(PathBuf::from("revoked.yaml"), text)];
        compile(&files, &[ISSUER.to_owned()]).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            lines.join("\n")
        })
    }

    #[test]
    fn every_kind_of_entry_revokes_what_it_names() {
        let list = read(
            "- {issuer: https://issuer.test, jti: abc}\n\
             - {issuer: https://issuer.test, sub: bob}\n\
             - {user: carol, issuedBefore: 2026-11-20T08:00:00+01:00}",
        )
        .unwrap();
        let issued =
            |name: &str, at: &str| Identity::for_tests(name, &[]).issued(at.parse().unwrap());
        let at = "2026-11-20T06:59:59Z";
        assert!(list.revokes(&issued("alice", at).with_token_id("abc")));
        assert!(!list.revokes(&issued("alice", at).with_token_id("abd")));
        assert!(list.revokes(&issued("bob", at)));
        assert!(list.revokes(&issued("carol", at)));
        assert!(!list.revokes(&issued("carol", "2026-11-20T07:00:00Z")));
        assert!(!read(" []").unwrap().revokes(&issued("alice", at)));
    }

    #[test]
    fn a_bad_list_is_no_list_and_says_where() {
        for (entries, problem) in [
            ("- {}", "revoked.yaml:4:3: revoked[0] needs exactly one of"),
            (
                "- {issuer: https://issuer.test, jti: a, sub: b}",
                "revoked[0] needs exactly one of",
            ),
            ("- {jti: a}", "revoked[0].issuer is missing"),
            (
                "- {issuer: https://issuer.tset, jti: a}",
                "revoked.yaml:4:12: revoked[0].issuer is no issuer of authentication.jwt; there: https://issuer.test",
            ),
            (
                "- {user: a, issuer: https://issuer.test}",
                "revoked[0].issuer cannot stand beside user",
            ),
            ("- {user: ''}", "revoked[0].user is empty"),
            (
                "- {user: 17}",
                "revoked[0].user must be a string; write it in quotes",
            ),
            (
                "- {user: a, issuedBefore: yesterday}",
                "revoked[0].issuedBefore must be a moment with its time zone",
            ),
            (
                "- {user: a, issuedBefore: 2026-11-20}",
                "revoked[0].issuedBefore must be a moment with its time zone",
            ),
            (
                "- {issuer: https://issuer.test, jti: a, issuedBefore: 2026-11-20T08:00:00Z}",
                "revoked[0].issuedBefore cannot stand beside jti",
            ),
            ("- {users: a}", "did you mean user?"),
            ("- alice", "must be a mapping"),
            ("  alice", "revoked must be a list"),
            ("", "revoked is missing; write [] to revoke nothing"),
        ] {
            let problems = read(entries).unwrap_err();
            assert!(problems.contains(problem), "{entries}: {problems}");
        }
        assert!(read_whole(String::new()).unwrap_err().contains("is empty"));
        // Every problem at once.
        let problems = read("- {jti: a}\n- {user: ''}").unwrap_err();
        assert_eq!(problems.lines().count(), 2, "{problems}");
    }
}
