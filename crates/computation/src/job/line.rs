//! Lines of the channel: `vd1 KIND PAYLOAD\n`, one message each.
//!
//! What does not begin with `vd1 ` is not ours and becomes [`Message::Foreign`]; what does, and
//! still makes no sense, is an error. All text is sanitised in both directions.

use super::message::Extent;
use super::message::{Buffer, FileHeader, Hello, JobResult, MarkReached, Message, Metric};
use super::program::{ProgramEnd, check_extents};
use super::text::{MAX_LINE_BYTES, safe_name, sanitise};
use super::{ProtocolError, message};
use crate::digest::{from_hexadecimal, to_hexadecimal};
use serde::Serialize;
use serde::de::DeserializeOwned;

const PREFIX: &[u8] = b"vd1 ";

/// Reads one line; a newline at its end is ignored, with or without a carriage return.
///
/// # Errors
/// The line claims to be of the protocol and is not, or is too long.
pub fn parse_line(line: &[u8]) -> Result<Message, ProtocolError> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > MAX_LINE_BYTES {
        let found = line.len();
        return Err(ProtocolError::TooLong { found });
    }
    let Some(rest) = line.strip_prefix(PREFIX) else {
        return Ok(Message::Foreign(sanitise(line)));
    };
    let end = rest.iter().position(|byte| *byte == b' ');
    let (kind, payload) = rest.split_at(end.unwrap_or(rest.len()));
    parse_payload(kind, payload.strip_prefix(b" ").unwrap_or_default())
}

fn parse_payload(kind: &[u8], payload: &[u8]) -> Result<Message, ProtocolError> {
    match kind {
        b"hello" => {
            let hello: Hello = json("hello", payload)?;
            hello.check()?;
            Ok(Message::Hello(Box::new(hello.sanitised())))
        }
        b"ready" => json::<serde::de::IgnoredAny>("ready", payload).map(|_| Message::Ready),
        b"mark" => json::<MarkReached>("mark", payload).map(Message::Mark),
        b"log" => Ok(Message::Log(sanitise(payload))),
        b"metric" => {
            let mut metric: Metric = json("metric", payload)?;
            metric.check()?;
            metric.name = safe_name(&metric.name);
            Ok(Message::Metric(metric))
        }
        b"file" => {
            let mut header: FileHeader = json("file", payload)?;
            header.check()?;
            header.name = safe_name(&header.name);
            Ok(Message::File(header))
        }
        b"data" => from_hexadecimal(payload)
            .map(Message::Data)
            .ok_or(ProtocolError::Hexadecimal),
        b"buffer" => {
            let mut buffer: Buffer = json("buffer", payload)?;
            buffer.check()?;
            buffer.name = safe_name(&buffer.name);
            Ok(Message::Buffer(buffer))
        }
        b"payload" => {
            let extents: Vec<Extent> = json("payload", payload)?;
            check_extents(&extents)?;
            Ok(Message::Payload(extents))
        }
        b"exit" => {
            let end: ProgramEnd = json("exit", payload)?;
            end.check()?;
            Ok(Message::Exit(Box::new(end)))
        }
        b"result" => json::<JobResult>("result", payload).map(Message::Result),
        b"failed" => Ok(Message::Failed(sanitise(payload))),
        other => Err(ProtocolError::Kind(safe_name(&String::from_utf8_lossy(
            other,
        )))),
    }
}

fn json<T: DeserializeOwned>(kind: &'static str, payload: &[u8]) -> Result<T, ProtocolError> {
    serde_json::from_slice(payload).map_err(|source| ProtocolError::Payload { kind, source })
}

/// Writes one line, with its newline.
///
/// # Errors
/// The message breaks a limit of its kind, or the line would be too long.
pub fn write_line(message: &Message) -> Result<Vec<u8>, ProtocolError> {
    let mut line = match message {
        Message::Hello(hello) => {
            hello.check()?;
            with_json("hello", hello)
        }
        Message::Ready => Ok("vd1 ready {}".to_owned()),
        Message::Mark(mark) => with_json("mark", mark),
        Message::Log(text) => Ok(format!("vd1 log {}", sanitise(text.as_bytes()))),
        Message::Metric(metric) => {
            metric.check()?;
            with_json("metric", metric)
        }
        Message::File(header) => {
            header.check()?;
            with_json("file", header)
        }
        Message::Data(bytes) => Ok(format!("vd1 data {}", to_hexadecimal(bytes))),
        Message::Buffer(buffer) => {
            buffer.check()?;
            with_json("buffer", buffer)
        }
        Message::Payload(extents) => {
            check_extents(extents)?;
            with_json("payload", extents)
        }
        Message::Exit(end) => {
            end.check()?;
            with_json("exit", end)
        }
        Message::Result(result) => with_json("result", result),
        Message::Failed(text) => Ok(format!("vd1 failed {}", sanitise(text.as_bytes()))),
        Message::Foreign(text) => Ok(sanitise(text.as_bytes())),
    }?;
    if line.len() > MAX_LINE_BYTES {
        let found = line.len();
        return Err(ProtocolError::TooLong { found });
    }
    line.push('\n');
    Ok(line.into_bytes())
}

fn with_json<T: Serialize>(kind: &'static str, payload: &T) -> Result<String, ProtocolError> {
    let json = serde_json::to_string(payload);
    let json = json.map_err(|source| ProtocolError::Payload { kind, source })?;
    Ok(format!("vd1 {kind} {json}"))
}

// A data line of full length must fit.
const _: () = assert!("vd1 data ".len() + 2 * message::DATA_BYTES <= MAX_LINE_BYTES);

#[cfg(test)]
pub(super) mod tests {
    use super::super::mailbox::tests::mark;
    use super::super::message::{MAX_EXTENTS, MAX_FILE_BYTES, Symbols};
    use super::*;
    use crate::Digest;
    use crate::isa::Class;
    use model::{GuestPhysicalAddress, GuestVirtualAddress};
    use proptest::prelude::*;

    fn page_address() -> impl Strategy<Value = GuestPhysicalAddress> {
        (0_u64..1 << 40).prop_map(|page| GuestPhysicalAddress(page << 12))
    }

    fn symbols() -> impl Strategy<Value = Symbols> {
        let extent = (page_address(), 1_u64..16).prop_map(|(address, n)| Extent(address, n));
        let extents = proptest::collection::vec(extent, 0..=MAX_EXTENTS);
        (extents, 0_u64..4096).prop_map(|(extents, spare)| {
            let pages: u64 = extents.iter().map(|extent| extent.1).sum();
            let bytes = (pages * 4096).saturating_sub(spare);
            Symbols { bytes, extents }
        })
    }

    pub(in crate::job) fn hello() -> impl Strategy<Value = Message> {
        let mailbox = [(); 4].map(|()| page_address());
        let features = proptest::collection::vec("[a-z0-9.]{1,12}", 0..40);
        let texts = ("[ -~]{0,60}", "[ -~]{0,60}");
        (texts, features, mailbox, symbols()).prop_map(|(texts, features, mailbox, symbols)| {
            Message::Hello(Box::new(Hello {
                protocol: super::super::PROTOCOL,
                program_version: texts.0,
                kernel_release: texts.1,
                isa_class: Class::V3,
                features,
                mailbox,
                waypoints: [GuestVirtualAddress(0x1000), GuestVirtualAddress(0x1002)],
                vcpus: 2,
                symbols,
            }))
        })
    }

    fn message() -> impl Strategy<Value = Message> {
        let text = any::<String>().prop_map(|text| sanitise(text.as_bytes()));
        let ours = |text: &String| !text.starts_with("vd1 ");
        let name = "[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}";
        let value = any::<f64>().prop_filter("finite", |value| value.is_finite());
        let counters = (any::<u64>(), any::<u64>(), any::<u64>());
        prop_oneof![
            hello(),
            Just(Message::Ready),
            (mark(), any::<u64>(), any::<u64>())
                .prop_map(|(name, step, tsc)| Message::Mark(MarkReached { name, step, tsc })),
            text.clone().prop_map(Message::Log),
            (name, value, any::<bool>()).prop_map(|(name, value, exact)| Message::Metric(Metric {
                name,
                value,
                exact
            })),
            (name, 0..=MAX_FILE_BYTES)
                .prop_map(|(name, bytes)| Message::File(FileHeader { name, bytes })),
            (name, 0..1_u64 << 46, 1..1_u64 << 46).prop_map(|(name, address, bytes)| {
                let address = GuestVirtualAddress(address);
                Message::Buffer(Buffer {
                    name,
                    address,
                    bytes,
                })
            }),
            proptest::collection::vec(any::<u8>(), 0..=message::DATA_BYTES).prop_map(Message::Data),
            proptest::collection::vec(
                (page_address(), 1_u64..16).prop_map(|(address, n)| Extent(address, n)),
                0..=MAX_EXTENTS
            )
            .prop_map(Message::Payload),
            super::super::program::tests::end().prop_map(|end| Message::Exit(Box::new(end))),
            (any::<[u8; 32]>(), counters).prop_map(|(digest, (steps, tsc, tsc_start))| {
                let digest = Digest(digest);
                Message::Result(JobResult {
                    digest,
                    steps,
                    tsc,
                    tsc_start,
                })
            }),
            text.clone().prop_map(Message::Failed),
            text.prop_filter("not ours", ours)
                .prop_map(Message::Foreign),
        ]
    }

    /// Whatever is accepted can be written, and then reads the same.
    fn accepted_lines_are_stable(line: &[u8]) -> Result<(), TestCaseError> {
        match parse_line(line) {
            // Its text may begin with our prefix once control characters are gone.
            Ok(Message::Foreign(_)) | Err(_) => {}
            Ok(message) => {
                let written = write_line(&message).unwrap();
                prop_assert_eq!(parse_line(&written).unwrap(), message);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn a_line_reads_what_was_written(message in message()) {
            let line = write_line(&message).unwrap();
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert_eq!(parse_line(&line).unwrap(), message);
        }

        #[test]
        fn no_line_makes_it_panic(bytes: Vec<u8>, kind in "hello|ready|mark|log|metric|buffer|file|data|result|failed|x") {
            accepted_lines_are_stable(&bytes)?;
            let ours = [format!("vd1 {kind} ").as_bytes(), &bytes].concat();
            accepted_lines_are_stable(&ours)?;
        }

        #[test]
        fn a_damaged_line_never_panics(message in message(), place: prop::sample::Index, bit in 0..8) {
            let mut line = write_line(&message).unwrap();
            let place = place.index(line.len());
            line[place] ^= 1_u8 << bit;
            accepted_lines_are_stable(&line)?;
        }
    }

    fn refused(line: &str) -> String {
        parse_line(line.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn lies_are_refused() {
        assert_eq!(
            refused("vd1 nonsense {}"),
            "unknown kind of line `nonsense`"
        );
        assert_eq!(
            refused("vd1 data 0g"),
            "payload of data line is not hexadecimal"
        );
        assert!(refused("vd1 result {}").starts_with("payload of result line: missing field"));
        for buffer in [
            r#"vd1 buffer {"name":"a","address":"0x0","bytes":0}"#,
            r#"vd1 buffer {"name":"a","address":"0x7fffffffffff","bytes":2}"#,
            r#"vd1 buffer {"name":"a","address":"0x8","bytes":18446744073709551615}"#,
        ] {
            assert!(refused(buffer).contains("no program has memory"));
        }
        assert!(refused("vd1 file {\"name\":\"x\",\"bytes\":9999999}").contains("bytes of a file"));
        let long = format!("vd1 log {}", "x".repeat(MAX_LINE_BYTES));
        assert_eq!(refused(&long), "line of 16392 bytes is longer than 16384");
    }

    #[test]
    fn a_hello_with_impossible_memory_is_refused() {
        let hello = |protocol, mailbox, bytes: u64, extents| {
            format!(
                "vd1 hello {{\"protocol\":{protocol},\"program_version\":\"0\",\
                 \"kernel_release\":\"6\",\"isa_class\":\"x86-64-v2\",\"features\":[],\
                 \"waypoints\":[\"0x1\",\"0x2\"],\"mailbox\":[\"0x0\",\"0x1000\",\"0x2000\",\"{mailbox}\"],\
                 \"symbols\":{{\"bytes\":{bytes},\"extents\":{extents}}}}}"
            )
        };
        assert!(parse_line(hello(1, "0x3000", 5000, "[[\"0x8000\",2]]").as_bytes()).is_ok());
        assert_eq!(
            refused(&hello(9, "0x3000", 0, "[]")),
            "guest speaks protocol 9, this program speaks 1"
        );
        assert_eq!(
            refused(&hello(1, "0x3001", 0, "[]")),
            "mailbox address 0x3001 is not that of a page"
        );
        for (bytes, extents) in [
            (5000, "[[\"0x8000\",1]]"),
            (u64::MAX, "[[\"0x8000\",2]]"),
            (5000, "[[\"0xfffffffffffff000\",2]]"),
            (5000, "[[\"0x8000\",18446744073709551615]]"),
            (5000, "[[\"0x8001\",2]]"),
            (0, "[[\"0x8000\",0]]"),
        ] {
            let error = refused(&hello(1, "0x3000", bytes, extents));
            assert!(error.starts_with("place of the guest's symbols"), "{error}");
        }
    }

    #[test]
    fn text_is_sanitised_in_both_directions() {
        let hostile = Message::Log("a\nvd1 result {}\x1b[2J".to_owned());
        assert_eq!(
            write_line(&hostile).unwrap(),
            b"vd1 log avd1 result {}[2J\n"
        );
        let parsed = parse_line(b"vd1 failed \x1b]0;x\x07\xff\r\n").unwrap();
        assert_eq!(parsed, Message::Failed("]0;x\u{fffd}".to_owned()));
    }
}
