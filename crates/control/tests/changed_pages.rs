//! The lists of changed pages of a real replica: both ways of asking the kernel give the same, and
//! neither misses a page that differs from the snapshot.

mod support;

use anyhow::Context;
use hypervisor::memory::changed::{PageListMethod, list};
use hypervisor::memory::mapping::GuestMemory;
use hypervisor::{Channel, Signal};
use support::{Workshop, chain, order, run_on, translated};

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_agree_and_miss_nothing() -> anyhow::Result<()> {
    let workshop = Workshop::open().await?;
    let spec = translated(Signal::Port, Channel::DebugConsole)?;
    let machine = workshop.machine(spec).await?;
    let mut replica = workshop.replica(&machine).await?;
    order(replica.as_mut(), &machine, &chain(64, &[]))?;
    run_on(replica.as_mut()).await?;

    let snapshot = &machine.snapshot.memory;
    let memory = GuestMemory::find(replica.pid(), snapshot, machine.spec.memory_bytes)?;
    let listed = |method| list(&memory, method, snapshot).context(format!("{method:?}"));
    let by_bits = listed(PageListMethod::Bits)?;
    if PageListMethod::best() == PageListMethod::Scan {
        assert_eq!(listed(PageListMethod::Scan)?, by_bits);
    } else {
        println!("this kernel has no PAGEMAP_SCAN: the page map's bits stand alone");
    }

    let differing = listed(PageListMethod::Compare)?;
    let missed = differing
        .iter()
        .filter(|number| by_bits.binary_search(number).is_err());
    assert_eq!(missed.collect::<Vec<_>>(), Vec::<&u64>::new());
    // The chain works on 4 MiB, all of which it rewrites.
    assert!(differing.len() > 1024, "{} pages differ", differing.len());
    println!(
        "{} pages are private, {} of them hold what the snapshot holds",
        by_bits.len(),
        by_bits.len() - differing.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_written_is_listed() -> anyhow::Result<()> {
    let workshop = Workshop::open().await?;
    let spec = translated(Signal::Port, Channel::DebugConsole)?;
    let machine = workshop.machine(spec).await?;
    let mut replica = workshop.replica(&machine).await?;
    let before = replica.changed_page_numbers()?;
    let untouched = (0x1000..).find(|number| before.binary_search(number).is_err());
    let number = untouched.context("every page has changed")?;
    let address = model::GuestPhysicalAddress(number * model::PAGE_BYTES as u64);
    replica.write_memory(address, &[0xa5])?;
    let changed = replica.changed_pages()?;
    let index = changed.numbers.binary_search(&number);
    let index = index.map_err(|_| anyhow::anyhow!("page {number:#x} is not listed"))?;
    assert_eq!(changed.bytes[index * model::PAGE_BYTES], 0xa5);
    assert_eq!(changed.numbers.len(), before.len() + 1);
    Ok(())
}
