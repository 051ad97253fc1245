//! Transactions, put together of the parts that records hold, in any mixture.

use std::collections::BTreeMap;

use crate::bytes::{Fields, saturate};
use crate::system::SystemError;
use crate::xfs::XFS;
use crate::xfs::log::ring::Record;

const HEADER_BYTES: usize = 12;

const START: u8 = 0x01;
const COMMIT: u8 = 0x02;
const CONTINUES: u8 = 0x04;
const CONTINUED: u8 = 0x08;
const END: u8 = 0x10;
const UNMOUNT: u8 = 0x20;

/// How long what is not committed yet may be together: no log is longer than 2 GiB, and most of it
/// is committed.
const MAX_OPEN_BYTES: u64 = 256 << 20;

/// Something that a transaction changes: what it is, and its new parts.
#[derive(Clone, Debug, Default)]
pub(super) struct Item {
    pub(super) parts: Vec<Vec<u8>>,
    /// How many parts it will have.
    total: usize,
}

impl Item {
    /// What kind of item it is.
    pub(super) fn kind(&self) -> u16 {
        let first = self.parts.first().map_or(&[][..], Vec::as_slice);
        Fields(first).le16(0).unwrap_or(0)
    }
}

/// What belongs together.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    /// Round and place of the record that it begins in.
    pub(super) place: u64,
    pub(super) items: Vec<Item>,
    has_header: bool,
}

/// Transactions that are not committed yet, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    open: BTreeMap<u32, Transaction>,
    bytes: u64,
}

/// Takes a transaction that is committed.
type TakeTransaction<'a> = dyn FnMut(&Transaction) -> Result<(), SystemError> + 'a;

impl Transactions {
    /// Goes through a record's operations; gives `take` what is committed.
    pub(super) fn take(
        &mut self,
        record: &Record,
        take: &mut TakeTransaction<'_>,
    ) -> Result<(), SystemError> {
        let mut at = 0usize;
        for _ in 0..record.operations {
            if at >= record.data.len() {
                break;
            }
            let fields = Fields(record.data.get(at..).unwrap_or_default());
            let operation = || {
                let length = saturate(fields.be32(4)?.into());
                let part = fields.part(HEADER_BYTES, length)?;
                Ok((fields.be32(0)?, fields.byte(9)?, part))
            };
            let (number, flags, part) = operation().map_err(XFS.short("the log"))?;
            at = at.saturating_add(HEADER_BYTES).saturating_add(part.len());
            self.bytes = self.bytes.saturating_add(part.len() as u64);
            XFS.limited("transactions in bytes", self.bytes, MAX_OPEN_BYTES)?;
            self.operation(record.place, (number, flags), part, take)?;
        }
        Ok(())
    }

    fn operation(
        &mut self,
        place: u64,
        (number, flags): (u32, u8),
        part: &[u8],
        take: &mut TakeTransaction<'_>,
    ) -> Result<(), SystemError> {
        let flags = flags & !END;
        if flags & START != 0 {
            let transaction = Transaction {
                place,
                ..Transaction::default()
            };
            self.open.insert(number, transaction);
            return Ok(());
        }
        // Its start was before the oldest record that counts: all of it is on the disk.
        let Some(transaction) = self.open.get_mut(&number) else {
            return Ok(());
        };
        match flags {
            flags if flags & CONTINUED != 0 => transaction.append(part),
            0 | CONTINUES => transaction.add(part),
            COMMIT => {
                if let Some(transaction) = self.open.remove(&number) {
                    let parts = transaction.items.iter().flat_map(|item| &item.parts);
                    let bytes = parts.fold(0u64, |sum, part| sum.saturating_add(part.len() as u64));
                    self.bytes = self.bytes.saturating_sub(bytes);
                    take(&transaction)?;
                }
            }
            UNMOUNT => drop(self.open.remove(&number)),
            _ => return Err(XFS.place("the log", place, "an operation has unknown flags")),
        }
        Ok(())
    }
}

impl Transaction {
    /// Adds a part: of the last item, or the first of a new one. The very first is a header.
    fn add(&mut self, part: &[u8]) {
        if !self.has_header {
            self.has_header = true;
            return;
        }
        let is_whole = |item: &Item| item.parts.len() >= item.total;
        if self.items.last().is_none_or(is_whole) {
            let total = Fields(part).le16(2).unwrap_or(1);
            self.items.push(Item {
                parts: Vec::new(),
                total: usize::from(total).max(1),
            });
        }
        if let Some(item) = self.items.last_mut() {
            item.parts.push(part.to_vec());
        }
    }

    /// Adds the rest of a part that did not fit into the record before.
    fn append(&mut self, rest: &[u8]) {
        let last = self.items.last_mut().and_then(|item| item.parts.last_mut());
        if let Some(part) = last {
            part.extend_from_slice(rest);
        }
    }
}
