//! Single instructions that safe code cannot name: vectors, string moves, x87.
//!
//! | module | holds |
//! |---|---|
//! | `fused` | fused multiply-add over whole slices |
//! | `integer` | one function for each class of integer instructions |
//! | `gather` | indexed loads |
//! | `copy` | ways to copy and to fill |
//! | `x87` | 80-bit floats, and rounding modes of both floating-point units |
//!
//! Each function is safe to call: it takes slices, checks what it needs, and where the processor
//! lacks the extension it does the same in plain code or returns nothing. All unsafe code of this
//! crate is here; each block says why it is sound. Results are defined to the bit by the manuals, so
//! that they are the same on every processor.
#![expect(
    unsafe_code,
    reason = "instructions of an extension may be executed only where it is present"
)]

pub(crate) mod copy;
pub(crate) mod fused;
pub(crate) mod gather;
pub(crate) mod integer;
pub(crate) mod x87;
