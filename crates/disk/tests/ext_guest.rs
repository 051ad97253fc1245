//! ext2, ext3 and ext4 as a Linux kernel makes them, in one guest with a disk for each variant: what
//! we read of the disks must be what the guest's kernel itself tells of them, and a disk that lost
//! its power must read as what had been made durable.
//!
//! ```text
//! mke2fs ─► empty disks ─► guest: mount, make a tree, unmount, mount, list, unmount ─► list ─┐
//!                 │                                                             equal, line by line
//!                 ├───────────────────────────────────────────────► our reader ─► list ─────┘
//!                 └─► guest: make files, rename, fsync, power loss ─► our reader: all are there
//! ```

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod common;
mod guest_tree;

use common::ext::{FEATURES, debugfs};
use common::{FileSource, run};
use disk::ext::{Ext, FileKind, FileTime, WrongSums};
use std::path::{Path, PathBuf};
use workshop::inside::{self, Entry};
use workshop::{Disk, Workshop};

/// How large each disk is; what is not written takes no place.
const DISK_BYTES: u64 = 64 << 20;

/// An empty file system of a variant.
fn make(path: &Path, options: &str) -> Disk {
    let disk = Disk::create(path, DISK_BYTES).unwrap();
    let mut arguments = vec!["-q", "-F", "-N", "2048"];
    arguments.extend(options.split(' '));
    arguments.push(path.to_str().unwrap());
    run("mke2fs", &arguments);
    disk
}

/// What a kernel has written has the sums that it says.
fn assert_sums(ext: &Ext) {
    ext.check_bitmaps();
    let used = ext.inodes().unwrap().map(Result::unwrap);
    for inode in used.filter(|inode| inode.mode != 0) {
        assert!(!inode.has_wrong_sum, "inode {}", inode.number);
    }
    assert_eq!(ext.wrong_sums(), WrongSums::default());
}

/// What the guest does: each disk is listed after it was mounted anew, so that nothing comes from
/// memory.
fn script() -> String {
    let mut script = String::new();
    for (number, (name, options)) in FEATURES.iter().enumerate() {
        let disk = char::from(b'a' + number as u8);
        let kind = options.split(' ').nth(1).unwrap();
        let name = name.replace(' ', "-");
        script += &format!(
            "mount -t {kind} /dev/vd{disk} /mnt
             hand make {number} {name}
             umount /mnt
             mount -t {kind} -o ro,noatime /dev/vd{disk} /mnt
             hand list
             umount /mnt
             mark {name}\n"
        );
    }
    let disk = char::from(b'a' + FEATURES.len() as u8);
    script
        + &format!(
            "mount -t ext4 -o nodelalloc,commit=1000 /dev/vd{disk} /mnt
             hand before
             umount /mnt
             mount -t ext4 -o nodelalloc,commit=1000 /dev/vd{disk} /mnt
             hand new
             mark durable
             sleep 1000"
        )
}

/// Runs inside the guest: see `workshop::inside`.
#[test]
#[ignore = "runs inside a guest, which another test boots"]
fn inside_a_guest() {
    let order = inside::order();
    let root = Path::new("/mnt");
    match &order.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["make", number, name] => guest_tree::make(root, number.parse().unwrap(), name),
        ["before"] => guest_tree::before(root),
        ["new"] => guest_tree::new_files(root),
        ["list"] => {
            let listed = inside::list(root).unwrap();
            let lines: Vec<_> = listed.iter().map(|entry| format!("{entry}\n")).collect();
            inside::tell(lines.concat().as_bytes()).unwrap();
        }
        other => panic!("{other:?}"),
    }
}

/// The same list by our own reader.
fn listed(image: &Path) -> Vec<Entry> {
    let ext = Ext::open(FileSource::open(image)).unwrap();
    assert!(ext.replay().is_none());
    let mut listed: Vec<_> = ext.walk().map(|entry| told(&ext, entry.unwrap())).collect();
    listed.sort();
    assert_sums(&ext);
    listed
}

fn told(ext: &Ext, entry: disk::ext::Entry) -> Entry {
    let inode = entry.inode;
    let time = |time: FileTime| (time.seconds, time.nanoseconds);
    let kind = inode.kind();
    let attributes = ext.attributes(&inode).unwrap().into_iter();
    Entry {
        path: entry.path,
        inode: inode.number.into(),
        mode: inode.mode.into(),
        owner: (inode.uid, inode.gid),
        size_bytes: inode.size_bytes,
        links: inode.links.into(),
        device: inode.device(),
        times: [inode.modified, inode.changed, inode.accessed].map(time),
        born: inode.born.map(time),
        attributes: attributes.map(|one| (one.name, one.value)).collect(),
        target: (kind == FileKind::Symlink).then(|| ext.link_target(&inode).unwrap()),
        sum: (kind == FileKind::File).then(|| sum(ext, &inode)),
    }
}

fn sum(ext: &Ext, inode: &disk::ext::Inode) -> String {
    let file = ext.open_file(inode).unwrap();
    inside::sum(common::Reader::new(&file)).unwrap()
}

fn check_listing(name: &str, image: &Path, said: &[u8]) {
    let guests: Vec<_> = std::str::from_utf8(said).unwrap().lines().collect();
    let ours: Vec<_> = listed(image).iter().map(Entry::to_string).collect();
    for (guests, ours) in guests.iter().zip(&ours) {
        assert_eq!(ours, guests, "{name}");
    }
    assert_eq!(ours.len(), guests.len(), "{name}");
    assert!(
        ours.len() >= guest_tree::ENTRIES_MIN,
        "{name}: {}",
        ours.len()
    );
}

/// All new files are there with their data, and the directory has its new name; without the journal
/// nothing of that would be seen.
fn check_durable(image: &Path) {
    let ext = Ext::open(FileSource::open(image)).unwrap();
    assert!(ext.replay().is_some());
    assert_sums(&ext);
    let mut seen = 0;
    for number in 0..guest_tree::NEW {
        let path = guest_tree::new_path(number);
        let inode = ext.find(path.as_bytes()).unwrap();
        let data = ext.open_file(&inode).unwrap().read_all(1 << 20).unwrap();
        assert_eq!(data, guest_tree::new_data(number), "{path}");
        seen += 1;
    }
    assert_eq!(seen, 500);
    let paths: Vec<_> = ext.walk().map(|entry| entry.unwrap().path).collect();
    assert!(paths.contains(&b"/renamed/kept".to_vec()));
    assert!(!paths.contains(&b"/named/kept".to_vec()));
    // debugfs reads what is in its place, not the journal.
    let in_place = debugfs(
        image,
        false,
        &["ls -p /new".to_owned(), "ls -p /".to_owned()],
    );
    assert!(in_place.contains("/named/") && !in_place.contains("/renamed/"));
    assert!(!in_place.contains("/file-"), "{in_place}");
}

#[test]
fn what_a_kernel_has_made_reads_as_the_kernel_reads_it() {
    let place = tempfile::tempdir().unwrap();
    let path = |number: usize| -> PathBuf { place.path().join(format!("disk{number}.raw")) };
    let mut workshop = Workshop::new().hand().unwrap();
    for (number, (_, options)) in FEATURES.iter().enumerate() {
        workshop = workshop.disk(make(&path(number), options));
    }
    let durable = path(FEATURES.len());
    workshop = workshop.disk(make(&durable, "-t ext4 -b 4096 -J size=16"));
    let mut guest = workshop.boot(&script()).unwrap();
    for (number, (name, _)) in FEATURES.iter().enumerate() {
        let said = guest.wait_for(&name.replace(' ', "-")).unwrap();
        check_listing(name, &path(number), &said);
    }
    guest.wait_for("durable").unwrap();
    guest.cut_off();
    check_durable(&durable);
}
