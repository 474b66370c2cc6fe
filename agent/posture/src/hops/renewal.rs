//! Certificates that come in the place of others.

use std::{sync::Arc, time::Duration};

use hopsight_core::tls::certificate_facts::CertificateFacts;
use serde::{Deserialize, Serialize};

use super::{certificates::CertificateInUse, moment::Moment};
use crate::policy::certificate::ChainWord;

/// A certificate that was not seen for this long is replaced by a newer one of the same identity that
/// was accepted: it was renewed. While both are seen both are in use.
pub(super) const RENEWED_AFTER: Duration = Duration::from_mins(5);

/// The certificate that another came in the place of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Renewed {
    /// Its serial number.
    pub serial: String,
    /// The seconds of its validity that were left then; below 0 where it had ended.
    pub seconds_left: f64,
    /// The seconds of its validity in all; 0 where an agent that did not say it told so.
    #[serde(default)]
    pub lifetime_seconds: f64,
}

/// A certificate that came in the place of another, and that one.
pub(super) type Renewal = (Arc<CertificateFacts>, Renewed);

impl CertificateInUse {
    /// Whether it stands in the other's place by now.
    pub(super) fn renews(&self, other: &Self) -> bool {
        self.accepted
            && is_for_the_same(&self.facts, &other.facts, self.chain)
            && self.facts.not_before >= other.facts.not_before
            && self.facts != other.facts
            && self.heard > other.heard
    }
}

/// Whether one certificate, whose chain leads there, is for what the other is for. Who wears the names
/// of another is told from it by the issuer, unless it leads to what is trusted all the same. One of
/// another kind of key may be for other clients.
fn is_for_the_same(
    one: &CertificateFacts,
    other: &CertificateFacts,
    chain: Option<ChainWord>,
) -> bool {
    let sorted = |facts: &CertificateFacts| {
        let mut sans = facts.sans.clone();
        sans.sort();
        sans
    };
    one.subject == other.subject
        && !one.identity().is_empty()
        && one.public_key == other.public_key
        && (one.issuer == other.issuer || chain == Some(ChainWord::Trusted))
        && sorted(one) == sorted(other)
}

/// The one of these that a new certificate stands in the place of by now.
#[expect(clippy::cast_precision_loss, reason = "seconds of a few thousand years are exact")]
pub(super) fn renewed(
    all: &[CertificateInUse],
    new: &CertificateFacts,
    chain: Option<ChainWord>,
    now: Moment,
) -> Option<Renewed> {
    let is_older = |old: &&CertificateInUse| {
        is_for_the_same(new, &old.facts, chain) && old.facts.not_before < new.not_before
    };
    let newest = all.iter().filter(is_older).max_by_key(|old| old.facts.not_before)?;
    Some(Renewed {
        serial: newest.facts.serial.clone(),
        seconds_left: newest.facts.not_after as f64 - now.unix_seconds,
        lifetime_seconds: newest.facts.not_after.saturating_sub(newest.facts.not_before) as f64,
    })
}

#[cfg(test)]
mod tests {
    use hopsight_core::{model::Security, report::ConnectionReport};

    use super::*;
    use crate::hops::{
        certificates::Certificates,
        evaluation::Evaluation,
        testing::{at, certificate, rejected, report},
    };

    #[test]
    fn a_renewal_is_noted_with_what_was_left() {
        let named = |name: &str, not_before: i64, not_after| CertificateFacts {
            not_before,
            serial: not_before.to_string(),
            ..certificate(name, not_after)
        };
        let with = |change: fn(&mut CertificateFacts), mut facts: CertificateFacts| {
            change(&mut facts);
            facts
        };
        let issued_elsewhere = |facts: &mut CertificateFacts| facts.issuer = "CN=Other".into();
        let of_nobody = |facts: &mut CertificateFacts| {
            facts.subject.clear();
            facts.sans.clear();
        };
        let (trusted, not_trusted) = (Some(ChainWord::Trusted), Some(ChainWord::OtherCa));
        let mut certificates = Certificates::default();
        for (name, facts, chain, is_refused, now, expected) in [
            ("the first", named("a", 100, 1_000), None, false, 200, None),
            ("another subject", named("b", 150, 1_000), None, false, 210, None),
            ("a newer one", named("a", 300, 2_000), None, false, 400, Some(("100", 600.0))),
            ("one that is refused", named("a", 400, 3_000), None, true, 2_000, None),
            ("accepted later", named("a", 400, 3_000), None, false, 2_001, Some(("300", -1.0))),
            ("the first again", named("a", 100, 1_000), None, false, 2_002, None),
            (
                "with other names",
                with(|facts| facts.sans = vec!["DNS:c".into()], named("a", 500, 3_000)),
                None,
                false,
                2_003,
                None,
            ),
            (
                "of another CA",
                with(issued_elsewhere, named("a", 501, 3_000)),
                not_trusted,
                false,
                2_004,
                None,
            ),
            (
                "of another that is trusted",
                with(issued_elsewhere, named("a", 502, 3_000)),
                trusted,
                false,
                2_005,
                Some(("501", 995.0)),
            ),
            ("of nobody", with(of_nobody, named("a", 100, 4_000)), None, false, 2_006, None),
            ("of nobody else", with(of_nobody, named("a", 200, 4_000)), None, false, 2_007, None),
        ] {
            let mut report = ConnectionReport {
                server_certificate: Some(facts.into()),
                ..report(1, Security::Tls)
            };
            if is_refused {
                report = rejected(report);
            }
            let evaluation = Evaluation { chain, ..Evaluation::default() };
            let [told, _] = certificates.record(&report, &evaluation, at(f64::from(now)));
            let [server, _] = certificates.in_use();
            let facts = report.server_certificate.as_ref();
            let seen = server.iter().find(|seen| Some(&seen.facts) == facts).unwrap();
            let renews = seen.renews.as_ref();
            let renews = renews.map(|renewed| (renewed.serial.as_str(), renewed.seconds_left));
            assert_eq!(renews, expected, "{name}");
            assert_eq!(told.map(|(facts, _)| facts), facts.filter(|_| expected.is_some()).cloned());
        }
    }
}
