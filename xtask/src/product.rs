//! The product as its users have it: the program, with a store and a run directory of its own.
//!
//! ```text
//! target/trials/NAME/store     results, evidence and the machine that was booted
//! /dev/shm/vardoger-NAME-…     run directory: memory of machines; in memory where there is such a place
//! ```
//!
//! Both are empty at the start and are removed at the end, so that trials neither see nor touch
//! what the user's own runs have left. The emulators run as another user, who must be able to reach
//! the run directory: it cannot lie in the workspace.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

/// The product's exit code for a verdict that is a finding.
pub(crate) const FOUND: i32 = 3;

/// A built product with places of its own.
#[derive(Debug)]
pub(crate) struct Product {
    program: PathBuf,
    place: PathBuf,
    store: PathBuf,
    run_root: PathBuf,
}

impl Product {
    /// Builds the guest's program and the product, and makes room for trials of a name.
    pub(crate) fn build(name: &str) -> anyhow::Result<Self> {
        crate::guest::run()?;
        let status = crate::cargo()
            .args(["build", "--package", "vardoger"])
            .status()
            .context("cannot start cargo build")?;
        ensure!(status.success(), "cargo build ended with {status}");
        let workspace = crate::workspace()?;
        let program = workspace.target_directory.join("debug/vardoger");
        let place = workspace.target_directory.join("trials").join(name);
        let product = Self {
            program: program.into(),
            store: place.join("store").into(),
            place: place.into(),
            run_root: run_root(name, workspace.workspace_root.as_str()),
        };
        product.clear();
        fs::create_dir_all(&product.place)
            .with_context(|| format!("cannot create {}", product.place.display()))?;
        Ok(product)
    }

    /// Where the program is.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// The store.
    pub(crate) fn store(&self) -> &Path {
        &self.store
    }

    /// The machines that were booted and are kept, beside the store.
    pub(crate) fn machines(&self) -> PathBuf {
        self.store.join("cache/machines")
    }

    /// The directory that holds all instances' run directories.
    pub(crate) fn run_root(&self) -> &Path {
        &self.run_root
    }

    /// A command of the product, not started. It says nothing but its result.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .args(["--json", "--quiet", "--store"])
            .arg(&self.store)
            .env("VARDOGER_RUN_DIR", &self.run_root)
            .stdin(Stdio::null());
        command
    }

    /// Starts a command whose result goes where the caller says. It says nothing else.
    pub(crate) fn start(&self, arguments: &[&str], result: Stdio) -> anyhow::Result<Child> {
        self.command(arguments)
            .stdout(result)
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))
    }

    /// Carries a command out and waits for its end.
    pub(crate) fn execute(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        self.command(arguments)
            .output()
            .with_context(|| format!("cannot start {}", self.program.display()))
    }

    /// Carries out a command that must succeed, and returns the data of its document.
    pub(crate) fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.execute(arguments)?;
        ensure!(
            output.status.success(),
            "`vardoger {}` ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        data(&output)
    }

    /// Removes what earlier trials have left.
    fn clear(&self) {
        for directory in [&self.place, &self.run_root] {
            match fs::remove_dir_all(directory) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    eprintln!("warning: cannot remove {}: {error}", directory.display());
                }
                _ => {}
            }
        }
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The data of the document that a command put out.
pub(crate) fn data(output: &Output) -> anyhow::Result<Value> {
    let mut document: Value = serde_json::from_slice(&output.stdout)
        .context("cannot understand the document that vardoger put out")?;
    Ok(document["data"].take())
}

/// A run directory outside the workspace, another one for each name and workspace.
fn run_root(name: &str, workspace: &str) -> PathBuf {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() {
        memory.to_path_buf()
    } else {
        std::env::temp_dir()
    };
    let mut identity = DefaultHasher::new();
    workspace.hash(&mut identity);
    parent.join(format!("vardoger-{name}-{:016x}", identity.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    fn put_out(text: &str) -> Output {
        Output {
            status: ExitStatus::from_raw(0),
            stdout: text.as_bytes().to_vec(),
            stderr: Vec::new(),
        }
    }

    #[test]
    fn the_data_of_a_document_is_found() -> anyhow::Result<()> {
        let output = put_out(r#"{"schema":"vardoger/x/1","data":{"a":1},"warnings":[]}"#);
        assert_eq!(data(&output)?, serde_json::json!({"a": 1}));
        assert!(data(&put_out("")).is_err());
        Ok(())
    }

    #[test]
    fn names_and_workspaces_do_not_share_a_run_directory() {
        assert_ne!(run_root("a", "/w"), run_root("b", "/w"));
        assert_ne!(run_root("a", "/w"), run_root("a", "/v"));
        assert_eq!(run_root("a", "/w"), run_root("a", "/w"));
    }
}
