//! How a command fails: a stable code, what failed, and what to do.

use control::ControlError;

/// The exit code of an interruption: 128 and SIGINT.
const INTERRUPTED: u8 = 130;

/// Why a command did not end as asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// A stable word for programs.
    pub(crate) code: String,
    /// What failed, on what.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// The exit code.
    pub(crate) exit: u8,
}

impl Failure {
    /// A failure of some action.
    pub(crate) fn of(what: &str, error: &dyn std::fmt::Display) -> Self {
        Self {
            code: "failed".to_owned(),
            message: format!("{what}: {error}"),
            hint: None,
            exit: 1,
        }
    }

    /// A wrong command line.
    pub(crate) fn usage(message: String, hint: Option<String>) -> Self {
        Self {
            code: "usage".to_owned(),
            message,
            hint,
            exit: 2,
        }
    }

    /// Whether what is done again and again need not be tried again: it was interrupted, nobody
    /// reads, or the command line is wrong.
    pub(crate) const fn ends_all(&self) -> bool {
        self.exit != 1
    }

    /// A result that could not be written. A reader that went away is no failure.
    pub(crate) fn output(error: &std::io::Error) -> Self {
        let mut failure = Self::of("cannot write the result", error);
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            failure.exit = 0;
        }
        failure
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self {
            code: error.code().to_owned(),
            message: error.to_string(),
            hint: error.remedy(),
            exit: match error {
                ControlError::Interrupted => INTERRUPTED,
                _ if error.is_usage() => 2,
                _ => 1,
            },
        }
    }
}
