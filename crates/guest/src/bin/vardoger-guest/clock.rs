//! Counters of the processor and of the kernel.
#![expect(
    unsafe_code,
    reason = "the time-stamp counter and getrusage have no safe form"
)]

use std::arch::x86_64::{_mm_lfence, _rdtsc};
use std::mem::MaybeUninit;

/// The time-stamp counter, read when everything before is done.
pub(crate) fn time_stamp() -> u64 {
    // SAFETY: both instructions exist on every x86-64 processor, and touch no memory.
    unsafe {
        _mm_lfence();
        _rdtsc()
    }
}

/// Page faults of this process so far, those with and without I/O.
pub(crate) fn page_faults() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the right type, which the call only writes to.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: all zeros is a value of this type of integers, whether or not the call filled it.
    let usage = unsafe { usage.assume_init() };
    u64::try_from(usage.ru_minflt + usage.ru_majflt).unwrap_or(0)
}
