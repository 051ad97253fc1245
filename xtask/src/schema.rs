//! Renews `docs/schema` from the types of crate `schema`. The crate's own test holds the files
//! against the types; this starts the part of it that writes them.

use anyhow::{Context, ensure};

/// Writes the golden files anew.
pub(crate) fn run() -> anyhow::Result<()> {
    let status = crate::cargo()
        .args(["test", "--quiet", "--package", "schema", "--test", "golden"])
        .args(["--", "--ignored"])
        .status()
        .context("cannot start cargo test")?;
    ensure!(
        status.success(),
        "the schemas could not be written: {status}"
    );
    Ok(())
}
