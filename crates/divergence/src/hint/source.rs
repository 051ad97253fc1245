//! Where the published figures come from. Figures that stand in no abstract and whose paper was not
//! at hand say "as cited": they were read in another work.

/// Over 45 % of DRAM faults touch several bits, so at most 55 % a single one; the corrigendum of
/// 2024 (arXiv 2408.15302) raises the share of single bits.
pub(super) const DRAM: &str =
    "Beigi et al., A Systematic Study of DDR4 DRAM Faults in the Field, HPCA 2023";

/// 70 % of findings are bound to one physical core.
pub(super) const SILIFUZZ: &str = "Serebryany et al., SiliFuzz: Fuzzing CPUs by Proxy, 2021";

/// A mask is a pattern if more than 5 % of a defect's records share it; patterns of one, two and
/// more bits are 90, 8 and 2 % in 64-bit floats; 51.08 % of flips go from 0 to 1.
pub(super) const ALIBABA: &str = "Wang et al., Understanding Silent Data Corruptions in a Large \
     Production CPU Population, SOSP 2023, as cited";

/// Faults that are spread evenly over cores are not those of a core.
pub(super) const GOOGLE: &str = "Hochschild et al., Cores that don't count, HotOS 2021";

/// In faulty vector units several flipped bits are commoner than one.
pub(super) const PINDROP: &str = "PinDrop, HPCA 2026, as cited";
