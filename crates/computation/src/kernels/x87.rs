//! `x87`: 80-bit floats, and all rounding modes of both floating-point units.
//!
//! ```text
//! step:  for each of 3 precisions and 4 rounding modes of the x87 unit:
//!          256 rounds of the logistic map in f80
//!          8 times: quotient, root, remainder, rounding, splitting, integer, decimal of near numbers
//!        for each of 4 rounding modes of the vector unit:
//!          64 times: sum, product, quotient and root of pairs of f64
//!        32 rounds of the logistic map in f64 and in f32, in plain code
//!        running = SHA-256( running ‖ all values before ‖ all results )
//! ```
//!
//! The logistic map is chaotic: a wrong last bit is the first bit after some sixty rounds. All
//! operations are defined to the bit; sines and logarithms of the unit are not, and are left out.
//! Remainders and integers of less than full precision are left out, too: processors do not round
//! them to the precision, QEMU's translator does.
//! Elsewhere than on x86-64 there is no such unit, and the results are of another class.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, hasher};
use crate::machine::x87::{
    Extended, FULL, IS_PRESENT, PRECISIONS, ROUNDINGS, UNROUNDED, logistic, operations, rounded,
};
use crate::operand::near_f64;
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};

const NAME: &str = "x87";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "80-bit floats and the logistic map, under all rounding modes of both floating-point units",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuFpu],
    units: &[
        Unit::X87,
        Unit::FloatRounding,
        Unit::FloatDivide,
        Unit::FloatConvert,
        Unit::FloatMultiply,
        Unit::FloatAdd,
    ],
    data_types: &[DataType::F80, DataType::F64, DataType::F32, DataType::I64],
    algorithms: &[Algorithm::LogisticMap, Algorithm::ExtendedChain],
    extensions: &["sse2", "x87"],
    portable: IS_PRESENT,
    instructions_per_step: 315_000,
    emulation_weight: 1.8,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(Precisions::start),
};

const MODES: usize = PRECISIONS.len() * ROUNDINGS as usize;
const EXTENDED_ROUNDS: u32 = 256;
const OPERATIONS: usize = 8;
const PAIRS: usize = 64;
const PLAIN_ROUNDS: usize = 32;
/// What an 80-bit number's exponent is in [1/2, 1), and the mask of an exponent that is near.
const EXPONENT: u16 = 16_382;
/// Decimal digits of a packed number, as the unit stores it.
const DECIMAL_MAX: u64 = 1_000_000_000_000_000_000;

pub(crate) struct Precisions {
    /// The logistic maps' values, for each precision and rounding mode.
    maps: [Extended; MODES],
    /// The same in f64 and f32.
    double: f64,
    single: f32,
    running: [u8; DIGEST_BYTES],
    steps_done: u64,
}

impl Precisions {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        Self {
            maps: [(); MODES].map(|()| fraction(stream.next_word())),
            double: 0.5,
            single: 0.5,
            running: Sha256::digest(stream.next_word().to_le_bytes()).into(),
            steps_done: 0,
        }
    }

    /// Everything of the x87 unit, under one precision and rounding mode.
    fn extended(&mut self, mode: usize, stream: &mut Xoshiro256, link: &mut Sha256) {
        let precision = PRECISIONS[mode / usize::from(ROUNDINGS)];
        let rounding = (mode % usize::from(ROUNDINGS)) as u16;
        // r lies in [7/2, 4): chaotic, and the map stays within [0, 1].
        let r = number(stream.next_word() | 0x7 << 61, EXPONENT + 2, 0);
        let map = &mut self.maps[mode];
        logistic(map, &r, precision, rounding, EXTENDED_ROUNDS);
        link.update(*map);
        for _ in 0..OPERATIONS {
            let draw = stream.next_word();
            let x = number(
                stream.next_word(),
                EXPONENT + (draw % 32) as u16,
                draw >> 40,
            );
            let y = number(
                stream.next_word(),
                EXPONENT + (draw >> 8) as u16 % 8,
                draw >> 41,
            );
            let whole = (stream.next_word() % DECIMAL_MAX) as i64;
            let results = operations(&x, &y, whole, precision, rounding);
            for (index, result) in results.iter().enumerate() {
                // Processors do not round these to the precision; QEMU's translator does.
                if precision == FULL || !UNROUNDED.contains(&index) {
                    link.update(result);
                }
            }
        }
        // The next value depends on all of the chain, so that no map comes to rest.
        let word = u64::from_le_bytes(std::array::from_fn(|at| map[at]));
        *map = fraction(word ^ stream.next_word());
    }
}

impl Kernel for Precisions {
    fn step(&mut self) {
        let mut stream = Xoshiro256::from_digest(&self.running);
        let mut link = Sha256::new();
        link.update(self.running);
        // Rounding may drop a low bit that went wrong while it waited: it is taken in before.
        link.update(self.maps.as_flattened());
        link.update(self.double.to_le_bytes());
        link.update(self.single.to_le_bytes());
        for mode in 0..MODES {
            self.extended(mode, &mut stream, &mut link);
        }
        for rounding in 0..ROUNDINGS {
            for _ in 0..PAIRS {
                let [x, y] = [(); 2].map(|()| [(); 2].map(|()| near_f64(stream.next_word())));
                let results = rounded(x, y, rounding);
                link.update(
                    results
                        .as_flattened()
                        .iter()
                        .flat_map(|r| r.to_le_bytes())
                        .collect::<Vec<_>>(),
                );
            }
        }
        let r = 3.5 + (stream.next_word() >> 12) as f64 / (1_u64 << 53) as f64;
        for _ in 0..PLAIN_ROUNDS {
            self.double = r * self.double * (1.0 - self.double);
            self.single = r as f32 * self.single * (1.0 - self.single);
            link.update(self.double.to_le_bytes());
            link.update(self.single.to_le_bytes());
        }
        self.double = near_f64(self.double.to_bits() ^ stream.next_word()).abs() / 2.0;
        self.single = self.double as f32;
        self.running = link.finalize().into();
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.maps.as_flattened());
        all.update(self.double.to_le_bytes());
        all.update(self.single.to_le_bytes());
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let rounds = self.steps_done * (MODES as u64 * u64::from(EXTENDED_ROUNDS));
        vec![("map_rounds".to_owned(), rounds as f64)]
    }
}

/// A number of a mantissa and an exponent field; the low bit of the sign's word is the sign.
fn number(mantissa: u64, exponent: u16, sign: u64) -> Extended {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&(mantissa | 1 << 63).to_le_bytes());
    bytes[8..].copy_from_slice(&(exponent | (sign as u16) << 15).to_le_bytes());
    bytes
}

/// A number in [1/2, 1).
fn fraction(word: u64) -> Extended {
    number(word, EXPONENT, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn a_flipped_bit_in_any_map_changes_the_digest() {
        for mode in [0, 5, 11] {
            check_flip(4, || Precisions::new(1), |maps| maps.maps[mode][0] ^= 1);
        }
        check_flip(4, || Precisions::new(1), |maps| maps.double = -maps.double);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn precisions_and_roundings_part_ways() {
        let mut values: Vec<Extended> = Vec::new();
        for precision in PRECISIONS {
            for rounding in 0..ROUNDINGS {
                let mut x = fraction(0x1234_5678_9abc_def0);
                logistic(
                    &mut x,
                    &number(0xe1 << 56, EXPONENT + 2, 0),
                    precision,
                    rounding,
                    200,
                );
                assert!(
                    !values.contains(&x) || rounding == 3,
                    "{precision} {rounding}"
                );
                values.push(x);
            }
        }
    }
}
