//! A configuration against policy, before it is deployed: nothing is sent and nobody is asked.
//!
//! What only connections show (whether the upstream asks for a certificate, what is negotiated, what
//! the certificates say) is not judged here, and told.

mod judge;
mod mend;
#[cfg(test)]
mod mend_tests;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use hopsight_core::vocabulary;
use serde::Serialize;

use self::judge::{Answer, Judge};
pub use judge::RULES;

use super::{
    drift::Rule,
    exempt::PolicyDocument,
    intent::{Intent, Place, Route, Scheme, ServerAddress, Servers, Target, UpstreamIntent},
    kind::ProxyKind,
    rules::{Policy, Subject},
    time::UnixTime,
};

vocabulary! {
    /// What is wrong with a route.
    State {
        /// The configuration is not what policy requires.
        Violation => "violation",
        /// It is not, and somebody answers for it until a day.
        Exempt => "exempt",
        /// The configuration does not say, or not in a way that is understood.
        Unknown => "unknown",
    }
}

/// Something that is not as policy requires it, or not known to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub state: State,
    /// What is violated, or may be.
    pub rule: Rule,
    /// The upstream as the configuration names it.
    pub upstream: String,
    /// The policy that applies; of several that may, the first.
    pub policy: String,
    /// The line to look at.
    pub at: Place,
    /// What is wrong, for people.
    pub detail: String,
    /// What would mend it, in the proxy's own language.
    pub mend: Option<String>,
    /// Who answers for it, and why, if it is exempt.
    pub exemption: Option<String>,
}

/// What one configuration is, held against policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// What is wrong, in the order of the configuration.
    pub findings: Vec<Finding>,
    /// The upstreams by name, in the order of the configuration, with how many findings each has.
    pub upstreams: Vec<(String, usize)>,
    /// Upstreams that do not leave the machine (sockets in the file system) and are not judged.
    pub local: usize,
    /// How many upstreams each policy of the operator's applies to.
    pub policies: BTreeMap<String, usize>,
    /// Policies that ask for what only connections show, and what that is.
    pub not_judged: BTreeSet<(String, &'static str)>,
}

impl Lint {
    /// How many findings are in this state.
    #[must_use]
    pub fn count(&self, state: State) -> usize {
        self.findings.iter().filter(|finding| finding.state == state).count()
    }

    /// Why this is no answer: there was nothing that policy could be held against.
    #[must_use]
    pub fn nothing_matched(&self) -> Option<&'static str> {
        if self.upstreams.is_empty() {
            return Some("the configuration has no upstream");
        }
        let is_idle = self.policies.values().all(|&upstreams| upstreams == 0);
        is_idle.then_some("no policy of the file matches an upstream of the configuration")
    }
}

/// The proxy that the configuration is for, as policies name it.
#[derive(Clone, Copy, Debug)]
pub struct For<'a> {
    /// Name of its process, or `namespace/workload`.
    pub proxy: &'a str,
    /// Kubernetes namespace, if it has one.
    pub namespace: Option<&'a str>,
    /// What it is, and so in what its configuration is written.
    pub kind: ProxyKind,
}

/// Holds `intent` against `document` at `now`.
#[must_use]
pub fn lint(intent: &Intent, document: &PolicyDocument, proxy: For<'_>, now: UnixTime) -> Lint {
    let mut out = Lint::default();
    out.policies.extend(document.policies.own().map(|policy| (policy.name.clone(), 0)));
    for upstream in &intent.upstreams {
        let mut applied = BTreeSet::new();
        let mut found = Vec::new();
        let mut is_local = true;
        for route in &upstream.routes {
            for to in addresses(upstream, route) {
                is_local = false;
                let one = One { document, proxy, upstream, route, to, now };
                one.judge(&mut out, &mut found, &mut applied);
            }
        }
        if is_local {
            out.local += 1;
            continue;
        }
        // The servers behind one line are alike.
        let key = |one: &Finding| (one.at.clone(), one.rule, one.policy.clone(), one.state);
        found.sort_by_cached_key(key);
        found.dedup_by_key(|one| key(one));
        out.upstreams.push((upstream.target.to_string(), found.len()));
        out.findings.append(&mut found);
        for policy in applied {
            if let Some(count) = out.policies.get_mut(policy) {
                *count += 1;
            }
        }
    }
    out
}

/// Where a route leads, as far as policies may ask for it: an address, of which the IP is not known
/// for a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct To {
    ip: Option<IpAddr>,
    port: Option<u16>,
}

/// Where a route leads, each once; nowhere if it does not leave the machine.
fn addresses(upstream: &UpstreamIntent, route: &Route) -> BTreeSet<To> {
    let of = |address: &ServerAddress| match address {
        ServerAddress::Ip(address) => To::known(*address),
        ServerAddress::Host(host, port) if host == "localhost" => {
            To::known((Ipv4Addr::LOCALHOST, *port).into())
        }
        ServerAddress::Host(_, port) => To { ip: None, port: Some(*port) },
        ServerAddress::Unix(_) => To { ip: None, port: Some(0) },
    };
    let is_unix = |address: &&ServerAddress| matches!(address, ServerAddress::Unix(_));
    let listed: Vec<_> = match route.only.as_slice() {
        [] => upstream.servers.iter().map(|server| &server.address).collect(),
        only => only.iter().collect(),
    };
    let is_open = upstream.listing == Servers::Dynamic && route.only.is_empty();
    let mut found: BTreeSet<_> =
        listed.iter().copied().filter(|address| !is_unix(address)).map(of).collect();
    if is_open || (listed.is_empty() && !matches!(upstream.target, Target::Address(_))) {
        found.insert(To { ip: None, port: None });
    }
    found
}

impl To {
    const fn known(address: SocketAddr) -> Self {
        Self { ip: Some(address.ip()), port: Some(address.port()) }
    }
}

/// One route to one address.
struct One<'a> {
    document: &'a PolicyDocument,
    proxy: For<'a>,
    upstream: &'a UpstreamIntent,
    route: &'a Route,
    to: To,
    now: UnixTime,
}

impl<'a> One<'a> {
    fn judge(&self, out: &mut Lint, found: &mut Vec<Finding>, applied: &mut BTreeSet<&'a str>) {
        let name = self.upstream.target.to_string();
        let subject = self.subject(&name);
        let policies = self.policies(&subject);
        applied.extend(policies.iter().map(|policy| policy.name.as_str()));
        for policy in &policies {
            if self.route.scheme != Scheme::Plaintext {
                let asked = judge::not_judged(policy).into_iter();
                out.not_judged.extend(asked.map(|what| (policy.name.clone(), what)));
            }
        }
        let Some(&first) = policies.first() else { return };
        for &rule in RULES {
            let answers = policies.iter().map(|policy| {
                Judge { policy, route: self.route, upstream: self.upstream }.answer(rule)
            });
            let Some((answer, policy)) = judge::all(answers.zip(&policies)) else { continue };
            let (state, detail, at) = match answer {
                Answer::Met => continue,
                Answer::Violated(detail, at) => (State::Violation, detail, at),
                Answer::Unknown(detail, at) => (State::Unknown, detail, at),
            };
            let exemption = self.document.exemptions.find(&subject, rule, self.now);
            let mend = mend::snippet(self.proxy.kind, rule, self.upstream, self.route, policy);
            found.push(Finding {
                state: if exemption.is_some() { State::Exempt } else { state },
                rule,
                upstream: name.clone(),
                policy: first.name.clone(),
                at,
                detail,
                mend,
                exemption: exemption.map(|one| format!("{}: {}", one.owner, one.reason)),
            });
        }
    }

    /// The policies that apply, or may: one that asks for an address which is not known may, and so may
    /// those after it.
    fn policies(&self, subject: &Subject<'_>) -> Vec<&'a Policy> {
        let mut found = Vec::new();
        for policy in self.document.policies.policies() {
            let mut matches = policy.matches.clone();
            let is_open = (self.to.ip.is_none() && !matches.cidr.is_empty())
                || (self.to.port.is_none() && !matches.port.is_empty());
            if !is_open {
                if matches.matches(subject) {
                    found.push(policy);
                    break;
                }
                continue;
            }
            // That a host is this machine under another name is nobody's guess.
            if policy.built_in {
                continue;
            }
            if self.to.ip.is_none() {
                matches.cidr.clear();
            }
            if self.to.port.is_none() {
                matches.port.clear();
            }
            if matches.matches(subject) {
                found.push(policy);
            }
        }
        found
    }

    fn subject<'s>(&'s self, name: &'s str) -> Subject<'s> {
        Subject {
            proxy: self.proxy.proxy,
            process: self.proxy.kind.process(),
            upstream: name,
            namespace: self.proxy.namespace,
            address: self.to.ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: self.to.port.unwrap_or(0),
        }
    }
}
