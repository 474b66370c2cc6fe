use hopsight_core::{model::Outcome, report::Verdict};

use super::assess_tests::{MUTUAL, ONE_WAY, certificate, observation, policy, words};
use crate::policy::{
    certificate::{Revocation, RevocationReason, RevocationWord},
    observation::Observation,
};

#[test]
fn revoked_certificates_are_told() {
    const REVOKED: &str = "violation certificate_revoked";
    let asked = policy("require = \"tls\"\nmust_not_be_revoked = true");
    let not_asked = policy("require = \"tls\"");
    let says =
        |answer, reason| Revocation { answer, reason, by: None, as_of: Some(1), revoked_at: None };
    let good = says(RevocationWord::Good, None);
    let revoked = says(RevocationWord::Revoked, None);
    let unknown = says(RevocationWord::Unknown, Some(RevocationReason::ListEnded));
    let failed = Verdict { outcome: Outcome::Failed, ..ONE_WAY };
    let presented = certificate("CN=Mesh CA", "DNS:edge", 9);
    for (case, policies, verdict, revocation, expected) in [
        ("both good", &asked, MUTUAL, [Some(&good), Some(&good)], "compliant"),
        ("the client's revoked", &asked, MUTUAL, [Some(&good), Some(&revoked)], REVOKED),
        ("the upstream's revoked", &asked, MUTUAL, [Some(&revoked), Some(&good)], REVOKED),
        ("of the client nothing is known", &asked, MUTUAL, [Some(&good), None], "unknown"),
        ("of the upstream a list that ended", &asked, MUTUAL, [Some(&unknown), None], "unknown"),
        ("one way, good", &asked, ONE_WAY, [Some(&good), None], "compliant"),
        ("revoked and refused", &asked, failed, [Some(&revoked), None], REVOKED),
        ("good, and refused for another reason", &asked, failed, [Some(&good), None], "unknown"),
        ("nobody asks", &not_asked, MUTUAL, [Some(&revoked), None], "compliant"),
    ] {
        let (client_certificate, server_certificate) = (Some(&presented), Some(&presented));
        let seen = Observation {
            client_certificate,
            server_certificate,
            revocation,
            ..observation(verdict)
        };
        assert_eq!(words(policies, None, &seen), expected, "{case}");
    }
}
