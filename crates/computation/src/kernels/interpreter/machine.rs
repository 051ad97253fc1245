//! The machine of byte code: its state, and what each code does.

use crate::random::Xoshiro256;

/// Instructions of a program, and their bytes: code, a, b, c.
const PROGRAM: usize = 256;
pub(super) const PROGRAM_BYTES: usize = 4 * PROGRAM;
pub(super) type Program = [u8; PROGRAM_BYTES];

const REGISTERS: usize = 16;
const MEMORY: usize = 256;
/// Codes; a byte is taken modulo their number.
pub(super) const CODES: usize = 16;
/// Instructions after which the machine goes on elsewhere: no loop lasts.
const PATIENCE: u64 = 61;

#[derive(Debug, Clone)]
pub(super) struct Machine {
    pub(super) registers: [u64; REGISTERS],
    pub(super) memory: [u64; MEMORY],
    pub(super) counts: [u64; CODES],
    /// The next instruction.
    at: usize,
    done: u64,
}

/// An instruction's operands.
#[derive(Debug, Clone, Copy)]
struct Operands {
    a: u8,
    b: u8,
    c: u8,
}

type Code = fn(&mut Machine, Operands);

static TABLE: [Code; CODES] = [
    |m, o| m.set(o.a, m.get(o.b).wrapping_add(m.get(o.c))),
    |m, o| m.set(o.a, m.get(o.b).wrapping_sub(m.get(o.c))),
    |m, o| m.set(o.a, m.get(o.b) ^ m.get(o.c)),
    |m, o| m.set(o.a, m.get(o.b).rotate_left(m.get(o.c) as u32 & 63)),
    // Both halves of the product are used.
    |m, o| {
        let product = u128::from(m.get(o.b)) * u128::from(m.get(o.c));
        m.set(o.a, product as u64);
        m.set(
            o.a.wrapping_add(1),
            (product >> 64) as u64 ^ m.get(o.a.wrapping_add(1)),
        );
    },
    |m, o| {
        let (value, by) = (m.get(o.b), m.get(o.c) >> 20 | 1);
        m.set(o.a, (value / by) ^ (value % by).rotate_left(32));
    },
    |m, o| m.set(o.a, m.get(o.a) ^ m.memory[m.place(o.b, o.c)]),
    |m, o| {
        let place = m.place(o.b, o.c);
        m.memory[place] = m.memory[place].rotate_left(7) ^ m.get(o.a);
    },
    |m, o| m.set(o.a, m.get(o.a).swap_bytes() ^ m.get(o.b)),
    |m, o| {
        let (one, other) = (m.get(o.b), m.get(o.c));
        let counted = one.count_ones() << 16 | other.leading_zeros() << 8 | one.trailing_zeros();
        m.set(o.a, m.get(o.a).wrapping_add(u64::from(counted)));
    },
    |m, o| {
        if m.get(o.a) > m.get(o.b) {
            m.at = usize::from(o.c) % PROGRAM;
        }
    },
    |m, o| {
        if m.get(o.a) & 1 << (o.b & 63) != 0 {
            m.at = (m.at + usize::from(o.c)) % PROGRAM;
        }
    },
    |m, o| m.at = (m.get(o.a) as usize ^ usize::from(o.b)) % PROGRAM,
    |m, o| {
        m.set(
            o.a,
            m.get(o.a)
                .wrapping_add(u64::from(o.b) << 8 | u64::from(o.c)),
        );
    },
    |m, o| m.set(o.a, ((m.get(o.b) as i64) >> (o.c & 31)) as u64 ^ m.get(o.a)),
    |m, o| {
        let value = match m.get(o.b) < m.get(o.c) {
            true => m.get(o.b),
            false => !m.get(o.c),
        };
        m.set(o.a, value);
    },
];

impl Machine {
    pub(super) fn new(stream: &mut Xoshiro256) -> Self {
        Self {
            registers: std::array::from_fn(|_| stream.next_word()),
            memory: std::array::from_fn(|_| stream.next_word()),
            counts: [0; CODES],
            at: 0,
            done: 0,
        }
    }

    /// The next instruction of a program.
    pub(super) fn execute(&mut self, program: &Program) {
        let [code, a, b, c] = program.as_chunks().0[self.at % PROGRAM];
        self.at = (self.at + 1) % PROGRAM;
        let code = usize::from(code) % CODES;
        self.counts[code] += 1;
        TABLE[code](self, Operands { a, b, c });
        self.done += 1;
        if self.done.is_multiple_of(PATIENCE) {
            self.at = (self.done / PATIENCE) as usize * 37 % PROGRAM;
            // No register stays what it is: a chain of exclusive ors may come to zero.
            let kept = self.done as usize / 8 % REGISTERS;
            self.registers[kept] ^= self.done.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    /// Everything, for the digest.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let state = [self.at as u64, self.done];
        let words = self
            .registers
            .iter()
            .chain(&self.memory)
            .chain(&self.counts);
        words
            .chain(&state)
            .flat_map(|word| word.to_le_bytes())
            .collect()
    }

    const fn get(&self, register: u8) -> u64 {
        self.registers[register as usize % REGISTERS]
    }

    const fn set(&mut self, register: u8, value: u64) {
        self.registers[register as usize % REGISTERS] = value;
    }

    fn place(&self, register: u8, offset: u8) -> usize {
        (self.get(register) as usize ^ usize::from(offset)) % MEMORY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(code: u8, operands: [u8; 3]) -> Machine {
        let mut machine = Machine::new(&mut Xoshiro256::from_seed(1));
        machine.registers[..4].copy_from_slice(&[5, 3, u64::MAX, 1 << 40]);
        let mut program = [0; PROGRAM_BYTES];
        program[..4].copy_from_slice(&[code, operands[0], operands[1], operands[2]]);
        machine.execute(&program);
        machine
    }

    #[test]
    fn codes_do_what_they_say() {
        assert_eq!(run(0, [9, 0, 1]).registers[9], 8);
        assert_eq!(run(1, [9, 1, 0]).registers[9], 2_u64.wrapping_neg());
        assert_eq!(run(2, [9, 0, 1]).registers[9], 6);
        let squared = run(4, [9, 2, 2]);
        assert_eq!(squared.registers[9], 1);
        assert_eq!(run(5, [9, 3, 0]).registers[9], 1 << 40);
        assert_eq!(run(10, [0, 1, 77]).at, 77);
        assert_eq!(run(10, [1, 0, 77]).at, 1);
        assert_eq!(run(12, [0, 6, 0]).at, 3);
        assert_eq!(run(15, [9, 1, 0]).registers[9], 3);
    }
}
