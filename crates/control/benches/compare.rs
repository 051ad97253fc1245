//! What a comparison costs, in CPU time of this thread, on the memory of real replicas.
//!
//! | figure | compared with | bound |
//! |---|---|---|
//! | five copy-on-write replicas of 256 MiB | capturing their changed pages out of the emulators | ≤ 2 |
//! | four full images of 256 MiB | a plain `memcmp` of the first with each of the others | ≤ 1.3 |
//!
//! Capturing is what a run does: list the changed pages, read their content. Only the reading
//! counts for the bound; the listing is shown, and so is one plain pass over the captured bytes. The
//! five replicas stand still at the end of the same
//! job the whole time. The ways alternate, and the best of all trials counts, since every
//! disturbance only ever adds.

#![expect(clippy::print_stdout, reason = "a bench's figures are its output")]

mod support;
#[path = "../tests/support/mod.rs"]
mod workshop;

use anyhow::{Context, ensure};
use control::machine::PreparedMachine;
use control::request::TCG_INSTRUCTIONS_PER_S;
use hypervisor::memory::changed::{PageListMethod, list, read_pages};
use hypervisor::memory::mapping::GuestMemory;
use hypervisor::{Channel, Domain, Signal};
use model::PAGE_BYTES;
use state::{Base, ChangedPages, Limits, MemoryView, compare_memory};
use std::hint::black_box;
use std::path::Path;
use std::process::ExitCode;
use support::{Bound, Bounded, Trials, conclude, cpu_time, introduce};
use workshop::{Workshop, chain, order, run_on, translated};

const MEMORY_BYTES: u64 = 256 << 20;
const REPLICAS: usize = 5;
const IMAGES: usize = 4;
const TRIALS: usize = 25;

/// The most that comparing may cost over capturing.
const MOST_OVER_READING: f64 = 2.0;

/// The most that comparing full images may cost over `memcmp`.
const MOST_OVER_MEMCMP: f64 = 1.3;

const LIMITS: Limits = Limits { listed: 64 };

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let workshop = Workshop::open().await?;
    introduce("compare", &workshop.session);
    let mut spec = translated(Signal::Port, Channel::DebugConsole)?;
    spec.memory_bytes = MEMORY_BYTES;
    let machine = workshop.machine(spec).await?;
    let replicas = replicas(&workshop, &machine).await?;
    let base = Base::new(&machine.base, MEMORY_BYTES)?;
    let (over_reading, states) = changed_pages(&machine, &replicas, &base)?;
    for replica in replicas {
        replica.destroy().await;
    }
    let over_memcmp = full_images(&base, &states)?;
    Ok(conclude("compare", &[over_reading, over_memcmp]))
}

/// Five replicas at the end of the default job.
async fn replicas(
    workshop: &Workshop,
    machine: &PreparedMachine,
) -> anyhow::Result<Vec<Box<dyn Domain>>> {
    let computation = computation::find("sha256").context("there is no sha256")?;
    let budget_s = computation.default_budget_s;
    let steps = computation::steps_for(computation, budget_s, TCG_INSTRUCTIONS_PER_S);
    let job = chain(steps, &[]);
    let mut replicas = Vec::with_capacity(REPLICAS);
    for _ in 0..REPLICAS {
        let mut replica = workshop.replica(machine).await?;
        order(replica.as_mut(), machine, &job)?;
        run_on(replica.as_mut()).await?;
        replicas.push(replica);
    }
    Ok(replicas)
}

/// What is done with the replicas' changed pages, each way timed by itself.
#[derive(Default)]
struct Ways {
    listing: Trials,
    reading: Trials,
    passing: Trials,
    comparing: Trials,
}

impl Ways {
    /// Captures the changed pages of all replicas, as a run does.
    fn capture(
        &mut self,
        memories: &[GuestMemory],
        snapshot: &Path,
    ) -> anyhow::Result<Vec<ChangedPages>> {
        let method = PageListMethod::best();
        let (listed, time) = cpu_time(|| {
            let lists = memories.iter().map(|memory| list(memory, method, snapshot));
            lists.collect::<Result<Vec<_>, _>>()
        });
        self.listing.add(time);
        let listed = listed?;
        let (captured, time) = cpu_time(|| {
            let lists = memories.iter().zip(listed);
            lists
                .map(|(memory, numbers)| read_pages(memory, numbers))
                .collect::<Result<Vec<_>, _>>()
        });
        self.reading.add(time);
        let states = captured?
            .into_iter()
            .map(|pages| ChangedPages::new(pages.numbers, pages.bytes));
        Ok(states.collect::<Result<_, _>>()?)
    }

    fn show(&self) {
        println!("listing   {}", self.listing);
        println!("reading   {}", self.reading);
        println!("passing   {}", self.passing);
        println!("comparing {}", self.comparing);
    }
}

/// Compares what five replicas changed, against the capture of just that.
fn changed_pages(
    machine: &PreparedMachine,
    replicas: &[Box<dyn Domain>],
    base: &Base<'_>,
) -> anyhow::Result<(Bounded, Vec<ChangedPages>)> {
    let snapshot = &machine.snapshot.memory;
    let memories: Vec<GuestMemory> = replicas
        .iter()
        .map(|replica| GuestMemory::find(replica.pid(), snapshot, MEMORY_BYTES))
        .collect::<Result<_, _>>()?;
    let mut ways = Ways::default();
    let mut states = Vec::new();
    for _ in 0..TRIALS {
        states = ways.capture(&memories, snapshot)?;
        ways.passing.add(cpu_time(|| black_box(sum(&states))).1);
        ways.comparing.add(compare_changed(base, &states)?);
    }
    let pages: usize = states.iter().map(ChangedPages::len).sum();
    let mebibytes = (pages * PAGE_BYTES) >> 20;
    println!("{REPLICAS} replicas, {pages} changed pages, {mebibytes} MiB");
    ways.show();
    let figure = Bounded {
        what: "comparing ÷ reading changed pages",
        ratio: ways.comparing.best_s() / ways.reading.best_s(),
        bound: Bound::Most(MOST_OVER_READING),
    };
    Ok((figure, states))
}

/// One plain pass over all captured bytes.
fn sum(states: &[ChangedPages]) -> u64 {
    let words = states
        .iter()
        .flat_map(|state| state.bytes().as_chunks().0)
        .map(|word| u64::from_ne_bytes(*word));
    words.fold(0, u64::wrapping_add)
}

fn compare_changed(
    base: &Base<'_>,
    states: &[ChangedPages],
) -> anyhow::Result<std::time::Duration> {
    let views: Vec<MemoryView<'_>> = states.iter().map(MemoryView::Changed).collect();
    let (comparison, time) = cpu_time(|| compare_memory(base, black_box(&views), LIMITS));
    let comparison = comparison?;
    ensure!(comparison.is_equal(), "equal replicas are not equal");
    let most: usize = states.iter().map(ChangedPages::len).sum();
    ensure!(
        comparison.bytes_compared >= (most * PAGE_BYTES) as u64,
        "not all changed pages were compared"
    );
    Ok(time)
}

/// Compares full images, against `memcmp`.
fn full_images(base: &Base<'_>, states: &[ChangedPages]) -> anyhow::Result<Bounded> {
    let images: Vec<Vec<u8>> = states
        .iter()
        .take(IMAGES)
        .map(|state| image(base, state))
        .collect();
    let views: Vec<MemoryView<'_>> = images
        .iter()
        .map(|image| MemoryView::Full(image.as_slice()))
        .collect();
    let (mut plain, mut comparing) = (Trials::default(), Trials::default());
    for _ in 0..TRIALS {
        let (equal, time) = cpu_time(|| all_equal(black_box(&images)));
        ensure!(equal, "equal images are not equal");
        plain.add(time);
        let (comparison, time) = cpu_time(|| compare_memory(base, black_box(&views), LIMITS));
        ensure!(comparison?.is_equal(), "equal images are not equal");
        comparing.add(time);
    }
    println!("{IMAGES} full images of {} MiB", MEMORY_BYTES >> 20);
    println!("memcmp    {plain}");
    println!("comparing {comparing}");
    Ok(Bounded {
        what: "comparing ÷ memcmp of full images",
        ratio: comparing.best_s() / plain.best_s(),
        bound: Bound::Most(MOST_OVER_MEMCMP),
    })
}

/// A replica's whole memory.
fn image(base: &Base<'_>, state: &ChangedPages) -> Vec<u8> {
    let pages = (0..base.total_pages())
        .map(|number| state.page(number).unwrap_or_else(|| base.page(number)));
    pages.flatten().copied().collect()
}

fn all_equal(images: &[Vec<u8>]) -> bool {
    let Some((first, rest)) = images.split_first() else {
        return true;
    };
    rest.iter().all(|image| image == first)
}
