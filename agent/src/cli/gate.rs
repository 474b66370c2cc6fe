//! What makes `hopsight hops` fail: a gate that has seen nothing does not open.

use hopsight_core::model::{Security, ServerVerified};
use hopsight_posture::{
    hops::{hop::Hop, labels::printable, table::Snapshot},
    policy::drift::Compliance,
};

/// Most hops that are named where a gate fails.
const MAX_NAMED: usize = 20;

/// Options of the gate.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct GateArgs {
    /// Exit with 1 if a hop is one of these now, for any of its servers. Then the agent has to be
    /// ready, too.
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    fail_on: Vec<Bad>,

    /// Exit with 1 if fewer hops match. Without it one has to where something was asked for
    /// (--fail-on, --proxy, --upstream, --namespace).
    #[arg(long, value_name = "N")]
    min_hops: Option<usize>,
}

/// What a hop may be that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Bad {
    /// Application bytes in the clear.
    Plaintext,
    /// One-way TLS.
    Tls,
    /// Mutual TLS.
    Mtls,
    /// It is not known how it is protected.
    Unknown,
    /// TLS, and the upstream's certificate is not checked.
    Unverified,
    /// TLS, and it is not known whether the upstream's certificate is checked.
    VerificationUnknown,
    /// Policy or configuration is violated, or the hop was not evaluated.
    Violation,
    /// A violation that is exempt.
    Exempt,
    /// Nothing is known to be violated, and not everything could be seen.
    ComplianceUnknown,
}

impl Bad {
    /// What is wrong with the hop in this sense, if something is.
    fn of(self, hop: &Hop) -> Option<&'static str> {
        // What is worse in one respect need not be in another.
        let all = hop.treatments().map(|one| (one.security, one.server_verified));
        let all: Vec<_> = all.chain([(hop.state.security, hop.state.server_verified)]).collect();
        let is = |wanted: Security| {
            all.iter().any(|(security, _)| *security == wanted).then(|| wanted.as_str())
        };
        let is_tls = |security| matches!(security, Security::Mtls | Security::Tls);
        let verified = |wanted, word| {
            let is_wanted = |(security, verified): &(Security, ServerVerified)| {
                is_tls(*security) && *verified == wanted
            };
            all.iter().any(is_wanted).then_some(word)
        };
        let status = hop.context.compliance.as_ref().map(|compliance| compliance.status);
        let complies = |wanted, word| (status == Some(wanted)).then_some(word);
        match self {
            Self::Plaintext => is(Security::Plaintext),
            Self::Tls => is(Security::Tls),
            Self::Mtls => is(Security::Mtls),
            Self::Unknown => {
                let is_unknown = hop.servers.iter().any(|one| one.security == Security::Unknown);
                is(Security::Unknown).or(is_unknown.then(|| Security::Unknown.as_str()))
            }
            Self::Unverified => verified(ServerVerified::No, "unverified"),
            Self::VerificationUnknown => verified(ServerVerified::Unknown, "verification unknown"),
            Self::Violation if status.is_none() => Some("not evaluated"),
            Self::Violation => complies(Compliance::Violation, "violation"),
            Self::Exempt => complies(Compliance::Exempt, "exempt"),
            Self::ComplianceUnknown => complies(Compliance::Unknown, "compliance unknown"),
        }
    }
}

impl GateArgs {
    /// Whether the agent has to be ready for the answer to mean something.
    pub fn needs_readiness(&self) -> bool {
        !self.fail_on.is_empty()
    }

    /// Why the gate does not open, a line each; nothing if it does. `is_selection`: the hops are
    /// those that match something.
    pub fn complaints(&self, snapshot: &Snapshot, is_selection: bool) -> Vec<String> {
        let asked = is_selection || !self.fail_on.is_empty();
        let wanted = self.min_hops.unwrap_or(usize::from(asked));
        let found = snapshot.hops.len();
        let mut complaints = Vec::new();
        if found < wanted {
            let those = if is_selection { " that match" } else { "" };
            complaints.push(format!("{found} hops{those}, of at least {wanted} (--min-hops)"));
        }
        let bad: Vec<_> = snapshot.hops.iter().filter_map(|hop| self.complaint(hop)).collect();
        let more = bad.len().saturating_sub(MAX_NAMED);
        complaints.extend(bad.into_iter().take(MAX_NAMED));
        if more > 0 {
            complaints.push(format!("and {more} more hops"));
        }
        complaints
    }

    fn complaint(&self, hop: &Hop) -> Option<String> {
        let words: Vec<_> = self.fail_on.iter().filter_map(|bad| bad.of(hop)).collect();
        let plain = |text| printable(text, 256).into_owned();
        let (proxy, upstream) = (plain(&hop.proxy), plain(&hop.upstream));
        (!words.is_empty()).then(|| format!("{proxy} to {upstream}: {}", words.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use hopsight_posture::{
        hops::{
            context::{HopCompliance, HopContext},
            ends::Ends,
            evaluation::Evaluation,
            table::{HopLimits, HopTable},
            testing::{at, report, to},
        },
        policy::exempt::PolicyDocument,
    };

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        gate: GateArgs,
    }

    /// A mutual hop that is compliant, a plaintext one that is exempt, a one-way one that was not
    /// evaluated and is not verified.
    fn snapshot() -> Snapshot {
        let mut table = HopTable::new(HopLimits::default());
        let exempt = "[[exempt]]\nmatch.port = 80\nrules = [\"plaintext\"]\nowner = \"payments\"\n\
                      reason = \"soon\"\nuntil = 9000-01-01";
        let exempt = PolicyDocument::parse(exempt).unwrap().exemptions;
        for (report, compliance, exemption) in [
            (report(1, Security::Mtls), Compliance::Compliant, None),
            (
                to(report(2, Security::Plaintext), "10.0.0.2:80"),
                Compliance::Exempt,
                exempt.iter().next().cloned(),
            ),
        ] {
            let ends = Ends::of(&report);
            let evaluation = Evaluation { compliance: Some(compliance), ..Evaluation::default() };
            table.record_between(&ends, &report, evaluation, at(1.0));
            let compliance = Some(HopCompliance::new("default".into(), [], exemption));
            let context = HopContext { compliance, ..HopContext::default() };
            table.describe(&ends.proxy, &ends.upstream, |_| context, at(1.0));
        }
        let mut one_way = to(report(3, Security::Tls), "10.0.0.3:443");
        one_way.verdict.server_verified = ServerVerified::No;
        table.record(&one_way, at(1.0));
        table.snapshot(2.0).sorted()
    }

    #[test]
    fn a_gate_opens_for_what_was_seen_and_is_good() {
        let nothing = Snapshot::default();
        let hops = snapshot();
        let one = "0 hops that match, of at least 1 (--min-hops)";
        for (name, args, snapshot, is_selection, want) in [
            ("nothing asked, nothing there", "", &nothing, false, &[][..]),
            ("a selection that matches nothing", "", &nothing, true, &[one]),
            (
                "no hop is plaintext, for there is none",
                "--fail-on plaintext",
                &nothing,
                false,
                &["0 hops, of at least 1 (--min-hops)"],
            ),
            ("nothing, as was asked for", "--fail-on tls --min-hops 0", &nothing, true, &[]),
            (
                "more were expected",
                "--min-hops 4",
                &hops,
                false,
                &["3 hops, of at least 4 (--min-hops)"],
            ),
            ("as many as expected", "--min-hops 3", &hops, false, &[]),
            ("none is unknown", "--fail-on unknown", &hops, false, &[]),
            (
                "one is plaintext",
                "--fail-on plaintext,unknown",
                &hops,
                false,
                &["nginx to 10.0.0.2:80: plaintext"],
            ),
            (
                "one is not verified",
                "--fail-on unverified",
                &hops,
                false,
                &["nginx to 10.0.0.3:443: unverified"],
            ),
            (
                "of one it is not known",
                "--fail-on verification-unknown",
                &hops,
                false,
                &["nginx to 10.0.0.1:443: verification unknown"],
            ),
            (
                "what was not evaluated is no proof",
                "--fail-on violation",
                &hops,
                false,
                &["nginx to 10.0.0.3:443: not evaluated"],
            ),
            (
                "exempt is not compliant",
                "--fail-on exempt,compliance-unknown",
                &hops,
                false,
                &["nginx to 10.0.0.2:80: exempt"],
            ),
        ] {
            let line = ["hops"].into_iter().chain(args.split_whitespace());
            let gate = Line::try_parse_from(line).expect(name).gate;
            assert_eq!(gate.complaints(snapshot, is_selection), want, "{name}");
        }
    }

    #[test]
    fn a_server_of_which_nothing_is_known_fails_the_gate() {
        for (security, is_bad) in [(Security::Unknown, true), (Security::Mtls, false)] {
            let mut table = HopTable::new(HopLimits::default());
            let ends = Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None };
            let other = to(report(2, security), "10.0.0.2:443");
            for report in [report(1, Security::Mtls), other] {
                table.record_between(&ends, &report, Evaluation::default(), at(1.0));
            }
            let gate = GateArgs { fail_on: vec![Bad::Unknown], min_hops: None };
            let complaints = gate.complaints(&table.snapshot(2.0), false);
            assert_eq!(!complaints.is_empty(), is_bad, "{security:?}: {complaints:?}");
        }
    }

    #[test]
    fn not_every_hop_is_named() {
        let mut table = HopTable::new(HopLimits::default());
        for number in 0..30 {
            let upstream = format!("10.0.0.{number}:80");
            table.record(&to(report(number, Security::Plaintext), &upstream), at(1.0));
        }
        let gate = GateArgs { fail_on: vec![Bad::Plaintext], min_hops: None };
        let complaints = gate.complaints(&table.snapshot(2.0), false);
        assert_eq!(complaints.len(), MAX_NAMED + 1);
        assert_eq!(complaints[MAX_NAMED], "and 10 more hops");
    }
}
