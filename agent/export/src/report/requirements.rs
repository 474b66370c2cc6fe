//! What a report says to requirements of others, and what it does not show.
//!
//! Each says in our words what is asked; the texts themselves are their publishers'. A report supports
//! an assessment, it makes none.

use serde::Serialize;

use hopsight_core::model::{Security, ServerVerified};
use hopsight_posture::audit::coverage::Coverage;

use super::{DriftState, Report};

/// One requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// Whose it is.
    pub framework: &'static str,
    /// Which.
    pub requirement: &'static str,
    /// What it asks for, in our words.
    pub asks: &'static str,
    /// What this report shows of that.
    pub shows: Vec<String>,
    /// What that rests on.
    pub rests_on: String,
    /// What it does not show.
    pub does_not_show: Vec<&'static str>,
}

const PCI: &str = "PCI DSS 4.0.1";
const NIST: &str = "NIST SP 800-207A";
const DORA: &str = "DORA, Delegated Regulation (EU) 2024/1774";
const FEDRAMP: &str = "FedRAMP 20x";

const OTHER_TRAFFIC: &str = "traffic that no watched proxy sends: clients to proxies, databases, and services among themselves";
const SCOPE: &str =
    "which of the hops carry data that the requirement is about: that is your scoping";
const PRIVATE_KEYS: &str = "private keys: where they are kept, who has them, how they are made";

/// All of them.
pub(super) fn all(report: &Report) -> Vec<Requirement> {
    let facts = Facts::of(report);
    [pci(&facts), nist(&facts), dora(&facts), fedramp(&facts)].concat()
}

/// Of whoever handles cards.
fn pci(facts: &Facts) -> Vec<Requirement> {
    vec![
        Requirement {
            framework: PCI,
            requirement: "4.2.1.1",
            asks: "an inventory of the trusted keys and certificates that protect cardholder data on \
                   its way",
            shows: vec![facts.certificates.clone(), facts.expiry.clone()],
            rests_on: facts.certificate_evidence.clone(),
            does_not_show: vec![
                SCOPE,
                OTHER_TRAFFIC,
                PRIVATE_KEYS,
                "certificates that no connection used",
            ],
        },
        Requirement {
            framework: PCI,
            requirement: "12.3.3",
            asks: "an inventory of cipher suites and protocols in use, with purpose and place, reviewed \
                   every 12 months, and a plan for when one is broken",
            shows: vec![facts.cryptography.clone(), facts.readiness.clone()],
            rests_on: facts.connections.clone(),
            does_not_show: vec![
                SCOPE,
                OTHER_TRAFFIC,
                "that somebody reviewed it, follows what becomes of it, and has a plan",
                "cryptography of data at rest",
            ],
        },
    ]
}

/// Of zero trust between services.
fn nist(facts: &Facts) -> Vec<Requirement> {
    vec![
        Requirement {
            framework: NIST,
            requirement: "ID-SEG-REC-1, encrypted connections between service endpoints",
            asks: "encryption between any two services, wherever they are",
            shows: vec![facts.security.clone(), facts.worse.clone()],
            rests_on: facts.connections.clone(),
            does_not_show: vec![
                OTHER_TRAFFIC,
                "what happens behind an upstream's end of the connection",
            ],
        },
        Requirement {
            framework: NIST,
            requirement: "ID-SEG-REC-2, service authentication",
            asks: "a short-lived identity that each service presents and the other one checks",
            shows: vec![facts.mutual.clone(), facts.verified.clone(), facts.expiry.clone()],
            rests_on: facts.connections.clone(),
            does_not_show: vec![
                "what an upstream makes of the identity that a proxy presents, beyond accepting it",
                "authorization of services and of end users (ID-SEG-REC-3 to 5)",
                OTHER_TRAFFIC,
            ],
        },
    ]
}

/// Of financial entities in the European Union.
fn dora(facts: &Facts) -> Vec<Requirement> {
    vec![
        Requirement {
            framework: DORA,
            requirement: "Article 6, encryption and cryptographic controls",
            asks: "rules for encryption in transit, of internal connections and of traffic with external \
                   parties, that follow leading practices; what deviates is recorded with a reason",
            shows: vec![
                facts.security.clone(),
                facts.cryptography.clone(),
                facts.exemptions.clone(),
            ],
            rests_on: facts.connections.clone(),
            does_not_show: vec![
                "the policy itself, the classification of data and the assessment of risk behind it",
                "encryption of data at rest and in use",
                OTHER_TRAFFIC,
            ],
        },
        Requirement {
            framework: DORA,
            requirement: "Article 7, cryptographic key management",
            asks: "keys managed through their lives, a register of certificates that is up to date, and \
                   renewal in time",
            shows: vec![facts.certificates.clone(), facts.expiry.clone()],
            rests_on: facts.certificate_evidence.clone(),
            does_not_show: vec![
                PRIVATE_KEYS,
                "devices that store certificates",
                "certificates that no connection used",
            ],
        },
    ]
}

/// Of who serves the government of the United States.
fn fedramp(facts: &Facts) -> Vec<Requirement> {
    vec![
        Requirement {
            framework: FEDRAMP,
            requirement: "KSI-SVC-SNT, securing network traffic (KSI-SVC-02 before)",
            asks: "network traffic that is encrypted or secured otherwise",
            shows: vec![facts.security.clone(), facts.worse.clone()],
            rests_on: facts.connections.clone(),
            does_not_show: vec![
                OTHER_TRAFFIC,
                "whether the cryptographic modules are validated (FIPS 140)",
            ],
        },
        Requirement {
            framework: FEDRAMP,
            requirement: "KSI-SVC-VCM, validating communications",
            asks: "authenticity and integrity of communications between machines, validated persistently",
            shows: vec![facts.mutual.clone(), facts.verified.clone()],
            rests_on: facts.connections.clone(),
            does_not_show: vec![OTHER_TRAFFIC, "what is validated above TLS"],
        },
        Requirement {
            framework: FEDRAMP,
            requirement: "KSI-CNA-EIS, enforcing intended state",
            asks: "automated assessment of what there is against what is intended",
            shows: vec![facts.compliance.clone(), facts.drift.clone()],
            rests_on: facts.watching.clone(),
            does_not_show: vec!["enforcement: hopsight watches, and changes nothing"],
        },
    ]
}

/// Sentences with the report's numbers, for several requirements.
struct Facts {
    security: String,
    worse: String,
    mutual: String,
    verified: String,
    compliance: String,
    drift: String,
    exemptions: String,
    certificates: String,
    certificate_evidence: String,
    expiry: String,
    cryptography: String,
    readiness: String,
    connections: String,
    watching: String,
}

impl Facts {
    fn of(report: &Report) -> Self {
        let hops = report.hops.len();
        let count = |wanted: &dyn Fn(&super::HopLine) -> bool| {
            report.hops.iter().filter(|hop| wanted(hop)).count()
        };
        let of = |security| report.summary.hops.get(&security).copied().unwrap_or_default();
        let is_tls = |hop: &super::HopLine| matches!(hop.security, Security::Tls | Security::Mtls);
        let verified = |answer| count(&|hop| is_tls(hop) && hop.server_verified == answer);
        let worse = count(&|hop| hop.worse_connections > 0);
        let Coverage { known, .. } = report.summary.coverage;
        let total = report.summary.coverage.total();
        let certificates = &report.inventory.certificates;
        let seen: Vec<_> = certificates.iter().filter(|line| line.subject.is_some()).collect();
        let unseen = certificates.len() - seen.len();
        let soonest = seen.iter().filter_map(|line| line.not_after.as_deref()).min();
        let ended =
            seen.iter().filter(|line| line.not_after.as_deref() < Some(&*report.to)).count();
        let drifts = |state| report.drift.iter().filter(|entry| entry.state == state).count();
        let mended = report.drift.iter().filter_map(|entry| entry.remediation_seconds);
        let longest = mended.max_by(f64::total_cmp);
        let mut kinds: Vec<_> = report
            .inventory
            .cryptography
            .iter()
            .map(|line| (line.version.as_deref(), line.cipher.as_deref(), line.group.as_deref()))
            .filter(|(version, ..)| version.is_some())
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        let readiness = report.inventory.readiness;
        let violating = count(&|hop| !hop.violations.is_empty());
        let unjudged = count(&|hop| hop.compliance.is_none());
        Self {
            security: format!(
                "of {hops} hops {} are mutual TLS, {} one-way TLS, {} plaintext, and of {} it is not known",
                of(Security::Mtls),
                of(Security::Tls),
                of(Security::Plaintext),
                of(Security::Unknown)
            ),
            worse: format!(
                "{worse} hops had connections in that time that were less protected than they are now"
            ),
            mutual: format!(
                "on {} of {hops} hops the proxy presented a certificate and proved its key, and the upstream accepted",
                of(Security::Mtls)
            ),
            verified: format!(
                "of {} hops with TLS the proxy checks the upstream's certificate on {}, does not on {}, and of {} it is not known",
                count(&is_tls),
                verified(ServerVerified::Yes),
                verified(ServerVerified::No),
                verified(ServerVerified::Unknown)
            ),
            compliance: format!(
                "{violating} of {hops} hops violate their policy or configuration, {} are exempt, {unjudged} were not evaluated",
                report.exemptions.len()
            ),
            drift: format!(
                "{} drifts ended in that time, {} are open, of {} the end was not told; the longest took {} to be mended once it was noticed",
                drifts(DriftState::Closed),
                drifts(DriftState::Open),
                drifts(DriftState::EndUntold),
                longest.map_or("no time that is known".to_owned(), crate::time::age)
            ),
            exemptions: format!(
                "{} hops are exempt, each with an owner, a reason and a last day; {} of these days are over",
                report.exemptions.len(),
                report.exemptions.iter().filter(|line| line.has_ended).count()
            ),
            certificates: format!(
                "{} lines of certificates in use, by hop, with issuer, validity, key and digest",
                seen.len()
            ),
            certificate_evidence: format!(
                "certificates as they were sent, on the wire or in the proxy's TLS library; {unseen} times one was not seen, with the reason"
            ),
            expiry: format!(
                "the first of them ends {}; {ended} have ended",
                soonest.unwrap_or("never, for there is none")
            ),
            cryptography: format!(
                "{} combinations of version, cipher suite and group that connections negotiated, each with its hops",
                kinds.len()
            ),
            readiness: format!(
                "{} hops had keys that are safe from quantum computers throughout, {} partly, {} not",
                readiness.post_quantum, readiness.mixed, readiness.classical
            ),
            connections: format!(
                "{total} connections, of {known} of which it is known how they were protected; what was seen of each hop's is under Evidence"
            ),
            watching: format!(
                "{} nodes, {} of them in doubt; {} things were lost",
                report.nodes.len(),
                report.summary.nodes_in_doubt,
                report.summary.lost
            ),
        }
    }
}
