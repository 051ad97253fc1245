//! A program of the host's with the libraries that it is linked with.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files that a program needs beside itself, as the loader names them.
pub(crate) fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output();
    let output = output.context("cannot start ldd")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    if complained.contains("not a dynamic executable") || said.contains("statically linked") {
        return Ok(Vec::new());
    }
    ensure!(
        output.status.success(),
        "ldd {}: {complained}",
        program.display()
    );
    Ok(said.lines().filter_map(path_in).collect())
}

/// `libc.so.6 => /lib/…/libc.so.6 (0x…)`, or the loader's `/lib64/… (0x…)`.
fn path_in(line: &str) -> Option<PathBuf> {
    let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
    Some(path.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_found_in_a_line() {
        let line = "\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)";
        assert_eq!(
            path_in(line),
            Some("/lib/x86_64-linux-gnu/libc.so.6".into())
        );
        let loader = "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)";
        assert_eq!(path_in(loader), Some("/lib64/ld-linux-x86-64.so.2".into()));
        assert_eq!(path_in("\tlinux-vdso.so.1 (0x00007f)"), None);
    }
}
