//! The first version of a disk: a system, files of users, logs.
//!
//! The tree stands on the host for as long as mke2fs reads it. Owners, and the times that a host
//! would give, are set afterwards, so that they are the same whoever makes it.

use super::content::Kind;
use super::debian::Root;
use super::tools::{BLOCK_BYTES, FIRMWARE_OFFSET, Image, tool};
use super::world::{File, VERSIONS};
use super::{Changes, Maker, PROJECTS, TEAMS, TIMES, firmware};
use anyhow::Context;
use std::collections::HashMap;
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Modes of files of users.
const MODES: [u32; 4] = [0o644, 0o664, 0o640, 0o600];

impl Maker<'_> {
    /// Makes the tree, and a file system of it.
    pub(super) fn first(&mut self, root: Option<&Root>) -> anyhow::Result<Image> {
        let place = tempfile::TempDir::new_in(&self.what.out).context("cannot make a directory")?;
        let tree = &place.path().join("tree");
        match root {
            Some(root) => self.packages(root, tree)?,
            None => self.system(tree)?,
        }
        self.users(tree)?;
        self.logs(tree)?;
        self.links(tree)?;
        let entries = self.owners(tree, tree)?;
        for (path, uid, gid) in root.iter().flat_map(|root| &root.about.owners) {
            self.owner(path, *uid, *gid);
        }
        let inodes = (entries * 9 / 8 + 2000).next_multiple_of(16);
        let path = self.what.out.join("a.raw");
        let image = Image::make(&path, self.what.mib, tree, inodes, TIMES[0])?;
        let script: Vec<String> = std::mem::take(&mut self.set);
        image.debugfs(&script, TIMES[0])?;
        firmware::put(&path, FIRMWARE_OFFSET, image.firmware_mib, TIMES[0])?;
        Ok(image)
    }

    /// The system of Debian's packages.
    fn packages(&mut self, root: &Root, tree: &Path) -> anyhow::Result<()> {
        let (from, to) = (root.tree.to_str(), tree.to_str());
        let (from, to) = from.zip(to).context("the path is not UTF-8")?;
        // Nothing of it is written to, so that names are enough.
        tool("cp", &["-a", "-l", from, to], 0)?;
        let mut numbers = HashMap::new();
        self.known(tree, tree, &mut numbers)
    }

    /// Adds regular files that are there already.
    fn known(
        &mut self,
        root: &Path,
        at: &Path,
        numbers: &mut HashMap<u64, usize>,
    ) -> anyhow::Result<()> {
        for path in sorted(at)? {
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                self.known(root, &path, numbers)?;
            }
            if !metadata.is_file() {
                continue;
            }
            let name = inside(root, &path)?;
            if let Some(index) = numbers.get(&metadata.ino()) {
                self.world.files[*index].links.push(name);
                continue;
            }
            numbers.insert(metadata.ino(), self.world.files.len());
            self.world.files.push(File {
                paths: [(); VERSIONS].map(|()| Some(name.clone())),
                bytes: metadata.len(),
                has_holes: has_zeros(&fs::read(&path)?),
                is_settled: name.starts_with("/var/lib/dpkg/"),
                ..File::default()
            });
        }
        Ok(())
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
            let mode = self.draw.one(&MODES);
            fs::set_permissions(tree.join(&path[1..]), Permissions::from_mode(mode))?;
        }
        Ok(())
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
            match self.what.changes {
                // debugfs cannot add blocks to a file, and has them before they count.
                Changes::Tools => self.set.push(format!("sif \"{path}\" size {bytes}")),
                Changes::Guest => {
                    let log = fs::File::options()
                        .write(true)
                        .open(tree.join(&path[1..]))?;
                    log.set_len(bytes)?;
                }
            }
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
            fs::create_dir_all(directory)?;
        }
        fs::write(&on_host, &content)?;
        let age = Duration::from_secs(self.draw.below(100_000_000) as u64);
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(TIMES[0]) - age;
        let times = fs::FileTimes::new().set_modified(time).set_accessed(time);
        fs::File::options()
            .write(true)
            .open(&on_host)?
            .set_times(times)?;
        self.world.files.push(File {
            paths: [(); VERSIONS].map(|()| Some(path.to_owned())),
            bytes: content.len() as u64,
            has_holes: has_zeros(&content),
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
            fs::hard_link(tree.join(&path[1..]), tree.join(&link[1..]))?;
            file.links.push(link);
        }
        Ok(())
    }

    /// Owners, and the times that a host gives, of all that is in the tree. Says how
    /// much that is.
    fn owners(&mut self, root: &Path, at: &Path) -> anyhow::Result<u64> {
        let mut entries = 0;
        for path in sorted(at)? {
            let metadata = fs::symlink_metadata(&path)?;
            let name = inside(root, &path)?;
            let owner = match name.starts_with("/srv/") && metadata.is_file() {
                true => 1000 + self.draw.below(TEAMS) as u32,
                false => 0,
            };
            self.owner(&name, owner, owner);
            let modified = metadata.mtime().clamp(0, TIMES[0] as i64);
            let times = [
                ("mtime", modified),
                ("atime", modified),
                ("ctime", TIMES[0] as i64),
            ];
            for (time, at) in times {
                self.set.push(format!("sif \"{name}\" {time} @{at}"));
            }
            entries += 1;
            if metadata.is_dir() {
                entries += self.owners(root, &path)?;
            }
        }
        Ok(entries)
    }

    fn owner(&mut self, path: &str, uid: u32, gid: u32) {
        self.set.push(format!("sif \"{path}\" uid {uid}"));
        self.set.push(format!("sif \"{path}\" gid {gid}"));
    }
}

/// What is in a directory, in the order of names.
fn sorted(at: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(at).with_context(|| format!("cannot read {}", at.display()))?;
    let paths = entries.map(|entry| Ok(entry?.path()));
    let mut paths: Vec<PathBuf> = paths.collect::<std::io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// The path that something of the tree has on the disk.
fn inside(root: &Path, path: &Path) -> anyhow::Result<String> {
    let name = path.strip_prefix(root)?.to_str();
    Ok(format!("/{}", name.context("a path is not UTF-8")?))
}

/// Whether mke2fs leaves a hole in a file: it does for a block of zeros.
fn has_zeros(content: &[u8]) -> bool {
    let blocks = content.chunks(BLOCK_BYTES as usize);
    blocks
        .into_iter()
        .any(|block| block.iter().all(|byte| *byte == 0))
}
