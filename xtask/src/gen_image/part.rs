//! Which bytes of a file an attack turns, and what is told of that.

use super::draw::Draw;
use super::tools::BLOCK_BYTES;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Some bytes of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Part {
    /// These.
    Ranges(Vec<Range<u64>>),
    /// The first `turned` of each `period` bytes.
    Every { turned: u64, period: u64 },
}

impl Part {
    /// All of a file.
    pub(super) fn all(bytes: u64) -> Self {
        Self::Ranges(std::iter::once(0..bytes).collect())
    }

    /// The ranges within a file's bytes, ascending.
    pub(super) fn ranges(&self, bytes: u64) -> Vec<Range<u64>> {
        let cut = |range: Range<u64>| range.start.min(bytes)..range.end.min(bytes);
        match self {
            Self::Ranges(ranges) => ranges.iter().cloned().map(cut).collect(),
            Self::Every { turned, period } => {
                let starts = (0..bytes).step_by((*period).max(1) as usize);
                starts.map(|start| cut(start..start + turned)).collect()
            }
        }
    }

    /// What is told of them: of each block of the file from the first to the last byte that differs;
    /// those that meet are one.
    pub(super) fn hulls(&self, bytes: u64) -> Vec<Range<u64>> {
        let mut hulls: Vec<Range<u64>> = Vec::new();
        for range in self.ranges(bytes) {
            let mut at = range.start;
            while at < range.end {
                let block = at / BLOCK_BYTES;
                let end = range.end.min((block + 1) * BLOCK_BYTES);
                match hulls.last_mut() {
                    Some(last) if last.end == at || (last.end - 1) / BLOCK_BYTES == block => {
                        last.end = end;
                    }
                    _ => hulls.push(at..end),
                }
                at = end;
            }
        }
        hulls
    }

    /// Makes each byte of the part another one, as noise. `content` starts at a byte of the file.
    pub(super) fn turn(&self, bytes: u64, content: &mut [u8], start: u64, seed: u64) {
        let mut draw = Draw(seed);
        for range in self.ranges(bytes) {
            let within = (range.start - start) as usize..(range.end - start) as usize;
            noise(&mut content[within], &mut draw);
        }
    }
}

/// Makes each byte another one.
pub(super) fn noise(content: &mut [u8], draw: &mut Draw) {
    let noise = draw.bytes(content.len());
    for (byte, noise) in content.iter_mut().zip(noise) {
        *byte ^= noise.max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hull_goes_from_the_first_to_the_last_byte_of_a_block() {
        let check = |part: &Part, bytes: u64, expected: &[(u64, u64)]| {
            let hulls = part.hulls(bytes).into_iter();
            let hulls: Vec<_> = hulls.map(|hull| (hull.start, hull.end)).collect();
            assert_eq!(hulls, expected, "{part:?} of {bytes}");
        };
        let half = Part::Every {
            turned: 16,
            period: 32,
        };
        check(&half, 5000, &[(0, 4080), (4096, 5000)]);
        let wide = Part::Every {
            turned: 4096,
            period: 16_384,
        };
        check(&wide, 20_000, &[(0, 4096), (16_384, 20_000)]);
        check(&wide, 16_384, &[(0, 4096)]);
        check(&Part::all(9000), 9000, &[(0, 9000)]);
        let two = Part::Ranges(vec![10..20, 4000..4200, 4300..4301]);
        check(&two, 9000, &[(10, 4301)]);
        check(&two, 15, &[(10, 15)]);
    }

    #[test]
    fn what_is_turned_is_another_byte_and_all_else_is_the_same() {
        let part = Part::Every {
            turned: 64,
            period: 192,
        };
        let mut content = vec![7; 1000];
        part.turn(1000, &mut content, 0, 3);
        for (at, byte) in content.iter().enumerate() {
            assert_eq!(*byte != 7, at % 192 < 64, "byte {at}");
        }
    }
}
