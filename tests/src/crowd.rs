//! Many silent connections, opened and kept by processes of their own.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::Context as _;

use crate::{agent::sibling, cgroup::Cgroup};

/// Name of the processes.
pub const NAME: &str = "hopsight-crowd";

/// A process of the crowd, which ends when it is dropped.
#[derive(Debug)]
pub struct Part {
    child: Child,
    input: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Part {
    /// Starts it in this cgroup, with an address to accept at, or an address and how many
    /// connections to open.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(cgroup: &Cgroup, args: &[String]) -> anyhow::Result<Self> {
        let (first, args) = cgroup.place().wrap(sibling(NAME)?, args);
        let mut command = Command::new(first);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("start {NAME}"))?;
        let said = child.stdout.take().context("find its standard output")?;
        Ok(Self { input: child.stdin.take(), child, said: BufReader::new(said) })
    }

    /// The next line that it prints: `listening`, or how many connections there are.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.said.read_line(&mut line).with_context(|| format!("read what {NAME} prints"))?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        drop(self.input.take());
        // What fails here has ended already.
        let _ = self.child.wait();
    }
}
