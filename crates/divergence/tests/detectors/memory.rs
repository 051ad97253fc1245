//! Memory: the first and the last byte, pages that one replica alone changed or did not change,
//! full images, and every width of fault.

use crate::case::{Case, Fault, PAGES, cases, flip, pages};
use model::{FindingKind, PAGE_BYTES, Part, Verdict};
use state::{ChangedPages, Memory, TerminalState};

fn latent(locus: &'static str, fault: Fault) -> Case {
    Case::named(FindingKind::LatentDifference, Part::Memory, locus, fault)
}

/// All of a replica's memory as one image, which holds the same.
fn as_image(state: &mut TerminalState) {
    let Memory::Changed(changed) = &state.memory else {
        panic!("the memory is not changed pages");
    };
    let mut image = vec![0; 64 * PAGE_BYTES];
    for (number, page) in changed.numbers().iter().zip(changed.pages()) {
        let start = *number as usize * PAGE_BYTES;
        image[start..start + PAGE_BYTES].copy_from_slice(page);
    }
    state.memory = Memory::Full(image);
}

/// The pages that all change, and one more with this content.
fn with_page(state: &mut TerminalState, number: u64, byte: u8) {
    let mut all: Vec<(u64, Vec<u8>)> = pages(&PAGES)
        .numbers()
        .iter()
        .zip(pages(&PAGES).pages())
        .map(|(number, page)| (*number, page.to_vec()))
        .collect();
    let mut page = vec![0; PAGE_BYTES];
    page[PAGE_BYTES - 1] = byte;
    all.push((number, page));
    all.sort();
    let numbers = all.iter().map(|(number, _)| *number).collect();
    let bytes = all.into_iter().flat_map(|(_, page)| page).collect();
    state.memory = Memory::Changed(ChangedPages::new(numbers, bytes).unwrap());
}

fn wild(state: &mut TerminalState) {
    for address in 0x3000..0x4000 {
        flip(state, address, 0xff);
    }
}

cases! {
    the_lowest_bit_of_the_first_byte => latent("0x0", |state| flip(state, 0, 1));
    the_highest_bit_of_the_last_byte => latent("0x3fff8", |state| flip(state, 0x3ffff, 0x80));
    the_last_byte_of_a_page => latent("0x2ff8", |state| flip(state, 0x2fff, 1));
    the_first_byte_of_a_page => latent("0x3000", |state| flip(state, 0x3000, 1));
    the_middle_byte_of_a_word => latent("0x2010", |state| flip(state, 0x2014, 0x10));
    two_bits_of_one_byte => latent("0x2000", |state| flip(state, 0x2001, 0x81));
    all_bits_of_one_byte => latent("0x2000", |state| flip(state, 0x2007, 0xff));
    words_of_two_pages => latent("0x2008", |state| {
        flip(state, 0x3008, 4);
        flip(state, 0x2008, 4);
    });
    a_whole_page => latent("0x3000", wild);
    bytes_on_both_sides_of_a_page_boundary => latent("0x2ff8", |state| {
        flip(state, 0x2fff, 1);
        flip(state, 0x3000, 1);
    });
    two_words_that_were_swapped => latent("0x2000", |state| {
        // 2 in page 2 and 3 in page 3 exchange their places.
        flip(state, 0x2000, 2 ^ 3);
        flip(state, 0x3000, 2 ^ 3);
    });
    a_page_that_one_alone_did_not_change => latent("0x3f000", |state| {
        state.memory = Memory::Changed(pages(&PAGES[..3]));
    });
    no_page_changed_in_one => latent("0x0", |state| {
        state.memory = Memory::Changed(ChangedPages::default());
    });
    a_page_that_one_alone_changed => latent("0x9ff8", |state| with_page(state, 9, 1));
    a_page_that_one_alone_wrote_with_what_it_held =>
        Case::silent(3, vec![(1, |state| with_page(state, 9, 0))], Verdict::Pass);
    a_full_image_that_holds_the_same => Case::silent(3, vec![(1, as_image)], Verdict::Pass);
    a_flip_in_a_full_image_among_changed_pages => latent("0x3fff8", |state| {
        flip(state, 0x3fff8, 1);
        as_image(state);
    });
    a_flip_in_a_page_that_a_full_image_alone_shows => latent("0x9000", |state| {
        as_image(state);
        if let Memory::Full(image) = &mut state.memory {
            image[0x9000] = 1;
        }
    });
    a_flip_in_the_first_of_five => latent("0x2008", |state| flip(state, 0x2008, 1)).in_replica(0, 5);
    a_flip_in_the_last_of_five => latent("0x2008", |state| flip(state, 0x2008, 1)).in_replica(4, 5);
    a_flip_in_one_of_two => latent("0x2008", |state| flip(state, 0x2008, 1)).of_two();
    a_flip_in_the_last_of_sixty_four =>
        latent("0x2008", |state| flip(state, 0x2008, 1)).in_replica(63, 64);
}
