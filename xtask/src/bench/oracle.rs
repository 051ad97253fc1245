//! What `explain` is held against: drgn, in a Python environment of its own, and the guest's kernel
//! with its debugging symbols. Both are fetched when they are first needed, and kept below `target`.
//!
//! The symbols are those of Debian's package for exactly the kernel that the guests run, about
//! 300 MB, of which one file of 600 MB is kept. Of another kernel (`VARDOGER_KERNEL`) they must be
//! put there by hand.

use anyhow::{Context, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version that answers are compared with.
const DRGN: &str = "drgn==0.3.0";

/// What must be free for the package and what is taken out of it.
const ROOM_BYTES: u64 = 2 << 30;

/// Where the text of a kernel's version stands in its image, less 0x200 (Linux x86 boot protocol).
const VERSION_AT: usize = 0x20e;

/// A Python that has drgn, and the kernel with symbols.
pub(super) struct Oracle {
    pub(super) python: PathBuf,
    pub(super) vmlinux: PathBuf,
}

/// Fetches what is not there yet.
pub(super) fn prepare() -> anyhow::Result<Oracle> {
    let place = Path::new("target/oracle");
    std::fs::create_dir_all(place).context("cannot make target/oracle")?;
    let place = std::fs::canonicalize(place)?;
    Ok(Oracle {
        python: python(&place)?,
        vmlinux: vmlinux(&place)?,
    })
}

fn python(place: &Path) -> anyhow::Result<PathBuf> {
    let environment = place.join("python");
    let python = environment.join("bin/python");
    if !works(Command::new(&python).args(["-c", "import drgn"])) {
        crate::put_out("explain: fetching drgn")?;
        done(
            Command::new("python3")
                .args(["-m", "venv"])
                .arg(&environment),
        )?;
        done(Command::new(&python).args(["-m", "pip", "install", "--quiet", DRGN]))?;
    }
    Ok(python)
}

fn vmlinux(place: &Path) -> anyhow::Result<PathBuf> {
    let release = release(&kernel()?)?;
    let vmlinux = place.join(format!("vmlinux-{release}"));
    if vmlinux.is_file() {
        return Ok(vmlinux);
    }
    let free = rustix::fs::statvfs(place).context("cannot look at the file system")?;
    ensure!(
        free.f_bavail.saturating_mul(free.f_frsize) >= ROOM_BYTES,
        "target/oracle needs {ROOM_BYTES} bytes for the kernel's debugging symbols"
    );
    let package = format!("linux-image-{release}-dbg");
    crate::put_out(&format!("explain: fetching {package}"))?;
    let fetched = tempfile::tempdir_in(place)?;
    done(
        Command::new("apt-get")
            .args(["-q", "download", &package])
            .current_dir(fetched.path()),
    )
    .with_context(|| format!("apt-get has no {package}; `apt-get update` may know it"))?;
    let archive = only_file(fetched.path())?;
    let inside = format!("./usr/lib/debug/boot/vmlinux-{release}");
    let mut tar = Command::new("dpkg")
        .arg("--fsys-tarfile")
        .arg(&archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg")?;
    let content = tar.stdout.take().context("dpkg has no output")?;
    let unpacked = done(
        Command::new("tar")
            .args(["-x", "--strip-components=5", "-C"])
            .arg(fetched.path())
            .arg(&inside)
            .stdin(content),
    );
    // tar has closed its side by now: dpkg ends.
    let _status = tar.wait();
    unpacked.with_context(|| format!("{package} has no {inside}"))?;
    let name = vmlinux.file_name().context("no name")?;
    std::fs::rename(fetched.path().join(name), &vmlinux)?;
    Ok(vmlinux)
}

fn only_file(place: &Path) -> anyhow::Result<PathBuf> {
    let mut entries = std::fs::read_dir(place)?;
    let entry = entries.next().context("apt-get has fetched nothing")??;
    Ok(entry.path())
}

/// The guests' kernel: where vardoger looks for it.
fn kernel() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("VARDOGER_KERNEL") {
        return Ok(path.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"));
    let cache = cache.or_else(home).context("HOME is not set")?;
    Ok(cache.join("vardoger/kernel/vmlinuz"))
}

/// The release that a kernel's image says it is.
fn release(kernel: &Path) -> anyhow::Result<String> {
    let shown = kernel.display();
    let image = std::fs::read(kernel).with_context(|| format!("cannot read {shown}"))?;
    let release =
        release_in(&image).with_context(|| format!("{shown} does not say its release"))?;
    Ok(release.to_owned())
}

fn release_in(image: &[u8]) -> Option<&str> {
    let at = image.get(VERSION_AT..VERSION_AT + 2)?;
    let at = usize::from(u16::from_le_bytes(at.try_into().ok()?)) + 0x200;
    let text = image.get(at..)?;
    let length = text.iter().take(128).position(|byte| *byte == b' ')?;
    let release = std::str::from_utf8(text.get(..length)?).ok()?;
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || ".-+_~".contains(letter);
    (!release.is_empty() && release.chars().all(is_plain)).then_some(release)
}

fn works(command: &mut Command) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

fn done(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .with_context(|| format!("cannot start {name}"))?;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_says_its_release() {
        let mut image = vec![0; 0x400];
        image[VERSION_AT..VERSION_AT + 2].copy_from_slice(&0x100_u16.to_le_bytes());
        image[0x300..0x313].copy_from_slice(b"6.1.0-5-cloud (x) y");
        assert_eq!(release_in(&image), Some("6.1.0-5-cloud"));
        image[0x303] = b'/';
        assert_eq!(release_in(&image), None);
        assert_eq!(release_in(&image[..0x20f]), None);
    }
}
