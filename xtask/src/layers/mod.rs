//! `cargo xtask lint-layers`: holds every crate to its layer.
//!
//! ```text
//! cargo metadata + Cargo.toml ──[workspace]──► Member… ──[rules]──► Violation…
//! ```
//!
//! [`rules`] is pure and holds the whole law in tables; [`workspace`] reads files and knows no rule.
//! Only direct dependencies are looked at: what a crate reaches through an adapter is the adapter's
//! affair.

mod rules;
mod workspace;

use anyhow::bail;

/// Checks the workspace around the current directory, and names every violation.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = workspace::read()?;
    let violations = rules::check(&workspace);
    if violations.is_empty() {
        eprintln!("{} crates keep to their layers", workspace.members.len());
        return Ok(());
    }
    for violation in &violations {
        eprintln!("error: {violation}");
    }
    bail!("{} violations of the layers", violations.len());
}
