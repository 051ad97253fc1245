//! Machines with a disk: recorders and followers.
//!
//! ```text
//!  boot, recorded ─► ready ─► state image │ memory ── the snapshot
//!        ┌──────────────────────┴──────────────┐
//!  recorder: state loaded, runs          follower: state loaded, fed with the recording
//!     │ stops where its guest says          │ stops at the same instructions
//!     ▼                                     ├── its count stands still: out of step
//!  runs on, off, quit ─► log ─► Recording   └── it comes to the recording's end: out of step
//! ```
//!
//! A snapshot of such a machine is made while it is recorded: a plain one has no count of its own
//! that a recorder could go on from. Its device file is the number of disk requests that the
//! machine has seen (8 bytes, big-endian), and after that the image that QEMU saved its state in.
//! As in other snapshots, memory is beside it and not in it.

use crate::error::HypervisorError;
use crate::host::need_space;
use crate::memory::sparse;
use crate::process::process_cpu_ns;
use crate::qemu::command_line::{OVERLAY_NODE, RecordedFiles, STATE_NODE};
use crate::qemu::domain::QemuDomain;
use crate::qemu::empty_image::{MAX_DISK_BYTES, empty_image};
use crate::qemu::ending::explain;
use crate::qemu::recording::{FeedPipe, Recording, requests};
use crate::qemu::snapshot::{MIGRATION_DEADLINE, capabilities};
use crate::traits::{Course as Ordered, DiskFormat, DiskImage, Domain, Snapshot, Stop, WaitLimits};
use qapi::qmp::QmpCommand;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// The disk of a machine that is booted: nothing reads it before the snapshot but firmware.
const BOOT_DISK_BYTES: u64 = 1 << 20;

/// Room for a saved state: virtual, and used by a few hundred KiB.
const STATE_DISK_BYTES: u64 = 1 << 30;

/// The name of the saved state in its image.
const TAG: &str = "ready";

/// Bytes before the state image in a snapshot's device file.
const REQUESTS_BYTES: usize = 8;

/// The largest device file that is loaded: a state has less than 1 MiB.
const MAX_DEVICE_BYTES: usize = 64 << 20;

/// How often a state is saved anew that QEMU refuses to save since events are on their way.
const SAVE_TRIES: u32 = 50;
const SAVE_PAUSE: Duration = Duration::from_millis(20);

/// The file that bytes for a disk come from.
const PATCH: &str = "patch";

/// The longest recording: what an hour of busy work writes.
const MAX_LOG_BYTES: u64 = 1 << 30;

/// How often a follower's count of instructions is asked for.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// CPU time that an emulator may use without executing an instruction of its guest. One that is out
/// of step spins for ever; one whose disk has not completed a request that the recording has
/// completed spins too, until the host's disk has.
const STALLED_CPU_NS: u64 = 20_000_000_000;

/// How long an emulator may take to end in good order.
const QUIT_DEADLINE: Duration = Duration::from_secs(60);

/// The files of a machine with a disk, before its emulator runs.
#[derive(Debug)]
pub(super) struct RecordedPlace {
    log: PathBuf,
    state: PathBuf,
    overlay: PathBuf,
    feed: Option<FeedPipe>,
    /// Whom the emulator's files are given to.
    user: Option<u32>,
    /// Descriptor and format of the image below.
    pub(super) image: Option<(i32, DiskFormat)>,
}

impl RecordedPlace {
    fn in_directory(directory: &Path, user: Option<u32>) -> Self {
        Self {
            user,
            log: directory.join("log"),
            state: directory.join("state"),
            overlay: directory.join("overlay"),
            feed: None,
            image: None,
        }
    }

    /// For a machine that boots, and has a disk of nothing.
    pub(super) fn for_boot(directory: &Path, user: Option<u32>) -> Result<Self, HypervisorError> {
        let place = Self::in_directory(directory, user);
        place.give(&place.state, &empty_image(STATE_DISK_BYTES))?;
        place.give(&place.overlay, &empty_image(BOOT_DISK_BYTES))?;
        Ok(place)
    }

    /// For a machine that is restored, with a disk over an image.
    pub(super) fn for_disk(
        directory: &Path,
        user: Option<u32>,
        snapshot: &Snapshot,
        (disk, course): (&DiskImage, Ordered<'_>),
    ) -> Result<Self, HypervisorError> {
        if disk.disk_bytes > MAX_DISK_BYTES {
            return Err(HypervisorError::DiskTooLarge {
                path: disk.path.clone(),
                disk_bytes: disk.disk_bytes,
            });
        }
        let mut place = Self::in_directory(directory, user);
        let (requests, state) = read_device(&snapshot.device)?;
        place.give(&place.state, &state)?;
        place.give(&place.overlay, &empty_image(disk.disk_bytes))?;
        if let Ordered::Follow(recording) = course {
            let feed = recording.feed(requests);
            place.feed = Some(FeedPipe::create(&place.log, user, feed)?);
        }
        Ok(place)
    }

    /// Writes a file and gives it to the emulator's user.
    fn give(&self, path: &Path, content: &[u8]) -> Result<(), HypervisorError> {
        fs::write(path, content).map_err(HypervisorError::file("write", path))?;
        if let Some(user) = self.user {
            std::os::unix::fs::chown(path, Some(user), Some(user))
                .map_err(HypervisorError::file("give away", path))?;
        }
        Ok(())
    }

    /// What the command line names.
    pub(super) fn files(&self) -> RecordedFiles<'_> {
        RecordedFiles {
            records: self.feed.is_none(),
            log: &self.log,
            state: &self.state,
            overlay: &self.overlay,
            image: self.image,
        }
    }
}

/// Requests that the machine has seen, and the image of its state.
fn read_device(path: &Path) -> Result<(u64, Vec<u8>), HypervisorError> {
    let damaged = || {
        let source = std::io::Error::other("it is not the state of a machine with a disk");
        HypervisorError::file("load", path)(source)
    };
    let content = fs::read(path).map_err(HypervisorError::file("read", path))?;
    if content.len() > MAX_DEVICE_BYTES {
        return Err(damaged());
    }
    let (requests, state) = content.split_first_chunk().ok_or_else(damaged)?;
    let requests: &[u8; REQUESTS_BYTES] = requests;
    Ok((u64::from_be_bytes(*requests), state.to_vec()))
}

/// What a running machine with a disk has besides.
#[derive(Debug)]
pub(super) struct Course {
    place: RecordedPlace,
    /// Instructions when the snapshot was loaded.
    begin: u64,
}

impl Course {
    /// The emulator has opened all its files.
    pub(super) fn begin(mut place: RecordedPlace) -> Self {
        if let Some(feed) = &mut place.feed {
            feed.is_open();
        }
        Self { place, begin: 0 }
    }
}

/// Sees that a follower stands still although it runs.
#[derive(Debug)]
pub(super) struct Watchdog {
    looked: Instant,
    count: u64,
    cpu_ns: u64,
}

impl QemuDomain {
    /// Of a follower.
    pub(super) fn watchdog(&self) -> Option<Watchdog> {
        let course = self.recorded.as_ref()?;
        course.place.feed.as_ref()?;
        Some(Watchdog {
            looked: Instant::now(),
            count: 0,
            cpu_ns: self.cpu_ns(),
        })
    }

    fn cpu_ns(&self) -> u64 {
        process_cpu_ns(self.child.pid()).unwrap_or(0)
    }

    /// What a stop means that nobody asked for.
    pub(super) fn bare_stop(&self) -> Stop {
        match self.watchdog() {
            None => Stop::Breakpoint,
            Some(_) => Stop::OutOfStep("it came to the end of the recording".to_owned()),
        }
    }

    /// Pauses a follower that uses the host's time and executes nothing.
    pub(super) async fn out_of_step(
        &mut self,
        watchdog: &mut Watchdog,
    ) -> Result<Option<Stop>, HypervisorError> {
        if watchdog.looked.elapsed() < WATCH_INTERVAL {
            return Ok(None);
        }
        let count = self.instructions().await?;
        watchdog.looked = Instant::now();
        if count != watchdog.count {
            watchdog.count = count;
            watchdog.cpu_ns = self.cpu_ns();
            return Ok(None);
        }
        if self.cpu_ns().saturating_sub(watchdog.cpu_ns) < STALLED_CPU_NS {
            return Ok(None);
        }
        Ok(Some(match self.pause(None).await? {
            Stop::Deadline => {
                let executed = count.saturating_sub(self.recorded.as_ref().map_or(0, |c| c.begin));
                Stop::OutOfStep(format!("it went no further after {executed} instructions"))
            }
            stop => stop,
        }))
    }

    /// Instructions that the guest has executed since it was booted.
    async fn instructions(&self) -> Result<u64, HypervisorError> {
        let answer = self.monitor.execute(qapi::qmp::query_replay {}).await?;
        let count = answer.get("icount").and_then(Value::as_u64);
        count.ok_or_else(|| HypervisorError::Monitor {
            command: "query-replay".to_owned(),
            detail: "it gives no count of instructions".to_owned(),
        })
    }

    /// Saves this stopped machine into an empty directory; its emulator ends.
    pub(super) async fn save_recorded(
        &mut self,
        directory: &Path,
    ) -> Result<Snapshot, HypervisorError> {
        let Some(course) = &self.recorded else {
            return Err(unsupported("save it so"));
        };
        let (state, log) = (course.place.state.clone(), course.place.log.clone());
        let needed = self.memory_bytes.saturating_add(MAX_DEVICE_BYTES as u64);
        need_space(directory, needed, "a snapshot")?;
        let snapshot = Snapshot::in_directory(directory);
        self.monitor.execute(capabilities()).await?;
        self.save_state().await?;
        sparse::copy(&self.memory_file, &snapshot.memory)?;
        self.quit().await?;
        let seen = requests(&read_log(&log)?);
        let state = fs::read(&state).map_err(HypervisorError::file("read", &state))?;
        let device = [&seen.to_be_bytes()[..], &state].concat();
        fs::write(&snapshot.device, device)
            .map_err(HypervisorError::file("write", &snapshot.device))?;
        Ok(snapshot)
    }

    /// Saves the state into its image. QEMU refuses while events are on their way.
    async fn save_state(&mut self) -> Result<(), HypervisorError> {
        let mut tries = 0;
        loop {
            let id = format!("save-{tries}");
            let save = qapi::qmp::snapshot_save {
                devices: vec![STATE_NODE.to_owned()],
                job_id: id.clone(),
                tag: TAG.to_owned(),
                vmstate: STATE_NODE.to_owned(),
            };
            match self.job(save, &id).await {
                Err(_) if tries < SAVE_TRIES => {}
                done => return done,
            }
            tries += 1;
            sleep(SAVE_PAUSE).await;
        }
    }

    /// Loads the state that the machine's image holds.
    pub(super) async fn load_recorded(&mut self) -> Result<(), HypervisorError> {
        self.monitor.execute(capabilities()).await?;
        let load = qapi::qmp::snapshot_load {
            devices: vec![STATE_NODE.to_owned()],
            job_id: "load".to_owned(),
            tag: TAG.to_owned(),
            vmstate: STATE_NODE.to_owned(),
        };
        if let Err(error) = self.job(load, "load").await {
            return Err(explain(&mut self.child, &self.directory, error).await);
        }
        let begin = self.instructions().await?;
        if let Some(course) = &mut self.recorded {
            course.begin = begin;
        }
        Ok(())
    }

    /// Starts a job of QEMU's and waits for its end.
    async fn job<C: QmpCommand>(&mut self, command: C, id: &str) -> Result<(), HypervisorError> {
        self.monitor.execute(command).await?;
        let concluded = timeout(MIGRATION_DEADLINE, self.job_concluded(id)).await;
        let closed = |detail: &str| HypervisorError::Monitor {
            command: C::NAME.to_owned(),
            detail: detail.to_owned(),
        };
        match concluded {
            Ok(true) => {}
            Ok(false) => return Err(closed("the connection was closed")),
            Err(_) => {
                return Err(HypervisorError::Deadline {
                    what: format!("the end of {}", C::NAME),
                    after: MIGRATION_DEADLINE,
                });
            }
        }
        let jobs = self.monitor.execute(qapi::qmp::query_jobs {}).await?;
        let dismiss = qapi::qmp::job_dismiss { id: id.to_owned() };
        self.monitor.execute(dismiss).await?;
        let mut jobs = jobs.as_array().into_iter().flatten();
        let ours = jobs.find(|job| job.get("id").and_then(Value::as_str) == Some(id));
        match ours.and_then(|job| job.get("error")?.as_str()) {
            None => Ok(()),
            Some(error) => Err(closed(error)),
        }
    }

    /// Whether the job came to its end; not if the connection did before.
    async fn job_concluded(&mut self, id: &str) -> bool {
        while let Some(event) = self.monitor.next_event().await {
            let text = |key: &str| event.data.get(key).and_then(Value::as_str);
            if event.name == "JOB_STATUS_CHANGE"
                && text("id") == Some(id)
                && text("status") == Some("concluded")
            {
                return true;
            }
        }
        false
    }

    /// Has the emulator end in good order, so that all its files are whole.
    async fn quit(&mut self) -> Result<(), HypervisorError> {
        // Its answer may be lost with the connection: what counts is that it ends.
        self.monitor.execute(qapi::qmp::quit {}).await.ok();
        match timeout(QUIT_DEADLINE, self.child.wait()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(HypervisorError::Deadline {
                what: "the emulator's end".to_owned(),
                after: QUIT_DEADLINE,
            }),
        }
    }

    /// Lets a recorder run on until its guest is off, and takes its recording.
    pub(super) async fn end_recording(
        mut self: Box<Self>,
        limits: WaitLimits,
    ) -> Result<Recording, HypervisorError> {
        let Some(course) = self
            .recorded
            .as_ref()
            .filter(|one| one.place.feed.is_none())
        else {
            return Err(unsupported(
                "give a recording of a machine that it does not record",
            ));
        };
        let (begin, log) = (course.begin, course.place.log.clone());
        let executed = self.instructions().await?.saturating_sub(begin);
        self.resume().await?;
        self.wait_stop(limits).await?;
        self.quit().await?;
        Ok(Recording::of_log(read_log(&log)?, executed)?)
    }

    /// What the guest has written to its disk and flushed.
    pub(super) fn open_overlay(&self) -> Result<Option<File>, HypervisorError> {
        let Some(course) = &self.recorded else {
            return Ok(None);
        };
        let path = &course.place.overlay;
        let file = File::open(path).map_err(HypervisorError::file("open", path))?;
        Ok(Some(file))
    }
}

impl QemuDomain {
    /// Writes into the overlay of a machine that stands still, by way of its emulator, which keeps
    /// the image's tables.
    pub(super) async fn write_overlay(
        &mut self,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), HypervisorError> {
        let Some(course) = &self.recorded else {
            return Err(unsupported("write to the disk of a machine that has none"));
        };
        // The emulator works in its directory.
        let content = self.directory.join(PATCH);
        course.place.give(&content, bytes)?;
        let length = bytes.len();
        for command in [
            format!("write -q -s {PATCH} {offset} {length}"),
            "flush".to_owned(),
        ] {
            let line = format!("qemu-io {OVERLAY_NODE} \"{command}\"");
            let complaint = self.monitor.human(&line).await?;
            if !complaint.trim().is_empty() {
                return Err(HypervisorError::Monitor {
                    command: line,
                    detail: complaint.trim().to_owned(),
                });
            }
        }
        fs::remove_file(&content).map_err(HypervisorError::file("remove", &content))
    }
}

const fn unsupported(what: &'static str) -> HypervisorError {
    HypervisorError::Unsupported {
        hypervisor: "qemu",
        what,
    }
}

fn read_log(path: &Path) -> Result<Vec<u8>, HypervisorError> {
    let failed = || HypervisorError::file("read", path);
    let bytes = fs::metadata(path).map_err(failed())?.len();
    if bytes > MAX_LOG_BYTES {
        let source = std::io::Error::other(format!("a recording of {bytes} bytes is too long"));
        return Err(failed()(source));
    }
    fs::read(path).map_err(failed())
}
