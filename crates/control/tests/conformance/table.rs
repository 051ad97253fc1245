//! The table of all cases: what it is made of, and that it is whole.

/// A case, as the table has it.
pub(crate) struct Row {
    /// What it is about: its module.
    pub(crate) area: &'static str,
    /// Its name.
    pub(crate) case: &'static str,
    /// Why `sim` does not run it; nothing where it does.
    pub(crate) without_sim: Option<&'static str>,
}

/// Makes the tests of both adapters out of the table, and the table itself.
macro_rules! conformance {
    ($($area:ident::$case:ident: $sim:tt;)*) => {
        mod qemu {
            use crate::{cases::*, provider};
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $case() -> anyhow::Result<()> {
                    $area::$case(provider::qemu().await?.as_ref()).await
                }
            )*
        }

        mod sim {
            use crate::{cases::*, provider};
            $(conformance!(@sim $area $case $sim);)*
        }

        const TABLE: &[table::Row] = &[
            $(table::Row {
                area: stringify!($area),
                case: stringify!($case),
                without_sim: conformance!(@reason $sim),
            }),*
        ];
    };
    (@sim $area:ident $case:ident both) => {
        #[tokio::test]
        async fn $case() -> anyhow::Result<()> {
            $area::$case(provider::sim().await?.as_ref()).await
        }
    };
    (@sim $area:ident $case:ident [qemu: $reason:literal]) => {};
    (@reason both) => { None };
    (@reason [qemu: $reason:literal]) => { Some($reason) };
}

mod tests {
    use crate::TABLE;
    use anyhow::{Context, ensure};
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn cases_directory() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/cases")
    }

    /// The names behind a word, in a text.
    fn names<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
        text.lines().filter_map(move |line| {
            let rest = line.trim_start().strip_prefix(word)?;
            rest.split(['(', '<']).next()
        })
    }

    #[test]
    fn every_case_is_in_the_table_once() -> anyhow::Result<()> {
        let listed: Vec<String> = TABLE
            .iter()
            .map(|row| format!("{}::{}", row.area, row.case))
            .collect();
        let mut written = BTreeSet::new();
        for file in fs::read_dir(cases_directory())? {
            let path = file?.path();
            let area = path.file_stem().context("a nameless file")?;
            let area = area.to_string_lossy().into_owned();
            let text = fs::read_to_string(&path)?;
            let cases = names(&text, "pub(crate) async fn ");
            written.extend(cases.map(|case| format!("{area}::{case}")));
        }
        let distinct: BTreeSet<String> = listed.iter().cloned().collect();
        assert_eq!(distinct, written);
        assert_eq!(distinct.len(), listed.len(), "a case is listed twice");
        let reasons = TABLE.iter().filter_map(|row| row.without_sim);
        for reason in reasons {
            ensure!(reason.len() > 10 && !reason.ends_with('.'), "{reason}");
        }
        Ok(())
    }

    #[test]
    fn no_method_of_the_traits_is_left_out() -> anyhow::Result<()> {
        let traits = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hypervisor/src/traits.rs");
        let text = fs::read_to_string(traits)?;
        let (_, traits) = text
            .split_once("pub trait Hypervisor")
            .context("the traits are elsewhere")?;
        let methods: Vec<&str> = ["async fn ", "fn "]
            .into_iter()
            .flat_map(|word| names(traits, word))
            .collect();
        ensure!(methods.len() >= 22, "{methods:?}");
        let mut cases = String::new();
        for file in fs::read_dir(cases_directory())? {
            cases.push_str(&fs::read_to_string(file?.path())?);
        }
        for method in methods {
            let called = cases.contains(&format!(".{method}("));
            ensure!(called, "no case calls {method}");
        }
        Ok(())
    }
}
