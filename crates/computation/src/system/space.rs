//! What the `mappings` computation asks of the part of an operating system that maps memory, and a
//! model of one that works.
//!
//! ```text
//! memory        pages, all zero at first
//! window 0 … 2  slots, each of which shows any page of the memory, read and written in place
//! window 3      slots that show a page until they are written to: then they hold a copy of their own
//! window 4      slots that hold memory of their own, all zero at first
//! ```
//!
//! A slot of windows 0 to 3 shows the page of its own number at first.

use super::{Fault, Work};

/// The bytes of a page.
pub type Page = [u8; model::PAGE_BYTES];

/// Windows whose slots show pages as they are.
pub const SHARED: usize = 3;
/// The window whose slots copy on write.
pub const COPYING: usize = SHARED;
/// The window with memory of its own.
pub const OWN: usize = SHARED + 1;
/// All windows.
pub const WINDOWS: usize = OWN + 1;

/// A slot of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The window, below [`WINDOWS`].
    pub window: usize,
    /// The slot in it, below the number of pages.
    pub index: usize,
}

/// Memory that is seen through windows. What does not exist is a [`Fault`] with number 22, as is a
/// call that the window has no meaning for.
pub trait Space {
    /// Lets a slot show another page; what it held itself is gone. Not of window [`OWN`].
    ///
    /// # Errors
    /// The system's.
    fn place(&mut self, slot: Slot, page: usize) -> Result<(), Fault>;

    /// As `place`, while another thread, on another processor where there is one, looks at the slot
    /// before and after: what it saw.
    ///
    /// # Errors
    /// The system's.
    fn place_seen(&mut self, slot: Slot, page: usize, seen: [&mut Page; 2]) -> Result<(), Fault>;

    /// Reads what a slot shows.
    ///
    /// # Errors
    /// The system's.
    fn look(&self, slot: Slot, into: &mut Page) -> Result<(), Fault>;

    /// Exchanges what a slot shows for these bytes.
    ///
    /// # Errors
    /// The system's.
    fn exchange(&mut self, slot: Slot, bytes: &mut Page) -> Result<(), Fault>;

    /// Takes the leave to write from a slot, reads it, and gives the leave back.
    ///
    /// # Errors
    /// The system's.
    fn look_sealed(&mut self, slot: Slot, into: &mut Page) -> Result<(), Fault>;

    /// Forgets what a slot holds itself: it shows its page again, or zeros in window [`OWN`].
    ///
    /// # Errors
    /// The system's.
    fn forget(&mut self, slot: Slot) -> Result<(), Fault>;

    /// Makes a hole of a page of the memory: it is zeros wherever it is shown.
    ///
    /// # Errors
    /// The system's.
    fn punch(&mut self, page: usize) -> Result<(), Fault>;

    /// Lets a child process do the work in a slot of windows [`COPYING`] or [`OWN`], in place, and
    /// gives what the child then saw. Nothing of it is seen here.
    ///
    /// # Errors
    /// The system's.
    fn in_child(&mut self, slot: Slot, into: &mut Page, work: Work) -> Result<(), Fault>;
}

/// What there is not, or makes no sense: `EINVAL`.
pub const INVALID: Fault = Fault(22);

/// A slot of the model: the page that it shows, and what it holds instead.
#[derive(Debug, Clone)]
struct Seen {
    page: usize,
    held: Option<Box<Page>>,
}

/// A space that works, in memory.
#[derive(Debug)]
pub(super) struct ModelSpace {
    memory: Vec<Page>,
    windows: Vec<Vec<Seen>>,
}

const ZEROS: Page = [0; model::PAGE_BYTES];

impl ModelSpace {
    pub(super) fn new(pages: usize) -> Self {
        let seen = |page| Seen { page, held: None };
        Self {
            memory: vec![ZEROS; pages],
            windows: vec![(0..pages).map(seen).collect(); WINDOWS],
        }
    }

    fn seen(&self, slot: Slot) -> Result<&Seen, Fault> {
        let window = self.windows.get(slot.window).ok_or(INVALID)?;
        window.get(slot.index).ok_or(INVALID)
    }

    fn seen_mut(&mut self, slot: Slot) -> Result<&mut Seen, Fault> {
        let window = self.windows.get_mut(slot.window).ok_or(INVALID)?;
        window.get_mut(slot.index).ok_or(INVALID)
    }
}

impl Space for ModelSpace {
    fn place(&mut self, slot: Slot, page: usize) -> Result<(), Fault> {
        if page >= self.memory.len() || slot.window == OWN {
            return Err(INVALID);
        }
        *self.seen_mut(slot)? = Seen { page, held: None };
        Ok(())
    }

    fn place_seen(&mut self, slot: Slot, page: usize, seen: [&mut Page; 2]) -> Result<(), Fault> {
        let [before, after] = seen;
        self.look(slot, before)?;
        self.place(slot, page)?;
        self.look(slot, after)
    }

    fn look(&self, slot: Slot, into: &mut Page) -> Result<(), Fault> {
        let seen = self.seen(slot)?;
        *into = match &seen.held {
            Some(held) => **held,
            None if slot.window == OWN => ZEROS,
            None => *self.memory.get(seen.page).ok_or(INVALID)?,
        };
        Ok(())
    }

    fn exchange(&mut self, slot: Slot, bytes: &mut Page) -> Result<(), Fault> {
        let mut before = ZEROS;
        self.look(slot, &mut before)?;
        if slot.window < SHARED {
            let page = self.seen(slot)?.page;
            *self.memory.get_mut(page).ok_or(INVALID)? = *bytes;
        } else {
            self.seen_mut(slot)?.held = Some(Box::new(*bytes));
        }
        *bytes = before;
        Ok(())
    }

    fn look_sealed(&mut self, slot: Slot, into: &mut Page) -> Result<(), Fault> {
        self.look(slot, into)
    }

    fn forget(&mut self, slot: Slot) -> Result<(), Fault> {
        self.seen_mut(slot)?.held = None;
        Ok(())
    }

    fn punch(&mut self, page: usize) -> Result<(), Fault> {
        self.memory.get_mut(page).ok_or(INVALID)?.fill(0);
        Ok(())
    }

    fn in_child(&mut self, slot: Slot, into: &mut Page, work: Work) -> Result<(), Fault> {
        if slot.window < SHARED {
            return Err(INVALID);
        }
        self.look(slot, into)?;
        work(into);
        Ok(())
    }
}
