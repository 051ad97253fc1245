//! `bigint`: modular exponentiation, products and divisions of big integers, each shown right by
//! another way.
//!
//! ```text
//! step:  modulus = slot[ i mod 16 ] of 1024 bits, odd
//!        p = base ^ exponent mod modulus             exponent of 64 bits
//!        n = p · other + base                        2048 bits
//!        q, r = n divided by modulus                 n must be q · modulus + r, or it is counted
//!        s = isqrt( n )                              s² ≤ n < ( s + 1 )², or it is counted
//!        base, exponent, other, slot follow from SHA-256( running ‖ p ‖ q ‖ r ‖ s ‖ mismatches )
//! ```
//!
//! Limbs of 64 bits with both halves of each product, and carries through all of them: a wrong bit
//! in any of them is in what follows. The library allocates in a step; it is the subject.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, hasher};
use crate::random::Xoshiro256;
use num_bigint::BigUint;
use sha2::{Digest as _, Sha256};

const NAME: &str = "bigint";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "modular exponentiation, products, divisions and roots of 1024-bit integers",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuInteger],
    units: &[
        Unit::IntegerMultiply,
        Unit::IntegerDivide,
        Unit::IntegerArithmetic,
        Unit::Shift,
    ],
    data_types: &[DataType::BigInteger, DataType::U64, DataType::U128],
    algorithms: &[Algorithm::ModularPower],
    extensions: &[],
    portable: true,
    instructions_per_step: 816_000,
    emulation_weight: 0.61,
    default_budget_s: 1.0,
    minimum_steps: MODULI as u64,
    start: Start::Alone(PowerChain::start),
};

const BITS: usize = 1024;
const BYTES: usize = BITS / 8;
/// Moduli, each rewritten after its turn.
const MODULI: usize = 16;

pub(crate) struct PowerChain {
    moduli: Vec<BigUint>,
    base: BigUint,
    other: BigUint,
    exponent: u64,
    running: [u8; DIGEST_BYTES],
    /// Divisions and roots that did not come back to their number.
    mismatches: u64,
    steps_done: u64,
}

impl PowerChain {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        Self {
            moduli: (0..MODULI).map(|_| modulus(&mut stream)).collect(),
            base: number(&mut stream),
            other: number(&mut stream),
            exponent: stream.next_word(),
            running: [0; DIGEST_BYTES],
            mismatches: 0,
            steps_done: 0,
        }
    }
}

impl Kernel for PowerChain {
    fn step(&mut self) {
        let slot = (self.steps_done % MODULI as u64) as usize;
        let modulus_now = &self.moduli[slot];
        let power = self.base.modpow(&BigUint::from(self.exponent), modulus_now);
        let large = &power * &self.other + &self.base;
        let (quotient, rest) = (&large / modulus_now, &large % modulus_now);
        let root = large.sqrt();
        let comes_back = &quotient * modulus_now + &rest == large && rest < *modulus_now;
        let next_root = &root + 1_u32;
        let encloses = &root * &root <= large && &next_root * &next_root > large;
        self.mismatches += u64::from(!comes_back) + u64::from(!encloses);
        let mut link = Sha256::new();
        link.update(self.running);
        for number in [&power, &quotient, &rest, &root] {
            absorb(&mut link, number);
        }
        link.update(self.mismatches.to_le_bytes());
        self.running = link.finalize().into();
        let mut stream = Xoshiro256::from_digest(&self.running);
        self.base = power ^ number(&mut stream);
        self.other = &self.other ^ quotient;
        self.exponent ^= stream.next_word();
        self.moduli[slot] = modulus(&mut stream);
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.mismatches.to_le_bytes());
        all.update(self.exponent.to_le_bytes());
        for number in self.moduli.iter().chain([&self.base, &self.other]) {
            absorb(&mut all, number);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![
            ("mismatches".to_owned(), self.mismatches as f64),
            ("powers".to_owned(), self.steps_done as f64),
        ]
    }
}

/// A number with its length: no two rows of numbers are the same bytes.
fn absorb(hasher: &mut Sha256, number: &BigUint) {
    let bytes = number.to_bytes_le();
    hasher.update((bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn number(stream: &mut Xoshiro256) -> BigUint {
    let mut bytes = [0; BYTES];
    stream.mask(&mut bytes);
    BigUint::from_bytes_le(&bytes)
}

/// A number of full length that is odd, so that the fast method serves.
fn modulus(stream: &mut Xoshiro256) -> BigUint {
    let mut bytes = [0; BYTES];
    stream.mask(&mut bytes);
    bytes[0] |= 1;
    bytes[BYTES - 1] |= 0x80;
    BigUint::from_bytes_le(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn every_division_and_every_root_comes_back() {
        let mut chain = PowerChain::new(2);
        for _ in 0..2 * MODULI {
            chain.step();
        }
        assert_eq!(chain.mismatches, 0);
    }

    #[test]
    fn a_flipped_bit_in_any_number_changes_the_digest() {
        let start = || PowerChain::new(1);
        let steps = 2 * MODULI as u64;
        for bit in [0, 511, 1023] {
            check_flip(steps, start, |chain| {
                chain.base ^= BigUint::from(1_u32) << bit;
            });
            check_flip(steps, start, |chain| {
                chain.moduli[3] ^= BigUint::from(1_u32) << bit;
            });
        }
        check_flip(steps, start, |chain| chain.exponent ^= 1 << 40);
    }

    /// Fermat: a ^ (p - 1) is 1 modulo a prime.
    #[test]
    fn a_power_modulo_a_known_prime_is_one() {
        let prime = (BigUint::from(1_u32) << 521_u32) - 1_u32;
        let power = BigUint::from(3_u32).modpow(&(&prime - 1_u32), &prime);
        assert_eq!(power, BigUint::from(1_u32));
    }
}
