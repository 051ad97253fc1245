//! Logs that were compressed when they were rotated: gzip, xz, zstd.
//!
//! ```text
//! gzip  1f 8b 08 · 3 flags · 10 [2 bytes of length, extra] [name, 0] [comment, 0] [2 bytes of sum]
//!       · deflated · sum of what comes out u32 · its length u32; then perhaps another one
//! ```
//!
//! Source of the first: RFC 1952; the others are left to libraries. What comes out is bounded, and so is
//! the memory that it takes, whatever an archive says of itself. Of one that is damaged or longer, what
//! came out before is told.

use lzma_rust2::XzReader;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use std::io::Read;

/// The most memory that unpacking xz takes, in KiB: its strongest setting has a window of 64 MiB.
const XZ_MEMORY_KIB: u32 = 66 << 10;

/// The largest window of zstd, as a power of two: 32 MiB, four times that of its strongest usual setting.
const ZSTD_WINDOW_BITS: u32 = 25;

/// How much comes out at a time.
const PIECE_BYTES: usize = 256 << 10;

/// In a gzip header: fields that follow it.
const SUM: u8 = 2;
const EXTRA: u8 = 4;
const NAME: u8 = 8;
const COMMENT: u8 = 16;
const GZIP_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;

/// How something was compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Xz,
    Zstd,
}

/// What came out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unpacked {
    pub(super) bytes: Vec<u8>,
    /// Why it is not all; none if it is.
    pub(super) missing: Option<Missing>,
}

/// Why not all came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There was more than was asked for.
    Longer,
    /// What is compressed is damaged, or needs more memory than is given.
    Damaged,
}

impl Packing {
    /// How a file is compressed, by the ending of its name, and the name without that.
    pub(super) fn of(name: &str) -> Option<(Self, &str)> {
        let endings = [(Self::Gzip, ".gz"), (Self::Xz, ".xz"), (Self::Zstd, ".zst")];
        endings
            .into_iter()
            .find_map(|(packing, ending)| Some((packing, name.strip_suffix(ending)?)))
    }

    /// The first bytes that come out, at most so many.
    pub(super) fn unpack(self, packed: &[u8], limit: usize) -> Unpacked {
        match self {
            Self::Gzip => gzip(packed, limit),
            Self::Xz => drain(XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB), limit),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::new(packed).and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW_BITS)?;
                    Ok(decoder)
                });
                match decoder {
                    Ok(decoder) => drain(decoder, limit),
                    Err(_) => Unpacked::damaged(Vec::new()),
                }
            }
        }
    }
}

impl Unpacked {
    fn damaged(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            missing: Some(Missing::Damaged),
        }
    }

    /// Cut to a limit: one byte more than that was asked for.
    fn cut(mut bytes: Vec<u8>, limit: usize) -> Self {
        let is_longer = bytes.len() > limit;
        bytes.truncate(limit);
        Self {
            bytes,
            missing: is_longer.then_some(Missing::Longer),
        }
    }
}

fn drain(decoder: impl Read, limit: usize) -> Unpacked {
    let mut bytes = Vec::new();
    let most = (limit as u64).saturating_add(1);
    match decoder.take(most).read_to_end(&mut bytes) {
        Ok(_) => Unpacked::cut(bytes, limit),
        Err(_) => Unpacked {
            missing: Some(Missing::Damaged),
            ..Unpacked::cut(bytes, limit)
        },
    }
}

/// All members, one after the other.
fn gzip(packed: &[u8], limit: usize) -> Unpacked {
    let mut bytes = Vec::new();
    let mut rest = packed;
    loop {
        let Some(after) = member(rest, &mut bytes, limit) else {
            return Unpacked {
                missing: Some(Missing::Damaged),
                ..Unpacked::cut(bytes, limit)
            };
        };
        match after {
            After::Longer => return Unpacked::cut(bytes, limit),
            // Zeros fill up what lies on tapes.
            After::Rest(after) if after.iter().all(|byte| *byte == 0) => {
                return Unpacked::cut(bytes, limit);
            }
            After::Rest(after) => rest = after,
        }
    }
}

enum After<'b> {
    Rest(&'b [u8]),
    Longer,
}

/// Unpacks one member behind what came out before; none if it is damaged.
fn member<'b>(packed: &'b [u8], bytes: &mut Vec<u8>, limit: usize) -> Option<After<'b>> {
    let deflated = header(packed)?;
    let start = bytes.len();
    let (mut at, mut end) = (0usize, start);
    let mut state = Box::<DecompressorOxide>::default();
    // Each turn makes room for more, up to one byte more than the limit; and a stream that asks for
    // neither room nor bytes has come to its end.
    loop {
        let room = limit.saturating_add(1).min(end.saturating_add(PIECE_BYTES));
        bytes.resize(room.max(end), 0);
        // Matches of a member do not reach into the one before.
        let out = bytes.get_mut(start..)?;
        let place = end.saturating_sub(start);
        let flags = TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
        let (status, read, written) =
            decompress(&mut state, deflated.get(at..)?, out, place, flags);
        at = at.saturating_add(read);
        end = end.saturating_add(written);
        bytes.truncate(end.max(start));
        match status {
            TINFLStatus::Done => break,
            TINFLStatus::HasMoreOutput if end > limit => return Some(After::Longer),
            TINFLStatus::HasMoreOutput => {}
            _ => return None,
        }
    }
    let (trailer, rest) = deflated.get(at..)?.split_first_chunk::<TRAILER_BYTES>()?;
    let sum = crc32fast::hash(bytes.get(start..)?).to_le_bytes();
    trailer.starts_with(&sum).then_some(After::Rest(rest))
}

/// What follows a member's header.
fn header(packed: &[u8]) -> Option<&[u8]> {
    let flags = *packed.get(3)?;
    let mut rest = packed
        .strip_prefix(&[0x1f, 0x8b, 8])?
        .get(GZIP_BYTES.saturating_sub(3)..)?;
    if flags & EXTRA != 0 {
        let (length, behind) = rest.split_first_chunk::<2>()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for field in [NAME, COMMENT] {
        if flags & field != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end.saturating_add(1)..)?;
        }
    }
    if flags & SUM != 0 {
        rest = rest.get(2..)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    const ALL: [(Packing, &str); 3] = [
        (Packing::Gzip, "gzip"),
        (Packing::Xz, "xz"),
        (Packing::Zstd, "zstd"),
    ];

    /// What the field's own program makes of some bytes.
    fn packed_by(program: &str, arguments: &[&str], bytes: &[u8]) -> Vec<u8> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let mut input = child.stdin.take().unwrap();
        let bytes = bytes.to_vec();
        let writer = std::thread::spawn(move || input.write_all(&bytes));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    fn text(lines: usize) -> Vec<u8> {
        (0..lines)
            .flat_map(|line| format!("{line} of {lines}: {}\n", line * line).into_bytes())
            .collect()
    }

    #[test]
    fn what_the_fields_programs_pack_comes_out() {
        for lines in [0, 1, 30_000] {
            let text = text(lines);
            for (packing, program) in ALL {
                for strength in ["-1", "-9"] {
                    let packed = packed_by(program, &[strength, "-c"], &text);
                    let all = packing.unpack(&packed, text.len());
                    assert_eq!(
                        (all.missing, &all.bytes),
                        (None, &text),
                        "{program} {strength}"
                    );
                    let twice = [&packed[..], &packed].concat();
                    let both = packing.unpack(&twice, text.len() * 2);
                    assert_eq!(both.missing, None, "{program}");
                    assert_eq!(both.bytes, [&text[..], &text].concat());
                }
            }
        }
    }

    #[test]
    fn no_more_comes_out_than_is_asked_for() {
        let zeros = vec![0; 40 << 20];
        for (packing, program) in ALL {
            let bomb = packed_by(program, &["-9", "-c"], &zeros);
            assert!(bomb.len() < 100_000);
            let found = packing.unpack(&bomb, 1_000_000);
            assert_eq!(
                (found.bytes.len(), found.missing),
                (1_000_000, Some(Missing::Longer))
            );
            assert_eq!(packing.unpack(&bomb, 0).bytes, []);
        }
        // A window of more memory than is given, without what would fill it.
        let wide = packed_by(
            "zstd",
            &["--ultra", "-22", "--long=31", "-c", "--no-check"],
            b"",
        );
        assert_eq!(Packing::Zstd.unpack(&wide, 10).bytes, []);
        let wide = packed_by("xz", &["--lzma2=dict=1GiB", "-c"], &text(10));
        let found = Packing::Xz.unpack(&wide, 1000);
        assert_eq!(
            (found.bytes, found.missing),
            (vec![], Some(Missing::Damaged))
        );
    }

    #[test]
    fn of_what_is_damaged_the_part_before_comes_out() {
        let text = text(30_000);
        for (packing, program) in ALL {
            let mut packed = packed_by(program, &["-c"], &text);
            let whole = packing.unpack(&packed[..packed.len() - 30], text.len());
            assert_eq!(whole.missing, Some(Missing::Damaged), "{program}");
            assert!(text.starts_with(&whole.bytes));
            assert!(
                whole.bytes.len() > text.len() / 4,
                "{program}: {}",
                whole.bytes.len()
            );
            let middle = packed.len() / 2;
            packed[middle] ^= 0x55;
            let damaged = packing.unpack(&packed, text.len());
            assert_eq!(damaged.missing, Some(Missing::Damaged), "{program}");
        }
    }

    #[test]
    fn fields_of_a_gzip_header_are_passed_over() {
        let plain = packed_by("gzip", &["-n", "-c"], b"text");
        let mut full = plain[..10].to_vec();
        full[3] = EXTRA | NAME | COMMENT | SUM;
        full.extend([3, 0, 1, 2, 3]);
        full.extend(b"a name\0a comment\0xx");
        full.extend(&plain[10..]);
        let found = Packing::Gzip.unpack(&full, 100);
        assert_eq!((found.bytes, found.missing), (b"text".to_vec(), None));
        assert_eq!(
            Packing::of("syslog.2.gz"),
            Some((Packing::Gzip, "syslog.2"))
        );
        assert_eq!(Packing::of("syslog"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn nothing_makes_it_panic_or_grow(
            mut packed in proptest::collection::vec(any::<u8>(), 0..300),
            which in 0..3usize,
            limit in 0..3000usize,
        ) {
            let (packing, magic) = [
                (Packing::Gzip, &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..]),
                (Packing::Xz, &[0xfd, b'7', b'z', b'X', b'Z', 0, 0, 1, 0x69, 0x22, 0xde, 0x36]),
                (Packing::Zstd, &[0x28, 0xb5, 0x2f, 0xfd]),
            ][which];
            packed.splice(0..0, magic.iter().copied());
            prop_assert!(packing.unpack(&packed, limit).bytes.len() <= limit);
        }
    }
}
