//! A command in the user's own disk as a job: what the guest is to start there.
//!
//! ```text
//! job with a command ─► (disk found, mounted) ─► log… ─► exit {status, streams} ─► result
//!   ─► mark end ─► (stop: terminal; the disk is flushed and holds still)
//! ```
//!
//! Nothing is handed over: what it runs stands on the disk.

use super::JobError;
use super::program::MAX_WORDS_BYTES;
use serde::{Deserialize, Serialize};

/// A command that the guest is to start in the file system of its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandJob {
    /// Its words: the program, by its path or for the search path, and its arguments.
    pub words: Vec<String>,
}

impl CommandJob {
    /// Checks that a guest can start it.
    pub(super) fn check(&self) -> Result<(), JobError> {
        if self.words.first().is_none_or(String::is_empty) {
            return Err(JobError::NoCommand);
        }
        let found: usize = self.words.iter().map(String::len).sum();
        if found > MAX_WORDS_BYTES {
            return Err(JobError::Words { found });
        }
        if self.words.iter().any(|word| word.contains('\0')) {
            return Err(JobError::ZeroByte);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str]) -> Result<(), String> {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        CommandJob { words }
            .check()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_what_a_guest_can_start_is_a_command() {
        assert_eq!(check(&["sh", "-c", "true"]), Ok(()));
        assert!(check(&[]).unwrap_err().contains("no command"));
        assert!(check(&["", "x"]).unwrap_err().contains("no command"));
        assert!(check(&["sh", "a\0b"]).unwrap_err().contains("zero"));
        assert!(
            check(&["sh", &"x".repeat(7000)])
                .unwrap_err()
                .contains("7002")
        );
    }
}
