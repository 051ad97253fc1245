//! How a user names a run, a finding or a campaign: an id, the beginning of one, `@last`, `@last~N`.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;
use uuid::Uuid;

/// Least characters of an id's beginning: fewer would name something else tomorrow.
pub const PREFIX_CHARS_MIN: usize = 4;

/// Characters of an id as it is printed.
const ID_CHARS: usize = 36;

/// Ids shown of those that an ambiguous reference could mean.
pub(crate) const MATCHES_SHOWN: usize = 5;

/// What a user may type for a run or a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// A whole id.
    Id(Uuid),
    /// The beginning of an id, in lower case.
    Prefix(String),
    /// The newest (0), the one before it (1), and so on.
    Last(u32),
}

/// Why a text names nothing, or not one thing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReferenceError {
    /// It is no id, no beginning of one, and not `@last` or `@last~N`.
    #[error("{text:?} is not an id, not the beginning of one, and not @last or @last~N")]
    Malformed {
        /// The text.
        text: String,
    },
    /// It could be the beginning of an id, but is too short.
    #[error(
        "{text:?} is too short: the beginning of an id has at least {PREFIX_CHARS_MIN} characters"
    )]
    TooShort {
        /// The text.
        text: String,
    },
    /// Nothing has this id.
    #[error("there is no {noun} {text:?} in the store")]
    NotFound {
        /// `run` or `finding`.
        noun: &'static str,
        /// The text.
        text: String,
    },
    /// Several ids begin like this.
    #[error("{text:?} is the beginning of several {noun}s, such as {}", matches.join(", "))]
    Ambiguous {
        /// `run` or `finding`.
        noun: &'static str,
        /// The text.
        text: String,
        /// The first of the ids.
        matches: Vec<String>,
    },
}

impl Reference {
    /// The one that is meant among ids, of which the newest comes first.
    ///
    /// # Errors
    /// It names none of them, or several.
    pub fn among(&self, noun: &'static str, ids: &[Uuid]) -> Result<Uuid, ReferenceError> {
        let matching: Vec<Uuid> = match self {
            Self::Id(id) => ids.iter().filter(|other| *other == id).copied().collect(),
            Self::Prefix(prefix) => ids
                .iter()
                .filter(|id| id.to_string().starts_with(prefix))
                .copied()
                .collect(),
            Self::Last(position) => ids.get(*position as usize).copied().into_iter().collect(),
        };
        let text = self.to_string();
        match matching.as_slice() {
            [] => Err(ReferenceError::NotFound { noun, text }),
            [id] => Ok(*id),
            several => Err(ReferenceError::Ambiguous {
                noun,
                text,
                matches: several
                    .iter()
                    .take(MATCHES_SHOWN)
                    .map(Uuid::to_string)
                    .collect(),
            }),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Prefix(prefix) => f.write_str(prefix),
            Self::Last(0) => f.write_str("@last"),
            Self::Last(position) => write!(f, "@last~{position}"),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ReferenceError::Malformed {
            text: text.to_owned(),
        };
        if let Some(position) = text.strip_prefix("@last") {
            return last(position).map(Self::Last).ok_or_else(malformed);
        }
        let looks_like_an_id = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
        if text.is_empty() || text.len() > ID_CHARS || !looks_like_an_id {
            return Err(malformed());
        }
        if text.len() == ID_CHARS {
            return text.parse().map(Self::Id).map_err(|_| malformed());
        }
        if text.len() < PREFIX_CHARS_MIN {
            return Err(ReferenceError::TooShort {
                text: text.to_owned(),
            });
        }
        Ok(Self::Prefix(text.to_ascii_lowercase()))
    }
}

/// The number in what follows `@last`: nothing, or `~N`.
fn last(position: &str) -> Option<u32> {
    if position.is_empty() {
        return Some(0);
    }
    let digits = position.strip_prefix('~')?;
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_form_is_read() {
        assert_eq!("@last".parse(), Ok(Reference::Last(0)));
        assert_eq!("@last~12".parse(), Ok(Reference::Last(12)));
        assert_eq!("0192F3".parse(), Ok(Reference::Prefix("0192f3".to_owned())));
        let id = Uuid::from_u128(7);
        assert_eq!(id.to_string().parse(), Ok(Reference::Id(id)));
    }

    #[test]
    fn one_is_found_among_many() {
        let ids = [0x1111_2222_u128 << 96, 0x1111_3333 << 96, 0x4444 << 112].map(Uuid::from_u128);
        let found = |text: &str| text.parse::<Reference>()?.among("campaign", &ids);
        assert_eq!(found("@last"), Ok(ids[0]));
        assert_eq!(found("@last~2"), Ok(ids[2]));
        assert_eq!(found("4444"), Ok(ids[2]));
        assert_eq!(found(&ids[1].to_string()), Ok(ids[1]));
        let not_found = |text| matches!(found(text), Err(ReferenceError::NotFound { .. }));
        assert!(not_found("@last~3") && not_found("5555"));
        assert!(matches!(
            found("1111"),
            Err(ReferenceError::Ambiguous { .. })
        ));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", "@", "@first", "@last~", "@last~-1", "@last~+1", "xyzw", "0192%", "0192_", "'--",
        ] {
            let outcome = text.parse::<Reference>();
            assert!(
                matches!(outcome, Err(ReferenceError::Malformed { .. })),
                "{text:?}"
            );
        }
        assert!(matches!(
            "019".parse::<Reference>(),
            Err(ReferenceError::TooShort { .. })
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,50}") {
            if let Ok(Reference::Prefix(prefix)) = text.parse() {
                prop_assert!(prefix.len() >= PREFIX_CHARS_MIN && text.is_ascii());
            }
        }
    }
}
