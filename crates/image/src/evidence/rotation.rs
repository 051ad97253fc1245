//! Which log a file is, by its path: also one that was rotated, and compressed then.
//!
//! ```text
//! /var/log/auth.log  auth.log.1  auth.log.2.gz     numbers, as Debian's and auditd's
//! /var/log/secure    secure-20260101  secure-20260101.xz     dates, as Red Hat's and SUSE's
//! ```

use super::packed::Packing;
use super::{Log, Reader, audit, commands, journal, lines, logins, packages, rpm_logs};

/// How a log is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Read {
    /// From its bytes.
    Whole(fn(&mut Reader, &Log<'_>)),
    /// `lastlog`, of which most is a hole.
    LastLogins,
}

/// A log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) read: Read,
    pub(super) packing: Option<Packing>,
}

/// Digits of a date, without and with an hour or more.
const DATE_DIGITS: std::ops::RangeInclusive<usize> = 8..=16;

/// Digits of a number of rotations.
const MAX_NUMBER_DIGITS: usize = 4;

/// Whether a path is of a file of journald's; one that was not closed has a `~`.
pub(super) fn is_journal(path: &[u8]) -> bool {
    let is_named = path.ends_with(b".journal") || path.ends_with(b".journal~");
    is_named && path.starts_with(b"/var/log/journal/")
}

/// Which log a file is.
pub(super) fn place_of(path: &[u8]) -> Option<Place> {
    let plain = |read: fn(&mut Reader, &Log<'_>)| Place {
        read: Read::Whole(read),
        packing: None,
    };
    if path.ends_with(b"/.bash_history") {
        return Some(plain(commands::read));
    }
    if is_journal(path) {
        return Some(plain(journal::read));
    }
    let name = std::str::from_utf8(path.strip_prefix(b"/var/log/")?).ok()?;
    let (packing, name) = match Packing::of(name) {
        Some((packing, name)) => (Some(packing), name),
        None => (None, name),
    };
    Some(Place {
        read: reader_of(unrotated(name))?,
        packing,
    })
}

fn reader_of(name: &str) -> Option<Read> {
    Some(Read::Whole(match name {
        "syslog" | "messages" | "auth.log" | "secure" | "kern.log" | "daemon.log" | "cron.log"
        | "cron" | "user.log" | "mail.log" | "maillog" => lines::read,
        "audit/audit.log" => audit::read,
        "wtmp" => logins::read_logins,
        "btmp" => logins::read_refused,
        "lastlog" => return Some(Read::LastLogins),
        "dpkg.log" => packages::read_dpkg,
        "apt/history.log" => packages::read_apt,
        "dnf.log" | "dnf.rpm.log" => rpm_logs::read_dnf,
        "zypp/history" => rpm_logs::read_zypper,
        _ => return None,
    }))
}

/// The name that a log has before it is rotated.
fn unrotated(name: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if let Some((before, number)) = name.rsplit_once('.')
        && is_number(number)
        && number.len() <= MAX_NUMBER_DIGITS
    {
        return before;
    }
    match name.rsplit_once('-') {
        Some((before, date)) if is_number(date) && DATE_DIGITS.contains(&date.len()) => before,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_logs_have_the_names_of_those_before() {
        for (name, before) in [
            ("syslog", "syslog"),
            ("syslog.1", "syslog"),
            ("auth.log.12", "auth.log"),
            ("auth.log", "auth.log"),
            ("secure-20260101", "secure"),
            ("secure-2026010113", "secure"),
            ("my-1", "my-1"),
            ("auth.log.old", "auth.log.old"),
            ("audit/audit.log.3", "audit/audit.log"),
        ] {
            assert_eq!(unrotated(name), before);
        }
        let packing = |path: &str| place_of(path.as_bytes()).map(|place| place.packing);
        assert_eq!(packing("/var/log/syslog.2.gz"), Some(Some(Packing::Gzip)));
        assert_eq!(
            packing("/var/log/messages-20260101.xz"),
            Some(Some(Packing::Xz))
        );
        assert_eq!(
            packing("/var/log/dpkg.log.3.zst"),
            Some(Some(Packing::Zstd))
        );
        assert_eq!(packing("/var/log/wtmp"), Some(None));
        assert_eq!(packing("/var/log/journal/1/system@2.journal~"), Some(None));
        assert_eq!(packing("/srv/log/syslog"), None);
        assert_eq!(packing("/var/log/other.gz"), None);
    }
}
