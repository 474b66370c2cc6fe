//! 0-RTT data (RFC 8446 section 2.3) that the server refuses: `openssl s_client` and
//! `openssl s_server`, since none of the proxies sends any.

use std::{fs, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use hopsight_core::model::ClientAuth;

use crate::{
    cgroup::Cgroup, nginx::utf8, pki::Pki, place::Place, process::Daemon, wait::wait_until,
};

/// Name of the process that connects.
pub const CLIENT: &str = "openssl";

/// How long one step of a connection may take.
const STEP: Duration = Duration::from_secs(30);

/// A full handshake after early data: the server does not know the session.
#[derive(Clone, Copy, Debug)]
pub struct EarlyData {
    /// What it is called.
    pub name: &'static str,
    /// Whether the server lacks the group of the client's key share, and so answers with a
    /// HelloRetryRequest.
    pub retry: bool,
    /// What the client does about a client certificate; the server asks unless `NotRequested`.
    pub client_auth: ClientAuth,
}

impl EarlyData {
    const fn new(name: &'static str, retry: bool, client_auth: ClientAuth) -> Self {
        Self { name, retry, client_auth }
    }

    /// Whether record lengths can tell: early data of any length may stand before the client's
    /// flight, unless it ended before the second ClientHello, or the server did not ask.
    #[must_use]
    pub fn is_told_by_lengths(&self) -> bool {
        self.retry || self.client_auth == ClientAuth::NotRequested
    }

    /// Takes a session from a server at `before`, with a client in `cgroup`, and offers it with `bytes` of early data to
    /// another one at `server`.
    ///
    /// # Errors
    /// When a program fails, or the early data is not refused.
    pub fn run(
        &self,
        dir: &Path,
        pki: &Pki,
        cgroup: &Cgroup,
        [before, server]: [SocketAddr; 2],
        bytes: usize,
    ) -> anyhow::Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        let (session, data) = (dir.join("session.pem"), dir.join("early_data"));
        fs::write(&data, vec![b'.'; bytes]).context("write the early data")?;
        let (session, data) = (utf8(&session)?, utf8(&data)?);
        let taken = |_: &str| Path::new(session).exists();
        let refused = |log: &str| log.contains("Early data was rejected");

        let mut first = self.serve(dir, pki, before)?;
        let place = &cgroup.place();
        self.connect(dir, pki, place, before, &["-sess_out", session], taken)?;
        first.terminate()?;
        let mut second = self.serve(dir, pki, server)?;
        self.connect(
            dir,
            pki,
            place,
            server,
            &["-sess_in", session, "-early_data", data],
            refused,
        )?;
        second.terminate()?;
        Ok(())
    }

    fn serve(&self, dir: &Path, pki: &Pki, address: SocketAddr) -> anyhow::Result<Daemon> {
        let accept = address.to_string();
        let mut args = vec!["s_server", "-quiet", "-tls1_3", "-early_data", "-accept", &accept];
        args.extend(["-cert", utf8(&pki.server.chain)?, "-key", utf8(&pki.server.key)?]);
        if self.retry {
            args.extend(["-groups", "P-384"]);
        }
        if self.client_auth != ClientAuth::NotRequested {
            args.extend(["-verify", "3"]);
        }
        // It leaves its clients when its standard input ends.
        let mut server = Daemon::spawn_reading(
            Stdio::piped(),
            &Place::here(),
            CLIENT,
            args,
            &dir.join("server.log"),
        )?;
        server.wait_listening(address)?;
        Ok(server)
    }

    /// Connects, waits until `done` says so of what the client printed, and leaves.
    fn connect(
        &self,
        dir: &Path,
        pki: &Pki,
        place: &Place,
        address: SocketAddr,
        session: &[&str],
        done: impl Fn(&str) -> bool,
    ) -> anyhow::Result<()> {
        let connect = address.to_string();
        let mut args = vec!["s_client", "-tls1_3", "-connect", &connect];
        args.extend(["-groups", "X25519:P-384"]);
        args.extend(session);
        if self.client_auth == ClientAuth::Presented {
            args.extend(["-cert", utf8(&pki.client.chain)?, "-key", utf8(&pki.client.key)?]);
        }
        let log = dir.join(format!("client-{}.log", address.port()));
        let mut client = Daemon::spawn_reading(Stdio::piped(), place, CLIENT, args, &log)?;
        let what = format!("{} to be through at {address}", self.name);
        wait_until(&what, STEP, || {
            client.ensure_running()?;
            Ok(done(&client.log()).then_some(()))
        })?;
        client.close_input();
        client.wait_exit(STEP)?;
        Ok(())
    }
}

/// Every way that a refused early data can go.
pub const ALL: &[EarlyData] = {
    use ClientAuth::{NotRequested, Presented, RequestedNotPresented};
    &[
        EarlyData::new("tls13-early-data", false, NotRequested),
        EarlyData::new("tls13-early-data-optional", false, RequestedNotPresented),
        EarlyData::new("mtls13-early-data", false, Presented),
        EarlyData::new("tls13-early-data-retry", true, NotRequested),
        EarlyData::new("tls13-early-data-retry-optional", true, RequestedNotPresented),
        EarlyData::new("mtls13-early-data-retry", true, Presented),
    ]
};
