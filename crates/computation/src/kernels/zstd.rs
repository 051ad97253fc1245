//! `zstd`: Zstandard round trips through an archive, the compressed bytes being a result too.
//!
//! ```text
//! archive:  32 slots, each a text of 64 KiB and what it was packed to when its turn was last
//!
//! step, on the slots in turn:
//!   unpacked = decompress( packed )               differs from text: a mismatch, counted
//!   text     = unpacked, edited as keystream( running ) says
//!   packed   = compress( text )                   level 3
//!   running  = SHA-256( running ‖ packed ‖ mismatches )
//!
//! digest:   running, all texts and all that they are packed to
//! ```
//!
//! A text and its packed form wait a whole turn for each other. A bit that goes wrong in either
//! meanwhile is a mismatch in their next turn, or stands in the digest. So all of the archive, some
//! three megabytes, is alive whenever a step ends; a chain with one text has little that is.
//!
//! An edit writes a few random words and copies stretches from one place to another, so that a text
//! stays half compressible however long the chain is. A wrong bit in the tables of compressor or
//! decompressor is lost between steps, since both fill them anew for each text; within one it often
//! only chooses another match: hence medium.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};
use zstd::bulk::{Compressor, Decompressor};

const NAME: &str = "zstd";
const VERSION: u32 = 2;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "Zstandard round trips through an archive of 32 texts, the compressed bytes hashed too",
    sensitivity: Sensitivity::Medium,
    targets: &[Target::CpuInteger],
    units: &[
        Unit::Branches,
        Unit::Shift,
        Unit::TableLookup,
        Unit::LoadStore,
    ],
    data_types: &[DataType::U8, DataType::U32, DataType::U64],
    algorithms: &[Algorithm::Zstandard3],
    extensions: &["bmi2"],
    portable: true,
    instructions_per_step: 3_150_000,
    emulation_weight: 1.4,
    default_budget_s: 1.0,
    minimum_steps: 4,
    start: Start::Alone(RoundTrips::start),
};

/// 64 KiB: several blocks' worth of matches, one window.
const TEXT_BYTES: usize = 16 * model::PAGE_BYTES;
/// What a text packs to at most: the library's own bound is 256 bytes beyond, for this size.
const PACKED_BYTES: usize = TEXT_BYTES + model::PAGE_BYTES;
/// Slots of the archive: several times what the library keeps for itself, and every one has its
/// turn in a run of a tenth of a second.
const SLOTS: usize = 32;
/// The library's own default.
const LEVEL: i32 = 3;
/// Edits in a step, and the random words among them.
const EDITS: usize = 96;
const FRESH_WORDS: usize = 512;
/// A stretch that is copied has 16 to 79 bytes.
const STRETCH_BYTES_MIN: usize = 16;
const STRETCH_BYTES_SPAN: usize = 64;

type Text = PageAligned<[u8; TEXT_BYTES]>;

/// A text, and what it was packed to.
#[derive(Clone)]
struct Slot {
    text: Vec<Text>,
    packed: Vec<PageAligned<[u8; PACKED_BYTES]>>,
    packed_bytes: usize,
}

pub(crate) struct RoundTrips {
    compressor: Option<Compressor<'static>>,
    decompressor: Option<Decompressor<'static>>,
    slots: Vec<Slot>,
    /// What a text was unpacked to.
    unpacked: Vec<Text>,
    running: [u8; DIGEST_BYTES],
    packed_bytes: u64,
    /// Texts that did not come back as they were.
    mismatches: u64,
    steps_done: u64,
}

impl RoundTrips {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut first = Slot {
            text: vec![PageAligned([0; TEXT_BYTES])],
            packed: vec![PageAligned([0; PACKED_BYTES])],
            packed_bytes: 0,
        };
        let text = &mut first.text[0].0;
        let mut stream = Xoshiro256::from_seed(seed);
        stream.mask(text);
        // Random bytes do not compress: copies until half of them are repeats.
        for _ in 0..TEXT_BYTES / (STRETCH_BYTES_MIN + STRETCH_BYTES_SPAN / 2) {
            copy_stretch(text, &mut stream);
        }
        let mut compressor = Compressor::new(LEVEL).ok();
        first.pack(&mut compressor);
        Self {
            compressor,
            decompressor: Decompressor::new().ok(),
            // All begin alike: their first turns tell them apart.
            slots: vec![first; SLOTS],
            unpacked: vec![PageAligned([0; TEXT_BYTES])],
            running: [0; DIGEST_BYTES],
            packed_bytes: 0,
            mismatches: 0,
            steps_done: 0,
        }
    }
}

impl Slot {
    /// Packs the text; nothing if that failed.
    fn pack(&mut self, compressor: &mut Option<Compressor<'static>>) {
        let (text, packed) = (&self.text[0].0, &mut self.packed[0].0);
        let compressed = compressor
            .as_mut()
            .and_then(|compressor| compressor.compress_to_buffer(text, &mut packed[..]).ok());
        self.packed_bytes = compressed.unwrap_or(0).min(PACKED_BYTES);
    }

    fn packed(&self) -> &[u8] {
        &self.packed[0].0[..self.packed_bytes.min(PACKED_BYTES)]
    }

    /// Unpacks what the text was packed to; whether it is the text again.
    fn unpack(&self, decompressor: &mut Option<Decompressor<'static>>, into: &mut Text) -> bool {
        let decompressed = decompressor.as_mut().and_then(|decompressor| {
            decompressor
                .decompress_to_buffer(self.packed(), &mut into.0[..])
                .ok()
        });
        decompressed == Some(TEXT_BYTES) && self.text[0].0 == into.0
    }
}

impl Kernel for RoundTrips {
    fn step(&mut self) {
        let slot = &mut self.slots[(self.steps_done % SLOTS as u64) as usize];
        let unpacked = &mut self.unpacked[0];
        let came_back = slot.unpack(&mut self.decompressor, unpacked);
        self.mismatches += u64::from(!came_back);
        edit(&mut unpacked.0, &mut Xoshiro256::from_digest(&self.running));
        slot.text[0].0 = unpacked.0;
        slot.pack(&mut self.compressor);
        self.packed_bytes += slot.packed_bytes as u64;
        let mut link = Sha256::new();
        link.update(self.running);
        link.update(slot.packed());
        link.update(self.mismatches.to_le_bytes());
        self.running = link.finalize().into();
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.packed_bytes.to_le_bytes());
        all.update(self.mismatches.to_le_bytes());
        for slot in &self.slots {
            all.update(slot.text[0].0);
            all.update((slot.packed_bytes as u64).to_le_bytes());
            all.update(slot.packed());
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let taken = self.steps_done as f64 * TEXT_BYTES as f64;
        vec![
            ("compressed_bytes".to_owned(), taken),
            ("mismatches".to_owned(), self.mismatches as f64),
            ("packed_bytes".to_owned(), self.packed_bytes as f64),
        ]
    }
}

/// Writes random words and copies stretches.
fn edit(text: &mut [u8; TEXT_BYTES], stream: &mut Xoshiro256) {
    for _ in 0..EDITS {
        copy_stretch(text, stream);
    }
    let words = text.as_chunks_mut().0;
    let count = words.len() as u64;
    for _ in 0..FRESH_WORDS {
        let at = (stream.next_word() % count) as usize;
        words[at] = stream.next_word().to_le_bytes();
    }
}

/// Copies a stretch from somewhere to somewhere else.
fn copy_stretch(text: &mut [u8; TEXT_BYTES], stream: &mut Xoshiro256) {
    let draw = stream.next_word() as usize;
    let bytes = STRETCH_BYTES_MIN + draw % STRETCH_BYTES_SPAN;
    let from = (draw >> 8) % (TEXT_BYTES - bytes);
    let to = (draw >> 32) % (TEXT_BYTES - bytes);
    text.copy_within(from..from + bytes, to);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    /// Two turns of every slot: a flip half way is met in the second.
    const TWO_TURNS: u64 = 2 * SLOTS as u64;

    #[test]
    fn every_text_comes_back_and_stays_half_compressible() {
        let mut archive = RoundTrips::new(2);
        for _ in 0..8 * SLOTS {
            archive.step();
        }
        assert_eq!(archive.mismatches, 0);
        for slot in &archive.slots {
            let share = slot.packed_bytes as f64 / TEXT_BYTES as f64;
            assert!((0.3..0.9).contains(&share), "packed to {share}");
            let unpacked = zstd::bulk::decompress(slot.packed(), TEXT_BYTES).unwrap();
            assert_eq!(unpacked, slot.text[0].0);
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_in_the_archive_changes_the_digest() {
        let start = || RoundTrips::new(1);
        let mut places = Xoshiro256::from_seed(5);
        let mut draw = |count: usize| (places.next_word() % count as u64) as usize;
        for slot in (0..SLOTS).step_by(4).chain([SLOTS - 1]) {
            let (byte, bit) = (draw(TEXT_BYTES), draw(8));
            check_flip(TWO_TURNS, start, |archive| {
                archive.slots[slot].text[0].0[byte] ^= 1 << bit;
            });
            let (byte, bit) = (draw(usize::MAX), draw(8));
            check_flip(TWO_TURNS, start, |archive| {
                let length = archive.slots[slot].packed_bytes;
                archive.slots[slot].packed[0].0[byte % length] ^= 1 << bit;
            });
        }
        check_flip(TWO_TURNS, start, |archive| archive.running[9] ^= 4);
        check_flip(TWO_TURNS, start, |archive| archive.mismatches ^= 1);
        check_flip(TWO_TURNS, start, |archive| {
            archive.slots[3].packed_bytes ^= 1 << 4;
        });
    }

    #[test]
    fn a_text_that_does_not_come_back_is_counted() {
        let mut archive = RoundTrips::new(1);
        archive.slots[0].text[0].0[100] ^= 1;
        // A block's header: what follows cannot be read.
        archive.slots[1].packed[0].0[0] ^= 0xff;
        for _ in 0..3 {
            archive.step();
        }
        assert_eq!(archive.mismatches, 2);
    }
}
