//! What the status of an object says, and what the wire shows.

use super::{
    Answer,
    assess::{Assessor, violated},
};
use crate::policy::status::Promise;
use hopsight_core::model::{ClientAuth, Security, ServerVerified};

/// How a connection stands to a promise.
enum Shown {
    Kept,
    Broken(&'static str),
    /// It does not show.
    Nothing,
}

impl Assessor<'_> {
    /// Whether everything is so that an object of the Kubernetes API says to be in force.
    pub(super) fn status_says_otherwise(&self) -> Answer {
        let mut answer = Answer::Met;
        for claim in self.seen.claims {
            match self.shown(claim.promise) {
                Shown::Kept => {}
                Shown::Nothing => answer = Answer::Unknown,
                Shown::Broken(how) => {
                    let detail = format!("{}: {}, and {how}", claim.object, claim.condition);
                    return violated(detail, Some(&claim.object));
                }
            }
        }
        answer
    }

    fn shown(&self, promise: Promise) -> Shown {
        let verdict = &self.seen.verdict;
        match (promise, verdict.security) {
            (Promise::Tls, Security::Plaintext) => Shown::Broken("the hop is plaintext"),
            (Promise::Tls, _) if self.is_tls() => Shown::Kept,
            // That it is no TLS is another promise's.
            (Promise::Tls, _) | (_, Security::Plaintext) => Shown::Nothing,
            (Promise::ClientCertificate, _) => match verdict.client_auth {
                ClientAuth::Presented => Shown::Kept,
                ClientAuth::RequestedNotPresented => {
                    Shown::Broken("the upstream asked for a client certificate and got none")
                }
                ClientAuth::NotRequested | ClientAuth::Unknown => Shown::Nothing,
            },
            (Promise::Verification, _) if verdict.server_verified == ServerVerified::No => {
                Shown::Broken("the upstream's certificate was not checked")
            }
            // Whether it has to be known is for policy to say.
            (Promise::Verification, _) => Shown::Kept,
        }
    }
}
