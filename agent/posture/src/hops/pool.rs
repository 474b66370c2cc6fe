//! Certificates that are the same, kept once: hops share those of their proxy and of their
//! authorities.

use std::{collections::HashSet, sync::Arc};

use hopsight_core::tls::certificate_facts::{CertificateFacts, IssuerFacts};

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct CertificatePool {
    certificates: HashSet<Arc<CertificateFacts>>,
    issuers: HashSet<Arc<IssuerFacts>>,
}

impl CertificatePool {
    /// The same certificate, in one place with those before it.
    pub(super) fn shared(&mut self, mut facts: Arc<CertificateFacts>) -> Arc<CertificateFacts> {
        if let Some(known) = self.certificates.get(&facts) {
            return known.clone();
        }
        for issuer in &mut Arc::make_mut(&mut facts).issuers {
            match self.issuers.get(issuer) {
                Some(known) => *issuer = known.clone(),
                None => drop(self.issuers.insert(issuer.clone())),
            }
        }
        self.certificates.insert(facts.clone());
        facts
    }
}
