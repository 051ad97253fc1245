//! Lists of the pages that changed since the snapshot.

use crate::provider::{FEW_STEPS, Provider, ended};
use crate::support::{chain, order, run_on};
use anyhow::ensure;
use model::{GuestPhysicalAddress, PAGE_BYTES};
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Read at once.
const BLOCK_BYTES: usize = 1 << 20;

pub(crate) async fn a_page_that_was_written_is_listed_with_its_content(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (_machine, mut replica) = provider.ready().await?;
    ensure!(replica.changed_page_numbers()?.is_empty());
    ensure!(replica.changed_pages()?.bytes.is_empty());
    // Across a page's end: two pages, and only those.
    replica.write_memory(provider.quiet(), &[0x99; 16])?;
    let first = provider.quiet().0 / PAGE_BYTES as u64;
    ensure!(replica.changed_page_numbers()? == [first, first + 1]);
    let pages = replica.changed_pages()?;
    ensure!(pages.numbers == [first, first + 1]);
    ensure!(pages.bytes.len() == 2 * PAGE_BYTES);
    ensure!(pages.bytes[PAGE_BYTES - 8..PAGE_BYTES + 8] == [0x99; 16]);
    Ok(())
}

/// Held against a comparison of all of memory with the snapshot's file.
pub(crate) async fn no_page_that_differs_from_the_snapshot_is_missing(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (machine, mut replica) = provider.ready().await?;
    order(replica.as_mut(), &machine, &chain(FEW_STEPS, &[]))?;
    ensure!(ended(&run_on(replica.as_mut()).await?));
    let pages = replica.changed_pages()?;
    ensure!(pages.numbers.is_sorted_by(|one, next| one < next));
    ensure!(pages.numbers == replica.changed_page_numbers()?);
    ensure!(pages.bytes.len() == pages.numbers.len() * PAGE_BYTES);
    let listed: BTreeSet<u64> = pages.numbers.iter().copied().collect();

    let snapshot = File::open(&machine.snapshot.memory)?;
    let (mut before, mut after) = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let mut differing = BTreeSet::new();
    for start in (0..machine.spec.memory_bytes).step_by(BLOCK_BYTES) {
        snapshot.read_exact_at(&mut before, start)?;
        replica.read_memory(GuestPhysicalAddress(start), &mut after)?;
        let pairs = before.chunks(PAGE_BYTES).zip(after.chunks(PAGE_BYTES));
        for (number, (before, after)) in (start / PAGE_BYTES as u64..).zip(pairs) {
            if before != after {
                differing.insert(number);
            }
        }
    }
    ensure!(!differing.is_empty());
    ensure!(differing.is_subset(&listed));
    for (number, content) in pages.numbers.iter().zip(pages.bytes.chunks(PAGE_BYTES)) {
        let mut now = [0; PAGE_BYTES];
        replica.read_memory(GuestPhysicalAddress(number * PAGE_BYTES as u64), &mut now)?;
        ensure!(now == content, "page {number} was told wrong");
    }
    Ok(())
}

/// All lists are held against each other, before and after a page is written.
pub(crate) async fn every_way_of_listing_pages_gives_the_same(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (_machine, mut replica) = provider.ready().await?;
    let check = replica.check_page_lists()?;
    ensure!((check.listed, check.differing) == (0, 0), "{check:?}");
    let mut content = [0; 8];
    replica.read_memory(provider.quiet(), &mut content)?;
    replica.write_memory(provider.quiet(), &content.map(|byte| !byte))?;
    let listed = replica.changed_page_numbers()?.len() as u64;
    let check = replica.check_page_lists()?;
    ensure!(check.ways >= 1 && check.listed == listed, "{check:?}");
    ensure!((check.disputed, check.missed) == (0, 0), "{check:?}");
    ensure!(check.differing >= 1, "{check:?}");
    Ok(())
}
