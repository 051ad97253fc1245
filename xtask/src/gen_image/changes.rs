//! From the first version to the second: ordinary work, in no order.

use super::deeds::Deed;
use super::part::Part;
use super::tools::{BLOCK_BYTES, Image};
use super::world::{Data, File};
use super::{Maker, PROJECTS, TEAMS};
use anyhow::Context;

/// The directory of a project that is renamed, and its name then.
const RENAMED: (&str, &str) = ("/srv/team01/project 1", "/srv/team01/old project 1");

impl Maker<'_> {
    /// Places of files that are as they were so far, and have only one name.
    pub(super) fn untouched(&self, wanted: impl Fn(&File) -> bool) -> Vec<usize> {
        let is_plain = |file: &File| {
            let is_there = file.paths[1].is_some() && file.links.is_empty();
            is_there && !file.is_log && !file.is_settled && wanted(file)
        };
        let places = self.world.files.iter().enumerate();
        let places = places.filter(|(_, file)| is_plain(file));
        places.map(|(place, _)| place).collect()
    }

    /// From the first version to the second.
    pub(super) fn work(&mut self, image: &Image) -> anyhow::Result<()> {
        let mut free = self.untouched(|_| true);
        self.modify(&mut free);
        self.append();
        self.metadata(&mut free);
        for _ in 0..self.count(250) {
            if let Some(index) = self.draw.take(&mut free) {
                let file = &mut self.world.files[index];
                let path = file.paths[0].clone().unwrap_or_default();
                self.deeds.push(vec![Deed::Remove { path }]);
                file.paths[1] = None;
                file.paths[2] = None;
            }
        }
        for number in 0..self.count(200) {
            if let Some(index) = self.draw.take(&mut free) {
                self.rename(index, 0, |path| format!("{path}.{number}"));
            }
        }
        let new = self.create(1, self.count(402), "added")?;
        self.shuffle();
        self.rename_directory();
        self.carry_out(image, 1, new.path())
    }

    /// Puts what is to be done into no order; what belongs together stays so.
    fn shuffle(&mut self) {
        let mut left = std::mem::take(&mut self.deeds);
        while let Some(group) = self.draw.take(&mut left) {
            self.deeds.push(group);
        }
    }

    /// In each of some files, a few parts.
    fn modify(&mut self, free: &mut Vec<usize>) {
        let mut left = self.count(303);
        while left > 0 {
            let Some(index) = self.draw.take(free) else {
                return;
            };
            let file = &self.world.files[index];
            if file.bytes < 300 || file.has_holes {
                continue;
            }
            left -= 1;
            let (path, bytes) = (file.paths[0].clone().unwrap_or_default(), file.bytes);
            let blocks = bytes.div_ceil(BLOCK_BYTES) as usize;
            let mut chosen: Vec<usize> = (0..3).map(|_| self.draw.below(blocks)).collect();
            chosen.sort_unstable();
            chosen.dedup();
            let mut ranges = Vec::new();
            for block in chosen {
                let start = block as u64 * BLOCK_BYTES;
                let there = (bytes - start).min(BLOCK_BYTES);
                // Neither the first nor the last byte of a block, so that ranges do not meet.
                if there < 10 {
                    continue;
                }
                let first = 1 + self.draw.below(there as usize / 2) as u64;
                let length = 1 + self.draw.below((there - first - 1) as usize) as u64;
                ranges.push(start + first..(start + first + length).min(start + there - 1));
            }
            let part = Part::Ranges(ranges);
            let file = &mut self.world.files[index];
            file.data[0] = Data::Turned(part.hulls(bytes));
            file.fields[0] = vec!["modified", "changed"];
            let seed = self.draw.next();
            self.deeds.push(vec![Deed::Turn {
                path,
                bytes,
                part,
                seed,
            }]);
        }
    }

    fn append(&mut self) {
        for index in 0..self.world.files.len() {
            if !self.world.files[index].is_log {
                continue;
            }
            let seed = self.draw.next();
            let file = &mut self.world.files[index];
            let path = file.paths[0].clone().unwrap_or_default();
            let range = file.bytes..file.bytes + file.room;
            file.bytes = range.end;
            file.data[0] = Data::Appended(range.clone());
            file.fields[0] = vec!["modified", "changed"];
            self.deeds.push(vec![Deed::Append { path, range, seed }]);
        }
    }

    fn metadata(&mut self, free: &mut Vec<usize>) {
        type Make = fn(String) -> Deed;
        let kinds: [(u64, Make, &[&'static str]); 4] = [
            (
                40,
                |path| Deed::Mode { path, mode: 0o711 },
                &["mode", "changed"],
            ),
            (
                20,
                |path| Deed::Owner {
                    path,
                    uid: 4321,
                    gid: 4321,
                },
                &["uid", "gid", "changed"],
            ),
            (
                10,
                |path| {
                    let (name, value) = ("user.origin".to_owned(), "elsewhere".to_owned());
                    Deed::Attribute { path, name, value }
                },
                &["attributes", "changed"],
            ),
            (100, |path| Deed::Touch { path }, &["modified", "changed"]),
        ];
        for (full, make, fields) in kinds {
            for _ in 0..self.count(full) {
                let Some(index) = self.draw.take(free) else {
                    return;
                };
                let file = &mut self.world.files[index];
                let path = file.paths[0].clone().unwrap_or_default();
                file.fields[0] = fields.to_vec();
                self.deeds.push(vec![make(path)]);
            }
        }
    }

    pub(super) fn rename(&mut self, index: usize, step: usize, to: impl Fn(&str) -> String) {
        let file = &mut self.world.files[index];
        let from = file.paths[step].clone().unwrap_or_default();
        let to = to(&from);
        for path in &mut file.paths[step + 1..] {
            *path = Some(to.clone());
        }
        file.renamed[step] = true;
        file.fields[step].push("changed");
        self.deeds.push(vec![Deed::Rename { from, to }]);
    }

    /// New files of users. What they are made of lies in the directory until the deeds are done.
    pub(super) fn create(
        &mut self,
        version: usize,
        count: u64,
        name: &str,
    ) -> anyhow::Result<tempfile::TempDir> {
        let place = tempfile::TempDir::new_in(&self.what.out).context("cannot make a directory")?;
        for number in 0..count {
            let kind = self.kind();
            let bytes = match version {
                1 => self.draw.size(20_000.0, 1.3, 200, 2 << 20),
                _ => 1200,
            };
            let from = format!("content-{number}");
            std::fs::write(place.path().join(&from), kind.make(bytes, &mut self.draw))?;
            let project =
                number as usize % PROJECTS.min(self.count(100 * PROJECTS as u64) as usize);
            let directory = format!("/srv/team{:02}/project {project}", project % TEAMS);
            let directory = match directory == RENAMED.0 && version == 2 {
                true => RENAMED.1,
                false => &directory,
            };
            let path = format!("{directory}/{name} {number}.{}", kind.extension());
            let mut file = File::default();
            for later in &mut file.paths[version..] {
                *later = Some(path.clone());
            }
            self.world.files.push(file);
            self.deeds.push(vec![Deed::Write { path, from }]);
        }
        Ok(place)
    }

    /// One directory of a project; what is in it keeps its own name.
    fn rename_directory(&mut self) {
        let (from, to) = (RENAMED.0.to_owned(), RENAMED.1.to_owned());
        for file in &mut self.world.files {
            for path in file.paths[1..].iter_mut().flatten() {
                if let Some(rest) = path.strip_prefix(&format!("{from}/")) {
                    *path = format!("{to}/{rest}");
                }
            }
        }
        self.world.directories.push((0, from.clone(), to.clone()));
        self.deeds.push(vec![Deed::Rename { from, to }]);
    }
}
