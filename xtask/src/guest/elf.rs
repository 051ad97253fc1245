//! Whether a file is a program that runs alone: x86-64, and without a loader.
//!
//! Reads the ELF header and the kinds of the program headers, nothing else. A program that names no
//! loader (`PT_INTERP`) is started by the kernel as it is, position-independent or not.

/// Why a file is not a program that runs without a loader and without libraries.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StaticFault {
    /// Not a 64-bit little-endian ELF file for x86-64.
    #[error("it is not an x86-64 ELF file")]
    NotElf,
    /// The file ends before its program headers do.
    #[error("its program headers are cut short")]
    Truncated,
    /// It asks for a loader, so it is linked dynamically.
    #[error("it is linked dynamically; is the static C library installed?")]
    Dynamic,
}

/// The start of a 64-bit, little-endian, version 1 ELF file.
const ELF_MAGIC: &[u8] = b"\x7fELF\x02\x01\x01";
/// `e_machine` of x86-64.
const MACHINE_X86_64: u16 = 62;
/// `p_type` of the program header that names the loader.
const HEADER_INTERPRETER: u32 = 3;

/// Checks that `program` is an x86-64 ELF file without a program header that names a loader.
pub(super) fn check_static(program: &[u8]) -> Result<(), StaticFault> {
    if !program.starts_with(ELF_MAGIC)
        || field(program, 18).map(u16::from_le_bytes) != Some(MACHINE_X86_64)
    {
        return Err(StaticFault::NotElf);
    }
    let headers = program_headers(program).ok_or(StaticFault::Truncated)?;
    for header in headers {
        let kind = field(header, 0).ok_or(StaticFault::Truncated)?;
        if u32::from_le_bytes(kind) == HEADER_INTERPRETER {
            return Err(StaticFault::Dynamic);
        }
    }
    Ok(())
}

/// The program headers, each as its bytes; `None` if the file does not hold them all.
fn program_headers(program: &[u8]) -> Option<std::slice::ChunksExact<'_, u8>> {
    let start = usize::try_from(u64::from_le_bytes(field(program, 32)?)).ok()?;
    let size = usize::from(u16::from_le_bytes(field(program, 54)?));
    let count = usize::from(u16::from_le_bytes(field(program, 56)?));
    let end = start.checked_add(size.checked_mul(count)?)?;
    if size == 0 {
        return None;
    }
    Some(program.get(start..end)?.chunks_exact(size))
}

/// `SIZE` bytes at `offset`; `None` past the end.
fn field<const SIZE: usize>(bytes: &[u8], offset: usize) -> Option<[u8; SIZE]> {
    bytes
        .get(offset..offset.checked_add(SIZE)?)?
        .try_into()
        .ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An ELF file that consists of its header and one program header for each kind.
    fn elf(kinds: &[u32]) -> Vec<u8> {
        let mut file = vec![0_u8; 64];
        file[..ELF_MAGIC.len()].copy_from_slice(ELF_MAGIC);
        file[18..20].copy_from_slice(&MACHINE_X86_64.to_le_bytes());
        file[32..40].copy_from_slice(&64_u64.to_le_bytes());
        file[54..56].copy_from_slice(&56_u16.to_le_bytes());
        let count = u16::try_from(kinds.len()).expect("a test has few headers");
        file[56..58].copy_from_slice(&count.to_le_bytes());
        for kind in kinds {
            file.extend(kind.to_le_bytes());
            file.extend([0; 52]);
        }
        file
    }

    #[test]
    fn a_program_without_a_loader_is_static() {
        assert_eq!(check_static(&elf(&[1, 2, 7])), Ok(()));
    }

    #[test]
    fn a_program_with_a_loader_is_not_static() {
        let last = elf(&[1, 2, HEADER_INTERPRETER]);
        assert_eq!(check_static(&last), Err(StaticFault::Dynamic));
    }

    #[test]
    fn other_files_are_refused() {
        assert_eq!(check_static(b"#!/bin/sh\n"), Err(StaticFault::NotElf));
        let mut other_machine = elf(&[1]);
        other_machine[18] = 183;
        assert_eq!(check_static(&other_machine), Err(StaticFault::NotElf));
    }

    #[test]
    fn a_file_that_is_cut_short_is_refused() {
        let file = elf(&[1, 2]);
        assert_eq!(
            check_static(&file[..file.len() - 1]),
            Err(StaticFault::Truncated)
        );
    }

    #[test]
    fn this_test_program_is_judged_as_the_system_does() {
        let program = std::fs::read("/proc/self/exe").expect("a program can read itself");
        let expected = if cfg!(target_feature = "crt-static") {
            Ok(())
        } else {
            Err(StaticFault::Dynamic)
        };
        assert_eq!(check_static(&program), expected);
    }

    proptest! {
        #[test]
        fn only_the_loader_decides(kinds in proptest::collection::vec(0_u32..8, 0..12)) {
            let dynamic = kinds.contains(&HEADER_INTERPRETER);
            prop_assert_eq!(check_static(&elf(&kinds)).is_err(), dynamic);
        }

        #[test]
        fn a_file_cut_anywhere_is_refused(kinds in proptest::collection::vec(0_u32..8, 1..12), cut in 1_usize..64) {
            let file = elf(&kinds);
            prop_assert!(check_static(&file[..file.len() - cut]).is_err());
        }

        #[test]
        fn no_header_makes_the_check_panic(fields in proptest::collection::vec(any::<u8>(), 44)) {
            let mut file = elf(&[1]);
            file[20..64].copy_from_slice(&fields);
            // Whatever is judged, it is judged.
            let again = check_static(&file);
            prop_assert_eq!(check_static(&file), again);
        }
    }
}
