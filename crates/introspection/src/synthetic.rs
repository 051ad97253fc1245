//! A small kernel in memory, made up: what the walkers of this crate are tried on, and what fuzzing
//! changes. It knows nothing of the readers; all of it is laid out by hand.
//!
//! ```text
//! page  0       (nothing)                    16  image: banner, variables, init_task, caches
//!       1       top page table               20  slab of `task_struct`: in use, free, free, in use
//!       2, 3    direct map; image            21  slab of `kmalloc-64`: a `cred`, something, free
//!       4 …     the records of page frames   22  content of `/etc/file`, its second page
//!       8 …     the description of types     23  inode, dentries, names
//!                                            32 … symbols
//! ```
//!
//! The direct map is at [`DIRECT`], the image's mapping at [`IMAGE`]; both map guest-physical 0.

/// Where the direct map begins.
pub(crate) const DIRECT: u64 = 0xffff_8880_0000_0000;

/// Where guest-physical 0 is in the image's mapping.
pub(crate) const IMAGE: u64 = 0xffff_ffff_8000_0000;

/// Bytes of a page.
pub(crate) const PAGE: u64 = 4096;

/// Bytes of the whole memory.
const MEMORY: u64 = 96 * PAGE;

const RECORDS: u64 = 4 * PAGE;
const TYPES: u64 = 8 * PAGE;
const DATA: u64 = 16 * PAGE;
const SYMBOLS: u64 = 32 * PAGE;

/// The banner, `init_task`, the caches, in the image's data.
pub(crate) const INIT_TASK: u64 = DATA + 0x100;
const BANNER: u64 = DATA;
const SLAB_CACHES: u64 = DATA + 0x300;
const TASK_CACHE: u64 = DATA + 0x400;
const ANY_CACHE: u64 = DATA + 0x480;
const CPU_SLAB: u64 = DATA + 0x500;
const CPU_OFFSETS: u64 = DATA + 0x600;
const CPU_COUNT: u64 = DATA + 0x608;
const DIRECT_BASE: u64 = DATA + 0x610;
const RECORDS_BASE: u64 = DATA + 0x618;
const CACHE_NAMES: u64 = DATA + 0x640;
const END: u64 = DATA + 2 * PAGE;

/// The slab of threads: the second is free, and linked to the third.
pub(crate) const TASKS: u64 = 20 * PAGE;

/// Bytes from one thread to the next.
pub(crate) const TASK_BYTES: u64 = 0x200;

/// The slab of objects of any kind.
pub(crate) const OBJECTS: u64 = 21 * PAGE;

/// A page of a file's content.
pub(crate) const CONTENT: u64 = 22 * PAGE;
const INODE: u64 = 23 * PAGE;
const MAPPING: u64 = INODE + 0x100;
const DENTRY: u64 = INODE + 0x200;
const DIRECTORY: u64 = INODE + 0x300;
const ROOT: u64 = INODE + 0x400;
const FILE_NAMES: u64 = INODE + 0x500;

/// What hides the pointers in free objects of each cache.
const TASK_RANDOM: u64 = 0x1234_5678_9abc_def0;

/// The word of the first free thread that leads to the next.
pub(crate) const FREE_LINK: u64 = TASKS + TASK_BYTES + 0x100;

/// The structures: name, bytes, then members as `name:type@bytes`. A type is another structure, one
/// of [`NUMBERS`], or either with `*` for a pointer or `[n]` for an array.
const STRUCTURES: &str = "\
list_head 16 next:list_head*@0 prev:list_head*@8
thread_info 16 flags:u64@0 cpu:u32@8
sched_entity 32 vruntime:u64@0 group:list_head@8
cred 56 uid:u32@0 gid:u32@4 user:u64@8 keys:u64[4]@16
task_struct 512 thread_info:thread_info@0 se:sched_entity@16 tasks:list_head@64 pid:u32@80 \
comm:char[16]@84 mm:mm_struct*@104 stack:u64@112 signal:signal_struct*@120 \
thread_node:list_head@128 cred:cred*@144 state:u64[32]@256
signal_struct 64 thread_head:list_head@0
mm_struct 128 pgd:u64@0 owner:task_struct*@8
kmem_cache 128 cpu_slab:kmem_cache_cpu*@0 name:u64@8 size:u32@16 object_size:u32@20 offset:u32@24 \
refcount:u32@28 random:u64@32 red_left_pad:u32@40 list:list_head@48
kmem_cache_cpu 32 freelist:u64@0 slab:u64@16
slab 64 __page_flags:u64@0 slab_cache:kmem_cache*@8 freelist:u64@16 inuse:u16@24 objects:u16@26
page 64 flags:u64@0 lru:list_head@8 mapping:address_space*@24 index:u64@32 private:u64@40 \
page_type:u32@48 _refcount:u32@52 compound_head:u64@8
address_space 64 host:inode*@0
inode 256 i_ino:u64@0 i_dentry:u64@8 i_data:address_space@64
qstr 16 hash:u64@0 name:u64@8
dentry_list 16 d_alias:list_head@0 d_rcu:u64@0
dentry 128 d_parent:dentry*@0 d_name:qstr@8 d_u:dentry_list@32
path 16 mnt:u64@0 dentry:dentry*@8
file 64 f_path:path@0
";

const NUMBERS: [(&str, u64); 4] = [("char", 1), ("u16", 2), ("u32", 4), ("u64", 8)];

/// Memory with the kernel in it.
pub(crate) fn memory() -> Vec<u8> {
    let mut memory = Memory(vec![0; MEMORY as usize]);
    memory.tables();
    memory.image();
    memory.caches();
    memory.threads();
    memory.objects();
    memory.files();
    memory.records();
    let types = types(STRUCTURES);
    assert!(
        types.len() as u64 <= DATA - TYPES,
        "the types need more room"
    );
    memory.bytes(TYPES, &types);
    let tables = symbol_tables(&symbols(types.len() as u64), Order::Before, false);
    assert!(
        tables.len() as u64 <= MEMORY - SYMBOLS,
        "the symbols need more room"
    );
    memory.bytes(SYMBOLS, &tables);
    memory.0
}

struct Memory(Vec<u8>);

impl Memory {
    fn bytes(&mut self, at: u64, bytes: &[u8]) {
        let at = at as usize;
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn u64(&mut self, at: u64, value: u64) {
        self.bytes(at, &value.to_le_bytes());
    }

    fn u32(&mut self, at: u64, value: u32) {
        self.bytes(at, &value.to_le_bytes());
    }

    fn tables(&mut self) {
        const HUGE: u64 = 0x83;
        self.u64(PAGE + 273 * 8, (2 * PAGE) | 3);
        self.u64(2 * PAGE, HUGE);
        self.u64(PAGE + 511 * 8, (3 * PAGE) | 3);
        self.u64(3 * PAGE + 510 * 8, HUGE);
    }

    fn image(&mut self) {
        self.bytes(BANNER, b"Linux version 6.1.0-made-up (nobody)\n\0");
        self.u64(DIRECT_BASE, DIRECT);
        self.u64(RECORDS_BASE, DIRECT + RECORDS);
        self.u32(CPU_COUNT, 1);
        // One CPU, whose variables lie where the linker put them.
        self.u64(CPU_OFFSETS, IMAGE);
    }

    fn caches(&mut self) {
        let caches = [
            (TASK_CACHE, "task_struct", TASK_BYTES, 0x100, TASK_RANDOM),
            (ANY_CACHE, "kmalloc-64", 64, 32, 0),
        ];
        let ring = [SLAB_CACHES, TASK_CACHE + 48, ANY_CACHE + 48];
        self.ring(&ring, IMAGE);
        for (number, (at, name, bytes, offset, random)) in caches.into_iter().enumerate() {
            let name_at = CACHE_NAMES + 32 * number as u64;
            self.bytes(name_at, name.as_bytes());
            self.u64(at, CPU_SLAB + 32 * number as u64);
            self.u64(at + 8, IMAGE + name_at);
            self.u32(at + 16, bytes as u32);
            self.u32(at + 20, bytes as u32);
            self.u32(at + 24, offset);
            self.u32(at + 28, 1);
            self.u64(at + 32, random);
        }
        // The CPU uses the slab of objects, and has its third for itself.
        self.u64(CPU_SLAB + 32, DIRECT + OBJECTS + 128);
        self.u64(CPU_SLAB + 32 + 16, DIRECT + record(OBJECTS));
    }

    /// A list that leads back to its head.
    fn ring(&mut self, links: &[u64], base: u64) {
        for (index, link) in links.iter().enumerate() {
            let next = links[(index + 1) % links.len()];
            self.u64(*link, base + next);
            self.u64(next + 8, base + *link);
        }
    }

    fn threads(&mut self) {
        let (worker, other) = (TASKS, TASKS + 3 * TASK_BYTES);
        let threads = [
            (INIT_TASK, IMAGE, 0, "swapper"),
            (worker, DIRECT, 7, "worker"),
            (other, DIRECT, 9, "other"),
        ];
        for (index, (at, _, pid, name)) in threads.into_iter().enumerate() {
            self.u32(at + 80, pid);
            self.bytes(at + 84, name.as_bytes());
            let (next, base, ..) = threads[(index + 1) % threads.len()];
            self.u64(at + 64, base + next + 64);
        }
        self.u64(worker + 144, DIRECT + OBJECTS);
        // Of free threads the second is the first of the list, and the third the last.
        let (first, last) = (TASKS + TASK_BYTES, TASKS + 2 * TASK_BYTES);
        self.link(first, DIRECT + last);
        self.link(last, 0);
    }

    fn link(&mut self, object: u64, to: u64) {
        let place = DIRECT + object + 0x100;
        self.u64(object + 0x100, to ^ TASK_RANDOM ^ place.swap_bytes());
    }

    fn objects(&mut self) {
        self.u32(OBJECTS, 1000);
        self.u64(OBJECTS + 128 + 32, 0);
    }

    fn files(&mut self) {
        self.u64(MAPPING, DIRECT + INODE);
        self.u64(INODE, 42);
        self.u64(INODE + 8, DIRECT + DENTRY + 32);
        let names = [
            (DENTRY, DIRECTORY, "file"),
            (DIRECTORY, ROOT, "etc"),
            (ROOT, ROOT, "/"),
        ];
        for (number, (at, parent, name)) in names.into_iter().enumerate() {
            let name_at = FILE_NAMES + 16 * number as u64;
            self.bytes(name_at, name.as_bytes());
            self.u64(at, DIRECT + parent);
            self.u64(at + 16, DIRECT + name_at);
        }
    }

    fn records(&mut self) {
        for frame in 0..MEMORY / PAGE {
            let at = RECORDS + frame * 64;
            self.u64(at, 1 << 12);
            self.u32(at + 48, u32::MAX);
            self.u32(at + 52, 1);
        }
        for (page, cache, free, objects) in [
            (TASKS, TASK_CACHE, DIRECT + TASKS + TASK_BYTES, 4_u16),
            (OBJECTS, ANY_CACHE, 0, 3),
        ] {
            let at = record(page);
            self.u64(at, 1 << 9);
            self.u64(at + 8, IMAGE + cache);
            self.u64(at + 16, free);
            self.bytes(at + 26, &objects.to_le_bytes());
        }
        self.u64(record(CONTENT), 0);
        self.u64(record(CONTENT) + 24, DIRECT + MAPPING);
        self.u64(record(CONTENT) + 32, 1);
        self.u64(record(INODE), 0);
    }
}

/// The record of the page frame at a place.
pub(crate) const fn record(place: u64) -> u64 {
    RECORDS + place / PAGE * 64
}

fn symbols(types_bytes: u64) -> Vec<(u64, u8, String)> {
    let data = |name: &str, at: u64| (IMAGE + at, b'D', name.to_owned());
    let mut symbols: Vec<(u64, u8, String)> = vec![
        data("_text", PAGE),
        data("_sdata", DATA),
        data("linux_banner", BANNER),
        data("init_top_pgt", PAGE),
        data("__start_BTF", TYPES),
        data("__stop_BTF", TYPES + types_bytes),
        data("init_task", INIT_TASK),
        data("slab_caches", SLAB_CACHES),
        data("__per_cpu_offset", CPU_OFFSETS),
        data("nr_cpu_ids", CPU_COUNT),
        data("page_offset_base", DIRECT_BASE),
        data("vmemmap_base", RECORDS_BASE),
        data("cache_names", CACHE_NAMES),
        data("_edata", END),
        data("_end", END),
    ];
    // The tables are found by their size: a kernel has many symbols.
    symbols.extend((0..2100).map(|number| {
        let address = IMAGE + PAGE + number % 64;
        (address, b't', format!("function_{number}"))
    }));
    symbols
}

/// Whether the addresses stand before or behind the names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// As before Linux 6.4.
    Before,
    /// As since then.
    #[allow(dead_code, reason = "used where tables alone are made")]
    Behind,
}

/// Each printable character stands for itself, every other byte for two letters.
fn token(byte: u8) -> Vec<u8> {
    match byte {
        b'!'..=b'~' => vec![byte],
        _ => vec![b'a' + byte % 26, b'A' + byte / 26],
    }
}

/// What addresses are counted from.
pub(crate) const RELATIVE_BASE: u64 = IMAGE;

/// Tables of symbols (address, type, name), laid out as the kernel's linker does.
pub(crate) fn symbol_tables(
    symbols: &[(u64, u8, String)],
    order: Order,
    sequence: bool,
) -> Vec<u8> {
    let align = |bytes: &mut Vec<u8>| bytes.resize(bytes.len().next_multiple_of(8), 0);
    let mut addresses: Vec<u8> = symbols
        .iter()
        .flat_map(|symbol| match symbol.0.checked_sub(RELATIVE_BASE) {
            Some(into) => (-1 - into as i32).to_le_bytes(),
            None => (symbol.0 as i32).to_le_bytes(),
        })
        .collect();
    align(&mut addresses);
    addresses.extend(RELATIVE_BASE.to_le_bytes());
    let mut bytes = match order {
        Order::Before => addresses.clone(),
        Order::Behind => Vec::new(),
    };
    bytes.extend((symbols.len() as u64).to_le_bytes());
    let start = bytes.len();
    let mut markers = Vec::new();
    for (index, (_, kind, name)) in symbols.iter().enumerate() {
        if index % 256 == 0 {
            markers.extend(((bytes.len() - start) as u32).to_le_bytes());
        }
        let length = name.len() + 1;
        if length < 128 {
            bytes.push(length as u8);
        } else {
            bytes.extend([length as u8 | 0x80, (length >> 7) as u8]);
        }
        bytes.push(*kind);
        bytes.extend(name.bytes());
    }
    align(&mut bytes);
    bytes.extend(markers);
    align(&mut bytes);
    if sequence {
        bytes.extend((0..symbols.len()).flat_map(|index| {
            let [_, high, middle, low] = (index as u32).to_be_bytes();
            [high, middle, low]
        }));
        align(&mut bytes);
    }
    let mut index = Vec::new();
    let start = bytes.len();
    for byte in 0..=255 {
        index.extend(((bytes.len() - start) as u16).to_le_bytes());
        bytes.extend(token(byte));
        bytes.push(0);
    }
    align(&mut bytes);
    bytes.extend(index);
    if let Order::Behind = order {
        bytes.extend(addresses);
    }
    bytes
}

/// The description of structures, as BTF has it.
pub(crate) fn types(structures: &str) -> Vec<u8> {
    let mut made = Types {
        strings: vec![0],
        words: Vec::new(),
        count: 0,
    };
    let lines: Vec<Vec<&str>> = structures
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    // Structures come first, so that their numbers are known: 1, 2, …
    let number = |name: &str| {
        let at = lines.iter().position(|line| line[0] == name);
        at.map(|at| at as u32 + 1)
    };
    let first_other = lines.len() as u32 + 1;
    let mut others: Vec<String> = NUMBERS.iter().map(|one| one.0.to_owned()).collect();
    for line in &lines {
        for member in &line[2..] {
            let kind = member.split([':', '@']).nth(1).unwrap_or_default();
            if number(kind).is_none() && !others.iter().any(|one| one == kind) {
                others.push(kind.to_owned());
            }
        }
    }
    let id = |kind: &str| {
        let other = others.iter().position(|one| one == kind);
        number(kind)
            .or(other.map(|at| first_other + at as u32))
            .unwrap_or(0)
    };
    for line in &lines {
        made.structure(line, &id);
    }
    for other in &others {
        made.other(other, &id);
    }
    made.flags();
    made.blob()
}

struct Types {
    strings: Vec<u8>,
    words: Vec<u32>,
    count: u32,
}

impl Types {
    fn text(&mut self, text: &str) -> u32 {
        let at = self.strings.len() as u32;
        self.strings.extend(text.bytes().chain([0]));
        at
    }

    fn structure(&mut self, line: &[&str], id: &dyn Fn(&str) -> u32) {
        let name = self.text(line[0]);
        let bytes: u32 = line[1].parse().unwrap_or(0);
        // Members that begin at one place share it.
        let kind = if line[0] == "dentry_list" { 5 } else { 4 };
        self.words
            .extend([name, kind << 24 | (line.len() as u32 - 2), bytes]);
        for member in &line[2..] {
            let parts: Vec<&str> = member.split([':', '@']).collect();
            let name = self.text(parts[0]);
            let at: u32 = parts[2].parse().unwrap_or(0);
            self.words.extend([name, id(parts[1]), at * 8]);
        }
        self.count += 1;
    }

    /// A number, a pointer `T*` or an array `T[n]`.
    fn other(&mut self, other: &str, id: &dyn Fn(&str) -> u32) {
        if let Some(target) = other.strip_suffix('*') {
            self.words.extend([0, 2 << 24, id(target)]);
        } else if let Some((element, length)) = other.split_once('[') {
            let length = length.trim_end_matches(']').parse().unwrap_or(0);
            self.words
                .extend([0, 3 << 24, 0, id(element), id("u64"), length]);
        } else {
            let bytes = NUMBERS
                .iter()
                .find(|one| one.0 == other)
                .map_or(0, |one| one.1);
            let name = self.text(other);
            self.words
                .extend([name, 1 << 24, bytes as u32, 8 * bytes as u32]);
        }
        self.count += 1;
    }

    /// The bits of a page's flags that readers look for.
    fn flags(&mut self) {
        let (slab, reserved) = (self.text("PG_slab"), self.text("PG_reserved"));
        self.words
            .extend([0, 6 << 24 | 2, 4, slab, 9, reserved, 12]);
        self.count += 1;
    }

    fn blob(&self) -> Vec<u8> {
        let lengths = [self.words.len() as u32 * 4, self.strings.len() as u32];
        let header = [0x0001_eb9f, 24, 0, lengths[0], lengths[0], lengths[1]];
        let words = header.iter().chain(&self.words);
        let mut bytes: Vec<u8> = words.flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(&self.strings);
        bytes
    }
}
