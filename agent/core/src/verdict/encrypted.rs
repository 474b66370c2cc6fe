//! TLS 1.3 by its record lengths.

use super::{Certainty, Circumstances, End, Judgement, awaited, known, refused, unknown};
use crate::{
    model::{Direction, Evidence, Outcome, Reason},
    report::Verdict,
    tls::{
        flights::{Ambiguity, FlightVerdict},
        wire::WireHandshake,
    },
};

/// Judges a connection whose ServerHello chose TLS 1.3.
pub(super) fn judge(wire: &WireHandshake, circumstances: Circumstances) -> Judgement {
    if let Some(seen) = wire.alert() {
        // In the clear although keys exist: one side could not follow the other.
        return refused(wire.facts(), seen.sender, seen.description, circumstances);
    }
    let Some(flights) = wire.flights() else {
        let hello = wire.facts().server_hello.as_ref();
        let resumed = hello.is_some_and(|hello| hello.pre_shared_key.is_some());
        let reason = if resumed { Reason::ResumedUnseen } else { Reason::EncryptedHandshake };
        // An alert in the clear may still come.
        let certainty = if circumstances.ended { Certainty::Settled } else { Certainty::Decided };
        let mut judgement = Judgement::unknown(certainty, Outcome::Incomplete, reason);
        judgement.resumed = resumed.then_some(true);
        return judgement;
    };
    let circumstances = if flights.client_left_first() && circumstances.end.is_some() {
        Circumstances { end: Some(End::By(Direction::ToServer)), ..circumstances }
    } else {
        circumstances
    };
    let judged = |verdict: &dyn Fn(Outcome) -> Verdict| match flights.outcome() {
        Outcome::Incomplete => awaited(circumstances, verdict),
        seen => Judgement::new(Certainty::Settled, verdict(seen)),
    };
    match flights.verdict() {
        FlightVerdict::Decided { client_auth, rule, .. } => {
            let mut judgement = judged(&|outcome| known(client_auth, outcome, Evidence::Inferred));
            judgement.rule = Some(rule.as_str());
            judgement.resumed = Some(false);
            judgement
        }
        FlightVerdict::Resumed => {
            let mut judgement = judged(&|outcome| unknown(outcome, Reason::ResumedUnseen));
            judgement.resumed = Some(true);
            judgement.left_resumed =
                judgement.verdict.reason == Some(Reason::Abandoned) && flights.client_finished();
            judgement
        }
        FlightVerdict::Failed { .. } => {
            Judgement::failed(unknown(Outcome::Failed, Reason::HandshakeFailed), circumstances)
        }
        FlightVerdict::Ambiguous { why } => {
            let reason = match why {
                Ambiguity::UnknownOffer => Reason::UnknownOffer,
                _ => Reason::Ambiguous,
            };
            let mut judgement = judged(&|outcome| unknown(outcome, reason));
            if !matches!(judgement.verdict.reason, Some(Reason::Unaccepted | Reason::Abandoned)) {
                judgement.verdict.reason = Some(reason);
            }
            judgement
        }
        FlightVerdict::Pending => match wire.broken().or_else(|| circumstances.dead_end()) {
            Some(reason) => Judgement::unknown(Certainty::Settled, Outcome::Incomplete, reason),
            None => Judgement::unknown(Certainty::Open, Outcome::Incomplete, Reason::NoData),
        },
    }
}
