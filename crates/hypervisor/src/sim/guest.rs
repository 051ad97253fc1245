//! The simulated guest: where its things lie, what a step does, what it says.
//!
//! | pages | content | written |
//! |---|---|---|
//! | mailbox, 4 | the host's order | by the host |
//! | code, 64 | a pattern | at boot |
//! | gathering, 8 | word w of page p: exclusive or of the draws of its steps | a word a step, for good |
//! | scratch, 8 | draws of the step | a whole page a step, anew |
//!
//! The draw of a step is a function of seed and step alone. Register `r12` gathers too, `rbx` holds
//! the draw of the last step.

use super::desk::NativeResult;
use super::memory::SimMemory;
use computation::Digest;
use computation::isa::Class;
use computation::job::{
    Hello, Job, JobResult, MAILBOX_BYTES, MAILBOX_PAGES, Mark, MarkReached, Message, Metric,
    PROTOCOL, Symbols,
};
use model::{GuestPhysicalAddress, GuestVirtualAddress, PAGE_BYTES};

const PAGE: u64 = PAGE_BYTES as u64;

/// The first page of each kind.
const MAILBOX_PAGE: u64 = 0x110;
const CODE_PAGE: u64 = 0x140;
pub(super) const GATHERING_PAGE: u64 = 0x200;
pub(super) const SCRATCH_PAGE: u64 = 0x220;

const CODE_PAGES: u64 = 64;
pub(super) const GATHERING_PAGES: u64 = 8;
pub(super) const SCRATCH_PAGES: u64 = 8;

/// Words of a page.
const WORDS: u64 = PAGE / 8;

/// Where the host may set breakpoints.
pub(super) const WAYPOINTS: [GuestVirtualAddress; 2] = [
    GuestVirtualAddress(0x40_1000),
    GuestVirtualAddress(0x40_1002),
];

/// Where it stands while it signals, and while it works.
pub(super) const AT_SIGNAL: u64 = 0x40_2000;
pub(super) const AT_WORK: u64 = 0x40_3000;

/// Virtual nanoseconds of an instruction, as a shift: that of a deterministic machine under QEMU.
const TICKS_SHIFT: u32 = 3;

/// SplitMix64's finaliser (Steele, Lea and Flood, 2014) over a place.
pub(super) const fn draw(seed: u64, place: u64) -> u64 {
    let mixed = seed ^ place.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What a boot leaves in memory.
pub(super) fn lay_out(memory: &mut SimMemory) {
    for number in CODE_PAGE..CODE_PAGE + CODE_PAGES {
        let words = memory.page_mut(number).as_chunks_mut().0;
        for (word, place) in words.iter_mut().zip(number * WORDS..) {
            *word = draw(0, place).to_le_bytes();
        }
    }
}

pub(super) fn mailbox() -> [GuestPhysicalAddress; MAILBOX_PAGES] {
    std::array::from_fn(|index| GuestPhysicalAddress((MAILBOX_PAGE + index as u64) * PAGE))
}

/// The content of the mailbox.
pub(super) fn read_mailbox(memory: &SimMemory) -> Vec<u8> {
    let mut content = Vec::with_capacity(MAILBOX_BYTES);
    for address in mailbox() {
        content.extend_from_slice(memory.page(address.0 / PAGE));
    }
    content
}

pub(super) fn hello() -> Message {
    Message::Hello(Box::new(Hello {
        protocol: PROTOCOL,
        program_version: "sim".to_owned(),
        kernel_release: "sim".to_owned(),
        isa_class: Class::Any,
        features: Vec::new(),
        mailbox: mailbox(),
        waypoints: WAYPOINTS,
        vcpus: 1,
        symbols: Symbols::default(),
    }))
}

/// Does one step in memory, and gives its draw.
pub(super) fn step(memory: &mut SimMemory, seed: u64, step: u64) -> u64 {
    let drawn = draw(seed, step);
    let (page, word) = gathering_place(step);
    flip_word(memory, page, word, drawn);
    let scratch = memory.page_mut(SCRATCH_PAGE + step % SCRATCH_PAGES);
    for (word, place) in scratch.as_chunks_mut().0.iter_mut().zip(0..) {
        *word = draw(drawn, place).to_le_bytes();
    }
    drawn
}

const fn gathering_place(step: u64) -> (u64, u64) {
    (
        GATHERING_PAGE + step % GATHERING_PAGES,
        step / GATHERING_PAGES % WORDS,
    )
}

fn flip_word(memory: &mut SimMemory, page: u64, word: u64, with: u64) {
    let index = usize::try_from(word).unwrap_or(0);
    if let Some(place) = memory.page_mut(page).as_chunks_mut().0.get_mut(index) {
        *place = (u64::from_le_bytes(*place) ^ with).to_le_bytes();
    }
}

/// What became of the gathering pages besides what the steps wrote there: 0 if nothing did.
fn distortion(memory: &SimMemory, job: &Job) -> u64 {
    let mut expected = SimMemory::new(u64::MAX);
    for step in 0..job.steps {
        let (page, word) = gathering_place(step);
        flip_word(&mut expected, page, word, draw(job.seed, step));
    }
    let pages = GATHERING_PAGE..GATHERING_PAGE + GATHERING_PAGES;
    pages.fold(0, |distortion, number| {
        let words = memory.page(number).as_chunks().0;
        let right = expected.page(number).as_chunks().0;
        let places = words.iter().zip(right).zip(number * WORDS..);
        places.fold(distortion, |distortion, ((word, right), place)| {
            let wrong = u64::from_le_bytes(*word) ^ u64::from_le_bytes(*right);
            if wrong == 0 {
                distortion
            } else {
                distortion ^ draw(wrong, place)
            }
        })
    })
}

/// The result, as the gathered memory and a register distort it.
fn result(memory: &SimMemory, job: &Job, native: &NativeResult, register: u64) -> Digest {
    let wrong = distortion(memory, job) ^ register;
    let mut digest = native.digest;
    let words = digest.0.as_chunks_mut::<8>().0;
    for (word, with) in words.iter_mut().zip(wrong.to_le_bytes().iter().cycle()) {
        // Every word takes a different rotation of what is wrong, and nothing where all is right.
        let with = wrong.rotate_left(u32::from(*with));
        *word = (u64::from_le_bytes(*word) ^ with).to_le_bytes();
    }
    digest
}

/// Virtual time after so many steps.
fn ticks(job: &Job, steps: u64) -> u64 {
    let instructions = computation::find(&job.computation)
        .map_or(1, |descriptor| descriptor.instructions_per_step);
    steps.saturating_mul(instructions) << TICKS_SHIFT
}

pub(super) fn mark(job: &Job, name: Mark) -> Message {
    let step = name.at(job.steps);
    Message::Mark(MarkReached {
        name,
        step,
        tsc: ticks(job, step),
    })
}

/// All that is told at the end. `register` is what `r12` holds besides what it should.
pub(super) fn farewell(
    memory: &SimMemory,
    job: &Job,
    native: &NativeResult,
    register: u64,
) -> Vec<Message> {
    let exact = |(name, value): &(String, f64)| {
        Message::Metric(Metric {
            name: name.clone(),
            value: *value,
            exact: true,
        })
    };
    let told = Message::Metric(Metric {
        name: "stop_ticks".to_owned(),
        value: 0.0,
        exact: true,
    });
    let done = Message::Log(format!("{}: {} steps done", job.computation, job.steps));
    let result = Message::Result(JobResult {
        digest: result(memory, job, native, register),
        steps: job.steps,
        tsc: ticks(job, job.steps),
        tsc_start: 0,
    });
    let metrics = native.metrics.iter().map(exact);
    metrics
        .chain([told, done, result, mark(job, Mark::End)])
        .collect()
}

/// The stops on the way, in order and once each; the end is none of them.
pub(super) fn stops(job: &Job) -> Vec<Mark> {
    let mut stops: Vec<Mark> = Vec::new();
    for mark in &job.stops {
        if *mark != Mark::End && !stops.contains(mark) {
            stops.push(*mark);
        }
    }
    stops.sort_by_key(|mark| mark.at(job.steps));
    stops
}
