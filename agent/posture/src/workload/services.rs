//! Services and their endpoints, by address. Pure.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hopsight_core::model::canonical;

/// Objects of each kind kept at most: what this is for is a small cluster.
pub const MAX_OBJECTS: usize = 20_000;

/// Namespace and name of an object.
pub type ObjectName = (Arc<str>, Arc<str>);

/// A port, by number and by the name that joins a Service's with those of its endpoints.
pub type Port = (u16, Option<Arc<str>>);

/// What is kept of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRecord {
    /// Its addresses; none of a headless one.
    pub addresses: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<Port>,
}

/// What is kept of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceRecord {
    /// The Service it belongs to (label `kubernetes.io/service-name`), in its own namespace.
    pub service: Arc<str>,
    /// Addresses of its endpoints.
    pub addresses: Vec<IpAddr>,
    /// Their ports.
    pub ports: Vec<Port>,
}

/// One port of a Service, which is what a connection goes to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServicePort {
    /// Namespace of the Service.
    pub namespace: Arc<str>,
    /// Its name.
    pub service: Arc<str>,
    /// Port of the Service; of the endpoint where the Service is not known.
    pub port: u16,
    /// Name of the port, if it has one.
    pub port_name: Option<Arc<str>>,
}

impl ServicePort {
    /// `namespace/service:port`.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}/{}:{}", self.namespace, self.service, self.port)
    }
}

/// Services by the addresses that lead to them.
#[derive(Clone, Debug, Default)]
pub struct ServiceTable {
    services: HashMap<ObjectName, ServiceRecord>,
    slices: HashMap<ObjectName, SliceRecord>,
    /// Made anew at the first question after a change.
    by_address: Option<HashMap<SocketAddr, HashSet<Arc<ServicePort>>>>,
}

impl ServiceTable {
    /// Adds a Service, or replaces or (with `None`) removes it. Says whether there was room for it.
    pub fn set_service(&mut self, name: ObjectName, service: Option<ServiceRecord>) -> bool {
        self.by_address = None;
        set(&mut self.services, name, service)
    }

    /// Adds an EndpointSlice, or replaces or (with `None`) removes it. Says whether there was room for it.
    pub fn set_slice(&mut self, name: ObjectName, slice: Option<SliceRecord>) -> bool {
        self.by_address = None;
        set(&mut self.slices, name, slice)
    }

    /// Forgets every Service that is not among `names`: what a new listing does not have is gone.
    pub fn retain_services(&mut self, names: &HashSet<ObjectName>) {
        self.services.retain(|name, _| names.contains(name));
        self.by_address = None;
    }

    /// The same for slices.
    pub fn retain_slices(&mut self, names: &HashSet<ObjectName>) {
        self.slices.retain(|name, _| names.contains(name));
        self.by_address = None;
    }

    /// The one Service that a connection to `address` goes to; none where several share it (two
    /// Services may select the same pods).
    pub fn find(&mut self, address: SocketAddr) -> Option<Arc<ServicePort>> {
        let by_address = self.by_address.get_or_insert_with(|| index(&self.services, &self.slices));
        let address = canonical(address);
        let found = by_address.get(&address)?;
        let mut found = found.iter();
        found.next().filter(|_| found.next().is_none()).cloned()
    }

    /// Numbers of Services and slices.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        (self.services.len(), self.slices.len())
    }
}

fn set<T>(all: &mut HashMap<ObjectName, T>, name: ObjectName, value: Option<T>) -> bool {
    match value {
        None => drop(all.remove(&name)),
        Some(value) if all.len() < MAX_OBJECTS || all.contains_key(&name) => {
            all.insert(name, value);
        }
        Some(_) => return false,
    }
    true
}

fn index(
    services: &HashMap<ObjectName, ServiceRecord>,
    slices: &HashMap<ObjectName, SliceRecord>,
) -> HashMap<SocketAddr, HashSet<Arc<ServicePort>>> {
    let mut by_address: HashMap<SocketAddr, HashSet<Arc<ServicePort>>> = HashMap::new();
    let mut add = |addresses: &[IpAddr], port: u16, to: ServicePort| {
        let to = Arc::new(to);
        for address in addresses {
            by_address.entry(SocketAddr::new(*address, port)).or_default().insert(to.clone());
        }
    };
    for ((namespace, service), record) in services {
        for (port, port_name) in &record.ports {
            let (namespace, service, port_name) =
                (namespace.clone(), service.clone(), port_name.clone());
            add(
                &record.addresses,
                *port,
                ServicePort { namespace, service, port: *port, port_name },
            );
        }
    }
    for ((namespace, _), slice) in slices {
        let service = services.get(&(namespace.clone(), slice.service.clone()));
        for (target, port_name) in &slice.ports {
            let same = |(_, name): &&Port| name == port_name;
            let port = service.and_then(|service| service.ports.iter().find(same));
            let to = ServicePort {
                namespace: namespace.clone(),
                service: slice.service.clone(),
                port: port.map_or(*target, |(port, _)| *port),
                port_name: port_name.clone(),
            };
            add(&slice.addresses, *target, to);
        }
    }
    by_address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> ObjectName {
        ("shop".into(), name.into())
    }

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn services_are_found_before_and_after_their_nat() {
        let mut table = ServiceTable::default();
        let ports = vec![(443, Some("https".into()))];
        let service = ServiceRecord { addresses: ips(&["10.96.0.5"]), ports };
        table.set_service(name("payments"), Some(service));
        let slice = |service: &str, address: &str| SliceRecord {
            service: service.into(),
            addresses: ips(&[address]),
            ports: vec![(8443, Some("https".into()))],
        };
        table.set_slice(name("payments-1"), Some(slice("payments", "10.1.0.7")));
        // Headless: there is no Service port to speak of.
        table.set_slice(name("ledger-1"), Some(slice("ledger", "10.1.0.8")));
        table.set_slice(name("a"), Some(slice("one", "10.1.0.9")));
        table.set_slice(name("b"), Some(slice("other", "10.1.0.9")));
        for (address, expected) in [
            ("10.96.0.5:443", Some("shop/payments:443")),
            ("[::ffff:10.96.0.5]:443", Some("shop/payments:443")),
            ("10.1.0.7:8443", Some("shop/payments:443")),
            ("10.1.0.8:8443", Some("shop/ledger:8443")),
            ("10.1.0.9:8443", None),
            ("10.96.0.5:80", None),
        ] {
            let found = table.find(address.parse().unwrap()).map(|port| port.label());
            assert_eq!(found.as_deref(), expected, "{address}");
        }
        table.set_slice(name("payments-1"), None);
        assert_eq!(table.find("10.1.0.7:8443".parse().unwrap()), None);
        table.retain_services(&HashSet::new());
        assert_eq!(table.find("10.96.0.5:443".parse().unwrap()), None);
    }
}
