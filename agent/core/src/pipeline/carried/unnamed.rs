//! Sessions of TLS 1.3 whose tickets nobody shows.

use std::{sync::Arc, time::Duration};

use super::{
    Full,
    uses::{Doubt, Uses},
};
use crate::{
    model::{ClientAuth, Reason, ServerVerified, Timestamp},
    pipeline::{
        bounded::Bounded,
        owners::Owner,
        session::{SessionKey, SessionScope},
    },
    report::Verdict,
    tls::flights::CertificateFlight,
};

/// How long a session may be resumed after its ticket was given (RFC 8446 section 4.6.1).
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// What is remembered of them.
#[derive(Debug)]
pub struct Unnamed {
    max_age: Duration,
    pub last: Bounded<SessionKey, Arc<Full>>,
    /// How long the flights are that show a certificate in one record.
    flights: Bounded<SessionKey, (u16, Timestamp)>,
    pub uses: Bounded<SessionScope, Uses>,
    /// When one of `uses` was last forgotten to make room.
    forgot_at: Option<Timestamp>,
}

impl Unnamed {
    /// Remembers for `max_age` the sessions of at most `max` hops.
    pub fn new(max: usize, max_age: Duration) -> Self {
        Self {
            max_age,
            last: Bounded::new(max),
            flights: Bounded::new(max),
            uses: Bounded::new(max.saturating_mul(2)),
            forgot_at: None,
        }
    }

    /// A handshake that showed this may have begun a session, with a ticket in this record.
    pub fn begin(
        &mut self,
        key: &SessionKey,
        client_auth: ClientAuth,
        at: Timestamp,
        ticket: Option<u16>,
    ) {
        for scope in key.scopes() {
            self.uses_in(scope, at).note(client_auth, at, ticket);
        }
    }

    /// The last full handshake of this key that may speak for its sessions.
    pub fn insert(&mut self, key: SessionKey, full: &Arc<Full>) {
        for scope in key.scopes() {
            if let Some(uses) = self.uses.entries.get_mut(&scope) {
                uses.speak(full);
            }
        }
        self.last.insert(key, full.clone());
    }

    /// A session, offered as an identity of this length, was resumed, and the client may have got a
    /// new ticket in this record. It stands for whatever the old one may stand for.
    pub fn renew(
        &mut self,
        key: &SessionKey,
        identity: Option<u16>,
        at: Timestamp,
        ticket: Option<u16>,
    ) {
        for client_auth in self.may_be(key, identity, at) {
            let full = self.newest(key, client_auth).cloned();
            let is_certain = key.owner.is_whole() || self.is_certain(key, client_auth, identity);
            for scope in key.scopes() {
                let uses = self.uses_in(scope, at);
                match client_auth {
                    ClientAuth::Unknown => uses.renew(client_auth, ticket),
                    _ if is_certain => uses.note(client_auth, at, ticket),
                    _ => {
                        uses.may_note(client_auth, at, ticket);
                    }
                }
                if let Some(full) = &full {
                    uses.speak(full);
                }
            }
        }
    }

    /// What sessions may be that are offered under this key as an identity of this length.
    fn may_be(&self, key: &SessionKey, identity: Option<u16>, at: Timestamp) -> Vec<ClientAuth> {
        let scopes = || key.scopes().filter_map(|scope| self.uses.entries.get(&scope));
        let may_be = |client_auth: &&ClientAuth| {
            // What nobody knows is forgotten in time: it hardly ever differs.
            let alive_for = match client_auth {
                ClientAuth::Unknown => self.max_age,
                _ => self.max_age.max(LONGEST),
            };
            scopes().any(|uses| uses.may_be(**client_auth, identity, at, alive_for))
        };
        ClientAuth::ALL.iter().filter(may_be).copied().collect()
    }

    /// Whether a handshake of this key, or what was resumed of it, showed this and was seen to be given a
    /// ticket that may be an identity of this length.
    fn is_certain(&self, key: &SessionKey, client_auth: ClientAuth, identity: Option<u16>) -> bool {
        key.scopes().all(|scope| {
            let uses = self.uses.entries.get(&scope);
            uses.is_some_and(|uses| uses.is_certain(client_auth, identity))
        })
    }

    /// The last full handshake that showed this, of all whose sessions may be offered under this key.
    fn newest(&self, key: &SessionKey, client_auth: ClientAuth) -> Option<&Arc<Full>> {
        let uses = key.scopes().filter_map(|scope| self.uses.entries.get(&scope));
        let fulls = uses.filter_map(|uses| uses.of(client_auth)?.full.as_ref());
        fulls.max_by_key(|full| full.at)
    }

    /// The full handshake that began a session which is offered as an identity of this length.
    ///
    /// # Errors
    /// As [`FullHandshakes::carry`](super::FullHandshakes::carry).
    pub fn carry(
        &mut self,
        key: &SessionKey,
        identity: Option<u16>,
        at: Timestamp,
    ) -> Result<Arc<Full>, Reason> {
        if matches!(key.owner, Owner::Mixed(_)) {
            return Err(Reason::ResumedUnseen);
        }
        let may_be = self.may_be(key, identity, at);
        let is_known = |scope: SessionScope| self.uses.entries.contains_key(&scope);
        let full = if key.owner.is_whole() {
            let certain = may_be.iter().filter_map(|client_auth| self.newest(key, *client_auth));
            certain.max_by_key(|full| full.at)
        } else {
            // One whose ticket nobody saw may have begun any session, and so may one from before.
            let speaks = |client_auth| {
                may_be.contains(&client_auth) && self.is_certain(key, client_auth, identity)
            };
            self.last.entries.get(key).filter(|full| speaks(full.verdict.client_auth))
        };
        let full = full.ok_or(Reason::ResumedUnseen)?.clone();
        // Where a scope is forgotten, so is what may speak against the handshake.
        let may_be_forgotten = !key.owner.is_whole() || self.forgot_at.is_some();
        if may_be_forgotten && !key.scopes().all(is_known) {
            return Err(Reason::ResumedUnseen);
        }
        for scope in key.scopes() {
            let Some(uses) = self.uses.entries.get_mut(&scope) else { continue };
            // With the resumption it may have got a new ticket. What is unknown is forgotten in time
            // all the same: it hardly ever differs, and would never be over.
            for client_auth in may_be.iter().filter(|&&one| one != ClientAuth::Unknown) {
                uses.touch(*client_auth, at);
            }
        }
        match (may_be.len(), at.since(full.at) > self.max_age) {
            (2.., _) => Err(Reason::Ambiguous),
            (_, true) => Err(Reason::ResumedUnseen),
            (_, false) if self.agrees_on_verification(key, &full) => Ok(full),
            (_, false) => {
                let verdict = Verdict { server_verified: ServerVerified::Unknown, ..full.verdict };
                Ok(Arc::new(Full { verdict, ..(*full).clone() }))
            }
        }
    }

    /// Whether every handshake that the session may rest on says what this one says of verification.
    fn agrees_on_verification(&self, key: &SessionKey, full: &Full) -> bool {
        let uses = key.scopes().filter_map(|scope| self.uses.entries.get(&scope));
        let mut alike = uses.filter_map(|uses| uses.of(full.verdict.client_auth));
        let says =
            |known: &Arc<Full>| known.verdict.server_verified == full.verdict.server_verified;
        alike.all(|one| !one.is_verified_otherwise && one.full.as_ref().is_none_or(says))
    }

    /// Notes how long a flight is that shows a certificate: it explains those that are in doubt.
    pub fn note_flight(&mut self, key: &SessionKey, length: u16, at: Timestamp) {
        for scope in key.scopes() {
            if let Some(uses) = self.uses.entries.get_mut(&scope) {
                uses.explain(key, length);
            }
        }
        self.flights.insert(key.clone(), (length, at));
    }

    /// Whether a flight in doubt, of this length, is like one that showed a certificate.
    pub fn explains(&self, key: &SessionKey, length: u16, at: Timestamp) -> bool {
        let known = self.flights.entries.get(key);
        known.is_some_and(|&(known, noted_at)| {
            CertificateFlight::are_alike(known, length) && at.since(noted_at) <= self.max_age
        })
    }

    /// Notes that a session may have begun with a flight in doubt, of this length.
    pub fn doubt(&mut self, key: &SessionKey, length: u16, at: Timestamp) {
        for scope in key.scopes() {
            let uses = self.uses_in(scope, at);
            match &mut uses.doubted {
                Some(doubt) if doubt.is_explained_by(key, length) => doubt.at = at,
                Some(_) => uses.note(ClientAuth::Unknown, at, None),
                none => *none = Some(Box::new(Doubt { key: key.clone(), length, at })),
            }
        }
    }

    fn uses_in(&mut self, scope: SessionScope, at: Timestamp) -> &mut Uses {
        if !self.uses.entries.contains_key(&scope) {
            if self.uses.is_full() {
                self.forgot_at = Some(at);
            }
            // It may have been known before.
            self.uses.insert(scope.clone(), Uses::unknown_since(self.forgot_at));
        }
        self.uses.entries.entry(scope).or_default()
    }
}
