//! The published schemas are those of the golden files: a change of a document is a decision.

use schema::schemas;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// How to renew the golden files.
const RENEW: &str = "cargo test -p schema --test golden -- --ignored";

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema")
}

#[test]
fn the_golden_files_are_current() {
    for one in schemas() {
        let path = directory().join(one.file_name());
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        // As values: the order of keys is not part of a schema.
        let golden: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        assert!(golden == one.schema, "{} differs: {RENEW}", path.display());
    }
}

#[test]
fn there_is_no_golden_file_without_a_document() {
    let known: BTreeSet<_> = schemas().iter().map(|one| one.file_name()).collect();
    for entry in std::fs::read_dir(directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let is_schema = name.ends_with(".json");
        assert!(!is_schema || known.contains(&name), "{name}");
    }
}

#[test]
#[ignore = "renews the golden files"]
fn renew() {
    for one in schemas() {
        let path = directory().join(one.file_name());
        std::fs::write(path, one.file_content()).unwrap();
    }
}
