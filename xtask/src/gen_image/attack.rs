//! From the second version to the third: files are encrypted, in one of several ways.
//!
//! | mode | what becomes of a file |
//! |---|---|
//! | `in-place` | every byte is noise |
//! | `copy-delete` | a new file `….locked` of noise; it is removed |
//! | `half` | 16 of 32 bytes are noise |
//! | `third` | 64 of 192 bytes are noise |
//! | `head` | the first 4 KiB are noise |
//! | `dotted` | 4 of 16 KiB are noise |
//! | `base64` | another file with its name, of noise in base64 |
//! | `slow` | as `in-place`, but a fiftieth of the files, over a day |
//!
//! Noise stands for ciphertext: each byte differs from the one before, so that it is known which.

use super::deeds::{Coding, Deed};
use super::part::Part;
use super::tools::{BLOCK_BYTES, Image};
use super::world::{Data, File};
use super::{Maker, TIMES};
use serde::Serialize;

/// How files are encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Attack {
    /// Every byte, in its place
    #[default]
    InPlace,
    /// Into a new file; the old one is removed
    CopyDelete,
    /// 16 of 32 bytes
    Half,
    /// 64 of 192 bytes
    Third,
    /// The first 4 KiB
    Head,
    /// 4 of 16 KiB
    Dotted,
    /// Into another file of its name, in base64
    Base64,
    /// Every byte, of few files, over a day
    Slow,
}

/// A file that was attacked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Victim {
    pub(crate) path: String,
    /// Where it is afterwards.
    pub(crate) now: String,
    /// How many bytes it had.
    pub(crate) bytes: u64,
    /// Which of them were turned: these, or the first `turned` of each `period`.
    pub(crate) turned: serde_json::Value,
    pub(crate) at: u64,
}

/// How many files in a whole attack are one in a slow one, and how long that takes.
const SLOW: u64 = 50;
const SLOW_S: u64 = 86_400;

impl Attack {
    fn part(self, bytes: u64) -> Part {
        match self {
            Self::Half => Part::Every {
                turned: 16,
                period: 32,
            },
            Self::Third => Part::Every {
                turned: 64,
                period: 192,
            },
            Self::Dotted => Part::Every {
                turned: BLOCK_BYTES,
                period: 4 * BLOCK_BYTES,
            },
            Self::Head => Part::all(bytes.min(BLOCK_BYTES)),
            _ => Part::all(bytes),
        }
    }
}

impl Maker<'_> {
    /// From the second version to the third.
    pub(super) fn attack(&mut self, image: &Image) -> anyhow::Result<()> {
        let how = self.what.attack;
        let mut free = self.untouched(|file| {
            file.is_users && file.data[0] == Data::Same && file.bytes > 0 && !file.has_holes
        });
        let (mut count, mut renamed) = (self.count(2000), self.count(500));
        if how == Attack::Slow {
            (count, renamed) = ((count / SLOW).max(2), 0);
        }
        for number in 0..count {
            let Some(index) = self.draw.take(&mut free) else {
                break;
            };
            let mut at = TIMES[2];
            if how == Attack::Slow {
                at += SLOW_S * number / count;
                self.deeds.push(vec![Deed::Clock { at }]);
            }
            self.encrypt(index, how, at);
            let is_rewritten = matches!(how, Attack::CopyDelete | Attack::Base64);
            if number < renamed && !is_rewritten {
                self.rename(index, 1, |path| format!("{path}.locked"));
            }
            let now = self.world.files[index].paths[2].clone();
            if let (Some(victim), Some(now)) = (self.victims.last_mut(), now) {
                victim.now = now;
            }
        }
        let notes = self.create(2, self.count(72), "READ ME")?;
        self.carry_out(image, 2, notes.path())
    }

    fn encrypt(&mut self, index: usize, how: Attack, at: u64) {
        let seed = self.draw.next();
        let file = &mut self.world.files[index];
        let path = file.paths[1].clone().unwrap_or_default();
        let (bytes, part) = (file.bytes, how.part(file.bytes));
        let mut victim = Victim {
            now: path.clone(),
            path: path.clone(),
            bytes,
            turned: serde_json::to_value(&part).unwrap_or_default(),
            at,
        };
        let rewritten = |to: &str, coding| Deed::Rewrite {
            path: path.clone(),
            to: to.to_owned(),
            coding,
            seed,
        };
        match how {
            Attack::CopyDelete => {
                let to = format!("{path}.locked");
                self.deeds.push(vec![rewritten(&to, Coding::Noise)]);
                file.paths[2] = None;
                victim.now.clone_from(&to);
                self.world.files.push(File {
                    paths: [None, None, Some(to)],
                    ..File::default()
                });
            }
            Attack::Base64 => {
                self.deeds.push(vec![rewritten(&path, Coding::Letters)]);
                file.replaced[1] = true;
            }
            _ => {
                file.data[1] = Data::Turned(part.hulls(bytes));
                file.fields[1] = vec!["modified", "changed"];
                self.deeds.push(vec![Deed::Turn {
                    path,
                    bytes,
                    part,
                    seed,
                }]);
            }
        }
        self.victims.push(victim);
    }
}
