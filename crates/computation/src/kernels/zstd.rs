//! `zstd`: Zstandard round trips, the compressed bytes being a result too.
//!
//! ```text
//! step:  packed   = compress( text )                   64 KiB, level 3
//!        unpacked = decompress( packed )               differs from text: a mismatch, counted
//!        running  = SHA-256( running ‖ packed ‖ mismatches )
//!        text     = unpacked, edited as keystream( running ) says
//! ```
//!
//! An edit writes a few random words and copies stretches from one place to another, so that the
//! text stays half compressible however long the chain is. A wrong bit in the text lives on. One in
//! the compressor's tables often only chooses another match: the packed bytes then differ, and not
//! what they unpack to. One in a table that is filled anew for each text is lost: hence medium.

use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use sha2::{Digest as _, Sha256};
use zstd::bulk::{Compressor, Decompressor};

pub(crate) const NAME: &str = "zstd";
pub(crate) const VERSION: u32 = 1;

/// 64 KiB: several blocks' worth of matches, one window.
const TEXT_BYTES: usize = 16 * model::PAGE_BYTES;
/// What a text packs to at most: the library's own bound is 256 bytes beyond, for this size.
const PACKED_BYTES: usize = TEXT_BYTES + model::PAGE_BYTES;
/// The library's own default.
const LEVEL: i32 = 3;
/// Edits in a step, and the random words among them.
const EDITS: usize = 96;
const FRESH_WORDS: usize = 512;
/// A stretch that is copied has 16 to 79 bytes.
const STRETCH_BYTES_MIN: usize = 16;
const STRETCH_BYTES_SPAN: usize = 64;

pub(crate) struct RoundTrips {
    compressor: Option<Compressor<'static>>,
    decompressor: Option<Decompressor<'static>>,
    /// The text, and what it was unpacked to.
    buffers: Vec<PageAligned<[u8; TEXT_BYTES]>>,
    packed: Vec<PageAligned<[u8; PACKED_BYTES]>>,
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
        let mut buffers = vec![PageAligned([0; TEXT_BYTES]); 2];
        let mut stream = Xoshiro256::from_seed(seed);
        stream.mask(&mut buffers[0].0);
        // Random bytes do not compress: copies until half of them are repeats.
        for _ in 0..TEXT_BYTES / (STRETCH_BYTES_MIN + STRETCH_BYTES_SPAN / 2) {
            copy_stretch(&mut buffers[0].0, &mut stream);
        }
        Self {
            compressor: Compressor::new(LEVEL).ok(),
            decompressor: Decompressor::new().ok(),
            buffers,
            packed: vec![PageAligned([0; PACKED_BYTES])],
            running: [0; DIGEST_BYTES],
            packed_bytes: 0,
            mismatches: 0,
            steps_done: 0,
        }
    }

    /// Packs the text; how many bytes it came to, none if it failed.
    fn pack(&mut self) -> usize {
        let (text, packed) = (&self.buffers[0].0, &mut self.packed[0].0);
        let compressed = self
            .compressor
            .as_mut()
            .and_then(|compressor| compressor.compress_to_buffer(text, &mut packed[..]).ok());
        compressed.unwrap_or(0).min(PACKED_BYTES)
    }

    /// Unpacks into the second buffer; whether it is the text again.
    fn unpack(&mut self, packed_bytes: usize) -> bool {
        let packed = &self.packed[0].0[..packed_bytes];
        let (text, unpacked) = self.buffers.split_at_mut(1);
        let (text, unpacked) = (&text[0].0, &mut unpacked[0].0);
        let decompressed = self.decompressor.as_mut().and_then(|decompressor| {
            decompressor
                .decompress_to_buffer(packed, &mut unpacked[..])
                .ok()
        });
        decompressed == Some(TEXT_BYTES) && text == unpacked
    }
}

impl Kernel for RoundTrips {
    fn step(&mut self) {
        let packed_bytes = self.pack();
        self.mismatches += u64::from(!self.unpack(packed_bytes));
        self.packed_bytes += packed_bytes as u64;
        let mut link = Sha256::new();
        link.update(self.running);
        link.update(&self.packed[0].0[..packed_bytes]);
        link.update(self.mismatches.to_le_bytes());
        self.running = link.finalize().into();
        self.buffers.swap(0, 1);
        edit(
            &mut self.buffers[0].0,
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
        all.update(self.packed_bytes.to_le_bytes());
        all.update(self.mismatches.to_le_bytes());
        all.update(self.packed[0].0);
        for buffer in &self.buffers {
            all.update(buffer.0);
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
