//! What a workload accepts: PeerAuthentications for the mesh, for a namespace, for some workloads.

use super::{
    super::{
        leg::Leg,
        pods::PodRecord,
        selector::{Labels, includes},
        services::ObjectName,
        standing::Conditions,
    },
    IstioTable, ROOT_NAMESPACE, by_age,
};

/// `mtls.mode` of a PeerAuthentication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerMode {
    /// As the one above says; `PERMISSIVE` where there is none.
    #[default]
    Unset,
    /// No TLS.
    Disable,
    /// TLS or none.
    Permissive,
    /// Mutual TLS.
    Strict,
    /// Something that is not known.
    Unknown,
}

/// What is kept of a PeerAuthentication (`security.istio.io`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAuthentication {
    /// When it was made, in seconds after 1970.
    pub created_at: i64,
    /// Labels of the workloads that it is for; all of its namespace's without.
    pub selector: Labels,
    /// What they accept.
    pub mode: PeerMode,
    /// What they accept at single ports, which are the workload's own; only with a selector.
    pub ports: Vec<(u16, PeerMode)>,
    /// What its status says.
    pub conditions: Conditions,
}

impl IstioTable {
    /// What the workload of a pod accepts at the port of this leg, and which object says so. `None`
    /// where none does.
    pub(super) fn accepted(
        &self,
        leg: &Leg<'_>,
        of: &PodRecord,
    ) -> Option<(PeerMode, &ObjectName, &PeerAuthentication)> {
        let namespace = &of.identity.namespace;
        let oldest = |namespace: &str, is_for: &dyn Fn(&PeerAuthentication) -> bool| {
            let all = self.peers.within(namespace).filter(|(_, one)| is_for(one));
            all.min_by_key(by_age(|one: &PeerAuthentication| one.created_at))
        };
        let is_for_all = |one: &PeerAuthentication| one.selector.is_empty();
        let is_for_it =
            |one: &PeerAuthentication| !is_for_all(one) && includes(&of.labels, &one.selector);
        let mesh = oldest(ROOT_NAMESPACE, &is_for_all);
        // What is there for single workloads counts for nothing.
        let (of_namespace, of_workload) = if &**namespace == ROOT_NAMESPACE {
            (None, None)
        } else {
            (oldest(namespace, &is_for_all), oldest(namespace, &is_for_it))
        };
        let port = of_workload.and_then(|(name, peer)| {
            let (_, mode) = peer.ports.iter().find(|(port, _)| *port == leg.address.port())?;
            Some((*mode, name, peer))
        });
        let others = [of_workload, of_namespace, mesh].into_iter().flatten();
        let modes = others.map(|(name, peer)| (peer.mode, name, peer));
        port.into_iter().chain(modes).find(|(mode, ..)| *mode != PeerMode::Unset)
    }
}
