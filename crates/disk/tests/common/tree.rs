//! A directory of the host, and what a file system that was made of it must tell.

use super::Draw;
use disk::ReadError;
use disk::system::{Class, Extent, FileKind, FileSystem, Object};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

/// What is found under a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Node {
    Directory,
    /// Its bytes.
    File(Vec<u8>),
    /// Its target.
    Symlink(Vec<u8>),
    Other,
}

/// All paths, and what is under them.
pub type Nodes = BTreeMap<Vec<u8>, Node>;

/// What is below a directory of the host.
pub fn on_host(directory: &Path) -> Nodes {
    let mut nodes = Nodes::from([(b"/".to_vec(), Node::Directory)]);
    let mut waiting = vec![(directory.to_path_buf(), String::new())];
    while let Some((directory, above)) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let path = format!("{above}/{}", entry.file_name().to_str().unwrap());
            let kind = entry.file_type().unwrap();
            let node = if kind.is_dir() {
                waiting.push((entry.path(), path.clone()));
                Node::Directory
            } else if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).unwrap();
                Node::Symlink(target.into_os_string().into_encoded_bytes())
            } else if kind.is_file() {
                Node::File(std::fs::read(entry.path()).unwrap())
            } else {
                Node::Other
            };
            nodes.insert(path.into_bytes(), node);
        }
    }
    nodes
}

/// All objects by their numbers. Nothing may be damaged.
pub fn objects(system: &dyn FileSystem) -> BTreeMap<u64, Object> {
    let mut objects = BTreeMap::new();
    let mut last = None;
    system
        .objects(&mut |object| {
            let object = object.unwrap();
            assert!(
                last < Some(object.number),
                "{} is out of order",
                object.number
            );
            last = Some(object.number);
            if let Some(damage) = &object.damage {
                panic!("object {}: {damage}", object.number);
            }
            objects.insert(object.number, object);
            ControlFlow::Continue(())
        })
        .unwrap();
    objects
}

/// All paths with the numbers that they lead to.
pub fn paths(system: &dyn FileSystem, objects: &BTreeMap<u64, Object>) -> BTreeMap<Vec<u8>, u64> {
    let mut paths = BTreeMap::from([(b"/".to_vec(), system.root())]);
    let mut waiting = vec![(system.root(), Vec::new())];
    let mut budget = system.source_bytes();
    while let Some((directory, above)) = waiting.pop() {
        let mut names = Vec::new();
        let mut take = |name: &[u8], number| names.push((name.to_vec(), number));
        system.names(directory, &mut budget, &mut take).unwrap();
        for (name, number) in names {
            let path = [&above[..], b"/", &name].concat();
            let object = objects.get(&number);
            let object = object.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&path)));
            if object.kind == FileKind::Directory {
                waiting.push((number, path.clone()));
            }
            assert_eq!(paths.insert(path, number), None, "a name is told twice");
        }
    }
    paths
}

/// The bytes of an object.
pub fn content(system: &dyn FileSystem, object: &Object) -> Result<Vec<u8>, ReadError> {
    let size = object.size_bytes as usize;
    if let Some(inline) = &object.inline {
        let mut bytes = inline.clone();
        bytes.resize(size, 0);
        return Ok(bytes);
    }
    let mut bytes = vec![0; size];
    let block = system.block_bytes();
    for extent in object.extents.iter().filter(|extent| !extent.unwritten) {
        let start = (extent.logical * block) as usize;
        let end = (extent.end() * block).min(size as u64) as usize;
        if start < end {
            system.read(extent.physical * block, &mut bytes[start..end])?;
        }
    }
    Ok(bytes)
}

/// What a file system tells, in the same form.
pub fn told(system: &dyn FileSystem) -> Nodes {
    let objects = objects(system);
    let paths = paths(system, &objects);
    let node = |number: &u64| {
        let object = &objects[number];
        match object.kind {
            FileKind::Directory => Node::Directory,
            FileKind::File => Node::File(content(system, object).unwrap()),
            FileKind::Symlink => Node::Symlink(object.target.clone()),
            _ => Node::Other,
        }
    };
    paths
        .iter()
        .map(|(path, number)| (path.clone(), node(number)))
        .collect()
}

/// Fails with the first paths that differ, and not with their bytes.
pub fn assert_same_nodes(found: &Nodes, expected: &Nodes) {
    let differs = |one: &Nodes, other: &Nodes| {
        let paths = one
            .iter()
            .filter(|(path, node)| other.get(*path) != Some(node));
        let paths = paths.map(|(path, _)| String::from_utf8_lossy(path).into_owned());
        paths.take(10).collect::<Vec<_>>()
    };
    let (wrong, missing) = (differs(found, expected), differs(expected, found));
    assert!(
        wrong.is_empty() && missing.is_empty(),
        "found {} of {}; wrong {wrong:?}, missing {missing:?}",
        found.len(),
        expected.len()
    );
}

/// Holds the layout to the objects: each block is one thing, and what an object has is its own.
/// Gives how many blocks each class has.
pub fn classes(system: &dyn FileSystem) -> BTreeMap<String, u64> {
    let layout = system.layout().unwrap();
    let blocks = system.source_bytes() / system.block_bytes();
    for (number, object) in objects(system) {
        let owner = Some(number);
        let data = object.extents.iter().map(|extent: &Extent| {
            (
                object.class,
                extent.physical..extent.physical + u64::from(extent.blocks),
            )
        });
        let others = object
            .others
            .iter()
            .map(|(class, run)| (*class, run.start..run.start + run.blocks));
        for (class, run) in data.chain(others) {
            for block in run.filter(|block| *block < blocks) {
                let told = layout.at(block);
                assert_eq!((told.class, told.object), (class, owner), "block {block}");
            }
        }
    }
    let mut classes = BTreeMap::new();
    for block in 0..blocks {
        let class = layout.at(block).class;
        *classes.entry(format!("{class:?}")).or_default() += 1;
    }
    assert_eq!(layout.at(blocks + 8).class, Class::Outside);
    classes
}

/// Fills a directory with what is hard to read: long names, many names, empty and large files.
pub fn fill(directory: &Path, seed: u64, files: usize) {
    let mut draw = Draw(seed);
    let below = directory.join("Some Directory/with a long name that needs more than one entry");
    std::fs::create_dir_all(&below).unwrap();
    std::fs::create_dir(directory.join("many")).unwrap();
    std::fs::create_dir(directory.join("empty")).unwrap();
    std::fs::write(directory.join("nothing"), b"").unwrap();
    std::fs::write(directory.join("README.TXT"), b"short\n").unwrap();
    std::fs::write(below.join("groß – 漢字.bin"), draw.bytes(70_000)).unwrap();
    std::fs::write(below.join("large"), draw.bytes(3_000_000)).unwrap();
    std::fs::write(below.join("n".repeat(200)), draw.bytes(4096)).unwrap();
    for number in 0..files {
        let bytes = draw.below(9000);
        let bytes = draw.bytes(bytes);
        std::fs::write(
            directory.join(format!("many/file number {number}.dat")),
            bytes,
        )
        .unwrap();
    }
}

/// A hole between two parts of a file.
pub fn fill_sparse(directory: &Path) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(directory.join("sparse")).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"end", 5_000_000).unwrap();
}

/// Links and special files, where they can be.
pub fn fill_links(directory: &Path) {
    use std::os::unix::fs::symlink;
    symlink("many/file number 0.dat", directory.join("short link")).unwrap();
    symlink("x".repeat(900), directory.join("long link")).unwrap();
    std::fs::hard_link(directory.join("README.TXT"), directory.join("second name")).unwrap();
}
