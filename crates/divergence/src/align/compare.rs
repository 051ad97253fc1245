//! The walk over all places of all machines.

use super::buffer::{COMPUTATION_PROCESS, Checked};
use super::edge::{Edge, edges};
use super::location::{AlignedWord, ContainerKind, Location, Mask};
use super::places::Places;
use super::{Aligned, MAX_LISTED_WORDS, Machine};
use introspection::{KernelObject, Nowhere, Page, Standing};
use model::PAGE_BYTES;
use state::majority;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

const PAGE: u64 = PAGE_BYTES as u64;
const WORD: u64 = 8;

/// Where not all machines have a page at one place.
const ONLY_SOME: &str = "pages and objects that only some machines have at their place";

/// Where memory of one machine lies at addresses of another's buffer.
const BESIDE_BUFFER: &str = "memory at addresses where another machine has a named buffer";

/// What a word of a place is called.
struct Name<'a> {
    kind: ContainerKind,
    name: &'a str,
    offset: u64,
}

pub(super) struct Work<'a> {
    machines: &'a [Machine<'a>],
    mask: &'a dyn Mask,
    buffers: Vec<Checked>,
    /// What lies beside buffers that are not at one address.
    edges: Vec<Edge>,
    /// Of each machine its buffers and their edges.
    by_name: Vec<Vec<Range<u64>>>,
    /// Addresses of those of any machine, ascending, without overlaps.
    all_by_name: Vec<Range<u64>>,
    result: Aligned,
}

impl<'a> Work<'a> {
    pub(super) fn new(machines: &'a [Machine<'a>], mask: &'a dyn Mask) -> Self {
        let buffers: Vec<Checked> = machines
            .iter()
            .map(|machine| Checked::of(machine.buffers, machine.places))
            .collect();
        let places: Vec<&dyn Places> = machines.iter().map(|machine| machine.places).collect();
        let edges = edges(&places, &buffers);
        let by_name: Vec<Vec<Range<u64>>> = (0..machines.len())
            .zip(&buffers)
            .map(|(machine, checked)| {
                let beside = edges.iter().filter_map(|edge| edge.places.get(machine));
                checked.sound.values().chain(beside).cloned().collect()
            })
            .collect();
        Self {
            machines,
            mask,
            all_by_name: merged(by_name.iter().flatten()),
            edges,
            by_name,
            result: Aligned {
                machines: machines.len(),
                registered: buffers.iter().map(|one| one.said.clone()).collect(),
                buffer_words: vec![0; machines.len()],
                ..Aligned::default()
            },
            buffers,
        }
    }

    pub(super) fn done(mut self) -> Aligned {
        let changed: BTreeSet<u64> = self
            .machines
            .iter()
            .flat_map(|machine| machine.changed)
            .copied()
            .collect();
        self.named_buffers();
        self.beside_named_buffers();
        self.pages(&changed);
        self.objects(&changed);
        self.registers();
        self.result.not_compared.retain(|_, bytes| *bytes > 0);
        self.result
    }

    fn left_out(&mut self, reason: &str, bytes: u64) {
        let counted = self.result.not_compared.entry(reason.to_owned());
        *counted.or_default() += bytes;
    }

    /// Buffers that all machines have in equal length.
    fn named_buffers(&mut self) {
        let Some(first) = self.buffers.first() else {
            return;
        };
        let names: Vec<String> = first.sound.keys().cloned().collect();
        for name in names {
            let places: Option<Vec<Range<u64>>> = self
                .buffers
                .iter()
                .map(|checked| checked.sound.get(&name).cloned())
                .collect();
            let Some(places) = places else {
                continue;
            };
            let length = places.first().map_or(0, |place| place.end - place.start);
            if places.iter().all(|place| place.end - place.start == length) {
                self.buffer(&name, &places, length);
            }
        }
    }

    fn buffer(&mut self, name: &str, places: &[Range<u64>], length: u64) {
        let machines = self.machines;
        let mut pieces = vec![vec![0_u8; PAGE_BYTES]; machines.len()];
        for offset in (0..length).step_by(PAGE_BYTES) {
            let bytes = usize::try_from((length - offset).min(PAGE)).unwrap_or(PAGE_BYTES);
            for ((machine, place), piece) in machines.iter().zip(places).zip(&mut pieces) {
                piece.fill(0);
                let into = piece.get_mut(..bytes).unwrap_or_default();
                let from = place.start + offset;
                machine.places.read_user(COMPUTATION_PROCESS, from, into);
            }
            let all = bytes as u64 * machines.len() as u64;
            self.result.bytes_compared += all;
            self.result.buffer_bytes += all;
            let differs = pieces.windows(2).any(|pair| pair.first() != pair.get(1));
            if differs {
                let contents: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
                self.buffer_words(name, offset, &contents, places);
            }
        }
    }

    fn buffer_words(&mut self, name: &str, offset: u64, contents: &[&[u8]], places: &[Range<u64>]) {
        for (into, values) in differing(contents) {
            match majority(&values).copied() {
                Some(right) => {
                    for (count, value) in self.result.buffer_words.iter_mut().zip(&values) {
                        *count += u64::from(*value != right);
                    }
                }
                None => self.result.buffer_undecided += 1,
            }
            if self.result.in_buffers.len() < MAX_LISTED_WORDS {
                let physical = |(machine, place): (&Machine<'_>, &Range<u64>)| {
                    let address = place.start + offset + into;
                    machine.places.user_physical(COMPUTATION_PROCESS, address)
                };
                self.result.in_buffers.push(AlignedWord {
                    location: Location {
                        kind: ContainerKind::Buffer,
                        name: name.to_owned(),
                        offset: offset + into,
                    },
                    instance: String::new(),
                    addresses: self.machines.iter().zip(places).map(physical).collect(),
                    values,
                });
            }
        }
    }

    /// What lies beside buffers that are elsewhere in each machine, by its distance from them.
    fn beside_named_buffers(&mut self) {
        let machines = self.machines;
        for edge in std::mem::take(&mut self.edges) {
            let bytes = usize::try_from(edge.bytes()).unwrap_or(0);
            let mut contents = vec![vec![0_u8; bytes]; machines.len()];
            for ((machine, place), into) in machines.iter().zip(&edge.places).zip(&mut contents) {
                machine
                    .places
                    .read_user(COMPUTATION_PROCESS, place.start, into);
            }
            let is_noise = |into| {
                let distance = edge.distance(into);
                self.mask
                    .covers(ContainerKind::Mapping, &edge.name, distance, "")
            };
            let words = (0..edge.bytes()).step_by(8);
            let masked = words.filter(|into| is_noise(*into)).count() as u64 * WORD;
            let count = machines.len() as u64;
            self.result.bytes_masked += masked * count;
            self.result.bytes_compared += (edge.bytes() - masked) * count;
            let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
            for (into, values) in differing(&contents) {
                let physical = |(machine, place): (&Machine<'_>, &Range<u64>)| {
                    let address = place.start + into;
                    machine.places.user_physical(COMPUTATION_PROCESS, address)
                };
                let word = AlignedWord {
                    location: Location {
                        kind: ContainerKind::Mapping,
                        name: edge.name.clone(),
                        offset: edge.distance(into),
                    },
                    instance: String::new(),
                    addresses: machines.iter().zip(&edge.places).map(physical).collect(),
                    values,
                };
                note(&mut self.result, word, is_noise(into));
            }
        }
    }

    /// Pages that stand somewhere, of those that any machine changed.
    fn pages(&mut self, changed: &BTreeSet<u64>) {
        let mut places = BTreeSet::new();
        for machine in self.machines {
            let mut nowhere: BTreeMap<Nowhere, u64> = BTreeMap::new();
            for frame in changed {
                match machine.places.standing(*frame) {
                    Ok(standing) => {
                        places.insert(standing);
                    }
                    Err(reason) => *nowhere.entry(reason).or_default() += PAGE,
                }
            }
            for (reason, bytes) in nowhere {
                self.left_out(&reason.to_string(), bytes);
            }
        }
        for standing in places {
            self.page(standing);
        }
    }

    fn page(&mut self, standing: Standing) {
        if self.is_of_buffers(standing) {
            return;
        }
        let machines = self.machines;
        let frames: Vec<Option<u64>> = machines
            .iter()
            .map(|machine| machine.places.frame_of(standing))
            .collect();
        let pages: Option<Vec<&Page>> = machines
            .iter()
            .zip(&frames)
            .map(|(machine, frame)| machine.places.page((*frame)?))
            .collect();
        let Some(pages) = pages else {
            let there = frames.iter().flatten().count() as u64;
            return self.left_out(ONLY_SOME, there * PAGE);
        };
        let left_out = self.beside_buffers(standing);
        let contents: Vec<&[u8]> = pages.iter().map(|page| page.as_slice()).collect();
        let (equal, count) = (alike(&contents), machines.len() as u64);
        let Some(first) = machines.first() else {
            return;
        };
        let namer = Namer::of(first.places, standing);
        let mut masked = 0;
        for into in (0..PAGE).step_by(8).filter(|into| !left_out.contains(into)) {
            let name = namer.name(into);
            let is_noise = self
                .mask
                .covers(name.kind, name.name, name.offset, &namer.instance);
            masked += u64::from(is_noise) * WORD;
            if equal {
                continue;
            }
            let values: Vec<u64> = contents.iter().map(|page| word(page, into)).collect();
            if values.windows(2).any(|pair| pair.first() != pair.get(1)) {
                let address = |frame: &Option<u64>| frame.map(|frame| frame * PAGE + into);
                let word = AlignedWord {
                    location: Location {
                        kind: name.kind,
                        name: name.name.to_owned(),
                        offset: name.offset,
                    },
                    instance: namer.instance.clone(),
                    values,
                    addresses: frames.iter().map(address).collect(),
                };
                note(&mut self.result, word, is_noise);
            }
        }
        let compared = PAGE - left_out.len() as u64 * WORD - masked;
        self.result.bytes_compared += compared * count;
        self.result.bytes_masked += masked * count;
    }

    /// The words of a page that any machine's buffer covers: compared by name, or not at all.
    fn beside_buffers(&mut self, standing: Standing) -> BTreeSet<u64> {
        let Standing::User { process, address } = standing else {
            return BTreeSet::new();
        };
        if process != COMPUTATION_PROCESS {
            return BTreeSet::new();
        }
        let all = covered(&self.all_by_name, address);
        if all == 0 {
            return BTreeSet::new();
        }
        self.beside(standing, address, all);
        let words = self.all_by_name.iter();
        words
            .flat_map(|range| words_within(range, address))
            .collect()
    }

    /// Whether a page lies within a buffer of some machine, so that nothing of it is compared here.
    fn is_of_buffers(&mut self, standing: Standing) -> bool {
        let Standing::User { process, address } = standing else {
            return false;
        };
        let end = address.saturating_add(PAGE);
        let mut ranges = self.all_by_name.iter();
        let inside = ranges.any(|range| range.start <= address && end <= range.end);
        if process != COMPUTATION_PROCESS || !inside {
            return false;
        }
        self.beside(standing, address, PAGE / WORD);
        true
    }

    /// Counts what of a page machines have where only others have a buffer.
    fn beside(&mut self, standing: Standing, address: u64, all: u64) {
        let there = self.machines.iter().zip(&self.by_name);
        let there = there.filter(|(machine, _)| machine.places.frame_of(standing).is_some());
        let beside: u64 = there
            .map(|(_, own)| all.saturating_sub(covered(own, address)))
            .sum();
        self.left_out(BESIDE_BUFFER, beside * WORD);
    }

    /// Objects that lie in changed frames of any machine.
    fn objects(&mut self, changed: &BTreeSet<u64>) {
        let machines = self.machines;
        let listed: Vec<BTreeMap<(&str, u32), KernelObject>> = machines
            .iter()
            .map(|machine| {
                let objects = machine.places.objects().into_iter();
                objects.map(|one| ((one.kind, one.id), one)).collect()
            })
            .collect();
        let mut touched = BTreeSet::new();
        for (machine, objects) in machines.iter().zip(&listed) {
            for (key, object) in objects {
                let frames = machine.places.frames_of(object);
                if frames.iter().any(|frame| changed.contains(frame)) {
                    touched.insert(*key);
                }
            }
        }
        for key in touched {
            let found: Vec<Option<&KernelObject>> =
                listed.iter().map(|objects| objects.get(&key)).collect();
            self.object(key, &found);
        }
    }

    fn object(&mut self, (kind, id): (&str, u32), found: &[Option<&KernelObject>]) {
        let machines = self.machines;
        let contents: Option<Vec<Vec<u8>>> = machines
            .iter()
            .zip(found)
            .map(|(machine, object)| machine.places.object_bytes((*object)?))
            .collect();
        let Some(contents) = contents.filter(|all| {
            let lengths: BTreeSet<usize> = all.iter().map(Vec::len).collect();
            lengths.len() == 1
        }) else {
            // Its page is counted with those of other objects.
            return;
        };
        let contents: Vec<&[u8]> = contents.iter().map(Vec::as_slice).collect();
        let length = contents.first().map_or(0, |bytes| bytes.len() as u64);
        let count = machines.len() as u64;
        let words = (0..length).step_by(8);
        let instance = format!("pid {id}");
        let is_noise = |into| {
            self.mask
                .covers(ContainerKind::Object, kind, into, &instance)
        };
        let masked = words.filter(|&into| is_noise(into));
        let masked = (masked.count() as u64 * WORD).min(length);
        self.result.bytes_masked += masked * count;
        self.result.bytes_compared += (length - masked) * count;
        let slab = self.result.not_compared.get_mut(&Nowhere::Slab.to_string());
        if let Some(bytes) = slab {
            *bytes = bytes.saturating_sub(length * count);
        }
        for (into, values) in differing(&contents) {
            let address = |(machine, object): (&Machine<'_>, &Option<&KernelObject>)| {
                let address = (*object)?.address.checked_add(into)?;
                machine.places.physical(address)
            };
            let word = AlignedWord {
                location: Location {
                    kind: ContainerKind::Object,
                    name: kind.to_owned(),
                    offset: into,
                },
                instance: instance.clone(),
                values,
                addresses: machines.iter().zip(found).map(address).collect(),
            };
            let is_noise = self
                .mask
                .covers(ContainerKind::Object, kind, into, &instance);
            note(&mut self.result, word, is_noise);
        }
    }

    fn registers(&mut self) {
        let machines = self.machines;
        let names: BTreeSet<&str> = machines
            .iter()
            .flat_map(|machine| machine.registers.iter().map(|(name, _)| name))
            .collect();
        for name in names {
            let values: Vec<Option<&str>> = machines
                .iter()
                .map(|machine| machine.registers.get(name))
                .collect();
            let bytes = |value: &Option<&str>| value.map_or(0, |value| value.len() as u64 / 2);
            let bytes: u64 = values.iter().map(bytes).sum();
            let is_noise = self.mask.covers(ContainerKind::Register, name, 0, "");
            if is_noise {
                self.result.bytes_masked += bytes;
            } else {
                self.result.bytes_compared += bytes;
            }
            if values.windows(2).any(|pair| pair.first() != pair.get(1)) {
                let word = AlignedWord {
                    location: Location {
                        kind: ContainerKind::Register,
                        name: name.to_owned(),
                        offset: 0,
                    },
                    instance: String::new(),
                    values: values.into_iter().map(number).collect(),
                    addresses: vec![None; machines.len()],
                };
                note(&mut self.result, word, is_noise);
            }
        }
    }
}

/// Lists a word that differs.
fn note(result: &mut Aligned, word: AlignedWord, is_noise: bool) {
    if is_noise {
        if result.noise.len() < MAX_LISTED_WORDS {
            result.noise.push(word);
        }
        return;
    }
    result.unexplained_total += 1;
    if result.unexplained.len() < MAX_LISTED_WORDS {
        result.unexplained.push(word);
    }
}

/// Gives the words of a page their names.
struct Namer<'a> {
    places: &'a dyn Places,
    standing: Standing,
    mapping: String,
    instance: String,
}

impl<'a> Namer<'a> {
    fn of(places: &'a dyn Places, standing: Standing) -> Self {
        let (mut mapping, mut instance) = (String::new(), String::new());
        match standing {
            Standing::User { process, address } => {
                let found = places.mapping(process, address);
                let inside = found.map_or("[unmapped]", |(_, name)| name);
                let name = places.process_name(process).unwrap_or("?");
                mapping = format!("{inside} of {name} ({process})");
            }
            Standing::Cpu { cpu, .. } => instance = format!("CPU {cpu}"),
            Standing::Image { .. } => {}
        }
        Self {
            places,
            standing,
            mapping,
            instance,
        }
    }

    fn name(&self, into: u64) -> Name<'_> {
        let named = |kind, found: Option<(&'a str, u64)>, otherwise, at| {
            let (name, offset) = found.unwrap_or((otherwise, at));
            Name { kind, name, offset }
        };
        match self.standing {
            Standing::User { address, .. } => Name {
                kind: ContainerKind::Mapping,
                name: &self.mapping,
                offset: address + into,
            },
            Standing::Image { address } => {
                let at = address + into;
                let found = self.places.image_variable(at);
                named(ContainerKind::Variable, found, "kernel image", at)
            }
            Standing::Cpu { offset, .. } => {
                let at = offset + into;
                let found = self.places.cpu_variable(at);
                named(ContainerKind::PerCpu, found, "per-CPU allocation", at)
            }
        }
    }
}

/// Ranges as ranges without overlaps, ascending.
fn merged<'r>(ranges: impl Iterator<Item = &'r Range<u64>>) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = ranges.cloned().collect();
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// How many words of the page at an address some ranges touch.
fn covered<'r>(ranges: impl IntoIterator<Item = &'r Range<u64>>, address: u64) -> u64 {
    let ranges = ranges.into_iter();
    ranges
        .map(|range| words_within(range, address).count() as u64)
        .sum()
}

/// The words of the page at an address that a range touches, by their offset.
fn words_within(range: &Range<u64>, address: u64) -> impl Iterator<Item = u64> + use<> {
    let end = range.end.min(address.saturating_add(PAGE));
    let first = range.start.max(address).saturating_sub(address) / WORD * WORD;
    (first..end.saturating_sub(address)).step_by(8)
}

fn alike(contents: &[&[u8]]) -> bool {
    contents.windows(2).all(|pair| pair.first() == pair.get(1))
}

/// The words that are not the same in all, by their offset.
fn differing(contents: &[&[u8]]) -> Vec<(u64, Vec<u64>)> {
    let length = contents.iter().map(|one| one.len()).min().unwrap_or(0) as u64;
    let mut found = Vec::new();
    for into in (0..length).step_by(8) {
        let values: Vec<u64> = contents.iter().map(|one| word(one, into)).collect();
        if values.windows(2).any(|pair| pair.first() != pair.get(1)) {
            found.push((into, values));
        }
    }
    found
}

/// A word of some bytes; what is missing at their end is zeros.
fn word(bytes: &[u8], at: u64) -> u64 {
    let from = usize::try_from(at).unwrap_or(usize::MAX);
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes.iter().skip(from)) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}

/// A register's value, as far as 64 bits hold it; what is no number is told apart by its text.
fn number(value: Option<&str>) -> u64 {
    let Some(text) = value else {
        return 0;
    };
    let digits: String = text.chars().take_while(char::is_ascii_hexdigit).collect();
    match u64::from_str_radix(&digits, 16) {
        Ok(number) if digits.len() == text.len() => number,
        _ => text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }),
    }
}
