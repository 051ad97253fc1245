//! Where the published figures come from. Figures that stand in no abstract and whose paper was not
//! at hand say "as cited": they were read in another work. A ratio without a source is ours.

/// Over 45 % of DRAM faults touch several bits, so at most 55 % a single one; the corrigendum of
/// 2024 (arXiv 2408.15302) raises the share of single bits.
pub(super) const DRAM: &str =
    "Beigi et al., A Systematic Study of DDR4 DRAM Faults in the Field, HPCA 2023";

/// 70 % of findings are bound to one physical core; string instructions that stop early, and sticky
/// flags, are among them.
pub(super) const SILIFUZZ: &str = "Serebryany et al., SiliFuzz: Fuzzing CPUs by Proxy, 2021";

/// A mask is a pattern if more than 5 % of a defect's records share it; patterns of one, two and
/// more bits are 90, 8 and 2 % in 64-bit floats; 51.08 % of flips go from 0 to 1; the error of 99.9 %
/// of wrong doubles is below 0.02 %; 8 of 27 processors fail in coherence; rates rise with
/// temperature in 6 of 26.
pub(super) const ALIBABA: &str = "Wang et al., Understanding Silent Data Corruptions in a Large \
     Production CPU Population, SOSP 2023, as cited";

/// Faults that are spread evenly over cores are not those of a core; half of those that people accuse
/// are confirmed; an AES unit decrypted only what it had encrypted itself.
pub(super) const GOOGLE: &str = "Hochschild et al., Cores that don't count, HotOS 2021";

/// In faulty vector units nine of ten wrong results are of one element, and several flipped bits are
/// commoner than one; 0.0024 % of machines begin to fail in a quarter.
pub(super) const PINDROP: &str = "PinDrop, HPCA 2026, as cited";

/// Of 301 cases in fused multiply-add 178 have large errors and 65 a flipped sign; 98.5 % of events
/// are of one lane, and of the others 96 % of adjacent ones; 76 % of wrong gathers give valid data of
/// a wrong offset.
pub(super) const SEVI: &str = "SEVI, ASPLOS 2026, as cited";

/// A unit failed for arguments in which bit 23 was set.
pub(super) const FCOS: &str = "the FCOS defect, as cited by Serebryany et al., SiliFuzz, 2021";

/// Rates against exceptions: double faults 59 times as frequent on defective cores, invalid
/// instructions 18 times; two to three crashes for each silent corruption.
pub(super) const SENTINEL: &str = "Hardware Sentinel, ASPLOS 2025, as cited";

/// An emulator's instruction was found wrong by comparison with the processor.
pub(super) const HARPOCRATES: &str = "Harpocrates, ISCA 2024, as cited";

/// Of 14 defects 13 do not come back in a single instruction or basic block.
pub(super) const ITHICA: &str = "ITHICA, 2026, as cited";
