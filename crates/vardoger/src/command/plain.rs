//! Commands without a noun that need nothing: completions, version.

use crate::args::{Cli, Global};
use crate::failure::Failure;
use crate::output;
use clap::CommandFactory;
use schema::{Document, VersionDocument};
use std::process::ExitCode;

/// Prints completions for a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vardoger", &mut text);
    output::text(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the version.
pub(crate) fn version(global: &Global) -> Result<ExitCode, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if global.json() {
        let version = version.to_owned();
        output::document(global, &Document::new(VersionDocument { version }))?;
    } else {
        output::text(&format!("vardoger {version}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}
