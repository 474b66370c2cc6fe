//! Sessions whose beginning was not seen, and which go on.
//!
//! An agent is started beside proxies that run, and in TLS 1.3 every resumption brings a new ticket:
//! what was begun before the agent's time does not end by itself, nor what began before the library of
//! its program was read, or has lost its ticket on the way. A reload of the proxy ends it.

use std::time::Duration;

use hopsight_core::{
    model::{Origin, Reason, Timestamp, Word},
    report::{ConnectionReport, Unseen},
};
use serde::{Deserialize, Serialize};

use super::{evaluation::Evaluation, moment::Moment};

/// Seconds of the hop's use without such a session after which they are over.
const OVER_AFTER_SECONDS: u64 = 300;

/// Sessions of a hop whose beginning was not seen. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OlderSessions {
    /// They began before this: when the first connection was reported that resumed one.
    pub before: f64,
    /// When the newest was.
    pub last_seen: f64,
    /// Connections that resumed them.
    pub connections: u64,
    /// Why the beginning of the newest was not seen.
    #[serde(default = "OlderSessions::unsaid")]
    pub unseen: Unseen,
    /// What ends them, for a person: full handshakes follow.
    pub decided_by: Word,
    /// [`OlderSessions::last_seen`] on the clock that ages are reckoned in.
    #[serde(skip)]
    heard: Timestamp,
    /// When the newest connection was opened that resumed one, on the same clock.
    #[serde(skip)]
    opened_at: Timestamp,
    /// When the youngest worker started that resumed one, or that connection was opened where nobody
    /// knows.
    #[serde(skip)]
    workers_until: f64,
}

impl OlderSessions {
    /// Of what an agent wrote that knew of one cause.
    const fn unsaid() -> Unseen {
        Unseen::OlderProcess
    }

    /// Whether none was resumed for so long, on the clock that ages are reckoned in.
    #[must_use]
    pub(super) fn is_silent(&self, now: Timestamp, stands_for: Duration) -> bool {
        now.since(self.heard) >= stands_for
    }

    /// What is known of them after a report. Where all workers started after those that resumed them there
    /// was a reload, even if the configuration has not changed.
    pub(super) fn after(
        known: Option<Self>,
        report: &ConnectionReport,
        evaluation: &Evaluation,
        now: Moment,
    ) -> Option<Self> {
        if report.verdict.reason == Some(Reason::ResumedUnseen) {
            if !report.is_final {
                return known;
            }
            let new = || Self {
                before: now.unix_seconds,
                last_seen: now.unix_seconds,
                connections: 0,
                unseen: Unseen::OlderProcess,
                decided_by: match &report.origin {
                    Origin::Process(process) => decided_by(&process.name),
                    Origin::PacketCapture => "a restart of the proxy".into(),
                },
                heard: now.monotonic,
                opened_at: report.opened_at,
                workers_until: 0.0,
            };
            let known = known.unwrap_or_else(new);
            let own = evaluation.workers.map(|workers| workers.own);
            let worker = own.unwrap_or_else(|| now.wall(report.opened_at));
            return Some(Self {
                last_seen: now.unix_seconds,
                connections: known.connections + 1,
                unseen: report.unseen.unwrap_or(known.unseen),
                heard: now.monotonic,
                opened_at: known.opened_at.max(report.opened_at),
                workers_until: known.workers_until.max(worker),
                ..known
            });
        }
        known.filter(|known| {
            let Evaluation { loaded_at, workers, .. } = evaluation;
            let is_over = now.monotonic.since(known.heard).as_secs() >= OVER_AFTER_SECONDS
                || loaded_at.is_some_and(|at| at > now.wall(known.opened_at))
                || workers.is_some_and(|workers| workers.oldest > known.workers_until);
            !is_over
        })
    }
}

/// How a process of this name is made to begin its sessions anew, for a person.
#[must_use]
pub fn decided_by(process: &str) -> Word {
    match process {
        "nginx" => "nginx -s reload".into(),
        "haproxy" => "systemctl reload haproxy".into(),
        "caddy" => "caddy reload --force".into(),
        "apache2" => "apachectl graceful".into(),
        "httpd" => "httpd -k graceful".into(),
        other => format!("a restart of {other}").into(),
    }
}

#[cfg(test)]
mod tests {
    use hopsight_core::model::Security;

    use super::*;
    use crate::hops::{
        evaluation::Workers,
        testing::{at, early, report},
    };

    #[test]
    fn they_go_on_until_a_reload_or_until_they_are_silent() {
        let unseen = |opened_at| {
            let mut report = report(opened_at, Security::Unknown);
            report.verdict.reason = Some(Reason::ResumedUnseen);
            report
        };
        let mutual = || report(20, Security::Mtls);
        let none = Evaluation::default;
        let loaded = |at| Evaluation { loaded_at: Some(at), ..none() };
        let of_worker =
            |own, oldest| Evaluation { workers: Some(Workers { own, oldest }), ..loaded(1.0) };
        let workers = |at| of_worker(at, at);
        let cases = [
            ("none", vec![(mutual(), none(), 10.0)], None),
            ("one", vec![(unseen(9), none(), 10.0)], Some((10.0, 1))),
            ("not over yet", vec![(early(unseen(9)), none(), 10.0)], None),
            ("two", vec![(unseen(9), none(), 10.0), (unseen(19), none(), 20.0)], Some((10.0, 2))),
            (
                "others between",
                vec![(unseen(9), none(), 10.0), (mutual(), loaded(5.0), 20.0)],
                Some((10.0, 1)),
            ),
            ("a reload", vec![(unseen(9), none(), 10.0), (mutual(), loaded(15.0), 20.0)], None),
            (
                "a reload of what was loaded before",
                vec![(unseen(9), none(), 10.0), (mutual(), workers(15.0), 20.0)],
                None,
            ),
            (
                "an older worker",
                vec![(unseen(9), none(), 10.0), (mutual(), workers(5.0), 20.0)],
                Some((10.0, 1)),
            ),
            (
                "an older worker that has ended by now",
                vec![
                    (unseen(9), of_worker(5.0, 5.0), 10.0),
                    (mutual(), of_worker(15.0, 5.0), 15.5),
                    (unseen(16), of_worker(5.0, 5.0), 16.0),
                    (mutual(), of_worker(15.0, 15.0), 20.0),
                ],
                None,
            ),
            (
                "a younger worker goes on",
                vec![
                    (unseen(9), of_worker(5.0, 5.0), 10.0),
                    (unseen(16), of_worker(15.0, 5.0), 16.0),
                    (mutual(), of_worker(15.0, 15.0), 20.0),
                ],
                Some((10.0, 2)),
            ),
            (
                "a long connection that ends after the reload",
                vec![(unseen(9), none(), 18.0), (mutual(), workers(15.0), 20.0)],
                None,
            ),
            ("silent for long", vec![(unseen(9), none(), 10.0), (mutual(), none(), 310.0)], None),
            (
                "again",
                vec![
                    (unseen(9), none(), 10.0),
                    (mutual(), loaded(15.0), 20.0),
                    (unseen(29), none(), 30.0),
                ],
                Some((30.0, 1)),
            ),
        ];
        for (name, reports, expected) in cases {
            let mut known = None;
            for (report, evaluation, now) in reports {
                known = OlderSessions::after(known, &report, &evaluation, at(now));
            }
            let found = known.map(|known| (known.before, known.connections));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn every_proxy_has_its_command() {
        for (name, expected) in [("nginx", "nginx -s reload"), ("envoy", "a restart of envoy")] {
            assert_eq!(decided_by(name), expected);
        }
    }
}
