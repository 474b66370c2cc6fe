//! Handshakes whose tickets nobody showed, in programs whose library shows tickets.
//!
//! A proxy shakes hands as soon as it runs, and its library is looked into a moment later. A session
//! that a process offers, and whose ticket nobody showed, began in one of its handshakes from before, if
//! all sessions of its owner were seen to begin. What such a handshake showed is inferred from the wire.
//! Once the library was not watched for a while, it may also have begun in a handshake of which one ticket
//! was shown, and another not.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{Full, HandshakeKey};
use crate::{
    model::{ClientAuth, Evidence, Timestamp},
    pipeline::{bounded::Bounded, owners::Owner},
    tls::ticket_lengths,
};

/// Handshakes of an owner whose tickets may yet be shown.
const MOST_WAITING: usize = 16;
/// Different ones of an owner whose tickets were not shown.
const MOST_KINDS: usize = 64;
/// How long after its handshake a ticket is known to be of it, at least
/// ([`Limits::transcript_max_age`]).
///
/// [`Limits::transcript_max_age`]: crate::pipeline::Limits::transcript_max_age
const KNOWN_FOR: Duration = Duration::from_secs(20);

/// A handshake that may have begun a session.
#[derive(Clone, Debug)]
struct Begun {
    /// The record with the ticket; `None` where it was not seen.
    record: Option<u16>,
    /// What the session rests on; uncertain where that is not known.
    full: Arc<Full>,
}

impl Begun {
    fn kind(&self) -> (Option<u32>, Option<u16>, ClientAuth, Evidence) {
        let Full { process, verdict, .. } = &*self.full;
        (*process, self.record, self.full.certain_client_auth(), verdict.evidence)
    }

    /// Whether its ticket may be an identity of this length.
    fn may_be(&self, identity: Option<u16>) -> bool {
        let lengths = self.record.zip(identity);
        lengths.is_none_or(|(record, identity)| ticket_lengths::may_hold(record, identity))
    }

    /// Whether it is from before this process was looked into, as far as its own words tell.
    fn is_unread_of(&self, process: u32) -> bool {
        self.full.process == Some(process) && self.full.verdict.evidence == Evidence::Inferred
    }
}

/// Those of one owner.
#[derive(Debug, Default)]
struct OfOwner {
    /// The newest last.
    waiting: VecDeque<(HandshakeKey, Begun)>,
    /// The newest of each kind.
    kinds: Vec<Begun>,
    /// There are more than are remembered.
    is_beyond: bool,
}

impl OfOwner {
    fn settle(&mut self, begun: Begun) {
        if let Some(known) = self.kinds.iter_mut().find(|known| known.kind() == begun.kind()) {
            *known = begun;
        } else if self.kinds.len() < MOST_KINDS {
            self.kinds.push(begun);
        } else {
            self.is_beyond = true;
        }
    }
}

/// Those of every owner.
#[derive(Debug)]
pub struct Unshown {
    owners: Bounded<Owner, OfOwner>,
    /// One was forgotten to make room.
    has_forgotten: bool,
    /// What the handshakes showed of which a ticket was shown.
    shown: Bounded<Owner, Vec<ClientAuth>>,
    has_forgotten_shown: bool,
    /// Libraries were not always watched.
    is_paused: bool,
    /// Since when the library of each process shows handshakes.
    read: Bounded<u32, Timestamp>,
}

impl Unshown {
    /// Remembers those of at most `max` owners.
    pub fn new(max: usize) -> Self {
        Self {
            owners: Bounded::new(max),
            has_forgotten: false,
            shown: Bounded::new(max),
            has_forgotten_shown: false,
            is_paused: false,
            read: Bounded::new(max),
        }
    }

    /// A handshake may have begun a session that rests on `full`, with a ticket in this record. Said
    /// again, it is what was said last.
    pub fn begin(
        &mut self,
        handshake: HandshakeKey,
        owner: Owner,
        record: Option<u16>,
        full: Arc<Full>,
    ) {
        if !owner.is_whole() {
            return;
        }
        self.has_forgotten |= self.owners.has_no_room_for(&owner);
        let known = self.owners.entry(owner);
        let begun = Begun { record, full };
        if let Some((_, known)) = known.waiting.iter_mut().find(|(known, _)| *known == handshake) {
            *known = begun;
            return;
        }
        known.waiting.push_back((handshake, begun));
        if known.waiting.len() > MOST_WAITING
            && let Some((_, begun)) = known.waiting.pop_front()
        {
            known.settle(begun);
        }
    }

    /// A ticket of this handshake, of this owner, was shown.
    pub fn show(&mut self, owner: Owner, handshake: HandshakeKey) {
        let Some(known) = self.owners.entries.get_mut(&owner) else { return };
        let at = known.waiting.iter().position(|(known, _)| *known == handshake);
        if let Some((_, begun)) = at.and_then(|at| known.waiting.remove(at)) {
            self.begin_shown(owner, &begun.full);
        }
    }

    /// A handshake of which a ticket was shown rests on `full`.
    pub fn begin_shown(&mut self, owner: Owner, full: &Full) {
        if !owner.is_whole() {
            return;
        }
        self.has_forgotten_shown |= self.shown.has_no_room_for(&owner);
        let shown = self.shown.entry(owner);
        if !shown.contains(&full.certain_client_auth()) {
            shown.push(full.certain_client_auth());
        }
    }

    /// Libraries are not watched for a while.
    pub const fn pause(&mut self) {
        self.is_paused = true;
    }

    /// Another process has this number now.
    pub fn began(&mut self, process: u32) {
        self.read.take(&process);
    }

    /// The library of this process showed a handshake.
    pub fn read(&mut self, process: u32, at: Timestamp) {
        if !self.read.entries.contains_key(&process) {
            self.read.insert(process, at);
        }
    }

    /// Whether it has done so for as long as a ticket is known to be of its handshake.
    pub fn is_long_read(&self, process: u32, at: Timestamp) -> bool {
        self.read.entries.get(&process).is_some_and(|since| at.since(*since) >= KNOWN_FOR)
    }

    /// What a session rests on that this process offers, as an identity of this length, and whose ticket
    /// nobody showed: its newest handshake from before it was looked into, where all that the session
    /// may have begun in showed the same, whatever their upstream and name. `None` where that is not
    /// certain.
    pub fn find(&self, owner: Owner, process: u32, identity: Option<u16>) -> Option<&Arc<Full>> {
        let known = self.owners.entries.get(&owner)?;
        if known.is_beyond || self.has_forgotten {
            return None;
        }
        let waiting = known.waiting.iter().map(|(_, begun)| begun);
        let all = || known.kinds.iter().chain(waiting.clone()).filter(|one| one.may_be(identity));
        let unread = all().filter(|one| one.is_unread_of(process));
        let found = unread.max_by_key(|one| one.full.at)?;
        let client_auth = found.full.certain_client_auth();
        let is_like_it = all().all(|one| one.full.certain_client_auth() == client_auth);
        let is_certain = client_auth != ClientAuth::Unknown && is_like_it;
        (is_certain && self.shown_is_like(owner, client_auth)).then_some(&found.full)
    }

    /// Whether what was shown speaks for this as well, as far as another ticket of it may not have been.
    fn shown_is_like(&self, owner: Owner, client_auth: ClientAuth) -> bool {
        let mut shown = self.shown.entries.get(&owner).into_iter().flatten();
        !self.is_paused || (!self.has_forgotten_shown && shown.all(|shown| *shown == client_auth))
    }
}
