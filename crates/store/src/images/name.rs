//! Names of images, which become names of directories.

use crate::error::StoreError;

/// The longest name, in bytes: it stands in tables and in file names with additions.
pub const IMAGE_NAME_BYTES_MAX: usize = 64;

/// Refuses what is no name: `[a-z0-9][a-z0-9._-]*`, at most [`IMAGE_NAME_BYTES_MAX`] bytes.
pub(super) fn check(name: &str) -> Result<(), StoreError> {
    if is_name(name) {
        Ok(())
    } else {
        Err(StoreError::ImageName {
            name: name.to_owned(),
        })
    }
}

/// Whether a text is a name of an image.
pub(super) fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let allowed = |byte: u8| plain(byte) || matches!(byte, b'.' | b'_' | b'-');
    name.len() <= IMAGE_NAME_BYTES_MAX
        && name.bytes().next().is_some_and(plain)
        && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::{Component, Path};

    #[test]
    fn names_are_plain() {
        for name in ["web1", "0", "a.b_c-d", &"a".repeat(64)] {
            assert!(is_name(name), "{name:?}");
        }
        for name in [
            "",
            ".",
            "..",
            ".new",
            "-a",
            "_a",
            "a/b",
            "A",
            "a b",
            "ä",
            "a\0",
            &"a".repeat(65),
        ] {
            assert!(!is_name(name), "{name:?}");
            assert!(matches!(check(name), Err(StoreError::ImageName { .. })));
        }
    }

    proptest! {
        #[test]
        fn a_name_is_one_step(name in "[a-c./@ -]{0,8}") {
            if is_name(&name) {
                let parts: Vec<_> = Path::new(&name).components().collect();
                prop_assert_eq!(parts, vec![Component::Normal(name.as_ref())]);
            }
        }
    }
}
