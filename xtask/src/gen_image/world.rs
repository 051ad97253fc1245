//! The files of all versions of a disk: what is made, what is done to them, and the record of it.

use std::collections::BTreeSet;
use std::ops::Range;

/// How many versions there are: before, after ordinary work, after an attack.
pub(super) const VERSIONS: usize = 3;

/// What was done to a file's data in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Data {
    #[default]
    Same,
    /// These parts differ: each goes from the first to the last byte of a block of 4 KiB that is
    /// another one, and those that meet are one.
    Turned(Vec<Range<u64>>),
    /// Bytes were added.
    Appended(Range<u64>),
}

/// Fields as events name them, in the order in which they are told.
pub(super) const FIELDS: [&str; 6] = ["mode", "uid", "gid", "attributes", "modified", "changed"];

/// A file in all versions.
#[derive(Debug, Clone, Default)]
pub(super) struct File {
    /// Its path in each version; none where it is not there.
    pub(super) paths: [Option<String>; VERSIONS],
    /// Other names, which stay.
    pub(super) links: Vec<String>,
    pub(super) bytes: u64,
    /// How many of them are still to come: the file has room for them.
    pub(super) room: u64,
    /// Whether it is one of a user's, or a log.
    pub(super) is_users: bool,
    pub(super) is_log: bool,
    /// Whether it was renamed itself in each step, and not only its directory.
    pub(super) renamed: [bool; VERSIONS - 1],
    /// Whether there is another file in its place after each step.
    pub(super) replaced: [bool; VERSIONS - 1],
    /// Whether some of its blocks are holes, where nothing can be changed in place.
    pub(super) has_holes: bool,
    /// Whether nothing is done to it.
    pub(super) is_settled: bool,
    pub(super) data: [Data; VERSIONS - 1],
    pub(super) fields: [Vec<&'static str>; VERSIONS - 1],
}

/// What happened to a path between two versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Event {
    pub(crate) path: String,
    pub(crate) change: &'static str,
    pub(crate) from: Option<String>,
    pub(crate) ranges: Vec<(u64, u64)>,
    pub(crate) fields: Vec<&'static str>,
}

impl Event {
    fn new(path: &str, change: &'static str) -> Self {
        Self {
            path: path.to_owned(),
            change,
            from: None,
            ranges: Vec::new(),
            fields: Vec::new(),
        }
    }
}

/// All files, and the directories that were renamed: in which step, from, to.
#[derive(Debug, Default)]
pub(super) struct World {
    pub(super) files: Vec<File>,
    pub(super) directories: Vec<(usize, String, String)>,
}

impl World {
    /// What happened from one version to a later one.
    pub(super) fn events(&self, from: usize, to: usize) -> BTreeSet<Event> {
        let mut events = BTreeSet::new();
        for (step, was, is) in &self.directories {
            if (from..to).contains(step) {
                let event = Event::new(is, "renamed");
                let from = Some(was.clone());
                events.insert(Event { from, ..event });
            }
        }
        for file in &self.files {
            match (&file.paths[from], &file.paths[to]) {
                (None, None) => {}
                (Some(path), None) => drop(events.insert(Event::new(path, "deleted"))),
                (None, Some(path)) => drop(events.insert(Event::new(path, "created"))),
                (Some(was), Some(is)) if file.replaced[from..to].contains(&true) => {
                    if file.renamed[from..to].contains(&true) {
                        events.insert(Event::new(was, "deleted"));
                        events.insert(Event::new(is, "created"));
                    } else {
                        events.insert(Event::new(is, "replaced"));
                    }
                }
                (Some(was), Some(is)) => {
                    for path in file.links.iter().chain([is]) {
                        events.extend(file.changes(path, from..to));
                    }
                    if file.renamed[from..to].contains(&true) {
                        let event = Event::new(is, "renamed");
                        let from = Some(was.clone());
                        events.insert(Event { from, ..event });
                    }
                }
            }
        }
        events
    }
}

impl File {
    /// What happened to data and fields in some steps.
    fn changes(&self, path: &str, steps: Range<usize>) -> Vec<Event> {
        let mut found = Vec::new();
        let (mut turned, mut appended) = (Vec::new(), None);
        for data in &self.data[steps.clone()] {
            match data {
                Data::Same => {}
                Data::Turned(ranges) => {
                    turned.extend(ranges.iter().map(|one| (one.start, one.end)));
                }
                Data::Appended(range) => appended = Some((range.start, range.end)),
            }
        }
        let changed = !turned.is_empty() || appended.is_some();
        if changed {
            let change = if turned.is_empty() {
                "appended"
            } else {
                "modified"
            };
            turned.extend(appended);
            turned.sort_unstable();
            let ranges = turned;
            found.push(Event {
                ranges,
                ..Event::new(path, change)
            });
        }
        // What follows from new data or another name is not told again.
        let renamed = self.renamed[steps.clone()].contains(&true);
        let set: BTreeSet<_> = self.fields[steps].iter().flatten().copied().collect();
        let told = FIELDS.into_iter().filter(|field| match *field {
            "modified" => set.contains(field) && !changed,
            "changed" => set.contains(field) && !changed && !renamed,
            _ => set.contains(field),
        });
        let fields: Vec<_> = told.collect();
        if !fields.is_empty() {
            found.push(Event {
                fields,
                ..Event::new(path, "metadata")
            });
        }
        found
    }
}
