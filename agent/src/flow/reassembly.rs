//! Puts the captured bytes of one direction in order by relative sequence number.
//!
//! Rules: the first copy of a byte wins, a segment beyond the window is dropped and counted, and a
//! hole is never skipped.
//!
//! Packets are seen before TCP has judged them, so a forged one is seen even if its checksum or
//! acknowledgement number makes the kernel drop it, and Linux lets a later segment replace those
//! that it covers while they wait behind a hole (`tcp_data_queue_ofo`). Nobody but the receiver
//! knows which copy counted. So every copy is compared with the first: where they differ, the
//! stream is [`Stream::contradicted`], and nothing may be concluded from its bytes.

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
        /// Another copy than the first of bytes at the same place.
        Contradictory => "contradictory",
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
    /// See [`Dropped::Contradictory`].
    pub contradictory: u64,
}

impl DropCounts {
    /// Bytes dropped for `reason`.
    #[must_use]
    pub const fn get(&self, reason: Dropped) -> u64 {
        match reason {
            Dropped::Duplicate => self.duplicate,
            Dropped::OutOfWindow => self.out_of_window,
            Dropped::OverLimit => self.over_limit,
            Dropped::Contradictory => self.contradictory,
        }
    }

    /// Adds the counts of `other`.
    pub const fn add(&mut self, other: &Self) {
        self.duplicate += other.duplicate;
        self.out_of_window += other.out_of_window;
        self.over_limit += other.over_limit;
        self.contradictory += other.contradictory;
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

/// What a piece behind a hole costs beside its bytes (allocation, map entry). It counts against
/// the window, so that single bytes ahead do not take eighty times their size.
const PIECE_COST: usize = 80;

/// One direction of a flow.
#[derive(Debug)]
pub struct Stream {
    /// Bytes in order: those of `read..` were not consumed yet, those before stay to be compared
    /// with other copies.
    bytes: Vec<u8>,
    /// Stream position of `bytes[0]`.
    start: u64,
    read: usize,
    /// Segments ahead of a hole, by position, without overlaps.
    ahead: BTreeMap<u64, Vec<u8>>,
    /// What they cost, see [`PIECE_COST`].
    ahead_cost: usize,
    /// Position of the earliest byte known to be sent but not captured.
    cut_at: Option<u64>,
    fin_at: Option<u64>,
    contradicted: bool,
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
            bytes: Vec::new(),
            start: 0,
            read: 0,
            ahead: BTreeMap::new(),
            ahead_cost: 0,
            cut_at: None,
            fin_at: None,
            contradicted: false,
            limit,
            window,
            drops: DropCounts { duplicate: 0, out_of_window: 0, over_limit: 0, contradictory: 0 },
        }
    }

    /// Position after the last byte in order.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Bytes in order that were not consumed yet.
    #[must_use]
    pub fn ready(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// Consumes the bytes in order.
    pub fn consume(&mut self) {
        self.read = self.bytes.len();
        // No copy comes later than a window behind. Dropped in large pieces, each byte moves once.
        if self.read > self.window.saturating_mul(2) {
            let dropped = self.read - self.window;
            self.bytes.drain(..dropped);
            self.start += dropped as u64;
            self.read -= dropped;
        }
    }

    /// Copies of the same bytes differ, or bytes came after the end: somebody else than the sender
    /// took part.
    #[must_use]
    pub const fn contradicted(&self) -> bool {
        self.contradicted
    }

    /// Counts of bytes that were not used.
    #[must_use]
    pub const fn drops(&self) -> &DropCounts {
        &self.drops
    }

    /// Heap bytes held.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.bytes.capacity() + self.ahead_cost
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
            let fin = *self.fin_at.get_or_insert(position);
            self.contradicted |= fin != position || fin < self.end();
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
        let (captured, sent) = (bytes.len() as u64, u64::from(payload_len));
        if captured < sent {
            let cut = start + captured;
            if cut >= self.end() {
                self.cut_at = Some(self.cut_at.map_or(cut, |known| known.min(cut)));
            } else {
                // A copy that cannot be compared.
                self.contradicted = true;
            }
        }
        if start > self.end() + self.window as u64 {
            self.drops.out_of_window += captured;
            return;
        }
        self.contradicted |= self.fin_at.is_some_and(|fin| fin < start + sent.max(captured));
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
            // Some systems probe an idle peer with one made-up byte before the next to be sent
            // (RFC 1122 section 4.2.3.6).
            let keepalive = bytes.len() == 1 && start + 1 == end;
            self.count_copy(known, keepalive || self.repeats(start, &bytes[..known]));
            bytes = &bytes[known..];
            start = end;
        }
        if start == end && self.ahead.is_empty() {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        while !bytes.is_empty() {
            // Skip what an earlier segment ahead covers.
            if let Some((&at, held)) = self.ahead.range(..=start).next_back() {
                let skipped = usize::try_from(start - at).unwrap_or(usize::MAX);
                if let Some(held) = held.get(skipped..).filter(|held| !held.is_empty()) {
                    let known = held.len().min(bytes.len());
                    let same = held[..known] == bytes[..known];
                    self.count_copy(known, same);
                    bytes = &bytes[known..];
                    start += known as u64;
                    continue;
                }
            }
            let free = self.ahead.range(start..).next().map_or(u64::MAX, |(&at, _)| at - start);
            let mut part = bytes.len().min(usize::try_from(free).unwrap_or(usize::MAX));
            if start != self.end() {
                let left = self.window.saturating_sub(self.ahead_cost + PIECE_COST);
                part = part.min(left);
                if part == 0 {
                    self.drops.out_of_window += bytes.len() as u64;
                    return;
                }
            }
            self.ahead_cost += part + PIECE_COST;
            self.ahead.insert(start, bytes[..part].to_vec());
            bytes = &bytes[part..];
            start += part as u64;
        }
    }

    /// Whether these bytes are those in order at `at`, as far as they are still kept.
    fn repeats(&self, at: u64, bytes: &[u8]) -> bool {
        let gone = usize::try_from(self.start.saturating_sub(at)).unwrap_or(usize::MAX);
        let Some(bytes) = bytes.get(gone..) else { return true };
        let from = usize::try_from(at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        self.bytes.get(from..).is_some_and(|kept| kept.starts_with(bytes))
    }

    fn count_copy(&mut self, length: usize, same: bool) {
        if same {
            self.drops.duplicate += length as u64;
        } else {
            self.drops.contradictory += length as u64;
            self.contradicted = true;
        }
    }

    fn advance(&mut self) {
        while let Some(entry) = self.ahead.first_entry() {
            if *entry.key() != self.start + self.bytes.len() as u64 {
                break;
            }
            let bytes = entry.remove();
            self.ahead_cost -= bytes.len() + PIECE_COST;
            self.bytes.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(segments: &[(u32, &[u8])]) -> Stream {
        let mut stream = Stream::new(64, 1024);
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
            ("far ahead", &[(0, b"a"), (5000, b"z")], b"a", Missing::NotYet),
            (
                "keepalive probe before the start",
                &[(u32::MAX, b"k"), (0, b"a")],
                b"a",
                Missing::NotYet,
            ),
        ];
        for (name, segments, expected, missing) in cases {
            let stream = pushed(segments);
            assert_eq!(stream.ready(), *expected, "{name}");
            assert_eq!(stream.missing(), *missing, "{name}");
        }
    }

    #[test]
    fn copies_that_differ_are_noticed() {
        /// Name, segments, whether they contradict each other.
        type Case<'a> = (&'a str, &'a [(u32, &'a [u8])], bool);
        let cases: &[Case<'_>] = &[
            ("the same again", &[(0, b"abcd"), (0, b"abcd")], false),
            ("the same in other pieces", &[(0, b"abcd"), (1, b"bc"), (2, b"cdef")], false),
            ("another byte", &[(0, b"abcd"), (0, b"aXcd")], true),
            ("another tail, then more", &[(0, b"abcd"), (2, b"cXef")], true),
            ("behind a hole, the same", &[(4, b"efgh"), (4, b"efgh")], false),
            ("behind a hole, another", &[(4, b"efgh"), (5, b"Xgh")], true),
            ("behind a hole, covered", &[(4, b"ef"), (2, b"cdXfgh")], true),
            ("the hole's filling overlaps", &[(2, b"cd"), (0, b"abX")], true),
            ("keepalive probe with a byte of its own", &[(0, b"abcd"), (3, b"X")], false),
        ];
        for (name, segments, expected) in cases {
            let mut stream = pushed(segments);
            assert_eq!(stream.contradicted(), *expected, "{name}");
            assert_eq!(stream.drops().contradictory > 0, *expected, "{name}");
            // Consumed bytes are compared as well.
            stream = Stream::new(64, 1024);
            for (offset, bytes) in *segments {
                stream.push(*offset, u32::try_from(bytes.len()).unwrap(), bytes);
                stream.consume();
            }
            assert_eq!(stream.contradicted(), *expected, "{name}, consumed");
        }
    }

    #[test]
    fn nothing_comes_after_the_end() {
        let mut stream = pushed(&[(0, b"abcd")]);
        stream.fin(4);
        stream.fin(4);
        stream.push(0, 4, b"abcd");
        assert!(!stream.contradicted());
        stream.push(4, 1, b"e");
        assert!(stream.contradicted());

        for (name, first, second) in [("two ends", 6, 7), ("an end in the middle", 2, 2)] {
            let mut stream = pushed(&[(0, b"abcd")]);
            stream.fin(first);
            stream.fin(second);
            assert!(stream.contradicted(), "{name}");
        }
    }

    #[test]
    fn a_copy_that_was_not_captured_may_differ() {
        let mut stream = pushed(&[(0, b"abcd")]);
        stream.push(1, 3, b"b");
        assert!(stream.contradicted());
    }

    #[test]
    fn what_was_consumed_long_ago_is_let_go() {
        let mut stream = Stream::new(u64::MAX, 100);
        for n in 0..1000_u32 {
            stream.push(n * 50, 50, &[7; 50]);
            stream.consume();
            assert!(stream.held() <= 1024, "{} held", stream.held());
        }
        stream.push(0, 50, &[8; 50]);
        assert!(!stream.contradicted(), "nothing to compare with");
    }

    #[test]
    fn single_bytes_ahead_do_not_take_more_than_the_window() {
        let mut stream = Stream::new(1 << 20, 10_000);
        for n in 1..5000 {
            stream.push(n * 2, 1, b"x");
        }
        assert!(stream.held() <= 10_000 && stream.ahead.len() * PIECE_COST <= 10_000);
        assert!(stream.drops().out_of_window > 0);
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
        assert!(stream.held() <= 4, "held {}", stream.held());
        assert!(stream.drops().out_of_window > 0);
    }

    #[test]
    fn a_cut_segment_is_truncated_until_the_bytes_come() {
        let mut stream = Stream::new(64, 32);
        stream.push(0, 10, b"abc");
        assert_eq!(stream.missing(), Missing::Truncated);
        stream.push(3, 7, b"defghij");
        assert_eq!(stream.missing(), Missing::NotYet);
        assert_eq!(stream.ready(), b"abcdefghij");
        stream.consume();
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
            stream.consume();
        }
        assert_eq!(stream.end(), 4100 << 20);
    }
}
