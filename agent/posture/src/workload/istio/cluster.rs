//! Which of a proxy's clusters a connection is of. Istio calls those of Services after them, and has them
//! send a server name after them where nothing else is said (`BuildSubsetKey` and `BuildDNSSrvSubsetKey`
//! of its `model`). Others are no DestinationRule's: those of the bootstrap, and what is passed through
//! to whatever address the program asked for.

use super::{
    super::{leg::Leg, services::ServicePort},
    DOMAIN_OF_ALL_CLUSTERS,
};

/// What the names of clusters of Services begin with.
const OUTBOUND: &str = "outbound";

/// A cluster for a port of a host, or for a subset of its workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cluster<'a> {
    port: u16,
    subset: &'a str,
    host: &'a str,
}

impl<'a> Cluster<'a> {
    fn of(name: &'a str, separator: &str) -> Option<Self> {
        let mut parts = name.splitn(4, separator);
        let (kind, port, subset, host) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        (kind == OUTBOUND).then_some(())?;
        Some(Self { port: port.parse().ok()?, subset, host })
    }

    fn of_name(name: &'a str) -> Option<Self> {
        Self::of(name, "|")
    }

    fn of_server_name(name: &'a str) -> Option<Self> {
        Self::of(name, "_.")
    }

    fn is_of(&self, to: &ServicePort) -> bool {
        self.port == to.port && is_host_of(self.host, to)
    }
}

/// Whether a full host name is that of a Service, in whatever domain.
pub(super) fn is_host_of(host: &str, to: &ServicePort) -> bool {
    let rest = host.strip_prefix(&*to.service).and_then(|rest| rest.strip_prefix('.'));
    let rest = rest.and_then(|rest| rest.strip_prefix(&*to.namespace));
    let domain = rest.and_then(|rest| rest.strip_prefix(".svc."));
    // That of a set of clusters is another.
    domain.is_some_and(|domain| !domain.is_empty() && domain != DOMAIN_OF_ALL_CLUSTERS)
}

/// Whether a data plane with a cluster of this name shows which ones it has for Services: its bootstrap
/// alone has none.
#[must_use]
pub fn is_of_service(name: &str) -> bool {
    Cluster::of_name(name).is_some()
}

/// Whether the rules for a Service are for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Governed<'a> {
    /// They are, for these subsets; without a name, for the host as a whole.
    By(Vec<&'a str>),
    /// It is of another cluster.
    No,
    /// Nobody knows of which.
    Unknown,
}

impl<'a> Governed<'a> {
    pub(super) fn of(leg: &Leg<'a>) -> Self {
        // Who sends it is the cluster.
        if let Some(cluster) = leg.through.server_name.and_then(Cluster::of_server_name) {
            return if cluster.is_of(leg.to) { Self::By(vec![cluster.subset]) } else { Self::No };
        }
        let Some(names) = leg.through.clusters else { return Self::Unknown };
        let ours = names.iter().filter_map(|name| Cluster::of_name(name));
        let subsets: Vec<_> = ours.filter(|one| one.is_of(leg.to)).map(|one| one.subset).collect();
        if subsets.is_empty() { Self::No } else { Self::By(subsets) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_called_after_services() {
        let to = ServicePort {
            namespace: "shop".into(),
            service: "payments".into(),
            port: 443,
            port_name: None,
        };
        for (name, expected) in [
            ("outbound|443||payments.shop.svc.cluster.local", Some("")),
            ("outbound|443|v1|payments.shop.svc.example.org", Some("v1")),
            ("outbound_.443_._.payments.shop.svc.cluster.local", Some("")),
            ("outbound_.443_.v1_.payments.shop.svc.cluster.local", Some("v1")),
            ("outbound|8443||payments.shop.svc.cluster.local", None),
            ("outbound|443||ledger.shop.svc.cluster.local", None),
            ("outbound|443||payments.shop.svc.clusterset.local", None),
            ("outbound|443||payments.shop.svc.", None),
            ("outbound|443||payments", None),
            ("outbound|443|payments.shop.svc.cluster.local", None),
            ("inbound|443||payments.shop.svc.cluster.local", None),
            ("PassthroughCluster", None),
            ("zipkin", None),
            ("", None),
        ] {
            let found = Cluster::of_name(name).or_else(|| Cluster::of_server_name(name));
            let subset = found.filter(|one| one.is_of(&to)).map(|one| one.subset);
            assert_eq!(subset, expected, "{name}");
        }
        assert!(is_of_service("outbound|80||other.shop.svc.cluster.local"));
        assert!(!is_of_service("xds-grpc"));
    }
}
