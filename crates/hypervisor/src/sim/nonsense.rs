//! Answers that cannot be true, of each kind that a call gives.

use crate::memory::changed::ChangedPages;
use crate::traits::RegisterSet;
use model::PAGE_BYTES;

/// More registers than any machine has.
const TOO_MANY: u64 = 10_000;

/// Registers: nameless, of control characters, far too many, or none.
pub(super) fn registers(number: u64) -> RegisterSet {
    let one = |name: &str, value: &str| RegisterSet::from([(name.to_owned(), value.to_owned())]);
    match number % 4 {
        0 => one("", "0"),
        1 => one("r\x1b[2Jx", "\u{202e}\0zz"),
        2 => (0..TOO_MANY)
            .map(|number| (format!("x{number}"), "0".to_owned()))
            .collect(),
        _ => RegisterSet::new(),
    }
}

/// The numbers of a true list of changed pages: backwards, twice, outside memory, or none.
pub(super) fn numbers(mut numbers: Vec<u64>, number: u64) -> Vec<u64> {
    match number % 4 {
        0 => numbers.reverse(),
        1 => numbers.extend(numbers.clone()),
        2 => numbers.push(u64::MAX),
        _ => numbers.clear(),
    }
    numbers
}

/// The same with content; or less of it than there are pages.
pub(super) fn pages(pages: ChangedPages, number: u64) -> ChangedPages {
    if number % 5 == 4 {
        let short = pages.bytes.len().saturating_sub(1);
        let bytes = pages.bytes.get(..short).unwrap_or_default().to_vec();
        return ChangedPages { bytes, ..pages };
    }
    let numbers = numbers(pages.numbers, number);
    let bytes = vec![0xa5; numbers.len().saturating_mul(PAGE_BYTES)];
    ChangedPages { numbers, bytes }
}

/// Registers to write: without width, wider than any, or none.
pub(super) fn writable(number: u64) -> Vec<(String, u32)> {
    let one = |bits| vec![("r12".to_owned(), bits), ("r13".to_owned(), bits)];
    match number % 3 {
        0 => one(0),
        1 => one(u32::MAX),
        _ => Vec::new(),
    }
}
