//! Where a path lies when directories of it are links: packages still list `/bin/sh` where `/bin` is
//! a link to `usr/bin`.

use crate::files::{FileKind, Tree};
use std::collections::HashMap;

/// The most links on the way to one directory: Linux's limit.
const LINKS_MAX: usize = 40;

/// Directories as they are listed, and where they lie.
#[derive(Debug)]
pub(super) struct Paths<'t> {
    tree: &'t Tree,
    known: HashMap<Vec<u8>, Vec<u8>>,
}

impl<'t> Paths<'t> {
    pub(super) fn new(tree: &'t Tree) -> Self {
        Self {
            tree,
            known: HashMap::new(),
        }
    }

    /// Where a path lies. Its last part is not followed.
    pub(super) fn place(&mut self, path: &[u8]) -> Vec<u8> {
        let Some(end) = path.iter().rposition(|byte| *byte == b'/') else {
            return path.to_vec();
        };
        let (directory, name) = path.split_at(end);
        if let Some(known) = self.known.get(directory) {
            return [known.as_slice(), name].concat();
        }
        let place = self.follow(directory);
        let whole = [place.as_slice(), name].concat();
        self.known.insert(directory.to_vec(), place);
        whole
    }

    /// A directory's path without links; as it is where it leads nowhere.
    fn follow(&self, directory: &[u8]) -> Vec<u8> {
        let mut at: Vec<u8> = Vec::new();
        let mut left = parts(directory);
        let mut links = 0_usize;
        while let Some(part) = left.pop() {
            match part.as_slice() {
                b"." => continue,
                b".." => {
                    let end = at.iter().rposition(|byte| *byte == b'/');
                    at.truncate(end.unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let next = [at.as_slice(), b"/", &part].concat();
            let object = self.tree.find(&next);
            let Some(link) = object.filter(|object| object.kind == FileKind::Symlink) else {
                at = next;
                continue;
            };
            links = links.saturating_add(1);
            if links > LINKS_MAX {
                return directory.to_vec();
            }
            let target = self.tree.target(link.id);
            if target.starts_with(b"/") {
                at.clear();
            }
            left.extend(parts(target));
        }
        at
    }
}

/// The parts of a path, the first one last.
fn parts(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|byte| *byte == b'/');
    let mut parts: Vec<Vec<u8>> = parts
        .filter(|part| !part.is_empty())
        .map(<[u8]>::to_vec)
        .collect();
    parts.reverse();
    parts
}
