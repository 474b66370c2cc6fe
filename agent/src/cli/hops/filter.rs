//! Which hops are asked for.

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
