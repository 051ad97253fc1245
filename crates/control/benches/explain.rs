//! Whom flipped bytes of kernel memory belong to: the share that gets a symbol or an owner.
//!
//! A machine's memory is copied, single bits are flipped in the copy, and the two are compared; each
//! byte that differs is explained, as a run does it, from the memory without the faults. Places are
//! drawn by seed from all pages but those that are free, hold a program's memory, or a file's
//! content: so a page of which nothing is known counts as the kernel's. Counted as named is what
//! has a symbol or an owner that says more than that the memory is the kernel's.

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]

mod support;
#[path = "../tests/support/mod.rs"]
mod workshop;

use anyhow::{Context, ensure};
use hypervisor::{Channel, Signal};
use introspection::{Introspection, MemoryImage};
use model::{Explanation, OwnerKind, PAGE_BYTES};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::process::ExitCode;
use support::{Bound, Bounded, conclude, introduce};
use workshop::{Workshop, translated};

const FLIPS: usize = 1000;
const SEED: u64 = 1;

/// The least share that must be named.
const LEAST_NAMED: f64 = 0.9;

/// Addresses of devices and ROMs: no memory of the guest's kernel.
const DEVICE_HOLE: std::ops::Range<u64> = 0xa_0000..0x10_0000;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open().await?;
    introduce("explain", &workshop.session);
    let spec = translated(Signal::Port, Channel::DebugConsole)?;
    let machine = workshop.machine(spec).await?;
    let memory = MemoryImage(&machine.base);
    let introspection = Introspection::of(&memory)?;
    let pages: Vec<u64> = (0..machine.spec.memory_bytes)
        .step_by(PAGE_BYTES)
        .filter(|page| !DEVICE_HOLE.contains(page))
        .filter(|page| is_kernel_memory(introspection.explain(*page).as_ref()))
        .collect();
    println!("explain: {} pages of kernel memory", pages.len());

    let flipped = flip(&machine.base, &pages)?;
    let differing = machine.base.iter().zip(&flipped);
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

fn is_kernel_memory(explanation: Option<&Explanation>) -> bool {
    !explanation.is_some_and(|one| {
        matches!(
            one.kind,
            OwnerKind::Free | OwnerKind::Process | OwnerKind::PageCache
        )
    })
}

fn is_named(explanation: &Explanation) -> bool {
    explanation.symbol.is_some()
        || !matches!(explanation.kind, OwnerKind::Kernel | OwnerKind::Reserved)
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
