//! What policy asks of the chain that the upstream presents.

use hopsight_core::model::ServerVerified;

use super::{
    Answer,
    assess::{Assessor, violated_by},
};
use crate::policy::{certificate::ChainWord, intent::Place};

impl Assessor<'_> {
    /// What was presented was presented, whether or not the proxy went on. Where nobody asks for it, a
    /// chain that the proxy has verified and that does not lead to what it is to trust is one all the
    /// same: it trusts something else.
    pub(super) fn chain_not_trusted(&self) -> Answer {
        let has_verified = self.seen.verdict.server_verified == ServerVerified::Yes;
        let is_asked = self.policy.must_chain;
        let Some(found) = self.seen.server_chain else {
            return if is_asked { Answer::Unknown } else { Answer::Met };
        };
        let problem = || found.problem.as_deref().unwrap_or_default();
        let violated =
            |detail: String| violated_by(self.seen.server_certificate, detail, self.trust_place());
        match found.answer {
            // Whether the name fits is a question of its own to a proxy, and its answer not seen.
            _ if found.is_broken() && has_verified && found.answer != ChainWord::WrongName => {
                violated(format!("the proxy accepted the upstream's certificate: {}", problem()))
            }
            _ if !is_asked => Answer::Met,
            _ if found.is_broken() => {
                violated(format!("the upstream's certificate: {}", problem()))
            }
            ChainWord::Trusted if self.carried_data() => Answer::Met,
            _ => Answer::Unknown,
        }
    }

    /// Where the configuration names the CAs that it trusts.
    fn trust_place(&self) -> Option<&Place> {
        self.routes().find_map(|route| Some(&route.tls.trusted_certificate.as_ref()?.at))
    }
}
