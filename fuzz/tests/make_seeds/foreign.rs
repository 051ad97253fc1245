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
}
