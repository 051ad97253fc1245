//! `video`: moving pictures encoded and decoded again, in the manner of H.261 and H.264, by integers.
//!
//! ```text
//! scene:  a texture of 256 × 256; the camera and four tiles of it move over it
//! slots:  4, each the frame decoded last in its turn, and the bits that it came from
//!
//! step, on the slots in turn:
//!   source   = the scene, 128 × 96, with noise as keystream( running ) says
//!   bits     = encode( source | slot )            motion search, 4 × 4 transform, quantiser 18 to 33,
//!                                                 zigzag, runs and levels in Exp-Golomb codes
//!   decoded  = decode( bits | slot )              differs from what the encoder rebuilt: counted
//!   running  = SHA-256( running ‖ slot before ‖ bits ‖ decoded ‖ mismatches )
//!   slot     = decoded, bits
//!   texture ^= keystream( running ), in some places
//!
//! digest:   running, texture, all slots
//! ```
//!
//! Prediction passes a wrong pixel on, but the encoder sees it and mends it, so each reference is
//! hashed as it is found. Borders go on as the standard says; there are no colours, no halves of
//! pixels and no arithmetic coding.

mod bits;
mod codec;
mod transform;

use crate::catalogue::{Descriptor, Sensitivity, Start, Target};
use crate::coverage::{Algorithm, DataType, Unit};
use crate::digest::DIGEST_BYTES;
use crate::kernel::{Kernel, PageAligned, hasher};
use crate::random::Xoshiro256;
use codec::{Frame, HEIGHT, PIXELS, WIDTH, decode, encode};
use sha2::{Digest as _, Sha256};

const NAME: &str = "video";
const VERSION: u32 = 1;

/// Its entry in the catalogue.
pub(crate) const ENTRY: Descriptor = Descriptor {
    name: NAME,
    version: VERSION,
    title: "moving pictures: motion search, integer transform, entropy codes, and back",
    sensitivity: Sensitivity::High,
    targets: &[Target::CpuInteger],
    units: &[
        Unit::IntegerVector,
        Unit::IntegerArithmetic,
        Unit::IntegerMultiply,
        Unit::Shift,
        Unit::Branches,
        Unit::LoadStore,
        Unit::Misaligned,
    ],
    data_types: &[DataType::U8, DataType::I32],
    algorithms: &[Algorithm::VideoCoding],
    extensions: &[],
    portable: true,
    instructions_per_step: 22_800_000,
    emulation_weight: 1.0,
    default_budget_s: 1.0,
    minimum_steps: 2 * SLOTS as u64,
    start: Start::Alone(Pictures::start),
};

/// Reference frames.
const SLOTS: usize = 4;
/// The texture's side: a power of two, so that places wrap.
const SIDE: usize = 256;
/// Twice what the finest quantiser needs for noise.
const BITS_BYTES: usize = 16 * model::PAGE_BYTES;
/// Quantisers: from nearly lossless to coarse.
const FINEST: u32 = 18;
const QUANTISERS: u64 = 16;
/// Tiles that move, and the pixels of a side of one.
const TILES: usize = 4;
const TILE: usize = 24;
/// Words of the texture that a step changes.
const EDITS: usize = 64;
/// Noise is of this many bits.
const NOISE: u8 = 3;

type Texture = PageAligned<[u8; SIDE * SIDE]>;

#[derive(Clone)]
struct Slot {
    frame: Vec<PageAligned<Frame>>,
    bits: Vec<PageAligned<[u8; BITS_BYTES]>>,
    length: usize,
}

/// A place that moves.
#[derive(Clone, Copy, Default)]
struct Mover {
    x: u64,
    y: u64,
}

pub(crate) struct Pictures {
    texture: Vec<Texture>,
    /// The camera, then the tiles.
    movers: [Mover; TILES + 1],
    source: Vec<PageAligned<Frame>>,
    rebuilt: Vec<PageAligned<Frame>>,
    decoded: Vec<PageAligned<Frame>>,
    slots: Vec<Slot>,
    running: [u8; DIGEST_BYTES],
    coded_bytes: u64,
    /// Frames that a decoder did not come to.
    mismatches: u64,
    steps_done: u64,
}

impl Pictures {
    pub(crate) fn start(seed: u64) -> Box<dyn Kernel> {
        Box::new(Self::new(seed))
    }

    fn new(seed: u64) -> Self {
        let mut stream = Xoshiro256::from_seed(seed);
        let mut texture = vec![PageAligned([0; SIDE * SIDE])];
        paint(&mut texture[0].0, &mut stream);
        let grey = || vec![PageAligned([128; PIXELS])];
        let slot = Slot {
            frame: grey(),
            bits: vec![PageAligned([0; BITS_BYTES])],
            length: 0,
        };
        Self {
            texture,
            movers: [Mover::default(); TILES + 1],
            source: grey(),
            rebuilt: grey(),
            decoded: grey(),
            slots: vec![slot; SLOTS],
            running: Sha256::digest(stream.next_word().to_le_bytes()).into(),
            coded_bytes: 0,
            mismatches: 0,
            steps_done: 0,
        }
    }

    /// Moves everything on, and takes the picture.
    fn film(&mut self, stream: &mut Xoshiro256) {
        for mover in &mut self.movers {
            let draw = stream.next_word();
            mover.x = mover.x.wrapping_add(draw % 2);
            mover.y = mover.y.wrapping_add((draw >> 8) % 2);
        }
        let [camera, tiles @ ..] = self.movers;
        let (texture, source) = (&self.texture[0].0, &mut self.source[0].0);
        for (y, row) in source.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            for (x, pixel) in row.iter_mut().enumerate() {
                *pixel = at(texture, camera.x + x as u64, camera.y + y as u64);
            }
        }
        for (number, tile) in tiles.into_iter().enumerate() {
            // It shows another place of the texture, and so covers what is behind it.
            let shift = (number as u64 + 1) * 48;
            let (left, top) = (tile.x as usize + number * 31, tile.y as usize + number * 23);
            for (x, y) in (0..TILE).flat_map(|y| (0..TILE).map(move |x| (x, y))) {
                let place = (top + y) % HEIGHT * WIDTH + (left + x) % WIDTH;
                source[place] = at(texture, shift + x as u64, shift + y as u64);
            }
        }
        for pixels in source.as_chunks_mut::<8>().0 {
            let noise = stream.next_word().to_le_bytes();
            for (pixel, noise) in pixels.iter_mut().zip(noise) {
                *pixel = pixel.saturating_add(noise & NOISE);
            }
        }
    }

    /// Changes the texture in some places.
    fn edit(&mut self) {
        let mut stream = Xoshiro256::from_digest(&self.running);
        let words = self.texture[0].0.as_chunks_mut().0;
        let count = words.len() as u64;
        for _ in 0..EDITS {
            let place = (stream.next_word() % count) as usize;
            words[place] = (u64::from_le_bytes(words[place]) ^ stream.next_word()).to_le_bytes();
        }
    }
}

/// The texture goes on at its borders.
const fn at(texture: &[u8; SIDE * SIDE], x: u64, y: u64) -> u8 {
    let (x, y) = (x as usize % SIDE, y as usize % SIDE);
    texture[y * SIDE + x]
}

/// Gradients, stripes and noise, in patches of their own.
fn paint(texture: &mut [u8; SIDE * SIDE], stream: &mut Xoshiro256) {
    const PATCH: usize = 32;
    let mut styles = [[0_u64; SIDE / PATCH]; SIDE / PATCH];
    for style in styles.as_flattened_mut() {
        *style = stream.next_word();
    }
    for (index, pixel) in texture.iter_mut().enumerate() {
        let (x, y) = (index % SIDE, index / SIDE);
        let style = styles[y / PATCH][x / PATCH];
        let (base, slope) = ((style >> 8) as usize & 0x7f, (style >> 16) as usize % 5);
        *pixel = match style % 3 {
            0 => base + slope * (x % PATCH) / 2 + (y % PATCH),
            1 => base + 64 * (x / (slope + 1) % 2),
            _ => base + (stream.next_word() as usize & 0x3f),
        } as u8;
    }
}

impl Kernel for Pictures {
    fn step(&mut self) {
        let mut stream = Xoshiro256::from_digest(&self.running);
        self.film(&mut stream);
        let quantiser = FINEST + (stream.next_word() % QUANTISERS) as u32;
        let slot = &mut self.slots[(self.steps_done % SLOTS as u64) as usize];
        let (reference, bits) = (&mut slot.frame[0].0, &mut slot.bits[0].0);
        let (rebuilt, decoded) = (&mut self.rebuilt[0].0, &mut self.decoded[0].0);
        let mut link = Sha256::new();
        link.update(self.running);
        link.update(&reference[..]);
        slot.length = encode(&self.source[0].0, reference, quantiser, bits, rebuilt);
        let bits = bits.get(..slot.length).unwrap_or_default();
        decode(bits, reference, quantiser, decoded);
        self.mismatches += u64::from(rebuilt != decoded);
        self.coded_bytes += slot.length as u64;
        link.update(bits);
        link.update(&decoded[..]);
        link.update(self.mismatches.to_le_bytes());
        *reference = *decoded;
        self.running = link.finalize().into();
        self.edit();
        self.steps_done += 1;
    }

    fn steps_done(&self) -> u64 {
        self.steps_done
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        let mut all = hasher(NAME, VERSION, self.steps_done);
        all.update(self.running);
        all.update(self.texture[0].0);
        for mover in &self.movers {
            all.update([mover.x, mover.y].map(u64::to_le_bytes).as_flattened());
        }
        for slot in &self.slots {
            all.update(slot.frame[0].0);
            all.update((slot.length as u64).to_le_bytes());
            all.update(slot.bits[0].0);
        }
        for number in [self.coded_bytes, self.mismatches] {
            all.update(number.to_le_bytes());
        }
        all.finalize().into()
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        vec![
            ("coded_bytes".to_owned(), self.coded_bytes as f64),
            ("mismatches".to_owned(), self.mismatches as f64),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::tests::check_flip;

    const TWO_TURNS: u64 = 2 * SLOTS as u64;

    #[test]
    fn every_frame_is_decoded_as_rebuilt_and_is_like_its_source() {
        let mut pictures = Pictures::new(2);
        for _ in 0..TWO_TURNS {
            pictures.step();
            let pairs = pictures.source[0].0.iter().zip(&pictures.decoded[0].0);
            let squares = pairs.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2));
            let mean = squares.sum::<u64>() / PIXELS as u64;
            assert!(mean < 150, "mean square error {mean}");
        }
        assert_eq!(pictures.mismatches, 0);
        let per_frame = pictures.coded_bytes / TWO_TURNS;
        assert!((500..PIXELS as u64).contains(&per_frame), "{per_frame}");
    }

    #[test]
    fn a_flipped_bit_anywhere_changes_the_digest() {
        let start = || Pictures::new(1);
        for (slot, pixel, bit) in [(0, 0, 0), (3, PIXELS - 1, 7), (2, 5000, 1)] {
            check_flip(TWO_TURNS, start, |pictures| {
                pictures.slots[slot].frame[0].0[pixel] ^= 1 << bit;
            });
        }
        check_flip(TWO_TURNS, start, |pictures| pictures.texture[0].0[9] ^= 4);
        check_flip(TWO_TURNS, start, |pictures| pictures.running[9] ^= 4);
        check_flip(TWO_TURNS, start, |pictures| pictures.movers[2].x ^= 1);
    }
}
