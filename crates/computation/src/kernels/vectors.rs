//! `vectors`: seventeen classes of integer instructions, each held against the same in plain code.
//!
//! ```text
//! step:  512 rounds, over 128 blocks of 32 bytes in turn:
//!          for each class in an order that is drawn:
//!            result = instruction( x, y );  another result in plain code is counted
//!            x, y   = y, x ^ result rotated
//!          fold <- x, y
//!        running = SHA-256( running ‖ fold ‖ mismatches ), and masks the blocks
//! ```
//!
//! The classes are dot products, permutes, products, shifts, packs, fields and bits; the table is in
//! `machine::integer`. Where the processor lacks a class, plain code stands for it, so that the
//! result is the same everywhere. One round in eight is held against plain code.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, fold_in, hasher};
use crate::machine::integer::{Block, Class, WORDS, execute, plain};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "vectors";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "17 classes of integer vector and bit instructions, held against plain code",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuInteger],
    units: &[
        Unit::IntegerVector,
        Unit::VectorPermute,
        Unit::BitManipulation,
        Unit::GaloisField,
        Unit::IntegerMultiply,
        Unit::Shift,
    ],
    data_types: &[
        DataType::U8,
        DataType::I16,
        DataType::U32,
        DataType::I32,
        DataType::U64,
        DataType::U128,
    ],
    algorithms: &[Algorithm::IntegerInstructions],
    extensions: &[
        "avx", "avx2", "bmi1", "bmi2", "gfni", "lzcnt", "movbe", "popcnt",
    ],
    portable: true,
    instructions_per_step: 3_500_000,
    emulation_weight: 1.16,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(Classes::start),
};

const BLOCKS: usize = 128;
const ROUNDS: usize = 512;
/// Every so many rounds are held against plain code, which takes longer.
const CHECKED: usize = 8;

pub(crate) struct Classes {
    blocks: Vec<PageAligned<[Block; BLOCKS]>>,
    running: [u8; DIGEST_BYTES],
    /// Instructions that came to something else than plain code.
    mismatches: u64,
    steps_done: u64,
}

impl Classes {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut classes = Self {
            blocks: vec![PageAligned([[0; WORDS]; BLOCKS])],
            running: [0; DIGEST_BYTES],
            mismatches: 0,
            steps_done: 0,
        };
        classes.refresh(&mut Xoshiro256::from_seed(seed));
        classes
    }

    fn refresh(&mut self, stream: &mut Xoshiro256) {
        for word in self.blocks[0].0.as_flattened_mut() {
            *word ^= stream.next_word();
        }
    }

    /// All classes on two blocks, in an order that begins with one that is drawn.
    fn round(&mut self, round: usize, first: usize) -> u64 {
        let (here, there) = (round % BLOCKS, (round + first) % BLOCKS);
        let blocks = &mut self.blocks[0].0;
        let (mut x, mut y) = (blocks[here], blocks[there]);
        for offset in 0..Class::ALL.len() {
            let class = Class::ALL[(first + offset) % Class::ALL.len()];
            let result = execute(class, &x, &y);
            if round.is_multiple_of(CHECKED) {
                self.mismatches += u64::from(result != plain(class, &x, &y));
            }
            let mixed = std::array::from_fn(|lane| x[lane].rotate_left(11) ^ result[lane]);
            (x, y) = (y, mixed);
        }
        blocks[here] = x;
        x.iter()
            .chain(&y)
            .fold(0, |fold, word| fold_in(fold, *word))
    }
}

impl Kernel for Classes {
    fn step(&mut self) {
        let mut stream = Xoshiro256::from_digest(&self.running);
        let mut link = Sha256::new();
        link.update(self.running);
        // The first order is drawn by the step: the first digest is nothing but zeros.
        let mut draw = stream.next_word() ^ self.steps_done;
        for round in 0..ROUNDS {
            let fold = self.round(round, 1 + (draw >> 57) as usize);
            draw = draw.rotate_left(7) ^ fold;
            link.update(fold.to_le_bytes());
        }
        link.update(self.mismatches.to_le_bytes());
        self.running = link.finalize().into();
        self.refresh(&mut Xoshiro256::from_digest(&self.running));
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.mismatches.to_le_bytes());
        for word in self.blocks[0].0.as_flattened() {
            all.update(word.to_le_bytes());
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let executed = self.steps_done * (ROUNDS * Class::ALL.len()) as u64;
        vec![
            (
                "instructions_held".to_owned(),
                (executed / CHECKED as u64) as f64,
            ),
            ("mismatches".to_owned(), self.mismatches as f64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn instructions_agree_with_plain_code() {
        let mut classes = Classes::new(2);
        for _ in 0..16 {
            classes.step();
        }
        assert_eq!(classes.mismatches, 0);
    }

    #[test]
    fn a_flipped_bit_in_any_block_changes_the_digest() {
        for (block, lane, bit) in [(0, 0, 0), (64, 2, 31), (127, 3, 63)] {
            check_flip(
                4,
                || Classes::new(1),
                |classes| {
                    classes.blocks[0].0[block][lane] ^= 1 << bit;
                },
            );
        }
    }
}
