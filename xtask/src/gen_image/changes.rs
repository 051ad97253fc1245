//! What happens between the versions: ordinary work, then an attack.

use super::content::Kind;
use super::draw::Draw;
use super::tools::{BLOCK_BYTES, Image};
use super::world::{Data, File};
use super::{Maker, PROJECTS, TEAMS, TIMES};
use anyhow::Context;
use std::ops::Range;

impl Maker<'_> {
    /// Places of files that are as they were so far, and have only one name.
    fn untouched(&self, wanted: impl Fn(&File) -> bool) -> Vec<usize> {
        let is_plain = |file: &File| {
            file.paths[1].is_some() && file.links.is_empty() && !file.is_log && wanted(file)
        };
        let places = self.world.files.iter().enumerate();
        let places = places.filter(|(_, file)| is_plain(file));
        places.map(|(place, _)| place).collect()
    }

    /// From the first version to the second.
    pub(super) fn work(&mut self, image: &Image) -> anyhow::Result<()> {
        let mut free = self.untouched(|_| true);
        let mut data = Vec::new();
        self.modify(&mut free, &mut data);
        self.append(&mut data);
        self.metadata(&mut free);
        for _ in 0..self.count(250) {
            if let Some(index) = self.draw.take(&mut free) {
                let file = &mut self.world.files[index];
                let path = file.paths[0].clone().unwrap_or_default();
                self.script.push(format!("rm \"{path}\""));
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
        self.rename_directory();
        let parts: Vec<_> = data
            .iter()
            .map(|(path, range, _)| (path.clone(), range.clone()))
            .collect();
        let mut draw = Draw(self.what.seed ^ 2);
        // Before names change, and after room was made.
        image.edit(&parts, |index, bytes| turn(bytes, data[index].2, &mut draw))?;
        self.carry_out(image, 1)?;
        new.close().context("cannot remove a directory")?;
        Ok(())
    }

    /// In each of some files, a few parts.
    fn modify(&mut self, free: &mut Vec<usize>, data: &mut Vec<(String, Range<u64>, Turn)>) {
        let mut left = self.count(303);
        while left > 0 {
            let Some(index) = self.draw.take(free) else {
                return;
            };
            let file = &self.world.files[index];
            if file.bytes < 300 {
                continue;
            }
            left -= 1;
            let path = file.paths[0].clone().unwrap_or_default();
            let blocks = file.bytes.div_ceil(BLOCK_BYTES) as usize;
            let mut chosen: Vec<usize> = (0..3).map(|_| self.draw.below(blocks)).collect();
            chosen.sort_unstable();
            chosen.dedup();
            let mut ranges = Vec::new();
            for block in chosen {
                let start = block as u64 * BLOCK_BYTES;
                let there = (file.bytes - start).min(BLOCK_BYTES);
                // Neither the first nor the last byte of a block, so that ranges do not meet.
                if there < 10 {
                    continue;
                }
                let first = 1 + self.draw.below(there as usize / 2) as u64;
                let length = 1 + self.draw.below((there - first - 1) as usize) as u64;
                let range = start + first..(start + first + length).min(start + there - 1);
                data.push((path.clone(), range.clone(), Turn::Others));
                ranges.push(range);
            }
            self.changed_at(&path, 1, &["mtime", "ctime"]);
            let file = &mut self.world.files[index];
            file.data[0] = Data::Turned(ranges);
            file.fields[0] = vec!["modified", "changed"];
        }
    }

    fn append(&mut self, data: &mut Vec<(String, Range<u64>, Turn)>) {
        let logs: Vec<usize> = (0..self.world.files.len())
            .filter(|index| self.world.files[*index].is_log)
            .collect();
        for index in logs {
            let file = &mut self.world.files[index];
            let path = file.paths[0].clone().unwrap_or_default();
            let range = file.bytes..file.bytes + file.room;
            data.push((path.clone(), range.clone(), Turn::Log));
            file.bytes = range.end;
            file.data[0] = Data::Appended(range.clone());
            file.fields[0] = vec!["modified", "changed"];
            self.script
                .push(format!("sif \"{path}\" size {}", range.end));
            self.changed_at(&path, 1, &["mtime", "ctime"]);
        }
    }

    fn metadata(&mut self, free: &mut Vec<usize>) {
        let deeds: [(u64, &[&str], &[&'static str]); 4] = [
            (40, &["sif \"{}\" mode 0100600"], &["mode", "changed"]),
            (
                20,
                &["sif \"{}\" uid 4321", "sif \"{}\" gid 4321"],
                &["uid", "gid", "changed"],
            ),
            (
                10,
                &["ea_set \"{}\" user.origin elsewhere"],
                &["attributes", "changed"],
            ),
            (100, &[], &["modified", "changed"]),
        ];
        for (full, lines, fields) in deeds {
            for _ in 0..self.count(full) {
                let Some(index) = self.draw.take(free) else {
                    return;
                };
                let path = self.world.files[index].paths[0].clone().unwrap_or_default();
                for line in lines {
                    self.script.push(line.replace("{}", &path));
                }
                let times: &[&str] = if lines.is_empty() {
                    &["mtime", "ctime"]
                } else {
                    &["ctime"]
                };
                self.changed_at(&path, 1, times);
                self.world.files[index].fields[0] = fields.to_vec();
            }
        }
    }

    fn changed_at(&mut self, path: &str, version: usize, times: &[&str]) {
        for time in times {
            self.script
                .push(format!("sif \"{path}\" {time} @{}", TIMES[version]));
        }
    }

    fn rename(&mut self, index: usize, step: usize, to: impl Fn(&str) -> String) {
        let file = &mut self.world.files[index];
        let from = file.paths[step].clone().unwrap_or_default();
        let to = to(&from);
        self.script.push(format!("ln \"{from}\" \"{to}\""));
        self.script.push(format!("unlink \"{from}\""));
        for path in &mut file.paths[step + 1..] {
            *path = Some(to.clone());
        }
        file.renamed[step] = true;
        file.fields[step].push("changed");
        self.changed_at(&to, step + 1, &["ctime"]);
    }

    /// New files of users. What they are made of is kept until the script was carried out.
    fn create(
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
            let on_host = place.path().join(number.to_string());
            std::fs::write(&on_host, kind.make(bytes, &mut self.draw))?;
            let project =
                number as usize % PROJECTS.min(self.count(100 * PROJECTS as u64) as usize);
            let directory = format!("/srv/team{:02}/project {project}", project % TEAMS);
            let path = format!("{directory}/{name} {number}.{}", kind.extension());
            self.script
                .push(format!("write \"{}\" \"{path}\"", on_host.display()));
            let mut file = File::default();
            for later in &mut file.paths[version..] {
                *later = Some(path.clone());
            }
            self.world.files.push(file);
        }
        Ok(place)
    }

    /// One directory of a project; what is in it keeps its own name.
    fn rename_directory(&mut self) {
        let (from, to) = ("/srv/team01/project 1", "/srv/team01/old project 1");
        self.script.push(format!("ln \"{from}\" \"{to}\""));
        self.script.push(format!("unlink \"{from}\""));
        for file in &mut self.world.files {
            for path in file.paths[1..].iter_mut().flatten() {
                if let Some(rest) = path.strip_prefix(&format!("{from}/")) {
                    *path = format!("{to}/{rest}");
                }
            }
        }
        self.world
            .directories
            .push((0, from.to_owned(), to.to_owned()));
    }

    /// From the second version to the third.
    pub(super) fn attack(&mut self, image: &Image) -> anyhow::Result<()> {
        let mut free =
            self.untouched(|file| file.is_users && file.data[0] == Data::Same && file.bytes > 0);
        let (count, renamed) = (self.count(2000), self.count(500));
        let mut parts = Vec::new();
        for number in 0..count {
            let Some(index) = self.draw.take(&mut free) else {
                break;
            };
            let file = &mut self.world.files[index];
            let path = file.paths[1].clone().unwrap_or_default();
            let all = 0..file.bytes;
            parts.push((path.clone(), all.clone()));
            file.data[1] = Data::Turned(std::slice::from_ref(&all).to_vec());
            file.fields[1] = vec!["modified", "changed"];
            self.changed_at(&path, 2, &["mtime", "ctime"]);
            if number < renamed {
                self.rename(index, 1, |path| format!("{path}.locked"));
            }
        }
        let mut draw = Draw(self.what.seed ^ 3);
        image.edit(&parts, |_, bytes| turn(bytes, Turn::Others, &mut draw))?;
        let notes = self.create(2, self.count(72), "READ ME")?;
        // The directory that was renamed has its new name here.
        for line in &mut self.script {
            *line = line.replace(
                "/srv/team01/project 1/READ",
                "/srv/team01/old project 1/READ",
            );
        }
        for file in &mut self.world.files {
            if let Some(path) = &mut file.paths[2] {
                *path = path.replace(
                    "/srv/team01/project 1/READ",
                    "/srv/team01/old project 1/READ",
                );
            }
        }
        self.carry_out(image, 2)?;
        notes.close().context("cannot remove a directory")
    }
}

/// What becomes of bytes.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// Each another one, as noise.
    Others,
    /// Lines of a log.
    Log,
}

fn turn(bytes: &mut [u8], how: Turn, draw: &mut Draw) {
    match how {
        Turn::Others => {
            let noise = draw.bytes(bytes.len());
            for (byte, noise) in bytes.iter_mut().zip(noise) {
                *byte ^= noise.max(1);
            }
        }
        Turn::Log => {
            let lines = Kind::Log.make(bytes.len(), draw);
            bytes.copy_from_slice(&lines);
        }
    }
}
