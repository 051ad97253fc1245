//! A guest that ticks: one sector of machine code, started from a floppy.
//!
//! A thousand times a second its timer wakes it, and it sends its processor's clock: 32 bits, in units
//! of 1024 cycles. Beside that it writes 4 KiB after 4 KiB to drawn blocks of its disk, by the disk's
//! own transfers, so that it goes on ticking while they are on their way.

/// The disk's size: 16384 blocks of 4 KiB.
pub(crate) const DISK_BYTES: u64 = 64 << 20;

#[rustfmt::skip]
const CODE: &[u8] = &[
    // The timer at 1 kHz.
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
    // The disks' controller may read memory; where its registers are.
    0x66, 0xb8, 0x04, 0x09, 0x00, 0x80,                    // mov    $0x80000904,%eax
    0xba, 0xf8, 0x0c,                                      // mov    $0xcf8,%dx
    0x66, 0xef,                                            // out    %eax,(%dx)
    0xba, 0xfc, 0x0c,                                      // mov    $0xcfc,%dx
    0xed,                                                  // in     (%dx),%ax
    0x0c, 0x05,                                            // or     $0x5,%al
    0xef,                                                  // out    %ax,(%dx)
    0x66, 0xb8, 0x20, 0x09, 0x00, 0x80,                    // mov    $0x80000920,%eax
    0xba, 0xf8, 0x0c,                                      // mov    $0xcf8,%dx
    0x66, 0xef,                                            // out    %eax,(%dx)
    0xba, 0xfc, 0x0c,                                      // mov    $0xcfc,%dx
    0x66, 0xed,                                            // in     (%dx),%eax
    0x24, 0xfc,                                            // and    $0xfc,%al
    0x89, 0xc5,                                            // mov    %ax,%bp
    0x66, 0xc7, 0x06, 0x00, 0x80, 0x00, 0x00, 0x01, 0x00,  // movl   $0x10000,-0x8000
    0x66, 0xc7, 0x06, 0x04, 0x80, 0x00, 0x10, 0x00, 0x80,  // movl   $0x80001000,-0x7ffc
    // next: a tick, then a block that is drawn, and filled with the count.
    0xe8, 0x86, 0x00,                                      // call   0xd7
    0x66, 0xff, 0x06, 0xec, 0x7c,                          // incl   0x7cec
    0x66, 0x69, 0x06, 0xf0, 0x7c, 0x0d, 0x66, 0x19, 0x00,  // imul   $0x19660d,0x7cf0,%eax
    0x66, 0x05, 0x5f, 0xf3, 0x6e, 0x3c,                    // add    $0x3c6ef35f,%eax
    0x66, 0xa3, 0xf0, 0x7c,                                // mov    %eax,0x7cf0
    0x66, 0xc1, 0xe8, 0x12,                                // shr    $0x12,%eax
    0x66, 0xc1, 0xe0, 0x03,                                // shl    $0x3,%eax
    0x66, 0x89, 0xc3,                                      // mov    %eax,%ebx
    0x66, 0xa1, 0xec, 0x7c,                                // mov    0x7cec,%eax
    0xba, 0x00, 0x10,                                      // mov    $0x1000,%dx
    0x8e, 0xc2,                                            // mov    %dx,%es
    0x31, 0xff,                                            // xor    %di,%di
    0xb9, 0x00, 0x04,                                      // mov    $0x400,%cx
    0xfc,                                                  // cld
    0x66, 0xf3, 0xab,                                      // rep stos %eax,%es:(%di)
    0x89, 0xea,                                            // mov    %bp,%dx
    0x30, 0xc0,                                            // xor    %al,%al
    0xee,                                                  // out    %al,(%dx)
    0x83, 0xc2, 0x02,                                      // add    $0x2,%dx
    0xb0, 0x06,                                            // mov    $0x6,%al
    0xee,                                                  // out    %al,(%dx)
    0x83, 0xc2, 0x02,                                      // add    $0x2,%dx
    0x66, 0xb8, 0x00, 0x80, 0x00, 0x00,                    // mov    $0x8000,%eax
    0x66, 0xef,                                            // out    %eax,(%dx)
    0xba, 0xf6, 0x01,                                      // mov    $0x1f6,%dx
    0xb0, 0xe0,                                            // mov    $0xe0,%al
    0xee,                                                  // out    %al,(%dx)
    0xba, 0xf2, 0x01,                                      // mov    $0x1f2,%dx
    0xb0, 0x08,                                            // mov    $0x8,%al
    0xee,                                                  // out    %al,(%dx)
    0x42,                                                  // inc    %dx
    0x88, 0xd8,                                            // mov    %bl,%al
    0xee,                                                  // out    %al,(%dx)
    0x42,                                                  // inc    %dx
    0x88, 0xf8,                                            // mov    %bh,%al
    0xee,                                                  // out    %al,(%dx)
    0x42,                                                  // inc    %dx
    0x66, 0xc1, 0xeb, 0x10,                                // shr    $0x10,%ebx
    0x88, 0xd8,                                            // mov    %bl,%al
    0xee,                                                  // out    %al,(%dx)
    0xba, 0xf7, 0x01,                                      // mov    $0x1f7,%dx
    0xb0, 0xca,                                            // mov    $0xca,%al
    0xee,                                                  // out    %al,(%dx)
    0x89, 0xea,                                            // mov    %bp,%dx
    0xb0, 0x01,                                            // mov    $0x1,%al
    0xee,                                                  // out    %al,(%dx)
    // Ticks until the transfer has ended.
    0xe8, 0x11, 0x00,                                      // call   0xd7
    0x89, 0xea,                                            // mov    %bp,%dx
    0x83, 0xc2, 0x02,                                      // add    $0x2,%dx
    0xec,                                                  // in     (%dx),%al
    0xa8, 0x04,                                            // test   $0x4,%al
    0x74, 0xf3,                                            // je     0xc3
    0xba, 0xf7, 0x01,                                      // mov    $0x1f7,%dx
    0xec,                                                  // in     (%dx),%al
    0xe9, 0x77, 0xff,                                      // jmp    0x4e
    0xfb,                                                  // sti
    0xf4,                                                  // hlt
    0x0f, 0x31,                                            // rdtsc
    0x66, 0x0f, 0xac, 0xd0, 0x0a,                          // shrd   $0xa,%edx,%eax
    0xb9, 0x04, 0x00,                                      // mov    $0x4,%cx
    0xe6, 0xe9,                                            // out    %al,$0xe9
    0x66, 0xc1, 0xe8, 0x08,                                // shr    $0x8,%eax
    0xe2, 0xf8,                                            // loop   0xe3
    0xc3,                                                  // ret
    // count, state
    0, 0, 0, 0,
    1, 0, 0, 0,
];

/// The floppy that it starts from.
pub(crate) fn floppy() -> Vec<u8> {
    let mut floppy = vec![0; 1440 << 10];
    for (place, byte) in floppy.iter_mut().zip(CODE) {
        *place = *byte;
    }
    for (place, byte) in floppy.iter_mut().skip(510).zip([0x55, 0xaa]) {
        *place = byte;
    }
    floppy
}
