//! A file system, and what is then done to it by debugfs, with a record of every deed.
//!
//! Bytes of files are written into the image where debugfs says that they lie. The clock of the tools
//! is set, so that what is made later is born later.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each program of tests uses a part of it"
)]

use crate::common::{Draw, FileSource, TOOLS_PATH};
use disk::Source;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A kind of ext file system.
pub struct Variant {
    pub name: &'static str,
    pub options: &'static str,
    pub block_bytes: u64,
}

impl Variant {
    pub fn all() -> Vec<Self> {
        let variant = |name, options, block_bytes| Self {
            name,
            options,
            block_bytes,
        };
        vec![
            variant("ext4", "-t ext4 -b 4096", 4096),
            variant("1 KiB blocks", "-t ext4 -b 1024", 1024),
            variant("ext2", "-t ext2 -b 4096 -I 256", 4096),
            variant("inline data", "-t ext4 -b 4096 -O inline_data", 4096),
        ]
    }
}

const DIRECTORIES: usize = 12;
const FILES: usize = 22;

pub struct History {
    place: TempDir,
    draw: Draw,
    block_bytes: u64,
    /// What files hold before, by path.
    contents: BTreeMap<String, Vec<u8>>,
    /// Files to which nothing was done yet.
    untouched: Vec<String>,
    script: Vec<String>,
    /// What is to be written over: path, place in the file, bytes.
    writes: Vec<(String, u64, Vec<u8>)>,
    expected: BTreeSet<String>,
    renamed: (String, String),
}

impl History {
    pub fn new(seed: u64, variant: &Variant) -> Self {
        let mut history = Self {
            place: TempDir::new().unwrap(),
            draw: Draw(seed),
            block_bytes: variant.block_bytes,
            contents: BTreeMap::new(),
            untouched: Vec::new(),
            script: Vec::new(),
            writes: Vec::new(),
            expected: BTreeSet::new(),
            renamed: (String::new(), String::new()),
        };
        history.make(variant);
        history.change();
        history
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub fn before(&self) -> Source {
        FileSource::open(&self.path("before"))
    }

    pub fn after(&self) -> Source {
        FileSource::open(&self.path("after"))
    }

    pub fn expected(&self) -> BTreeSet<String> {
        self.expected.clone()
    }

    pub fn contents(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.contents
    }

    /// A file system with directories of files, each of which begins to be told by its content.
    fn make(&mut self, variant: &Variant) {
        let tree = self.path("tree");
        std::fs::create_dir(&tree).unwrap();
        for directory in 0..DIRECTORIES {
            std::fs::create_dir(tree.join(format!("d{directory}"))).unwrap();
            for file in 0..FILES {
                let most = self.draw.one(&[50, 3000, 20_000, 60_000]);
                let bytes = self.draw.below(most) + 1;
                // No zeros: every byte that is cut out or turned round differs.
                let content = self.draw.bytes(bytes).iter().map(|byte| byte | 1).collect();
                self.add(&tree, format!("/d{directory}/f{file}"), content);
            }
        }
        std::fs::create_dir(tree.join("many")).unwrap();
        for file in 0..60 {
            self.add(
                &tree,
                format!("/many/{}{file}", "n".repeat(file * 3)),
                vec![7; file],
            );
        }
        let options = format!("-q -F -N 1024 {} -d", variant.options);
        let mut arguments: Vec<&str> = options.split_whitespace().collect();
        let (tree, image) = (self.text("tree"), self.text("before"));
        arguments.extend([&tree, &image, "16M"]);
        tool("mke2fs", &arguments, 1_700_000_000);
        std::fs::copy(self.path("before"), self.path("after")).unwrap();
        self.untouched = self.contents.keys().cloned().collect();
    }

    fn add(&mut self, tree: &Path, path: String, content: Vec<u8>) {
        std::fs::write(tree.join(&path[1..]), &content).unwrap();
        self.contents.insert(path, content);
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Takes a file of at least so many bytes to which nothing was done.
    fn take(&mut self, bytes: usize) -> String {
        loop {
            let index = self.draw.below(self.untouched.len());
            if self.contents[&self.untouched[index]].len() >= bytes {
                return self.untouched.swap_remove(index);
            }
        }
    }

    /// Where a path is once everything is done.
    fn now(&self, path: &str) -> String {
        let (from, to) = &self.renamed;
        match path.strip_prefix(&format!("{from}/")) {
            Some(rest) => format!("{to}/{rest}"),
            None => path.to_owned(),
        }
    }

    fn expect(&mut self, what: &str, path: &str, more: &str) {
        let path = self.now(path);
        self.expected.insert(format!("{what} {path}{more}"));
    }

    fn change(&mut self) {
        self.renamed = ("/d5".to_owned(), "/of old".to_owned());
        for _ in 0..12 {
            self.modify();
            self.append();
        }
        for _ in 0..6 {
            self.one_of_each();
        }
        self.directories();
        // Last, for until then files have their old paths.
        let (from, to) = self.renamed.clone();
        self.script.push(format!("ln \"{from}\" \"{to}\""));
        self.script.push(format!("unlink \"{from}\""));
        self.expected.insert(format!("renamed {from} -> {to}"));
        self.carry_out();
    }

    /// Bytes turned round, in up to three blocks of 4 KiB, and sometimes the time set.
    fn modify(&mut self) {
        let path = self.take(5000);
        let content = self.contents[&path].clone();
        let blocks = content.len() / 4096;
        let mut chosen: Vec<usize> = (0..3).map(|_| self.draw.below(blocks)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        let mut ranges = Vec::new();
        for block in chosen {
            // Neither the first nor the last byte, so that ranges do not meet.
            let start = block * 4096 + 1 + self.draw.below(2000);
            let end = start + 1 + self.draw.below(2000);
            let turned = content[start..end].iter().map(|byte| byte ^ 0xfe).collect();
            self.writes.push((path.clone(), start as u64, turned));
            ranges.push(start..end);
        }
        if self.draw.below(2) == 0 {
            self.script
                .push(format!("sif \"{path}\" mtime @1800000000"));
        }
        self.expect("modified", &path, &format!(" {ranges:?}"));
    }

    /// Bytes behind the end of a file, in the last block that it has.
    fn append(&mut self) {
        let (path, bytes) = loop {
            let path = self.take(5000);
            let bytes = self.contents[&path].len() as u64;
            if (1..self.block_bytes - 300).contains(&(bytes % self.block_bytes)) {
                break (path, bytes);
            }
        };
        let more = 1 + self.draw.below(300) as u64;
        self.writes
            .push((path.clone(), bytes, vec![5; more as usize]));
        let end = bytes + more;
        self.script.push(format!("sif \"{path}\" size {end}"));
        self.expect("appended", &path, &format!(" {bytes}..{end}"));
    }

    fn one_of_each(&mut self) {
        let number = self.expected.len();
        let path = self.take(1);
        self.script.push(format!("rm \"{path}\""));
        // Of what is gone, the path is the one that it had.
        self.expected.insert(format!("deleted {path}"));

        let from = self.path("new");
        std::fs::write(&from, self.draw.bytes(9000)).unwrap();
        self.script
            .push(format!("write {} /many/new{number}", from.display()));
        self.expect("created", &format!("/many/new{number}"), "");

        let path = self.take(1);
        self.script.push(format!("rm \"{path}\""));
        self.script
            .push(format!("write {} \"{path}\"", from.display()));
        self.expect("replaced", &path, "");

        let path = self.take(1);
        self.rename(&path, &format!("/d7/renamed {number}"));

        // Renamed, and another owner and mode.
        let path = self.take(1);
        for field in ["mode 0100711", "uid 70000", "gid 12"] {
            self.script.push(format!("sif \"{path}\" {field}"));
        }
        let to = format!("/d8/moved{number}");
        self.rename(&path, &to);
        self.expect("metadata", &to, " [\"mode\", \"uid\", \"gid\"]");

        let path = self.take(1);
        self.script
            .push(format!("ea_set \"{path}\" user.some value{number}"));
        self.expect("metadata", &path, " [\"attributes\"]");

        let path = self.take(1);
        for field in ["mtime", "ctime"] {
            self.script
                .push(format!("sif \"{path}\" {field} @1800000007"));
        }
        self.expect("metadata", &path, " [\"modified\", \"changed\"]");

        let path = self.take(1);
        self.script
            .push(format!("sif \"{path}\" atime @1800000009"));

        let path = self.take(5000);
        let bytes = self.contents[&path].len() / 3;
        self.script.push(format!("sif \"{path}\" size {bytes}"));
        self.expect("modified", &path, " []");

        // A hole where a block of 4 KiB was.
        let path = self.take(9000);
        let blocks = 4096 / self.block_bytes;
        self.script
            .push(format!("punch \"{path}\" {blocks} {}", 2 * blocks - 1));
        self.expect("modified", &path, " [4096..8192]");

        let path = self.take(1);
        let other = format!("/d9/another{number}");
        self.script.push(format!("ln \"{path}\" {other}"));
        self.script.push(format!("sif \"{path}\" links_count 2"));
        self.expect("linked", &other, "");
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.script.push(format!("ln \"{from}\" \"{to}\""));
        self.script.push(format!("unlink \"{from}\""));
        self.expected.insert(format!("renamed {from} -> {to}"));
    }

    fn directories(&mut self) {
        self.script.push("mkdir /fresh".to_owned());
        self.script.push("symlink /fresh/link ../d1/f1".to_owned());
        for path in ["/fresh", "/fresh/link"] {
            self.expect("created", path, "");
        }
        self.script.push("sif /d6 mode 040700".to_owned());
        self.expect("metadata", "/d6", " [\"mode\"]");
    }

    fn carry_out(&mut self) {
        let image = self.text("after");
        let mut asked = Vec::new();
        for (path, at, bytes) in &self.writes {
            let blocks = at / self.block_bytes..=(at + bytes.len() as u64 - 1) / self.block_bytes;
            asked.extend(blocks.map(|block| format!("bmap \"{path}\" {block}")));
        }
        let said = debugfs(&image, &asked, 1_700_000_000);
        let mut places: Vec<u64> = said.lines().filter_map(|line| line.parse().ok()).collect();
        assert_eq!(places.len(), asked.len(), "{said}");
        places.reverse();
        let file = std::fs::File::options().write(true).open(&image).unwrap();
        for (_, at, bytes) in &self.writes {
            let mut at = *at;
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                let within = at % self.block_bytes;
                let count = ((self.block_bytes - within) as usize).min(rest.len());
                let block = places.pop().unwrap();
                let (now, later) = rest.split_at(count);
                file.write_all_at(now, block * self.block_bytes + within)
                    .unwrap();
                at += count as u64;
                rest = later;
            }
        }
        debugfs(&image, &self.script, 1_750_000_000);
    }

    /// What debugfs says of blocks: whose each is, and whether it is in use.
    pub fn owners(&self, blocks: &[u64]) -> Vec<(Option<u64>, bool)> {
        let image = self.text("after");
        let list = |what: &str| -> Vec<String> {
            let lists = blocks.chunks(200).map(|some| {
                let numbers: Vec<_> = some.iter().map(u64::to_string).collect();
                format!("{what} {}", numbers.join(" "))
            });
            lists.collect()
        };
        let said = debugfs(&image, &list("icheck"), 1_750_000_000);
        let owners: BTreeMap<u64, u64> = said
            .lines()
            .filter_map(|line| {
                let (block, inode) = line.split_once('\t')?;
                Some((block.parse().ok()?, inode.trim().parse().ok()?))
            })
            .collect();
        // Of block 0, which holds the superblock or comes before it, debugfs will not say.
        let asked = blocks.iter().filter(|block| **block > 0);
        let each: Vec<_> = asked.map(|block| format!("testb {block}")).collect();
        let said = debugfs(&image, &each, 1_750_000_000);
        let lines = said.lines().filter(|line| line.starts_with("Block "));
        let mut used: Vec<bool> = lines.map(|line| !line.contains("not in use")).collect();
        assert_eq!(used.len(), each.len());
        used.reverse();
        let mut is_used = |block: u64| block == 0 || used.pop().unwrap();
        let each = blocks.iter();
        each.map(|block| (owners.get(block).copied(), is_used(*block)))
            .collect()
    }

    /// The inodes of paths, as debugfs says them.
    pub fn inodes_of(&self, paths: BTreeSet<&[u8]>) -> BTreeMap<Vec<u8>, u64> {
        let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
        let each: Vec<_> = paths
            .iter()
            .map(|path| format!("stat \"{}\"", text(path)))
            .collect();
        let said = debugfs(&self.text("after"), &each, 1_750_000_000);
        let numbers = said.lines().filter_map(|line| line.strip_prefix("Inode: "));
        let numbers: Vec<u64> = numbers
            .map(|rest| rest.split_whitespace().next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(numbers.len(), paths.len(), "{said}");
        paths
            .iter()
            .map(|path| path.to_vec())
            .zip(numbers)
            .collect()
    }
}

/// Runs a tool of e2fsprogs at a time of its clock.
fn tool(program: &str, arguments: &[&str], now: u64) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("PATH", TOOLS_PATH)
        .env("E2FSPROGS_FAKE_TIME", now.to_string())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn debugfs(image: &str, script: &[String], now: u64) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), script.join("\n") + "\n").unwrap();
    tool(
        "debugfs",
        &["-w", "-f", file.path().to_str().unwrap(), image],
        now,
    )
}
