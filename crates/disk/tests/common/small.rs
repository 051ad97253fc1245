//! Hostile input is read in a process of its own, with limits on memory and CPU time.
//!
//! ```text
//!  test ──starts itself──► child: limits on memory, CPU time, core ─► reads all, one by one
//!    └──── must end well ◄─── each a typed error, or something valid
//! ```

use super::Draw;
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What reading may take of memory: the address space of the whole process.
const MAX_MEMORY_BYTES: u64 = 256 << 20;

/// What reading one input may take of CPU time.
const MAX_CPU: Duration = Duration::from_secs(1);

/// What reading all may take of CPU time before the kernel ends the child.
const MAX_CPU_S: u64 = 120;

/// Takes this process's memory and time away. To be called in the child.
pub fn confine() {
    let limit = |resource, most| {
        let most = Some(most);
        let both = Rlimit {
            current: most,
            maximum: most,
        };
        setrlimit(resource, both).unwrap();
    };
    limit(Resource::As, MAX_MEMORY_BYTES);
    limit(Resource::Cpu, MAX_CPU_S);
    limit(Resource::Core, 0);
}

/// Runs the ignored test of this name in a process of its own; it must pass. It finds its images by
/// the variable `VARDOGER_TEST_IMAGES`.
pub fn in_a_process_of_its_own(test: &str, images: &Path) {
    let ended = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .arg("--test-threads=1")
        .env("MALLOC_ARENA_MAX", "1")
        .env("VARDOGER_TEST_IMAGES", images)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    let complained = String::from_utf8_lossy(&ended.stderr);
    let passed = ended.status.success() && said.contains("1 passed");
    assert!(passed, "{}: {said} {complained}", ended.status);
}

/// Does one reading, which may take a second of CPU time.
pub fn timed<T>(what: u64, read: impl FnOnce() -> T) -> T {
    let cpu = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let before = cpu();
    let outcome = read();
    let taken = cpu() - before;
    assert!(taken < MAX_CPU, "input {what} takes {taken:?}");
    outcome
}

/// A number that means trouble in a field of up to eight bytes.
fn edited(value: u64, draw: &mut Draw) -> u64 {
    let drawn = draw.next();
    let bit = 1 << draw.below(64);
    draw.one(&[
        0,
        1,
        value.wrapping_add(1),
        value.wrapping_sub(1),
        value.wrapping_mul(2),
        value ^ bit,
        drawn,
        u64::MAX,
        u64::from(u32::MAX),
        1 << 63,
        0x7fff,
        0x8000_0000,
    ])
}

/// Damages an image with intent: bits flipped, fields edited, parts of it and of another moved, or
/// its end cut off. `places` are where its structures lie, with their lengths: most of the damage
/// is done there.
pub fn damage(image: &mut Vec<u8>, other: &[u8], places: &[(usize, usize)], draw: &mut Draw) {
    match draw.below(8) {
        0..=2 => {
            for _ in 0..=draw.below(4) {
                let at = place(image.len(), places, draw);
                image[at] ^= 1 << draw.below(8);
            }
        }
        3..=5 => edit_fields(image, places, draw),
        6 => {
            let from = draw.below(other.len());
            let bytes = draw.one(&[8, 64, 512, 4096]).min(other.len() - from);
            let to = place(image.len(), places, draw);
            let bytes = bytes.min(image.len() - to);
            image[to..to + bytes].copy_from_slice(&other[from..from + bytes]);
        }
        _ => image.truncate(draw.below(image.len())),
    }
}

fn place(bytes: usize, places: &[(usize, usize)], draw: &mut Draw) -> usize {
    if draw.below(8) == 0 || places.is_empty() {
        return draw.below(bytes);
    }
    let (start, length) = draw.one(places);
    (start + draw.below(length)).min(bytes - 1)
}

fn edit_fields(image: &mut [u8], places: &[(usize, usize)], draw: &mut Draw) {
    for _ in 0..=draw.below(2) {
        let width = draw.one(&[1, 2, 4, 8]);
        let at = place(image.len(), places, draw) & !(width - 1);
        let Some(field) = image.get_mut(at..at + width) else {
            continue;
        };
        let mut word = [0; 8];
        word[8 - width..].copy_from_slice(field);
        let value = edited(u64::from_be_bytes(word), draw).to_be_bytes();
        field.copy_from_slice(&value[8 - width..]);
        if draw.below(2) == 0 {
            field.reverse();
        }
    }
}
