//! The worker's side of the conversation, and the blobs that it reaches through it.

use super::wire::{self, Reply, Word};
use image::blobs::{BlobError, Blobs};
use sandbox::Conversation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// A worker's mouth and ears; blobs and result share them.
#[derive(Debug, Clone)]
pub(super) struct Talk(Arc<Mutex<Conversation>>);

impl Talk {
    /// Takes standard input and output.
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Conversation::new())))
    }

    /// Asks for what is to be done.
    pub(super) fn order<T: DeserializeOwned>(&self) -> io::Result<T> {
        let reply = self.ask(&Word::Order, &[])?;
        let (_, bytes) = wire::read::<Reply>(&reply).ok_or_else(no_reply)?;
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Tells a part of the result.
    pub(super) fn item<T: Serialize>(&self, item: &T) -> io::Result<()> {
        self.tell(&Word::Item, &serde_json::to_vec(item)?)
    }

    /// Tells bytes of the result.
    pub(super) fn bytes(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.tell(&Word::Bytes { at }, bytes)
    }

    /// Tells how far it is.
    pub(super) fn progress(&self, done: u64, all: u64) -> io::Result<()> {
        self.tell(&Word::Progress { done, all }, &[])
    }

    /// Tells why there is no more.
    pub(super) fn failed(&self, why: String) -> io::Result<()> {
        self.tell(&Word::Failed { why }, &[])
    }

    /// Tells that there is nothing of what was asked for.
    pub(super) fn nothing(&self, why: String) -> io::Result<()> {
        self.tell(&Word::Nothing { why }, &[])
    }

    fn tell(&self, word: &Word, bytes: &[u8]) -> io::Result<()> {
        let mut conversation = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conversation.tell(&[&wire::line(word), bytes])
    }

    fn ask(&self, word: &Word, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut conversation = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conversation.ask(&[&wire::line(word), bytes])
    }
}

fn no_reply() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the reply is none")
}

/// Blobs that lie with the asker.
#[derive(Debug)]
pub(super) struct FarBlobs(pub(super) Talk);

impl FarBlobs {
    fn ask<T>(
        &self,
        doing: &'static str,
        word: &Word,
        bytes: &[u8],
        understand: impl FnOnce(&Reply, &[u8]) -> Option<T>,
    ) -> Result<T, BlobError> {
        let name = match word {
            Word::Put { name } | Word::Length { name } | Word::Read { name, .. } => name.clone(),
            Word::List { prefix } => prefix.clone(),
            _ => String::new(),
        };
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| BlobError::Failed {
            doing,
            name: name.clone(),
            source,
        };
        let reply = self
            .0
            .ask(word, bytes)
            .map_err(|error| failed(error.into()))?;
        let (reply, bytes) =
            wire::read::<Reply>(&reply).ok_or_else(|| failed(no_reply().into()))?;
        match reply {
            Reply::Missing => Err(BlobError::Missing(name)),
            Reply::Short { end } => Err(BlobError::Short { name, end }),
            Reply::Failed(why) => Err(failed(why.into())),
            reply => understand(&reply, bytes).ok_or_else(|| failed(no_reply().into())),
        }
    }
}

impl Blobs for FarBlobs {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), BlobError> {
        let name = name.to_owned();
        self.ask("put", &Word::Put { name }, bytes, |reply, _| {
            (*reply == Reply::Done).then_some(())
        })
    }

    fn length(&self, name: &str) -> Result<u64, BlobError> {
        let name = name.to_owned();
        self.ask(
            "measure",
            &Word::Length { name },
            &[],
            |reply, _| match reply {
                Reply::Length(length) => Some(*length),
                _ => None,
            },
        )
    }

    fn read(&self, name: &str, part: Range<u64>) -> Result<Vec<u8>, BlobError> {
        let word = Word::Read {
            name: name.to_owned(),
            start: part.start,
            end: part.end,
        };
        self.ask("read", &word, &[], |reply, bytes| {
            let whole = bytes.len() as u64 == part.end.saturating_sub(part.start);
            (*reply == Reply::Done && whole).then(|| bytes.to_vec())
        })
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, BlobError> {
        let prefix = prefix.to_owned();
        self.ask(
            "list",
            &Word::List { prefix },
            &[],
            |reply, _| match reply {
                Reply::Names(names) => Some(names.clone()),
                _ => None,
            },
        )
    }

    fn remove(&self, name: &str) -> Result<(), BlobError> {
        Err(BlobError::Failed {
            doing: "remove",
            name: name.to_owned(),
            source: "a worker removes nothing".into(),
        })
    }
}
