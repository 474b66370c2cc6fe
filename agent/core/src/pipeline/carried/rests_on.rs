//! Which full handshake a session of TLS 1.3 rests on.

use std::sync::Arc;

use super::{Full, FullHandshakes};
use crate::{
    model::{Process, Reason, Timestamp},
    pipeline::session::{Basis, SessionKey},
    report::CarriedBy,
    tls::session::Identity,
};

impl FullHandshakes {
    /// What a session rests on that is offered under this key.
    ///
    /// # Errors
    /// As [`FullHandshakes::carry`].
    pub(super) fn rests_on(
        &mut self,
        key: &SessionKey,
        basis: Basis,
        taken: Option<Identity>,
        process: Option<&Process>,
        at: Timestamp,
    ) -> Result<Arc<Full>, Reason> {
        if let Some(process) = process.filter(|process| self.sessions.shows_tickets(process)) {
            return self.rests_on_shown(key, basis, taken, process);
        }
        if let Some(known) = self.by_name(basis, taken)? {
            return Ok(known);
        }
        let identity = taken.map(|taken| taken.length);
        self.unnamed.carry(key, identity, at).map(|full| by_last_handshake(&full))
    }

    /// The same, as far as it follows from what the library of this process shows, or may have shown.
    ///
    /// # Errors
    /// As [`FullHandshakes::carry`].
    pub(super) fn rests_on_shown(
        &self,
        key: &SessionKey,
        basis: Basis,
        taken: Option<Identity>,
        process: &Process,
    ) -> Result<Arc<Full>, Reason> {
        if let Some(known) = self.by_name(basis, taken)? {
            return Ok(known);
        }
        let is_owners = |pid| self.owners.of(pid) == key.owner;
        let may_be_shown = self.blindness.has_lost_tickets(process)
            || self.blindness.has_lost_tickets_of(is_owners)
            || self.sessions.may_have_forgotten(is_owners);
        let identity = taken.map(|taken| taken.length);
        let full = self.unshown.find(key.owner, process.pid, identity);
        full.filter(|_| !may_be_shown).map(by_last_handshake).ok_or(Reason::ResumedUnseen)
    }

    /// What a session rests on that is known by its name; `None` where the name is not known.
    ///
    /// # Errors
    /// [`Reason::ResumedUnseen`] if it is known to rest on none that may speak, or is no session.
    fn by_name(&self, basis: Basis, taken: Option<Identity>) -> Result<Option<Arc<Full>>, Reason> {
        if let Some(known) = taken.and_then(|taken| self.sessions.find(taken.name)) {
            let known = known.is_certain().then(|| known.clone());
            return known.ok_or(Reason::ResumedUnseen).map(Some);
        }
        let is_unsettled = taken.is_some_and(|taken| self.sessions.is_unsettled(taken.name));
        if basis != Basis::Session || is_unsettled { Err(Reason::ResumedUnseen) } else { Ok(None) }
    }
}

fn by_last_handshake(full: &Arc<Full>) -> Arc<Full> {
    Arc::new(Full { by: CarriedBy::LastHandshake, ..(**full).clone() })
}
