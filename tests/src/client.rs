//! Programs that are run for their requests: curl, Python and its modules, Node, and a client with
//! rustls linked in.

use std::{
    env,
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    case::{Case, Holds, Proxy, Verify},
    nginx::utf8,
    pki::Pki,
    place::Place,
    process::Daemon,
    wait::wait_until,
};

/// Process name of our rustls client, at most 15 bytes as the kernel keeps them.
pub const RUSTLS: &str = "hopsight-rustls";

/// The system's Python, which uses the system's OpenSSL; another one on the path may bring its own.
pub const PYTHON: &str = "/usr/bin/python3";

/// What our clients run.
const PYTHON_SCRIPT: &str = include_str!("client.py");
const NODE_SCRIPT: &str = include_str!("client.js");
const GRPC_SCRIPT: &str = include_str!("client_grpc.py");
const PYOPENSSL_SCRIPT: &str = include_str!("client_pyopenssl.py");

/// The folder with the Python modules of this client, where a variable names it: `cargo xtask
/// stacks` installs them.
#[must_use]
pub fn modules(proxy: Proxy) -> Option<OsString> {
    match proxy {
        Proxy::Grpc => env::var_os("HOPSIGHT_GRPC"),
        Proxy::PyOpenSsl => env::var_os("HOPSIGHT_PYOPENSSL"),
        _ => None,
    }
}

/// How requests are made.
#[derive(Clone, Debug)]
pub struct Client {
    program: PathBuf,
    args: Vec<OsString>,
    /// Requests that one run makes, each on a connection of its own.
    requests: usize,
    /// How many of the arguments make a client that says that it is idle, and waits for the end of
    /// its input.
    idle: Option<usize>,
}

impl Client {
    /// curl.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn curl(case: &Case, dial: SocketAddr, pki: &Pki) -> anyhow::Result<Self> {
        let mut args: Vec<OsString> =
            // Without keepalive, every request has a connection of its own.
            ["-q", "--silent", "--output", "/dev/null", "--max-time", "30", "--noproxy", "*"]
                .into_iter()
                .chain(["--header", "Connection: close", "--write-out", "%{http_code}\n"])
                .map(OsString::from)
                .collect();
        let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
        if case.version().is_none() {
            add(&[&format!("http://{dial}/")]);
            return Ok(Self { program: "curl".into(), args, requests: 1, idle: None });
        }
        let (name, port) = (case.server_name(), dial.port());
        add(&["--resolve", &format!("{name}:{port}:{}", dial.ip())]);
        if let Some((chain, key)) = certificate(case, pki) {
            add(&["--cert", utf8(chain)?, "--key", utf8(key)?]);
        }
        match root(case, pki) {
            Some(root) => add(&["--cacert", utf8(root)?]),
            None => add(&["--insecure"]),
        }
        let requests = case.requests_per_process();
        add(&[&format!("https://{name}:{port}/[1-{requests}]")]);
        Ok(Self { program: "curl".into(), args, requests, idle: None })
    }

    /// Python.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn python(case: &Case, dial: SocketAddr, pki: &Pki) -> anyhow::Result<Self> {
        let args = vec!["-c".into(), PYTHON_SCRIPT.into()];
        Ok(Self { idle: None, ..Self::script(PYTHON, args, case, dial, pki) })
    }

    /// Node.
    #[must_use]
    pub fn node(case: &Case, dial: SocketAddr, pki: &Pki) -> Self {
        Self::script("node", vec!["-e".into(), NODE_SCRIPT.into()], case, dial, pki)
    }

    /// A module of Python.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn module(case: &Case, dial: SocketAddr, pki: &Pki) -> anyhow::Result<Self> {
        let modules = modules(case.proxy).context("find the Python module")?;
        let mut path = OsString::from("PYTHONPATH=");
        path.push(modules);
        let script = if case.proxy == Proxy::Grpc { GRPC_SCRIPT } else { PYOPENSSL_SCRIPT };
        let args = vec![path, PYTHON.into(), "-c".into(), script.into()];
        Ok(Self::script("env", args, case, dial, pki))
    }

    /// A script with the arguments that all of ours take.
    fn script(
        program: &str,
        mut args: Vec<OsString>,
        case: &Case,
        dial: SocketAddr,
        pki: &Pki,
    ) -> Self {
        let idle = args.len();
        args.extend([dial.ip().to_string(), dial.port().to_string()].map(OsString::from));
        args.extend([case.server_name().into(), root(case, pki).unwrap_or(Path::new("")).into()]);
        let (chain, key) = certificate(case, pki).unwrap_or((Path::new(""), Path::new("")));
        let requests = case.requests_per_process();
        args.extend([chain.into(), key.into(), requests.to_string().into()]);
        Self { program: program.into(), args, requests, idle: Some(idle) }
    }

    /// Starts the program without a request, where it has a TLS library of its own, and waits until
    /// that is loaded.
    ///
    /// # Errors
    /// When it does not say so.
    pub fn idle(&self, place: &Place, log: &Path) -> anyhow::Result<Option<Daemon>> {
        const LOADED: Duration = Duration::from_mins(1);
        let Some(words) = self.idle else { return Ok(None) };
        let args = &self.args[..words];
        let mut idle = Daemon::spawn_reading(Stdio::piped(), place, &self.program, args, log)?;
        wait_until("an idle client", LOADED, || {
            idle.ensure_running()?;
            Ok(idle.log().contains("idle").then_some(()))
        })?;
        Ok(Some(idle))
    }

    /// The rustls client of this package.
    ///
    /// # Errors
    /// When our own executable cannot be found, or a path is not UTF-8.
    pub fn rustls(case: &Case, dial: SocketAddr, pki: &Pki) -> anyhow::Result<Self> {
        let mut args = vec![dial.to_string().into(), case.server_name().into()];
        args.push(root(case, pki).unwrap_or(&pki.root).into());
        if let Some((chain, key)) = certificate(case, pki) {
            args.extend([chain.into(), key.into()]);
        }
        Ok(Self { program: crate::agent::sibling(RUSTLS)?, args, requests: 1, idle: Some(0) })
    }

    /// curl with `canary` in query, headers and body; another client as it is.
    #[must_use]
    pub fn carrying(&self, canary: &str) -> Self {
        let mut client = self.clone();
        if self.program == Path::new("curl") {
            for (option, value) in [
                ("--header", format!("X-Echo: {canary}")),
                ("--header", format!("Authorization: Bearer {canary}")),
                ("--url-query", format!("token={canary}")),
                ("--data", canary.to_owned()),
            ] {
                client.args.extend([option.into(), value.into()]);
            }
        }
        client
    }

    /// Runs the program once, at `place`; the HTTP statuses of its requests, 0 where there was no response.
    ///
    /// # Errors
    /// When the program cannot be started, or prints anything but so many statuses.
    pub fn run(&self, place: &Place) -> anyhow::Result<Vec<u16>> {
        let program = self.program.display();
        let (first, args) = place.wrap(&self.program, &self.args);
        let output =
            Command::new(first).args(args).output().with_context(|| format!("start {program}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let wrong = || {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("{program} printed {text:?} instead of {} statuses: {errors}", self.requests)
        };
        let statuses = text.split_whitespace().map(str::parse).collect::<Result<Vec<u16>, _>>();
        let statuses = statuses.with_context(wrong)?;
        anyhow::ensure!(statuses.len() == self.requests, wrong());
        Ok(statuses)
    }
}

fn certificate<'a>(case: &Case, pki: &'a Pki) -> Option<(&'a Path, &'a Path)> {
    let identity = match case.holds {
        Holds::Nothing => return None,
        Holds::Trusted => &pki.client,
        Holds::Foreign => &pki.foreign_client,
    };
    Some((&identity.chain, &identity.key))
}

fn root<'a>(case: &Case, pki: &'a Pki) -> Option<&'a Path> {
    match case.verify {
        Verify::Off => None,
        Verify::On | Verify::OtherName => Some(&pki.root),
        Verify::ForeignRoot => Some(&pki.foreign_root),
    }
}
