//! Whether certificates of the hop are revoked.

use hopsight_core::model::{ClientAuth, Security};

use super::{
    Answer,
    assess::{Assessor, violated_by},
};
use crate::policy::certificate::{Revocation, RevocationWord};

impl Assessor<'_> {
    /// What was presented was presented, whether or not the other side went on. Met where what both
    /// sides presented is known to be good.
    pub(super) fn certificate_revoked(&self) -> Answer {
        if !self.policy.must_not_be_revoked {
            return Answer::Met;
        }
        let seen = self.seen;
        let [server, client] = seen.revocation;
        let sides = [
            ("upstream", server, seen.server_certificate, None),
            ("client", client, seen.client_certificate, self.certificate_place()),
        ];
        for (whose, found, facts, place) in sides {
            let (Some(found), Some(facts)) = (found, facts) else { continue };
            if found.answer == RevocationWord::Revoked {
                let detail = format!("the {whose} certificate \"{}\" is revoked", facts.identity());
                return violated_by(Some(facts), detail, place);
            }
        }
        let is_good = |found: Option<&Revocation>| {
            found.is_some_and(|found| found.answer == RevocationWord::Good)
        };
        let has_client =
            matches!(seen.verdict.client_auth, ClientAuth::Presented | ClientAuth::Unknown);
        let is_tls = matches!(seen.verdict.security, Security::Mtls | Security::Tls);
        if self.carried_data() && is_tls && is_good(server) && (!has_client || is_good(client)) {
            Answer::Met
        } else {
            Answer::Unknown
        }
    }
}
