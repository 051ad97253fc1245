//! How the user names an image: a file, an image of the store, or that image as it was.

use super::error::ImageError;
use image::writer::Written;
use model::Timestamp;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The fewest digits that stand for an id.
const ID_DIGITS_MIN: usize = 4;

/// What a text names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageReference {
    /// An image file: the text holds a `/`, or there is such a file.
    File(PathBuf),
    /// An image of the store, at a point of its history.
    Kept {
        /// Its name.
        name: String,
        /// The point.
        at: Point,
    },
}

/// A point of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// So many changesets before the last.
    Back(u64),
    /// The last changeset that was taken by then.
    Time(Timestamp),
    /// The changeset with this place.
    Sequence(u64),
    /// The changeset whose id begins so.
    Id(String),
}

impl FromStr for ImageReference {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.contains('/') || Path::new(text).is_file() {
            return Ok(Self::File(text.into()));
        }
        let (name, at) = match text.split_once('@') {
            None => (text, Point::Back(0)),
            Some((name, at)) => (name, at.parse()?),
        };
        let name = name.to_owned();
        Ok(Self::Kept { name, at })
    }
}

impl FromStr for Point {
    type Err = ImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(back) = text.strip_prefix('-').and_then(|back| back.parse().ok()) {
            return Ok(Self::Back(back));
        }
        if let Some(sequence) = text.strip_prefix('#').and_then(|text| text.parse().ok()) {
            return Ok(Self::Sequence(sequence));
        }
        if let Some(time) = time(text) {
            return Ok(Self::Time(time));
        }
        let is_id = text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_id && text.len() >= ID_DIGITS_MIN {
            return Ok(Self::Id(text.to_owned()));
        }
        Err(ImageError::NoSuch(format!(
            "@{text} names no point of a history: it is @-N, @#N, a time such as \
             @2026-11-20T14:05Z, or the first {ID_DIGITS_MIN} or more digits of a changeset's id"
        )))
    }
}

/// A time as people write it: RFC 3339, the seconds and their fraction may be absent.
#[must_use]
pub fn time(text: &str) -> Option<Timestamp> {
    let stem = text.strip_suffix('Z')?;
    let whole = match stem.matches(':').count() {
        0 => format!("{stem}:00:00Z"),
        1 => format!("{stem}:00Z"),
        _ => text.to_owned(),
    };
    whole.parse().ok()
}

impl Point {
    /// The changeset at this point.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find<'a>(&self, changesets: &'a [Written]) -> Result<&'a Written, ImageError> {
        let none = |what: String| move || ImageError::NoSuch(what);
        match self {
            Self::Back(back) => {
                let place = usize::try_from(*back).ok();
                let place =
                    place.and_then(|back| changesets.len().checked_sub(back)?.checked_sub(1));
                let found = place.and_then(|place| changesets.get(place));
                let all = changesets.len();
                found.ok_or_else(none(format!(
                    "there are {all} changesets: none is {back} before the last"
                )))
            }
            Self::Time(time) => {
                let found = changesets
                    .iter()
                    .rev()
                    .find(|one| one.changeset.taken <= *time);
                found.ok_or_else(none(format!("nothing was captured up to {time}")))
            }
            Self::Sequence(sequence) => {
                let found = changesets
                    .iter()
                    .find(|one| one.changeset.sequence == *sequence);
                found.ok_or_else(none(format!("there is no changeset #{sequence}")))
            }
            Self::Id(start) => {
                let mut fitting = changesets
                    .iter()
                    .filter(|one| one.chain_id().to_string().starts_with(start));
                match (fitting.next(), fitting.next()) {
                    (Some(found), None) => Ok(found),
                    (None, _) => Err(ImageError::NoSuch(format!(
                        "no changeset's id begins with {start}"
                    ))),
                    (Some(_), Some(_)) => Err(ImageError::NoSuch(format!(
                        "the ids of several changesets begin with {start}: write more of it"
                    ))),
                }
            }
        }
    }
}
