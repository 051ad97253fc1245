//! `cargo xtask ci`: the same checks as `scripts/test`, by starting it. The script is the authority,
//! since it also sets the machine up.

use std::process::Command;

use anyhow::{Context, ensure};

/// Runs `scripts/test --yes` in the workspace's root.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = crate::workspace()?.workspace_root;
    let script = root.join("scripts/test");
    let status = Command::new(&script)
        .arg("--yes")
        .current_dir(&root)
        .status()
        .with_context(|| format!("cannot start {script}"))?;
    ensure!(status.success(), "scripts/test ended with {status}");
    Ok(())
}
