//! What may speak against a full handshake: other sessions of its scope.

use std::time::Duration;

use crate::{
    model::{ClientAuth, Timestamp},
    pipeline::session::SessionKey,
    tls::flights::CertificateFlight,
};

/// When a session of each kind was last begun or resumed: it may live on for the age limit from
/// then.
#[derive(Clone, Debug, Default)]
pub struct Uses {
    pub presented: Option<Timestamp>,
    requested_not_presented: Option<Timestamp>,
    not_requested: Option<Timestamp>,
    /// Begun by a handshake that did not say.
    pub unknown: Option<Timestamp>,
    /// Begun by one that may yet be explained.
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
        Self { unknown, ..Self::default() }
    }

    pub fn of(&mut self, client_auth: ClientAuth) -> &mut Option<Timestamp> {
        match client_auth {
            ClientAuth::Presented => &mut self.presented,
            ClientAuth::RequestedNotPresented => &mut self.requested_not_presented,
            ClientAuth::NotRequested => &mut self.not_requested,
            ClientAuth::Unknown => &mut self.unknown,
        }
    }

    /// One of them is resumed at `at`, presumably one that showed `client_auth`. Says whether it
    /// may be one that did not.
    pub fn resume(&mut self, client_auth: ClientAuth, at: Timestamp, max_age: Duration) -> bool {
        *self.of(client_auth) = Some(at);
        let mut others = self.doubted.as_ref().is_some_and(|doubt| at.since(doubt.at) <= max_age);
        for other in ClientAuth::ALL.iter().filter(|&&other| other != client_auth) {
            if let Some(used) = self.of(*other)
                && at.since(*used) <= max_age
            {
                others = true;
                // With the resumption it may have got a new ticket. What is unknown is forgotten
                // in time all the same: it hardly ever differs, and would never be over.
                if *other != ClientAuth::Unknown {
                    *used = at;
                }
            }
        }
        others
    }
}
