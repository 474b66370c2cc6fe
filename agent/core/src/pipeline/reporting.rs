//! When something is said about a connection, and what.

use std::num::NonZeroU64;

use super::{
    Pipeline, Update, alike,
    carried::{carry, learn},
    connection::Connection,
};
use crate::{
    model::{ClientAuth, ConnectionId, Evidence, Reason, Timestamp},
    report::ConnectionReport,
    tls::transcript::{Transcript, Transcripts},
    verdict::{Certainty, Judgement},
};

impl Pipeline {
    /// Says what is new about a connection after something of it was seen: nothing while its verdict
    /// is open, an early report once it is decided, the final one once nothing more can change it.
    pub(super) fn review(&mut self, id: ConnectionId, at: Timestamp, out: &mut Vec<Update>) {
        self.index_handshake(id);
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let transcript = transcript_of(&entry.connection, &mut self.transcripts);
        let mut judgement = entry.connection.judge(transcript);
        if judgement.certainty == Certainty::Open {
            return;
        }
        let in_doubt =
            alike::is_in_doubt(&judgement, &entry.connection, self.full_handshakes.owners());
        alike::explain(&mut judgement, &entry.connection, &self.full_handshakes, at);
        let newly_settled = judgement.certainty == Certainty::Settled && entry.connection.release();
        if newly_settled {
            out.push(Update::Done(id));
        }
        if newly_settled && in_doubt {
            // Connections that are opened together explain each other.
            self.settle_deadlines.set(at, id);
        }
        let is_final = judgement.certainty == Certainty::Settled
            && (entry.connection.ended() || !library_may_add(transcript))
            && (!in_doubt || judgement.verdict.client_auth != ClientAuth::Unknown);
        let tells =
            judgement.verdict.client_auth != ClientAuth::Unknown || judgement.resumed == Some(true);
        if newly_settled && !is_final && tells {
            // Its session may be resumed before its own last report.
            let certificates = &mut self.certificates;
            let report = entry.connection.report(&judgement, transcript, certificates, false);
            learn(&mut self.full_handshakes, &entry.connection, &report);
        }
        self.say(id, judgement, at, is_final, out);
    }

    /// Keeps [`Pipeline::by_handshake`] in step with what is known of the connection's hello.
    fn index_handshake(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let handshake = entry.connection.handshake_key().as_ref().map(short);
        if handshake != entry.handshake {
            if let Some(old) = std::mem::replace(&mut entry.handshake, handshake) {
                self.by_handshake.remove(&old);
            }
            self.by_handshake.extend(handshake.map(|handshake| (handshake, id)));
        }
    }

    /// Reports a judgement, completed by what the full handshake of a resumed session showed; not
    /// what was said already.
    fn say(
        &mut self,
        id: ConnectionId,
        mut judgement: Judgement,
        at: Timestamp,
        is_final: bool,
        out: &mut Vec<Update>,
    ) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let connection = &entry.connection;
        let from = carry(&mut judgement, connection, &mut self.full_handshakes, at);
        if !is_final && entry.said == Some(judgement.verdict) {
            return;
        }
        let transcript = transcript_of(connection, &mut self.transcripts);
        let certificates = &mut self.certificates;
        let mut report = connection.report(&judgement, transcript, certificates, is_final);
        report.carried_from = from;
        if report.verdict.reason == Some(Reason::ResumedUnseen) {
            report.unseen = Some(self.full_handshakes.why_unseen(&report.origin));
        }
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
            self.settle_deadlines.set(at, id);
        }
        entry.said = Some(report.verdict);
        out.push(Update::Report { report: Box::new(report), first });
    }

    /// Judges a connection for the last time, whatever is missing.
    pub(super) fn finish_connection(
        &mut self,
        id: ConnectionId,
        at: Timestamp,
        out: &mut Vec<Update>,
    ) {
        let Some(entry) = self.entries.get(&id) else { return };
        let transcript = transcript_of(&entry.connection, &mut self.transcripts);
        let mut judgement = entry.connection.judge(transcript);
        alike::explain(&mut judgement, &entry.connection, &self.full_handshakes, at);
        self.say(id, judgement, at, true, out);
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
        if let Some((pid, random)) = entry.connection.handshake_key() {
            self.transcripts.release(pid, &random);
        }
        if entry.connection.release() {
            out.push(Update::Done(id));
        }
        alike::learn(&mut self.full_handshakes, &entry.connection, &report, at);
        out.push(Update::Report { report: Box::new(report), first: entry.said.is_none() });
    }
}

/// Of process and client random what tells handshakes apart: 64 bits of the random that hold no
/// time of day, which older clients begin it with.
pub(super) fn short((pid, random): &(u32, [u8; 32])) -> NonZeroU64 {
    let (bits, _) = random[8..].split_first_chunk().unwrap_or((&[0; 8], &[]));
    NonZeroU64::MIN.saturating_add(u64::from_ne_bytes(*bits) ^ u64::from(*pid))
}

/// What the library showed of this connection's handshake.
pub(super) fn transcript_of<'t>(
    connection: &Connection,
    transcripts: &'t mut Transcripts,
) -> Option<&'t Transcript> {
    let (pid, random) = connection.handshake_key()?;
    let answer = connection.wire_facts().and_then(|facts| facts.server_hello.as_ref());
    transcripts.find(pid, &random, answer)
}

/// Whether the library may still say something: after the result of the chain comes the check of the
/// name, and after a bad answer its consequence, an application that ends the connection.
fn library_may_add(transcript: Option<&Transcript>) -> bool {
    transcript.is_some_and(|transcript| !transcript.is_accepted())
}
