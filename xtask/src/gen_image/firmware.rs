//! The partition for the firmware: a FAT file system with what a boot loader has there.

use super::content::Kind;
use super::draw::Draw;
use super::tools::tool;
use anyhow::Context;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Its files, with about how many bytes each has; a small disk has a tenth.
const FILES: [(&str, usize); 7] = [
    ("EFI/BOOT/BOOTX64.EFI", 950_000),
    ("EFI/debian/shimx64.efi", 950_000),
    ("EFI/debian/grubx64.efi", 2_600_000),
    ("EFI/debian/mmx64.efi", 850_000),
    ("EFI/debian/fbx64.efi", 90_000),
    ("EFI/debian/grub.cfg", 0),
    ("EFI/debian/BOOTX64.CSV", 0),
];

/// Below this size of the partition files are smaller.
const SMALL_MIB: u64 = 32;

/// How much is copied at once; what is zeros stays a hole.
const PIECE_BYTES: usize = 64 << 10;

/// Makes it, and puts it on a disk at an offset.
pub(super) fn put(disk: &Path, offset: u64, mib: u64, now: u64) -> anyhow::Result<()> {
    let place = tempfile::TempDir::new().context("cannot make a directory")?;
    let tree = place.path().join("tree");
    let mut draw = Draw(now);
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
    for (path, bytes) in FILES {
        let bytes = if mib < SMALL_MIB { bytes / 10 } else { bytes };
        let content = match path.rsplit_once('.') {
            Some((_, "cfg")) => {
                b"search.fs_label root root\nconfigfile ($root)/boot/grub/grub.cfg\n".to_vec()
            }
            Some((_, "CSV")) => b"shimx64.efi,debian,,This is the boot entry for debian\n".to_vec(),
            _ => [b"MZ".as_slice(), &Kind::Program.make(bytes, &mut draw)].concat(),
        };
        let on_host = tree.join(path);
        fs::create_dir_all(on_host.parent().context("a path has no directory")?)?;
        fs::write(&on_host, content)?;
        let times = FileTimes::new().set_modified(time).set_accessed(time);
        File::options()
            .write(true)
            .open(&on_host)?
            .set_times(times)?;
    }
    let fat = place.path().join("fat");
    File::create(&fat)?.set_len(mib << 20)?;
    let (fat_text, tree) = (fat.to_str(), tree.join("EFI"));
    let (fat_text, tree) = fat_text
        .zip(tree.to_str())
        .context("the path is not UTF-8")?;
    let words = ["-i", "5D9B1F6A", "-n", "ESP", "--invariant", fat_text];
    tool("mkfs.vfat", &words, now)?;
    tool("mcopy", &["-s", "-m", "-i", fat_text, tree, "::"], now)?;
    let (from, to) = (File::open(&fat)?, File::options().write(true).open(disk)?);
    let mut piece = vec![0; PIECE_BYTES];
    for at in (0..mib << 20).step_by(PIECE_BYTES) {
        from.read_exact_at(&mut piece, at)?;
        if piece.iter().any(|byte| *byte != 0) {
            to.write_all_at(&piece, offset + at)?;
        }
    }
    Ok(())
}
