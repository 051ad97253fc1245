//! Registers out of the text of `info registers -a`: pure.
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
//!
//! A line `CPU#N` begins those of a vCPU: the first vCPU's keep their names, those of the others
//! become `cpuN.NAME`.

use crate::traits::RegisterSet;

/// Registers that are kept: more than eight vCPUs of any model of ours print.
const MAX_REGISTERS: usize = 4096;

/// The longest value that is kept: a 512-bit register takes 135 characters.
const MAX_VALUE_CHARACTERS: usize = 256;

/// Reads the text of `info registers`.
#[must_use]
pub fn parse(text: &str) -> RegisterSet {
    let mut registers = RegisterSet::new();
    let mut vcpu = 0;
    for line in text.lines() {
        if let Some(number) = line.trim().strip_prefix("CPU#") {
            vcpu = number.parse().unwrap_or(vcpu);
            continue;
        }
        for (name, value) in assignments(line) {
            if registers.len() >= MAX_REGISTERS {
                return registers;
            }
            registers.insert(named(vcpu, name), value);
        }
    }
    registers
}

/// A register's name with the vCPU that it is of.
fn named(vcpu: u32, name: String) -> String {
    match vcpu {
        0 => name,
        other => format!("cpu{other}.{name}"),
    }
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

    #[test]
    fn registers_of_further_vcpus_carry_their_number() {
        let registers = parse("CPU#0\nRAX=1 RBX=2\n\nCPU#1\nRAX=3 RBX=4\n");
        let all: Vec<_> = registers.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(all, ["cpu1.rax=3", "cpu1.rbx=4", "rax=1", "rbx=2"]);
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "[ -~\n=\u{e9}]{0,300}") {
            prop_assert!(parse(&text).len() <= MAX_REGISTERS);
        }
    }
}
