//! What the library exercises: units, types of data and algorithms × computations, held against the
//! lists of other tools and against the processor at hand.
//!
//! | module | holds |
//! |---|---|
//! | `vocabulary` | the words: [`Unit`], [`DataType`], [`Algorithm`] |
//! | `extension` | extensions of the instruction set, and which a processor has |
//! | `lists` | the classes of other tools' lists |
//!
//! An entry of the catalogue says itself what it exercises; everything here follows from that. It is
//! a statement about code, made by who wrote it, and no measurement of a processor's transistors.

mod extension;
mod lists;
mod vocabulary;

pub use extension::{EXTENSIONS, Extension, NOT_REPEATABLE, of_this_processor};
pub use vocabulary::{Algorithm, DataType, Unit};

use crate::catalogue::{Descriptor, catalogue};
use std::fmt;

/// A list of what somebody else screens with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// The tests of Intel's `OpenDCDiag`.
    OpenDcDiag,
    /// The items of Google's cpu-check.
    CpuCheck,
    /// The inputs of Google's `SiliFuzz`.
    SiliFuzz,
    /// The corpus of *Cores that don't count*.
    MercurialCores,
    /// The five fragile features of Alibaba's study.
    FragileFeatures,
    /// The nine instruction families of Meta's `PinDrop`.
    Families,
}

impl List {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenDcDiag => "opendcdiag",
            Self::CpuCheck => "cpu-check",
            Self::SiliFuzz => "silifuzz",
            Self::MercurialCores => "mercurial-cores",
            Self::FragileFeatures => "fragile-features",
            Self::Families => "instruction-families",
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that a class asks of the library: at least one computation must give it.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// The unit is exercised.
    On(Unit),
    /// The algorithm is run.
    Of(Algorithm),
    /// The algorithm is run on this type of data.
    With(Algorithm, DataType),
    /// The extension is executed where the processor has it.
    Ext(&'static str),
}

impl Need {
    fn is_given_by(self, entry: &Descriptor) -> bool {
        match self {
            Self::On(unit) => entry.units.contains(&unit),
            Self::Of(algorithm) => entry.algorithms.contains(&algorithm),
            Self::With(algorithm, data_type) => {
                entry.algorithms.contains(&algorithm) && entry.data_types.contains(&data_type)
            }
            Self::Ext(name) => entry.extensions.contains(&name),
        }
    }
}

/// A class of a list.
#[derive(Debug)]
struct Class {
    list: List,
    name: &'static str,
    /// What it asks for, all of it; empty where there is a reason.
    needs: &'static [Need],
    /// Why it is not exercised.
    reason: Option<&'static str>,
}

/// How the library stands to a class of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// These computations exercise it, by name.
    Exercised(Vec<&'static str>),
    /// It is not exercised, for this reason.
    NotExercised(&'static str),
    /// Nothing exercises it, and nobody says why: a fault of this library.
    Absent,
}

/// A class of a list, and how the library stands to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassCoverage {
    /// The list.
    pub list: List,
    /// The class, as its list calls it.
    pub name: &'static str,
    /// How the library stands to it.
    pub standing: Standing,
}

/// An extension that a processor has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtensionCoverage {
    /// The extension.
    pub extension: &'static Extension,
    /// The computations that execute it, by name.
    pub computations: Vec<&'static str>,
    /// Whether it gives the same result for the same operands at all.
    pub repeatable: bool,
}

/// All classes of all lists.
#[must_use]
pub fn classes() -> Vec<ClassCoverage> {
    let stand = |class: &Class| ClassCoverage {
        list: class.list,
        name: class.name,
        standing: standing(class, catalogue()),
    };
    lists::CLASSES.iter().map(stand).collect()
}

fn standing(class: &Class, library: &'static [Descriptor]) -> Standing {
    if let Some(reason) = class.reason {
        return Standing::NotExercised(reason);
    }
    let is_given = |need: &Need| library.iter().any(|entry| need.is_given_by(entry));
    let all_given = class.needs.iter().all(is_given);
    if class.needs.is_empty() || !all_given {
        return Standing::Absent;
    }
    let given = |entry: &&Descriptor| class.needs.iter().any(|need| need.is_given_by(entry));
    Standing::Exercised(names(library.iter().filter(given)))
}

/// Why no computation exercises a unit; nothing if one does.
#[must_use]
pub fn no_unit(unit: Unit) -> Option<&'static str> {
    reason(lists::UNITS, unit)
}

/// Why no computation has a type of data; nothing if one does.
#[must_use]
pub fn no_data_type(data_type: DataType) -> Option<&'static str> {
    reason(lists::DATA_TYPES, data_type)
}

/// Why no computation runs an algorithm; nothing if one does.
#[must_use]
pub fn no_algorithm(algorithm: Algorithm) -> Option<&'static str> {
    reason(lists::ALGORITHMS, algorithm)
}

fn reason<T: PartialEq>(reasons: &[(T, &'static str)], word: T) -> Option<&'static str> {
    let found = reasons.iter().find(|(known, _)| *known == word);
    found.map(|(_, reason)| *reason)
}

/// The extensions of a processor, with what executes them.
#[must_use]
pub fn extensions(present: &[&'static Extension]) -> Vec<ExtensionCoverage> {
    let cover = |extension: &&'static Extension| ExtensionCoverage {
        extension,
        computations: computations(|entry| entry.extensions.contains(&extension.name)),
        repeatable: !NOT_REPEATABLE.contains(&extension.name),
    };
    present.iter().map(cover).collect()
}

/// The names of the computations that fit.
#[must_use]
pub fn computations(fits: impl Fn(&Descriptor) -> bool) -> Vec<&'static str> {
    names(catalogue().iter().filter(|entry| fits(entry)))
}

fn names(entries: impl Iterator<Item = &'static Descriptor>) -> Vec<&'static str> {
    entries.map(|entry| entry.name).collect()
}

#[cfg(test)]
mod tests;
