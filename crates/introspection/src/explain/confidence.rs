//! How likely an explanation is right, by how it was reached.
//!
//! The figures are measured: `cargo xtask bench explain` flips bits in memory and holds each answer
//! against what a debugger with the kernel's symbols says of the same byte, and against what the
//! guest's kernel says of its frames. Of k answers of n that agree, (k + ½) ÷ (n + 1) is what is
//! expected of the next one (Jeffreys). Of kinds of answers that neither judges nothing is claimed.
//! The guide (docs/DIVERGENCE.md) has the table, and how it held on other flips.

use model::{Basis, Confidence};

/// What is expected of an answer that was reached so; nothing where nobody could judge it.
pub(super) const fn of(basis: Basis) -> Option<Confidence> {
    let thousandths = match basis {
        Basis::Symbol | Basis::TypedObject | Basis::Frame => 999,
        Basis::Padding | Basis::Area => 998,
        Basis::PlainObject | Basis::FrameRecord => 995,
        Basis::Mapping => 991,
        Basis::Stack => 986,
        Basis::FreeObject => 982,
        Basis::PageTable => 972,
        Basis::CpuVariable => 938,
        Basis::ReachedObject => 929,
        Basis::File => 900,
        Basis::Text | Basis::CpuAllocation | Basis::Slab | Basis::Pointer => return None,
    };
    Some(Confidence::per_mille(thousandths))
}
