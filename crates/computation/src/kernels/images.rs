//! `images`: pictures packed as PNG and unpacked again, in an album.
//!
//! ```text
//! album:  12 pictures of 64 × 64 in RGB, each beside what it was packed to when its turn was last
//!
//! step, on the pictures in turn:
//!   unpacked = decode( packed )                   differs from the picture: a mismatch, counted
//!   picture  = unpacked, drawn over as keystream( running ) says
//!   packed   = encode( picture )                  filter and effort by the slot
//!   running  = SHA-256( running ‖ unpacked ‖ packed ‖ mismatches )
//!
//! digest:   running, all pictures and all that they are packed to
//! ```
//!
//! Drawn are gradients, noise, and marks like letters: what each row's filter and the compressor
//! behind it are good and bad at. The codec is the `png` crate, whose only floats are of metadata
//! that is not used here.

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Filter};
use sha2::{Digest as _, Sha256};
use std::io::Cursor;

const NAME: &str = "images";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "an album of 12 pictures, packed as PNG and unpacked, the packed bytes hashed too",
    sensitivity: Sensitivity::Medium,
    targets: &[Target::CpuInteger],
    units: &[
        Unit::Branches,
        Unit::Shift,
        Unit::TableLookup,
        Unit::LoadStore,
        Unit::IntegerArithmetic,
    ],
    data_types: &[DataType::U8, DataType::U32, DataType::U64],
    algorithms: &[Algorithm::ImageCoding],
    extensions: &[],
    portable: true,
    instructions_per_step: 6_050_000,
    emulation_weight: 6.8,
    default_budget_s: 1.0,
    minimum_steps: SLOTS as u64,
    start: Start::Alone(Album::start),
};

/// Pixels of a side.
const SIDE: usize = 64;
const PICTURE_BYTES: usize = SIDE * SIDE * 3;
/// Each filter with each effort.
const SLOTS: usize = FILTERS.len() * EFFORTS.len();
const FILTERS: [Filter; 4] = [Filter::Sub, Filter::Avg, Filter::Paeth, Filter::Adaptive];
const EFFORTS: [Compression; 3] = [
    Compression::Fastest,
    Compression::Balanced,
    Compression::High,
];
/// Rectangles that a step draws, and the pixels of a side of one at most.
const SHAPES: usize = 3;
const SHAPE: usize = 24;

type Picture = [u8; PICTURE_BYTES];

#[derive(Clone)]
struct Slot {
    picture: Vec<PageAligned<Picture>>,
    packed: Vec<u8>,
}

pub(crate) struct Album {
    slots: Vec<Slot>,
    unpacked: Vec<PageAligned<Picture>>,
    running: [u8; DIGEST_BYTES],
    packed_bytes: u64,
    /// Pictures that did not come back as they were.
    mismatches: u64,
    steps_done: u64,
}

impl Album {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut slot = |index| {
            let mut picture = PageAligned([0; PICTURE_BYTES]);
            (0..4 * SHAPES).for_each(|_| draw(&mut picture.0, &mut stream));
            let packed = pack(&picture.0, index);
            let picture = vec![picture];
            Slot { picture, packed }
        };
        Self {
            slots: (0..SLOTS).map(&mut slot).collect(),
            unpacked: vec![PageAligned([0; PICTURE_BYTES])],
            running: [0; DIGEST_BYTES],
            packed_bytes: 0,
            mismatches: 0,
            steps_done: 0,
        }
    }
}

impl Kernel for Album {
    fn step(&mut self) {
        let index = (self.steps_done % SLOTS as u64) as usize;
        let (slot, unpacked) = (&mut self.slots[index], &mut self.unpacked[0].0);
        let came_back = unpack(&slot.packed, unpacked) && *unpacked == slot.picture[0].0;
        self.mismatches += u64::from(!came_back);
        let mut link = Sha256::new();
        link.update(self.running);
        link.update(&unpacked[..]);
        let mut stream = Xoshiro256::from_digest(&self.running);
        (0..SHAPES).for_each(|_| draw(unpacked, &mut stream));
        slot.picture[0].0 = *unpacked;
        slot.packed = pack(unpacked, index);
        self.packed_bytes += slot.packed.len() as u64;
        link.update(&slot.packed);
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
            all.update(slot.picture[0].0);
            all.update((slot.packed.len() as u64).to_le_bytes());
            all.update(&slot.packed);
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![
            ("mismatches".to_owned(), self.mismatches as f64),
            ("packed_bytes".to_owned(), self.packed_bytes as f64),
        ]
    }
}

/// The picture as PNG; nothing if that failed.
fn pack(picture: &Picture, slot: usize) -> Vec<u8> {
    let mut packed = Vec::with_capacity(2 * PICTURE_BYTES);
    let mut encoder = Encoder::new(&mut packed, SIDE as u32, SIDE as u32);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    // Effort first: it brings a filter of its own.
    encoder.set_compression(EFFORTS[slot / FILTERS.len() % EFFORTS.len()]);
    encoder.set_filter(FILTERS[slot % FILTERS.len()]);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(picture)?;
        writer.finish()
    });
    if written.is_err() {
        packed.clear();
    }
    packed
}

/// Whether a picture of this size came out; `into` holds zeros where nothing did.
fn unpack(packed: &[u8], into: &mut Picture) -> bool {
    into.fill(0);
    let Ok(mut reader) = Decoder::new(Cursor::new(packed)).read_info() else {
        return false;
    };
    reader.output_buffer_size() == Some(PICTURE_BYTES) && reader.next_frame(into).is_ok()
}

/// Draws a rectangle: a gradient, noise, or marks like letters.
fn draw(picture: &mut Picture, stream: &mut Xoshiro256) {
    let [shape, ink] = [(); 2].map(|()| stream.next_word());
    let side = |shift: u32| 4 + (shape >> shift) as usize % (SHAPE - 4);
    let (width, height) = (side(8), side(16));
    let (left, top) = (shape >> 24, shape >> 32);
    let (left, top) = (left as usize % SIDE, top as usize % SIDE);
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        let colour: [u8; 3] = match shape % 3 {
            0 => std::array::from_fn(|part| {
                let slope = (ink >> (24 + 4 * part)) as usize & 0xf;
                ((ink >> (8 * part)) as usize + slope * (x + part * y)) as u8
            }),
            1 => {
                let word = stream.next_word().to_le_bytes();
                [word[0], word[3], word[6]]
            }
            // A letter of 4 × 8 is 32 bits, the same along a row of them.
            _ => match ink >> (x % 4 + y % 8 * 4) & 1 {
                0 => [250; 3],
                _ => [(ink >> 40) as u8, 16, 32],
            },
        };
        let place = ((top + y) % SIDE * SIDE + (left + x) % SIDE) * 3;
        picture[place..place + 3].copy_from_slice(&colour);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    const TWO_TURNS: u64 = 2 * SLOTS as u64;

    #[test]
    fn every_picture_comes_back_and_packs() {
        let mut album = Album::new(2);
        (0..4 * TWO_TURNS).for_each(|_| album.step());
        assert_eq!(album.mismatches, 0);
        for slot in &album.slots {
            let share = slot.packed.len() as f64 / PICTURE_BYTES as f64;
            assert!((0.1..1.1).contains(&share), "packed to {share}");
            assert_eq!(slot.packed[1..4], *b"PNG");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_in_the_album_changes_the_digest() {
        let start = || Album::new(1);
        let mut places = Xoshiro256::from_seed(5);
        for slot in 0..SLOTS {
            let (draw, bit) = (places.next_word() as usize, places.next_word() % 8);
            check_flip(TWO_TURNS, start, |album| {
                album.slots[slot].picture[0].0[draw % PICTURE_BYTES] ^= 1 << bit;
            });
            check_flip(TWO_TURNS, start, |album| {
                let packed = &mut album.slots[slot].packed;
                let place = draw % packed.len();
                packed[place] ^= 1 << bit;
            });
        }
        check_flip(TWO_TURNS, start, |album| album.running[9] ^= 4);
    }

    #[test]
    fn a_picture_that_does_not_come_back_is_counted() {
        let mut album = Album::new(1);
        album.slots[0].picture[0].0[100] ^= 1;
        album.slots[1].packed[0] ^= 1;
        album.slots[2].packed.truncate(60);
        (0..4).for_each(|_| album.step());
        assert_eq!(album.mismatches, 3);
    }
}
