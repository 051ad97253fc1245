//! How guest and host reach each other, and the kernel's command line that says so.
//!
//! ```text
//! guest ──channel──► host    lines of text: debug console (port 0xe9) or first serial port
//! guest ──signal───► host    "stop me here": pvpanic by its port 0x505 or as a PCI device
//! ```
//!
//! Ports are the quickest and need no driver; a guest under nested KVM on an emulated processor
//! cannot use them from user mode, so both have a second form.

use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

/// How the guest asks the host to stop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Signal {
    /// Device `pvpanic`, by its port.
    #[default]
    Port,
    /// Device `pvpanic-pci`, by its memory.
    Pci,
}

/// How the guest sends its lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Channel {
    /// Device `isa-debugcon` at port 0xe9.
    #[default]
    Debugcon,
    /// The first serial port.
    Serial,
}

/// The guest's two ways to its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Link {
    /// How it asks to be stopped.
    pub signal: Signal,
    /// How it sends its lines.
    pub channel: Channel,
}

/// What drives the guest's clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timing {
    /// The hypervisor emulates the processor, so its time-stamp counter can be relied upon and
    /// nothing needs to be calibrated.
    Emulated,
    /// A real processor: the kernel finds out for itself.
    Hardware,
}

/// What the kernel and the guest program are told at boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootOptions {
    /// How guest and host reach each other.
    pub link: Link,
    /// What drives the guest's clocks.
    pub timing: Timing,
}

/// The value of one of our words on the kernel's command line is none that there is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown value `{value}` of kernel argument {word}")]
pub struct BootOptionError {
    word: &'static str,
    value: String,
}

const SIGNAL_WORD: &str = "vardoger.signal";
const CHANNEL_WORD: &str = "vardoger.channel";
const SETTLE_WORD: &str = "vardoger.settle";

/// For how long a guest idles before it is ready, in seconds, where its clock runs by itself: what a
/// kernel puts off at boot, its last about ten seconds, is done before the snapshot that all replicas
/// begin with, and not in some of them at some time.
pub const SETTLE_SECONDS: u64 = 12;

/// The longest that a guest idles, whatever it is told.
const MAX_SETTLE_SECONDS: u64 = 60;

/// Words for every guest: silent; nothing random in the layout of memory, so that equal runs use
/// equal addresses; nothing that only costs time in a machine that lives for seconds; a kernel
/// panic ends the machine at once, so that the host sees it.
const COMMON_WORDS: &str = "quiet nokaslr norandmaps random.trust_cpu=off mitigations=off \
     rcupdate.rcu_expedited=1 cryptomgr.notests audit=0 noreplace-smp nowatchdog panic=-1";

/// Words that spare an emulated processor work: the calibration of its clocks, and clearing pages
/// byte by byte. A kernel that sees "enhanced `rep movsb`" (features 297 and 580 by its own count)
/// does that with one instruction, which an emulator repeats 4096 times; without it the kernel
/// clears by words, and boots in four fifths of the time.
const EMULATED_WORDS: &str = "tsc=reliable clocksource=tsc lpj=1000000 clearcpuid=297,580";

/// The kernel's command line.
#[must_use]
pub fn kernel_arguments(options: &BootOptions) -> String {
    let mut words = COMMON_WORDS.to_owned();
    if options.timing == Timing::Emulated {
        words.push(' ');
        words.push_str(EMULATED_WORDS);
    }
    let Link { signal, channel } = options.link;
    write!(words, " {SIGNAL_WORD}={signal} {CHANNEL_WORD}={channel}")
        .expect("writing to a string never fails");
    words
}

/// The command line of a kernel whose guest is to settle before it is ready.
#[must_use]
pub fn settling(arguments: &str) -> String {
    format!("{arguments} {SETTLE_WORD}={SETTLE_SECONDS}")
}

/// For how long a guest is to settle, by its kernel's command line.
///
/// # Errors
/// The word has no number of seconds.
pub fn settle_time(arguments: &str) -> Result<Duration, BootOptionError> {
    let mut words = arguments
        .split_whitespace()
        .filter_map(|w| w.split_once('='));
    let Some((_, value)) = words.rfind(|(word, _)| *word == SETTLE_WORD) else {
        return Ok(Duration::ZERO);
    };
    let seconds = value.parse().map_err(|_| BootOptionError {
        word: SETTLE_WORD,
        value: value.to_owned(),
    })?;
    Ok(Duration::from_secs(MAX_SETTLE_SECONDS.min(seconds)))
}

impl Link {
    /// Reads the link from the kernel's command line. A word that is missing stands for its
    /// default, and the last of two wins.
    ///
    /// # Errors
    /// A word of ours has a value that there is not.
    pub fn from_kernel_arguments(arguments: &str) -> Result<Self, BootOptionError> {
        let mut link = Self::default();
        for (word, value) in arguments
            .split_whitespace()
            .filter_map(|w| w.split_once('='))
        {
            match word {
                SIGNAL_WORD => link.signal = value.parse()?,
                CHANNEL_WORD => link.channel = value.parse()?,
                _ => {}
            }
        }
        Ok(link)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Port => "port",
            Self::Pci => "pci",
        })
    }
}

impl FromStr for Signal {
    type Err = BootOptionError;
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        match value {
            "port" => Ok(Self::Port),
            "pci" => Ok(Self::Pci),
            _ => Err(BootOptionError {
                word: SIGNAL_WORD,
                value: value.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Debugcon => "debugcon",
            Self::Serial => "serial",
        })
    }
}

impl FromStr for Channel {
    type Err = BootOptionError;
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        match value {
            "debugcon" => Ok(Self::Debugcon),
            "serial" => Ok(Self::Serial),
            _ => Err(BootOptionError {
                word: CHANNEL_WORD,
                value: value.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_reads_what_the_host_writes() {
        for signal in [Signal::Port, Signal::Pci] {
            for channel in [Channel::Debugcon, Channel::Serial] {
                for timing in [Timing::Emulated, Timing::Hardware] {
                    let link = Link { signal, channel };
                    let arguments = kernel_arguments(&BootOptions { link, timing });
                    assert_eq!(Link::from_kernel_arguments(&arguments), Ok(link));
                    let relies = arguments.contains("tsc=reliable");
                    assert_eq!(relies, timing == Timing::Emulated);
                }
            }
        }
    }

    #[test]
    fn a_guest_settles_for_as_long_as_it_is_told() {
        let told = |arguments: &str| settle_time(arguments).map(|time| time.as_secs());
        assert_eq!(told("quiet"), Ok(0));
        assert_eq!(told(&settling("quiet")), Ok(SETTLE_SECONDS));
        assert_eq!(told("vardoger.settle=9 vardoger.settle=100000"), Ok(60));
        assert!(told("vardoger.settle=soon").is_err());
    }

    #[test]
    fn what_is_missing_is_the_default_and_what_is_unknown_is_an_error() {
        assert_eq!(Link::from_kernel_arguments("quiet ro"), Ok(Link::default()));
        let error = Link::from_kernel_arguments("vardoger.signal=smoke").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown value `smoke` of kernel argument vardoger.signal"
        );
    }
}
