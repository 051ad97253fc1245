//! A small map of what was read last, with a bound on its entries.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Keeps up to `limit` values; the one that was used longest ago goes first.
#[derive(Debug)]
pub(crate) struct Cache<V> {
    entries: Mutex<Entries<V>>,
    limit: usize,
}

#[derive(Debug)]
struct Entries<V> {
    values: BTreeMap<u64, (u64, V)>,
    /// Counts uses, so that each has an order.
    uses: u64,
}

impl<V: Clone> Cache<V> {
    pub(crate) fn new(limit: usize) -> Self {
        let entries = Entries {
            values: BTreeMap::new(),
            uses: 0,
        };
        Self {
            entries: Mutex::new(entries),
            limit: limit.max(1),
        }
    }

    /// The value of `key`, from here or from `read`, which runs without the lock.
    pub(crate) fn get_or<E>(&self, key: u64, read: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
        if let Some(value) = self.lock().get(key) {
            return Ok(value);
        }
        let value = read()?;
        self.lock().put(key, value.clone(), self.limit);
        Ok(value)
    }

    /// A thread that panicked has left whole entries behind: nothing here panics halfway.
    fn lock(&self) -> MutexGuard<'_, Entries<V>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Clone> Entries<V> {
    fn get(&mut self, key: u64) -> Option<V> {
        self.uses = self.uses.wrapping_add(1);
        let (used, value) = self.values.get_mut(&key)?;
        *used = self.uses;
        Some(value.clone())
    }

    fn put(&mut self, key: u64, value: V, limit: usize) {
        if self.values.len() >= limit && !self.values.contains_key(&key) {
            let oldest = self.values.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.values.remove(&oldest);
            }
        }
        self.values.insert(key, (self.uses, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let cache = Cache::new(2);
        let mut reads = Vec::new();
        for key in [1, 2, 1, 3, 1, 2] {
            let read = || -> Result<u64, ()> {
                reads.push(key);
                Ok(key * 10)
            };
            assert_eq!(cache.get_or(key, read), Ok(key * 10));
        }
        assert_eq!(reads, [1, 2, 3, 2]);
    }
}
