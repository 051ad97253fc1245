//! `qemu-img`: what writes into disk images that are not raw.
//!
//! Reading images is ours, in a confined process; writing into one is left to the program whose format
//! it is. It keeps others from the image meanwhile by its own locks.

use crate::error::HypervisorError;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program.
const PROGRAM: &str = "qemu-img";

/// The longest part of its complaint that is passed on.
const COMPLAINT_BYTES: usize = 500;

/// Why an image was not written.
#[derive(Debug, thiserror::Error)]
pub enum ImageToolError {
    /// It is not installed.
    #[error("{PROGRAM} is not installed, and only it can write into an image that is not raw")]
    Missing,
    /// It could not be started.
    #[error(transparent)]
    Start(HypervisorError),
    /// It has failed.
    #[error("{PROGRAM} could not write {image}: {complaint}")]
    Failed {
        /// The image.
        image: String,
        /// What it says.
        complaint: String,
    },
}

/// Writes what a raw file holds over the disk in a qcow2 image of the same size. Snapshots in the image,
/// and images below, stay as they are. When it returns, the image is durable.
///
/// # Errors
/// The tool is missing, or refuses: somebody has the image open.
pub fn write_into_qcow2(raw: &Path, image: &Path) -> Result<(), ImageToolError> {
    // Paths that begin with a dash or a scheme are not taken for anything else.
    let named = |path: &Path| -> std::ffi::OsString {
        let mut text = std::ffi::OsString::from("file:");
        text.push(path);
        text
    };
    let arguments = [
        "convert", "-n", "-f", "raw", "-O", "qcow2", "-t", "none", "--",
    ];
    let output = Command::new(PROGRAM)
        .args(arguments)
        .args([named(raw), named(image)])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| (OsStr::new("PATH"), path)))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ImageToolError::Missing);
        }
        output => output.map_err(|error| {
            ImageToolError::Start(HypervisorError::file("start", Path::new(PROGRAM))(error))
        })?,
    };
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.chars().filter(|one| !one.is_control());
    Err(ImageToolError::Failed {
        image: image.display().to_string(),
        complaint: complaint.take(COMPLAINT_BYTES).collect(),
    })
}
