//! What is to be done with a disk's bitmaps before a capture: pure, and told what there is.
//!
//! The state machine stands in [the module's documentation](super).

use super::names::{BitmapName, Label, ProcessId};
use super::{GRANULARITY_BYTES, LiveBitmap};
use std::fmt;

/// The last capture of a disk that its store has acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The note that the capture was begun with.
    pub note: Label,
    /// The size of the disk then.
    pub size_bytes: u64,
    /// The machine's process then, where it was known.
    pub process: Option<ProcessId>,
}

/// Why the whole disk has to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resync {
    /// There was no capture before.
    First,
    /// The machine's process is another one, and the format of the disk keeps no bitmaps.
    Restarted,
    /// The bitmap is not there any more.
    Lost,
    /// The machine was ended without writing its bitmaps down.
    Inconsistent,
    /// The bitmap has been stopped by somebody.
    Stopped,
    /// Somebody else is using the bitmap.
    Busy,
    /// The bitmap counts in other units.
    Granularity {
        /// Its unit.
        found_bytes: u64,
    },
    /// The disk has another size than at the last capture.
    Resized {
        /// Its size then.
        from_bytes: u64,
        /// Its size now.
        to_bytes: u64,
    },
}

impl fmt::Display for Resync {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => f.write_str("there was no capture before"),
            Self::Restarted => f.write_str("the machine was started anew since"),
            Self::Lost => f.write_str("the bitmap of the last capture is gone"),
            Self::Inconsistent => f.write_str("the machine ended without writing its bitmaps down"),
            Self::Stopped => f.write_str("somebody has stopped the bitmap"),
            Self::Busy => f.write_str("somebody else is using the bitmap"),
            Self::Granularity { found_bytes } => {
                write!(f, "the bitmap counts in units of {found_bytes} bytes")
            }
            Self::Resized {
                from_bytes,
                to_bytes,
            } => write!(
                f,
                "the disk grew or shrank from {from_bytes} to {to_bytes} bytes"
            ),
        }
    }
}

/// What is to be done with the bitmaps of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Bitmaps of ours that nobody needs any more.
    pub(crate) useless: Vec<String>,
    /// Bitmaps of captures that were not acknowledged: they belong into the base's.
    pub(crate) merge: Vec<String>,
    /// The bitmap that holds all that was written since the base, once they are merged.
    pub(crate) base: Result<String, Resync>,
    /// The bitmap to begin with this capture.
    pub(crate) next: String,
}

/// A bitmap of this image, with its name parted.
struct Ours<'a> {
    name: BitmapName,
    bitmap: &'a LiveBitmap,
}

/// Plans a capture of an image; nothing if its note is in use.
pub(crate) fn plan(
    image: &Label,
    note: &Label,
    base: Option<&Base>,
    machine: (u64, Option<ProcessId>),
    bitmaps: &[LiveBitmap],
) -> Option<Plan> {
    let mut ours: Vec<Ours<'_>> = bitmaps
        .iter()
        .filter_map(|bitmap| {
            let name = BitmapName::parse(&bitmap.name)?;
            (name.image == *image).then_some(Ours { name, bitmap })
        })
        .collect();
    ours.sort_by_key(|one| one.name.number);
    if base.is_some_and(|base| base.note == *note) {
        return None;
    }
    let highest = ours.last().map_or(0, |one| one.name.number);
    let next = BitmapName {
        image: image.clone(),
        number: highest.saturating_add(1),
        note: note.clone(),
    };
    let found = base.ok_or(Resync::First).and_then(|base| {
        let at = ours.iter().rposition(|one| one.name.note == base.note);
        let at = at.ok_or_else(|| absent(base, machine.1))?;
        usable(ours.get(at..).unwrap_or_default(), base, machine.0).map(|()| at)
    });
    let names = |part: &[Ours<'_>]| -> Vec<String> {
        let free = part.iter().filter(|one| !one.bitmap.busy);
        free.map(|one| one.bitmap.name.clone()).collect()
    };
    let (older, rest) = ours.split_at(found.unwrap_or(ours.len()).min(ours.len()));
    let mut rest = rest.iter();
    Some(Plan {
        useless: names(older),
        base: found.and_then(|_| {
            let base = rest.next().ok_or(Resync::Lost)?;
            Ok(base.bitmap.name.clone())
        }),
        merge: rest.map(|one| one.bitmap.name.clone()).collect(),
        next: next.to_string(),
    })
}

fn absent(base: &Base, process: Option<ProcessId>) -> Resync {
    match (base.process, process) {
        (Some(then), Some(now)) if then != now => Resync::Restarted,
        _ => Resync::Lost,
    }
}

/// Whether a chain of bitmaps holds all writes since its first began: each but the last was stopped
/// by the transaction that began the next one.
fn usable(chain: &[Ours<'_>], base: &Base, size_bytes: u64) -> Result<(), Resync> {
    let any = |is: fn(&LiveBitmap) -> bool| chain.iter().any(|one| is(one.bitmap));
    if any(|bitmap| bitmap.inconsistent) {
        return Err(Resync::Inconsistent);
    }
    let mut units = chain.iter().map(|one| one.bitmap.granularity_bytes);
    if let Some(found_bytes) = units.find(|bytes| *bytes != GRANULARITY_BYTES) {
        return Err(Resync::Granularity { found_bytes });
    }
    if base.size_bytes != size_bytes {
        return Err(Resync::Resized {
            from_bytes: base.size_bytes,
            to_bytes: size_bytes,
        });
    }
    if any(|bitmap| bitmap.busy) {
        return Err(Resync::Busy);
    }
    match chain.last() {
        Some(last) if last.bitmap.recording => Ok(()),
        _ => Err(Resync::Stopped),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const DISK_BYTES: u64 = 1 << 20;

    fn label(text: &str) -> Label {
        Label::new(text).unwrap()
    }

    fn bitmap(name: &str, recording: bool) -> LiveBitmap {
        LiveBitmap {
            name: name.to_owned(),
            granularity_bytes: GRANULARITY_BYTES,
            dirty_bytes: 0,
            recording,
            busy: false,
            persistent: false,
            inconsistent: false,
        }
    }

    fn base(note: &str) -> Base {
        Base {
            note: label(note),
            size_bytes: DISK_BYTES,
            process: None,
        }
    }

    fn planned(base: Option<&Base>, bitmaps: &[LiveBitmap]) -> Plan {
        let machine = (DISK_BYTES, None);
        plan(&label("disk"), &label("new"), base, machine, bitmaps).unwrap()
    }

    fn check_resync(change: impl Fn(&mut LiveBitmap), reason: Resync) {
        let mut changed = bitmap("vardoger-disk-1-a", true);
        change(&mut changed);
        let plan = planned(Some(&base("a")), &[changed]);
        assert_eq!(plan.base, Err(reason));
        assert!(plan.merge.is_empty());
    }

    #[test]
    fn a_bitmap_that_says_too_little_is_not_used() {
        check_resync(|one| one.inconsistent = true, Resync::Inconsistent);
        check_resync(|one| one.recording = false, Resync::Stopped);
        check_resync(|one| one.busy = true, Resync::Busy);
        check_resync(
            |one| one.name = "vardoger-other-1-a".to_owned(),
            Resync::Lost,
        );
        let found_bytes = 65536;
        let coarse = Resync::Granularity { found_bytes };
        check_resync(|one| one.granularity_bytes = found_bytes, coarse);
    }

    #[test]
    fn a_busy_bitmap_and_those_of_others_are_left_alone() {
        let mut busy = bitmap("vardoger-disk-1-a", true);
        busy.busy = true;
        let others = ["others", "vardoger-image-1-a", "vardoger-disk2-1-a"];
        let mut bitmaps = vec![busy, bitmap("vardoger-disk-2-b", true)];
        bitmaps.extend(others.map(|name| bitmap(name, true)));
        let plan = planned(None, &bitmaps);
        assert_eq!(plan.useless, ["vardoger-disk-2-b"]);
        assert_eq!(plan.base, Err(Resync::First));
        assert_eq!(plan.next, "vardoger-disk-3-new");
    }

    #[test]
    fn a_machine_that_was_started_anew_is_told_from_a_lost_bitmap() {
        let process = |pid| Some(ProcessId { pid, started: 1 });
        let base = Base {
            process: process(1),
            ..base("a")
        };
        let reason = |now| {
            let machine = (DISK_BYTES, now);
            let plan = plan(&label("disk"), &label("b"), Some(&base), machine, &[]);
            plan.unwrap().base.unwrap_err()
        };
        assert_eq!(reason(process(1)), Resync::Lost);
        assert_eq!(reason(process(2)), Resync::Restarted);
        assert_eq!(reason(None), Resync::Lost);
    }

    #[test]
    fn a_note_is_used_once() {
        let machine = (DISK_BYTES, None);
        let again = plan(&label("disk"), &label("a"), Some(&base("a")), machine, &[]);
        assert_eq!(again, None);
    }

    /// A disk of the model: its bitmaps with what they recorded, and the truth.
    #[derive(Default)]
    struct Model {
        bitmaps: Vec<(LiveBitmap, BTreeSet<u32>)>,
        acknowledged: Option<(Label, BTreeSet<u32>)>,
        writes: u32,
        captures: u32,
    }

    impl Model {
        fn write(&mut self) {
            self.writes += 1;
            let recording = |one: &&mut (LiveBitmap, _)| one.0.recording;
            for (_, dirty) in self.bitmaps.iter_mut().filter(recording) {
                dirty.insert(self.writes);
            }
            if let Some((_, since)) = &mut self.acknowledged {
                since.insert(self.writes);
            }
        }

        fn remove(&mut self, name: &str) -> BTreeSet<u32> {
            let at = self.bitmaps.iter().position(|(one, _)| one.name == name);
            self.bitmaps.remove(at.unwrap()).1
        }

        fn join(&mut self, base: &str, newer: &[String]) {
            let merged: Vec<_> = newer.iter().map(|name| self.remove(name)).collect();
            let mut bitmaps = self.bitmaps.iter_mut();
            let (bitmap, dirty) = bitmaps.find(|(one, _)| one.name == base).unwrap();
            bitmap.recording = true;
            dirty.extend(merged.into_iter().flatten());
        }

        /// A capture that dies after a number of steps; `kept` is whether its store acknowledges.
        fn capture(&mut self, steps: u32, kept: bool) {
            self.captures += 1;
            let note = label(&format!("n{}", self.captures));
            let base = self.acknowledged.as_ref().map(|(note, _)| Base {
                note: note.clone(),
                size_bytes: DISK_BYTES,
                process: None,
            });
            let bitmaps: Vec<_> = self.bitmaps.iter().map(|(one, _)| one.clone()).collect();
            let machine = (DISK_BYTES, None);
            let plan = plan(&label("disk"), &note, base.as_ref(), machine, &bitmaps).unwrap();
            let mut left = steps;
            let mut dies = || {
                left = left.saturating_sub(1);
                left == 0
            };
            for name in &plan.useless {
                if dies() {
                    return;
                }
                self.remove(name);
            }
            if dies() {
                return;
            }
            if let Ok(base) = &plan.base {
                self.join(base, &plan.merge);
            }
            self.write();
            if dies() {
                return;
            }
            for (bitmap, dirty) in &mut self.bitmaps {
                if Ok(&bitmap.name) == plan.base.as_ref() {
                    bitmap.recording = false;
                    let since = &self.acknowledged.as_ref().unwrap().1;
                    assert!(dirty.is_superset(since), "{since:?} is more than {dirty:?}");
                }
            }
            let next = bitmap(&plan.next, true);
            self.bitmaps.push((next, BTreeSet::new()));
            let before = self.acknowledged.clone();
            // The moment: what is written from here on is not in this capture.
            if kept {
                self.acknowledged = Some((note, BTreeSet::new()));
            }
            self.write();
            if dies() {
                return;
            }
            match (&plan.base, kept) {
                (Ok(base), true) => drop(self.remove(base)),
                (Ok(base), false) => self.join(base, &[plan.next]),
                (Err(_), true) => {}
                (Err(_), false) => drop(self.remove(&plan.next)),
            }
            assert!(before.is_none() || plan.base.is_ok(), "{:?}", plan.base);
        }
    }

    proptest! {
        #[test]
        fn captures_that_die_anywhere_miss_no_write(
            captures in proptest::collection::vec((1..8_u32, any::<bool>()), 1..20)
        ) {
            let mut model = Model::default();
            for (steps, kept) in captures {
                model.capture(steps, kept);
                model.write();
            }
            model.capture(u32::MAX, true);
            prop_assert_eq!(model.bitmaps.len(), 1);
        }
    }
}
