//! Keys of blobs: relative paths of plain names, such as `runs/ID/majority.state`.
//!
//! A key becomes a path below the store's directory, so it is parsed once and never trusted as
//! text: no absolute path, no `..`, no empty or hidden part, no character beyond letters, digits,
//! `-`, `_` and `.`.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Longest key, in bytes: far below the 4,096 of a path, with room for the store's own directory.
pub const KEY_BYTES_MAX: usize = 512;

/// Longest part of a key, in bytes: file systems hold 255, and staged files add a suffix.
const PART_BYTES_MAX: usize = 200;

/// A valid key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobKey(String);

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// It is empty or too long.
    #[error("a key has 1 to {KEY_BYTES_MAX} bytes, not {bytes}")]
    Length {
        /// Its length.
        bytes: usize,
    },
    /// One of its parts is empty, hidden, too long or holds a character that is not allowed.
    #[error("{part:?} is not a valid part of the key {key:?}")]
    Part {
        /// The part.
        part: String,
        /// The whole text.
        key: String,
    },
}

impl BlobKey {
    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BlobKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > KEY_BYTES_MAX {
            return Err(KeyError::Length { bytes: text.len() });
        }
        match text.split('/').find(|part| !is_plain(part)) {
            None => Ok(Self(text.to_owned())),
            Some(part) => Err(KeyError::Part {
                part: part.to_owned(),
                key: text.to_owned(),
            }),
        }
    }
}

fn is_plain(part: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !part.is_empty()
        && part.len() <= PART_BYTES_MAX
        && !part.starts_with('.')
        && part.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn plain_paths_are_keys() {
        for text in [
            "a",
            "runs/0192f3c1-aaaa/majority.state",
            "runs/x/replica-3.image",
        ] {
            assert_eq!(text.parse::<BlobKey>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn hostile_keys_are_refused() {
        for text in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "a/",
            "./a",
            ".hidden",
            "a/.b",
            "a\\b",
            "a\0b",
            "a b",
            "%2e%2e/a",
            "a#1",
            "ä",
            "a\n",
        ] {
            assert!(text.parse::<BlobKey>().is_err(), "{text:?}");
        }
        assert!("a".repeat(PART_BYTES_MAX + 1).parse::<BlobKey>().is_err());
        let long = vec!["a".repeat(100); 6].join("/");
        assert_eq!(
            long.parse::<BlobKey>(),
            Err(KeyError::Length { bytes: 605 })
        );
    }

    proptest! {
        #[test]
        fn a_key_never_leaves_its_directory(text in "[a-z./\\\\%#~ -]{0,40}") {
            if let Ok(key) = text.parse::<BlobKey>() {
                let mut parts = Path::new(key.as_str()).components();
                prop_assert!(parts.all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
}
