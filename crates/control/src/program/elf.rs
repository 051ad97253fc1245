//! Whether a file is a program that a guest's kernel starts by itself: for x86-64 Linux, and linked
//! statically, at a fixed place or position-independent.
//!
//! Reads the ELF header, the program headers, the loader's name and the tags of the dynamic section;
//! believes none of it.

use computation::job::{program::MAX_PAYLOAD_BYTES, sanitise};

/// `e_type` of programs at a fixed place, and of those that are position-independent.
const TYPES: [u16; 2] = [2, 3];
/// `e_machine` of x86-64.
const MACHINE_X86_64: u16 = 62;
/// `e_phentsize`.
const HEADER_BYTES: usize = 56;
/// The most program headers: what the kernel reads of them is a page.
const MAX_HEADERS: usize = 73;
const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERPRETER: u32 = 3;
/// The tag of a library that a program needs.
const NEEDED: u64 = 1;
/// Memory that a program may claim before it runs: more than any guest of ours has is an error
/// already here, not a riddle in the guest.
const MAX_MEMORY_BYTES: u64 = 2 * MAX_PAYLOAD_BYTES;
/// The longest name of a loader that is shown.
const SHOWN_LOADER_BYTES: usize = 256;

/// Why the guest could not start a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ElfFault {
    /// It has no bytes.
    #[error("is empty")]
    Empty,
    /// It begins with `#!`.
    #[error("is a script, not a program")]
    Script,
    /// It is something else.
    #[error("is no ELF executable")]
    NotElf,
    /// It is for other processors, or for 32 bits.
    #[error("is not for x86-64")]
    OtherMachine,
    /// It is an object file, a library or a core dump.
    #[error("is an ELF file, but no program: {0}")]
    NotAProgram(&'static str),
    /// It ends too early.
    #[error("is cut short: {0} lie beyond its end")]
    Truncated(&'static str),
    /// It needs a loader or libraries.
    #[error("is linked dynamically: it wants {wanted}, and a machine has nothing but the program")]
    Dynamic {
        /// What it wants.
        wanted: String,
    },
    /// It claims more memory than a guest has.
    #[error("claims {bytes} bytes of memory, more than a machine has")]
    TooLarge {
        /// What its segments take.
        bytes: u64,
    },
}

/// Checks that a guest can start a file.
pub(super) fn check(file: &[u8]) -> Result<(), ElfFault> {
    if file.is_empty() {
        return Err(ElfFault::Empty);
    }
    if file.starts_with(b"#!") {
        return Err(ElfFault::Script);
    }
    if !file.starts_with(b"\x7fELF") {
        return Err(ElfFault::NotElf);
    }
    let kind = u16::from_le_bytes(field(file, 16).ok_or(ElfFault::Truncated("its header"))?);
    let machine = field(file, 18).map(u16::from_le_bytes);
    if !file.starts_with(b"\x7fELF\x02\x01") || machine != Some(MACHINE_X86_64) {
        return Err(ElfFault::OtherMachine);
    }
    if !TYPES.contains(&kind) {
        return Err(ElfFault::NotAProgram("it is an object file or a core dump"));
    }
    let entry = u64::from_le_bytes(field(file, 24).ok_or(ElfFault::Truncated("its header"))?);
    let headers = headers(file)?;
    check_loader(file, &headers)?;
    check_segments(file, &headers)?;
    match entry {
        0 => Err(ElfFault::NotAProgram(
            "it is a library, which nothing starts",
        )),
        _ => Ok(()),
    }
}

/// A program header.
#[derive(Debug, Clone, Copy)]
struct Header {
    kind: u32,
    offset: u64,
    file_bytes: u64,
    memory_bytes: u64,
}

impl Header {
    /// What it covers of the file.
    fn content(self, file: &[u8]) -> Option<&[u8]> {
        let start = usize::try_from(self.offset).ok()?;
        let length = usize::try_from(self.file_bytes).ok()?;
        file.get(start..start.checked_add(length)?)
    }
}

fn headers(file: &[u8]) -> Result<Vec<Header>, ElfFault> {
    let cut = || ElfFault::Truncated("its program headers");
    let start = u64::from_le_bytes(field(file, 32).ok_or_else(cut)?);
    let size = usize::from(u16::from_le_bytes(field(file, 54).ok_or_else(cut)?));
    let count = usize::from(u16::from_le_bytes(field(file, 56).ok_or_else(cut)?));
    if size != HEADER_BYTES || count == 0 || count > MAX_HEADERS {
        return Err(ElfFault::NotAProgram(
            "it has no program headers that Linux reads",
        ));
    }
    let start = usize::try_from(start).map_err(|_| cut())?;
    let end = start.checked_add(size * count).ok_or_else(cut)?;
    let table = file.get(start..end).ok_or_else(cut)?;
    table
        .chunks_exact(size)
        .map(|header| read_header(header).ok_or_else(cut))
        .collect()
}

fn read_header(bytes: &[u8]) -> Option<Header> {
    Some(Header {
        kind: u32::from_le_bytes(field(bytes, 0)?),
        offset: u64::from_le_bytes(field(bytes, 8)?),
        file_bytes: u64::from_le_bytes(field(bytes, 32)?),
        memory_bytes: u64::from_le_bytes(field(bytes, 40)?),
    })
}

fn check_loader(file: &[u8], headers: &[Header]) -> Result<(), ElfFault> {
    let of_kind = |kind| headers.iter().find(move |header| header.kind == kind);
    if let Some(header) = of_kind(INTERPRETER) {
        let name = header
            .content(file)
            .ok_or(ElfFault::Truncated("the name of its loader"))?;
        let end = name.iter().position(|byte| *byte == 0);
        let end = end.unwrap_or(name.len()).min(SHOWN_LOADER_BYTES);
        let name = sanitise(name.get(..end).unwrap_or_default());
        return Err(ElfFault::Dynamic {
            wanted: format!("the loader {name}"),
        });
    }
    let Some(header) = of_kind(DYNAMIC) else {
        return Ok(());
    };
    let section = header
        .content(file)
        .ok_or(ElfFault::Truncated("its dynamic section"))?;
    let tags = section.chunks_exact(16).map(|entry| field(entry, 0));
    let tags = tags.map(|tag| tag.map_or(0, u64::from_le_bytes));
    if tags.take_while(|tag| *tag != 0).any(|tag| tag == NEEDED) {
        return Err(ElfFault::Dynamic {
            wanted: "libraries".to_owned(),
        });
    }
    Ok(())
}

fn check_segments(file: &[u8], headers: &[Header]) -> Result<(), ElfFault> {
    let loaded = || headers.iter().filter(|header| header.kind == LOAD);
    if loaded().next().is_none() {
        return Err(ElfFault::NotAProgram("it has nothing to load"));
    }
    if loaded().any(|header| header.content(file).is_none()) {
        return Err(ElfFault::Truncated("its segments"));
    }
    let bytes = loaded().fold(0_u64, |sum, header| sum.saturating_add(header.memory_bytes));
    if bytes > MAX_MEMORY_BYTES {
        return Err(ElfFault::TooLarge { bytes });
    }
    Ok(())
}

/// `SIZE` bytes at an offset; nothing past the end.
fn field<const SIZE: usize>(bytes: &[u8], offset: usize) -> Option<[u8; SIZE]> {
    bytes
        .get(offset..offset.checked_add(SIZE)?)?
        .try_into()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONTENT_AT: usize = 64 + 4 * HEADER_BYTES;

    /// A program of these headers, each over the same content.
    fn elf(kinds: &[u32], content: &[u8]) -> Vec<u8> {
        let mut file = vec![0_u8; CONTENT_AT];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[16] = 2;
        file[18] = 62;
        file[24] = 1;
        file[32] = 64;
        file[54] = 56;
        file[56] = u8::try_from(kinds.len()).unwrap();
        for (kind, header) in kinds.iter().zip(file[64..].chunks_exact_mut(HEADER_BYTES)) {
            header[..4].copy_from_slice(&kind.to_le_bytes());
            header[8..16].copy_from_slice(&(CONTENT_AT as u64).to_le_bytes());
            for at in [32, 40] {
                header[at..at + 8].copy_from_slice(&(content.len() as u64).to_le_bytes());
            }
        }
        file.extend(content);
        file
    }

    fn fault(file: &[u8]) -> String {
        check(file).unwrap_err().to_string()
    }

    #[test]
    fn static_programs_are_taken() {
        assert_eq!(check(&elf(&[LOAD], b"code")), Ok(()));
        let mut relocatable = elf(&[LOAD, DYNAMIC], &[0; 32]);
        relocatable[16] = 3;
        assert_eq!(check(&relocatable), Ok(()));
    }

    #[test]
    fn what_wants_a_loader_or_libraries_says_which() {
        let loaded = fault(&elf(&[LOAD, INTERPRETER], b"/lib64/ld.so\0\x1b"));
        assert!(
            loaded.contains("wants the loader /lib64/ld.so,"),
            "{loaded}"
        );
        let mut needed = [0; 32];
        needed[0] = 1;
        assert!(fault(&elf(&[LOAD, DYNAMIC], &needed)).contains("libraries"));
    }

    #[test]
    fn other_files_say_what_they_are() {
        assert_eq!(fault(b""), "is empty");
        assert!(fault(b"#!/bin/sh\n").contains("script"));
        assert!(fault(b"hello\n").contains("no ELF"));
        let with = |at: usize, value: u8| {
            let mut file = elf(&[LOAD], b"code");
            file[at] = value;
            fault(&file)
        };
        assert!(with(4, 1).contains("x86-64"));
        assert!(with(18, 183).contains("x86-64"));
        assert!(with(16, 1).contains("object file"));
        assert!(with(24, 0).contains("library"));
        assert!(with(64 + 46, 1).contains("claims"));
        assert!(with(64, 9).contains("nothing to load"));
        assert!(with(56, 0).contains("no program headers"));
    }

    #[test]
    fn the_system_s_own_judgement_is_ours() {
        // The test's own program is dynamic unless it was built otherwise.
        let own = std::fs::read("/proc/self/exe").unwrap();
        let judged = check(&own);
        if cfg!(target_feature = "crt-static") {
            assert_eq!(judged, Ok(()));
        } else {
            assert!(
                matches!(judged, Err(ElfFault::Dynamic { .. })),
                "{judged:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_file_cut_anywhere_is_refused(cut in 0_usize..CONTENT_AT + 4) {
            let file = elf(&[LOAD, LOAD], b"code");
            prop_assert!(check(&file[..cut]).is_err());
        }

        #[test]
        fn no_file_makes_it_panic(damage: Vec<(prop::sample::Index, u8)>) {
            let mut file = elf(&[LOAD, DYNAMIC, INTERPRETER], b"0123456789abcdef");
            for (place, value) in damage {
                let place = place.index(file.len());
                file[place] = value;
            }
            let judged = check(&file);
            prop_assert_eq!(judged, check(&file));
        }
    }
}
