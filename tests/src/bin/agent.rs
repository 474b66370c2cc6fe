//! The agent as the tests and the demo run it: cargo builds the programs of a package with its
//! tests, so this one is never older than they are.
//!
//! JSON that a command prints is validated on its way, so that no test can forget to.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    process::{Command, ExitCode, Stdio},
};

use anyhow::Context as _;
use hopsight_tests::schema::Document;

/// Set for the command whose output is validated.
const INNER: &str = "HOPSIGHT_TESTS_INNER";

fn main() -> ExitCode {
    let arguments: Vec<String> =
        env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    match Document::of_command(&arguments) {
        Some(document) if env::var_os(INNER).is_none() && !io::stdout().is_terminal() => {
            validated(document).unwrap_or_else(|error| panic!("{error:?}"))
        }
        _ => hopsight::cli::main(),
    }
}

/// Runs the command and passes on what it prints; fails if that is not what its schema says.
fn validated(document: Document) -> anyhow::Result<ExitCode> {
    let program = env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1)).env(INNER, "1");
    command.stdin(Stdio::inherit()).stderr(Stdio::inherit());
    let output = command.output().context("run the command")?;
    // Whoever does not listen any more has what it wanted.
    let _ = io::stdout().write_all(&output.stdout);
    let printed = String::from_utf8(output.stdout).context("read what it printed")?;
    let problems =
        if printed.is_empty() { Vec::new() } else { document.problems_of_text(&printed) };
    anyhow::ensure!(problems.is_empty(), "{problems:#?}");
    let code = output.status.code().context("it was killed")?;
    Ok(ExitCode::from(u8::try_from(code).context("an exit status")?))
}
