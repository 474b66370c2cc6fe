//! The same certificate with several servers.

use hopsight_posture::{
    hops::certificates::CertificateInUse,
    policy::certificate::{ChainWord, Revocation, RevocationWord},
};

/// The same certificates together, in the order of their first. Of what is told of one the worst counts.
pub(super) fn merged<'s>(all: impl Iterator<Item = &'s CertificateInUse>) -> Vec<CertificateInUse> {
    let mut merged: Vec<CertificateInUse> = Vec::new();
    for one in all {
        match merged.iter_mut().find(|known| known.facts == one.facts) {
            Some(known) => {
                known.connections += one.connections;
                known.evidence = known.evidence.max(one.evidence);
                known.first_seen = known.first_seen.min(one.first_seen);
                known.last_seen = known.last_seen.max(one.last_seen);
                if by_chain(one.chain) > by_chain(known.chain) {
                    known.chain = one.chain;
                }
                let [new, old] = [one, &*known].map(|one| by_revocation(one.revocation.as_deref()));
                if new > old {
                    known.revocation.clone_from(&one.revocation);
                }
            }
            None => merged.push(one.clone()),
        }
    }
    merged
}

/// How bad it is: to know nothing is worse than to know something good, unless nobody has looked.
fn by_chain(chain: Option<ChainWord>) -> u8 {
    match chain {
        None => 0,
        Some(ChainWord::Trusted) => 1,
        Some(ChainWord::Named) => 2,
        Some(ChainWord::Unknown) => 3,
        Some(_) => 4,
    }
}

fn by_revocation(says: Option<&Revocation>) -> u8 {
    match says.map(|says| says.answer) {
        None => 0,
        Some(RevocationWord::Good) => 1,
        Some(RevocationWord::Unknown) => 2,
        Some(RevocationWord::Revoked) => 3,
    }
}

#[cfg(test)]
mod tests {
    use hopsight_posture::hops::testing::certificate;

    use super::*;

    #[test]
    fn the_worst_that_is_told_counts() {
        use ChainWord::{OtherCa, Trusted, Unknown};
        let of = |(chain, revocation): (Option<ChainWord>, Option<RevocationWord>)| {
            let facts = serde_json::to_value(certificate("a", 1_000)).unwrap();
            let mut one: CertificateInUse = serde_json::from_value(facts).unwrap();
            one.chain = chain;
            let by = |answer| Revocation {
                answer,
                reason: None,
                by: None,
                as_of: None,
                revoked_at: None,
            };
            one.revocation = revocation.map(|answer| by(answer).into());
            one
        };
        let good = (Some(Trusted), Some(RevocationWord::Good));
        for (name, other) in [
            ("nobody knows", (Some(Unknown), Some(RevocationWord::Unknown))),
            ("it is bad", (Some(OtherCa), Some(RevocationWord::Revoked))),
            ("the same", good),
        ] {
            for all in [[good, other], [other, good]] {
                let all = all.map(of);
                let merged = merged(all.iter());
                let says = merged[0].revocation.as_deref().map(|says| says.answer);
                assert_eq!((merged.len(), merged[0].chain, says), (1, other.0, other.1), "{name}");
            }
        }
        let all = [good, (None, None)].map(of);
        assert_eq!(merged(all.iter())[0].chain, Some(Trusted), "nobody has looked at the other");
    }
}
