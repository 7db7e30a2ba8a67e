//! Which credentials are known, and by what.
//!
//! A credential is found by its lead-in: what stands before the secret part, and is not secret itself.
//! All lead-ins are one automaton, so a text is read once, whatever their number.

#[expect(dead_code, reason = "the build script uses the rest")]
mod lead_ins;

use std::sync::LazyLock;

use regex_automata::dfa::dense;

use super::assigned::{FLAG, LETTER, MEMBER, PAIR, PATH_OR_PASSWORD, REMARK, SET, Style, USER};
use super::token::Token;

/// The lead-ins as an automaton.
pub(super) type Automaton = dense::DFA<&'static [u32]>;

/// One kind of credential.
pub(super) struct Pattern {
    /// What counts and reports call it.
    pub(super) name: &'static str,
    /// What the automaton finds.
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
#[derive(Clone, Copy, Debug)]
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

/// In this order: where two find the same bytes at once, the first one counts.
pub(super) static PATTERNS: [Pattern; 36] = [
    Pattern {
        name: "credentials.private-key",
        lead_in: lead_ins::PRIVATE_KEY_BEGINS,
        prelude: None,
        value: Value::Key,
    },
    Pattern {
        name: "credentials.private-key",
        lead_in: lead_ins::PRIVATE_KEY_ENDS,
        prelude: None,
        value: Value::KeyEnd,
    },
    Pattern {
        name: "credentials.url-password",
        lead_in: lead_ins::URL,
        prelude: URL_USER,
        value: Value::Url,
    },
    Pattern {
        name: "credentials.url-password",
        lead_in: lead_ins::MASKED_URL,
        prelude: None,
        value: Value::Url,
    },
    Pattern {
        name: "credentials.jwt",
        lead_in: lead_ins::JWT,
        prelude: JWT_HEADER,
        value: Value::Token(Token::of(8, |byte| is_base64url(byte) || byte == b'.')),
    },
    Pattern {
        name: "credentials.aws-access-key",
        lead_in: lead_ins::AWS_ACCESS_KEY,
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
        lead_in: lead_ins::GOOGLE_API_KEY,
        prelude: None,
        value: Value::Token(Token::of(35, is_base64url)),
    },
    Pattern {
        name: "credentials.google-oauth-token",
        lead_in: lead_ins::GOOGLE_OAUTH_TOKEN,
        prelude: None,
        value: Value::Token(Token::of(20, is_base64url)),
    },
    Pattern {
        name: "credentials.azure-key",
        lead_in: lead_ins::AZURE_KEY,
        prelude: None,
        value: Value::Token(Token::of(16, is_base64)),
    },
    Pattern {
        name: "credentials.azure-signature",
        lead_in: lead_ins::AZURE_SIGNATURE,
        prelude: None,
        value: Value::Token(Token::of(16, |byte| {
            is_base64(byte) || matches!(byte, b'%' | b'_' | b'-')
        })),
    },
    Pattern {
        name: "credentials.aws-signature",
        lead_in: lead_ins::AWS_SIGNATURE,
        prelude: None,
        value: Value::Token(Token::of(64, |byte| byte.is_ascii_hexdigit())),
    },
    Pattern {
        name: "credentials.github-token",
        lead_in: lead_ins::GITHUB_TOKEN,
        prelude: None,
        value: Value::Token(Token::of(20, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'_'
        })),
    },
    Pattern {
        name: "credentials.gitlab-token",
        lead_in: lead_ins::GITLAB_TOKEN,
        prelude: None,
        value: Value::Token(Token::of(20, |byte| is_base64url(byte) || byte == b'.')),
    },
    Pattern {
        name: "credentials.slack-token",
        lead_in: lead_ins::SLACK_TOKEN,
        prelude: None,
        value: Value::Token(Token::of(10, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'-'
        })),
    },
    Pattern {
        name: "credentials.slack-webhook",
        lead_in: lead_ins::SLACK_WEBHOOK,
        prelude: None,
        value: Value::Token(Token::of(1, |byte| {
            byte.is_ascii_alphanumeric() || byte == b'/'
        })),
    },
    Pattern {
        name: "credentials.stripe-key",
        lead_in: lead_ins::STRIPE_KEY,
        prelude: None,
        value: Value::Token(Token::of(10, |byte| byte.is_ascii_alphanumeric())),
    },
    Pattern {
        name: "credentials.service-token",
        lead_in: lead_ins::SERVICE_TOKEN,
        prelude: None,
        value: Value::Token(Token::of(30, |byte| byte.is_ascii_alphanumeric())),
    },
    Pattern {
        name: "credentials.service-token",
        lead_in: lead_ins::DOTTED_SERVICE_TOKEN,
        prelude: None,
        value: Value::Token(Token::of(16, |byte| is_base64url(byte) || byte == b'.')),
    },
    Pattern {
        name: "credentials.client-key",
        lead_in: lead_ins::CLIENT_KEY,
        prelude: None,
        value: Value::Token(Token::of(1, is_base64).after_a_gap()),
    },
    Pattern {
        name: "credentials.docker-login",
        lead_in: lead_ins::DOCKER_LOGIN,
        prelude: None,
        value: Value::Token(Token::of(1, is_base64)),
    },
    Pattern {
        name: "credentials.authorization",
        lead_in: lead_ins::AUTHORIZATION,
        prelude: None,
        value: Value::Token(Token::of(1, is_token68).after_a_gap()),
    },
    Pattern {
        name: "credentials.authorization",
        lead_in: lead_ins::SCHEME,
        prelude: None,
        value: Value::Token(Token::of(8, is_token68).after_a_gap().after_a_word()),
    },
    Pattern {
        name: "credentials.pair",
        lead_in: lead_ins::SET_NAME,
        prelude: None,
        value: Value::Assigned(SET),
    },
    Pattern {
        name: "credentials.pair",
        lead_in: lead_ins::PAIR_NAME,
        prelude: None,
        value: Value::Assigned(PAIR),
    },
    Pattern {
        name: "credentials.pair",
        lead_in: lead_ins::WORD_OF_PROSE,
        prelude: None,
        value: Value::Assigned(REMARK),
    },
    Pattern {
        name: "credentials.pair",
        lead_in: lead_ins::MEMBER_NAME,
        prelude: None,
        value: Value::Assigned(MEMBER),
    },
    Pattern {
        name: "credentials.element",
        lead_in: lead_ins::ELEMENT_NAME,
        prelude: None,
        value: Value::Element,
    },
    Pattern {
        name: "credentials.pair",
        lead_in: lead_ins::PWD,
        prelude: None,
        value: Value::Assigned(PATH_OR_PASSWORD),
    },
    Pattern {
        name: "credentials.flag",
        lead_in: lead_ins::PASSWORD_FLAG,
        prelude: None,
        value: Value::Assigned(FLAG),
    },
    Pattern {
        name: "credentials.option",
        lead_in: lead_ins::DATABASE_CLIENT,
        prelude: Some(Prelude::Option(b'p')),
        value: Value::Assigned(LETTER),
    },
    Pattern {
        name: "credentials.option",
        lead_in: lead_ins::REGISTRY_LOGIN,
        prelude: Some(Prelude::Option(b'p')),
        value: Value::Assigned(LETTER),
    },
    Pattern {
        name: "credentials.option",
        lead_in: lead_ins::REDIS_CLIENT,
        prelude: Some(Prelude::Option(b'a')),
        value: Value::Assigned(LETTER),
    },
    Pattern {
        name: "credentials.option",
        lead_in: lead_ins::LDAP_CLIENT,
        prelude: Some(Prelude::Option(b'w')),
        value: Value::Assigned(LETTER),
    },
    Pattern {
        name: "credentials.user",
        lead_in: lead_ins::USER_OPTION_BARE,
        prelude: USER_NAME,
        value: Value::Assigned(USER),
    },
    Pattern {
        name: "credentials.user",
        lead_in: lead_ins::USER_OPTION_DOUBLE_QUOTED,
        prelude: USER_NAME,
        value: Value::InQuotes(b'"'),
    },
    Pattern {
        name: "credentials.user",
        lead_in: lead_ins::USER_OPTION_SINGLE_QUOTED,
        prelude: USER_NAME,
        value: Value::InQuotes(b'\''),
    },
];

// The automaton knows them by their numbers.
const _: () = {
    let (mut patterns, mut lead_ins) = (PATTERNS.as_slice(), lead_ins::ALL);
    while let ([pattern, more_patterns @ ..], [lead_in, more_lead_ins @ ..]) = (patterns, lead_ins)
    {
        assert!(are_equal(pattern.lead_in.as_bytes(), lead_in.as_bytes()));
        (patterns, lead_ins) = (more_patterns, more_lead_ins);
    }
    assert!(patterns.is_empty() && lead_ins.is_empty());
};

/// As the build script wrote it. Nothing is added to it while the gateway runs.
static WRITTEN: &Aligned<[u8]> = &Aligned {
    _to: [],
    bytes: *include_bytes!(concat!(env!("OUT_DIR"), "/lead_ins.dfa")),
};

/// Its numbers are read in place, without a copy.
#[repr(C)]
struct Aligned<B: ?Sized> {
    _to: [u32; 0],
    bytes: B,
}

/// `None` would mean a faulty build: then all is a credential, and every test fails.
pub(super) static AUTOMATON: LazyLock<Option<Automaton>> = LazyLock::new(|| {
    let (automaton, _) = dense::DFA::from_bytes(&WRITTEN.bytes).ok()?;
    Some(automaton)
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
}

const fn are_equal(mut left: &[u8], mut right: &[u8]) -> bool {
    while let ([a, more_left @ ..], [b, more_right @ ..]) = (left, right) {
        if *a != *b {
            return false;
        }
        (left, right) = (more_left, more_right);
    }
    left.is_empty() && right.is_empty()
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
