//! Whom flipped bytes of kernel memory belong to: the share that is explained, whether drgn agrees,
//! and how often each kind of answer is right.
//!
//! A guest whose own kernel tells what every page frame is gives its memory; single bits are flipped
//! in a copy, and the two are compared. Each byte that differs is explained, as a run does it, from
//! the memory without the faults. Places are drawn by seed from all frames that the *guest's kernel*
//! says are in use and no process's, no file's and not free: nothing of ours chooses them.
//!
//! Counted as explained is what has a symbol, a type with a member, an object of a named cache, a
//! byte of a file, a process's stack, page table or mapping, or padding between two symbols. That the memory is the kernel's or
//! was set aside does not count. The truth is drgn's answer where it has one (`oracle`); of whole
//! frames it is what the guest's kernel says.
//!
//! ```text
//! explain [PYTHON VMLINUX]     without the two, drgn is not asked
//! ```

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]

mod oracle;
#[path = "../support/mod.rs"]
mod support;
#[path = "../../tests/support/mod.rs"]
mod workshop;

use anyhow::{Context, ensure};
use introspection::{Introspection, MemoryImage};
use model::{Basis, Explanation, OwnerKind, PAGE_BYTES};
use oracle::{Oracle, agrees, explained};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::process::ExitCode;
use support::{Bound, Bounded, conclude, introduce};
use workshop::Workshop;
use workshop::told::{Told, ToldMemory, told_memory};

/// What the promise speaks of.
const FLIPS: usize = 300;
const SEED: u64 = 1;

/// Those that the table of confidence is made of, and those that it is tried on.
const CAMPAIGN_FLIPS: usize = 20_000;
const TABLE_SEED: u64 = 2;
const TRIAL_SEED: u64 = 3;

/// The least share that must be explained, and that must agree with drgn.
const LEAST_EXPLAINED: f64 = 0.95;
const LEAST_AGREEING: f64 = 0.98;

/// Disagreements that are shown.
const SHOWN: usize = 12;

/// Bins of the reliability curve.
const BINS: usize = 10;

/// Resamplings of the interval.
const ROUNDS: usize = 500;

/// Addresses of devices and ROMs: no memory of the guest's kernel.
const DEVICE_HOLE: std::ops::Range<u64> = 0xa_0000..0x10_0000;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let words = std::env::args().skip(1).filter(|word| word != "--bench");
    let oracle = match words.collect::<Vec<_>>().as_slice() {
        [python, vmlinux] => Some(Oracle {
            python: python.into(),
            vmlinux: vmlinux.into(),
        }),
        _ => None,
    };
    let workshop = Workshop::open().await?;
    introduce("explain", &workshop.session);
    let told = told_memory(&workshop).await?;
    let memory = MemoryImage(&told.memory);
    let introspection = Introspection::of(&memory)?;
    let kernel = pages(&told, |told| told.is_kernel_memory());
    println!("explain: {} pages of kernel memory", kernel.len());

    let bytes = differing(&told.memory, &kernel, (FLIPS, SEED))?;
    let ours = explained(&introspection, &bytes);
    let mut figures = vec![share_explained(&ours)];
    if let Some(oracle) = &oracle {
        figures.push(share_agreeing(&ours, &oracle.ask(&told.memory, &ours)?));
        let everything = pages(&told, |told| told != Told::Nothing);
        for (what, seed) in [("table", TABLE_SEED), ("trial", TRIAL_SEED)] {
            let half = CAMPAIGN_FLIPS / 2;
            let mut bytes = differing(&told.memory, &kernel, (half, seed))?;
            bytes.extend(differing(&told.memory, &everything, (half, seed + 100))?);
            let ours = explained(&introspection, &bytes);
            let theirs = oracle.ask(&told.memory, &ours)?;
            campaign(what, &told, &ours, &theirs);
        }
    } else {
        println!("explain: drgn was not asked: name a Python that has it, and the vmlinux");
    }
    Ok(conclude("explain", &figures))
}

/// The first bytes of the pages of which the guest's kernel says so.
fn pages(told: &ToldMemory, wanted: impl Fn(Told) -> bool) -> Vec<u64> {
    (0_u64..)
        .step_by(PAGE_BYTES)
        .zip(&told.frames)
        .filter(|(page, told)| wanted(**told) && !DEVICE_HOLE.contains(page))
        .map(|(page, _)| page)
        .collect()
}

fn share_explained(ours: &[(u64, Option<Explanation>)]) -> Bounded {
    let mut owners: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut named = 0;
    for (_, ours) in ours {
        let is_named = ours.as_ref().is_some_and(is_explained);
        named += u32::from(is_named);
        let kind = ours.as_ref().map(|one| one.kind.to_string());
        let counted = owners.entry(kind.unwrap_or_default()).or_default();
        counted.0 += 1;
        counted.1 += u32::from(is_named);
    }
    for (kind, (all, named)) in owners {
        println!("explain: {all:>5}  {kind}, {named} of them explained");
    }
    let unexplained =
        |ours: &&(u64, Option<Explanation>)| !ours.1.as_ref().is_some_and(is_explained);
    for (at, ours) in ours.iter().filter(unexplained) {
        let owner = ours.as_ref().map(|ours| ours.owner.as_str());
        println!(
            "explain: not explained: {at:#x}: {}",
            owner.unwrap_or("nothing")
        );
    }
    println!(
        "explain: {named} of {} flipped bytes are explained",
        ours.len()
    );
    Bounded {
        what: "explained share of flipped kernel bytes",
        ratio: f64::from(named) / ours.len() as f64,
        bound: Bound::Least(LEAST_EXPLAINED),
    }
}

fn is_explained(ours: &Explanation) -> bool {
    let has_member = ours.type_name.is_some() && ours.field.is_some();
    let of_somebody = match ours.kind {
        OwnerKind::PageTable | OwnerKind::KernelStack | OwnerKind::Process => true,
        // A cache's page, and an area whose function is known.
        OwnerKind::Slab => true,
        OwnerKind::Vmalloc => ours.owner.contains(" of "),
        _ => false,
    };
    let is_padding = ours.basis == Some(Basis::Padding);
    ours.symbol.is_some() || has_member || ours.file.is_some() || of_somebody || is_padding
}

fn share_agreeing(ours: &[(u64, Option<Explanation>)], theirs: &[oracle::Answer]) -> Bounded {
    let (mut both, mut agreeing) = (0_u32, 0_u32);
    let mut shown = 0;
    for ((at, ours), theirs) in ours.iter().zip(theirs) {
        let Some(agrees) = ours.as_ref().and_then(|ours| agrees(ours, theirs)) else {
            continue;
        };
        both += 1;
        agreeing += u32::from(agrees);
        if !agrees && shown < SHOWN {
            shown += 1;
            println!("explain: {at:#x}: {ours:?}, and drgn says {theirs:?}");
        }
    }
    println!("explain: drgn and we both answer for {both} bytes, and agree on {agreeing}");
    Bounded {
        what: "share that agrees with drgn",
        ratio: f64::from(agreeing) / f64::from(both),
        bound: Bound::Least(LEAST_AGREEING),
    }
}

/// Counts how often each kind of answer is right, and prints the curve of what was claimed.
fn campaign(
    what: &str,
    told: &ToldMemory,
    ours: &[(u64, Option<Explanation>)],
    theirs: &[oracle::Answer],
) {
    let mut by_basis: BTreeMap<Basis, (u32, u32, u32)> = BTreeMap::new();
    let mut claims = Vec::new();
    let mut shown = BTreeMap::new();
    for ((at, ours), theirs) in ours.iter().zip(theirs) {
        let Some((ours, basis)) = ours.as_ref().and_then(|ours| Some((ours, ours.basis?))) else {
            continue;
        };
        let counted = by_basis.entry(basis).or_default();
        counted.0 += 1;
        let Some(is_right) = agrees(ours, theirs).or_else(|| kernel_agrees(told, *at, ours)) else {
            continue;
        };
        counted.1 += 1;
        counted.2 += u32::from(is_right);
        if let Some(confidence) = ours.confidence {
            claims.push((confidence.probability(), is_right));
        }
        let said = shown.entry(basis).or_insert(0);
        if !is_right && *said < 4 {
            *said += 1;
            println!("{what}: {at:#x}: {ours:?}, and drgn says {theirs:?}");
        }
    }
    for (basis, (all, judged, right)) in &by_basis {
        let expected = (f64::from(*right) + 0.5) / (f64::from(*judged) + 1.0);
        println!(
            "{what}: {basis:<16} {all:>5} answers, {judged:>5} judged, {right:>5} right: {expected:.4}"
        );
    }
    let mut intervals = ChaCha8Rng::seed_from_u64(SEED);
    let below = |count: usize| (intervals.next_u64() % count.max(1) as u64) as usize;
    let interval = stats::calibration_interval(&claims, BINS, (ROUNDS, 0.95), below);
    for bin in stats::reliability(&claims, BINS) {
        let (claimed, right) = (bin.confidence, bin.right);
        println!(
            "{what}: claimed {claimed:.4}, right {right:.4} of {}",
            bin.count
        );
    }
    let error = stats::calibration_error(&claims, BINS).unwrap_or(f64::NAN);
    println!(
        "{what}: calibration error {error:.4}, 95 % interval {interval:.4?}, over {} answers",
        claims.len()
    );
}

/// Whether an answer about a whole frame is what the guest's kernel says of it.
fn kernel_agrees(told: &ToldMemory, at: u64, ours: &Explanation) -> Option<bool> {
    let number = usize::try_from(at / PAGE_BYTES as u64).ok()?;
    let says = *told.frames.get(number)?;
    let whole = matches!(
        ours.basis?,
        Basis::PageTable | Basis::Mapping | Basis::Frame | Basis::File
    );
    whole.then(|| match (says, ours.kind) {
        (Told::Free, kind) => kind == OwnerKind::Free,
        (Told::Anonymous, kind) => kind == OwnerKind::Process,
        (Told::File, kind) => matches!(kind, OwnerKind::Process | OwnerKind::PageCache),
        (Told::PageTable, kind) => kind == OwnerKind::PageTable,
        (Told::Reserved, kind) => matches!(
            kind,
            OwnerKind::Reserved | OwnerKind::KernelImage | OwnerKind::PageTable
        ),
        // The kernel's early page tables are none that it tells of, nor are a CPU's own free pages.
        (Told::Other, kind) => matches!(
            kind,
            OwnerKind::Kernel | OwnerKind::PageTable | OwnerKind::Free
        ),
        (Told::Slab | Told::Nothing, _) => false,
    })
}

/// Flips single bits in bytes of these pages of a copy, and gives the bytes that then differ.
fn differing(base: &[u8], pages: &[u64], (flips, seed): (usize, u64)) -> anyhow::Result<Vec<u64>> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut flipped = base.to_vec();
    for _ in 0..flips {
        let page = random.next_u64() % u64::try_from(pages.len())?;
        let page = *pages.get(usize::try_from(page)?).context("no such page")?;
        let at = usize::try_from(page + random.next_u64() % PAGE_BYTES as u64)?;
        let byte = flipped.get_mut(at).context("no such byte")?;
        *byte ^= 1 << (random.next_u64() % 8);
    }
    let pairs = (0_u64..).zip(base.iter().zip(&flipped));
    let differing: Vec<u64> = pairs
        .filter(|(_, (one, other))| one != other)
        .map(|(at, _)| at)
        .collect();
    ensure!(!differing.is_empty(), "nothing differs");
    Ok(differing)
}
