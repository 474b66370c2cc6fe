//! What the files of a route say by now, whether or not the proxy has loaded them.

use std::sync::Arc;

use hopsight_core::tls::certificate_facts::CertificateFacts;

use super::{certificate::Revoked, time::UnixTime};

/// Files that the configuration of a route names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnDisk {
    /// The client certificate, and when its file was last changed.
    pub certificate: Option<(Arc<CertificateFacts>, UnixTime)>,
    /// Every route to the upstream presents that one and no other.
    pub is_of_all_routes: bool,
    /// What the revocation lists revoke.
    pub revoked: Option<Arc<Revoked>>,
}
