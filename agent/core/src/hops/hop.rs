//! One hop: what its connections said so far, and what it is now.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    labels::{OTHER, bounded_certificate, sanitised},
    server::{MAX_SERVERS, Server, worst},
    treatment::Treatment,
};
use crate::{
    hops::{
        context::HopContext,
        moment::Moment,
        state::{HopState, is_certain},
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

/// How much of a hop one kind of security has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// The kind.
    pub security: Security,
    /// Treatments of it, over all servers.
    pub treatments: usize,
    /// All treatments of the hop.
    pub of_treatments: usize,
    /// Finished connections treated so.
    pub connections: u64,
    /// All finished connections of treatments in use.
    pub of_connections: u64,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            security: Security::Unknown,
            treatments: 0,
            of_treatments: 0,
            connections: 0,
            of_connections: 0,
        }
    }
}

impl fmt::Display for Share {
    /// `tls: 1 of 2 treatments, 50 % of connections`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { security, treatments, of_treatments, connections, of_connections } = self;
        let percent = (connections * 100).checked_div(*of_connections).unwrap_or(0);
        write!(
            f,
            "{security}: {treatments} of {of_treatments} treatments, {percent} % of connections"
        )
    }
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
    /// What the hop is now: its worst treatment in use, of all its servers.
    #[serde(flatten)]
    pub state: Arc<HopState>,
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
    /// Handshakes that were rejected or failed by alert (by outcome where none was seen), and those
    /// that the server ended without accepting them.
    pub failures: BTreeMap<String, u64>,
    /// The servers in use, [`MAX_SERVERS`] at most, each with its treatments and certificates; none
    /// of an overflow hop.
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
    /// Of the upstream's certificates in use the one that ends first.
    pub server_certificate: Option<Arc<CertificateFacts>>,
    /// Of the proxy's certificates in use the one that ends first.
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
            state: Arc::new(HopState::UNKNOWN),
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

    /// Finished connections whose handshake was rejected, failed, or was ended by the server without
    /// being accepted.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Takes a report in: the state follows every report, counts follow final ones. `loaded_at` is
    /// when the configuration was loaded that the connection was opened with, where that is known.
    pub fn record(
        &mut self,
        report: &ConnectionReport,
        loaded_at: Option<f64>,
        now: Moment,
        stands_for: Duration,
    ) {
        self.last_seen = now.unix_seconds;
        self.heard = now.monotonic;
        self.last_verdict = report.verdict;
        if self.is_overflow() {
            let before = self.state.security;
            self.adopt_worst(report);
            self.note_change(before, now);
            self.note_certificates(report);
        } else {
            self.server(report, now).record(report, loaded_at, now);
            self.judge(now, stands_for);
        }
        if report.is_final {
            self.count(report, now.unix_seconds);
        }
    }

    /// Whether time alone may change what it is.
    #[must_use]
    pub fn is_mixed(&self) -> bool {
        self.treatments().nth(1).is_some()
    }

    /// Whether treatments of different security are in use.
    #[must_use]
    pub fn is_mixed_security(&self) -> bool {
        self.treatments().any(|treatment| treatment.security != self.state.security)
    }

    /// How much of the hop each kind of security in use has, worst first.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        let mut shares: Vec<Share> = Vec::new();
        let (mut treatments, mut connections) = (0, 0);
        for treatment in self.treatments() {
            treatments += 1;
            connections += treatment.connections;
            let known = shares.iter().position(|share| share.security == treatment.security);
            let at = known.unwrap_or_else(|| {
                shares.push(Share { security: treatment.security, ..Share::default() });
                shares.len() - 1
            });
            shares[at].treatments += 1;
            shares[at].connections += treatment.connections;
        }
        for share in &mut shares {
            (share.of_treatments, share.of_connections) = (treatments, connections);
        }
        shares.sort_by_key(|share| match share.security {
            Security::Plaintext => 0,
            Security::Tls => 1,
            Security::Mtls | Security::Unknown => 2,
        });
        shares
    }

    fn treatments(&self) -> impl Iterator<Item = &Treatment> {
        self.servers.iter().flat_map(|server| &server.treatments)
    }

    /// Sets what is known of it beside its connections.
    pub fn describe(&mut self, context: HopContext, now: Moment, stands_for: Duration) {
        self.context = context;
        self.judge(now, stands_for);
    }

    /// Forgets servers that are no longer behind the upstream's name, unless none would be left.
    pub fn retain_servers(
        &mut self,
        is_listed: impl Fn(SocketAddr) -> bool,
        now: Moment,
        stands_for: Duration,
    ) {
        if self.servers.iter().any(|server| server.is_decided() && is_listed(server.address)) {
            self.servers.retain(|server| is_listed(server.address));
            self.judge(now, stands_for);
        }
    }

    /// Drops what is out of use, and says what the hop is without it.
    pub fn judge(&mut self, now: Moment, stands_for: Duration) {
        let before = self.state.security;
        if self.is_mixed() {
            self.retire(now.monotonic, stands_for);
        }
        match worst(&self.servers) {
            Some(worst) if *worst == *self.state => {}
            Some(worst) => self.state = worst,
            None => self.state = Arc::new(HopState::UNKNOWN),
        }
        self.note_change(before, now);
        self.choose_certificates();
    }

    fn note_change(&mut self, before: Security, now: Moment) {
        if self.state.security != before {
            self.security_since = now.unix_seconds;
        }
    }

    fn retire(&mut self, now: Timestamp, stands_for: Duration) {
        let treatments = self.servers.iter().flat_map(|server| &server.treatments);
        let newest = treatments.map(Treatment::heard).max().unwrap_or_default();
        let configured = self.context.intent.as_ref().zip(self.context.loaded_at);
        for server in &mut self.servers {
            server.retire(newest, now, stands_for, configured);
        }
        // A server without treatments that was decided once says nothing; one that never was has
        // its unknown connections.
        self.servers.retain(|server| server.is_decided() || now.since(server.heard) <= stands_for);
    }

    /// Of the certificates in use the ones that end first: whoever renews has to begin there.
    fn choose_certificates(&mut self) {
        let in_use = self.servers.iter().map(|server| server.certificates.in_use());
        let (mut servers, mut clients) = (Vec::new(), Vec::new());
        for [server, client] in in_use {
            servers.extend(server);
            clients.extend(client);
        }
        let first = |all: Vec<&Arc<CertificateFacts>>| {
            all.into_iter().min_by_key(|facts| facts.not_after).cloned()
        };
        self.server_certificate = first(servers);
        self.client_certificate = first(clients);
    }

    /// The server that the connection went to.
    fn server(&mut self, report: &ConnectionReport, now: Moment) -> &mut Server {
        let address = canonical(report.destination);
        let known = self.servers.iter().position(|server| server.address == address);
        let at = known.unwrap_or_else(|| {
            if self.servers.len() >= MAX_SERVERS {
                // What is not protected must not disappear behind many that are.
                let useful = |(_, server): &(usize, &Server)| {
                    let is_weak = matches!(server.security, Security::Plaintext | Security::Tls);
                    (is_weak, server.heard)
                };
                let least = self.servers.iter().enumerate().min_by_key(useful);
                if let Some((least, _)) = least {
                    self.servers.swap_remove(least);
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
            let standing = HopState::of(report, None);
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
        if let Some(reason) = failure_reason(report) {
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

/// What a handshake ended in that did not work: the alert's name, or the outcome where no alert was
/// seen.
fn failure_reason(report: &ConnectionReport) -> Option<Word> {
    let Verdict { outcome, reason, .. } = report.verdict;
    match (outcome, reason, &report.alert) {
        (Outcome::Rejected | Outcome::Failed, _, Some(alert)) => Some(label(&alert.description)),
        (Outcome::Rejected | Outcome::Failed, _, None) => Some(outcome.as_str().into()),
        (Outcome::Incomplete, Some(Reason::Unaccepted), _) => {
            Some(Reason::Unaccepted.as_str().into())
        }
        _ => None,
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
