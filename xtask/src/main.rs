//! The project's own chores, started as `cargo xtask CHORE`.
//!
//! One module for each chore, one variant of [`Command`] that starts it. Chores print what they say
//! on stderr, and the result of a measurement on stdout; the exit code is 0 when all is well and 1
//! otherwise. Nothing here is part of the product.

mod bench;
mod campaign;
mod ci;
mod fuzz;
mod gen_image;
mod guest;
mod layers;
mod measure;
mod office;
mod product;
mod schema;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// A chore.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything that continuous integration runs
    Ci,
    /// Build the program that runs inside the virtual machines, as a static file
    Guest,
    /// Check that every crate depends only on what its layer allows
    LintLayers,
    /// Write the JSON Schemas in docs/schema anew from the types
    Schema,
    /// Make disks with a known history: ordinary work, then an attack
    GenImage(gen_image::GenImage),
    /// What a guest starts for `gen-image`: does what a plan says
    #[command(hide = true)]
    CarryOut(gen_image::guest::CarryOut),
    /// A Linux machine that works on the files of a disk, for the demo
    #[command(hide = true)]
    Office(office::Office),
    /// Measure a promise of the product, and say whether it is met
    Bench {
        /// Which
        #[arg(value_enum)]
        name: bench::Bench,
    },
    /// One measurement by itself, in a process of its own: what benches start
    #[command(hide = true)]
    Measure(measure::Measure),
    /// Give each parser of our own new inputs, chosen by the coverage that they bring
    Fuzz(fuzz::Fuzz),
    /// Put the product through many trials, which can be stopped and resumed
    #[command(subcommand)]
    Campaign(campaign::Campaign),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Ci => ci::run(),
        Command::Guest => guest::run(),
        Command::LintLayers => layers::run(),
        Command::Schema => schema::run(),
        Command::GenImage(what) => gen_image::run(&what),
        Command::CarryOut(what) => gen_image::guest::run(&what),
        Command::Measure(what) => measure::run(&what),
        Command::Office(what) => office::run(&what),
        Command::Bench { name } => bench::run(name),
        Command::Fuzz(what) => fuzz::run(&what),
        Command::Campaign(campaign) => campaign::run(&campaign),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace as cargo describes it: its crates with their direct dependencies.
///
/// # Errors
///
/// When cargo cannot be started, or finds no workspace around the current directory.
fn workspace() -> anyhow::Result<cargo_metadata::Metadata> {
    use anyhow::Context;

    cargo_metadata::MetadataCommand::new()
        .no_deps()
        .exec()
        .context("cannot read the workspace with cargo metadata")
}

/// The cargo that started us, or the one on the search path. What it told us of our own package is
/// taken away: some dependencies are built again when it changes.
fn cargo() -> std::process::Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = std::process::Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&name);
        }
    }
    cargo
}

/// Prints the result of a measurement: all that goes to stdout.
///
/// # Errors
///
/// When nobody reads it.
fn put_out(line: &str) -> anyhow::Result<()> {
    use anyhow::Context;
    use std::io::Write;

    writeln!(std::io::stdout(), "{line}").context("cannot write the result")
}

/// What a guest of the tests starts in place of the program.
#[cfg(test)]
#[test]
#[ignore = "a guest of another test starts it"]
fn inside_a_guest() -> anyhow::Result<()> {
    use gen_image::guest::{PLAN, ROOT, carry_out};

    let done = carry_out(PLAN.as_ref(), ROOT.as_ref())?;
    workshop::inside::tell(done.to_string().as_bytes())
}
