//! Evidence for and against causes in hardware.

use super::shape::{CommonMask, Shape};
use super::source;
use super::surroundings::{Core, EarlierDeviation, Surroundings};
use super::{Subject, Weight};
use std::collections::BTreeSet;

/// The share of a processor's defects that are bound to one physical core (SiliFuzz). A study that
/// counts machines instead, PinDrop, has 62 %.
const ONE_CORE: f64 = 0.70;

/// At most this share of DRAM faults touches a single bit (Beigi et al.: over 45 % touch several).
const DRAM_ONE_BIT: f64 = 0.55;

/// How often one bit of one word is all that differs, under no cause in particular; ours.
const BACKGROUND_ONE_BIT: f64 = 0.10;

/// From this share of the words on, a common mask is a pattern (Wang et al.).
const PATTERN_SHARE: f64 = 0.05;

/// Patterns of one, two and more bits in 64-bit floats (Wang et al.).
const PATTERN_BITS: [f64; 3] = [0.90, 0.08, 0.02];

/// The same for masks that chance makes common, all being as likely as not; ours.
const BACKGROUND_BITS: f64 = 1.0 / 3.0;

/// Pages of a small machine that a run changes; a page that two runs share by chance is one in so
/// many.
const CHANGED_PAGES: f64 = 4_000.0;

/// How often a faulty cell is seen again in a later run that deviates; ours: no study of DRAM counts
/// runs.
const CELL_AGAIN: f64 = 0.5;

/// One core computes wrongly.
pub(super) fn core_local(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    let mut weights: Vec<Weight> = follows_core(subject).into_iter().collect();
    if shape.len() == 0 {
        weights.push(no_words());
    } else if shape.is_scattered() && shape.len() > 1 {
        let reason = format!(
            "{} words differ in many bits and without a pattern, as when a wrong value is used further",
            shape.len()
        );
        weights.push(Weight::new(3.0, reason).from(source::PINDROP));
    } else if shape.len() == 1 && shape.one_bit == 1 {
        let reason = "one bit alone differs, and defects of logic mostly touch several".to_owned();
        weights.push(Weight::new(0.4, reason).from(source::PINDROP));
    }
    weights
}

/// Whether earlier deviations were on the same core, against what chance had to choose from.
fn follows_core(subject: &Subject<'_>) -> Option<Weight> {
    let here = subject.core?;
    let chances: Vec<(bool, f64)> = subject
        .surroundings
        .earlier
        .iter()
        .map(|earlier| (earlier.core == *here, chance(earlier, here)))
        .filter(|(_, chance)| (f64::EPSILON..1.0).contains(chance))
        .collect();
    let ratio = |(same, chance): &(bool, f64)| {
        // A defect that is not bound to the core still meets it by chance.
        let here = ONE_CORE + (1.0 - ONE_CORE) * chance;
        if *same {
            here / chance
        } else {
            (1.0 - here) / (1.0 - chance)
        }
    };
    let same = chances.iter().filter(|(same, _)| *same).count();
    (!chances.is_empty()).then(|| {
        let reason = format!(
            "{same} of {} earlier deviations were on this core, {}",
            chances.len(),
            name(here)
        );
        Weight::new(chances.iter().map(ratio).product(), reason).from(source::SILIFUZZ)
    })
}

/// The share of an earlier run's replicas that were on this core.
fn chance(earlier: &EarlierDeviation, here: &Core) -> f64 {
    let on_it = earlier.cores.iter().filter(|core| *core == here).count();
    on_it as f64 / earlier.cores.len().max(1) as f64
}

fn name(core: &Core) -> String {
    match core.socket {
        Some(socket) => format!("core {} of socket {socket}", core.core),
        None => format!("core {}", core.core),
    }
}

/// A data path that flips the same bits.
pub(super) fn fixed_mask(shape: &Shape) -> Vec<Weight> {
    let Some(common) = shape.common.filter(|_| shape.len() >= 3) else {
        let reason = format!(
            "{} are too few for a pattern",
            counted(shape.len(), "differing word")
        );
        return vec![Weight::new(0.2, reason)];
    };
    let share = shape.share(common.count);
    if common.count < 3 || share <= PATTERN_SHARE {
        let reason = format!(
            "no mask is shared by more than {} of {} words, and a pattern begins above 5 %",
            common.count,
            shape.len()
        );
        return vec![Weight::new(0.05, reason).from(source::ALIBABA)];
    }
    vec![
        pattern(shape, common, share),
        bits_of(common),
        direction(common),
    ]
}

/// How much likelier the pattern's share makes what was seen than chance does.
fn pattern(shape: &Shape, common: CommonMask, share: f64) -> Weight {
    let bits = common.mask.count_ones();
    let reason = format!(
        "{} of {} words ({:.0} %) share one mask of {bits} bits, {:#x}",
        common.count,
        shape.len(),
        share * 100.0,
        common.mask
    );
    if shape.share(shape.few_units) >= 0.5 || shape.permuted {
        let reason = format!("{reason}, which the values explain without a defect");
        return Weight::new(0.02, reason);
    }
    // Masks of so many bits that chance has to choose from; the first word fixes which.
    let chance = match bits {
        0 | 1 => 1.0 / 64.0,
        2 => 1.0 / 2016.0,
        _ => 1.0 / 41_664.0,
    };
    let others = common.count as f64 - 1.0;
    let log = others * (share / chance).ln();
    Weight::new(log.min(6.0).exp(), reason).from(source::ALIBABA)
}

fn bits_of(common: CommonMask) -> Weight {
    let bits = common.mask.count_ones();
    let [one, two, more] = PATTERN_BITS;
    let share = match bits {
        0 | 1 => one,
        2 => two,
        _ => more,
    };
    let reason = format!("{:.0} % of known patterns have so many bits", share * 100.0);
    Weight::new(share / BACKGROUND_BITS, reason).from(source::ALIBABA)
}

/// A data path flips both ways, a weak cell mostly one way.
fn direction(common: CommonMask) -> Weight {
    let CommonMask { rising, flips, .. } = common;
    let reason =
        format!("{rising} of its {flips} flips go from 0 to 1, and about half are expected");
    let both = rising > 0 && rising < flips;
    let ratio = if both { 1.5 } else { 0.3 };
    Weight::new(ratio, reason).from(source::ALIBABA)
}

/// A cell, row or column of memory.
pub(super) fn memory_cell(subject: &Subject<'_>, shape: &Shape) -> Vec<Weight> {
    if shape.pages.is_empty() {
        return vec![Weight::new(0.1, "no word of memory differs".to_owned())];
    }
    let mut weights = vec![extent(shape)];
    weights.extend(one_way(shape));
    weights.extend(stays_in_place(subject, shape));
    if shape.in_code > 0 {
        let reason = format!(
            "{} words lie in the kernel's code, which nothing writes after it has booted",
            shape.in_code
        );
        weights.push(Weight::new(5.0, reason));
    }
    weights
}

fn extent(shape: &Shape) -> Weight {
    let (words, pages) = (shape.len(), shape.pages.len());
    let narrow = shape.words.iter().all(|word| word.mask().count_ones() <= 8);
    let ordered =
        shape.permuted || shape.moved_pointers + shape.moving + shape.few_units > words / 2;
    match (words, shape.one_bit) {
        (1, 1) => {
            let reason = "one bit of one word differs, as in up to 55 % of DRAM faults".to_owned();
            Weight::new(DRAM_ONE_BIT / BACKGROUND_ONE_BIT, reason).from(source::DRAM)
        }
        _ if ordered => {
            let reason = "the values have an order that no memory fault makes".to_owned();
            Weight::new(0.2, reason)
        }
        (1, _) if narrow => {
            let reason = "a few bits of one word differ, as over 45 % of DRAM faults touch several";
            Weight::new((1.0 - DRAM_ONE_BIT) / 0.20, reason.to_owned()).from(source::DRAM)
        }
        _ if pages <= 2 && narrow => {
            let reason = format!(
                "{words} words differ in few bits within {}, as in a row",
                counted(pages, "page")
            );
            Weight::new(3.0, reason).from(source::DRAM)
        }
        _ if shape.share(shape.one_bit) > 0.9 => {
            let reason = format!(
                "{words} words of {} differ in one bit, as in a column",
                counted(pages, "page")
            );
            Weight::new(2.0, reason).from(source::DRAM)
        }
        _ => {
            let reason = format!(
                "{words} words of {} differ in many bits",
                counted(pages, "page")
            );
            Weight::new(0.3, reason)
        }
    }
}

/// A number with its noun.
fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// A weak cell loses its charge: it flips one way.
fn one_way(shape: &Shape) -> Option<Weight> {
    let common = shape.common.filter(|common| common.count >= 5)?;
    let one_way = common.rising == 0 || common.rising == common.flips;
    let reason = if one_way {
        format!("all {} flips go the same way", common.flips)
    } else {
        format!("{} of {} flips go from 0 to 1", common.rising, common.flips)
    };
    Some(Weight::new(if one_way { 2.0 } else { 0.2 }, reason))
}

/// Whether the page was wrong in earlier runs on other cores.
fn stays_in_place(subject: &Subject<'_>, shape: &Shape) -> Option<Weight> {
    let here = subject.core?;
    let earlier = &subject.surroundings.earlier;
    let elsewhere: Vec<&EarlierDeviation> =
        earlier.iter().filter(|one| one.core != *here).collect();
    let again = |one: &&&EarlierDeviation| !one.pages.is_disjoint(&shape.pages);
    let same = elsewhere.iter().filter(again).count();
    let ratio = |one: &&EarlierDeviation| {
        let chance = shape.pages.len() as f64 * one.pages.len() as f64 / CHANGED_PAGES;
        match (one.pages.is_disjoint(&shape.pages), chance < CELL_AGAIN) {
            (_, false) => 1.0,
            (true, _) => 1.0 - CELL_AGAIN,
            (false, _) => CELL_AGAIN / chance,
        }
    };
    (!elsewhere.is_empty()).then(|| {
        let reason = format!(
            "{same} of {} earlier deviations on other cores were in the same page",
            elsewhere.len()
        );
        Weight::new(elsewhere.iter().map(ratio).product(), reason)
    })
}

fn no_words() -> Weight {
    Weight::new(0.5, "no word of memory or of a file differs".to_owned())
}

/// A golden value that all contradict: could it have been one core?
pub(super) fn shared_core(surroundings: &Surroundings) -> Vec<Weight> {
    let cores: BTreeSet<&Core> = surroundings.cores.iter().map(|(_, core)| core).collect();
    let weight = match cores.len() {
        0 => return Vec::new(),
        1 => Weight::new(3.0, "all replicas ran on one core".to_owned()),
        count => {
            let reason = format!("the replicas ran on {count} cores, and all agree");
            Weight::new(0.05, reason)
        }
    };
    vec![weight.from(source::GOOGLE)]
}
