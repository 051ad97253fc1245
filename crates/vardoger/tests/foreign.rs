//! Disks of other makers, as a user has them: VMDK in one file and in several, VHDX, and on them a
//! file system of each kind that is read.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use support::World;

fn run(program: &str, arguments: &[&str]) {
    let ended = Command::new(program)
        .args(arguments)
        // Tools for disks are where a user who is not root does not look.
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{program} {arguments:?}: {said}");
}

/// A disk that is one file system, with a file in it.
fn make(kind: &str, raw: &Path, file: &Path) {
    let (raw, file) = (raw.to_str().unwrap(), file.to_str().unwrap());
    match kind {
        "fat" => {
            run("mkfs.fat", &["-C", "-F", "16", raw, "20000"]);
            run("mcopy", &["-i", raw, file, "::file"]);
        }
        "ntfs" => {
            run("truncate", &["-s", "20M", raw]);
            run("mkntfs", &["-F", "-Q", "-q", raw]);
            run("ntfscp", &["-q", raw, file, "file"]);
        }
        "btrfs" => {
            let tree = Path::new(file).parent().unwrap().to_str().unwrap();
            run("truncate", &["-s", "120M", raw]);
            run("mkfs.btrfs", &["-q", "--rootdir", tree, raw]);
        }
        _ => {
            let proto = format!("{raw}.proto");
            let text = format!("/\n0 0\nd--755 0 0\nfile ---644 0 0 {file}\n$\n");
            fs::write(&proto, text).unwrap();
            run("truncate", &["-s", "300M", raw]);
            run("mkfs.xfs", &["-q", "-p", &proto, raw]);
        }
    }
}

#[test]
fn files_are_read_out_of_disks_of_other_makers() {
    let world = World::cold();
    let directory = world.path("disks");
    fs::create_dir_all(directory.join("tree")).unwrap();
    let file = directory.join("tree/file");
    let text: String = (0..30_000u32)
        .map(|line| format!("line {line}\n"))
        .collect();
    fs::write(&file, &text).unwrap();
    let kinds = [
        ("fat", "vmdk", "monolithicSparse"),
        ("ntfs", "vmdk", "twoGbMaxExtentSparse"),
        ("btrfs", "vhdx", "dynamic"),
        ("xfs", "vmdk", "streamOptimized"),
    ];
    for (kind, format, options) in kinds {
        let raw = directory.join(format!("{kind}.raw"));
        make(kind, &raw, &file);
        let image = directory.join(format!("{kind}.{format}"));
        let (from, to) = (raw.to_str().unwrap(), image.to_str().unwrap());
        let options = format!("subformat={options}");
        let convert = ["convert", "-f", "raw", "-O", format, "-o", &options];
        run("qemu-img", &[&convert[..], &[from, to]].concat());
        let found = world.data(&format!("image files {to}"));
        assert_eq!(found["volumes"][0]["kind"], kind, "{found}");
        let read = world.run(&format!("image cat {to} /file")).expect(0).stdout;
        assert!(read == text, "{kind}: {} bytes", read.len());
    }
    // The parts of a disk may lie beside it, and where the user allows it.
    fs::create_dir(directory.join("other")).unwrap();
    let moved = directory.join("other/ntfs.vmdk");
    let descriptor = fs::read_to_string(directory.join("ntfs.vmdk")).unwrap();
    let descriptor = descriptor.replace("ntfs-s001.vmdk", "../ntfs-s001.vmdk");
    fs::write(&moved, descriptor.trim_end_matches('\0')).unwrap();
    let moved = moved.to_str().unwrap();
    let ended = world.run(&format!("image files {moved}")).expect(1);
    assert!(ended.stderr.contains("not allowed"), "{}", ended.stderr);
    let allowed = directory.to_str().unwrap();
    world.data(&format!("image files {moved} --allow {allowed}"));
}
