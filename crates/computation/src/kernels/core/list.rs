//! A linked list in an array of cells: found, reversed, sorted, cut and mended.

use crate::kernel::fold_in;
use crate::random::Xoshiro256;

/// Cells: 8 KiB, a chain that jumps about.
const CELLS: usize = 512;
/// The end of the chain. An index is taken modulo the cells, so that a wrong one leads astray and
/// not beyond.
const END: u32 = u32::MAX;
/// Values that are looked for.
const LOOK_UPS: usize = 16;

#[derive(Debug, Clone, Copy)]
struct Cell {
    value: u64,
    next: u32,
    /// The cell's own number, masked: what a sort moves along with the value.
    tag: u32,
}

pub(super) struct List {
    cells: Vec<Cell>,
    head: u32,
}

impl List {
    pub(super) fn new(stream: &mut Xoshiro256) -> Self {
        let cell = |index: usize| Cell {
            value: stream.next_word(),
            next: if index + 1 < CELLS {
                index as u32 + 1
            } else {
                END
            },
            tag: index as u32,
        };
        Self {
            cells: (0..CELLS).map(cell).collect(),
            head: 0,
        }
    }

    /// Masks all values; the chain stays.
    pub(super) fn mask(&mut self, stream: &mut Xoshiro256) {
        for cell in &mut self.cells {
            let draw = stream.next_word();
            cell.value ^= draw;
            cell.tag ^= (draw >> 17) as u32;
        }
    }

    /// All that is done with it; returns what was found on the way.
    pub(super) fn exercise(&mut self, seed: u64) -> Vec<u8> {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut found = Vec::with_capacity((LOOK_UPS + 4) * size_of::<u64>());
        for _ in 0..LOOK_UPS {
            let limit = stream.next_word() >> 3;
            found.extend(self.find(limit).to_le_bytes());
        }
        self.reverse();
        found.extend(self.fold().to_le_bytes());
        self.sort();
        found.extend(self.fold().to_le_bytes());
        let cut = self.remove_second();
        found.extend(self.fold().to_le_bytes());
        self.put_back(cut);
        found.extend(self.fold().to_le_bytes());
        found
    }

    /// Everything, for the digest.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head.to_le_bytes().to_vec();
        for cell in &self.cells {
            bytes.extend(cell.value.to_le_bytes());
            bytes.extend(cell.next.to_le_bytes());
            bytes.extend(cell.tag.to_le_bytes());
        }
        bytes
    }

    fn cell(&self, index: u32) -> &Cell {
        &self.cells[index as usize % CELLS]
    }

    fn cell_mut(&mut self, index: u32) -> &mut Cell {
        &mut self.cells[index as usize % CELLS]
    }

    /// The indices along the chain; no more than there are cells, also where a wrong link made a
    /// circle.
    fn walk(&self) -> impl Iterator<Item = u32> {
        let next = |index: &u32| Some(self.cell(*index).next);
        std::iter::successors(Some(self.head), next)
            .take_while(|index| *index != END)
            .take(CELLS)
    }

    /// The first cell whose value is below the limit, and how far it was.
    fn find(&self, limit: u64) -> u64 {
        let mut steps = 0;
        for index in self.walk() {
            steps += 1;
            if self.cell(index).value < limit {
                return u64::from(index) << 32 | steps;
            }
        }
        steps
    }

    fn fold(&self) -> u64 {
        self.walk().fold(0, |fold, index| {
            let cell = self.cell(index);
            fold_in(
                fold_in(fold, cell.value),
                u64::from(cell.tag) << 32 | u64::from(index),
            )
        })
    }

    fn reverse(&mut self) {
        let chain: Vec<u32> = self.walk().collect();
        let before = std::iter::once(END).chain(chain.iter().copied());
        for (index, before) in chain.iter().zip(before) {
            self.cell_mut(*index).next = before;
        }
        self.head = chain.last().copied().unwrap_or(END);
    }

    /// By merging runs of doubling length, from the bottom up: links change, values stay.
    fn sort(&mut self) {
        let mut runs: Vec<Vec<u32>> = self.walk().map(|index| vec![index]).collect();
        while runs.len() > 1 {
            let pairs = runs.chunks(2);
            runs = pairs.map(|pair| self.merge(pair)).collect();
        }
        let chain = runs.pop().unwrap_or_default();
        self.head = chain.first().copied().unwrap_or(END);
        let after = chain.iter().skip(1).copied().chain([END]);
        for (index, after) in chain.iter().zip(after) {
            self.cell_mut(*index).next = after;
        }
    }

    fn merge(&self, pair: &[Vec<u32>]) -> Vec<u32> {
        let [one, other] = pair else {
            return pair.concat();
        };
        let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
        let mut merged = Vec::with_capacity(one.len() + other.len());
        while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
            let first = self.cell(**a).value <= self.cell(**b).value;
            merged.extend(if first { one.next() } else { other.next() });
        }
        merged.extend(one.chain(other));
        merged
    }

    /// Takes the second cell out.
    fn remove_second(&mut self) -> u32 {
        let second = self.cell(self.head).next;
        if second != END {
            let after = self.cell(second).next;
            let head = self.head;
            self.cell_mut(head).next = after;
        }
        second
    }

    /// Puts a cell in front.
    fn put_back(&mut self, cut: u32) {
        if cut != END {
            self.cell_mut(cut).next = self.head;
            self.head = cut % CELLS as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl List {
        pub(crate) fn flip(&mut self, cell: usize) {
            self.cells[cell].value ^= 1 << 33;
        }
    }

    #[test]
    fn the_chain_keeps_every_cell_and_is_sorted_but_for_the_front() {
        let mut list = List::new(&mut Xoshiro256::from_seed(1));
        for seed in 0..4 {
            list.exercise(seed);
            let chain: Vec<u32> = list.walk().collect();
            assert_eq!(chain.len(), CELLS);
            let values: Vec<u64> = chain.iter().map(|index| list.cell(*index).value).collect();
            assert!(values[1..].is_sorted_by(|a, b| a <= b));
            assert!(values[0] >= values[1]);
        }
    }

    #[test]
    fn a_wrong_link_ends_somewhere() {
        let mut list = List::new(&mut Xoshiro256::from_seed(1));
        list.cells[10].next = 5;
        list.exercise(1);
        list.cells[20].next = 0xdead_0000;
        list.exercise(2);
    }
}
