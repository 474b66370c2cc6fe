//! Which DestinationRule is for a hop, and what it says there.

use super::{
    super::{
        leg::{Leg, place},
        selector::{Labels, includes},
        services::{ObjectName, ServicePort},
        standing::Conditions,
    },
    IstioTable, ROOT_NAMESPACE, by_age,
    cluster::is_host_of,
};
use crate::policy::intent::Place;
use std::collections::HashSet;

/// Domain of the cluster.
const DOMAIN: &str = "cluster.local";

/// `tls.mode` of a DestinationRule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS without a client certificate.
    Simple,
    /// With the client certificate that is named.
    Mutual,
    /// With that of the mesh.
    IstioMutual,
    /// Something that is not known, or more than is kept.
    #[default]
    Unknown,
}

/// `tls` of a traffic policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// How it speaks.
    pub mode: TlsMode,
    /// File of the client certificate.
    pub certificate: Option<String>,
    /// Secret that has certificates in place of files (`credentialName`).
    pub credential: Option<String>,
    /// File of the authorities that are trusted (`caCertificates`).
    pub authorities: Option<String>,
    /// Names of which the upstream's certificate has to have one (`subjectAltNames`).
    pub names: Vec<String>,
    /// Name that is sent.
    pub sni: Option<String>,
    /// The upstream's certificate is not checked (`insecureSkipVerify`).
    pub skips_verification: bool,
}

/// What is kept of a traffic policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrafficPolicy {
    /// How it speaks, unless a port says otherwise.
    pub tls: Option<ClientTls>,
    /// What ports of the Service have in its place: one without TLS settings has none.
    pub ports: Vec<(u16, Option<ClientTls>)>,
}

/// Some of the workloads behind a host, which a VirtualService sends requests to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subset {
    /// Its name.
    pub name: String,
    /// Which workloads.
    pub labels: Labels,
    /// What is said of them, over what is said of the host.
    pub policy: TrafficPolicy,
}

/// What is kept of a DestinationRule (`networking.istio.io`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DestinationRule {
    /// When it was made, in seconds after 1970.
    pub created_at: i64,
    /// The host that it is for, as it is written.
    pub host: String,
    /// Namespaces whose proxies heed it: `*`, `.` for its own, or names; all of them if empty.
    pub export_to: Vec<String>,
    /// The proxies that it is for, in its own namespace; all of them without.
    pub workloads: Option<Labels>,
    /// What is said of the host.
    pub policy: Option<TrafficPolicy>,
    /// What is said of some of the workloads behind it.
    pub subsets: Vec<Subset>,
    /// What its status says.
    pub conditions: Conditions,
}

/// One way that a rule tells: without TLS settings it is left to the mesh.
#[derive(Clone)]
pub(super) struct RuleWay<'a> {
    pub(super) tls: Option<&'a ClientTls>,
    pub(super) at: Place,
    pub(super) is_for_workloads: bool,
    pub(super) conditions: &'a Conditions,
}

/// What the rules of one host say together.
pub(super) struct Merged<'a> {
    /// The object that says it of the host.
    pub(super) at: Place,
    pub(super) conditions: &'a Conditions,
    policy: Option<&'a TrafficPolicy>,
    subsets: Vec<(&'a ObjectName, &'a DestinationRule, &'a Subset)>,
    is_for_workloads: bool,
}

impl IstioTable {
    /// The rules that are for a hop: of the proxy's namespace, else of the Service's, else of the mesh;
    /// there of the host that fits best. Several where it is not known which of them are one.
    pub(super) fn rules(&self, leg: &Leg<'_>) -> Vec<Merged<'_>> {
        let proxy = &*leg.from.namespace;
        let is_root = proxy == ROOT_NAMESPACE;
        let places = [proxy, &*leg.to.namespace, ROOT_NAMESPACE];
        let mut found = places.into_iter().enumerate().filter_map(|(place, namespace)| {
            let is_here = |rule: &DestinationRule| match place {
                // Those of the mesh are no gateway's own because that runs beside them.
                0 if is_root => is_private(rule, namespace),
                0 => is_exported(rule, namespace, namespace),
                _ => !is_private(rule, namespace),
            };
            let all = self.rules.within(namespace).filter(|(_, rule)| is_here(rule));
            let fits = all.filter_map(|(name, rule)| {
                Some((specificity(&rule.host, namespace, leg.to)?, name, rule))
            });
            let fits: Vec<_> = fits.collect();
            let best = fits.iter().map(|(how, ..)| *how).max()?;
            // Whether proxies elsewhere heed it matters only of the host that fits best.
            let is_heeded = |rule| place == 0 || is_exported(rule, namespace, proxy);
            let best = fits.into_iter().filter(|(how, _, rule)| *how == best && is_heeded(rule));
            let best: Vec<_> = best.map(|(_, name, rule)| (name, rule)).collect();
            (!best.is_empty()).then_some(best)
        });
        found.next().map_or_else(Vec::new, |rules| merged(rules, leg))
    }
}

/// Rules of one host, of one namespace, as one: the oldest that says something of the host, and the
/// subsets of all.
///
/// A rule for the proxy goes before one for all proxies. Whether such rules are one with those of another
/// selector depends on their age and on the release (`mergeDestinationRule` of Istio's `model`): then
/// both readings are there.
fn merged<'a>(
    mut rules: Vec<(&'a ObjectName, &'a DestinationRule)>,
    leg: &Leg<'_>,
) -> Vec<Merged<'a>> {
    rules.sort_by_key(by_age(|rule: &DestinationRule| rule.created_at));
    let labels = leg.pod.map(|pod| &pod.labels);
    let selects = |(name, rule): &&(&ObjectName, &DestinationRule)| match (&rule.workloads, labels)
    {
        (Some(wanted), Some(labels)) => name.0 == leg.from.namespace && includes(labels, wanted),
        _ => false,
    };
    let selector = rules.iter().find(selects).and_then(|(_, rule)| rule.workloads.as_ref());
    let (own, others): (Vec<_>, Vec<_>) =
        rules.into_iter().partition(|(_, rule)| rule.workloads.as_ref() == selector);
    if own.is_empty() {
        return Vec::new();
    }
    let together = (!others.is_empty()).then(|| [own.clone(), others].concat());
    let all = std::iter::once(own).chain(together);
    all.filter_map(|rules| one(&rules, selector.is_some())).collect()
}

fn one<'a>(
    rules: &[(&'a ObjectName, &'a DestinationRule)],
    is_for_workloads: bool,
) -> Option<Merged<'a>> {
    let with_policy = rules.iter().find(|(_, rule)| rule.policy.is_some());
    let (name, rule) = with_policy.or(rules.first())?;
    let mut subsets: Vec<(&ObjectName, &DestinationRule, &Subset)> = Vec::new();
    let mut known = HashSet::new();
    for (name, rule) in rules {
        for subset in rule.subsets.iter().filter(|one| known.insert(one.name.as_str())) {
            subsets.push((name, rule, subset));
        }
    }
    Some(Merged {
        at: place("DestinationRule", name),
        conditions: &rule.conditions,
        policy: rule.policy.as_ref(),
        subsets,
        is_for_workloads,
    })
}

impl<'a> Merged<'a> {
    /// The ways to the endpoint of a leg: by these subsets, of which one without a name is the host; or by
    /// the host and every subset that may lead there.
    pub(super) fn ways(&self, leg: &Leg<'_>, by: Option<&[&str]>) -> Vec<RuleWay<'a>> {
        let (port, labels) = (leg.to.port, leg.endpoint.map(|pod| &pod.labels));
        let of_host = self.policy.and_then(|policy| policy.at(port, None));
        let host = RuleWay {
            tls: of_host,
            at: self.at.clone(),
            is_for_workloads: self.is_for_workloads,
            conditions: self.conditions,
        };
        let own = |(name, rule, subset): &(&ObjectName, &'a DestinationRule, &'a Subset)| {
            let tls = subset.policy.at(port, of_host);
            // What says nothing of its own is the host's way.
            (tls != of_host).then(|| RuleWay {
                tls,
                at: place("DestinationRule", name),
                is_for_workloads: self.is_for_workloads,
                conditions: &rule.conditions,
            })
        };
        let Some(by) = by else {
            let may_lead =
                |subset: &Subset| labels.is_none_or(|labels| includes(labels, &subset.labels));
            let others = self.subsets.iter().filter(|(.., subset)| may_lead(subset));
            return std::iter::once(host).chain(others.filter_map(own)).collect();
        };
        let named = |wanted: &&str| {
            let subset =
                self.subsets.iter().find(|(.., one)| one.name.eq_ignore_ascii_case(wanted));
            subset.and_then(own).unwrap_or_else(|| host.clone())
        };
        by.iter().map(named).collect()
    }
}

impl TrafficPolicy {
    /// What is in force at a port of the Service, where `inherited` is what the host says. A port
    /// inherits nothing.
    fn at<'a>(&'a self, port: u16, inherited: Option<&'a ClientTls>) -> Option<&'a ClientTls> {
        match self.ports.iter().find(|(of, _)| *of == port) {
            Some((_, tls)) => tls.as_ref(),
            None => self.tls.as_ref().or(inherited),
        }
    }
}

/// Whether a rule is for its own namespace alone; one for some proxies always is.
fn is_private(rule: &DestinationRule, namespace: &str) -> bool {
    rule.workloads.is_some()
        || matches!(rule.export_to.as_slice(), [only] if only == "." || only == namespace)
}

/// Whether proxies of a namespace heed a rule of this one.
fn is_exported(rule: &DestinationRule, namespace: &str, to: &str) -> bool {
    let is_to = |one: &String| one == "*" || one == to || (one == "." && namespace == to);
    rule.export_to.is_empty() || rule.export_to.iter().any(is_to)
}

/// How well a host names a Service: exactly, or by how much of its end. `None` where it does not.
fn specificity(host: &str, namespace: &str, to: &ServicePort) -> Option<(bool, usize)> {
    let name = format!("{}.{}.svc.", to.service, to.namespace);
    if let Some(end) = host.strip_prefix('*') {
        return format!("{name}{DOMAIN}").ends_with(end).then_some((false, end.len()));
    }
    let is_it = if host.contains('.') {
        is_host_of(host, to)
    } else {
        *host == *to.service && *namespace == *to.namespace
    };
    is_it.then_some((true, 0))
}
