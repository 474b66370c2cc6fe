//! Remembers connections that ended: what was on its way then, or is sent once more, still comes.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, Hash},
};

use hopsight_core::collections::HashMap;

/// Connections remembered; about 50 bytes each.
const MAX_CLOSED: usize = 1 << 17;
/// Bytes beyond what was seen of a direction that may have been on their way: more than receive
/// windows are in practice, and little of the room that sequence numbers have.
const SLACK: u32 = 16 << 20;

/// What one direction of an ended connection sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// First sequence number.
    pub first: u32,
    /// Sequence number after the last one.
    pub next: u32,
}

impl Sent {
    /// A segment of this sequence number is of the same connection, as far as can be told.
    const fn covers(self, sequence: u32) -> bool {
        let before = self.first.wrapping_sub(SLACK);
        let length = self.next.wrapping_sub(self.first).saturating_add(2 * SLACK);
        sequence.wrapping_sub(before) <= length
    }
}

/// An ended connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Sequence number of the SYN that opened it, if that was seen.
    pub syn: Option<u32>,
    /// By direction, in an order that the caller keeps to; `None` where nothing is known.
    pub sent: [Option<Sent>; 2],
}

/// The connections that ended last.
#[derive(Debug, Default)]
pub struct Closed {
    /// By the hash of the connection's key: a collision only matters if sequence numbers fit, too.
    ended: HashMap<u64, Ended>,
    order: VecDeque<u64>,
}

impl Closed {
    /// Remembers an ended connection in place of an older one with this key.
    pub fn remember(&mut self, key: &impl Hash, ended: Ended) {
        let hash = self.ended.hasher().hash_one(key);
        if self.ended.insert(hash, ended).is_some() {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > MAX_CLOSED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }

    /// Whether a segment of an unknown connection is one of the ended connection with this key:
    /// `opens` if it is a SYN without an acknowledgement, which only repeats its own.
    pub fn repeats(&self, key: &impl Hash, direction: usize, sequence: u32, opens: bool) -> bool {
        if self.ended.is_empty() {
            return false;
        }
        let Some(ended) = self.ended.get(&self.ended.hasher().hash_one(key)) else { return false };
        if opens {
            return ended.syn == Some(sequence);
        }
        ended.sent[direction].is_none_or(|sent| sent.covers(sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_before_is_told_from_a_new_connection() {
        let sent = Sent { first: u32::MAX - 10, next: 500 };
        for (sequence, covered) in [
            (u32::MAX - 10, true),
            (499, true),
            (500, true),
            (500 + SLACK, true),
            (501 + SLACK, false),
            ((u32::MAX - 10).wrapping_sub(SLACK), true),
            ((u32::MAX - 11).wrapping_sub(SLACK), false),
        ] {
            assert_eq!(sent.covers(sequence), covered, "{sequence}");
        }
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let mut closed = Closed::default();
        let ended = Ended { syn: Some(7), sent: [None; 2] };
        for key in 0..=MAX_CLOSED {
            closed.remember(&key, ended);
        }
        assert!(!closed.repeats(&0_usize, 0, 7, true));
        assert!(closed.repeats(&1_usize, 0, 7, true));
        assert_eq!(closed.ended.len(), MAX_CLOSED);
    }
}
