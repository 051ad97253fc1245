//! The way to the host: lines over the channel, stops by the signal.

use crate::error::GuestError;
use crate::pci::PanicDevice;
use crate::port::Ports;
use computation::job::{Mark, MarkReached, Message, write_line};
use guest::{Channel, Link, Signal};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, write};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};
use std::os::fd::OwnedFd;

/// QEMU's `isa-debugcon`.
const DEBUGCON_PORT: u16 = 0xe9;
/// QEMU's `pvpanic`.
const PANIC_PORT: u16 = 0x505;
/// The event "the guest has panicked": the host stops the machine when it sees it.
const PANICKED: u8 = 1;

/// An open way to the host.
#[derive(Debug)]
pub(crate) struct Host {
    channel: OpenChannel,
    signal: OpenSignal,
}

#[derive(Debug)]
enum OpenChannel {
    Debugcon(Ports),
    Serial(OwnedFd),
}

#[derive(Debug)]
enum OpenSignal {
    Port(Ports),
    Pci(PanicDevice),
}

impl Host {
    /// Opens both parts of the link. If there is a channel but no signal, the channel says so.
    pub(crate) fn open(link: Link) -> Result<Self, GuestError> {
        let channel = match link.channel {
            Channel::Debugcon => OpenChannel::Debugcon(Ports::open()?),
            Channel::Serial => OpenChannel::Serial(open_serial()?),
        };
        match open_signal(link.signal) {
            Ok(signal) => Ok(Self { channel, signal }),
            Err(error) => {
                channel.write_all(&write_line(&Message::Failed(error.to_string()))?)?;
                channel.drain()?;
                Err(error)
            }
        }
    }

    /// Sends one line.
    pub(crate) fn say(&self, message: &Message) -> Result<(), GuestError> {
        self.channel.write_all(&write_line(message)?)
    }

    /// Stops until the host lets the machine go on. All lines have arrived by then.
    pub(crate) fn stop(&self) {
        // A channel that cannot be drained has nothing more to give.
        self.channel.drain().ok();
        match &self.signal {
            OpenSignal::Port(ports) => ports.write(PANIC_PORT, PANICKED),
            OpenSignal::Pci(device) => device.write(PANICKED),
        }
    }

    /// Tells that a mark is reached; a stop follows.
    pub(crate) fn mark(&self, name: Mark, step: u64, tsc: u64) -> Result<(), GuestError> {
        self.say(&Message::Mark(MarkReached { name, step, tsc }))?;
        self.channel.drain()
    }

    /// Tells why it cannot go on, and stops.
    pub(crate) fn fail(&self, reason: &str) {
        // A failure that cannot be told still stops the machine.
        self.say(&Message::Failed(reason.to_owned())).ok();
        self.stop();
    }
}

impl OpenChannel {
    fn write_all(&self, bytes: &[u8]) -> Result<(), GuestError> {
        match self {
            Self::Debugcon(ports) => {
                ports.write_all(DEBUGCON_PORT, bytes);
                Ok(())
            }
            Self::Serial(port) => write_serial(port, bytes),
        }
    }

    /// Waits until everything is on its way.
    fn drain(&self) -> Result<(), GuestError> {
        match self {
            Self::Debugcon(_) => Ok(()),
            Self::Serial(port) => tcdrain(port).map_err(serial("drain")),
        }
    }
}

fn open_signal(signal: Signal) -> Result<OpenSignal, GuestError> {
    match signal {
        Signal::Port => Ports::open().map(OpenSignal::Port),
        Signal::Pci => PanicDevice::open().map(OpenSignal::Pci),
    }
}

/// Opens the first serial port for bytes as they are: no translation of line ends, no echo.
fn open_serial() -> Result<OwnedFd, GuestError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let port = open("/dev/ttyS0", flags, Mode::empty()).map_err(serial("open"))?;
    let mut settings = tcgetattr(&port).map_err(serial("set up"))?;
    settings.make_raw();
    tcsetattr(&port, OptionalActions::Now, &settings).map_err(serial("set up"))?;
    Ok(port)
}

fn write_serial(port: &OwnedFd, mut bytes: &[u8]) -> Result<(), GuestError> {
    while !bytes.is_empty() {
        let written = write(port, bytes).map_err(serial("write to"))?;
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn serial(attempt: &'static str) -> impl Fn(Errno) -> GuestError {
    move |source| GuestError::Serial { attempt, source }
}
