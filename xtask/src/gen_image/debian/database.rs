//! dpkg's database of packages that were unpacked, as dpkg itself would have written it: `status`,
//! and what each package brought along in `info`.
//!
//! A package that can be installed for several architectures has its architecture in the names of its
//! files. Sums of settings stand in `status`, for that is what dpkg compares them with.

use super::super::tools::tool;
use anyhow::Context;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub(super) struct Database {
    tree: PathBuf,
    admin: PathBuf,
    status: String,
}

impl Database {
    /// An empty one below a root directory.
    pub(super) fn create(tree: &Path) -> anyhow::Result<Self> {
        let admin = tree.join("var/lib/dpkg");
        for directory in ["info", "updates", "triggers", "parts", "alternatives"] {
            fs::create_dir_all(admin.join(directory))?;
        }
        fs::write(admin.join("info/format"), "1\n")?;
        for file in ["available", "diversions", "statoverride"] {
            fs::write(admin.join(file), "")?;
        }
        Ok(Self {
            tree: tree.to_owned(),
            admin,
            status: String::new(),
        })
    }

    /// Adds a package whose files are in their places.
    pub(super) fn add(&mut self, deb: &Path, control: &str, paths: &[&str]) -> anyhow::Result<()> {
        let field = |name: &str| {
            let lines = control.lines();
            let values = lines.map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            values.flatten().next()
        };
        let package = field("Package").context("a package has no name")?;
        let name = match (field("Multi-Arch"), field("Architecture")) {
            (Some("same"), Some(architecture)) => format!("{package}:{architecture}"),
            _ => package.to_owned(),
        };
        let info = self.admin.join("info");
        let list = paths.join("\n") + "\n";
        fs::write(info.join(format!("{name}.list")), list)?;
        let brought = tempfile::TempDir::new().context("cannot make a directory")?;
        let (from, to) = (deb.to_str(), brought.path().to_str());
        let (from, to) = from.zip(to).context("the path is not UTF-8")?;
        tool("dpkg-deb", &["-e", from, to], 0)?;
        for entry in fs::read_dir(brought.path())? {
            let entry = entry?;
            let file = entry.file_name().into_string().ok();
            let file = file.context("a package's own file has no UTF-8 name")?;
            if file != "control" {
                fs::copy(entry.path(), info.join(format!("{name}.{file}")))?;
            }
        }
        let settings = brought.path().join("conffiles");
        let settings = match settings.exists() {
            true => self.settings(&fs::read_to_string(settings)?)?,
            false => String::new(),
        };
        let (head, rest) = control.split_once('\n').context("a package says nothing")?;
        let rest = rest.trim_end();
        write!(
            self.status,
            "{head}\nStatus: install ok installed\n{settings}{rest}\n\n"
        )?;
        Ok(())
    }

    /// The field `Conffiles`: each with its sum.
    fn settings(&self, listed: &str) -> anyhow::Result<String> {
        let mut field = String::new();
        // A line with a word before the path is of a setting that is to go.
        for path in listed.lines().filter(|line| line.starts_with('/')) {
            let place = self.tree.join(&path[1..]);
            let place = place.to_str().context("the path is not UTF-8")?;
            let said = tool("md5sum", &[place], 0)?;
            let sum = said.split(' ').next().context("md5sum says nothing")?;
            let head = if field.is_empty() { "Conffiles:\n" } else { "" };
            writeln!(field, "{head} {path} {sum}")?;
        }
        Ok(field)
    }

    /// Writes `status`.
    pub(super) fn end(self) -> anyhow::Result<()> {
        fs::write(self.admin.join("status"), &self.status)?;
        fs::write(self.admin.join("status-old"), &self.status)?;
        Ok(())
    }
}
