//! Names of what we put into somebody else's machine.
//!
//! ```text
//! vardoger-IMAGE-N-NOTE    a bitmap: it records from the moment of the capture with this note on;
//!                          N tells which of two is the newer one
//! vardoger-PID-START-XK    all else: node, job, export. PID and START (ticks since boot) name the
//!                          process that made it, in hexadecimal; X is its kind, K the disk's number
//! ```
//!
//! Labels have no dash, so that a name is parted in one way only. A node's name may have 31
//! characters: two numbers of a process and two digits of a disk fit.

use crate::process::start_time;
use std::fmt;

/// What all names of ours begin with.
pub const PREFIX: &str = "vardoger-";

/// The most characters of a label: a UUID or a digest in hexadecimal.
const MAX_LABEL_BYTES: usize = 64;

/// An image, or a capture of it, in the name of a bitmap: 1 to 64 letters, digits and underscores.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(String);

impl Label {
    /// A label, if it can be one.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let fits = (1..=MAX_LABEL_BYTES).contains(&text.len());
        (fits && text.bytes().all(plain)).then(|| Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a bitmap of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BitmapName {
    /// The image that it belongs to.
    pub image: Label,
    /// Which one it is, counted up from bitmap to bitmap.
    pub number: u64,
    /// The capture at whose moment it began.
    pub note: Label,
}

impl BitmapName {
    /// Parts a name; nothing if it is not one of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let parsed = Self {
            image: Label::new(parts.next()?)?,
            number: parts.next()?.parse().ok()?,
            note: Label::new(parts.next()?)?,
        };
        // A number has several spellings, and only one of them is ours.
        (parts.next().is_none() && parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for BitmapName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            image,
            number,
            note,
        } = self;
        write!(f, "{PREFIX}{image}-{number}-{note}")
    }
}

/// A process, for ever: numbers are used again, but not with the same start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it was started, in ticks since boot.
    pub started: u64,
}

impl ProcessId {
    /// This process.
    #[must_use]
    pub fn own() -> Self {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// The process that has this number now.
    #[must_use]
    pub fn of(pid: i32) -> Self {
        let started = start_time(pid).unwrap_or(0);
        Self { pid, started }
    }

    /// Whether it lives, as far as can be seen from here.
    #[must_use]
    pub fn lives(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// The name of something that this process puts into a machine.
    pub(crate) fn name(self, kind: Kind, disk: usize) -> String {
        let Self { pid, started } = self;
        format!("{PREFIX}{pid:x}-{started:x}-{}{disk}", kind.letter())
    }

    /// The process that put something of this name into a machine; nothing if it is not ours.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let pid = i32::from_str_radix(parts.next()?, 16).ok()?;
        let started = u64::from_str_radix(parts.next()?, 16).ok()?;
        let kind = parts.next()?.chars().next()?;
        let known = Kind::ALL.iter().any(|known| known.letter() == kind);
        (known && parts.next().is_none()).then_some(Self { pid, started })
    }
}

/// What is put into a machine for the time of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The file of an overlay.
    File,
    /// The overlay.
    Overlay,
    /// The filter that copies what the guest is about to overwrite.
    Filter,
    /// A job.
    Job,
    /// An export.
    Export,
    /// A descriptor that was passed.
    Descriptor,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::File,
        Self::Overlay,
        Self::Filter,
        Self::Job,
        Self::Export,
        Self::Descriptor,
    ];

    const fn letter(self) -> char {
        match self {
            Self::File => 'f',
            Self::Overlay => 'o',
            Self::Filter => 'c',
            Self::Job => 'j',
            Self::Export => 'e',
            Self::Descriptor => 'd',
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn label(text: &str) -> Label {
        Label::new(text).unwrap()
    }

    #[test]
    fn a_label_is_short_and_plain() {
        for text in ["", "a-b", "a b", "größe", "a/b", &"x".repeat(65)] {
            assert_eq!(Label::new(text), None, "{text}");
        }
        assert!(Label::new(&"x".repeat(64)).is_some());
    }

    #[test]
    fn what_is_not_ours_is_not_taken_for_ours() {
        for name in [
            "backup",
            "vardoger",
            "vardoger-",
            "vardoger-a",
            "vardoger-a-1",
            "vardoger-a-x-b",
            "vardoger-a-01-b",
            "vardoger-a-+1-b",
            "vardoger-a-1-b-c",
            "Vardoger-a-1-b",
            " vardoger-a-1-b",
        ] {
            assert_eq!(BitmapName::parse(name), None, "{name}");
        }
        for name in [
            "vardoger-1-2-x0",
            "vardoger-1-2",
            "fleece",
            "vardoger-z-2-o0",
        ] {
            assert_eq!(ProcessId::of_name(name), None, "{name}");
        }
    }

    #[test]
    fn the_longest_name_of_a_node_fits() {
        let process = ProcessId {
            pid: 1 << 22,
            started: u64::from(u32::MAX) << 4,
        };
        let name = process.name(Kind::Overlay, 99);
        assert!(name.len() <= 31, "{name}");
        assert_eq!(ProcessId::of_name(&name), Some(process));
    }

    #[test]
    fn this_process_lives_and_one_with_another_start_does_not() {
        let own = ProcessId::own();
        assert!(own.lives());
        let other = ProcessId {
            started: own.started + 1,
            ..own
        };
        assert!(!other.lives());
    }

    proptest! {
        #[test]
        fn a_name_is_read_as_it_was_written(
            image in "[A-Za-z0-9_]{1,64}", number: u64, note in "[A-Za-z0-9_]{1,64}"
        ) {
            let name = BitmapName { image: label(&image), number, note: label(&note) };
            prop_assert_eq!(BitmapName::parse(&name.to_string()), Some(name));
        }

        #[test]
        fn any_name_is_survived(name in ".{0,60}") {
            drop(BitmapName::parse(&name));
            prop_assert!(ProcessId::of_name(&name).is_none_or(|one| one.pid >= 0 || name.contains("--")));
        }
    }
}
