//! The logs of the tools around rpm.
//!
//! ```text
//! 2024-05-01T10:00:00+0200 SUBDEBUG Upgrade: curl-7.76.1-26.el9.x86_64        dnf.rpm.log
//! 2024-05-01T10:00:00+0200 DDEBUG Command: dnf upgrade curl                   dnf.log
//! 2024-05-01 10:00:00|install|curl|8.0.1-1|x86_64|root@host|repository|…      zypp/history, local time
//! 2024-05-01 10:00:00|command|root@host|'zypper' 'install' 'curl'|
//! ```
//!
//! dnf's log says nothing of who ran it. Whom zypper names is who had its rights, mostly root.

use super::packages::moment;
use super::{Actor, Certainty, Confidence, EntryKind, Log, Nanoseconds, Reader};
use jiff::Timestamp;
use jiff::fmt::strtime;

/// What dnf writes of a package that it has worked on; `Upgraded` names the one that went.
const WORK: [&str; 9] = [
    "Downgrade",
    "Erase",
    "Erased",
    "Install",
    "Installed",
    "Reinstall",
    "Reinstalled",
    "Removed",
    "Upgrade",
];

pub(super) fn read_dnf(reader: &mut Reader, log: &Log<'_>) {
    for line in log.lines() {
        let mut words = line.splitn(3, ' ');
        let (Some(time), Some(_), Some(rest)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let (Some(time), Some((what, value))) = (instant(time), rest.split_once(": ")) else {
            continue;
        };
        let is_work = WORK.contains(&what);
        if !is_work && what != "Command" {
            continue;
        }
        let text = if is_work { rest } else { value };
        let mut entry = log.entry((time, Certainty::Exact), EntryKind::Package, text);
        entry.packages.extend(name(value).filter(|_| is_work));
        reader.push(entry);
    }
}

pub(super) fn read_zypper(reader: &mut Reader, log: &Log<'_>) {
    for line in log.lines() {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let (package, user, text) = match fields.as_slice() {
            [_, "command", user, command, ..] => (None, user, (*command).to_owned()),
            [_, what @ ("install" | "remove"), name, version, _, user, ..] => (
                Some((*name).to_owned()),
                user,
                format!("{what} {name} {version}"),
            ),
            _ => continue,
        };
        let stamp = fields.first().and_then(|stamp| stamp.split_once(' '));
        let Some(time) = stamp.and_then(|(date, clock)| moment(reader, date, clock)) else {
            continue;
        };
        let mut entry = log.entry((time, Certainty::Zone), EntryKind::Package, &text);
        entry.packages.extend(package);
        entry.actor = user
            .split('@')
            .next()
            .filter(|user| !user.is_empty())
            .map(|user| Actor {
                user: user.to_owned(),
                process: Some("zypper".to_owned()),
                confidence: Confidence::Medium,
            });
        reader.push(entry);
    }
}

/// A time with its distance from UTC.
fn instant(text: &str) -> Option<Nanoseconds> {
    let time: Timestamp = match strtime::parse("%Y-%m-%dT%H:%M:%S%z", text) {
        Ok(parsed) => parsed.to_timestamp().ok()?,
        // As dnf before 4.2 has it, with a `Z`.
        Err(_) => text.parse().ok()?,
    };
    i64::try_from(time.as_nanosecond()).ok()
}

/// The name of a package that is named with version, release and architecture.
fn name(package: &str) -> Option<String> {
    let (rest, _release) = package.trim().rsplit_once('-')?;
    let (name, _version) = rest.rsplit_once('-')?;
    (!name.is_empty()).then(|| name.to_owned())
}
