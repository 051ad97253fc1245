//! What each block of a volume is, gathered from what claims it.

use crate::system::{Class, Object, Says, SystemError};

/// How many claims are kept: 32 million take a gigabyte.
const MAX_CLAIMS: u64 = 32 << 20;

/// How many claims before a block are looked at for one that covers it. In a sound file system the
/// last one does.
const STEPS_BACK: usize = 8;

/// What a block is, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What it is.
    pub class: Class,
    /// The object that it belongs to.
    pub object: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Claim {
    start: u64,
    blocks: u64,
    class: Class,
    object: Option<u64>,
}

/// What each block of a file system is.
#[derive(Debug, Default)]
pub struct Layout {
    claims: Vec<Claim>,
    /// Where the file system ends.
    end: u64,
}

impl Layout {
    /// Says where the file system ends, in blocks.
    pub(crate) fn end_at(&mut self, blocks: u64) {
        self.end = blocks;
    }

    /// Gives blocks a class. Where two claim a block, the one that starts later has it.
    pub(crate) fn put(
        &mut self,
        class: Class,
        object: Option<u64>,
        start: u64,
        blocks: u64,
    ) -> Result<(), SystemError> {
        if blocks == 0 {
            return Ok(());
        }
        if let Some(last) = self.claims.last_mut()
            && (last.class, last.object) == (class, object)
            && last.start.saturating_add(last.blocks) == start
        {
            last.blocks = last.blocks.saturating_add(blocks);
            return Ok(());
        }
        let count = (self.claims.len() as u64).saturating_add(1);
        Says("volume's").limited("places", count, MAX_CLAIMS)?;
        self.claims.push(Claim {
            start,
            blocks,
            class,
            object,
        });
        Ok(())
    }

    /// Gives an object what it has. Blocks behind the volume's end, which are read from others, are
    /// nobody's here: the object has the others too.
    pub(super) fn claim_object(
        &mut self,
        object: &Object,
        source_bytes: u64,
        block_bytes: u64,
    ) -> Result<(), SystemError> {
        let number = Some(object.number);
        let end = source_bytes.div_ceil(block_bytes.max(1));
        for extent in object.extents.iter().filter(|one| one.physical < end) {
            self.put(object.class, number, extent.physical, extent.blocks.into())?;
        }
        for (class, run) in &object.others {
            self.put(*class, number, run.start, run.blocks)?;
        }
        Ok(())
    }

    pub(super) fn sort(&mut self) {
        // What is free is the weakest claim.
        self.claims
            .sort_by_key(|claim| (claim.start, claim.class != Class::Free));
    }

    /// What a block is.
    #[must_use]
    pub fn at(&self, block: u64) -> Owner {
        let bare = |class| Owner {
            class,
            object: None,
        };
        if block >= self.end {
            return bare(Class::Outside);
        }
        let after = self.claims.partition_point(|claim| claim.start <= block);
        let before = self.claims.get(..after).unwrap_or_default().iter().rev();
        let mut covering = before
            .take(STEPS_BACK)
            .filter(|claim| claim.start.saturating_add(claim.blocks) > block);
        covering.next().map_or(bare(Class::Unowned), |claim| Owner {
            class: claim.class,
            object: claim.object,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_belong_to_who_claims_them() {
        let mut layout = Layout::default();
        layout.end_at(20);
        layout.put(Class::Free, None, 10, 5).unwrap();
        layout.put(Class::File, Some(7), 3, 2).unwrap();
        layout.put(Class::File, Some(7), 5, 1).unwrap();
        layout.put(Class::Superblock, None, 0, 1).unwrap();
        assert_eq!(layout.claims.len(), 3);
        layout.sort();
        let class = |block| layout.at(block).class;
        assert_eq!(class(0), Class::Superblock);
        assert_eq!(class(1), Class::Unowned);
        assert_eq!(layout.at(5).object, Some(7));
        assert_eq!(class(6), Class::Unowned);
        assert_eq!(class(14), Class::Free);
        assert_eq!(class(15), Class::Unowned);
        assert_eq!(class(20), Class::Outside);
    }
}
