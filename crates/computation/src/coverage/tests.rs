//! No class of another tool's list is absent, and no entry claims what nobody knows.

use super::*;
use std::collections::BTreeSet;

/// The lists once more, as the tools themselves have them: what the table must name.
const NAMED: [(List, &str); 6] = [
    (
        List::OpenDcDiag,
        "smi_count mce_check ifs ifs_array_bist ifs_sbaf openssl_sha eigen_gemm_double14 \
         eigen_gemm_cdouble_dynamic_square eigen_gemm_double_dynamic_square \
         eigen_gemm_float_dynamic_square eigen_sparse eigen_svd eigen_svd_cdouble \
         eigen_svd_cdouble_noavx512 eigen_svd_double eigen_svd_double2 eigen_svd_fvectors \
         eigen_svd_jacobi eigen_svd_jacobi_double eigen_svd_jacobi_cdouble \
         eigen_svd_jacobi_fvectors zstd zstd1 zstd19 zstd_aaa zlib zlib1 zlib9 zlib_aaa zfuzz kvm \
         ze_matmul ze_memcpy",
    ),
    (
        List::CpuCheck,
        "MD5 SHA-1 SHA-256 SHA-512 Adler32 CRC32 CRC32C FarmHash64 zlib AES-256-GCM memcpy MOVSB \
         SSE128 AVX256 AVX512 STOSB MADV_DONTNEED flush misalignment holes systematic random text \
         cheese f32 f64 f80 Avx256 Avx256FMA Avx512 Silkscreen movnti prefetch movbe floating \
         brotli",
    ),
    (
        List::SiliFuzz,
        "x86-64 x87 AVX aarch64 SVE decoder page-table PMU-event",
    ),
    (
        List::MercurialCores,
        "compression hash math crypto copying locking fork calls",
    ),
    (
        List::FragileFeatures,
        "ALU vector point coherence transactional",
    ),
    (
        List::Families,
        "arithmetic concurrency control move FPU special transaction vector other",
    ),
];

#[test]
fn no_class_is_absent_from_the_matrix() {
    let classes = classes();
    for class in &classes {
        assert_ne!(
            class.standing,
            Standing::Absent,
            "{} {}",
            class.list,
            class.name
        );
        match &class.standing {
            Standing::Exercised(by) => assert!(!by.is_empty()),
            Standing::NotExercised(reason) => assert!(reason.len() > 10),
            Standing::Absent => {}
        }
    }
    for (list, names) in NAMED {
        let rows: Vec<&str> = classes
            .iter()
            .filter(|row| row.list == list)
            .map(|row| row.name)
            .collect();
        for name in names.split_whitespace() {
            let is_named = |row: &&str| {
                row.split([' ', '(', ')', ':', ','])
                    .any(|word| word == name)
            };
            assert!(rows.iter().any(is_named), "{list}: {name}");
        }
    }
    let rows: BTreeSet<(List, &str)> = classes.iter().map(|row| (row.list, row.name)).collect();
    assert_eq!(rows.len(), classes.len(), "a class stands twice");
}

#[test]
fn a_class_that_nothing_gives_is_absent_without_a_reason() {
    let class = |needs, reason| Class {
        list: List::CpuCheck,
        name: "any",
        needs,
        reason,
    };
    let stands = |class: &Class| standing(class, catalogue());
    let given: &[Need] = &[Need::Of(Algorithm::Sha256)];
    let not_given: &[Need] = &[Need::On(Unit::Sha), Need::Of(Algorithm::Farm64)];
    assert!(matches!(
        stands(&class(given, None)),
        Standing::Exercised(_)
    ));
    assert_eq!(stands(&class(not_given, None)), Standing::Absent);
    assert_eq!(stands(&class(&[], None)), Standing::Absent);
    let because = Some("a reason");
    assert_eq!(
        stands(&class(&[], because)),
        Standing::NotExercised("a reason")
    );
}

#[test]
fn every_word_is_exercised_or_explained_and_never_both() {
    fn check(word: &str, by: &[&str], reason: Option<&str>) {
        assert_eq!(by.is_empty(), reason.is_some(), "{word}: {by:?}");
        assert!(reason.is_none_or(|reason| reason.len() > 10), "{word}");
    }
    for unit in Unit::ALL {
        let by = computations(|entry| entry.units.contains(unit));
        check(unit.name(), &by, no_unit(*unit));
    }
    for data_type in DataType::ALL {
        let by = computations(|entry| entry.data_types.contains(data_type));
        check(data_type.name(), &by, no_data_type(*data_type));
    }
    for algorithm in Algorithm::ALL {
        let by = computations(|entry| entry.algorithms.contains(algorithm));
        check(algorithm.name(), &by, no_algorithm(*algorithm));
    }
}

#[test]
fn entries_say_what_they_exercise_once_and_in_known_words() {
    fn check<T: Ord + Copy>(entry: &Descriptor, words: &[T]) {
        let distinct: BTreeSet<T> = words.iter().copied().collect();
        assert_eq!(distinct.len(), words.len(), "{}", entry.name);
    }
    for entry in catalogue() {
        check(entry, entry.units);
        check(entry, entry.data_types);
        check(entry, entry.algorithms);
        check(entry, entry.extensions);
        assert!(!entry.data_types.is_empty() && !entry.algorithms.is_empty());
        for name in entry.extensions {
            assert!(EXTENSIONS.iter().any(|known| known.name == *name), "{name}");
            assert!(!NOT_REPEATABLE.contains(name), "{name} is not repeatable");
        }
    }
}

#[test]
fn what_a_processor_has_is_told_with_who_executes_it() {
    let named = |name: &str| EXTENSIONS.iter().find(|one| one.name == name).unwrap();
    let present = [named("aes"), named("amx-tile"), named("rdrand")];
    let [aes, tiles, random] = extensions(&present).try_into().unwrap();
    assert_eq!((aes.computations, aes.repeatable), (vec!["aes"], true));
    assert_eq!((tiles.computations, tiles.repeatable), (vec![], true));
    assert_eq!((random.computations, random.repeatable), (vec![], false));
}
