//! The rules by which a package database explains a change.

use super::byproduct::Byproducts;
use super::database::{Database, Digest, Item, Wanted};
use super::dpkg;
use crate::files::{Change, FileEvent, FileKind, Files, Object};
use crate::records::{Explanation, Standing};
use disk::ReadAt as _;
use md5::{Digest as _, Md5};

/// Bytes that are hashed at a time.
const PIECE_BYTES: u64 = 256 << 10;

/// The bits that lend a file's owner to whoever runs it.
const LENDING: u16 = 0o6000;

/// Says of each event what the package databases say of it.
#[must_use]
pub fn explain(before: &Files, after: &Files, events: &[FileEvent]) -> Vec<Option<Explanation>> {
    let mut wanted = Wanted::new();
    for event in events {
        wanted.insert(event.path.clone());
        Byproducts::sources(after, &event.path, &mut wanted);
    }
    let none = || events.iter().map(|_| None).collect();
    if events.is_empty() {
        return none();
    }
    let Some(new) = dpkg::database(after, &wanted) else {
        return none();
    };
    let mut work = Work {
        after,
        old: dpkg::database(before, &wanted).unwrap_or_default(),
        byproducts: Byproducts::new(after, &new),
        new: &new,
        left: after.system.bytes_max(),
    };
    events.iter().map(|event| work.event(event)).collect()
}

struct Work<'f> {
    after: &'f Files,
    old: Database,
    new: &'f Database,
    byproducts: Byproducts<'f>,
    /// How many bytes may still be hashed: a file's size can be a lie.
    left: u64,
}

impl Work<'_> {
    fn event(&mut self, event: &FileEvent) -> Option<Explanation> {
        match (&event.change, &event.after) {
            // Nothing of this stands in the database.
            (Change::Metadata { .. }, _) => None,
            (Change::Deleted | Change::Unlinked, _) | (_, None) => self.gone(event),
            (_, Some(object)) => self.there(event, object),
        }
    }

    /// Of what is not there any more.
    fn gone(&self, event: &FileEvent) -> Option<Explanation> {
        if let Some(item) = self.new.listed(&event.path).first() {
            let standing = match item.is_configuration {
                true => Standing::Configured,
                false => Standing::Contradicted,
            };
            return Some(self.explanation(standing, &item.package));
        }
        let was = self.old.listed(&event.path);
        if let Some(item) = was.iter().find(|item| self.has_changed(&item.package)) {
            return Some(self.explanation(Standing::Listed, &item.package));
        }
        self.maintained(&event.path, event.before.as_deref()?)
    }

    /// Of what is there.
    fn there(&mut self, event: &FileEvent, object: &Object) -> Option<Explanation> {
        let items = self.new.listed(&event.path);
        if items.is_empty() {
            return self.maintained(&event.path, object);
        }
        if object.kind == FileKind::File {
            return self.content(event, object, items);
        }
        let changed = items.iter().find(|item| self.has_changed(&item.package));
        match changed {
            Some(item) => Some(self.explanation(Standing::Listed, &item.package)),
            None => self.maintained(&event.path, object),
        }
    }

    fn content(
        &mut self,
        event: &FileEvent,
        object: &Object,
        items: &[Item],
    ) -> Option<Explanation> {
        let Some(item) = items.iter().find(|item| item.digest.is_some()) else {
            let changed = items.iter().find(|item| self.has_changed(&item.package))?;
            return Some(self.explanation(Standing::Listed, &changed.package));
        };
        let has_changed = self.has_changed(&item.package);
        let lent = |object: &Object| object.mode & LENDING;
        let before = event.before.as_deref();
        if !has_changed && lent(object) & !before.map_or(0, lent) != 0 {
            return None;
        }
        let found = self.md5(object)?;
        let standing = match (item.digest == Some(found), item.is_configuration) {
            (true, _) if !has_changed && self.was_otherwise(&event.path, item) => {
                Standing::Contradicted
            }
            (true, _) => Standing::Verified,
            (false, true) => Standing::Configured,
            (false, false) => Standing::Contradicted,
        };
        Some(self.explanation(standing, &item.package))
    }

    /// Whether the database had another digest, though the package is the same: then somebody has
    /// changed the database.
    fn was_otherwise(&self, path: &[u8], item: &Item) -> bool {
        let mut was = self.old.listed(path).iter();
        let was = was.find(|was| was.package == item.package);
        was.is_some_and(|was| was.digest.is_some() && was.digest != item.digest)
    }

    /// Whether a package was installed, removed or brought to another version.
    fn has_changed(&self, package: &str) -> bool {
        self.old.packages.get(package) != self.new.packages.get(package)
    }

    /// What work on packages leaves, if there was any.
    fn maintained(&self, path: &[u8], object: &Object) -> Option<Explanation> {
        if self.old.packages == self.new.packages {
            return None;
        }
        if let Some(package) = self.own_record(path) {
            return Some(self.explanation(Standing::Maintained, package));
        }
        let tool = self.byproducts.tool(path, object)?;
        Some(self.explanation(Standing::Maintained, tool))
    }

    /// The package whose own record in dpkg's database a path is, if that package has changed.
    fn own_record<'p>(&self, path: &'p [u8]) -> Option<&'p str> {
        let name = path.strip_prefix(b"/var/lib/dpkg/info/")?;
        let (stem, _) = std::str::from_utf8(name).ok()?.rsplit_once('.')?;
        let known = |database: &Database| database.packages.contains_key(stem);
        let is_package = known(self.new) || known(&self.old);
        (is_package && self.has_changed(stem)).then_some(stem)
    }

    fn explanation(&self, standing: Standing, package: &str) -> Explanation {
        let version = |database: &Database| {
            let package = database.packages.get(package);
            let there = package.filter(|package| package.state.ends_with(" installed"));
            there
                .map(|package| package.version.clone())
                .unwrap_or_default()
        };
        Explanation {
            standing,
            package: package.to_owned(),
            before: version(&self.old),
            after: version(self.new),
        }
    }

    fn md5(&mut self, object: &Object) -> Option<Digest> {
        self.left = self.left.checked_sub(object.size_bytes)?;
        let content = self.after.open(object.id)?;
        let mut hash = Md5::new();
        let mut buffer = Vec::new();
        let mut at = 0_u64;
        while at < object.size_bytes {
            let bytes = object.size_bytes.saturating_sub(at).min(PIECE_BYTES);
            buffer.resize(usize::try_from(bytes).ok()?, 0);
            content.read_exact_at(at, &mut buffer).ok()?;
            hash.update(&buffer);
            at = at.saturating_add(bytes);
        }
        Some(Digest::Md5(hash.finalize().into()))
    }
}
