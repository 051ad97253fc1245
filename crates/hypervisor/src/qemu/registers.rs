//! Registers out of the text of `info registers`: pure.
//!
//! The text is a list of `NAME=VALUE` words; segment and table registers carry several values:
//!
//! ```text
//! RAX=0000000000000000 RBX=… RIP=… RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
//! CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]
//! GDT=     fffffe0000001000 0000007f
//! FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80
//! FPR0=0000000000000000 0000 …   XMM00=0000000000000000 0000000000000000 …
//! ```

use crate::traits::RegisterSet;

/// Registers that are kept: more than any model of ours prints.
const MAX_REGISTERS: usize = 1024;

/// The longest value that is kept: a 512-bit register takes 135 characters.
const MAX_VALUE_CHARACTERS: usize = 256;

/// Reads the text of `info registers`.
#[must_use]
pub fn parse(text: &str) -> RegisterSet {
    let mut registers = RegisterSet::new();
    for line in text.lines() {
        for (name, value) in assignments(line) {
            if registers.len() >= MAX_REGISTERS {
                return registers;
            }
            registers.insert(name, value);
        }
    }
    registers
}

/// The `NAME=VALUE…` groups of a line: a value lasts until the next name.
fn assignments(line: &str) -> Vec<(String, String)> {
    let bytes = line.as_bytes();
    let equals: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes.get(at) == Some(&b'='))
        .collect();
    let starts: Vec<usize> = equals.iter().map(|&at| name_start(line, at)).collect();
    equals
        .iter()
        .zip(&starts)
        .enumerate()
        .filter_map(|(index, (&equal, &start))| {
            let end = starts.get(index + 1).copied().unwrap_or(line.len());
            let name = line.get(start..equal)?.trim();
            let value = line.get(equal + 1..end)?.trim();
            let (name, value) = match name.strip_prefix('[') {
                Some(name) => (name, value.trim_end_matches(']')),
                None => (name, value),
            };
            let value: Vec<&str> = value.split_ascii_whitespace().collect();
            let value: String = value.join(" ").chars().take(MAX_VALUE_CHARACTERS).collect();
            (!name.is_empty()).then(|| (name.to_ascii_lowercase(), value))
        })
        .collect()
}

/// Where the name before an equals sign begins: `CS =` has blanks in between.
fn name_start(line: &str, equal: usize) -> usize {
    let before = line.get(..equal).unwrap_or_default().trim_end();
    before
        .rfind(|c: char| c.is_ascii_whitespace())
        .map_or(0, |blank| blank + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\nCPU#0\nRAX=0000000000000001 RBX=00000000deadbeef\n\
        RIP=ffffffff81000000 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\n\
        CS =0010 0000000000000000 ffffffff 00af9b00 DPL=0 CS64 [-RA]\n\
        GDT=     fffffe0000001000 0000007f\n\
        FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80\n\
        FPR0=0000000000000000 0000 FPR1=0000000000000000 0000\n\
        XMM00=0000000000000000 0000000000000001 XMM01=0000000000000000 0000000000000000\n";

    #[test]
    fn names_and_values_are_found() {
        let registers = parse(TEXT);
        let value = |name: &str| registers.get(name).map(String::as_str);
        assert_eq!(value("rbx"), Some("00000000deadbeef"));
        assert_eq!(value("rfl"), Some("00000246 [---Z-P-]"));
        assert_eq!(value("cs"), Some("0010 0000000000000000 ffffffff 00af9b00"));
        assert_eq!(value("gdt"), Some("fffffe0000001000 0000007f"));
        assert_eq!(value("st"), Some("0"));
        assert_eq!(value("xmm00"), Some("0000000000000000 0000000000000001"));
        assert_eq!(value("fpr1"), Some("0000000000000000 0000"));
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[ -~\n=\u{e9}]{0,300}") {
            prop_assert!(parse(&text).len() <= MAX_REGISTERS);
        }
    }
}
