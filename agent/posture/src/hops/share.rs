//! How much of a hop each kind of security in use has.

use std::fmt;

use hopsight_core::model::Security;

use super::treatment::{Treatment, security_rank};

/// How much of a hop one kind of security has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The kind.
    pub security: Security,
    /// Treatments of it, over all servers.
    pub treatments: usize,
    /// All treatments of the hop.
    pub of_treatments: usize,
    /// Finished connections treated so.
    pub connections: u64,
    /// All finished connections of treatments in use.
    pub of_connections: u64,
}

impl Share {
    /// The shares of these treatments, worst first.
    pub(super) fn of<'a>(all: impl Iterator<Item = &'a Treatment> + Clone) -> Vec<Self> {
        let (of_treatments, of_connections) = all
            .clone()
            .fold((0, 0), |(count, sum), treatment| (count + 1, sum + treatment.connections));
        let mut shares: Vec<Self> = Vec::new();
        for Treatment { security, connections, .. } in all {
            match shares.iter_mut().find(|share| share.security == *security) {
                Some(share) => {
                    share.treatments += 1;
                    share.connections += connections;
                }
                None => shares.push(Self {
                    security: *security,
                    treatments: 1,
                    of_treatments,
                    connections: *connections,
                    of_connections,
                }),
            }
        }
        shares.sort_by_key(|share| security_rank(share.security));
        shares
    }
}

impl fmt::Display for Share {
    /// `tls: 1 of 2 treatments, 50 % of connections`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { security, treatments, of_treatments, connections, of_connections } = self;
        let percent = (connections * 100).checked_div(*of_connections).unwrap_or(0);
        write!(
            f,
            "{security}: {treatments} of {of_treatments} treatments, {percent} % of connections"
        )
    }
}
