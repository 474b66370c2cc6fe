//! A report for auditors on a time: what every hop was, what that rests on, what was lost, drift with its
//! durations, exemptions, certificates and cryptography, and what of it speaks to which requirement.
//!
//! It is made of answers of `/hops`, several of one node where there are several, and of files of
//! events. Two answers of one node say by their difference what happened between them.

mod csv;
mod drift;
mod html;
mod lines;
mod map;
mod requirements;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;

use hopsight_core::{
    model::{Evidence, Security},
    tls::fingerprint::Fingerprint,
};
use hopsight_posture::{
    audit::{
        account::{ACCOUNT_VERSION, Account, NodeAccount},
        coverage::Coverage,
        period::NodePeriod,
    },
    hops::table::Snapshot,
};

pub use self::{
    csv::Table,
    drift::{DriftEntry, DriftLog, DriftState},
    lines::{ExemptionLine, HopLine, NodeLine},
    requirements::Requirement,
};
use crate::{
    inventory::{Inventory, Source},
    time,
};

/// Version of the shape of a report.
pub const REPORT_VERSION: u32 = 1;

/// What a report is made of. Times are seconds since the Unix epoch.
#[derive(Clone, Debug, Default)]
pub struct Material {
    /// Answers of `/hops`.
    pub answers: Vec<Source>,
    /// What files of events tell of drift.
    pub drift: DriftLog,
    /// Where the time begins; absent: with the oldest answer, or with the watch of its agent.
    pub from: Option<f64>,
    /// Where it ends; absent: with the newest answer.
    pub to: Option<f64>,
}

/// Connections of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Graded {
    /// How they were protected.
    pub security: Security,
    /// What that rests on.
    pub evidence: Evidence,
    /// How many there were.
    pub connections: u64,
}

/// All of it in a few numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Hops by what they are at the end.
    pub hops: BTreeMap<Security, usize>,
    /// Connections that were established, or of which nothing is known, by grade.
    pub connections: Vec<Graded>,
    /// Of how many connections it is known how they were protected.
    pub coverage: Coverage,
    /// Things that were lost.
    pub lost: u64,
    /// Nodes whose agent did not say what it lost, or was not ready.
    pub nodes_in_doubt: usize,
    /// Drifts that are open at the end.
    pub open_drifts: usize,
    /// Drifts that ended in that time.
    pub closed_drifts: usize,
    /// Hops that are exempt at the end.
    pub exempt_hops: usize,
}

/// A report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Version of its shape, [`REPORT_VERSION`].
    pub report_version: u32,
    /// When it was written, RFC 3339.
    pub written: String,
    /// By what.
    pub written_by: &'static str,
    /// Where its time begins, RFC 3339.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// All of it in a few numbers.
    pub summary: Summary,
    /// What was not used, and what is missing.
    pub notes: Vec<String>,
    /// What it says to requirements of others.
    pub requirements: Vec<Requirement>,
    /// A line for each node.
    pub nodes: Vec<NodeLine>,
    /// A line for each hop, the worst first.
    pub hops: Vec<HopLine>,
    /// Drifts that were open in that time.
    pub drift: Vec<DriftEntry>,
    /// Hops that are exempt.
    pub exemptions: Vec<ExemptionLine>,
    /// Certificates and cryptography in use.
    pub inventory: Inventory,
}

impl Report {
    /// The report on this material, written at `now` (seconds since the Unix epoch).
    #[must_use]
    pub fn of(material: Material, now: f64) -> Self {
        let mut notes = Vec::new();
        let chosen = choose(material.answers, material.from, material.to, &mut notes);
        let (before, after) = accounts(&chosen);
        let periods = NodePeriod::all(Some(&before), &after);
        let ends = chosen.iter().map(|chosen| chosen.now.hops.at);
        let to = material.to.or_else(|| ends.max_by(f64::total_cmp)).unwrap_or(now);
        let begins = periods.iter().map(|period| period.from);
        let from = material.from.or_else(|| begins.min_by(f64::total_cmp)).unwrap_or(to);
        let mut hops = lines::hops(&periods);
        hops.sort_by(lines::worst_first);
        let drift = drift::entries(material.drift, &periods, from, to);
        let exemptions = lines::exemptions(&periods, to);
        let summary = summary(&periods, &drift, &exemptions);
        let lines: Vec<_> = periods.iter().map(NodeLine::of).collect();
        let inventory = Inventory::of(chosen.into_iter().map(|chosen| chosen.now).collect());
        let mut report = Self {
            report_version: REPORT_VERSION,
            written: time::rfc3339(now),
            written_by: concat!("hopsight ", env!("CARGO_PKG_VERSION")),
            from: time::rfc3339(from),
            to: time::rfc3339(to),
            summary,
            notes,
            requirements: Vec::new(),
            nodes: lines,
            hops,
            drift,
            exemptions,
            inventory,
        };
        report.requirements = requirements::all(&report);
        report
    }

    /// As JSON, indented.
    ///
    /// # Errors
    /// Never: it has a JSON form.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// One of its tables, RFC 4180.
    ///
    /// # Errors
    /// Never: it is written to memory.
    pub fn csv(&self, table: Table) -> anyhow::Result<String> {
        csv::write(self, table)
    }

    /// As a page that can be printed and loads nothing from elsewhere, written at `now` (seconds since
    /// the Unix epoch).
    #[must_use]
    pub fn html(&self, now: f64) -> String {
        html::page(self, now)
    }
}

/// The answers of one node that count.
struct Chosen {
    /// The last one of the time.
    now: Source,
    /// The one that its counts are compared with, where there are several.
    before: Option<Source>,
}

/// Of each node the newest answer of the time, and the one that the time begins with.
fn choose(
    answers: Vec<Source>,
    from: Option<f64>,
    to: Option<f64>,
    notes: &mut Vec<String>,
) -> Vec<Chosen> {
    let mut by_node: BTreeMap<(String, String), Vec<Source>> = BTreeMap::new();
    for answer in answers {
        let said =
            |pick: &dyn Fn(&Snapshot) -> Option<String>| pick(&answer.hops).unwrap_or_default();
        let cluster = said(&|hops| Some(hops.witness.as_ref()?.cluster.as_ref()?.to_string()));
        let node = said(&|hops| Some(hops.witness.as_ref()?.node.as_ref()?.to_string()));
        let node = if node.is_empty() { answer.name.clone() } else { node };
        by_node.entry((cluster, node)).or_default().push(answer);
    }
    let mut chosen = Vec::new();
    for ((_, node), mut answers) in by_node {
        answers.sort_by(|one, other| one.hops.at.total_cmp(&other.hops.at));
        let is_later = |answer: &Source| to.is_some_and(|to| answer.hops.at > to);
        let within = answers.iter().take_while(|answer| !is_later(answer)).count();
        if within == 0 {
            notes
                .push(format!("{node}: no answer from before the end of the time; it is left out"));
            continue;
        }
        answers.truncate(within);
        let Some(now) = answers.pop() else { continue };
        if from.is_some_and(|from| now.hops.at < from) {
            notes
                .push(format!("{node}: its newest answer is from before the time; it is left out"));
            continue;
        }
        let starts =
            answers.iter().rposition(|answer| from.is_some_and(|from| answer.hops.at <= from));
        let before = (!answers.is_empty()).then(|| answers.swap_remove(starts.unwrap_or(0)));
        if let (None, Some(from)) = (&before, from)
            && now.hops.watch.as_ref().is_some_and(|watch| watch.since < from)
        {
            notes.push(format!(
                "{node}: there is one answer alone, so that its counts are those since its agent's first"
            ));
        }
        chosen.push(Chosen { now, before });
    }
    chosen
}

/// The accounts before and after.
fn accounts(chosen: &[Chosen]) -> (Account, Account) {
    // They are not stated: nobody asks for their digests.
    let digest = Fingerprint::of(&[]);
    let node = |source: &Source| NodeAccount::of(&source.name, digest, source.hops.clone());
    let account = |nodes: Vec<NodeAccount>| Account {
        account_version: ACCOUNT_VERSION,
        number: 1,
        previous: None,
        written_by: "".into(),
        time: "".into(),
        at: 0.0,
        missing_nodes: Vec::new(),
        nodes,
    };
    let before = chosen.iter().filter_map(|chosen| Some(node(chosen.before.as_ref()?)));
    (account(before.collect()), account(chosen.iter().map(|chosen| node(&chosen.now)).collect()))
}

fn summary(
    periods: &[NodePeriod<'_>],
    drift: &[DriftEntry],
    exemptions: &[ExemptionLine],
) -> Summary {
    let mut hops: BTreeMap<_, _> = Security::ALL.iter().map(|&word| (word, 0)).collect();
    let mut graded: BTreeMap<(Security, Evidence), u64> = BTreeMap::new();
    for hop in periods.iter().flat_map(|period| &period.hops) {
        *hops.entry(hop.hop.security).or_default() += 1;
        for (security, evidence, connections) in lines::graded(hop) {
            *graded.entry((security, evidence)).or_default() += connections;
        }
    }
    let is_in_doubt =
        |period: &&NodePeriod<'_>| period.node.watch.as_ref().is_none_or(|watch| !watch.ready);
    let lost = periods.iter().map(|period| {
        let named =
            period.lost.map(|lost| lost.named().iter().map(|(_, count)| count).sum::<u64>());
        named.unwrap_or_default() + period.beyond_table
    });
    let grade = |((security, evidence), connections)| Graded { security, evidence, connections };
    let of = |state| drift.iter().filter(|entry| entry.state == state).count();
    let all = periods.iter().flat_map(|period| &period.hops);
    Summary {
        hops,
        connections: graded.into_iter().map(grade).collect(),
        coverage: Coverage::sum(all.map(|hop| hop.coverage)),
        lost: lost.sum(),
        nodes_in_doubt: periods.iter().filter(is_in_doubt).count(),
        open_drifts: of(DriftState::Open),
        closed_drifts: of(DriftState::Closed),
        exempt_hops: exemptions.len(),
    }
}
