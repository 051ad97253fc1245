//! The classic logs: a time, a host, a program, what it says.
//!
//! ```text
//! Nov 21 14:05:01 web1 sshd[812]: Accepted publickey for ann from 10.0.0.7 port 51122 ssh2
//! 2026-11-21T14:05:01.003210+01:00 web1 sudo: ann : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/ls
//! ```

use super::{Actor, Certainty, Confidence, EntryKind, Log, Nanoseconds, Reader, paths_of};
use jiff::civil::{Date, DateTime, Time};

/// How much later than the log's last change a line may be: clocks are set.
const SLACK_NS: i64 = 86_400_000_000_000;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

pub(super) fn read(reader: &mut Reader, log: &Log<'_>) {
    let modified = log.object.modified.seconds;
    let modified = modified.saturating_mul(1_000_000_000);
    // From the last line backwards: none is later than the one after it, so that a year that is not
    // written follows from the last one's.
    let mut latest = modified.saturating_add(SLACK_NS);
    let mut entries = Vec::new();
    for line in log.lines().rev() {
        let Some((time, certainty, rest)) = timed(reader, &line, latest) else {
            continue;
        };
        if certainty == Certainty::Year {
            latest = time.saturating_add(SLACK_NS);
        }
        let (kind, actor) = meaning(rest);
        let mut entry = log.entry((time, certainty), kind, rest);
        if kind == EntryKind::Command {
            entry.paths = paths_of(rest);
        }
        entry.actor = actor;
        entries.push(entry);
    }
    for entry in entries.into_iter().rev() {
        reader.push(entry);
    }
}

/// The time of a line, and the rest of it.
fn timed<'l>(
    reader: &Reader,
    line: &'l str,
    latest: Nanoseconds,
) -> Option<(Nanoseconds, Certainty, &'l str)> {
    let (word, rest) = line.split_once(' ')?;
    if let Ok(moment) = word.parse::<jiff::Timestamp>() {
        let time = i64::try_from(moment.as_nanosecond()).ok()?;
        return Some((time, Certainty::Exact, rest));
    }
    let month = MONTHS.iter().position(|month| *month == word)?;
    let month = i8::try_from(month.checked_add(1)?).ok()?;
    let (day, rest) = rest.trim_start().split_once(' ')?;
    let (clock, rest) = rest.trim_start().split_once(' ')?;
    let clock: Time = clock.parse().ok()?;
    let day: i8 = day.parse().ok()?;
    let year = jiff::Timestamp::from_nanosecond(latest.into()).ok()?;
    let year = year.to_zoned(jiff::tz::TimeZone::UTC).year();
    // The 29th of February is not in every year.
    let fitting = (0..9).find_map(|back| {
        let date = Date::new(year.checked_sub(back)?, month, day).ok()?;
        let time = reader.zone.moment(DateTime::from_parts(date, clock))?;
        (time <= latest).then_some(time)
    });
    Some((fitting?, Certainty::Year, rest))
}

/// What a line is about, and whom it names.
pub(super) fn meaning(rest: &str) -> (EntryKind, Option<Actor>) {
    let said = rest.split_once(": ").map_or(rest, |(_, said)| said);
    let named = |user: &str| {
        Some(Actor {
            user: user.to_owned(),
            process: None,
            confidence: Confidence::Medium,
        })
    };
    let word = |text: &str| text.split([' ', '(']).next().unwrap_or_default().to_owned();
    let program = rest.split(' ').nth(1).unwrap_or_default();
    if program.starts_with("sshd")
        && let Some((_, user)) = said.split_once(" for ")
        && said.starts_with("Accepted ")
    {
        return (EntryKind::Login, named(&word(user)));
    }
    if program.starts_with("sshd") && said.starts_with("Failed ") {
        return (EntryKind::Refused, None);
    }
    if program.starts_with("sudo") && said.contains("COMMAND=") {
        let user = said
            .trim_start()
            .split([' ', ':'])
            .next()
            .unwrap_or_default();
        return (EntryKind::Command, named(user));
    }
    if let Some((_, by)) = said.split_once(" by ")
        && said.contains("session opened for user ")
    {
        let user = word(by);
        return (EntryKind::Login, named(&user).filter(|_| !user.is_empty()));
    }
    (EntryKind::Log, None)
}
