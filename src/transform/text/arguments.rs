//! The arguments of a command, word by word.
//!
//! A word may be a credential because of those before it: behind `--password` whatever it is, behind `-u` what
//! follows its colon, and in `mysql -psecret` because the program is one that reads it so. So each is read
//! behind the two words that can say this, as if all were on one command line.

use std::ops::Range;

use super::credentials::{self, Found};
use crate::policy::mask::Look;

/// Bytes of a word that is remembered; no option and no program is longer.
const REMEMBERED_BYTES_MAX: usize = 256;

/// What was read of a command.
#[derive(Clone, Debug, Default)]
pub(in crate::transform) struct Arguments {
    /// The last program with options of its own for credentials: `mysql`, `docker login`.
    program: Vec<u8>,
    /// The word before.
    before: Vec<u8>,
}

impl Arguments {
    /// A list begins, or an object. The list after that of a command is its arguments; an object is another one.
    pub(in crate::transform) fn enter(&mut self, list: bool) {
        self.before.clear();
        if !list {
            self.program.clear();
        }
    }

    /// Is no program known that has options of its own?
    pub(in crate::transform) fn has_no_program(&self) -> bool {
        self.program.is_empty()
    }

    /// Looks at the next word.
    pub(in crate::transform) fn look(&mut self, word: &[u8]) -> Found {
        let found = self.found(word);
        let word = if word.len() <= REMEMBERED_BYTES_MAX {
            word
        } else {
            b""
        };
        if !word.is_empty() && !word.starts_with(b"-") {
            // `docker login` is two words.
            if credentials::is_program(&self.before, word) {
                self.program = line(&self.before, word);
            }
        }
        self.before.clear();
        self.before.extend_from_slice(word);
        found
    }

    /// The next word, its credentials replaced, and what else of it is to be hidden.
    pub(in crate::transform) fn replaced(
        &mut self,
        word: &str,
        hidden: Vec<Range<usize>>,
        with: impl Fn(&[u8]) -> String,
    ) -> String {
        let parts = match self.look(word.as_bytes()) {
            Found::Nothing => hidden,
            Found::Whole => std::iter::once(0..word.len()).collect(),
            Found::Parts(parts) => credentials::merged([parts, hidden].concat()),
        };
        let mut replaced = Vec::new();
        let mut copied = 0;
        let bytes = |part: Range<usize>| word.as_bytes().get(part).unwrap_or_default();
        for part in parts {
            replaced.extend_from_slice(bytes(copied..part.start));
            replaced.extend_from_slice(with(bytes(part.clone())).as_bytes());
            copied = part.end;
        }
        replaced.extend_from_slice(bytes(copied..word.len()));
        String::from_utf8_lossy(&replaced).into_owned()
    }

    fn found(&self, word: &[u8]) -> Found {
        let option = self.is_option_without_value();
        if option && !word.is_empty() && self.takes_next() {
            return Found::Whole;
        }
        let Found::Parts(mut parts) = look_alone(word) else {
            return Found::Whole;
        };
        if option || !self.program.is_empty() {
            parts.extend(self.parts_behind(word));
            parts = credentials::merged(parts);
        }
        match parts {
            parts if parts.is_empty() => Found::Nothing,
            parts => Found::Parts(parts),
        }
    }

    /// Most options have a sign and their value behind it, and say nothing about the next word.
    fn is_option_without_value(&self) -> bool {
        self.before.starts_with(b"-")
            && memchr::memchr(b'=', &self.before).is_none_or(|sign| sign + 1 == self.before.len())
    }

    /// Is the next word a credential? It is if any word were one.
    fn takes_next(&self) -> bool {
        takes_next(&self.program, &self.before)
    }

    /// What of a word is a credential by what stands before it.
    fn parts_behind(&self, word: &[u8]) -> Vec<Range<usize>> {
        let mut text = line(&self.program, &self.before);
        text.push(0);
        let from = text.len();
        text.extend_from_slice(word);
        let found = credentials::parts(&text).into_iter();
        found
            .filter(|part| part.end > from)
            .map(|part| part.start.saturating_sub(from)..part.end - from)
            // Of `-psecret` all is the value, blanks and quotes as well.
            .map(|part| match part.start {
                2 | 3 if is_letter(word) => part.start..word.len(),
                _ => part,
            })
            .collect()
    }
}

/// What is found in a word whatever stands before it, none at all as no parts.
fn look_alone(word: &[u8]) -> Found {
    match credentials::look(word, Look::Argument) {
        Found::Nothing => Found::Parts(Vec::new()),
        Found::Parts(parts) => match value_of_flag(word, &parts) {
            Some(value) => Found::Parts(std::iter::once(value).collect()),
            None => Found::Parts(parts),
        },
        Found::Whole => Found::Whole,
    }
}

/// Of `--password=value` all that follows the sign is the value; a quote may stand before it.
fn value_of_flag(word: &[u8], parts: &[Range<usize>]) -> Option<Range<usize>> {
    let first = parts.first()?;
    if first.end == word.len() {
        return None; // all of it is found already
    }
    let sign = memchr::memchr(b'=', word)?;
    let flag = word.get(..sign)?;
    let begins = (sign + 1..=sign + 2).contains(&first.start);
    let is_flag = || flag.starts_with(b"-") && flag.len() <= REMEMBERED_BYTES_MAX;
    (begins && is_flag() && takes_next(b"", flag)).then_some(first.start..word.len())
}

/// Would any word behind these be a credential?
fn takes_next(program: &[u8], before: &[u8]) -> bool {
    let mut words = line(program, before);
    let length = words.len();
    words.extend_from_slice(b" x");
    credentials::parts(&words)
        .last()
        .is_some_and(|part| part.end == words.len() && part.start <= length + 1)
}

/// Is it one dash and a letter, with a value right behind it?
fn is_letter(word: &[u8]) -> bool {
    matches!(word, [b'-', letter, _, ..] if letter.is_ascii_alphabetic())
}

/// Words as in `/proc/PID/cmdline`, and room for two bytes more.
fn line(program: &[u8], word: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(program.len() + word.len() + 3);
    line.extend_from_slice(program);
    if !program.is_empty() && !word.is_empty() {
        line.push(0);
    }
    line.extend_from_slice(word);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str]) -> Vec<String> {
        let mut arguments = Arguments::default();
        words
            .iter()
            .map(|word| arguments.replaced(word, Vec::new(), |_| "*".to_owned()))
            .collect()
    }

    /// Words, and what is shown of them.
    const SAMPLES: &[(&[&str], &str)] = &[
        (&["run", "--password", "hunter2", "x"], "run --password * x"),
        (&["run", "--password=correct S3cr3t"], "run --password=*"),
        (&["run", "--password=ab,S3cr3t=x"], "run --password=*"),
        (&["run", "--password=[S3cr3t"], "run --password=*"),
        (&["run", "--password=${PW:-S3cr3t}"], "run --password=*"),
        (
            &["run", "--password='ab' password=S3cr3t"],
            "run --password='*",
        ),
        (
            &["curl", "-u", "bob:hunter2", "https://x"],
            "curl -u bob:* https://x",
        ),
        (&["curl", "-sSu", "bob:hunter2"], "curl -sSu bob:*"),
        (&["curl", "-ubob:hunter2"], "curl -ubob:*"),
        (&["curl", "--user", "bob:hunter2"], "curl --user bob:*"),
        (
            &["curl", "--proxy-user", "bob:hunter2"],
            "curl --proxy-user bob:*",
        ),
        (
            &["mysql", "-uroot", "-phunter2", "shop"],
            "mysql -uroot -p* shop",
        ),
        (&["mysql", "-p", "hunter2", "shop"], "mysql -p * shop"),
        (
            &["/usr/bin/mysqladmin", "ping", "-h", "db", "-phunter2"],
            "/usr/bin/mysqladmin ping -h db -p*",
        ),
        (
            &["env", "A=b", "mariadb-dump", "-phunter 2'x", "-h", "db"],
            "env A=b mariadb-dump -p* -h db",
        ),
        (
            &["mongosh", "-u", "bob", "-p", "hunter2"],
            "mongosh -u bob -p *",
        ),
        (
            &["sshpass", "-p", "hunter2", "ssh", "db"],
            "sshpass -p * ssh db",
        ),
        (
            &["redis-cli", "-h", "db", "-a", "hunter2"],
            "redis-cli -h db -a *",
        ),
        (
            &["ldapsearch", "-x", "-D", "cn=x", "-w", "hunter2"],
            "ldapsearch -x -D cn=x -w *",
        ),
        (
            &["docker", "login", "-u", "bob", "-p", "hunter2", "r"],
            "docker login -u bob -p * r",
        ),
        (
            &["helm", "registry", "login", "r", "-p", "hunter2"],
            "helm registry login r -p *",
        ),
        (
            &["sh", "-c", "exec mysql -u root -phunter2 shop"],
            "sh -c exec mysql -u root -p* shop",
        ),
        (
            &["sh", "-c", "curl -su bob:hunter2 x && ls"],
            "sh -c curl -su bob:* x && ls",
        ),
        (
            &["sh", "-c", "PGPASSWORD=hunter2 psql -p 5432"],
            "sh -c PGPASSWORD=* psql -p 5432",
        ),
        (
            &["psql", "postgres://bob:hunter2@db/x"],
            "psql postgres://bob:*@db/x",
        ),
    ];

    #[test]
    fn c_45_a_word_is_read_by_those_before_it() {
        for (words, expected) in SAMPLES {
            assert_eq!(shown(words).join(" "), *expected);
        }
    }

    #[test]
    fn c_45_other_words_are_left_alone() {
        for words in [
            &["mysql", "-h", "db", "-P", "3307", "--port=3307", "shop"][..],
            &["mysql", "-p"],
            &["mysql", "-p${MYSQL_PASSWORD}"],
            &["sh", "-c", "mysql -p\"$(cat /run/pw)\" shop"],
            &["mysql", "-p$(MYSQL_PASSWORD)", "-h", "db"],
            &["mysqladmin", "ping", "--protocol=tcp"],
            &["docker", "run", "-p", "8080:80", "-u", "1000:1000", "x"],
            &["ssh", "-p", "22", "db"],
            &["psql", "-p", "5432"],
            &["redis-cli", "-h", "db", "--raw"],
            &["ls", "-a", "x"],
            &["grep", "-w", "x", "mysql"],
            &["tar", "-cpf", "mysql.tar", "-p"],
            &[
                "run",
                "--port",
                "1",
                "--tokens",
                "5",
                "--password-file",
                "x",
            ],
            &["run", "--password=$(PW)", "--set=a b", "--password=null"],
            &["id", "-u", "bob"],
            &["", "-", "--", ""],
        ] {
            assert_eq!(shown(words), words);
        }
    }

    #[test]
    fn an_object_is_another_command_and_a_list_has_no_option_before_it() {
        let mut arguments = Arguments::default();
        let mut look = |word: &str, enter: Option<bool>| {
            if let Some(list) = enter {
                arguments.enter(list);
            }
            arguments.look(word.as_bytes())
        };
        assert_eq!(look("mysql", Some(true)), Found::Nothing);
        assert_eq!(look("--password", None), Found::Nothing);
        assert_eq!(look("shop", Some(true)), Found::Nothing);
        let value = Found::Parts(std::iter::once(2..9).collect());
        assert_eq!(look("-phunter2", None), value);
        assert_eq!(look("-phunter2", Some(false)), Found::Nothing);
    }
}
