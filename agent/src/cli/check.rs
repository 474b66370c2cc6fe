//! `hopsight check`: what this machine has and lacks for hopsight.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;

use super::{
    paint::{ColorChoice, Style},
    table::{Cell, Table},
};
use crate::{
    config::Config,
    preflight::{self, Requirement, State},
};

/// Arguments of `hopsight check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Format,

    /// Check for this configuration file instead of the defaults.
    #[arg(long, value_name = "FILE", env = "HOPSIGHT_CONFIG")]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line per requirement.
    Table,
    /// A JSON list.
    Json,
}

/// Runs `hopsight check`; exit code 1 if something needed is missing.
///
/// # Errors
/// The configuration is wrong, or standard output cannot be written.
pub fn check(args: &CheckArgs, color: ColorChoice) -> anyhow::Result<ExitCode> {
    let config = args.config.as_deref().map(Path::new).map(Config::read).transpose()?;
    let config = config.unwrap_or_default();
    let mut requirements = preflight::check(&config.live_options());
    requirements.extend(preflight::check_names(&config.compliance()));
    let text = match args.output {
        Format::Table => lines(&requirements, color.for_stdout()),
        Format::Json => serde_json::to_string_pretty(&requirements)? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes()).context("write to standard output")?;
    let is_ready = preflight::is_ready(&requirements);
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn lines(requirements: &[Requirement], colors: bool) -> String {
    let mut table = Table::new(["STATE", "REQUIREMENT", "FOUND"]);
    for requirement in requirements {
        let style = match requirement.state {
            State::Ok => Style::Green,
            State::Degraded => Style::Yellow,
            State::Missing => Style::Red,
        };
        table.push(vec![
            Cell::styled(requirement.state.as_str(), style),
            requirement.name.into(),
            requirement.detail.clone().into(),
        ]);
    }
    let advice = requirements
        .iter()
        .filter(|requirement| !requirement.advice.is_empty())
        .map(|requirement| format!("{}: {}", requirement.name, requirement.advice));
    let lines: Vec<_> = table.lines(colors).into_iter().chain(advice).collect();
    lines.join("\n") + "\n"
}
