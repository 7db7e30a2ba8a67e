//! The grammar of the shell: commands and words, before anything is expanded.

use std::sync::{Arc, OnceLock};

mod parser;
mod redirects;
mod words;

pub(crate) use parser::parse;

/// A command of any kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Simple(Simple),
    /// `! a | b`: whether the status is negated, and the stages.
    Pipeline(bool, Vec<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Sequence(Vec<Self>),
    /// Conditions with their bodies; the last may have no condition.
    If(Vec<(Option<Self>, Self)>),
    While {
        until: bool,
        condition: Box<Self>,
        body: Box<Self>,
    },
    For {
        name: String,
        words: Option<Vec<Word>>,
        body: Box<Self>,
    },
    Case {
        subject: Word,
        arms: Vec<(Vec<Word>, Self)>,
    },
    Subshell(Box<Self>, Vec<Redirect>),
    Group(Box<Self>, Vec<Redirect>),
    Function(String, Arc<Self>),
}

/// Assignments, words and redirections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Simple {
    pub(crate) assignments: Vec<(String, Word)>,
    pub(crate) words: Vec<Word>,
    pub(crate) redirects: Vec<Redirect>,
}

/// `2>file` and the like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Redirect {
    pub(crate) descriptor: u8,
    pub(crate) target: Target,
}

/// Where a redirection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Read(Word),
    Write(Word),
    Append(Word),
    /// `>&1`.
    Duplicate(u8),
    /// `<<word`: the text comes after the line and is filled in then.
    Here(Arc<OnceLock<Word>>),
    /// `<<<word`.
    HereString(Word),
}

/// A word: pieces that are expanded and joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) Vec<Piece>);

/// A piece of a word, and whether it stood in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) content: Content,
    pub(crate) quoted: bool,
}

/// What a piece stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Text(String),
    Parameter {
        name: String,
        change: Option<(Change, Word)>,
    },
    /// `${#name}`.
    Length(String),
    /// `$(command)`.
    Output(Box<Command>),
    /// `$((expression))`.
    Arithmetic(Word),
}

/// The operators inside `${…}`; `bool` is whether an empty value counts as unset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Default(bool),
    Assign(bool),
    Alternative(bool),
    Fail(bool),
    /// `#` and `##`; `bool` is whether the longest match goes.
    Prefix(bool),
    /// `%` and `%%`.
    Suffix(bool),
}

/// Why a text is no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SyntaxError {
    /// More lines could make it one.
    Incomplete,
    Unexpected(String),
    TooDeep,
}

impl Word {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self(vec![Piece {
            content: Content::Text(text.into()),
            quoted: true,
        }])
    }

    /// The text of a word that is nothing but unquoted text: keywords and names.
    pub(crate) fn bare(&self) -> Option<&str> {
        match self.0.as_slice() {
            [
                Piece {
                    content: Content::Text(text),
                    quoted: false,
                },
            ] => Some(text),
            _ => None,
        }
    }
}
