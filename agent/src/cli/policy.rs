//! `hopsight policy`: checks a policy file, or suggests one.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;

use super::hops::{Selection, fetch};
use hopsight_core::{
    hops::{hop::Hop, table::Snapshot},
    model::{Outcome, Reason, Security},
    policy::{
        observation::Observation,
        rules::{PolicySet, parse_version},
        suggest::suggest,
        time::UnixTime,
    },
    report::Verdict,
};

/// What to do about policy.
#[derive(Debug, clap::Subcommand)]
pub enum PolicyCommand {
    /// Check a policy file: 0 if it is valid, 1 with the line and what is wrong if not.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Write a policy that every hop meets, as a running agent has seen them so far.
    Suggest(Selection),
}

/// Runs `hopsight policy`.
///
/// # Errors
/// The file cannot be read, or the agent does not answer.
pub fn policy(command: &PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check { file } => {
            let text = fs::read_to_string(file)
                .with_context(|| format!("read policy file {}", file.display()))?;
            let (words, code) = match PolicySet::parse(&text) {
                Ok(policies) => {
                    let own = policies.policies().iter().filter(|one| !one.built_in).count();
                    (format!("valid, policies: {own}"), ExitCode::SUCCESS)
                }
                Err(error) => (error.to_string(), ExitCode::from(1)),
            };
            // As compilers write it: file, line, column, message.
            let separator = if code == ExitCode::SUCCESS { ": " } else { ":" };
            println!("{}{separator}{words}", file.display());
            Ok(code)
        }
        PolicyCommand::Suggest(selection) => {
            print!("{}", suggestion(&fetch(selection)?));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A policy that the hops of `snapshot` meet; those beyond the agent's limit on hops have no
/// address and are left out.
fn suggestion(snapshot: &Snapshot) -> String {
    suggest(snapshot.hops.iter().flat_map(|hop| observations(hop)))
}

/// Each kind of connection the hop had, with their number.
fn observations(hop: &Hop) -> impl Iterator<Item = (Observation<'_>, u64)> {
    let lowest = hop.counts.negotiated.iter().filter_map(|seen| parse_version(&seen.version)).min();
    // The servers of a hop differ at most for a policy by network or port.
    let address = hop.servers.first().map(|server| server.address);
    address.into_iter().flat_map(move |address| {
        hop.counts.connections.iter().map(move |tally| {
            // A handshake that was not accepted shows what was tried, not what the hop is.
            let refused = match tally.outcome {
                Outcome::Rejected | Outcome::Failed => true,
                Outcome::Incomplete => tally.security == Security::Mtls,
                Outcome::Established => false,
            };
            let security = if refused { Security::Unknown } else { tally.security };
            let is_tls = matches!(security, Security::Mtls | Security::Tls);
            let verdict = Verdict {
                security,
                client_auth: tally.client_auth,
                outcome: tally.outcome,
                evidence: tally.evidence,
                server_verified: hop.state.server_verified,
                reason: (security == Security::Unknown || tally.outcome == Outcome::Incomplete)
                    .then_some(Reason::NoData),
            };
            let seen = Observation {
                proxy: &hop.proxy,
                process: &hop.proxy,
                namespace: hop.context.namespace(),
                upstream: &hop.upstream,
                name: hop.context.name.as_deref(),
                address,
                verdict,
                tls_version: lowest.filter(|_| is_tls),
                cipher: None,
                client_certificate: None,
                server_certificate: None,
                at: UnixTime::default(),
                is_final: true,
                loaded_at: None,
                configured_at: None,
                had_client_certificate: false,
            };
            (seen, tally.connections)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hopsight_core::{
        hops::{
            context::HopContext,
            table::{HopLimits, HopTable},
            testing::{at, rejected, report, to},
        },
        policy::rules::Require,
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
}
