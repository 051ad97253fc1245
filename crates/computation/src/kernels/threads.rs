//! `threads`: two threads of one process, on two processors where the machine has them.
//!
//! ```text
//! start:   each thread allocates 8 MiB for itself, and fills it
//! step i:  at the same time, in thread t
//!            writes 1 MiB of its own memory anew, and sums it up
//!            adds to its own word of a line of the cache, beside the other's (false sharing)
//!            adds to, flips bits of and raises words that are the other's too (atomics)
//!            enters amounts into a ledger behind a lock
//!            thread 0 hands 512 words over to thread 1 through a ring
//!          then, at the same time, each thread sums up what the *other* wrote, against its sum,
//!            and thread 1 hands 512 words back
//!          state = SHA-256( state ‖ sums ‖ line ‖ ledger ‖ words received )
//! ```
//!
//! What both do to one word is done in any order with the same outcome: additions, exclusive ors,
//! maxima. So the state depends on seed and steps alone, whoever was faster; where the memory lies
//! does not enter it. A line of the cache that is not passed on whole, an addition that is lost, a
//! lock that two hold: each leaves another sum. A sum that is not the writer's is counted.
//!
//! The threads are those of a [`System`]; in the model of one they run one after the other.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, NamedBuffer, PageAligned, fold_in, hasher, linked};
use crate::random::Xoshiro256;
use crate::system::{Fault, System};
use sha2::{Digest as _, Sha256};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

const NAME: &str = "threads";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "two threads that allocate, share lines, add to the same words, lock and hand over",
    sensitivity: Sensitivity::High,
    targets: &[Target::Memory],
    units: &[
        Unit::LoadStore,
        Unit::Atomics,
        Unit::Locks,
        Unit::CacheCoherence,
        Unit::ContextSwitches,
    ],
    data_types: &[DataType::U64],
    algorithms: &[
        Algorithm::Handover,
        Algorithm::FalseSharing,
        Algorithm::Sha256,
    ],
    extensions: &[],
    portable: true,
    instructions_per_step: 6_764_000,
    emulation_weight: 7.0,
    default_budget_s: 1.0,
    minimum_steps: PARTS,
    start: Start::On(Threads::start),
};

/// Pages of each thread's memory: 8 MiB.
const PAGES: usize = 2048;
/// Steps in which all of it is written anew.
const PARTS: u64 = 8;
const PART_PAGES: usize = PAGES / PARTS as usize;
/// Words of a page.
const WORDS: usize = model::PAGE_BYTES / 8;
/// Rounds on the shared line in a step.
const LINE_ROUNDS: u64 = 2048;
/// Entries into the ledger by each thread in a step.
const ENTRIES: u64 = 256;
/// Words that are handed over, each way, in a step.
const HANDED: usize = 512;
/// Looks for a word that does not come before it counts as lost: seconds, on any machine. Only a
/// fault reaches it.
const PATIENCE: u32 = 1 << 26;
/// Looks after which a waiting thread lets others go first.
const LOOKS_BETWEEN: u32 = 64;

type WordPage = PageAligned<[u64; WORDS]>;

/// A line of the cache that both threads write to all the time.
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Line {
    own: [AtomicU64; 2],
    sum: AtomicU64,
    bits: AtomicU64,
    highest: AtomicU64,
    /// The rest of the line, so that no byte of it is left to chance.
    spare: [AtomicU64; 3],
}

/// Words that go from one thread to the other, each with the number of the step that put it there.
#[derive(Debug)]
struct Ring {
    words: PageAligned<[AtomicU64; HANDED]>,
    marks: PageAligned<[AtomicU64; HANDED]>,
}

/// What the threads share.
#[derive(Debug)]
struct Shared {
    line: Line,
    ledger: Mutex<[u64; WORDS / 8]>,
    rings: [Ring; 2],
}

/// A thread's own memory, and what it came to in this step.
#[derive(Debug, Default)]
struct Own {
    pages: Vec<WordPage>,
    written: u64,
    received: u64,
    lost: u64,
}

pub(crate) struct Threads {
    system: Box<dyn System>,
    own: [Own; 2],
    shared: Box<Shared>,
    state: [u8; DIGEST_BYTES],
    mismatches: u64,
    faults: u64,
    steps_done: u64,
}

impl Threads {
    pub(crate) fn start(seed: u64, system: Box<dyn System>) -> Box<dyn Kernel> {
        Box::new(Self::new(seed, system))
    }

    fn new(seed: u64, system: Box<dyn System>) -> Self {
        let mut threads = Self {
            system,
            own: [Own::default(), Own::default()],
            shared: Box::new(Shared {
                line: Line::default(),
                ledger: Mutex::new([0; WORDS / 8]),
                rings: [Ring::new(), Ring::new()],
            }),
            state: [0; DIGEST_BYTES],
            mismatches: 0,
            faults: 0,
            steps_done: 0,
        };
        let [first, second] = &mut threads.own;
        let outcome = threads
            .system
            .together([&mut || first.allocate(seed), &mut || second.allocate(!seed)]);
        threads.settle(outcome);
        threads.link(&seed.to_le_bytes());
        threads
    }

    /// A call that failed is a result: its number enters the state.
    fn settle(&mut self, outcome: Result<(), Fault>) {
        if let Err(Fault(number)) = outcome {
            self.faults += 1;
            self.link(&number.to_le_bytes());
        }
    }

    fn link(&mut self, bytes: &[u8]) {
        self.state = linked(&self.state, bytes);
    }

    /// Which pages this step writes.
    fn part(&self) -> std::ops::Range<usize> {
        let part = usize::try_from(self.steps_done % PARTS).unwrap_or(0);
        part * PART_PAGES..(part + 1) * PART_PAGES
    }

    fn write(&mut self) {
        let (part, mark) = (self.part(), self.steps_done + 1);
        let streams = [0, 1].map(|thread| self.stream(thread));
        let [one, other] = streams;
        let shared = &self.shared;
        let [first, second] = &mut self.own;
        let outcome = self.system.together([
            &mut || {
                let mut stream = one.clone();
                first.rewrite(part.clone(), &mut stream);
                shared.stir(0, &mut stream);
                shared.rings[0].hand_over(mark, &mut stream);
            },
            &mut || {
                let mut stream = other.clone();
                second.rewrite(part.clone(), &mut stream);
                shared.stir(1, &mut stream);
                (second.received, second.lost) = shared.rings[0].receive(mark);
            },
        ]);
        self.settle(outcome);
    }

    /// Each thread reads what the other has written; gives both sums.
    fn check(&mut self) -> [u64; 2] {
        let (part, mark) = (self.part(), self.steps_done + 1);
        let stream = self.stream(2);
        let shared = &self.shared;
        let [first, second] = &self.own;
        let (mut of_first, mut of_second, mut received) = (0, 0, (0, 0));
        let outcome = self.system.together([
            // The one that hands over comes first: the model runs them in this order.
            &mut || {
                of_first = first.sum(part.clone());
                shared.rings[1].hand_over(mark, &mut stream.clone());
            },
            &mut || {
                of_second = second.sum(part.clone());
                received = shared.rings[1].receive(mark);
            },
        ]);
        (self.own[0].received, self.own[0].lost) = received;
        self.settle(outcome);
        [of_first, of_second]
    }

    /// The words that a thread draws in this step.
    fn stream(&self, thread: u8) -> Xoshiro256 {
        let mut link = Sha256::new();
        link.update(self.state);
        link.update([thread]);
        Xoshiro256::from_digest(&link.finalize().into())
    }
}

impl Own {
    fn allocate(&mut self, seed: u64) {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut pages = Vec::with_capacity(PAGES);
        for _ in 0..PAGES {
            pages.push(PageAligned([stream.next_word(); WORDS]));
        }
        self.pages = pages;
    }

    /// Mixes a stream into pages, and sums up what they hold then.
    fn rewrite(&mut self, part: std::ops::Range<usize>, stream: &mut Xoshiro256) {
        let mut sum = 0;
        for page in self.pages.get_mut(part).unwrap_or_default() {
            for word in &mut page.0 {
                *word ^= stream.next_word();
                sum = fold_in(sum, *word);
            }
        }
        self.written = sum;
    }

    fn sum(&self, part: std::ops::Range<usize>) -> u64 {
        let pages = self.pages.get(part).unwrap_or_default();
        let words = pages.iter().flat_map(|page| &page.0);
        words.fold(0, |sum, word| fold_in(sum, *word))
    }
}

impl Shared {
    /// What both threads do to the line and to the ledger, in whatever order.
    fn stir(&self, thread: usize, stream: &mut Xoshiro256) {
        let line = &self.line;
        for _ in 0..LINE_ROUNDS {
            let drawn = stream.next_word();
            if let Some(own) = line.own.get(thread) {
                own.fetch_add(drawn, Ordering::Relaxed);
            }
            line.sum.fetch_add(drawn, Ordering::AcqRel);
            line.bits.fetch_xor(drawn, Ordering::AcqRel);
            line.highest.fetch_max(drawn, Ordering::AcqRel);
        }
        for _ in 0..ENTRIES {
            let drawn = stream.next_word();
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let place = usize::try_from(drawn >> 58).unwrap_or(0) % ledger.len();
            // A read, then a write: where two held the lock, one amount would be gone.
            let before = ledger[place];
            ledger[place] = before.wrapping_add(drawn);
        }
    }

    fn words(&self) -> Vec<u64> {
        let line = &self.line;
        let atomics = [
            &line.own[0],
            &line.own[1],
            &line.sum,
            &line.bits,
            &line.highest,
        ];
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let atomics = atomics.map(|word| word.load(Ordering::Acquire));
        atomics.iter().chain(ledger.iter()).copied().collect()
    }
}

impl Ring {
    fn new() -> Self {
        let zeros = || PageAligned(std::array::from_fn(|_| AtomicU64::new(0)));
        Self {
            words: zeros(),
            marks: zeros(),
        }
    }

    fn hand_over(&self, mark: u64, stream: &mut Xoshiro256) {
        for (word, marked) in self.words.0.iter().zip(&self.marks.0) {
            word.store(stream.next_word(), Ordering::Relaxed);
            marked.store(mark, Ordering::Release);
        }
    }

    /// What came, folded, and how many words did not.
    fn receive(&self, mark: u64) -> (u64, u64) {
        let (mut fold, mut lost) = (0, 0);
        for (word, marked) in self.words.0.iter().zip(&self.marks.0) {
            let mut looks = 0;
            while marked.load(Ordering::Acquire) != mark && looks < PATIENCE {
                looks += 1;
                if looks.is_multiple_of(LOOKS_BETWEEN) {
                    std::thread::yield_now();
                } else {
                    spin_loop();
                }
            }
            lost += u64::from(looks == PATIENCE);
            fold = fold_in(fold, word.load(Ordering::Relaxed));
        }
        (fold, lost)
    }
}

impl Kernel for Threads {
    fn step(&mut self) {
        self.write();
        let written = [self.own[0].written, self.own[1].written];
        let read = self.check();
        let pairs = written.iter().zip(&read);
        self.mismatches += pairs.filter(|(ours, theirs)| ours != theirs).count() as u64;
        let mut words: Vec<u64> = written.into_iter().chain(read).collect();
        for own in &self.own {
            words.extend([own.received, own.lost]);
        }
        words.extend(self.shared.words());
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.link(&bytes);
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.state);
        all.update(self.mismatches.to_le_bytes());
        all.update(self.faults.to_le_bytes());
        for page in self.own.iter().flat_map(|own| &own.pages) {
            // No wrong word of a page leaves its fold as it was, and folds are quick to come by.
            let fold = page.0.iter().fold(0, |fold, word| fold_in(fold, *word));
            all.update(fold.to_le_bytes());
        }
        for word in self.shared.words() {
            all.update(word.to_le_bytes());
        }
        for word in self.shared.rings.iter().flat_map(|ring| &ring.words.0) {
            all.update(word.load(Ordering::Acquire).to_le_bytes());
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![
            ("mismatches".to_owned(), self.mismatches as f64),
            ("system_faults".to_owned(), self.faults as f64),
        ]
    }

    fn buffers(&self) -> Vec<NamedBuffer> {
        let ring = |name, ring: &Ring| NamedBuffer::of(name, &ring.words.0);
        vec![
            NamedBuffer::of("thread-0", &self.own[0].pages),
            NamedBuffer::of("thread-1", &self.own[1].pages),
            NamedBuffer::of("line", std::slice::from_ref(&self.shared.line)),
            ring("ring-0", &self.shared.rings[0]),
            ring("ring-1", &self.shared.rings[1]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::{Model, Space, Task, Work};

    /// A system that does nothing but let threads work.
    struct Only(fn([Task<'_>; 2]) -> Result<(), Fault>);

    impl System for Only {
        fn store(&mut self, _: u32, _: &[u8]) -> Result<(), Fault> {
            Err(Fault(1))
        }
        fn load(&mut self, _: u32, _: &mut [u8]) -> Result<(), Fault> {
            Err(Fault(1))
        }
        fn through_pipe(&mut self, _: &mut [u8]) -> Result<(), Fault> {
            Err(Fault(1))
        }
        fn in_child(&mut self, _: &mut [u8], _: Work) -> Result<(), Fault> {
            Err(Fault(1))
        }
        fn in_turns(&mut self, _: &mut [u8], _: Work, _: u32) -> Result<(), Fault> {
            Err(Fault(1))
        }
        fn together(&mut self, tasks: [Task<'_>; 2]) -> Result<(), Fault> {
            (self.0)(tasks)
        }
        fn space(&mut self, _: usize) -> Result<Box<dyn Space>, Fault> {
            Err(Fault(1))
        }
    }

    fn at_once([one, other]: [Task<'_>; 2]) -> Result<(), Fault> {
        std::thread::scope(|scope| {
            scope.spawn(other);
            one();
        });
        Ok(())
    }

    fn digest(system: Box<dyn System>, change: impl FnOnce(&mut Threads)) -> [u8; DIGEST_BYTES] {
        let mut threads = Threads::new(3, system);
        threads.step();
        change(&mut threads);
        (0..PARTS).for_each(|_| threads.step());
        threads.digest()
    }

    #[test]
    fn threads_at_the_same_time_come_to_what_the_model_says() {
        let model = digest(Box::new(Model::default()), |_| {});
        for _ in 0..3 {
            assert_eq!(digest(Box::new(Only(at_once)), |_| {}), model);
        }
    }

    #[test]
    fn a_wrong_bit_anywhere_shows() {
        let model = || Box::new(Model::default());
        let sound = digest(model(), |_| {});
        let in_page = digest(model(), |all| all.own[1].pages[PAGES - 1].0[WORDS - 1] ^= 1);
        let in_line = digest(model(), |all| {
            all.shared.line.sum.fetch_xor(1 << 63, Ordering::Relaxed);
        });
        let in_ledger = digest(model(), |all| all.shared.ledger.lock().unwrap()[7] ^= 4);
        for wrong in [in_page, in_line, in_ledger] {
            assert_ne!(wrong, sound);
        }
    }

    #[test]
    fn a_line_that_was_not_passed_on_is_counted() {
        let mut threads = Threads::new(3, Box::new(Model::default()));
        threads.write();
        threads.own[0].pages[0].0[5] ^= 1;
        let read = threads.check();
        assert_ne!(read[0], threads.own[0].written);
        assert_eq!(read[1], threads.own[1].written);
    }

    #[test]
    fn a_system_without_threads_is_a_result() {
        let mut threads = Threads::new(3, Box::new(Only(|_| Err(Fault(11)))));
        threads.step();
        assert_eq!(threads.metrics()[1].1, 3.0);
    }
}
