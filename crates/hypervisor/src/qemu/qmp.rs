//! The monitor connection: commands and answers by crate `qapi`, events by name.
//!
//! ```text
//!  QEMU ──lines──► pump ──┬─ answers ──► qapi ──► execute()
//!                         └─ events  ──► next_event()   (name and data, whatever the name)
//! ```
//!
//! `qapi` knows the schema of one QEMU; a newer QEMU has events and enumeration values that it does
//! not know, and one such line would end its connection. So the pump takes events out before `qapi`
//! sees them, and answers are taken as JSON values.
//!
//! Invariants: a line longer than [`MAX_LINE_BYTES`] or one that is not of the protocol ends the
//! connection with its reason; every command has a deadline; one that was never answered is the last,
//! for the answer to it would be taken for the next one's, and `qapi` panics at a second one.

use crate::error::HypervisorError;
use qapi::futures::{QapiService, QmpStreamTokio};
use qapi::qmp::QmpCommand;
use qapi::{Any, Command, ExecuteError};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;
use serde_json::Value;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The longest line that is taken: QEMU's longest answer, its schema, is below 1 MiB.
const MAX_LINE_BYTES: u64 = 4 << 20;

/// Events that wait to be taken; more than these are dropped, for only the last ones matter.
const MAX_WAITING_EVENTS: usize = 1024;

/// How long QEMU may take to answer one command on a busy host.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// How long QEMU may take from its start to its greeting.
const GREETING_DEADLINE: Duration = Duration::from_secs(60);

/// Something that QEMU says by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorEvent {
    /// Its name, such as `GUEST_PANICKED`.
    pub name: String,
    /// What it carries.
    pub data: Value,
}

/// A connection to QEMU's monitor.
pub struct Monitor {
    service: QapiService<QmpStreamTokio<OwnedWriteHalf>>,
    events: mpsc::Receiver<MonitorEvent>,
    broken: Arc<Mutex<Option<String>>>,
    /// The same socket once more, for descriptors to be passed over.
    socket: OwnedFd,
    /// Whether a command has no answer yet, or never got one.
    unanswered: AtomicBool,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

/// A command whose answer is taken as it comes.
#[derive(Serialize)]
#[serde(transparent)]
struct Untyped<C>(C);

impl<C: Command> Command for Untyped<C> {
    type Ok = Any;
    const NAME: &'static str = C::NAME;
    const ALLOW_OOB: bool = C::ALLOW_OOB;
}

impl<C: QmpCommand> QmpCommand for Untyped<C> {}

impl Monitor {
    /// Waits for the greeting and opens the command mode.
    ///
    /// # Errors
    /// No greeting within its deadline, or one that is not QEMU's.
    pub async fn open(stream: UnixStream) -> Result<Self, HypervisorError> {
        Self::open_within(stream, GREETING_DEADLINE).await
    }

    /// The same with a deadline of the caller's.
    ///
    /// # Errors
    /// As for [`Monitor::open`].
    pub async fn open_within(
        stream: UnixStream,
        deadline: Duration,
    ) -> Result<Self, HypervisorError> {
        let broken = Arc::new(Mutex::new(None));
        let socket = stream.as_fd().try_clone_to_owned();
        let socket = socket.map_err(|error| failed("greeting", &broken, &error.to_string()))?;
        let (read, write) = stream.into_split();
        let (to_qapi, answers) = tokio::io::duplex(64 * 1024);
        let (sender, events) = mpsc::channel(MAX_WAITING_EVENTS);
        tokio::spawn(pump(read, to_qapi, sender, Arc::clone(&broken)));
        let opened = timeout(deadline, async {
            let negotiation = QmpStreamTokio::open_split(answers, write).await?;
            negotiation.negotiate().await
        })
        .await;
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed("greeting", &broken, &error.to_string())),
            Err(_) => {
                return Err(HypervisorError::Deadline {
                    what: "QEMU's greeting".to_owned(),
                    after: deadline,
                });
            }
        };
        let (service, answers) = stream.into_parts();
        tokio::spawn(answers.into_future());
        Ok(Self {
            service,
            events,
            broken,
            socket,
            unanswered: AtomicBool::new(false),
        })
    }

    /// Executes a command. One at a time: the caller waits for its answer before the next.
    ///
    /// # Errors
    /// QEMU refuses it, does not answer within the deadline, or is gone; or an earlier command was
    /// not answered.
    pub async fn execute<C: QmpCommand>(&self, command: C) -> Result<Value, HypervisorError> {
        self.execute_within(command, COMMAND_DEADLINE).await
    }

    /// The same with a deadline of the caller's.
    ///
    /// # Errors
    /// As for [`Monitor::execute`].
    pub async fn execute_within<C: QmpCommand>(
        &self,
        command: C,
        deadline: Duration,
    ) -> Result<Value, HypervisorError> {
        if self.unanswered.swap(true, Ordering::Relaxed) {
            let reason = "an earlier command was not answered";
            return Err(failed(C::NAME, &self.broken, reason));
        }
        let answer = timeout(deadline, self.service.execute(Untyped(command))).await;
        let is_answered = matches!(answer, Ok(Ok(_) | Err(ExecuteError::Qapi(_))));
        self.unanswered.store(!is_answered, Ordering::Relaxed);
        match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(failed(C::NAME, &self.broken, &error.to_string())),
            Err(_) => Err(HypervisorError::Deadline {
                what: format!("QEMU's answer to {}", C::NAME),
                after: deadline,
            }),
        }
    }

    /// Executes a command that takes the descriptor that came last.
    ///
    /// # Errors
    /// As for [`Monitor::execute`].
    pub async fn execute_with<C: QmpCommand>(
        &self,
        command: C,
        descriptor: &impl AsFd,
    ) -> Result<Value, HypervisorError> {
        if !self.unanswered.load(Ordering::Relaxed) {
            pass(&self.socket, descriptor)
                .map_err(|error| failed(C::NAME, &self.broken, &error.to_string()))?;
        }
        self.execute(command).await
    }

    /// Executes a command of the human monitor and returns what it prints.
    ///
    /// # Errors
    /// As for [`Monitor::execute`].
    pub async fn human(&self, command_line: &str) -> Result<String, HypervisorError> {
        let answer = self
            .execute(qapi::qmp::human_monitor_command {
                command_line: command_line.to_owned(),
                cpu_index: None,
            })
            .await?;
        Ok(answer.as_str().unwrap_or_default().to_owned())
    }

    /// The next event; nothing when the connection has ended.
    pub async fn next_event(&mut self) -> Option<MonitorEvent> {
        self.events.recv().await
    }

    /// An event that has come already.
    pub fn waiting_event(&mut self) -> Option<MonitorEvent> {
        self.events.try_recv().ok()
    }
}

/// Sends a descriptor, with a byte that means nothing between two lines.
fn pass(socket: &OwnedFd, descriptor: &impl AsFd) -> std::io::Result<()> {
    let descriptors = [descriptor.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(std::io::Error::other("there is no room for a descriptor"));
    }
    let blank = [IoSlice::new(b"\n")];
    match sendmsg(socket, &blank, &mut ancillary, SendFlags::NOSIGNAL)? {
        1 => Ok(()),
        _ => Err(std::io::Error::other("a descriptor was not sent")),
    }
}

fn failed(command: &str, broken: &Mutex<Option<String>>, error: &str) -> HypervisorError {
    let reason = broken
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    HypervisorError::Monitor {
        command: command.to_owned(),
        detail: reason.unwrap_or_else(|| error.to_owned()),
    }
}

/// Parts events from answers until the connection ends.
async fn pump(
    read: OwnedReadHalf,
    mut to_qapi: DuplexStream,
    events: mpsc::Sender<MonitorEvent>,
    broken: Arc<Mutex<Option<String>>>,
) {
    let reason = match pump_lines(BufReader::new(read), &mut to_qapi, &events).await {
        Ok(()) => "the connection was closed".to_owned(),
        Err(reason) => reason,
    };
    *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
}

async fn pump_lines(
    mut read: BufReader<OwnedReadHalf>,
    to_qapi: &mut DuplexStream,
    events: &mpsc::Sender<MonitorEvent>,
) -> Result<(), String> {
    loop {
        let mut line = Vec::new();
        let length = (&mut read)
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line)
            .await
            .map_err(|error| error.to_string())?;
        if length == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') {
            return Err("it sent a line without an end".to_owned());
        }
        match classify(&line)? {
            Line::Event(event) => {
                // A full queue means that nobody waits for events now.
                drop(events.try_send(event));
            }
            Line::Answer => to_qapi
                .write_all(&line)
                .await
                .map_err(|error| error.to_string())?,
        }
    }
}

#[derive(Debug, PartialEq)]
enum Line {
    Event(MonitorEvent),
    Answer,
}

/// What a line of the protocol is; an error says why it is none.
fn classify(line: &[u8]) -> Result<Line, String> {
    let nonsense = || {
        let start = String::from_utf8_lossy(line.get(..line.len().min(80)).unwrap_or_default());
        format!(
            "it sent what is not of the protocol: {:?}",
            start.trim_end()
        )
    };
    let mut value: Value = serde_json::from_slice(line).map_err(|_| nonsense())?;
    let object = value.as_object_mut().ok_or_else(nonsense)?;
    if let Some(name) = object.get("event").and_then(Value::as_str) {
        return Ok(Line::Event(MonitorEvent {
            name: name.to_owned(),
            data: object.get("data").cloned().unwrap_or(Value::Null),
        }));
    }
    let known = ["return", "error", "QMP"];
    if known.iter().any(|key| object.contains_key(*key)) {
        Ok(Line::Answer)
    } else {
        Err(nonsense())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob", "not-yet-invented"]}}"#;

    /// A monitor over a fake server that plays a script: it answers each line that it gets with
    /// the next lines of the script, with the id of the command filled in.
    async fn fake(script: Vec<&'static str>) -> Result<Monitor, HypervisorError> {
        fake_of(GREETING, script).await
    }

    async fn fake_of(
        greeting: &'static str,
        script: Vec<&'static str>,
    ) -> Result<Monitor, HypervisorError> {
        let (ours, theirs) = UnixStream::pair().unwrap();
        tokio::spawn(async move {
            let (read, mut write) = theirs.into_split();
            let mut read = BufReader::new(read).lines();
            write
                .write_all(format!("{greeting}\n").as_bytes())
                .await
                .unwrap();
            let mut script = std::iter::once(r#"{"return": {}, "id": ID}"#).chain(script);
            while let Ok(Some(command)) = read.next_line().await {
                let command: Value = serde_json::from_str(&command).unwrap();
                let Some(answer) = script.next() else { return };
                let answer = answer.replace("ID", &command["id"].to_string());
                write
                    .write_all(format!("{answer}\n").as_bytes())
                    .await
                    .unwrap();
            }
        });
        Monitor::open(ours).await
    }

    #[tokio::test]
    async fn an_event_of_a_newer_schema_ends_nothing() {
        let mut monitor = fake(vec![concat!(
            r#"{"event": "NOT_YET_INVENTED", "data": {"a": [1]}, "timestamp": {"seconds": 1, "microseconds": 2}}"#,
            "\n",
            r#"{"return": {"status": "not-yet-invented", "running": false}, "id": ID}"#
        )])
        .await
        .unwrap();
        let answer = monitor.execute(qapi::qmp::query_status {}).await.unwrap();
        assert_eq!(answer["status"], "not-yet-invented");
        let event = monitor.next_event().await.unwrap();
        assert_eq!(event.name, "NOT_YET_INVENTED");
    }

    #[tokio::test]
    async fn a_refusal_names_the_command() {
        let monitor = fake(vec![
            r#"{"error": {"class": "GenericError", "desc": "no such thing"}, "id": ID}"#,
        ])
        .await
        .unwrap();
        let error = monitor.execute(qapi::qmp::cont {}).await.unwrap_err();
        assert!(error.to_string().contains("cont: no such thing"), "{error}");
    }

    #[tokio::test]
    async fn nonsense_is_an_error_that_shows_it() {
        let monitor = fake(vec!["hello world"]).await.unwrap();
        let error = monitor.execute(qapi::qmp::cont {}).await.unwrap_err();
        assert!(error.to_string().contains("hello world"), "{error}");
    }

    #[tokio::test]
    async fn after_a_command_without_an_answer_there_is_no_other() {
        const PLAIN: &str = r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}"#;
        const SILENCE: &str =
            r#"{"event": "NOTHING", "data": {}, "timestamp": {"seconds": 1, "microseconds": 2}}"#;
        for greeting in [GREETING, PLAIN] {
            let mut monitor = fake_of(greeting, vec![SILENCE]).await.unwrap();
            let mut events = std::mem::replace(&mut monitor.events, mpsc::channel(1).1);
            // The server has taken the command, and the caller gives it up.
            tokio::select! {
                answer = monitor.execute(qapi::qmp::cont {}) => panic!("{answer:?}"),
                _ = events.recv() => {}
            }
            let error = monitor.execute(qapi::qmp::cont {}).await.unwrap_err();
            assert!(error.to_string().contains("not answered"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_closed_connection_is_an_error() {
        let monitor = fake(vec![]).await.unwrap();
        let error = monitor.execute(qapi::qmp::cont {}).await.unwrap_err();
        assert!(matches!(error, HypervisorError::Monitor { .. }));
    }

    proptest! {
        #[test]
        fn any_line_is_survived(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(classify(&line));
        }
    }
}
