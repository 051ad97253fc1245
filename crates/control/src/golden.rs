//! Golden digests: those that ship, and those that were learned here.
//!
//! ```text
//! STORE/golden.json      entries learned on this machine, by `computation learn`
//! ```
//!
//! A run is held by the digest that is known for its computation, version, seed, size and
//! instruction-set class; where none is known, replicas are each other's only witnesses.

use crate::error::ControlError;
use crate::request::{Computation, RunPlan};
use crate::session::Session;
use computation::Descriptor;
use computation::golden::{Golden, Table, key, native, shipped};
use computation::isa::Class;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The largest table of learned digests that is read.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// The digest that a plan's replicas must report, where one is known.
pub(crate) fn known_digest(
    session: &Session,
    plan: &RunPlan,
    class: Class,
) -> Result<Option<String>, ControlError> {
    let Computation::Library(computation) = plan.computation else {
        return Ok(None);
    };
    let wanted = key(computation, plan.seed, plan.steps, class);
    let shipped = shipped().map_err(|error| ControlError::Computation(error.to_string()))?;
    let learned = read(&table_path(&session.store_path))?;
    let found = shipped.lookup(&wanted).or_else(|| learned.lookup(&wanted));
    Ok(found.map(|golden| golden.digest.to_string()))
}

/// Computes a golden digest natively and keeps it in the store.
///
/// # Errors
/// The table of learned digests cannot be read or written.
pub fn learn(
    store: &Path,
    descriptor: &Descriptor,
    seed: u64,
    steps: u64,
) -> Result<Golden, ControlError> {
    let golden = native(descriptor, seed, steps);
    let path = table_path(store);
    let mut entries = read(&path)?.entries().to_vec();
    entries.retain(|entry| entry.key != golden.key);
    entries.push(golden.clone());
    entries.sort_by(|one, other| one.key.cmp(&other.key));
    write(&path, &Table::new(entries))?;
    Ok(golden)
}

fn table_path(store: &Path) -> PathBuf {
    store.join("golden.json")
}

fn read(path: &Path) -> Result<Table, ControlError> {
    let failed = ControlError::file("read", path);
    match fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Table::new(Vec::new()));
        }
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.len() > MAX_TABLE_BYTES => {
            return Err(failed(std::io::Error::other("it is too large")));
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    Table::parse(&text)
        .map_err(|error| ControlError::file("read", path)(std::io::Error::other(error)))
}

/// Writes the table whole or not at all, durably.
fn write(path: &Path, table: &Table) -> Result<(), ControlError> {
    let unfinished = path.with_extension(format!("{}", std::process::id()));
    let text = serde_json::to_vec_pretty(table)
        .map_err(|error| ControlError::file("write", path)(error.into()))?;
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&unfinished, path));
    written.map_err(ControlError::file("write", path))
}
