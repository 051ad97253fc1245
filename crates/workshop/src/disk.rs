//! A disk of a guest: what QEMU is told of it.

use anyhow::{Context, Result};
use std::fs::File;
use std::path::Path;

/// A disk: a graph of QEMU's block nodes, the last of which the guest sees.
#[derive(Debug, Clone)]
pub struct Disk {
    /// Values of `-blockdev`, each after those that it stands on.
    pub(crate) nodes: Vec<String>,
    /// The name of the node that the guest sees.
    pub(crate) node: String,
}

impl Disk {
    /// A raw image that is made anew, of zeros.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: &Path, bytes: u64) -> Result<Self> {
        let made = File::create(path).and_then(|file| file.set_len(bytes));
        made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self::raw(path))
    }

    /// A raw image. What the guest has flushed is in the file's pages, and not always on the host's
    /// disk: a host that goes on is enough for a test.
    #[must_use]
    pub fn raw(path: &Path) -> Self {
        Self::image(path, "raw", "cache.no-flush=on,discard=unmap")
    }

    /// A qcow2 image.
    #[must_use]
    pub fn qcow2(path: &Path) -> Self {
        Self::image(path, "qcow2", "discard=unmap")
    }

    fn image(path: &Path, format: &str, options: &str) -> Self {
        let node = name_of(path);
        let file = option(path);
        Self {
            nodes: vec![format!(
                "driver={format},node-name={node},{options},file.driver=file,file.filename={file}"
            )],
            node,
        }
    }

    /// A raw image, and a log of every write to it, in the order in which they ended, with the
    /// flushes between them: the format of the kernel's `dm-log-writes`.
    #[must_use]
    pub fn logged(path: &Path, log: &Path) -> Self {
        let mut disk = Self::raw(path);
        let (node, below, file) = (format!("{}-logged", disk.node), &disk.node, option(log));
        disk.nodes.push(format!(
            "driver=blklogwrites,node-name={node},file={below},log.driver=file,log.filename={file}"
        ));
        disk.node = node;
        disk
    }

    /// A graph of the caller's own: values of `-blockdev`, and the name of the node for the guest.
    #[must_use]
    pub fn of_nodes(nodes: Vec<String>, node: &str) -> Self {
        Self {
            nodes,
            node: node.to_owned(),
        }
    }
}

/// A node's name: QEMU takes letters, digits and a few marks, at most 31.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let kept = stem.chars().filter(char::is_ascii_alphanumeric).take(16);
    format!("disk-{}", kept.collect::<String>())
}

/// A comma ends a value in QEMU's option lists; a doubled one is a comma.
pub(crate) fn option(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_whole_in_an_option() {
        let disk = Disk::raw(Path::new("/a,b/c-d.raw"));
        assert_eq!(disk.node, "disk-cd");
        assert!(disk.nodes[0].ends_with("file.filename=/a,,b/c-d.raw"));
    }

    #[test]
    fn a_log_stands_on_its_image() {
        let disk = Disk::logged(Path::new("/one.raw"), Path::new("/one.log"));
        assert_eq!(disk.node, "disk-one-logged");
        assert!(disk.nodes[1].contains("file=disk-one,"));
    }
}
