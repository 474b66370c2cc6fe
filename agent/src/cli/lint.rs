//! `hopsight lint`: a configuration against policy, before it is deployed. No agent, no root.

pub(super) mod junit;
pub(super) mod sarif;
mod text;

use std::{fs, io::Write as _, path::PathBuf, process::ExitCode, time::SystemTime};

use anyhow::Context as _;
use serde::Serialize;

use super::configuration::{ConfigurationFiles, Read};
use hopsight_posture::policy::{
    exempt::PolicyDocument,
    intent::{Fault, Remark},
    lint::{For, Lint, State, lint as hold},
    time::UnixTime,
};

/// Arguments of `hopsight lint`.
#[derive(Debug, clap::Args)]
pub struct LintArgs {
    #[command(flatten)]
    configuration: ConfigurationFiles,

    /// The policy file.
    #[arg(long, value_name = "POLICY")]
    policy: PathBuf,

    /// Name of the proxy that policies may match; without it that of its process.
    #[arg(long, value_name = "NAME")]
    proxy: Option<String>,

    /// Kubernetes namespace of the proxy that policies may match.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,

    /// Let pass what the configuration does not tell.
    #[arg(long)]
    allow_unknown: bool,

    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// As compilers write it, with what would mend it.
    Text,
    /// A JSON object.
    Json,
    /// JUnit's XML, a test case per upstream.
    Junit,
    /// SARIF 2.1.0.
    Sarif,
}

/// What a run has found.
#[derive(Debug, Serialize)]
struct Outcome {
    /// What was read, as it was named.
    configuration: String,
    /// What the proxy itself would refuse; then nothing was held against policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<FaultText>,
    #[serde(flatten)]
    lint: Lint,
    remarks: Vec<Remark>,
    /// Why there is no answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    nothing_matched: Option<&'static str>,
    /// Whether what is not known passes.
    allow_unknown: bool,
    /// The answer.
    passes: bool,
}

/// A fault in JSON.
#[derive(Debug, Serialize)]
struct FaultText {
    at: hopsight_posture::policy::intent::Place,
    text: String,
}

/// Runs `hopsight lint`; exit code 1 if the configuration is not what policy requires or is not known to
/// be, if the proxy would refuse it, or if nothing of it was held against anything.
///
/// # Errors
/// A file cannot be read, the policy is not valid, or standard output cannot be written.
pub fn lint(args: &LintArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!args.configuration.files.is_empty(), "name the configuration's file");
    let outcome = run(args, UnixTime::from(SystemTime::now()))?;
    let text = match args.output {
        Format::Text => text::render(&outcome),
        Format::Json => serde_json::to_string_pretty(&outcome)? + "\n",
        Format::Junit => junit::render(&outcome),
        Format::Sarif => sarif::render(&outcome)?,
    };
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")?;
    Ok(if outcome.passes { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn run(args: &LintArgs, now: UnixTime) -> anyhow::Result<Outcome> {
    let policy = args.policy.display();
    let document =
        fs::read_to_string(&args.policy).with_context(|| format!("read policy file {policy}"))?;
    let document =
        PolicyDocument::parse(&document).map_err(|error| anyhow::anyhow!("{policy}:{error}"))?;
    let Read { kind, intent } = args.configuration.read()?;
    let files: Vec<_> =
        args.configuration.files.iter().map(|file| file.display().to_string()).collect();
    let configuration = files.join(" ");
    let proxy = For {
        proxy: args.proxy.as_deref().unwrap_or(kind.process()),
        namespace: args.namespace.as_deref(),
        kind,
    };
    let allow_unknown = args.allow_unknown;
    let outcome = match intent {
        Err(Fault { at, text }) => Outcome {
            configuration,
            fault: Some(FaultText { at, text }),
            lint: Lint::default(),
            remarks: Vec::new(),
            nothing_matched: None,
            allow_unknown,
            passes: false,
        },
        Ok(intent) => {
            let lint = hold(&intent, &document, proxy, now);
            let nothing_matched = lint.nothing_matched();
            let bad = lint.count(State::Violation)
                + if allow_unknown { 0 } else { lint.count(State::Unknown) };
            Outcome {
                configuration,
                fault: None,
                passes: bad == 0 && nothing_matched.is_none(),
                lint,
                remarks: intent.remarks,
                nothing_matched,
                allow_unknown,
            }
        }
    };
    Ok(outcome)
}

#[cfg(test)]
mod tests;
