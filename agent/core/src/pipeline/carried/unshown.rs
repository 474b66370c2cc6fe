//! Handshakes whose tickets nobody showed, in programs whose library shows tickets.
//!
//! A proxy shakes hands as soon as it runs, and its library is looked into a moment later. A session
//! that is offered, and whose name nobody knows, began in one of these handshakes, if every session of
//! the owner was seen to begin.

use std::{collections::VecDeque, sync::Arc};

use super::{Full, HandshakeKey};
use crate::{
    model::ClientAuth,
    pipeline::{bounded::Bounded, owners::Owner, session::SessionKey},
    tls::ticket_lengths,
};

/// Handshakes of an owner whose tickets may yet be shown.
const MOST_WAITING: usize = 16;
/// Different ones of an owner whose tickets were not shown.
const MOST_KINDS: usize = 64;

/// A handshake that may have begun a session.
#[derive(Clone, Debug)]
struct Begun {
    key: SessionKey,
    /// The record with the ticket; `None` where it was not seen.
    record: Option<u16>,
    /// What the session rests on; uncertain where that is not known.
    full: Arc<Full>,
}

impl Begun {
    fn client_auth(&self) -> ClientAuth {
        if self.full.is_certain() { self.full.verdict.client_auth } else { ClientAuth::Unknown }
    }

    fn is_like(&self, other: &Self) -> bool {
        (&self.key, self.record) == (&other.key, other.record)
            && self.client_auth() == other.client_auth()
    }

    /// Whether its ticket may be an identity of this length.
    fn may_be(&self, identity: Option<u16>) -> bool {
        let lengths = self.record.zip(identity);
        lengths.is_none_or(|(record, identity)| ticket_lengths::may_hold(record, identity))
    }

    /// Whether its session may be offered under this key.
    fn is_of(&self, key: &SessionKey) -> bool {
        let has_the_name =
            self.key.server_name.is_some() && self.key.server_name == key.server_name;
        self.key.upstream == key.upstream || has_the_name
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
        if let Some(known) = self.kinds.iter_mut().find(|known| known.is_like(&begun)) {
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
}

impl Unshown {
    /// Remembers those of at most `max` owners.
    pub fn new(max: usize) -> Self {
        Self { owners: Bounded::new(max), has_forgotten: false }
    }

    /// A handshake may have begun a session that rests on `full`, with a ticket in this record. Said
    /// again, it is what was said last.
    pub fn begin(
        &mut self,
        handshake: HandshakeKey,
        key: SessionKey,
        record: Option<u16>,
        full: Arc<Full>,
    ) {
        if !key.owner.is_whole() {
            return;
        }
        let owner = key.owner;
        self.has_forgotten |= self.owners.is_full() && !self.owners.entries.contains_key(&owner);
        let known = self.owners.entry(owner);
        let begun = Begun { key, record, full };
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
        if let Some(known) = self.owners.entries.get_mut(&owner) {
            known.waiting.retain(|(known, _)| *known != handshake);
        }
    }

    /// What a session rests on that is offered under this key, as an identity of this length, and whose
    /// name is not known: the newest handshake with the upstream or under the name, where all that it
    /// may have begun in showed the same, whatever their upstream and name. `None` where that is not
    /// certain.
    pub fn find(&self, key: &SessionKey, identity: Option<u16>) -> Option<&Arc<Full>> {
        let known = self.owners.entries.get(&key.owner)?;
        if known.is_beyond || self.has_forgotten {
            return None;
        }
        let waiting = known.waiting.iter().map(|(_, begun)| begun);
        let all = || known.kinds.iter().chain(waiting.clone()).filter(|one| one.may_be(identity));
        let found = all().filter(|one| one.is_of(key)).max_by_key(|one| one.full.at)?;
        let client_auth = found.client_auth();
        let is_certain = client_auth != ClientAuth::Unknown;
        (is_certain && all().all(|one| one.client_auth() == client_auth)).then_some(&found.full)
    }
}
