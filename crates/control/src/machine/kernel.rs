//! Which guest kernel, and whether it is one.

use crate::error::ControlError;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Names another guest kernel than the fetched one.
pub const KERNEL_VARIABLE: &str = "VARDOGER_KERNEL";

/// Where the guest kernel is: where the user says, else where the set-up puts it.
#[must_use]
pub fn default_kernel() -> PathBuf {
    if let Some(path) = std::env::var_os(KERNEL_VARIABLE) {
        return path.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"));
    cache.join("vardoger/kernel/vmlinuz")
}

/// Refuses what is no kernel before a machine is started with it.
///
/// A bzImage has `HdrS` at 0x202 (Linux x86 boot protocol); a vmlinux is an ELF file.
///
/// # Errors
/// There is no such file, or it has no kernel's header.
pub fn check(path: &Path) -> Result<(), ControlError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(ControlError::NoKernel {
                path: path.to_path_buf(),
            });
        }
        Err(error) => return Err(ControlError::file("open", path)(error)),
    };
    let mut head = [0; 0x206];
    let not_a_kernel = |detail: &str| ControlError::NotAKernel {
        path: path.to_path_buf(),
        detail: detail.to_owned(),
    };
    file.read_exact_at(&mut head, 0)
        .map_err(|_| not_a_kernel("it is shorter than a kernel's header"))?;
    if head.starts_with(b"\x7fELF") || head.get(0x202..) == Some(b"HdrS".as_slice()) {
        Ok(())
    } else {
        Err(not_a_kernel(
            "it has neither a bzImage's nor an ELF file's header",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_bytes(content: &[u8]) -> Result<(), ControlError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        check(file.path())
    }

    #[test]
    fn only_kernels_are_taken() {
        let mut image = vec![0; 0x400];
        assert!(matches!(
            check_bytes(&image),
            Err(ControlError::NotAKernel { .. })
        ));
        image[0x202..0x206].copy_from_slice(b"HdrS");
        assert!(check_bytes(&image).is_ok());
        image[..4].copy_from_slice(b"\x7fELF");
        assert!(check_bytes(&image).is_ok());
        assert!(matches!(
            check_bytes(b"tiny"),
            Err(ControlError::NotAKernel { .. })
        ));
        let missing = check(Path::new("/nonexistent/vmlinuz"));
        assert!(matches!(missing, Err(ControlError::NoKernel { .. })));
    }
}
