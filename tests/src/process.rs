//! Programs that run beside a test and end with it.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::Write as _,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::{place::Place, wait::wait_until};

/// How long a program may take to begin to listen, in a machine that is emulated on a busy one.
const START: Duration = Duration::from_mins(1);
/// How long a program may take to end after SIGTERM before it is killed, on a machine whose
/// processors are all busy.
const STOP: Duration = Duration::from_secs(30);

/// A running program. Dropping it sends SIGTERM, then SIGKILL.
///
/// The program is also told to end when the thread that started it dies for any other reason
/// (`setpriv --pdeathsig`, prctl(2) `PR_SET_PDEATHSIG`), so an owner lives on the thread that
/// outlives it.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `program` with `args`; its standard output and error are appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        Self::spawn_at(&Place::here(), program, args, log)
    }

    /// The same elsewhere than here.
    ///
    /// # Errors
    /// As [`Daemon::spawn`].
    pub fn spawn_at(
        place: &Place,
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        Self::spawn_reading(Stdio::null(), place, program, args, log)
    }

    /// The same with a standard input, such as a pipe that stays open until
    /// [`Daemon::close_input`].
    ///
    /// # Errors
    /// As [`Daemon::spawn`].
    pub fn spawn_reading(
        input: Stdio,
        place: &Place,
        program: impl AsRef<Path>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let program = program.as_ref();
        let output = append(log)?;
        let errors = output.try_clone().context("duplicate log file")?;
        let (first, rest) = place.wrap(program, args);
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .arg(first)
            .args(rest)
            .stdin(input)
            .stdout(output)
            .stderr(errors)
            .spawn()
            .with_context(|| format!("start {} (through setpriv)", program.display()))?;
        Ok(Self { name: program.display().to_string(), child, log: log.to_owned() })
    }

    /// Writes to its standard input, which is a pipe.
    ///
    /// # Errors
    /// When it reads no more, or from no pipe.
    pub fn write_input(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let input = self.child.stdin.as_mut().context("find the pipe to its standard input")?;
        input.write_all(bytes).with_context(|| format!("write to {}", self.name))
    }

    /// Ends its standard input.
    pub fn close_input(&mut self) {
        self.child.stdin = None;
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit status, if it has ended.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn try_wait(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("wait for {}", self.name))
    }

    /// # Errors
    /// When it has ended; the message carries the end of its log.
    pub fn ensure_running(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.try_wait()? {
            anyhow::bail!("{} ended with {status}:\n{}", self.name, tail(&self.log(), 20));
        }
        Ok(())
    }

    /// Waits until `address` accepts connections.
    ///
    /// # Errors
    /// When the program ends first, or does not listen in time.
    pub fn wait_listening(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let what = format!("{} to listen on {address}", self.name);
        wait_until(&what, START, || {
            self.ensure_running()?;
            Ok(TcpStream::connect_timeout(&address, START).ok().map(drop))
        })
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// When it has not ended `within` that time.
    pub fn wait_exit(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let what = format!("{} to end", self.name);
        wait_until(&what, within, || self.try_wait())
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// When it does not end within half a minute.
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait_exit(STOP)
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), signal)
            .with_context(|| format!("signal {} (pid {})", self.name, self.pid()))
    }

    /// Ends it: with SIGTERM, then with SIGKILL.
    pub fn stop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // Not `terminate`: waiting here must continue when the user has interrupted.
        let deadline = std::time::Instant::now() + STOP;
        let asked = self.signal(Signal::TERM).is_ok();
        while asked && std::time::Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("cannot end {} (pid {}): {error}", self.name, self.pid());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails; the message carries its standard error.
pub fn run(
    program: &str,
    args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>,
) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let output = command.output().with_context(|| format!("start {program}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?} ended with {}:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A process name that no other test process uses, for programs and threads that are watched by
/// name.
///
/// # Panics
/// When `name` has more than 8 bytes: the kernel keeps 15 in all.
#[must_use]
pub fn own_name(name: &str) -> String {
    assert!(name.len() <= 8, "{name} is too long");
    format!("{name}-{:x}", std::process::id())
}

/// Gives `program` another name in `directory`, which is what its processes are then called.
///
/// # Errors
/// When there is no such program, or the link cannot be made.
pub fn called(directory: &Path, program: impl AsRef<Path>, name: &str) -> anyhow::Result<PathBuf> {
    let program = program.as_ref();
    let found = program.to_str().and_then(find).unwrap_or_else(|| program.to_owned());
    let found = found.canonicalize().with_context(|| format!("find {}", program.display()))?;
    let link = directory.join(name);
    std::os::unix::fs::symlink(&found, &link)
        .with_context(|| format!("call {} {}", found.display(), link.display()))?;
    Ok(link)
}

/// Where the program is on `PATH`.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn append(path: &Path) -> anyhow::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open {}", path.display()))
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
