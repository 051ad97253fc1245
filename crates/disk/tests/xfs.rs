//! XFS, held to what mkfs.xfs made and xfs_db tells.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;

use common::tree;
use common::{FileSource, run};
use disk::system::{Class, FileSystem, SystemError};
use disk::xfs::Xfs;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// The description of a directory that mkfs.xfs reads, which ends names at blanks.
fn describe(directory: &Path, proto: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_str().unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            writeln!(proto, "{name} d--755 3 4").unwrap();
            describe(&path, proto);
            proto.push_str("$\n");
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            writeln!(proto, "{name} l--777 0 0 {}", target.display()).unwrap();
        } else {
            writeln!(proto, "{name} -u-640 1 2 {}", path.display()).unwrap();
        }
    }
}

fn fill(directory: &Path, files: usize) {
    let spaced = directory.with_extension("spaced");
    std::fs::create_dir_all(&spaced).unwrap();
    tree::fill(&spaced, 3, files);
    std::fs::create_dir_all(directory).unwrap();
    for (path, node) in tree::on_host(&spaced) {
        let path = String::from_utf8(path).unwrap().replace(' ', "_");
        let path = directory.join(path.trim_start_matches('/'));
        match node {
            tree::Node::Directory => std::fs::create_dir_all(&path).unwrap(),
            tree::Node::File(bytes) => std::fs::write(&path, bytes).unwrap(),
            _ => unreachable!(),
        }
    }
    std::os::unix::fs::symlink("many/file", directory.join("link")).unwrap();
}

/// Makes an image of a directory.
fn make(image: &Path, from: &Path, options: &str) {
    let mut proto = "/\n0 0\nd--755 0 0\n".to_owned();
    describe(from, &mut proto);
    proto.push_str("$\n");
    let described = image.with_extension("proto");
    std::fs::write(&described, proto).unwrap();
    let file = std::fs::File::create(image).unwrap();
    file.set_len(400 << 20).unwrap();
    let mut arguments = vec!["-q", "-f", "-p", described.to_str().unwrap()];
    arguments.extend(options.split_whitespace());
    arguments.push(image.to_str().unwrap());
    run("mkfs.xfs", &arguments);
}

/// Answers of xfs_db.
fn ask(image: &Path, commands: &[String]) -> String {
    let mut arguments = vec!["-r"];
    for command in commands {
        arguments.extend(["-c", command]);
    }
    arguments.push(image.to_str().unwrap());
    run("xfs_db", &arguments)
}

const KINDS: [&str; 6] = [
    "",
    "-b size=1024",
    "-m crc=0 -n ftype=0",
    "-i size=2048 -n size=16384 -d agcount=3",
    "-m rmapbt=1,reflink=1,bigtime=1,inobtcount=1 -i nrext64=1",
    "-m crc=1,finobt=0,reflink=0 -i sparse=0 -n size=65536",
];

#[test]
fn what_was_put_in_is_told() {
    let directory = TempDir::new().unwrap();
    let from = directory.path().join("tree");
    fill(&from, 600);
    let expected = tree::on_host(&from);
    for (index, options) in KINDS.into_iter().enumerate() {
        let image = directory.path().join(format!("image{index}"));
        make(&image, &from, options);
        let xfs = Xfs::open(FileSource::open(&image)).unwrap();
        assert!(xfs.notes().is_empty(), "{options}: {:?}", xfs.notes());
        tree::assert_same_nodes(&tree::told(&xfs), &expected);
        let classes = tree::classes(&xfs);
        let said = ask(&image, &["sb 0".into(), "p fdblocks dblocks".into()]);
        let field = |name: &str| {
            let line = said.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()
        };
        // What is kept for the trees of free space counts as free there.
        let kept = classes["BlockBitmap"];
        let free = classes["Free"];
        assert!(
            (free..=free + kept).contains(&field("fdblocks")),
            "{options}: {classes:?} {said}"
        );
        assert_eq!(classes.get("Unowned"), None, "{options}: {classes:?}");
        inodes(&image, &xfs);
        std::fs::remove_file(&image).unwrap();
    }
}

/// Holds some inodes to what xfs_db says of them.
fn inodes(image: &Path, xfs: &Xfs) {
    let objects = tree::objects(xfs);
    let some: Vec<_> = objects.values().step_by(25).collect();
    let mut commands = Vec::new();
    for object in &some {
        commands.push(format!("inode {}", object.number));
        commands.push("p core.mode core.uid core.gid core.size core.nlinkv2 core.gen".to_owned());
        commands.push("p core.mtime.sec core.mtime.nsec".to_owned());
    }
    let said = ask(image, &commands);
    let mut values = said
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .map(|(_, value)| value);
    for object in some {
        let mut next = || values.next().unwrap();
        assert_eq!(next(), format!("0{:o}", object.mode));
        assert_eq!(next(), object.uid.to_string());
        assert_eq!(next(), object.gid.to_string());
        assert_eq!(next(), object.size_bytes.to_string());
        assert_eq!(next(), object.links.to_string());
        assert_eq!(next(), object.generation.to_string());
        let _date = next();
        assert_eq!(next().parse(), Ok(object.modified.nanoseconds));
    }
    assert_eq!(values.next(), None);
}

#[test]
fn blocks_are_whose_xfs_db_says() {
    let directory = TempDir::new().unwrap();
    let from = directory.path().join("tree");
    fill(&from, 100);
    let image = directory.path().join("image");
    make(&image, &from, "-b size=1024");
    let xfs = Xfs::open(FileSource::open(&image)).unwrap();
    let layout = xfs.layout().unwrap();
    let mut commands = vec!["blockget -n".to_owned()];
    let blocks: Vec<u64> = (0..409_600u64).step_by(997).collect();
    for block in &blocks {
        commands.push(format!("daddr {}", block * 2));
        commands.push("blockuse -n".to_owned());
    }
    let said = ask(&image, &commands);
    let said: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("block "))
        .collect();
    assert_eq!(said.len(), blocks.len());
    let mut kinds = std::collections::BTreeSet::new();
    for (block, line) in blocks.iter().zip(said) {
        let owner = layout.at(*block);
        let words: Vec<_> = line.split_whitespace().collect();
        let kind = words[4];
        let expected: &[Class] = match kind {
            "free1" | "free2" => &[Class::Free],
            "freelist" | "btbno" | "btcnt" | "btrmap" | "btrefcnt" => &[Class::BlockBitmap],
            "btino" | "btfino" => &[Class::InodeBitmap],
            "inode" => &[Class::InodeTable],
            "log" => &[Class::Journal],
            "data" => &[Class::File],
            "dir" => &[Class::Directory],
            "symlink" => &[Class::Symlink],
            "sb" | "agf" | "agi" | "agfl" => &[Class::Superblock, Class::Descriptors],
            other => panic!("{other}: {line}"),
        };
        assert!(expected.contains(&owner.class), "{line}: {owner:?}");
        if let Some(place) = words
            .iter()
            .position(|word| *word == "inode")
            .filter(|place| *place > 4)
        {
            assert_eq!(
                owner.object.map(|number| number.to_string()).as_deref(),
                Some(words[place + 1])
            );
        }
        kinds.insert(kind.to_owned());
    }
    assert!(kinds.len() >= 4, "{kinds:?}");
}

#[test]
fn what_is_no_xfs_is_said() {
    let error = Xfs::open(Arc::new(vec![0; 4096])).unwrap_err();
    assert!(matches!(error, SystemError::Not { .. }), "{error}");
    let mut newer = vec![0; 4096];
    newer[..4].copy_from_slice(b"XFSB");
    newer[101] = 6;
    let error = Xfs::open(Arc::new(newer)).unwrap_err();
    assert!(matches!(error, SystemError::Features { .. }), "{error}");
}
