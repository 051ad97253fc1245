//! Programs of the user's own: compiled from `programs`, and what is kept of their runs.

use super::World;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles one of the C programs in `programs`, with one more flag.
pub fn compile(world: &World, name: &str, flag: &str) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs");
    let path = world.path(name);
    let mut compiler = Command::new("cc");
    compiler.args([flag, "-O1", "-o"]).arg(&path);
    let compiled = compiler
        .arg(sources.join(name).with_extension("c"))
        .status();
    assert!(compiled.unwrap().success());
    path
}

/// The log of replica 0 and its files, out of the state that was kept.
pub fn state(world: &World, run: &Value) -> (String, Vec<(String, Vec<u8>)>) {
    let path = world
        .store()
        .join("blobs")
        .join(run["replicas"][0]["state"].as_str().unwrap());
    let bytes = fs::read(path).unwrap();
    let section = |at: usize| {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        (&bytes[at + 8..at + 8 + length], at + 8 + length)
    };
    let (header, at) = section(12);
    let (log, at) = section(at);
    let (mut contents, _) = section(at);
    let header: Value = serde_json::from_slice(header).unwrap();
    let files = header["files"].as_array().unwrap().iter().map(|file| {
        let (content, rest) = contents.split_at(file["bytes"].as_u64().unwrap() as usize);
        contents = rest;
        (file["name"].as_str().unwrap().to_owned(), content.to_vec())
    });
    let files = files.collect();
    (String::from_utf8(log.to_vec()).unwrap(), files)
}
