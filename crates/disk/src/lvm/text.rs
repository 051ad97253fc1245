//! The text in which LVM keeps its metadata.
//!
//! ```text
//!  name { key = 1  key = "text"  key = ["a", 1]  name { … } }     # and remarks to the line's end
//! ```
//!
//! What opens a section within a section counts as depth; there are limits on that, and on how many
//! things there are.

use std::collections::BTreeMap;

use crate::lvm::LvmError;

/// How deep sections may lie in each other; LVM writes four.
const MAX_DEPTH: u32 = 16;

/// How many keys, sections and values there may be: a group of a thousand volumes has some 20,000.
const MAX_ITEMS: u32 = 1 << 20;

/// A value or a section.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// A whole number. LVM writes a few with a fraction, which nobody needs here.
    Number(i64),
    /// Text.
    Text(String),
    /// A list of numbers and texts.
    List(Vec<Item>),
    /// Named things. The later of two of one name counts, as in LVM.
    Section(BTreeMap<String, Item>),
}

impl Item {
    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Item> {
        match self {
            Self::Section(items) => items.get(name),
            _ => None,
        }
    }

    pub(super) fn sections(&self) -> impl Iterator<Item = (&String, &Item)> {
        let items = match self {
            Self::Section(items) => Some(items),
            _ => None,
        };
        let items = items.into_iter().flatten();
        items.filter(|(_, item)| matches!(item, Item::Section(_)))
    }
}

/// Reads a text.
pub(super) fn parse(text: &str) -> Result<Item, LvmError> {
    let mut reader = Reader {
        text,
        rest: text.chars().peekable(),
        items: 0,
    };
    let items = reader.section(0)?;
    match reader.rest.next() {
        None => Ok(Item::Section(items)),
        Some(_) => Err(reader.wrong("a bracket closes that nothing has opened")),
    }
}

struct Reader<'a> {
    text: &'a str,
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    items: u32,
}

impl Reader<'_> {
    fn wrong(&self, rule: &'static str) -> LvmError {
        let left: usize = self.rest.clone().map(char::len_utf8).sum();
        LvmError::Text {
            byte: self.text.len().saturating_sub(left),
            rule,
        }
    }

    fn skip(&mut self) {
        while let Some(next) = self.rest.peek() {
            match next {
                '#' => while self.rest.next_if(|next| *next != '\n').is_some() {},
                next if next.is_whitespace() || *next == '\0' => drop(self.rest.next()),
                _ => return,
            }
        }
    }

    fn count(&mut self) -> Result<(), LvmError> {
        self.items = self.items.saturating_add(1);
        match self.items > MAX_ITEMS {
            true => Err(self.wrong("it has more things than any group of volumes")),
            false => Ok(()),
        }
    }

    /// What comes up to a closing bracket, which stays, or up to the end.
    fn section(&mut self, depth: u32) -> Result<BTreeMap<String, Item>, LvmError> {
        let mut items = BTreeMap::new();
        if depth > MAX_DEPTH {
            return Err(self.wrong("sections lie too deep in each other"));
        }
        loop {
            self.skip();
            match self.rest.peek() {
                None | Some('}') => return Ok(items),
                Some(_) => {}
            }
            self.count()?;
            let name = self.name()?;
            self.skip();
            let item = match self.rest.next() {
                Some('=') => self.value()?,
                Some('{') => {
                    let items = self.section(depth.saturating_add(1))?;
                    match self.rest.next() {
                        Some('}') => Item::Section(items),
                        _ => return Err(self.wrong("a section does not end")),
                    }
                }
                _ => return Err(self.wrong("neither a value nor a section follows a name")),
            };
            items.insert(name, item);
        }
    }

    fn name(&mut self) -> Result<String, LvmError> {
        let mut name = String::new();
        let is_name = |next: &char| next.is_ascii_alphanumeric() || "_-+./@".contains(*next);
        while let Some(next) = self.rest.next_if(is_name) {
            name.push(next);
        }
        match name.is_empty() {
            true => Err(self.wrong("a name is missing")),
            false => Ok(name),
        }
    }

    fn value(&mut self) -> Result<Item, LvmError> {
        self.skip();
        if self.rest.next_if_eq(&'[').is_none() {
            return self.simple();
        }
        let mut list = Vec::new();
        loop {
            self.skip();
            if self.rest.next_if_eq(&']').is_some() {
                return Ok(Item::List(list));
            }
            self.count()?;
            list.push(self.simple()?);
            self.skip();
            if self.rest.next_if_eq(&',').is_none() && self.rest.peek() != Some(&']') {
                return Err(self.wrong("a list does not end"));
            }
        }
    }

    fn simple(&mut self) -> Result<Item, LvmError> {
        if self.rest.next_if_eq(&'"').is_some() {
            return self.quoted();
        }
        let mut digits = String::new();
        let is_digit = |next: &char| next.is_ascii_digit() || "-.".contains(*next);
        while let Some(next) = self.rest.next_if(is_digit) {
            digits.push(next);
        }
        let whole = digits.split('.').next().unwrap_or_default();
        let number = whole.parse().ok().map(Item::Number);
        number.ok_or_else(|| self.wrong("a value is neither text nor a number"))
    }

    fn quoted(&mut self) -> Result<Item, LvmError> {
        let mut text = String::new();
        loop {
            let next = match self.rest.next() {
                Some('"') => return Ok(Item::Text(text)),
                Some('\\') => self.rest.next(),
                other => other,
            };
            match next {
                Some(next) => text.push(next),
                None => return Err(self.wrong("a text does not end")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_lvm_writes_is_read() {
        let text = "# a remark\nvg {\nid = \"a\\\"b\"\nn = -1\nf = 1.5\nlist = [\"x\", 2]\n\
                    empty = []\nlv-1 { a = 1 }\n}\n\0";
        let parsed = parse(text).unwrap();
        let group = parsed.get("vg").unwrap();
        assert_eq!(group.get("id").unwrap().text(), Some("a\"b"));
        assert_eq!(group.get("n"), Some(&Item::Number(-1)));
        assert_eq!(group.get("f"), Some(&Item::Number(1)));
        let list = vec![Item::Text("x".to_owned()), Item::Number(2)];
        assert_eq!(group.get("list"), Some(&Item::List(list)));
        assert_eq!(group.get("empty"), Some(&Item::List(Vec::new())));
        assert_eq!(group.sections().count(), 1);
    }

    #[test]
    fn what_does_not_end_is_refused() {
        for text in [
            "a {",
            "a = [1",
            "a = \"",
            "a",
            "a = ",
            "}",
            "a = [1 2]",
            "= 1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = "a {".repeat(100);
        let error = parse(&deep).unwrap_err().to_string();
        assert!(error.contains("too deep"), "{error}");
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a-c{}=\\[\\]\"#\\\\,.0-9 \n-]{0,200}") {
            let _parsed_or_error = parse(&text);
        }
    }
}
