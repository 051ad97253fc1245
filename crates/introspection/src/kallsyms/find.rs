//! Finding the tables by their content.

use super::names::{TOKENS, Tokens, decode, name_at};
use super::{Kallsyms, KallsymsError};
use crate::memory::{PAGE, PhysicalMemory, read_bytes, u32_at, u64_at};
use crate::symbols::MAX_SYMBOLS;
use std::ops::Range;

/// The tokens of the digits: each stands for itself.
const DIGITS: &[u8] = b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";

/// The number of the first of them.
const FIRST_DIGIT: usize = 0x30;

/// The longest tables of tokens that are looked at: a real one has about 1 KiB.
const MAX_TOKENS_BYTES: u64 = 8192;

/// How far before the tokens the names may begin: the names and sequence of [`MAX_SYMBOLS`].
const MAX_NAMES_BYTES: u64 = 16 << 20;

/// Names between two markers.
const MARKED: u32 = 256;

/// Bytes of the names between two markers: 256 names of 2 to 255 bytes.
const MARKED_BYTES: std::ops::Range<u32> = 512..65_536;

/// The fewest markers: a kernel has tens of thousands of symbols.
const LEAST_MARKERS: usize = 8;

/// Where kernels lie.
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;

/// Finds and reads the symbols of the kernel whose memory this is.
///
/// # Errors
/// There is no kernel, its symbols are kept in another way, or they are broken.
pub fn find(memory: &dyn PhysicalMemory) -> Result<Kallsyms, KallsymsError> {
    let mut failed = KallsymsError::NoTokens;
    for digits in digits(memory) {
        let Some(found) = tokens_around(memory, digits) else {
            continue;
        };
        match read_before(memory, &found) {
            Ok(kallsyms) => return Ok(kallsyms),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Where the digits' tokens may lie.
fn digits(memory: &dyn PhysicalMemory) -> impl Iterator<Item = u64> {
    let mut tail = [0; DIGITS.len() - 1];
    (0..memory.pages()).flat_map(move |number| {
        let mut found = Vec::new();
        let Some(page) = memory.page(number) else {
            tail.fill(0);
            return found;
        };
        // What crosses into this page is looked for in the end of the last one and our start.
        let crossing = [&tail[..], page.get(..tail.len()).unwrap_or_default()].concat();
        let start = number * PAGE;
        found.extend(positions(&crossing).map(|at| start - tail.len() as u64 + at));
        found.extend(positions(page).map(|at| start + at));
        let end = page.len() - tail.len();
        tail.copy_from_slice(page.get(end..).unwrap_or_default());
        found
    })
}

fn positions(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let windows = (0_u64..).zip(bytes.windows(DIGITS.len()));
    windows
        .filter(|(_, window)| *window == DIGITS)
        .map(|(at, _)| at)
}

struct FoundTokens {
    tokens: Tokens,
    start: u64,
    /// Behind the index.
    end: u64,
}

/// The whole table around the tokens of the digits, if the index behind it fits.
fn tokens_around(memory: &dyn PhysicalMemory, digits: u64) -> Option<FoundTokens> {
    let from = digits.saturating_sub(MAX_TOKENS_BYTES);
    let to = (digits + MAX_TOKENS_BYTES).min(memory.pages().saturating_mul(PAGE));
    let bytes = read_bytes(memory, from, to.checked_sub(from)?)?;
    let zero = usize::try_from(digits - from).ok()?;
    let mut end = zero;
    for _ in FIRST_DIGIT..TOKENS {
        end += bytes.get(end..)?.iter().position(|byte| *byte == 0)? + 1;
    }
    [8, 4].iter().find_map(|alignment| {
        let index = usize::try_from((from + end as u64).next_multiple_of(*alignment) - from);
        let index = index.ok()?;
        let pairs = bytes.get(index..index + TOKENS * 2)?.as_chunks::<2>().0;
        let starts: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        let start = zero.checked_sub(usize::from(*starts.get(FIRST_DIGIT)?))?;
        let tokens = Tokens::new(bytes.get(start..end)?.to_vec(), starts)?;
        Some(FoundTokens {
            tokens,
            start: from + start as u64,
            end: from + (index + TOKENS * 2) as u64,
        })
    })
}

/// Names with their number, as bytes before the tokens hold them.
struct FoundNames {
    start: usize,
    count: u32,
    /// Where the markers begin.
    markers: usize,
}

fn read_before(
    memory: &dyn PhysicalMemory,
    found: &FoundTokens,
) -> Result<Kallsyms, KallsymsError> {
    let nothing = KallsymsError::NoNames { at: found.start };
    // Aligned as the tables are, so that offsets in the bytes are aligned too.
    let from = found.start.saturating_sub(MAX_NAMES_BYTES) & !(PAGE - 1);
    let bytes = read_bytes(memory, from, found.start - from).ok_or(nothing.clone())?;
    let names = names_in(&bytes).ok_or(nothing.clone())?;
    if usize::try_from(names.count).is_ok_and(|count| count > MAX_SYMBOLS) {
        return Err(KallsymsError::TooMany { count: names.count });
    }
    let after = read_bytes(memory, found.end, u64::from(names.count) * 4 + 16);
    let at = from + names.start as u64;
    let before = addresses_before(&bytes, &names);
    let is_before = before.is_some();
    let addresses = before
        .or_else(|| addresses_after(&after?, names.count))
        .ok_or(KallsymsError::NoAddresses { at })?;
    let encoded = bytes.get(names.start..).ok_or(nothing)?;
    Ok(Kallsyms {
        symbols: decode(encoded, &found.tokens, addresses.into_iter())?,
        tokens_at: found.start,
        tables: tables(from, &names, found, is_before),
    })
}

/// Where the tables lie in guest-physical memory, by the names that the kernel's sources give them.
/// The bytes that the names were found in begin at `from`.
fn tables(
    from: u64,
    names: &FoundNames,
    found: &FoundTokens,
    offsets_before: bool,
) -> Vec<(&'static str, Range<u64>)> {
    let at = |place: usize| from + place as u64;
    let markers_end = at(names.markers) + u64::from(names.count.div_ceil(MARKED)) * 4;
    let index = found.end - TOKENS as u64 * 2;
    let mut tables = vec![
        ("kallsyms_names", at(names.start)..at(names.markers)),
        ("kallsyms_markers", at(names.markers)..markers_end),
        ("kallsyms_token_table", found.start..index),
        ("kallsyms_token_index", index..found.end),
    ];
    let sequence = markers_end.next_multiple_of(8)..found.start;
    if sequence.end.saturating_sub(sequence.start) >= u64::from(names.count) * 3 {
        tables.push(("kallsyms_seqs_of_names", sequence));
    }
    // The base and the number of names stand between the offsets and the names.
    let offsets = u64::from(names.count) * 4;
    let end = at(names.start).checked_sub(16).filter(|_| offsets_before);
    if let Some(start) = end.and_then(|end| end.checked_sub(offsets)) {
        let start = start & !7;
        tables.push(("kallsyms_offsets", start..start + offsets));
    }
    tables
}

/// The names before the markers that lie nearest to the end.
fn names_in(bytes: &[u8]) -> Option<FoundNames> {
    let candidates = (0..bytes.len().saturating_sub(8)).step_by(8).rev();
    candidates
        .filter(|&at| plausible(bytes, at))
        .find_map(|at| names_of_markers(bytes, at))
}

/// Whether markers may begin here.
fn plausible(bytes: &[u8], at: usize) -> bool {
    u32_at(bytes, at) == Some(0)
        && u32_at(bytes, at + 4).is_some_and(|second| MARKED_BYTES.contains(&second))
}

fn names_of_markers(bytes: &[u8], at: usize) -> Option<FoundNames> {
    let mut markers: Vec<u32> = vec![0];
    let mut next = at + 4;
    while let Some(marker) = u32_at(bytes, next)
        && let Some(last) = markers.last()
        && let Some(difference) = marker.checked_sub(*last)
        && MARKED_BYTES.contains(&difference)
    {
        markers.push(marker);
        next += 4;
    }
    let (first, last) = (*markers.get(1)?, *markers.last()?);
    if markers.len() < LEAST_MARKERS {
        return None;
    }
    let latest = at.checked_sub(usize::try_from(last).ok()?)? & !7;
    let earliest = latest.saturating_sub(usize::try_from(MARKED_BYTES.end).ok()?);
    // What follows the markers may look like one more, so their number is a bound only.
    let most = u32::try_from(markers.len()).ok()?.checked_mul(MARKED)?;
    let least = most.checked_sub(2 * MARKED)?;
    (earliest.max(8)..=latest).step_by(8).find_map(|start| {
        let count = u32_at(bytes, start - 8)?;
        let fits = least < count && count <= most && ends_at(bytes, start, MARKED, first);
        (fits && whole_names(bytes, start, count, at)).then_some(FoundNames {
            start,
            count,
            markers: at,
        })
    })
}

/// Whether so many names from `start` have this length together.
fn ends_at(bytes: &[u8], start: usize, count: u32, length: u32) -> bool {
    let mut at = start;
    for _ in 0..count {
        match name_at(bytes, at) {
            Some((next, _)) => at = next,
            None => return false,
        }
    }
    u32::try_from(at - start) == Ok(length)
}

/// Whether all names end where the markers begin, but for the padding.
fn whole_names(bytes: &[u8], start: usize, count: u32, markers: usize) -> bool {
    let mut at = start;
    for _ in 0..count {
        match name_at(bytes, at) {
            Some((next, _)) if next <= markers => at = next,
            _ => return false,
        }
    }
    markers - at < 8
}

/// Offsets and base before the number of names.
fn addresses_before(bytes: &[u8], names: &FoundNames) -> Option<Vec<u64>> {
    let base_at = names.start.checked_sub(16)?;
    let base = u64_at(bytes, base_at).filter(|base| *base >= KERNEL_HALF)?;
    let length = usize::try_from(names.count).ok()?.checked_mul(4)?;
    let offsets = base_at.checked_sub(length)? & !7;
    absolute(bytes.get(offsets..base_at)?, base, names.count)
}

/// Offsets and base behind the index of the tokens.
fn addresses_after(bytes: &[u8], count: u32) -> Option<Vec<u64>> {
    let length = usize::try_from(count).ok()?.checked_mul(4)?;
    let base = u64_at(bytes, length.next_multiple_of(8))?;
    (base >= KERNEL_HALF)
        .then(|| absolute(bytes, base, count))
        .flatten()
}

/// Offsets at or above 0 are absolute, as those of per-CPU variables; others count down from the
/// base: −1 is the base itself.
fn absolute(offsets: &[u8], base: u64, count: u32) -> Option<Vec<u64>> {
    let words = offsets.as_chunks::<4>().0;
    let words = words.get(..usize::try_from(count).ok()?)?;
    let address = |word: &[u8; 4]| match i32::from_le_bytes(*word) {
        offset if offset >= 0 => u64::from(offset.unsigned_abs()),
        offset => base.wrapping_add(u64::from(offset.unsigned_abs()) - 1),
    };
    Some(words.iter().map(address).collect())
}
