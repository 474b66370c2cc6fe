//! Sessions that are known by name, and the full handshake that each rests on.

use std::sync::Arc;

use super::Full;
use crate::{
    model::{Process, SessionName},
    pipeline::{bounded::Bounded, owners::Program},
};

/// Process and client random: what a library handshake is found by.
pub type HandshakeKey = (u32, [u8; 32]);

/// Tickets of one connection of which is remembered that they are its own. A server gives one or two,
/// of which most clients keep the newest.
const MAX_TICKETS: usize = 8;

/// In which handshake a ticket was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is not known in which.
    Unknown,
    /// In this one.
    Of(HandshakeKey),
    /// In several: a server made it up.
    Disputed,
}

/// A connection whose tickets the library shows.
#[derive(Debug, Default)]
struct Given {
    /// The session that it resumes.
    resumed: Option<SessionName>,
    /// Its newest tickets.
    tickets: Vec<SessionName>,
    /// What they rest on, once that is known.
    full: Option<Arc<Full>>,
    /// Whose it is, once that is known.
    program: Option<Program>,
}

/// Sessions by name. What a name stands for is certain, so no name is too old.
#[derive(Debug)]
pub struct Sessions {
    /// Those that nobody was seen to get a newer one for.
    current: Bounded<SessionName, Arc<Full>>,
    /// Those that whoever resumed them got a newer one for, and all tickets of a connection but the
    /// newest. Few are used again, so that a busy proxy presses out these and not what an idle one
    /// holds.
    superseded: Bounded<SessionName, Arc<Full>>,
    given: Bounded<HandshakeKey, Given>,
    /// Tickets that were shown, and whose: of handshakes that are not decided, or of which it is not
    /// known what they rest on.
    unsettled: Bounded<SessionName, (u32, Claim)>,
    /// Processes of whose handshakes sessions were forgotten to make room.
    forgotten: Bounded<u32, ()>,
    /// Programs whose library shows tickets: a session of theirs that has no name here began before
    /// the agent's time.
    showing: Bounded<Program, ()>,
}

impl Sessions {
    /// Remembers at most `max` sessions.
    pub fn new(max: usize) -> Self {
        let superseded = max / 4;
        Self {
            current: Bounded::new(max - superseded),
            superseded: Bounded::new(superseded),
            given: Bounded::new(max.div_ceil(4)),
            unsettled: Bounded::new(max.div_ceil(4)),
            forgotten: Bounded::new(max.div_ceil(16)),
            showing: Bounded::new(max.div_ceil(16)),
        }
    }

    /// The full handshake that this session rests on, which may not be certain; see [`Self::name`].
    pub fn find(&self, name: SessionName) -> Option<&Arc<Full>> {
        self.current.entries.get(&name).or_else(|| self.superseded.entries.get(&name))
    }

    /// Whether a ticket was shown, and it is not known what its session rests on.
    pub fn is_unsettled(&self, name: SessionName) -> bool {
        self.unsettled.entries.contains_key(&name)
    }

    /// The server gave this process a ticket, and it is not known, or not yet, what its handshake rests
    /// on, if that is known itself.
    pub fn leave_unsettled(&mut self, process: u32, claim: Claim, ticket: SessionName) {
        let claim = match self.unsettled.entries.get(&ticket) {
            Some((_, known)) if *known != Claim::Unknown && *known != claim => Claim::Disputed,
            _ => claim,
        };
        if let Some((process, _)) = self.unsettled.insert(ticket, (process, claim)) {
            self.forgotten.insert(process, ());
        }
    }

    /// A session rests on this handshake. Where another one was said to be its own, that showed something
    /// else or was of another process, one of the two is made up by whoever gave the name: then it rests
    /// on none.
    pub fn name(&mut self, name: SessionName, full: Arc<Full>) {
        self.name_by(None, name, full);
    }

    /// The same of a ticket that was given in the connection of this handshake.
    fn name_by(&mut self, by: Option<HandshakeKey>, name: SessionName, full: Arc<Full>) {
        let is_its_own = match self.unsettled.take(&name) {
            None | Some((_, Claim::Unknown)) => true,
            // Up to TLS 1.2 the library shows what the wire names as well.
            Some((_, Claim::Of(handshake))) => by.is_none_or(|by| by == handshake),
            Some((_, Claim::Disputed)) => false,
        };
        let full = if is_its_own { full } else { Arc::new(full.disputed()) };
        let known = match self.superseded.entries.get_mut(&name) {
            Some(known) => Some(known),
            None => self.current.entries.get_mut(&name),
        };
        match known {
            None => remember(&mut self.current, &mut self.forgotten, name, full),
            // Disputed for good.
            Some(known) if !known.is_certain() => {}
            Some(known) if known.may_be(&full) => *known = full,
            Some(known) => *known = Arc::new(known.disputed()),
        }
    }

    /// Who held this session got a newer one.
    pub fn supersede(&mut self, name: SessionName) {
        if let Some(full) = self.current.take(&name) {
            remember(&mut self.superseded, &mut self.forgotten, name, full);
        }
    }

    /// The server gave a ticket in the connection of this handshake: it names a session from now on, or
    /// once its handshake is decided ([`Self::rest`]).
    pub fn receive(&mut self, handshake: HandshakeKey, ticket: SessionName) {
        let given = self.given.entry(handshake);
        let before = given.tickets.last().copied().or(given.resumed);
        if given.tickets.len() >= MAX_TICKETS {
            given.tickets.remove(0);
        }
        given.tickets.push(ticket);
        if let Some(program) = given.program.clone() {
            self.showing.insert(program, ());
        }
        let Some(full) = given.full.clone() else {
            self.leave_unsettled(handshake.0, Claim::Of(handshake), ticket);
            return;
        };
        self.name_by(Some(handshake), ticket, full);
        if let Some(before) = before {
            self.supersede(before);
        }
    }

    /// The connection of this handshake, of this process, rests on `full` if that is known; it resumes
    /// `resumed`, if it resumes a session. Returns whether a ticket of it was shown.
    pub fn rest(
        &mut self,
        handshake: HandshakeKey,
        process: &Process,
        resumed: Option<SessionName>,
        full: Option<Arc<Full>>,
    ) -> bool {
        let program = Program::of(process);
        let given = self.given.entry(handshake);
        given.resumed = resumed;
        given.full.clone_from(&full);
        given.program = Some(program.clone());
        let tickets = given.tickets.clone();
        let Some((newest, older)) = tickets.split_last() else { return false };
        self.showing.insert(program, ());
        let Some(full) = full else { return true };
        for ticket in older.iter().chain([newest]) {
            self.name_by(Some(handshake), *ticket, full.clone());
        }
        for before in older.iter().copied().chain(resumed) {
            self.supersede(before);
        }
        true
    }

    /// Whether a session may have been forgotten that began in a process of which this holds.
    pub fn may_have_forgotten(&self, of: impl Fn(u32) -> bool) -> bool {
        self.forgotten.is_full() || self.forgotten.entries.keys().any(|pid| of(*pid))
    }

    /// Whether the library of this process shows every ticket.
    pub fn shows_tickets(&self, process: &Process) -> bool {
        self.showing.entries.contains_key(&Program::of(process))
    }
}

fn remember(
    sessions: &mut Bounded<SessionName, Arc<Full>>,
    forgotten: &mut Bounded<u32, ()>,
    name: SessionName,
    full: Arc<Full>,
) {
    if let Some(process) = sessions.insert(name, full).and_then(|full| full.process) {
        forgotten.insert(process, ());
    }
}
