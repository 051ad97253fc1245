//! What a worker tells of files, and what that means to us. Names are a guest's: bytes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes that are mostly text. In JSON they are a text where they are UTF-8, else a list of numbers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl Bytes {
    /// As text. What is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Whether the text is all that there is to know.
    #[must_use]
    pub fn is_text(&self) -> bool {
        std::str::from_utf8(&self.0).is_ok()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => self.0.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Text(String),
            Bytes(Vec<u8>),
        }
        Ok(Self(match Either::deserialize(deserializer)? {
            Either::Text(text) => text.into_bytes(),
            Either::Bytes(bytes) => bytes,
        }))
    }
}

/// A part of a disk that holds something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldVolume {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: String,
    /// The name that it was given inside.
    pub label: Option<String>,
    /// Its size.
    pub size_bytes: u64,
    /// Why its files are not told of, or not all of them.
    pub unread: Option<String>,
}

/// A time: seconds since 1970, and nanoseconds.
pub type ToldTime = (i64, u32);

/// A file, directory, link or device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldFile {
    /// The volume that it is on.
    pub volume: String,
    /// Its path on that volume.
    pub path: Bytes,
    /// What it is.
    pub kind: ToldKind,
    /// The size of its data.
    pub size_bytes: u64,
    /// Type and permissions, as `st_mode` has them.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// How many names it has.
    pub links: u32,
    /// When its data were changed.
    pub modified: ToldTime,
    /// When anything of it was changed.
    pub changed: ToldTime,
    /// When it was read.
    pub accessed: ToldTime,
    /// When it was made, where that is kept.
    pub born: Option<ToldTime>,
    /// Where a symbolic link leads.
    pub target: Option<Bytes>,
}

/// What a part of a disk is, and whose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ToldOwner {
    /// Its first byte on the disk.
    pub(crate) start: u64,
    /// The byte behind it.
    pub(crate) end: u64,
    /// What it is, by the name of its class.
    pub(crate) class: String,
    /// The volume that it lies in: its name, and what it holds.
    pub(crate) volume: Option<(String, String)>,
    /// The number of the object that it belongs to.
    pub(crate) object: Option<u64>,
    /// The object's first path.
    pub(crate) path: Option<Bytes>,
    /// Where it lies in that file.
    pub(crate) offset: Option<u64>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToldKind {
    /// A file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device that is read in blocks.
    BlockDevice,
    /// A device that is read byte by byte.
    CharacterDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// Something else.
    Unknown,
}

impl ToldKind {
    /// Its name in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::BlockDevice => "block-device",
            Self::CharacterDevice => "character-device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Unknown => "unknown",
        }
    }
}

/// What happened to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldEvent {
    /// The volume that it is on.
    pub volume: String,
    /// Its path now; of what is gone, its path before.
    pub path: Bytes,
    /// What happened, by its name.
    pub change: String,
    /// Of what was renamed, its path before.
    pub from: Option<Bytes>,
    /// Of what was modified or appended, the bytes that are new or other ones.
    pub ranges: Vec<(u64, u64)>,
    /// Where only what is told of it has changed, what of that.
    pub fields: Vec<String>,
    /// It as it was.
    pub before: Option<ToldFile>,
    /// It as it is.
    pub after: Option<ToldFile>,
    /// What a package database on the disk says of it.
    pub explanation: Option<ToldExplanation>,
}

/// What a package database on a disk says of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldExplanation {
    /// How well it explains it, by its name.
    pub standing: String,
    /// The package, or the tool.
    pub package: String,
    /// Its version before; empty where there is none.
    pub before: String,
    /// Its version now; empty where there is none.
    pub after: String,
}

/// Something that a disk tells of a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldEntry {
    /// When, in nanoseconds since 1970.
    pub time: i64,
    /// How sure that is, by its name.
    pub certainty: String,
    /// What it is about, by its name.
    pub kind: String,
    /// The volume that the file is on.
    pub volume: String,
    /// The file in which it stands.
    pub source: Bytes,
    /// What it says.
    pub text: String,
    /// Who did it, where it says so.
    pub actor: Option<ToldActor>,
    /// Paths that it names.
    pub paths: Vec<Bytes>,
    /// Packages that it names.
    pub packages: Vec<String>,
}

/// Who did something, as something on a disk says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldActor {
    /// The user: a name, or a number where there is none.
    pub user: String,
    /// The program.
    pub process: Option<String>,
    /// How much the source is worth, by its name.
    pub confidence: String,
}

/// A part of a worker's result on files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Told {
    /// What the user should know besides.
    Note(String),
    Volume(ToldVolume),
    Files(Vec<ToldFile>),
    Events(Vec<ToldEvent>),
    Entries(Vec<ToldEntry>),
    Owners(Vec<ToldOwner>),
    /// A disk whose bytes follow, as far as they are not zeros.
    Disk {
        size_bytes: u64,
    },
    /// A file whose bytes follow, as far as they are not zeros.
    File(Box<ToldFile>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_as_they_are() {
        for name in [&b"plain"[..], b"\xff\xfe", b"", b"\0\n\"", "ä".as_bytes()] {
            let bytes = Bytes(name.to_vec());
            let text = serde_json::to_string(&bytes).unwrap();
            assert_eq!(
                serde_json::from_str::<Bytes>(&text).unwrap(),
                bytes,
                "{text}"
            );
        }
        assert!(!Bytes(b"\xff".to_vec()).is_text());
    }
}
