//! The kernel's audit log: several records with one serial are one event.
//!
//! ```text
//! type=SYSCALL msg=audit(1700000000.123:456): … auid=1000 uid=0 … exe="/usr/bin/vim" …
//! type=PATH msg=audit(1700000000.123:456): item=1 name="/etc/passwd" … nametype=NORMAL
//! ```

use super::{Actor, Certainty, Confidence, Entry, EntryKind, Log, Nanoseconds, Reader};
use std::collections::BTreeMap;

/// What stands for no login: the kernel's `(uid_t) -1`.
const UNSET: &str = "4294967295";

/// Records of unfinished events that are held.
const MAX_OPEN: usize = 4096;

pub(super) fn read(reader: &mut Reader, log: &Log<'_>) {
    let mut open: BTreeMap<(Nanoseconds, u64), Entry> = BTreeMap::new();
    for line in log.lines() {
        let Some((key, kind, rest)) = parts(&line) else {
            continue;
        };
        let entry = open
            .entry(key)
            .or_insert_with(|| log.entry((key.0, Certainty::Exact), EntryKind::Audit, ""));
        add(entry, kind, rest);
        if open.len() > MAX_OPEN
            && let Some((_, entry)) = open.pop_first()
        {
            reader.push(entry);
        }
    }
    for entry in open.into_values() {
        reader.push(entry);
    }
}

/// Time and serial, type, and the fields.
fn parts(line: &str) -> Option<((Nanoseconds, u64), &str, &str)> {
    let rest = line.strip_prefix("type=")?;
    let (kind, rest) = rest.split_once(" msg=audit(")?;
    let (time, rest) = rest.split_once("):")?;
    let (time, serial) = time.split_once(':')?;
    let (seconds, milliseconds) = time.split_once('.')?;
    let nanoseconds = seconds
        .parse::<i64>()
        .ok()?
        .checked_mul(1_000)?
        .checked_add(milliseconds.parse().ok()?)?
        .checked_mul(1_000_000)?;
    Some(((nanoseconds, serial.parse().ok()?), kind, rest))
}

fn add(entry: &mut Entry, kind: &str, fields: &str) {
    let field = |name: &str| {
        let mut words = fields.split(' ');
        let value = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))?;
        Some(value.trim_matches('"'))
    };
    match kind {
        "SYSCALL" => {
            // Who logged in stays, whoever they become.
            let login = field("auid").filter(|user| *user != UNSET && *user != "unset");
            let user = login.or_else(|| field("uid"));
            entry.actor = user.map(|user| Actor {
                user: user.to_owned(),
                process: field("exe").map(str::to_owned),
                confidence: Confidence::High,
            });
            let program = field("exe").or_else(|| field("comm")).unwrap_or_default();
            entry.text = format!("{program} {}", entry.text).trim().to_owned();
        }
        "PATH" => {
            let name = field("name").unwrap_or_default();
            let path = match fields.contains(&format!("name=\"{name}\"")) {
                true => name.as_bytes().to_vec(),
                false => unhex(name).unwrap_or_default(),
            };
            let of_parent = field("nametype") == Some("PARENT");
            if !of_parent && path.starts_with(b"/") {
                entry.text = format!("{} {}", entry.text, String::from_utf8_lossy(&path));
                entry.paths.push(path);
            }
        }
        "USER_LOGIN" | "USER_AUTH" | "USER_CMD" | "EXECVE" => {
            entry.text = format!("{} {kind}", entry.text).trim().to_owned();
        }
        _ => {}
    }
    if entry.text.is_empty() {
        kind.clone_into(&mut entry.text);
    }
}

/// Names with odd bytes are written in hexadecimal, without quotes.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}
