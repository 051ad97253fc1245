//! A QEMU that the product did not start: of the test, with a monitor for us and one for the test.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

/// Runs a tool, which must succeed.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {complained}"
    );
}

/// Makes an image.
pub(crate) fn create(path: &Path, format: &str, bytes: u64) {
    let path = path.to_str().unwrap();
    run(
        "qemu-img",
        &["create", "-q", "-f", format, path, &bytes.to_string()],
    );
}

/// A machine, and the test's own monitor.
pub(crate) struct Machine {
    child: Child,
    pub(crate) socket: PathBuf,
    monitor: BufReader<UnixStream>,
    pub(crate) console: Option<ChildStdout>,
}

impl Machine {
    /// Starts QEMU in a directory of the test.
    pub(crate) fn start(place: &Path, arguments: &[&str]) -> Self {
        let ours = place.join("monitor");
        let tests = place.join("test-monitor");
        let unix = |path: &Path| format!("unix:{},server=on,wait=off", path.display());
        let mut child = Command::new("qemu-system-x86_64")
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-qmp", &unix(&ours), "-qmp", &unix(&tests)])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let console = child.stdout.take();
        let monitor = connect(&mut child, &tests);
        let mut machine = Self {
            child,
            socket: ours,
            monitor: BufReader::new(monitor),
            console,
        };
        machine.answer();
        machine.ask("qmp_capabilities", json!({}));
        machine
    }

    /// A machine without a guest: it is started for its disks.
    pub(crate) fn of_disks(place: &Path, drives: &[&str]) -> Self {
        let mut arguments = vec!["-machine", "none", "-S"];
        arguments.extend(drives.iter().flat_map(|drive| ["-drive", drive]));
        Self::start(place, &arguments)
    }

    /// Asks the monitor of the test, which must not refuse.
    pub(crate) fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let answer = self.try_ask(command, arguments);
        assert!(answer.get("error").is_none(), "{command}: {answer}");
        answer["return"].clone()
    }

    pub(crate) fn try_ask(&mut self, command: &str, arguments: Value) -> Value {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.monitor.get_mut(), "{line}").unwrap();
        loop {
            let answer = self.answer();
            if answer.get("event").is_none() {
                return answer;
            }
        }
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.monitor.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// Writes to a disk as a guest would.
    pub(crate) fn write(&mut self, disk: &str, offset: u64, bytes: u64, pattern: u8) {
        let line = format!("qemu-io {disk} \"write -P {pattern} {offset} {bytes}\"");
        let said = self.ask("human-monitor-command", json!({ "command-line": line }));
        assert!(!said.to_string().contains("rror"), "{said}");
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// The next byte that the guest sends.
    pub(crate) fn beat(&mut self) -> u8 {
        let mut byte = [0];
        let console = self.console.as_mut().unwrap();
        console.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// Ends it as a guest's power button would: bitmaps are written down.
    pub(crate) fn quit(mut self) {
        self.ask("quit", json!({}));
        self.child.wait().unwrap();
    }

    /// All names of nodes, jobs, exports, and of bitmaps by their nodes.
    pub(crate) fn names(&mut self) -> Vec<String> {
        let mut names = Vec::new();
        let lists = [
            ("query-named-block-nodes", "node-name"),
            ("query-jobs", "id"),
            ("query-block-exports", "id"),
        ];
        for (list, key) in lists {
            let answer = self.ask(list, json!({}));
            for one in answer.as_array().unwrap() {
                names.push(one[key].as_str().unwrap().to_owned());
                let bitmaps = one["dirty-bitmaps"].as_array().into_iter().flatten();
                names.extend(bitmaps.filter_map(|one| Some(one["name"].as_str()?.to_owned())));
            }
        }
        let sets = self.ask("query-fdsets", json!({}));
        let sets = sets.as_array().unwrap().iter();
        names.extend(sets.map(|set| set.to_string()));
        names
    }
}

/// There is a moment between QEMU's start and its socket.
fn connect(child: &mut Child, socket: &Path) -> UnixStream {
    loop {
        if let Ok(stream) = UnixStream::connect(socket) {
            return stream;
        }
        assert!(child.try_wait().unwrap().is_none(), "QEMU has ended");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Machine {
    /// With `kill -9`.
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
