//! Puts the static guest program where the library can embed it.
//!
//! The program is a product of this very crate, linked statically, so it cannot be built here; it
//! is taken from the file that `VARDOGER_GUEST_PROGRAM` names, else from
//! `target/guest/vardoger-guest` of the workspace. Where neither exists the library has no
//! program, and says so when asked.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

const VARIABLE: &str = "VARDOGER_GUEST_PROGRAM";
const DEFAULT: &str = "target/guest/vardoger-guest";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    let output = PathBuf::from(env::var("OUT_DIR")?).join("vardoger-guest");
    let program = find_program()?;
    // Written only when it differs: what includes it is not compiled again for nothing.
    if fs::read(&output).ok().as_ref() != Some(&program) {
        fs::write(&output, program)?;
    }
    Ok(())
}

/// The program's bytes; none if there is no program yet.
fn find_program() -> Result<Vec<u8>, Box<dyn Error>> {
    if let Some(named) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) {
        let path = PathBuf::from(named);
        println!("cargo::rerun-if-changed={}", path.display());
        let read = fs::read(&path);
        return read.map_err(|error| format!("read {}: {error}", path.display()).into());
    }
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..");
    let path = root.join(DEFAULT);
    println!("cargo::rerun-if-changed={}", path.display());
    Ok(fs::read(path).unwrap_or_default())
}
