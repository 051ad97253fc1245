//! The static program that was embedded when this library was built.

/// The program, if one was there at build time: a static executable that is `/init` of an
/// initramfs.
#[must_use]
pub fn program() -> Option<&'static [u8]> {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vardoger-guest"));
    (!bytes.is_empty()).then_some(bytes)
}
