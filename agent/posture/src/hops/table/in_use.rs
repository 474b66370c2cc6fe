//! Whether what violates a rule is in use, for the drift that it is.

use std::{net::SocketAddr, sync::Arc};

use hopsight_core::model::canonical;

use super::HopTable;
use crate::{
    hops::treatment::Treatment,
    policy::drift::{Causes, CertificateKey, Use},
};

impl HopTable {
    /// Whether one of `causes` is in use at a server of a hop.
    #[must_use]
    pub fn use_of(
        &self,
        (proxy, upstream): (&Arc<str>, &Arc<str>),
        server: SocketAddr,
        causes: &Causes,
    ) -> Use {
        let Some(hop) = self.hops.get(&(proxy.clone(), upstream.clone())) else {
            return Use::Unknown;
        };
        let address = canonical(server);
        let Some(server) = hop.servers.iter().find(|server| server.address == address) else {
            return if hop.is_overflow() { Use::Unknown } else { Use::ServerGone };
        };
        if causes.are_unknown() {
            return Use::Unknown;
        }
        let offends = |one: &Treatment| {
            let words = (one.security, one.client_auth, one.server_verified);
            causes.treatments.contains(&words)
        };
        // In TLS 1.3 the proxy's certificate may be hidden: then the configured one was presented.
        let configured = hop.context.configured_certificate.as_ref();
        let configured = configured.and_then(|finding| finding.certificate.as_ref());
        let mut certificates = server
            .certificates
            .server()
            .chain(server.certificates.client())
            .map(|facts| &**facts)
            .chain(configured)
            .map(CertificateKey::of);
        let is_in_use = server.treatments.iter().any(offends)
            || certificates.any(|key| causes.certificates.contains(&key));
        if is_in_use { Use::InUse } else { Use::OutOfUse }
    }
}
