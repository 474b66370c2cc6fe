//! What the cipher suite takes back of a verdict: TLS that encrypts nothing, or verifies nobody.

use super::Judgement;
use crate::{
    model::{Evidence, Outcome, Reason, Security, ServerVerified},
    tls::{hello::ServerHello, suite},
};

/// `hello` is what the peers are known to have agreed on.
///
/// Under a suite that encrypts nothing, whatever was said of certificates stays true, and the bytes
/// are in the clear all the same: after a handshake of which nothing else is known, too. Where a
/// suite authenticates nobody, there was no certificate to check. Of a suite that is not known, nobody
/// knows whether it encrypts.
pub(super) fn apply(judgement: &mut Judgement, hello: &ServerHello) {
    let verdict = &mut judgement.verdict;
    if suite::encrypts_nothing(hello.cipher) {
        let agreed = verdict.security != Security::Unknown
            || verdict.outcome == Outcome::Established
            || hello.version.encrypts_handshake();
        if agreed {
            verdict.security = Security::Plaintext;
            verdict.evidence = Evidence::Wire;
        }
    }
    if !suite::is_known(hello.cipher) && verdict.security != Security::Unknown {
        verdict.security = Security::Unknown;
        verdict.reason = Some(Reason::Unrecognised);
    }
    if suite::is_anonymous(hello.cipher) {
        verdict.server_verified = ServerVerified::No;
    }
}
