//! The boot: from a cold machine to one whose guest waits for its job.

use crate::error::ControlError;
use crate::machine::cache::Unfinished;
use computation::job::{Hello, LineReader, Message};
use hypervisor::{Domain, Hypervisor, MachineSpec, Stop, WaitLimits};
use model::PAGE_BYTES;
use std::sync::Arc;
use std::time::Duration;

/// A boot takes about 3 s of CPU time; ten times that on a slow host.
const BOOT_CPU: Duration = Duration::from_secs(60);

/// The same in wall time, on a host that is busy with other things.
const BOOT_WALL: Duration = Duration::from_secs(300);

/// Lines of the guest that an error shows.
const SHOWN_LINES: usize = 5;

/// Boots a machine and saves it where its guest is ready.
pub(super) async fn boot_into(
    hypervisor: &Arc<dyn Hypervisor>,
    spec: &MachineSpec,
    cpus: &[u32],
    unfinished: &Unfinished,
) -> Result<(), ControlError> {
    let mut domain = hypervisor.boot(spec, cpus).await?;
    let limits = WaitLimits {
        cpu: BOOT_CPU,
        wall: BOOT_WALL,
    };
    let hello = greet(domain.as_mut(), limits).await?;
    if hello.vcpus != spec.vcpus {
        let (at_work, ordered) = (hello.vcpus, spec.vcpus);
        return Err(ControlError::NotReady {
            detail: format!("{at_work} of its {ordered} processors are at work"),
        });
    }
    let symbols = read_symbols(domain.as_mut(), &hello)?;
    domain.resume().await?;
    let messages = wait_signal(domain.as_mut(), limits).await?;
    if !messages.contains(&Message::Ready) {
        return Err(unexpected(&messages, "it signalled without being ready"));
    }
    domain.snapshot(unfinished.directory()).await?;
    domain.destroy().await;
    unfinished.write("symbols", &symbols)?;
    unfinished.write_hello(&hello)
}

/// Boots a machine only to see whether its guest introduces itself in time.
///
/// # Errors
/// It does not.
pub(crate) async fn probe(
    hypervisor: &Arc<dyn Hypervisor>,
    spec: &MachineSpec,
    cpus: &[u32],
    limit: Duration,
) -> Result<Hello, ControlError> {
    let mut domain = hypervisor.boot(spec, cpus).await?;
    let limits = WaitLimits {
        cpu: limit,
        wall: limit,
    };
    let hello = greet(domain.as_mut(), limits).await;
    domain.destroy().await;
    hello
}

/// Waits for the guest's introduction.
async fn greet(domain: &mut dyn Domain, limits: WaitLimits) -> Result<Hello, ControlError> {
    let messages = wait_signal(domain, limits).await?;
    messages
        .iter()
        .find_map(|message| match message {
            Message::Hello(hello) => Some((**hello).clone()),
            _ => None,
        })
        .ok_or_else(|| unexpected(&messages, "it signalled without an introduction"))
}

/// Waits until the guest signals; anything else is an error that shows what it said last.
async fn wait_signal(
    domain: &mut dyn Domain,
    limits: WaitLimits,
) -> Result<Vec<Message>, ControlError> {
    let stop = domain.wait_stop(limits).await?;
    let messages = LineReader::new().feed(&domain.take_console());
    match stop {
        Stop::Signal | Stop::Breakpoint => Ok(messages),
        Stop::Shutdown(reason) | Stop::OutOfStep(reason) => {
            Err(unexpected(&messages, &format!("it shut down ({reason})")))
        }
        Stop::Deadline => {
            let limit = limits.cpu.as_secs();
            Err(unexpected(
                &messages,
                &format!("no sign of it within {limit} s of CPU time"),
            ))
        }
    }
}

fn unexpected(messages: &[Message], what: &str) -> ControlError {
    let lines: Vec<String> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Log(text) | Message::Foreign(text) | Message::Failed(text) => {
                Some(text.clone())
            }
            _ => None,
        })
        .collect();
    let start = lines.len().saturating_sub(SHOWN_LINES);
    let last = lines.get(start..).unwrap_or_default().join(" | ");
    ControlError::NotReady {
        detail: if last.is_empty() {
            what.to_owned()
        } else {
            format!("{what}; it last said: {last}")
        },
    }
}

/// Copies the kernel's symbols out of guest memory. The hello that names them was checked: the
/// extents are bounded, and agree with the length.
fn read_symbols(domain: &mut dyn Domain, hello: &Hello) -> Result<Vec<u8>, ControlError> {
    let mut text = Vec::new();
    for extent in &hello.symbols.extents {
        let pages = usize::try_from(extent.1).unwrap_or(0);
        let mut part = vec![0; pages.saturating_mul(PAGE_BYTES)];
        domain.read_memory(extent.0, &mut part)?;
        text.extend_from_slice(&part);
    }
    text.truncate(usize::try_from(hello.symbols.bytes).unwrap_or(0));
    Ok(text)
}
