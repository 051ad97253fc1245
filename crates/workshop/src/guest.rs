//! A guest that runs: what it says, what it is told, and its end.
//!
//! ```text
//! boot ─► ready ─► text, marks … ─► exit CODE ─► (all unmounted) ─► gone
//!                    └──────────────── cut off ───────────────────► gone
//! ```
//!
//! A byte 1 begins a word of the guest's first process, which goes to the end of its line; all else
//! is the script's own text.

use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;
use tempfile::TempDir;

/// Begins a word of the guest's.
const WORD: u8 = 1;

/// The most that a script may say between two marks: what is longer belongs on a disk.
const TEXT_BYTES_MAX: usize = 64 << 20;

/// How many pieces of the guest's text may wait for us.
const PIECES_MAX: usize = 64;

/// How much of the kernel's own text is shown when a guest fails.
const CONSOLE_BYTES_SHOWN: usize = 4000;

/// How a script has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code: 0 if all went well, 125 if a file system could not be unmounted.
    pub code: i32,
    /// What it said after the last mark that was waited for.
    pub text: Vec<u8>,
}

impl Ended {
    /// What the script said, if all went well.
    ///
    /// # Errors
    /// The script failed; the error holds what it said.
    pub fn good(self) -> Result<Vec<u8>> {
        let said = String::from_utf8_lossy(&self.text);
        ensure!(
            self.code == 0,
            "a script in a guest ended with {}: {said}",
            self.code
        );
        Ok(self.text)
    }
}

/// A guest that runs a script. Dropped, it is cut off.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    says: ChildStdin,
    pieces: Receiver<Vec<u8>>,
    heard: Vec<u8>,
    silence_max: Duration,
    place: TempDir,
}

impl Guest {
    /// Starts QEMU. It ends with this thread, however this thread ends.
    pub(crate) fn start(
        place: TempDir,
        arguments: &[OsString],
        silence_max: Duration,
    ) -> Result<Self> {
        let complaints = File::create(place.path().join("complaints"))?;
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "qemu-system-x86_64"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints)
            .spawn()
            .context("cannot start setpriv, which starts QEMU")?;
        let says = child.stdin.take().context("a guest has no input")?;
        let told = child.stdout.take().context("a guest has no output")?;
        let (sender, pieces) = sync_channel(PIECES_MAX);
        std::thread::spawn(move || listen(told, &sender));
        Ok(Self {
            child,
            says,
            pieces,
            heard: Vec::new(),
            silence_max,
            place,
        })
    }

    /// The number of QEMU's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn wait_until_ready(&mut self) -> Result<()> {
        let (_, word) = self.next_word()?;
        ensure!(
            word == "ready",
            "{}",
            self.trouble(&format!("a guest began with {word:?}"))
        );
        Ok(())
    }

    /// Waits until the script has come to a mark, and returns what it said before that.
    ///
    /// # Errors
    /// The script came to another mark or to its end, or nothing was heard for too long.
    pub fn wait_for(&mut self, mark: &str) -> Result<Vec<u8>> {
        let (text, word) = self.next_word()?;
        if word.strip_prefix("mark ") != Some(mark) {
            let said = String::from_utf8_lossy(&text);
            bail!("waited for the mark {mark}, and there was {word:?} after {said}");
        }
        Ok(text)
    }

    /// Says a line to the script, which hears it with `hear`.
    ///
    /// # Errors
    /// The guest is gone.
    pub fn say(&mut self, line: &str) -> Result<()> {
        self.says.write_all(format!("{line}\n").as_bytes())?;
        self.says.flush().context("cannot speak to a guest")
    }

    /// Waits for the script's end, and until all file systems are unmounted and QEMU is gone.
    ///
    /// # Errors
    /// There was a mark that nobody waited for, or nothing was heard for too long.
    pub fn end(mut self) -> Result<Ended> {
        let (text, word) = self.next_word()?;
        let code = word
            .strip_prefix("exit ")
            .and_then(|code| code.parse().ok());
        let said = String::from_utf8_lossy(&text);
        let code = code
            .with_context(|| format!("waited for the end, and there was {word:?} after {said}"))?;
        self.say("gone")?;
        while let Ok(piece) = self.pieces.recv_timeout(self.silence_max) {
            self.heard.extend(piece);
        }
        self.child.wait().context("cannot wait for QEMU")?;
        Ok(Ended { code, text })
    }

    /// A power loss: QEMU is killed. What the guest had not written to its disks is gone.
    pub fn cut_off(self) {
        drop(self);
    }

    /// The text up to the next word, and that word.
    fn next_word(&mut self) -> Result<(Vec<u8>, String)> {
        let mut looked_at = 0;
        loop {
            let begin = self.heard[looked_at..]
                .iter()
                .position(|byte| *byte == WORD);
            if let Some(begin) = begin.map(|at| looked_at + at) {
                let rest = &self.heard[begin + 1..];
                if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                    let word = String::from_utf8_lossy(&rest[..length]).into_owned();
                    let after = self.heard.split_off(begin + 1 + length + 1);
                    let mut text = std::mem::replace(&mut self.heard, after);
                    text.truncate(begin);
                    return Ok((text, word));
                }
                looked_at = begin;
            } else {
                looked_at = self.heard.len();
            }
            self.hear_more()?;
        }
    }

    fn hear_more(&mut self) -> Result<()> {
        match self.pieces.recv_timeout(self.silence_max) {
            Ok(piece) => self.heard.extend(piece),
            Err(RecvTimeoutError::Timeout) => bail!("{}", self.trouble("a guest is silent")),
            Err(RecvTimeoutError::Disconnected) => bail!("{}", self.trouble("a guest is gone")),
        }
        ensure!(self.heard.len() <= TEXT_BYTES_MAX, "a guest says too much");
        Ok(())
    }

    /// What went wrong, with what the guest, its kernel and QEMU had said.
    fn trouble(&self, what: &str) -> String {
        let last = |name: &str| {
            let text = std::fs::read(self.place.path().join(name)).unwrap_or_default();
            let shown = text.len().saturating_sub(CONSOLE_BYTES_SHOWN);
            String::from_utf8_lossy(&text[shown..]).into_owned()
        };
        let said = String::from_utf8_lossy(&self.heard);
        let (console, complaints) = (last("console"), last("complaints"));
        format!("{what}; it said: {said}\nits kernel: {console}\nQEMU: {complaints}")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Either fails only if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Passes on what a guest says, until it is gone or nobody listens.
fn listen(mut told: impl Read, sender: &SyncSender<Vec<u8>>) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(length @ 1..) = told.read(&mut piece) {
        if sender.send(piece[..length].to_vec()).is_err() {
            return;
        }
    }
}
