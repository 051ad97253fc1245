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

const FIRMWARE: &str =
    "reads counters of the firmware or starts its own scan, which takes a driver of the host";
const ACCELERATOR: &str = "runs on a graphics processor, not on the processor";
const NESTED: &str = "a machine within the machine needs hardware virtualisation in the guest, which is not repeatable under translation";
const NO_SVD: &str = "no singular value decomposition is in the library yet";
const NO_FARM: &str = "no library of this hash is kept up; other hashes exercise the same units";
const ONE_PROCESSOR: &str =
    "machines have one processor: what is repeatable to the bit cannot race";
const NOT_HELD: &str = "a transaction may abort at any time, so that its outcome is not repeatable";
const NO_HEAT: &str =
    "the point is heat and current of the host; a translated instruction draws none";
const OTHER_PROCESSOR: &str = "for another architecture";
const NOT_YET: &str = "no computation of the library does this yet";

/// All classes, list by list.
pub(super) const CLASSES: &[Class] = &[
    gap(List::OpenDcDiag, "smi_count", FIRMWARE),
    gap(List::OpenDcDiag, "mce_check", FIRMWARE),
    gap(List::OpenDcDiag, "ifs", FIRMWARE),
    gap(List::OpenDcDiag, "ifs_array_bist", FIRMWARE),
    gap(List::OpenDcDiag, "ifs_sbaf", FIRMWARE),
    by(List::OpenDcDiag, "openssl_sha: SHA-256", &[Of(A::Sha256)]),
    gap(List::OpenDcDiag, "openssl_sha: SHA-384", NOT_YET),
    gap(List::OpenDcDiag, "openssl_sha: SHA-512", NOT_YET),
    gap(
        List::OpenDcDiag,
        "openssl_sha: random misalignment",
        NOT_YET,
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
    gap(List::OpenDcDiag, "eigen_gemm_float_dynamic_square", NOT_YET),
    gap(
        List::OpenDcDiag,
        "eigen_gemm_cdouble_dynamic_square",
        NOT_YET,
    ),
    gap(List::OpenDcDiag, "eigen_sparse", NOT_YET),
    gap(List::OpenDcDiag, "eigen_svd", NO_SVD),
    gap(List::OpenDcDiag, "eigen_svd_cdouble", NO_SVD),
    gap(List::OpenDcDiag, "eigen_svd_cdouble_noavx512", NO_SVD),
    gap(List::OpenDcDiag, "eigen_svd_double", NO_SVD),
    gap(List::OpenDcDiag, "eigen_svd_double2", NO_SVD),
    gap(List::OpenDcDiag, "eigen_svd_fvectors", NO_SVD),
    gap(List::OpenDcDiag, "eigen_svd_jacobi", NO_SVD),
    gap(List::OpenDcDiag, "eigen_svd_jacobi_double", NO_SVD),
    gap(List::OpenDcDiag, "eigen_svd_jacobi_cdouble", NO_SVD),
    gap(List::OpenDcDiag, "eigen_svd_jacobi_fvectors", NO_SVD),
    by(List::OpenDcDiag, "zstd", &[Of(A::Zstandard3)]),
    gap(List::OpenDcDiag, "zstd1", NOT_YET),
    gap(List::OpenDcDiag, "zstd19", NOT_YET),
    gap(List::OpenDcDiag, "zstd_aaa", NOT_YET),
    gap(List::OpenDcDiag, "zlib", NOT_YET),
    gap(List::OpenDcDiag, "zlib1", NOT_YET),
    gap(List::OpenDcDiag, "zlib9", NOT_YET),
    gap(List::OpenDcDiag, "zlib_aaa", NOT_YET),
    gap(List::OpenDcDiag, "zfuzz", NOT_YET),
    gap(
        List::OpenDcDiag,
        "kvm guests (real, protected and long mode)",
        NESTED,
    ),
    gap(List::OpenDcDiag, "ze_matmul", ACCELERATOR),
    gap(List::OpenDcDiag, "ze_memcpy", ACCELERATOR),
    gap(List::CpuCheck, "MD5", NOT_YET),
    gap(List::CpuCheck, "SHA-1", NOT_YET),
    by(List::CpuCheck, "SHA-256", &[Of(A::Sha256)]),
    gap(List::CpuCheck, "SHA-512", NOT_YET),
    gap(List::CpuCheck, "Adler32", NOT_YET),
    by(List::CpuCheck, "CRC32", &[Of(A::Crc32)]),
    by(
        List::CpuCheck,
        "CRC32C (SSE4.2)",
        &[Of(A::Crc32c), Ext("sse4.2")],
    ),
    gap(List::CpuCheck, "FarmHash64", NO_FARM),
    gap(List::CpuCheck, "zlib level 1", NOT_YET),
    by(List::CpuCheck, "AES-256-GCM", &[Of(A::Aes256Gcm)]),
    gap(List::CpuCheck, "copy: memcpy", NOT_YET),
    gap(List::CpuCheck, "copy: REP MOVSB", NOT_YET),
    gap(List::CpuCheck, "copy: SSE128", NOT_YET),
    gap(List::CpuCheck, "copy: AVX256", NOT_YET),
    gap(List::CpuCheck, "copy: AVX512", NOT_YET),
    gap(List::CpuCheck, "REP STOSB", NOT_YET),
    gap(List::CpuCheck, "MADV_DONTNEED", NOT_YET),
    gap(List::CpuCheck, "cache flush", NOT_YET),
    gap(List::CpuCheck, "misalignment", NOT_YET),
    gap(List::CpuCheck, "punched holes", NOT_YET),
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
    gap(List::CpuCheck, "floating chaos: f32", NOT_YET),
    gap(List::CpuCheck, "floating chaos: f64", NOT_YET),
    gap(List::CpuCheck, "floating chaos: f80", NOT_YET),
    gap(List::CpuCheck, "heat: Avx256", NO_HEAT),
    gap(List::CpuCheck, "heat: Avx256FMA", NO_HEAT),
    gap(List::CpuCheck, "heat: Avx512", NO_HEAT),
    gap(List::CpuCheck, "Silkscreen coherence", ONE_PROCESSOR),
    gap(List::CpuCheck, "to come: movnti", NOT_YET),
    gap(List::CpuCheck, "to come: prefetch", NOT_YET),
    gap(List::CpuCheck, "to come: movbe", NOT_YET),
    by(
        List::CpuCheck,
        "to come: floating point",
        &[On(U::FloatMultiply), On(U::FloatAdd)],
    ),
    gap(List::CpuCheck, "to come: brotli", NOT_YET),
    gap(
        List::SiliFuzz,
        "random instruction sequences (x86-64)",
        NOT_YET,
    ),
    gap(List::SiliFuzz, "x87 sequences", NOT_YET),
    gap(List::SiliFuzz, "AVX sequences", NOT_YET),
    gap(List::SiliFuzz, "aarch64 and SVE sequences", OTHER_PROCESSOR),
    gap(List::SiliFuzz, "decoder corner cases", NOT_YET),
    gap(List::SiliFuzz, "page-table proxy", NOT_YET),
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
    gap(List::MercurialCores, "copying", NOT_YET),
    by(List::MercurialCores, "locking", &[On(U::Locks)]),
    by(List::MercurialCores, "fork", &[Of(A::Fork)]),
    by(List::MercurialCores, "system calls", &[Of(A::SystemCalls)]),
    by(
        List::FragileFeatures,
        "ALU",
        &[On(U::IntegerArithmetic), On(U::Shift)],
    ),
    gap(List::FragileFeatures, "vector", NOT_YET),
    by(
        List::FragileFeatures,
        "floating point",
        &[On(U::FloatAdd), On(U::FloatMultiply)],
    ),
    gap(List::FragileFeatures, "cache coherence", ONE_PROCESSOR),
    gap(List::FragileFeatures, "transactional memory", NOT_HELD),
    by(List::Families, "arithmetic", &[On(U::IntegerArithmetic)]),
    by(
        List::Families,
        "concurrency",
        &[Of(A::Handover), On(U::ContextSwitches)],
    ),
    by(List::Families, "control path", &[On(U::Branches)]),
    by(List::Families, "data move", &[On(U::LoadStore)]),
    by(
        List::Families,
        "FPU",
        &[On(U::FloatAdd), On(U::FloatMultiply)],
    ),
    by(
        List::Families,
        "special (crypto, codec)",
        &[On(U::Aes), On(U::Sha), On(U::Crc32)],
    ),
    gap(List::Families, "transaction", NOT_HELD),
    gap(List::Families, "vector", NOT_YET),
    by(List::Families, "other", &[On(U::SystemCalls)]),
];
