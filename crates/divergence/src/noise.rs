//! What is known of the noise of clean runs: where equal machines that are not bit-exact hold other
//! values, without a fault.
//!
//! ```text
//!  clean run ─► differing words ─► counted, per container, at four levels
//!                                     word 8 B · line 64 B · block 512 B · the whole variable
//!  the finest level whose places in a block were all seen more than once explains that block's noise;
//!  where a block came just once, and the variable is small, the variable is masked whole
//!  places that just one run has shown, over all containers ÷ runs = what the next run shows anew
//! ```
//!
//! The last line is Good and Turing's estimate ([`stats`]). Learning goes on until it is below
//! [`NEW_NOISE_BUDGET`]. What is masked is the places of each block at its level, and no more;
//! nothing in a named buffer is noise, whatever is given.
//!
//! A model holds for one [`NoiseKey`]: another kernel, guest program, version of the computation or
//! machine has other noise, and its model expires.

use crate::align::{AlignedWord, ContainerKind, Mask};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::Range;

/// How many new noisy places the next run may be expected to show where learning ends: one in a
/// hundred runs, so that a run in a hundred is inconclusive for want of learning.
pub const NEW_NOISE_BUDGET: f64 = 0.01;

/// Clean runs below which no estimate is believed: three times none in so many is below the budget
/// no sooner, but the first runs show what there is.
pub const LEAST_RUNS: u64 = 20;

/// Containers that a model holds: more than a kernel has variables that change.
const MAX_CONTAINERS: usize = 65_536;

/// Places that a model holds of one container, at one level.
const MAX_PLACES: usize = 65_536;

/// Objects of one type that a model names: more threads than a machine of ours has.
const MAX_INSTANCES: usize = 4096;

/// Bytes of a place at each level; the last stands for the whole container.
const LEVELS: [u64; 4] = [8, 64, 512, u64::MAX];

/// The level of words.
const WORD: usize = 0;

/// The level of blocks, in which the places of finer ones lie.
const BLOCK: usize = 2;

/// Bytes of a block.
const BLOCK_BYTES: u64 = 512;

/// A place is often noisy if one in so many runs has shown it, and at least [`LEAST_OFTEN`] have.
const OFTEN: u64 = 10;

/// Runs that must have shown what is often noisy.
const LEAST_OFTEN: u64 = 3;

/// Words of a block that are noisy now and then from which on its noise wanders over lines, and over
/// all of the block.
const WANDERING: [usize; 2] = [3, 6];

/// Words that may lie between two noisy ones of the kernel and are masked with them: fields of one
/// structure.
const GAP_WORDS: u64 = 2;

/// Blocks from which on a thread's object is noisy anywhere: it is at work, and no mere bystander.
const AT_WORK_BLOCKS: usize = 4;

/// The level of the whole container.
const WHOLE: usize = 3;

/// The largest variable that is masked whole, in bytes.
const MAX_WHOLE_BYTES: u64 = 4096;

/// What noise is a function of: whoever has another key learns anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NoiseKey {
    /// The computation.
    pub computation: String,
    /// Its version.
    pub computation_version: u32,
    /// The digest of the guest kernel's image: of its build.
    pub kernel_digest: String,
    /// The digest of the guest's initramfs.
    pub guest_digest: String,
    /// The hypervisor and its version.
    pub hypervisor: String,
    /// What executes the guest's instructions.
    pub accelerator: String,
    /// The CPU model.
    pub cpu_model: String,
    /// Virtual processors.
    pub vcpus: u32,
    /// Guest memory, in bytes.
    pub memory_bytes: u64,
}

/// Why a place is noisy, as its values tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseReason {
    /// Values are moments or durations.
    Time,
    /// Values are counts, close to each other.
    Counter,
    /// Values are addresses.
    Address,
    /// Values are anything else: what was done in another order.
    Order,
}

impl fmt::Display for NoiseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Time => "time",
            Self::Counter => "counter",
            Self::Address => "address",
            Self::Order => "order",
        })
    }
}

/// In how many runs a place was noisy, and which was the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    runs: u64,
    last: u64,
}

/// A place that is masked.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    level: usize,
    place: u64,
    seen: Seen,
}

/// The noise of one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ContainerNoise {
    kind: ContainerKind,
    name: String,
    reason: NoiseReason,
    /// Of objects which ones were noisy, in which blocks: a thread that never runs has no noise, and
    /// is compared whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    instances: BTreeMap<String, BTreeSet<u64>>,
    /// By level and place.
    levels: [BTreeMap<u64, Seen>; LEVELS.len()],
}

/// All that was learned for one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoiseModel {
    /// What it holds for.
    pub key: NoiseKey,
    /// Clean runs that it was learned from.
    pub runs: u64,
    containers: Vec<ContainerNoise>,
}

/// What a model comes to, as reports tell.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSummary {
    /// Clean runs that it was learned from.
    pub runs: u64,
    /// Noisy places, at their levels.
    pub places: u64,
    /// Those that just one run has shown.
    pub seen_once: u64,
    /// How many the next run is expected to show anew; nothing before the first run.
    pub expected_new: Option<f64>,
    /// Whether enough was learned.
    pub settled: bool,
    /// Places by reason.
    pub by_reason: BTreeMap<NoiseReason, u64>,
}

impl NoiseModel {
    /// Nothing learned yet.
    #[must_use]
    pub const fn new(key: NoiseKey) -> Self {
        Self {
            key,
            runs: 0,
            containers: Vec::new(),
        }
    }

    /// Learns from one clean run: all words in which its machines differ, known as noise or not.
    pub fn learn<'a>(&mut self, differing: impl Iterator<Item = &'a AlignedWord>) {
        self.runs += 1;
        let run = self.runs;
        let mut places: HashMap<(ContainerKind, String), usize> = self
            .containers
            .iter()
            .enumerate()
            .map(|(place, one)| ((one.kind, one.name.clone()), place))
            .collect();
        for word in differing {
            let location = &word.location;
            if location.kind == ContainerKind::Buffer {
                continue;
            }
            let key = (location.kind, location.name.clone());
            let place = match places.get(&key) {
                Some(place) => *place,
                None if self.containers.len() >= MAX_CONTAINERS => continue,
                None => {
                    self.containers.push(ContainerNoise {
                        kind: location.kind,
                        name: location.name.clone(),
                        reason: reason(word),
                        instances: BTreeMap::new(),
                        levels: Default::default(),
                    });
                    places.insert(key, self.containers.len() - 1);
                    self.containers.len() - 1
                }
            };
            if let Some(container) = self.containers.get_mut(place) {
                container.note(location.offset, run);
                if location.kind == ContainerKind::Object {
                    container.note_instance(&word.instance, location.offset);
                }
            }
        }
    }

    /// What it comes to.
    #[must_use]
    pub fn summary(&self) -> NoiseSummary {
        let (mut places, mut seen_once, mut by_reason) = (0, 0, BTreeMap::new());
        for container in &self.containers {
            let chosen = container.places(self.runs);
            let count = chosen.len() as u64;
            places += count;
            seen_once += chosen.iter().filter(|one| one.seen.runs == 1).count() as u64;
            *by_reason.entry(container.reason).or_default() += count;
        }
        let expected_new = stats::expected_new(seen_once, self.runs);
        NoiseSummary {
            runs: self.runs,
            places,
            seen_once,
            expected_new,
            settled: self.runs >= LEAST_RUNS
                && expected_new.is_some_and(|expected| expected <= NEW_NOISE_BUDGET),
            by_reason,
        }
    }

    /// What it masks.
    #[must_use]
    pub fn mask(&self) -> NoiseMask {
        let mut mask = NoiseMask::default();
        for container in &self.containers {
            let mut covered = Covered {
                instances: container.instances.clone(),
                ..Covered::default()
            };
            for chosen in container.places(self.runs) {
                if let Some(level) = covered.levels.get_mut(chosen.level) {
                    level.insert(chosen.place);
                }
            }
            if let Some(words) = covered.levels.get_mut(WORD) {
                words.extend(container.gaps());
            }
            let of_kind = mask.0.entry(container.kind).or_default();
            of_kind.insert(container.name.clone(), covered);
        }
        mask
    }

    /// Places that just one run has shown, for people.
    #[must_use]
    pub fn shown_once(&self, most: usize) -> Vec<String> {
        let once = self.containers.iter().flat_map(|container| {
            let chosen = container.places(self.runs).into_iter();
            chosen.filter(|one| one.seen.runs == 1).map(move |one| {
                let bytes = LEVELS.get(one.level).filter(|bytes| **bytes < u64::MAX);
                let at = one.place.saturating_mul(bytes.copied().unwrap_or(0));
                format!("{:?} {}+{at:#x}", container.kind, container.name)
            })
        });
        once.take(most).collect()
    }
}

impl ContainerNoise {
    fn note(&mut self, offset: u64, run: u64) {
        for (level, bytes) in self.levels.iter_mut().zip(LEVELS) {
            if level.len() >= MAX_PLACES {
                continue;
            }
            let seen = level.entry(offset / bytes).or_default();
            if seen.last != run {
                *seen = Seen {
                    runs: seen.runs + 1,
                    last: run,
                };
            }
        }
    }

    fn note_instance(&mut self, instance: &str, offset: u64) {
        let block = offset / BLOCK_BYTES;
        if let Some(blocks) = self.instances.get_mut(instance) {
            blocks.insert(block);
        } else if self.instances.len() < MAX_INSTANCES {
            self.instances
                .insert(instance.to_owned(), BTreeSet::from([block]));
        }
    }

    /// What is masked: of each block the words that are often noisy, and of the others the places of
    /// the finest level that were all seen more than once and do not wander; where there is none, of
    /// the coarsest that the container allows.
    fn places(&self, runs: u64) -> Vec<Chosen> {
        let is_often = |one: &Chosen| {
            one.seen.runs >= LEAST_OFTEN && one.seen.runs.saturating_mul(OFTEN) >= runs
        };
        let coarsest = self.coarsest();
        let mut chosen = Vec::new();
        let blocks = self.levels.get(BLOCK).into_iter().flat_map(BTreeMap::keys);
        for block in blocks {
            let words = self.in_block(WORD, *block);
            let (often, rare): (Vec<_>, Vec<_>) = words.partition(is_often);
            chosen.extend(often);
            let levels = (WORD..=coarsest.min(BLOCK)).map(|level| self.around(level, &rare));
            let level = levels.enumerate().find(|(level, places)| {
                places.iter().all(|one| one.seen.runs > 1) && !self.wanders(*level, rare.len())
            });
            match level {
                Some((_, places)) => chosen.extend(places),
                None if coarsest == WHOLE => {
                    return self.in_level(WHOLE, 0..u64::MAX).collect();
                }
                None => chosen.extend(self.around(coarsest, &rare)),
            }
        }
        chosen
    }

    /// The words between noisy ones of the kernel that lie close together.
    fn gaps(&self) -> Vec<u64> {
        let of_process = matches!(
            self.kind,
            ContainerKind::Mapping | ContainerKind::Register | ContainerKind::Buffer
        );
        let words = self.levels.first().filter(|_| !of_process);
        let words = words.into_iter().flat_map(BTreeMap::keys);
        let pairs = words.clone().zip(words.skip(1));
        let close = pairs.filter(|(one, next)| **next - **one <= GAP_WORDS + 1);
        close.flat_map(|(one, next)| one + 1..*next).collect()
    }

    /// Whether noise is now here, now there, by how many words of a block show it now and then. Where
    /// the kernel puts what is due at a time depends on how quick the host is: runs on another day show
    /// it in places that none has shown yet.
    fn wanders(&self, level: usize, rare: usize) -> bool {
        let can = matches!(self.kind, ContainerKind::Variable | ContainerKind::PerCpu);
        can && WANDERING.get(level).is_some_and(|least| rare >= *least)
    }

    /// The places of a level that hold these words.
    fn around(&self, level: usize, words: &[Chosen]) -> Vec<Chosen> {
        let bytes = bytes_of(level);
        let places: BTreeSet<u64> = words.iter().map(|word| word.place * 8 / bytes).collect();
        let one = |place| self.in_level(level, place..place + 1).next();
        places.into_iter().filter_map(one).collect()
    }

    /// The places of a level that lie in a block.
    fn in_block(&self, level: usize, block: u64) -> impl Iterator<Item = Chosen> {
        let count = BLOCK_BYTES / bytes_of(level).min(BLOCK_BYTES);
        let first = block.saturating_mul(count);
        self.in_level(level, first..first.saturating_add(count))
    }

    fn in_level(&self, level: usize, places: Range<u64>) -> impl Iterator<Item = Chosen> {
        let found = self.levels.get(level).into_iter();
        let found = found.flat_map(move |all| all.range(places.clone()));
        found.map(move |(place, seen)| Chosen {
            level,
            place: *place,
            seen: *seen,
        })
    }

    fn coarsest(&self) -> usize {
        let span = self.levels.first().and_then(|words| {
            let (first, last) = (words.keys().next()?, words.keys().next_back()?);
            Some((last - first + 1) * 8)
        });
        match self.kind {
            ContainerKind::Register | ContainerKind::Buffer => 0,
            ContainerKind::Object | ContainerKind::Mapping => 1,
            ContainerKind::Variable | ContainerKind::PerCpu
                if span.unwrap_or(0) <= MAX_WHOLE_BYTES =>
            {
                3
            }
            ContainerKind::Variable | ContainerKind::PerCpu => 2,
        }
    }
}

/// Bytes of a place at a level.
fn bytes_of(level: usize) -> u64 {
    LEVELS.get(level).copied().unwrap_or(u64::MAX)
}

/// What a model masks, ready to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NoiseMask(BTreeMap<ContainerKind, HashMap<String, Covered>>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Covered {
    /// Places, by level.
    levels: [HashSet<u64>; LEVELS.len()],
    /// Which of several things, in which blocks; any where none is named.
    instances: BTreeMap<String, BTreeSet<u64>>,
}

impl Mask for NoiseMask {
    fn covers(&self, kind: ContainerKind, name: &str, offset: u64, instance: &str) -> bool {
        let covered = self.0.get(&kind).and_then(|of_kind| of_kind.get(name));
        let covers = |one: &Covered| {
            let mut levels = one.levels.iter().zip(LEVELS);
            let in_instance = |blocks: &BTreeSet<u64>| {
                blocks.len() >= AT_WORK_BLOCKS || blocks.contains(&(offset / BLOCK_BYTES))
            };
            levels.any(|(places, bytes)| places.contains(&(offset / bytes)))
                && (one.instances.is_empty()
                    || one.instances.get(instance).is_some_and(in_instance))
        };
        kind != ContainerKind::Buffer && covered.is_some_and(covers)
    }
}

/// The halves of an address space of which addresses are made.
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;

/// Counts of one run are no further apart than this.
const COUNTER_SPREAD: u64 = 1 << 16;

/// Words that names of clocks and of moments have.
const TIME_WORDS: [&str; 9] = [
    "jiffies", "tick", "time", "clock", "tk_", "period", "stamp", "sched", "rcu",
];

/// Why a word is noisy.
fn reason(word: &AlignedWord) -> NoiseReason {
    let values: BTreeSet<u64> = word
        .values
        .iter()
        .copied()
        .filter(|one| *one != 0)
        .collect();
    let is_address = |value: &u64| *value >= KERNEL_HALF && *value < u64::MAX - COUNTER_SPREAD;
    if !values.is_empty() && values.iter().all(is_address) {
        return NoiseReason::Address;
    }
    let name = word.location.name.to_ascii_lowercase();
    if TIME_WORDS.iter().any(|part| name.contains(part)) {
        return NoiseReason::Time;
    }
    let (first, last) = (word.values.iter().min(), word.values.iter().max());
    match (first, last) {
        (Some(first), Some(last)) if last - first <= COUNTER_SPREAD => NoiseReason::Counter,
        _ => NoiseReason::Order,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::align::Location;
    use proptest::prelude::*;

    fn key() -> NoiseKey {
        NoiseKey {
            computation: "threads".to_owned(),
            computation_version: 1,
            kernel_digest: "k".to_owned(),
            guest_digest: "g".to_owned(),
            hypervisor: "sim".to_owned(),
            accelerator: "tcg".to_owned(),
            cpu_model: "max".to_owned(),
            vcpus: 2,
            memory_bytes: 1 << 20,
        }
    }

    fn word(kind: ContainerKind, name: &str, offset: u64) -> AlignedWord {
        AlignedWord {
            location: Location {
                kind,
                name: name.to_owned(),
                offset,
            },
            instance: String::new(),
            values: vec![1, 2, 2],
            addresses: vec![None; 3],
        }
    }

    fn learned(runs: &[&[AlignedWord]]) -> NoiseModel {
        let mut model = NoiseModel::new(key());
        for run in runs {
            model.learn(run.iter());
        }
        model
    }

    #[test]
    fn a_word_that_is_noisy_again_and_again_is_masked_alone() {
        let noisy = [word(ContainerKind::Variable, "jiffies", 0)];
        let model = learned(&[&noisy, &noisy]);
        let mask = model.mask();
        assert!(mask.covers(ContainerKind::Variable, "jiffies", 0, ""));
        assert!(!mask.covers(ContainerKind::Variable, "jiffies", 8, ""));
        assert!(!mask.covers(ContainerKind::PerCpu, "jiffies", 0, ""));
        assert_eq!(model.summary().seen_once, 0);
    }

    #[test]
    fn words_that_wander_are_masked_by_what_holds_them() {
        let at = |offset| [word(ContainerKind::Variable, "timers", offset)];
        let model = learned(&[&at(0), &at(8), &at(16), &at(200)]);
        let mask = model.mask();
        // The words and lines came once each; the 512 bytes came in every run.
        assert!(mask.covers(ContainerKind::Variable, "timers", 400, ""));
        assert!(!mask.covers(ContainerKind::Variable, "timers", 512, ""));
        assert_eq!(model.summary().seen_once, 0);
        let far = learned(&[&at(0), &at(600), &at(1200)]);
        assert!(
            far.mask()
                .covers(ContainerKind::Variable, "timers", 2048, "")
        );
    }

    #[test]
    fn a_word_that_came_once_does_not_coarsen_other_blocks() {
        let steady = word(ContainerKind::Object, "task_struct", 2048);
        let once = word(ContainerKind::Object, "task_struct", 64);
        let both = [steady.clone(), once];
        let model = learned(&[&both[..1], &both, &[steady]]);
        let mask = model.mask();
        let covers = |offset| mask.covers(ContainerKind::Object, "task_struct", offset, "");
        assert!(covers(2048) && !covers(2056));
        // The line of the word that came once is all that is known of it.
        assert!(covers(64) && covers(72) && !covers(128));
        assert_eq!(model.summary().places, 2);
    }

    #[test]
    fn what_is_often_noisy_is_not_coarsened_by_what_came_once() {
        let often = word(ContainerKind::Object, "task_struct", 0);
        let once = word(ContainerKind::Object, "task_struct", 128);
        let both = [often.clone(), once];
        let model = learned(&[&both[..1], &both[..1], &both[..1], &both]);
        let mask = model.mask();
        let covers = |offset| mask.covers(ContainerKind::Object, "task_struct", offset, "");
        assert!(covers(0) && !covers(8) && covers(128) && covers(136));
    }

    #[test]
    fn places_of_the_kernel_that_come_now_and_then_stand_for_their_block() {
        let learned_of = |kind| {
            let mut model = NoiseModel::new(key());
            for run in 0..60 {
                let rare = (run % 20 == 0)
                    .then(|| [0, 8, 64, 72, 128, 136].map(|at| word(kind, "timers", at)));
                model.learn(rare.iter().flatten());
            }
            model.mask()
        };
        let kernel = learned_of(ContainerKind::PerCpu);
        assert!(kernel.covers(ContainerKind::PerCpu, "timers", 504, ""));
        assert!(!kernel.covers(ContainerKind::PerCpu, "timers", 512, ""));
        let process = learned_of(ContainerKind::Mapping);
        assert!(process.covers(ContainerKind::Mapping, "timers", 136, ""));
        assert!(!process.covers(ContainerKind::Mapping, "timers", 144, ""));
    }

    #[test]
    fn what_lies_between_noisy_words_of_the_kernel_is_masked_with_them() {
        let both = |kind| [0, 24, 56].map(|at| word(kind, "runqueues", at));
        let covers = |kind, at| {
            let runs = both(kind);
            learned(&[&runs, &runs, &runs])
                .mask()
                .covers(kind, "runqueues", at, "")
        };
        let kernel = |at| covers(ContainerKind::PerCpu, at);
        assert!(kernel(8) && kernel(16) && !kernel(32) && !kernel(48));
        assert!(!covers(ContainerKind::Mapping, 8));
    }

    #[test]
    fn of_objects_those_are_masked_that_were_noisy_there() {
        let of = |instance: &str, offset| AlignedWord {
            instance: instance.to_owned(),
            ..word(ContainerKind::Object, "task_struct", offset)
        };
        let model = learned(&[&[of("pid 1", 64)], &[of("pid 7", 64), of("pid 1", 1024)]]);
        let mask = model.mask();
        let covers = |instance, at| mask.covers(ContainerKind::Object, "task_struct", at, instance);
        assert!(covers("pid 1", 64) && covers("pid 7", 64) && !covers("pid 2", 64));
        assert!(covers("pid 1", 1024) && !covers("pid 7", 1024));
    }

    #[test]
    fn nothing_in_a_named_buffer_is_ever_noise() {
        let noisy = [word(ContainerKind::Buffer, "thread-0", 64)];
        let model = learned(&[&noisy, &noisy, &noisy]);
        assert_eq!(model.summary().places, 0);
        assert!(
            !model
                .mask()
                .covers(ContainerKind::Buffer, "thread-0", 64, "")
        );
    }

    #[test]
    fn learning_ends_when_little_is_expected_to_come() {
        let noisy = [word(ContainerKind::Variable, "jiffies", 0)];
        let mut model = learned(&[noisy.as_slice(); 19]);
        assert!(!model.summary().settled, "too few runs");
        model.learn(noisy.iter());
        assert!(model.summary().settled);
        let once = [word(ContainerKind::Mapping, "[stack]", 8)];
        model.learn(once.iter());
        let summary = model.summary();
        assert_eq!((summary.seen_once, summary.settled), (1, false));
        // 100 runs on, one place that came once is within the budget.
        (0..79).for_each(|_| model.learn(noisy.iter()));
        assert!(model.summary().settled);
    }

    #[test]
    fn reasons_are_read_from_values_and_names() {
        let with = |name: &str, values: &[u64]| AlignedWord {
            values: values.to_vec(),
            ..word(ContainerKind::Variable, name, 0)
        };
        let pointers = [0xffff_8880_0000_1000, 0xffff_8880_0000_2000, 0];
        assert_eq!(reason(&with("list", &pointers)), NoiseReason::Address);
        assert_eq!(reason(&with("jiffies_64", &[7, 9])), NoiseReason::Time);
        assert_eq!(reason(&with("events", &[7, 9])), NoiseReason::Counter);
        assert_eq!(reason(&with("data", &[7, 1 << 40])), NoiseReason::Order);
    }

    proptest! {
        #[test]
        fn whatever_was_seen_is_masked(offsets in prop::collection::vec(0_u64..1 << 20, 1..60)) {
            let words: Vec<_> = offsets
                .iter()
                .map(|offset| [word(ContainerKind::Mapping, "[heap]", offset / 8 * 8)])
                .collect();
            let mut model = NoiseModel::new(key());
            words.iter().for_each(|one| model.learn(one.iter()));
            let mask = model.mask();
            for [one] in &words {
                prop_assert!(mask.covers(one.location.kind, "[heap]", one.location.offset, ""));
            }
        }
    }
}
