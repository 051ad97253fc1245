//! `gather`: indexed loads and stores, in tables in which each word tells where it stands.
//!
//! ```text
//! tables:  16 of 256 KiB; the low bits of a word are its place, the others are drawn
//! step i:  table [ i mod 16 ]
//!          2,048 times eight indices from a stream that the results feed:
//!            words = gather( table, indices ), by vector where there is one
//!            a word that is not that of its index is counted; fold <- words
//!            word[ first index ] = its place, with other bits from the fold
//!          running = SHA-256( running ‖ fold ‖ misplaced ‖ a fold of the whole table )
//! ```
//!
//! A load from a wrong address gives a valid word, and a sum over words would not tell. Here the
//! word says its own index.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, fold_in, hasher};
use crate::machine::gather::{LANES, gather};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "gather";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "indexed loads and stores over 4 MiB, in which each word tells where it stands",
    sensitivity: Sensitivity::High,
    targets: &[Target::Memory, Target::CpuInteger],
    units: &[Unit::Gather, Unit::LoadStore, Unit::AddressLines],
    data_types: &[DataType::U64, DataType::U32],
    algorithms: &[Algorithm::IndexedLoads],
    extensions: &["avx2"],
    portable: true,
    instructions_per_step: 800_000,
    emulation_weight: 2.7,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(Tables::start),
};

const TABLES: usize = 16;
const WORDS: usize = 1 << PLACE_BITS;
/// Where a word stands takes so many bits of it; the others are drawn.
const PLACE_BITS: u32 = 15;
const PLACE: u64 = WORDS as u64 - 1;
const LOADS: usize = 2048;

pub(crate) struct Tables {
    tables: Vec<PageAligned<[u64; WORDS]>>,
    running: [u8; DIGEST_BYTES],
    /// Words that were not those of their index.
    misplaced: u64,
    steps_done: u64,
}

impl Tables {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut tables = vec![PageAligned([0; WORDS]); TABLES];
        for table in &mut tables {
            for (place, word) in table.0.iter_mut().enumerate() {
                *word = stream.next_word() & !PLACE | place as u64;
            }
        }
        Self {
            tables,
            running: [0; DIGEST_BYTES],
            misplaced: 0,
            steps_done: 0,
        }
    }
}

impl Kernel for Tables {
    fn step(&mut self) {
        let table = &mut self.tables[(self.steps_done % TABLES as u64) as usize].0;
        let mut stream = Xoshiro256::from_digest(&self.running);
        let mut fold = self.steps_done;
        for _ in 0..LOADS {
            let indices = indices(&mut stream, fold);
            let words = gather(table, &indices);
            for (index, word) in indices.iter().zip(words) {
                self.misplaced += u64::from((word ^ u64::from(*index)) & PLACE != 0);
                fold = fold_in(fold, word);
            }
            let place = u64::from(indices[0]) & PLACE;
            table[place as usize] = fold & !PLACE | place;
        }
        let whole = table.iter().fold(fold, |fold, word| fold_in(fold, *word));
        let mut link = Sha256::new();
        link.update(self.running);
        link.update(fold.to_le_bytes());
        link.update(whole.to_le_bytes());
        link.update(self.misplaced.to_le_bytes());
        self.running = link.finalize().into();
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.misplaced.to_le_bytes());
        for table in &self.tables {
            for words in table
                .0
                .as_chunks::<{ model::PAGE_BYTES / size_of::<u64>() }>()
                .0
            {
                all.update(words.map(u64::to_le_bytes).as_flattened());
            }
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let loaded = self.steps_done * (LOADS * LANES) as u64;
        vec![
            ("misplaced".to_owned(), self.misplaced as f64),
            ("words_loaded".to_owned(), loaded as f64),
        ]
    }
}

/// Eight indices, that depend on what was loaded last.
fn indices(stream: &mut Xoshiro256, fold: u64) -> [u32; LANES] {
    let mut draw = stream.next_word() ^ fold;
    [(); LANES].map(|()| {
        draw = draw
            .wrapping_mul(0xd134_2543_de82_ef95)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        (draw >> 40) as u32
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn every_word_is_found_where_it_stands() {
        let mut tables = Tables::new(2);
        for _ in 0..2 * TABLES {
            tables.step();
        }
        assert_eq!(tables.misplaced, 0);
    }

    #[test]
    fn words_that_changed_places_are_counted() {
        let mut tables = Tables::new(2);
        for place in (0..WORDS).step_by(2) {
            tables.tables[0].0.swap(place, place + 1);
        }
        tables.step();
        assert!(
            tables.misplaced > (LOADS * LANES / 2) as u64,
            "{}",
            tables.misplaced
        );
    }

    #[test]
    fn a_flipped_bit_anywhere_changes_the_digest() {
        for (table, word, bit) in [(0, 0, 0), (7, 20_000, 40), (15, WORDS - 1, 63)] {
            check_flip(
                TABLES as u64,
                || Tables::new(1),
                |tables| {
                    tables.tables[table].0[word] ^= 1 << bit;
                },
            );
        }
    }
}
