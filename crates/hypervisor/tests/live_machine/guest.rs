//! A guest that writes: one sector of machine code, started from a floppy. It needs no kernel and
//! no driver, is ready at once, and what it has written after k writes is known.
//!
//! A thousand times a second it fills 4 KiB with the number of the write and writes them to a drawn
//! block, to its two disks in turn; the next write begins when the last has ended. So a disk at any
//! moment is what a number of writes have made of it, and both disks are that for the same number.

/// The disks' size: 16384 blocks of 4 KiB.
pub(crate) const DISK_BYTES: u64 = 64 << 20;

/// A block.
pub(crate) const BLOCK_BYTES: usize = 4096;

/// After how many writes the guest sends a byte.
pub(crate) const BEAT: u64 = 32;

/// The byte that it sends when a write failed.
pub(crate) const FAILED: u8 = 0xff;

#[rustfmt::skip]
const CODE: &[u8] = &[
    // Stack and data at 0; the timer at 1 kHz.
    0xfa,                                                  // cli
    0x31, 0xc0,                                            // xor    %ax,%ax
    0x8e, 0xd8,                                            // mov    %ax,%ds
    0x8e, 0xd0,                                            // mov    %ax,%ss
    0xbc, 0x00, 0x7c,                                      // mov    $0x7c00,%sp
    0xb0, 0x34,                                            // mov    $0x34,%al
    0xe6, 0x43,                                            // out    %al,$0x43
    0xb0, 0xa9,                                            // mov    $0xa9,%al
    0xe6, 0x40,                                            // out    %al,$0x40
    0xb0, 0x04,                                            // mov    $0x4,%al
    0xe6, 0x40,                                            // out    %al,$0x40
    // next: wait for a tick, count, draw a block.
    0xfb,                                                  // sti
    0xf4,                                                  // hlt
    0x66, 0xff, 0x06, 0x83, 0x7c,                          // incl   count
    0x66, 0x69, 0x06, 0x87, 0x7c, 0x0d, 0x66, 0x19, 0x00,  // imul   $1664525,state,%eax
    0x66, 0x05, 0x5f, 0xf3, 0x6e, 0x3c,                    // add    $1013904223,%eax
    0x66, 0xa3, 0x87, 0x7c,                                // mov    %eax,state
    0x66, 0xc1, 0xe8, 0x12,                                // shr    $18,%eax
    0x66, 0xc1, 0xe0, 0x03,                                // shl    $3,%eax
    0x66, 0xa3, 0x7b, 0x7c,                                // mov    %eax,sector
    // Fill 4 KiB with the count.
    0x66, 0xa1, 0x83, 0x7c,                                // mov    count,%eax
    0xbb, 0x00, 0x10,                                      // mov    $0x1000,%bx
    0x8e, 0xc3,                                            // mov    %bx,%es
    0x31, 0xff,                                            // xor    %di,%di
    0xb9, 0x00, 0x04,                                      // mov    $1024,%cx
    0xfc,                                                  // cld
    0x66, 0xf3, 0xab,                                      // rep stos %eax,%es:(%di)
    // Write them, to the first or the second disk.
    0x88, 0xc2,                                            // mov    %al,%dl
    0x80, 0xe2, 0x01,                                      // and    $1,%dl
    0x80, 0xca, 0x80,                                      // or     $0x80,%dl
    0xbe, 0x73, 0x7c,                                      // mov    $packet,%si
    0xb8, 0x00, 0x43,                                      // mov    $0x4300,%ax
    0xcd, 0x13,                                            // int    $0x13
    0x72, 0x0b,                                            // jc     failed
    // Every 32 writes a byte.
    0xa0, 0x83, 0x7c,                                      // mov    count,%al
    0xa8, 0x1f,                                            // test   $31,%al
    0x75, 0xaf,                                            // jne    next
    0xe6, 0xe9,                                            // out    %al,$0xe9
    0xeb, 0xab,                                            // jmp    next
    // failed:
    0xb0, 0xff,                                            // mov    $0xff,%al
    0xe6, 0xe9,                                            // out    %al,$0xe9
    0xfa,                                                  // cli
    0xf4,                                                  // hlt
    0xeb, 0xf8,                                            // jmp    failed
    // packet: 8 sectors from 1000:0000.
    0x10, 0x00, 0x08, 0x00, 0x00, 0x00, 0x00, 0x10,
    // sector, 64 bits; count; state.
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0,
    1, 0, 0, 0,
];

/// The floppy that it starts from.
pub(crate) fn floppy() -> Vec<u8> {
    let mut floppy = vec![0; 1440 << 10];
    floppy[..CODE.len()].copy_from_slice(CODE);
    floppy[510..512].copy_from_slice(&[0x55, 0xaa]);
    floppy
}

/// The disk and the block of each write, from the first on.
pub(crate) fn writes() -> impl Iterator<Item = (usize, usize)> {
    let mut state: u32 = 1;
    (1..).map(move |count: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((count & 1) as usize, (state >> 18) as usize)
    })
}

/// One disk after a number of writes.
pub(crate) fn disk_after(disk: usize, count: u64) -> Vec<u8> {
    let mut bytes = vec![0; DISK_BYTES as usize];
    for ((to, block), number) in writes().zip(1..=count as u32) {
        if to == disk {
            let filled = number.to_le_bytes().repeat(BLOCK_BYTES / 4);
            bytes[block * BLOCK_BYTES..][..BLOCK_BYTES].copy_from_slice(&filled);
        }
    }
    bytes
}

/// How many blocks of a disk the writes after the first `from` up to `to` have hit.
pub(crate) fn blocks_hit(disk: usize, from: u64, to: u64) -> u64 {
    let some = writes().take(to as usize).skip(from as usize);
    let hit = some.filter_map(|(on, block)| (on == disk).then_some(block));
    hit.collect::<std::collections::BTreeSet<_>>().len() as u64
}

/// How many writes had been made, by the disks' own word.
pub(crate) fn last_write(disks: &[Vec<u8>]) -> u64 {
    let blocks = disks.iter().flat_map(|disk| disk.chunks(BLOCK_BYTES));
    let number = |block: &[u8]| u32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    u64::from(blocks.map(number).max().unwrap_or(0))
}
