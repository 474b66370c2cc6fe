//! Every line between capture and export: events in, reports out. Pure: time comes with events.

mod alike;
mod bounded;
pub mod carried;
pub mod connection;
mod counters;
mod deadlines;
mod limits;
pub mod owners;
mod reporting;
pub mod session;

use std::{collections::VecDeque, num::NonZeroU64};

use self::{
    carried::FullHandshakes,
    connection::Connection,
    deadlines::Deadlines,
    reporting::{short, transcript_of},
};
pub use self::{
    counters::{Counters, Eviction, Evictions},
    limits::Limits,
};
use crate::{
    collections::HashMap,
    model::{CloseCause, ConnectionId, Event, LibraryObservation, Reason, Timestamp},
    report::{ConnectionReport, Verdict},
    tls::{
        certificate::CertificateMemory,
        transcript::{TranscriptLimits, Transcripts},
    },
};

/// Connections in the queue of openings beyond twice the tracked ones before it is swept.
const ORDER_SLACK: usize = 4096;

/// What the pipeline wants its surroundings to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// Something to say about a connection.
    Report {
        /// What.
        report: Box<ConnectionReport>,
        /// Nothing was said about it before.
        first: bool,
    },
    /// No more bytes of this connection are needed.
    Done(ConnectionId),
}

#[derive(Debug)]
struct Entry {
    connection: Connection,
    /// What it holds of [`Pipeline::stream_bytes`].
    held: usize,
    /// The last verdict said.
    said: Option<Verdict>,
    /// What it is found by in [`Pipeline::by_handshake`].
    handshake: Option<NonZeroU64>,
    deadline_set: bool,
}

/// The pipeline.
#[derive(Debug)]
pub struct Pipeline {
    limits: Limits,
    /// Boxed: a table that grows moves its slots, and half of them are empty.
    entries: HashMap<ConnectionId, Box<Entry>>,
    /// Heap bytes held for the streams of all entries.
    stream_bytes: usize,
    /// Connections in order of opening.
    order: VecDeque<ConnectionId>,
    /// Until when a handshake may take.
    handshake_deadlines: Deadlines,
    /// Until when a decided verdict waits for its outcome.
    settle_deadlines: Deadlines,
    transcripts: Transcripts,
    /// The connection of a library handshake, by [`short`]. That it is the one is asked of
    /// [`Transcripts`], which knows the whole key.
    by_handshake: HashMap<NonZeroU64, ConnectionId>,
    full_handshakes: FullHandshakes,
    certificates: CertificateMemory,
    counters: Counters,
}

impl Pipeline {
    /// An empty pipeline.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::default(),
            stream_bytes: 0,
            order: VecDeque::new(),
            handshake_deadlines: Deadlines::after(limits.handshake_timeout),
            settle_deadlines: Deadlines::after(limits.settle_grace),
            transcripts: Transcripts::new(TranscriptLimits {
                max: limits.max_transcripts,
                max_age_ns: deadlines::nanoseconds(limits.transcript_max_age),
            }),
            by_handshake: HashMap::default(),
            full_handshakes: FullHandshakes::new(limits.max_sessions, limits.session_max_age),
            certificates: CertificateMemory::default(),
            counters: Counters::default(),
        }
    }

    /// Connections tracked now.
    #[must_use]
    pub fn tracked(&self) -> usize {
        self.entries.len()
    }

    /// Heap bytes held for the streams of the tracked connections, about.
    #[must_use]
    pub const fn stream_bytes(&self) -> usize {
        self.stream_bytes
    }

    /// Counts since the start.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Library handshakes that expired without a connection.
    #[must_use]
    pub const fn transcripts_unmatched(&self) -> u64 {
        self.transcripts.unmatched()
    }

    /// Library handshakes that broke the protocol's order, or were cut.
    #[must_use]
    pub const fn transcripts_damaged(&self) -> u64 {
        self.transcripts.damaged()
    }

    /// When [`Pipeline::tick`] has something to do at the earliest, if nothing else happens.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let deadlines = [&self.handshake_deadlines, &self.settle_deadlines];
        deadlines.into_iter().filter_map(Deadlines::next).min()
    }

    /// Takes in one event and appends what follows from it to `out`.
    pub fn handle(&mut self, event: Event, out: &mut Vec<Update>) {
        match event {
            Event::Opened { connection: id, at, origin, destination, beginning } => {
                self.make_room(out);
                self.full_handshakes.opens(&origin, at);
                let limits = (self.limits.bytes_per_direction, self.limits.reorder_window);
                let connection = Connection::new(id, origin, destination, beginning, at, limits);
                let entry =
                    Entry { connection, held: 0, said: None, handshake: None, deadline_set: false };
                match self.entries.insert(id, Box::new(entry)) {
                    None => self.order.push_back(id),
                    Some(old) => self.stream_bytes -= old.held,
                }
            }
            Event::Established { connection: id, local, remote, .. } => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.connection.established(local, remote);
                }
            }
            Event::Inside { connection: id, tunnel, .. } => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.connection.inside(tunnel);
                }
            }
            Event::Segment { connection: id, at, direction, offset, payload_len, acked, bytes } => {
                let Some(entry) = self.entries.get_mut(&id) else {
                    self.counters.untracked_events += 1;
                    return;
                };
                entry.connection.segment(at, direction, (offset, acked), payload_len, &bytes);
                let held = entry.connection.held();
                self.stream_bytes = self.stream_bytes - entry.held + held;
                entry.held = held;
                if !entry.deadline_set {
                    entry.deadline_set = true;
                    self.handshake_deadlines.set(at, id);
                }
                self.review(id, at, out);
                self.free_memory(out);
            }
            Event::Fin { connection: id, at, direction, offset } => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.connection.fin(direction, offset);
                    self.review(id, at, out);
                }
            }
            Event::Lost { connection: id, at } => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.connection.lost();
                    self.review(id, at, out);
                }
            }
            Event::Closed { connection: id, at, cause } => {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.connection.close(cause);
                    self.review(id, at, out);
                }
            }
            Event::Began { pid, descent, at } => self.full_handshakes.began(pid, descent, at),
            Event::Library(event) if event.observation == LibraryObservation::TicketLost => {
                self.full_handshakes.ticket_lost(event.pid);
            }
            Event::Library(event) if event.observation == LibraryObservation::WatchPaused => {
                self.full_handshakes.watch_paused();
            }
            Event::Library(event) => {
                let changed = self.transcripts.observe(&event);
                if let LibraryObservation::TicketReceived { name } = event.observation {
                    match changed {
                        Some(handshake) => self.full_handshakes.receive(handshake, name),
                        None => self.full_handshakes.receive_astray(event.pid, name, event.at),
                    }
                    return;
                }
                let id = changed.and_then(|key| self.by_handshake.get(&short(&key)));
                if let Some(id) = id.copied() {
                    self.review(id, event.at, out);
                }
            }
        }
    }

    /// Lets time pass: gives up what took too long.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Update>) {
        while let Some(id) = self.handshake_deadlines.pop_due(now) {
            let Some(entry) = self.entries.get_mut(&id) else { continue };
            // A spare connection of a pool speaks when it is needed, or ends.
            if entry.connection.rests() {
                continue;
            }
            self.counters.evicted.count(Eviction::Timeout);
            entry.connection.give_up(Reason::Timeout);
            self.finish_connection(id, now, out);
        }
        while let Some(id) = self.settle_deadlines.pop_due(now) {
            if !self.awaits_acceptance(id) {
                self.finish_connection(id, now, out);
            }
        }
        // Connections end in another order than they began: sweep when most of the queue is gone.
        if self.order.len() > 2 * self.entries.len() + ORDER_SLACK {
            let entries = &self.entries;
            self.order.retain(|id| entries.contains_key(id));
        }
        self.transcripts.expire(now);
    }

    /// Whether the server's next byte decides this connection: an upstream may think for longer than
    /// the grace.
    fn awaits_acceptance(&mut self, id: ConnectionId) -> bool {
        let Some(entry) = self.entries.get(&id) else { return false };
        let transcript = transcript_of(&entry.connection, &mut self.transcripts);
        entry.connection.judge(transcript).awaits_acceptance
    }

    /// The source ended: everything still open is reported as it stands.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<Update>) {
        for id in std::mem::take(&mut self.order) {
            if let Some(entry) = self.entries.get_mut(&id) {
                entry.connection.close(CloseCause::SourceEnded);
                self.finish_connection(id, now, out);
            }
        }
    }

    fn make_room(&mut self, out: &mut Vec<Update>) {
        while self.entries.len() >= self.limits.max_connections {
            if self.evict_oldest(Eviction::TableFull, out).is_none() {
                return;
            }
        }
    }

    fn free_memory(&mut self, out: &mut Vec<Update>) {
        while self.stream_bytes > self.limits.max_stream_bytes {
            if self.evict_oldest(Eviction::Memory, out).is_none() {
                return;
            }
        }
    }

    /// Gives up the oldest connection, if it is still there; `None` where none is left.
    fn evict_oldest(&mut self, why: Eviction, out: &mut Vec<Update>) -> Option<()> {
        let oldest = self.order.pop_front()?;
        if let Some(entry) = self.entries.get_mut(&oldest) {
            let at = entry.connection.last_at();
            entry.connection.give_up(Reason::Evicted);
            self.counters.evicted.count(why);
            self.finish_connection(oldest, at, out);
        }
        Some(())
    }
}

#[cfg(test)]
mod acceptance_tests;
#[cfg(test)]
mod alike_tests;
#[cfg(test)]
mod cryptography_tests;
#[cfg(test)]
mod idle_tests;
#[cfg(test)]
mod library_tests;
#[cfg(test)]
mod lineage_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod workers_tests;
