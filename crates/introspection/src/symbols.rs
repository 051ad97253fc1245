//! The kernel's symbols, as a guest's `/proc/kallsyms` lists them.
//!
//! ```text
//! ffffffff81000000 T _stext
//! ffffffffc0201000 t probe        [virtio_blk]
//! └ address        │ └ name       └ module: such symbols lie outside the image and are left out
//!                  └ type: upper case is global
//! ```
//!
//! The bytes come from the guest and are not trusted: a list that breaks a limit or the form is
//! refused whole, never half read. Names are reduced to printable ASCII. Symbols outside the
//! kernel's image (modules, absolute and per-CPU symbols) are left out: nothing here resolves to
//! them.

use crate::kallsyms::Kallsyms;
use crate::sections::{IMAGE_RANGE, Section, SectionKind, is_mark, lasting};
use std::fmt;
use std::ops::Range;
use thiserror::Error;

/// The most symbols that are read: about three times what a distribution's kernel with all its
/// modules lists.
pub const MAX_SYMBOLS: usize = 400_000;

/// The longest name, in bytes: the kernel's own `KSYM_NAME_LEN`.
pub const MAX_NAME_BYTES: usize = 512;

/// An address this far behind a symbol of a kind does not belong to it, in bytes: functions,
/// constants and variables of kernels are smaller. Behind the last constant lie texts that have no
/// symbol.
const fn most_bytes(kind: SectionKind) -> u64 {
    match kind {
        SectionKind::Text => 64 << 10,
        SectionKind::ReadOnlyData => 128 << 10,
        SectionKind::Data | SectionKind::Bss => 1 << 20,
    }
}

/// A table of the linker begins with a symbol of the first kind and ends with one of the second, and
/// is as large as it is.
const TABLE: (&str, &str) = ("__start_", "__stop_");

/// Room between symbols that may be the linker's, in bytes: more than any function has.
const LEAST_PADDING: u64 = 64 << 10;

/// What sections of the image that are mapped on their own are aligned to.
const ALIGNMENT: u64 = 2 << 20;

/// Whether a symbol marks an end, behind which it has nothing.
fn is_end(name: &str) -> bool {
    name.ends_with("_text_end") || name.starts_with(TABLE.1)
}

/// Why a list of symbols was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SymbolError {
    /// A line is not `address type name`.
    #[error("read kernel symbols: line {line} is not `address type name`")]
    Malformed {
        /// Which line, counted from 1.
        line: usize,
    },
    /// A name is longer than [`MAX_NAME_BYTES`].
    #[error("read kernel symbols: the name in line {line} is longer than {MAX_NAME_BYTES} bytes")]
    NameTooLong {
        /// Which line, counted from 1.
        line: usize,
    },
    /// There are more than [`MAX_SYMBOLS`] lines.
    #[error("read kernel symbols: more than {MAX_SYMBOLS} lines")]
    TooMany,
    /// Every address is 0: the guest's `kernel.kptr_restrict` hides them.
    #[error("read kernel symbols: every address is 0, so the guest hides them (kptr_restrict)")]
    Hidden,
    /// There is no symbol of the kernel's image.
    #[error("read kernel symbols: none lies in the kernel's image")]
    Empty,
}

/// What lives at an address: a symbol, and how far behind its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// The symbol's name.
    pub name: &'a str,
    /// Bytes from its start.
    pub offset: u64,
}

impl fmt::Display for Resolved<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}", self.name, self.offset)
    }
}

/// Symbols of the kernel's image, sorted by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolTable {
    /// By address; of equal addresses the best name comes last.
    symbols: Vec<Symbol>,
    sections: Vec<Section>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Symbol {
    address: u64,
    rank: Rank,
    name: Box<str>,
}

/// How good a name is among those of one address; the last is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Mark,
    Local,
    Global,
}

impl SymbolTable {
    /// Reads a list in the form of `/proc/kallsyms`. Empty lines are skipped.
    ///
    /// # Errors
    /// The list breaks its form or a limit, or names nothing of the kernel's image.
    pub fn parse_kallsyms(bytes: &[u8]) -> Result<Self, SymbolError> {
        let mut symbols = Vec::new();
        let mut all_zero = true;
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if index > MAX_SYMBOLS {
                return Err(SymbolError::TooMany);
            }
            let Some(symbol) = parse_line(line, index + 1)? else {
                continue;
            };
            all_zero &= symbol.address == 0;
            if IMAGE_RANGE.contains(&symbol.address) {
                symbols.push(symbol);
            }
        }
        match (symbols.is_empty(), all_zero && !bytes.is_empty()) {
            (true, true) => Err(SymbolError::Hidden),
            (true, false) => Err(SymbolError::Empty),
            (false, _) => Ok(Self::from_symbols(symbols)),
        }
    }

    /// Takes symbols out of a kernel's own tables; those outside the kernel's image are left out.
    #[must_use]
    pub fn from_kallsyms(kallsyms: &Kallsyms) -> Self {
        let inside = kallsyms
            .symbols
            .iter()
            .filter(|symbol| IMAGE_RANGE.contains(&symbol.address));
        let symbols =
            inside.map(|symbol| Symbol::new(symbol.address, symbol.kind, symbol.name.clone()));
        Self::from_symbols(symbols.collect())
    }

    /// How many symbols of the kernel's image there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether there is none; a parsed table never is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// The symbol that an address of a lasting section belongs to.
    ///
    /// That is the greatest symbol at or below the address, if it lies in the same section, begins
    /// something, and is not further before it than anything of that section is long, but for the
    /// linker's tables, whose ends are known. Anything else has no name.
    #[must_use]
    pub fn resolve(&self, address: u64) -> Option<Resolved<'_>> {
        let section = self.section_of(address)?;
        let nearest = self.nearest(address)?;
        let start = address - nearest.offset;
        let is_near =
            nearest.offset < most_bytes(section.kind) || self.is_in_table(nearest, address);
        let certain = section.range.contains(&start) && is_near && !is_end(nearest.name);
        certain.then_some(nearest)
    }

    /// Whether a symbol begins a table of the linker that reaches to an address.
    fn is_in_table(&self, symbol: Resolved<'_>, address: u64) -> bool {
        let table = symbol.name.strip_prefix(TABLE.0);
        let end = table.and_then(|table| self.address_of(&format!("{}{table}", TABLE.1)));
        end.is_some_and(|end| address < end)
    }

    /// The linker's table that an address belongs to, in a lasting section or not.
    #[must_use]
    pub fn table(&self, address: u64) -> Option<Resolved<'_>> {
        let nearest = self.nearest(address)?;
        self.is_in_table(nearest, address).then_some(nearest)
    }

    /// What an address lies between, where the linker left room: the symbol before and the one behind,
    /// if there is so much between them as is left for no variable's sake, up to where memory is mapped
    /// anew. Whether nothing is there, the content must tell.
    #[must_use]
    pub fn padding(&self, address: u64) -> Option<(&str, &str)> {
        let section = self.section_of(address)?;
        let above = self
            .symbols
            .partition_point(|symbol| symbol.address <= address);
        let (before, next) = (
            self.symbols.get(above.checked_sub(1)?)?,
            self.symbols.get(above)?,
        );
        let is_text = section.kind == SectionKind::Text;
        let is_wide = next.address - before.address >= LEAST_PADDING;
        let is_aligned = next.address.is_multiple_of(ALIGNMENT);
        (is_wide && (is_text || is_aligned)).then_some((&*before.name, &*next.name))
    }

    /// The greatest symbol at or below an address, whether or not the address belongs to it.
    #[must_use]
    pub fn nearest(&self, address: u64) -> Option<Resolved<'_>> {
        let above = self
            .symbols
            .partition_point(|symbol| symbol.address <= address);
        let symbol = self.symbols.get(above.checked_sub(1)?)?;
        Some(Resolved {
            name: &symbol.name,
            offset: address - symbol.address,
        })
    }

    /// Bytes from an address to the next symbol behind it, or to the end of its section.
    #[must_use]
    pub fn extent(&self, address: u64) -> Option<u64> {
        let end = self.section_of(address)?.range.end;
        let above = self
            .symbols
            .partition_point(|symbol| symbol.address <= address);
        let next = self.symbols.get(above).map_or(end, |next| next.address);
        next.min(end).checked_sub(address)
    }

    /// The symbols of the lasting sections by address, each with its name and the bytes up to the
    /// next; of several at one address the best name.
    pub fn variables(&self) -> impl Iterator<Item = (&str, Range<u64>)> {
        let next = self.symbols.iter().skip(1).map(|symbol| symbol.address);
        let next = next.chain(std::iter::once(u64::MAX));
        self.symbols.iter().zip(next).filter_map(|(symbol, next)| {
            let end = self.section_of(symbol.address)?.range.end.min(next);
            let range = symbol.address..end;
            (!range.is_empty()).then_some((&*symbol.name, range))
        })
    }

    /// The address of the first symbol of this name.
    #[must_use]
    pub fn address_of(&self, name: &str) -> Option<u64> {
        address_of(&self.symbols, name)
    }

    /// The lasting sections whose bounds are known.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The section that an address lies in.
    #[must_use]
    pub fn section_of(&self, address: u64) -> Option<&Section> {
        self.sections
            .iter()
            .find(|section| section.range.contains(&address))
    }

    /// The kernel's code, `_stext` to `_etext`, by kernel-virtual address.
    #[must_use]
    pub fn text_range(&self) -> Option<Range<u64>> {
        let text = |section: &&Section| section.kind == SectionKind::Text;
        Some(self.sections.iter().find(text)?.range.clone())
    }

    fn from_symbols(mut symbols: Vec<Symbol>) -> Self {
        // The sort is stable; reversing first makes the earliest of equal names the last.
        symbols.reverse();
        symbols.sort_by_key(|symbol| (symbol.address, symbol.rank));
        symbols.shrink_to_fit();
        let sections = lasting(|name| address_of(&symbols, name), &IMAGE_RANGE);
        Self { symbols, sections }
    }
}

fn address_of(symbols: &[Symbol], name: &str) -> Option<u64> {
    let symbol = symbols.iter().find(|symbol| &*symbol.name == name)?;
    Some(symbol.address)
}

fn parse_line(line: &[u8], number: usize) -> Result<Option<Symbol>, SymbolError> {
    let mut words = line
        .split(|byte| byte.is_ascii_whitespace())
        .filter(|word| !word.is_empty());
    let Some(address) = words.next() else {
        return Ok(None);
    };
    let malformed = SymbolError::Malformed { line: number };
    let (Some(address), Some([kind]), Some(name)) =
        (parse_hexadecimal(address), words.next(), words.next())
    else {
        return Err(malformed);
    };
    if !kind.is_ascii_alphabetic() && *kind != b'?' {
        return Err(malformed);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(SymbolError::NameTooLong { line: number });
    }
    let name = printable_name(name);
    Ok(Some(Symbol::new(address, *kind, name)))
}

impl Symbol {
    fn new(address: u64, kind: u8, name: Box<str>) -> Self {
        let rank = match (is_mark(&name), kind.is_ascii_uppercase()) {
            (true, _) => Rank::Mark,
            (false, false) => Rank::Local,
            (false, true) => Rank::Global,
        };
        Self {
            address,
            rank,
            name,
        }
    }
}

/// Digits only: `from_str_radix` alone would also take a sign.
fn parse_hexadecimal(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let only_digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    only_digits
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten()
}

/// A name in printable ASCII.
pub(crate) fn printable_name(name: &[u8]) -> Box<str> {
    let visible = |byte: &u8| {
        if byte.is_ascii_graphic() {
            char::from(*byte)
        } else {
            '?'
        }
    };
    name.iter().map(visible).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000000 t early_local
ffffffff81000000 T startup_64
ffffffff81000000 T later_global
ffffffff81000400 t helper
ffffffff81000800 T _etext
ffffffff81001000 D __start_rodata
ffffffff81001000 d constant
ffffffff81002000 D __end_rodata
ffffffff81004000 D _sdata
ffffffff81004000 D init_task
ffffffff81300000 D far
ffffffff81600000 D _edata
ffffffff81601000 T __init_begin
ffffffff81601010 T forgotten
ffffffff81602000 T __init_end
ffffffffc0000000 t module_function\t[module]
";

    fn table() -> SymbolTable {
        SymbolTable::parse_kallsyms(LIST.as_bytes()).unwrap()
    }

    fn check(address: u64, expected: Option<&str>) {
        let table = table();
        let found = table.resolve(address).map(|resolved| resolved.to_string());
        assert_eq!(found.as_deref(), expected, "{address:#x}");
    }

    #[test]
    fn an_address_belongs_to_the_symbol_at_or_below_it() {
        check(0xffff_ffff_8100_0010, Some("startup_64+0x10"));
        check(0xffff_ffff_8100_07ff, Some("helper+0x3ff"));
        check(0xffff_ffff_8100_1fff, Some("constant+0xfff"));
    }

    #[test]
    fn a_global_name_is_better_than_a_local_one_and_both_than_a_mark() {
        check(0xffff_ffff_8100_0000, Some("startup_64+0x0"));
        check(0xffff_ffff_8100_4000, Some("init_task+0x0"));
    }

    #[test]
    fn what_may_have_been_given_back_has_no_name() {
        check(0xffff_ffff_8100_0800, None);
        check(0xffff_ffff_8100_3000, None);
        check(0xffff_ffff_8160_1010, None);
    }

    #[test]
    fn what_is_far_behind_a_symbol_has_no_name() {
        check(
            0xffff_ffff_8100_4000 + most_bytes(SectionKind::Data) - 1,
            Some("init_task+0xfffff"),
        );
        check(0xffff_ffff_8100_4000 + most_bytes(SectionKind::Data), None);
    }

    #[test]
    fn outside_the_image_nothing_has_a_name() {
        check(0, None);
        check(0xffff_ffff_80ff_ffff, None);
        check(0xffff_ffff_c000_0000, None);
        check(u64::MAX, None);
    }

    #[test]
    fn names_and_ranges_are_found() {
        let table = table();
        assert_eq!(table.address_of("helper"), Some(0xffff_ffff_8100_0400));
        assert_eq!(table.address_of("module_function"), None);
        let text = table.text_range().unwrap();
        assert_eq!(text, 0xffff_ffff_8100_0000..0xffff_ffff_8100_0800);
        assert_eq!(table.sections().len(), 3);
        assert_eq!(table.len(), 17);
    }

    fn refused(list: &str, expected: &SymbolError) {
        assert_eq!(
            SymbolTable::parse_kallsyms(list.as_bytes()).as_ref(),
            Err(expected)
        );
    }

    #[test]
    fn what_breaks_the_form_is_refused() {
        let good = "ffffffff81000000 T _text\n";
        let malformed = SymbolError::Malformed { line: 2 };
        refused(&format!("{good}ffffffff81000000 T"), &malformed);
        refused(&format!("{good}zzz T name"), &malformed);
        refused(&format!("{good}+1 T name"), &malformed);
        refused(&format!("{good}11112222333344445 T name"), &malformed);
        refused(&format!("{good}ffffffff81000000 TT name"), &malformed);
        refused(&format!("{good}ffffffff81000000 5 name"), &malformed);
        let long = format!("ffffffff81000000 T {}", "x".repeat(MAX_NAME_BYTES + 1));
        refused(&long, &SymbolError::NameTooLong { line: 1 });
        refused(&"\n".repeat(MAX_SYMBOLS + 1), &SymbolError::TooMany);
    }

    #[test]
    fn hidden_and_absent_addresses_are_told_apart() {
        refused("0000000000000000 T _text\n", &SymbolError::Hidden);
        refused("", &SymbolError::Empty);
        refused("0000000000001000 A percpu\n", &SymbolError::Empty);
    }

    #[test]
    fn names_are_reduced_to_printable_ascii() {
        let list = b"ffffffff81000000 T a\x1b[31m\xff\n";
        let table = SymbolTable::parse_kallsyms(list).unwrap();
        assert_eq!(table.address_of("a?[31m?"), Some(0xffff_ffff_8100_0000));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), address: u64) {
            if let Ok(table) = SymbolTable::parse_kallsyms(&bytes) {
                let _resolved = table.resolve(address);
            }
        }

        #[test]
        fn no_list_makes_it_panic(list in "([0-9a-f]{1,17} [A-Za-z?] [_a-z]{1,9}(\t\\[m\\])?\n){0,9}") {
            if let Ok(table) = SymbolTable::parse_kallsyms(list.as_bytes()) {
                prop_assert!(!table.is_empty());
            }
        }

        #[test]
        fn resolving_is_what_a_search_line_by_line_says(
            addresses in prop::collection::btree_set(0xffff_ffff_8100_0000_u64..0xffff_ffff_8100_4000, 1..40),
            wanted in 0xffff_ffff_8100_0000_u64..0xffff_ffff_8100_4000,
        ) {
            let mut list = String::from("ffffffff81000000 T _stext\nffffffff81004000 T _etext\n");
            for address in &addresses {
                list.push_str(&format!("{address:x} t s{address:x}\n"));
            }
            let table = SymbolTable::parse_kallsyms(list.as_bytes()).unwrap();
            let expected = match addresses.range(..=wanted).next_back() {
                Some(address) => format!("s{address:x}+{:#x}", wanted - address),
                None => format!("_stext+{:#x}", wanted - 0xffff_ffff_8100_0000),
            };
            prop_assert_eq!(table.resolve(wanted).unwrap().to_string(), expected);
        }
    }
}
