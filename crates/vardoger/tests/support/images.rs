//! The truth about a run, out of what QEMU itself wrote: whole memory images (`pmemsave`) and the
//! text of `info registers`, of every replica.
//!
//! Deliberately plain, and deliberately without a line of the product: every aligned 64-bit word
//! of all images is looked at, and votes are counted one by one.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bytes of each image that are looked at together.
const STRIDE_BYTES: usize = 1 << 20;

/// A word in which one replica differs from the majority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    pub address: u64,
    pub expected: u64,
    pub found: u64,
}

impl Word {
    /// The bits that differ, counted from bit 0 of the first byte.
    pub fn flipped_bits(&self) -> Vec<u64> {
        let flipped = self.expected ^ self.found;
        (0..64).filter(|bit| flipped >> bit & 1 == 1).collect()
    }
}

/// How the replicas of a run really differ. A replica that agrees with the majority has no entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Differing words by replica, in ascending order of address.
    pub words: BTreeMap<u64, Vec<Word>>,
    /// Names of differing registers by replica.
    pub registers: BTreeMap<u64, BTreeSet<String>>,
    /// Bytes of each image.
    pub image_bytes: u64,
}

impl Truth {
    /// Reads what a run with `--keep all` left in the store.
    pub fn of_run(store: &Path, run: &Value) -> Self {
        let images = run["replicas"].as_array().unwrap().iter();
        let images: Vec<PathBuf> = images
            .map(|replica| store.join("blobs").join(replica["image"].as_str().unwrap()))
            .collect();
        let registers = images.iter().map(|image| {
            let text = std::fs::read_to_string(image.with_extension("registers")).unwrap();
            read_registers(&text)
        });
        Self {
            registers: differing_registers(&registers.collect::<Vec<_>>()),
            image_bytes: std::fs::metadata(&images[0]).unwrap().len(),
            words: differing_words(&images),
        }
    }

    /// Whether all replicas ended in the same state.
    pub fn is_uniform(&self) -> bool {
        self.words.is_empty() && self.registers.is_empty()
    }

    /// The replicas that differ.
    pub fn who(&self) -> BTreeSet<u64> {
        self.words
            .keys()
            .chain(self.registers.keys())
            .copied()
            .collect()
    }

    /// The digest of a replica's differing words, as the schema of a run defines it.
    pub fn words_digest(&self, replica: u64) -> String {
        let mut hasher = blake3::Hasher::new();
        for word in self.words.get(&replica).into_iter().flatten() {
            for value in [word.address, word.expected, word.found] {
                hasher.update(&value.to_le_bytes());
            }
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// Every word in which a replica differs from what more than half of them hold.
fn differing_words(images: &[PathBuf]) -> BTreeMap<u64, Vec<Word>> {
    let mut files: Vec<File> = images
        .iter()
        .map(|path| File::open(path).unwrap())
        .collect();
    let mut parts = vec![Vec::with_capacity(STRIDE_BYTES); files.len()];
    let mut differing = BTreeMap::<u64, Vec<Word>>::new();
    let mut start = 0;
    loop {
        for (file, part) in files.iter_mut().zip(&mut parts) {
            part.clear();
            file.take(STRIDE_BYTES as u64).read_to_end(part).unwrap();
        }
        let length = parts[0].len();
        assert!(
            parts.iter().all(|part| part.len() == length),
            "images of different lengths"
        );
        if length == 0 {
            return differing;
        }
        for at in (0..length).step_by(8) {
            let first = word_at(&parts[0], at);
            if parts.iter().all(|part| word_at(part, at) == first) {
                continue;
            }
            let votes: Vec<u64> = parts.iter().map(|part| word_at(part, at)).collect();
            let address = start + at as u64;
            for (replica, expected, found) in outvoted(&votes) {
                let word = Word {
                    address,
                    expected: *expected,
                    found: *found,
                };
                differing.entry(replica).or_default().push(word);
            }
        }
        start += length as u64;
    }
}

fn word_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// The registers by name; a value lasts until the next name. `CS =0010 …` has a blank before its
/// equals sign, `[ST=0]` a bracket before its name.
fn read_registers(text: &str) -> BTreeMap<String, String> {
    let mut registers = BTreeMap::new();
    let mut last: Option<String> = None;
    for token in text.replace(" =", "=").split_whitespace() {
        if let Some((name, value)) = token.split_once('=') {
            let name = name.trim_start_matches('[').to_owned();
            registers.insert(name.clone(), value.to_owned());
            last = Some(name);
        } else if let Some(value) = last.as_ref().and_then(|name| registers.get_mut(name)) {
            value.push(' ');
            value.push_str(token);
        }
    }
    assert!(registers.contains_key("RIP"), "no registers: {text}");
    registers
}

fn differing_registers(replicas: &[BTreeMap<String, String>]) -> BTreeMap<u64, BTreeSet<String>> {
    let mut differing = BTreeMap::<u64, BTreeSet<String>>::new();
    for name in replicas
        .iter()
        .flat_map(BTreeMap::keys)
        .collect::<BTreeSet<_>>()
    {
        let votes: Vec<_> = replicas
            .iter()
            .map(|registers| registers.get(name))
            .collect();
        for (replica, _, _) in outvoted(&votes) {
            differing.entry(replica).or_default().insert(name.clone());
        }
    }
    differing
}

/// Who holds another value than more than half of all: replica, expected, found.
fn outvoted<T: PartialEq>(votes: &[T]) -> Vec<(u64, &T, &T)> {
    if votes.iter().all(|vote| *vote == votes[0]) {
        return Vec::new();
    }
    let count = |value: &T| votes.iter().filter(|vote| *vote == value).count();
    let majority = votes.iter().find(|value| count(value) * 2 > votes.len());
    let majority = majority.expect("one fault leaves a majority");
    let differing = (0..).zip(votes).filter(|(_, vote)| *vote != majority);
    differing
        .map(|(replica, found)| (replica, majority, found))
        .collect()
}
