//! Which QEMU: found on the search path, asked for its version.

use crate::error::HypervisorError;
use crate::process::spawn::{SpawnRequest, spawn};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::time::timeout;

/// Names another emulator than the one on the search path.
pub const BINARY_VARIABLE: &str = "VARDOGER_QEMU";

/// The emulator's name.
const NAME: &str = "qemu-system-x86_64";

/// The least version that can be driven, and how it is shown.
const NEEDED: ((u32, u32), &str) = ((9, 0), "9.0");

/// How long it may take to tell its version.
const VERSION_DEADLINE: Duration = Duration::from_secs(20);

/// A QEMU that is there and new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QemuBinary {
    /// Where it is.
    pub path: PathBuf,
    /// Its version, such as `10.0.2`.
    pub version: String,
}

impl QemuBinary {
    /// Finds QEMU and asks for its version.
    ///
    /// # Errors
    /// There is none, it is too old, or it does not answer like QEMU.
    pub async fn find() -> Result<Self, HypervisorError> {
        Self::at(locate()?).await
    }

    /// Asks the program at a path for its version.
    ///
    /// # Errors
    /// As for [`QemuBinary::find`].
    pub async fn at(path: PathBuf) -> Result<Self, HypervisorError> {
        let not_qemu = |detail: String| HypervisorError::NotQemu {
            path: path.clone(),
            detail,
        };
        let answer = match timeout(VERSION_DEADLINE, ask_version(&path)).await {
            Ok(answer) => answer?,
            Err(_) => {
                return Err(not_qemu(format!(
                    "it did not tell its version within {} s",
                    VERSION_DEADLINE.as_secs()
                )));
            }
        };
        let Some((version, numbers)) = parse_version(&answer) else {
            let start: String = answer.chars().take(80).collect();
            return Err(not_qemu(format!("it says {start:?}")));
        };
        if numbers < NEEDED.0 {
            return Err(HypervisorError::TooOld {
                path: path.clone(),
                found: version,
                needed: NEEDED.1,
            });
        }
        Ok(Self { path, version })
    }
}

fn locate() -> Result<PathBuf, HypervisorError> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        return Ok(path.into());
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&search)
        .map(|directory| directory.join(NAME))
        .find(|path| is_executable(path))
        .ok_or_else(|| HypervisorError::BinaryMissing {
            name: NAME.to_owned(),
        })
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

async fn ask_version(path: &Path) -> Result<String, HypervisorError> {
    let failed = |source| HypervisorError::Spawn {
        program: path.to_path_buf(),
        source,
    };
    let (mut reader, writer) = std::io::pipe().map_err(failed)?;
    let mut command = Command::new(path);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(OwnedFd::from(writer))
        .stderr(Stdio::null());
    let mut child = spawn(SpawnRequest {
        command,
        inherited: Vec::new(),
        cpus: Vec::new(),
        user: None,
    })
    .await?;
    child.wait().await.map_err(failed)?;
    // One read of what lies in the pipe: a grandchild may hold the other end open.
    let mut answer = [0; 4096];
    let length = reader.read(&mut answer).map_err(failed)?;
    let text = answer.get(..length).unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// `QEMU emulator version 10.0.2 (Debian …)` → `10.0.2` and (10, 0).
fn parse_version(text: &str) -> Option<(String, (u32, u32))> {
    let rest = text.strip_prefix("QEMU emulator version ")?;
    let version = rest.split_ascii_whitespace().next()?;
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    let (major, minor) = (numbers.next()??, numbers.next()??);
    Some((version.to_owned(), (major, minor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(directory: &tempfile::TempDir, text: &str) -> PathBuf {
        let path = directory.path().join("emulator");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    async fn check(text: &str) -> Result<QemuBinary, HypervisorError> {
        let directory = tempfile::tempdir().unwrap();
        QemuBinary::at(script(&directory, text)).await
    }

    #[tokio::test]
    async fn a_new_one_is_taken_and_an_old_one_refused() {
        let new = check("echo 'QEMU emulator version 10.0.2 (Debian 1:10)'").await;
        assert_eq!(new.unwrap().version, "10.0.2");
        let old = check("echo 'QEMU emulator version 7.2.9'").await;
        assert!(matches!(old, Err(HypervisorError::TooOld { .. })));
    }

    #[tokio::test]
    async fn a_stranger_is_refused_with_what_it_says() {
        let error = check("echo I am no emulator").await.unwrap_err();
        assert!(error.to_string().contains("I am no emulator"), "{error}");
        assert!(check("exit 1").await.is_err());
    }
}
