//! A bounded map.

use std::collections::{BTreeMap, VecDeque};

/// A map that forgets what was put in first. A tree, for it takes less memory than a hash table that
/// entries come to and go from.
#[derive(Debug)]
pub struct Bounded<K, V> {
    max: usize,
    /// What it holds.
    pub entries: BTreeMap<K, V>,
    /// Keys in the order of their insertion, among some that were taken out since.
    pub order: VecDeque<K>,
}

impl<K: Clone + Ord, V> Bounded<K, V> {
    /// Holds at most `max` entries.
    pub fn new(max: usize) -> Self {
        Self { max, entries: BTreeMap::new(), order: VecDeque::new() }
    }

    /// Puts an entry in, or another value in its place; returns what was forgotten to make room.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(known) = self.entries.get_mut(&key) {
            *known = value;
            return None;
        }
        let forgotten = self.make_room();
        self.order.push_back(key.clone());
        self.entries.insert(key, value);
        forgotten
    }

    /// The entry, a new one where there is none.
    pub fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        if !self.entries.contains_key(&key) {
            self.insert(key.clone(), V::default());
        }
        self.entries.entry(key).or_default()
    }

    /// Takes an entry out.
    pub fn take(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key)
    }

    /// Whether the next new entry takes the place of another one.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= self.max
    }

    /// Whether this one takes the place of another one.
    pub fn has_no_room_for(&self, key: &K) -> bool {
        self.is_full() && !self.entries.contains_key(key)
    }

    /// Makes room for one more before it is needed, but for what is still `in_use`: that is asked of the
    /// oldest, which then counts as new. Whether something was forgotten.
    pub fn make_room_among(&mut self, mut in_use: impl FnMut(&mut V) -> bool) -> bool {
        let mut turns = self.order.len();
        while self.is_full() {
            let Some(oldest) = self.order.pop_front() else { return false };
            let Some(value) = self.entries.get_mut(&oldest) else { continue };
            if turns > 0 && in_use(value) {
                turns -= 1;
                self.order.push_back(oldest);
            } else {
                self.entries.remove(&oldest);
                return true;
            }
        }
        false
    }

    fn make_room(&mut self) -> Option<V> {
        if self.order.len() > self.max + self.max / 4 {
            let entries = &self.entries;
            self.order.retain(|key| entries.contains_key(key));
        }
        let mut forgotten = None;
        while self.is_full() {
            let Some(oldest) = self.order.pop_front() else { break };
            forgotten = self.entries.remove(&oldest).or(forgotten);
        }
        forgotten
    }
}
