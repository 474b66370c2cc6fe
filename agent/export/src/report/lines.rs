//! The lines of a report: nodes, hops, exemptions. Times are RFC 3339.

use std::cmp::Ordering;

use serde::Serialize;

use hopsight_core::{
    model::{ClientAuth, Evidence, Outcome, Reason, Security, ServerVerified, Word},
    tls::fingerprint::Fingerprint,
};
use hopsight_posture::{
    audit::{
        coverage::Coverage,
        period::{HopPeriod, NodePeriod},
    },
    hops::{
        labels::{MAX_TEXT_BYTES, printable},
        witness::Losses,
    },
    policy::drift::{Compliance, Rule},
};

use crate::time;

/// What a node's agent saw, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeLine {
    /// Its name; where it has none that of its source.
    pub node: String,
    /// Its cluster.
    pub cluster: Option<String>,
    /// Where the answer comes from.
    pub source: String,
    /// Version of the agent.
    pub agent_version: Option<String>,
    /// Where what is said of it begins.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// Since when its agent watches.
    pub watching_since: Option<String>,
    /// Whether it was ready; `None` where it did not say.
    pub ready: Option<bool>,
    /// Its parts that were not whole.
    pub impaired: Vec<String>,
    /// Seconds for which nobody accounts.
    pub unaccounted_seconds: Option<f64>,
    /// Events that the kernel delivered since the agent began.
    pub events_received: Option<u64>,
    /// What was lost in that time.
    pub lost: Option<Losses>,
    /// Connections and hops that a full table did not keep apart.
    pub beyond_table: u64,
    /// Digest of the kernel programs.
    pub kernel_programs_sha256: Option<Fingerprint>,
    /// Digest of the policy file.
    pub policy_sha256: Option<Fingerprint>,
    /// Its hops.
    pub hops: usize,
    /// Of how many of their connections it is known how they were protected.
    pub coverage: Coverage,
}

/// What a hop is, and what its connections were.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HopLine {
    /// Its node.
    pub node: String,
    /// The proxy, as the hop is labelled.
    pub proxy: String,
    /// The upstream, as the hop is labelled.
    pub upstream: String,
    /// The upstream's name in the proxy's configuration.
    pub name: Option<String>,
    /// How it is protected at the end.
    pub security: Security,
    /// What the proxy does about a client certificate.
    pub client_auth: ClientAuth,
    /// What that rests on.
    pub evidence: Evidence,
    /// Whether the proxy checks the upstream's certificate.
    pub server_verified: ServerVerified,
    /// Negotiated version.
    pub tls_version: Option<Word>,
    /// Since when it is protected as it is.
    pub security_since: String,
    /// Last report.
    pub last_seen: String,
    /// Connections of that time of which it is known how they were protected.
    pub known_connections: u64,
    /// And of which it is not.
    pub unknown_connections: u64,
    /// Connections that were refused or failed.
    pub failed_connections: u64,
    /// Those that were less protected than the hop is.
    pub worse_connections: u64,
    /// Why something is unknown: the most frequent reason since its first report.
    pub reason: Option<Reason>,
    /// Whether it is as policy wants it.
    pub compliance: Option<Compliance>,
    /// The policy that applies.
    pub policy: Option<String>,
    /// What it violates.
    pub violations: Vec<Rule>,
}

/// A hop that is exempt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExemptionLine {
    /// Its node.
    pub node: String,
    /// The proxy, as the hop is labelled.
    pub proxy: String,
    /// The upstream, as the hop is labelled.
    pub upstream: String,
    /// Name of the exemption.
    pub exemption: String,
    /// What it need not meet.
    pub rules: Vec<Rule>,
    /// Who answers for it.
    pub owner: String,
    /// Why.
    pub reason: String,
    /// Its last day.
    pub last_day: String,
    /// Whether that is over at the end of the time.
    pub has_ended: bool,
}

/// A text that others may have chosen.
pub(super) fn text(value: &str) -> String {
    printable(value, MAX_TEXT_BYTES).into_owned()
}

impl NodeLine {
    pub(super) fn of(period: &NodePeriod<'_>) -> Self {
        let node = period.node;
        let (witness, watch) = (node.witness.as_ref(), node.watch.as_ref());
        Self {
            node: text(node.name()),
            cluster: witness.and_then(|witness| witness.cluster.as_deref()).map(text),
            source: text(&node.source),
            agent_version: witness.map(|witness| text(&witness.agent_version)),
            from: time::rfc3339(period.from),
            to: time::rfc3339(node.at),
            watching_since: watch.map(|watch| time::rfc3339(watch.since)),
            ready: watch.map(|watch| watch.ready),
            impaired: watch
                .iter()
                .flat_map(|watch| &watch.impaired)
                .map(|part| text(part))
                .collect(),
            unaccounted_seconds: period.unaccounted_seconds,
            events_received: watch.map(|watch| watch.events_received),
            lost: period.lost,
            beyond_table: period.beyond_table,
            kernel_programs_sha256: watch.map(|watch| watch.kernel_programs_sha256),
            policy_sha256: watch.and_then(|watch| watch.policy_sha256),
            hops: period.hops.len(),
            coverage: Coverage::sum(period.hops.iter().map(|hop| hop.coverage)),
        }
    }
}

/// Every hop of every node.
pub(super) fn hops(periods: &[NodePeriod<'_>]) -> Vec<HopLine> {
    let of_node = |period: &NodePeriod<'_>| {
        let node = text(period.node.name());
        period.hops.iter().map(|hop| line(&node, hop)).collect::<Vec<_>>()
    };
    periods.iter().flat_map(of_node).collect()
}

fn line(node: &str, period: &HopPeriod<'_>) -> HopLine {
    let hop = period.hop;
    let count = |wanted: &dyn Fn(Security, Outcome) -> bool| -> u64 {
        let tallies = period.connections.iter();
        let tallies = tallies.filter(|tally| wanted(tally.security, tally.outcome));
        tallies.map(|tally| tally.connections).sum()
    };
    let has_failed = |outcome| matches!(outcome, Outcome::Rejected | Outcome::Failed);
    let is_worse = |security| security != Security::Unknown && rank(security) < rank(hop.security);
    let compliance = hop.compliance.as_ref();
    let is_unknown = hop.security == Security::Unknown || period.coverage.unknown > 0;
    let reason = hop.unknown_reasons.iter().max_by_key(|(_, count)| **count);
    HopLine {
        node: node.to_owned(),
        proxy: text(&hop.proxy),
        upstream: text(&hop.upstream),
        name: hop.name.as_deref().map(text),
        security: hop.security,
        client_auth: hop.client_auth,
        evidence: hop.evidence,
        server_verified: hop.server_verified,
        tls_version: hop.tls_version.as_ref().map(|version| text(version).into()),
        security_since: time::rfc3339(hop.security_since),
        last_seen: time::rfc3339(hop.last_seen),
        known_connections: period.coverage.known,
        unknown_connections: period.coverage.unknown,
        failed_connections: count(&|_, outcome| has_failed(outcome)),
        worse_connections: count(&|security, outcome| is_worse(security) && !has_failed(outcome)),
        reason: reason.map(|(reason, _)| *reason).filter(|_| is_unknown),
        compliance: compliance.map(|compliance| compliance.status),
        policy: compliance.map(|compliance| text(&compliance.policy)),
        violations: violations(hop.compliance.iter().flat_map(|all| &all.violations)),
    }
}

fn violations<'a>(
    all: impl Iterator<Item = &'a hopsight_posture::hops::context::HopViolation>,
) -> Vec<Rule> {
    let mut rules: Vec<_> = all.map(|violation| violation.rule).collect();
    rules.dedup();
    rules
}

/// The lower, the worse; unknown may be anything.
pub(super) const fn rank(security: Security) -> u8 {
    match security {
        Security::Plaintext => 0,
        Security::Unknown => 1,
        Security::Tls => 2,
        Security::Mtls => 3,
    }
}

/// Hops as somebody reads them who looks for what is wrong.
pub(super) fn worst_first(one: &HopLine, other: &HopLine) -> Ordering {
    let key = |hop: &HopLine| (rank(hop.security), std::cmp::Reverse(hop.violations.len()));
    let names = |hop: &HopLine| (hop.node.clone(), hop.proxy.clone(), hop.upstream.clone());
    key(one).cmp(&key(other)).then_with(|| names(one).cmp(&names(other)))
}

/// Connections of a hop that carried something, by grade.
pub(super) fn graded(period: &HopPeriod<'_>) -> impl Iterator<Item = (Security, Evidence, u64)> {
    let unknown = (Security::Unknown, Evidence::None, period.coverage.unknown);
    let known = period.connections.iter().filter(|tally| {
        tally.outcome == Outcome::Established && tally.security != Security::Unknown
    });
    let known = known.map(|tally| (tally.security, tally.evidence, tally.connections));
    known.chain(Some(unknown).filter(|(.., count)| *count > 0))
}

/// Hops that are exempt, at the end of the time.
pub(super) fn exemptions(periods: &[NodePeriod<'_>], to: f64) -> Vec<ExemptionLine> {
    let mut lines = Vec::new();
    for period in periods {
        for HopPeriod { hop, .. } in &period.hops {
            let compliance = hop.compliance.as_ref();
            let Some(exemption) = compliance.and_then(|compliance| compliance.exemption.as_ref())
            else {
                continue;
            };
            let until = i64::try_from(exemption.until).unwrap_or(i64::MAX);
            #[expect(clippy::cast_precision_loss, reason = "seconds of a date")]
            let has_ended = until as f64 <= to;
            lines.push(ExemptionLine {
                node: text(period.node.name()),
                proxy: text(&hop.proxy),
                upstream: text(&hop.upstream),
                exemption: text(&exemption.name),
                rules: exemption.rules.clone(),
                owner: text(&exemption.owner),
                reason: text(&exemption.reason),
                last_day: time::date(until.saturating_sub(1)),
                has_ended,
            });
        }
    }
    lines.sort_by(|one, other| one.last_day.cmp(&other.last_day));
    lines
}
