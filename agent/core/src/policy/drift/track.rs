//! What one server's connections said about one rule, and when a drift of it is over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Rule, Violation,
    options::Options,
    record::{End, OpenDrift},
};
use crate::{
    model::{ClientAuth, Security, ServerVerified},
    policy::{
        observation::Observation,
        time::{Step, UnixTime},
    },
};

/// The workers of one load do not all start at the same moment.
const ONE_LOAD: Duration = Duration::from_secs(1);

/// What tells treatments apart: security, client authentication, verification.
type Treatment = (Security, ClientAuth, ServerVerified);

/// What one server's connections said about one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Track {
    /// The drift, once there is one.
    pub(super) open: Option<OpenDrift>,
    /// First of the offending connections that do not make a drift yet.
    pub(super) pending: Option<UnixTime>,
    /// First good connection after the newest offending one.
    good_again: Option<UnixTime>,
    /// Newest good connection.
    last_good: Option<UnixTime>,
    /// The newest configuration that good connections were opened with.
    good_load: Option<UnixTime>,
    /// Since when the configuration says what it says that good connections were opened with.
    good_configured: Option<UnixTime>,
    /// The newest load, and the configuration, that offending connections were opened with.
    bad_load: Option<UnixTime>,
    bad_configured: Option<UnixTime>,
    /// Newest offending connection.
    last_bad: Option<UnixTime>,
    /// How the offending connections were treated.
    bad_treatment: Option<Treatment>,
    /// A good connection was treated like the offending ones, with their configuration: the policy
    /// is another.
    policy_changed: bool,
    /// An offending connection came after a good one with the same configuration: good ones do not
    /// show that the bad ones are over.
    is_mixed: bool,
}

/// Whether what violates a rule may be the proxy's doing, which its configuration decides: one route
/// that is good says nothing about another. The rest is the upstream's.
fn is_by_the_proxy(drift: &OpenDrift) -> bool {
    match drift.rule {
        Rule::Plaintext
        | Rule::ClientCertificateMissing
        | Rule::ClientCertificateRemoved
        | Rule::ClientCertificateRejected
        | Rule::UpstreamNotVerified
        | Rule::VersionBelowMinimum
        | Rule::ForbiddenCipher
        | Rule::ClientIssuerNotAllowed
        | Rule::ClientSanNotAllowed
        | Rule::ThirdPartyCertificate => true,
        // Only what the proxy presents has a line of its configuration.
        Rule::CertificateExpiring => drift.violation.place.is_some(),
        // A full handshake ends it, whoever brings it about.
        Rule::NeverRequested
        | Rule::ResumedUnseen
        | Rule::AuthenticationTooOld
        | Rule::SessionOutlivesCertificate => false,
    }
}

/// Whether a certificate's contents decide, or a session: another file under the same name is another
/// certificate once it is loaded, and what is loaded begins sessions anew, without a change of the
/// configuration.
const fn is_about_a_certificate(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::CertificateExpiring
            | Rule::ClientIssuerNotAllowed
            | Rule::ClientSanNotAllowed
            | Rule::AuthenticationTooOld
            | Rule::SessionOutlivesCertificate
    )
}

fn treatment(seen: &Observation<'_>) -> Treatment {
    (seen.verdict.security, seen.verdict.client_auth, seen.verdict.server_verified)
}

/// Whether connections that are treated alike are alike to the rule.
const fn is_shown_by_treatment(rule: Rule) -> bool {
    matches!(
        rule,
        Rule::Plaintext
            | Rule::ClientCertificateMissing
            | Rule::ClientCertificateRemoved
            | Rule::NeverRequested
            | Rule::UpstreamNotVerified
            | Rule::ThirdPartyCertificate
    )
}

impl Track {
    /// When and how the open drift ended, if it is over: a good connection came and no offending one
    /// after it, and
    /// - the policy is another, or
    /// - the configuration that the offending ones were opened with is no longer loaded, or
    /// - it was the upstream's doing, and good and offending ones did not alternate, or
    /// - nothing offending came for so long that it counts as out of use.
    ///
    /// Nothing is quiet before `sees_since`, from when on connections can be seen.
    pub(super) fn is_over(
        &self,
        now: UnixTime,
        sees_since: UnixTime,
        options: &Options,
    ) -> Option<(UnixTime, End)> {
        let drift = self.open.as_ref()?;
        let at = self.good_again?;
        if self.policy_changed {
            return Some((at, End::PolicyChanged));
        }
        let quiet = now.since(drift.last_offending.max(sees_since));
        let replaced = if is_about_a_certificate(drift.rule) {
            self.bad_load.is_some() && self.good_load > self.bad_load
        } else {
            self.bad_configured.is_some() && self.good_configured > self.bad_configured
        };
        let patience = if replaced || (!is_by_the_proxy(drift) && !self.is_mixed) {
            options.settle
        } else if self.bad_configured.is_none() && !self.is_mixed {
            options.settle_unconfigured
        } else {
            options.stands_for
        };
        (quiet >= patience).then_some((at, End::Remediated))
    }

    /// (Times of loading are compared with others of their kind, which stay as they were read.)
    pub(super) fn clock_was_set(&mut self, step: Step) {
        let Self { open, pending, good_again, last_good, last_bad, .. } = self;
        let mut times = vec![];
        times.extend([pending, good_again, last_good, last_bad].into_iter().flatten());
        if let Some(drift) = open {
            let OpenDrift { since, detected_at, changed_at, last_offending, .. } = drift;
            times.extend([since, detected_at, last_offending]);
            times.extend(changed_at);
        }
        for time in times {
            step.apply(time);
        }
    }

    /// The same after a restart: times of loading are read anew, a little differently, and what is
    /// not clearly later than those that were kept is no other load.
    pub(super) fn restored(&mut self) {
        for load in [&mut self.bad_load, &mut self.bad_configured] {
            *load = load.map(|at| at + ONE_LOAD);
        }
    }

    /// The wall clock was set while nobody ran who would have known: times of loading as well will
    /// be read anew.
    pub(super) fn clock_was_set_unseen(&mut self, step: Step) {
        self.clock_was_set(step);
        let Self { good_load, good_configured, bad_load, bad_configured, .. } = self;
        let loads = [good_load, good_configured, bad_load, bad_configured];
        loads.into_iter().flatten().for_each(|time| step.apply(time));
    }

    /// Whether no connection was good with the configuration loaded at `load`, or a newer one.
    /// Workers with an older one may go on opening good connections for a while.
    pub(super) fn was_good_before(&self, load: UnixTime) -> bool {
        self.last_good.is_none_or(|good| good <= load)
            || self.good_load.is_some_and(|good_load| good_load < load)
    }

    pub(super) fn met(&mut self, seen: &Observation<'_>) {
        let at = seen.at;
        self.good_load = self.good_load.max(seen.loaded_at);
        self.good_configured = self.good_configured.max(seen.configured_at);
        self.pending = None;
        self.last_good = self.last_good.max(Some(at));
        if let Some(drift) = &self.open
            && at > drift.last_offending
        {
            self.good_again = Some(self.good_again.map_or(at, |known| known.min(at)));
            // With a newer configuration the same treatment may be good for what that says.
            self.policy_changed |= self.bad_treatment == Some(treatment(seen))
                && seen.configured_at <= self.bad_configured
                && is_shown_by_treatment(drift.rule);
        }
    }

    /// A connection is as bad as ever, and exempt: what is open of it is over, for the policy is
    /// another.
    pub(super) fn exempt(&mut self, seen: &Observation<'_>) {
        self.pending = None;
        if self.open.is_some() {
            self.good_again = self.good_again.or(Some(seen.at));
            self.policy_changed = true;
        }
    }

    /// Takes in an offending connection; says since when it is one, if that opens a drift.
    pub(super) fn violated(
        &mut self,
        violation: &Violation,
        seen: &Observation<'_>,
        patience: Duration,
    ) -> Option<UnixTime> {
        let at = seen.at;
        let came_between = |(bad, good): (UnixTime, UnixTime)| bad < good && good < at;
        self.is_mixed |= self.last_bad.zip(self.last_good).is_some_and(came_between)
            && self.good_configured == seen.configured_at;
        self.last_bad = self.last_bad.max(Some(at));
        self.bad_load = self.bad_load.max(seen.loaded_at);
        self.bad_configured = self.bad_configured.max(seen.configured_at);
        self.bad_treatment = Some(treatment(seen));
        self.policy_changed = false;
        if let Some(drift) = &mut self.open {
            drift.connections += u64::from(seen.is_final);
            drift.last_offending = drift.last_offending.max(at);
            drift.violation.clone_from(violation);
            if self.good_again.is_some_and(|good| at >= good) {
                self.good_again = None;
            }
            return None;
        }
        let begin = *self.pending.get_or_insert(at);
        if at.since(begin) < patience {
            return None;
        }
        self.pending = None;
        self.good_again = None;
        Some(begin)
    }
}
