//! Each exact difference, as it leaves the engine.
//!
//! | part | locus | values | flipped bits |
//! |---|---|---|---|
//! | outcome | `outcome`, or `exit status` of a program | text | – |
//! | memory | address of the word; of aligned machines `BUFFER+0xOFFSET` | 8 bytes in memory order | bit 0 is the lowest of the first byte |
//! | register | its name | as the hypervisor prints it | bit 0 is the lowest of the register |
//! | file | `NAME+0xOFFSET`, or `result` for the result digest | bytes in order; text | as memory |
//! | disk | `0xOFFSET` of the word, or of the block where one side did not write it | bytes in order | as memory |
//! | log | `line N` | text | – |
//! | metric | its name | decimal | – |
//!
//! Where no majority says what is right, there is nothing expected, and what is found is what each
//! replica holds, in the order of the replicas, with `/` between; bits are given for two replicas.

use crate::align::{AlignedWord, ContainerKind};
use crate::parts::Parts;
use introspection::KernelMap;
use model::{Difference, Locus, Part};
use state::{
    FileDifference, TextDifference, UndecidedFile, UndecidedText, UndecidedWord, WordDifference,
    disk_block_offset,
};
use std::fmt::Write;

/// What stands for a value that a side lacks.
const ABSENT: &str = "(absent)";

/// What stands between the values of the replicas where none is right.
const SEPARATOR: &str = "/";

/// The longest text that is listed of one value, in characters: enough to recognise a log line;
/// the line itself stays in the state.
const MAX_TEXT_CHARACTERS: usize = 512;

/// The share of a list that parts besides memory are sure of, so that a replica whose memory is
/// wild does not hide its registers: one in so many.
const SHARE_OF_OTHERS: usize = 4;

/// The differences of one replica, by its position, from the majority.
pub(crate) fn of_replica(
    parts: &Parts,
    position: usize,
    symbols: Option<&KernelMap>,
    limit: usize,
) -> Vec<Difference> {
    let texts = |part, comparison: &state::TextComparison| {
        let listed = comparison.replicas.get(position).map(|one| &one.listed);
        listed
            .into_iter()
            .flatten()
            .map(|one| text(part, one))
            .collect::<Vec<_>>()
    };
    let words = parts.memory.replicas.get(position).map(|one| &one.listed);
    let files = parts.files.replicas.get(position).map(|one| &one.listed);
    let disk = parts.disk.replicas.get(position).map(|one| &one.listed);
    let lists = Lists {
        outcome: [
            texts(Part::Outcome, &parts.outcome),
            texts(Part::Outcome, &parts.exit_status),
        ]
        .concat(),
        memory: words
            .into_iter()
            .flatten()
            .map(|one| word(one, symbols))
            .chain(
                parts
                    .in_buffers
                    .iter()
                    .filter_map(|one| of_one(one, position)),
            )
            .take(limit)
            .collect(),
        others: [
            texts(Part::Register, &parts.registers),
            texts(Part::File, &parts.result),
            texts(Part::File, &parts.buffers),
            files.into_iter().flatten().map(file).collect(),
            disk.into_iter().flatten().map(block).collect(),
            texts(Part::Log, &parts.log),
            texts(Part::Metric, &parts.metrics),
        ]
        .concat(),
    };
    lists.bounded(limit)
}

/// The differences that no majority decided.
pub(crate) fn undecided(
    parts: &Parts,
    symbols: Option<&KernelMap>,
    limit: usize,
) -> Vec<Difference> {
    let texts = |part, comparison: &state::TextComparison| {
        let listed = comparison.undecided.iter();
        let listed = listed.map(|one| undecided_text(part, one));
        listed.collect::<Vec<_>>()
    };
    let words = parts.memory.undecided.iter();
    let lists = Lists {
        outcome: [
            texts(Part::Outcome, &parts.outcome),
            texts(Part::Outcome, &parts.exit_status),
        ]
        .concat(),
        memory: words
            .map(|one| undecided_word(one, symbols))
            .chain(parts.in_buffers.iter().filter_map(of_none))
            .take(limit)
            .collect(),
        others: [
            texts(Part::Register, &parts.registers),
            texts(Part::File, &parts.result),
            texts(Part::File, &parts.buffers),
            parts.files.undecided.iter().map(undecided_file).collect(),
            parts.disk.undecided.iter().map(undecided_block).collect(),
            texts(Part::Log, &parts.log),
            texts(Part::Metric, &parts.metrics),
        ]
        .concat(),
    };
    lists.bounded(limit)
}

/// Differences in the order of their parts.
struct Lists {
    outcome: Vec<Difference>,
    memory: Vec<Difference>,
    others: Vec<Difference>,
}

impl Lists {
    /// All in order, at most `limit`, with a share for the parts besides memory.
    fn bounded(mut self, limit: usize) -> Vec<Difference> {
        let others = self.outcome.len() + self.others.len();
        let reserved = others.min(limit / SHARE_OF_OTHERS);
        self.memory.truncate(limit - reserved);
        let mut all = [self.outcome, self.memory, self.others].concat();
        all.truncate(limit);
        all
    }
}

fn word(word: &WordDifference, symbols: Option<&KernelMap>) -> Difference {
    Difference {
        part: Part::Memory,
        locus: Locus::Address(word.address),
        expected: Some(hexadecimal(&word.expected.to_le_bytes())),
        found: hexadecimal(&word.found.to_le_bytes()),
        flipped_bits: bits(word.expected ^ word.found),
        symbol: symbols.and_then(|map| map.symbol_at(word.address.0)),
        explanation: None,
    }
}

/// An aligned word in which one replica, by its position, differs from the majority.
fn of_one(word: &AlignedWord, position: usize) -> Option<Difference> {
    let expected = *state::majority(&word.values)?;
    let found = *word.values.get(position)?;
    (found != expected).then(|| Difference {
        expected: Some(hexadecimal(&expected.to_le_bytes())),
        found: hexadecimal(&found.to_le_bytes()),
        flipped_bits: bits(expected ^ found),
        ..named(word)
    })
}

/// An aligned word that no majority decides.
fn of_none(word: &AlignedWord) -> Option<Difference> {
    state::majority(&word.values)
        .is_none()
        .then(|| aligned(word))
}

/// An aligned word with what each replica holds.
pub(crate) fn aligned(word: &AlignedWord) -> Difference {
    let found: Vec<String> = word
        .values
        .iter()
        .map(|value| hexadecimal(&value.to_le_bytes()))
        .collect();
    Difference {
        found: found.join(SEPARATOR),
        flipped_bits: match word.values.as_slice() {
            [one, other] => bits(one ^ other),
            _ => Vec::new(),
        },
        ..named(word)
    }
}

fn named(word: &AlignedWord) -> Difference {
    Difference {
        part: match word.location.kind {
            ContainerKind::Register => Part::Register,
            _ => Part::Memory,
        },
        locus: Locus::Name(word.to_string()),
        expected: None,
        found: String::new(),
        flipped_bits: Vec::new(),
        symbol: None,
        explanation: None,
    }
}

fn undecided_word(word: &UndecidedWord, symbols: Option<&KernelMap>) -> Difference {
    let found: Vec<String> = word
        .found
        .iter()
        .map(|value| hexadecimal(&value.to_le_bytes()))
        .collect();
    Difference {
        part: Part::Memory,
        locus: Locus::Address(word.address),
        expected: None,
        found: found.join(SEPARATOR),
        flipped_bits: match word.found.as_slice() {
            [one, other] => bits(one ^ other),
            _ => Vec::new(),
        },
        symbol: symbols.and_then(|map| map.symbol_at(word.address.0)),
        explanation: None,
    }
}

fn text(part: Part, text: &TextDifference) -> Difference {
    let flipped_bits = match (&text.expected, &text.found) {
        (Some(expected), Some(found)) if part == Part::Register => number_bits(expected, found),
        _ => Vec::new(),
    };
    Difference {
        part,
        locus: Locus::Name(text.name.clone()),
        expected: Some(clipped(text.expected.as_deref())),
        found: clipped(text.found.as_deref()),
        flipped_bits,
        symbol: None,
        explanation: None,
    }
}

fn undecided_text(part: Part, text: &UndecidedText) -> Difference {
    let found: Vec<String> = text
        .found
        .iter()
        .map(|value| clipped(value.as_deref()))
        .collect();
    let flipped_bits = match text.found.as_slice() {
        [Some(one), Some(other)] if part == Part::Register => number_bits(one, other),
        _ => Vec::new(),
    };
    Difference {
        part,
        locus: Locus::Name(text.name.clone()),
        expected: None,
        found: found.join(SEPARATOR),
        flipped_bits,
        symbol: None,
        explanation: None,
    }
}

/// A word of the disk, or a block of it.
fn block(block: &FileDifference) -> Difference {
    Difference {
        part: Part::Disk,
        locus: disk_locus(&block.name, block.offset),
        ..file(block)
    }
}

fn undecided_block(block: &UndecidedFile) -> Difference {
    Difference {
        part: Part::Disk,
        locus: disk_locus(&block.name, None),
        ..undecided_file(block)
    }
}

fn disk_locus(block: &str, offset: Option<u64>) -> Locus {
    let start = disk_block_offset(block).unwrap_or(0);
    Locus::Name(format!("{:#x}", start.saturating_add(offset.unwrap_or(0))))
}

fn file(file: &FileDifference) -> Difference {
    let name = match file.offset {
        Some(offset) => format!("{}+{offset:#x}", file.name),
        None => file.name.clone(),
    };
    let shown = |bytes: &Option<Vec<u8>>| match bytes {
        Some(bytes) => hexadecimal(bytes),
        None => ABSENT.to_owned(),
    };
    let flipped_bits = match (&file.expected, &file.found) {
        (Some(expected), Some(found)) if expected.len() == found.len() => {
            bits(little_endian(expected) ^ little_endian(found))
        }
        _ => Vec::new(),
    };
    Difference {
        part: Part::File,
        locus: Locus::Name(name),
        expected: Some(shown(&file.expected)),
        found: shown(&file.found),
        flipped_bits,
        symbol: None,
        explanation: None,
    }
}

fn undecided_file(file: &UndecidedFile) -> Difference {
    let shown = |bytes: &Option<u64>| match bytes {
        Some(bytes) => format!("{bytes} bytes"),
        None => ABSENT.to_owned(),
    };
    let found: Vec<String> = file.bytes.iter().map(shown).collect();
    Difference {
        part: Part::File,
        locus: Locus::Name(file.name.clone()),
        expected: None,
        found: found.join(SEPARATOR),
        flipped_bits: Vec::new(),
        symbol: None,
        explanation: None,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

/// Up to eight bytes as a number whose bit 0 is the lowest of the first byte.
fn little_endian(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

/// The numbers of the bits that are set, ascending.
fn bits(word: u64) -> Vec<u32> {
    (0..u64::BITS).filter(|bit| word >> bit & 1 == 1).collect()
}

/// The bits in which two numbers in hexadecimal differ; none where they are not both of equal
/// length.
fn number_bits(expected: &str, found: &str) -> Vec<u32> {
    if expected.len() != found.len() {
        return Vec::new();
    }
    let digits = expected.chars().rev().zip(found.chars().rev());
    let digits: Option<Vec<u32>> = digits
        .map(|(one, other)| Some(one.to_digit(16)? ^ other.to_digit(16)?))
        .collect();
    let numbered = (0_u32..).step_by(4).zip(digits.unwrap_or_default());
    numbered
        .flat_map(|(first, digit)| {
            (0..4)
                .filter(move |bit| digit >> bit & 1 == 1)
                .map(move |bit| first + bit)
        })
        .collect()
}

fn clipped(text: Option<&str>) -> String {
    let Some(text) = text else {
        return ABSENT.to_owned();
    };
    match text.char_indices().nth(MAX_TEXT_CHARACTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::GuestPhysicalAddress;

    #[test]
    fn memory_is_shown_in_memory_order() {
        let difference = word(
            &WordDifference {
                address: GuestPhysicalAddress(0x1000),
                expected: 0x01,
                found: 0x0101,
            },
            None,
        );
        assert_eq!(difference.expected.as_deref(), Some("0100000000000000"));
        assert_eq!(difference.found, "0101000000000000");
        assert_eq!(difference.flipped_bits, [8]);
    }

    #[test]
    fn bits_of_registers_count_from_the_lowest() {
        assert_eq!(number_bits("00ff", "00fe"), [0]);
        assert_eq!(number_bits("8000", "0001"), [0, 15]);
        assert_eq!(number_bits("8000", "001"), [0; 0]);
        assert_eq!(number_bits("00f0 [Z]", "00f1 [Z]"), [0; 0]);
        let wide = |digit: &str| format!("{digit}{}", "0".repeat(127));
        assert_eq!(number_bits(&wide("0"), &wide("8")), [511]);
    }

    #[test]
    fn bits_of_files_count_from_the_first_byte() {
        let difference = file(&FileDifference {
            name: "out".to_owned(),
            offset: Some(16),
            expected: Some(vec![0, 0, 1]),
            found: Some(vec![0, 0, 3]),
        });
        assert_eq!(difference.locus, Locus::Name("out+0x10".to_owned()));
        assert_eq!(difference.flipped_bits, [17]);
        assert_eq!(difference.found, "000003");
    }

    #[test]
    fn long_text_is_clipped_between_characters() {
        let shown = clipped(Some(&"ä".repeat(MAX_TEXT_CHARACTERS + 1)));
        assert_eq!(shown.chars().count(), MAX_TEXT_CHARACTERS + 1);
        assert!(shown.ends_with('…'));
        assert_eq!(clipped(None), "(absent)");
    }

    fn marked(part: Part, count: usize) -> Vec<Difference> {
        let one = |number| {
            text(
                part,
                &TextDifference {
                    name: format!("{number}"),
                    expected: None,
                    found: None,
                },
            )
        };
        (0..count).map(one).collect()
    }

    fn parts_listed(outcome: usize, memory: usize, others: usize, limit: usize) -> [usize; 3] {
        let lists = Lists {
            outcome: marked(Part::Outcome, outcome),
            memory: marked(Part::Memory, memory),
            others: marked(Part::Log, others),
        };
        let all = lists.bounded(limit);
        [Part::Outcome, Part::Memory, Part::Log]
            .map(|part| all.iter().filter(|one| one.part == part).count())
    }

    #[test]
    fn memory_leaves_room_for_the_other_parts() {
        assert_eq!(parts_listed(0, 100, 0, 8), [0, 8, 0]);
        assert_eq!(parts_listed(1, 100, 50, 8), [1, 6, 1]);
        assert_eq!(parts_listed(1, 2, 50, 8), [1, 2, 5]);
        assert_eq!(parts_listed(1, 2, 3, 1), [1, 0, 0]);
    }
}
