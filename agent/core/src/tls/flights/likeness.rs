//! Flights in one record, whose lengths another flight of the same client explains.
//!
//! One flight in 64 that is sent in one record has the length of a block: a client that pads its
//! handshake to blocks, and nothing else, looks the same without a certificate. But the lengths of
//! one client's flights differ by their signatures, so that most of them are no blocks: who sends 980
//! bytes with a certificate sends 976 with it as well.
//!
//! For that to be wrong a process has to treat one server in two ways, with a certificate and bare,
//! and without one and padded, to a block that is by chance as long as the other flight. A client
//! that pads all of its flights never gets that far: those that show a certificate are blocks too.

use super::{Ambiguity, FlightVerdict, Flights, Rule, client::USUAL_BLOCK, server::Witness};

/// Most bytes by which two flights of one client with one certificate differ: the lengths of an ECDSA
/// signature, as [`SIGNATURES`](super::arithmetic) has them.
const SPREAD: u16 = 4;

/// A flight with a certificate that is sent in one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFlight {
    /// It shows a certificate, and is no block. The length of its record.
    Shown(u16),
    /// It shows one unless it is a padded block. The length of its record.
    Doubted(u16),
}

impl CertificateFlight {
    /// What is named as the rule of a verdict that rests on the likeness of two flights.
    pub const RULE: &str = "certificate_alike";

    /// Whether these two lengths may be those of one client with one certificate.
    #[must_use]
    pub const fn are_alike(one: u16, other: u16) -> bool {
        one.abs_diff(other) <= SPREAD
    }
}

impl Flights {
    /// What the client's flight is, where it is such a one and the server is known to have asked.
    #[must_use]
    pub fn certificate_flight(&self) -> Option<CertificateFlight> {
        let records = self.client.as_slice();
        let (a, first) = (self.arithmetic, *records.first()?);
        if self.server_flight.witness != Witness::Requested
            || first <= a.longest_modestly_padded()
            || a.is_full(first, &self.facts)
        {
            return None;
        }
        let is_block = a.fills_blocks(first, USUAL_BLOCK);
        let may_be_empty = records.get(1).is_some_and(|&next| a.may_be_padded_empty(first, next));
        match self.verdict {
            FlightVerdict::Decided { rule: Rule::CertificateCoalesced, .. } if !is_block => {
                Some(CertificateFlight::Shown(first))
            }
            FlightVerdict::Ambiguous { why: Ambiguity::Padded } if is_block && !may_be_empty => {
                Some(CertificateFlight::Doubted(first))
            }
            _ => None,
        }
    }
}
