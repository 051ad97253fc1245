//! ext2, ext3 and ext4 in all variants, as e2fsprogs makes them, against the tree that they were
//! made of and against what debugfs and dumpe2fs tell.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::ext::{
    FEATURES, Stat, check_and_repair, debugfs, groups, make, make_tree, stats, used,
};
use common::{Draw, FileSource, assert_same, read_all, run};
use disk::ext::{Class, Ext, ExtError, FileKind, FileTime, Inode};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use tempfile::TempDir;

/// Variants that are rarer, tried beside [`FEATURES`].
const RARE: &[(&str, &str)] = &[
    ("ext3 with 4 KiB blocks", "-t ext3 -b 4096"),
    (
        "1 KiB blocks in clusters",
        "-t ext4 -b 1024 -O bigalloc -C 8192",
    ),
    ("64 KiB blocks", "-t ext4 -b 65536"),
    ("no 64bit", "-t ext4 -b 4096 -O ^64bit"),
    (
        "sparse_super2",
        "-t ext4 -b 1024 -g 2048 -O sparse_super2,^resize_inode",
    ),
    ("quota", "-t ext4 -b 4096 -O quota,project"),
    ("orphan_file", "-t ext4 -b 4096 -O orphan_file"),
    ("casefold", "-t ext4 -b 4096 -O casefold"),
    ("1 KiB inodes", "-t ext4 -b 4096 -I 1024 -O inline_data"),
];

const INODES: u32 = 768;

/// A variant, made and changed, and what it was made of.
struct Made {
    name: &'static str,
    directory: TempDir,
}

impl Made {
    fn new(name: &'static str, options: &str, seed: u64) -> Self {
        let directory = TempDir::new().unwrap();
        let made = Self { name, directory };
        std::fs::create_dir(made.tree()).unwrap();
        make_tree(&made.tree(), &mut Draw(seed), 400);
        std::fs::write(made.tree().join("deleted"), vec![1; 50_000]).unwrap();
        let size = if options.contains("65536") {
            "64M"
        } else {
            "24M"
        };
        let options = format!("{options} -N {INODES}");
        make(&made.image(), &made.tree(), &options, size);
        made.change();
        check_and_repair(&made.image());
        made
    }

    fn tree(&self) -> std::path::PathBuf {
        self.directory.path().join("tree")
    }

    fn image(&self) -> std::path::PathBuf {
        self.directory.path().join("image")
    }

    fn open(&self) -> Ext {
        Ext::open(FileSource::open(&self.image()))
            .unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }

    /// What a tree on a host's disk cannot have if it is not root's.
    fn change(&self) {
        std::fs::remove_file(self.tree().join("deleted")).unwrap();
        let long = self.directory.path().join("value");
        std::fs::write(&long, self.long_value()).unwrap();
        let mut script = vec![
            "rm deleted".to_owned(),
            "mknod sda b 8 17".to_owned(),
            "mknod tty c 700 60000".to_owned(),
            "mknod pipe p".to_owned(),
            "set_inode_field bytes3000 uid 70001".to_owned(),
            "set_inode_field bytes3000 gid 70002".to_owned(),
            "set_inode_field bytes3000 generation 4711".to_owned(),
            "set_inode_field bytes3000 mtime 19330101000000".to_owned(),
            "ea_set bytes20000 user.short hello".to_owned(),
            "ea_set bytes20000 security.selinux context".to_owned(),
            "ea_set bytes1 trusted.one 1".to_owned(),
            format!("ea_set -f {} bytes20000 user.long", long.display()),
        ];
        if self.name != "128-byte inodes" {
            for field in ["mtime_extra", "ctime_extra", "atime_extra", "crtime_extra"] {
                script.push(format!("set_inode_field bytes3000 {field} 0xee6b27fd"));
            }
        }
        debugfs(&self.image(), true, &script);
    }

    /// A value that needs a block, or an inode where values may have their own.
    fn long_value(&self) -> Vec<u8> {
        let bytes = match self.name {
            // More than a block has room for, and as much as debugfs reads.
            "ea_inode" => 4096,
            _ => 700,
        };
        Draw(5).bytes(bytes)
    }
}

/// Everything on the host's disk below `root`, by path.
fn listed(root: &Path, path: &Path, found: &mut BTreeMap<Vec<u8>, std::fs::Metadata>) {
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            listed(root, &path, found);
        }
        let below = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
        found.insert([b"/", below].concat(), metadata);
    }
}

fn check_tree(made: &Made, ext: &Ext) {
    let what = made.name;
    let mut expected = BTreeMap::new();
    listed(&made.tree(), &made.tree(), &mut expected);
    let mut paths: BTreeSet<Vec<u8>> = expected.keys().cloned().collect();
    for more in ["/", "/lost+found", "/sda", "/tty", "/pipe"] {
        paths.insert(more.into());
    }
    let mut found = BTreeMap::new();
    for entry in ext.walk() {
        let entry = entry.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(found.insert(entry.path, entry.inode).is_none(), "{what}");
    }
    let found_paths: BTreeSet<_> = found.keys().cloned().collect();
    let difference: Vec<_> = found_paths.symmetric_difference(&paths).collect();
    assert!(difference.is_empty(), "{what}: {difference:?}");
    for (path, metadata) in &expected {
        let inode = &found[path];
        let name = format!("{what}: {}", String::from_utf8_lossy(path));
        assert_eq!(u32::from(inode.mode), metadata.mode(), "{name}");
        let on_host = made.tree().join(std::ffi::OsStr::from_bytes(&path[1..]));
        match inode.kind() {
            FileKind::File => {
                let bytes = std::fs::read(on_host).unwrap();
                let file = ext.open_file(inode).unwrap();
                assert_same(&read_all(&file), &bytes, &name);
                assert_eq!(u64::from(inode.links), metadata.nlink(), "{name}");
            }
            FileKind::Symlink => {
                let target = std::fs::read_link(on_host).unwrap();
                let found = ext.link_target(inode).unwrap();
                assert_eq!(found, target.as_os_str().as_bytes(), "{name}");
            }
            _ => assert!(metadata.is_dir(), "{name}"),
        }
        assert_eq!(ext.find(path).unwrap(), *inode, "{name}");
    }
    assert_eq!(found[&b"/sda"[..]].device(), Some((8, 17)), "{what}");
    assert_eq!(found[&b"/tty"[..]].device(), Some((700, 60_000)), "{what}");
    assert_eq!(found[&b"/pipe"[..]].kind(), FileKind::Fifo, "{what}");
    check_attributes(made, ext, &found);
}

fn check_attributes(made: &Made, ext: &Ext, found: &BTreeMap<Vec<u8>, Inode>) {
    let long = made.long_value();
    for (path, inode) in found {
        let attributes = ext.attributes(inode).unwrap();
        let pairs = attributes.into_iter().map(|one| (one.name, one.value));
        let pairs: BTreeMap<_, _> = pairs.collect();
        let expected: &[(&[u8], &[u8])] = match &path[..] {
            b"/bytes20000" => &[
                (b"user.short", b"hello"),
                (b"security.selinux", b"context"),
                (b"user.long", &long),
            ],
            b"/bytes1" => &[(b"trusted.one", b"1")],
            _ => &[],
        };
        let expected = expected
            .iter()
            .map(|(name, value)| (name.to_vec(), value.to_vec()));
        assert!(pairs == expected.collect(), "{}: {path:?}", made.name);
    }
}

/// A time as debugfs tells it: seconds, and what follows them, in hexadecimal.
fn hexadecimal(time: FileTime, has_extra: bool) -> String {
    let epoch = (time.seconds - i64::from(time.seconds as i32)) >> 32;
    let extra = time.nanoseconds << 2 | epoch as u32;
    match has_extra {
        true => format!("{:#010x}:{extra:08x}", time.seconds as u32),
        false => format!("{:#010x}", time.seconds as u32),
    }
}

fn check_stat(made: &Made, ext: &Ext, inode: &Inode, stat: &Stat) {
    let what = format!("{}: inode {}", made.name, inode.number);
    let check = |key: &str, found: String| {
        let expected = stat.fields.get(key);
        assert_eq!(Some(&found), expected, "{what}: {key}");
    };
    check("Mode:", format!("0{:03o}", inode.mode & 0o7777));
    check("Flags:", format!("{:#x}", inode.flags));
    check("Generation:", inode.generation.to_string());
    check("User:", inode.uid.to_string());
    check("Group:", inode.gid.to_string());
    check("Size:", inode.size_bytes.to_string());
    check("ACL:", inode.attributes_block.to_string());
    check("Links:", inode.links.to_string());
    check("Blockcount:", inode.sectors.to_string());
    let has_extra = inode.born.is_some();
    check("ctime:", hexadecimal(inode.changed, has_extra));
    check("mtime:", hexadecimal(inode.modified, has_extra));
    check("atime:", hexadecimal(inode.accessed, has_extra));
    if let Some(born) = inode.born {
        check("crtime:", hexadecimal(born, true));
    }
    let map = ext.map(inode).unwrap();
    let blocks = |extents: &mut dyn Iterator<Item = (u64, u64, u64, bool)>| -> Vec<_> {
        let each = extents.flat_map(|(first, last, start, written)| {
            (first..=last).map(move |logical| (logical, start + logical - first, written))
        });
        each.collect()
    };
    let mut found = map
        .extents
        .iter()
        .map(|one| (one.logical, one.end() - 1, one.physical, !one.unwritten));
    let mut told = stat.extents.iter().copied();
    assert_eq!(blocks(&mut found), blocks(&mut told), "{what}");
    let nodes: BTreeSet<_> = map.nodes.iter().collect();
    assert_eq!(nodes, stat.nodes.iter().collect(), "{what}");
}

/// What every block is by what the tools tell: class, inode, block of the file.
fn told(
    made: &Made,
    stats: &BTreeMap<u32, Stat>,
    blocks: u64,
) -> Vec<(String, Option<u32>, Option<u64>)> {
    let used = used(&made.image(), blocks);
    let bare = |class: &str| (class.to_owned(), None, None);
    let mut told: Vec<_> = used
        .iter()
        .map(|used| bare(if *used { "Unowned" } else { "Free" }))
        .collect();
    for (number, stat) in stats {
        let class = match (number, stat.fields["Type:"].as_str()) {
            (7, _) => continue,
            (8, _) => "Journal",
            (_, "directory") => "Directory",
            (_, "symlink") => "Symlink",
            // Values of attributes are told as files, with a flag.
            _ if stat.fields["Flags:"] == "0x280000" => "Attributes",
            (_, "regular") => "File",
            _ => continue,
        };
        for (first, last, start, _) in &stat.extents {
            for logical in *first..=*last {
                let block = (start + logical - first) as usize;
                let logical = (class != "Attributes").then_some(logical);
                told[block] = (class.to_owned(), Some(*number), logical);
            }
        }
        for node in &stat.nodes {
            told[*node as usize] = ("Map".to_owned(), Some(*number), None);
        }
        match stat.fields["ACL:"].parse::<usize>().unwrap() {
            0 => {}
            block => told[block] = ("Attributes".to_owned(), Some(*number), None),
        }
    }
    for (block, class) in groups(&made.image()) {
        told[block as usize] = bare(class);
    }
    for node in stats.get(&7).into_iter().flat_map(|stat| &stat.nodes) {
        told[*node as usize] = bare("Descriptors");
    }
    told
}

fn check_layout(made: &Made, ext: &Ext, stats: &BTreeMap<u32, Stat>) {
    let layout = ext.layout().unwrap();
    assert!(layout.damaged().is_empty(), "{}", made.name);
    let blocks = ext.superblock().blocks;
    let first = u64::from(ext.superblock().block_bytes == 1024);
    for (block, told) in (0..).zip(told(made, stats, blocks)).skip(first as usize) {
        let owner = layout.at(block);
        let class = format!("{:?}", owner.class);
        let bare = owner.class == Class::Descriptors;
        let inode = if bare { None } else { owner.inode };
        let found = (class, inode, owner.logical);
        assert_eq!(found, told, "{}: block {block}", made.name);
    }
    assert_eq!(layout.at(blocks).class, Class::Outside);
}

fn check_variants(from: usize, step: usize) {
    for (index, (name, options)) in FEATURES
        .iter()
        .chain(RARE)
        .enumerate()
        .skip(from)
        .step_by(step)
    {
        let made = Made::new(name, options, index as u64);
        let ext = made.open();
        assert!(ext.replay().is_none());
        check_tree(&made, &ext);
        let stats = stats(&made.image(), ext.superblock().inodes);
        for (number, stat) in &stats {
            let inode = ext.inode(*number).unwrap();
            if inode.mode != 0 && *number != 7 {
                check_stat(&made, &ext, &inode, stat);
            }
        }
        check_layout(&made, &ext, &stats);
    }
}

#[test]
fn the_first_half_of_variants_reads_as_it_was_made() {
    check_variants(0, 2);
}

#[test]
fn the_other_half_of_variants_reads_as_it_was_made() {
    check_variants(1, 2);
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let image = directory.path().join("image");
    let path = image.to_str().unwrap();
    run("mke2fs", &["-q", "-F", "-O", "journal_dev", path, "8M"]);
    let refused = Ext::open(FileSource::open(&image)).unwrap_err();
    assert!(matches!(refused, ExtError::JournalDevice));
    let zeros: std::sync::Arc<Vec<u8>> = std::sync::Arc::new(vec![0; 8192]);
    assert!(matches!(Ext::open(zeros), Err(ExtError::NotExt(0))));
    let short: std::sync::Arc<Vec<u8>> = std::sync::Arc::new(vec![0; 1500]);
    assert!(matches!(Ext::open(short), Err(ExtError::Read { .. })));
}

#[test]
fn names_that_are_encrypted_are_told_in_hexadecimal() {
    let directory = TempDir::new().unwrap();
    let tree = directory.path().join("tree/few");
    std::fs::create_dir_all(&tree).unwrap();
    std::fs::write(tree.join("one"), b"1").unwrap();
    let image = directory.path().join("image");
    make(
        &image,
        tree.parent().unwrap(),
        "-t ext4 -b 4096 -O encrypt",
        "8M",
    );
    // The flag alone makes the kernel, and us, take the names for encrypted ones.
    debugfs(
        &image,
        true,
        &["set_inode_field few flags 0x80800".to_owned()],
    );
    let ext = Ext::open(FileSource::open(&image)).unwrap();
    let paths: Vec<_> = ext.walk().map(|entry| entry.unwrap().path).collect();
    assert!(paths.contains(&b"/few/6f6e65".to_vec()), "{paths:?}");
    assert!(!paths.contains(&b"/few/one".to_vec()));
}
