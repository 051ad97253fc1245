//! The workspace as the rules see it, read from `cargo metadata` and from the manifests.
//!
//! cargo tells what a crate depends on; only the manifest tells whether it was written down once, in
//! the workspace's root, and inherited. Holds no rule.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Context;
use cargo_metadata::camino::Utf8Path;
use cargo_metadata::{DependencyKind, Metadata, Package};
use toml::{Table, Value};

/// All crates, and what the workspace's root says for them.
#[derive(Debug, Default)]
pub(super) struct Workspace {
    /// The crates, as cargo lists them.
    pub(super) members: Vec<Member>,
    /// Third-party dependencies in the root that keep their default features.
    pub(super) with_default_features: Vec<String>,
}

/// One crate.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// The crate's name.
    pub(super) name: String,
    /// The name of the folder that it lies in.
    pub(super) folder: String,
    /// The crate's version.
    pub(super) version: String,
    /// Whether a registry would take it.
    pub(super) publishable: bool,
    /// Whether its lints are the workspace's.
    pub(super) inherits_lints: bool,
    /// Dependencies whose version stands in the crate's own manifest.
    pub(super) not_inherited: Vec<String>,
    /// What it depends on directly.
    pub(super) dependencies: Vec<Dependency>,
}

/// One direct dependency.
#[derive(Clone, Debug)]
pub(super) struct Dependency {
    /// The name of the crate depended on.
    pub(super) name: String,
    /// Whether that crate is of this workspace.
    pub(super) internal: bool,
    /// Whether only tests, examples and benches need it.
    pub(super) for_tests: bool,
}

/// Reads the workspace around the current directory.
///
/// # Errors
///
/// When cargo finds no workspace, or a manifest cannot be read.
pub(super) fn read() -> anyhow::Result<Workspace> {
    let metadata = crate::workspace()?;
    let root = manifest(&metadata.workspace_root.join("Cargo.toml"))?;
    let members = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            Ok(member(
                &metadata,
                package,
                &manifest(&package.manifest_path)?,
            ))
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(Workspace {
        members,
        with_default_features: with_default_features(&root),
    })
}

fn manifest(path: &Utf8Path) -> anyhow::Result<Table> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    text.parse()
        .with_context(|| format!("cannot understand {path}"))
}

/// Joins what cargo and the manifest say of one crate.
fn member(metadata: &Metadata, package: &Package, manifest: &Table) -> Member {
    let internal: BTreeSet<_> = metadata
        .workspace_packages()
        .into_iter()
        .map(|package| package.name.as_str())
        .collect();
    let dependencies = package
        .dependencies
        .iter()
        .map(|dependency| Dependency {
            internal: internal.contains(dependency.name.as_str()),
            for_tests: dependency.kind == DependencyKind::Development,
            name: dependency.name.clone(),
        })
        .collect();
    Member {
        name: package.name.to_string(),
        folder: folder(&package.manifest_path),
        version: package.version.to_string(),
        publishable: package
            .publish
            .as_ref()
            .is_none_or(|registries| !registries.is_empty()),
        inherits_lints: manifest.get("lints").is_some_and(inherited),
        not_inherited: not_inherited(manifest),
        dependencies,
    }
}

/// The name of the folder that a manifest lies in.
fn folder(manifest_path: &Utf8Path) -> String {
    manifest_path
        .parent()
        .and_then(Utf8Path::file_name)
        .unwrap_or_default()
        .to_owned()
}

/// Whether a table of a manifest says `workspace = true`.
fn inherited(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

/// The dependencies, of any kind and for any target, that do not say `workspace = true`.
fn not_inherited(manifest: &Table) -> Vec<String> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let for_targets = targets
        .into_iter()
        .flat_map(Table::values)
        .filter_map(Value::as_table);
    std::iter::once(manifest)
        .chain(for_targets)
        .flat_map(|table| {
            ["dependencies", "dev-dependencies", "build-dependencies"]
                .into_iter()
                .filter_map(|section| table.get(section)?.as_table())
        })
        .flatten()
        .filter(|(_, value)| !inherited(value))
        .map(|(name, _)| name.clone())
        .collect()
}

/// The root's third-party dependencies that do not say `default-features = false`.
fn with_default_features(root: &Table) -> Vec<String> {
    let dependencies = root
        .get("workspace")
        .and_then(|workspace| workspace.get("dependencies")?.as_table());
    dependencies
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.get("path").is_none())
        .filter(|(_, value)| value.get("default-features").and_then(Value::as_bool) != Some(false))
        .map(|(name, _)| name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().expect("a test's manifest is well formed")
    }

    #[test]
    fn a_version_in_a_crate_is_seen_wherever_it_stands() {
        let manifest = table(
            r#"
            [dependencies]
            serde.workspace = true
            tokio = { workspace = true, features = ["fs"] }
            plain = "1"
            [dev-dependencies]
            detailed = { version = "1" }
            [target.'cfg(unix)'.build-dependencies]
            hidden = { workspace = false, version = "1" }
            "#,
        );
        assert_eq!(not_inherited(&manifest), ["plain", "detailed", "hidden"]);
    }

    #[test]
    fn default_features_are_seen_in_the_root() {
        let root = table(
            r#"
            [workspace.dependencies]
            ours = { path = "crates/ours" }
            lean = { version = "1", default-features = false }
            short = "1"
            fat = { version = "1", default-features = true }
            "#,
        );
        assert_eq!(with_default_features(&root), ["fat", "short"]);
    }

    #[test]
    fn lints_are_inherited_only_if_the_manifest_says_so() {
        let says = |text| table(text).get("lints").is_some_and(inherited);
        assert!(says("[lints]\nworkspace = true"));
        assert!(!says("[lints]\nworkspace = false"));
        assert!(!says("[lints.rust]\nmissing_docs = \"deny\""));
    }

    #[test]
    fn this_workspace_can_be_read() -> anyhow::Result<()> {
        let workspace = read()?;
        let xtask = workspace
            .members
            .iter()
            .find(|member| member.name == "xtask");
        let dependencies = xtask
            .map(|member| member.dependencies.as_slice())
            .unwrap_or_default();
        assert!(
            dependencies
                .iter()
                .any(|dependency| dependency.name == "toml")
        );
        Ok(())
    }
}
