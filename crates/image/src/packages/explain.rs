//! The rules by which a package database explains a change.

use super::byproduct::Byproducts;
use super::database::{Database, Digest, Item, Package, Wanted};
use super::{Explained, databases};
use crate::files::{Change, Field, FileEvent, FileKind, Files, Object};
use crate::records::{Explanation, Standing};
use disk::ReadAt as _;
use std::collections::HashMap;

/// Bytes that are hashed at a time.
const PIECE_BYTES: u64 = 256 << 10;

/// The bits that lend a file's owner to whoever runs it.
const LENDING: u16 = 0o6000;

/// Says of each event what the package databases say of it.
#[must_use]
pub fn explain(before: &Files, after: &Files, events: &[FileEvent]) -> Explained {
    let mut wanted = Wanted::new();
    for event in events {
        wanted.insert(event.path.clone());
        Byproducts::sources(after, &event.path, &mut wanted);
    }
    let none = |unread| Explained {
        events: events.iter().map(|_| None).collect(),
        unread,
    };
    let mut unread = Vec::new();
    if events.is_empty() {
        return none(unread);
    }
    let Some(new) = databases(after, &wanted, &mut unread) else {
        return none(unread);
    };
    let mut before_that = Vec::new();
    let old = databases(before, &wanted, &mut before_that).unwrap_or_default();
    unread.extend(
        before_that
            .into_iter()
            .filter(|one| !unread.contains(one))
            .collect::<Vec<_>>(),
    );
    let mut work = Work {
        after,
        replaced: only(&old, &new),
        replacing: only(&new, &old),
        old: &old,
        byproducts: Byproducts::new(after, &new),
        new: &new,
        left: after.system.bytes_max(),
    };
    Explained {
        events: events.iter().map(|event| work.event(event)).collect(),
        unread,
    }
}

/// Versions of packages, by their series, that one database has and another has not.
fn only<'d>(database: &'d Database, other: &Database) -> HashMap<&'d str, &'d Package> {
    let each = database.packages.iter();
    let only = each.filter(|(key, _)| !other.packages.contains_key(*key));
    only.map(|(_, package)| (package.series.as_str(), package))
        .collect()
}

/// What is to be said of a mode that was given to a file in this time, and that its package has not.
fn other_mode(event: &FileEvent, object: &Object, item: &Item) -> Option<Standing> {
    let is_other = item.mode.is_some_and(|mode| mode != object.mode);
    let was_so = event
        .before
        .as_ref()
        .is_some_and(|before| before.mode == object.mode);
    match is_other && !was_so {
        true if item.is_configuration => Some(Standing::Configured),
        true => Some(Standing::Contradicted),
        false => None,
    }
}

struct Work<'f> {
    after: &'f Files,
    old: &'f Database,
    /// Packages that were there, and are not there in this version any more.
    replaced: HashMap<&'f str, &'f Package>,
    /// Packages that were not there in this version.
    replacing: HashMap<&'f str, &'f Package>,
    new: &'f Database,
    byproducts: Byproducts<'f>,
    /// How many bytes may still be hashed: a file's size can be a lie.
    left: u64,
}

impl<'f> Work<'f> {
    fn event(&mut self, event: &FileEvent) -> Option<Explanation> {
        match (&event.change, &event.after) {
            (Change::Metadata { fields }, Some(object)) => self.metadata(event, object, fields),
            (Change::Deleted | Change::Unlinked, _) | (_, None) => self.gone(event),
            (_, Some(object)) => self.there(event, object),
        }
    }

    /// Of what has changed but its data: rpm knows modes.
    fn metadata(
        &self,
        event: &FileEvent,
        object: &Object,
        fields: &[Field],
    ) -> Option<Explanation> {
        let is_of_mode = |field: &Field| {
            matches!(
                field,
                Field::Mode | Field::Modified | Field::Changed | Field::Accessed
            )
        };
        if !fields.contains(&Field::Mode) {
            return None;
        }
        let mut items = self.new.listed(&event.path).iter();
        let item = items.find(|item| item.mode.is_some())?;
        let standing = match item.mode == Some(object.mode) {
            false if item.is_configuration => Standing::Configured,
            false => Standing::Contradicted,
            true if fields.iter().all(is_of_mode) => Standing::Listed,
            true => return None,
        };
        Some(self.explanation(standing, &item.package))
    }

    /// Of what is not there any more.
    fn gone(&self, event: &FileEvent) -> Option<Explanation> {
        let mut items = self.new.listed(&event.path).iter();
        if let Some(item) = items.find(|item| !item.may_be_absent) {
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
        if let Some(explanation) = self.link(object, items) {
            return Some(explanation);
        }
        let changed = items.iter().find(|item| self.has_changed(&item.package));
        match changed {
            Some(item) => Some(self.explanation(Standing::Listed, &item.package)),
            None => self.maintained(&event.path, object),
        }
    }

    /// Of a link of which the database says where it leads.
    fn link(&self, object: &Object, items: &[Item]) -> Option<Explanation> {
        let item = items.iter().find(|item| item.target.is_some())?;
        let target = self.after.tree.target(object.id);
        let leads_there = object.kind == FileKind::Symlink;
        let standing = match leads_there && item.target.as_deref() == Some(target) {
            true => Standing::Verified,
            false if item.is_configuration => Standing::Configured,
            false => Standing::Contradicted,
        };
        Some(self.explanation(standing, &item.package))
    }

    fn content(
        &mut self,
        event: &FileEvent,
        object: &Object,
        items: &[Item],
    ) -> Option<Explanation> {
        let known = |item: &&Item| item.digest.is_some();
        let Some((item, digest)) = items
            .iter()
            .find(known)
            .and_then(|item| Some((item, item.digest?)))
        else {
            let changed = items.iter().find(|item| self.has_changed(&item.package))?;
            return Some(self.explanation(Standing::Listed, &changed.package));
        };
        let has_changed = self.has_changed(&item.package);
        if let Some(standing) = other_mode(event, object, item) {
            return Some(self.explanation(standing, &item.package));
        }
        let lent = |object: &Object| object.mode & LENDING;
        let before = event.before.as_deref();
        if !has_changed && lent(object) & !before.map_or(0, lent) != 0 {
            return None;
        }
        let found = self.digest(object, digest)?;
        let standing = match (digest == found, item.is_configuration) {
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
        let is_package = known(self.new) || known(self.old);
        (is_package && self.has_changed(stem)).then_some(stem)
    }

    fn explanation(&self, standing: Standing, package: &str) -> Explanation {
        let (was, is) = (
            self.old.packages.get(package),
            self.new.packages.get(package),
        );
        // Of rpm another version is another package.
        let series = was.or(is).map(|package| package.series.as_str());
        let of_series = |packages: &HashMap<&str, &'f Package>| packages.get(series?).copied();
        let was = was.or_else(|| of_series(&self.replaced));
        let is = is.or_else(|| of_series(&self.replacing));
        let version = |package: Option<&Package>| {
            let there = package.filter(|package| package.is_installed);
            there
                .map(|package| package.version.clone())
                .unwrap_or_default()
        };
        let name = was.or(is).map(|package| package.name.as_str());
        Explanation {
            standing,
            package: name.unwrap_or(package).to_owned(),
            before: version(was),
            after: version(is),
        }
    }

    /// A file's digest, of the kind of another.
    fn digest(&mut self, object: &Object, like: Digest) -> Option<Digest> {
        self.left = self.left.checked_sub(object.size_bytes)?;
        let content = self.after.open(object.id)?;
        let mut hash = like.hasher();
        let mut buffer = Vec::new();
        let mut at = 0_u64;
        while at < object.size_bytes {
            let bytes = object.size_bytes.saturating_sub(at).min(PIECE_BYTES);
            buffer.resize(usize::try_from(bytes).ok()?, 0);
            content.read_exact_at(at, &mut buffer).ok()?;
            hash.update(&buffer);
            at = at.saturating_add(bytes);
        }
        Some(hash.finish())
    }
}
