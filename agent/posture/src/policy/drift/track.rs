//! What one server's connections said about one rule, and when a drift of it is over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Rule, Violation,
    cause::{Causes, InUse, MAX_PROCESSES, Use, is_of_a_session, is_shown_by_treatment},
    options::Options,
    record::{End, OpenDrift},
};
use crate::policy::{
    observation::{Observation, ProcessStart},
    time::{Step, UnixTime},
};

/// The workers of one load do not all start at the same moment.
const ONE_LOAD: Duration = Duration::from_secs(1);

/// What a policy asks for, by what is known of it since the newest offending connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Asks {
    /// Nothing says otherwise.
    #[default]
    AsBefore,
    /// Connections that are good now need not be better than those that offended.
    ForLess,
    /// A good connection was treated like the offending ones, with their configuration.
    SomethingElse,
}

/// What one server's connections said about one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Track {
    /// The drift, once there is one.
    pub(super) open: Option<OpenDrift>,
    /// First of the offending connections that do not make a drift yet.
    pub(super) pending: Option<UnixTime>,
    /// The drift that there would be if it were not exempt.
    exempt: Option<OpenDrift>,
    /// What makes connections offend.
    causes: Causes,
    /// First good connection after the newest offending one.
    good_again: Option<UnixTime>,
    /// Newest good connection.
    last_good: Option<UnixTime>,
    /// The newest configuration that good connections were opened with.
    good_load: Option<UnixTime>,
    /// The newest configuration that offending connections were opened with.
    bad_configured: Option<UnixTime>,
    /// The newest load that offending connections were opened with.
    bad_load: Option<UnixTime>,
    /// One of them was opened though its configuration rules the violation out, which then does not tell
    /// who offends.
    offends_anyway: bool,
    /// A good connection was opened with a later configuration, which rules the violation out.
    is_ruled_out: bool,
    /// Processes that resumed another session than an offending one, and when that began.
    acquitted: Vec<(ProcessStart, UnixTime)>,
    /// Those of them that resumed the older one again: they have several for the server.
    have_several: Vec<ProcessStart>,
    /// What the policy is since the newest offending connection.
    policy: Asks,
}

impl Track {
    /// When and how the open drift ended, if it is over: a good connection came and no offending one
    /// after it, and
    /// - the policy is another, or
    /// - what made them offend is out of use in the table of hops, or
    /// - where that does not tell, the configuration rules it out by now, or nobody has seen it for as
    ///   long as a treatment stays in use that nobody sees.
    ///
    /// So it is, as not seen any more, where the server itself is out of use for so long. Nothing is
    /// quiet before `sees_since`, from when on connections can be seen.
    pub(super) fn is_over(
        &self,
        now: UnixTime,
        sees_since: UnixTime,
        options: &Options,
        in_use: Use,
    ) -> Option<(UnixTime, End)> {
        let drift = self.open.as_ref()?;
        let quiet = now.since(drift.last_offending.max(sees_since));
        let Some(at) = self.good_again else {
            let is_gone = in_use == Use::ServerGone && quiet >= options.stands_for;
            return is_gone.then_some((now, End::Forgotten));
        };
        if self.policy == Asks::SomethingElse {
            return Some((at, End::PolicyChanged));
        }
        let patience = match in_use {
            Use::InUse => return None,
            Use::OutOfUse => options.settle,
            _ if self.is_ruled_out || is_mended_by_a_handshake(drift.rule) => options.settle,
            Use::ServerGone | Use::Unknown => options.stands_for,
        };
        let end = match self.policy {
            Asks::ForLess => End::PolicyChanged,
            _ => End::Remediated,
        };
        (quiet >= patience).then_some((at, end))
    }

    /// Whether what makes connections offend is in use.
    pub(super) fn is_in_use(&self, in_use: &impl InUse) -> Use {
        match self.open.as_ref().or(self.exempt.as_ref()) {
            Some(drift) => in_use(drift, &self.causes),
            None => Use::Unknown,
        }
    }

    /// What is out of use needs no exemption.
    pub(super) fn forget_exempt(&mut self, in_use: Use) {
        if in_use == Use::OutOfUse {
            self.exempt = None;
        }
    }

    /// Policy asks for something else, if this is meant.
    pub(super) fn reconsider(&mut self, is_meant: impl Fn(&OpenDrift) -> bool) {
        self.exempt.take_if(|exempt| is_meant(exempt));
    }

    /// Policy asks for less, if this is meant: connections that are good from now on need not be better
    /// than those that offended.
    pub(super) fn relax(&mut self, is_meant: impl Fn(&OpenDrift) -> bool) {
        if self.open.as_ref().is_some_and(is_meant) {
            self.policy = self.policy.max(Asks::ForLess);
        }
    }

    /// The drift that opens because what was exempt is not any more.
    pub(super) fn end_exemption(
        &mut self,
        now: UnixTime,
        is_exempt: impl Fn(&OpenDrift) -> bool,
    ) -> Option<OpenDrift> {
        let exempt = self.exempt.take_if(|exempt| !is_exempt(exempt))?;
        if self.open.is_some() && self.policy != Asks::SomethingElse {
            return None;
        }
        let drift = OpenDrift { since: now, detected_at: now, preexisting: false, ..exempt };
        self.good_again = None;
        (self.policy, self.is_ruled_out) = (Asks::AsBefore, false);
        self.open = Some(drift.clone());
        Some(drift)
    }

    /// Whether there is something that has to outlive the agent.
    pub(super) const fn is_unfinished(&self) -> bool {
        self.open.is_some() || self.pending.is_some() || self.exempt.is_some()
    }

    /// Takes the drift out, which is over.
    pub(super) fn close(&mut self) -> Option<OpenDrift> {
        if self.exempt.is_none() {
            self.causes = Causes::default();
        }
        self.offends_anyway = false;
        self.open.take()
    }

    /// (Times of loading are compared with others of their kind, which stay as they were read.)
    pub(super) fn clock_was_set(&mut self, step: Step) {
        let Self { open, exempt, pending, good_again, last_good, .. } = self;
        let mut times = vec![];
        times.extend([pending, good_again, last_good].into_iter().flatten());
        for drift in [open, exempt].into_iter().flatten() {
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
        for time in [&mut self.bad_configured, &mut self.bad_load].into_iter().flatten() {
            *time = *time + ONE_LOAD;
        }
    }

    /// The wall clock was set while nobody ran who would have known: times of loading as well will
    /// be read anew.
    pub(super) fn clock_was_set_unseen(&mut self, step: Step) {
        self.clock_was_set(step);
        let loads = [&mut self.good_load, &mut self.bad_configured, &mut self.bad_load];
        loads.into_iter().flatten().for_each(|time| step.apply(time));
    }

    /// Whether no connection was good with the configuration loaded at `load`, or a newer one.
    /// Workers with an older one may go on opening good connections for a while.
    pub(super) fn was_good_before(&self, load: UnixTime) -> bool {
        self.last_good.is_none_or(|good| good <= load)
            || self.good_load.is_some_and(|good_load| good_load < load)
    }

    /// Takes in a good connection, whose configuration may rule violations out.
    pub(super) fn met(&mut self, seen: &Observation<'_>, is_ruled_out: bool) {
        let at = seen.at;
        self.good_load = self.good_load.max(seen.loaded_at);
        self.pending = None;
        self.last_good = self.last_good.max(Some(at));
        let is_after = |drift: &OpenDrift| at > drift.last_offending;
        if self.open.as_ref().is_some_and(is_after) {
            self.acquit_process(seen);
        }
        if let Some(drift) = self.open.as_ref().filter(|drift| is_after(drift)) {
            self.good_again = Some(self.good_again.map_or(at, |known| known.min(at)));
            let is_later = !seen.is_shared
                && seen.configured_at.is_some()
                && seen.configured_at > self.bad_configured;
            // What it rules out now it allowed then: it is another one, however much of it is the same.
            let is_another = !seen.is_shared
                && !self.offends_anyway
                && seen.loaded_at.is_some()
                && seen.loaded_at >= self.bad_load;
            self.is_ruled_out |= is_ruled_out && (is_later || is_another);
            if self.causes.include_treatment(seen) {
                if is_later {
                    self.causes.acquit(seen);
                    self.is_ruled_out |= self.causes.are_unknown();
                } else if !self.is_of_an_older_load(seen) {
                    // Another proxy's configuration may ask for less.
                    if is_shown_by_treatment(drift.rule) && !seen.is_shared {
                        self.policy = Asks::SomethingElse;
                    }
                }
            }
            if self.causes.include_certificate(seen) {
                match drift.rule {
                    // The server takes it by now, or one of several behind its address does.
                    Rule::ClientCertificateRejected => self.causes.acquit(seen),
                    // Others were sent with it, the proxy trusts another CA or list, the upstream
                    // names another CA, or the key is nobody else's any more.
                    Rule::ChainNotTrusted
                    | Rule::CertificateRevoked
                    | Rule::ClientCaNotRequested
                    | Rule::KeyShared => {
                        self.causes.acquit(seen);
                        self.is_ruled_out |= is_later && self.causes.are_unknown();
                    }
                    _ if !seen.is_shared => self.policy = Asks::SomethingElse,
                    _ => {}
                }
            }
        }
    }

    /// A process that resumes another session has that in place of the one before, unless it was seen to
    /// have several. A handshake alone does not tell: it may be of a route that resumes none.
    fn acquit_process(&mut self, seen: &Observation<'_>) {
        if let Some(process) = seen.opened_by.filter(|_| seen.resumed == Some(true))
            && !self.have_several.contains(&process)
            && self.causes.acquit_process(process)
            && let Some(began) = session_began(seen)
        {
            self.acquitted.retain(|(known, _)| *known != process);
            if self.acquitted.len() < MAX_PROCESSES {
                self.acquitted.push((process, began));
            }
        }
    }

    /// Notes that a process has several sessions for the server, if it has resumed a younger one before.
    fn note_several(&mut self, seen: &Observation<'_>) {
        let began = session_began(seen);
        let is_older = |than: UnixTime| began.is_none_or(|began| began + ONE_LOAD < than);
        let known = self.acquitted.iter().find(|(one, _)| Some(*one) == seen.opened_by);
        if let Some((process, _)) = known.copied().filter(|(_, began)| is_older(*began))
            && !self.have_several.contains(&process)
        {
            self.have_several.push(process);
        }
    }

    /// Whether it was opened by a worker with an older configuration than the offending ones, which may
    /// go on for a while.
    fn is_of_an_older_load(&self, seen: &Observation<'_>) -> bool {
        let loads = seen.configured_at.zip(self.bad_configured);
        loads.is_some_and(|(seen, bad)| seen + ONE_LOAD * 2 < bad)
    }

    /// A connection is as bad as ever, and exempt: what is open of it is over, for the policy is
    /// another.
    pub(super) fn exempt(&mut self, drift: OpenDrift, seen: &Observation<'_>) {
        self.pending = None;
        self.causes.note(drift.rule, &drift.violation, seen);
        self.exempt = Some(drift);
        if self.open.is_some() {
            self.good_again = self.good_again.or(Some(seen.at));
            self.policy = Asks::SomethingElse;
        }
    }

    /// Takes in an offending connection, whose configuration may rule that out; says since when it is one,
    /// if that opens a drift.
    pub(super) fn violated(
        &mut self,
        rule: Rule,
        violation: &Violation,
        seen: &Observation<'_>,
        is_ruled_out: bool,
        patience: Duration,
    ) -> Option<UnixTime> {
        let at = seen.at;
        self.causes.note(rule, violation, seen);
        if is_of_a_session(rule) {
            self.note_several(seen);
        }
        self.bad_configured = self.bad_configured.max(seen.configured_at);
        self.bad_load = self.bad_load.max(seen.loaded_at);
        self.offends_anyway |= is_ruled_out;
        self.exempt = None;
        (self.policy, self.is_ruled_out) = (Asks::AsBefore, false);
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

/// Whether a handshake that is seen, and done anew, ends what was wrong before.
const fn is_mended_by_a_handshake(rule: Rule) -> bool {
    is_of_a_session(rule) || matches!(rule, Rule::StaleCertificate)
}

/// When the session began that a connection resumed, where that is known.
fn session_began(seen: &Observation<'_>) -> Option<UnixTime> {
    let age = Duration::try_from_secs_f64(seen.carried_from?.age_seconds).unwrap_or_default();
    Some(seen.at - age)
}
