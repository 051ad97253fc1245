//! The configuration file: what was written, and what it means.
//!
//! ```toml
//! [store]
//! path = "/var/lib/vardoger"   # where results and evidence go
//! max_bytes = 4294967296       # evidence of the oldest runs goes beyond this
//!
//! [image]
//! seal_key = "/etc/vardoger/seal.key"   # the key that seals histories of disks, outside the store
//! encryption_key = "/etc/vardoger/encryption.key"   # the key that encrypts some, likewise
//!
//! [notify]
//! ca_file = "/etc/ssl/our-ca.pem"   # who may vouch for receivers of notifications
//! ```
//!
//! Looked for in `$XDG_CONFIG_HOME/vardoger/config.toml` (`~/.config` where that is not set), then
//! in `/etc/vardoger/config.toml`; the first that is there is used. A flag wins over it. An
//! unknown key is an error: a misspelt limit must not be silently ignored.

use crate::failure::Failure;
use serde::Deserialize;
use std::fs;
use std::path::{Path, PathBuf};

/// The most bytes of evidence in the store, where nothing else is said: some 50 runs that deviate
/// widely.
const DEFAULT_STORE_BYTES: u64 = 4 << 30;

/// The longest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    store: RawStore,
    image: RawImage,
    notify: RawNotify,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawStore {
    path: Option<PathBuf>,
    max_bytes: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawImage {
    seal_key: Option<PathBuf>,
    encryption_key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawNotify {
    ca_file: Option<PathBuf>,
}

/// What it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The store's directory, where one is named.
    pub(crate) store: Option<PathBuf>,
    /// The most bytes of evidence.
    pub(crate) store_max_bytes: u64,
    /// The file of the key that seals histories of disks.
    pub(crate) seal_key: PathBuf,
    /// The file of the key that encrypts those that are to be.
    pub(crate) encryption_key: PathBuf,
    /// The certificates of those who may vouch for receivers of notifications.
    pub(crate) notify_ca_file: Option<PathBuf>,
}

/// Reads the configuration file, if there is one.
pub(crate) fn load() -> Result<Config, Failure> {
    match places().into_iter().find(|path| path.exists()) {
        Some(path) => read(&path),
        None => parse("").map_err(|error| Failure::usage(error, None)),
    }
}

fn places() -> Vec<PathBuf> {
    directories().map(|one| one.join("config.toml")).collect()
}

/// Where configuration lies: the user's, then the system's.
fn directories() -> impl Iterator<Item = PathBuf> {
    let user = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
    let all = user.into_iter().chain([PathBuf::from("/etc")]);
    all.map(|directory| directory.join("vardoger"))
}

/// Beside the user's configuration.
fn beside(name: &str) -> PathBuf {
    let directory = directories().next();
    directory.unwrap_or_default().join(name)
}

fn read(path: &Path) -> Result<Config, Failure> {
    let wrong = |error: String| {
        Failure::usage(
            format!(
                "the configuration {} cannot be used: {error}",
                path.display()
            ),
            Some("mend it, or move it away for the defaults".to_owned()),
        )
    };
    let length = fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if length.len() > MAX_FILE_BYTES {
        return Err(wrong(format!("it has {} bytes", length.len())));
    }
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    parse(&text).map_err(wrong)
}

fn parse(text: &str) -> Result<Config, String> {
    let raw: RawConfig = toml::from_str(text).map_err(|error| error.to_string())?;
    let store_max_bytes = raw.store.max_bytes.unwrap_or(DEFAULT_STORE_BYTES);
    if store_max_bytes == 0 {
        return Err("store.max_bytes is 0: no evidence could be kept".to_owned());
    }
    let image = raw.image;
    Ok(Config {
        store: raw.store.path,
        store_max_bytes,
        seal_key: image.seal_key.unwrap_or_else(|| beside("seal.key")),
        encryption_key: image
            .encryption_key
            .unwrap_or_else(|| beside("encryption.key")),
        notify_ca_file: raw.notify.ca_file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_written_means_the_defaults() {
        let config = parse("").unwrap();
        assert_eq!(config.store, None);
        assert_eq!(config.store_max_bytes, DEFAULT_STORE_BYTES);
    }

    #[test]
    fn what_is_written_is_meant() {
        let config = parse("[store]\npath = \"/srv/v\"\nmax_bytes = 1048576\n").unwrap();
        assert_eq!(config.store, Some(PathBuf::from("/srv/v")));
        assert_eq!(config.store_max_bytes, 1 << 20);
        assert_eq!(config.notify_ca_file, None);
        let config = parse("[notify]\nca_file = \"/srv/ca.pem\"\n").unwrap();
        assert_eq!(config.notify_ca_file, Some(PathBuf::from("/srv/ca.pem")));
    }

    #[test]
    fn what_is_misspelt_or_senseless_is_refused() {
        assert!(
            parse("[store]\nmax_byte = 1\n")
                .unwrap_err()
                .contains("max_byte")
        );
        assert!(parse("[store]\nmax_bytes = 0\n").is_err());
        assert!(parse("[store]\nmax_bytes = -1\n").is_err());
        assert!(parse("store").is_err());
    }
}
