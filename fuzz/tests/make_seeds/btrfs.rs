//! btrfs as its own kernel makes it, in a guest: compressed data, a subvolume, a snapshot; and as
//! mkfs.btrfs makes it, without a second look.

use crate::common::{Draw, TOOLS_PATH, run};
use crate::keep_disk;
use std::path::{Path, PathBuf};
use workshop::{Disk, Workshop};

/// Where a program of btrfs-progs lies.
fn program(name: &str) -> PathBuf {
    let mut places = TOOLS_PATH
        .split(':')
        .map(|place| Path::new(place).join(name));
    places.find(|path| path.exists()).unwrap()
}

#[test]
#[ignore = "writes into the repository"]
fn make_the_seeds_of_btrfs() {
    let place = tempfile::tempdir().unwrap();
    let disks = ["zstd", "zlib", "lzo"];
    let mut workshop = Workshop::new()
        .module("btrfs")
        .program_as(&program("btrfs"), "/bin/btrfs");
    let mut script = String::new();
    for (name, device) in disks.iter().zip('a'..) {
        let image = place.path().join(name);
        workshop = workshop.disk(Disk::create(&image, 110 << 20).unwrap());
        let path = image.to_str().unwrap();
        run("mkfs.btrfs", &["-q", "-n", "4096", "-m", "single", path]);
        script += &format!(
            "mount -t btrfs -o compress-force={name},max_inline=0 /dev/vd{device} /mnt
             mkdir /mnt/below
             echo small >/mnt/small
             yes '{name} is packed' | head -c 9000 >/mnt/below/packed
             ln -s below/packed /mnt/link
             btrfs subvolume create /mnt/volume
             i=0
             while [ $i -lt 12 ]; do echo $i >\"/mnt/volume/a name $i\"; i=$((i + 1)); done
             btrfs subvolume snapshot -r /mnt/volume /mnt/below/snapshot
             rm '/mnt/volume/a name 3'
             umount /mnt\n"
        );
    }
    let ended = workshop.run(&script).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    for name in disks {
        keep_disk("btrfs", name, &place.path().join(name));
    }
    let tree = place.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("inline"), b"inline").unwrap();
    std::fs::write(tree.join("data"), Draw(1).bytes(3000)).unwrap();
    let image = place.path().join("image");
    std::fs::File::create(&image)
        .unwrap()
        .set_len(110 << 20)
        .unwrap();
    let (tree, path) = (tree.to_str().unwrap(), image.to_str().unwrap());
    let options = [
        "-q",
        "-n",
        "4096",
        "-m",
        "single",
        "-O",
        "^no-holes",
        "--rootdir",
    ];
    run("mkfs.btrfs", &[&options[..], &[tree, path]].concat());
    keep_disk("btrfs", "rootdir", &image);
}
