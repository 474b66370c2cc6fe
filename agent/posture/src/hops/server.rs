//! One address behind an upstream's name.

use std::{cmp::Reverse, net::SocketAddr, sync::Arc, time::Duration};

use hopsight_core::{
    model::{Security, ServerVerified, Timestamp},
    report::ConnectionReport,
};
use serde::{Deserialize, Serialize};

use super::{
    certificates::Certificates,
    context::IntentSummary,
    evaluation::Evaluation,
    moment::Moment,
    onward::Onward,
    renewal::Renewal,
    state::{HopState, is_certain, is_in_the_dark},
    treatment::{Treatment, TreatmentKey, verification_rank},
    turns::Asking,
};
use crate::policy::drift::Compliance;

/// Servers kept apart per hop; beyond that the least useful is forgotten: the better treated before
/// the worse, and of equals the one that was silent for longest.
pub const MAX_SERVERS: usize = 64;

/// One server of an upstream. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `ip:port` the proxy connects to.
    pub address: SocketAddr,
    /// The worst of its treatments in use.
    pub security: Security,
    /// Last report.
    pub last_seen: f64,
    /// How the proxy speaks to it, those in use.
    #[serde(default)]
    pub treatments: Vec<Treatment>,
    /// What takes plaintext connections to it further; absent where nothing is known that would
    /// encrypt them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onward: Option<Onward>,
    /// Certificates in use with it.
    #[serde(default)]
    pub certificates: Certificates,
    /// [`Server::last_seen`] on the clock that ages are reckoned in.
    #[serde(skip)]
    pub(super) heard: Timestamp,
    /// Whether it asks for client certificates, over time.
    #[serde(skip)]
    pub(super) asking: Asking,
    /// When the newest connection was that works, and of which nobody knows how it is protected, if
    /// no certain one came after it.
    #[serde(skip)]
    pub(super) unknown_heard: Option<Timestamp>,
}

impl Server {
    /// A server without connections.
    #[must_use]
    pub fn new(address: SocketAddr, now: Moment) -> Self {
        Self {
            address,
            security: Security::Unknown,
            last_seen: now.unix_seconds,
            treatments: Vec::new(),
            onward: None,
            certificates: Certificates::default(),
            heard: now.monotonic,
            asking: Asking::default(),
            unknown_heard: None,
        }
    }

    /// Takes a report in. What a connection said before its last report it may take back: one that
    /// is refused after all, or found to be uncertain, vouches for nothing.
    /// `stands_for` is how long counts what nobody sees. Says of both sides whether it renewed its
    /// certificate.
    pub(super) fn record(
        &mut self,
        report: &ConnectionReport,
        evaluation: Evaluation,
        now: Moment,
        stands_for: Duration,
    ) -> [Option<Renewal>; 2] {
        self.last_seen = now.unix_seconds;
        self.heard = now.monotonic;
        let renewals = self.certificates.record(report, &evaluation, now);
        self.treatments.retain_mut(|treatment| treatment.withdraw(report.connection));
        let is_certain = is_certain(&report.verdict);
        if is_certain {
            self.asking.record(report, now.monotonic);
            self.unknown_heard = None;
        } else if report.is_final && is_in_the_dark(report.verdict) {
            self.unknown_heard = Some(now.monotonic);
        }
        let is_told = self.is_known_so_far(report) || self.is_unread(report, &evaluation, now);
        if is_certain && !is_told {
            let state = HopState::of(report, self.verified_before(report));
            let key = TreatmentKey::of(&state);
            let known = self.treatments.iter().position(|treatment| treatment.key() == key);
            let at = known.unwrap_or_else(|| {
                self.treatments.push(Treatment::new(Arc::new(state.clone()), now));
                self.treatments.len() - 1
            });
            let treatment = &mut self.treatments[at];
            let state = match treatment.state() {
                Some(same) if **same == state => same.clone(),
                _ => Arc::new(state),
            };
            treatment.record(report, state, &evaluation, now, stands_for);
            if report.verdict.security == Security::Plaintext {
                self.onward = evaluation.onward;
            }
        }
        self.judge();
        renewals
    }

    /// Whether a connection that is not over says nothing new so far: whether it verifies is told
    /// at its end, and the rest is known.
    fn is_known_so_far(&self, report: &ConnectionReport) -> bool {
        let verdict = &report.verdict;
        let alike = |treatment: &Treatment| {
            (treatment.security, treatment.client_auth) == (verdict.security, verdict.client_auth)
        };
        !report.is_final
            && verdict.server_verified == ServerVerified::Unknown
            && self.treatments.iter().any(alike)
    }

    /// Whether nobody could see how this handshake verified, while that is known of those before: it was
    /// seen a while ago and is configured so, or it was known before a restart that was just now.
    fn is_unread(&self, report: &ConnectionReport, evaluation: &Evaluation, now: Moment) -> bool {
        let verdict = report.verdict;
        let is_unseen =
            verdict.server_verified == ServerVerified::Unknown && report.resumed != Some(true);
        let stands_in =
            |treatment: &Treatment| treatment.stands_in(verdict, evaluation, now.monotonic);
        is_unseen && self.treatments.iter().any(stands_in)
    }

    /// The state whose answer on verification a resumed connection goes on with: a resumption
    /// verifies no certificate.
    fn verified_before(&self, report: &ConnectionReport) -> Option<&HopState> {
        let verdict = &report.verdict;
        let alike = self.treatments.iter().filter(|treatment| {
            (treatment.security, treatment.client_auth) == (verdict.security, verdict.client_auth)
        });
        let newest = alike.max_by_key(|treatment| treatment.heard())?;
        newest.state().map(|state| &**state)
    }

    /// Drops the treatments and certificates that are out of use.
    ///
    /// The newest treatment of the hop stays, whatever its age: a hop that is not used is what it
    /// was. `configured` is the configuration that runs now and when it was loaded.
    pub(super) fn retire(
        &mut self,
        newest: Timestamp,
        now: Timestamp,
        stands_for: Duration,
        configured: Option<(&IntentSummary, f64)>,
    ) {
        self.certificates.retire(now, stands_for);
        self.unknown_heard.take_if(|heard| now.since(*heard) > stands_for);
        let (all, asking) = (&self.treatments, &self.asking);
        let is_gone = |treatment: &Treatment| {
            treatment.heard() < newest
                && treatment.is_gone(all, now, stands_for, configured, asking)
        };
        if !all.iter().any(is_gone) {
            return;
        }
        let gone: Vec<bool> = all.iter().map(is_gone).collect();
        let mut gone = gone.into_iter();
        self.treatments.retain(|_| gone.next() != Some(true));
        if self.is_decided() {
            let has = |security| self.treatments.iter().any(|one| one.security == security);
            if !has(Security::Mtls) {
                self.certificates.forget_client();
            }
            if !has(Security::Mtls) && !has(Security::Tls) {
                self.certificates.forget();
            }
        }
        self.judge();
    }

    /// Puts a treatment back that was kept.
    pub(super) fn restore(&mut self, treatment: Treatment) {
        if self.treatments.iter().all(|known| known.key() != treatment.key()) {
            self.treatments.push(treatment);
            self.judge();
        }
    }

    /// Whether it has a say in what the hop is.
    pub(super) const fn is_decided(&self) -> bool {
        !self.treatments.is_empty()
    }

    /// Whether it is in use and nothing certain is known of it. One connection that was lost or not
    /// recognised beside certain ones says nothing.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        self.treatments.is_empty() && self.unknown_heard.is_some()
    }

    /// What decides who is forgotten for another: the higher, the sooner.
    fn spare(&self) -> (bool, (u8, u8, u8), Reverse<Timestamp>) {
        let is_in_violation = |one: &Treatment| one.compliance == Some(Compliance::Violation);
        let worst = self.treatments.iter().map(|one| one.key().rank()).min();
        let is_good = !self.treatments.iter().any(is_in_violation);
        (is_good, worst.unwrap_or((u8::MAX, 0, 0)), Reverse(self.heard))
    }

    /// Whether connections to it in the clear are in use.
    pub(super) fn has_plaintext(&self) -> bool {
        self.security == Security::Plaintext
    }

    fn judge(&mut self) {
        self.treatments.sort_by_key(Treatment::order);
        self.security = self.treatments.first().map_or(Security::Unknown, |worst| worst.security);
    }
}

/// What a hop with these servers is: its worst treatment, with the worst answer on verification of
/// all. `None` while nothing is certain, or a server of which nothing is known may be worse than all
/// others, which are mutual.
pub fn worst<'s>(servers: &(impl Iterator<Item = &'s Server> + Clone)) -> Option<Arc<HopState>> {
    let treatments = || servers.clone().flat_map(|server| &server.treatments);
    let worst = treatments().min_by_key(|treatment| treatment.order())?.state()?;
    let has_unknown = servers.clone().any(Server::is_unknown);
    if has_unknown && worst.security == Security::Mtls {
        return None;
    }
    let tls = treatments().filter(|treatment| treatment.security != Security::Plaintext);
    let verified = tls
        .map(|treatment| treatment.server_verified)
        .chain(has_unknown.then_some(ServerVerified::Unknown))
        .min_by_key(|answer| verification_rank(*answer))
        .unwrap_or(ServerVerified::Unknown);
    if worst.security == Security::Plaintext || worst.server_verified == verified {
        return Some(worst.clone());
    }
    Some(Arc::new(HopState { server_verified: verified, ..(**worst).clone() }))
}

/// Forgets one of them: the least useful without which the hop is what it is, if there is one.
pub(super) fn forget_one(servers: &mut Vec<Server>) {
    let all = worst(&servers.iter()).map(|state| TreatmentKey::of(&state));
    let changes_nothing = |at: usize| {
        let others = servers.iter().enumerate().filter(|(other, _)| *other != at);
        let left = worst(&others.map(|(_, server)| server));
        left.map(|state| TreatmentKey::of(&state)) == all
    };
    let mut order: Vec<usize> = (0..servers.len()).collect();
    order.sort_by_key(|at| Reverse(servers[*at].spare()));
    let gone = order.iter().copied().find(|at| changes_nothing(*at)).or(order.first().copied());
    if let Some(gone) = gone {
        servers.swap_remove(gone);
    }
}
