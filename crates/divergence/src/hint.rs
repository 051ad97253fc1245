//! Possible causes, from the shape of the differences alone.
//!
//! Each hint says why it is thought of. None carries a probability: shape alone does not earn one.
//! What cannot be told from one run, such as whether a fault follows a core, is not hinted at.

use crate::input::Context;
use crate::parts::Counts;
use model::{Difference, Hint, Locus, PAGE_BYTES, Part};

/// Differing words from which one common pattern of bits is more than a coincidence.
const PATTERN_WORDS: usize = 3;

/// The hints for differences, the likeliest first.
pub(crate) fn of(counts: Counts, listed: &[Difference], context: &Context<'_>) -> Vec<Hint> {
    let words: Vec<&Difference> = listed
        .iter()
        .filter(|one| one.part == Part::Memory)
        .collect();
    let candidates = [
        one_bit(counts, &words),
        common_pattern(&words),
        whole_page(&words),
        only(counts, Part::Register).then(|| {
            hint(
                "a register or flag of the virtual processor",
                "registers differ and memory is equal",
            )
        }),
        only(counts, Part::Log).then(|| {
            hint(
                "the order or the time of a message, not the computation",
                "only log lines differ",
            )
        }),
        kernel_code(&words, context),
    ];
    candidates.into_iter().flatten().collect()
}

/// The hints for a golden value that the replicas contradict.
pub(crate) fn of_golden(context: &Context<'_>) -> Vec<Hint> {
    let executor = if context.host_units_exercised {
        "the host's processor: all replicas share its fault"
    } else {
        "the emulator: all replicas share its fault"
    };
    vec![
        hint(
            "another code path: other instructions or another build than the golden value's",
            "all replicas agree with each other",
        ),
        hint(executor, "what replicas share, their agreement cannot show"),
    ]
}

fn hint(cause: &str, reason: &str) -> Hint {
    Hint {
        cause: cause.to_owned(),
        reason: reason.to_owned(),
        probability: None,
    }
}

fn only(counts: Counts, part: Part) -> bool {
    let mut differing = counts.by_part().filter(|(_, count)| *count > 0);
    differing.next().is_some_and(|(first, _)| first == part) && differing.next().is_none()
}

fn one_bit(counts: Counts, words: &[&Difference]) -> Option<Hint> {
    match words {
        [word] if counts.memory == 1 && word.flipped_bits.len() == 1 => Some(hint(
            "one upset bit: a memory cell, a bus or a particle",
            "one bit of one word of memory differs",
        )),
        _ => None,
    }
}

fn common_pattern(words: &[&Difference]) -> Option<Hint> {
    let (first, rest) = words.split_first()?;
    let bits = &first.flipped_bits;
    let common = !bits.is_empty() && rest.iter().all(|word| word.flipped_bits == *bits);
    (common && words.len() >= PATTERN_WORDS).then(|| {
        hint(
            "a fixed defect of a data path: a unit or a line that flips the same bits",
            &format!("bits {bits:?} differ in every listed word"),
        )
    })
}

fn whole_page(words: &[&Difference]) -> Option<Hint> {
    let zero = |word: &&Difference| word.found.bytes().all(|digit| digit == b'0');
    let full = words.len() >= PAGE_BYTES / 16 && words.iter().all(zero);
    full.then(|| {
        hint(
            "a lost write: a block or a page that was never filled",
            "every listed word is zero where the majority holds data",
        )
    })
}

fn kernel_code(words: &[&Difference], context: &Context<'_>) -> Option<Hint> {
    let text = context.symbols?.text_range()?;
    let inside = |word: &&Difference| match &word.locus {
        Locus::Address(address) => text.contains(&address.0),
        Locus::Name(_) => false,
    };
    words.iter().any(inside).then(|| {
        hint(
            "changed code: memory that the kernel never writes after it has booted",
            "an address lies in the kernel's code",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use introspection::{KernelMap, SymbolTable};
    use model::GuestPhysicalAddress;
    use state::Base;

    fn context(symbols: Option<&KernelMap>) -> Context<'_> {
        Context {
            base: Base::new(&[], 0).unwrap(),
            deterministic: true,
            symbols,
            golden: None,
            units: Vec::new(),
            host_units_exercised: false,
            not_compared: Vec::new(),
        }
    }

    fn word(address: u64, found: &str, flipped_bits: &[u32]) -> Difference {
        Difference {
            part: Part::Memory,
            locus: Locus::Address(GuestPhysicalAddress(address)),
            expected: Some("0123456789abcdef".to_owned()),
            found: found.to_owned(),
            flipped_bits: flipped_bits.to_vec(),
            symbol: None,
        }
    }

    /// Checks how the first hint begins; an empty text stands for no hint.
    fn check(counts: Counts, words: &[Difference], first: &str) {
        let hints = of(counts, words, &context(None));
        let cause = hints.first().map_or("", |hint| hint.cause.as_str());
        assert!(cause.starts_with(first), "{cause}");
        assert_eq!(hints.is_empty(), first.is_empty());
    }

    fn of_memory(memory: u64) -> Counts {
        Counts {
            memory,
            ..Counts::default()
        }
    }

    #[test]
    fn one_bit_is_an_upset() {
        check(of_memory(1), &[word(0, "1", &[3])], "one upset bit");
        check(of_memory(1), &[word(0, "1", &[3, 4])], "");
        check(of_memory(2), &[word(0, "1", &[3])], "");
    }

    #[test]
    fn equal_bits_in_many_words_are_a_pattern() {
        let words =
            |bits: [u32; 3]| [0, 1, 2].map(|at: usize| word(at as u64 * 8, "1", &[bits[at]]));
        check(of_memory(3), &words([7, 7, 7]), "a fixed defect");
        check(of_memory(3), &words([7, 7, 8]), "");
    }

    #[test]
    fn zeros_over_half_a_page_are_a_lost_write() {
        let words = |found: &str| -> Vec<Difference> {
            (0..256)
                .map(|at| word(at * 8, found, &[at as u32 % 60, 61]))
                .collect()
        };
        check(of_memory(256), &words("0000000000000000"), "a lost write");
        check(of_memory(256), &words("0000000000000001"), "");
    }

    #[test]
    fn one_part_alone_says_something() {
        let registers = Counts {
            registers: 2,
            ..Counts::default()
        };
        let log = Counts {
            log: 1,
            ..Counts::default()
        };
        check(registers, &[], "a register or flag");
        check(log, &[], "the order or the time");
        check(
            Counts {
                log: 1,
                ..registers
            },
            &[],
            "",
        );
    }

    #[test]
    fn kernel_code_is_told_by_its_address() {
        let list = b"ffffffff81000000 T _stext\nffffffff81001000 T _etext\n";
        let map = KernelMap::new(SymbolTable::parse_kallsyms(list).unwrap());
        let hints = |address| {
            let words = [word(address, "1", &[1, 2])];
            of(of_memory(1), &words, &context(Some(&map))).len()
        };
        assert_eq!((hints(0x100_0ff8), hints(0x100_1000)), (1, 0));
    }
}
