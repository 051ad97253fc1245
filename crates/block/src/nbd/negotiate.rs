//! The part before the first request: what both sides can do, and which export it is.

use super::NbdError;
use super::export::Context;
use super::wire::{MAX_TEXT_BYTES, Message, Stream, take_text, take_u16, take_u32, take_u64};

const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
const OPTIONS_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

const FIXED_NEWSTYLE: u16 = 1;
const NO_ZEROES: u16 = 2;

const OPTION_GO: u32 = 7;
const OPTION_STRUCTURED_REPLY: u32 = 8;
const OPTION_SET_META_CONTEXT: u32 = 10;

const REPLY_ACK: u32 = 1;
const REPLY_INFO: u32 = 3;
const REPLY_META_CONTEXT: u32 = 4;
const REPLY_ERROR: u32 = 1 << 31;

const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// The most replies to one option that are taken, where as many are expected as there are contexts.
const MAX_REPLIES: usize = 1024;

/// The most that is asked for at once where a server names no limit, and the most at all: the
/// protocol's own default.
const MAX_REQUEST_BYTES: u32 = 32 << 20;

/// What was agreed upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agreed {
    pub(super) size_bytes: u64,
    /// What offsets and lengths of requests are multiples of.
    pub(super) block_bytes: u32,
    pub(super) max_request_bytes: u32,
    pub(super) contexts: Vec<Context>,
}

/// Agrees with a server on an export and on contexts of it, all of which must be there.
pub(super) fn negotiate(
    stream: &mut impl Stream,
    export: &str,
    contexts: &[String],
) -> Result<Agreed, NbdError> {
    if take_u64(stream)? != MAGIC || take_u64(stream)? != OPTIONS_MAGIC {
        return Err(NbdError::Protocol(
            "this is no server of network block devices",
        ));
    }
    let flags = take_u16(stream)?;
    if flags & FIXED_NEWSTYLE == 0 {
        return Err(NbdError::Protocol("it speaks only an older protocol"));
    }
    let ours = u32::from(flags & (FIXED_NEWSTYLE | NO_ZEROES));
    Message::default().u32(ours).send(stream)?;
    ask(stream, OPTION_STRUCTURED_REPLY, &[])?;
    acknowledged(stream, OPTION_STRUCTURED_REPLY, "structured replies")?;
    let contexts = select(stream, export, contexts)?;
    let agreed = go(stream, export)?;
    Ok(Agreed { contexts, ..agreed })
}

fn ask(stream: &mut impl Stream, option: u32, data: &[u8]) -> Result<(), NbdError> {
    let length = u32::try_from(data.len()).map_err(|_| NbdError::Protocol("too much is asked"))?;
    Message::default()
        .u64(OPTIONS_MAGIC)
        .u32(option)
        .u32(length)
        .bytes(data)
        .send(stream)
}

/// The head of the next reply to an option: its kind, and the length of what follows.
fn reply(stream: &mut impl Stream, option: u32, what: &str) -> Result<(u32, usize), NbdError> {
    if take_u64(stream)? != REPLY_MAGIC || take_u32(stream)? != option {
        return Err(NbdError::Protocol("an answer is none to what was asked"));
    }
    let kind = take_u32(stream)?;
    let length = take_u32(stream)? as usize;
    if length > MAX_TEXT_BYTES + 16 {
        return Err(NbdError::Protocol("an answer is too long"));
    }
    if kind & REPLY_ERROR != 0 {
        let message = take_text(stream, length.min(MAX_TEXT_BYTES))?;
        return Err(NbdError::Refused {
            what: what.to_owned(),
            message,
        });
    }
    Ok((kind, length))
}

fn acknowledged(stream: &mut impl Stream, option: u32, what: &str) -> Result<(), NbdError> {
    match reply(stream, option, what)? {
        (REPLY_ACK, 0) => Ok(()),
        _ => Err(NbdError::Protocol("an answer is neither yes nor no")),
    }
}

fn select(
    stream: &mut impl Stream,
    export: &str,
    wanted: &[String],
) -> Result<Vec<Context>, NbdError> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let count = u32::try_from(wanted.len()).map_err(|_| NbdError::Protocol("too much is asked"))?;
    let question = Message::default().text(export).u32(count);
    let question = wanted
        .iter()
        .fold(question, |message, name| message.text(name));
    ask(stream, OPTION_SET_META_CONTEXT, question.as_bytes())?;
    let mut found: Vec<Context> = Vec::new();
    for _ in 0..MAX_REPLIES {
        match reply(stream, OPTION_SET_META_CONTEXT, "contexts")? {
            (REPLY_ACK, 0) => return every(wanted, found),
            (REPLY_META_CONTEXT, length @ 4..) => {
                let number = take_u32(stream)?;
                let name = take_text(stream, length - 4)?;
                found.push(Context { number, name });
            }
            _ => return Err(NbdError::Protocol("an answer is no context")),
        }
    }
    Err(NbdError::Protocol("there is no end of contexts"))
}

fn every(wanted: &[String], found: Vec<Context>) -> Result<Vec<Context>, NbdError> {
    let is_there = |name: &&String| found.iter().any(|context| context.name == **name);
    match wanted.iter().find(|name| !is_there(name)) {
        Some(missing) => Err(NbdError::NoContext(missing.clone())),
        None => Ok(found),
    }
}

fn go(stream: &mut impl Stream, export: &str) -> Result<Agreed, NbdError> {
    let question = Message::default().text(export).u16(1).u16(INFO_BLOCK_SIZE);
    ask(stream, OPTION_GO, question.as_bytes())?;
    let mut size_bytes = None;
    let (mut block_bytes, mut max_request_bytes) = (1, MAX_REQUEST_BYTES);
    for _ in 0..MAX_REPLIES {
        let (kind, length) = reply(stream, OPTION_GO, &format!("export `{export}`"))?;
        if kind == REPLY_ACK && length == 0 {
            let size_bytes = size_bytes.ok_or(NbdError::Protocol("the export has no size"))?;
            return Ok(Agreed {
                size_bytes,
                block_bytes,
                max_request_bytes,
                contexts: Vec::new(),
            });
        }
        if kind != REPLY_INFO || length < 2 {
            return Err(NbdError::Protocol("an answer tells nothing"));
        }
        match (take_u16(stream)?, length) {
            (INFO_EXPORT, 12) => {
                size_bytes = Some(take_u64(stream)?);
                take_u16(stream)?;
            }
            (INFO_BLOCK_SIZE, 14) => {
                block_bytes = take_u32(stream)?;
                take_u32(stream)?;
                max_request_bytes = take_u32(stream)?.min(MAX_REQUEST_BYTES);
                let sound = block_bytes.is_power_of_two() && block_bytes <= 64 << 10;
                if !sound || max_request_bytes < block_bytes {
                    return Err(NbdError::Protocol("its sizes of blocks are impossible"));
                }
            }
            (_, length) => drop(take_text(stream, length - 2)?),
        }
    }
    Err(NbdError::Protocol("there is no end of answers"))
}
