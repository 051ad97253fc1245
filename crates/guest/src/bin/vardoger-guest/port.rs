//! Ports of the x86: output from user mode, once the kernel allows it.
#![expect(
    unsafe_code,
    reason = "port output is an instruction that only assembly has"
)]

use crate::error::GuestError;
use std::arch::asm;
use std::io;

/// Proof that this process may use ports.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ports(());

impl Ports {
    /// Asks the kernel for access to all ports.
    pub(crate) fn open() -> Result<Self, GuestError> {
        // SAFETY: the call changes only this thread's privilege to use ports.
        match unsafe { libc::iopl(3) } {
            0 => Ok(Self(())),
            _ => Err(GuestError::Ports(io::Error::last_os_error())),
        }
    }

    /// Writes one byte to a port.
    pub(crate) fn write(self, port: u16, byte: u8) {
        // SAFETY: access was granted when `self` was made; the devices behind the ports that this
        // program names only take bytes, and touch no memory of ours.
        unsafe { asm!("out dx, al", in("dx") port, in("al") byte, options(nomem, nostack)) };
    }

    /// Writes bytes to a port, one after the other, in one instruction.
    pub(crate) fn write_all(self, port: u16, bytes: &[u8]) {
        // SAFETY: as for `write`; the instruction reads exactly the slice's bytes, upwards, because
        // the direction flag is clear on entry to every assembly block.
        unsafe {
            asm!(
                "rep outsb",
                in("dx") port,
                inout("rsi") bytes.as_ptr() => _,
                inout("rcx") bytes.len() => _,
                options(readonly, nostack),
            );
        }
    }
}
