//! Query strings as the API server reads them.

/// Decoded parameters in their order.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Parts that do not decode are left out, as Go's `net/url` does.
    pub(super) fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|part| !part.is_empty() && !part.contains(';'))
            .filter_map(|part| {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                Some((decode(key)?, decode(value)?))
            })
            .collect();
        Self(pairs)
    }

    pub(super) fn first(&self, key: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The first value unless it is empty: Kubernetes treats `container=` as absent.
    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.first(key).filter(|value| !value.is_empty())
    }

    pub(super) fn all(&self, key: &str) -> Vec<String> {
        self.0
            .iter()
            .filter(|(name, _)| name == key)
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Kubernetes' rule for booleans: everything except absence, `0` and `false` is true.
    pub(super) fn flag(&self, key: &str) -> bool {
        self.first(key)
            .is_some_and(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (hex(rest.next()?)?, hex(rest.next()?)?);
                high << 4 | low
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_query_as_kubernetes_does() {
        let query =
            Query::parse("command=sh&command=-c&command=a+%3E%262&stdin&tty=False&stdout=0&x=%zz");
        assert_eq!(query.all("command"), ["sh", "-c", "a >&2"]);
        assert!(query.flag("stdin"));
        assert!(!query.flag("tty"));
        assert!(!query.flag("stdout"));
        assert!(!query.flag("absent"));
        assert_eq!(query.first("x"), None);
    }
}
