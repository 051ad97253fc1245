//! Memory that a variable of the kernel points to: the tables and buffers that it took whole pages
//! for, by the name of the pointer. A page says nothing of whom it was taken for; the variable does.

use crate::kernel::GuestKernel;
use crate::memory::PAGE;
use crate::sections::SectionKind;
use std::collections::BTreeMap;

/// The most variables that are noted: eight bytes each, they fill 8 MiB.
const MAX_REFERENCES: usize = 1 << 20;

/// What the kernel takes as a whole begins at a cache line at least (`SMP_CACHE_BYTES`); other
/// words that look like pointers are none, or lead into the middle of something.
const ALIGNMENT: u64 = 64;

/// A stack that lies in the image's data: what is left on it points anywhere.
const STACK: &str = "init_stack";

/// Guest-physical addresses, each with the variable that points to it.
#[derive(Debug, Default)]
pub(crate) struct References(BTreeMap<u64, Box<str>>);

impl References {
    /// Finds the pointers in the image's data and bss.
    pub(crate) fn of(kernel: &GuestKernel<'_>) -> Self {
        let mut references = Self::default();
        let Some(base) = kernel.variable("page_offset_base") else {
            return references;
        };
        let memory_bytes = kernel.memory().pages().saturating_mul(PAGE);
        let sections = kernel.image().sections().iter();
        let variables =
            sections.filter(|one| matches!(one.kind, SectionKind::Data | SectionKind::Bss));
        for range in variables.map(|section| section.range.clone()) {
            for page in (range.start / PAGE * PAGE..range.end).step_by(PAGE as usize) {
                let mut bytes = [0; PAGE as usize];
                if kernel.read(page, &mut bytes).is_none() {
                    continue;
                }
                for (address, word) in (page..).step_by(8).zip(bytes.as_chunks().0) {
                    let to = u64::from_le_bytes(*word).wrapping_sub(base);
                    // The base itself is where memory begins, and nobody's.
                    let leads = (1..memory_bytes).contains(&to) && to % ALIGNMENT == 0;
                    if leads && range.contains(&address) {
                        references.note(kernel, address, to);
                    }
                }
            }
        }
        references
    }

    fn note(&mut self, kernel: &GuestKernel<'_>, variable: u64, to: u64) {
        if self.0.len() < MAX_REFERENCES
            && let Some(symbol) = kernel.image().resolve(variable)
            && symbol.name != STACK
        {
            let name = || match symbol.offset {
                0 => symbol.name.into(),
                _ => symbol.to_string().into(),
            };
            self.0.entry(to).or_insert_with(name);
        }
    }

    /// The nearest address at or before this one to which a variable points, and the variable.
    pub(crate) fn before(&self, physical: u64) -> Option<(u64, &str)> {
        let (to, name) = self.0.range(..=physical).next_back()?;
        Some((*to, name))
    }
}
