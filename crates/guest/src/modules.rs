//! The kernel's modules: which a guest needs, in the order in which they are loaded.
//!
//! A module names what it depends on in itself: `depends=one,two`, ended by a zero. A dependency
//! for which there is no file is built into the kernel.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a module asks the kernel for by another name, if it is there: sums of other kinds.
const BESIDE: [(&str, &[&str]); 2] = [
    ("btrfs", &["xxhash_generic", "blake2b_generic"]),
    ("vfat", &["nls_cp437", "nls_ascii", "nls_iso8859_1"]),
];

/// Why modules cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// There is no directory of modules, or it cannot be read.
    #[error("no modules of the guests' kernel in {directory}: {source}")]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The kernel has no such module.
    #[error("the guests' kernel has no module {0}")]
    Missing(String),
    /// A module's file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// A module to load.
#[derive(Debug)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its file.
    pub content: Vec<u8>,
}

/// The modules of one directory.
#[derive(Debug)]
pub struct Modules {
    files: BTreeMap<String, PathBuf>,
    chosen: Vec<Module>,
}

impl Modules {
    /// Looks at a directory.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(directory: &Path) -> Result<Self, ModuleError> {
        let missing = |source| ModuleError::NoDirectory {
            directory: directory.to_path_buf(),
            source,
        };
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(directory).map_err(missing)? {
            let path = entry.map_err(missing)?.path();
            if path.extension().is_some_and(|extension| extension == "ko") {
                files.insert(
                    plain(&path.file_stem().unwrap_or_default().to_string_lossy()),
                    path,
                );
            }
        }
        let chosen = Vec::new();
        Ok(Self { files, chosen })
    }

    /// The modules that a guest needs that is asked for these, in order: those that were not given
    /// before.
    ///
    /// # Errors
    /// One that is asked for is not there, or a file cannot be read.
    pub fn choose_all<'a>(
        &mut self,
        asked: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<Module>, ModuleError> {
        for name in asked {
            if !self.files.contains_key(&plain(name)) {
                return Err(ModuleError::Missing(name.to_owned()));
            }
            self.choose(name)?;
            for (_, beside) in BESIDE.iter().filter(|(of, _)| *of == name) {
                beside.iter().try_for_each(|name| self.choose(name))?;
            }
        }
        Ok(std::mem::take(&mut self.chosen))
    }

    /// A module after all that it depends on. No module depends on itself.
    fn choose(&mut self, name: &str) -> Result<(), ModuleError> {
        // Taken out, so that each is chosen once.
        let Some(path) = self.files.remove(&plain(name)) else {
            return Ok(());
        };
        let content = std::fs::read(&path).map_err(|source| ModuleError::Read { path, source })?;
        for needed in depends(&content) {
            self.choose(&needed)?;
        }
        let name = plain(name);
        self.chosen.push(Module { name, content });
        Ok(())
    }
}

/// The kernel takes both marks for one.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// What a module says that it depends on.
fn depends(content: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let at = content.windows(KEY.len()).position(|bytes| bytes == KEY);
    let rest = at.map_or(&[][..], |at| &content[at + KEY.len()..]);
    let value = rest.split(|byte| *byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value).into_owned();
    let names = names.split(',').filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes modules that depend on others, and says in which order they would be loaded.
    fn order(modules: &[(&str, &str)], asked: &[&str]) -> Result<Vec<String>, ModuleError> {
        let place = tempfile::tempdir().unwrap();
        for (name, needs) in modules {
            let content = format!("\x7fELF\0license=GPL\0depends={needs}\0name={name}\0");
            std::fs::write(place.path().join(format!("{name}.ko")), content).unwrap();
        }
        let always = ["virtio_pci", "virtio_blk", "virtio_console"];
        let asked = always.iter().chain(asked).copied();
        let chosen = Modules::of(place.path())?.choose_all(asked)?;
        Ok(chosen.into_iter().map(|module| module.name).collect())
    }

    const BASE: [(&str, &str); 5] = [
        ("virtio", ""),
        ("virtio_ring", ""),
        ("virtio_pci", "virtio_ring,virtio"),
        ("virtio_blk", "virtio,virtio_ring"),
        ("virtio_console", "virtio"),
    ];

    #[test]
    fn a_module_comes_after_what_it_depends_on() {
        let modules = [
            &BASE[..],
            &[("deep-one", "deep_two"), ("deep_two", "built_in")],
        ]
        .concat();
        let order = order(&modules, &["deep_one"]).unwrap();
        let expected = [
            "virtio_ring",
            "virtio",
            "virtio_pci",
            "virtio_blk",
            "virtio_console",
            "deep_two",
            "deep_one",
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn what_is_asked_for_must_be_there() {
        let error = order(&BASE, &["xfs"]).unwrap_err();
        assert_eq!(error.to_string(), "the guests' kernel has no module xfs");
    }
}
