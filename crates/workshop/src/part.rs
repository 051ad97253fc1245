//! What set-up has put on this machine for guests: a kernel, its modules, a busybox.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where vardoger looks for the guests' kernel, and so do we.
///
/// # Errors
/// There is none.
pub fn kernel() -> Result<PathBuf> {
    let path = match std::env::var_os("VARDOGER_KERNEL") {
        Some(path) => path.into(),
        None => cache()?.join("vardoger/kernel/vmlinuz"),
    };
    let there = path.is_file();
    ensure!(
        there,
        "no kernel for guests at {}: scripts/test unpacks it",
        path.display()
    );
    Ok(path)
}

fn cache() -> Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    cache.or_else(home).context("HOME is not set")
}

/// The modules stand beside their kernel.
pub(crate) fn modules(kernel: &Path) -> PathBuf {
    kernel.with_file_name("modules")
}

/// The static busybox that the tests of programs use too.
pub(crate) fn busybox() -> Result<Vec<u8>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/lib/busybox");
    let output = Command::new(script).output();
    let output = output.context("cannot ask scripts/lib/busybox")?;
    let complained = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", complained.trim());
    let path = String::from_utf8(output.stdout)?;
    std::fs::read(path.trim_end()).with_context(|| format!("cannot read {path}"))
}
