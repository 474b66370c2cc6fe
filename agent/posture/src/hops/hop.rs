//! One hop: what its connections said so far, and what it is now.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hopsight_core::{
    model::{Security, Timestamp, canonical},
    report::{ConnectionReport, Verdict},
    tls::certificate_facts::{CertificateAbsence, CertificateFacts},
};
use serde::{Deserialize, Serialize};

use super::{
    certificates::Certificates,
    context::HopContext,
    counts::Counts,
    cryptography::Cryptography,
    evaluation::Evaluation,
    fleet_view::FleetView,
    labels::OTHER,
    moment::Moment,
    older_sessions::OlderSessions,
    onward::ContinuesEncrypted,
    renewal::Renewal,
    server::{MAX_SERVERS, Server, forget_one, worst},
    share::Share,
    state::HopState,
    treatment::Treatment,
};
use crate::policy::{drift::Compliance, rules::Subject};

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
    /// Whether its plaintext goes on encrypted: the worst of the servers that are spoken to in the
    /// clear; absent while there is none, or nothing is known for one of them. Its state is plaintext
    /// all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continues_encrypted: Option<ContinuesEncrypted>,
    /// When the handshake was done that the hop's sessions rest on: the oldest of its treatments in use.
    /// Absent while none of them is TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated_at: Option<f64>,
    /// Sessions that go on, and that began before anybody watched; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_sessions: Option<OlderSessions>,
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
    /// What its connections were, in numbers.
    #[serde(flatten)]
    pub counts: Counts,
    /// What its connections used of cryptography.
    #[serde(default)]
    pub cryptography: Cryptography,
    /// The servers in use, [`MAX_SERVERS`] at most, each with its treatments and certificates; of an
    /// overflow hop the worst of all its upstreams.
    #[serde(default)]
    pub servers: Vec<Server>,
    /// Of the upstream's certificates in use the one with the smallest share of its lifetime left.
    pub server_certificate: Option<Arc<CertificateFacts>>,
    /// Of the proxy's certificates in use the one with the smallest share of its lifetime left.
    pub client_certificate: Option<Arc<CertificateFacts>>,
    /// Why there is no `server_certificate`, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_certificate_absent: Option<CertificateAbsence>,
    /// Why there is no `client_certificate`, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_absent: Option<CertificateAbsence>,
    /// Who sees it, of a fleet; absent of one agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetView>,
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
            continues_encrypted: None,
            authenticated_at: None,
            older_sessions: None,
            security_since: now.unix_seconds,
            first_seen: now.unix_seconds,
            last_seen: now.unix_seconds,
            heard: now.monotonic,
            last_verdict: verdict,
            counts: Counts::default(),
            cryptography: Cryptography::default(),
            servers: Vec::new(),
            server_certificate: None,
            client_certificate: None,
            server_certificate_absent: None,
            client_certificate_absent: None,
            fleet: None,
            context: HopContext::default(),
        }
    }

    /// Whether this hop stands for the upstreams beyond the table's limit.
    #[must_use]
    pub fn is_overflow(&self) -> bool {
        &*self.upstream == OTHER
    }

    /// Whether nothing was reported of it for so long.
    #[must_use]
    pub fn is_silent(&self, now: Timestamp, stands_for: Duration) -> bool {
        now.since(self.heard) > stands_for
    }

    /// What its newest report shows of a hop on which nothing has worked: how connections were
    /// protected that were refused, failed, or were accepted by nobody. The hop itself stays
    /// `unknown`, for nothing of it is in use.
    #[must_use]
    pub fn not_working(&self) -> Option<&Verdict> {
        let verdict = &self.last_verdict;
        let has_worked = self.is_overflow() || self.treatments().next().is_some();
        let is_unknown = self.state.security == Security::Unknown && !has_worked;
        (is_unknown && verdict.security != Security::Unknown).then_some(verdict)
    }

    /// Whether it is not what policy wants.
    pub(super) fn is_in_violation(&self) -> bool {
        let status = self.context.compliance.as_ref().map(|compliance| compliance.status);
        status == Some(Compliance::Violation)
    }

    /// The hop as policies look at it, once per server; not at all where it stands for many, of which
    /// each has another name.
    pub fn subjects(&self) -> impl Iterator<Item = Subject<'_>> {
        self.servers.iter().filter(|_| !self.is_overflow()).map(|server| Subject {
            proxy: &self.proxy,
            process: self.context.process.as_deref().unwrap_or(&self.proxy),
            upstream: self.context.name.as_deref().unwrap_or(&self.upstream),
            namespace: self.context.namespace(),
            address: server.address.ip(),
            port: server.address.port(),
        })
    }

    /// The same of the server of this address.
    #[must_use]
    pub fn subject_at(&self, server: SocketAddr) -> Option<Subject<'_>> {
        let is_meant = |one: &Subject<'_>| (one.address, one.port) == (server.ip(), server.port());
        self.subjects().find(is_meant)
    }

    /// Whether one of its servers has this address.
    #[must_use]
    pub fn is_to(&self, address: SocketAddr) -> bool {
        self.servers.iter().any(|server| server.address == canonical(address))
    }

    /// Takes a report in: the state follows every report, counts follow final ones.
    pub(super) fn record(
        &mut self,
        report: &ConnectionReport,
        evaluation: Evaluation,
        now: Moment,
        stands_for: Duration,
    ) -> [Option<Renewal>; 2] {
        self.last_seen = now.unix_seconds;
        self.heard = now.monotonic;
        self.last_verdict = report.verdict;
        let older = self.older_sessions.take();
        self.older_sessions = OlderSessions::after(older, report, &evaluation, now);
        let renewals = self.server(report, now).record(report, evaluation, now, stands_for);
        if self.servers.len() > MAX_SERVERS {
            forget_one(&mut self.servers);
        }
        self.judge(now, stands_for);
        if report.is_final {
            self.counts.record(report, now.unix_seconds);
            self.cryptography.record(report, now.unix_seconds);
        }
        renewals
    }

    /// Whether time alone may change what it is: something of it is not the newest of its kind.
    pub(super) fn may_change(&self) -> bool {
        let has_unknown = self.servers.iter().any(Server::is_unknown);
        self.treatments().nth(usize::from(!has_unknown)).is_some()
            || self.servers.iter().any(|server| server.certificates.may_change())
    }

    /// Whether treatments of different security are in use.
    #[must_use]
    pub fn is_mixed_security(&self) -> bool {
        let mut all = self.treatments().map(|treatment| treatment.security);
        all.next().is_some_and(|first| all.any(|other| other != first))
    }

    /// How much of the hop each kind of security in use has, worst first.
    #[must_use]
    pub fn shares(&self) -> Vec<Share> {
        Share::of(self.treatments())
    }

    /// The treatments in use, of all servers.
    pub fn treatments(&self) -> impl Iterator<Item = &Treatment> + Clone {
        self.servers.iter().flat_map(|server| &server.treatments)
    }

    /// Sets what is known of it beside its connections.
    pub fn describe(&mut self, context: HopContext, now: Moment, stands_for: Duration) {
        self.context = context;
        self.judge(now, stands_for);
    }

    /// Policy asks for something else of it: nothing is compliant before it was seen again.
    pub(super) fn reconsider(&mut self, now: Moment) {
        let treatments = self.servers.iter_mut().flat_map(|server| &mut server.treatments);
        treatments.for_each(Treatment::reconsider);
        self.conclude(now);
    }

    /// Forgets servers that are no longer behind the upstream's name, unless none would be left.
    pub fn retain_servers(
        &mut self,
        counts: impl Fn(&Server) -> bool,
        now: Moment,
        stands_for: Duration,
    ) {
        if self.servers.iter().any(|server| server.is_decided() && counts(server)) {
            self.servers.retain(counts);
            self.judge(now, stands_for);
        }
    }

    /// Drops what is out of use, and says what the hop is without it.
    pub fn judge(&mut self, now: Moment, stands_for: Duration) {
        if self.may_change() {
            self.retire(now.monotonic, stands_for);
        }
        self.older_sessions.take_if(|older| older.is_silent(now.monotonic, stands_for));
        self.conclude(now);
    }

    /// Says what the hop is by what is in use.
    pub(super) fn conclude(&mut self, now: Moment) {
        let before = self.state.security;
        // That those of many upstreams are protected that were seen says nothing about the others.
        let says_nothing = |state: &Arc<HopState>| state.security == Security::Mtls;
        let worst = worst(&self.servers.iter());
        match worst.filter(|worst| !self.is_overflow() || !says_nothing(worst)) {
            Some(worst) if *worst == *self.state => {}
            Some(worst) => self.state = worst,
            None if self.state.security == Security::Unknown => {}
            None => self.state = Arc::new(HopState::UNKNOWN),
        }
        self.note_change(before, now);
        self.choose_certificates(now);
        self.continues_encrypted = self.continues_encrypted();
        let authenticated = self.treatments().filter_map(|treatment| treatment.authenticated_at);
        self.authenticated_at = authenticated.min_by(f64::total_cmp);
        let Some(mut compliance) = self.context.compliance.take() else { return };
        let says = |treatment: &Treatment| treatment.compliance.unwrap_or(Compliance::Unknown);
        let unknown = self.servers.iter().filter(|server| server.is_unknown());
        let unknown = unknown.map(|_| Compliance::Unknown);
        compliance.evaluate(self.treatments().map(says).chain(unknown));
        self.context.compliance = Some(compliance);
    }

    fn continues_encrypted(&self) -> Option<ContinuesEncrypted> {
        let in_the_clear = self.servers.iter().filter(|server| server.has_plaintext());
        let known = in_the_clear.map(|server| Some(server.onward.as_ref()?.continues_encrypted));
        let all: Option<Vec<_>> = known.collect();
        let is_unknown = |one: &&ContinuesEncrypted| **one == ContinuesEncrypted::Unknown;
        let all = all?;
        all.iter().find(is_unknown).or(all.first()).copied()
    }

    /// How many treatments and certificates it has: what changes this is worth keeping at once.
    pub(super) fn parts(&self) -> usize {
        let parts = |server: &Server| {
            let Server { treatments, certificates, .. } = server;
            treatments.len() + certificates.server().count() + certificates.client().count()
        };
        self.servers.iter().map(parts).sum()
    }

    fn note_change(&mut self, before: Security, now: Moment) {
        if self.state.security != before {
            self.security_since = now.unix_seconds;
        }
    }

    fn retire(&mut self, now: Timestamp, stands_for: Duration) {
        let newest = self.treatments().map(Treatment::heard).max().unwrap_or_default();
        let configured = self.context.in_force();
        for server in &mut self.servers {
            server.retire(newest, now, stands_for, configured);
        }
        // A server without treatments that was decided once says nothing; one that never was has
        // its unknown connections.
        self.servers.retain(|server| server.is_decided() || now.since(server.heard) <= stands_for);
    }

    /// Of the certificates in use the ones with the smallest share of their lifetime left: one of an
    /// hour that is renewed in time ends first, and does not hide another that nobody renews.
    fn choose_certificates(&mut self, now: Moment) {
        let in_use = || self.servers.iter().map(|server| &server.certificates);
        let by_share = |one: &&Arc<CertificateFacts>, other: &&Arc<CertificateFacts>| {
            let share = |facts: &CertificateFacts| facts.share_left(now.unix_seconds);
            share(one).total_cmp(&share(other)).then(one.not_after.cmp(&other.not_after))
        };
        let server = in_use().flat_map(Certificates::server).min_by(by_share);
        let client = in_use().flat_map(Certificates::client).min_by(by_share);
        self.server_certificate = server.cloned();
        self.client_certificate = client.cloned();
        let absent = || self.servers.iter().map(|server| server.certificates.absent());
        let (server, client) =
            (absent().find_map(|(server, _)| server), absent().find_map(|(_, client)| client));
        self.server_certificate_absent = server.filter(|_| self.server_certificate.is_none());
        self.client_certificate_absent = client.filter(|_| self.client_certificate.is_none());
    }

    /// The server that the connection went to.
    fn server(&mut self, report: &ConnectionReport, now: Moment) -> &mut Server {
        let address = canonical(report.destination);
        let known = self.servers.iter().position(|server| server.address == address);
        let at = known.unwrap_or_else(|| {
            self.servers.push(Server::new(address, now));
            self.servers.len() - 1
        });
        &mut self.servers[at]
    }
}
