//! What Istio's objects intend for the connections that its proxies open: a DestinationRule says how a
//! proxy speaks, and where it does not, whether that is mutual TLS follows from what the upstream's
//! PeerAuthentication accepts. Pure.
//!
//! What takes part beside them, and is not read: the mesh's own configuration (its root namespace is
//! taken for `istio-system`, its domain for `cluster.local`), Sidecars and EnvoyFilters.

mod cluster;
mod peer;
mod rule;
#[cfg(test)]
pub(super) mod tests;

use self::{cluster::Governed, rule::Merged};
use super::{
    leg::{self, Leg, Said, place},
    objects::Objects,
    services::ObjectName,
    standing::Conditions,
};
use crate::policy::intent::{Place, Route, Scheme, Setting, Text, TlsIntent};

pub use cluster::is_of_service;
pub use peer::{PeerAuthentication, PeerMode};
pub use rule::{ClientTls, DestinationRule, Subset, TlsMode, TrafficPolicy};

/// The container that the mesh's proxy runs in, of a sidecar as of a gateway.
const PROXY: &str = "istio-proxy";
/// Containers that are there beside it in every pod of the mesh.
const HELPERS: [&str; 3] = ["istio-init", "istio-validation", "enable-core-dump"];
/// The namespace whose objects are for the whole mesh.
const ROOT_NAMESPACE: &str = "istio-system";
/// What the domain of Services is in all clusters of a set together.
const DOMAIN_OF_ALL_CLUSTERS: &str = "clusterset.local";
/// What pods that a proxy was put into are labelled with.
const IN_MESH: (&str, &str) = ("security.istio.io/tlsMode", "istio");
/// Class of the Gateways of ambient meshes, which speak otherwise.
const WAYPOINT: (&str, &str) = ("gateway.networking.k8s.io/gateway-class-name", "istio-waypoint");

/// The certificate that a proxy has of the mesh, and what it trusts there, as its configuration calls
/// them.
const OWN: [&str; 2] = ["sds:default", "sds:ROOTCA"];

/// The objects of Istio that say something of TLS within the mesh.
#[derive(Clone, Debug, Default)]
pub struct IstioTable {
    /// How proxies speak.
    pub rules: Objects<DestinationRule>,
    /// What workloads accept.
    pub peers: Objects<PeerAuthentication>,
}

/// A way to the upstream, and what the object's status says that it is of.
type Way<'a> = (Route, &'a Conditions);

impl IstioTable {
    /// What is said of a hop; `None` where its proxy is not of the mesh, where the connection is not of a
    /// cluster of the Service, or nothing is said that would decide how it speaks.
    #[must_use]
    pub fn said(&self, leg: &Leg<'_>) -> Option<Said> {
        let is_proxy = leg.from.container.as_deref() == Some(PROXY);
        if !is_proxy || is_labelled(leg, WAYPOINT) || leg.is_within_pod() {
            return None;
        }
        let governed = Governed::of(leg);
        let subsets = match &governed {
            Governed::By(subsets) => Some(subsets.as_slice()),
            Governed::Unknown => None,
            Governed::No => return None,
        };
        let rules = self.rules(leg);
        let by_rule = rules.iter().map(|rule| self.by_rule(leg, rule, subsets));
        let mut all: Vec<_> = by_rule.collect();
        if all.is_empty() {
            let by_peer = self.by_peer(leg);
            all.push(by_peer.map(|(route, is)| said(leg, route, Vec::new(), is)));
        }
        let intent = |said: &Option<Said>| said.as_ref().map(|said| said.intent.clone());
        let are_alike = all.iter().all(|one| intent(one) == intent(&all[0]));
        if subsets.is_some() && are_alike {
            return all.swap_remove(0);
        }
        // It is said, and not whether it is for this connection, or what comes of it.
        let at = all.into_iter().flatten().next()?.intent.routes.swap_remove(0).at;
        Some(Said { intent: leg::intent(leg.to, left_open(&at), Vec::new()), claims: Vec::new() })
    }

    /// What a rule says, of these subsets, or of any.
    fn by_rule(&self, leg: &Leg<'_>, rule: &Merged<'_>, subsets: Option<&[&str]>) -> Option<Said> {
        let all = rule.ways(leg, subsets);
        let mut ways = all.iter().map(|way| match way.tls {
            Some(tls) => Some((tls.route(leg, &way.at, way.is_for_workloads), way.conditions)),
            None => self.by_peer(leg),
        });
        let first = ways.next()?;
        let others: Vec<_> = ways.collect();
        if first.is_none() && others.iter().all(Option::is_none) {
            return None;
        }
        let open = || (left_open(&rule.at), rule.conditions);
        let (route, conditions) = first.unwrap_or_else(open);
        let others = others.into_iter().map(|way| way.unwrap_or_else(open).0);
        let others = others.filter(|other| *other != route).collect();
        Some(said(leg, route, others, conditions))
    }

    /// How a proxy that no rule tells speaks to the workload.
    fn by_peer(&self, leg: &Leg<'_>) -> Option<Way<'_>> {
        let endpoint = leg.endpoint?;
        let (mode, name, peer) = self.accepted(leg, endpoint)?;
        let at = place("PeerAuthentication", name);
        let is_in_mesh = endpoint.labels.get(IN_MESH.0).is_some_and(|mode| mode == IN_MESH.1);
        let (scheme, tls) = match mode {
            // Whom no proxy stands before is spoken to in the clear, whatever the mesh asks for.
            PeerMode::Strict if is_in_mesh => (Scheme::Tls, leg::mutual(OWN[0], OWN[1], &at)),
            PeerMode::Disable => (Scheme::Plaintext, TlsIntent::default()),
            _ => return None,
        };
        Some((leg::route("PeerAuthentication", at, scheme, tls), &peer.conditions))
    }
}

fn said(leg: &Leg<'_>, route: Route, others: Vec<Route>, conditions: &Conditions) -> Said {
    let at = route.at.clone();
    let intent = leg::intent(leg.to, route, others);
    let claims = if conditions.are_good() {
        leg::claims(&at, &conditions.words(), &intent)
    } else {
        Vec::new()
    };
    Said { intent, claims }
}

/// A way of which nothing is known.
fn left_open(at: &Place) -> Route {
    let mut tls = TlsIntent::default();
    tls.leave_open(&Setting { value: at.file.to_string(), at: at.clone() });
    leg::route("DestinationRule", at.clone(), Scheme::Unknown, tls)
}

fn is_labelled(leg: &Leg<'_>, (key, value): (&str, &str)) -> bool {
    leg.pod.is_some_and(|pod| pod.labels.get(key).is_some_and(|found| found == value))
}

/// Whether the proxy is all that its pod is for; a sidecar has others beside it.
fn is_gateway(leg: &Leg<'_>) -> bool {
    let is_other = |name: &str| name != PROXY && !HELPERS.contains(&name);
    let is_alone =
        |pod: &super::pods::PodRecord| !pod.containers.iter().any(|(_, name)| is_other(name));
    leg.from.gateway.is_some() || leg.pod.is_some_and(is_alone)
}

impl ClientTls {
    /// The way that these settings make.
    fn route(&self, leg: &Leg<'_>, at: &Place, is_for_workloads: bool) -> Route {
        let route = |scheme, tls| leg::route("DestinationRule", at.clone(), scheme, tls);
        match self.mode {
            TlsMode::Disable => route(Scheme::Plaintext, TlsIntent::default()),
            TlsMode::IstioMutual => route(Scheme::Tls, leg::mutual(OWN[0], OWN[1], at)),
            TlsMode::Simple => route(Scheme::Tls, self.tls(leg, at, is_for_workloads)),
            TlsMode::Mutual => {
                let mut tls = self.tls(leg, at, is_for_workloads);
                let by = |value: &str| Some(said_at(at, value.to_owned()));
                match (&self.certificate, &self.credential) {
                    (Some(file), _) => {
                        tls.certificate = Some(said_at(at, Text::Literal(file.clone())));
                    }
                    (None, Some(name)) if is_for_workloads || is_gateway(leg) => {
                        tls.certificate = Some(said_at(at, Text::Literal(secret(leg, name))));
                    }
                    // A sidecar that the rule does not select passes it over.
                    (None, Some(_)) => tls.certificate_by = by("credentialName"),
                    (None, None) => tls.certificate_by = by("MUTUAL without a certificate"),
                }
                route(Scheme::Tls, tls)
            }
            TlsMode::Unknown => left_open(at),
        }
    }

    /// What is said of the upstream's certificate.
    fn tls(&self, leg: &Leg<'_>, at: &Place, is_for_workloads: bool) -> TlsIntent {
        // A URI is no host name; that it is held against is known, and not against which.
        let text = |name: &String| {
            let is_uri = name.contains("://");
            if is_uri { Text::Variable(name.clone()) } else { Text::Literal(name.clone()) }
        };
        let mut names = self.names.iter().map(|name| said_at(at, text(name)));
        let mut tls = TlsIntent {
            name: names.next(),
            sni: self.sni.clone().map(|sni| said_at(at, Text::Literal(sni))),
            server_name: self.sni.is_some().then(|| said_at(at, true)),
            other_names: names.collect(),
            ..TlsIntent::default()
        };
        let is_used = is_for_workloads || is_gateway(leg);
        let credential = self.credential.as_deref().filter(|_| is_used);
        match (&self.authorities, credential, self.mode) {
            _ if self.skips_verification => tls.verify = Some(said_at(at, false)),
            (Some(file), ..) => {
                tls.trusted_certificate = Some(said_at(at, file.clone()));
                tls.verify = Some(said_at(at, true));
            }
            (None, Some(name), TlsMode::Simple) => {
                tls.trusted_certificate = Some(said_at(at, secret(leg, name)));
                tls.verify = Some(said_at(at, true));
            }
            // Whether its secret has authorities as well.
            (None, Some(_), _) => tls.verify_by = Some(said_at(at, "credentialName".to_owned())),
            // Older releases check nothing then, newer ones against the system's.
            (None, None, _) => {
                tls.verify_by = Some(said_at(at, "the release of Istio".to_owned()));
            }
        }
        tls
    }
}

fn said_at<T>(at: &Place, value: T) -> Setting<T> {
    Setting { value, at: at.clone() }
}

/// The secret of this name, which gateways and selected sidecars look for beside themselves.
fn secret(leg: &Leg<'_>, name: &str) -> String {
    format!("Secret {}/{name}", leg.from.namespace)
}

/// The oldest of several objects comes first.
fn by_age<'a, T>(
    of: impl Fn(&T) -> i64,
) -> impl Fn(&(&'a ObjectName, &'a T)) -> (i64, &'a ObjectName) {
    move |(name, one)| (of(one), name)
}
