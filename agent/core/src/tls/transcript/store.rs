//! The transcripts of all watched processes, until their connections are judged.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{Transcript, Verification, message, whole_messages};
use crate::{
    model::{Direction, LibraryEvent, LibraryObservation, Timestamp},
    tls::hello::ServerHello,
};

/// Bytes of a transcript, as [`LibraryObservation::TranscriptUpdate`] has them.
#[derive(Clone, Copy)]
struct Update<'b> {
    context: u64,
    direction: Option<Direction>,
    len: u32,
    bytes: &'b [u8],
}

/// Limits of [`Transcripts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TranscriptLimits {
    /// Most handshakes kept at once.
    pub max: usize,
    /// Nanoseconds after which one is given up that no connection holds.
    pub max_age_ns: u64,
}

/// One process may have one of so many parts of [`TranscriptLimits::max`]: whoever makes handshakes
/// without end presses out their own.
const SHARES: usize = 4;
/// Fewer are no share.
const SMALLEST_SHARE: usize = 64;

/// A running number of a transcript.
type Id = u64;

/// The transcripts of all watched processes.
#[derive(Debug)]
pub struct Transcripts {
    limits: TranscriptLimits,
    by_id: HashMap<Id, Transcript>,
    /// The newest transcript of each process and context. Addresses are used again, by some
    /// libraries for the next connection: the older transcripts stay until theirs are judged.
    newest: HashMap<(u32, u64), Id>,
    /// By process and client random: two where a process holds both ends.
    by_random: HashMap<(u32, [u8; 32]), Vec<Id>>,
    /// Those of each process, in the order of their beginning or of when they were last looked at,
    /// with the time of that.
    of_process: HashMap<u32, VecDeque<(Timestamp, Id)>>,
    next: Id,
    /// The newest context of each SSL object, for observations that carry no context.
    context_of: HashMap<(u32, u64), u64>,
    /// What was observed on an SSL object before its first transcript call (TLS 1.2 verifies
    /// before it hashes), and when.
    pending_verification: HashMap<(u32, u64), (Verification, Timestamp)>,
    /// Processes whose callbacks approved of a bad chain.
    approving: HashSet<u32>,
    /// Given up without a connection.
    unmatched: u64,
    /// Damaged.
    damaged: u64,
}

impl Transcripts {
    /// An empty store.
    #[must_use]
    pub fn new(limits: TranscriptLimits) -> Self {
        Self {
            limits,
            by_id: HashMap::new(),
            newest: HashMap::new(),
            by_random: HashMap::new(),
            of_process: HashMap::new(),
            next: 0,
            context_of: HashMap::new(),
            pending_verification: HashMap::new(),
            approving: HashSet::new(),
            unmatched: 0,
            damaged: 0,
        }
    }

    /// Transcripts that expired without a connection to belong to.
    #[must_use]
    pub const fn unmatched(&self) -> u64 {
        self.unmatched
    }

    /// Transcripts that broke the protocol's order, or were cut.
    #[must_use]
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Takes in one observation; answers the client random of the handshake that it changed.
    pub fn observe(&mut self, event: &LibraryEvent) -> Option<(u32, [u8; 32])> {
        let id = match &event.observation {
            LibraryObservation::TranscriptUpdate { context, direction, len, bytes } => {
                let update = Update { context: *context, direction: *direction, len: *len, bytes };
                self.update(event, &update)?
            }
            other => self.annotate(event, other)?,
        };
        let transcript = self.by_id.get_mut(&id)?;
        transcript.at = event.at;
        transcript.facts.client_hello.as_ref().map(|hello| (event.pid, hello.random))
    }

    fn update(&mut self, event: &LibraryEvent, update: &Update<'_>) -> Option<Id> {
        let Update { context, direction, len, bytes } = *update;
        let key = (event.pid, context);
        if bytes.len() < len as usize {
            let id = *self.newest.get(&key)?;
            let transcript = self.by_id.get_mut(&id)?;
            self.damaged += u64::from(!transcript.damaged);
            transcript.damaged = true;
            return Some(id);
        }
        let messages = whole_messages(bytes)?;
        let begins = matches!(messages[0].0, message::CLIENT_HELLO | message::MESSAGE_HASH);
        if begins {
            self.begin(event, context, messages[0].0);
        }
        let id = *self.newest.get(&key)?;
        let transcript = self.by_id.get_mut(&id)?;
        if transcript.is_complete() {
            // Of a later handshake at the same address, whose beginning was not seen.
            return None;
        }
        let was_damaged = transcript.damaged;
        transcript.messages(&messages, direction);
        self.damaged += u64::from(transcript.damaged && !was_damaged);
        if begins && let Some(hello) = &transcript.facts.client_hello {
            self.by_random.entry((event.pid, hello.random)).or_default().push(id);
        }
        Some(id)
    }

    /// A transcript begins with a message of this type.
    fn begin(&mut self, event: &LibraryEvent, context: u64, kind: u8) {
        let key = (event.pid, context);
        if let Some(id) = self.newest.get(&key).copied() {
            let before = self.by_id.get_mut(&id);
            let begins_again = kind == message::MESSAGE_HASH
                || before.as_ref().is_some_and(|before| {
                    before.facts.hello_retry_request && before.facts.server_hello.is_none()
                });
            // After a HelloRetryRequest the same handshake begins again, and nothing is lost.
            if let Some(before) = before.filter(|_| begins_again) {
                before.matched = true;
                self.remove(id);
            }
        }
        self.make_room(event.pid);
        let pending = self.pending_verification.remove(&(event.pid, event.ssl));
        let fresh = Transcript {
            pid: event.pid,
            ssl: event.ssl,
            context,
            server_verification: pending.map(|(verification, _)| verification),
            ..Transcript::default()
        };
        let id = self.next;
        self.next += 1;
        self.by_id.insert(id, fresh);
        self.newest.insert(key, id);
        self.of_process.entry(event.pid).or_default().push_back((event.at, id));
        if event.ssl != 0 {
            self.context_of.insert((event.pid, event.ssl), context);
        }
    }

    fn annotate(&mut self, event: &LibraryEvent, observation: &LibraryObservation) -> Option<Id> {
        if event.ssl == 0 {
            return None;
        }
        let owner = (event.pid, event.ssl);
        if *observation == LibraryObservation::ClientConnectionMade {
            self.context_of.remove(&owner);
            self.pending_verification.remove(&owner);
            return None;
        }
        let key = self.context_of.get(&owner).map(|context| (event.pid, *context));
        let id = key.and_then(|key| self.newest.get(&key)).copied();
        // A verification after the end of a handshake belongs to the next one at this address,
        // whose first transcript call is still to come (TLS 1.2); or, where messages are seen
        // before anything is verified, to none.
        let verifies = matches!(
            observation,
            LibraryObservation::VerifyResult { .. } | LibraryObservation::VerifyCallback { .. }
        );
        let known = id.and_then(|id| self.by_id.get_mut(&id));
        let is_ticket = matches!(observation, LibraryObservation::TicketReceived { .. });
        match known {
            // Whose it is is not certain.
            Some(transcript) if is_ticket && transcript.damaged => None,
            Some(transcript) if !(verifies && transcript.is_complete()) => {
                transcript.annotate(observation);
                if transcript.approved_bad_chain() && self.approving.len() < self.limits.max {
                    self.approving.insert(event.pid);
                }
                transcript.approves_anything = self.approving.contains(&event.pid);
                id
            }
            Some(transcript) if transcript.directed => None,
            _ => {
                if let LibraryObservation::VerifyResult { error, enforced } = *observation {
                    if self.pending_verification.len() >= self.limits.max {
                        self.pending_verification.clear();
                    }
                    let verification = Verification { error, enforced };
                    self.pending_verification.insert(owner, (verification, event.at));
                }
                None
            }
        }
    }

    /// The client-side transcript of the handshake with this random in this process.
    ///
    /// A process may hold both ends (a proxy that is its own upstream): then the one that knows a
    /// verification of the server is taken. A random may be anybody's, for a client that a proxy only
    /// passes on may repeat one of the proxy's own: where the wire showed a ServerHello, `answer`, the
    /// transcript must have the same.
    ///
    /// One that is damaged counts for nothing: what the wire shows stays.
    pub fn find(
        &mut self,
        pid: u32,
        random: &[u8; 32],
        answer: Option<&ServerHello>,
    ) -> Option<&Transcript> {
        let ids = self.by_random.get(&(pid, *random))?;
        let has_this_answer = |id: &&Id| {
            let known = self.by_id.get(*id).and_then(|one| one.facts.server_hello.as_ref());
            known.zip(answer).is_none_or(|(known, answer)| known.digest == answer.digest)
        };
        let strength = |id: &Id| {
            let transcript = self.by_id.get(id);
            transcript.map(|known| (known.server_verification.is_some(), known.at))
        };
        let best = *ids.iter().filter(has_this_answer).max_by_key(|id| strength(id))?;
        let best = self.by_id.get_mut(&best)?;
        best.matched = true;
        best.held = true;
        (!best.damaged).then_some(best)
    }

    /// The connection of this handshake is judged for good.
    pub fn release(&mut self, pid: u32, random: &[u8; 32]) {
        for id in self.by_random.get(&(pid, *random)).into_iter().flatten() {
            if let Some(transcript) = self.by_id.get_mut(id) {
                transcript.held = false;
            }
        }
    }

    /// Gives up what is older than the limit, but for those whose connections go on; what is not used
    /// any more lives for at most twice as long.
    pub fn expire(&mut self, now: Timestamp) {
        let max_age_ns = self.limits.max_age_ns;
        let is_young = |at: Timestamp| now.since(at).as_nanos() < max_age_ns.into();
        let mut over = Vec::new();
        self.of_process.retain(|_, queue| {
            while let Some((_, id)) = queue.pop_front_if(|(at, _)| !is_young(*at)) {
                match self.by_id.get_mut(&id) {
                    // Its connection goes on: looked at again once it is as old again.
                    Some(held) if held.held => {
                        held.at = now;
                        queue.push_back((now, id));
                    }
                    // In use since, and no reason for those behind it to stay.
                    Some(used) if is_young(used.at) => queue.push_back((used.at, id)),
                    Some(_) => over.push(id),
                    None => {}
                }
            }
            !queue.is_empty()
        });
        for id in over {
            self.remove(id);
        }
        self.pending_verification.retain(|_, (_, at)| is_young(*at));
    }

    /// Makes room for one more of this process: at the cost of its own oldest, if it has its share,
    /// else of those who have most.
    fn make_room(&mut self, pid: u32) {
        let share = (self.limits.max / SHARES).max(SMALLEST_SHARE);
        loop {
            let has_share = self.of_process.get(&pid).is_some_and(|queue| queue.len() >= share);
            let crowded = if has_share {
                Some(pid)
            } else if self.by_id.len() >= self.limits.max {
                let most = self.of_process.iter().max_by_key(|(_, queue)| queue.len());
                most.map(|(pid, _)| *pid)
            } else {
                None
            };
            let Some(queue) = crowded.and_then(|pid| self.of_process.get_mut(&pid)) else { return };
            let Some((_, id)) = queue.pop_front() else { return };
            self.remove(id);
        }
    }

    /// Gives one up; its place in the queue of its process is found empty when its turn comes.
    fn remove(&mut self, id: Id) {
        let Some(old) = self.by_id.remove(&id) else { return };
        self.unmatched += u64::from(!old.matched);
        let key = (old.pid, old.context);
        if self.newest.get(&key) == Some(&id) {
            self.newest.remove(&key);
        }
        let newer = self.newest.get(&key).and_then(|newer| self.by_id.get(newer));
        let owner = (old.pid, old.ssl);
        if newer.is_none_or(|newer| newer.ssl != old.ssl)
            && self.context_of.get(&owner) == Some(&old.context)
        {
            self.context_of.remove(&owner);
        }
        if let Some(hello) = &old.facts.client_hello {
            let random = (old.pid, hello.random);
            if let Some(ids) = self.by_random.get_mut(&random) {
                ids.retain(|known| *known != id);
                if ids.is_empty() {
                    self.by_random.remove(&random);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
