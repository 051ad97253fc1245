//! `vardoger-guest`: the first and only process of a guest.
//!
//! ```text
//!  boot ─► mount, open channel and signal
//!       ─► mailbox, symbols ─► "hello" ─► stop      the host copies the symbols
//!       ─► symbols freed, idle if told so ─► "ready" ─► stop      the host snapshots, and writes a job
//!       ─► job read ─► buffers named ─► steps ─► [ "mark" ─► stop ]… at the marks that the job names
//!             └─► or a program of the user's, or a command in his disk: see the module `program`
//!       ─► metrics, "result", "mark end" ─► stop    the terminal state
//!       ─► power off
//!  on any error after the channel is open: "failed" ─► stop ─► power off
//! ```
//!
//! A stop is a signal to the host, which stops the processor within that instruction and may let
//! it go on later; at a mark it may be a breakpoint of the host's instead. A mark that no job names
//! costs nothing. One thread and no timers, no output
//! between steps: the state at a stop is a function of the job alone. Only within a step of a
//! computation that is about the kernel or about several processors there are further threads and processes; none is left
//! at its end.
//!
//! Deliberately absent: restarts, a network, and processes but those of a user's program and of a
//! computation that is about the kernel.

mod buffers;
mod clock;
mod disk;
mod error;
mod host;
mod mounts;
mod pagemap;
mod pages;
mod pci;
mod port;
mod program;
mod stops;
mod symbols;
mod waypoint;
mod work;

use computation::isa;
use computation::job::{self, Hello, MAILBOX_BYTES, Message, PROTOCOL};
use error::GuestError;
use guest::{Link, settle_time};
use host::Host;
use pages::Pages;
use std::fs;
use std::panic;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

/// The way to the host: in a static so that a panic can be told.
static HOST: OnceLock<Host> = OnceLock::new();

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("vardoger-guest is the first process of a guest and does nothing elsewhere");
        return ExitCode::FAILURE;
    }
    if let Err(error) = serve() {
        // The kernel's console: all there is without a channel.
        eprintln!("vardoger-guest: {error}");
    }
    mounts::power_off()
}

/// Everything from boot to the terminal state.
fn serve() -> Result<(), GuestError> {
    mounts::mount_all()?;
    let arguments = read_text("/proc/cmdline")?;
    let host = Host::open(Link::from_kernel_arguments(&arguments)?)?;
    let host = HOST.get_or_init(|| host);
    panic::set_hook(Box::new(|panic| report_panic(&panic.to_string())));
    let outcome = attend(host, settle_time(&arguments)?);
    if let Err(error) = &outcome {
        host.fail(&error.to_string());
    }
    outcome
}

/// Introduces itself, waits for the job, and does it.
fn attend(host: &Host, settle: Duration) -> Result<(), GuestError> {
    let mut mailbox = Pages::reserve(MAILBOX_BYTES)?;
    mailbox.bytes_mut().fill(0);
    mailbox.lock(MAILBOX_BYTES)?;
    introduce(host, &mailbox)?;
    thread::sleep(settle);
    host.say(&Message::Ready)?;
    host.stop();
    let job = job::decode_job(&mailbox.read_volatile())?;
    match (&job.command, &job.program) {
        (Some(command), _) => program::perform_command(host, &job, command),
        (None, Some(program)) => program::perform(host, &job, program),
        (None, None) => work::perform(host, &job),
    }
}

/// Says hello, and stops so that the host can copy the symbols, which are gone afterwards.
fn introduce(host: &Host, mailbox: &Pages) -> Result<(), GuestError> {
    let text = symbols::load()?;
    let hello = Hello {
        protocol: PROTOCOL,
        program_version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel_release: read_text("/proc/sys/kernel/osrelease")?
            .trim_end()
            .to_owned(),
        isa_class: isa::class(),
        features: isa::features(),
        mailbox: pagemap::addresses(mailbox)?,
        waypoints: waypoint::addresses(),
        vcpus: vcpus(),
        symbols: text.place()?,
    };
    host.say(&Message::Hello(Box::new(hello)))?;
    host.stop();
    Ok(())
}

/// Processors that are at work.
fn vcpus() -> u32 {
    let count = thread::available_parallelism().map_or(1, |count| count.get());
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn read_text(path: &'static str) -> Result<String, GuestError> {
    fs::read_to_string(path).map_err(|source| GuestError::Read { path, source })
}

/// Tells the host of a panic, and ends the machine.
fn report_panic(text: &str) {
    if let Some(host) = HOST.get() {
        host.fail(text);
    }
    mounts::power_off();
}
