//! A connection's ends by their names, and what is configured between them.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use super::{
    configuration::{Configuration, Seen, began_before},
    proxies::{Proxies, Proxy},
};
use hopsight_core::{model::canonical, report::ConnectionReport};
use hopsight_posture::{
    hops::{ends::Ends, labels},
    policy::{
        certificate::{CertificateFinding, Trusts},
        intent::{Server, ServerAddress, UpstreamIntent},
        on_disk::OnDisk,
        status::StatusClaim,
        time::UnixTime,
    },
    workload::leg::Through,
};

/// What is known of a connection besides what it said itself.
pub(super) struct Named<'p> {
    /// The labels it is counted under.
    pub(super) ends: Ends,
    /// What configuration or cluster call the upstream.
    pub(super) upstream: Option<Arc<str>>,
    /// What is intended for it; several where the configuration leaves open which upstream it is.
    pub(super) intents: Vec<Cow<'p, UpstreamIntent>>,
    /// The client certificate that is configured for it.
    pub(super) certificate: Option<Arc<CertificateFinding>>,
    /// What the files say by now that the configuration names for it.
    pub(super) on_disk: Option<OnDisk>,
    /// The CA files that it names.
    pub(super) trusts: Option<Arc<Trusts>>,
    /// What objects of the Kubernetes API say to be in force for it.
    pub(super) claims: Vec<StatusClaim>,
    /// Since when the proxy runs the configuration it runs.
    pub(super) configured_at: Option<UnixTime>,
    /// What is intended is known not to be what it runs.
    pub(super) is_other: bool,
}

/// Since when a worker's configuration says what it says. One that started well before the oldest
/// configuration that was read runs another, which nobody read: as old as itself.
fn configured_at(
    configuration: Option<&Configuration>,
    started_at: Option<UnixTime>,
) -> Option<UnixTime> {
    let configuration = configuration?;
    older_start(configuration, started_at).or_else(|| configuration.loaded_at())
}

/// When a worker was started that is older than its configuration; `None` for any other.
fn older_start(configuration: &Configuration, started_at: Option<UnixTime>) -> Option<UnixTime> {
    let loaded_at = configuration.loaded_at()?;
    started_at.filter(|started_at| began_before(*started_at, loaded_at))
}

/// Which addresses are behind an upstream's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// These, by configurations that list them all.
    Servers(Vec<SocketAddr>),
    /// Those of this Kubernetes service.
    Service(Arc<str>),
}

impl Listed {
    /// What is behind the upstream of a hop by the configurations that run now, of all proxies of
    /// this name; `None` where nobody says. An upstream that no configuration names may be a
    /// service.
    pub(super) fn behind(proxy: &str, upstream: &Arc<str>, proxies: &Proxies) -> Option<Self> {
        let address = |server: &Server| match server.address {
            ServerAddress::Ip(address) => Some(canonical(address)),
            ServerAddress::Host(..) | ServerAddress::Unix(_) => None,
        };
        let mut all = None;
        for intent in proxies.configured(proxy, upstream) {
            let addresses: Option<Vec<_>> = intent.only_servers()?.iter().map(address).collect();
            all.get_or_insert_with(Vec::new).extend(addresses?);
        }
        Some(all.map_or_else(|| Self::Service(upstream.clone()), Self::Servers))
    }

    /// Whether an address is behind the name.
    pub(super) fn includes(&self, address: SocketAddr, proxies: &Proxies) -> bool {
        match self {
            Self::Servers(all) => all.contains(&address),
            Self::Service(name) => {
                proxies.service(address, None).is_some_and(|service| service.label() == **name)
            }
        }
    }
}

impl<'p> Named<'p> {
    /// Looks it up; a process that could not be inspected has its own name and no configuration.
    pub(super) fn find(
        report: &ConnectionReport,
        proxy: Option<&Proxy>,
        proxies: &'p Proxies,
    ) -> Self {
        let label = proxy
            .map_or_else(|| proxies.label_of_unread(&report.origin), |proxy| proxy.label.clone());
        let configuration = proxy.and_then(|proxy| proxies.configuration(proxy));
        let started_at = proxy.and_then(Proxy::loaded_at);
        let found = configuration
            .map(|configuration| configuration.find(report.destination, report.sni.as_deref()))
            .unwrap_or_default();
        // Only one that is certain gives a name and a certificate.
        let only = match found.as_slice() {
            &[one] => configuration.map(|configuration| (configuration, one)),
            _ => None,
        };
        let configured = only.map(|(configuration, one)| configuration.upstream(one));
        let certificate =
            only.and_then(|(configuration, one)| configuration.client_certificate(one).cloned());
        let disk = proxy.and_then(|proxy| proxies.disk(proxy));
        let loaded_at = configured_at(configuration, started_at).max(started_at);
        let trusts = disk.map(|disk| disk.trusts(loaded_at));
        let on_disk = disk.zip(configured).map(|(disk, configured)| disk.of(configured));
        let remote = report.dst.parse().ok();
        let service = proxies.service(report.destination, remote);
        let stable = configured.and_then(UpstreamIntent::stable_name);
        let in_cluster = || service.as_ref().map(|service| service.label());
        let name = configured.map(|one| one.target.to_string()).or_else(in_cluster);
        let upstream = stable.or_else(in_cluster);
        // What objects of the cluster intend for the service goes before what the files say.
        let endpoint = remote.unwrap_or(report.destination);
        let (to, server_name) = (report.destination, report.sni.as_deref());
        let seen = Seen { to, security: report.verdict.security, server_name };
        let clusters = configuration.and_then(|one| one.clusters(&found, &seen));
        let through = Through { clusters: clusters.as_deref(), server_name };
        let said = proxy
            .zip(service.as_ref())
            .and_then(|(proxy, service)| proxies.said(proxy, service, endpoint, through));
        let (by_objects, claims) = said.map(|said| (said.intent, said.claims)).unzip();
        let intents = match (by_objects, configuration) {
            (Some(intent), _) => vec![Cow::Owned(intent)],
            // A worker that is older than the first configuration that was read has another.
            (None, Some(configuration)) if older_start(configuration, started_at).is_some() => {
                Vec::new()
            }
            (None, Some(configuration)) => {
                found.iter().map(|&at| Cow::Borrowed(configuration.upstream(at))).collect()
            }
            (None, None) => Vec::new(),
        };
        let pod = proxy.and_then(Proxy::pod);
        let ends = Ends {
            proxy: label,
            upstream: upstream
                .map_or_else(|| labels::upstream(report), |name| labels::label(&name)),
            pod: pod.map(|pod| labels::label(&format!("{}/{}", pod.namespace, pod.pod))),
        };
        Self {
            ends,
            upstream: name.map(|name| labels::label(&name)),
            intents,
            certificate,
            on_disk,
            trusts,
            claims: claims.unwrap_or_default(),
            configured_at: configured_at(configuration, started_at),
            is_other: configuration.is_some_and(|configuration| configuration.is_other),
        }
    }
}
