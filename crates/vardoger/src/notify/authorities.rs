//! Who may vouch for a receiver over `https`: Mozilla's authorities, which are built in, or those of
//! a file, as a receiver inside an organisation needs.
//!
//! The file holds certificates in PEM, one after the other; what else it holds is passed over. It
//! stands in place of Mozilla's authorities, as it does for OpenSSL and what is built on it. A file
//! that cannot be used is an error before the run, not a warning after it.

use crate::failure::Failure;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

/// The variable by which OpenSSL, curl, Go and Python are told of such a file.
const VARIABLE: &str = "SSL_CERT_FILE";

/// The longest file: some twenty times what a distribution's own has.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// The file that the environment names, else the configuration.
pub(crate) fn file(configured: Option<PathBuf>) -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).filter(|path| !path.is_empty());
    named.map(PathBuf::from).or(configured)
}

/// The authorities of a file; Mozilla's where none is named.
pub(super) fn load(file: Option<&Path>) -> Result<RootCerts, Failure> {
    let Some(path) = file else {
        return Ok(RootCerts::WebPki);
    };
    let wrong = |what: &str| {
        let message = format!(
            "the certificates of {} cannot be used: {what}",
            path.display()
        );
        let hint =
            format!("{VARIABLE} or notify.ca_file names it; it is to hold certificates in PEM");
        Failure::usage(message, Some(hint))
    };
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text))
        .map_err(|error| wrong(&error.to_string()))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(wrong("it is too long"));
    }
    let certificates = certificates(&text).ok_or_else(|| wrong("it is no PEM"))?;
    if certificates.is_empty() {
        return Err(wrong("it holds no certificate"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The certificates in a text; nothing where it breaks the format.
fn certificates(text: &[u8]) -> Option<Vec<Certificate<'static>>> {
    let items = parse_pem(text).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Some(certificate)),
        Ok(_) => None,
        Err(_) => Some(None),
    });
    items.collect()
}
