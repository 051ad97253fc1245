//! The tags of fast commits, as they lie in the journal behind its log.
//!
//! ```text
//!  each block   tags, one after the other: 0 tag, 2 length of what follows, 4 it
//!    1 add a range     0 inode   4 an extent as a leaf of extents has it
//!    2 delete a range  0 inode   4 first block of the file   8 how many
//!    3 create, 4 link, 5 unlink   0 directory   4 inode   8 name
//!    6 inode           0 inode   4 its bytes, as far as its known fields go
//!    7 padding         to the end of the block
//!    8 tail            0 transaction   4 sum of all tags since the last tail; to the end of the block
//!    9 head            0 features   4 transaction: the first tag of the area
//! ```
//!
//! All little-endian. Sources: the kernel's documentation of ext4, `lib/ext2fs/fast_commit.h` of
//! e2fsprogs.
//!
//! A fast commit counts if its tail has the sum of it, and the number of the transaction that would
//! have come next. The first one that has not ends them: behind it lies what an earlier time left.

use crate::bytes::{Fields, Short, saturate};
use crate::ext::error::{ExtError, limited};
use crate::ext::map::{Extent, leaf};
use crate::ext::sums::sum;

/// How much of fast commits is read: e2fsprogs keeps a sixty-fourth of the journal for them, 16 MiB
/// of its largest one with blocks of 4 KiB.
const MAX_BYTES: u64 = 64 << 20;

/// How many tags are replayed: each looks at one inode or two.
const MAX_TAGS: u64 = 1 << 20;

/// A tag and its length.
const HEADER_BYTES: usize = 4;

/// What comes before a name.
const NAME_AT: usize = 8;

/// The longest name.
const MAX_NAME_BYTES: usize = 255;

/// The first part of an inode, which all have.
const MIN_INODE_BYTES: usize = 128;

/// What comes before the sum in a tail.
const SUM_AT: usize = 4;

/// A name in a directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) directory: u32,
    pub(super) inode: u32,
    pub(super) name: Vec<u8>,
}

/// Something that was done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tag {
    AddRange(u32, Extent),
    DeleteRange { inode: u32, first: u64, blocks: u64 },
    Create(Named),
    Link(Named),
    Unlink(Named),
    Inode(u32, Vec<u8>),
}

/// What was committed fast, in order.
#[derive(Debug, Default)]
pub(in crate::ext) struct Commits {
    pub(super) tags: Vec<Tag>,
    /// How many commits they are of.
    pub(in crate::ext) count: u64,
    /// Whether the last one is of the right transaction and has another sum than it says.
    pub(in crate::ext) ends_damaged: bool,
}

/// What a tag says of the commit that it stands in.
enum Step {
    Goes,
    /// The commit is whole; its block holds no more.
    Whole,
    /// Nothing counts from here on.
    Ends,
}

/// Reads commits block by block.
pub(in crate::ext) struct Reader {
    sequence: u32,
    commits: Commits,
    /// Tags of the commit that has no tail yet.
    open: Vec<Tag>,
    sum: u32,
    bytes: u64,
    tags: u64,
    inode_bytes: usize,
}

impl Reader {
    /// Reads fast commits that came after the last transaction of the log: `sequence` is the number
    /// of the next one.
    pub(in crate::ext) fn new(sequence: u32, inode_bytes: u64) -> Self {
        Self {
            sequence,
            commits: Commits::default(),
            open: Vec::new(),
            sum: 0,
            bytes: 0,
            tags: 0,
            inode_bytes: saturate(inode_bytes),
        }
    }

    /// Reads the next block; false if there is nothing behind it.
    pub(in crate::ext) fn take(&mut self, block: &[u8]) -> Result<bool, ExtError> {
        let is_first = self.bytes == 0;
        if is_first && !Fields(block).le16(0).is_ok_and(|tag| tag == HEAD) {
            return Ok(false);
        }
        self.bytes = self.bytes.saturating_add(block.len() as u64);
        limited("bytes of fast commits", self.bytes, MAX_BYTES)?;
        let mut at = 0usize;
        while at.saturating_add(HEADER_BYTES) <= block.len() {
            let rest = Fields(block.get(at..).unwrap_or_default());
            let Ok((tag, value)) = header(rest) else {
                return Ok(false);
            };
            self.tags = self.tags.saturating_add(1);
            limited("tags of fast commits", self.tags, MAX_TAGS)?;
            let length = HEADER_BYTES.saturating_add(value.len());
            match self.step(tag, rest, Fields(value)).unwrap_or(Step::Ends) {
                Step::Goes => at = at.saturating_add(length),
                Step::Whole => break,
                Step::Ends => return Ok(false),
            }
        }
        Ok(true)
    }

    /// What was committed.
    pub(in crate::ext) fn end(self) -> Commits {
        self.commits
    }

    fn step(&mut self, tag: u16, rest: Fields<'_>, value: Fields<'_>) -> Result<Step, Short> {
        if tag == TAIL {
            return self.tail(rest, value);
        }
        if tag == HEAD && (value.le32(0)? != 0 || value.le32(4)? != self.sequence) {
            return Ok(Step::Ends);
        }
        let done = match tag {
            HEAD | PADDING => None,
            _ => match self.parsed(tag, value)? {
                Some(done) => Some(done),
                None => return Ok(Step::Ends),
            },
        };
        let bytes = rest.part(0, HEADER_BYTES.saturating_add(value.0.len()))?;
        self.sum = sum(self.sum, bytes);
        self.open.extend(done);
        Ok(Step::Goes)
    }

    fn tail(&mut self, rest: Fields<'_>, value: Fields<'_>) -> Result<Step, Short> {
        let found = sum(self.sum, rest.part(0, HEADER_BYTES.saturating_add(SUM_AT))?);
        if value.le32(0)? != self.sequence {
            return Ok(Step::Ends);
        }
        if value.le32(SUM_AT)? != found {
            self.commits.ends_damaged = true;
            return Ok(Step::Ends);
        }
        self.sum = 0;
        self.commits.count = self.commits.count.saturating_add(1);
        self.commits.tags.append(&mut self.open);
        Ok(Step::Whole)
    }

    /// What a tag stands for; none if its length cannot be.
    fn parsed(&self, tag: u16, value: Fields<'_>) -> Result<Option<Tag>, Short> {
        let length = value.0.len();
        let inode = value.le32(0)?;
        let rest = |at: usize| value.part(at, length.saturating_sub(at));
        Ok(match (tag, length) {
            (ADD_RANGE, 16) => Some(Tag::AddRange(inode, leaf(Fields(rest(4)?))?)),
            (DELETE_RANGE, 12) => Some(Tag::DeleteRange {
                inode,
                first: value.le32(4)?.into(),
                blocks: value.le32(8)?.into(),
            }),
            (CREATE | LINK | UNLINK, length)
                if (1..=MAX_NAME_BYTES).contains(&length.saturating_sub(NAME_AT)) =>
            {
                let named = Named {
                    directory: inode,
                    inode: value.le32(4)?,
                    name: rest(NAME_AT)?.to_vec(),
                };
                Some(match tag {
                    CREATE => Tag::Create(named),
                    LINK => Tag::Link(named),
                    _ => Tag::Unlink(named),
                })
            }
            (INODE, length)
                if (MIN_INODE_BYTES..=self.inode_bytes).contains(&length.saturating_sub(4)) =>
            {
                Some(Tag::Inode(inode, rest(4)?.to_vec()))
            }
            _ => None,
        })
    }
}

const ADD_RANGE: u16 = 1;
const DELETE_RANGE: u16 = 2;
const CREATE: u16 = 3;
const LINK: u16 = 4;
const UNLINK: u16 = 5;
const INODE: u16 = 6;
const PADDING: u16 = 7;
const TAIL: u16 = 8;
const HEAD: u16 = 9;

/// A tag, and what belongs to it.
fn header(fields: Fields<'_>) -> Result<(u16, &[u8]), Short> {
    let length = usize::from(fields.le16(2)?);
    Ok((fields.le16(0)?, fields.part(HEADER_BYTES, length)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BLOCK: usize = 1024;

    fn tag(number: u16, value: &[u8]) -> Vec<u8> {
        let length = (value.len() as u16).to_le_bytes();
        [&number.to_le_bytes()[..], &length, value].concat()
    }

    fn named(number: u16, name: &[u8]) -> Vec<u8> {
        tag(number, &[&[2, 0, 0, 0, 12, 0, 0, 0], name].concat())
    }

    /// A block with these tags and a tail.
    fn block(tags: &[Vec<u8>], sequence: u32) -> Vec<u8> {
        let mut bytes = tags.concat();
        let tail = TAIL.to_le_bytes();
        let length = ((BLOCK - bytes.len() - HEADER_BYTES) as u16).to_le_bytes();
        bytes.extend([&tail[..], &length, &sequence.to_le_bytes()].concat());
        let found = sum(0, &bytes);
        bytes.extend(found.to_le_bytes());
        bytes.resize(BLOCK, 0xee);
        bytes
    }

    fn head(sequence: u32) -> Vec<u8> {
        tag(HEAD, &[[0; 4], sequence.to_le_bytes()].concat())
    }

    fn read(blocks: &[Vec<u8>]) -> Commits {
        let mut reader = Reader::new(7, 256);
        for block in blocks {
            if !reader.take(block).unwrap() {
                break;
            }
        }
        reader.end()
    }

    #[test]
    fn whole_commits_of_the_next_transaction_count() {
        let first = block(&[head(7), named(LINK, b"one")], 7);
        let second = block(&[named(UNLINK, b"two")], 7);
        let old = block(&[named(UNLINK, b"three")], 6);
        let found = read(&[first.clone(), second.clone(), old]);
        assert_eq!((found.count, found.ends_damaged), (2, false));
        let named = |name: &[u8]| Named {
            directory: 2,
            inode: 12,
            name: name.to_vec(),
        };
        assert_eq!(
            found.tags,
            [Tag::Link(named(b"one")), Tag::Unlink(named(b"two"))]
        );
        let mut torn = second;
        torn[12] ^= 1;
        let found = read(&[first.clone(), torn]);
        assert_eq!(
            (found.count, found.tags.len(), found.ends_damaged),
            (1, 1, true)
        );
        let other = block(&[head(8), super::tests::named(LINK, b"one")], 8);
        assert_eq!(read(&[other]).count, 0);
        assert_eq!(read(&[vec![0; BLOCK], first]).count, 0);
    }

    #[test]
    fn a_commit_goes_on_in_the_next_block() {
        let mut first = [head(7), named(CREATE, b"one")].concat();
        let padding = vec![0; BLOCK - first.len() - HEADER_BYTES];
        first.extend(tag(PADDING, &padding));
        let mut tail = named(LINK, b"two");
        tail.extend(
            [
                &TAIL.to_le_bytes()[..],
                &100u16.to_le_bytes(),
                &7u32.to_le_bytes(),
            ]
            .concat(),
        );
        let found = sum(sum(0, &first), &tail);
        tail.extend(found.to_le_bytes());
        tail.resize(BLOCK, 0);
        assert_eq!(read(&[first.clone(), tail]).tags.len(), 2);
        assert_eq!(read(&[first]).tags.len(), 0);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(
            tags in proptest::collection::vec(
                (0..10u16, proptest::collection::vec(any::<u8>(), 0..40)), 0..9,
            ),
            end in 0..BLOCK,
        ) {
            let mut tags: Vec<_> = tags.iter().map(|(number, value)| tag(*number, value)).collect();
            tags.insert(0, head(7));
            let mut bytes = block(&tags, 7);
            bytes.truncate(end);
            let mut reader = Reader::new(7, 256);
            let _goes_on_or_not = reader.take(&bytes);
        }
    }
}
