//! Text that came from a guest, made fit to be shown and stored.

/// The most bytes of a line, its newline not counted.
pub const MAX_LINE_BYTES: usize = 16 << 10;

/// The most bytes of a piece of text: a line's worth.
const MAX_TEXT_BYTES: usize = MAX_LINE_BYTES;
/// The most bytes of a name: it becomes a table column and a part of file names.
const MAX_NAME_BYTES: usize = 64;

/// Decodes as UTF-8, with U+FFFD for what is not; leaves out control characters (C0, DEL, C1) and
/// the characters that reorder or hide text; a tab becomes a space. At most a line's worth.
///
/// What it returns, it leaves as it is.
#[must_use]
pub fn sanitise(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut clean = String::with_capacity(text.len());
    for character in text.chars() {
        let shown = if character == '\t' { ' ' } else { character };
        if shown.is_control() || is_hidden(shown) {
            continue;
        }
        if clean.len() + shown.len_utf8() > MAX_TEXT_BYTES {
            break;
        }
        clean.push(shown);
    }
    clean
}

/// Whether a character shows nothing of itself, or changes how others are shown: line and paragraph
/// separators, marks and overrides of writing direction, fillers, variations, tags, and what has no
/// width. Control characters are told by [`char::is_control`].
#[must_use]
pub const fn is_hidden(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// A name that is safe in a path, a table and a URL: letters, digits, `.`, `_` and `-` of ASCII,
/// anything else as `_`, no dot at its start, 1 to 64 bytes.
#[must_use]
pub fn safe_name(name: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let safe = |(index, c)| match c {
        '.' if index == 0 => '_',
        c if is_safe(c) => c,
        _ => '_',
    };
    let characters = name.chars().take(MAX_NAME_BYTES).enumerate();
    let result: String = characters.map(safe).collect();
    if result.is_empty() {
        "_".to_owned()
    } else {
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_and_deceptive_characters_go() {
        assert_eq!(sanitise(b"a\x1b[31mb\x07\r\n\tc\x7f"), "a[31mb c");
        assert_eq!(sanitise("x\u{9b}2Jy\u{202e}z\u{200b}".as_bytes()), "x2Jyz");
        assert_eq!(sanitise("x\u{61c}\u{ad}y\u{e0100}".as_bytes()), "xy");
        assert_eq!(sanitise(b"ok \xff\xfe"), "ok \u{fffd}\u{fffd}");
    }

    #[test]
    fn names_become_safe() {
        assert_eq!(safe_name("../etc/passwd"), "_._etc_passwd");
        assert_eq!(safe_name(""), "_");
        assert_eq!(safe_name("result-1.bin"), "result-1.bin");
        assert_eq!(safe_name(&"ü".repeat(100)).len(), 64);
    }

    proptest! {
        #[test]
        fn clean_text_stays(bytes: Vec<u8>) {
            let once = sanitise(&bytes);
            prop_assert!(once.chars().all(|c| !c.is_control()));
            prop_assert_eq!(sanitise(once.as_bytes()), once);
        }

        #[test]
        fn safe_names_stay(name: String) {
            let once = safe_name(&name);
            prop_assert!((1..=MAX_NAME_BYTES).contains(&once.len()));
            prop_assert_eq!(safe_name(&once), once);
        }
    }
}
