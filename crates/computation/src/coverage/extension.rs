//! The extensions of the x86-64 instruction set that a program may use, and which of them a
//! processor has.
//!
//! A processor tells by CPUID: a leaf, a part of it, a register and a bit. Where each stands is
//! from the manuals of Intel (volume 2, CPUID) and AMD (volume 3, appendix E). Only what a program
//! without privileges can execute stands here. CPUID is what the processor says, not what the
//! system lets a program use: a machine without AVX-512 state saved has the bits all the same.

/// A register of CPUID's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    /// EAX.
    Eax,
    /// EBX.
    Ebx,
    /// ECX.
    Ecx,
    /// EDX.
    Edx,
}

/// What CPUID answers: EAX, EBX, ECX and EDX.
type Answer = [u32; 4];

/// An extension of the instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extension {
    /// Its name, as the standard library and kernels write it.
    pub name: &'static str,
    /// What it brings.
    pub brings: &'static str,
    leaf: u32,
    part: u32,
    register: Register,
    bit: u32,
}

impl Extension {
    /// Whether a processor has it, by what CPUID answers for (leaf, part).
    #[must_use]
    fn is_present(&self, ask: impl Fn(u32, u32) -> Answer) -> bool {
        // A leaf beyond the last answers with anything.
        let [last, ..] = ask(self.leaf & LEAF_RANGE, 0);
        if self.leaf > last {
            return false;
        }
        let [eax, ebx, ecx, edx] = ask(self.leaf, self.part);
        let word = match self.register {
            Register::Eax => eax,
            Register::Ebx => ebx,
            Register::Ecx => ecx,
            Register::Edx => edx,
        };
        word >> self.bit & 1 == 1
    }
}

/// Keeps of a leaf what tells ranges apart: basic ones, and AMD's extended ones.
const LEAF_RANGE: u32 = 0x8000_0000;
const EXTENDED: u32 = 0x8000_0001;

const fn row(
    name: &'static str,
    brings: &'static str,
    (leaf, part): (u32, u32),
    register: Register,
    bit: u32,
) -> Extension {
    Extension {
        name,
        brings,
        leaf,
        part,
        register,
        bit,
    }
}

use Register::{Eax, Ebx, Ecx, Edx};

/// All of them, by name.
pub const EXTENSIONS: &[Extension] = &[
    row("adx", "ADCX, ADOX: two carry chains", (7, 0), Ebx, 19),
    row("aes", "AES rounds", (1, 0), Ecx, 25),
    row("amx-bf16", "matrix tiles of bfloat16", (7, 0), Edx, 22),
    row(
        "amx-int8",
        "matrix tiles of 8-bit integers",
        (7, 0),
        Edx,
        25,
    ),
    row("amx-tile", "matrix tiles", (7, 0), Edx, 24),
    row("avx", "256-bit float vectors", (1, 0), Ecx, 28),
    row("avx2", "256-bit integer vectors, gather", (7, 0), Ebx, 5),
    row("avx512bf16", "bfloat16 dot products", (7, 1), Eax, 5),
    row(
        "avx512bitalg",
        "bit counts of bytes and words",
        (7, 0),
        Ecx,
        12,
    ),
    row(
        "avx512bw",
        "512-bit vectors of bytes and words",
        (7, 0),
        Ebx,
        30,
    ),
    row("avx512cd", "conflict detection", (7, 0), Ebx, 28),
    row(
        "avx512dq",
        "512-bit vectors of longer integers",
        (7, 0),
        Ebx,
        17,
    ),
    row(
        "avx512f",
        "512-bit vectors, masks, scatter",
        (7, 0),
        Ebx,
        16,
    ),
    row("avx512fp16", "half-precision floats", (7, 0), Edx, 23),
    row("avx512ifma", "52-bit multiply-add", (7, 0), Ebx, 21),
    row(
        "avx512vbmi",
        "byte permutes across a vector",
        (7, 0),
        Ecx,
        1,
    ),
    row("avx512vbmi2", "byte compress and expand", (7, 0), Ecx, 6),
    row("avx512vl", "masks for shorter vectors", (7, 0), Ebx, 31),
    row(
        "avx512vnni",
        "dot products of small integers, 512-bit",
        (7, 0),
        Ecx,
        11,
    ),
    row(
        "avx512vp2intersect",
        "intersection of vectors",
        (7, 0),
        Edx,
        8,
    ),
    row(
        "avx512vpopcntdq",
        "bit counts of longer integers",
        (7, 0),
        Ecx,
        14,
    ),
    row(
        "avxvnni",
        "dot products of small integers, 256-bit",
        (7, 1),
        Eax,
        4,
    ),
    row("bmi1", "ANDN, BEXTR, BLSR, TZCNT", (7, 0), Ebx, 3),
    row(
        "bmi2",
        "MULX, PDEP, PEXT, shifts without flags",
        (7, 0),
        Ebx,
        8,
    ),
    row("clflushopt", "flush of a cache line", (7, 0), Ebx, 23),
    row("clwb", "write-back of a cache line", (7, 0), Ebx, 24),
    row(
        "cmpxchg16b",
        "compare and exchange of 16 bytes",
        (1, 0),
        Ecx,
        13,
    ),
    row("erms", "fast REP MOVSB and STOSB", (7, 0), Ebx, 9),
    row(
        "f16c",
        "conversions of half-precision floats",
        (1, 0),
        Ecx,
        29,
    ),
    row("fma", "fused multiply-add", (1, 0), Ecx, 12),
    row("fsrm", "fast short REP MOVSB", (7, 0), Edx, 4),
    row("gfni", "Galois field vectors", (7, 0), Ecx, 8),
    row("hle", "hardware lock elision", (7, 0), Ebx, 4),
    row("lzcnt", "count of leading zeros", (EXTENDED, 0), Ecx, 5),
    row("mmx", "64-bit integer vectors", (1, 0), Edx, 23),
    row(
        "movbe",
        "loads and stores in the other byte order",
        (1, 0),
        Ecx,
        22,
    ),
    row("movdir64b", "64-byte direct stores", (7, 0), Ecx, 28),
    row("movdiri", "direct stores", (7, 0), Ecx, 27),
    row("pclmulqdq", "carry-less multiply", (1, 0), Ecx, 1),
    row("popcnt", "count of bits", (1, 0), Ecx, 23),
    row("rdrand", "random numbers", (1, 0), Ecx, 30),
    row("rdseed", "seeds for random numbers", (7, 0), Ebx, 18),
    row("rtm", "restricted transactional memory", (7, 0), Ebx, 11),
    row("sha", "SHA-1 and SHA-256 rounds", (7, 0), Ebx, 29),
    row("sse2", "128-bit vectors", (1, 0), Edx, 26),
    row("sse3", "horizontal float adds", (1, 0), Ecx, 0),
    row(
        "sse4.1",
        "128-bit blends, multiplies, rounding",
        (1, 0),
        Ecx,
        19,
    ),
    row("sse4.2", "CRC32, string comparison", (1, 0), Ecx, 20),
    row(
        "sse4a",
        "AMD's bit fields in vectors",
        (EXTENDED, 0),
        Ecx,
        6,
    ),
    row("ssse3", "byte shuffles", (1, 0), Ecx, 9),
    row("vaes", "AES rounds on longer vectors", (7, 0), Ecx, 9),
    row(
        "vpclmulqdq",
        "carry-less multiply on longer vectors",
        (7, 0),
        Ecx,
        10,
    ),
    row("x87", "80-bit floats", (1, 0), Edx, 0),
];

/// Extensions that no computation may execute, because their results are not a function of their
/// operands.
pub const NOT_REPEATABLE: &[&str] = &["hle", "rdrand", "rdseed", "rtm"];

/// The extensions that the processor has that executes this, as CPUID says.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn of_this_processor() -> Vec<&'static Extension> {
    let ask = |leaf, part| {
        let answer = raw_cpuid::native_cpuid::cpuid_count(leaf, part);
        [answer.eax, answer.ebx, answer.ecx, answer.edx]
    };
    let all = EXTENSIONS.iter();
    all.filter(|extension| extension.is_present(ask)).collect()
}

/// None are known of other architectures.
#[cfg(not(target_arch = "x86_64"))]
#[must_use]
pub fn of_this_processor() -> Vec<&'static Extension> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> &'static Extension {
        EXTENSIONS.iter().find(|one| one.name == name).unwrap()
    }

    #[test]
    fn names_are_sorted_and_places_are_distinct() {
        assert!(EXTENSIONS.is_sorted_by(|one, next| one.name < next.name));
        for (index, one) in EXTENSIONS.iter().enumerate() {
            let place = |of: &Extension| (of.leaf, of.part, of.register as u8, of.bit);
            let later = &EXTENSIONS[index + 1..];
            assert!(
                later.iter().all(|other| place(other) != place(one)),
                "{}",
                one.name
            );
            assert!(one.bit < 32);
        }
        assert!(NOT_REPEATABLE.iter().all(|name| named(name).name == *name));
    }

    #[test]
    fn one_bit_of_one_register_is_one_extension() {
        let ask = |leaf, part| match (leaf, part) {
            (0, 0) => [7, 0, 0, 0],
            (7, 0) => [0, 0, 1 << 8, 0],
            _ => [0; 4],
        };
        let present = EXTENSIONS.iter().filter(|one| one.is_present(ask));
        assert_eq!(present.map(|one| one.name).collect::<Vec<_>>(), ["gfni"]);
    }

    #[test]
    fn a_leaf_beyond_the_last_says_nothing() {
        let ask = |leaf, _| match leaf {
            0 => [1, 0, 0, 0],
            0x8000_0000 => [0x8000_0000, 0, 0, 0],
            _ => [u32::MAX; 4],
        };
        let present = EXTENSIONS.iter().filter(|one| one.is_present(ask));
        assert!(present.clone().all(|one| one.leaf == 1));
        assert!(present.count() > 5);
    }

    /// The standard library asks the processor by code of its own.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_standard_library_finds_no_more() {
        let present = of_this_processor();
        for feature in crate::isa::features() {
            assert!(present.iter().any(|one| one.name == feature), "{feature}");
        }
    }

    /// The kernel asks it by code of its own, too, and spells some names in another way.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_finds_the_same() {
        const SPELT: [(&str, &str); 22] = [
            ("amx-bf16", "amx_bf16"),
            ("amx-int8", "amx_int8"),
            ("amx-tile", "amx_tile"),
            ("avx512bf16", "avx512_bf16"),
            ("avx512bitalg", "avx512_bitalg"),
            ("avx512fp16", "avx512_fp16"),
            ("avx512vbmi2", "avx512_vbmi2"),
            ("avx512vnni", "avx512_vnni"),
            ("avx512vp2intersect", "avx512_vp2intersect"),
            ("avx512vpopcntdq", "avx512_vpopcntdq"),
            ("avxvnni", "avx_vnni"),
            ("cmpxchg16b", "cx16"),
            ("lzcnt", "abm"),
            ("sha", "sha_ni"),
            ("sse3", "pni"),
            ("sse4.1", "sse4_1"),
            ("sse4.2", "sse4_2"),
            ("x87", "fpu"),
            ("aes", "aes"),
            ("avx", "avx"),
            ("gfni", "gfni"),
            ("fsrm", "fsrm"),
        ];
        let text = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let line = text.lines().find(|line| line.starts_with("flags")).unwrap();
        let flags: Vec<&str> = line.split_whitespace().collect();
        let present = of_this_processor();
        let mut agreeing = 0;
        for extension in EXTENSIONS {
            let spelt = SPELT.iter().find(|(name, _)| *name == extension.name);
            let spelt = spelt.map_or(extension.name, |(_, spelt)| spelt);
            // The kernel hides what it turned off; what it shows, the processor has.
            if flags.contains(&spelt) {
                assert!(present.contains(&extension), "{spelt}");
                agreeing += 1;
            }
        }
        assert!(agreeing >= 2, "{flags:?}");
    }
}
