use hopsight_core::model::Security;

use super::*;
use crate::{
    hops::testing::{at, certificate, rejected, report},
    policy::certificate::RevocationWord,
};

#[test]
fn what_is_told_of_revocation_goes_with_what_it_rests_on() {
    let mut certificates = Certificates::default();
    let mut shown = report(1, Security::Tls);
    shown.server_certificate = Some(certificate("a", 1_000).into());
    let revoked = Revocation {
        answer: RevocationWord::Revoked,
        reason: None,
        by: None,
        as_of: None,
        revoked_at: None,
    };
    for (name, says, is_unlisted, is_told) in [
        ("revoked", Some(revoked), false, true),
        ("no time to look", None, false, true),
        ("nobody has lists", None, true, false),
    ] {
        let evaluation =
            Evaluation { revocation: [says, None], is_unlisted, ..Evaluation::default() };
        certificates.record(&shown, &evaluation, at(10.0));
        let [server, _] = certificates.in_use();
        assert_eq!(server[0].revocation.is_some(), is_told, "{name}");
    }
}

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
        let mut report =
            ConnectionReport { server_certificate: Some(facts.into()), ..report(1, Security::Tls) };
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
