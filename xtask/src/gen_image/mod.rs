//! `cargo xtask gen-image --out DIRECTORY [--mib N] [--seed N]`: disks with a known history.
//!
//! ```text
//!  A ── ordinary work ──► B ── an attack ──► C          a.raw b.raw c.raw truth.json
//!       files added, changed, deleted, renamed, a          2,000 files turned into noise in their
//!       directory renamed, logs appended, modes,           place, 500 of them renamed, 72 notes
//!       owners, attributes and times set
//! ```
//!
//! The counts are those of a disk of 4 GiB, and less in proportion on a smaller one. The same seed
//! makes the same disks, but for times of change that tools take from the host. No root is needed:
//! e2fsprogs makes the file systems and changes names and inodes; data that change in their place
//! are written where debugfs says that they lie.

mod changes;
mod content;
mod draw;
mod tools;
mod world;

pub(crate) use draw::Draw;
pub(crate) use world::Event;

use anyhow::{Context, ensure};
use content::{Kind, USERS};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tools::Image;
use world::{File, VERSIONS, World};

/// The size that the recipe's counts are for, and the least that has something of everything.
const FULL_MIB: u64 = 4096;
const LEAST_MIB: u64 = 64;

/// The times of the three versions: a day apart.
const TIMES: [u64; VERSIONS] = [1_760_000_000, 1_760_086_400, 1_760_172_800];

const TEAMS: usize = 12;
const PROJECTS: usize = 60;

/// What is to be made.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct GenImage {
    /// Where to put the disks and the record of what was done
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// The size of the disks in MiB
    #[arg(long, default_value_t = FULL_MIB)]
    pub(crate) mib: u64,
    /// What everything is drawn from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// Disks that were made, and what happened between them.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) disks: [PathBuf; VERSIONS],
    world: World,
}

impl Made {
    /// What happened from one version to a later one.
    pub(crate) fn events(&self, from: usize, to: usize) -> BTreeSet<Event> {
        self.world.events(from, to)
    }
}

/// Makes the disks, and writes down what was done.
pub(crate) fn run(what: &GenImage) -> anyhow::Result<()> {
    let made = make(what)?;
    let step = |from: usize, to: usize| -> Vec<Value> {
        let events = made.events(from, to).into_iter();
        let each = events.map(|event| {
            json!({
                "path": event.path,
                "change": event.change,
                "from": event.from,
                "ranges": event.ranges,
                "fields": event.fields,
            })
        });
        each.collect()
    };
    let (ab, bc, ac) = (step(0, 1), step(1, 2), step(0, 2));
    eprintln!(
        "a to b: {} events; b to c: {}; a to c: {}",
        ab.len(),
        bc.len(),
        ac.len()
    );
    let entries = made
        .world
        .files
        .iter()
        .filter(|file| file.paths[0].is_some());
    let truth = json!({
        "seed": what.seed,
        "mib": what.mib,
        "files": entries.count(),
        "a-b": ab,
        "b-c": bc,
        "a-c": ac,
    });
    let path = what.out.join("truth.json");
    std::fs::write(&path, serde_json::to_vec_pretty(&truth)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Makes the disks.
pub(crate) fn make(what: &GenImage) -> anyhow::Result<Made> {
    ensure!(what.mib >= LEAST_MIB, "a disk has {LEAST_MIB} MiB at least");
    std::fs::create_dir_all(&what.out)
        .with_context(|| format!("cannot make {}", what.out.display()))?;
    let mut maker = Maker {
        what,
        draw: Draw(what.seed),
        world: World::default(),
        script: Vec::new(),
    };
    let a = maker.first()?;
    let b = a.copy(&what.out.join("b.raw"))?;
    maker.work(&b)?;
    let c = b.copy(&what.out.join("c.raw"))?;
    maker.attack(&c)?;
    Ok(Made {
        disks: [a.path, b.path, c.path],
        world: maker.world,
    })
}

struct Maker<'a> {
    what: &'a GenImage,
    draw: Draw,
    world: World,
    script: Vec<String>,
}

impl Maker<'_> {
    /// A count of the recipe, in proportion to the size; never 0.
    fn count(&self, full: u64) -> u64 {
        (full * self.what.mib / FULL_MIB).max(1)
    }

    /// Makes the tree on the host, and a file system of it.
    fn first(&mut self) -> anyhow::Result<Image> {
        let place = tempfile::TempDir::new_in(&self.what.out).context("cannot make a directory")?;
        let tree = place.path();
        self.system(tree)?;
        self.users(tree)?;
        self.logs(tree)?;
        self.links(tree)?;
        // Room for directories, of which there is one for eight files or so, and for what is added.
        let inodes = (self.world.files.len() as u64 * 3 / 2 + 2000).next_multiple_of(16);
        let path = self.what.out.join("a.raw");
        let image = Image::make(&path, self.what.mib, tree, inodes, TIMES[0])?;
        self.owners();
        self.carry_out(&image, 0)?;
        Ok(image)
    }

    /// Programs, libraries and documentation.
    fn system(&mut self, tree: &Path) -> anyhow::Result<()> {
        let count = self.count(24_000);
        for number in 0..count {
            let top = self
                .draw
                .one(&["usr/lib", "usr/share/doc", "usr/share", "usr/bin", "etc"]);
            let (kind, median) = match top {
                "usr/lib" | "usr/bin" => (Kind::Program, 9000.0),
                "etc" => (Kind::Text, 800.0),
                _ => (self.draw.one(&[Kind::Text, Kind::Gzip, Kind::Png]), 2500.0),
            };
            // Directories of some eight files, four deep at most.
            let package = self.draw.below(count as usize / 100 + 1);
            let below = self.draw.one(&["", "/data", "/data/more", "/plugins"]);
            let directory = format!("{top}/package{package}{below}");
            let bytes = self.draw.size(median, 1.9, 0, 6 << 20);
            let path = format!("/{directory}/file{number}.{}", kind.extension());
            self.add(tree, &path, kind, bytes)?;
        }
        Ok(())
    }

    fn users(&mut self, tree: &Path) -> anyhow::Result<()> {
        let count = self.count(100 * PROJECTS as u64);
        for number in 0..count {
            let project = number as usize % PROJECTS;
            let kind = self.kind();
            let bytes = self.draw.size(20_000.0, 1.3, 200, 2 << 20);
            let directory = format!("/srv/team{:02}/project {project}", project % TEAMS);
            let path = format!("{directory}/Entwürfe {number}.{}", kind.extension());
            let file = self.add(tree, &path, kind, bytes)?;
            file.is_users = true;
        }
        Ok(())
    }

    fn kind(&mut self) -> Kind {
        let mut drawn = self.draw.below(100);
        for (kind, share) in USERS {
            match drawn.checked_sub(share) {
                Some(rest) => drawn = rest,
                None => return kind,
            }
        }
        Kind::Text
    }

    fn logs(&mut self, tree: &Path) -> anyhow::Result<()> {
        for number in 0..self.count(12).max(3) {
            let lines = 2000 + self.draw.below(7000);
            let room = 1000 + self.draw.below(40_000) as u64;
            let path = format!("/var/log/service{number}.log");
            let file = self.add(tree, &path, Kind::Log, lines * 40 + room as usize)?;
            file.is_log = true;
            file.room = room;
            file.bytes -= room;
            let bytes = file.bytes;
            self.script.push(format!("sif \"{path}\" size {bytes}"));
        }
        Ok(())
    }

    fn add(
        &mut self,
        tree: &Path,
        path: &str,
        kind: Kind,
        bytes: usize,
    ) -> anyhow::Result<&mut File> {
        let content = kind.make(bytes, &mut self.draw);
        let on_host = tree.join(&path[1..]);
        if let Some(directory) = on_host.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(&on_host, &content)?;
        let age = Duration::from_secs(self.draw.below(100_000_000) as u64);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(TIMES[0]) - age;
        let times = std::fs::FileTimes::new()
            .set_modified(time)
            .set_accessed(time);
        std::fs::File::options()
            .write(true)
            .open(&on_host)?
            .set_times(times)?;
        self.world.files.push(File {
            paths: [(); VERSIONS].map(|()| Some(path.to_owned())),
            bytes: content.len() as u64,
            ..File::default()
        });
        self.world.files.last_mut().context("it was added just now")
    }

    /// Some programs have a second name.
    fn links(&mut self, tree: &Path) -> anyhow::Result<()> {
        for number in 0..self.count(40).max(3) as usize {
            let index = number * 7 % self.world.files.len();
            let file = &mut self.world.files[index];
            let (Some(path), true) = (&file.paths[0], file.links.is_empty()) else {
                continue;
            };
            let link = format!("{path}.{number}");
            std::fs::hard_link(tree.join(&path[1..]), tree.join(&link[1..]))?;
            file.links.push(link);
        }
        Ok(())
    }

    /// Owners are those of the tools' user; everything else the tools have taken from the tree.
    fn owners(&mut self) {
        for index in 0..self.world.files.len() {
            let file = &self.world.files[index];
            let Some(path) = file.paths[0].clone() else {
                continue;
            };
            let owner = if file.is_users {
                1000 + self.draw.below(TEAMS)
            } else {
                0
            };
            self.script.push(format!("sif \"{path}\" uid {owner}"));
            self.script.push(format!("sif \"{path}\" gid {owner}"));
            self.script
                .push(format!("sif \"{path}\" ctime @{}", TIMES[0]));
        }
    }

    fn carry_out(&mut self, image: &Image, version: usize) -> anyhow::Result<()> {
        let script = std::mem::take(&mut self.script);
        image.debugfs(&script, TIMES[version]).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::{happened, open};

    /// The size of the disks here: it has a sixteenth of everything.
    const MIB: u64 = 256;

    #[test]
    fn what_was_done_is_found_between_all_versions() {
        let out = tempfile::TempDir::new().unwrap();
        let made = make(&GenImage {
            out: out.path().join("disks"),
            mib: MIB,
            seed: 7,
        })
        .unwrap();
        for (from, to) in [(0, 1), (1, 2), (0, 2)] {
            let disks = [from, to].map(|version| open(&made.disks[version]).unwrap());
            let found = happened(&disks, None).unwrap();
            let told: BTreeSet<Event> = found.iter().cloned().collect();
            assert_eq!(told.len(), found.len(), "an event is told twice");
            let expected = made.events(from, to);
            let missing: Vec<_> = expected.difference(&told).take(9).collect();
            let wrong: Vec<_> = told.difference(&expected).take(9).collect();
            let is_right = missing.is_empty() && wrong.is_empty();
            assert!(
                is_right,
                "{from} to {to}: missing {missing:#?}, wrong {wrong:#?}"
            );
            let kinds: BTreeSet<_> = found.iter().map(|event| event.change).collect();
            let all = [
                "appended", "created", "deleted", "metadata", "modified", "renamed",
            ];
            assert!(from == 1 || kinds.iter().eq(&all), "{kinds:?}");
        }
        // All six kinds are drawn in this proportion, so that none is missed by chance.
        let events = made.events(0, 2);
        let count = |change| events.iter().filter(|event| event.change == change).count();
        assert!(
            count("modified") > 125 && count("renamed") > 30,
            "{}",
            events.len()
        );
    }
}
