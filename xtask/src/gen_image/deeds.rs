//! What is done to the files of a disk, one by one, and who does it: debugfs, or the kernel of a
//! guest that boots the disk ([`super::guest`]).

use super::content::Kind;
use super::draw::Draw;
use super::part::{Part, noise};
use super::tools::Image;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// One thing that is done. Paths are those at that moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Deed {
    Remove {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Mode {
        path: String,
        mode: u32,
    },
    Owner {
        path: String,
        uid: u32,
        gid: u32,
    },
    Attribute {
        path: String,
        name: String,
        value: String,
    },
    /// Sets the time of the data.
    Touch {
        path: String,
    },
    /// A new file, of what a file beside the plan holds.
    Write {
        path: String,
        from: String,
    },
    /// Turns bytes in their place.
    Turn {
        path: String,
        bytes: u64,
        part: Part,
        seed: u64,
    },
    /// Adds lines to a log.
    Append {
        path: String,
        range: Range<u64>,
        seed: u64,
    },
    /// Makes another file of a file, and removes it; the other may have the same path.
    Rewrite {
        path: String,
        to: String,
        coding: Coding,
        seed: u64,
    },
    /// It is this time now.
    Clock {
        at: u64,
    },
}

/// What a file is made into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Coding {
    /// Noise.
    Noise,
    /// Noise, in the letters of base64.
    Letters,
}

impl Coding {
    pub(super) fn made_of(self, mut content: Vec<u8>, seed: u64) -> Vec<u8> {
        noise(&mut content, &mut Draw(seed));
        match self {
            Self::Noise => content,
            Self::Letters => letters(&content),
        }
    }
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// How long a line of base64 is, as `base64` breaks them.
const LINE: usize = 76;

/// In base64 (RFC 4648, section 4), with line breaks.
fn letters(content: &[u8]) -> Vec<u8> {
    let mut all = Vec::with_capacity(content.len() / 3 * 4 + 4);
    for three in content.chunks(3) {
        let byte = |index: usize| u32::from(three.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            all.push(match index <= three.len() {
                true => LETTERS[(bits >> (18 - 6 * index)) as usize & 63],
                false => b'=',
            });
        }
    }
    let lines = all.chunks(LINE).map(|line| [line, b"\n"].concat());
    lines.collect::<Vec<_>>().concat()
}

/// Lines for a log.
pub(super) fn lines(range: &Range<u64>, seed: u64) -> Vec<u8> {
    Kind::Log.make((range.end - range.start) as usize, &mut Draw(seed))
}

/// Has debugfs do deeds; `given` is where the files beside the plan are.
///
/// Data are changed first, then names and inodes, so that a file whose data are changed is named as at the
/// beginning.
pub(super) fn by_debugfs(
    image: &Image,
    deeds: &[Deed],
    given: &Path,
    now: u64,
) -> anyhow::Result<()> {
    let mut parts = Vec::new();
    let mut data = Vec::new();
    let mut asked = Vec::new();
    let mut script = Script {
        lines: Vec::new(),
        now,
    };
    for (index, deed) in deeds.iter().enumerate() {
        match deed {
            Deed::Turn {
                path, bytes, part, ..
            } => {
                let ranges = part.ranges(*bytes);
                if let (Some(first), Some(last)) = (ranges.first(), ranges.last()) {
                    parts.push((path.clone(), first.start..last.end));
                    data.push(deed);
                }
            }
            Deed::Append { path, range, .. } => {
                parts.push((path.clone(), range.clone()));
                data.push(deed);
            }
            Deed::Rewrite { path, .. } => {
                let old = made(given, index, "old");
                asked.push(format!("dump \"{path}\" \"{}\"", old.display()));
            }
            _ => {}
        }
        script.add(deed, given, index);
    }
    image.edit(&parts, |index, content| match data[index] {
        Deed::Turn {
            bytes, part, seed, ..
        } => {
            part.turn(*bytes, content, parts[index].1.start, *seed);
        }
        Deed::Append { range, seed, .. } => content.copy_from_slice(&lines(range, *seed)),
        _ => {}
    })?;
    if !asked.is_empty() {
        image.debugfs(&asked, now)?;
    }
    for (index, deed) in deeds.iter().enumerate() {
        if let Deed::Rewrite {
            path, coding, seed, ..
        } = deed
        {
            let old = std::fs::read(made(given, index, "old"));
            let old = old.with_context(|| format!("debugfs gave no {path}"))?;
            std::fs::write(made(given, index, "new"), coding.made_of(old, *seed))?;
        }
    }
    image.debugfs(&script.lines, now).map(drop)
}

fn made(given: &Path, index: usize, what: &str) -> PathBuf {
    given.join(format!("{what}-{index}"))
}

/// Lines for debugfs, at a time.
struct Script {
    lines: Vec<String>,
    now: u64,
}

impl Script {
    fn add(&mut self, deed: &Deed, given: &Path, index: usize) {
        match deed {
            Deed::Clock { at } => self.now = *at,
            Deed::Remove { path } => self.line(format!("rm \"{path}\"")),
            Deed::Rename { from, to } => {
                self.rename(from, to);
                self.times(to, &["ctime"]);
            }
            Deed::Mode { path, mode } => {
                self.line(format!("sif \"{path}\" mode 0100{mode:o}"));
                self.times(path, &["ctime"]);
            }
            Deed::Owner { path, uid, gid } => {
                self.line(format!("sif \"{path}\" uid {uid}"));
                self.line(format!("sif \"{path}\" gid {gid}"));
                self.times(path, &["ctime"]);
            }
            Deed::Attribute { path, name, value } => {
                self.line(format!("ea_set \"{path}\" {name} {value}"));
                self.times(path, &["ctime"]);
            }
            Deed::Touch { path } | Deed::Turn { path, .. } => {
                self.times(path, &["mtime", "ctime"]);
            }
            Deed::Append { path, range, .. } => {
                self.line(format!("sif \"{path}\" size {}", range.end));
                self.times(path, &["mtime", "ctime"]);
            }
            Deed::Write { path, from } => {
                self.line(format!(
                    "write \"{}\" \"{path}\"",
                    given.join(from).display()
                ));
            }
            Deed::Rewrite { path, to, .. } => {
                // The other is there first, so that it is not the same inode.
                let (new, between) = (made(given, index, "new"), format!("{to}.new"));
                self.line(format!("write \"{}\" \"{between}\"", new.display()));
                self.line(format!("rm \"{path}\""));
                self.rename(&between, to);
            }
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.line(format!("ln \"{from}\" \"{to}\""));
        self.line(format!("unlink \"{from}\""));
    }

    fn times(&mut self, path: &str, times: &[&str]) {
        for time in times {
            self.line(format!("sif \"{path}\" {time} @{}", self.now));
        }
    }

    fn line(&mut self, line: String) {
        self.lines.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn letters_are_those_of_base64() {
        for length in [0, 1, 2, 3, 56, 57, 58, 1000] {
            let content = Draw(length as u64).bytes(length);
            let mut tool = Command::new("base64")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            tool.stdin.take().unwrap().write_all(&content).unwrap();
            let expected = tool.wait_with_output().unwrap().stdout;
            assert_eq!(letters(&content), expected, "{length} bytes");
        }
    }
}
