//! OpenSSL with itself: every version, also with padded records.

use std::{fs, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use anyhow::Context as _;
use hopsight_tests::{
    loopback::Loopback, nginx::utf8, pki::Pki, place::Place, process::Daemon, wait::wait_until,
};
use hopsight_tools::truth::Answer;

use crate::{Row, capture::Capture};

/// How long one step may take.
const STEP: Duration = Duration::from_secs(20);
/// Two handshakes with a session between them.
const HANDSHAKES: u16 = 2;
/// What the server writes at the end of a connection.
const END: &str = "CONNECTION CLOSED";
/// Without this OpenSSL refuses what is older than TLS 1.2.
const OLD: [&str; 2] = ["-cipher", "DEFAULT@SECLEVEL=0"];
/// Each record is filled up to a multiple of this.
const PADDING: [&str; 2] = ["-record_padding", "512"];

/// One server, and the clients that it gets.
struct Pair {
    version: &'static str,
    option: &'static str,
    asks: bool,
    holds: bool,
    is_padded: bool,
}

/// Records them.
pub fn record(file: &Path, scratch: &Path, pki: &Pki, block: Loopback) -> anyhow::Result<Vec<Row>> {
    let capture = Capture::start(file, block.host(0).octets())?;
    let mut rows = Vec::new();
    let mut port = 9_000;
    for (version, option, is_padded) in [
        ("1.0", "-tls1", false),
        ("1.1", "-tls1_1", false),
        ("1.2", "-tls1_2", false),
        ("1.3", "-tls1_3", false),
        ("1.3", "-tls1_3", true),
    ] {
        for (asks, holds) in [(false, false), (false, true), (true, false), (true, true)] {
            let pair = Pair { version, option, asks, holds, is_padded };
            rows.extend(pair.run(scratch, pki, block, port)?);
            port += 10;
        }
    }
    capture.end()?;
    Ok(rows)
}

impl Pair {
    fn options(&self) -> Vec<&str> {
        let mut options = vec![self.option];
        if self.version < "1.2" {
            options.extend(OLD);
        }
        if self.is_padded {
            options.extend(PADDING);
        }
        options
    }

    fn run(
        &self,
        scratch: &Path,
        pki: &Pki,
        block: Loopback,
        port: u16,
    ) -> anyhow::Result<Vec<Row>> {
        let server = block.socket(2, port);
        let session = scratch.join(format!("session-{port}"));
        let session = session.to_str().context("use the session's path")?;
        let mut daemon = self.serve(scratch, pki, server)?;
        let clients: Vec<_> = (0..HANDSHAKES).map(|at| block.socket(3, port + at)).collect();
        for (number, client) in clients.iter().enumerate() {
            let sessions: &[&str] =
                if number == 0 { &["-sess_out", session] } else { &["-sess_in", session] };
            self.connect(scratch, pki, *client, server, sessions)?;
        }
        // It writes the rest of what it says when it ends.
        daemon.wait_exit(STEP)?;
        let log = daemon.log();
        let said: Vec<_> = log.split(END).collect();
        anyhow::ensure!(said.len() > clients.len(), "a server did not say all:\n{log}");
        Ok(clients.iter().zip(said).map(|(client, said)| self.row(said, *client, server)).collect())
    }

    fn serve(&self, scratch: &Path, pki: &Pki, at: SocketAddr) -> anyhow::Result<Daemon> {
        let accept = at.to_string();
        let handshakes = HANDSHAKES.to_string();
        let mut args = vec!["s_server", "-accept", &accept, "-naccept", &handshakes];
        args.extend(self.options());
        args.extend(["-cert", utf8(&pki.server.chain)?, "-key", utf8(&pki.server.key)?]);
        if self.asks {
            args.extend(["-verify", "3"]);
        }
        // It leaves its clients when its standard input ends.
        let log = scratch.join(format!("server-{}.log", at.port()));
        let mut server =
            Daemon::spawn_reading(Stdio::piped(), &Place::here(), "openssl", args, &log)?;
        // To look whether it listens would be a connection.
        wait_until("the server to listen", STEP, || {
            server.ensure_running()?;
            Ok(server.log().contains("ACCEPT").then_some(()))
        })?;
        Ok(server)
    }

    fn connect(
        &self,
        scratch: &Path,
        pki: &Pki,
        from: SocketAddr,
        to: SocketAddr,
        sessions: &[&str],
    ) -> anyhow::Result<()> {
        let (bind, connect) = (from.to_string(), to.to_string());
        let mut args = vec!["s_client", "-connect", &connect, "-bind", &bind];
        args.extend(self.options());
        args.extend(sessions);
        if self.holds {
            args.extend(["-cert", utf8(&pki.client.chain)?, "-key", utf8(&pki.client.key)?]);
        }
        let log = scratch.join(format!("client-{}.log", from.port()));
        let mut client =
            Daemon::spawn_reading(Stdio::piped(), &Place::here(), "openssl", args, &log)?;
        let wants_session = sessions[0] == "-sess_out";
        wait_until("the handshake", STEP, || {
            client.ensure_running()?;
            let has_session = fs::metadata(sessions[1]).is_ok_and(|file| file.len() > 0);
            let is_done = client.log().contains("Verify return code");
            Ok((is_done && (has_session || !wants_session)).then_some(()))
        })?;
        client.close_input();
        client.wait_exit(STEP)?;
        Ok(())
    }

    fn row(&self, said: &str, client: SocketAddr, server: SocketAddr) -> Row {
        let presented = said.contains("Client certificate");
        Row {
            client,
            server,
            says: if presented { Answer::Mutual } else { Answer::OneWay },
            version: self.version.to_owned(),
            resumed: said.contains("Reused session-id"),
            mark: if self.is_padded { "padded" } else { "" },
        }
    }
}
