//! A guest does what a script says, on disks that outlive it.

use workshop::{Disk, Workshop};

/// One boot for all that a guest that ends by itself can show.
#[test]
fn a_script_is_run_and_its_words_and_end_are_told() {
    let place = tempfile::tempdir().unwrap();
    let (one, two) = (place.path().join("one.raw"), place.path().join("two.raw"));
    let script = r#"
        blockdev --getsize64 /dev/vda
        blockdev --getsize64 /dev/vdb
        mark looked
        printf 'told %s' "$(hear)" | dd of=/dev/vdb conv=notrunc,fsync 2>/dev/null
        cat /given/file
        mke2fs /dev/vda >/dev/null
        mount -t ext2 /dev/vda /mnt
        echo stays >/mnt/file
        grep -w -e xfs -e vfat /proc/filesystems
        exec false
    "#;
    let workshop = Workshop::new()
        .disk(Disk::create(&one, 1 << 20).unwrap())
        .disk(Disk::create(&two, 2 << 20).unwrap())
        .file("/given/file", 0o644, "given\n")
        .module("xfs")
        .module("vfat");
    let mut guest = workshop.boot(script).unwrap();
    assert_eq!(guest.wait_for("looked").unwrap(), b"1048576\n2097152\n");
    guest.say("this").unwrap();
    let ended = guest.end().unwrap();
    let said = String::from_utf8(ended.text).unwrap();
    assert_eq!(said.replace('\t', " "), "given\n xfs\n vfat\n");
    assert_eq!(ended.code, 1);
    // Unmounted, so that the kernel has noted that nothing is missing.
    let state = std::fs::read(&one).unwrap()[1024 + 58];
    assert_eq!(state & 1, 1);
    assert!(std::fs::read(&two).unwrap().starts_with(b"told this\0"));
}

#[test]
fn a_guest_that_is_cut_off_leaves_what_it_had_synced() {
    let place = tempfile::tempdir().unwrap();
    let disk = place.path().join("disk.raw");
    let made = Disk::create(&disk, 1 << 20).unwrap();
    let script = "echo kept | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null; mark kept; sleep 1000";
    let mut guest = Workshop::new().disk(made).boot(script).unwrap();
    guest.wait_for("kept").unwrap();
    guest.cut_off();
    assert!(std::fs::read(&disk).unwrap().starts_with(b"kept\n\0"));
}
