//! `cargo xtask guest`: builds the program that runs inside the virtual machines and lays it where
//! the host's program takes it from.
//!
//! ```text
//! cargo rustc (static, stripped) ──► is it static? ──► same bytes as before? ──yes──► leave it
//!                                        └─no──► error        └─no──► replace at once, by rename
//! ```
//!
//! The copy in `target/guest/` is what counts: an ordinary `cargo build` or `cargo test` of the
//! workspace may build the same program again, linked dynamically, under cargo's own name. The copy
//! keeps its time while its bytes are the same, so that nothing that embeds it is built again.

mod elf;

use std::fs;
use std::io::{BufReader, ErrorKind};
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use cargo_metadata::Message;
use cargo_metadata::camino::{Utf8Path, Utf8PathBuf};

/// The program's name, of cargo's target and of the file.
const PROGRAM: &str = "vardoger-guest";

/// Where the copy lies in the workspace, whatever target directory cargo was told to use: the crate
/// that embeds it looks there.
const DIRECTORY: &str = "target/guest";

/// What rustc is told beside the profile. Without symbols the program is much smaller, and
/// every guest unpacks it from its initramfs.
const RUSTC_FLAGS: &[&str] = &["-C", "target-feature=+crt-static", "-C", "strip=symbols"];

/// Builds, checks and lays out the guest's program.
pub(crate) fn run() -> anyhow::Result<()> {
    let directory = crate::workspace()?.workspace_root.join(DIRECTORY);
    let built = build()?;
    let program = fs::read(&built).with_context(|| format!("cannot read {built}"))?;
    if let Err(fault) = elf::check_static(&program) {
        bail!("{built} cannot run alone in a virtual machine: {fault}");
    }
    replace_if_changed(&directory.join(PROGRAM), &program)
}

/// Builds the program in the same profile and target directory as everything else, and returns where
/// cargo put it.
fn build() -> anyhow::Result<Utf8PathBuf> {
    let mut cargo = crate::cargo()
        .args(["rustc", "--package", "guest", "--bin", PROGRAM])
        .arg("--message-format=json-render-diagnostics")
        .arg("--")
        .args(RUSTC_FLAGS)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo rustc")?;
    let messages = cargo
        .stdout
        .take()
        .context("cannot read what cargo prints")?;
    let mut executable = None;
    for message in Message::parse_stream(BufReader::new(messages)) {
        if let Message::CompilerArtifact(artifact) =
            message.context("cannot read cargo's messages")?
            && artifact.target.name == PROGRAM
        {
            executable = artifact.executable;
        }
    }
    let status = cargo.wait().context("cannot wait for cargo rustc")?;
    ensure!(status.success(), "cargo rustc ended with {status}");
    executable.with_context(|| format!("cargo built no program {PROGRAM}"))
}

/// Writes `bytes` to `path`, unless they are there already.
fn replace_if_changed(path: &Utf8Path, bytes: &[u8]) -> anyhow::Result<()> {
    match fs::read(path) {
        Ok(present) if present == bytes => return Ok(()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {path}")),
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot create {directory}"))?;
    }
    let fresh = path.with_extension("new");
    fs::write(&fresh, bytes).with_context(|| format!("cannot write {fresh}"))?;
    fs::rename(&fresh, path).with_context(|| format!("cannot rename {fresh} to {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_if_its_bytes_change() -> anyhow::Result<()> {
        let directory = Utf8PathBuf::try_from(std::env::temp_dir())?
            .join(format!("xtask-guest-{}", std::process::id()));
        let path = directory.join("deep").join(PROGRAM);
        replace_if_changed(&path, b"one")?;
        let first = fs::metadata(&path)?;
        replace_if_changed(&path, b"one")?;
        let same = fs::metadata(&path)?;
        replace_if_changed(&path, b"two")?;
        let (found, listed) = (
            fs::read(&path)?,
            fs::read_dir(directory.join("deep"))?.count(),
        );
        fs::remove_dir_all(&directory)?;
        assert_eq!(first.modified()?, same.modified()?);
        assert_eq!((found.as_slice(), listed), (b"two".as_slice(), 1));
        Ok(())
    }
}
