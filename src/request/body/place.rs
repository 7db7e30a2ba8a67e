//! Where in a document a value stands.

use crate::limits::MASKED_PATH_BYTES_MAX;

/// The path of a value, such as `spec.env[1].value` or `data["tls.key"]`: at most [`MASKED_PATH_BYTES_MAX`],
/// then `...`.
#[derive(Clone, Debug, Default)]
pub struct ValuePath {
    text: String,
}

impl ValuePath {
    /// As it is shown.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// How long it is, for [`ValuePath::truncate`].
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Is it the document itself?
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Goes back to where it had this length.
    pub fn truncate(&mut self, length: usize) {
        self.text.truncate(length);
    }

    /// Enters any element of an array.
    pub fn element(&mut self) {
        self.append("[*]");
    }

    /// Enters one element of an array.
    pub fn index(&mut self, index: usize) {
        self.append(&format!("[{index}]"));
    }

    /// Enters a member of an object; `None` is a key that is too long to be shown.
    pub fn key(&mut self, key: Option<&[u8]>) {
        let Some(key) = key.and_then(|key| std::str::from_utf8(key).ok()) else {
            return self.append("[...]");
        };
        let mut dotted = false;
        let plain = |byte: u8| {
            dotted |= byte == b'.';
            byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/' | b'$' | b'.')
        };
        if !key.bytes().all(plain) {
            self.append(&format!("[{key:?}]"));
        } else if key.is_empty() || dotted {
            self.append_all(&["[\"", key, "\"]"]);
        } else if self.text.is_empty() {
            self.append(key);
        } else {
            self.append_all(&[".", key]);
        }
    }

    fn append(&mut self, step: &str) {
        self.append_all(&[step]);
    }

    fn append_all(&mut self, parts: &[&str]) {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        if self.text.len() + length <= MASKED_PATH_BYTES_MAX {
            for part in parts {
                self.text.push_str(part);
            }
        } else if !self.text.ends_with("...") {
            self.text.push_str("...");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_bounded() {
        let mut path = ValuePath::default();
        path.key(Some(b"data"));
        path.key(Some(b"tls.key"));
        path.element();
        path.key(Some(b"x"));
        assert_eq!(path.text(), "data[\"tls.key\"][*].x");
        for _ in 0..3 {
            path.key(Some(&[b'k'; MASKED_PATH_BYTES_MAX]));
        }
        assert_eq!(path.text(), "data[\"tls.key\"][*].x...");
    }
}
