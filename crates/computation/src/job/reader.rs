//! The channel as a stream: bytes in, messages out, within limits.
//!
//! ```text
//!          bytes                    newline
//! ──► collecting ≤ 16 KiB ──────────────────────► a message
//!          │ 16 KiB without a newline
//!          └► a message of what there is ──► skipping ──newline──► collecting
//! ```
//!
//! A guest may flood. What only informs (log, foreign, file, data) ends at [`MAX_LOG_LINES`] lines
//! or [`MAX_CHANNEL_BYTES`]; what steers a run (hello, ready, payload, mark, metric, exit, result, failed) still
//! gets through after that, up to [`MAX_STEERING_LINES`], so that a chatty guest is not taken for
//! a hung one. All that is dropped is counted in [`Loss`]. A line that claims to be ours and is not
//! is given as [`Message::Foreign`], and counted as well: a fault may have damaged it.

use super::line::parse_line;
use super::message::Message;
use super::text::{MAX_LINE_BYTES, sanitise};

/// The most log and foreign lines that are kept: far more than a healthy run has, and little
/// enough to compare line by line.
pub const MAX_LOG_LINES: u64 = 10_000;
/// The most bytes of the channel that are taken in full: all files of a run, twice.
pub const MAX_CHANNEL_BYTES: u64 = 8 << 20;
/// The most lines that steer: the stops of a job, its metrics, and room.
pub const MAX_STEERING_LINES: u64 = 1024;

/// What was not given out, and what was given only in part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    /// Whole lines dropped because a limit was reached.
    pub dropped_lines: u64,
    /// Bytes dropped: of those lines, and of what followed the first 16 KiB of a line.
    pub dropped_bytes: u64,
    /// Lines of which only the first 16 KiB were taken.
    pub cut_lines: u64,
    /// Lines of ours that could not be read and were given as foreign.
    pub malformed_lines: u64,
}

impl Loss {
    /// Whether nothing was lost.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Splits a stream into messages.
#[derive(Debug, Default)]
pub struct LineReader {
    /// The line that is being collected, at most [`MAX_LINE_BYTES`].
    line: Vec<u8>,
    /// Whether the rest of the line is to be skipped.
    skipping: bool,
    /// Bytes fed so far.
    taken_bytes: u64,
    /// Log and foreign lines given out.
    log_lines: u64,
    /// Steering lines given out.
    steering_lines: u64,
    loss: Loss,
}

impl LineReader {
    /// A reader at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes; gives the messages that they complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Message> {
        let mut messages = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.taken_bytes = self.taken_bytes.saturating_add(part.len() as u64);
            let (content, ends) = match part.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (part, false),
            };
            messages.extend(self.collect(content));
            if ends {
                let was_cut = std::mem::take(&mut self.skipping);
                messages.extend((!was_cut).then(|| self.complete()).flatten());
            }
        }
        messages
    }

    /// Ends the stream: gives the last line, if it had no newline.
    pub fn finish(&mut self) -> Option<Message> {
        let pending = !self.line.is_empty() && !std::mem::take(&mut self.skipping);
        pending.then(|| self.complete()).flatten()
    }

    /// What was lost so far.
    #[must_use]
    pub const fn loss(&self) -> Loss {
        self.loss
    }

    /// Adds to the line; gives its beginning when it grows too long.
    fn collect(&mut self, content: &[u8]) -> Option<Message> {
        let room = MAX_LINE_BYTES - self.line.len();
        if self.skipping || content.len() > room {
            let (kept, rest) = content.split_at(if self.skipping { 0 } else { room });
            self.line.extend_from_slice(kept);
            self.loss.dropped_bytes += rest.len() as u64;
            let cut_now = !std::mem::replace(&mut self.skipping, true);
            return cut_now.then(|| self.cut()).flatten();
        }
        self.line.extend_from_slice(content);
        None
    }

    /// The line is too long: what there is of it is foreign, whatever it claims.
    fn cut(&mut self) -> Option<Message> {
        self.loss.cut_lines += 1;
        let message = Message::Foreign(sanitise(&self.line));
        self.admit(message)
    }

    fn complete(&mut self) -> Option<Message> {
        let message = parse_line(&self.line).unwrap_or_else(|error| {
            self.loss.malformed_lines += 1;
            let line = sanitise(&self.line);
            Message::Foreign(sanitise(
                format!("malformed line ({error}): {line}").as_bytes(),
            ))
        });
        self.admit(message)
    }

    /// Gives a message out if the limits allow it; the line is done either way.
    fn admit(&mut self, message: Message) -> Option<Message> {
        let line_bytes = self.line.len() as u64;
        self.line.clear();
        let in_full = self.taken_bytes <= MAX_CHANNEL_BYTES;
        let admitted = match message {
            Message::Log(_) | Message::Foreign(_) => {
                in_full && count_up_to(&mut self.log_lines, MAX_LOG_LINES)
            }
            Message::File(_) | Message::Data(_) => in_full,
            _ => count_up_to(&mut self.steering_lines, MAX_STEERING_LINES),
        };
        if !admitted {
            self.loss.dropped_lines += 1;
            self.loss.dropped_bytes += line_bytes;
        }
        admitted.then_some(message)
    }
}

/// Counts one more, unless the limit is reached.
fn count_up_to(count: &mut u64, limit: u64) -> bool {
    let room = *count < limit;
    *count += u64::from(room);
    room
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(parts: &[&[u8]]) -> (Vec<Message>, Loss) {
        let mut reader = LineReader::new();
        let mut messages: Vec<Message> = parts.iter().flat_map(|p| reader.feed(p)).collect();
        messages.extend(reader.finish());
        (messages, reader.loss())
    }

    #[test]
    fn lines_may_arrive_in_pieces() {
        let (messages, loss) = read(&[b"vd1 rea", b"dy {}\nvd1 log a", b"\n", b"tail"]);
        let expected = [
            Message::Ready,
            Message::Log("a".into()),
            Message::Foreign("tail".into()),
        ];
        assert_eq!(messages, expected);
        assert!(loss.is_none());
    }

    #[test]
    fn a_line_without_end_is_cut_once_and_the_next_is_read() {
        let long = vec![b'x'; 3 * MAX_LINE_BYTES];
        let (messages, loss) = read(&[&long, &long, b"yy\nvd1 ready {}\n"]);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1], Message::Ready);
        assert_eq!(loss.cut_lines, 1);
        assert_eq!(loss.dropped_bytes, 5 * MAX_LINE_BYTES as u64 + 2);
    }

    #[test]
    fn a_line_of_full_length_is_not_cut() {
        let mut exact = vec![b'x'; MAX_LINE_BYTES];
        exact.push(b'\n');
        let (messages, loss) = read(&[&exact, &exact]);
        assert_eq!(messages.len(), 2);
        assert!(loss.is_none());
    }

    #[test]
    fn a_flood_of_lines_is_dropped_and_the_result_gets_through() {
        let flood = b"vd1 log again and again\n".repeat(12_000);
        let (messages, loss) = read(&[
            &flood,
            b"vd1 mark {\"name\":\"end\",\"step\":1,\"tsc\":\"2\"}\n",
        ]);
        assert_eq!(messages.len() as u64, MAX_LOG_LINES + 1);
        assert!(matches!(messages.last(), Some(Message::Mark(_))));
        assert_eq!(loss.dropped_lines, 2000);
        assert_eq!(loss.dropped_bytes, 2000 * 23);
    }

    #[test]
    fn a_flood_of_bytes_is_dropped_and_the_result_gets_through() {
        let line = [&vec![b'a'; 8000][..], b"\n"].concat();
        let flood = line.repeat(2000);
        let (messages, loss) = read(&[&flood, b"vd1 failed why\n"]);
        assert_eq!(messages.last(), Some(&Message::Failed("why".into())));
        assert!(messages.len() < 1100 && loss.dropped_lines > 900);
    }

    #[test]
    fn steering_lines_are_bounded_too() {
        let (messages, loss) = read(&[&b"vd1 ready {}\n".repeat(2000)]);
        assert_eq!(messages.len() as u64, MAX_STEERING_LINES);
        assert_eq!(loss.dropped_lines, 2000 - MAX_STEERING_LINES);
    }

    #[test]
    fn a_damaged_line_is_shown_and_counted() {
        let (messages, loss) = read(&[b"vd1 resulu {}\n"]);
        let shown = "malformed line (unknown kind of line `resulu`): vd1 resulu {}";
        assert_eq!(messages, [Message::Foreign(shown.into())]);
        assert_eq!(loss.malformed_lines, 1);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(text in "(vd1 (log|ready|data) [a-f0-9{}]{0,4}|[\\x00-\\xff]{0,9}|\n){0,40}", at: prop::sample::Index) {
            let bytes = text.as_bytes();
            let (left, right) = bytes.split_at(at.index(bytes.len() + 1));
            prop_assert_eq!(read(&[left, right]), read(&[bytes]));
        }
    }
}
