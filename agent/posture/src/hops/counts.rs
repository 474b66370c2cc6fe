//! What the connections of a hop were, in numbers.

use std::collections::BTreeMap;

use hopsight_core::{
    model::{ClientAuth, Evidence, Outcome, Reason, Security, Word},
    report::{AlertFacts, ConnectionReport, Verdict},
};
use serde::{Deserialize, Serialize};

use super::labels::{OTHER, sanitised};

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

/// What the connections of a hop were, in numbers that only grow.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Finished connections by verdict.
    pub connections: Vec<Tally>,
    /// Finished connections whose `security` is `unknown`, by reason.
    pub unknown_reasons: BTreeMap<Reason, u64>,
    /// Handshakes that were rejected or failed by alert (by outcome where none was seen), and those
    /// that the server ended without accepting them.
    pub failures: BTreeMap<String, u64>,
    /// Alerts by sender and description.
    pub alerts: Vec<AlertTally>,
    /// Finished connections by what was negotiated.
    pub negotiated: Vec<Negotiated>,
    /// Finished connections that resumed a session.
    pub resumed_connections: u64,
    /// Finished connections of which it is known whether they resumed a session.
    pub resumption_known: u64,
    /// Finished connections that the proxy closed before either side had sent a byte. In no other
    /// count.
    #[serde(default)]
    pub unused_connections: u64,
    /// The last alert.
    pub last_alert: Option<LastAlert>,
}

impl Counts {
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

    /// Cuts what is too much of it, where it comes from outside. (Sums may then be too small.)
    pub(super) fn bound(&mut self) {
        let distinct =
            Security::ALL.len() * ClientAuth::ALL.len() * Evidence::ALL.len() * Outcome::ALL.len();
        self.connections.truncate(distinct);
        // One more each, for what is counted as other.
        self.alerts.truncate(MAX_VARIANTS + 1);
        self.negotiated.truncate(MAX_VARIANTS + 1);
        while self.failures.len() > MAX_VARIANTS + 1 {
            self.failures.pop_last();
        }
    }

    /// Takes the last report of a connection in, at `now` (seconds since the Unix epoch).
    pub(super) fn record(&mut self, report: &ConnectionReport, now: f64) {
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
