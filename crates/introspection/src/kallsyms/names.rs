//! Tokens, and names that are made of them.

use super::{KallsymsError, KernelSymbol};
use crate::symbols::{MAX_NAME_BYTES, printable_name};

/// How many tokens there are.
pub(super) const TOKENS: usize = 256;

/// A name's length has this bit where a second byte continues it.
const LONG: u8 = 0x80;

/// The texts that the bytes of a name stand for.
#[derive(Debug)]
pub(super) struct Tokens {
    texts: Vec<u8>,
    starts: Vec<u16>,
}

impl Tokens {
    /// Takes the texts and their index; nothing where these do not fit each other.
    pub(super) fn new(texts: Vec<u8>, starts: Vec<u16>) -> Option<Self> {
        let tokens = Self { texts, starts };
        let mut at = 0_usize;
        for number in 0..TOKENS {
            if usize::from(*tokens.starts.get(number)?) != at {
                return None;
            }
            at += tokens.text_from(at)?.len() + 1;
        }
        Some(tokens)
    }

    fn text_from(&self, start: usize) -> Option<&[u8]> {
        let rest = self.texts.get(start..)?;
        let length = rest.iter().position(|byte| *byte == 0)?;
        rest.get(..length)
    }

    fn text(&self, token: u8) -> Option<&[u8]> {
        self.text_from(usize::from(*self.starts.get(usize::from(token))?))
    }

    /// The type and name that tokens stand for.
    fn expand(&self, tokens: &[u8]) -> Option<(u8, Box<str>)> {
        let mut whole = Vec::with_capacity(64);
        for token in tokens {
            whole.extend_from_slice(self.text(*token)?);
            if whole.len() > MAX_NAME_BYTES {
                return None;
            }
        }
        let (kind, name) = whole.split_first()?;
        Some((*kind, printable_name(name)))
    }
}

/// Where the next name begins, and the tokens of the one at `at`.
pub(super) fn name_at(names: &[u8], at: usize) -> Option<(usize, &[u8])> {
    let first = *names.get(at)?;
    let (start, length) = if first & LONG == 0 {
        (at + 1, usize::from(first))
    } else {
        let second = usize::from(*names.get(at + 1)?);
        (at + 2, usize::from(first & !LONG) | second << 7)
    };
    let end = start.checked_add(length)?;
    (length > 0).then_some((end, names.get(start..end)?))
}

/// The symbols of names and their addresses.
pub(super) fn decode(
    names: &[u8],
    tokens: &Tokens,
    addresses: impl Iterator<Item = u64>,
) -> Result<Vec<KernelSymbol>, KallsymsError> {
    let mut at = 0;
    (0_u32..)
        .zip(addresses)
        .map(|(index, address)| {
            let broken = KallsymsError::BrokenName { index };
            let (next, of_name) = name_at(names, at).ok_or(broken.clone())?;
            at = next;
            let (kind, name) = tokens.expand(of_name).ok_or(broken)?;
            Ok(KernelSymbol {
                address,
                kind,
                name,
            })
        })
        .collect()
}
