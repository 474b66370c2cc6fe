//! `hopsight verify`: whether what was attested is enough.

mod junit;
mod sarif;
mod text;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};

use anyhow::Context as _;
use serde::Serialize;

use super::attest::{link, names, read};
use hopsight_core::{model::Evidence, tls::fingerprint::Fingerprint};
use hopsight_export::{attestation::keys::VerifyingKey, time};
use hopsight_posture::{
    audit::{
        chain::{Link, broken},
        judge::{Judgement, judge},
        refusal::{Refusal, RefusalKind},
        require::{Demand, Requirements},
    },
    hops::moment::unix_seconds,
};

/// Arguments of `hopsight verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Statements of one chain, in any order.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,

    /// Public key that has to have signed them (PEM, Ed25519); repeatable, one of them will do.
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,

    /// What every hop has to be and to have been: mtls, tls (at least), verified (its upstream's
    /// certificate is checked), compliant (as policy wants it).
    #[arg(long, value_name = "WORD", value_delimiter = ',', required = true, value_parser = demand)]
    require: Vec<Demand>,

    /// Share of each hop's connections of which it has to be known how they were protected, 0 to 1.
    #[arg(long, value_name = "SHARE", default_value = "1", value_parser = share)]
    min_coverage: f64,

    /// What every verdict has to rest on at least: carried, inferred, wire, library.
    #[arg(long, value_name = "WORD", default_value = "carried", value_parser = evidence)]
    min_evidence: Evidence,

    /// Hops that have to be in each statement at least.
    #[arg(long, value_name = "N", default_value = "1")]
    min_hops: usize,

    /// Names of the nodes that have to be in each statement, one a line.
    #[arg(long, value_name = "FILE")]
    nodes: Option<PathBuf>,

    /// A node that was taken away, and need not be in later statements; repeatable.
    #[arg(long, value_name = "NODE")]
    gone: Vec<String>,

    /// Policy file that has to have been in force on every node.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Seconds after the statement before for which nobody needs to account: restarts of agents.
    #[arg(long, value_name = "SECONDS", default_value = "0")]
    allow_unaccounted: f64,

    /// Let pass what an exemption of the policy excuses, while it lasts.
    #[arg(long)]
    allow_exempt: bool,

    /// Digest of the statement that the first of these follows; without it that is number 1.
    #[arg(long, value_name = "SHA256", value_parser = sha256)]
    after: Option<Fingerprint>,

    /// Hold only the newest statement against what is required; the chain is verified all the same.
    #[arg(long)]
    newest: bool,

    /// Seconds since the newest statement at most.
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<f64>,

    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// A JSON object.
    Json,
    /// JUnit's XML, a test case for each hop.
    Junit,
    /// SARIF 2.1.0.
    Sarif,
}

fn demand(text: &str) -> Result<Demand, String> {
    let found = Demand::ALL.iter().find(|word| word.as_str() == text);
    found.copied().ok_or_else(|| "one of mtls, tls, verified, compliant".to_owned())
}

fn evidence(text: &str) -> Result<Evidence, String> {
    let words = Evidence::ALL.iter().filter(|word| **word != Evidence::None);
    let found = words.copied().find(|word| word.as_str() == text);
    found.ok_or_else(|| "one of carried, inferred, wire, library".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "a number from 0 to 1".to_owned())
}

fn sha256(text: &str) -> Result<Fingerprint, String> {
    let read = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    read.map_err(|_| "64 hexadecimal digits".to_owned())
}

/// What was found.
#[derive(Debug, Serialize)]
struct Outcome {
    /// The statements in the order of their chain; before them what is none.
    statements: Vec<Verified>,
    /// The answer.
    passes: bool,
}

/// One statement.
#[derive(Debug, Serialize)]
struct Verified {
    file: String,
    /// Its place in its chain; absent where it could not be opened.
    number: Option<u64>,
    sha256: Option<Fingerprint>,
    /// Where its time begins and ends, RFC 3339.
    from: Option<String>,
    to: Option<String>,
    nodes: usize,
    hops: usize,
    exempt: usize,
    known_connections: u64,
    unknown_connections: u64,
    refusals: Vec<Refusal>,
    /// Its hops, as they are labelled, with their nodes.
    #[serde(skip)]
    labels: Vec<(String, String)>,
}

/// Runs `hopsight verify`: exit code 1 where something is refused.
///
/// # Errors
/// A file cannot be read, a key is none, or standard output cannot be written.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let outcome = run(args, unix_seconds(SystemTime::now()))?;
    let text = match args.output {
        Format::Text => text::render(&outcome, args),
        Format::Json => serde_json::to_string_pretty(&outcome)? + "\n",
        Format::Junit => junit::render(&outcome),
        Format::Sarif => sarif::render(&outcome)?,
    };
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")?;
    Ok(if outcome.passes { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn run(args: &VerifyArgs, now: f64) -> anyhow::Result<Outcome> {
    let keys: anyhow::Result<Vec<_>> =
        args.key.iter().map(|path| VerifyingKey::read(path)).collect();
    let keys = keys?;
    let required = requirements(args)?;
    let mut statements = Vec::new();
    let mut links = Vec::new();
    for path in &args.files {
        match link(&read(path)?, &keys) {
            Ok(link) => links.push((path, link)),
            Err(refusal) => statements.push(Verified::refused(path, refusal)),
        }
    }
    links.sort_by_key(|(_, link)| link.account.number);
    let (paths, links): (Vec<_>, Vec<_>) = links.into_iter().unzip();
    for (at, path) in paths.into_iter().enumerate() {
        let is_judged = !args.newest || at + 1 == links.len();
        let mut verified = verified(path, &links, at, args.after, is_judged.then_some(&required));
        if at + 1 == links.len() {
            verified.refusals.extend(stale(args, links[at].account.at, now));
        }
        statements.push(verified);
    }
    let passes = statements.iter().all(|one| one.refusals.is_empty()) && !statements.is_empty();
    Ok(Outcome { statements, passes })
}

fn requirements(args: &VerifyArgs) -> anyhow::Result<Requirements> {
    let policy = args.policy.as_deref().map(read).transpose()?;
    Ok(Requirements {
        demands: args.require.clone(),
        min_coverage: args.min_coverage,
        min_evidence: args.min_evidence,
        min_hops: args.min_hops,
        max_unaccounted_seconds: args.allow_unaccounted,
        allow_exempt: args.allow_exempt,
        nodes: args.nodes.as_deref().map(names).transpose()?.unwrap_or_default(),
        gone: args.gone.clone(),
        policy: policy.map(|bytes| Fingerprint::of(&bytes)),
    })
}

impl Verified {
    /// A file that is no statement of these keys.
    fn refused(path: &Path, refusal: Refusal) -> Self {
        Self {
            file: path.display().to_string(),
            number: None,
            sha256: None,
            from: None,
            to: None,
            nodes: 0,
            hops: 0,
            exempt: 0,
            known_connections: 0,
            unknown_connections: 0,
            refusals: vec![refusal],
            labels: Vec::new(),
        }
    }
}

/// The statement at `at` of a chain; `required` only where it is held against that.
fn verified(
    path: &Path,
    links: &[Link],
    at: usize,
    after: Option<Fingerprint>,
    required: Option<&Requirements>,
) -> Verified {
    let Link { sha256, account } = &links[at];
    let broken = broken(links, at, after);
    // One that does not follow is judged as a whole.
    let before =
        at.checked_sub(1).filter(|_| broken.is_none()).map(|before| &links[before].account);
    let nothing_required = Requirements::default();
    let Judgement { from, to, nodes, hops, exempt, coverage, refusals } =
        judge(before, account, required.unwrap_or(&nothing_required));
    let refusals = refusals.into_iter().filter(|_| required.is_some());
    let labels = account
        .nodes
        .iter()
        .flat_map(|node| node.hops.iter().map(|hop| (node.name().to_owned(), hop.label())));
    Verified {
        file: path.display().to_string(),
        number: Some(account.number),
        sha256: Some(*sha256),
        from: Some(time::rfc3339(from)),
        to: Some(time::rfc3339(to)),
        nodes,
        hops,
        exempt,
        known_connections: coverage.known,
        unknown_connections: coverage.unknown,
        refusals: broken.into_iter().chain(refusals).collect(),
        labels: labels.collect(),
    }
}

/// The newest statement is too old, or from a time to come.
fn stale(args: &VerifyArgs, at: f64, now: f64) -> Option<Refusal> {
    let max_age = args.max_age?;
    let age = now - at;
    (age.abs() > max_age).then(|| {
        let detail = format!("it is {age:.0} s old, of at most {max_age:.0} s (--max-age)");
        Refusal::new(RefusalKind::Stale, detail)
    })
}

#[cfg(test)]
mod tests;
