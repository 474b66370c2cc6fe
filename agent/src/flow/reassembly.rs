//! Puts the captured bytes of one direction in order by relative sequence number.
//!
//! Rules: the first copy of a byte wins (what the receiver most likely acted on), a segment beyond
//! the window is dropped and counted, and a hole is never skipped.

use std::collections::BTreeMap;

use crate::model::vocabulary;

vocabulary! {
    /// Why captured bytes were not used.
    Dropped {
        /// The same bytes were there already (retransmission or overlap).
        Duplicate => "duplicate",
        /// Further ahead than the reassembly window.
        OutOfWindow => "out_of_window",
        /// Past the byte limit of the direction.
        OverLimit => "over_limit",
    }
}

/// Bytes dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCounts {
    /// See [`Dropped::Duplicate`].
    pub duplicate: u64,
    /// See [`Dropped::OutOfWindow`].
    pub out_of_window: u64,
    /// See [`Dropped::OverLimit`].
    pub over_limit: u64,
}

impl DropCounts {
    /// Bytes dropped for `reason`.
    #[must_use]
    pub const fn get(&self, reason: Dropped) -> u64 {
        match reason {
            Dropped::Duplicate => self.duplicate,
            Dropped::OutOfWindow => self.out_of_window,
            Dropped::OverLimit => self.over_limit,
        }
    }

    /// Adds the counts of `other`.
    pub const fn add(&mut self, other: &Self) {
        self.duplicate += other.duplicate;
        self.out_of_window += other.out_of_window;
        self.over_limit += other.over_limit;
    }
}

/// Why the next byte is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It may still come.
    NotYet,
    /// It was sent, but the capture was cut before it.
    Truncated,
    /// Later bytes were seen, this one not (yet).
    Hole,
    /// The side has finished sending.
    Finished,
}

/// One direction of a flow.
#[derive(Debug)]
pub struct Stream {
    /// Bytes in order, from the first payload byte on, that were not consumed yet.
    ready: Vec<u8>,
    /// Stream position of `ready[0]`.
    consumed: u64,
    /// Segments ahead of a hole, by position, without overlaps.
    ahead: BTreeMap<u64, Vec<u8>>,
    ahead_bytes: usize,
    /// Position of the earliest byte known to be sent but not captured.
    cut_at: Option<u64>,
    fin_at: Option<u64>,
    limit: u64,
    window: usize,
    drops: DropCounts,
}

impl Stream {
    /// A stream of which at most `limit` bytes are used and at most `window` bytes are held back
    /// behind holes.
    #[must_use]
    pub const fn new(limit: u64, window: usize) -> Self {
        Self {
            ready: Vec::new(),
            consumed: 0,
            ahead: BTreeMap::new(),
            ahead_bytes: 0,
            cut_at: None,
            fin_at: None,
            limit,
            window,
            drops: DropCounts { duplicate: 0, out_of_window: 0, over_limit: 0 },
        }
    }

    /// Position after the last byte in order.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.consumed + self.ready.len() as u64
    }

    /// Bytes in order that were not consumed yet.
    #[must_use]
    pub fn ready(&self) -> &[u8] {
        &self.ready
    }

    /// Takes the bytes in order.
    pub fn take(&mut self) -> Vec<u8> {
        self.consumed = self.end();
        std::mem::take(&mut self.ready)
    }

    /// Counts of bytes that were not used.
    #[must_use]
    pub const fn drops(&self) -> &DropCounts {
        &self.drops
    }

    /// Heap bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.ready.capacity() + self.ahead_bytes
    }

    /// Why there is no byte at [`Stream::end`].
    #[must_use]
    pub fn missing(&self) -> Missing {
        let end = self.end();
        if self.fin_at.is_some_and(|fin| fin <= end) {
            Missing::Finished
        } else if self.cut_at.is_some_and(|cut| cut <= end) || end >= self.limit {
            Missing::Truncated
        } else if !self.ahead.is_empty() || self.fin_at.is_some() || self.cut_at.is_some() {
            Missing::Hole
        } else {
            Missing::NotYet
        }
    }

    /// This side sends nothing from `offset` (modulo 2^32) on.
    pub fn fin(&mut self, offset: u32) {
        if let Some(position) = self.position(offset) {
            self.fin_at.get_or_insert(position);
        }
    }

    /// Marks that bytes of this direction were lost between the kernel and here.
    pub fn lost(&mut self) {
        let end = self.end();
        self.cut_at = Some(self.cut_at.map_or(end, |cut| cut.min(end)));
    }

    /// Adds one segment: `bytes` is the captured beginning of `payload_len` bytes that start
    /// `offset` bytes (modulo 2^32) after the first payload byte of the direction.
    pub fn push(&mut self, offset: u32, payload_len: u32, bytes: &[u8]) {
        let Some(start) = self.position(offset) else {
            self.drops.duplicate += bytes.len() as u64;
            return;
        };
        if (bytes.len() as u64) < u64::from(payload_len) {
            let cut = start + bytes.len() as u64;
            if cut >= self.end() {
                self.cut_at = Some(self.cut_at.map_or(cut, |known| known.min(cut)));
            }
        }
        if start > self.end() + self.window as u64 {
            self.drops.out_of_window += bytes.len() as u64;
            return;
        }
        let allowed = usize::try_from(self.limit.saturating_sub(start)).unwrap_or(usize::MAX);
        let kept = bytes.len().min(allowed);
        self.drops.over_limit += (bytes.len() - kept) as u64;
        self.place(start, &bytes[..kept]);
        self.advance();
        if self.cut_at.is_some_and(|cut| cut < self.end()) {
            self.cut_at = None;
        }
    }

    /// The absolute position nearest to the bytes already in order; `None` before the start.
    fn position(&self, offset: u32) -> Option<u64> {
        let end = self.end();
        let near = (end & !0xffff_ffff) | u64::from(offset);
        let candidates = [near.checked_sub(1 << 32), Some(near), near.checked_add(1 << 32)];
        let nearest =
            candidates.into_iter().flatten().min_by_key(|position| position.abs_diff(end))?;
        // Offsets just below zero are keepalive probes and retransmissions of the SYN.
        (nearest.abs_diff(end) < 1 << 31).then_some(nearest)
    }

    fn place(&mut self, mut start: u64, mut bytes: &[u8]) {
        let end = self.end();
        if start < end {
            let known = usize::try_from(end - start).unwrap_or(usize::MAX).min(bytes.len());
            self.drops.duplicate += known as u64;
            bytes = &bytes[known..];
            start = end;
        }
        if start == end && self.ahead.is_empty() {
            self.ready.extend_from_slice(bytes);
            return;
        }
        while !bytes.is_empty() {
            // Skip what an earlier segment ahead covers.
            if let Some((&at, held)) = self.ahead.range(..=start).next_back() {
                let covered = (at + held.len() as u64).saturating_sub(start);
                if covered > 0 {
                    let known = usize::try_from(covered).unwrap_or(usize::MAX).min(bytes.len());
                    self.drops.duplicate += known as u64;
                    bytes = &bytes[known..];
                    start += known as u64;
                    continue;
                }
            }
            let free = self.ahead.range(start..).next().map_or(u64::MAX, |(&at, _)| at - start);
            let mut part = bytes.len().min(usize::try_from(free).unwrap_or(usize::MAX));
            if start != self.end() {
                part = part.min(self.window.saturating_sub(self.ahead_bytes));
                if part == 0 {
                    self.drops.out_of_window += bytes.len() as u64;
                    return;
                }
            }
            self.ahead_bytes += part;
            self.ahead.insert(start, bytes[..part].to_vec());
            bytes = &bytes[part..];
            start += part as u64;
        }
    }

    fn advance(&mut self) {
        while let Some(entry) = self.ahead.first_entry() {
            if *entry.key() != self.consumed + self.ready.len() as u64 {
                break;
            }
            let bytes = entry.remove();
            self.ahead_bytes -= bytes.len();
            self.ready.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(segments: &[(u32, &[u8])]) -> Stream {
        let mut stream = Stream::new(64, 32);
        for (offset, bytes) in segments {
            stream.push(*offset, u32::try_from(bytes.len()).unwrap(), bytes);
        }
        stream
    }

    #[test]
    fn segments_in_any_order_give_the_bytes_once() {
        /// Name, segments, bytes in order, why there is no more.
        type Case<'a> = (&'a str, &'a [(u32, &'a [u8])], &'a [u8], Missing);
        let cases: &[Case<'_>] = &[
            ("in order", &[(0, b"ab"), (2, b"cd")], b"abcd", Missing::NotYet),
            ("out of order", &[(2, b"cd"), (0, b"ab")], b"abcd", Missing::NotYet),
            ("hole", &[(0, b"a"), (2, b"c")], b"a", Missing::Hole),
            ("retransmitted", &[(0, b"ab"), (0, b"ab"), (2, b"c")], b"abc", Missing::NotYet),
            ("first byte wins in order", &[(0, b"ab"), (1, b"XYZ")], b"abYZ", Missing::NotYet),
            ("first byte wins ahead", &[(2, b"cd"), (0, b"XXXX")], b"XXcd", Missing::NotYet),
            (
                "bridges two pieces",
                &[(1, b"b"), (3, b"d"), (0, b"XXXXX")],
                b"XbXdX",
                Missing::NotYet,
            ),
            (
                "keepalive probe before the start",
                &[(u32::MAX, b"k"), (0, b"a")],
                b"a",
                Missing::NotYet,
            ),
            ("far ahead", &[(0, b"a"), (50, b"z")], b"a", Missing::NotYet),
        ];
        for (name, segments, expected, missing) in cases {
            let stream = pushed(segments);
            assert_eq!(stream.ready(), *expected, "{name}");
            assert_eq!(stream.missing(), *missing, "{name}");
        }
    }

    #[test]
    fn nothing_beyond_the_limits_is_kept() {
        let mut stream = Stream::new(8, 4);
        stream.push(0, 100, &[7; 20]);
        assert_eq!(stream.ready().len(), 8);
        assert_eq!(stream.missing(), Missing::Truncated);
        assert_eq!(stream.drops().over_limit, 12);

        let mut stream = Stream::new(1000, 4);
        stream.push(1, 10, &[7; 10]);
        stream.push(5, 10, &[7; 10]);
        assert!(stream.held() <= 4 + 8, "held {}", stream.held());
        assert!(stream.drops().out_of_window > 0);
    }

    #[test]
    fn a_cut_segment_is_truncated_until_the_bytes_come() {
        let mut stream = Stream::new(64, 32);
        stream.push(0, 10, b"abc");
        assert_eq!(stream.missing(), Missing::Truncated);
        stream.push(3, 7, b"defghij");
        assert_eq!(stream.missing(), Missing::NotYet);
        assert_eq!(stream.take(), b"abcdefghij");
        stream.fin(10);
        assert_eq!(stream.missing(), Missing::Finished);
    }

    #[test]
    fn offsets_wrap() {
        let mut stream = Stream::new(u64::MAX, 1 << 20);
        let chunk = vec![0_u8; 1 << 20];
        for n in 0..4100_u64 {
            let offset = u32::try_from((n << 20) & 0xffff_ffff).unwrap();
            stream.push(offset, 1 << 20, &chunk);
            stream.take();
        }
        assert_eq!(stream.end(), 4100 << 20);
    }
}
