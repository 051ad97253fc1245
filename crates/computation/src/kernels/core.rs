//! `core`: lists, an integer matrix and a state machine over text, in the manner of CoreMark.
//!
//! ```text
//! step:  list     512 cells in a chain through memory: found, reversed, sorted by merging, removed
//!                 and put back
//!        matrix   24 × 24 of i16: by a constant, by a vector, by itself, by single bits; sums in i32
//!        machine  2 KiB of numbers as text, read by a state machine of eight states, then damaged
//!                 and read again
//!        each result enters a CRC-16, as there, and running = SHA-256( running ‖ all of them )
//!        everything is masked by keystream( running )
//! ```
//!
//! Unlike the benchmark it keeps every bit of every result, and its data change with each step.

mod list;
mod machine;

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, hasher};
use crate::random::Xoshiro256;
use crc::{CRC_16_ARC, Crc};
use list::List;
use sha2::{Digest as _, Sha256};

const NAME: &str = "core";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "lists, an integer matrix and a state machine over text, in the manner of CoreMark",
    sensitivity: Sensitivity::Medium,
    targets: &[Target::CpuInteger],
    units: &[
        Unit::Pointers,
        Unit::Branches,
        Unit::IntegerMultiply,
        Unit::IntegerArithmetic,
        Unit::Shift,
        Unit::TableLookup,
    ],
    data_types: &[DataType::I16, DataType::I32, DataType::U16, DataType::Text],
    algorithms: &[Algorithm::CoreBenchmark],
    extensions: &[],
    portable: true,
    instructions_per_step: 1_920_000,
    emulation_weight: 0.75,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(Core::start),
};

static CHECK: Crc<u16> = Crc::<u16>::new(&CRC_16_ARC);

/// Rows and columns of the matrix.
const N: usize = 24;
type Matrix = [[i16; N]; N];
/// What the products came to.
type Sums = [[i32; N]; N];

pub(crate) struct Core {
    list: List,
    matrix: Box<Matrix>,
    sums: Box<Sums>,
    text: Box<machine::Text>,
    check: u16,
    running: [u8; DIGEST_BYTES],
    steps_done: u64,
}

impl Core {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut core = Self {
            list: List::new(&mut stream),
            matrix: Box::new([[0; N]; N]),
            sums: Box::new([[0; N]; N]),
            text: Box::new([0; machine::TEXT_BYTES]),
            check: 0,
            running: [0; DIGEST_BYTES],
            steps_done: 0,
        };
        core.refresh(&mut stream);
        core
    }

    fn refresh(&mut self, stream: &mut Xoshiro256) {
        for value in self.matrix.as_flattened_mut() {
            *value ^= stream.next_word() as i16;
        }
        self.list.mask(stream);
        machine::write(&mut self.text, stream);
    }

    /// Takes bytes into the CRC-16 and the link.
    fn absorb(&mut self, link: &mut Sha256, bytes: &[u8]) {
        let mut digest = CHECK.digest_with_initial(self.check);
        digest.update(bytes);
        self.check = digest.finalize();
        link.update(bytes);
        link.update(self.check.to_le_bytes());
    }
}

impl Kernel for Core {
    fn step(&mut self) {
        let mut link = Sha256::new();
        link.update(self.running);
        // What waited since the last step is alive too.
        let waiting = sums_bytes(&self.sums);
        self.absorb(&mut link, &waiting);
        let walked = self.list.exercise(u64::from(self.check));
        self.absorb(&mut link, &walked);
        for round in 0..4 {
            multiply(&self.matrix, round, self.check, &mut self.sums);
            let sums = sums_bytes(&self.sums);
            self.absorb(&mut link, &sums);
        }
        for _ in 0..2 {
            let counted = machine::read(&self.text);
            self.absorb(&mut link, counted.map(u32::to_le_bytes).as_flattened());
            let seed = u64::from(self.check) + self.steps_done;
            machine::damage(&mut self.text, &mut Xoshiro256::from_seed(seed));
        }
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
        all.update(self.check.to_le_bytes());
        all.update(self.list.bytes());
        all.update(
            self.matrix
                .map(|row| row.map(i16::to_le_bytes))
                .as_flattened()
                .as_flattened(),
        );
        all.update(sums_bytes(&self.sums));
        all.update(&self.text[..]);
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![("iterations".to_owned(), self.steps_done as f64)]
    }
}

fn sums_bytes(sums: &Sums) -> Vec<u8> {
    sums.as_flattened()
        .iter()
        .flat_map(|sum| sum.to_le_bytes())
        .collect()
}

/// The four products: by a constant, by a vector, by the matrix, and by single bits of it.
fn multiply(matrix: &Matrix, round: u32, constant: u16, sums: &mut Sums) {
    let vector = matrix[constant as usize % N];
    for (i, row) in sums.iter_mut().enumerate() {
        for (j, sum) in row.iter_mut().enumerate() {
            let one = i32::from(matrix[i][j]);
            let product = |k: usize| {
                let (a, b) = (i32::from(matrix[i][k]), i32::from(matrix[k][j]));
                match round {
                    0 => one
                        .wrapping_mul(i32::from(constant as i16))
                        .rotate_left(k as u32),
                    1 => a.wrapping_mul(i32::from(vector[k])).wrapping_add(j as i32),
                    2 => a.wrapping_mul(b),
                    _ => (a >> 2 & 0xf).wrapping_mul(b >> 5 & 0x7f),
                }
            };
            *sum = (0..N).fold(*sum, |sum, k| sum.wrapping_add(product(k)).rotate_left(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn a_flipped_bit_in_list_matrix_or_sums_changes_the_digest() {
        let start = || Core::new(1);
        for (i, j) in [(0, 0), (11, 23), (23, 5)] {
            check_flip(4, start, |core| core.matrix[i][j] ^= 1 << 9);
            check_flip(4, start, |core| core.sums[i][j] ^= 1 << 20);
        }
        check_flip(4, start, |core| core.list.flip(300));
        check_flip(4, start, |core| core.check ^= 1);
    }

    #[test]
    fn the_check_is_the_one_that_is_published() {
        assert_eq!(CHECK.checksum(b"123456789"), 0xbb3d);
    }
}
