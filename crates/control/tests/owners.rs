//! Whom memory belongs to, held against what the guest's own kernel says of each page frame.

mod support;

use anyhow::{Context, ensure};
use introspection::{Introspection, MemoryImage};
use model::{OwnerKind, PAGE_BYTES};
use std::collections::BTreeMap;
use support::Workshop;
use support::told::{Told, told_memory};

/// Frames that may be another thing a moment after the kernel was asked, in a hundred thousand.
const CHANGED_SINCE: usize = 50;

/// Whether an owner agrees with what the kernel says.
fn agrees(told: Told, ours: OwnerKind) -> bool {
    use OwnerKind as Owner;
    match told {
        Told::Nothing => false,
        Told::Free => ours == Owner::Free,
        Told::Slab => ours == Owner::Slab,
        Told::Anonymous => ours == Owner::Process,
        Told::File => matches!(ours, Owner::Process | Owner::PageCache),
        Told::PageTable => matches!(ours, Owner::PageTable | Owner::Kernel),
        Told::Reserved => matches!(
            ours,
            Owner::KernelImage
                | Owner::PerCpu
                | Owner::PageTable
                | Owner::Vmalloc
                | Owner::MemoryMap
                | Owner::Reserved
        ),
        // A CPU's own list of free pages is none that the kernel tells of.
        Told::Other => matches!(
            ours,
            Owner::PageTable
                | Owner::KernelStack
                | Owner::PerCpu
                | Owner::Vmalloc
                | Owner::Kernel
                | Owner::Free
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_those_that_the_kernel_tells() -> anyhow::Result<()> {
    let told = told_memory(&Workshop::open().await?).await?;
    let memory = MemoryImage(&told.memory);
    let introspection = Introspection::of(&memory)?;
    let mut seen: BTreeMap<(Told, OwnerKind), usize> = BTreeMap::new();
    for (&says, page) in told.frames.iter().zip((8..).step_by(PAGE_BYTES)) {
        let ours = introspection.explain(page);
        let ours = ours.with_context(|| format!("{page:#x} has no owner"))?;
        *seen.entry((says, ours.kind)).or_default() += 1;
    }
    let count = |wanted: &dyn Fn(Told, OwnerKind) -> bool| -> usize {
        let wanted = seen.iter().filter(|((told, ours), _)| wanted(*told, *ours));
        wanted.map(|(_, count)| count).sum()
    };
    let wrong = count(&|told, ours| !agrees(told, ours));
    ensure!(
        wrong * 100_000 <= CHANGED_SINCE * told.frames.len(),
        "{wrong} of {} owners are not what the kernel says: {seen:#?}",
        told.frames.len()
    );
    // Each kind that it tells of is there, and so is each of ours that it cannot tell.
    for (says, least) in [
        (Told::Free, 1000),
        (Told::Slab, 1000),
        (Told::PageTable, 10),
        (Told::Anonymous, 4 * 128),
        (Told::File, 50),
        (Told::Reserved, 1000),
    ] {
        ensure!(
            count(&|told, _| told == says) >= least,
            "{says:?}: {seen:#?}"
        );
    }
    for kind in [
        OwnerKind::PerCpu,
        OwnerKind::KernelStack,
        OwnerKind::Vmalloc,
        OwnerKind::MemoryMap,
    ] {
        ensure!(count(&|_, ours| ours == kind) > 0, "no {kind}: {seen:#?}");
    }
    Ok(())
}
