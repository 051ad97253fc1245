//! What a real guest's memory means, held against what the guest itself said: its `/proc/kallsyms`,
//! the addresses in its hello, and the kernel's own counters. Only captured memory is given.

mod support;

use anyhow::{Context, ensure};
use control::machine::PreparedMachine;
use divergence::align::{Machine, NamedRange, NoMask, align};
use hypervisor::{Channel, Signal};
use introspection::{BufferName, GuestKernel, Introspection, MemoryImage, Process, SymbolTable};
use model::{Explanation, OwnerKind, PAGE_BYTES};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use state::{Base, Limits, MemoryView, Registers, compare_memory};
use std::collections::BTreeMap;
use support::{Workshop, translated};

/// Where guest-physical 0 is mapped in the image's mapping of a kernel that was not moved.
const IMAGE_BASE: u64 = 0xffff_ffff_8000_0000;

/// Symbols that every kernel of the last years has, in its code, constants, data and bss.
const KNOWN_SYMBOLS: [&str; 20] = [
    "init_task",
    "jiffies_64",
    "linux_banner",
    "init_top_pgt",
    "init_mm",
    "page_offset_base",
    "__per_cpu_offset",
    "saved_command_line",
    "nr_cpu_ids",
    "slab_caches",
    "schedule",
    "vfs_read",
    "do_exit",
    "sys_call_table",
    "init_uts_ns",
    "init_pid_ns",
    "init_user_ns",
    "root_task_group",
    "panic_timeout",
    "modprobe_path",
];

/// Tables that the kernel takes whole pages for, each known by the variable that points to it.
const KNOWN_POINTERS: [&str; 3] = ["dentry_hashtable", "inode_hashtable", "mount_hashtable"];

/// Pages that the kernel's counter of free pages leaves out, of a machine of 128 MiB: a CPU's own
/// lists of free pages hold up to the zone's low watermark (5/4 of 362) and a batch of 63, and up to
/// 125 wait to be counted.
const UNCOUNTED_PAGES: u64 = 768;

async fn machine() -> anyhow::Result<PreparedMachine> {
    let workshop = Workshop::open().await?;
    let spec = translated(Signal::Port, Channel::DebugConsole)?;
    workshop.machine(spec).await
}

/// The guest's own list of symbols, as it was copied out when the machine was booted.
fn listed_symbols(machine: &PreparedMachine) -> anyhow::Result<String> {
    let directory = machine.snapshot.memory.parent().context("no directory")?;
    Ok(std::fs::read_to_string(directory.join("symbols"))?)
}

fn explained(introspection: &Introspection<'_>, physical: u64) -> anyhow::Result<Explanation> {
    let explanation = introspection.explain(physical);
    explanation.with_context(|| format!("{physical:#x} has no owner"))
}

fn find<'a>(introspection: &'a Introspection<'_>, pid: u32) -> anyhow::Result<&'a Process> {
    let mut processes = introspection.processes().found.iter();
    processes
        .find(|process| process.id == pid)
        .with_context(|| format!("there is no process {pid}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn symbols_are_those_that_the_guest_lists() -> anyhow::Result<()> {
    let machine = machine().await?;
    let kallsyms = introspection::find_kallsyms(&MemoryImage(&machine.base))?;
    let listed = listed_symbols(&machine)?;
    let of_the_kernel = listed.lines().filter(|line| !line.ends_with(']'));
    let found: Vec<String> = kallsyms
        .symbols
        .iter()
        .map(|one| format!("{:016x} {} {}", one.address, char::from(one.kind), one.name))
        .collect();
    assert!(found.len() > 10_000, "{} symbols", found.len());
    assert!(of_the_kernel.eq(&found), "the lists differ");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guest_program_is_a_process_with_mappings() -> anyhow::Result<()> {
    let machine = machine().await?;
    let memory = MemoryImage(&machine.base);
    let introspection = Introspection::of(&memory)?;
    assert_eq!(introspection.processes().partial, None);
    let init = find(&introspection, 1)?;
    assert_eq!(
        (init.name.as_str(), &init.mappings.partial),
        ("init", &None)
    );
    let names = init.mappings.found.iter().map(|one| one.name.as_str());
    let names: Vec<&str> = names.collect();
    for expected in ["/init", "[heap]", "[stack]", "[vdso]"] {
        assert!(names.contains(&expected), "{expected} is not in {names:?}");
    }
    assert_eq!(find(&introspection, 2)?.name, "kthreadd");

    // The guest said where its mailbox lies, and where in its code it stops.
    for page in machine.hello.mailbox {
        let owner = explained(&introspection, page.0 + 8)?;
        let process = owner.process.context("the mailbox is of no process")?;
        assert_eq!((process.pid, process.name.as_str()), (1, "init"));
        assert_eq!(owner.virtual_address.map(|at| at.0 % 4096), Some(8));
    }
    // A buffer that it names is told by that name.
    let page = machine.hello.mailbox.first().context("no mailbox")?.0;
    let address = explained(&introspection, page)?.virtual_address;
    let introspection = introspection.with_buffers(vec![BufferName {
        process: 1,
        name: "mailbox".to_owned(),
        address: address.context("no address")?.0 + 16,
        bytes: 8,
    }]);
    for (into, offset) in [(15, None), (16, Some(0)), (23, Some(7)), (24, None)] {
        let buffer = explained(&introspection, page + into)?.buffer;
        assert_eq!(buffer.map(|buffer| buffer.offset), offset);
    }
    let init = find(&introspection, 1)?;
    let space = init.space.context("init has no page tables")?;
    for waypoint in machine.hello.waypoints {
        let memory = introspection.kernel().memory();
        let physical = space.translate(memory, waypoint.0)?.physical;
        let owner = explained(&introspection, physical)?;
        assert_eq!(owner.virtual_address, Some(waypoint));
        let mapping = owner.mapping.context("code without a mapping")?;
        assert_eq!(
            (mapping.name.as_str(), mapping.permissions.as_str()),
            ("/init", "r-xp")
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_known_has_its_owner() -> anyhow::Result<()> {
    let machine = machine().await?;
    let memory = MemoryImage(&machine.base);
    let introspection = Introspection::of(&memory)?;
    let listed = SymbolTable::parse_kallsyms(listed_symbols(&machine)?.as_bytes())?;
    let mut flipped = machine.base.clone();
    let mut expected = BTreeMap::new();
    for name in KNOWN_SYMBOLS {
        let address = listed.address_of(name).context(name)?;
        let place = address - IMAGE_BASE + 1;
        flipped[usize::try_from(place)?] ^= 0x10;
        let name = listed.resolve(address).context(name)?.name;
        expected.insert(place / 8 * 8, format!("{name}+0x1"));
    }
    let states = [&machine.base, &flipped].map(|image| MemoryView::Full(image));
    let base = Base::new(&[], machine.spec.memory_bytes)?;
    let differing = compare_memory(&base, &states, Limits { listed: 64 })?;
    assert_eq!(differing.undecided.len(), KNOWN_SYMBOLS.len());
    for word in differing.undecided {
        let owner = explained(&introspection, word.address.0 + 1)?;
        assert_eq!(owner.kind, OwnerKind::KernelImage);
        assert_eq!(owner.symbol.as_ref(), expected.get(&word.address.0));
    }

    let kernel = introspection.kernel();
    let init = find(&introspection, 1)?;
    let kthreadd = find(&introspection, 2)?;
    let owner_of = |address: u64| {
        let physical = kernel.physical(address).context("not mapped")?;
        explained(&introspection, physical)
    };
    for process in [init, kthreadd] {
        let thread = process.threads.found.first().context("no thread")?;
        let task = owner_of(thread.task)?;
        assert_eq!(task.kind, OwnerKind::Slab);
        assert!(
            task.owner.starts_with("slab task_struct, object "),
            "{task:?}"
        );
        let stack = owner_of(thread.stack + 0x3ff8)?;
        let whose = stack.process.context("a stack of nobody")?;
        assert_eq!(
            (stack.kind, whose.pid),
            (OwnerKind::KernelStack, process.id)
        );
    }
    let root = init.space.context("init has no page tables")?.root();
    let table = explained(&introspection, root + 16)?;
    assert_eq!(table.kind, OwnerKind::PageTable);
    assert!(table.owner.contains("init (pid 1), level"), "{table:?}");
    assert!(table.owner.ends_with("entry 2"), "{table:?}");

    let symbols = kernel.kallsyms();
    let offsets = symbols.address_of("__per_cpu_offset").context("no CPUs")?;
    let area = kernel.u64(offsets).context("no area")?;
    for name in ["current_task", "runqueues"] {
        let variable = owner_of(area + symbols.address_of(name).context(name)?)?;
        assert_eq!(variable.symbol, Some(format!("{name}+0x0")));
    }
    let current = symbols.address_of("current_task").context("no task")?;
    let current = kernel.u64(area + current).context("no task")?;
    let first = init.threads.found.first().map(|thread| thread.task);
    assert_eq!(
        Some(current),
        first,
        "init runs when it says that it is ready"
    );

    for name in KNOWN_POINTERS {
        let table = kernel.u64(symbols.address_of(name).context(name)?);
        let table = owner_of(table.context(name)? + 0x48)?;
        assert_eq!(table.symbol, Some(format!("*{name}+0x48")));
    }
    let records = symbols.address_of("vmemmap_base").context("no records")?;
    let record = owner_of(kernel.u64(records).context("no records")? + 5 * 64 + 8)?;
    assert_eq!(record.owner, "record of page frame 0x5 + 0x8");
    Ok(())
}

/// Where a text lies in a guest's memory, of so many bytes from an address of its kernel on.
fn find_text(kernel: &GuestKernel<'_>, from: u64, bytes: u64, text: &str) -> Option<u64> {
    let word = |at| Some(kernel.u64(at)?.to_le_bytes());
    let content: Option<Vec<[u8; 8]>> = (from..from + bytes).step_by(8).map(word).collect();
    let content = content?.concat();
    let found = content.windows(text.len() + 1);
    let wanted = [text.as_bytes(), b"\0"].concat();
    let at = found.into_iter().position(|window| window == wanted)?;
    Some(from + at as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_are_those_that_the_content_tells() -> anyhow::Result<()> {
    let machine = machine().await?;
    let memory = MemoryImage(&machine.base);
    let introspection = Introspection::of(&memory)?;
    let listed = SymbolTable::parse_kallsyms(listed_symbols(&machine)?.as_bytes())?;
    let kernel = introspection.kernel();
    let symbols = kernel.kallsyms();
    let member = |address: u64| {
        let physical = kernel.physical(address).context("not mapped")?;
        let found = explained(&introspection, physical)?;
        ensure!(found.confidence.is_some(), "{found:?}");
        let type_name = found.type_name.clone().unwrap_or_default();
        let field = found.field.clone().unwrap_or_default();
        Ok((format!("{type_name}.{field}"), found))
    };
    // Texts that the kernel keeps in known members of its variables.
    let release = &machine.hello.kernel_release;
    for (symbol, bytes, text, expected) in [
        ("init_task", 0x2000, "swapper/0", "task_struct.comm[0]"),
        (
            "init_uts_ns",
            0x190,
            release.as_str(),
            "uts_namespace.name.release[0]",
        ),
        (
            "init_uts_ns",
            0x190,
            "Linux",
            "uts_namespace.name.sysname[0]",
        ),
        (
            "init_uts_ns",
            0x190,
            "x86_64",
            "uts_namespace.name.machine[0]",
        ),
    ] {
        let start = listed.address_of(symbol).context(symbol)?;
        let at = find_text(kernel, start, bytes, text);
        let at = at.with_context(|| format!("no {text} in {symbol}"))?;
        let (found, explanation) = member(at)?;
        assert_eq!(found, expected);
        let into = at - start;
        assert_eq!(explanation.symbol, Some(format!("{symbol}+{into:#x}")));
    }
    // The running thread is the program's, by a variable whose address the guest listed.
    let area = symbols.address_of("__per_cpu_offset").context("no CPUs")?;
    let area = kernel.u64(area).context("no area")?;
    let current = area + symbols.address_of("current_task").context("no task")?;
    assert_eq!(
        member(current)?.1.type_name.as_deref(),
        Some("task_struct *")
    );
    let current = kernel.u64(current).context("no task")?;
    let comm = find_text(kernel, current, 0x2000, "init").context("no name")?;
    let (found, task) = member(comm)?;
    assert_eq!(found, "task_struct.comm[0]");
    assert_eq!(task.process.map(|process| process.pid), Some(1));
    let object = task.object.context("no object")?;
    assert_eq!(
        (object.cache.as_str(), object.in_use),
        ("task_struct", Some(true))
    );
    assert_eq!((object.address.0, object.offset), (current, comm - current));
    // The kernel's command line is an object that a variable points to.
    let line = listed.address_of("saved_command_line").context("no line")?;
    let line = kernel.u64(line).context("no line")?;
    let words = kernel.u64(line).context("no words")?.to_le_bytes();
    assert!(machine.spec.kernel_arguments.as_bytes().starts_with(&words));
    let owner = explained(&introspection, kernel.physical(line).context("not mapped")?)?;
    ensure!(
        matches!(owner.kind, OwnerKind::Slab | OwnerKind::Reserved),
        "{owner:?}"
    );
    Ok(())
}

/// Pages of the program's file hold what stands at that place of the file.
#[tokio::test(flavor = "multi_thread")]
async fn file_pages_hold_what_the_file_holds() -> anyhow::Result<()> {
    let machine = machine().await?;
    let memory = MemoryImage(&machine.base);
    let introspection = Introspection::of(&memory)?;
    let program = guest::program().context("no program was embedded")?;
    let mut pages = 0;
    for page in (0..machine.spec.memory_bytes).step_by(PAGE_BYTES) {
        let found = introspection.explain(page).and_then(|found| found.file);
        let Some(file) = found.filter(|file| file.path == "/init") else {
            continue;
        };
        let (at, offset) = (usize::try_from(page)?, usize::try_from(file.offset)?);
        let held = program.get(offset..).context("behind the file's end")?;
        let held = held.get(..PAGE_BYTES).unwrap_or(held);
        ensure!(
            machine.base[at..].starts_with(held),
            "page {page:#x} is not at {offset:#x} of the file"
        );
        pages += 1;
    }
    ensure!(pages > 50, "{pages} pages of the program");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_pages_are_free_as_the_kernel_counts() -> anyhow::Result<()> {
    let machine = machine().await?;
    let memory = MemoryImage(&machine.base);
    let introspection = Introspection::of(&memory)?;
    let mut counted: BTreeMap<OwnerKind, u64> = BTreeMap::new();
    for page in (0..machine.spec.memory_bytes).step_by(PAGE_BYTES) {
        if let Some(owner) = introspection.explain(page) {
            *counted.entry(owner.kind).or_default() += 1;
        }
    }
    let kernel = introspection.kernel();
    let symbol = kernel.kallsyms().address_of("vm_zone_stat");
    // The first counter of a zone is that of free pages.
    let free = kernel.u64(symbol.context("no counters")?);
    let free = free.context("counters cannot be read")?;
    let found = counted.get(&OwnerKind::Free).copied().unwrap_or(0);
    ensure!(free > 1024, "the kernel counts {free} free pages");
    ensure!(
        found.abs_diff(free) <= UNCOUNTED_PAGES,
        "{found} are free, and the kernel counts {free}"
    );
    Ok(())
}

/// Aligns a machine with itself, whose guest claims buffers anywhere.
fn aligned_with_itself(
    introspection: &Introspection<'_>,
    draw: &mut impl FnMut(u64) -> u64,
) -> anyhow::Result<()> {
    let pages = introspection.kernel().memory().pages();
    let changed: Vec<u64> = (0..200).map(|_| draw(pages)).collect();
    let buffers: Vec<NamedRange> = (0..8)
        .map(|number| NamedRange {
            name: format!("b{}", number % 7),
            start: draw(1 << 47),
            bytes: draw(1 << (4 * number)),
        })
        .collect();
    let registers = Registers::default();
    let machine = Machine {
        places: introspection,
        changed: &changed,
        buffers: &buffers,
        registers: &registers,
    };
    let aligned = align(&[machine, machine], &NoMask);
    ensure!(aligned.unexplained_total == 0, "{aligned:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_memory_is_survived() -> anyhow::Result<()> {
    const ROUNDS: u64 = 12;
    const BYTES_A_ROUND: usize = 20_000;
    let machine = machine().await?;
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut draw = |below: u64| random.next_u64() % below;
    let mut bytes = machine.base.clone();
    for _ in 0..ROUNDS {
        for _ in 0..BYTES_A_ROUND {
            let at = usize::try_from(draw(machine.spec.memory_bytes))?;
            bytes[at] = draw(256) as u8;
        }
        if let Ok(introspection) = Introspection::of(&MemoryImage(&bytes)) {
            for _ in 0..1000 {
                let _owner = introspection.explain(draw(machine.spec.memory_bytes));
            }
            aligned_with_itself(&introspection, &mut draw)?;
        }
    }
    bytes.fill(0xa5);
    assert!(Introspection::of(&MemoryImage(&bytes)).is_err());
    Ok(())
}

/// A process that can open no file of the host's, given the memory alone, finds the same.
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_enough_where_the_host_has_no_files() -> anyhow::Result<()> {
    let machine = machine().await?;
    let files = [std::fs::File::open(&machine.snapshot.memory)?];
    let arguments = [
        "--exact",
        "understands_memory_alone",
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ];
    let limits = sandbox::Limits {
        memory_bytes: 2 << 30,
        cpu_s: 120,
        wall: support::PATIENCE.wall,
        answer_bytes: 1 << 20,
    };
    let program = std::env::current_exe()?;
    let answer = sandbox::ask(&program, &arguments, &files, &limits)?;
    let answer = String::from_utf8(answer)?;
    for found in ["init_task+0x0", "1 init", "2 kthreadd", "/init"] {
        ensure!(answer.contains(found), "no {found} in {answer}");
    }
    Ok(())
}

#[test]
#[ignore = "is a worker"]
fn understands_memory_alone() -> anyhow::Result<()> {
    use std::io::{Read, Seek, SeekFrom, Write};
    let mut files = sandbox::enter()?.files;
    let file = files.first_mut().context("no memory was passed")?;
    let bytes = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut memory = vec![0; usize::try_from(bytes)?];
    file.read_exact(&mut memory)?;
    let memory = MemoryImage(&memory);
    let introspection = Introspection::of(&memory)?;
    let kernel = introspection.kernel();
    let task = kernel.kallsyms().address_of("init_task");
    let task = explained(&introspection, task.context("no init_task")? - IMAGE_BASE)?;
    let mut answer = std::io::stdout();
    writeln!(answer, "{:?}", task.symbol)?;
    for process in &introspection.processes().found {
        writeln!(answer, "{} {}", process.id, process.name)?;
        for mapping in &process.mappings.found {
            writeln!(answer, "  {}", mapping.name)?;
        }
    }
    Ok(())
}
