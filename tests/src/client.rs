//! Programs that open one connection per run: curl, and a client with rustls linked in.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

use crate::{
    case::{Case, Holds, Verify},
    nginx::utf8,
    pki::Pki,
};

/// Process name of our rustls client, at most 15 bytes as the kernel keeps them.
pub const RUSTLS: &str = "hopsight-rustls";

/// How one request is made.
#[derive(Clone, Debug)]
pub struct Client {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Client {
    /// curl.
    ///
    /// # Errors
    /// When a path is not UTF-8.
    pub fn curl(case: &Case, dial: SocketAddr, pki: &Pki) -> anyhow::Result<Self> {
        let mut args: Vec<OsString> =
            ["-q", "--silent", "--output", "/dev/null", "--max-time", "10"]
                .into_iter()
                .chain(["--noproxy", "*", "--write-out", "%{http_code}"])
                .map(OsString::from)
                .collect();
        let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
        if case.version().is_none() {
            add(&[&format!("http://{dial}/")]);
            return Ok(Self { program: "curl".into(), args });
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
        add(&[&format!("https://{name}:{port}/")]);
        Ok(Self { program: "curl".into(), args })
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
        Ok(Self { program: crate::agent::sibling(RUSTLS)?, args })
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

    /// Makes the request; the HTTP status, or 0 if there was no response.
    ///
    /// # Errors
    /// When the program cannot be started or prints something else.
    pub fn request(&self) -> anyhow::Result<u16> {
        let program = self.program.display();
        let output = Command::new(&self.program)
            .args(&self.args)
            .output()
            .with_context(|| format!("start {program}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().with_context(|| {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("{program} printed {text:?} instead of a status: {errors}")
        })
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
        Verify::On => Some(&pki.root),
        Verify::ForeignRoot => Some(&pki.foreign_root),
    }
}
