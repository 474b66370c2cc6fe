//! What Linkerd's policies ask of the connections to a workload: a Server whose every authorization
//! takes an identity of the mesh is spoken to by mutual TLS. Pure.
//!
//! None of these objects has a status. What takes part beside them, and is not read: authorizations of
//! single routes of a Server, beyond what they ask for.

#[cfg(test)]
mod tests;

use super::{
    leg::{self, Leg, Said, place},
    objects::Objects,
    pods::PodRecord,
    selector::{Labels, Selector},
    services::ObjectName,
};
use crate::policy::intent::Scheme;

/// The container that the mesh's proxy runs in.
const PROXY: &str = "linkerd-proxy";

/// A port of a pod, as a Server names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerPort {
    /// By its number.
    Number(u16),
    /// By its name among the ports of the pod's containers.
    Name(String),
}

/// What is kept of a Server (`policy.linkerd.io`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its labels.
    pub labels: Labels,
    /// Its pods; none of one for workloads elsewhere.
    pub pods: Option<Selector>,
    /// Their port.
    pub port: Option<ServerPort>,
    /// Who may connect whom no authorization is for (`accessPolicy`).
    pub access: Access,
}

/// What somebody has to show who connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// An identity of the mesh.
    Identity,
    /// Nothing: clear text does as well.
    Anyone,
    /// Nobody may.
    Nobody,
    /// Something that is not known.
    Unknown,
}

/// What an AuthorizationPolicy is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizationTarget {
    /// The Server of this name.
    Server(String),
    /// All Servers of its namespace.
    Namespace,
    /// Something else, such as a route of a Server.
    Other,
}

/// What an AuthorizationPolicy requires of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// One of the identities of a MeshTLSAuthentication.
    MeshTls(ObjectName),
    /// The identity of a service account.
    ServiceAccount,
    /// Something else, such as an address.
    Other,
}

/// What is kept of an AuthorizationPolicy (`policy.linkerd.io`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationPolicy {
    /// What it is for.
    pub target: AuthorizationTarget,
    /// Everything that it requires.
    pub required: Vec<Authentication>,
}

/// What is kept of a ServerAuthorization (`policy.linkerd.io`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAuthorization {
    /// The Server of this name, or those that are selected.
    pub server: Result<String, Selector>,
    /// What it takes.
    pub access: Access,
}

/// The objects of Linkerd that say who may connect to whom.
#[derive(Clone, Debug, Default)]
pub struct LinkerdTable {
    /// Ports of pods.
    pub servers: Objects<Server>,
    /// Who may connect to them.
    pub policies: Objects<AuthorizationPolicy>,
    /// The MeshTLSAuthentications that there are.
    pub authentications: Objects<()>,
    /// Who may connect to them, as it was said before.
    pub authorizations: Objects<ServerAuthorization>,
}

impl LinkerdTable {
    /// What is said of a hop; `None` where its proxy or the pod that it goes to is not of the mesh, or
    /// where its proxy does not take the port, or there is no Server for which only mutual TLS will do.
    #[must_use]
    pub fn said(&self, leg: &Leg<'_>) -> Option<Said> {
        if leg.from.container.as_deref() != Some(PROXY) || leg.is_within_pod() {
            return None;
        }
        let endpoint = leg.endpoint.filter(|pod| pod.has_container(PROXY))?;
        // What its proxy does not take, others send in the clear.
        let port = leg.address.port();
        if endpoint.skipped_ports.iter().any(|ports| ports.contains(&port)) {
            return None;
        }
        let (server, by) = self.required(endpoint, port)?;
        let at = place(by.0, by.1);
        let (_, name) = server;
        let identity = format!("identity for Server {}/{name}", endpoint.identity.namespace);
        let tls = leg::mutual(&identity, "ConfigMap linkerd-identity-trust-roots", &at);
        let route = leg::route(by.0, at, Scheme::Tls, tls);
        Some(Said { intent: leg::intent(leg.to, route, Vec::new()), claims: Vec::new() })
    }

    /// The Server for a port of a pod, and what says that only an identity will do there.
    fn required(
        &self,
        pod: &PodRecord,
        port: u16,
    ) -> Option<(&ObjectName, (&'static str, &ObjectName))> {
        let namespace = &pod.identity.namespace;
        let mut servers = self.servers.within(namespace).filter_map(|(name, server)| {
            let selects = server.pods.as_ref()?.selects(&pod.labels);
            (selects != Some(false)).then_some((selects, name, server))
        });
        let mut servers = servers.by_ref().filter(|(_, _, server)| server.is_at(pod, port));
        let (selects, name, server) = servers.next()?;
        // Several are refused by Linkerd itself.
        if selects.is_none() || servers.next().is_some() {
            return None;
        }
        let mut by = match server.access {
            Access::Identity => Some(("Server", name)),
            Access::Nobody => None,
            Access::Anyone | Access::Unknown => return None,
        };
        for (policy_name, policy) in self.policies.within(namespace) {
            let is_for_it = match &policy.target {
                AuthorizationTarget::Server(of) => **of == *name.1,
                AuthorizationTarget::Namespace => true,
                // It may be for a route of this Server, and let in whom the others do not.
                AuthorizationTarget::Other => false,
            };
            let may_be_for_it = is_for_it || policy.target == AuthorizationTarget::Other;
            match self.asked(policy) {
                Access::Identity if is_for_it => {
                    by.get_or_insert(("AuthorizationPolicy", policy_name));
                }
                Access::Anyone | Access::Unknown if may_be_for_it => return None,
                _ => {}
            }
        }
        for (authorization_name, one) in self.authorizations.within(namespace) {
            let is_for_it = match &one.server {
                Ok(of) => Some(**of == *name.1),
                Err(selector) => selector.selects(&server.labels),
            };
            match one.access {
                _ if is_for_it == Some(false) => {}
                Access::Identity if is_for_it == Some(true) => {
                    by.get_or_insert(("ServerAuthorization", authorization_name));
                }
                _ => return None,
            }
        }
        Some((name, by?))
    }

    /// What a policy asks for. One that names what is not there counts for nothing.
    fn asked(&self, policy: &AuthorizationPolicy) -> Access {
        let mut access = Access::Anyone;
        for one in &policy.required {
            match one {
                Authentication::MeshTls(name) if self.authentications.get(name).is_none() => {
                    return Access::Nobody;
                }
                Authentication::MeshTls(_) | Authentication::ServiceAccount => {
                    access = Access::Identity;
                }
                Authentication::Other => {}
            }
        }
        access
    }
}

impl Server {
    fn is_at(&self, pod: &PodRecord, port: u16) -> bool {
        match &self.port {
            Some(ServerPort::Number(number)) => *number == port,
            Some(ServerPort::Name(name)) => {
                pod.ports.iter().any(|(of, number)| **of == **name && *number == port)
            }
            None => false,
        }
    }
}
