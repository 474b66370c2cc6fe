//! The command line.
//!
//! Exit codes: 0 done; 1 the question asked was answered "no" (`hops --fail-on` matched, or fewer
//! hops were there than had to be; `check` found something missing; `policy check` or
//! `config --check` found a mistake; `lint` found a configuration that is not as policy requires it,
//! or not known to be; a proxy would refuse what `intent` reads; `verify` refused a statement); 2 the command could not be carried
//! out.

mod attest;
mod check;
mod client;
mod configuration;
mod fleet;
mod gate;
mod hops;
mod intent;
mod inventory;
mod lint;
mod log;
mod paint;
mod policy;
mod replay;
mod report;
mod run;
mod table;
mod verify;
mod watch;

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};

use self::{
    attest::AttestArgs, check::CheckArgs, fleet::FleetArgs, hops::HopsArgs, intent::IntentArgs,
    inventory::InventoryArgs, lint::LintArgs, policy::PolicyCommand, replay::ReplayArgs,
    report::ReportArgs, run::RunArgs, verify::VerifyArgs, watch::WatchArgs,
};

/// Which upstream hops of a reverse proxy are mutual TLS, one-way TLS or plaintext, with the
/// evidence for it.
#[derive(Debug, Parser)]
#[command(name = "hopsight", version, about, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    /// When to use colours on a terminal.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: paint::ColorChoice,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the connections of the proxies on this machine.
    Run(Box<RunArgs>),
    /// Show the hops of all nodes in one place, from Prometheus.
    Fleet(Box<FleetArgs>),
    /// Show the hops a running agent knows.
    Hops(HopsArgs),
    /// Show them live in the terminal.
    Watch(WatchArgs),
    /// Read packet captures through the same pipeline.
    Replay(ReplayArgs),
    /// List certificates and cryptography in use: of an agent, of saved hops, or of captures.
    Inventory(InventoryArgs),
    /// Report on a time, for auditors: of an agent, of saved hops of many, and of files of events.
    Report(ReportArgs),
    /// State what agents saw, signed, for somebody who was not there.
    Attest(AttestArgs),
    /// Hold what was attested against what has to be: signatures, chain, losses, and every hop.
    Verify(VerifyArgs),
    /// Show what a proxy's configuration says about its upstreams, without traffic.
    Intent(IntentArgs),
    /// Hold a configuration against a policy before it is deployed.
    Lint(LintArgs),
    /// Say what this machine has and lacks for hopsight.
    Check(CheckArgs),
    /// Check a policy file, or suggest one from what was seen.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Print the configuration file with every key documented and at its default.
    Config {
        /// Check this file, and the files that it names, instead of printing one: 1 if a file that
        /// it names is not what it should be.
        #[arg(long, value_name = "FILE")]
        check: Option<PathBuf>,
    },
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    Man,
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hopsight: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Fleet(args) => fleet::fleet(&args),
        Command::Hops(args) => hops::hops(&args, cli.color),
        Command::Watch(args) => watch::watch(&args, cli.color),
        Command::Replay(args) => replay::replay(&args, cli.color),
        Command::Inventory(args) => inventory::inventory(&args),
        Command::Report(args) => report::report(&args),
        Command::Attest(args) => attest::attest(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Intent(args) => intent::intent(&args, cli.color),
        Command::Lint(args) => lint::lint(&args),
        Command::Check(args) => check::check(&args, cli.color),
        Command::Policy(command) => policy::policy(&command),
        Command::Config { check } => config(check),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "hopsight", &mut io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Command::Man => {
            manual(&mut io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn config(check: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    match check {
        None => print!("{}", crate::config::DEFAULT_FILE),
        Some(path) => {
            let problems = crate::config::Config::read(&path)?.file_problems();
            for problem in &problems {
                println!("{}: {problem}", path.display());
            }
            if !problems.is_empty() {
                return Ok(ExitCode::from(1));
            }
            println!("{}: valid", path.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// One page for all commands: a reader of `man hopsight` looks for an option, not for a page.
fn manual(out: &mut dyn io::Write) -> anyhow::Result<()> {
    let mut command = Cli::command();
    command.build();
    let render = |page: clap_mangen::Man, out: &mut dyn io::Write| page.render(out);
    render(clap_mangen::Man::new(command.clone()), out).context("write the manual page")?;
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        let page = clap_mangen::Man::new(sub.clone());
        let title = format!(".SH \"HOPSIGHT {}\"\n", sub.get_name().to_uppercase());
        out.write_all(title.as_bytes()).context("write the manual page")?;
        page.render_description_section(out).context("write the manual page")?;
        page.render_synopsis_section(out).context("write the manual page")?;
        page.render_options_section(out).context("write the manual page")?;
    }
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_manual_names_every_command_and_option() {
        let mut page = Vec::new();
        manual(&mut page).expect("written to memory");
        let page = String::from_utf8(page).expect("text").replace('\\', "");
        for command in Cli::command().get_subcommands() {
            let name = command.get_name().to_uppercase();
            assert!(page.contains(&format!("HOPSIGHT {name}")), "{name}");
            for option in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(page.contains(&format!("--{option}")), "{name} --{option}");
            }
        }
    }
}
