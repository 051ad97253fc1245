//! dpkg's database, as its manual describes it.
//!
//! ```text
//! /var/lib/dpkg/status                  packages: state, version, configuration files with MD5
//! /var/lib/dpkg/info/NAME[:ARCH].list     paths of each
//! /var/lib/dpkg/info/NAME[:ARCH].md5sums  MD5 and path, without the first `/`
//! /var/lib/dpkg/diversions              three lines each: path, where it is moved to, by whom
//! ```

use super::database::{Database, Digest, Item, Package, Wanted};
use super::paths::Paths;
use super::read;
use crate::files::Files;
use std::collections::HashMap;

/// Where dpkg keeps it.
pub(super) const DIRECTORY: &[u8] = b"/var/lib/dpkg";

/// The most bytes of lists and digests that are read in all.
const MAX_BYTES: usize = 1 << 30;

/// Paths that a package has moved away from where others put them.
type Diversions = HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)>;

/// Notes what dpkg says of the wanted paths. Says whether there is a database of dpkg's.
pub(super) fn note(files: &Files, wanted: &Wanted, found: &mut Database) -> bool {
    let Some(status) = read(files, &in_directory(b"status")) else {
        return false;
    };
    let mut reader = Reader {
        files,
        wanted,
        paths: Paths::new(&files.tree),
        diversions: diversions(files),
        found: Database::default(),
        left: MAX_BYTES,
    };
    for stanza in stanzas(&status) {
        reader.package(&stanza);
    }
    found.add(reader.found);
    true
}

fn in_directory(name: &[u8]) -> Vec<u8> {
    [DIRECTORY, b"/", name].concat()
}

/// Fields of a package; of those that go on over lines, all of them.
type Stanza<'s> = HashMap<&'s [u8], Vec<&'s [u8]>>;

fn stanzas(text: &[u8]) -> Vec<Stanza<'_>> {
    let mut stanzas = Vec::new();
    let mut stanza = Stanza::new();
    let mut field: &[u8] = b"";
    for line in text.split(|byte| *byte == b'\n') {
        if line.is_empty() {
            stanzas.push(std::mem::take(&mut stanza));
        } else if line.starts_with(b" ") || line.starts_with(b"\t") {
            stanza.entry(field).or_default().push(line.trim_ascii());
        } else if let Some(end) = line.iter().position(|byte| *byte == b':') {
            let (name, value) = line.split_at(end);
            field = name;
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            stanza.entry(field).or_default().push(value);
        }
    }
    stanzas.push(stanza);
    stanzas
}

fn diversions(files: &Files) -> Diversions {
    let text = read(files, &in_directory(b"diversions")).unwrap_or_default();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let triples = lines.chunks_exact(3);
    let each = triples.filter_map(|triple| match triple {
        [from, to, by] => Some((from.to_vec(), (to.to_vec(), by.to_vec()))),
        _ => None,
    });
    each.collect()
}

struct Reader<'f> {
    files: &'f Files,
    wanted: &'f Wanted,
    paths: Paths<'f>,
    diversions: Diversions,
    found: Database,
    left: usize,
}

impl Reader<'_> {
    fn package(&mut self, stanza: &Stanza<'_>) {
        let text = |field: &[u8]| {
            let first = stanza.get(field)?.first()?;
            std::str::from_utf8(first).ok()
        };
        let (Some(name), Some(version)) = (text(b"Package"), text(b"Version")) else {
            return;
        };
        let state = text(b"Status").unwrap_or_default();
        let is_there = !state.ends_with("not-installed") && !state.ends_with("config-files");
        let architecture = text(b"Architecture").unwrap_or_default();
        let qualified = format!("{name}:{architecture}");
        let has_list = |stem: &str| self.files.tree.find(&info(stem, "list")).is_some();
        let stem = match has_list(&qualified) {
            true => qualified,
            false => name.to_owned(),
        };
        let package = Package {
            name: stem.clone(),
            series: stem.clone(),
            version: version.to_owned(),
            state: state.to_owned(),
            is_installed: state.ends_with(" installed"),
        };
        self.found.packages.insert(stem.clone(), package);
        if !is_there {
            return;
        }
        self.lists(name, &stem);
        let lines = stanza.get(&b"Conffiles"[..]).map_or(&[][..], Vec::as_slice);
        for line in lines {
            let mut words = line.split(|byte| *byte == b' ');
            if let (Some(path), Some(digest)) = (words.next(), words.next()) {
                self.note(name, &stem, path, Digest::md5(digest), true);
            }
        }
    }

    fn lists(&mut self, name: &str, stem: &str) {
        let list = self.text(&info(stem, "list"));
        for path in list.split(|byte| *byte == b'\n') {
            self.note(name, stem, path, None, false);
        }
        let sums = self.text(&info(stem, "md5sums"));
        for line in sums.split(|byte| *byte == b'\n') {
            let Some((digest, path)) = line.split_at_checked(32) else {
                continue;
            };
            let path = [b"/", path.trim_ascii_start()].concat();
            self.note(name, stem, &path, Digest::md5(digest), false);
        }
    }

    fn text(&mut self, path: &[u8]) -> Vec<u8> {
        let text = read(self.files, path).unwrap_or_default();
        match self.left.checked_sub(text.len()) {
            Some(left) => {
                self.left = left;
                text
            }
            None => Vec::new(),
        }
    }

    /// Notes what a package says of a path, if that is asked for.
    fn note(&mut self, name: &str, stem: &str, path: &[u8], digest: Option<Digest>, edited: bool) {
        if !path.starts_with(b"/") {
            return;
        }
        let moved = self.diversions.get(path);
        let path = match moved.filter(|(_, by)| by.as_slice() != name.as_bytes()) {
            Some((to, _)) => to.as_slice(),
            None => path,
        };
        let place = self.paths.place(path);
        if self.wanted.contains(&place) {
            let item = Item {
                package: stem.to_owned(),
                digest,
                mode: None,
                target: None,
                is_configuration: edited,
                may_be_absent: false,
            };
            self.found.note(place, item);
        }
    }
}

fn info(stem: &str, ending: &str) -> Vec<u8> {
    in_directory(format!("info/{stem}.{ending}").as_bytes())
}
