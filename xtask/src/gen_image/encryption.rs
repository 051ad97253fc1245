//! `--history encryption`: the encryption of a whole volume has begun, by its owner's will.
//!
//! ```text
//!  before   file system ─────────────────────────────────────────────
//!  after    LUKS header │ ciphertext of what was there │ as it was ──
//!                                        a quarter ────┘
//! ```
//!
//! QEMU's own LUKS driver encrypts, so that header and ciphertext are real ones, and can be opened
//! with the passphrase. Its keys are drawn anew each time: such a disk is never made twice.

use super::tools::{Image, tool};
use super::{GenImage, Maker};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// The part of the volume that is encrypted already.
const PART: u64 = 4;

/// What opens it.
pub(super) const PASSPHRASE: &str = "secret";

/// How much is copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// Makes a disk before it, and while it goes on; writes down how far it has come.
pub(super) fn run(what: &GenImage) -> anyhow::Result<()> {
    let mut maker = Maker::new(what)?;
    let root = super::root(what)?;
    let before = maker.first(root.as_ref())?;
    let after = before.copy(&what.out.join("b.raw"))?;
    let bytes = begin(what, &before, &after)?;
    let truth = json!({
        "seed": what.seed,
        "mib": what.mib,
        "about": super::about(what, root.as_ref()),
        "history": "encryption",
        "benign": true,
        "passphrase": PASSPHRASE,
        "volume_starts": after.offset,
        "written": [after.offset, after.offset + bytes],
    });
    let path = what.out.join("truth.json");
    fs::write(&path, serde_json::to_vec_pretty(&truth)?)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Encrypts the beginning of the file system. Says how many bytes were written.
pub(super) fn begin(what: &GenImage, before: &Image, after: &Image) -> anyhow::Result<u64> {
    let end = before.offset + before.bytes()?;
    let plain = ((end - before.offset) / PART) & !(PIECE_BYTES as u64 - 1);
    let source = json!({
        "driver": "raw",
        "offset": before.offset,
        "size": plain,
        "file": { "driver": "file", "filename": before.path },
    });
    let place = tempfile::TempDir::new_in(&what.out).context("cannot make a directory")?;
    let luks = place.path().join("luks");
    let to = luks.to_str().context("the path is not UTF-8")?;
    let (source, key) = (
        format!("json:{source}"),
        format!("secret,id=key,data={PASSPHRASE}"),
    );
    let words = [
        "convert",
        "--object",
        &key,
        "-O",
        "luks",
        "-o",
        "key-secret=key,iter-time=100",
    ];
    tool("qemu-img", &[&words[..], &[&source, to]].concat(), 0)?;
    let told = tool("qemu-img", &["info", "--output=json", to], 0)?;
    let told: Value = serde_json::from_str(&told).context("qemu-img says something else")?;
    ensure!(
        told["format"] == "luks",
        "qemu-img has made {}",
        told["format"]
    );
    let (from, disk) = (
        File::open(&luks)?,
        File::options().write(true).open(&after.path)?,
    );
    let bytes = from.metadata()?.len();
    ensure!(
        after.offset + bytes <= end,
        "the volume has no room for its header"
    );
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    while at < bytes {
        let length = (bytes - at).min(PIECE_BYTES as u64) as usize;
        from.read_exact_at(&mut piece[..length], at)?;
        disk.write_all_at(&piece[..length], after.offset + at)?;
        at += length as u64;
    }
    Ok(bytes)
}
