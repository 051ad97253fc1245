//! Files that come over the channel: a header, then data lines, put together within limits.

use super::message::{FileHeader, MAX_FILE_BYTES, Message};

/// The most files of a run: what a computation names as its results, or a program leaves.
pub const MAX_FILES: usize = 64;

/// A file that a guest sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestFile {
    /// Its name, safe in a path.
    pub name: String,
    /// What came of its content.
    pub content: Vec<u8>,
    /// The length that the guest announced; a shorter content is a damaged file.
    pub announced_bytes: u64,
}

/// Puts files together from messages.
#[derive(Debug, Default)]
pub struct FileAssembler {
    files: Vec<GuestFile>,
    /// Data that belonged to no file, or to more of one than it announced.
    dropped_bytes: u64,
}

impl FileAssembler {
    /// An assembler that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a message; all but file and data are ignored.
    pub fn take(&mut self, message: &Message) {
        match message {
            Message::File(header) => self.begin(header),
            Message::Data(bytes) => self.append(bytes),
            _ => {}
        }
    }

    /// The files so far, in the order of their headers.
    #[must_use]
    pub fn files(&self) -> &[GuestFile] {
        &self.files
    }

    /// Bytes that belonged to no file.
    #[must_use]
    pub const fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Begins a file. One too many is begun as empty under the last one's limit: its data is
    /// dropped and counted.
    fn begin(&mut self, header: &FileHeader) {
        if self.files.len() < MAX_FILES {
            self.files.push(GuestFile {
                name: header.name.clone(),
                content: Vec::new(),
                announced_bytes: header.bytes.min(MAX_FILE_BYTES),
            });
        } else if let Some(last) = self.files.last_mut() {
            last.announced_bytes = last.content.len() as u64;
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        let room = self.files.last().map_or(0, |file| {
            file.announced_bytes
                .saturating_sub(file.content.len() as u64)
        });
        let (kept, rest) = bytes.split_at(bytes.len().min(usize::try_from(room).unwrap_or(0)));
        if let Some(file) = self.files.last_mut() {
            file.content.extend_from_slice(kept);
        }
        self.dropped_bytes += rest.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{file_messages, parse_line, write_line};
    use proptest::prelude::*;

    fn assemble(messages: impl IntoIterator<Item = Message>) -> FileAssembler {
        let mut assembler = FileAssembler::new();
        for message in messages {
            let line = write_line(&message).unwrap();
            assembler.take(&parse_line(&line).unwrap());
        }
        assembler
    }

    proptest! {
        #[test]
        fn a_file_arrives_as_it_was_sent(content in proptest::collection::vec(any::<u8>(), 0..20_000)) {
            let assembler = assemble(file_messages("out", &content));
            prop_assert_eq!(assembler.files().len(), 1);
            prop_assert_eq!(&assembler.files()[0].content, &content);
            prop_assert_eq!(assembler.files()[0].announced_bytes, content.len() as u64);
        }
    }

    #[test]
    fn data_beyond_what_was_announced_is_dropped() {
        let header = FileHeader {
            name: "a".into(),
            bytes: 3,
        };
        let messages = [
            Message::Data(vec![0; 2]),
            Message::File(header),
            Message::Data(vec![1; 2]),
            Message::Data(vec![2; 5]),
        ];
        let assembler = assemble(messages);
        assert_eq!(assembler.files()[0].content, [1, 1, 2]);
        assert_eq!(assembler.dropped_bytes(), 6);
    }

    #[test]
    fn one_file_too_many_does_not_spoil_the_last() {
        let assembler = assemble((0..68).flat_map(|_| {
            let messages: Vec<Message> = file_messages("f", b"abc").collect();
            messages
        }));
        assert_eq!(assembler.files().len(), MAX_FILES);
        assert!(assembler.files().iter().all(|file| file.content == b"abc"));
        assert_eq!(assembler.dropped_bytes(), 4 * 3);
    }
}
