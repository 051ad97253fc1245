//! What can be wrong with a file system.

use crate::bytes::Short;
use crate::read_at::ReadError;

/// Why a file system, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SystemError {
    /// What the file system lies on cannot be read there.
    #[error("cannot read {what} of the {system} file system")]
    Read {
        /// Which file system.
        system: &'static str,
        /// What was to be read.
        what: &'static str,
        /// Why not.
        source: ReadError,
    },
    /// A structure ends too early.
    #[error("{what} of the {system} file system is cut short")]
    Short {
        /// Which file system.
        system: &'static str,
        /// The structure.
        what: &'static str,
        /// Where.
        source: Short,
    },
    /// The first structure is not that of this file system, or cannot be.
    #[error("not a {system} file system: {rule}")]
    Not {
        /// Which file system.
        system: &'static str,
        /// What is wrong.
        rule: &'static str,
    },
    /// It needs what this reader does not know.
    #[error("the {system} file system has what is not read: {what}")]
    Features {
        /// Which file system.
        system: &'static str,
        /// What it needs.
        what: String,
    },
    /// It is larger in some way than this reader allows.
    #[error("{what} of the {system} file system: {value}, more than the limit of {limit}")]
    Limit {
        /// Which file system.
        system: &'static str,
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: u64,
        /// The limit.
        limit: u64,
    },
    /// A place does not hold what it must.
    #[error("{what} at {place} of the {system} file system: {rule}")]
    Place {
        /// Which file system.
        system: &'static str,
        /// What it should hold.
        what: &'static str,
        /// Where, as the file system counts.
        place: u64,
        /// What is wrong.
        rule: &'static str,
    },
    /// An object does not hold what it must.
    #[error("object {number} of the {system} file system: {rule}")]
    Object {
        /// Which file system.
        system: &'static str,
        /// Its number.
        number: u64,
        /// What is wrong.
        rule: &'static str,
    },
}

/// Makes the errors of one file system, by its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Says(pub(crate) &'static str);

impl Says {
    pub(crate) fn read(self, what: &'static str) -> impl FnOnce(ReadError) -> SystemError {
        move |source| SystemError::Read {
            system: self.0,
            what,
            source,
        }
    }

    pub(crate) fn short(self, what: &'static str) -> impl Fn(Short) -> SystemError {
        move |source| SystemError::Short {
            system: self.0,
            what,
            source,
        }
    }

    pub(crate) fn not(self, rule: &'static str) -> SystemError {
        let system = self.0;
        SystemError::Not { system, rule }
    }

    pub(crate) fn features(self, what: impl Into<String>) -> SystemError {
        SystemError::Features {
            system: self.0,
            what: what.into(),
        }
    }

    pub(crate) fn place(self, what: &'static str, place: u64, rule: &'static str) -> SystemError {
        SystemError::Place {
            system: self.0,
            what,
            place,
            rule,
        }
    }

    pub(crate) fn object(self, number: u64, rule: &'static str) -> SystemError {
        SystemError::Object {
            system: self.0,
            number,
            rule,
        }
    }

    /// Holds a number to its limit.
    pub(crate) fn limited(
        self,
        what: &'static str,
        value: u64,
        limit: u64,
    ) -> Result<u64, SystemError> {
        if value > limit {
            return Err(SystemError::Limit {
                system: self.0,
                what,
                value,
                limit,
            });
        }
        Ok(value)
    }

    /// Takes what is to be read of directories from a budget.
    pub(crate) fn spend(self, budget: &mut u64, bytes: u64) -> Result<(), SystemError> {
        *budget = budget.checked_sub(bytes).ok_or(SystemError::Limit {
            system: self.0,
            what: "bytes of all directories",
            value: bytes,
            limit: *budget,
        })?;
        Ok(())
    }
}
