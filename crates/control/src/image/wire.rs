//! What a worker on images and its asker say to each other.
//!
//! A message is one line of JSON, the [`Word`] or the [`Reply`], and after it bytes, where the word
//! has any. Both sides read with care: a worker that an image has taken over can say anything.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The longest message: a pack with its directory, or what a reading gives.
pub(super) const MAX_MESSAGE_BYTES: usize = 96 << 20;

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    /// Asks for its order.
    Order,
    /// Asks that a blob be put; its bytes follow.
    Put { name: String },
    /// Asks for the length of a blob.
    Length { name: String },
    /// Asks for a part of a blob.
    Read { name: String, start: u64, end: u64 },
    /// Asks for names of blobs.
    List { prefix: String },
    /// Tells a part of the result: JSON follows.
    Item,
    /// Tells bytes of the result, from a place on.
    Bytes { at: u64 },
    /// Tells how far it is.
    Progress { done: u64, all: u64 },
    /// Tells why there is no more of the result.
    Failed { why: String },
    /// Tells that there is nothing of what was asked for.
    Nothing { why: String },
}

/// What the asker replies to [`Word::Order`] and to words about blobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reply {
    /// It is done, or: bytes follow.
    Done,
    /// A blob's length.
    Length(u64),
    /// Names of blobs.
    Names(Vec<String>),
    /// There is no such blob.
    Missing,
    /// The blob is shorter.
    Short { end: u64 },
    /// It failed.
    Failed(String),
}

/// A message's line: JSON has no line break of its own.
pub(super) fn line<T: Serialize>(said: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(said).unwrap_or_default();
    line.push(b'\n');
    line
}

/// What a message says, and the bytes after it.
pub(super) fn read<T: DeserializeOwned>(message: &[u8]) -> Option<(T, &[u8])> {
    let end = message.iter().position(|byte| *byte == b'\n')?;
    let (line, rest) = message.split_at_checked(end)?;
    Some((serde_json::from_slice(line).ok()?, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bytes_are_kept_apart() {
        let word = Word::Put {
            name: "packs/a\nb".to_owned(),
        };
        let mut message = line(&word);
        message.extend_from_slice(b"\n{\"x\"\n");
        let (read, bytes) = read::<Word>(&message).unwrap();
        assert_eq!((read, bytes), (word, &b"\n{\"x\"\n"[..]));
    }

    #[test]
    fn what_is_no_word_is_refused() {
        for message in [&b""[..], b"\n", b"{}", b"{}\n", b"\"order\"", b"[\n"] {
            assert!(read::<Word>(message).is_none(), "{message:?}");
        }
        assert!(read::<Word>(b"\"order\"\n").is_some());
    }
}
