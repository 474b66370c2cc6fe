//! Which hops are asked for.

use std::sync::Arc;

use hopsight_core::tls::certificate_facts::CertificateFacts;
use hopsight_posture::hops::{hop::Hop, table::Snapshot};

use crate::cli::client::Agent;

/// Which agent, and which of its hops are asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct HopFilter {
    #[command(flatten)]
    pub agent: Agent,

    /// Only hops of this proxy.
    #[arg(long, value_name = "NAME")]
    pub proxy: Option<String>,

    /// Only hops to this upstream: its label, or its name in the configuration.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,

    /// Only hops of proxies in this Kubernetes namespace.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
}

impl HopFilter {
    /// Whether hops have to match something.
    pub const fn is_narrow(&self) -> bool {
        self.proxy.is_some() || self.upstream.is_some() || self.namespace.is_some()
    }

    /// Leaves the hops that match.
    pub fn retain(&self, snapshot: &mut Snapshot) {
        snapshot.hops.retain(|hop| self.includes(hop));
    }

    fn includes(&self, hop: &Hop) -> bool {
        let is = |wanted: &Option<String>, names: &[Option<&str>]| {
            wanted.as_deref().is_none_or(|wanted| names.contains(&Some(wanted)))
        };
        is(&self.proxy, &[Some(&hop.proxy)])
            && is(&self.upstream, &[Some(&hop.upstream), hop.context.name.as_deref()])
            && is(&self.namespace, &[hop.context.namespace()])
    }
}

/// Whether a hop has this text (in lower case) in what one would look for.
pub fn mentions(hop: &Hop, wanted: &str) -> bool {
    let words = [
        Some(&*hop.proxy),
        Some(&*hop.upstream),
        hop.context.name.as_deref(),
        Some(hop.state.security.as_str()),
        Some(hop.state.client_auth.as_str()),
        Some(hop.state.evidence.as_str()),
        hop.state.sni.as_deref(),
        hop.context.compliance.as_ref().map(|compliance| compliance.status.as_str()),
    ];
    let subject = |facts: &Option<Arc<CertificateFacts>>| {
        facts.as_ref().is_some_and(|facts| facts.subject.to_lowercase().contains(wanted))
    };
    let mut violations = hop.context.compliance.iter().flat_map(|found| &found.violations);
    wanted.is_empty()
        || words.into_iter().flatten().any(|word| word.to_lowercase().contains(wanted))
        || violations.any(|violation| violation.rule.as_str().contains(wanted))
        || [&hop.server_certificate, &hop.client_certificate].into_iter().any(subject)
}
