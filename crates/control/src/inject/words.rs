//! Faults of whole words of memory: which words are struck, and what they hold then.
//!
//! ```text
//! place ─► pages ─► words, drawn one by one or a stride apart ─► mask, drawn bits, another's value
//! ```
//!
//! Words are drawn among those that hold something: a zero is mostly room that nothing computed. What
//! a processor got wrong is in words that were written since the snapshot.

use super::memory::{DEVICE_HOLE, PAGE, failed};
use crate::error::ControlError;
use crate::injection::{FaultMode, PlannedInjection, RamWhere};
use crate::machine::PreparedMachine;
use hypervisor::Domain;
use model::{GuestPhysicalAddress, PAGE_BYTES};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeSet;

/// A word in bytes.
const WORD: u64 = 8;

/// Draws for each word that is wanted: where one in so many fits, none of a few dozen is missed.
const DRAWS_PER_WORD: u32 = 400;

/// Bits that a scrambled word has changed, at least and at most.
const SCRAMBLED_BITS: (u64, u64) = (2, 12);

/// Exponents of doubles of ordinary magnitude: 2^-100 to 2^100, and no small whole number read as a
/// double is among them.
const ORDINARY_EXPONENTS: std::ops::RangeInclusive<u64> = 923..=1123;

/// A sector of a disk.
const SECTOR_BYTES: u64 = 512;

/// A word that is struck: where, what it held, what it is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Struck {
    pub(super) address: GuestPhysicalAddress,
    pub(super) before: u64,
    pub(super) after: u64,
    /// The bits that are the fault's.
    pub(super) mask: u64,
}

/// Chooses the words of a fault and what they will hold; nothing is written yet.
pub(super) fn choose(
    domain: &mut dyn Domain,
    planned: &PlannedInjection,
    place: RamWhere,
    machine: &PreparedMachine,
) -> Result<Vec<Struck>, ControlError> {
    let mut random = planned.random();
    let mut drawing = Drawing {
        pages: pages(domain, planned, place, machine)?,
        domain,
        planned,
        place,
        machine,
    };
    let addresses = drawing.addresses(&mut random)?;
    addresses
        .into_iter()
        .map(|address| drawing.strike(address, &mut random))
        .collect()
}

/// What a mode makes of a word, by its bits.
pub(super) const fn forced(mode: FaultMode, word: u64, mask: u64) -> u64 {
    match mode {
        FaultMode::Stuck(true) => word | mask,
        FaultMode::Stuck(false) => word & !mask,
        _ => word ^ mask,
    }
}

/// Reads a word.
pub(super) fn read(
    domain: &mut dyn Domain,
    address: GuestPhysicalAddress,
) -> Result<u64, ControlError> {
    let mut bytes = [0; WORD as usize];
    domain.read_memory(address, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// A block of a sector that holds something, and its bytes.
pub(super) fn sector(
    domain: &mut dyn Domain,
    planned: &PlannedInjection,
    place: RamWhere,
) -> Result<(GuestPhysicalAddress, Vec<u8>), ControlError> {
    let mut random = planned.random();
    for _ in 0..DRAWS_PER_WORD {
        let anywhere = match place {
            RamWhere::Address(address) => address,
            _ => drawn_live(domain, planned, &mut random)?,
        };
        let address = GuestPhysicalAddress(anywhere / SECTOR_BYTES * SECTOR_BYTES);
        let mut bytes = vec![0; SECTOR_BYTES as usize];
        domain.read_memory(address, &mut bytes)?;
        let held = bytes.iter().filter(|byte| **byte != 0).count();
        if held >= bytes.len() / 4 {
            return Ok((address, bytes));
        }
    }
    Err(failed(
        planned,
        "no block of 512 bytes there holds anything",
    ))
}

fn drawn_live(
    domain: &mut dyn Domain,
    planned: &PlannedInjection,
    random: &mut ChaCha8Rng,
) -> Result<u64, ControlError> {
    let pages = domain.changed_page_numbers()?;
    let page = *drawn(&pages, random)
        .ok_or_else(|| failed(planned, "no page has changed since the snapshot"))?;
    Ok(page * PAGE + below(random, PAGE))
}

/// The pages that words are drawn from; one page is a place by its address.
fn pages(
    domain: &mut dyn Domain,
    planned: &PlannedInjection,
    place: RamWhere,
    machine: &PreparedMachine,
) -> Result<Vec<u64>, ControlError> {
    let pages = match place {
        RamWhere::Live | RamWhere::Written | RamWhere::Doubles => domain.changed_page_numbers()?,
        RamWhere::Any => (0..machine.spec.memory_bytes / PAGE).collect(),
        RamWhere::Address(address) => vec![address / PAGE],
        RamWhere::Buffer | RamWhere::User => {
            let why =
                "words are drawn from live, written, doubles, text, any or the page of an address";
            return Err(failed(planned, why));
        }
        RamWhere::Text => {
            let text = machine
                .symbols
                .as_ref()
                .and_then(introspection::KernelMap::text_range);
            let text = text.ok_or_else(|| failed(planned, "the guest gave no symbols"))?;
            (text.start / PAGE..text.end / PAGE).collect()
        }
    };
    let hole = DEVICE_HOLE.start / PAGE..DEVICE_HOLE.end / PAGE;
    let pages: Vec<u64> = pages
        .into_iter()
        .filter(|page| !hole.contains(page))
        .collect();
    if pages.is_empty() {
        return Err(failed(planned, "there is no memory to draw words from"));
    }
    Ok(pages)
}

/// What words are drawn with.
struct Drawing<'a> {
    domain: &'a mut dyn Domain,
    planned: &'a PlannedInjection,
    place: RamWhere,
    machine: &'a PreparedMachine,
    pages: Vec<u64>,
}

impl Drawing<'_> {
    /// As many words as there are to be, or as there are.
    fn addresses(&mut self, random: &mut ChaCha8Rng) -> Result<Vec<u64>, ControlError> {
        let pattern = self.planned.injection.pattern;
        let first = match self.place {
            RamWhere::Address(address) => address / WORD * WORD,
            _ => self.fitting(random)?,
        };
        if let Some(stride) = pattern.stride_bytes {
            return self.apart(first, u64::from(stride), random);
        }
        let mut chosen = BTreeSet::from([first]);
        let mut draws = pattern.count().saturating_mul(DRAWS_PER_WORD);
        while chosen.len() < pattern.count() as usize && draws > 0 {
            draws -= 1;
            let address = self.anywhere(random);
            if self.fits(address)? {
                chosen.insert(address);
            }
        }
        Ok(chosen.into_iter().collect())
    }

    /// Words a stride apart from a first one. What has to be written is drawn again until all are, or
    /// else most.
    fn apart(
        &mut self,
        first: u64,
        stride: u64,
        random: &mut ChaCha8Rng,
    ) -> Result<Vec<u64>, ControlError> {
        let (count, end) = (
            u64::from(self.planned.injection.pattern.count()),
            self.machine.spec.memory_bytes,
        );
        let from = |first: u64| {
            let all = (0..count).map(move |step| first + step * stride);
            all.take_while(|address| *address < end && !DEVICE_HOLE.contains(address))
        };
        if !self.place.is_written() {
            return Ok(from(first).collect());
        }
        let (mut longest, mut first) = (Vec::new(), first);
        for _ in 0..DRAWS_PER_WORD {
            let mut run = Vec::new();
            for address in from(first) {
                if !self.fits(address)? {
                    break;
                }
                run.push(address);
            }
            if run.len() > longest.len() {
                longest = run;
            }
            if longest.len() as u64 == count {
                break;
            }
            first = self.fitting(random)?;
        }
        Ok(longest)
    }

    fn anywhere(&self, random: &mut ChaCha8Rng) -> u64 {
        let page = drawn(&self.pages, random).copied().unwrap_or(0);
        page * PAGE + below(random, PAGE / WORD) * WORD
    }

    fn fitting(&mut self, random: &mut ChaCha8Rng) -> Result<u64, ControlError> {
        for _ in 0..DRAWS_PER_WORD * 8 {
            let address = self.anywhere(random);
            if self.fits(address)? {
                return Ok(address);
            }
        }
        Err(failed(self.planned, "no word there is of that kind"))
    }

    fn fits(&mut self, address: u64) -> Result<bool, ControlError> {
        let word = read(self.domain, GuestPhysicalAddress(address))?;
        let of_kind = match self.place {
            RamWhere::Doubles => ORDINARY_EXPONENTS.contains(&(word >> 52 & 0x7ff)),
            _ => word != 0,
        } && (!self.place.is_written() || word != self.before(address));
        let bit = self.planned.injection.pattern.where_bit;
        Ok(of_kind && bit.is_none_or(|bit| word >> bit & 1 == 1))
    }

    /// What the snapshot holds there; where its image ends are zeros.
    fn before(&self, address: u64) -> u64 {
        let bytes = usize::try_from(address).ok().and_then(|start| {
            let word = self.machine.base.get(start..)?;
            word.first_chunk()
        });
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    fn strike(&mut self, address: u64, random: &mut ChaCha8Rng) -> Result<Struck, ControlError> {
        let injection = &self.planned.injection;
        let before = read(self.domain, GuestPhysicalAddress(address))?;
        let (low, high) = injection.pattern.range();
        let bits = match injection.mode {
            FaultMode::Scramble => {
                let (least, most) = SCRAMBLED_BITS;
                least + below(random, most - least + 1)
            }
            _ => 1,
        };
        let mask = injection
            .pattern
            .mask
            .unwrap_or_else(|| drawn_mask(random, bits, (low, high)));
        let after = match injection.mode {
            FaultMode::Misread => self.another(address, before, random)?,
            mode => forced(mode, before, mask),
        };
        Ok(Struck {
            address: GuestPhysicalAddress(address),
            before,
            after,
            mask,
        })
    }

    /// What another word holds: of the same page, as a wrong offset reads, where one differs.
    fn another(
        &mut self,
        address: u64,
        value: u64,
        random: &mut ChaCha8Rng,
    ) -> Result<u64, ControlError> {
        for _ in 0..DRAWS_PER_WORD {
            let other = address / PAGE * PAGE + below(random, PAGE / WORD) * WORD;
            let other = read(self.domain, GuestPhysicalAddress(other))?;
            if other != value && other != 0 {
                return Ok(other);
            }
        }
        Err(failed(self.planned, "all words of the page hold the same"))
    }
}

/// So many different bits from `low` to `high`.
fn drawn_mask(random: &mut ChaCha8Rng, bits: u64, (low, high): (u32, u32)) -> u64 {
    let width = u64::from(high - low + 1);
    let mut mask = 0_u64;
    while u64::from(mask.count_ones()) < bits.min(width) {
        mask |= 1 << (u64::from(low) + below(random, width));
    }
    mask
}

fn drawn<'a, T>(among: &'a [T], random: &mut ChaCha8Rng) -> Option<&'a T> {
    among.get(usize::try_from(below(random, among.len() as u64)).ok()?)
}

fn below(random: &mut ChaCha8Rng, choices: u64) -> u64 {
    random.next_u64() % choices.max(1)
}

/// The bytes of a page or a part of it at which a stretch that was written ends short: the last of a
/// drawn stretch.
pub(super) fn tail(
    planned: &PlannedInjection,
    before: &[u8],
    now: &[u8],
) -> Option<std::ops::Range<usize>> {
    /// A stretch that a string instruction wrote is longer than what it leaves out.
    const SHORTEST: usize = 64;
    /// At most this many bytes are left out.
    const LONGEST_TAIL: u64 = 31;
    let mut stretches: Vec<std::ops::Range<usize>> = Vec::new();
    let changed = before.iter().zip(now).map(|(one, other)| one != other);
    for (at, changed) in changed.take(PAGE_BYTES).enumerate() {
        match stretches.last_mut() {
            // A byte that was written with what it held is part of the stretch.
            Some(last) if changed && at - last.end < 4 => last.end = at + 1,
            _ if changed => stretches.push(at..at + 1),
            _ => {}
        }
    }
    stretches.retain(|stretch| stretch.len() >= SHORTEST);
    let index = usize::try_from(planned.draw_place(stretches.len() as u64)).ok()?;
    let stretch = stretches.get(index)?;
    let left_out = usize::try_from(planned.draw_within(LONGEST_TAIL) + 1).ok()?;
    Some(stretch.end - left_out..stretch.end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::injection::{Injection, plan};
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn drawn_masks_keep_to_their_bits() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for _ in 0..200 {
            let mask = drawn_mask(&mut random, 3, (20, 45));
            assert_eq!(mask.count_ones(), 3);
            assert_eq!(mask & !(((1 << 26) - 1) << 20), 0, "{mask:#x}");
        }
        assert_eq!(drawn_mask(&mut random, 9, (4, 5)), 0x30);
    }

    #[test]
    fn bits_are_flipped_or_forced() {
        assert_eq!(forced(FaultMode::Flip, 0b1100, 0b1010), 0b0110);
        assert_eq!(forced(FaultMode::Stuck(true), 0b1100, 0b1010), 0b1110);
        assert_eq!(forced(FaultMode::Stuck(false), 0b1100, 0b1010), 0b0100);
    }

    #[test]
    fn a_tail_ends_where_what_was_written_ends() {
        let order = [Injection::parse("ram@start,mode=undershoot").unwrap()];
        let (before, mut now) = (vec![0; PAGE_BYTES], vec![0; PAGE_BYTES]);
        now[100..300].fill(1);
        now[1000..1010].fill(1);
        for seed in 0..20 {
            let planned = plan(&order, seed, 3, 80).unwrap().remove(0);
            let tail = tail(&planned, &before, &now).unwrap();
            assert_eq!(tail.end, 300);
            assert!((1..=31).contains(&tail.len()), "{tail:?}");
        }
        let planned = plan(&order, 0, 3, 80).unwrap().remove(0);
        assert_eq!(super::tail(&planned, &before, &before), None);
    }
}
