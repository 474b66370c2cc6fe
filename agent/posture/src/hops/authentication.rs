//! When both sides of a treatment last really showed who they are.

use std::time::Duration;

use hopsight_core::{
    model::{Security, Timestamp},
    report::ConnectionReport,
};

use super::moment::Moment;

/// What was seen for this long stands beside what is seen now: a proxy's workers may each have a
/// session of their own.
const WINDOW: Duration = Duration::from_mins(1);

/// The oldest handshake that the connections of the last one or two windows rest on. Times are seconds
/// since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Authentication {
    begun: Timestamp,
    oldest: Option<f64>,
    before: Option<f64>,
}

impl Authentication {
    /// As it was last shown.
    #[must_use]
    pub const fn shown(at: Option<f64>, now: Timestamp) -> Self {
        Self { begun: now, oldest: at, before: None }
    }

    /// Takes a report in, and says when the oldest handshake was that is in use.
    pub fn note(&mut self, report: &ConnectionReport, now: Moment) -> Option<f64> {
        let age = report.carried_from.as_ref().map_or(0.0, |from| from.age_seconds);
        let is_tls = matches!(report.verdict.security, Security::Mtls | Security::Tls);
        let done = is_tls.then_some(now.unix_seconds - age)?;
        let passed = now.monotonic.since(self.begun);
        if passed > WINDOW {
            self.before = self.oldest.filter(|_| passed <= 2 * WINDOW);
            self.oldest = None;
            self.begun = now.monotonic;
        }
        self.oldest = Some(self.oldest.map_or(done, |oldest| oldest.min(done)));
        self.oldest.into_iter().chain(self.before).min_by(f64::total_cmp)
    }
}

#[cfg(test)]
mod tests {
    use hopsight_core::model::Security;

    use super::*;
    use crate::hops::testing::{at, carried, report};

    #[test]
    fn the_oldest_session_in_use_counts() {
        let full = || report(1, Security::Mtls);
        let resumed = |age| carried(report(2, Security::Mtls), age);
        let cases = [
            ("a handshake", vec![(full(), 100.0)], Some(100.0)),
            ("a session", vec![(resumed(30.0), 100.0)], Some(70.0)),
            (
                "a session beside a handshake",
                vec![(resumed(30.0), 100.0), (full(), 110.0)],
                Some(70.0),
            ),
            (
                "in the window before",
                vec![(resumed(30.0), 100.0), (full(), 161.0), (full(), 170.0)],
                Some(70.0),
            ),
            (
                "in none of the two",
                vec![(resumed(30.0), 100.0), (full(), 161.0), (full(), 222.0)],
                Some(161.0),
            ),
            ("silence between", vec![(resumed(30.0), 100.0), (full(), 300.0)], Some(300.0)),
            ("clear text", vec![(report(1, Security::Plaintext), 100.0)], None),
        ];
        for (name, reports, expected) in cases {
            let mut authentication = Authentication::default();
            let mut said = None;
            for (report, now) in reports {
                said = authentication.note(&report, at(now));
            }
            assert_eq!(said, expected, "{name}");
        }
    }
}
