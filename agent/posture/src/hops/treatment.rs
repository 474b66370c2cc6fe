//! How a proxy speaks to one server of an upstream.
//!
//! A hop is as good as its worst treatment in use, so a treatment stays until it is known to be
//! gone: the newest connection decides nothing. Two routes to one upstream, one with a client
//! certificate and one without, are two treatments for as long as both may be taken.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use hopsight_core::{
    model::{ClientAuth, ConnectionId, Security, ServerVerified, Timestamp},
    report::{ConnectionReport, Verdict},
};
use serde::{Deserialize, Serialize};

use super::{
    authentication::Authentication, context::IntentSummary, evaluation::Evaluation, moment::Moment,
    state::HopState, turns::Asking,
};
use crate::policy::{
    drift::Compliance,
    intent::{Scheme, Stated},
};

/// Connections at most that vouch for a treatment before their last report.
const MAX_PENDING: usize = 32;

/// An answer to "was the upstream's certificate checked" that could not be seen stands beside one
/// that was for this long: the first handshakes of a proxy are over before its library is read.
const UNSEEN_STANDS_FOR: Duration = Duration::from_mins(5);

/// After a restart of the agent it takes a while until the library of a proxy is read: for this long
/// an answer from before it stands where the new one could not be seen.
const UNREAD_FOR: Duration = Duration::from_mins(1);

/// While a proxy reloads, its old and new workers open connections side by side, and so do those of a
/// server answer them. What was caused by what is no longer so is gone once nobody has seen it for
/// this long.
const SETTLE: Duration = Duration::from_secs(5);

/// What tells the treatments of one server apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TreatmentKey {
    /// How connections are protected.
    pub security: Security,
    /// What the proxy does about client authentication.
    pub client_auth: ClientAuth,
    /// Whether it checks the server's certificate.
    pub server_verified: ServerVerified,
}

impl TreatmentKey {
    /// The treatment that a state shows.
    #[must_use]
    pub fn of(state: &HopState) -> Self {
        Self {
            security: state.security,
            client_auth: state.client_auth,
            server_verified: state.server_verified,
        }
    }

    /// The lower, the worse: by security, then by client authentication, then by verification.
    #[must_use]
    pub const fn rank(self) -> (u8, u8, u8) {
        let client_auth = match self.client_auth {
            ClientAuth::RequestedNotPresented => 0,
            ClientAuth::NotRequested => 1,
            ClientAuth::Unknown => 2,
            ClientAuth::Presented => 3,
        };
        (security_rank(self.security), client_auth, verification_rank(self.server_verified))
    }
}

/// The lower, the worse. Unknown security makes no treatment.
pub(super) const fn security_rank(security: Security) -> u8 {
    match security {
        Security::Plaintext => 0,
        Security::Tls => 1,
        Security::Mtls => 2,
        Security::Unknown => 3,
    }
}

/// The lower, the worse.
pub(super) const fn verification_rank(answer: ServerVerified) -> u8 {
    match answer {
        ServerVerified::No => 0,
        ServerVerified::Unknown => 1,
        ServerVerified::Yes => 2,
    }
}

/// One treatment. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Treatment {
    /// How connections are protected.
    pub security: Security,
    /// What the proxy does about client authentication.
    pub client_auth: ClientAuth,
    /// Whether it checks the server's certificate.
    pub server_verified: ServerVerified,
    /// Finished connections.
    pub connections: u64,
    /// First report.
    pub first_seen: f64,
    /// Last report.
    pub last_seen: f64,
    /// When the configuration was loaded that its newest connection was opened with, where that is
    /// known.
    pub loaded_at: Option<f64>,
    /// When the oldest handshake was that its connections of the last minutes rest on; absent for clear
    /// text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticated_at: Option<f64>,
    /// What its connections say about the hop; absent where none was evaluated.
    #[serde(default)]
    pub compliance: Option<Compliance>,
    /// When a connection was last exempt.
    #[serde(skip)]
    exempt_heard: Option<Timestamp>,
    /// [`Treatment::last_seen`] on the clock that ages are reckoned in.
    #[serde(skip)]
    heard: Timestamp,
    /// What its newest connection showed.
    #[serde(skip)]
    state: Option<Arc<HopState>>,
    /// When that connection was decided.
    #[serde(skip)]
    decided_at: Timestamp,
    #[serde(skip)]
    authentication: Authentication,
    /// Connections that vouch for it and have not had their last report.
    #[serde(skip)]
    pending: Vec<ConnectionId>,
    /// A connection has vouched for it with its last report.
    #[serde(skip)]
    is_settled: bool,
    /// When the agent went on with it after a restart.
    #[serde(skip)]
    restored_at: Option<Timestamp>,
}

impl Treatment {
    /// A treatment that nothing vouches for yet.
    #[must_use]
    pub fn new(state: Arc<HopState>, now: Moment) -> Self {
        let TreatmentKey { security, client_auth, server_verified } = TreatmentKey::of(&state);
        Self {
            security,
            client_auth,
            server_verified,
            connections: 0,
            first_seen: now.unix_seconds,
            last_seen: now.unix_seconds,
            loaded_at: None,
            authenticated_at: None,
            compliance: None,
            exempt_heard: None,
            heard: now.monotonic,
            state: Some(state),
            decided_at: Timestamp::default(),
            authentication: Authentication::default(),
            pending: Vec::new(),
            is_settled: false,
            restored_at: None,
        }
    }

    /// What tells it apart.
    #[must_use]
    pub const fn key(&self) -> TreatmentKey {
        TreatmentKey {
            security: self.security,
            client_auth: self.client_auth,
            server_verified: self.server_verified,
        }
    }

    /// What its newest connection showed; `None` where it was read from JSON.
    #[must_use]
    pub const fn state(&self) -> Option<&Arc<HopState>> {
        self.state.as_ref()
    }

    /// When it was last seen, on the clock that ages are reckoned in.
    #[must_use]
    pub const fn heard(&self) -> Timestamp {
        self.heard
    }

    /// Whether it rests on what no connection takes back.
    pub(super) const fn is_settled(&self) -> bool {
        self.is_settled || matches!(self.security, Security::Plaintext)
    }

    /// The same after a restart at `now`: what was read from JSON, with the `state` that its newest
    /// connection showed, last seen at `heard`. `None` if that does not fit, or it is mutual and connections
    /// vouched for it that may take it back: the agent that would hear of that is gone. What is worse
    /// is believed.
    pub(super) fn restored(
        self,
        state: Arc<HopState>,
        heard: Timestamp,
        is_settled: bool,
        set_by: f64,
        now: Timestamp,
    ) -> Option<Self> {
        let is_of_it = TreatmentKey::of(&state) == self.key();
        let stands = match self.security {
            Security::Plaintext | Security::Tls => true,
            Security::Mtls => is_settled,
            Security::Unknown => false,
        };
        (stands && is_of_it).then(|| Self {
            loaded_at: self.loaded_at.map(|at| at + set_by),
            exempt_heard: (self.compliance == Some(Compliance::Exempt)).then_some(heard),
            authentication: Authentication::shown(self.authenticated_at, heard),
            heard,
            decided_at: heard,
            state: Some(state),
            is_settled: true,
            restored_at: Some(now),
            ..self
        })
    }

    /// Whether its answer on verification stands for a connection that is treated alike and of which
    /// nobody could see one: for a while, where the configuration leaves no other answer, and after a
    /// restart where no configuration was loaded since.
    pub(super) fn stands_in(
        &self,
        verdict: Verdict,
        evaluation: &Evaluation,
        now: Timestamp,
    ) -> bool {
        let is_alike = (self.security, self.client_auth) == (verdict.security, verdict.client_auth);
        let is_as_configured = evaluation.is_to_verify
            && self.server_verified == ServerVerified::Yes
            && now.since(self.heard) <= UNSEEN_STANDS_FOR;
        let is_from_before = self.server_verified != ServerVerified::Unknown
            && evaluation.loaded_at <= self.loaded_at
            && self.restored_at.is_some_and(|restored| now.since(restored) <= UNREAD_FOR);
        is_alike && (is_as_configured || is_from_before)
    }

    /// Orders treatments from the worst to the best; of equals the newest, which has the facts,
    /// comes first.
    pub(super) const fn order(&self) -> ((u8, u8, u8), Reverse<Timestamp>) {
        (self.key().rank(), Reverse(self.decided_at))
    }

    /// Takes a certain report of it in.
    pub(super) fn record(
        &mut self,
        report: &ConnectionReport,
        state: Arc<HopState>,
        evaluation: &Evaluation,
        now: Moment,
        stands_for: Duration,
    ) {
        self.last_seen = now.unix_seconds;
        self.heard = now.monotonic;
        if evaluation.loaded_at > self.loaded_at {
            self.loaded_at = evaluation.loaded_at;
        }
        self.exempt_heard.take_if(|heard| now.monotonic.since(*heard) > stands_for);
        self.evaluate(report, evaluation.compliance, now.monotonic);
        self.authenticated_at = self.authentication.note(report, now);
        if report.decided_at >= self.decided_at {
            self.decided_at = report.decided_at;
            self.state = Some(state);
        }
        if report.is_final {
            self.is_settled = true;
            self.connections += 1;
        } else if self.pending.len() < MAX_PENDING {
            self.pending.push(report.connection);
        } else {
            self.is_settled = true;
        }
    }

    /// What the newest connection says that has said everything. One that resumes a session shows
    /// less than the handshake that began it, and one that is not over may say more. What is exempt
    /// stays so for as long as that may be in use: of two routes that are treated alike one may need
    /// the exemption.
    fn evaluate(
        &mut self,
        report: &ConnectionReport,
        compliance: Option<Compliance>,
        now: Timestamp,
    ) {
        if compliance == Some(Compliance::Exempt) && report.is_final {
            self.exempt_heard = Some(now);
        }
        let shows_less = report.resumed == Some(true) && compliance == Some(Compliance::Unknown);
        let says = match compliance {
            None => false,
            Some(Compliance::Violation) => true,
            Some(_) => self.compliance.is_none() || (report.is_final && !shows_less),
        };
        if says {
            let is_worse = compliance == Some(Compliance::Violation);
            let exempt = self.exempt_heard.filter(|_| !is_worse).map(|_| Compliance::Exempt);
            self.compliance = exempt.or(compliance);
        }
    }

    /// Policy asks for something else: what was found good before says nothing about that.
    pub(super) fn reconsider(&mut self) {
        self.exempt_heard = None;
        self.compliance = self.compliance.filter(|known| *known == Compliance::Violation);
    }

    /// A connection has more to say: what it said before counts no more. `false` if nothing vouches
    /// for the treatment without it.
    pub(super) fn withdraw(&mut self, connection: ConnectionId) -> bool {
        self.pending.retain(|pending| *pending != connection);
        self.is_settled || !self.pending.is_empty()
    }

    /// Whether it is out of use beside what was seen later.
    ///
    /// `stands_for` is how long a treatment stays in use that nobody sees; `intent` and its
    /// `loaded_at` are of the configuration that runs now, and `asking` is what the server has
    /// answered.
    pub(super) fn is_gone(
        &self,
        others: &[Self],
        now: Timestamp,
        stands_for: Duration,
        configured: Option<(&IntentSummary, f64)>,
        asking: &Asking,
    ) -> bool {
        let silent = now.since(self.heard);
        if silent > stands_for {
            return true;
        }
        let is_by_the_server =
            self.security == Security::Tls && self.client_auth == ClientAuth::NotRequested;
        if is_by_the_server && silent > SETTLE && asking.has_begun(now, stands_for) {
            return true;
        }
        let was_seen_since = |other: &Self| {
            self.server_verified == ServerVerified::Unknown
                && other.server_verified != ServerVerified::Unknown
                && (other.security, other.client_auth) == (self.security, self.client_auth)
                && other.heard > self.heard
        };
        let is_to_verify = configured.is_some_and(|(intent, _)| intent.verify == Stated::Yes);
        let unseen_stands_for = if is_to_verify { SETTLE } else { UNSEEN_STANDS_FOR };
        if silent > unseen_stands_for && others.iter().any(was_seen_since) {
            return true;
        }
        configured.is_some_and(|(intent, loaded_at)| {
            silent > SETTLE
                && self.loaded_at.is_none_or(|load| load < loaded_at)
                && self.is_excluded_by(intent)
        })
    }

    /// Whether a proxy with this configuration cannot treat a server so.
    fn is_excluded_by(&self, intent: &IntentSummary) -> bool {
        let Self { security, client_auth, server_verified, .. } = self;
        match (security, intent.scheme) {
            (Security::Plaintext, scheme) => return scheme == Scheme::Tls,
            (_, Scheme::Plaintext) => return true,
            (_, Scheme::Tls) => {}
            (_, Scheme::Passthrough | Scheme::Unknown) => return false,
        }
        let by_client_auth = match client_auth {
            ClientAuth::RequestedNotPresented => intent.client_certificate == Stated::Yes,
            ClientAuth::Presented => intent.client_certificate == Stated::No,
            ClientAuth::NotRequested | ClientAuth::Unknown => false,
        };
        let by_verification = match server_verified {
            ServerVerified::No => intent.verify == Stated::Yes,
            ServerVerified::Yes => intent.verify == Stated::No,
            ServerVerified::Unknown => false,
        };
        by_client_auth || by_verification
    }
}
