//! `cargo xtask lint-layers`: holds every crate to its layer.
//!
//! ```text
//! cargo metadata + Cargo.toml ──[workspace]──► Member… ──[rules]──► Violation…
//! cargo tree ──[features]──► crates that would be compiled twice
//! ```
//!
//! [`rules`] is pure and holds the whole law in tables; [`workspace`] reads files and knows no rule.
//! Only direct dependencies are looked at: what a crate reaches through an adapter is the adapter's
//! affair.

mod features;
mod rules;
mod workspace;

use anyhow::bail;

/// Checks the workspace around the current directory, and names every violation.
pub(crate) fn run() -> anyhow::Result<()> {
    let workspace = workspace::read()?;
    let rules = rules::check(&workspace).into_iter();
    let mut violations: Vec<String> = rules.map(|violation| violation.to_string()).collect();
    violations.extend(features::built_twice()?);
    if violations.is_empty() {
        eprintln!("{} crates keep to their layers", workspace.members.len());
        return Ok(());
    }
    for violation in &violations {
        eprintln!("error: {violation}");
    }
    bail!("{} violations of the layers", violations.len());
}
