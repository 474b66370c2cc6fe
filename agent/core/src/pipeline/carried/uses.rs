//! What may speak against a full handshake: other sessions of its scope.

use std::{sync::Arc, time::Duration};

use super::Full;
use crate::{
    model::{ClientAuth, Timestamp},
    pipeline::session::SessionKey,
    tls::{flights::CertificateFlight, ticket_lengths::TicketLengths},
};

/// Sessions of one kind.
#[derive(Clone, Debug, Default)]
pub struct Use {
    /// When one of them was last begun or resumed: it may live on for the age limit from then.
    pub at: Timestamp,
    /// What their tickets may be.
    pub tickets: TicketLengths,
    /// What the tickets are of those that are certain to have showed it.
    pub certain: TicketLengths,
    /// The last full handshake among those that began them.
    pub full: Option<Arc<Full>>,
    /// Not all of these say the same of the upstream's verification.
    pub is_verified_otherwise: bool,
}

/// The sessions of a scope, by what their handshakes showed.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    by_answer: [Option<Use>; ClientAuth::ALL.len()],
    /// Begun by a handshake that may yet be explained.
    pub doubted: Option<Box<Doubt>>,
}

/// A full handshake whose flight is as long as a padded block.
#[derive(Clone, Debug)]
pub struct Doubt {
    pub key: SessionKey,
    pub length: u16,
    pub at: Timestamp,
}

impl Doubt {
    pub fn is_explained_by(&self, key: &SessionKey, length: u16) -> bool {
        self.key == *key && CertificateFlight::are_alike(self.length, length)
    }
}

impl Uses {
    /// None that is known, and some that are not, begun or resumed by then if at all.
    pub fn unknown_since(unknown: Option<Timestamp>) -> Self {
        let mut uses = Self::default();
        *uses.slot(ClientAuth::Unknown) =
            unknown.map(|at| Use { at, tickets: TicketLengths::ANY, ..Use::default() });
        uses
    }

    fn slot(&mut self, client_auth: ClientAuth) -> &mut Option<Use> {
        &mut self.by_answer[client_auth as usize]
    }

    /// What is known of those that showed this.
    pub fn of(&self, client_auth: ClientAuth) -> Option<&Use> {
        self.by_answer[client_auth as usize].as_ref()
    }

    /// A session that showed this was begun or renewed: the client got a ticket in this record.
    pub fn note(&mut self, client_auth: ClientAuth, at: Timestamp, ticket: Option<u16>) {
        self.may_note(client_auth, at, ticket).certain.add(ticket);
    }

    /// The same of one that may have showed this, and may have showed what nobody saw.
    pub fn may_note(
        &mut self,
        client_auth: ClientAuth,
        at: Timestamp,
        ticket: Option<u16>,
    ) -> &mut Use {
        let of_kind = self.slot(client_auth).get_or_insert_default();
        of_kind.at = of_kind.at.max(at);
        of_kind.tickets.add(ticket);
        of_kind
    }

    /// Whether a session that is certain to have showed this may be offered as an identity of this length.
    pub fn is_certain(&self, client_auth: ClientAuth, identity: Option<u16>) -> bool {
        self.of(client_auth).is_some_and(|of_kind| of_kind.certain.is_seen(identity))
    }

    /// One that showed this, if there are any, was renewed with a ticket in this record.
    pub fn renew(&mut self, client_auth: ClientAuth, ticket: Option<u16>) {
        if let Some(of_kind) = self.slot(client_auth) {
            of_kind.tickets.add(ticket);
        }
    }

    /// One that showed this was used.
    pub fn touch(&mut self, client_auth: ClientAuth, at: Timestamp) {
        if let Some(of_kind) = self.slot(client_auth) {
            of_kind.at = of_kind.at.max(at);
        }
    }

    /// This full handshake is the last of its kind, unless a later one is known.
    pub fn speak(&mut self, full: &Arc<Full>) {
        let Some(of_kind) = self.slot(full.verdict.client_auth) else { return };
        let is_other = |known: &Arc<Full>| {
            // What is said again of one handshake is said better.
            (known.at, known.process) != (full.at, full.process)
                && known.verdict.server_verified != full.verdict.server_verified
        };
        of_kind.is_verified_otherwise |= of_kind.full.as_ref().is_some_and(is_other);
        if of_kind.full.as_ref().is_none_or(|known| known.at <= full.at) {
            of_kind.full = Some(full.clone());
        }
    }

    /// The handshakes in doubt showed a certificate.
    pub fn explain(&mut self, key: &SessionKey, length: u16) {
        if let Some(doubt) = self.doubted.take_if(|doubt| doubt.is_explained_by(key, length)) {
            self.note(ClientAuth::Presented, doubt.at, None);
        }
    }

    /// Whether a session that showed this may be alive at `at`, and be offered as an identity of this
    /// length (any, where that is not known).
    pub fn may_be(
        &self,
        client_auth: ClientAuth,
        identity: Option<u16>,
        at: Timestamp,
        alive_for: Duration,
    ) -> bool {
        let is_alive = |used: Timestamp| at.since(used) <= alive_for;
        let of_kind = self.of(client_auth);
        of_kind.is_some_and(|of_kind| is_alive(of_kind.at) && of_kind.tickets.may_be(identity))
            || client_auth == ClientAuth::Unknown
                && self.doubted.as_ref().is_some_and(|doubt| is_alive(doubt.at))
    }
}
