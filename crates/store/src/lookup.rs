//! From what a user typed to the one id that it names.

use crate::database::parsed;
use crate::error::StoreError;
use crate::reference::{MATCHES_SHOWN, Reference, ReferenceError};
use rusqlite::{Connection, ToSql};
use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

/// What can be named; its table is the noun's plural.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noun {
    /// A run.
    Run,
    /// A finding.
    Finding,
}

impl Noun {
    const fn singular(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Finding => "finding",
        }
    }
}

/// The id of the one thing that a reference names.
pub(crate) fn resolve<Id>(connection: &Connection, noun: Noun, text: &str) -> Result<Id, StoreError>
where
    Id: FromStr<Err: Error + Send + Sync + 'static> + Display,
{
    let (condition, value): (_, Box<dyn ToSql>) = match text.parse()? {
        Reference::Id(id) => ("WHERE id = ?1", Box::new(id.to_string())),
        // `g` sorts after every character of an id.
        Reference::Prefix(prefix) => (
            "WHERE id >= ?1 AND id < ?1 || 'g' ORDER BY id",
            Box::new(prefix),
        ),
        Reference::Last(position) => {
            let condition = "ORDER BY sequence DESC LIMIT 1 OFFSET ?1";
            (condition, Box::new(position))
        }
    };
    let found = ids(connection, noun, condition, &*value)?;
    Ok(the_only(found, noun, text)?)
}

fn ids<Id>(
    connection: &Connection,
    noun: Noun,
    condition: &str,
    value: &dyn ToSql,
) -> Result<Vec<Id>, StoreError>
where
    Id: FromStr<Err: Error + Send + Sync + 'static>,
{
    let question = format!("SELECT id FROM {}s {condition}", noun.singular());
    let mut statement = connection.prepare(&question)?;
    let rows = statement.query_map([value], |row| parsed(row, "id"))?;
    Ok(rows.take(MATCHES_SHOWN).collect::<Result<_, _>>()?)
}

fn the_only<Id: Display>(found: Vec<Id>, noun: Noun, text: &str) -> Result<Id, ReferenceError> {
    let (noun, text) = (noun.singular(), text.to_owned());
    match <[Id; 1]>::try_from(found) {
        Ok([id]) => Ok(id),
        Err(none) if none.is_empty() => Err(ReferenceError::NotFound { noun, text }),
        Err(several) => Err(ReferenceError::Ambiguous {
            noun,
            text,
            matches: several.iter().map(Id::to_string).collect(),
        }),
    }
}
