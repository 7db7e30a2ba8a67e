//! Where the secret part begins and ends behind a lead-in, byte by byte.

use super::assigned::Assigned;
use super::element::Element;
use super::key::Key;
use super::patterns::Value;
use super::token::TokenValue;
use super::url::UrlPassword;
use crate::transform::placeholder::FAMILY;

/// What a byte means to a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// It stands before the value, and is not secret, nor are those that were open.
    Gap,
    /// It cannot be said yet.
    Open,
    /// It is secret, and so are all that were open.
    Hide,
    /// All that were open are secret; this one is open.
    HideBefore,
    /// The value ended before this byte. Of those that were open the last ones are not secret, so many.
    End { shown: usize },
}

/// Nothing of what was open is secret.
pub(super) const NO_VALUE: Step = Step::End { shown: usize::MAX };

/// All that was open is secret.
pub(super) const WHOLE_VALUE: Step = Step::End { shown: 0 };

/// A value that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reader {
    Token(TokenValue),
    Url(UrlPassword),
    Assigned(Assigned),
    Element(Element),
    Key(Key),
}

impl Reader {
    /// A reader behind a lead-in. A private key's end begins nothing.
    pub(super) fn new(value: Value) -> Option<Self> {
        match value {
            Value::Token(token) => Some(Self::Token(TokenValue::new(token))),
            Value::Url => Some(Self::Url(UrlPassword::default())),
            Value::Assigned(style) => Some(Self::Assigned(Assigned::new(style))),
            Value::InQuotes(quote) => Some(Self::Assigned(Assigned::in_quotes(quote))),
            Value::Element => Some(Self::Element(Element::default())),
            Value::Key => Some(Self::Key(Key::default())),
            Value::KeyEnd => None,
        }
    }

    /// Reads a byte. `decided` says that something of the value is known to be secret already.
    pub(super) fn step(&mut self, byte: u8, decided: bool) -> Step {
        match self {
            Self::Token(token) => token.step(byte, decided),
            Self::Url(url) => url.step(byte, decided),
            Self::Assigned(assigned) => assigned.step(byte, decided),
            Self::Element(element) => element.step(byte, decided),
            Self::Key(key) => key.step(byte),
        }
    }

    /// Is this byte, as most are, one of the value that says no more of it, if something of it is known to be secret?
    pub(super) fn holds(&self, byte: u8) -> bool {
        match self {
            Self::Token(token) => token.holds(byte),
            Self::Assigned(assigned) => assigned.holds(byte),
            Self::Url(_) | Self::Element(_) | Self::Key(_) => false,
        }
    }

    /// Reads bytes that it [holds](Self::holds).
    pub(super) fn pass(&mut self, text: &[u8]) {
        match self {
            Self::Token(token) => token.pass(text),
            Self::Assigned(assigned) => assigned.pass(text),
            Self::Url(_) | Self::Element(_) | Self::Key(_) => {}
        }
    }

    /// The text is over, and complete.
    pub(super) fn end(&self, decided: bool) -> Step {
        match self {
            Self::Token(token) => token.end(decided),
            Self::Url(url) => url.end(decided),
            Self::Assigned(assigned) => assigned.end(decided),
            Self::Element(_) => Element::end(decided),
            Self::Key(_) => WHOLE_VALUE,
        }
    }

    /// The text was cut off: would this, longer, have been a credential?
    pub(super) fn may_go_on(&self) -> bool {
        match self {
            Self::Token(token) => token.plausible(),
            Self::Url(url) => url.plausible(),
            Self::Assigned(_) | Self::Element(_) | Self::Key(_) => false,
        }
    }

    /// Nobody can wait for more: is what is open rather a credential than not?
    pub(super) fn plausible(&self, decided: bool) -> bool {
        match self {
            Self::Assigned(assigned) => assigned.plausible(decided),
            // What is open behind the first part is rather the end.
            _ if decided => false,
            Self::Token(token) => token.plausible(),
            Self::Url(url) => url.plausible(),
            Self::Element(_) | Self::Key(_) => true,
        }
    }
}

/// Bytes of a value that are compared with words: one more than the longest.
const OPENING_BYTES: usize = 16;

/// Bytes that something that stands for a value has at most: commands are long. More wait for nothing.
const REFERENCE_BYTES_MAX: usize = 512;

/// The first bytes of a value, by which it is known to be none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Opening {
    bytes: [u8; OPENING_BYTES],
    length: usize,
    form: Form,
    /// All bytes that were read.
    read: usize,
}

/// What kind of text a value is, as far as it was read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Form {
    /// Its bytes are compared.
    #[default]
    Opening,
    /// Within the name of a variable, or a placeholder, that this byte closes.
    Variable { closed_by: u8 },
    /// Within `{{ … }}` or `$(a command)`.
    Expression(Expression),
    /// Behind one of these: it is all of the value, if nothing but brackets follows.
    Ended,
    /// Behind the first of two braces that follow it.
    Again,
    /// No word and no variable.
    Other,
}

/// A text in brackets that stands for a value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Expression {
    closed_by: u8,
    /// Brackets that are open.
    depth: usize,
    /// It holds a text in quotes that is open.
    quoted: bool,
    last: u8,
}

impl Expression {
    fn new(closed_by: u8) -> Self {
        let depth = if closed_by == b'}' { 2 } else { 1 };
        Self {
            closed_by,
            depth,
            quoted: false,
            last: 0,
        }
    }

    /// Reads a byte. Answers what the value is then.
    fn push(mut self, byte: u8) -> Form {
        let opened_by = if self.closed_by == b'}' { b'{' } else { b'(' };
        if byte == opened_by {
            self.depth += 1;
        } else if byte == self.closed_by {
            self.depth -= 1;
        }
        self.last = byte;
        match self.depth {
            0 => Form::Ended,
            _ => Form::Expression(self),
        }
    }
}

/// What the first bytes say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Likeness {
    /// It stands for a value, and is none.
    Reference,
    /// It may become a reference, or stay a word.
    Undecided,
    Value,
}

/// Words that are no credential although their name says so; Go and others print the later ones instead
/// of a value. So are rows of asterisks, and brackets may follow (`if (token == null)`, `{token: null}`).
pub(super) const WORDS: &[&[u8]] = &[
    b"true",
    b"false",
    b"null",
    b"none",
    b"nil",
    b"undefined",
    b"~",
    b"[",
    b"{",
    b"(",
    b"(none",
    b"(null",
    b"(nil",
    b"(not",
    b"(empty",
    b"(unset",
    b"(hidden",
    b"(redacted",
    b"<none>",
    b"<nil>",
    b"<unset>",
    b"<redacted>",
    b"redacted",
    b"xxxxx",
];

impl Opening {
    pub(super) fn push(&mut self, byte: u8) {
        self.read += 1;
        self.form = match self.form {
            _ if self.read > REFERENCE_BYTES_MAX => Form::Other,
            Form::Variable { closed_by } if byte == closed_by => Form::Ended,
            // `${NAME-default}` says what the value is.
            Form::Variable { .. } if byte.is_ascii_alphanumeric() || b"_.".contains(&byte) => {
                return;
            }
            // `${{ … }}`
            Form::Variable { closed_by: b'}' } if byte == b'{' && self.read == 3 => {
                Form::Expression(Expression::new(b'}'))
            }
            Form::Expression(expression) => expression.push(byte),
            Form::Ended if is_closer(byte) => return,
            Form::Ended if byte == b'{' => Form::Again,
            Form::Again if byte == b'{' => Form::Expression(Expression::new(b'}')),
            Form::Opening => match self.bytes.get_mut(self.length) {
                Some(place) => {
                    *place = byte;
                    self.length += 1;
                    match self.text() {
                        b"${" => Form::Variable { closed_by: b'}' },
                        b"$(" => Form::Expression(Expression::new(b')')),
                        b"{{" => Form::Expression(Expression::new(b'}')),
                        text if text == FAMILY.as_bytes() => Form::Variable { closed_by: b']' },
                        _ => return,
                    }
                }
                None => Form::Other,
            },
            _ => Form::Other,
        };
    }

    /// Reads bytes of a value that is known to be secret.
    pub(super) fn pass(&mut self, text: &[u8]) {
        for byte in text {
            if self.form == Form::Other {
                return; // for good
            }
            self.push(*byte);
        }
    }

    /// It has something that no word and no reference has, but for what stands within brackets.
    pub(super) fn spoil(&mut self) {
        if !self.is_within_brackets() {
            self.form = Form::Other;
        }
    }

    /// Is it `{{ … }}` or `$(a command)` so far, and not closed?
    pub(super) fn is_within_brackets(&self) -> bool {
        matches!(self.form, Form::Expression(_))
    }

    /// Does the command go on behind a line that ends here?
    pub(super) fn goes_on_behind_line(&self) -> bool {
        let Form::Expression(expression) = self.form else {
            return false;
        };
        expression.closed_by == b')' && matches!(expression.last, b'\\' | b'|' | b'(' | 0)
    }

    /// The quote around the value comes again: does it stand within the brackets, around another text? That
    /// begins behind a blank.
    pub(super) fn takes_quote(&mut self) -> bool {
        let Form::Expression(expression) = &mut self.form else {
            return false;
        };
        let within = expression.quoted || matches!(expression.last, b' ' | b'\t');
        expression.quoted ^= within;
        within
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0 && self.form == Form::Opening
    }

    /// Is it one letter or two, or a sign, as before the quote of a text?
    pub(super) fn is_prefix(&self) -> bool {
        let in_prefix = |byte: &u8| byte.is_ascii_alphabetic() || b"$@".contains(byte);
        self.form == Form::Opening
            && (1..=2).contains(&self.length)
            && self.text().iter().all(in_prefix)
    }

    pub(super) fn likeness(&self, references: &[&[u8]]) -> Likeness {
        match self.form {
            Form::Variable { .. } | Form::Expression(_) | Form::Ended | Form::Again => {
                return Likeness::Undecided;
            }
            Form::Other => return Likeness::Value,
            Form::Opening => {}
        }
        match self.text().first() {
            Some(first) if is_beginning(*first, references) => self.compared(references),
            Some(_) => Likeness::Value,
            None => Likeness::Undecided,
        }
    }

    /// What its bytes say, of which there is one at least.
    fn compared(&self, references: &[&[u8]]) -> Likeness {
        if references.iter().any(|mark| self.text().starts_with(mark)) {
            return Likeness::Reference;
        }
        let word = self.word();
        let begins = |whole: &&[u8]| {
            whole
                .get(..word.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(word))
        };
        let brackets = [&b"$"[..], FAMILY.as_bytes()]
            .iter()
            .any(|mark| mark.starts_with(self.text()));
        if brackets || is_row(word) || references.iter().chain(WORDS).any(begins) {
            Likeness::Undecided
        } else {
            Likeness::Value
        }
    }

    /// Now that it is all of the value: does it stand for one?
    pub(super) fn is_no_value(&self) -> bool {
        let word = self.word();
        match self.form {
            // Where it must keep its length, a placeholder may be cut.
            Form::Ended | Form::Variable { closed_by: b']' } => true,
            Form::Opening => {
                is_row(word) || WORDS.iter().any(|known| known.eq_ignore_ascii_case(word))
            }
            Form::Variable { .. } | Form::Expression(_) | Form::Again | Form::Other => false,
        }
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// The text without the brackets that may follow a word.
    fn word(&self) -> &[u8] {
        let text = self.text();
        let closers = text.iter().rev().take_while(|byte| is_closer(**byte));
        text.get(..text.len() - closers.count()).unwrap_or_default()
    }
}

/// May what stands for a value begin with this byte? Most values are told by it.
fn is_beginning(byte: u8, references: &[&[u8]]) -> bool {
    let mut marks = references.iter();
    byte.is_ascii() && BEGINNINGS >> byte & 1 == 1 || marks.any(|mark| mark.first() == Some(&byte))
}

/// The first bytes of words, variables and rows, and what is left out of words, as bits.
const BEGINNINGS: u128 = {
    let others: &[&[u8]] = &[b"$", b"*", b")", b"]", b"}", b",", b";", b"&"];
    first_bytes(WORDS) | first_bytes(others) | first_bytes(&[FAMILY.as_bytes()])
};

/// In either case.
const fn first_bytes(mut texts: &[&[u8]]) -> u128 {
    let mut bits = 0;
    while let [text, more @ ..] = texts {
        if let [first, ..] = *text {
            bits |= 1 << first.to_ascii_lowercase() | 1 << first.to_ascii_uppercase();
        }
        texts = more;
    }
    bits
}

/// `***`, or nothing at all.
fn is_row(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == b'*')
}

fn is_closer(byte: u8) -> bool {
    matches!(byte, b')' | b']' | b'}' | b',' | b';' | b'&')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What styles have.
    const REFERENCES: [&[&[u8]]; 3] = [&[], &[b"/"], &[b"//"]];

    proptest! {
        #[test]
        fn what_is_told_by_its_first_byte_is_compared_to_the_same_end(
            text in prop_oneof![
                any::<[u8; 2]>().prop_map(Vec::from),
                "[-$\\[\\]{}()<*,;&/a-zA-Z]{1,12}".prop_map(String::into_bytes),
                (prop::sample::select(WORDS), "[a-z)},;]{0,2}")
                    .prop_map(|(word, more)| [word, more.as_bytes()].concat()),
            ],
            references in prop::sample::select(&REFERENCES),
        ) {
            let mut opening = Opening::default();
            for byte in text {
                opening.push(byte);
                if opening.form == Form::Opening {
                    prop_assert_eq!(opening.likeness(references), opening.compared(references));
                }
            }
        }
    }
}
