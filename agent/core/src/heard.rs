//! What one side had received when it sent its bytes.
//!
//! That a record was seen after another of the other direction does not say that it answers it: it
//! may have been on its way already. TCP's acknowledgement number tells how much of the other
//! direction the sender's system had received when a segment was sent. It is a lower bound for what
//! came before the bytes in it, with two exceptions: bytes that waited in the sender's queue (for
//! Nagle's algorithm or a window), and bytes that are sent again, carry a newer number than the one
//! they were written under.

/// A place in a stream, of which some megabytes are followed at most.
pub type Place = u32;

/// Marks kept. The number changes with each turn of a conversation; a handshake has few.
const MAX_MARKS: usize = 16;

/// For places in one direction, the place in the other up to which its sender had received.
#[derive(Debug, Default)]
pub struct Heard {
    /// (place in this direction, place in the other), in order of the first.
    marks: Vec<(Place, Place)>,
}

impl Heard {
    /// Bytes from `at` on were sent when the other direction had been received up to `acked`.
    pub fn note(&mut self, at: Place, acked: Place) {
        let next = self.marks.partition_point(|(place, _)| *place <= at);
        let before = next.checked_sub(1).map(|last| self.marks[last]);
        if before.is_some_and(|(place, known)| known == acked || place == at) {
            // Of the same bytes the first copy counts.
            return;
        }
        if self.marks.len() < MAX_MARKS {
            self.marks.insert(next, (at, acked));
        } else if next == self.marks.len() {
            // What lies between is taken to have heard less than it did.
            self.marks[MAX_MARKS - 1] = (at, acked);
        }
    }

    /// How far the other direction had been received when the byte at `at` was sent; `None` where
    /// the source does not say.
    #[must_use]
    pub fn before(&self, at: Place) -> Option<Place> {
        let next = self.marks.partition_point(|(place, _)| *place <= at);
        next.checked_sub(1).map(|last| self.marks[last].1)
    }

    /// Heap bytes held.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.marks.capacity() * size_of::<(Place, Place)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_before_a_byte_counts() {
        let mut heard = Heard::default();
        assert_eq!(heard.before(0), None);
        // The second segment is seen first, and the first one again later.
        for (at, acked) in [(1000, 300), (0, 200), (2000, 900), (0, 900)] {
            heard.note(at, acked);
        }
        let cases = [(0, 200), (999, 200), (1000, 300), (1999, 300), (2000, 900), (9000, 900)];
        for (at, expected) in cases {
            assert_eq!(heard.before(at), Some(expected), "{at}");
        }
    }

    #[test]
    fn more_turns_than_are_kept_make_it_hear_less() {
        let mut heard = Heard::default();
        for turn in 0..100 {
            heard.note(turn * 10, turn * 7);
        }
        assert_eq!(heard.marks.len(), MAX_MARKS);
        for at in 0..1000 {
            assert!(heard.before(at).is_some_and(|acked| acked <= at / 10 * 7), "{at}");
        }
        assert_eq!(heard.before(990), Some(99 * 7));
    }
}
