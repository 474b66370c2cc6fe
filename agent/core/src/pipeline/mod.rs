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
    model::{ClientAuth, CloseCause, Event, Evidence, FlowId, Reason, Timestamp},
    report::{ConnectionReport, Verdict},
    tls::{
        certificate::CertificateMemory,
        transcript::{TranscriptLimits, Transcripts},
    },
    verdict::Certainty,
};

/// Flows in the queue of openings beyond twice the tracked ones before it is swept.
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
    /// No more bytes of this flow are needed.
    Done(FlowId),
}

#[derive(Debug)]
struct Entry {
    connection: Connection,
    /// What it holds of [`Pipeline::stream_bytes`].
    held: usize,
    /// The last verdict said.
    said: Option<Verdict>,
    /// What it is found by in [`Pipeline::flow_of_handshake`].
    handshake: Option<NonZeroU64>,
    deadline_set: bool,
}

/// The pipeline.
#[derive(Debug)]
pub struct Pipeline {
    limits: Limits,
    /// Boxed: a table that grows moves its slots, and half of them are empty.
    entries: HashMap<FlowId, Box<Entry>>,
    /// Heap bytes held for the streams of all entries.
    stream_bytes: usize,
    /// Flows in order of opening.
    order: VecDeque<FlowId>,
    handshake_deadlines: VecDeque<(Timestamp, FlowId)>,
    settle_deadlines: VecDeque<(Timestamp, FlowId)>,
    transcripts: Transcripts,
    /// The connection of a library handshake, by [`short`]. That it is the one is asked of
    /// [`Transcripts`], which knows the whole key.
    flow_of_handshake: HashMap<NonZeroU64, FlowId>,
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
            flow_of_handshake: HashMap::default(),
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
            Event::Opened { flow, at, origin, destination, beginning } => {
                self.make_room(out);
                let limits = (self.limits.bytes_per_direction, self.limits.reorder_window);
                let connection = Connection::new(flow, origin, destination, beginning, at, limits);
                let entry =
                    Entry { connection, held: 0, said: None, handshake: None, deadline_set: false };
                match self.entries.insert(flow, Box::new(entry)) {
                    None => self.order.push_back(flow),
                    Some(old) => self.stream_bytes -= old.held,
                }
            }
            Event::Established { flow, local, remote, .. } => {
                if let Some(entry) = self.entries.get_mut(&flow) {
                    entry.connection.established(local, remote);
                }
            }
            Event::Inside { flow, tunnel, .. } => {
                if let Some(entry) = self.entries.get_mut(&flow) {
                    entry.connection.inside(tunnel);
                }
            }
            Event::Segment { flow, at, direction, offset, payload_len, acked, bytes } => {
                let Some(entry) = self.entries.get_mut(&flow) else {
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
                    set_deadline(&mut self.handshake_deadlines, at, timeout, flow);
                }
                self.review(flow, at, out);
                self.free_memory(out);
            }
            Event::Fin { flow, at, direction, offset } => {
                if let Some(entry) = self.entries.get_mut(&flow) {
                    entry.connection.fin(direction, offset);
                    self.review(flow, at, out);
                }
            }
            Event::Lost { flow, at } => {
                if let Some(entry) = self.entries.get_mut(&flow) {
                    entry.connection.lost();
                    self.review(flow, at, out);
                }
            }
            Event::Closed { flow, at, cause } => {
                if let Some(entry) = self.entries.get_mut(&flow) {
                    entry.connection.close(cause);
                    self.review(flow, at, out);
                }
            }
            Event::Library(event) => {
                let changed = self.transcripts.observe(&event);
                let flow = changed.and_then(|key| self.flow_of_handshake.get(&short(&key)));
                if let Some(flow) = flow.copied() {
                    self.review(flow, event.at, out);
                }
            }
        }
    }

    /// Lets time pass: gives up what took too long.
    pub fn tick(&mut self, now: Timestamp, out: &mut Vec<Update>) {
        while let Some((_, flow)) =
            self.handshake_deadlines.pop_front_if(|(deadline, _)| *deadline <= now)
        {
            if let Some(entry) = self.entries.get_mut(&flow) {
                self.counters.evicted_timeout += 1;
                entry.connection.give_up(Reason::Timeout);
                self.finish_flow(flow, now, out);
            }
        }
        while let Some((_, flow)) =
            self.settle_deadlines.pop_front_if(|(deadline, _)| *deadline <= now)
        {
            if !self.awaits_acceptance(flow) {
                self.finish_flow(flow, now, out);
            }
        }
        // Connections end in another order than they began: sweep when most of the queue is gone.
        if self.order.len() > 2 * self.entries.len() + ORDER_SLACK {
            let entries = &self.entries;
            self.order.retain(|flow| entries.contains_key(flow));
        }
        self.transcripts.expire(now);
    }

    /// Whether the server's next byte decides this connection: an upstream may think for longer than
    /// the grace, and only the deadline of the handshake ends that.
    fn awaits_acceptance(&mut self, flow: FlowId) -> bool {
        let Some(entry) = self.entries.get(&flow) else { return false };
        let key = entry.connection.handshake_key();
        let transcript = key.and_then(|(pid, random)| self.transcripts.find(pid, &random));
        entry.connection.judge(transcript).awaits_acceptance
    }

    /// The source ended: everything still open is reported as it stands.
    pub fn finish(&mut self, now: Timestamp, out: &mut Vec<Update>) {
        for flow in std::mem::take(&mut self.order) {
            if let Some(entry) = self.entries.get_mut(&flow) {
                entry.connection.close(CloseCause::SourceEnded);
                self.finish_flow(flow, now, out);
            }
        }
    }

    fn make_room(&mut self, out: &mut Vec<Update>) {
        while self.entries.len() >= self.limits.max_flows {
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
        self.finish_flow(oldest, at, out);
        Some(true)
    }

    fn review(&mut self, flow: FlowId, at: Timestamp, out: &mut Vec<Update>) {
        let Some(entry) = self.entries.get_mut(&flow) else { return };
        let key = entry.connection.handshake_key();
        let handshake = key.as_ref().map(short);
        if handshake != entry.handshake {
            if let Some(old) = std::mem::replace(&mut entry.handshake, handshake) {
                self.flow_of_handshake.remove(&old);
            }
            self.flow_of_handshake.extend(handshake.map(|handshake| (handshake, flow)));
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
            out.push(Update::Done(flow));
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
            self.conclude(flow, report, at, out);
        } else {
            self.say_early(flow, report, at, out);
        }
    }

    /// Reports what is certain already and new, and waits for the rest no longer than the grace.
    fn say_early(
        &mut self,
        flow: FlowId,
        report: ConnectionReport,
        at: Timestamp,
        out: &mut Vec<Update>,
    ) {
        let Some(entry) = self.entries.get_mut(&flow) else { return };
        let first = entry.said.is_none();
        if first {
            set_deadline(&mut self.settle_deadlines, at, self.limits.settle_grace, flow);
        }
        entry.said = Some(report.verdict);
        out.push(Update::Report { report: Box::new(report), first });
    }

    /// Judges a flow for the last time, whatever is missing.
    fn finish_flow(&mut self, flow: FlowId, at: Timestamp, out: &mut Vec<Update>) {
        let Some(entry) = self.entries.get(&flow) else { return };
        let connection = &entry.connection;
        let key = connection.handshake_key();
        let transcript = key.and_then(|(pid, random)| self.transcripts.find(pid, &random));
        let mut judgement = connection.judge(transcript);
        let from = carry(&mut judgement, connection, &mut self.full_handshakes, at);
        let certificates = &mut self.certificates;
        let mut report = connection.report(&judgement, transcript, certificates, true);
        report.carried_from = from;
        self.conclude(flow, report, at, out);
    }

    /// Sends the last report on a flow and forgets it.
    fn conclude(
        &mut self,
        flow: FlowId,
        report: ConnectionReport,
        at: Timestamp,
        out: &mut Vec<Update>,
    ) {
        let Some(mut entry) = self.entries.remove(&flow) else { return };
        self.stream_bytes -= entry.held;
        self.counters.reassembly_drops.add(&entry.connection.drops());
        self.counters.evidence_conflicts += u64::from(report.is_conflict());
        self.counters.transcripts_matched +=
            u64::from(report.verdict.evidence == Evidence::Library);
        if let Some(handshake) = entry.handshake {
            self.flow_of_handshake.remove(&handshake);
        }
        if entry.connection.release() {
            out.push(Update::Done(flow));
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
    queue: &mut VecDeque<(Timestamp, FlowId)>,
    at: Timestamp,
    after: Duration,
    flow: FlowId,
) {
    if after != Duration::MAX {
        queue.push_back((Timestamp(at.0.saturating_add(nanoseconds(after))), flow));
    }
}

#[cfg(test)]
mod acceptance_tests;
#[cfg(test)]
mod library_tests;
#[cfg(test)]
mod tests;
