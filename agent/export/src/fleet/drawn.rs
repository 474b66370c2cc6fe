//! A fleet's hops, drawn from the series that recording rules make of what each agent says.
//!
//! A hop is the worst that any node says of it, and mutual only where all of them say so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hopsight_core::{
    model::{ClientAuth, Evidence, Outcome, Reason, Security, ServerVerified, Timestamp},
    report::Verdict,
};
use hopsight_posture::{
    hops::{
        context::{HopCompliance, HopViolation},
        counts::Tally,
        fleet_view::FleetView,
        hop::Hop,
        labels::label,
        moment::Moment,
        state::HopState,
    },
    policy::drift::{Compliance, Rule},
};

use super::prometheus::Sample;

/// The recording rules that a fleet is drawn from (`dashboards/recording.yaml`).
pub mod rules {
    /// Agents that see a hop so, by `security`.
    pub const SECURITY: &str = "hop_security:hopsight_hop_security:count";
    /// By `server_verified`.
    pub const VERIFIED: &str = "hop_verified:hopsight_hop_server_verified:count";
    /// Connections by verdict.
    pub const CONNECTIONS: &str = "hop_verdict:hopsight_upstream_connections:sum";
    /// Agents that see a violation, by `rule`.
    pub const VIOLATIONS: &str = "hop_rule:hopsight_policy_violation:count";
    /// For how long the longest of them has been open.
    pub const OPEN: &str = "hop_rule:hopsight_drift_open_seconds:max";
    /// When what any agent says of it last changed.
    pub const SINCE: &str = "hop:hopsight_hop_security_since_timestamp_seconds:max";
    /// The last report of any agent.
    pub const LAST_SEEN: &str = "hop:hopsight_hop_last_seen_timestamp_seconds:max";
}

/// The series of one moment.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// [`rules::SECURITY`].
    pub security: Vec<Sample>,
    /// [`rules::VERIFIED`].
    pub verified: Vec<Sample>,
    /// [`rules::CONNECTIONS`].
    pub connections: Vec<Sample>,
    /// [`rules::VIOLATIONS`].
    pub violations: Vec<Sample>,
    /// [`rules::OPEN`].
    pub open: Vec<Sample>,
    /// [`rules::SINCE`].
    pub since: Vec<Sample>,
    /// [`rules::LAST_SEEN`].
    pub last_seen: Vec<Sample>,
}

/// What tells hops apart: cluster, instance (empty for workloads, which are the same on every node),
/// proxy, upstream.
type Key = [String; 4];

#[derive(Default)]
struct Seen {
    security: BTreeMap<Security, u64>,
    verified: BTreeMap<ServerVerified, u64>,
    connections: Vec<Tally>,
    violations: BTreeMap<Rule, (u64, f64)>,
    changed: f64,
    newest: f64,
}

fn key(sample: &Sample) -> Key {
    ["cluster", "instance", "proxy", "upstream"].map(|name| sample.label(name).to_owned())
}

/// The word of a label. One that this program does not know is taken for nothing good.
fn word<W: Copy>(all: &[W], text: &str, of: impl Fn(W) -> &'static str, unknown: W) -> W {
    all.iter().copied().find(|word| of(*word) == text).unwrap_or(unknown)
}

fn security(sample: &Sample) -> Security {
    word(Security::ALL, sample.label("security"), Security::as_str, Security::Unknown)
}

/// The hops of these series as they are at `now`. Only what [`rules::SECURITY`] knows is a hop.
#[must_use]
pub fn hops(series: &Series, now: f64) -> Vec<Arc<Hop>> {
    let mut all: BTreeMap<Key, Seen> = BTreeMap::new();
    for sample in &series.security {
        let seen = all.entry(key(sample)).or_default();
        *seen.security.entry(security(sample)).or_default() += sample.count();
    }
    let mut each = |samples: &[Sample], take: &dyn Fn(&mut Seen, &Sample)| {
        for sample in samples {
            if let Some(seen) = all.get_mut(&key(sample)) {
                take(seen, sample);
            }
        }
    };
    each(&series.verified, &|seen, sample| {
        let text = sample.label("server_verified");
        let answer =
            word(ServerVerified::ALL, text, ServerVerified::as_str, ServerVerified::Unknown);
        *seen.verified.entry(answer).or_default() += sample.count();
    });
    each(&series.connections, &|seen, sample| seen.connections.push(tally(sample)));
    each(&series.violations, &|seen, sample| {
        if let Some(rule) = rule(sample) {
            seen.violations.entry(rule).or_default().0 += sample.count();
        }
    });
    each(&series.open, &|seen, sample| {
        if let Some(rule) = rule(sample) {
            let longest = &mut seen.violations.entry(rule).or_default().1;
            *longest = longest.max(sample.value);
        }
    });
    each(&series.since, &|seen, sample| seen.changed = seen.changed.max(sample.value));
    each(&series.last_seen, &|seen, sample| seen.newest = seen.newest.max(sample.value));
    let clusters: BTreeSet<_> = all.keys().map(|[cluster, ..]| cluster.clone()).collect();
    let names_clusters = clusters.len() > 1;
    all.into_iter().map(|(key, seen)| Arc::new(seen.hop(&key, names_clusters, now))).collect()
}

fn rule(sample: &Sample) -> Option<Rule> {
    Rule::ALL.iter().copied().find(|rule| rule.as_str() == sample.label("rule"))
}

fn tally(sample: &Sample) -> Tally {
    let text = |name| sample.label(name);
    Tally {
        security: security(sample),
        client_auth: word(
            ClientAuth::ALL,
            text("client_auth"),
            ClientAuth::as_str,
            ClientAuth::Unknown,
        ),
        evidence: word(Evidence::ALL, text("evidence"), Evidence::as_str, Evidence::None),
        outcome: word(Outcome::ALL, text("outcome"), Outcome::as_str, Outcome::Incomplete),
        connections: sample.count(),
    }
}

impl Seen {
    fn hop(self, key: &Key, names_clusters: bool, now: f64) -> Hop {
        let [cluster, instance, proxy, upstream] = key;
        let nodes: u64 = self.security.values().sum();
        let security = worst(&self.security);
        let verified = [ServerVerified::No, ServerVerified::Unknown, ServerVerified::Yes];
        let verified = verified.into_iter().find(|answer| self.verified.contains_key(answer));
        // Of what its connections were the most frequent is what is shown of the hop as it is.
        let alike = self.connections.iter().filter(|tally| tally.security == security);
        let alike = alike.max_by_key(|tally| tally.connections);
        let state = HopState {
            security,
            client_auth: alike.map_or(ClientAuth::Unknown, |tally| tally.client_auth),
            evidence: alike.map_or(Evidence::None, |tally| tally.evidence),
            server_verified: verified.unwrap_or(ServerVerified::Unknown),
            ..HopState::UNKNOWN
        };
        let verdict = Verdict {
            security,
            client_auth: state.client_auth,
            outcome: Outcome::Established,
            evidence: state.evidence,
            server_verified: state.server_verified,
            reason: (security == Security::Unknown).then_some(Reason::Unrecognised),
        };
        let mut shown = proxy.clone();
        for (word, text) in [(" on ", instance), (" in ", cluster)] {
            let is_said = word == " on " || names_clusters;
            if is_said && !text.is_empty() {
                shown = format!("{shown}{word}{text}");
            }
        }
        let last_seen = if self.newest > 0.0 { self.newest } else { now };
        let moment = Moment { unix_seconds: last_seen, monotonic: Timestamp(0) };
        let mut hop = Hop::new(label(&shown), label(upstream), verdict, moment);
        // When an agent saw it first is not recorded: what is known is that it was there then.
        let changed = if self.changed > 0.0 { self.changed } else { last_seen };
        (hop.security_since, hop.first_seen) = (changed, changed);
        hop.state = Arc::new(state);
        hop.counts.connections = self.connections;
        let violations: Vec<_> = self
            .violations
            .into_iter()
            .map(|(rule, (agents, open))| HopViolation {
                rule,
                detail: format!("on {agents} of {nodes} nodes"),
                place: None,
                since: now - open,
                preexisting: false,
            })
            .collect();
        hop.context.compliance = (!violations.is_empty()).then(|| HopCompliance {
            status: Compliance::Violation,
            policy: "of each node".into(),
            violations,
            exemption: None,
        });
        hop.fleet = Some(FleetView {
            cluster: (!cluster.is_empty()).then(|| label(cluster)),
            instance: (!instance.is_empty()).then(|| label(instance)),
            proxy: label(proxy),
            nodes: self.security,
        });
        hop
    }
}

/// What a hop is that different nodes see so: the worst of it, and mutual only where nobody says
/// unknown.
fn worst(seen: &BTreeMap<Security, u64>) -> Security {
    [Security::Plaintext, Security::Tls, Security::Unknown, Security::Mtls]
        .into_iter()
        .find(|word| seen.get(word).is_some_and(|count| *count > 0))
        .unwrap_or(Security::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(proxy: &str, security: &str, count: f64) -> Sample {
        let labels =
            [("cluster", "a"), ("proxy", proxy), ("upstream", "u"), ("security", security)];
        Sample::new(&labels, count)
    }

    #[test]
    fn a_hop_is_the_worst_that_any_node_says() {
        for (name, says, want) in [
            ("all mutual", vec![("mtls", 9.0)], Security::Mtls),
            ("one in the clear", vec![("mtls", 9.0), ("plaintext", 1.0)], Security::Plaintext),
            ("one one-way", vec![("mtls", 9.0), ("tls", 1.0)], Security::Tls),
            ("one unknown", vec![("mtls", 9.0), ("unknown", 1.0)], Security::Unknown),
            ("one-way or worse", vec![("tls", 1.0), ("unknown", 1.0)], Security::Tls),
            ("a word of later", vec![("mtls", 9.0), ("quantum", 1.0)], Security::Unknown),
        ] {
            let security = says.iter().map(|(word, count)| seen("w/edge", word, *count)).collect();
            let hops = hops(&Series { security, ..Series::default() }, 100.0);
            let [hop] = &hops[..] else { panic!("{name}: {hops:?}") };
            assert_eq!(hop.state.security, want, "{name}");
            let nodes: u64 = hop.fleet.as_ref().unwrap().nodes.values().sum();
            let all: f64 = says.iter().map(|(_, count)| count).sum();
            assert_eq!(nodes, Sample::new(&[], all).count(), "{name}");
        }
    }

    #[test]
    fn hops_have_their_connections_violations_and_ends() {
        let with = |more: &[(&str, &str)], value| {
            let labels = [("cluster", "a"), ("proxy", "w/edge"), ("upstream", "u")];
            Sample::new(&[&labels[..], more].concat(), value)
        };
        let verdict = [
            ("security", "mtls"),
            ("client_auth", "presented"),
            ("evidence", "library"),
            ("outcome", "established"),
        ];
        let another = Sample::new(
            &[
                ("cluster", "b"),
                ("instance", "n1:9464"),
                ("proxy", "nginx"),
                ("upstream", "u"),
                ("security", "tls"),
            ],
            1.0,
        );
        let series = Series {
            security: vec![seen("w/edge", "mtls", 2.0), another],
            verified: vec![
                with(&[("server_verified", "yes")], 1.0),
                with(&[("server_verified", "no")], 1.0),
            ],
            connections: vec![with(&verdict, 70.0)],
            violations: vec![with(&[("rule", "upstream_not_verified")], 1.0)],
            open: vec![with(&[("rule", "upstream_not_verified")], 30.0)],
            since: vec![with(&[], 40.0)],
            last_seen: vec![with(&[], 90.0), Sample::new(&[("proxy", "of no hop")], 95.0)],
        };
        let hops = hops(&series, 100.0);
        let [edge, nginx] = &hops[..] else { panic!("{hops:?}") };
        assert_eq!((&*edge.proxy, &*nginx.proxy), ("w/edge in a", "nginx on n1:9464 in b"));
        assert_eq!(edge.state.evidence, Evidence::Library);
        assert_eq!(edge.state.server_verified, ServerVerified::No, "the worst answer");
        assert_eq!((edge.counts.connections[0].connections, edge.last_seen), (70, 90.0));
        assert_eq!((edge.security_since, nginx.security_since), (40.0, 100.0));
        let compliance = edge.context.compliance.as_ref().unwrap();
        let violation = &compliance.violations[0];
        assert_eq!((violation.since, &*violation.detail), (70.0, "on 1 of 2 nodes"));
        assert_eq!(nginx.context.compliance, None);
    }
}
