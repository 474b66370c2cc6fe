//! One hop: what its connections said so far, and what it is now.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    labels::{OTHER, bounded_certificate, sanitised},
    server::{MAX_SERVERS, Server, worst},
};
use crate::{
    hops::{
        context::HopContext,
        moment::Moment,
        state::{Standing, is_certain},
    },
    model::{ClientAuth, Evidence, Outcome, Reason, Security, Timestamp, Word, canonical},
    report::{AlertFacts, ConnectionReport, Verdict},
    tls::certificate_facts::CertificateFacts,
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
    pub version: Word,
    /// IANA cipher suite name; `unknown` where it was not seen.
    pub cipher: Word,
    /// How many connections.
    pub connections: u64,
}

/// Alerts of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertTally {
    /// Who sent them: `client` or `server`.
    pub from: Word,
    /// RFC 8446 section 6 name.
    pub alert: Word,
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
    pub state: Arc<Standing>,
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
    pub server_certificate: Option<Arc<CertificateFacts>>,
    /// The proxy's certificate as last seen, unless the hop now works without it.
    pub client_certificate: Option<Arc<CertificateFacts>>,
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
            state: Arc::new(Standing::UNKNOWN),
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
        self.servers.iter().any(|server| server.address == canonical(address))
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
            match worst(&self.servers) {
                Some(worst) => self.state.clone_from(worst),
                None => self.state = Arc::new(Standing::UNKNOWN),
            }
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
        let address = canonical(report.destination);
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
            let standing = Standing::of(report, &Standing::UNKNOWN);
            if *self.state != standing {
                self.state = Arc::new(standing);
            }
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
        note_certificate(&mut self.server_certificate, report.server_certificate.as_ref());
        note_certificate(&mut self.client_certificate, report.client_certificate.as_ref());
    }

    fn count(&mut self, report: &ConnectionReport, now: f64) {
        let verdict = &report.verdict;
        tally(&mut self.connections, *verdict);
        if let (Security::Unknown, Some(reason)) = (verdict.security, verdict.reason) {
            *self.unknown_reasons.entry(reason).or_default() += 1;
        }
        if matches!(verdict.outcome, Outcome::Rejected | Outcome::Failed) {
            let reason = failure_reason(report);
            let full = self.failures.len() >= MAX_VARIANTS && !self.failures.contains_key(&*reason);
            let reason = if full { OTHER } else { &reason };
            if let Some(count) = self.failures.get_mut(reason) {
                *count += 1;
            } else {
                self.failures.insert(reason.to_owned(), 1);
            }
        }
        if let Some(version) = &report.tls_version {
            let cipher = report.cipher.as_ref().unwrap_or(const { &Word::Borrowed("unknown") });
            count_negotiated(&mut self.negotiated, label(version), label(cipher));
        }
        if let Some(resumed) = report.resumed {
            self.resumption_known += 1;
            self.resumed_connections += u64::from(resumed);
        }
        if let Some(alert) = &report.alert {
            let (from, description) = (label(&alert.from), label(&alert.description));
            count_alert(&mut self.alerts, from.clone(), description.clone());
            let alert = AlertFacts { from, description, code: alert.code };
            self.last_alert = Some(LastAlert { alert, at: now });
        }
    }
}

/// The alert's name, or the outcome where no alert was seen.
fn failure_reason(report: &ConnectionReport) -> Word {
    match &report.alert {
        Some(alert) => label(&alert.description),
        None => report.verdict.outcome.as_str().into(),
    }
}

/// A word as label value. Our own are label values already.
fn label(word: &Word) -> Word {
    match word {
        Word::Borrowed(ours) => Word::Borrowed(*ours),
        Word::Owned(read) => sanitised(read).into_owned().into(),
    }
}

/// Shares the facts, or keeps a bounded copy where they are not bounded.
fn note_certificate(
    noted: &mut Option<Arc<CertificateFacts>>,
    seen: Option<&Arc<CertificateFacts>>,
) {
    let Some(seen) = seen else { return };
    if noted.as_ref().is_some_and(|noted| Arc::ptr_eq(noted, seen) || noted == seen) {
        return;
    }
    let bounded = bounded_certificate(seen);
    *noted = Some(if bounded == **seen { seen.clone() } else { Arc::new(bounded) });
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

fn count_negotiated(all: &mut Vec<Negotiated>, version: Word, cipher: Word) {
    let known = all.iter().any(|n| n.version == version && n.cipher == cipher);
    let (version, cipher) = if known || all.len() < MAX_VARIANTS {
        (version, cipher)
    } else {
        (OTHER.into(), OTHER.into())
    };
    match all.iter_mut().find(|n| n.version == version && n.cipher == cipher) {
        Some(same) => same.connections += 1,
        None => all.push(Negotiated { version, cipher, connections: 1 }),
    }
}

fn count_alert(all: &mut Vec<AlertTally>, from: Word, alert: Word) {
    let known = all.iter().any(|a| a.from == from && a.alert == alert);
    let (from, alert) = if known || all.len() < MAX_VARIANTS {
        (from, alert)
    } else {
        (OTHER.into(), OTHER.into())
    };
    match all.iter_mut().find(|a| a.from == from && a.alert == alert) {
        Some(same) => same.count += 1,
        None => all.push(AlertTally { from, alert, count: 1 }),
    }
}
