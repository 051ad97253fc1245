//! One set of features: a part of the workspace that is built alone gets each crate of others with
//! the features that the whole has it with, so that nothing is compiled twice. `workspace-hack`
//! names the features that are missing.

use std::collections::BTreeSet;
use std::process::Stdio;

use anyhow::{Context, ensure};

/// The packages that are built by themselves, beside the whole with its tests.
const BUILT_ALONE: &[&str] = &["guest", "vardoger", "xtask"];

/// Every crate of others that one of [`BUILT_ALONE`] has with other features than the whole.
///
/// # Errors
///
/// When cargo cannot resolve the workspace.
pub(super) fn built_twice() -> anyhow::Result<Vec<String>> {
    let whole = tree(&["--workspace", "--edges", "all"])?;
    let mut twice = Vec::new();
    for package in BUILT_ALONE {
        let alone = tree(&["--package", package, "--edges", "normal,build"])?;
        let others = alone.difference(&whole);
        twice.extend(others.map(|one| {
            format!("{package} alone has {one}, the whole has not: name the missing features in workspace-hack")
        }));
    }
    Ok(twice)
}

/// The crates below a selection, each as `name version with its features`.
fn tree(selection: &[&str]) -> anyhow::Result<BTreeSet<String>> {
    let output = crate::cargo()
        .args(["tree", "--prefix", "none", "--format", "{p} with {f}"])
        .args(selection)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start cargo tree")?;
    ensure!(
        output.status.success(),
        "cargo tree ended with {}",
        output.status
    );
    let text = String::from_utf8(output.stdout).context("cargo tree printed no text")?;
    Ok(crates_in(&text))
}

/// The lines of `cargo tree`, without its mark of a repeated one. Our own crates have no features.
fn crates_in(tree: &str) -> BTreeSet<String> {
    tree.lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_crate_is_one() {
        let found = crates_in("one v1.0.0 with std\n\ntwo v2.0.0 with \none v1.0.0 with std (*)\n");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["one v1.0.0 with std", "two v2.0.0 with "]
        );
    }

    #[test]
    fn crates_differ_by_their_features() {
        let whole = crates_in("one v1.0.0 with std\none v1.0.0 with alloc,std\n");
        let alone = crates_in("one v1.0.0 with alloc\none v1.0.0 with std\n");
        let other: Vec<_> = alone.difference(&whole).collect();
        assert_eq!(other, ["one v1.0.0 with alloc"]);
    }
}
