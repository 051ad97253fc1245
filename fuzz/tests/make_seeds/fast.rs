//! Fast commits of ext4, as the kernel writes them in a guest that loses its power.

use crate::common::run;
use crate::keep_disk;
use std::path::Path;
use workshop::{Disk, Workshop};

/// What is done to a few files; then, fast, something of all that a fast commit can hold.
const SCRIPT: &str = "
    mount -t ext4 -o commit=1000 /dev/vda /mnt
    mkdir /mnt/d
    for i in 1 2 3 4 5 6 7 8; do echo $i >/mnt/d/f$i; done
    sync
    mv /mnt/d/f1 /mnt/d/g1
    rm /mnt/d/f2
    ln /mnt/d/f3 /mnt/l3
    mkdir /mnt/e
    echo new >/mnt/e/new
    yes | head -c 5000 >>/mnt/d/f4
    dd if=/dev/null of=/mnt/e/new conv=notrunc,fsync 2>/dev/null
    : >/mnt/d/f5
    rm /mnt/l3
    mv /mnt/d/f6 /mnt/d/f7
    yes | head -c 3000 >/mnt/e/more
    dd if=/dev/null of=/mnt/e/more conv=notrunc,fsync 2>/dev/null
    mark durable
    sleep 1000";

#[test]
#[ignore = "writes into the repository"]
fn make_the_seeds_of_fast_commits() {
    let place = tempfile::tempdir().unwrap();
    let image = place.path().join("image");
    let disk = Disk::create(&image, 3 << 20).unwrap();
    let options = "-q -F -t ext4 -b 1024 -N 64 -O fast_commit -J size=1,fast_commit_size=16";
    let mut arguments: Vec<_> = options.split(' ').collect();
    arguments.push(image.to_str().unwrap());
    run("mke2fs", &arguments);
    let mut guest = Workshop::new().disk(disk).boot(SCRIPT).unwrap();
    guest.wait_for("durable").unwrap();
    guest.cut_off();
    keep_disk("ext", "fast", &image);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/disk/tests/golden");
    let packed = zstd::encode_all(&std::fs::read(&image).unwrap()[..], 19).unwrap();
    std::fs::write(golden.join("ext-fast.zst"), packed).unwrap();
}
