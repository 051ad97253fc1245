//! `compress`: five compressors at nine settings, forwards and back, and streams that are damaged.
//!
//! ```text
//! step i:  text = slot[ i mod 8 ], 16 KiB: mixed, or in every 8th step one byte over and over
//!          for each setting: packed = pack( text ); unpacked must be text, or it is counted
//!          damaged = packed by deflate, 4 bytes changed: what comes of it, an error too, is a result
//!          running = SHA-256( running ‖ all that was packed ‖ what came of the damage ‖ mismatches )
//!          the text is edited as keystream( running ) says
//! ```
//!
//! A wrong bit in a compressor often chooses another match only, which changes the packed bytes,
//! and those are hashed. Tables are filled anew for each text: hence medium.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use sha2::{Digest as _, Sha256};

const NAME: &str = "compress";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "deflate 1, 6 and 9, LZ4, and Zstandard 1 and 19, there and back, and damaged streams",
    sensitivity: Sensitivity::Medium,
    targets: &[Target::CpuInteger],
    units: &[
        Unit::Branches,
        Unit::Shift,
        Unit::TableLookup,
        Unit::LoadStore,
    ],
    data_types: &[DataType::U8, DataType::U32, DataType::U64],
    algorithms: &[
        Algorithm::Deflate1,
        Algorithm::Deflate6,
        Algorithm::Deflate9,
        Algorithm::Lz4,
        Algorithm::Zstandard1,
        Algorithm::Zstandard19,
        Algorithm::Adler32,
        Algorithm::RunsOfOneByte,
        Algorithm::FuzzedStreams,
    ],
    extensions: &["bmi2"],
    portable: true,
    instructions_per_step: 40_400_000,
    emulation_weight: 0.93,
    default_budget_s: 1.0,
    minimum_steps: SLOTS as u64,
    start: Start::Alone(Settings::start),
};

const TEXT_BYTES: usize = 4 * model::PAGE_BYTES;
const SLOTS: usize = 8;
/// What a damaged stream may unpack to: twice a text.
const DAMAGED_BYTES_MAX: usize = 2 * TEXT_BYTES;
/// Copies of stretches in an edit, and bytes of one.
const COPIES: usize = 160;
const STRETCH_BYTES_MIN: usize = 8;
const STRETCH_BYTES_SPAN: usize = 48;
const FRESH_BYTES: usize = 512;
/// Bytes that are changed in a damaged stream.
const DAMAGES: usize = 4;

type Text = [u8; TEXT_BYTES];

/// A way to pack and its setting.
#[derive(Debug, Clone, Copy)]
enum Packer {
    Deflate(u8),
    Lz4,
    Zstandard(i32),
}

const PACKERS: [Packer; 6] = [
    Packer::Deflate(1),
    Packer::Deflate(6),
    Packer::Deflate(9),
    Packer::Lz4,
    Packer::Zstandard(1),
    Packer::Zstandard(19),
];

impl Packer {
    /// What a text packs to; nothing if that failed.
    fn pack(self, text: &[u8]) -> Vec<u8> {
        match self {
            Self::Deflate(level) => compress_to_vec_zlib(text, level),
            Self::Lz4 => lz4_flex::block::compress(text),
            Self::Zstandard(level) => zstd::bulk::compress(text, level).unwrap_or_default(),
        }
    }

    /// The text again; nothing if that failed.
    fn unpack(self, packed: &[u8]) -> Vec<u8> {
        match self {
            Self::Deflate(_) => {
                decompress_to_vec_zlib_with_limit(packed, TEXT_BYTES).unwrap_or_default()
            }
            Self::Lz4 => lz4_flex::block::decompress(packed, TEXT_BYTES).unwrap_or_default(),
            Self::Zstandard(_) => zstd::bulk::decompress(packed, TEXT_BYTES).unwrap_or_default(),
        }
    }
}

pub(crate) struct Settings {
    slots: Vec<PageAligned<Text>>,
    running: [u8; DIGEST_BYTES],
    packed_bytes: u64,
    /// Texts that did not come back.
    mismatches: u64,
    /// Damaged streams that were refused.
    refused: u64,
    steps_done: u64,
}

impl Settings {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut slots = vec![PageAligned([0; TEXT_BYTES]); SLOTS];
        for slot in &mut slots {
            stream.mask(&mut slot.0);
            edit(&mut slot.0, &mut stream);
        }
        Self {
            slots,
            running: [0; DIGEST_BYTES],
            packed_bytes: 0,
            mismatches: 0,
            refused: 0,
            steps_done: 0,
        }
    }

    /// Packs and unpacks in every way.
    fn round_trips(&mut self, text: &[u8], link: &mut Sha256) {
        for packer in PACKERS {
            let packed = packer.pack(text);
            self.mismatches += u64::from(packer.unpack(&packed) != text);
            self.packed_bytes += packed.len() as u64;
            link.update((packed.len() as u64).to_le_bytes());
            link.update(&packed);
            if matches!(packer, Packer::Deflate(6)) {
                self.damaged(packed, link);
            }
        }
    }

    /// Unpacks a stream that was changed: bytes or an error, either is the right one.
    fn damaged(&mut self, mut packed: Vec<u8>, link: &mut Sha256) {
        let mut stream = Xoshiro256::from_digest(&self.running);
        for _ in 0..DAMAGES {
            let draw = stream.next_word();
            if let Some(byte) = packed.get_mut((draw >> 8) as usize % TEXT_BYTES) {
                *byte ^= draw as u8;
            }
        }
        match decompress_to_vec_zlib_with_limit(&packed, DAMAGED_BYTES_MAX) {
            Ok(bytes) => link.update(bytes),
            Err(error) => {
                self.refused += 1;
                link.update((error.status as i32).to_le_bytes());
                link.update(error.output);
            }
        }
    }
}

impl Kernel for Settings {
    fn step(&mut self) {
        let slot = (self.steps_done % SLOTS as u64) as usize;
        let mut link = Sha256::new();
        link.update(self.running);
        let text = self.slots[slot].0;
        self.round_trips(&text, &mut link);
        if slot == 0 {
            let byte = self.running[0];
            self.round_trips(&[byte; TEXT_BYTES], &mut link);
        }
        link.update(self.mismatches.to_le_bytes());
        self.running = link.finalize().into();
        edit(
            &mut self.slots[slot].0,
            &mut Xoshiro256::from_digest(&self.running),
        );
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        for count in [self.packed_bytes, self.mismatches, self.refused] {
            all.update(count.to_le_bytes());
        }
        for slot in &self.slots {
            all.update(slot.0);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![
            ("damaged_streams_refused".to_owned(), self.refused as f64),
            ("mismatches".to_owned(), self.mismatches as f64),
            ("packed_bytes".to_owned(), self.packed_bytes as f64),
        ]
    }
}

/// Writes random bytes, and copies stretches from one place to another: the text stays compressible.
fn edit(text: &mut Text, stream: &mut Xoshiro256) {
    let at = stream.next_word() as usize % (TEXT_BYTES - FRESH_BYTES);
    stream.mask(&mut text[at..at + FRESH_BYTES]);
    for _ in 0..COPIES {
        let draw = stream.next_word() as usize;
        let bytes = STRETCH_BYTES_MIN + draw % STRETCH_BYTES_SPAN;
        let from = (draw >> 8) % (TEXT_BYTES - bytes);
        let to = (draw >> 32) % (TEXT_BYTES - bytes);
        text.copy_within(from..from + bytes, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    #[test]
    fn every_text_comes_back_and_damage_is_met() {
        let mut settings = Settings::new(2);
        for _ in 0..2 * SLOTS {
            settings.step();
        }
        assert_eq!(settings.mismatches, 0);
        assert!(settings.refused > SLOTS as u64, "{}", settings.refused);
        let packed = settings.packed_bytes as f64 / (18 * PACKERS.len() * TEXT_BYTES) as f64;
        assert!((0.2..0.9).contains(&packed), "{packed}");
    }

    #[test]
    fn a_flipped_bit_in_a_text_changes_the_digest() {
        let start = || Settings::new(1);
        for (slot, byte) in [(1, 0), (6, 9_000), (7, TEXT_BYTES - 1)] {
            check_flip(SLOTS as u64, start, |settings| {
                settings.slots[slot].0[byte] ^= 0x10;
            });
        }
        check_flip(4, start, |settings| settings.running[30] ^= 1);
    }
}
