//! A go-between of vardoger and a guest's agent: passes on what both say, and knows when the agent
//! has said that file systems are frozen. At that moment it can kill whoever asked.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long the guard may take: it thaws after 2 s at the latest, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who is to be killed at the next freeze, as soon as it is known; nobody if there is nothing.
type Victim = Arc<Mutex<Option<Receiver<u32>>>>;

pub(crate) struct Between {
    victim: Victim,
    thawed: Mutex<Receiver<()>>,
}

impl Between {
    /// Listens at a socket for those who want to speak with the agent behind another.
    pub(crate) fn start(socket: &Path, agent: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let victim = Victim::default();
        let (sender, thawed) = channel();
        let (agent, shared): (PathBuf, _) = (agent.into(), Arc::clone(&victim));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                pass_on(&stream.unwrap(), &agent, &shared, &sender);
            }
        });
        Self {
            victim,
            thawed: Mutex::new(thawed),
        }
    }

    /// Kills whoever asks next, as soon as file systems are frozen and before it hears of it. Its
    /// process must be told.
    pub(crate) fn kill_at_freeze(&self) -> Sender<u32> {
        let (sender, victim) = channel();
        *self.victim.lock().unwrap() = Some(victim);
        sender
    }

    /// Whether the agent has thawed after the victim was killed.
    pub(crate) fn thawed(&self) -> bool {
        self.thawed.lock().unwrap().recv_timeout(PATIENCE).is_ok()
    }
}

/// One conversation, to its end.
fn pass_on(client: &UnixStream, agent: &Path, victim: &Victim, thawed: &Sender<()>) {
    let agent = UnixStream::connect(agent).unwrap();
    let (mut from, mut to) = (client.try_clone().unwrap(), agent.try_clone().unwrap());
    let asking = std::thread::spawn(move || {
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Both));
    });
    let (mut agent, mut client) = (agent, client);
    let (mut piece, mut killed) = ([0; 4096], false);
    while let Ok(length @ 1..) = agent.read(&mut piece) {
        // Answers come one by one, each when it was asked for: after the kill there is one to thaw.
        let said = String::from_utf8_lossy(&piece[..length]).into_owned();
        if killed && said.contains("\"return\"") {
            thawed.send(()).ok();
        }
        // One file system: the answer to freezing, and to thawing, for which nobody is armed.
        let is_frozen = said.contains("{\"return\": 1}");
        let armed = victim.lock().unwrap().take_if(|_| is_frozen);
        if let Some(pid) = armed.map(|victim| victim.recv().unwrap()) {
            kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
            killed = true;
        }
        if client.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    drop(client.shutdown(Shutdown::Both));
    asking.join().unwrap();
}
