//! Puts the captured bytes of one direction in order by relative sequence number.
//!
//! Rules: the first copy of a byte wins, a segment beyond the window is dropped and counted, and a
//! gap is never skipped.
//!
//! Packets are seen before TCP has judged them, so a forged one is seen even if its checksum or
//! acknowledgement number makes the kernel drop it, and Linux lets a later segment replace those
//! that it covers while they wait after a gap (`tcp_data_queue_ofo`). Nobody but the receiver
//! knows which copy counted. So every copy is compared with the first: where they differ, the
//! stream is [`Stream::contradicted`], and nothing may be concluded from its bytes.

use std::collections::BTreeMap;

use crate::vocabulary;

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
    Gap,
    /// The side has finished sending.
    Finished,
}

/// What a piece after a gap costs beside its bytes (allocation, map entry). It counts against
/// the window, so that single bytes ahead do not take eighty times their size.
const PIECE_COST: usize = 80;

/// What most streams never have: bytes after a gap, or more than once.
#[derive(Debug, Default)]
struct Disorder {
    /// Segments ahead of a gap, by position, without overlaps.
    ahead: BTreeMap<u64, Vec<u8>>,
    /// What they cost, see [`PIECE_COST`].
    ahead_cost: usize,
    drops: DropCounts,
}

impl Disorder {
    /// What is held from `position` on.
    fn piece_at(&self, position: u64) -> Option<&[u8]> {
        let (&at, held) = self.ahead.range(..=position).next_back()?;
        let skipped = usize::try_from(position - at).unwrap_or(usize::MAX);
        held.get(skipped..).filter(|held| !held.is_empty())
    }

    /// Bytes from `position` to the next piece.
    fn gap_at(&self, position: u64) -> usize {
        let next = self.ahead.range(position..).next();
        next.map_or(usize::MAX, |(&at, _)| usize::try_from(at - position).unwrap_or(usize::MAX))
    }

    fn insert(&mut self, position: u64, bytes: &[u8]) {
        self.ahead_cost += bytes.len() + PIECE_COST;
        self.ahead.insert(position, bytes.to_vec());
    }
}

/// One direction of a connection.
#[derive(Debug)]
pub struct Stream {
    /// Bytes in order: those of `read..` were not consumed yet, those before stay to be compared
    /// with other copies.
    bytes: Vec<u8>,
    /// Stream position of `bytes[0]`.
    start: u64,
    read: u32,
    disorder: Option<Box<Disorder>>,
    /// Position of the earliest byte known to be sent but not captured.
    cut_at: At,
    fin_at: At,
    contradicted: bool,
    limit: u64,
    window: u32,
}

/// A position, or none, in the space of a position: some hundred thousand streams are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct At(u64);

impl At {
    const NONE: Self = Self(u64::MAX);

    fn known(self) -> Option<u64> {
        (self != Self::NONE).then_some(self.0)
    }

    /// The earlier one of this and `position`.
    fn or_earlier(self, position: u64) -> Self {
        // None is later than everything.
        Self(self.0.min(position))
    }
}

impl Stream {
    /// A stream of which at most `limit` bytes are used and at most `window` bytes are held back
    /// after gaps, which is never more than 4 GiB.
    #[must_use]
    pub fn new(limit: u64, window: usize) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            read: 0,
            disorder: None,
            cut_at: At::NONE,
            fin_at: At::NONE,
            contradicted: false,
            limit,
            window: u32::try_from(window).unwrap_or(u32::MAX),
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
        &self.bytes[self.read as usize..]
    }

    /// Consumes the bytes in order.
    pub fn consume(&mut self) {
        // No copy comes later than a window behind. Dropped in large pieces, each byte moves once.
        let window = self.window as usize;
        if self.bytes.len() > window.saturating_mul(2) {
            let dropped = self.bytes.len() - window;
            self.bytes.drain(..dropped);
            self.start += dropped as u64;
        }
        // At most two windows (of some megabytes, by the configuration) and a segment: it fits.
        self.read = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
    }

    /// Copies of the same bytes differ, or bytes came after the end: somebody else than the sender
    /// took part.
    #[must_use]
    pub const fn contradicted(&self) -> bool {
        self.contradicted
    }

    /// Counts of bytes that were not used.
    #[must_use]
    pub fn drops(&self) -> DropCounts {
        self.disorder.as_ref().map(|disorder| disorder.drops).unwrap_or_default()
    }

    /// Heap bytes held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.bytes.capacity() + self.disorder.as_ref().map_or(0, |disorder| disorder.ahead_cost)
    }

    fn has_bytes_ahead(&self) -> bool {
        self.disorder.as_ref().is_some_and(|disorder| !disorder.ahead.is_empty())
    }

    fn disorder(&mut self) -> &mut Disorder {
        self.disorder.get_or_insert_default()
    }

    /// Why there is no byte at [`Stream::end`].
    #[must_use]
    pub fn missing(&self) -> Missing {
        let end = self.end();
        let (fin, cut) = (self.fin_at.known(), self.cut_at.known());
        if fin.is_some_and(|fin| fin <= end) {
            Missing::Finished
        } else if cut.is_some_and(|cut| cut <= end) || end >= self.limit {
            Missing::Truncated
        } else if self.has_bytes_ahead() || fin.is_some() || cut.is_some() {
            Missing::Gap
        } else {
            Missing::NotYet
        }
    }

    /// This side sends nothing from `offset` (modulo 2^32) on.
    pub fn fin(&mut self, offset: u32) {
        if let Some(position) = self.position(offset) {
            let fin = self.fin_at.known().unwrap_or(position);
            self.fin_at = At(fin);
            self.contradicted |= fin != position || fin < self.end();
        }
    }

    /// Marks that bytes of this direction were lost between the kernel and here.
    pub fn lost(&mut self) {
        let end = self.end();
        self.cut_at = self.cut_at.or_earlier(end);
    }

    /// Adds one segment: `bytes` is the captured beginning of `payload_len` bytes that start
    /// `offset` bytes (modulo 2^32) after the first payload byte of the direction.
    pub fn push(&mut self, offset: u32, payload_len: u32, bytes: &[u8]) {
        let Some(start) = self.position(offset) else {
            self.disorder().drops.duplicate += bytes.len() as u64;
            return;
        };
        let (captured, sent) = (bytes.len() as u64, u64::from(payload_len));
        if captured < sent {
            let cut = start + captured;
            if cut >= self.end() {
                self.cut_at = self.cut_at.or_earlier(cut);
            } else {
                // A copy that cannot be compared.
                self.contradicted = true;
            }
        }
        if start > self.end() + u64::from(self.window) {
            self.disorder().drops.out_of_window += captured;
            return;
        }
        self.contradicted |= self.fin_at.0 < start + sent.max(captured);
        let allowed = usize::try_from(self.limit.saturating_sub(start)).unwrap_or(usize::MAX);
        let kept = bytes.len().min(allowed);
        if kept < bytes.len() {
            self.disorder().drops.over_limit += (bytes.len() - kept) as u64;
        }
        self.place(start, &bytes[..kept]);
        self.advance();
        if self.cut_at.0 < self.end() {
            self.cut_at = At::NONE;
        }
    }

    /// The absolute position nearest to the bytes already in order; `None` before the start.
    #[must_use]
    pub fn position(&self, offset: u32) -> Option<u64> {
        let end = self.end();
        let near = (end & !0xffff_ffff) | u64::from(offset);
        let candidates = [near.checked_sub(1 << 32), Some(near), near.checked_add(1 << 32)];
        let nearest =
            candidates.into_iter().flatten().min_by_key(|position| position.abs_diff(end))?;
        // Offsets just below zero are keepalive probes and retransmissions of the SYN.
        (nearest.abs_diff(end) < 1 << 31).then_some(nearest)
    }

    /// Puts bytes where they belong. Those that repeat what is in order are compared with it, those
    /// that continue it are appended, and those after a gap wait, in pieces that never overlap.
    fn place(&mut self, start: u64, bytes: &[u8]) {
        let (start, bytes) = self.compare_with_ordered(start, bytes);
        if start == self.end() && !self.has_bytes_ahead() {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.hold(start, bytes);
        }
    }

    /// Compares the bytes before [`Stream::end`] with those in order, and returns the others.
    fn compare_with_ordered<'b>(&mut self, start: u64, bytes: &'b [u8]) -> (u64, &'b [u8]) {
        let end = self.end();
        if start >= end {
            return (start, bytes);
        }
        let known = usize::try_from(end - start).unwrap_or(usize::MAX).min(bytes.len());
        // Some systems probe an idle peer with one made-up byte before the next to be sent
        // (RFC 1122 section 4.2.3.6).
        let keepalive = bytes.len() == 1 && start + 1 == end;
        self.count_copy(known, keepalive || self.repeats(start, &bytes[..known]));
        (end, &bytes[known..])
    }

    /// Holds bytes until those before them have come. What is held already stays, and its copies are
    /// compared with it. Bytes that continue the ones in order always find room: they free more.
    fn hold(&mut self, mut start: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let continues = start == self.end();
            let window = self.window as usize;
            let disorder = self.disorder.get_or_insert_default();
            let length = if let Some(held) = disorder.piece_at(start) {
                let known = held.len().min(bytes.len());
                let same = held[..known] == bytes[..known];
                self.count_copy(known, same);
                known
            } else {
                let left = window.saturating_sub(disorder.ahead_cost + PIECE_COST);
                let room = if continues { usize::MAX } else { left };
                let length = bytes.len().min(disorder.gap_at(start)).min(room);
                if length == 0 {
                    disorder.drops.out_of_window += bytes.len() as u64;
                    return;
                }
                disorder.insert(start, &bytes[..length]);
                length
            };
            bytes = &bytes[length..];
            start += length as u64;
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
        if length == 0 {
            return;
        }
        self.contradicted |= !same;
        let drops = &mut self.disorder().drops;
        if same {
            drops.duplicate += length as u64;
        } else {
            drops.contradictory += length as u64;
        }
    }

    fn advance(&mut self) {
        let Some(disorder) = &mut self.disorder else { return };
        while let Some(entry) = disorder.ahead.first_entry() {
            if *entry.key() != self.start + self.bytes.len() as u64 {
                break;
            }
            let bytes = entry.remove();
            disorder.ahead_cost -= bytes.len() + PIECE_COST;
            self.bytes.extend_from_slice(&bytes);
        }
    }
}

#[cfg(test)]
mod tests;
