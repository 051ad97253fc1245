//! Whom flipped bytes of kernel memory belong to: the share that gets a symbol or an owner.
//!
//! A guest whose own kernel tells what every page frame is gives its memory; single bits are flipped
//! in a copy, and the two are compared. Each byte that differs is explained, as a run does it, from
//! the memory without the faults. Places are drawn by seed from all frames that the *guest's kernel*
//! says are in use and no process's, no file's and not free: nothing of ours chooses them. Counted
//! as named is what has a symbol, or an owner that says more than that the memory is the kernel's
//! or was set aside.

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]

mod support;
#[path = "../tests/support/mod.rs"]
mod workshop;

use anyhow::{Context, ensure};
use introspection::{Introspection, MemoryImage};
use model::{Explanation, OwnerKind, PAGE_BYTES};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::process::ExitCode;
use support::{Bound, Bounded, conclude, introduce};
use workshop::Workshop;
use workshop::told::told_memory;

const FLIPS: usize = 300;
const SEED: u64 = 1;

/// The least share that must be named.
const LEAST_NAMED: f64 = 0.9;

/// Addresses of devices and ROMs: no memory of the guest's kernel.
const DEVICE_HOLE: std::ops::Range<u64> = 0xa_0000..0x10_0000;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open().await?;
    introduce("explain", &workshop.session);
    let told = told_memory(&workshop).await?;
    let memory = MemoryImage(&told.memory);
    let introspection = Introspection::of(&memory)?;
    let pages: Vec<u64> = (0_u64..)
        .step_by(PAGE_BYTES)
        .zip(&told.frames)
        .filter(|(page, told)| told.is_kernel_memory() && !DEVICE_HOLE.contains(page))
        .map(|(page, _)| page)
        .collect();
    println!("explain: {} pages of kernel memory", pages.len());

    let flipped = flip(&told.memory, &pages)?;
    let differing = told.memory.iter().zip(&flipped);
    let differing = (0_u64..)
        .zip(differing)
        .filter(|(_, (one, other))| one != other);
    let (mut named, mut total) = (0, 0);
    let mut owners: BTreeMap<String, u32> = BTreeMap::new();
    for (address, _) in differing {
        let explanation = introspection.explain(address);
        total += 1;
        named += u32::from(explanation.as_ref().is_some_and(is_named));
        let kind = explanation.map_or_else(|| "unknown".to_owned(), |one| one.kind.to_string());
        *owners.entry(kind).or_default() += 1;
    }
    ensure!(total > 0, "nothing differs");
    for (kind, count) in owners {
        println!("explain: {count:>5}  {kind}");
    }
    println!("explain: {named} of {total} flipped bytes are named");
    let share = Bounded {
        what: "named share of flipped kernel bytes",
        ratio: f64::from(named) / f64::from(total),
        bound: Bound::Least(LEAST_NAMED),
    };
    Ok(conclude("explain", &[share]))
}

fn is_named(explanation: &Explanation) -> bool {
    explanation.symbol.is_some()
        || !matches!(
            explanation.kind,
            OwnerKind::Kernel | OwnerKind::Reserved | OwnerKind::Free
        )
}

/// A copy with single bits flipped in bytes of these pages.
fn flip(base: &[u8], pages: &[u64]) -> anyhow::Result<Vec<u8>> {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut flipped = base.to_vec();
    for _ in 0..FLIPS {
        let page = random.next_u64() % u64::try_from(pages.len())?;
        let page = *pages.get(usize::try_from(page)?).context("no such page")?;
        let at = usize::try_from(page + random.next_u64() % PAGE_BYTES as u64)?;
        let byte = flipped.get_mut(at).context("no such byte")?;
        *byte ^= 1 << (random.next_u64() % 8);
    }
    Ok(flipped)
}
