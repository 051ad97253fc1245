//! Text that others wrote, made harmless.
//!
//! Escaping alone leaves characters that no one sees and that steer what is seen: control
//! characters, marks that turn the direction of text, characters without width. They are shown by
//! their number.

use maud::{Markup, Render, html};

/// Characters of one value that are shown unless asked otherwise.
const SHOWN_CHARACTERS: usize = 256;

/// Hidden characters of one value that are shown by number; each takes the room of many.
const SHOWN_HIDDEN: usize = 12;

/// What stands for the hidden characters after those.
const REPLACEMENT: char = '\u{fffd}';

/// Outside text, to be shown as it is: escaped, bounded, and without hidden characters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inert<'a> {
    text: &'a str,
    limit: usize,
}

impl<'a> Inert<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self {
            text,
            limit: SHOWN_CHARACTERS,
        }
    }

    /// The text, of which at most so many characters are shown.
    pub(super) const fn up_to(text: &'a str, limit: usize) -> Self {
        Self { text, limit }
    }
}

impl Render for Inert<'_> {
    fn render(&self) -> Markup {
        let mut shown = self.text.chars();
        let pieces: Vec<Piece> = pieces(shown.by_ref().take(self.limit));
        let cut = shown.next().is_some();
        html! {
            @for piece in &pieces {
                @match piece {
                    Piece::Plain(text) => (text),
                    Piece::Hidden(character) => {
                        span.hidden-character { (format!("U+{:04X}", u32::from(*character))) }
                    }
                }
            }
            @if cut { "…" }
        }
    }
}

/// A stretch of what can be shown, or one character that cannot.
enum Piece {
    Plain(String),
    Hidden(char),
}

fn pieces(text: impl Iterator<Item = char>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut hidden = 0;
    for character in text {
        let hides = is_hidden(character);
        hidden += usize::from(hides);
        let character = if hidden > SHOWN_HIDDEN && hides {
            REPLACEMENT
        } else {
            character
        };
        if is_hidden(character) {
            pieces.push(Piece::Hidden(character));
        } else if let Some(Piece::Plain(text)) = pieces.last_mut() {
            text.push(character);
        } else {
            pieces.push(Piece::Plain(character.into()));
        }
    }
    pieces
}

fn is_hidden(character: char) -> bool {
    character.is_control() || computation::job::is_hidden(character)
}

/// A figure with its word: `1 page`, `4,196 pages`.
pub(super) fn figure(count: u64, one: &str, many: &str) -> String {
    let word = if count == 1 { one } else { many };
    format!("{} {word}", super::super::count(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        Inert::new(text).render().into_string()
    }

    #[test]
    fn marks_of_the_page_are_escaped() {
        assert_eq!(
            shown("\"><script>alert(1)</script>"),
            "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"
        );
    }

    #[test]
    fn what_steers_the_display_is_shown_by_number() {
        assert_eq!(
            shown("a\u{202e}\u{1b}b"),
            "a<span class=\"hidden-character\">U+202E</span>\
             <span class=\"hidden-character\">U+001B</span>b"
        );
    }

    #[test]
    fn many_hidden_characters_take_little_room() {
        let page = shown(&"\u{e0001}".repeat(200));
        assert_eq!(page.matches("U+E0001").count(), SHOWN_HIDDEN);
        assert_eq!(page.matches(REPLACEMENT).count(), 200 - SHOWN_HIDDEN);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let text = "ä".repeat(5);
        assert_eq!(Inert::up_to(&text, 4).render().into_string(), "ääää…");
        assert_eq!(Inert::up_to(&text, 5).render().into_string(), text);
    }

    proptest! {
        #[test]
        fn no_text_brings_a_tag_or_a_hidden_character(text in any::<String>()) {
            let page = shown(&text);
            let ours = ["<span class=\"hidden-character\">", "</span>"];
            let rest = ours.iter().fold(page, |page, tag| page.replace(tag, ""));
            prop_assert!(!rest.contains('<') && !rest.contains('>'));
            prop_assert!(!rest.chars().any(is_hidden));
        }
    }
}
