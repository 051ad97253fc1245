//! A frame to bits and back: motion by sums of absolute differences, what is left by blocks.
//!
//! ```text
//! frame:       for each macroblock of 16 × 16, in rows:  vector, 16 blocks
//! vector:      se(dx - that of the macroblock before)  se(dy - …)
//! block:       ue(levels that are not 0)  for each: ue(zeros before it)  se(level)
//! prediction:  the 16 × 16 pixels of the reference at (x + dx, y + dy), its borders going on
//! ```

use super::bits::{Reader, Writer};
use super::transform::{Block, ZIGZAG, backward, forward, quantise, scale};

/// Pixels of a row and rows of a frame: multiples of a macroblock's.
pub(super) const WIDTH: usize = 128;
pub(super) const HEIGHT: usize = 96;
pub(super) const PIXELS: usize = WIDTH * HEIGHT;
/// A macroblock's side, and a block's.
const SIDE: usize = 16;
const BLOCK: usize = 4;
/// A vector reaches so far, each way.
const REACH: i32 = 4;
/// The wildest vector that is followed: only a wrong bit is wilder.
const WILDEST: i32 = 64;

/// Brightness, row by row.
pub(super) type Frame = [u8; PIXELS];
/// A macroblock's pixels.
type Macroblock = [[u8; SIDE]; SIDE];

/// Where macroblocks stand: (x, y) of their first pixel.
fn places() -> impl Iterator<Item = (usize, usize)> {
    let rows = (0..HEIGHT).step_by(SIDE);
    rows.flat_map(|y| (0..WIDTH).step_by(SIDE).map(move |x| (x, y)))
}

/// The pixels at a place, moved by a vector.
fn cut(frame: &Frame, (x, y): (usize, usize), (dx, dy): (i32, i32)) -> Macroblock {
    let (left, top) = (x as i32 + dx, y as i32 + dy);
    std::array::from_fn(|row| {
        let row = (top + row as i32).clamp(0, HEIGHT as i32 - 1) as usize * WIDTH;
        match usize::try_from(left) {
            Ok(left) if left + SIDE <= WIDTH => {
                std::array::from_fn(|column| frame[row + left + column])
            }
            _ => std::array::from_fn(|column| {
                frame[row + (left + column as i32).clamp(0, WIDTH as i32 - 1) as usize]
            }),
        }
    })
}

/// The sum of absolute differences.
fn distance(one: &Macroblock, other: &Macroblock) -> u32 {
    let rows = one.iter().zip(other);
    let row = |(one, other): (&[u8; SIDE], &[u8; SIDE])| -> u32 {
        let pairs = one.iter().zip(other);
        pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum()
    };
    rows.map(row).sum()
}

/// The vector of the nearest macroblock; of several, the first, row by row.
fn search(wanted: &Macroblock, reference: &Frame, place: (usize, usize)) -> (i32, i32) {
    let vectors = (-REACH..=REACH).flat_map(|dy| (-REACH..=REACH).map(move |dx| (dx, dy)));
    let far = |vector: &(i32, i32)| distance(wanted, &cut(reference, place, *vector));
    vectors.min_by_key(far).unwrap_or((0, 0))
}

/// Encodes a frame; gives the bytes written and, in `rebuilt`, what a decoder is to come to.
pub(super) fn encode(
    source: &Frame,
    reference: &Frame,
    parameter: u32,
    bytes: &mut [u8],
    rebuilt: &mut Frame,
) -> usize {
    bytes.fill(0);
    let mut writer = Writer::new(bytes);
    let mut before = (0, 0);
    for place in places() {
        let wanted = cut(source, place, (0, 0));
        let vector = search(&wanted, reference, place);
        writer.signed(vector.0 - before.0);
        writer.signed(vector.1 - before.1);
        before = vector;
        let mut pixels = cut(reference, place, vector);
        for at in blocks() {
            let mut block = residual(&wanted, &pixels, at);
            forward(&mut block);
            quantise(&mut block, parameter);
            write(&mut writer, &block);
            add(&mut pixels, at, block, parameter);
        }
        paste(rebuilt, place, &pixels);
    }
    writer.bytes_written()
}

/// Decodes a frame. Any bytes give one.
pub(super) fn decode(bytes: &[u8], reference: &Frame, parameter: u32, decoded: &mut Frame) {
    let mut reader = Reader::new(bytes);
    let mut vector = (0, 0);
    for place in places() {
        let moved = |from: i32, by: i32| from.saturating_add(by).clamp(-WILDEST, WILDEST);
        vector.0 = moved(vector.0, reader.signed());
        vector.1 = moved(vector.1, reader.signed());
        let mut pixels = cut(reference, place, vector);
        for at in blocks() {
            let block = read(&mut reader);
            add(&mut pixels, at, block, parameter);
        }
        paste(decoded, place, &pixels);
    }
}

/// Blocks of a macroblock: (column, row) of their first pixel.
fn blocks() -> impl Iterator<Item = (usize, usize)> {
    let rows = (0..SIDE).step_by(BLOCK);
    rows.flat_map(|y| (0..SIDE).step_by(BLOCK).map(move |x| (x, y)))
}

fn residual(wanted: &Macroblock, predicted: &Macroblock, (x, y): (usize, usize)) -> Block {
    std::array::from_fn(|at| {
        let (column, row) = (x + at % BLOCK, y + at / BLOCK);
        i32::from(wanted[row][column]) - i32::from(predicted[row][column])
    })
}

/// Adds to a prediction what levels say.
fn add(pixels: &mut Macroblock, (x, y): (usize, usize), mut block: Block, parameter: u32) {
    scale(&mut block, parameter);
    backward(&mut block);
    for (at, value) in block.into_iter().enumerate() {
        let pixel = &mut pixels[y + at / BLOCK][x + at % BLOCK];
        *pixel = i32::from(*pixel).saturating_add(value).clamp(0, 255) as u8;
    }
}

fn paste(frame: &mut Frame, (x, y): (usize, usize), pixels: &Macroblock) {
    for (row, values) in pixels.iter().enumerate() {
        let start = (y + row) * WIDTH + x;
        frame[start..start + SIDE].copy_from_slice(values);
    }
}

fn write(writer: &mut Writer<'_>, levels: &Block) {
    let count = levels.iter().filter(|level| **level != 0).count();
    writer.unsigned(count as u32);
    let mut zeros = 0;
    for level in ZIGZAG.map(|at| levels[at]) {
        if level == 0 {
            zeros += 1;
        } else {
            writer.unsigned(zeros);
            writer.signed(level);
            zeros = 0;
        }
    }
}

fn read(reader: &mut Reader<'_>) -> Block {
    let mut levels = [0; 16];
    let mut order = ZIGZAG.iter();
    let count = reader.unsigned().min(ZIGZAG.len() as u32);
    for _ in 0..count {
        let zeros = reader.unsigned() as usize;
        let level = reader.signed();
        if let Some(at) = order.nth(zeros) {
            levels[*at] = level;
        }
    }
    levels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Xoshiro256;

    /// A frame with a soft pattern, moved by a vector.
    fn pattern(dx: usize, dy: usize) -> Box<Frame> {
        Box::new(std::array::from_fn(|at| {
            let (x, y) = (at % WIDTH + dx, at / WIDTH + dy);
            ((x * x / 9 + y * y / 7 + x * y / 5) % 256) as u8
        }))
    }

    #[test]
    fn motion_is_found() {
        let (reference, moved) = (pattern(0, 0), pattern(3, 2));
        let place = (48, 32);
        let wanted = cut(&moved, place, (0, 0));
        assert_eq!(search(&wanted, &reference, place), (3, 2));
    }

    #[test]
    fn a_decoder_comes_to_what_the_encoder_rebuilt_and_near_the_source() {
        for (parameter, error_max) in [(0, 2), (20, 14), (35, 80)] {
            let (reference, source) = (pattern(0, 0), pattern(5, 9));
            let (mut bytes, mut rebuilt) = (vec![0; 1 << 16], pattern(0, 0));
            let length = encode(&source, &reference, parameter, &mut bytes, &mut rebuilt);
            let mut decoded = pattern(0, 0);
            decode(&bytes[..length], &reference, parameter, &mut decoded);
            assert!(decoded == rebuilt);
            let pairs = source.iter().zip(decoded.iter());
            let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= error_max, "{parameter}: {worst}");
        }
    }

    #[test]
    fn any_bytes_give_a_frame() {
        let (reference, mut decoded) = (pattern(0, 0), pattern(0, 0));
        let mut stream = Xoshiro256::from_seed(4);
        for _ in 0..20 {
            let mut bytes = [0; 4096];
            stream.mask(&mut bytes);
            decode(&bytes, &reference, 30, &mut decoded);
        }
    }
}
