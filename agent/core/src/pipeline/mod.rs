//! Every line between capture and export: events in, reports out. Pure: time comes with events.

pub mod carried;
pub mod connection;
mod counters;
mod limits;
pub mod session;

use std::{collections::VecDeque, num::NonZeroU64, time::Duration};

use self::{
    carried::{FullHandshakes, carry},
    connection::Connection,
    session::Session,
};
pub use self::{
    counters::{Counters, Eviction},
    limits::Limits,
};
use crate::{
    collections::HashMap,
    model::{ClientAuth, CloseCause, ConnectionId, Event, Evidence, Reason, Timestamp},
    report::{ConnectionReport, Verdict},
    tls::{
        certificate::CertificateMemory,
        transcript::{TranscriptLimits, Transcripts},
    },
    verdict::Certainty,
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
    handshake_deadlines: VecDeque<(Timestamp, ConnectionId)>,
    settle_deadlines: VecDeque<(Timestamp, ConnectionId)>,
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
            handshake_deadlines: VecDeque::new(),
            settle_deadlines: VecDeque::new(),
            transcripts: Transcripts::new(TranscriptLimits {
                max: limits.max_transcripts,
                max_age_ns: nanoseconds(limits.transcript_max_age),
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

    /// Takes in one event and appends what follows from it to `out`.
    pub fn handle(&mut self, event: Event, out: &mut Vec<Update>) {
        match event {
            Event::Opened { connection: id, at, origin, destination, beginning } => {
                self.make_room(out);
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
                    let timeout = self.limits.handshake_timeout;
                    set_deadline(&mut self.handshake_deadlines, at, timeout, id);
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
            Event::Library(event) => {
                let changed = self.transcripts.observe(&event);
                let id = changed.and_then(|key| self.by_handshake.get(&short(&key)));
                if let Some(id) = id.copied() {
                    self.review(id, event.at, out);
                }
            }
        }
    }

    /// Lets time pass: gives up what took too long.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Update>) {
        while let Some((_, id)) =
            self.handshake_deadlines.pop_front_if(|(deadline, _)| *deadline <= now)
        {
            if let Some(entry) = self.entries.get_mut(&id) {
                self.counters.evicted_timeout += 1;
                entry.connection.give_up(Reason::Timeout);
                self.finish_connection(id, now, out);
            }
        }
        while let Some((_, id)) =
            self.settle_deadlines.pop_front_if(|(deadline, _)| *deadline <= now)
        {
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
    /// the grace, and only the deadline of the handshake ends that.
    fn awaits_acceptance(&mut self, id: ConnectionId) -> bool {
        let Some(entry) = self.entries.get(&id) else { return false };
        let key = entry.connection.handshake_key();
        let transcript = key.and_then(|(pid, random)| self.transcripts.find(pid, &random));
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
            let Some(evicted) = self.evict_oldest(out) else { return };
            self.counters.evicted_table_full += u64::from(evicted);
        }
    }

    fn free_memory(&mut self, out: &mut Vec<Update>) {
        while self.stream_bytes > self.limits.max_stream_bytes {
            let Some(evicted) = self.evict_oldest(out) else { return };
            self.counters.evicted_memory += u64::from(evicted);
        }
    }

    /// Gives up the oldest connection; whether it was still there, `None` where none is left.
    fn evict_oldest(&mut self, out: &mut Vec<Update>) -> Option<bool> {
        let oldest = self.order.pop_front()?;
        let Some(entry) = self.entries.get_mut(&oldest) else { return Some(false) };
        let at = entry.connection.last_at();
        entry.connection.give_up(Reason::Evicted);
        self.finish_connection(oldest, at, out);
        Some(true)
    }

    fn review(&mut self, id: ConnectionId, at: Timestamp, out: &mut Vec<Update>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let key = entry.connection.handshake_key();
        let handshake = key.as_ref().map(short);
        if handshake != entry.handshake {
            if let Some(old) = std::mem::replace(&mut entry.handshake, handshake) {
                self.by_handshake.remove(&old);
            }
            self.by_handshake.extend(handshake.map(|handshake| (handshake, id)));
        }
        let transcript = key.and_then(|(pid, random)| self.transcripts.find(pid, &random));
        let mut judgement = entry.connection.judge(transcript);
        let settled = match judgement.certainty {
            Certainty::Open => return,
            Certainty::Decided => false,
            Certainty::Settled => true,
        };
        let newly_settled = settled && entry.connection.release();
        if newly_settled {
            out.push(Update::Done(id));
        }
        // What the library may still add is awaited: after the result of the chain the check of the
        // name, and after a bad answer its consequence, an application that ends the connection.
        let library_may_add = transcript.is_some_and(|transcript| !transcript.is_accepted());
        let is_final = settled && (entry.connection.ended() || !library_may_add);
        if newly_settled
            && !is_final
            && judgement.verdict.client_auth != ClientAuth::Unknown
            && let Some(session) = Session::of(&entry.connection)
        {
            self.full_handshakes.note(&session, judgement.verdict, at);
        }
        let from = carry(&mut judgement, &entry.connection, &mut self.full_handshakes, at);
        if !is_final && entry.said == Some(judgement.verdict) {
            return;
        }
        let certificates = &mut self.certificates;
        let mut report = entry.connection.report(&judgement, transcript, certificates, is_final);
        report.carried_from = from;
        if is_final {
            self.conclude(id, report, at, out);
        } else {
            self.report_early(id, report, at, out);
        }
    }

    /// Reports what is certain already and new, and waits for the rest no longer than the grace.
    fn report_early(
        &mut self,
        id: ConnectionId,
        report: ConnectionReport,
        at: Timestamp,
        out: &mut Vec<Update>,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let first = entry.said.is_none();
        if first {
            set_deadline(&mut self.settle_deadlines, at, self.limits.settle_grace, id);
        }
        entry.said = Some(report.verdict);
        out.push(Update::Report { report: Box::new(report), first });
    }

    /// Judges a connection for the last time, whatever is missing.
    fn finish_connection(&mut self, id: ConnectionId, at: Timestamp, out: &mut Vec<Update>) {
        let Some(entry) = self.entries.get(&id) else { return };
        let connection = &entry.connection;
        let key = connection.handshake_key();
        let transcript = key.and_then(|(pid, random)| self.transcripts.find(pid, &random));
        let mut judgement = connection.judge(transcript);
        let from = carry(&mut judgement, connection, &mut self.full_handshakes, at);
        let certificates = &mut self.certificates;
        let mut report = connection.report(&judgement, transcript, certificates, true);
        report.carried_from = from;
        self.conclude(id, report, at, out);
    }

    /// Sends the last report on a connection and forgets it.
    fn conclude(
        &mut self,
        id: ConnectionId,
        report: ConnectionReport,
        at: Timestamp,
        out: &mut Vec<Update>,
    ) {
        let Some(mut entry) = self.entries.remove(&id) else { return };
        self.stream_bytes -= entry.held;
        self.counters.reassembly_drops.add(&entry.connection.drops());
        self.counters.evidence_conflicts += u64::from(report.is_conflict());
        self.counters.transcripts_matched +=
            u64::from(report.verdict.evidence == Evidence::Library);
        if let Some(handshake) = entry.handshake {
            self.by_handshake.remove(&handshake);
        }
        if entry.connection.release() {
            out.push(Update::Done(id));
        }
        if let Some(session) = Session::of(&entry.connection) {
            self.full_handshakes.learn(session, report.resumed, report.verdict, at);
        }
        out.push(Update::Report { report: Box::new(report), first: entry.said.is_none() });
    }
}

/// Of process and client random what tells handshakes apart: 64 bits of the random that hold no
/// time of day, which older clients begin it with.
fn short((pid, random): &(u32, [u8; 32])) -> NonZeroU64 {
    let (bits, _) = random[8..].split_first_chunk().unwrap_or((&[0; 8], &[]));
    NonZeroU64::MIN.saturating_add(u64::from_ne_bytes(*bits) ^ u64::from(*pid))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Queues a deadline; [`Duration::MAX`] is none.
fn set_deadline(
    queue: &mut VecDeque<(Timestamp, ConnectionId)>,
    at: Timestamp,
    after: Duration,
    id: ConnectionId,
) {
    if after != Duration::MAX {
        queue.push_back((Timestamp(at.0.saturating_add(nanoseconds(after))), id));
    }
}

#[cfg(test)]
mod acceptance_tests;
#[cfg(test)]
mod library_tests;
#[cfg(test)]
mod tests;
