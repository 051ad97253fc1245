//! Which memory holds what the computation works on, told to the host by name.
//!
//! A computation names its own where that lies at another place in each machine. Of the others it is
//! what they had mapped for themselves when they were started: large pieces that nobody else uses.
//! What they took from the heap is not named: there lie other things beside it.

use crate::error::GuestError;
use crate::host::Host;
use computation::job::{Buffer, Message};
use computation::{Kernel, NamedBuffer};
use model::GuestVirtualAddress;
use std::fs;
use std::ops::Range;

const PATH: &str = "/proc/self/maps";

/// Pieces that are told of a computation that names none.
const MAX_PIECES: usize = 16;

/// Memory that this process has for itself, by address: without the heap and the stack.
pub(crate) struct Mapped(Vec<Range<u64>>);

/// What is mapped now.
pub(crate) fn mapped() -> Result<Mapped, GuestError> {
    let text =
        fs::read_to_string(PATH).map_err(|source| GuestError::Read { path: PATH, source })?;
    Ok(Mapped(text.lines().filter_map(anonymous).collect()))
}

/// The addresses of a line whose memory is private, writable and of no file.
fn anonymous(line: &str) -> Option<Range<u64>> {
    let mut words = line.split_ascii_whitespace();
    let (addresses, permissions) = (words.next()?, words.next()?);
    let (_offset, _device, inode) = (words.next()?, words.next()?, words.next()?);
    if permissions != "rw-p" || inode != "0" || words.next().is_some() {
        return None;
    }
    let (start, end) = addresses.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some(number(start)?..number(end)?)
}

impl Mapped {
    /// What is mapped here and was not before.
    fn beyond(&self, before: &Self) -> Vec<Range<u64>> {
        let mut pieces = self.0.clone();
        for old in &before.0 {
            let rests = pieces.into_iter().flat_map(|piece| {
                let below = piece.start..piece.end.min(old.start);
                let above = piece.start.max(old.end)..piece.end;
                [below, above]
            });
            pieces = rests.filter(|rest| !rest.is_empty()).collect();
        }
        pieces
    }
}

/// Tells the host of a computation's memory.
pub(crate) fn tell(host: &Host, kernel: &dyn Kernel, before: &Mapped) -> Result<(), GuestError> {
    let named = kernel.buffers();
    if named.is_empty() {
        let pieces = mapped()?.beyond(before);
        for (number, piece) in pieces.into_iter().take(MAX_PIECES).enumerate() {
            let bytes = piece.end - piece.start;
            say(host, format!("working-set-{number}"), piece.start, bytes)?;
        }
    }
    for NamedBuffer {
        name,
        address,
        bytes,
    } in named
    {
        say(host, name.to_owned(), address, bytes)?;
    }
    Ok(())
}

fn say(host: &Host, name: String, address: u64, bytes: u64) -> Result<(), GuestError> {
    host.say(&Message::Buffer(Buffer {
        name,
        address: GuestVirtualAddress(address),
        bytes,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_memory_of_its_own_is_taken() {
        let check = |line, expected| assert_eq!(anonymous(line), expected, "{line}");
        check("7f00-7f80 rw-p 00000000 00:00 0 ", Some(0x7f00..0x7f80));
        check("7f00-7f80 rw-p 00000000 00:00 0 [heap]", None);
        check("7f00-7f80 r--p 00000000 00:00 0 ", None);
        check("7f00-7f80 rw-p 00000000 00:02 17 /init", None);
        check("nonsense", None);
    }

    #[test]
    fn what_is_new_is_what_was_not_mapped() {
        let before = Mapped(vec![10..20, 40..50]);
        let after = Mapped(vec![0..30, 40..60, 70..80]);
        assert_eq!(after.beyond(&before), [0..10, 20..30, 50..60, 70..80]);
        assert!(before.beyond(&after).is_empty());
    }
}
