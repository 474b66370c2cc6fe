//! `hopsight policy`: checks a policy file, or suggests one.

mod against;

use std::{fs, path::PathBuf, process::ExitCode, time::SystemTime};

use anyhow::Context as _;

use self::against::{Hops, compare};
use super::{
    client::Trust,
    hops::{HopFilter, fetch},
};
use hopsight_core::{
    model::{ClientAuth, Evidence, Outcome, Reason, Security, ServerVerified},
    report::Verdict,
};
use hopsight_posture::{
    hops::{counts::Tally, hop::Hop, labels, table::Snapshot},
    policy::{
        exempt::PolicyDocument, observation::Observation, rules::parse_version, suggest::suggest,
        time::UnixTime,
    },
};

/// What to do about policy.
#[derive(Debug, clap::Subcommand)]
pub enum PolicyCommand {
    /// Check a policy file: 0 if it is valid, 1 with the line and what is wrong if not.
    Check(CheckArgs),
    /// Write a policy that every hop meets, as a running agent has seen them so far.
    Suggest(HopFilter),
}

/// Arguments of `hopsight policy check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The file.
    file: PathBuf,

    /// Compare it with these hops as well: a saved answer to /hops, or the address of an agent. 1 if
    /// a policy or an exemption matches none of them.
    #[arg(long, value_name = "FILE|URL")]
    against: Option<String>,

    #[command(flatten)]
    trust: Trust,
}

/// Runs `hopsight policy`.
///
/// # Errors
/// The file cannot be read, or the agent does not answer.
pub fn policy(command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check(args) => check(args),
        PolicyCommand::Suggest(selection) => {
            let snapshot = fetch(selection)?;
            if snapshot.hops.is_empty() {
                eprintln!(
                    "hopsight: no hops that match: a policy of nothing would allow everything"
                );
                return Ok(ExitCode::from(1));
            }
            print!("{}", suggestion(&snapshot));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// As compilers write it: file, line, column, message.
fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let file = args.file.display();
    let text =
        fs::read_to_string(&args.file).with_context(|| format!("read policy file {file}"))?;
    let document = match PolicyDocument::parse(&text) {
        Ok(document) => document,
        Err(error) => {
            println!("{file}:{error}");
            return Ok(ExitCode::from(1));
        }
    };
    let (policies, exemptions) =
        (document.policies.own().count(), document.exemptions.iter().count());
    println!("{file}: valid, policies: {policies}, exemptions: {exemptions}");
    for one in document.exemptions.ended(UnixTime::from(SystemTime::now())) {
        println!("{file}:{}: exemption {} of {} has ended", one.line, one.name, one.owner);
    }
    let Some(place) = &args.against else { return Ok(ExitCode::SUCCESS) };
    let snapshot = Hops::find(place).read(&args.trust)?;
    let (lines, problems) = compare(&document, &snapshot);
    for line in lines {
        println!("{file}:{line}");
    }
    for problem in &problems {
        eprintln!("hopsight: {file}:{problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A policy that the hops of `snapshot` meet. What it leaves out is told in comments: those beyond
/// the agent's limit on hops, which have no name, and those with a server of which nothing is known.
fn suggestion(snapshot: &Snapshot) -> String {
    let (overflow, hops): (Vec<_>, Vec<_>) =
        snapshot.hops.iter().partition(|hop| hop.is_overflow());
    let (half_known, hops): (Vec<_>, Vec<_>) = hops.into_iter().partition(|hop| {
        hop.state.security == Security::Unknown && hop.treatments().next().is_some()
    });
    let mut text = suggest(hops.into_iter().flat_map(|hop| observations(hop)));
    for hop in half_known {
        let plain = |name| labels::printable(name, 256).into_owned();
        text += &format!(
            "\n# {} to {}: no policy, for nothing is known of one of its servers.\n",
            plain(&hop.proxy),
            plain(&hop.upstream)
        );
    }
    if !overflow.is_empty() {
        text += &format!(
            "\n# No policy for what is counted under {}: {} connections beyond the limit of {} hops \
             (hops.max_hops). Raise it and suggest again.\n",
            labels::OTHER,
            overflow.iter().map(|hop| hop.counts.count_of(|_| true)).sum::<u64>(),
            snapshot.max_hops
        );
    }
    text
}

/// One observation per treatment in use, with its connections, and one for those of which nothing is
/// known: what is suggested has to be fulfilled by every server and route, and not by what is history.
fn observations(hop: &Hop) -> impl Iterator<Item = (Observation<'_>, u64)> {
    let lowest = hop.counts.negotiated.iter().filter_map(|seen| parse_version(&seen.version)).min();
    let observation = move |address, verdict: Verdict| Observation {
        proxy: &hop.proxy,
        process: hop.context.process.as_deref().unwrap_or(&hop.proxy),
        opened_by: None,
        namespace: hop.context.namespace(),
        upstream: &hop.upstream,
        name: hop.context.name.as_deref(),
        address,
        verdict,
        tls_version: lowest.filter(|_| matches!(verdict.security, Security::Mtls | Security::Tls)),
        cipher: None,
        cryptography: None,
        resumed: None,
        client_certificate: None,
        server_certificate: None,
        carried_from: None,
        configured_certificate: None,
        on_disk: None,
        server_chain: None,
        revocation: [None; 2],
        key_shared_with: [None; 2],
        client_chain: None,
        newer_elsewhere: None,
        claims: &[],
        at: UnixTime::default(),
        is_final: true,
        loaded_at: None,
        configured_at: None,
        had_client_certificate: false,
        is_shared: false,
    };
    let in_use = hop.servers.iter().flat_map(move |server| {
        server.treatments.iter().map(move |treatment| {
            let verdict = Verdict {
                security: treatment.security,
                client_auth: treatment.client_auth,
                outcome: Outcome::Established,
                evidence: hop.state.evidence,
                server_verified: treatment.server_verified,
                reason: None,
            };
            (observation(server.address, verdict), treatment.connections)
        })
    });
    // A handshake that was not accepted shows what was tried, not what the hop is.
    let says_nothing = |tally: &Tally| match tally.outcome {
        Outcome::Rejected | Outcome::Failed => true,
        Outcome::Incomplete => matches!(tally.security, Security::Mtls | Security::Unknown),
        Outcome::Established => tally.security == Security::Unknown,
    };
    let unknown = hop.counts.count_of(says_nothing);
    // The servers of a hop differ at most for a policy by network or port.
    let address = hop.servers.first().map(|server| server.address);
    let unknown = address.filter(|_| unknown > 0).map(|address| {
        let verdict = Verdict {
            security: Security::Unknown,
            client_auth: ClientAuth::Unknown,
            outcome: Outcome::Incomplete,
            evidence: Evidence::None,
            server_verified: ServerVerified::Unknown,
            reason: Some(Reason::NoData),
        };
        (observation(address, verdict), unknown)
    });
    in_use.chain(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_posture::{
        hops::{
            context::HopContext,
            ends::Ends,
            evaluation::Evaluation,
            table::{HopLimits, HopTable},
            testing::{at, rejected, report, to},
        },
        policy::rules::{PolicySet, Require},
    };

    #[test]
    fn what_was_seen_is_what_is_suggested() {
        let mut table = HopTable::new(HopLimits::default());
        table.record(&report(1, Security::Mtls), at(1.0));
        table.record(&report(2, Security::Mtls), at(1.0));
        table.record(&rejected(report(3, Security::Mtls)), at(1.0));
        table.record(&to(report(4, Security::Plaintext), "10.0.0.2:80"), at(1.0));
        let named = HopContext { name: Some("payments".into()), ..HopContext::default() };
        table.describe(&"nginx".into(), &"10.0.0.1:443".into(), |_| named, at(1.0));
        let text = suggestion(&table.snapshot(2.0));
        assert!(text.contains("# 2 mutual, 0 one-way, 0 plaintext, 1 unknown"), "{text}");
        let policies = PolicySet::parse(&text).expect("a valid suggestion");
        let required = |upstream| {
            let found = policies.policies().iter().find(|one| one.matches.upstream == [upstream]);
            found.map(|policy| policy.require)
        };
        assert_eq!(required("payments"), Some(Require::Mtls), "{text}");
        assert_eq!(required("10.0.0.2:80"), Some(Require::PlaintextAllowed), "{text}");
    }

    #[test]
    fn each_hop_is_matched_by_its_own_policy() {
        let mut table = HopTable::new(HopLimits::default());
        let upstream = "payments";
        for (connection, proxy, security) in
            [(1, "nginx", Security::Tls), (2, "nginx@b.service", Security::Mtls)]
        {
            let ends = Ends { proxy: proxy.into(), upstream: upstream.into(), pod: None };
            table.record_between(
                &ends,
                &report(connection, security),
                Evaluation::default(),
                at(1.0),
            );
            let context = HopContext { process: Some("nginx".into()), ..HopContext::default() };
            table.describe(&ends.proxy, &ends.upstream, |_| context, at(1.0));
        }
        let snapshot = table.snapshot(2.0);
        let text = suggestion(&snapshot);
        let policies = PolicySet::parse(&text).expect("a valid suggestion");
        for hop in &snapshot.hops {
            let subject = hop.subjects().next().expect("a server");
            let found = policies.find(&subject);
            assert_eq!(found.matches.proxy, [&*hop.proxy], "{text}");
        }
    }

    #[test]
    fn what_is_left_out_is_told() {
        let mut table = HopTable::new(HopLimits { max_hops: 1, ..HopLimits::default() });
        let ends = Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None };
        let unknown = to(report(2, Security::Unknown), "10.0.0.2:443");
        for report in [report(1, Security::Mtls), unknown] {
            table.record_between(&ends, &report, Evaluation::default(), at(1.0));
        }
        table.record(&to(report(3, Security::Tls), "10.0.0.3:443"), at(1.0));
        let text = suggestion(&table.snapshot(2.0));
        for words in [
            "# nginx to payments: no policy, for nothing is known of one of its servers.",
            "# No policy for what is counted under ~other: 1 connections beyond the limit of 1 hops",
        ] {
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(PolicySet::parse(&text).expect("valid").own().count(), 0, "{text}");
    }

    #[test]
    fn only_what_every_treatment_in_use_fulfils_is_suggested() {
        let verified = |connection, security, server_verified| {
            let mut report = report(connection, security);
            report.verdict.server_verified = server_verified;
            report
        };
        let (yes, no) = (ServerVerified::Yes, ServerVerified::No);
        for (name, reports, wanted) in [
            (
                "one server of two is one-way",
                vec![verified(1, Security::Mtls, yes), verified(2, Security::Tls, yes)],
                "require = \"tls\"\nverify_upstream = \"unless-mtls\"",
            ),
            (
                "one route of two does not check",
                vec![verified(1, Security::Tls, yes), verified(2, Security::Tls, no)],
                "require = \"tls\"\nverify_upstream = \"never\"",
            ),
            (
                "mutual ones need not be checked",
                vec![verified(1, Security::Mtls, no), verified(2, Security::Tls, yes)],
                "require = \"tls\"\nverify_upstream = \"unless-mtls\"",
            ),
            (
                "only in the clear by one route",
                vec![verified(1, Security::Mtls, yes), verified(2, Security::Plaintext, no)],
                "require = \"plaintext-allowed\"",
            ),
        ] {
            for reverse in [false, true] {
                let mut table = HopTable::new(HopLimits::default());
                let ends = Ends { proxy: "nginx".into(), upstream: "payments".into(), pod: None };
                let mut reports: Vec<_> = reports.clone();
                if reverse {
                    reports.reverse();
                }
                for (host, report) in (1..).zip(&reports) {
                    let report = to(report.clone(), &format!("10.0.0.{host}:443"));
                    table.record_between(&ends, &report, Evaluation::default(), at(1.0));
                }
                let text = suggestion(&table.snapshot(2.0));
                assert!(text.contains(wanted), "{name}, reversed: {reverse}: {text}");
            }
        }
        // What is out of use is history.
        let mut table = HopTable::new(HopLimits::default());
        table.record(&report(1, Security::Plaintext), at(1.0));
        table.record(&report(2, Security::Mtls), at(9_000.0));
        let text = suggestion(&table.snapshot(9_001.0));
        assert!(text.contains("require = \"mtls\""), "{text}");
    }
}
