//! `interpreter`: random programs for a small machine of byte code, and JSON read and written.
//!
//! ```text
//! machine:  16 registers, 256 words of memory; instructions of 4 bytes: code, a, b, c
//! step:     a program of 256 instructions from keystream( running ), run for 8,192 instructions
//!           through a table of functions; jumps go anywhere in the program
//!           the registers as a JSON document, written, read, and written again: a text that is
//!           not the same again is counted
//!           running = SHA-256( running ‖ registers and memory before ‖ registers ‖ memory ‖ counts of each code ‖ the text )
//! ```
//!
//! Every instruction is an indirect call whose target the program draws. A wrong target or operand
//! is in registers or memory, which live on through the step and enter the next.

mod machine;

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, hasher};
use crate::random::Xoshiro256;
use machine::{CODES, Machine, PROGRAM_BYTES, Program};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const NAME: &str = "interpreter";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "random byte code through a table of functions, and JSON written and read",
    sensitivity: Sensitivity::Medium,
    targets: &[Target::CpuInteger],
    units: &[
        Unit::IndirectBranches,
        Unit::Branches,
        Unit::IntegerArithmetic,
        Unit::IntegerMultiply,
        Unit::IntegerDivide,
        Unit::BitManipulation,
        Unit::Shift,
    ],
    data_types: &[DataType::U64, DataType::U128, DataType::Text],
    algorithms: &[Algorithm::Interpreter],
    extensions: &[],
    portable: true,
    instructions_per_step: 583_000,
    emulation_weight: 0.92,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(Programs::start),
};

/// Instructions of a step.
const INSTRUCTIONS: usize = 8192;

pub(crate) struct Programs {
    machine: Machine,
    program: Box<Program>,
    running: [u8; DIGEST_BYTES],
    /// Documents that did not come back.
    mismatches: u64,
    steps_done: u64,
}

impl Programs {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut program = Box::new([0; PROGRAM_BYTES]);
        stream.mask(&mut program[..]);
        Self {
            machine: Machine::new(&mut stream),
            program,
            running: [0; DIGEST_BYTES],
            mismatches: 0,
            steps_done: 0,
        }
    }

    /// The registers as JSON, through text and back.
    fn through_text(&mut self) -> String {
        let document = json!({
            "step": self.steps_done,
            "registers": self.machine.registers,
            "shares": self.machine.registers.map(|word| (word >> 11) as f64 / (1_u64 << 53) as f64),
            "name": format!("{:x}\n\u{fc}", self.machine.registers[0]),
        });
        let text = document.to_string();
        let again = serde_json::from_str(&text).unwrap_or(Value::Null);
        let rewritten = again.to_string();
        self.mismatches += u64::from(again != document || rewritten != text);
        text
    }
}

impl Kernel for Programs {
    fn step(&mut self) {
        let mut link = Sha256::new();
        link.update(self.running);
        // A register may be written before it is read: what waited is taken in before.
        link.update(self.machine.bytes());
        for _ in 0..INSTRUCTIONS {
            self.machine.execute(&self.program);
        }
        let text = self.through_text();
        link.update(self.machine.bytes());
        link.update(text);
        link.update(self.mismatches.to_le_bytes());
        self.running = link.finalize().into();
        Xoshiro256::from_digest(&self.running).mask(&mut self.program[..]);
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.mismatches.to_le_bytes());
        all.update(self.machine.bytes());
        all.update(&self.program[..]);
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let mut metrics: Vec<(String, f64)> = (0..CODES)
            .map(|code| (format!("code_{code:02}"), self.machine.counts[code] as f64))
            .collect();
        metrics.push(("mismatches".to_owned(), self.mismatches as f64));
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn a_flipped_bit_in_program_registers_or_memory_changes_the_digest() {
        let start = || Programs::new(1);
        for byte in [0, 600, PROGRAM_BYTES - 1] {
            check_flip(4, start, |programs| programs.program[byte] ^= 1);
        }
        for register in [0, 7, 15] {
            check_flip(4, start, |programs| {
                programs.machine.registers[register] ^= 1 << 50;
            });
        }
        check_flip(4, start, |programs| programs.machine.memory[200] ^= 2);
    }

    #[test]
    fn every_code_is_executed_and_documents_come_back() {
        let mut programs = Programs::new(2);
        for _ in 0..16 {
            programs.step();
        }
        assert_eq!(programs.mismatches, 0);
        assert_eq!(
            programs.machine.counts.iter().sum::<u64>(),
            16 * INSTRUCTIONS as u64
        );
        assert!(programs.machine.counts.iter().all(|count| *count > 100));
    }
}
