//! What the guest writes, for ever, in steps of which each is known: so a file system that was
//! captured at one moment is what some number of steps have made of it.
//!
//! ```text
//! step n:  block n mod 64 of /one is filled with n, then that of /other
//!          every 16th: /made/n is written under another name and renamed, /made/(n-128) is removed
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

pub(crate) const BLOCK_BYTES: usize = 4096;
pub(crate) const BLOCKS: u64 = 64;
const MADE_EVERY: u64 = 16;
const MADE_KEPT: u64 = 128;

/// After how many steps all is made durable, as programs do that must not lose anything.
const SYNC_EVERY: u64 = 64;

/// Between two steps: a guest that does nothing but write would leave its host nothing.
const PAUSE: Duration = Duration::from_millis(1);

/// Writes until the guest ends.
pub(crate) fn write_for_ever(root: &Path) {
    fs::create_dir(root.join("made")).unwrap();
    let files = ["one", "other"].map(|name| File::create(root.join(name)).unwrap());
    for step in 1_u64.. {
        let block = step.to_le_bytes().repeat(BLOCK_BYTES / 8);
        for file in &files {
            let at = (step % BLOCKS) * BLOCK_BYTES as u64;
            file.write_all_at(&block, at).unwrap();
        }
        if step.is_multiple_of(MADE_EVERY) {
            let made = |step: u64| root.join(format!("made/{step}"));
            fs::write(root.join("unnamed"), step.to_string()).unwrap();
            fs::rename(root.join("unnamed"), made(step)).unwrap();
            if let Some(old) = step.checked_sub(MADE_KEPT).filter(|old| *old > 0) {
                fs::remove_file(made(old)).unwrap();
            }
        }
        if step.is_multiple_of(SYNC_EVERY) {
            files[0].sync_all().unwrap();
        }
        std::thread::sleep(PAUSE);
    }
}

/// What one of the two files holds after a number of steps.
fn file_after(steps: u64) -> Vec<u8> {
    let mut blocks = vec![0; BLOCKS as usize];
    for step in steps.saturating_sub(BLOCKS)..=steps {
        blocks[(step % BLOCKS) as usize] = step;
    }
    let bytes: Vec<u8> = blocks.into_iter().flat_map(u64::to_le_bytes).collect();
    let mut file: Vec<u8> = bytes
        .chunks(8)
        .flat_map(|step| step.repeat(BLOCK_BYTES / 8))
        .collect();
    let end = if steps == 0 {
        0
    } else {
        steps.min(BLOCKS - 1) + 1
    };
    file.truncate(end as usize * BLOCK_BYTES);
    file
}

/// The names in `/made` after a number of steps.
fn made_after(steps: u64) -> BTreeSet<String> {
    let last = steps / MADE_EVERY * MADE_EVERY;
    let first = (last + MADE_EVERY).saturating_sub(MADE_KEPT);
    let made = (first..=last).filter(|step| *step > 0 && step.is_multiple_of(MADE_EVERY));
    made.map(|step| step.to_string()).collect()
}

/// How many steps made what is there, if it is what they make: a moment lies between two of the
/// guest's calls, so that the last step may be done in part.
pub(crate) fn steps_behind(one: &[u8], other: &[u8], made: &BTreeSet<String>) -> Option<u64> {
    let number = |block: &[u8]| {
        block
            .first_chunk()
            .map_or(0, |step| u64::from_le_bytes(*step))
    };
    let steps = one
        .chunks(BLOCK_BYTES)
        .map(number)
        .max()
        .filter(|steps| *steps > 0)?;
    let is_after = |file: &[u8], steps| file == file_after(steps);
    let other_is_behind = is_after(other, steps - 1);
    let earlier = made_after(steps - 1);
    // A new name is there before the old one is gone; and none before the step's blocks.
    let both = &made_after(steps) | &earlier;
    let names = match other_is_behind {
        true => *made == earlier,
        false => [&made_after(steps), &earlier, &both].contains(&made),
    };
    let blocks = is_after(one, steps) && (other_is_behind || is_after(other, steps));
    (blocks && names).then_some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steps_make_is_told_from_what_they_do_not() {
        for steps in [1, 63, 64, 200, 1000] {
            let (now, made) = (file_after(steps), made_after(steps));
            assert_eq!(steps_behind(&now, &now, &made), Some(steps));
            let (before, made_before) = (file_after(steps - 1), made_after(steps - 1));
            if steps > 1 {
                assert_eq!(steps_behind(&now, &before, &made_before), Some(steps));
            }
            assert_eq!(
                steps_behind(&before, &now, &made),
                None,
                "the other way round"
            );
            if steps > 2 {
                assert_eq!(steps_behind(&now, &file_after(steps - 2), &made), None);
            }
            let mut torn = now.clone();
            torn[5] ^= 1;
            assert_eq!(steps_behind(&torn, &torn, &made), None);
        }
        let (now, mut made) = (file_after(200), made_after(200));
        assert_eq!(made.len(), 8);
        made.pop_first();
        assert_eq!(steps_behind(&now, &now, &made), None);
    }
}
