//! The words in which a computation says what it exercises: units, types of data, algorithms.
//!
//! Each word has one spelling, which is what people read and what stands in JSON. A word that no
//! computation uses may stand here: then `lists` says why, and the matrix prints that.

use std::fmt;

macro_rules! vocabulary {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $word:ident = $text:literal,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* #[doc = $text] $word,)* }

        impl $name {
            /// All words, in the order of this enumeration.
            pub const ALL: &'static [Self] = &[$(Self::$word,)*];

            /// Its spelling.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$word => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

vocabulary! {
    /// A unit of the processor, of memory or of the kernel, or a class of instructions.
    Unit {
        IntegerArithmetic = "integer arithmetic",
        IntegerMultiply = "integer multiply",
        IntegerDivide = "integer divide",
        Shift = "shift and rotate",
        BitManipulation = "bit manipulation",
        IntegerVector = "integer vectors",
        VectorPermute = "vector permute",
        Gather = "gather",
        TableLookup = "table look-up",
        FloatAdd = "float add",
        FloatMultiply = "float multiply",
        FusedMultiplyAdd = "fused multiply-add",
        FloatDivide = "float divide and square root",
        FloatConvert = "float conversion",
        FloatRounding = "float rounding modes",
        FloatDenormal = "denormal numbers",
        FloatVector = "float vectors",
        Transcendental = "transcendental functions",
        X87 = "x87",
        Aes = "AES",
        Sha = "SHA",
        Crc32 = "CRC32",
        CarrylessMultiply = "carry-less multiply",
        GaloisField = "Galois field vectors",
        LoadStore = "load/store",
        Misaligned = "misaligned access",
        StringMove = "string move and store",
        NonTemporal = "non-temporal stores",
        CacheFlush = "cache flush",
        Prefetch = "prefetch",
        DramCells = "DRAM cells",
        AddressLines = "address lines",
        PageTables = "page tables and TLB",
        Pointers = "pointers",
        Branches = "branches",
        IndirectBranches = "indirect branches",
        DecoderCorners = "decoder corner cases",
        Atomics = "atomics",
        Locks = "locks",
        CacheCoherence = "cache coherence",
        Transactions = "transactional memory",
        MatrixTiles = "matrix tiles",
        SystemCalls = "system calls",
        Processes = "fork and wait",
        ContextSwitches = "context switches",
        PageCache = "page cache",
    }
}

vocabulary! {
    /// A type of the values that are computed with.
    DataType {
        U8 = "u8",
        U16 = "u16",
        I16 = "i16",
        U32 = "u32",
        I32 = "i32",
        U64 = "u64",
        I64 = "i64",
        U128 = "u128",
        BigInteger = "big integer",
        F32 = "f32",
        F64 = "f64",
        F80 = "f80",
        ComplexF32 = "complex f32",
        ComplexF64 = "complex f64",
        Bytes = "bytes",
        Text = "text",
    }
}

vocabulary! {
    /// What is computed, as others name it.
    Algorithm {
        MatrixProduct = "matrix product",
        SingularValues = "singular value decomposition",
        JacobiRotations = "Jacobi singular value decomposition",
        Cholesky = "Cholesky decomposition",
        SparseSolve = "sparse solve",
        LinearSolve = "linear solve (LU)",
        Fourier = "Fourier transform",
        MultiplyChain = "multiply chain",
        FusedChain = "fused multiply-add chain",
        LogisticMap = "logistic map",
        Elementary = "elementary functions",
        Md5 = "MD5",
        Sha1 = "SHA-1",
        Sha256 = "SHA-256",
        Sha384 = "SHA-384",
        Sha512 = "SHA-512",
        Blake3 = "BLAKE3",
        Farm64 = "FarmHash64",
        Adler32 = "Adler-32",
        Crc32 = "CRC-32",
        Crc32c = "CRC-32C",
        Aes256Gcm = "AES-256-GCM",
        ModularPower = "modular exponentiation",
        Zstandard1 = "Zstandard 1",
        Zstandard3 = "Zstandard 3",
        Zstandard19 = "Zstandard 19",
        Deflate1 = "deflate 1",
        Deflate6 = "deflate 6",
        Deflate9 = "deflate 9",
        Lz4 = "LZ4",
        Brotli = "Brotli",
        RunsOfOneByte = "compression of runs of one byte",
        FuzzedStreams = "decompression of damaged streams",
        Sorting = "sorting",
        SearchTree = "search tree",
        Database = "database",
        PatternSearch = "pattern search",
        MarchPatterns = "march patterns",
        CopyMatrix = "copy matrix",
        IntegerInstructions = "integer instruction classes",
        ExtendedChain = "80-bit arithmetic",
        IndexedLoads = "indexed loads",
        Interpreter = "interpreter",
        StreamBenchmark = "STREAM kernels",
        LinpackBenchmark = "LINPACK kernel",
        CoreBenchmark = "core benchmark (lists, matrix, state machine)",
        SystemCalls = "system calls",
        Fork = "fork",
        Remapping = "remapping, copies on write, forgotten and punched pages",
        Handover = "hand-over between threads",
        FalseSharing = "false sharing",
        RandomInstructions = "random instruction sequences",
        ImageCoding = "image coding",
        VideoCoding = "video coding",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Two words of one vocabulary that were spelt alike could not be told apart in JSON.
    fn check_spellings(words: impl ExactSizeIterator<Item = &'static str>) {
        let count = words.len();
        let spellings: BTreeSet<&str> = words.collect();
        assert_eq!(spellings.len(), count);
        assert!(
            spellings
                .iter()
                .all(|text| text.trim() == *text && !text.is_empty())
        );
    }

    #[test]
    fn each_word_has_a_spelling_of_its_own() {
        check_spellings(Unit::ALL.iter().map(|word| word.name()));
        check_spellings(DataType::ALL.iter().map(|word| word.name()));
        check_spellings(Algorithm::ALL.iter().map(|word| word.name()));
    }
}
