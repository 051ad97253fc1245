//! What the black-box tests share: a world of one test's own (store, run directory, configuration)
//! and the real binary, started in it.
//!
//! ```text
//!  target/tmp/black-box-store   a machine, booted once and kept for later runs of the tests
//!          │ copied
//!          ▼
//!  WORLD/store   WORLD/run   WORLD/config      in memory where there is room; gone with the test
//! ```
//!
//! The tests of one file take turns, since their machines would wait for each other's processors
//! anyway. Every wait has a deadline; a program that outlives its test is ended with it.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test program uses a part of this, and a helper of a test may panic"
)]

pub mod images;
pub mod process;
pub mod program;
pub mod schema;

use process::{Ended, Running};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Room that a world may need in memory: a machine, five whole images twice, five replicas.
const ROOM_BYTES: u64 = 3 << 30;

/// How long what was told to go may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Flags that keep a run short where its length says nothing.
pub const SHORT: &str = "--budget 300ms --jobs 2";

/// One test's store, run directory and configuration.
pub struct World {
    directory: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    /// A world with a machine that was booted before.
    pub fn new() -> Self {
        let world = Self::cold();
        world.bring_machine();
        world
    }

    /// A world without a machine: the first run boots one.
    pub fn cold() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::Builder::new()
            .prefix("vardoger-test-")
            .tempdir_in(roomy())
            .unwrap();
        // Emulators run as another user, who must get through to the run directory.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
        Self {
            directory,
            _turn: turn,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    pub fn run_directory(&self) -> PathBuf {
        self.path("run")
    }

    /// The binary with these arguments, separated by blanks.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = command(&self.store(), &self.run_directory());
        command
            .env("XDG_CONFIG_HOME", self.path("config"))
            .args(arguments.split_ascii_whitespace());
        command
    }

    pub fn start(&self, arguments: &str) -> Running {
        Running::start(&mut self.command(arguments))
    }

    pub fn run(&self, arguments: &str) -> Ended {
        self.start(arguments).wait()
    }

    /// Runs what must succeed and gives its document's data.
    pub fn data(&self, arguments: &str) -> Value {
        self.run(&format!("{arguments} --json")).expect(0).data()
    }

    /// A run with one flipped bit at its end, so that there is a finding; gives the run's id.
    pub fn make_finding(&self) -> String {
        let flags = format!("run start sha256 -n 3 {SHORT} --inject ram=0x3000000:5@end --json");
        let run = self.run(&flags).expect(3).data();
        run["id"].as_str().unwrap().to_owned()
    }

    /// The ids of all findings.
    pub fn findings(&self) -> Vec<String> {
        let listed = self.data("finding ls");
        let findings = listed["findings"].as_array().unwrap();
        findings
            .iter()
            .map(|finding| finding["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Removes all runs with their evidence; the machine stays.
    pub fn forget_runs(&self) {
        for entry in fs::read_dir(self.store()).unwrap().flatten() {
            let path = entry.path();
            if entry.file_name() == "cache" {
                continue;
            }
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
    }

    /// Removes the kept machines, so that the next run boots one.
    pub fn forget_machine(&self) {
        fs::remove_dir_all(self.store().join("cache/machines")).unwrap();
    }

    /// Copies the machine that all tests share into the store.
    pub fn bring_machine(&self) {
        let machines = self.store().join("cache/machines");
        fs::create_dir_all(&machines).unwrap();
        fs::set_permissions(self.store(), fs::Permissions::from_mode(0o700)).unwrap();
        let copied = Command::new("cp")
            .args(["--recursive", "--"])
            .arg(shared_machine())
            .arg(&machines)
            .status();
        assert!(copied.unwrap().success(), "the machine was not copied");
    }

    /// Ends the test unless everything of ended instances goes away by itself, at once.
    pub fn assert_clean(&self) {
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            let left = self.leftovers();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "left behind: {left:#?}");
            std::thread::yield_now();
        }
    }

    /// Processes, run directories and unfinished files that are there.
    pub fn leftovers(&self) -> Vec<String> {
        let run = names(&self.run_directory());
        let run = run.filter(|name| !name.starts_with("cpu-"));
        let cache = self.store().join("cache");
        let cached = names(&cache).chain(names(&cache.join("machines")));
        let unfinished =
            cached.filter(|name| name.starts_with("unfinished-") || name.starts_with("export-"));
        self.emulators()
            .into_iter()
            .map(|process| format!("process {process}"))
            .chain(run)
            .chain(unfinished)
            .collect()
    }

    /// The processes whose command line names this world's run directory.
    pub fn emulators(&self) -> Vec<String> {
        let ours = self.run_directory().to_string_lossy().into_owned();
        let of_ours = |process: &String| {
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&ours)
        };
        names(Path::new("/proc"))
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .filter(of_ours)
            .collect()
    }
}

/// The binary on a store and a run directory, deaf to what the user has set up.
fn command(store: &Path, run: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vardoger"));
    command
        .env("VARDOGER_STORE", store)
        .env("VARDOGER_RUN_DIR", run)
        .env_remove("VARDOGER_LOG");
    command
}

/// The directory of a machine that fits this build: loaded, or booted if there is none.
fn shared_machine() -> &'static Path {
    static MACHINE: OnceLock<PathBuf> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let store = Path::new(env!("CARGO_TARGET_TMPDIR")).join("black-box-store");
        let run = tempfile::Builder::new()
            .prefix("vardoger-test-")
            .tempdir_in(roomy())
            .unwrap();
        fs::set_permissions(run.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let mut command = command(&store, &run.path().join("run"));
        command.args("run start sha256 -n 2 --budget 10ms".split(' '));
        Running::start(&mut command).wait().expect(0);
        newest(&store.join("cache/machines"))
    })
}

/// The machine that was used last.
fn newest(machines: &Path) -> PathBuf {
    let kept = fs::read_dir(machines).unwrap().flatten();
    kept.max_by_key(|entry| entry.metadata().and_then(|kept| kept.modified()).ok())
        .unwrap()
        .path()
}

/// Where worlds are made: in memory, where there is room.
fn roomy() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |memory| memory.f_bavail * memory.f_frsize);
    if room >= ROOM_BYTES {
        memory.to_path_buf()
    } else {
        std::env::temp_dir()
    }
}

fn names(directory: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}
