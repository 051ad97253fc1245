//! Whose the differing blocks of a disk are: asked of the disk of a replica that holds what the
//! majority holds, by a worker. Where the file system cannot be read they have no owner.

use crate::explain::differences;
use crate::image::{ReplicaDisk, ToldOwner};
use crate::replica::Captured;
use computation::job::sanitise;
use divergence::Analysis;
use model::{Difference, Explanation, FilePlace, Locus, OwnerKind, Part};
use std::collections::BTreeSet;
use std::ops::Range;

/// Bytes of a difference: a word.
const WORD_BYTES: u64 = 8;

/// Gives every difference on a disk its owner.
pub(crate) async fn name(analysis: &mut Analysis, captured: &[Captured], reader: &ReplicaDisk) {
    let places: BTreeSet<u64> = differences(analysis).filter_map(|one| place(one)).collect();
    if places.is_empty() {
        return;
    }
    let right = analysis.majority_replica;
    let right = captured.iter().find(|one| Some(one.record.index) == right);
    let changes = [right, captured.first()].into_iter().flatten();
    let changes = changes.filter_map(|one| one.changes.as_ref()).next();
    let Some(Ok(changes)) = changes.map(std::fs::File::try_clone) else {
        return;
    };
    let parts: Vec<Range<u64>> = places
        .into_iter()
        .map(|start| start..start.saturating_add(WORD_BYTES))
        .collect();
    let told = match reader.owners(Some(changes), parts).await {
        Ok(told) => told,
        Err(error) => {
            tracing::warn!(%error, "what differs on the disk has no owner");
            return;
        }
    };
    for difference in differences(analysis) {
        let Some(at) = place(difference) else {
            continue;
        };
        let owner = told.iter().find(|one| (one.start..one.end).contains(&at));
        if let Some(owner) = owner {
            difference.explanation = Some(Box::new(explanation(owner, at)));
        }
    }
}

/// Where on the disk a difference lies.
fn place(difference: &Difference) -> Option<u64> {
    match (difference.part, &difference.locus) {
        (Part::Disk, Locus::Name(name)) => model::address::parse_u64(name).ok(),
        _ => None,
    }
}

/// An owner as differences have it; all text is a guest's.
fn explanation(owner: &ToldOwner, at: u64) -> Explanation {
    let path = owner.path.as_ref().map(|path| sanitise(&path.0));
    let object = owner.object.map(|number| format!("inode {number}"));
    let name = path.or(object);
    let offset = owner
        .offset
        .map(|offset| offset.saturating_add(at.saturating_sub(owner.start)));
    let class = sanitise(owner.class.as_bytes());
    let mut text = match (&name, offset) {
        (Some(name), Some(offset)) => format!("{name} + {offset:#x}"),
        (Some(name), None) => format!("{class} of {name}"),
        (None, _) => class.clone(),
    };
    if let Some((volume, kind)) = &owner.volume {
        let (volume, kind) = (sanitise(volume.as_bytes()), sanitise(kind.as_bytes()));
        text.push_str(&format!(", on {volume} ({kind})"));
    }
    let kind = match class.as_str() {
        "file" => OwnerKind::DiskFile,
        "free" => OwnerKind::DiskFree,
        "unread" | "unowned" | "outside" | "outside-volumes" => OwnerKind::DiskUnknown,
        _ => OwnerKind::DiskMetadata,
    };
    Explanation {
        type_name: None,
        file: name
            .zip(offset)
            .map(|(path, offset)| FilePlace { path, offset }),
        ..Explanation::new(kind, text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(class: &str, path: Option<&[u8]>, offset: Option<u64>) -> Explanation {
        let owner = ToldOwner {
            start: 0x1000,
            end: 0x1100,
            class: class.to_owned(),
            volume: Some(("disk".to_owned(), "ext".to_owned())),
            object: Some(12),
            path: path.map(|path| crate::image::Bytes(path.to_vec())),
            offset,
        };
        explanation(&owner, 0x1018)
    }

    #[test]
    fn a_byte_of_a_file_has_its_path_and_place() {
        let file = told("file", Some(b"/etc/\x1bpasswd"), Some(0x40));
        assert_eq!(file.owner, "/etc/passwd + 0x58, on disk (ext)");
        assert_eq!(file.file.unwrap().offset, 0x58);
        assert_eq!(file.kind, OwnerKind::DiskFile);
    }

    #[test]
    fn what_is_no_files_has_its_class() {
        let directory = told("directory", Some(b"/etc"), None);
        assert_eq!(directory.owner, "directory of /etc, on disk (ext)");
        assert_eq!(directory.kind, OwnerKind::DiskMetadata);
        assert_eq!(
            told("file", None, Some(0)).owner,
            "inode 12 + 0x18, on disk (ext)"
        );
    }
}
