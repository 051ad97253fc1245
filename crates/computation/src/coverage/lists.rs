//! What others screen processors with, list by list, and what of it this library does.
//!
//! | list | from |
//! |---|---|
//! | opendcdiag | the tests that Intel's OpenDCDiag declares, by their names |
//! | cpu-check | the items of Google's cpu-check, its list of what is to come included |
//! | silifuzz | the kinds of inputs that Google's `SiliFuzz` runs |
//! | mercurial-cores | the corpus of Hochschild et al., *Cores that don't count* (HotOS 2021) |
//! | fragile-features | the five of Wang et al., *Understanding Silent Data Corruptions* (SOSP 2023) |
//! | instruction-families | the nine of Meta's *PinDrop* (HPCA 2026), as cited |
//!
//! A row says what a class needs; which computations give it follows from their own entries, so
//! that a row cannot claim what no computation says of itself. A class that is not exercised has
//! the reason instead.

use super::Need::{self, Ext, Of, On, With};
use super::{Class, List};
use crate::coverage::Algorithm as A;
use crate::coverage::DataType as D;
use crate::coverage::Unit as U;

const fn by(list: List, name: &'static str, needs: &'static [Need]) -> Class {
    let reason = None;
    Class {
        list,
        name,
        needs,
        reason,
    }
}

const fn gap(list: List, name: &'static str, reason: &'static str) -> Class {
    let (needs, reason): (&[Need], _) = (&[], Some(reason));
    Class {
        list,
        name,
        needs,
        reason,
    }
}

/// Units that no computation exercises, with the reason.
pub(super) const UNITS: &[(U, &str)] = &[
    (U::DecoderCorners, NO_SEQUENCES),
    (U::Transactions, NOT_HELD),
    (U::MatrixTiles, NO_TILES),
];

/// Types of data that no computation has.
pub(super) const DATA_TYPES: &[(D, &str)] = &[];

/// Algorithms that no computation runs, with the reason.
pub(super) const ALGORITHMS: &[(A, &str)] = &[
    (A::Farm64, NO_FARM),
    (A::Brotli, NO_BROTLI),
    (A::RandomInstructions, NO_SEQUENCES),
];

const NO_TILES: &str =
    "tiles need leave of the kernel for each process, and QEMU's translator has none";
const FIRMWARE: &str =
    "reads counters of the firmware or starts its own scan, which takes a driver of the host";
const ACCELERATOR: &str = "runs on a graphics processor, not on the processor";
const NESTED: &str = "a machine within the machine needs hardware virtualisation in the guest, which is not repeatable under translation";
const NO_FARM: &str = "no library of this hash is kept up; other hashes exercise the same units";
const NOT_HELD: &str = "a transaction may abort at any time, so that its outcome is not repeatable";
const NO_HEAT: &str =
    "the point is heat and current of the host; a translated instruction draws none";
const OTHER_PROCESSOR: &str = "for another architecture";
const NO_COMPLEX: &str = "decompositions are of real numbers; Fourier transforms and products of matrices have complex ones";
const NO_BROTLI: &str =
    "five other compressors exercise the same units, and this one takes long to build";
const NO_SEQUENCES: &str = "no computation makes code while it runs yet";

/// All classes, list by list.
pub(super) const CLASSES: &[Class] = &[
    gap(List::OpenDcDiag, "smi_count", FIRMWARE),
    gap(List::OpenDcDiag, "mce_check", FIRMWARE),
    gap(List::OpenDcDiag, "ifs", FIRMWARE),
    gap(List::OpenDcDiag, "ifs_array_bist", FIRMWARE),
    gap(List::OpenDcDiag, "ifs_sbaf", FIRMWARE),
    by(List::OpenDcDiag, "openssl_sha: SHA-256", &[Of(A::Sha256)]),
    by(List::OpenDcDiag, "openssl_sha: SHA-384", &[Of(A::Sha384)]),
    by(List::OpenDcDiag, "openssl_sha: SHA-512", &[Of(A::Sha512)]),
    by(
        List::OpenDcDiag,
        "openssl_sha: random misalignment",
        &[With(A::Sha512, D::Bytes), On(U::Misaligned)],
    ),
    by(
        List::OpenDcDiag,
        "eigen_gemm_double14",
        &[With(A::MatrixProduct, D::F64)],
    ),
    by(
        List::OpenDcDiag,
        "eigen_gemm_double_dynamic_square",
        &[With(A::MatrixProduct, D::F64)],
    ),
    by(
        List::OpenDcDiag,
        "eigen_gemm_float_dynamic_square",
        &[With(A::MatrixProduct, D::F32)],
    ),
    by(
        List::OpenDcDiag,
        "eigen_gemm_cdouble_dynamic_square",
        &[With(A::MatrixProduct, D::ComplexF64)],
    ),
    by(
        List::OpenDcDiag,
        "eigen_sparse",
        &[With(A::SparseSolve, D::F64), Of(A::Cholesky)],
    ),
    by(
        List::OpenDcDiag,
        "eigen_svd",
        &[With(A::SingularValues, D::F32)],
    ),
    gap(List::OpenDcDiag, "eigen_svd_cdouble", NO_COMPLEX),
    gap(List::OpenDcDiag, "eigen_svd_cdouble_noavx512", NO_COMPLEX),
    by(
        List::OpenDcDiag,
        "eigen_svd_double",
        &[With(A::SingularValues, D::F64)],
    ),
    by(
        List::OpenDcDiag,
        "eigen_svd_double2",
        &[With(A::SingularValues, D::F64)],
    ),
    by(
        List::OpenDcDiag,
        "eigen_svd_fvectors",
        &[With(A::JacobiRotations, D::F32)],
    ),
    by(
        List::OpenDcDiag,
        "eigen_svd_jacobi",
        &[With(A::SingularValues, D::F32)],
    ),
    by(
        List::OpenDcDiag,
        "eigen_svd_jacobi_double",
        &[With(A::SingularValues, D::F64)],
    ),
    gap(List::OpenDcDiag, "eigen_svd_jacobi_cdouble", NO_COMPLEX),
    by(
        List::OpenDcDiag,
        "eigen_svd_jacobi_fvectors",
        &[With(A::JacobiRotations, D::F32)],
    ),
    by(List::OpenDcDiag, "zstd", &[Of(A::Zstandard3)]),
    by(List::OpenDcDiag, "zstd1", &[Of(A::Zstandard1)]),
    by(List::OpenDcDiag, "zstd19", &[Of(A::Zstandard19)]),
    by(
        List::OpenDcDiag,
        "zstd_aaa",
        &[Of(A::RunsOfOneByte), Of(A::Zstandard1)],
    ),
    by(List::OpenDcDiag, "zlib", &[Of(A::Deflate6)]),
    by(List::OpenDcDiag, "zlib1", &[Of(A::Deflate1)]),
    by(List::OpenDcDiag, "zlib9", &[Of(A::Deflate9)]),
    by(
        List::OpenDcDiag,
        "zlib_aaa",
        &[Of(A::RunsOfOneByte), Of(A::Deflate6)],
    ),
    by(List::OpenDcDiag, "zfuzz", &[Of(A::FuzzedStreams)]),
    gap(
        List::OpenDcDiag,
        "kvm guests (real, protected and long mode)",
        NESTED,
    ),
    gap(List::OpenDcDiag, "ze_matmul", ACCELERATOR),
    gap(List::OpenDcDiag, "ze_memcpy", ACCELERATOR),
    by(List::CpuCheck, "MD5", &[Of(A::Md5)]),
    by(List::CpuCheck, "SHA-1", &[Of(A::Sha1)]),
    by(List::CpuCheck, "SHA-256", &[Of(A::Sha256)]),
    by(List::CpuCheck, "SHA-512", &[Of(A::Sha512)]),
    by(List::CpuCheck, "Adler32", &[Of(A::Adler32)]),
    by(List::CpuCheck, "CRC32", &[Of(A::Crc32)]),
    by(
        List::CpuCheck,
        "CRC32C (SSE4.2)",
        &[Of(A::Crc32c), Ext("sse4.2")],
    ),
    gap(List::CpuCheck, "FarmHash64", NO_FARM),
    by(List::CpuCheck, "zlib level 1", &[Of(A::Deflate1)]),
    by(List::CpuCheck, "AES-256-GCM", &[Of(A::Aes256Gcm)]),
    by(List::CpuCheck, "copy: memcpy", &[Of(A::CopyMatrix)]),
    by(List::CpuCheck, "copy: REP MOVSB", &[On(U::StringMove)]),
    by(
        List::CpuCheck,
        "copy: SSE128",
        &[Of(A::CopyMatrix), Ext("sse2")],
    ),
    by(
        List::CpuCheck,
        "copy: AVX256",
        &[Of(A::CopyMatrix), Ext("avx")],
    ),
    by(
        List::CpuCheck,
        "copy: AVX512",
        &[Of(A::CopyMatrix), Ext("avx512f")],
    ),
    by(List::CpuCheck, "REP STOSB", &[On(U::StringMove)]),
    by(List::CpuCheck, "MADV_DONTNEED", &[Of(A::Remapping)]),
    by(List::CpuCheck, "cache flush", &[On(U::CacheFlush)]),
    by(List::CpuCheck, "misalignment", &[On(U::Misaligned)]),
    by(List::CpuCheck, "punched holes", &[Of(A::Remapping)]),
    by(
        List::CpuCheck,
        "pattern: systematic",
        &[Of(A::MarchPatterns)],
    ),
    by(List::CpuCheck, "pattern: random", &[Of(A::Sha256)]),
    by(List::CpuCheck, "pattern: text", &[Of(A::PatternSearch)]),
    by(
        List::CpuCheck,
        "pattern: grilled cheese",
        &[Of(A::MarchPatterns)],
    ),
    by(
        List::CpuCheck,
        "floating chaos: f32",
        &[With(A::LogisticMap, D::F32)],
    ),
    by(
        List::CpuCheck,
        "floating chaos: f64",
        &[With(A::LogisticMap, D::F64)],
    ),
    by(
        List::CpuCheck,
        "floating chaos: f80",
        &[With(A::LogisticMap, D::F80)],
    ),
    gap(List::CpuCheck, "heat: Avx256", NO_HEAT),
    gap(List::CpuCheck, "heat: Avx256FMA", NO_HEAT),
    gap(List::CpuCheck, "heat: Avx512", NO_HEAT),
    by(
        List::CpuCheck,
        "Silkscreen coherence",
        &[On(U::CacheCoherence), On(U::Atomics)],
    ),
    by(List::CpuCheck, "to come: movnti", &[On(U::NonTemporal)]),
    by(List::CpuCheck, "to come: prefetch", &[On(U::Prefetch)]),
    by(List::CpuCheck, "to come: movbe", &[Ext("movbe")]),
    by(
        List::CpuCheck,
        "to come: floating point",
        &[On(U::FloatMultiply), On(U::FloatAdd)],
    ),
    gap(List::CpuCheck, "to come: brotli", NO_BROTLI),
    gap(
        List::SiliFuzz,
        "random instruction sequences (x86-64)",
        NO_SEQUENCES,
    ),
    gap(List::SiliFuzz, "x87 sequences", NO_SEQUENCES),
    gap(List::SiliFuzz, "AVX sequences", NO_SEQUENCES),
    gap(List::SiliFuzz, "aarch64 and SVE sequences", OTHER_PROCESSOR),
    gap(List::SiliFuzz, "decoder corner cases", NO_SEQUENCES),
    by(List::SiliFuzz, "page-table proxy", &[On(U::PageTables)]),
    gap(
        List::SiliFuzz,
        "PMU-event proxy",
        "counts events of the host's processor to find inputs; the inputs are what runs",
    ),
    by(List::MercurialCores, "compression", &[Of(A::Zstandard3)]),
    by(List::MercurialCores, "hash", &[Of(A::Sha256)]),
    by(
        List::MercurialCores,
        "math",
        &[Of(A::Fourier), Of(A::MatrixProduct)],
    ),
    by(List::MercurialCores, "crypto", &[Of(A::Aes256Gcm)]),
    by(List::MercurialCores, "copying", &[Of(A::CopyMatrix)]),
    by(List::MercurialCores, "locking", &[On(U::Locks)]),
    by(List::MercurialCores, "fork", &[Of(A::Fork)]),
    by(List::MercurialCores, "system calls", &[Of(A::SystemCalls)]),
    by(
        List::FragileFeatures,
        "ALU",
        &[On(U::IntegerArithmetic), On(U::Shift)],
    ),
    by(
        List::FragileFeatures,
        "vector",
        &[On(U::IntegerVector), On(U::FloatVector)],
    ),
    by(
        List::FragileFeatures,
        "floating point",
        &[On(U::FloatAdd), On(U::FloatMultiply)],
    ),
    by(
        List::FragileFeatures,
        "cache coherence",
        &[On(U::CacheCoherence)],
    ),
    gap(List::FragileFeatures, "transactional memory", NOT_HELD),
    by(
        List::Families,
        "arithmetic",
        &[
            On(U::IntegerArithmetic),
            On(U::IntegerMultiply),
            On(U::IntegerDivide),
        ],
    ),
    by(
        List::Families,
        "concurrency",
        &[Of(A::Handover), On(U::ContextSwitches)],
    ),
    by(
        List::Families,
        "control path",
        &[On(U::Branches), On(U::IndirectBranches)],
    ),
    by(
        List::Families,
        "data move",
        &[On(U::LoadStore), On(U::StringMove)],
    ),
    by(
        List::Families,
        "FPU",
        &[On(U::FloatAdd), On(U::FloatMultiply)],
    ),
    by(
        List::Families,
        "special (crypto, codec)",
        &[
            On(U::Aes),
            On(U::Sha),
            On(U::Crc32),
            Of(A::ImageCoding),
            Of(A::VideoCoding),
        ],
    ),
    gap(List::Families, "transaction", NOT_HELD),
    by(
        List::Families,
        "vector",
        &[On(U::IntegerVector), On(U::FloatVector)],
    ),
    by(List::Families, "other", &[On(U::SystemCalls)]),
];
