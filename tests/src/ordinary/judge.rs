//! What is said of a hop's connections, against what its upstream logged.

use std::{collections::BTreeMap, fmt};

use hopsight_core::{
    model::{ClientAuth, Outcome, Reason, Security},
    report::ConnectionReport,
};

use super::site::{Hop, Kind};
use crate::{agent::is_address, truth::Seen};

/// What came of the connections of some hops.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Those that carried a byte.
    pub connections: usize,
    /// Those of them that were logged by the upstream.
    pub logged: usize,
    /// Complete handshakes that began a session, and clear text.
    pub complete: usize,
    /// Those of them of which nothing is known.
    pub complete_unknown: usize,
    /// Resumed ones.
    pub resumed: usize,
    /// Those of which nothing is known, by reason.
    pub unknown: BTreeMap<Reason, usize>,
    /// Those that the proxy closed before either side had sent a byte.
    pub unused: usize,
    /// Those that the proxy left before their handshake was accepted.
    pub abandoned: usize,
    /// Answers that contradict the upstream's log or its configuration, in words.
    pub wrong: Vec<String>,
    /// Handshakes that count as failed.
    pub failed: usize,
}

impl Tally {
    /// Compares the final reports on a hop with what its upstream logged.
    pub fn add(&mut self, hop: &Hop, reports: &[ConnectionReport], log: &[Seen]) {
        for report in reports {
            if report.is_unused() {
                self.unused += 1;
                continue;
            }
            let verdict = report.verdict;
            let logged = log.iter().find(|seen| is_address(&report.src, seen.remote));
            self.connections += 1;
            self.logged += usize::from(logged.is_some());
            self.resumed += usize::from(report.resumed == Some(true));
            self.abandoned += usize::from(verdict.reason == Some(Reason::Abandoned));
            let unaccepted = verdict.reason == Some(Reason::Unaccepted)
                && verdict.outcome == Outcome::Incomplete;
            let failed = matches!(verdict.outcome, Outcome::Rejected | Outcome::Failed);
            self.failed += usize::from(failed || unaccepted);
            let is_unknown = verdict.security == Security::Unknown;
            if is_unknown {
                *self.unknown.entry(verdict.reason.unwrap_or(Reason::NoData)).or_default() += 1;
            }
            if report.resumed != Some(true) && verdict.outcome == Outcome::Established {
                self.complete += 1;
                self.complete_unknown += usize::from(is_unknown);
            }
            if let Some(why) = contradiction(hop, report, logged) {
                self.wrong.push(format!("{}: {why}: {verdict:?}", hop.name));
            }
        }
    }

    /// Connections of which nothing is known.
    #[must_use]
    pub fn unknown(&self) -> usize {
        self.unknown.values().sum()
    }

    /// Those of them that may be from before an agent that was started in between.
    #[must_use]
    pub fn unknown_since_before(&self) -> usize {
        [Reason::MidStream, Reason::ResumedUnseen]
            .iter()
            .filter_map(|reason| self.unknown.get(reason))
            .sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = self.unknown.iter().map(|(reason, count)| format!(" {reason} {count}"));
        write!(
            f,
            "{:>5} connections, {:>4} resumed, {} wrong; unknown: {} of {} complete, {} in all{}; \
             {} unused, {} abandoned, {} failed",
            self.connections,
            self.resumed,
            self.wrong.len(),
            self.complete_unknown,
            self.complete,
            self.unknown(),
            unknown.collect::<Vec<_>>().join(","),
            self.unused,
            self.abandoned,
            self.failed,
        )
    }
}

/// What is wrong with a report, if anything is. What is unknown contradicts nothing.
fn contradiction(
    hop: &Hop,
    report: &ConnectionReport,
    logged: Option<&Seen>,
) -> Option<&'static str> {
    let verdict = report.verdict;
    if verdict.security == Security::Unknown {
        return None;
    }
    let expected = match hop.kind {
        Kind::Mutual => (Security::Mtls, ClientAuth::Presented),
        Kind::OneWay => (Security::Tls, ClientAuth::NotRequested),
        Kind::Clear => (Security::Plaintext, ClientAuth::NotRequested),
    };
    if (verdict.security, verdict.client_auth) != expected {
        return Some("it is configured otherwise");
    }
    if let Some(seen) = logged {
        let presented = seen.client_subject.is_some();
        if presented != (verdict.client_auth == ClientAuth::Presented) {
            return Some("the upstream logged otherwise");
        }
    }
    None
}
