//! ext file systems that e2fsprogs makes, and what debugfs and dumpe2fs say of them.

use super::{Draw, TOOLS_PATH, run};
use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// What mke2fs is told, by the name of the variant that a reader of ext is measured by. Inodes of 128
/// bytes have no place for times beyond seconds, and none for the time of birth.
pub const FEATURES: [(&str, &str); 16] = [
    ("ext2", "-t ext2 -b 4096"),
    ("ext3", "-t ext3 -b 1024"),
    ("ext4", "-t ext4 -b 4096"),
    ("1 KiB blocks", "-t ext4 -b 1024"),
    ("2 KiB blocks", "-t ext4 -b 2048"),
    ("lists in ext4", "-t ext4 -b 1024 -O ^extent,^64bit"),
    ("inline_data", "-t ext4 -b 4096 -O inline_data"),
    ("bigalloc", "-t ext4 -b 4096 -O bigalloc -C 16384"),
    (
        "meta_bg",
        "-t ext4 -b 1024 -g 1024 -O meta_bg,^resize_inode",
    ),
    ("flex_bg 16", "-t ext4 -b 1024 -g 2048 -G 16"),
    ("no metadata_csum", "-t ext4 -b 4096 -O ^metadata_csum"),
    (
        "metadata_csum_seed",
        "-t ext4 -b 4096 -O metadata_csum_seed",
    ),
    ("encrypt", "-t ext4 -b 4096 -O encrypt"),
    ("ea_inode", "-t ext4 -b 4096 -O ea_inode"),
    ("128-byte inodes", "-t ext4 -b 4096 -I 128"),
    ("large_dir", "-t ext4 -b 1024 -O large_dir"),
];

/// Runs debugfs with a script and gives what it says.
pub fn debugfs(image: &Path, write: bool, script: &[String]) -> String {
    let commands = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(commands.path(), script.join("\n") + "\n").unwrap();
    let mut arguments = if write { vec!["-w"] } else { Vec::new() };
    arguments.extend(["-f", commands.path().to_str().unwrap()]);
    arguments.push(image.to_str().unwrap());
    run("debugfs", &arguments)
}

/// Lets e2fsck put right and hash what debugfs has left; it must be content with a second look.
pub fn check_and_repair(image: &Path) {
    let ended = |options: &str| {
        let mut command = Command::new("e2fsck");
        command.args([options, image.to_str().unwrap()]);
        let output = command.env("PATH", TOOLS_PATH).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), said)
    };
    let (code, said) = ended("-fyD");
    assert!(code <= 1, "{code}: {said}");
    let (code, said) = ended("-fn");
    assert_eq!(code, 0, "{said}");
}

/// A tree with files of all sizes, holes, links and many names.
pub fn make_tree(root: &Path, draw: &mut Draw, names: usize) {
    let write = |name: &str, bytes: &[u8]| std::fs::write(root.join(name), bytes).unwrap();
    for bytes in [0, 1, 59, 60, 61, 100, 150, 3000, 5000, 20_000, 300_000] {
        write(&format!("bytes{bytes}"), &draw.bytes(bytes));
    }
    // Every second block of 4 KiB, and one so far out that it needs three lists.
    for (name, step, count) in [("pieces", 8192, 400), ("far", 35 << 20, 3)] {
        let mut file = std::fs::File::create(root.join(name)).unwrap();
        for piece in 0..count {
            file.seek(SeekFrom::Start(piece * step)).unwrap();
            file.write_all(&draw.bytes(4096)).unwrap();
        }
    }
    std::fs::create_dir_all(root.join("a/b/c/d/empty")).unwrap();
    std::fs::create_dir(root.join("many")).unwrap();
    std::fs::create_dir(root.join("few")).unwrap();
    write("few/one", b"1");
    for number in 0..names {
        let name = "x".repeat(number % 60);
        write(
            &format!("many/{number}-{name}"),
            number.to_string().as_bytes(),
        );
    }
    write(&format!("a/{}", "n".repeat(255)), b"a long name");
    write("a/b/Größe", "größer".as_bytes());
    for bytes in [1, 59, 60, 61, 200, 1000] {
        symlink("t".repeat(bytes), root.join(format!("a/link{bytes}"))).unwrap();
    }
    std::fs::hard_link(root.join("bytes5000"), root.join("a/b/second")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o4751);
    std::fs::set_permissions(root.join("bytes100"), mode).unwrap();
}

/// Makes a file system of a tree.
pub fn make(image: &Path, tree: &Path, options: &str, size: &str) {
    let mut arguments = vec!["-q", "-F", "-d", tree.to_str().unwrap()];
    arguments.extend(options.split_whitespace());
    arguments.extend([image.to_str().unwrap(), size]);
    run("mke2fs", &arguments);
}

/// What debugfs says of an inode.
#[derive(Clone, Debug, Default)]
pub struct Stat {
    pub fields: BTreeMap<String, String>,
    /// First and last block of the file, first block of the file system, whether it was written.
    pub extents: Vec<(u64, u64, u64, bool)>,
    pub nodes: Vec<u64>,
}

/// The words of a line of `stat` that are followed by a value.
const KEYS: [&str; 16] = [
    "Inode:",
    "Type:",
    "Mode:",
    "Flags:",
    "Generation:",
    "Version:",
    "User:",
    "Group:",
    "Project:",
    "Size:",
    "ACL:",
    "Links:",
    "Blockcount:",
    "ctime:",
    "mtime:",
    "atime:",
];

/// All inodes that are in use by their bitmap, as debugfs tells them.
pub fn stats(image: &Path, inodes: u32) -> BTreeMap<u32, Stat> {
    let each = |what: &str| -> Vec<_> { (1..=inodes).map(|n| format!("{what} <{n}>")).collect() };
    let said = debugfs(image, false, &each("testi"));
    let used = said
        .lines()
        .filter(|line| line.contains("is marked in use"));
    let used: Vec<u32> = used
        .map(|line| line.split(' ').nth(1).unwrap().parse().unwrap())
        .collect();
    let script: Vec<_> = used
        .iter()
        .map(|number| format!("stat <{number}>"))
        .collect();
    let said = debugfs(image, false, &script);
    let parts = said.split("debugfs: stat").skip(1).map(stat);
    let stats: BTreeMap<_, _> = used.iter().copied().zip(parts).collect();
    assert_eq!(stats.len(), used.len());
    for (number, stat) in &stats {
        assert_eq!(stat.fields["Inode:"], number.to_string());
    }
    stats
}

fn stat(said: &str) -> Stat {
    let mut stat = Stat::default();
    let (head, blocks) = match said
        .split_once("EXTENTS:\n")
        .or(said.split_once("BLOCKS:\n"))
    {
        Some((head, blocks)) => (head, blocks.lines().next().unwrap_or_default()),
        None => (said, ""),
    };
    let words: Vec<_> = head.split_whitespace().collect();
    for pair in words.windows(2) {
        let key = pair[0];
        if KEYS.contains(&key) || key == "crtime:" {
            stat.fields
                .entry(key.to_owned())
                .or_insert(pair[1].to_owned());
        }
    }
    for part in blocks.split(", ").filter(|part| !part.trim().is_empty()) {
        let (label, place) = part
            .trim()
            .split_once("):")
            .unwrap_or_else(|| panic!("{part}"));
        let label = &label[1..];
        let first = |text: &str| text.split('-').next().unwrap().parse::<u64>().unwrap();
        if label.contains("ETB") || label.contains("IND") {
            stat.nodes.push(first(place));
            continue;
        }
        let unwritten = label.contains("[u]");
        let label = label.replace("[u]", "");
        let last = label.split('-').next_back().unwrap().parse().unwrap();
        stat.extents
            .push((first(&label), last, first(place), !unwritten));
    }
    stat
}

/// What dumpe2fs tells of the groups: for each block that is no file's, a word for its class.
pub fn groups(image: &Path) -> BTreeMap<u64, &'static str> {
    let said = run("dumpe2fs", &[image.to_str().unwrap()]);
    let mut found = BTreeMap::new();
    for line in said.lines().filter(|line| line.starts_with("  ")) {
        for part in line.trim().split(", ") {
            let Some((what, place)) = part.split_once(" at ") else {
                continue;
            };
            let class = match what {
                "Primary superblock" | "Backup superblock" => "Superblock",
                "Group descriptors" | "Group descriptor" | "Reserved GDT blocks" => "Descriptors",
                "Block bitmap" => "BlockBitmap",
                "Inode bitmap" => "InodeBitmap",
                "Inode table" => "InodeTable",
                _ => continue,
            };
            let place = place.split(' ').next().unwrap();
            let (first, last) = place.split_once('-').unwrap_or((place, place));
            let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
            found.extend((first..=last).map(|block| (block, class)));
        }
    }
    found
}

/// Whether each block is in use by its bitmap.
pub fn used(image: &Path, blocks: u64) -> Vec<bool> {
    let said = debugfs(image, false, &[format!("testb 1 {}", blocks - 1)]);
    let lines = said.lines().filter(|line| line.starts_with("Block "));
    let mut used = vec![true];
    used.extend(lines.map(|line| !line.contains("not in use")));
    assert_eq!(used.len() as u64, blocks);
    used
}
