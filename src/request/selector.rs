//! Field selectors, as far as they name an object: `fields.ParseSelector` of `k8s.io/apimachinery`.

use super::Malformed;

/// One `field OP value` of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The field path, `metadata.name`.
    pub field: String,
    /// Whether the operator is `=` or `==` rather than `!=`.
    pub equal: bool,
    /// The value, unescaped.
    pub value: String,
}

/// Reads a selector. One the API server cannot decode is refused: it would ignore the whole list
/// options and answer for another set of objects than was decided.
pub fn parse(selector: &str) -> Result<Vec<Term>, Malformed> {
    let mut terms = Vec::new();
    for part in split_unescaped(selector)
        .into_iter()
        .filter(|part| !part.is_empty())
    {
        terms.push(term(part)?);
    }
    Ok(terms)
}

/// The name every selected object has, as `RequiresExactMatch("metadata.name")` finds it.
pub fn exact_name(terms: &[Term]) -> Option<&str> {
    terms
        .iter()
        .find(|term| term.equal && term.field == "metadata.name")
        .map(|term| term.value.as_str())
        .filter(|name| !matches!(*name, "" | "." | "..") && !name.contains(['/', '%']))
}

const PROBLEM: Malformed = Malformed::Parameter(
    "fieldSelector",
    "must be a list of FIELD=VALUE, FIELD==VALUE or FIELD!=VALUE, separated by commas",
);

/// Cuts at commas that no backslash escapes.
fn split_unescaped(selector: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = selector;
    let mut escaped = false;
    let mut start = 0;
    for (index, character) in selector.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                let (part, after) = rest.split_at_checked(index - start).unwrap_or((rest, ""));
                parts.push(part);
                rest = after.strip_prefix(',').unwrap_or(after);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(rest);
    parts
}

fn term(part: &str) -> Result<Term, Malformed> {
    let at = part.find(['=', '!']).ok_or(PROBLEM)?;
    let (field, rest) = part.split_at_checked(at).ok_or(PROBLEM)?;
    let (equal, value) = if let Some(value) = rest.strip_prefix("!=") {
        (false, value)
    } else if let Some(value) = rest.strip_prefix("==") {
        (true, value)
    } else if let Some(value) = rest.strip_prefix('=') {
        (true, value)
    } else {
        return Err(PROBLEM); // a '!' alone
    };
    Ok(Term {
        field: field.to_owned(),
        equal,
        value: unescape(value)?,
    })
}

/// `UnescapeValue`: only `\\`, `\,` and `\=` are escapes; a bare `,` or `=` is not a value.
fn unescape(value: &str) -> Result<String, Malformed> {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => plain.push(escaped),
                _ => return Err(PROBLEM),
            },
            ',' | '=' => return Err(PROBLEM),
            _ => plain.push(character),
        }
    }
    Ok(plain)
}
