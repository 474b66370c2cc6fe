//! One hop: what its connections said so far, and what it is now.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    hop_context::HopContext,
    labels::{self, OTHER, bounded_certificate},
    server::{MAX_SERVERS, Server, worst},
    standing::{Standing, is_certain},
    time::Moment,
};
use crate::{
    model::{ClientAuth, Evidence, Outcome, Reason, Security, Timestamp},
    report::{AlertFacts, CertificateFacts, ConnectionReport, Verdict},
};

/// Distinct (version, cipher) pairs and distinct failure reasons kept per hop; more are counted
/// under [`OTHER`].
pub const MAX_VARIANTS: usize = 16;

/// Connections counted under one combination of verdict words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How they were protected.
    pub security: Security,
    /// What the client did about client authentication.
    pub client_auth: ClientAuth,
    /// What the verdicts rest on.
    pub evidence: Evidence,
    /// How their handshakes ended.
    pub outcome: Outcome,
    /// How many connections.
    pub connections: u64,
}

/// Connections counted under one negotiated protocol version and cipher suite.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// Protocol version, such as `1.3`.
    pub version: String,
    /// IANA cipher suite name; `unknown` where it was not seen.
    pub cipher: String,
    /// How many connections.
    pub connections: u64,
}

/// Alerts of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertTally {
    /// Who sent them: `client` or `server`.
    pub from: String,
    /// RFC 8446 section 6 name.
    pub alert: String,
    /// How many.
    pub count: u64,
}

/// The last alert of a hop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastAlert {
    /// What it was.
    #[serde(flatten)]
    pub alert: AlertFacts,
    /// When it was reported, seconds since the Unix epoch.
    pub at: f64,
}

/// One hop: (proxy, upstream), the unit operators act on. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hop {
    /// The proxy: `namespace/workload` of a pod, or a process name.
    pub proxy: Arc<str>,
    /// The upstream: its name in the configuration or as a service, or `ip:port`; [`OTHER`] stands
    /// for the upstreams beyond the table's limit.
    pub upstream: Arc<str>,
    /// What the hop is now: the worst of its servers that are in use.
    #[serde(flatten)]
    pub state: Standing,
    /// Since when `security` has its value.
    pub security_since: f64,
    /// First report.
    pub first_seen: f64,
    /// Last report.
    pub last_seen: f64,
    /// The same on the clock that ages are reckoned in.
    #[serde(skip)]
    pub(super) heard: Timestamp,
    /// Verdict of the newest report, certain or not.
    pub last_verdict: Verdict,
    /// Finished connections by verdict.
    pub connections: Vec<Tally>,
    /// Finished connections whose `security` is `unknown`, by reason.
    pub unknown_reasons: BTreeMap<Reason, u64>,
    /// Rejected and failed handshakes by alert; by outcome where no alert was seen.
    pub failures: BTreeMap<String, u64>,
    /// The addresses behind the upstream, [`MAX_SERVERS`] at most; none of an overflow hop.
    #[serde(default)]
    pub servers: Vec<Server>,
    /// Alerts by sender and description.
    pub alerts: Vec<AlertTally>,
    /// Finished connections by what was negotiated.
    pub negotiated: Vec<Negotiated>,
    /// Finished connections that resumed a session.
    pub resumed_connections: u64,
    /// Finished connections of which it is known whether they resumed a session.
    pub resumption_known: u64,
    /// The last alert.
    pub last_alert: Option<LastAlert>,
    /// The upstream's certificate as last seen, while the hop uses TLS.
    pub server_certificate: Option<CertificateFacts>,
    /// The proxy's certificate as last seen, unless the hop now works without it.
    pub client_certificate: Option<CertificateFacts>,
    /// What is known of it beside its connections.
    #[serde(flatten)]
    pub context: HopContext,
}

impl Hop {
    /// A hop without connections, first seen at `now`.
    #[must_use]
    pub fn new(proxy: Arc<str>, upstream: Arc<str>, verdict: Verdict, now: Moment) -> Self {
        Self {
            proxy,
            upstream,
            state: Standing::UNKNOWN,
            security_since: now.unix_seconds,
            first_seen: now.unix_seconds,
            last_seen: now.unix_seconds,
            heard: now.monotonic,
            last_verdict: verdict,
            connections: Vec::new(),
            unknown_reasons: BTreeMap::new(),
            failures: BTreeMap::new(),
            servers: Vec::new(),
            alerts: Vec::new(),
            negotiated: Vec::new(),
            resumed_connections: 0,
            resumption_known: 0,
            last_alert: None,
            server_certificate: None,
            client_certificate: None,
            context: HopContext::default(),
        }
    }

    /// Whether this hop stands for the upstreams beyond the table's limit.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        &*self.upstream == OTHER
    }

    /// Whether one of its servers has this address.
    #[must_use]
    pub fn is_to(&self, address: SocketAddr) -> bool {
        let address = labels::address(address);
        self.servers.iter().any(|server| server.address == address)
    }

    /// Finished connections whose verdict satisfies `wanted`.
    #[must_use]
    pub fn count_of(&self, wanted: impl Fn(&Tally) -> bool) -> u64 {
        self.connections.iter().filter(|tally| wanted(tally)).map(|tally| tally.connections).sum()
    }

    /// Takes a report in: the state follows every report, counts follow final ones.
    pub fn record(&mut self, report: &ConnectionReport, now: Moment) {
        self.last_seen = now.unix_seconds;
        self.heard = now.monotonic;
        self.last_verdict = report.verdict;
        let before = self.state.security;
        if self.is_overflow() {
            self.adopt_worst(report);
        } else {
            self.server(report, now).record(report, now);
            self.state.clone_from(worst(&self.servers));
        }
        if self.state.security != before {
            self.security_since = now.unix_seconds;
        }
        self.note_certificates(report);
        if report.is_final {
            self.count(report, now.unix_seconds);
        }
    }

    /// The server that the connection went to.
    fn server(&mut self, report: &ConnectionReport, now: Moment) -> &mut Server {
        let address = labels::upstream(report);
        let known = self.servers.iter().position(|server| server.address == address);
        let at = known.unwrap_or_else(|| {
            if self.servers.len() >= MAX_SERVERS {
                let heard = |(_, server): &(usize, &Server)| server.heard;
                let stalest = self.servers.iter().enumerate().min_by_key(heard);
                if let Some((stalest, _)) = stalest {
                    self.servers.swap_remove(stalest);
                }
            }
            self.servers.push(Server::new(address, now));
            self.servers.len() - 1
        });
        &mut self.servers[at]
    }

    /// A hop that stands for many upstreams shows the worst of them, and never `mtls`: that one
    /// of many is protected says nothing about the others.
    fn adopt_worst(&mut self, report: &ConnectionReport) {
        let replaces = match report.verdict.security {
            Security::Plaintext => true,
            Security::Tls => self.state.security != Security::Plaintext,
            Security::Mtls | Security::Unknown => false,
        };
        if replaces && is_certain(&report.verdict) {
            self.state = Standing::of(report, &Standing::UNKNOWN);
        }
    }

    /// Keeps the newest certificates, also of refused handshakes (an expired certificate is seen
    /// exactly there), and drops those a certain state shows to be out of use.
    fn note_certificates(&mut self, report: &ConnectionReport) {
        if is_certain(&report.verdict) {
            if report.verdict.security != Security::Mtls {
                self.client_certificate = None;
            }
            if report.verdict.security == Security::Plaintext {
                self.server_certificate = None;
            }
        }
        if let Some(facts) = &report.server_certificate {
            self.server_certificate = Some(bounded_certificate(facts));
        }
        if let Some(facts) = &report.client_certificate {
            self.client_certificate = Some(bounded_certificate(facts));
        }
    }

    fn count(&mut self, report: &ConnectionReport, now: f64) {
        let verdict = &report.verdict;
        tally(&mut self.connections, *verdict);
        if let (Security::Unknown, Some(reason)) = (verdict.security, verdict.reason) {
            *self.unknown_reasons.entry(reason).or_default() += 1;
        }
        if matches!(verdict.outcome, Outcome::Rejected | Outcome::Failed) {
            let reason = failure_reason(report);
            let full = self.failures.len() >= MAX_VARIANTS && !self.failures.contains_key(&reason);
            *self.failures.entry(if full { OTHER.into() } else { reason }).or_default() += 1;
        }
        if let Some(version) = &report.tls_version {
            let cipher = report.cipher.as_deref().unwrap_or("unknown");
            count_negotiated(&mut self.negotiated, &labels::label(version), &labels::label(cipher));
        }
        if let Some(resumed) = report.resumed {
            self.resumption_known += 1;
            self.resumed_connections += u64::from(resumed);
        }
        if let Some(alert) = &report.alert {
            let (from, description) =
                (labels::label(&alert.from), labels::label(&alert.description));
            count_alert(&mut self.alerts, &from, &description);
            self.last_alert = Some(LastAlert {
                alert: AlertFacts {
                    from: from.to_string(),
                    description: description.to_string(),
                    code: alert.code,
                },
                at: now,
            });
        }
    }
}

/// The alert's name, or the outcome where no alert was seen.
fn failure_reason(report: &ConnectionReport) -> String {
    let outcome = report.verdict.outcome.as_str();
    labels::label(report.alert.as_ref().map_or(outcome, |alert| &alert.description)).to_string()
}

fn tally(tallies: &mut Vec<Tally>, verdict: Verdict) {
    let Verdict { security, client_auth, evidence, outcome, .. } = verdict;
    let words = (security, client_auth, evidence, outcome);
    let same = |t: &&mut Tally| (t.security, t.client_auth, t.evidence, t.outcome) == words;
    match tallies.iter_mut().find(same) {
        Some(tally) => tally.connections += 1,
        None => tallies.push(Tally { security, client_auth, evidence, outcome, connections: 1 }),
    }
}

fn count_negotiated(all: &mut Vec<Negotiated>, version: &str, cipher: &str) {
    let known = all.iter().any(|n| n.version == version && n.cipher == cipher);
    let (version, cipher) =
        if known || all.len() < MAX_VARIANTS { (version, cipher) } else { (OTHER, OTHER) };
    match all.iter_mut().find(|n| n.version == version && n.cipher == cipher) {
        Some(same) => same.connections += 1,
        None => {
            all.push(Negotiated { version: version.into(), cipher: cipher.into(), connections: 1 });
        }
    }
}

fn count_alert(all: &mut Vec<AlertTally>, from: &str, alert: &str) {
    let known = all.iter().any(|a| a.from == from && a.alert == alert);
    let (from, alert) =
        if known || all.len() < MAX_VARIANTS { (from, alert) } else { (OTHER, OTHER) };
    match all.iter_mut().find(|a| a.from == from && a.alert == alert) {
        Some(same) => same.count += 1,
        None => all.push(AlertTally { from: from.into(), alert: alert.into(), count: 1 }),
    }
}
