//! Other TLS stacks than the proxies': the HTTP clients and servers that OpenSSL, GnuTLS and NSS
//! come with, each of which can speak to each.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    case::{Asks, Version},
    nginx::utf8,
    pki::{Identity, Pki},
    place::Place,
    process::{self, Daemon},
    wait::wait_until,
};

/// Programs that all of this needs.
pub const PROGRAMS: &[&str] =
    &["openssl", "gnutls-cli", "gnutls-serv", "tstclnt", "selfserv", "certutil", "pk12util"];

/// How long one connection may take.
const CONNECTION: Duration = Duration::from_secs(30);

/// Longer than an alert, padded or not.
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nUser-Agent: a test of another stack\r\n\r\n";

/// A TLS stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// OpenSSL: `s_client`, `s_server`.
    OpenSsl,
    /// GnuTLS: `gnutls-cli`, `gnutls-serv`.
    GnuTls,
    /// NSS: `tstclnt`, `selfserv`.
    Nss,
}

impl Stack {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::OpenSsl, Self::GnuTls, Self::Nss];

    /// Name of the process that connects.
    #[must_use]
    pub const fn client(self) -> &'static str {
        match self {
            Self::OpenSsl => "openssl",
            Self::GnuTls => "gnutls-cli",
            Self::Nss => "tstclnt",
        }
    }

    /// Starts a server on every address of the machine, since not all of them can be told one.
    ///
    /// # Errors
    /// When it does not listen.
    pub fn serve(
        self,
        keys: &Keys,
        version: Version,
        asks: Asks,
        address: SocketAddr,
        log: &Path,
    ) -> anyhow::Result<Daemon> {
        let port = address.port().to_string();
        let server = &keys.pki.server;
        let (chain, key) = (utf8(&server.chain)?, utf8(&server.key)?);
        let program;
        let mut args;
        match self {
            Self::OpenSsl => {
                program = "openssl";
                args = vec!["s_server", "-www", "-accept", &port, "-cert", chain, "-key", key];
                args.push(version.openssl());
                args.extend(match asks {
                    Asks::Nothing => [].as_slice(),
                    Asks::Optional => &["-verify", "3"],
                    Asks::Required => &["-Verify", "3"],
                });
            }
            Self::GnuTls => {
                program = "gnutls-serv";
                args = vec!["--http", "--port", &port, "--priority", version.gnutls()];
                args.extend(["--x509certfile", chain, "--x509keyfile", key]);
                args.extend(["--x509cafile", utf8(&keys.pki.root)?]);
                args.extend(match asks {
                    Asks::Nothing => Some("--disable-client-cert"),
                    Asks::Optional => None,
                    Asks::Required => Some("--require-client-cert"),
                });
            }
            Self::Nss => {
                program = "selfserv";
                args = vec!["-p", &port, "-d", utf8(&keys.nss)?, "-n", SERVER, "-u"];
                args.extend(["-V", version.nss()]);
                args.extend(match asks {
                    Asks::Nothing => None,
                    Asks::Optional => Some("-r"),
                    Asks::Required => Some("-rr"),
                });
            }
        }
        let mut daemon = Daemon::spawn_reading(Stdio::piped(), &Place::here(), program, args, log)?;
        daemon.wait_listening(address)?;
        Ok(daemon)
    }

    /// Makes one request from `place` and leaves; whether it was answered.
    ///
    /// # Errors
    /// When the program neither gets an answer nor ends.
    pub fn request(
        self,
        keys: &Keys,
        presents: bool,
        place: &Place,
        address: SocketAddr,
        log: &Path,
    ) -> anyhow::Result<bool> {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let connect = address.to_string();
        let Identity { chain, key, .. } = &keys.pki.client;
        let (chain, key) = (utf8(chain)?, utf8(key)?);
        let mut args;
        match self {
            Self::OpenSsl => {
                args = vec!["s_client", "-quiet", "-connect", &connect];
                if presents {
                    args.extend(["-cert", chain, "-key", key]);
                }
            }
            Self::GnuTls => {
                args = vec!["--insecure", "--port", &port, &host];
                if presents {
                    args.extend(["--x509certfile", chain, "--x509keyfile", key]);
                }
            }
            Self::Nss => {
                args = vec!["-h", &host, "-p", &port, "-d", utf8(&keys.nss)?, "-o"];
                args.extend(["-V", "tls1.2:tls1.3", "-n", if presents { CLIENT } else { "none" }]);
            }
        }
        let mut client = Daemon::spawn_reading(Stdio::piped(), place, self.client(), args, log)?;
        // One that ended already will not be answered.
        let _ = client.write_input(REQUEST);
        let what = format!("{} to be answered by {address}", self.client());
        wait_until(&what, CONNECTION, || {
            let has_ended = client.try_wait()?.is_some();
            let is_answered = client.log().contains("HTTP/1.0 200");
            Ok((is_answered || has_ended).then_some(is_answered))
        })
        .with_context(|| client.log())
    }
}

impl Version {
    const fn openssl(self) -> &'static str {
        match self {
            Self::V12 => "-tls1_2",
            Self::V13 => "-tls1_3",
        }
    }

    const fn gnutls(self) -> &'static str {
        match self {
            Self::V12 => "NORMAL:-VERS-ALL:+VERS-TLS1.2",
            Self::V13 => "NORMAL:-VERS-ALL:+VERS-TLS1.3",
        }
    }

    const fn nss(self) -> &'static str {
        match self {
            Self::V12 => "tls1.2:tls1.2",
            Self::V13 => "tls1.3:tls1.3",
        }
    }
}

/// Makes the one record that NSS sends its Certificate, CertificateVerify and Finished in some 30
/// bytes longer than a multiple of 64, which would be taken for padding.
const CLIENT_PADDING: usize = 48;

/// Nicknames in NSS's database.
const SERVER: &str = "server";
const CLIENT: &str = "client";

/// Certificates and keys, also as NSS needs them.
#[derive(Debug)]
pub struct Keys {
    pki: Pki,
    nss: PathBuf,
}

impl Keys {
    /// Makes everything in `dir`.
    ///
    /// # Errors
    /// When a program fails.
    pub fn create(dir: &Path) -> anyhow::Result<Self> {
        let pki = Pki::padded(&dir.join("pki"), 0, CLIENT_PADDING)?;
        let nss = dir.join("nss");
        fs::create_dir_all(&nss).with_context(|| format!("create {}", nss.display()))?;
        let database = utf8(&nss)?;
        process::run("certutil", ["-N", "-d", database, "--empty-password"])?;
        for (nickname, identity) in [(SERVER, &pki.server), (CLIENT, &pki.client)] {
            let bundle = dir.join(nickname).with_extension("p12");
            let (bundle, input) = (utf8(&bundle)?, utf8(&identity.bundle)?);
            let words = ["pkcs12", "-export", "-passout", "pass:", "-name", nickname];
            process::run("openssl", words.into_iter().chain(["-in", input, "-out", bundle]))?;
            process::run("pk12util", ["-d", database, "-i", bundle, "-W", ""])?;
        }
        let root = utf8(&pki.root)?;
        process::run("certutil", ["-A", "-d", database, "-n", "root", "-t", "CT,,", "-i", root])?;
        Ok(Self { pki, nss })
    }
}
