//! Makes the sound seeds anew, with the tools that disks are made with: `cargo test -p fuzz --test
//! make_seeds -- --ignored`. What fuzzing has found is not touched.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

mod btrfs;
#[path = "../../../crates/disk/tests/common/mod.rs"]
mod common;
mod fast;
mod foreign;
mod guests;
mod rpm;
mod texts;

use common::ext::{debugfs, make};
use common::sparse::{Pages, Sparse as Pieces};
use common::{Draw, run};
use fuzz::Sparse;
use image::blobs::{Blobs, MemoryBlobs};
use image::changeset::{self, Changeset, ChangesetId, Content, Kind, Run};
use image::pack::{PackId, PackWriter, UnitDigest};
use image::seal::{SealingBlobs, SealingKey};
use model::Timestamp;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

fn keep(parser: &str, name: &str, bytes: &[u8]) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(parser);
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join(name), bytes).unwrap();
}

fn keep_disk(parser: &str, name: &str, disk: &Path) {
    keep(parser, name, &Sparse::pack(&std::fs::read(disk).unwrap()));
}

#[test]
#[ignore = "writes into the repository"]
fn make_the_seeds() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    qcow2(place);
    partitions_and_volumes(place);
    ext(place);
    systems(place);
    histories();
    nbd();
    wire();
    guests::make();
}

fn qcow2(place: &Path) {
    std::fs::write(place.join("below"), vec![3; 40_960]).unwrap();
    let kinds = [
        ("v2", "cluster_size=512,compat=0.10", "512"),
        ("zlib", "cluster_size=512,compression_type=zlib", "512"),
        ("zstd", "cluster_size=4096,compression_type=zstd", "4096"),
        ("subclusters", "cluster_size=16384,extended_l2=on", "16k"),
        (
            "backed",
            "cluster_size=512,backing_file=below,backing_fmt=raw",
            "512",
        ),
        ("encrypted", "encrypt.format=aes,encrypt.key-secret=s", ""),
    ];
    for (name, options, cluster) in kinds {
        let path = place.join(name);
        let path = path.to_str().unwrap();
        let create = [
            "create",
            "-q",
            "--object",
            "secret,id=s,data=x",
            "-f",
            "qcow2",
            "-o",
            options,
        ];
        run("qemu-img", &[&create[..], &[path, "64K"]].concat());
        if !cluster.is_empty() {
            let compressed = format!("write -q -c -P 9 0 {cluster}");
            let line = [
                "-f",
                "qcow2",
                "-c",
                &compressed,
                "-c",
                "write -q -P 8 32k 3k",
            ];
            run(
                "qemu-io",
                &[&line[..], &["-c", "write -q -z 40k 2k", path]].concat(),
            );
            run("qemu-img", &["snapshot", "-c", "then", path]);
        }
        if !cluster.is_empty() && name != "v2" {
            run("qemu-img", &["bitmap", "--add", "-g", "512", path, "since"]);
            run(
                "qemu-io",
                &["-f", "qcow2", "-c", "write -q -P 7 33k 9k", path],
            );
        }
        keep_disk("qcow2", name, Path::new(path));
    }
}

fn partitions_and_volumes(place: &Path) {
    let disk = place.join("gpt");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(2 << 20)
        .unwrap();
    let path = disk.to_str().unwrap();
    run(
        "sgdisk",
        &[
            "-a",
            "1",
            "-n",
            "1:40:600",
            "-n",
            "2:700:900",
            "-c",
            "1:one",
            path,
        ],
    );
    for parser in ["partition", "volume"] {
        keep_disk(parser, "gpt", &disk);
    }
    let disk = place.join("mbr");
    std::fs::File::create(&disk)
        .unwrap()
        .set_len(4 << 20)
        .unwrap();
    let script = "label: dos\nstart=63, size=100, type=83\nstart=200, size=4000, type=5\n\
        start=263, size=100, type=83\nstart=500, size=100, type=82\n";
    let mut child = std::process::Command::new("sfdisk")
        .args(["-q", disk.to_str().unwrap()])
        .env("PATH", common::TOOLS_PATH)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    for parser in ["partition", "volume"] {
        keep_disk(parser, "mbr", &disk);
    }
    for (name, bytes) in [
        (
            "pv1",
            &include_bytes!("../../../crates/disk/tests/golden/lvm-pv1.zst")[..],
        ),
        (
            "pv2",
            &include_bytes!("../../../crates/disk/tests/golden/lvm-pv2.zst")[..],
        ),
    ] {
        let mut disk = zstd::bulk::decompress(bytes, 1 << 20).unwrap();
        disk.resize(6 << 20, 0);
        keep("lvm", name, &Sparse::pack(&disk));
        keep("volume", name, &Sparse::pack(&disk));
    }
}

fn ext(place: &Path) {
    let tree = place.join("tree");
    std::fs::create_dir_all(tree.join("below/below")).unwrap();
    std::fs::write(tree.join("small"), b"small").unwrap();
    std::fs::write(tree.join("below/large"), vec![b'l'; 12_000]).unwrap();
    for number in 0..20 {
        std::fs::write(tree.join(format!("below/below/name{number}")), b"").unwrap();
    }
    std::os::unix::fs::symlink("below/large", tree.join("link")).unwrap();
    std::os::unix::fs::symlink("y".repeat(100), tree.join("below/link")).unwrap();
    let value = place.join("value");
    std::fs::write(&value, vec![b'v'; 900]).unwrap();
    let kinds = [
        ("ext2", "-t ext2 -b 1024", "200K"),
        ("ext4", "-t ext4 -b 1024 -O ^has_journal", "200K"),
        (
            "inline",
            "-t ext4 -b 1024 -O inline_data,ea_inode,^has_journal",
            "200K",
        ),
        (
            "groups",
            "-t ext4 -b 1024 -g 256 -O meta_bg,^resize_inode,^has_journal",
            "600K",
        ),
        ("journal", "-t ext4 -b 1024 -J size=1", "3M"),
    ];
    for (name, options, size) in kinds {
        let image = place.join(name);
        make(&image, &tree, &format!("{options} -N 64"), size);
        let mut script = vec![
            "ea_set small user.short hello".to_owned(),
            format!("ea_set -f {} small user.long", value.display()),
        ];
        script.extend([3, 5, 7, 9].map(|block| format!("punch below/large {block} {block}")));
        debugfs(&image, true, &script);
        if name == "journal" {
            let noise = place.join("noise");
            std::fs::write(&noise, Draw(2).bytes(2048)).unwrap();
            let write = format!("jw -b 1500,1501 {}", noise.display());
            debugfs(
                &image,
                true,
                &["jo -c -v 3", &write, "jw -r 1500", "jc"].map(str::to_owned),
            );
        }
        keep_disk("ext", name, &image);
    }
    keep_disk("volume", "ext2", &place.join("ext2"));
}

fn systems(place: &Path) {
    let tree = place.join("few");
    std::fs::create_dir_all(tree.join("below")).unwrap();
    std::fs::write(tree.join("a long name that has blanks in it"), b"x").unwrap();
    std::fs::write(tree.join("below/large"), vec![b'l'; 3000]).unwrap();
    for (width, kibibytes) in [("12", "400"), ("16", "3000"), ("32", "34000")] {
        let image = place.join("fat");
        let path = image.to_str().unwrap();
        run("mkfs.fat", &["-C", "-F", width, "-s", "1", path, kibibytes]);
        for name in ["a long name that has blanks in it", "below"] {
            let from = tree.join(name);
            run(
                "mcopy",
                &["-s", "-Q", "-i", path, from.to_str().unwrap(), "::"],
            );
        }
        keep_disk("fat", &format!("fat{width}"), &image);
        std::fs::remove_file(image).unwrap();
    }
    for cluster in ["512", "4096"] {
        let image = place.join("ntfs");
        std::fs::File::create(&image)
            .unwrap()
            .set_len(4 << 20)
            .unwrap();
        let (path, wim) = (image.to_str().unwrap(), place.join("wim"));
        run("mkntfs", &["-F", "-Q", "-q", "-c", cluster, path]);
        let wim = wim.to_str().unwrap();
        run(
            "wimcapture",
            &[tree.to_str().unwrap(), wim, "--compress=none"],
        );
        run("wimapply", &[wim, "1", path]);
        std::fs::remove_file(wim).unwrap();
        let stream = tree.join("below/large");
        let name = "a long name that has blanks in it";
        run(
            "ntfscp",
            &["-q", "-N", "stream", path, stream.to_str().unwrap(), name],
        );
        let mut disk = std::fs::read(&image).unwrap();
        let sectors = disk.chunks_mut(512).filter(|sector| is_filler(sector));
        sectors.for_each(|sector| sector.fill(0));
        keep(
            "ntfs",
            &format!("clusters-of-{cluster}"),
            &Sparse::pack(&disk),
        );
        std::fs::remove_file(image).unwrap();
    }
    let packed = include_bytes!("../../../crates/disk/tests/golden/xfs-with-log.zst");
    let (pages, packed) = Pages::from_file(&zstd::decode_all(&packed[..]).unwrap());
    let mut disk = common::read_all(&Pieces { pages, packed });
    for sector in disk.chunks_mut(512) {
        if sector.starts_with(&[0xfe, 0xed, 0xba, 0xbe]) {
            // Records without sums, so that damage in them is replayed; and not the thousands of
            // empty ones that only say that the log is not older.
            let is_empty = sector[40..44] == [0; 4];
            sector[32..36].fill(0);
            if is_empty {
                sector.fill(0);
            }
        }
    }
    assert!(disk::xfs::Xfs::open(Arc::new(disk.clone())).is_ok());
    keep("xfs", "log", &Sparse::pack(&disk));
}

/// Whether a sector is of what NTFS has, and nobody reads here: the table of capital letters, of which
/// most are their own, so that each is one more than the one before; and the empty log, all ones.
fn is_filler(sector: &[u8]) -> bool {
    let letters: Vec<_> = sector
        .chunks(2)
        .map(|two| u16::from_le_bytes([two[0], two[1]]))
        .collect();
    let next = letters
        .windows(2)
        .filter(|two| two[1] == two[0].wrapping_add(1));
    next.count() > 100 || sector.iter().all(|byte| *byte == 0xff)
}

fn histories() {
    let mut writer = PackWriter::new(4096, 16 << 10);
    for number in 0..9_u8 {
        let unit = vec![number; 4096];
        writer.add(UnitDigest::of(&unit), &unit).unwrap();
    }
    keep("pack", "nine", &writer.finish().unwrap().bytes);
    let base = Changeset {
        kind: Kind::Base,
        sequence: 0,
        parent: None,
        taken: Timestamp::from_unix_ns(1_700_000_000_000_000_000),
        disk_bytes: 1 << 20,
        source: "file".to_owned(),
        packs: vec![PackId([1; 32]), PackId([2; 32])],
        runs: (0..20).map(run_of).collect(),
        replaced: Vec::new(),
    };
    let increment = Changeset {
        kind: Kind::Increment,
        sequence: 7,
        parent: Some(ChangesetId([3; 32])),
        ..base.clone()
    };
    let key = SealingKey::from_secret(&[7; 32]);
    let image = Uuid::from_bytes([5; 16]);
    let clock = Box::new(|| Timestamp::from_unix_ns(1_700_000_000_000_000_000));
    let sealing = SealingBlobs::new(MemoryBlobs::default(), image, key, clock);
    for (name, one) in [("base", base), ("increment", increment)] {
        let (id, bytes) = changeset::encode(&one).unwrap();
        keep("changeset", name, &bytes);
        let blob = changeset::blob(one.sequence, id);
        sealing.put(&blob, &bytes).unwrap();
        let sealed = sealing
            .length(&blob)
            .and_then(|end| sealing.read(&blob, 0..end));
        keep("seal", name, &sealed.unwrap());
        keep("seal", &format!("{name}-unsealed"), &bytes);
    }
}

fn run_of(number: u64) -> Run {
    let units = Content::Units {
        pack: (number % 2) as u32,
        first: number as u32,
        unit_blocks: 1,
    };
    Run {
        start: number * 10,
        blocks: 1 + number % 7,
        content: if number.is_multiple_of(3) {
            Content::Zero
        } else {
            units
        },
    }
}

/// A server's words: the negotiation of an export with a bitmap, then chunks.
fn nbd() {
    let mut said = b"NBDMAGICIHAVEOPT\x00\x03".to_vec();
    let mut reply = |option: u32, kind: u32, data: &[u8]| {
        said.extend(0x0003_e889_0455_65a9_u64.to_be_bytes());
        said.extend(option.to_be_bytes());
        said.extend(kind.to_be_bytes());
        said.extend((data.len() as u32).to_be_bytes());
        said.extend(data);
    };
    reply(8, 1, &[]);
    let name = block::nbd::dirty_bitmap("vardoger-x");
    let context = [&9_u32.to_be_bytes()[..], name.as_bytes()];
    reply(10, 4, &context.concat());
    reply(10, 1, &[]);
    let size = (1_u64 << 20).to_be_bytes();
    reply(7, 3, &[&[0, 0], &size[..], &[0, 1]].concat());
    reply(7, 1, &[]);
    let mut chunk = |flags: u16, kind: u16, cookie: u64, data: &[u8]| {
        said.extend(0x668e_33ef_u32.to_be_bytes());
        said.extend(flags.to_be_bytes());
        said.extend(kind.to_be_bytes());
        said.extend(cookie.to_be_bytes());
        said.extend((data.len() as u32).to_be_bytes());
        said.extend(data);
    };
    chunk(0, 1, 0, &[&16_u64.to_be_bytes()[..], b"abcd"].concat());
    chunk(
        1,
        2,
        0,
        &[&20_u64.to_be_bytes()[..], &4_u32.to_be_bytes()].concat(),
    );
    chunk(
        1,
        2,
        1,
        &[&0_u64.to_be_bytes()[..], &4096_u32.to_be_bytes()].concat(),
    );
    let extents = [9_u32, 65_536, 1, 983_040, 0]
        .map(u32::to_be_bytes)
        .concat();
    chunk(1, 5, 2, &extents);
    keep("nbd", "bitmap", &said);
}

fn wire() {
    let words = [
        "\"order\"",
        "\"item\"",
        "{\"put\":{\"name\":\"packs/x\"}}",
        "{\"bytes\":{\"at\":9}}",
        "{\"read\":{\"name\":\"packs/x\",\"start\":1,\"end\":9}}",
        "{\"failed\":{\"why\":\"x\"}}",
        "\"done\"",
        "{\"length\":7}",
        "{\"names\":[\"a\",\"b\"]}",
        "{\"short\":{\"end\":5}}",
    ];
    for (number, word) in words.iter().enumerate() {
        keep(
            "wire",
            &format!("word{number}"),
            format!("{word}\nbytes").as_bytes(),
        );
    }
}
