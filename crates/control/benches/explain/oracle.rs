//! The oracle: drgn, which reads the same memory with the kernel's debugging symbols. It runs as a
//! process of its own, `oracle.py`, and is asked about all bytes at once.

use anyhow::{Context, ensure};
use introspection::Introspection;
use model::{Basis, Explanation, OwnerKind};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the oracle runs on, as `cargo xtask bench explain` fetches it.
pub(crate) struct Oracle {
    /// A Python that has drgn.
    pub(crate) python: PathBuf,
    /// The guest's kernel with its debugging symbols.
    pub(crate) vmlinux: PathBuf,
}

#[derive(Serialize)]
struct Request<'a> {
    physical: u64,
    #[serde(rename = "type")]
    type_name: Option<&'a str>,
    paths: Vec<String>,
    offset: Option<u64>,
}

/// What drgn says of a byte.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Answer {
    pub(crate) kind: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    caches: Vec<String>,
    object: Option<u64>,
    offset: Option<u64>,
    allocated: Option<bool>,
    pid: Option<u32>,
    caller: Option<String>,
    pfn: Option<u64>,
    path: Option<String>,
    #[serde(rename = "type")]
    type_name: Option<String>,
    /// Whether our member has the byte, by DWARF.
    field: Option<bool>,
}

impl Oracle {
    /// What drgn says of each byte.
    pub(crate) fn ask(
        &self,
        memory: &[u8],
        bytes: &[(u64, Option<Explanation>)],
    ) -> anyhow::Result<Vec<Answer>> {
        let place = tempfile::tempdir().context("cannot make a directory")?;
        let captured = place.path().join("memory");
        std::fs::write(&captured, memory)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/explain/oracle.py");
        let mut child = Command::new(&self.python)
            .arg(script)
            .args([&captured, &self.vmlinux])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start drgn")?;
        let mut questions = child.stdin.take().context("drgn has no input")?;
        let mut asked = String::new();
        for (physical, ours) in bytes {
            asked.push_str(&serde_json::to_string(&request(*physical, ours.as_ref()))?);
            asked.push('\n');
        }
        let writer = std::thread::spawn(move || questions.write_all(asked.as_bytes()));
        let output = child.wait_with_output()?;
        writer
            .join()
            .ok()
            .context("the questions were not asked")??;
        ensure!(output.status.success(), "drgn ended with {}", output.status);
        let answers = String::from_utf8(output.stdout)?;
        let answers: Vec<Answer> = answers
            .lines()
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()?;
        ensure!(answers.len() == bytes.len(), "{} answers", answers.len());
        Ok(answers)
    }
}

fn request(physical: u64, ours: Option<&Explanation>) -> Request<'_> {
    let field = ours.and_then(|ours| ours.field.as_deref());
    Request {
        physical,
        type_name: ours.and_then(|ours| ours.type_name.as_deref()),
        paths: field.map(alternatives).unwrap_or_default(),
        offset: ours.and_then(offset_in_type),
    }
}

/// How far into its variable or object a byte lies, as our answer says.
fn offset_in_type(ours: &Explanation) -> Option<u64> {
    let behind = |text: &str, sign: &str| {
        let (_, number) = text.rsplit_once(sign)?;
        u64::from_str_radix(number.trim().strip_prefix("0x")?, 16).ok()
    };
    match (&ours.object, &ours.symbol, ours.kind) {
        (Some(object), _, _) => Some(object.offset),
        (None, _, OwnerKind::MemoryMap) => behind(&ours.owner, "+"),
        (None, Some(symbol), _) => behind(symbol, "+"),
        _ => None,
    }
}

/// The paths of all members that share a byte: `a.{b|{c|d}.e}` names three.
pub(crate) fn alternatives(field: &str) -> Vec<String> {
    if field.contains("(padding)") && !field.contains('{') {
        return Vec::new();
    }
    let Some(start) = field.find('{') else {
        return vec![field.to_owned()];
    };
    let (before, rest) = field.split_at(start);
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for letter in rest.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            '|' if depth == 1 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        let is_brace = (letter == '{' && depth == 1) || (letter == '}' && depth == 0);
        if let Some(part) = parts.last_mut().filter(|_| !is_brace) {
            part.push(letter);
        }
    }
    parts
        .iter()
        .flat_map(|part| alternatives(part))
        .filter(|part| !matches!(part.as_str(), "…" | "(padding)"))
        .map(|part| format!("{before}{part}"))
        .collect()
}

/// Whether our answer agrees with drgn's; nothing where one of them has none.
pub(crate) fn agrees(ours: &Explanation, theirs: &Answer) -> Option<bool> {
    let is_owner = match theirs.kind.as_str() {
        "symbol" | "cpu-variable" => names_symbol(ours, theirs)?,
        // In the image, and of nothing that has a size.
        "between" if ours.basis == Some(Basis::Padding) => true,
        "slab" => names_object(ours, theirs)?,
        "stack" => {
            ours.kind == OwnerKind::KernelStack
                && ours.process.as_ref().map(|process| process.pid) == theirs.pid
        }
        "area" => {
            let caller = theirs.caller.as_ref();
            let whose = caller.map_or_else(String::new, |caller| format!(" of {caller}"));
            let offset = theirs.offset.unwrap_or_default();
            ours.owner == format!("mapped area{whose} + {offset:#x}")
        }
        "page" => {
            let (pfn, offset) = theirs.pfn.zip(theirs.offset)?;
            ours.owner == format!("record of page frame {pfn:#x} + {offset:#x}")
        }
        "file" => {
            let file = ours
                .file
                .as_ref()
                .map(|file| (Some(&file.path), Some(file.offset)));
            file == Some((theirs.path.as_ref(), theirs.offset))
        }
        _ => return None,
    };
    let is_type = match (&ours.type_name, &theirs.type_name) {
        (Some(ours), Some(theirs)) => ours == theirs,
        _ => true,
    };
    Some(is_owner && is_type && theirs.field != Some(false))
}

fn names_symbol(ours: &Explanation, theirs: &Answer) -> Option<bool> {
    let is_image = matches!(ours.kind, OwnerKind::KernelImage | OwnerKind::PerCpu);
    if !is_image || ours.basis == Some(Basis::Padding) {
        return Some(false);
    }
    let (name, offset) = ours.symbol.as_ref()?.rsplit_once("+0x")?;
    let same = u64::from_str_radix(offset, 16).ok() == theirs.offset;
    Some(same && theirs.names.iter().any(|one| one == name))
}

fn names_object(ours: &Explanation, theirs: &Answer) -> Option<bool> {
    if ours.kind != OwnerKind::Slab {
        return Some(false);
    }
    let object = ours.object.as_ref()?;
    let in_use = object.in_use?;
    Some(
        theirs.caches.contains(&object.cache)
            && Some(object.address.0) == theirs.object
            && Some(in_use) == theirs.allocated,
    )
}

/// Explains bytes.
pub(crate) fn explained(
    introspection: &Introspection<'_>,
    bytes: &[u64],
) -> Vec<(u64, Option<Explanation>)> {
    let explained = bytes.iter().map(|at| (*at, introspection.explain(*at)));
    explained.collect()
}
