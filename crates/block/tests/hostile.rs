//! Servers that break the protocol: each is told as an error, and nothing is believed.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail it by panicking"
)]

use block::nbd::{Export, NbdError};
use disk::ReadAt;
use proptest::prelude::*;
use std::io::{self, Cursor, Read, Write};
use std::time::Instant;

/// A server that says what it was going to say, whatever it hears.
#[derive(Debug)]
struct Recording(Cursor<Vec<u8>>);

impl Read for Recording {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Recording {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const SIZE_BYTES: u64 = 1 << 20;

/// A sound negotiation of an export of 1 MiB without contexts.
fn negotiation() -> Vec<u8> {
    let mut said = b"NBDMAGICIHAVEOPT\x00\x03".to_vec();
    let mut reply = |option: u32, kind: u32, data: &[u8]| {
        said.extend(0x0003_e889_0455_65a9_u64.to_be_bytes());
        said.extend(option.to_be_bytes());
        said.extend(kind.to_be_bytes());
        said.extend((data.len() as u32).to_be_bytes());
        said.extend(data);
    };
    reply(8, 1, &[]);
    let size = SIZE_BYTES.to_be_bytes();
    reply(7, 3, &[&[0, 0], &size[..], &[0, 1]].concat());
    reply(7, 1, &[]);
    said
}

fn chunk(flags: u16, kind: u16, cookie: u64, data: &[u8]) -> Vec<u8> {
    let mut said = 0x668e_33ef_u32.to_be_bytes().to_vec();
    said.extend(flags.to_be_bytes());
    said.extend(kind.to_be_bytes());
    said.extend(cookie.to_be_bytes());
    said.extend((data.len() as u32).to_be_bytes());
    said.extend(data);
    said
}

fn data(offset: u64, bytes: &[u8]) -> Vec<u8> {
    [&offset.to_be_bytes()[..], bytes].concat()
}

/// Reads 8 bytes at 16 of an export whose server answers so.
fn read(replies: &[Vec<u8>]) -> Result<[u8; 8], String> {
    let said = [negotiation(), replies.concat()].concat();
    let export = Export::over(Recording(Cursor::new(said)), "x", &[]).unwrap();
    let mut bytes = [0xee; 8];
    match export.read_exact_at(16, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(format!(
            "{error}: {}",
            std::error::Error::source(&error).unwrap()
        )),
    }
}

fn check_refused(replies: &[Vec<u8>], why: &str) {
    let refused = read(replies).unwrap_err();
    assert!(refused.contains(why), "{refused}");
}

#[test]
fn sound_replies_are_taken() {
    assert_eq!(
        read(&[chunk(1, 1, 0, &data(16, b"abcdefgh"))]),
        Ok(*b"abcdefgh")
    );
    let hole = [&20_u64.to_be_bytes()[..], &4_u32.to_be_bytes()].concat();
    let split = [
        chunk(0, 2, 0, &hole),
        chunk(0, 1, 0, &data(16, b"abcd")),
        chunk(1, 0, 0, &[]),
    ];
    assert_eq!(read(&split), Ok(*b"abcd\0\0\0\0"));
}

#[test]
fn unsound_replies_are_refused() {
    check_refused(
        &[chunk(1, 1, 1, &data(16, b"abcdefgh"))],
        "nothing that was asked",
    );
    check_refused(&[chunk(1, 1, 0, &data(8, b"abcdefgh"))], "outside");
    check_refused(&[chunk(1, 1, 0, &data(20, b"abcdefgh"))], "outside");
    check_refused(&[chunk(1, 1, 0, &data(u64::MAX, b"abcdefgh"))], "outside");
    check_refused(&[chunk(1, 1, 0, &data(16, b"abcd"))], "gaps");
    check_refused(&[chunk(1, 0, 0, &[])], "gaps");
    check_refused(&[chunk(1, 5, 0, &[0; 12])], "none of data");
    check_refused(&[chunk(0, 0, 0, &[])], "none of data");
    check_refused(&[b"\x67\x44\x66\x98".to_vec()], "not structured");
    check_refused(&[b"abcd".to_vec()], "no reply");
    check_refused(
        &[chunk(1, 1, 0, &data(16, b"abcdefgh"))[..30].to_vec()],
        "reached any more",
    );
    let endless = [
        chunk(0, 1, 0, &data(16, b"abcd")),
        chunk(0, 1, 0, &data(16, b"abcd")),
    ];
    check_refused(&endless, "reached any more");
}

#[test]
fn a_servers_error_is_told_in_printable_words() {
    let text = b"disk \x1b[31mon fire\n";
    let mut error = 5_u32.to_be_bytes().to_vec();
    error.extend((text.len() as u16).to_be_bytes());
    error.extend(text);
    check_refused(
        &[chunk(1, (1 << 15) + 1, 0, &error)],
        "error 5: disk ?[31mon fire?",
    );
    check_refused(&[chunk(1, (1 << 15) + 1, 0, &error[..5])], "cut short");
    check_refused(&[chunk(1, (1 << 15) + 1, 0, &error[..9])], "another length");
}

#[test]
fn a_stranger_is_no_server() {
    for said in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"", b"NBDMAGIC"] {
        assert!(Export::over(Recording(Cursor::new(said.to_vec())), "x", &[]).is_err());
    }
    let older = Export::over(
        Recording(Cursor::new(b"NBDMAGICIHAVEOPT\0\0".to_vec())),
        "x",
        &[],
    );
    assert!(matches!(older, Err(NbdError::Protocol(_))), "{older:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]
    #[test]
    fn no_damage_hangs_or_panics(
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        reads in any::<bool>(),
    ) {
        let mut said = negotiation();
        said.extend(chunk(0, 1, 0, &data(16, b"abcd")));
        said.extend(chunk(1, 2, 0, &data(20, &4_u32.to_be_bytes())));
        for (place, value) in places {
            let at = place.index(said.len());
            said[at] = value;
        }
        said.truncate(if reads { said.len() } else { cut.index(said.len()) });
        let began = Instant::now();
        if let Ok(export) = Export::over(Recording(Cursor::new(said)), "x", &[]) {
            // Whatever it says: what was asked for, or an error.
            let _read = export.read_exact_at(16, &mut [0; 8]);
            let _told = export.stretch_at(0);
        }
        prop_assert!(began.elapsed().as_secs() < 1);
    }
}
