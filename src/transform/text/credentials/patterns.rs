//! Which credentials are known, and by what.
//!
//! A credential is found by its lead-in: what stands before the secret part, and is not secret itself.
//! All lead-ins are one automaton, so a text is read once, whatever their number.

use std::sync::LazyLock;

use regex_automata::MatchKind;
use regex_automata::dfa::{StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;

use super::assigned::{FLAG, LETTER, MEMBER, PAIR, PATH_OR_PASSWORD, REMARK, SET, Style, USER};
use super::token::Token;

/// The lead-ins as an automaton.
pub(super) type Automaton = dense::DFA<Vec<u32>>;

/// One kind of credential.
pub(super) struct Pattern {
    /// What counts and reports call it.
    pub(super) name: &'static str,
    /// A regular expression on bytes, in which words in capital letters stand for the constants below.
    lead_in: &'static str,
    /// What stands between it and the value.
    pub(super) prelude: Option<Prelude>,
    /// What follows.
    pub(super) value: Value,
}

/// What stands before a value and is not secret.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prelude {
    /// A part that every such value has, such as the user of a URL.
    Part(Part),
    /// The rest of a command line up to the option with this letter.
    Option(u8),
}

/// Bytes of a class, of which so many have to be there, and then one that ends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    class: fn(u8) -> bool,
    least: usize,
    counts: fn(u8) -> bool,
    until: u8,
}

const JWT_HEADER: Option<Prelude> = Some(Prelude::Part(Part {
    class: is_base64url,
    least: 8,
    counts: is_base64url,
    until: b'.',
}));

const URL_USER: Option<Prelude> = Some(Prelude::Part(Part {
    class: |byte| {
        !byte.is_ascii_whitespace()
            && !matches!(
                byte,
                b'/' | b'@' | b'"' | b'\'' | b'<' | b'>' | b'[' | 0x1b | 0
            )
    },
    least: 0,
    counts: |_| true,
    until: b':',
}));

/// `-u 1000:1000` is a user and a group.
const USER_NAME: Option<Prelude> = Some(Prelude::Part(Part {
    class: |byte| !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'' | 0),
    least: 1,
    counts: |byte| !byte.is_ascii_digit(),
    until: b':',
}));

/// What follows a lead-in.
#[derive(Clone, Copy)]
pub(super) enum Value {
    /// Bytes of a class.
    Token(Token),
    /// The password of a URL, up to its `@`.
    Url,
    /// What a name is set to: quoted, a block of YAML or a word.
    Assigned(Style),
    /// The same, within a quote that was opened before.
    InQuotes(u8),
    /// The text of an element of XML.
    Element,
    /// A private key in PEM.
    Key,
    /// Nothing: here a private key ends.
    KeyEnd,
}

/// How names end of which the value is a credential, whatever it looks like.
const NAMES: &str = "(?:SURE|WORDS)SUFFIX";

/// Those that mean nothing else. `pwd` has a pattern of its own, and the colour is that of `grep --color pass`.
const SURE: &str = r"(?:passCOLOUR(?:words?|wd|phrase)|creds|[_-]pat|(?:master|require|redis|npm)[_-]?(?:auth|pass)|(?:api|access|private|secret|account|signing|encryption|master|shared|hmac)[_-]?key)";

/// Those that are words of prose as well, if nothing stands before them.
const WORDS: &str = "(?:secret|token|credentials?)";

/// What may follow, such as in `DB_PASSWORD_PRIMARY`.
const SUFFIX: &str = "(?:[_-]?(?:primary|base|value|[0-9]))?";

/// How a terminal is told to change its colours (ECMA-48, SGR), or to erase what is left of the line (EL),
/// which `grep` does: between a name and its value.
const COLOUR: &str = r"(?:\x1b\[[0-9;]*[mK])*";

/// Of curl: `-u bob:`, `-ubob:`, `-sSu bob:`; `-U` and `--proxy-user` are those of a proxy.
const USER_OPTION: &str =
    r"(?:-u[ \t=\x00]*|-[A-Za-z0-9#]{1,4}u[ \t\x00]+|(?:-U|--(?:proxy-)?user)[ \t=\x00]+)";

/// In this order: where two find the same bytes at once, the first one counts.
pub(super) static PATTERNS: [Pattern; 36] = [
    Pattern {
        name: "credentials.private-key",
        lead_in: r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
        prelude: None,
        value: Value::Key,
    },
    Pattern {
        name: "credentials.private-key",
        lead_in: r"-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
        prelude: None,
        value: Value::KeyEnd,
    },
    // postgres://user:password@host, also with the slashes that PHP escapes
    Pattern {
        name: "credentials.url-password",
        lead_in: r"[A-Za-z0-9+.-]:\\?/\\?/",
        prelude: URL_USER,
        value: Value::Url,
    },
    // The same where the user was a known value; another bracket there is an address of IPv6.
    Pattern {
        name: "credentials.url-password",
        lead_in: r"[A-Za-z0-9+.-]:\\?/\\?/\[masked:v1:[0-9a-f]+\]:",
        prelude: None,
        value: Value::Url,
    },
    Pattern {
        name: "credentials.jwt",
        lead_in: r"\beyJ",
        prelude: JWT_HEADER,
        value: Value::Token(Token::of(8, |byte| is_base64url(byte) || byte == b'.')),
    },
    Pattern {
        name: "credentials.aws-access-key",
        lead_in: r"\b(?:AKIA|ASIA)",
        prelude: None,
        value: Value::Token(
            Token::of(16, |byte| {
                byte.is_ascii_uppercase() || byte.is_ascii_digit()
            })
            .exactly(),
        ),
    },
    Pattern {
        name: "credentials.google-api-key",
        lead_in: r"\bAIza",
        prelude: None,
        value: Value::Token(Token::of(35, is_base64url)),
    },
    Pattern {
        name: "credentials.google-oauth-token",
        lead_in: r"\bya29\.",
        prelude: None,
        value: Value::Token(Token::of(20, is_base64url)),
    },
    Pattern {
        name: "credentials.azure-key",
        lead_in: r"(?i)(?:AccountKey|SharedAccessKey)=",
        prelude: None,
        value: Value::Token(Token::of(16, is_base64)),
    },
    // also within JSON, where Go escapes the `&`
    Pattern {
        name: "credentials.azure-signature",
        lead_in: r"(?i)(?:[?&]|\\u0026)sig=",
        prelude: None,
        value: Value::Token(Token::of(16, |byte| {
            is_base64(byte) || matches!(byte, b'%' | b'_' | b'-')
        })),
    },
    // of a request to AWS, in its header or its URL
    Pattern {
        name: "credentials.aws-signature",
        lead_in: r"(?i)\bsignature=",
        prelude: None,
        value: Value::Token(Token::of(64, |byte| byte.is_ascii_hexdigit())),
    },
    Pattern {
        name: "credentials.github-token",
        lead_in: r"\b(?:gh[pousr]_|github_pat_)",
        prelude: None,
        value: Value::Token(Token::of(20, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'_'
        })),
    },
    Pattern {
        name: "credentials.gitlab-token",
        lead_in: r"\bglpat-",
        prelude: None,
        value: Value::Token(Token::of(20, |byte| is_base64url(byte) || byte == b'.')),
    },
    Pattern {
        name: "credentials.slack-token",
        lead_in: r"\b(?:xox[abeoprs]|xapp)-",
        prelude: None,
        value: Value::Token(Token::of(10, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'-'
        })),
    },
    Pattern {
        name: "credentials.slack-webhook",
        lead_in: r"hooks\.slack\.com/services/",
        prelude: None,
        value: Value::Token(Token::of(1, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'/'
        })),
    },
    Pattern {
        name: "credentials.stripe-key",
        lead_in: r"\b(?:[rs]k_(?:live|test)|whsec)_",
        prelude: None,
        value: Value::Token(Token::of(10, |byte| byte.is_ascii_alphanumeric())),
    },
    // npm, Hugging Face, DigitalOcean, OpenAI
    Pattern {
        name: "credentials.service-token",
        lead_in: r"\b(?:npm_|hf_|do[oprs]_v1_|sk-)",
        prelude: None,
        value: Value::Token(Token::of(30, |byte| byte.is_ascii_alphanumeric())),
    },
    // OpenAI, Anthropic, SendGrid, Vault, PyPI
    Pattern {
        name: "credentials.service-token",
        lead_in: r"\b(?:sk-(?:proj|ant)-|SG\.|hv[bsr]\.|pypi-Ag)",
        prelude: None,
        value: Value::Token(Token::of(16, |byte| is_base64url(byte) || byte == b'.')),
    },
    // kubeconfig, docker configuration
    Pattern {
        name: "credentials.client-key",
        lead_in: r#"client-key-data["'\\]*\s*:"#,
        prelude: None,
        value: Value::Token(Token::of(1, is_base64).after_a_gap()),
    },
    Pattern {
        name: "credentials.docker-login",
        lead_in: r#""auth\\*"\s*:\s*\\*""#,
        prelude: None,
        value: Value::Token(Token::of(1, is_base64)),
    },
    Pattern {
        name: "credentials.authorization",
        lead_in: r#"(?i)\bauthorization\\*["']?\s*[:=]\s*\\*["']?(?:bearer|basic|token|api-?key|negotiate|ntlm|splunk)[ \t]"#,
        prelude: None,
        value: Value::Token(Token::of(1, is_token68).after_a_gap()),
    },
    Pattern {
        name: "credentials.authorization",
        lead_in: r"(?i)\b(?:bearer|basic)[ \t]",
        prelude: None,
        value: Value::Token(Token::of(8, is_token68).after_a_gap().after_a_word()),
    },
    // password=..., also where a shell or a writer of properties escapes the sign
    Pattern {
        name: "credentials.pair",
        lead_in: r"(?i)(?:NAMES|pass)COLOUR\s*COLOUR\\*=",
        prelude: None,
        value: Value::Assigned(SET),
    },
    // password: ..., blocks of YAML
    Pattern {
        name: "credentials.pair",
        lead_in: r"(?i)(?:(?:SURE|[\w-]WORDS)SUFFIX|[\w-]pass|(?-i:pass))COLOUR\s*COLOUR\\*:",
        prelude: None,
        value: Value::Assigned(PAIR),
    },
    // token: ..., but also: invalid token: expected a comma
    Pattern {
        name: "credentials.pair",
        lead_in: r"(?i)(?:^|[^\w-])WORDSSUFFIXCOLOUR\s*COLOUR\\*:",
        prelude: None,
        value: Value::Assigned(REMARK),
    },
    // "token": "..."
    Pattern {
        name: "credentials.pair",
        lead_in: r#"(?i)(?:NAMES|pass)COLOUR\\*["'`]COLOUR\s*COLOUR[:=]"#,
        prelude: None,
        value: Value::Assigned(MEMBER),
    },
    // <password>...</password>
    Pattern {
        name: "credentials.element",
        lead_in: "(?i)NAMES>",
        prelude: None,
        value: Value::Element,
    },
    // PWD=/home/bob is in every environment, pwd=secret in connection strings
    Pattern {
        name: "credentials.pair",
        lead_in: r#"(?i)pwdCOLOUR\\*["'`]?COLOUR\s*COLOUR[:=]"#,
        prelude: None,
        value: Value::Assigned(PATH_OR_PASSWORD),
    },
    // --password ... within a command line, also as in /proc/1/cmdline
    Pattern {
        name: "credentials.flag",
        lead_in: r"(?i)(?:^|[\s\x00])(?:--?[\w.-]*(?:NAMES|pwd|[_.-]pass)|-pass|requirepass|masterauth)[ \t\x00]",
        prelude: None,
        value: Value::Assigned(FLAG),
    },
    // mysql -psecret, and others whose options mean something else elsewhere
    Pattern {
        name: "credentials.option",
        lead_in: r"(?:^|[^\w-])(?:(?:mysql|mariadb|mongo)[\w-]*|sshpass)(?:\.exe)?[ \t\x00]",
        prelude: Some(Prelude::Option(b'p')),
        value: Value::Assigned(LETTER),
    },
    Pattern {
        name: "credentials.option",
        lead_in: r"(?:^|[^\w-])(?:docker|podman|nerdctl|buildah|skopeo|oras|crane|registry)[ \t\x00]+(?:auth[ \t\x00]+)?login[ \t\x00]",
        prelude: Some(Prelude::Option(b'p')),
        value: Value::Assigned(LETTER),
    },
    Pattern {
        name: "credentials.option",
        lead_in: r"(?:^|[^\w-])redis-cli[ \t\x00]",
        prelude: Some(Prelude::Option(b'a')),
        value: Value::Assigned(LETTER),
    },
    Pattern {
        name: "credentials.option",
        lead_in: r"(?:^|[^\w-])ldap(?:search|add|modify|delete|passwd|whoami|compare|modrdn|exop)[ \t\x00]",
        prelude: Some(Prelude::Option(b'w')),
        value: Value::Assigned(LETTER),
    },
    // curl -u user:password
    Pattern {
        name: "credentials.user",
        lead_in: r"(?:^|[\s\x00])USER",
        prelude: USER_NAME,
        value: Value::Assigned(USER),
    },
    Pattern {
        name: "credentials.user",
        lead_in: r#"(?:^|[\s\x00])USER""#,
        prelude: USER_NAME,
        value: Value::InQuotes(b'"'),
    },
    Pattern {
        name: "credentials.user",
        lead_in: r"(?:^|[\s\x00])USER'",
        prelude: USER_NAME,
        value: Value::InQuotes(b'\''),
    },
];

/// Bytes the automaton may have: it has about three quarters of them. Nothing is added to it while the gateway runs;
/// that what is written above fits is a test's business.
pub(super) const AUTOMATON_BYTES_MAX: usize = 4 << 20;

/// `None` would mean a faulty constant: then all is a credential, and every test fails.
pub(super) static AUTOMATON: LazyLock<Option<Automaton>> = LazyLock::new(|| {
    let lead_ins: Vec<String> = PATTERNS.iter().map(Pattern::lead_in).collect();
    dense::Builder::new()
        .syntax(syntax::Config::new().unicode(false).utf8(false))
        .thompson(thompson::Config::new().utf8(false))
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Unanchored)
                .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
                .determinize_size_limit(Some(AUTOMATON_BYTES_MAX)),
        )
        .build_many(&lead_ins)
        .ok()
});

impl Prelude {
    /// Reads a byte; `state` is zero before the first one. `None`: there is no such value here.
    pub(super) fn read(&self, byte: u8, state: &mut usize) -> Option<PreludeStep> {
        match self {
            Self::Part(part) => part.read(byte, state),
            Self::Option(letter) => until_option(*letter, byte, state),
        }
    }
}

/// Where in a word of a command line a byte stands.
const WORD_BEGINS: usize = 0;
const BEHIND_DASH: usize = 1;
const WITHIN_WORD: usize = 2;

fn until_option(letter: u8, byte: u8, place: &mut usize) -> Option<PreludeStep> {
    *place = match (*place, byte) {
        (_, b'\n' | b'\r') => return None,
        (_, b' ' | b'\t' | 0) => WORD_BEGINS,
        (WORD_BEGINS, b'-') => BEHIND_DASH,
        (BEHIND_DASH, _) if byte == letter => return Some(PreludeStep::Over),
        _ => WITHIN_WORD,
    };
    Some(PreludeStep::GoesOn)
}

impl Part {
    fn read(&self, byte: u8, counted: &mut usize) -> Option<PreludeStep> {
        if byte == self.until {
            (*counted >= self.least).then_some(PreludeStep::Over)
        } else if (self.class)(byte) {
            *counted += usize::from((self.counts)(byte));
            Some(PreludeStep::GoesOn)
        } else {
            None
        }
    }
}

/// Whether a prelude goes on behind a byte.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PreludeStep {
    GoesOn,
    Over,
}

impl Pattern {
    /// Is it found by a program and the letter of its option?
    pub(super) fn is_of_program(&self) -> bool {
        matches!(self.prelude, Some(Prelude::Option(_)))
    }

    pub(super) fn lead_in(&self) -> String {
        self.lead_in
            .replace("NAMES", NAMES)
            .replace("SURE", SURE)
            .replace("WORDS", WORDS)
            .replace("SUFFIX", SUFFIX)
            .replace("COLOUR", COLOUR)
            .replace("USER", USER_OPTION)
    }
}

fn is_base64url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// RFC 9110, section 11.2.
fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte)
}
