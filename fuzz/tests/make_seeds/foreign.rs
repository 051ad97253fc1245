//! VMDK and VHDX as QEMU makes them.

use crate::common::run;
use crate::{keep, keep_disk};
use fuzz::Sparse;

#[test]
#[ignore = "writes into the repository"]
fn make_the_seeds_of_other_products() {
    let place = tempfile::tempdir().unwrap();
    let raw = place.path().join("raw");
    let mut disk = vec![0; 3 << 20];
    disk[70_000..71_000].fill(7);
    disk[2 << 20..(2 << 20) + 600].fill(9);
    std::fs::write(&raw, disk).unwrap();
    let kinds = [
        ("vmdk", "monolithicSparse", ""),
        ("vmdk", "streamOptimized", ""),
        ("vmdk", "twoGbMaxExtentSparse", "-s001"),
        ("vmdk", "monolithicFlat", ""),
        ("vmdk", "twoGbMaxExtentFlat", ""),
        ("vhdx", "dynamic", ""),
        ("vhdx", "fixed", ""),
    ];
    for (format, kind, part) in kinds {
        let image = place.path().join(format!("{kind}.{format}"));
        let options = format!("subformat={kind}");
        let options = match format {
            "vhdx" => options + ",block_size=1M",
            _ => options,
        };
        let paths = [raw.to_str().unwrap(), image.to_str().unwrap()];
        let convert = ["convert", "-f", "raw", "-O", format, "-o", &options];
        run("qemu-img", &[&convert[..], &paths].concat());
        keep_disk(format, kind, &image);
        if !part.is_empty() {
            let part = place.path().join(format!("{kind}{part}.{format}"));
            keep_disk(format, &format!("{kind}-extent"), &part);
        }
    }
    let several = "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\n\
        createType=\"custom\"\nRW 8 FLAT \"a\" 0\nRW 16 ZERO\nRW 4 VMFS \"b\" 2\n";
    keep("vmdk", "several", &Sparse::pack(several.as_bytes()));
    // On another one.
    let above = place.path().join("above.vmdk");
    let below = place.path().join("monolithicSparse.vmdk");
    let (above_path, below) = (above.to_str().unwrap(), below.to_str().unwrap());
    let create = [
        "create",
        "-q",
        "-f",
        "vmdk",
        "-o",
        "zeroed_grain=on",
        "-F",
        "vmdk",
        "-b",
    ];
    run("qemu-img", &[&create[..], &[below, above_path]].concat());
    let write = [
        "-f",
        "vmdk",
        "-c",
        "write -q -P 5 64k 64k",
        "-c",
        "write -q -z 2M 64k",
    ];
    run("qemu-io", &[&write[..], &[above_path]].concat());
    keep_disk("vmdk", "above", &above);
    // With its log in use.
    let image = place.path().join("crashed.vhdx");
    let path = image.to_str().unwrap();
    run(
        "qemu-img",
        &[
            "create",
            "-q",
            "-f",
            "vhdx",
            "-o",
            "block_size=1M",
            path,
            "4M",
        ],
    );
    let crash = [
        "-f",
        "vhdx",
        "-c",
        "write -P 1 0 4k",
        "-c",
        "write -P 2 2M 4k",
        "-c",
        "abort",
    ];
    let mut command = std::process::Command::new("qemu-io");
    let output = command.args(crash).arg(path).output().unwrap();
    assert_eq!(output.status.code(), None);
    // QEMU says that its log is in use only while it writes; the id is that of the last entry.
    let mut bytes = std::fs::read(&image).unwrap();
    let entries = (0..bytes.len()).step_by(4096);
    let mut entries = entries.filter(|at| bytes[*at..].starts_with(b"loge"));
    let last = entries.next_back().unwrap();
    for header in [64 << 10, 128 << 10] {
        bytes.copy_within(last + 32..last + 48, header + 48);
    }
    std::fs::write(&image, bytes).unwrap();
    keep_disk("vhdx", "crashed", &image);
}
