//! Whether an account is enough.

use std::cmp::Ordering;

use hopsight_core::{
    model::{Evidence, Security, ServerVerified},
    report::CarriedBy,
};
use serde::Serialize;

use super::{
    account::{Account, HopAccount},
    coverage::{Coverage, is_known},
    period::{HopPeriod, NodePeriod},
    refusal::{Refusal, RefusalKind},
    require::{Demand, Requirements},
};
use crate::{
    hops::{counts::Tally, witness::Watch},
    policy::drift::{Compliance, Rule},
};

/// What one account says of its time, and why that is not enough.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// Where its time begins, seconds since the Unix epoch.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
    /// Nodes that were looked at.
    pub nodes: usize,
    /// Hops that were looked at.
    pub hops: usize,
    /// Those of them that pass because they are exempt.
    pub exempt: usize,
    /// Connections that finished in that time, by whether it is known how they were protected.
    pub coverage: Coverage,
    /// Every reason against it.
    pub refusals: Vec<Refusal>,
}

/// Holds an account against what is required of it. `before` is the account that it follows.
#[must_use]
pub fn judge(before: Option<&Account>, now: &Account, required: &Requirements) -> Judgement {
    let periods = NodePeriod::all(before, now);
    let hops: Vec<_> = periods.iter().flat_map(|period| &period.hops).collect();
    let mut judgement = Judgement {
        from: periods.iter().map(|period| period.from).min_by(f64::total_cmp).unwrap_or(now.at),
        to: now.nodes.iter().map(|node| node.at).max_by(f64::total_cmp).unwrap_or(now.at),
        nodes: periods.len(),
        hops: hops.len(),
        exempt: 0,
        coverage: Coverage::sum(hops.iter().map(|hop| hop.coverage)),
        refusals: Vec::new(),
    };
    nodes(before, now, required, &mut judgement.refusals);
    if hops.len() < required.min_hops.max(1) {
        let (found, wanted) = (hops.len(), required.min_hops.max(1));
        let detail = format!("{found} hops, of at least {wanted}");
        judgement.refusals.push(Refusal::new(RefusalKind::Nothing, detail));
    } else if judgement.coverage.total() == 0 {
        let detail = "no connection was seen in all of that time";
        judgement.refusals.push(Refusal::new(RefusalKind::Nothing, detail));
    }
    for period in &periods {
        let name = period.node.name();
        watching(period, required, &mut judgement.refusals);
        for one in &period.hops {
            let exempt = Exempt::of(one.hop, period.node.at, required);
            let (refusals, passes_exempt) = hop(one, exempt, required);
            judgement.exempt += usize::from(passes_exempt && refusals.is_empty());
            let label = one.hop.label();
            let refusals = refusals.into_iter().map(|one| one.on(name).of(&label));
            judgement.refusals.extend(refusals);
        }
    }
    judgement
}

/// Whether everybody is there.
fn nodes(
    before: Option<&Account>,
    now: &Account,
    required: &Requirements,
    refusals: &mut Vec<Refusal>,
) {
    if now.nodes.is_empty() {
        refusals.push(Refusal::new(RefusalKind::Nothing, "it is about no node"));
    }
    let is_there = |name: &str| now.nodes.iter().any(|node| node.name() == name);
    let missing = now.missing_nodes.iter().map(|name| &**name);
    let wanted = required.nodes.iter().map(String::as_str).filter(|name| !is_there(name));
    let mut absent: Vec<&str> = missing.chain(wanted).collect();
    absent.sort_unstable();
    absent.dedup();
    for name in absent {
        let detail = "this node has to be there, and nobody watched it";
        refusals.push(Refusal::new(RefusalKind::NodeMissing, detail).on(name));
    }
    for old in before.iter().flat_map(|before| &before.nodes) {
        let is_expected = !required.gone.iter().any(|gone| gone == old.name());
        if is_expected && !now.nodes.iter().any(|node| node.is_same_node(old)) {
            let detail = "this node was in the statement before and is in this one no more";
            refusals.push(Refusal::new(RefusalKind::NodeMissing, detail).on(old.name()));
        }
    }
}

/// Whether its agent saw everything.
fn watching(period: &NodePeriod<'_>, required: &Requirements, refusals: &mut Vec<Refusal>) {
    let name = period.node.name();
    let mut refuse = |kind, detail: String| refusals.push(Refusal::new(kind, detail).on(name));
    let Some(watch) = &period.node.watch else {
        let detail =
            "what its agent lost is not known: the answer is of an older agent, or of none";
        return refuse(RefusalKind::WatchUnknown, detail.to_owned());
    };
    let Watch { ready, impaired, policy_sha256, .. } = watch;
    if !ready {
        let detail = format!("its agent was not ready ({})", impaired.join(", "));
        refuse(RefusalKind::NotReady, detail);
    }
    if let Some(wanted) = required.policy.filter(|wanted| Some(*wanted) != *policy_sha256) {
        let there = policy_sha256.map_or("the built-in policies alone".to_owned(), |sha256| {
            format!("the policy {sha256}")
        });
        refuse(RefusalKind::AnotherPolicy, format!("{there} was in force, not {wanted}"));
    }
    let unaccounted = period.unaccounted_seconds.unwrap_or(f64::INFINITY);
    if unaccounted > required.max_unaccounted_seconds {
        let detail = format!("nobody accounts for {unaccounted:.0} s: its agent began after that");
        refuse(RefusalKind::Unaccounted, detail);
    }
    for (what, count) in period.lost.iter().flat_map(|lost| lost.named()) {
        if count > 0 {
            refuse(RefusalKind::Lost, format!("{count} {what} were lost"));
        }
    }
    if period.beyond_table > 0 {
        let detail = format!("its table was full: {} were not kept apart", period.beyond_table);
        refuse(RefusalKind::TableFull, detail);
    }
}

/// What a hop is exempt from.
#[derive(Clone, Copy)]
struct Exempt<'a>(&'a [Rule]);

impl<'a> Exempt<'a> {
    fn of(hop: &'a HopAccount, at: f64, required: &Requirements) -> Self {
        let compliance = hop.compliance.as_ref().filter(|_| required.allow_exempt);
        let exemption = compliance.and_then(|compliance| compliance.exemption.as_deref());
        #[expect(clippy::cast_precision_loss, reason = "seconds of a date")]
        let counts = exemption.filter(|exemption| exemption.until as f64 > at);
        Self(counts.map_or(&[], |exemption| &exemption.rules))
    }

    fn from(self, rules: &[Rule]) -> bool {
        self.0.iter().any(|rule| rules.contains(rule))
    }
}

/// What is wrong with a hop, and whether an exemption was needed.
fn hop(one: &HopPeriod<'_>, exempt: Exempt<'_>, required: &Requirements) -> (Vec<Refusal>, bool) {
    let hop = one.hop;
    let mut refusals = Vec::new();
    let mut is_exempt = false;
    if hop.security == Security::Unknown || hop.unknown_servers > 0 {
        let detail = format!("it is not known how it is protected ({})", unknown(hop));
        refusals.push(Refusal::new(RefusalKind::HopUnknown, detail));
    }
    for demand in &required.demands {
        let (found, rules): (_, &[Rule]) = match demand {
            Demand::Mtls => (security(one, Security::Mtls), unprotected(one)),
            Demand::Tls => (security(one, Security::Tls), &[Rule::Plaintext]),
            Demand::Verified => (verified(hop), &[Rule::UpstreamNotVerified]),
            Demand::Compliant => (compliant(hop), &[]),
        };
        let Some(refusal) = found else { continue };
        let status = hop.compliance.as_ref().map(|compliance| compliance.status);
        let is_excused = match demand {
            Demand::Compliant => status == Some(Compliance::Exempt) && !exempt.0.is_empty(),
            _ => exempt.from(rules),
        };
        if is_excused {
            is_exempt = true;
        } else {
            refusals.push(refusal);
        }
    }
    let share = one.coverage.share();
    if let Some(share) = share.filter(|share| share.total_cmp(&required.min_coverage).is_lt()) {
        let Coverage { known, .. } = one.coverage;
        let detail = format!(
            "of {known} of {} connections it is known how they were protected: {share:.4}, of at \
             least {}",
            one.coverage.total(),
            required.min_coverage
        );
        refusals.push(Refusal::new(RefusalKind::Coverage, detail));
    }
    let rests_on = evidence(one);
    if rests_on < required.min_evidence && hop.security != Security::Unknown {
        let detail = format!("it rests on {rests_on}, of at least {}", required.min_evidence);
        refusals.push(Refusal::new(RefusalKind::Evidence, detail));
    }
    (refusals, is_exempt)
}

fn unknown(hop: &HopAccount) -> String {
    let worst = hop.unknown_reasons.iter().max_by_key(|(_, count)| **count);
    match worst {
        _ if hop.unknown_servers > 0 && hop.security != Security::Unknown => {
            format!("{} of its {} servers", hop.unknown_servers, hop.servers)
        }
        Some((reason, _)) => reason.to_string(),
        None => "no connection of it has worked".to_owned(),
    }
}

/// The lower, the worse protected.
const fn rank(security: Security) -> u8 {
    match security {
        Security::Unknown => 0,
        Security::Plaintext => 1,
        Security::Tls => 2,
        Security::Mtls => 3,
    }
}

/// Whether it is, and every connection was, at least so well protected. Unknown is another refusal.
fn security(one: &HopPeriod<'_>, wanted: Security) -> Option<Refusal> {
    let is_less = |security: Security| {
        security != Security::Unknown && rank(security).cmp(&rank(wanted)) == Ordering::Less
    };
    // Bytes in the clear were sent, however the connection ended.
    let counts = |tally: &&Tally| is_known(tally) || tally.security == Security::Plaintext;
    let less = one.connections.iter().filter(counts).filter(|tally| is_less(tally.security));
    let (worst, count) = less.fold((wanted, 0), |(worst, count), tally| {
        let worst = if rank(tally.security) < rank(worst) { tally.security } else { worst };
        (worst, count + tally.connections)
    });
    let detail = if is_less(one.hop.security) {
        format!("it is {}, and has to be {wanted}", one.hop.security)
    } else if count > 0 {
        format!("{count} connections were {worst}, and have to be {wanted}")
    } else {
        return None;
    };
    Some(Refusal::new(RefusalKind::Security, detail))
}

/// The rules of which one excuses that a hop is not mutual.
fn unprotected(one: &HopPeriod<'_>) -> &'static [Rule] {
    let is_plaintext = one.hop.security == Security::Plaintext
        || one.connections.iter().any(|tally| tally.security == Security::Plaintext);
    if is_plaintext {
        return &[Rule::Plaintext];
    }
    &[
        Rule::NeverRequested,
        Rule::ClientCertificateMissing,
        Rule::ClientCertificateRemoved,
        Rule::ClientCertificateRejected,
    ]
}

fn verified(hop: &HopAccount) -> Option<Refusal> {
    let detail = match (hop.security, hop.server_verified) {
        (Security::Plaintext, _) => "it is plaintext: no certificate is checked".to_owned(),
        (_, ServerVerified::Yes) => return None,
        (_, ServerVerified::No) => "the proxy does not check the upstream's certificate".to_owned(),
        (_, ServerVerified::Unknown) => {
            "whether the proxy checks the upstream's certificate is not known".to_owned()
        }
    };
    Some(Refusal::new(RefusalKind::NotVerified, detail))
}

fn compliant(hop: &HopAccount) -> Option<Refusal> {
    let detail = match &hop.compliance {
        Some(compliance) if compliance.status == Compliance::Compliant => return None,
        Some(compliance) => {
            let rules = compliance.violations.iter().map(|one| one.rule.as_str());
            let rules: Vec<_> = rules.collect();
            let rules =
                if rules.is_empty() { String::new() } else { format!(": {}", rules.join(", ")) };
            format!("under the policy {:?} it is {}{rules}", compliance.policy, compliance.status)
        }
        None => "it was not evaluated against policy".to_owned(),
    };
    Some(Refusal::new(RefusalKind::NotCompliant, detail))
}

/// What verdicts on a hop rest on at least. One that is carried rests on a full handshake: on the
/// weakest that the hop has, unless it was only guessed which.
fn evidence(one: &HopPeriod<'_>) -> Evidence {
    let hop = one.hop;
    let is_full = |evidence: &Evidence| *evidence > Evidence::Carried;
    let full = hop.connections.iter().filter(|tally| is_known(tally)).map(|tally| tally.evidence);
    let full = full.filter(is_full).min();
    let of = |evidence: Evidence| match evidence {
        Evidence::Carried if hop.carried_by == Some(CarriedBy::LastHandshake) => Evidence::Carried,
        Evidence::Carried => full.unwrap_or(Evidence::Carried),
        other => other,
    };
    let seen = one.connections.iter().filter(|tally| is_known(tally)).map(|tally| tally.evidence);
    seen.chain([hop.evidence]).map(of).min().unwrap_or(Evidence::None)
}
