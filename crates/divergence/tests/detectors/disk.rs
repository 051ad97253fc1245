//! What was written to the disk: content, blocks that one side wrote alone, and where they lie.

use crate::case::{Case, Fault, cases};
use model::{FindingKind, Part};
use state::{TerminalState, disk_block_name};

fn wrong(locus: &'static str, fault: Fault) -> Case {
    Case::named(FindingKind::SilentWrongOutput, Part::Disk, locus, fault)
}

fn byte(state: &mut TerminalState, block: u64, at: usize) {
    state.disk.get_mut(&disk_block_name(block)).unwrap()[at] ^= 1;
}

cases! {
    the_first_byte_of_the_disk => wrong("0x0", |state| byte(state, 0, 0));
    the_last_byte_of_a_block => wrong("0x10018", |state| byte(state, 0x1_0000, 31));
    the_ninth_byte_of_a_block => wrong("0x10008", |state| byte(state, 0x1_0000, 8));
    a_block_that_one_did_not_write => wrong("0x10000", |state| {
        state.disk.remove(&disk_block_name(0x1_0000));
    });
    a_block_that_one_wrote_alone => wrong("0x20000", |state| {
        state.disk.insert(disk_block_name(0x2_0000), vec![0; 32]);
    });
    a_block_at_another_place => wrong("0x10000", |state| {
        let block = state.disk.remove(&disk_block_name(0x1_0000)).unwrap();
        state.disk.insert(disk_block_name(0x3_0000), block);
    });
    a_disk_of_the_last_of_sixty_four => wrong("0x0", |state| byte(state, 0, 7)).in_replica(63, 64);
    a_disk_of_one_of_two => wrong("0x0", |state| byte(state, 0, 0)).of_two();
}
