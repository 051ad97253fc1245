//! `mappings`: memory seen through windows whose pages are placed anew all the time.
//!
//! ```text
//! memory:   256 pages; three windows show all of them, each in an order of its own; a fourth copies
//!           on write, a fifth has memory of its own (see `Space`)
//!
//! step:     96 rounds:
//!             two slots of a window are read, and change what they show: every 16th time while a
//!             thread looks on
//!             the buffer, masked, goes into one of them, and what was there comes out
//!             it is read through another window: differs from what went in, a mismatch
//!             state = SHA-256( state ‖ what came out ‖ what was read )
//!             every 4th   through a slot that may not be written to
//!             every 8th   a slot of the fourth and one of the fifth window: written, or forgotten
//!             every 32nd  a page becomes a hole: zeros through every window
//!           a forked child writes to a page of each of the last two windows; they stay here
//!
//! digest:   state, and every slot of every window
//! ```
//!
//! A translation that is stale or wrong, in the processor or in the kernel's tables, shows another
//! page than was placed. That every page holds other bytes is what makes it show. The golden digest
//! is that of a model without any page table.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, fold_in, hasher, linked};
use crate::random::Xoshiro256;
use crate::system::{COPYING, Fault, OWN, Page, SHARED, Slot, Space, System, WINDOWS};
use sha2::Digest as _;

const NAME: &str = "mappings";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "pages seen through five windows: remapped, copied on write, sealed, forgotten, punched",
    sensitivity: Sensitivity::High,
    targets: &[Target::Memory, Target::Kernel],
    units: &[
        Unit::PageTables,
        Unit::SystemCalls,
        Unit::Processes,
        Unit::LoadStore,
        Unit::PageCache,
        Unit::ContextSwitches,
    ],
    data_types: &[DataType::Bytes, DataType::U64],
    algorithms: &[Algorithm::Remapping, Algorithm::Sha256],
    extensions: &[],
    portable: true,
    instructions_per_step: 20_500_000,
    emulation_weight: 7.0,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::On(Mappings::start),
};

/// Pages of the memory: with all windows more than any first level of a TLB holds.
const PAGES: usize = 256;
/// Rounds of a step.
const ROUNDS: u64 = 96;
/// Every so many rounds: a thread looks on, a slot is sealed, private windows are used, a page is
/// punched.
const SEEN: u64 = 16;
const SEALED: u64 = 4;
const PRIVATE: u64 = 8;
const PUNCHED: u64 = 32;

type Buffer = Vec<PageAligned<Page>>;

pub(crate) struct Mappings {
    /// Nothing, if the system has none: then the fault is the result.
    space: Option<Box<dyn Space>>,
    /// What each slot of the shared windows shows, and where each page is shown.
    pages: [[usize; PAGES]; SHARED],
    slots: [[usize; PAGES]; SHARED],
    buffer: Buffer,
    scratch: [Buffer; 2],
    state: [u8; DIGEST_BYTES],
    mismatches: u64,
    faults: u64,
    steps_done: u64,
}

impl Mappings {
    pub(crate) fn start(seed: u64, system: Box<dyn System>) -> Box<dyn Kernel> {
        Box::new(Self::new(seed, system))
    }

    fn new(seed: u64, mut system: Box<dyn System>) -> Self {
        let page = || vec![PageAligned([0; model::PAGE_BYTES])];
        let mut mappings = Self {
            space: None,
            pages: [std::array::from_fn(|page| page); SHARED],
            slots: [std::array::from_fn(|slot| slot); SHARED],
            buffer: page(),
            scratch: [page(), page()],
            state: [0; DIGEST_BYTES],
            mismatches: 0,
            faults: 0,
            steps_done: 0,
        };
        match system.space(PAGES) {
            Ok(space) => mappings.space = Some(space),
            Err(fault) => mappings.fault(fault),
        }
        let mut stream = Xoshiro256::from_seed(seed);
        for index in 0..PAGES {
            stream.mask(&mut mappings.buffer[0].0);
            let window = index % SHARED;
            mappings.go(|space, buffer, _| space.exchange(Slot { window, index }, buffer));
        }
        mappings.link(&seed.to_le_bytes());
        mappings
    }

    fn fault(&mut self, Fault(number): Fault) {
        self.faults += 1;
        self.link(&number.to_le_bytes());
    }

    fn link(&mut self, bytes: &[u8]) {
        self.state = linked(&self.state, bytes);
    }

    /// Takes in the first scratch page.
    fn link_scratch(&mut self) {
        self.state = linked(&self.state, &self.scratch[0][0].0);
    }

    /// Asks something of the space, with the buffer and the scratch pages. A fault is counted, and
    /// enters the state.
    fn go(
        &mut self,
        ask: impl FnOnce(&mut dyn Space, &mut Page, [&mut Page; 2]) -> Result<(), Fault>,
    ) {
        let Some(space) = &mut self.space else {
            return;
        };
        let [one, other] = &mut self.scratch;
        let scratch = [&mut one[0].0, &mut other[0].0];
        if let Err(fault) = ask(space.as_mut(), &mut self.buffer[0].0, scratch) {
            self.fault(fault);
        }
    }

    /// Two slots of a window change what they show; gives the page that the first now shows.
    fn swap(&mut self, window: usize, [one, other]: [usize; 2], is_seen: bool) -> usize {
        let pages = &mut self.pages[window];
        pages.swap(one, other);
        let placed = [pages[one], pages[other]];
        for (slot, page) in [one, other].into_iter().zip(placed) {
            self.slots[window][page] = slot;
        }
        let at = |index| Slot { window, index };
        // A slot that showed a wrong page would be mended unseen by what follows.
        let mut fold = 0;
        for index in [one, other] {
            self.go(|space, _, [into, _]| space.look(at(index), into));
            let words = self.scratch[0][0].0.as_chunks().0.iter();
            fold = words.fold(fold, |fold, word| fold_in(fold, u64::from_le_bytes(*word)));
        }
        self.link(&fold.to_le_bytes());
        if is_seen {
            self.go(|space, _, seen| space.place_seen(at(one), placed[0], seen));
            let after = self.scratch[1][0].0;
            self.link_scratch();
            self.link(&after);
        } else {
            self.go(|space, _, _| space.place(at(one), placed[0]));
        }
        self.go(|space, _, _| space.place(at(other), placed[1]));
        placed[0]
    }

    fn round(&mut self, round: u64, stream: &mut Xoshiro256) {
        let mut draw = |count: usize| (stream.next_word() % count as u64) as usize;
        let (window, slots) = (draw(SHARED), [draw(PAGES), draw(PAGES)]);
        let (further, private) = (1 + draw(SHARED - 1), draw(PAGES));
        let page = self.swap(window, slots, round.is_multiple_of(SEEN));
        stream.mask(&mut self.buffer[0].0);
        let written = self.buffer[0].0;
        let index = slots[0];
        self.go(|space, buffer, _| space.exchange(Slot { window, index }, buffer));
        let window = (window + further) % SHARED;
        let index = self.slots[window][page];
        let alias = Slot { window, index };
        if round.is_multiple_of(SEALED) {
            self.go(|space, _, [into, _]| space.look_sealed(alias, into));
        } else {
            self.go(|space, _, [into, _]| space.look(alias, into));
        }
        self.mismatches += u64::from(self.scratch[0][0].0 != written);
        let came_out = self.buffer[0].0;
        self.link(&came_out);
        self.link_scratch();
        if round.is_multiple_of(PRIVATE) {
            self.private(private, page, stream);
        }
        if round.is_multiple_of(PUNCHED) {
            self.go(|space, _, _| space.punch(page));
            self.go(|space, _, [into, _]| space.look(alias, into));
            self.link_scratch();
        }
    }

    /// A slot of each private window: placed anew, written or forgotten, and read.
    fn private(&mut self, index: usize, page: usize, stream: &mut Xoshiro256) {
        for window in [COPYING, OWN] {
            let (slot, drawn) = (Slot { window, index }, stream.next_word() % 4);
            match drawn {
                0 => self.go(|space, _, _| space.forget(slot)),
                1 if window == COPYING => self.go(|space, _, _| space.place(slot, page)),
                _ => self.go(|space, buffer, _| space.exchange(slot, buffer)),
            }
            self.go(|space, _, [into, _]| space.look(slot, into));
            self.link_scratch();
        }
    }

    /// A child writes to both private windows; what it wrote is seen by it alone.
    fn fork(&mut self, stream: &mut Xoshiro256) {
        for window in [COPYING, OWN] {
            let index = (stream.next_word() % PAGES as u64) as usize;
            let slot = Slot { window, index };
            self.go(|space, _, [into, _]| space.in_child(slot, into, stir));
            self.link_scratch();
            self.go(|space, _, [into, _]| space.look(slot, into));
            self.link_scratch();
        }
    }
}

impl Kernel for Mappings {
    fn step(&mut self) {
        let mut stream = Xoshiro256::from_digest(&self.state);
        for round in 0..ROUNDS {
            self.round(round, &mut stream);
        }
        self.fork(&mut stream);
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.state);
        all.update(self.buffer[0].0);
        for number in [self.mismatches, self.faults] {
            all.update(number.to_le_bytes());
        }
        let mut page = [0; model::PAGE_BYTES];
        for (window, index) in (0..WINDOWS).flat_map(|w| (0..PAGES).map(move |i| (w, i))) {
            let looked = self.space.as_ref().map_or(Err(Fault(-1)), |space| {
                space.look(Slot { window, index }, &mut page)
            });
            all.update(looked.err().map_or(0, |fault| fault.0).to_le_bytes());
            all.update(page);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![
            ("mismatches".to_owned(), self.mismatches as f64),
            ("system_faults".to_owned(), self.faults as f64),
        ]
    }
}

/// What a child does: every word is changed by the one before.
fn stir(bytes: &mut [u8]) {
    let mut carry = 0x9e37_79b9_7f4a_7c15_u64;
    for word in bytes.as_chunks_mut().0 {
        carry = fold_in(carry, u64::from_le_bytes(*word));
        *word = carry.to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;
    use crate::system::Model;

    fn healthy() -> Mappings {
        Mappings::new(1, Box::new(Model::default()))
    }

    /// Flips a bit of what a slot shows.
    fn flip(mappings: &mut Mappings, slot: Slot, byte: usize) {
        let space = mappings.space.as_mut().unwrap();
        let mut page = [0; model::PAGE_BYTES];
        space.look(slot, &mut page).unwrap();
        page[byte] ^= 1 << (byte % 8);
        space.exchange(slot, &mut page).unwrap();
    }

    #[test]
    fn a_system_that_works_has_neither_mismatch_nor_fault() {
        let mut mappings = healthy();
        (0..8).for_each(|_| mappings.step());
        assert_eq!((mappings.mismatches, mappings.faults), (0, 0));
    }

    #[test]
    fn a_flipped_bit_in_any_window_changes_the_digest() {
        for (window, index, byte) in [(0, 0, 0), (2, 255, 4095), (COPYING, 9, 77), (OWN, 200, 8)] {
            check_flip(4, healthy, |mappings| {
                flip(mappings, Slot { window, index }, byte);
            });
        }
    }

    #[test]
    fn a_slot_that_shows_another_page_is_seen() {
        let mut stale = healthy();
        let (mut good, slots) = (healthy(), stale.slots);
        // Two pages change places behind its back.
        for (page, slot) in [(3, slots[1][4]), (4, slots[1][3])] {
            let space = stale.space.as_mut().unwrap();
            let slot = Slot {
                window: 1,
                index: slot,
            };
            space.place(slot, page).unwrap();
        }
        assert_ne!(stale.digest(), good.digest());
        for _ in 0..8 {
            stale.step();
            good.step();
        }
        assert_ne!(stale.digest(), good.digest());
    }

    #[test]
    fn a_system_without_such_memory_is_a_result() {
        struct Without(Model);
        impl System for Without {
            fn store(&mut self, slot: u32, bytes: &[u8]) -> Result<(), Fault> {
                self.0.store(slot, bytes)
            }
            fn load(&mut self, slot: u32, bytes: &mut [u8]) -> Result<(), Fault> {
                self.0.load(slot, bytes)
            }
            fn through_pipe(&mut self, bytes: &mut [u8]) -> Result<(), Fault> {
                self.0.through_pipe(bytes)
            }
            fn in_child(&mut self, b: &mut [u8], work: crate::system::Work) -> Result<(), Fault> {
                self.0.in_child(b, work)
            }
            fn in_turns(
                &mut self,
                bytes: &mut [u8],
                work: crate::system::Work,
                turns: u32,
            ) -> Result<(), Fault> {
                self.0.in_turns(bytes, work, turns)
            }
            fn together(&mut self, tasks: [crate::system::Task<'_>; 2]) -> Result<(), Fault> {
                self.0.together(tasks)
            }
            fn space(&mut self, _: usize) -> Result<Box<dyn Space>, Fault> {
                Err(Fault(12))
            }
        }
        let mut mappings = Mappings::new(1, Box::new(Without(Model::default())));
        mappings.step();
        assert_eq!(mappings.faults, 1);
        assert_ne!(mappings.digest(), healthy().digest());
    }
}
