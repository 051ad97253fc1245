//! The log, and what it says of the blocks that it tells of.
//!
//! ```text
//!  log     a ring of sectors; each starts with the number of its round in place of its own word
//!  record  header: 0 feedbabe  4 round  12 length  16 place  24 oldest record that counts  32 sum
//!                  40 operations  44 the words that rounds have replaced  320 room
//!          data: operations: 0 transaction, 4 length, 8 whose, 9 flags, 12 a part of an item
//!  item    part 0 says what it is; the others are what changed: of a buffer pieces of 128 bytes,
//!          of an inode its core and forks
//! ```
//!
//! What was committed is read in its place; nothing is written. As the kernel does, what was last
//! written half is left out by its sum, buffers that were cancelled later are left out, and so is
//! what the disk has newer. Intents that were not completed change no file's names or data and are
//! left as they are.

mod apply;
mod ring;
mod transaction;

use std::ops::ControlFlow;

use crate::read_at::ReadAt;
use crate::system::SystemError;
use crate::xfs::device::Sectors;
use crate::xfs::superblock::Superblock;
use apply::{Apply, Cancelled};
use ring::Ring;
use transaction::Transactions;

/// Replays the log: gives the sectors that it leaves other than the disk has them.
pub(super) fn replay(superblock: &Superblock, source: &dyn ReadAt) -> Result<Sectors, SystemError> {
    let Some((start, blocks)) = superblock.log() else {
        return match superblock.log_start {
            // It lies on another disk: whether it is clean is not known.
            0 => Err(crate::xfs::XFS.features("a log on another device")),
            _ => Err(crate::xfs::XFS.not("its log lies past the end")),
        };
    };
    let ring = Ring::new(superblock, source, start, blocks);
    let Some(range) = ring.dirty()? else {
        return Ok(Sectors::new());
    };
    // The first pass gathers what was cancelled, the second applies the rest.
    let mut cancelled = Cancelled::default();
    let mut transactions = Transactions::default();
    ring.each_record(&range, &mut |record| {
        transactions.take(record, &mut |transaction| {
            cancelled.gather(transaction);
            Ok(())
        })?;
        Ok(ControlFlow::Continue(()))
    })?;
    let mut apply = Apply::new(superblock, source, cancelled);
    let mut transactions = Transactions::default();
    ring.each_record(&range, &mut |record| {
        transactions.take(record, &mut |transaction| apply.transaction(transaction))?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(apply.sectors)
}
