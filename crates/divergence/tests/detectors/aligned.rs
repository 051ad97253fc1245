//! Machines that are not bit-exact: each has its things in frames of its own, and the buffers of some lie
//! at other addresses. A word is found by what it is; in a named buffer it votes, elsewhere it is
//! inconclusive, unless clean runs have shown it as noise.

use divergence::align::{Aligned, ContainerKind, Location, Machine, NamedRange, Places, align};
use divergence::{Analysis, Context, NoiseKey, NoiseModel, Options, Replica, analyse};
use introspection::{KernelObject, Nowhere, Page, Standing};
use model::{PAGE_BYTES, Part, ReplicaIndex, Verdict};
use state::{Base, Registers, TerminalState};
use std::collections::BTreeMap;
use std::ops::Range;

const PAGE: u64 = PAGE_BYTES as u64;

/// Frames of a machine that was made up.
const FRAMES: u64 = 64;

/// The process's memory: two pages of a buffer and the allocator's page before them, a page of heap, a
/// page of stack.
const HEAP: u64 = 0x5000;
const STACK: u64 = 0x7000;
const BUFFERS: [u64; 3] = [0x10_0000, 0x20_0000, 0x10_0000];
const BUFFER_BYTES: u64 = 2 * PAGE - 24;
const IMAGE: u64 = 0xffff_ffff_8100_0000;
const TASK: u64 = 0xffff_8880_0000_0000;
const TASK_BYTES: u64 = 256;

/// A machine whose memory was made up: frames by what stands in them.
#[derive(Clone)]
pub(crate) struct Fake {
    pages: Vec<Page>,
    standing: BTreeMap<u64, Result<Standing, Nowhere>>,
    mappings: Vec<(Range<u64>, &'static str)>,
    objects: Vec<KernelObject>,
    buffers: Vec<NamedRange>,
    registers: BTreeMap<String, String>,
    task_frame: u64,
}

impl Fake {
    /// The machine of a replica: the same things, in frames and at addresses of its own.
    fn of(replica: usize) -> Self {
        let first = 3 + replica as u64 * 11;
        let buffer = BUFFERS[replica % BUFFERS.len()];
        let user = |address| {
            Ok(Standing::User {
                process: 1,
                address,
            })
        };
        let standing = [
            user(buffer),
            user(buffer + PAGE),
            user(HEAP),
            user(STACK),
            user(buffer - PAGE),
            Ok(Standing::Image { address: IMAGE }),
            Ok(Standing::Cpu { cpu: 1, offset: 0 }),
            Err(Nowhere::Slab),
            Err(Nowhere::Free),
        ];
        let standing: BTreeMap<u64, _> = (first..).zip(standing).collect();
        let mut pages = vec![[0; PAGE_BYTES]; FRAMES as usize];
        for (frame, kind) in (first..).zip(1_u8..=9) {
            // What stands nowhere holds something else in each.
            let own = if kind >= 9 { replica as u8 } else { 0 };
            pages[frame as usize] = [kind + 16 * own; PAGE_BYTES];
        }
        Self {
            pages,
            standing,
            mappings: vec![
                (HEAP..HEAP + PAGE, "[heap]"),
                (STACK..STACK + PAGE, "[stack]"),
                (buffer - PAGE..buffer + 2 * PAGE, "[anonymous]"),
            ],
            objects: vec![KernelObject {
                kind: "task_struct",
                id: 1,
                address: TASK,
                bytes: TASK_BYTES,
            }],
            buffers: vec![NamedRange {
                name: "a".to_owned(),
                start: buffer,
                bytes: BUFFER_BYTES,
            }],
            registers: BTreeMap::from([("rip".to_owned(), "00000000000000ff".to_owned())]),
            task_frame: first + 7,
        }
    }

    /// Flips a bit of what stands somewhere.
    fn flip(&mut self, standing: Standing, offset: u64) {
        let frame = self.frame_of(standing).unwrap();
        self.pages[frame as usize][offset as usize] ^= 1;
    }

    fn flip_buffer(&mut self, offset: u64) {
        self.flip_at(self.buffers[0].start + offset);
    }

    fn flip_at(&mut self, address: u64) {
        let (page, into) = (address / PAGE * PAGE, address % PAGE);
        let standing = Standing::User {
            process: 1,
            address: page,
        };
        self.flip(standing, into);
    }

    fn unmap(&mut self, standing: Standing) {
        self.standing.retain(|_, found| *found != Ok(standing));
    }
}

impl Places for Fake {
    fn memory_bytes(&self) -> u64 {
        FRAMES * PAGE
    }
    fn page(&self, frame: u64) -> Option<&Page> {
        self.pages.get(usize::try_from(frame).ok()?)
    }
    fn standing(&self, frame: u64) -> Result<Standing, Nowhere> {
        let found = self.standing.get(&frame).copied();
        found.unwrap_or(Err(Nowhere::Free))
    }
    fn frame_of(&self, standing: Standing) -> Option<u64> {
        let mut found = self.standing.iter();
        found
            .find(|(_, one)| **one == Ok(standing))
            .map(|(frame, _)| *frame)
    }
    fn process_name(&self, process: u32) -> Option<&str> {
        (process == 1).then_some("init")
    }
    fn mapping(&self, process: u32, address: u64) -> Option<(Range<u64>, &str)> {
        let mut found = self.mappings.iter();
        let (range, name) = found.find(|(range, _)| range.contains(&address))?;
        (process == 1).then(|| (range.clone(), *name))
    }
    fn image_variable(&self, address: u64) -> Option<(&str, u64)> {
        let into = address - IMAGE;
        Some(if into < 64 {
            ("jiffies", into)
        } else {
            ("table", into - 64)
        })
    }
    fn cpu_variable(&self, offset: u64) -> Option<(&str, u64)> {
        (offset < 128).then_some(("runqueues", offset))
    }
    fn objects(&self) -> Vec<KernelObject> {
        self.objects.clone()
    }
    fn object_bytes(&self, object: &KernelObject) -> Option<Vec<u8>> {
        let page = self.page(self.task_frame)?;
        page.get(..usize::try_from(object.bytes).ok()?)
            .map(<[u8]>::to_vec)
    }
    fn physical(&self, address: u64) -> Option<u64> {
        let into = address.checked_sub(TASK).filter(|into| *into < PAGE)?;
        Some(self.task_frame * PAGE + into)
    }
}

/// What must be said.
struct Said {
    verdict: Verdict,
    named: &'static [u32],
    /// The first difference, or the first word that nothing explains.
    first: &'static str,
}

const PASS: Said = Said {
    verdict: Verdict::Pass,
    named: &[],
    first: "",
};

const fn deviates(named: &'static [u32], first: &'static str) -> Said {
    Said {
        verdict: Verdict::Deviates,
        named,
        first,
    }
}

const fn inconclusive(first: &'static str) -> Said {
    Said {
        verdict: Verdict::Inconclusive,
        named: &[],
        first,
    }
}

const HEAP_PAGE: Standing = Standing::User {
    process: 1,
    address: HEAP,
};
const STACK_PAGE: Standing = Standing::User {
    process: 1,
    address: STACK,
};
const IMAGE_PAGE: Standing = Standing::Image { address: IMAGE };
const CPU_PAGE: Standing = Standing::Cpu { cpu: 1, offset: 0 };

fn compared(machines: &[Fake], model: &NoiseModel) -> (Aligned, Analysis) {
    let registers: Vec<Registers> = machines
        .iter()
        .map(|one| Registers::try_from(one.registers.clone()).unwrap())
        .collect();
    let changed: Vec<u64> = (0..FRAMES).collect();
    let aligned: Vec<Machine<'_>> = machines
        .iter()
        .zip(&registers)
        .map(|(one, registers)| Machine {
            places: one,
            changed: &changed,
            buffers: &one.buffers,
            registers,
        })
        .collect();
    let aligned = align(&aligned, &model.mask());
    let states = vec![TerminalState::default(); machines.len()];
    let replicas: Vec<Replica<'_>> = (0..)
        .map(ReplicaIndex)
        .zip(&states)
        .map(|(index, state)| Replica { index, state })
        .collect();
    let context = Context {
        base: Base::new(&[], FRAMES * PAGE).unwrap(),
        deterministic: false,
        symbols: None,
        golden: None,
        units: Vec::new(),
        host_units_exercised: false,
        not_compared: Vec::new(),
        history: None,
        aligned: Some(&aligned),
    };
    let analysis = analyse(&replicas, &context, &Options::default()).unwrap();
    (aligned, analysis)
}

fn nothing_learned() -> NoiseModel {
    NoiseModel::new(NoiseKey {
        computation: "threads".to_owned(),
        computation_version: 1,
        kernel_digest: String::new(),
        guest_digest: String::new(),
        hypervisor: String::new(),
        accelerator: String::new(),
        cpu_model: String::new(),
        vcpus: 2,
        memory_bytes: FRAMES * PAGE,
    })
}

/// A model of clean runs in which replica 2 differed like this.
fn learned(noise: impl Fn(&mut Fake)) -> NoiseModel {
    let mut model = nothing_learned();
    let mut machines: Vec<Fake> = (0..3).map(Fake::of).collect();
    noise(&mut machines[2]);
    let (aligned, _) = compared(&machines, &model);
    model.learn(aligned.unexplained.iter());
    model.learn(aligned.unexplained.iter());
    model
}

fn check(fault: fn(&mut Vec<Fake>), model: &NoiseModel, said: &Said) {
    let mut machines: Vec<Fake> = (0..3).map(Fake::of).collect();
    let (_, clean) = compared(&machines, model);
    assert_eq!(clean.verdict, Verdict::Pass, "clean: {}", clean.reason);
    assert!(clean.findings.is_empty());
    fault(&mut machines);
    let (aligned, analysis) = compared(&machines, model);
    assert_eq!(analysis.verdict, said.verdict, "{}", analysis.reason);
    let named: Vec<u32> = analysis
        .deviations
        .iter()
        .filter_map(|one| Some(one.replica?.0))
        .collect();
    assert_eq!(named, said.named, "{}", analysis.reason);
    let first = match said.verdict {
        Verdict::Deviates => analysis.deviations[0].first.clone(),
        _ => analysis.unexplained.first().cloned(),
    };
    let first = first.map_or_else(String::new, |one| one.locus.to_string());
    assert_eq!(first, said.first, "{}", analysis.reason);
    assert_eq!(aligned.machines, machines.len());
}

macro_rules! cases {
    ($($name:ident: $fault:expr, $model:expr => $said:expr;)+) => {
        /// How many there are.
        pub(crate) const CASES: usize = [$(stringify!($name)),+].len();

        $(
            #[test]
            fn $name() {
                check($fault, &$model, &$said);
            }
        )+
    };
}

cases! {
    nothing_differs: |_| {}, nothing_learned() => PASS;
    the_first_byte_of_a_buffer: |all| all[1].flip_buffer(0), nothing_learned()
        => deviates(&[1], "a+0x0");
    the_last_byte_of_a_buffer: |all| all[0].flip_buffer(BUFFER_BYTES - 1), nothing_learned()
        => deviates(&[0], "a+0x1fe0");
    the_end_of_a_page_of_a_buffer: |all| all[2].flip_buffer(PAGE - 1), nothing_learned()
        => deviates(&[2], "a+0xff8");
    the_start_of_the_next_page: |all| all[2].flip_buffer(PAGE), nothing_learned()
        => deviates(&[2], "a+0x1000");
    buffers_of_two_machines: |all| {
        all[0].flip_buffer(8);
        all[1].flip_buffer(16);
    }, nothing_learned() => deviates(&[0, 1], "a+0x8");
    one_word_that_is_another_in_each: |all| {
        all[0].flip_buffer(8);
        all[1].flip_buffer(9);
    }, nothing_learned() => Said { verdict: Verdict::Inconclusive, named: &[], first: "" };
    a_buffer_that_two_hold_wrong_alike: |all| {
        all[0].flip_buffer(8);
        all[1].flip_buffer(8);
    }, nothing_learned() => deviates(&[2], "a+0x8");
    noise_never_covers_a_buffer: |all| all[2].flip_buffer(64), learned(|one| one.flip_buffer(64))
        => deviates(&[2], "a+0x40");
    a_buffer_that_one_has_not_named: |all| all[1].buffers.clear(), nothing_learned()
        => deviates(&[1], "buffer a");
    a_buffer_of_another_length: |all| all[1].buffers[0].bytes -= 8, nothing_learned()
        => deviates(&[1], "buffer a");
    a_buffer_of_another_name: |all| all[1].buffers[0].name = "b".to_owned(), nothing_learned()
        => deviates(&[1], "buffer a");
    a_buffer_outside_the_process: |all| all[1].buffers[0].start = 0x90_0000, nothing_learned()
        => deviates(&[1], "buffer a");
    a_buffer_that_runs_out_of_its_mapping: |all| all[1].buffers[0].start += PAGE, nothing_learned()
        => deviates(&[1], "buffer a");
    a_buffer_longer_than_memory: |all| all[1].buffers[0].bytes = 1 << 46, nothing_learned()
        => deviates(&[1], "buffer a");
    a_buffer_that_wraps: |all| all[1].buffers[0].start = u64::MAX - 8, nothing_learned()
        => deviates(&[1], "buffer a");
    buffers_that_overlap: |all| {
        let start = all[1].buffers[0].start + 8;
        all[1].buffers.push(NamedRange { name: "b".to_owned(), start, bytes: 8 });
    }, nothing_learned() => deviates(&[1], "buffer a");
    two_buffers_of_one_name: |all| {
        let again = NamedRange { name: "a".to_owned(), start: HEAP, bytes: 8 };
        all[1].buffers.push(again);
    }, nothing_learned() => deviates(&[1], "buffer a");
    a_lost_page_of_a_buffer: |all| {
        let address = all[1].buffers[0].start;
        all[1].unmap(Standing::User { process: 1, address });
    }, nothing_learned() => deviates(&[1], "a+0x0");
    heap_outside_of_buffers: |all| all[1].flip(HEAP_PAGE, 40), nothing_learned()
        => inconclusive("[heap] of init (1) at 0x5028");
    stack_outside_of_buffers: |all| all[0].flip(STACK_PAGE, PAGE - 1), nothing_learned()
        => inconclusive("[stack] of init (1) at 0x7ff8");
    behind_the_end_of_a_buffer: |all| all[0].flip_buffer(BUFFER_BYTES + 8), nothing_learned()
        => inconclusive("after a at 0x8");
    the_record_of_an_allocator: |all| {
        let record = all[1].buffers[0].start - 16;
        all[1].flip_at(record);
    }, nothing_learned() => inconclusive("before a at 0x10");
    the_whole_page_before_a_buffer: |all| {
        let first = all[2].buffers[0].start - PAGE;
        all[2].flip_at(first);
    }, nothing_learned() => inconclusive("before a at 0x1000");
    known_noise_beside_a_buffer: |all| {
        let record = all[1].buffers[0].start - 16;
        all[1].flip_at(record);
    }, learned(|one| {
        let record = one.buffers[0].start - 16;
        one.flip_at(record);
    }) => PASS;
    a_variable_of_the_kernel: |all| all[2].flip(IMAGE_PAGE, 8), nothing_learned()
        => inconclusive("jiffies+0x8");
    another_variable_of_the_kernel: |all| all[2].flip(IMAGE_PAGE, 72), nothing_learned()
        => inconclusive("table+0x8");
    a_variable_of_a_cpu: |all| all[2].flip(CPU_PAGE, 16), nothing_learned()
        => inconclusive("runqueues+0x10 of CPU 1");
    an_allocation_of_a_cpu: |all| all[2].flip(CPU_PAGE, 1024), nothing_learned()
        => inconclusive("per-CPU allocation+0x400 of CPU 1");
    a_task_by_its_pid: |all| {
        let frame = all[1].task_frame as usize;
        all[1].pages[frame][80] ^= 4;
    }, nothing_learned() => inconclusive("task_struct+0x50 of pid 1");
    what_stands_nowhere: |all| {
        let frame = all[1].task_frame as usize;
        all[1].pages[frame][2000] ^= 4;
    }, nothing_learned() => PASS;
    a_register: |all| {
        all[1].registers.insert("rip".to_owned(), "00000000000000fe".to_owned());
    }, nothing_learned() => inconclusive("rip");
    a_register_that_one_lacks: |all| all[1].registers.clear(), nothing_learned()
        => Said { verdict: Verdict::Inconclusive, named: &[], first: "rip" };
    known_noise_of_a_variable: |all| all[0].flip(IMAGE_PAGE, 8),
        learned(|one| one.flip(IMAGE_PAGE, 8)) => PASS;
    beside_known_noise: |all| all[0].flip(IMAGE_PAGE, 16),
        learned(|one| one.flip(IMAGE_PAGE, 8)) => inconclusive("jiffies+0x10");
    noise_of_another_variable: |all| all[0].flip(CPU_PAGE, 8),
        learned(|one| one.flip(IMAGE_PAGE, 8)) => inconclusive("runqueues+0x8 of CPU 1");
    known_noise_and_a_buffer: |all| {
        all[0].flip(IMAGE_PAGE, 8);
        all[0].flip_buffer(8);
    }, learned(|one| one.flip(IMAGE_PAGE, 8)) => deviates(&[0], "a+0x8");
    known_noise_of_a_register: |all| {
        all[0].registers.insert("rip".to_owned(), "1".to_owned());
    }, learned(|one| {
        one.registers.insert("rip".to_owned(), "2".to_owned());
    }) => PASS;
    a_page_that_one_has_not: |all| all[1].unmap(HEAP_PAGE), nothing_learned() => PASS;
}

#[test]
fn every_byte_is_compared_masked_or_left_out_with_a_reason() {
    let machines: Vec<Fake> = (0..3).map(Fake::of).collect();
    let model = learned(|one| one.flip(IMAGE_PAGE, 8));
    let (aligned, analysis) = compared(&machines, &model);
    assert_eq!(aligned.buffer_bytes, 3 * BUFFER_BYTES);
    // Buffer, what lies before and behind it, heap, stack, image and CPU pages, the task and one
    // register of eight bytes each.
    let places = 3 * (2 * PAGE + PAGE + 4 * PAGE + TASK_BYTES + 8);
    assert_eq!(aligned.bytes_compared + aligned.bytes_masked, places);
    assert_eq!(aligned.bytes_masked, 3 * 8);
    let free = aligned.not_compared.get(&Nowhere::Free.to_string());
    assert!(free.is_some_and(|bytes| *bytes > 0));
    let coverage = analysis.coverage;
    assert_eq!(coverage.bytes_masked, 3 * 8);
    let left_out: u64 = aligned.not_compared.values().sum();
    assert_eq!(coverage.bytes_not_compared, left_out);
    assert_eq!(
        coverage.not_compared_reasons.len(),
        aligned.not_compared.len()
    );
}

#[test]
fn a_difference_in_a_buffer_is_one_of_memory() {
    let mut machines: Vec<Fake> = (0..3).map(Fake::of).collect();
    machines[1].flip_buffer(8);
    let (aligned, analysis) = compared(&machines, &nothing_learned());
    let first = analysis.deviations[0].first.clone().unwrap();
    assert_eq!((first.part, first.flipped_bits), (Part::Memory, vec![0]));
    let location = Location {
        kind: ContainerKind::Buffer,
        name: "a".to_owned(),
        offset: 8,
    };
    assert_eq!(aligned.in_buffers[0].location, location);
}
