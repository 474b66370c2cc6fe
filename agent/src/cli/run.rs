//! `hopsight run`: the agent.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Context as _;

use super::log;
use crate::{
    config::{self, Config, LibraryMode},
    privileges::User,
    run::{ConfigFile, RunOptions},
};

/// Arguments of `hopsight run`. Each overrides a key of the configuration file.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct RunArgs {
    /// Configuration file (`hopsight config` prints one).
    #[arg(long, value_name = "FILE", env = "HOPSIGHT_CONFIG")]
    config: Option<PathBuf>,

    /// Where to serve metrics, hops, events and the page.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = config::listen_address)]
    http: Option<SocketAddr>,

    /// Where to answer only /livez and /readyz, in the clear even with TLS.
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = config::listen_address)]
    health: Option<SocketAddr>,

    /// Serve HTTPS with this certificate and its intermediates (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// Answer only clients with a certificate from these authorities (PEM).
    #[arg(long, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,

    /// User to switch to once the kernel programs are loaded: a name, UID or UID:GID.
    #[arg(long, value_name = "USER")]
    user: Option<User>,

    /// Give up no capability, file access or system call (for diagnosis).
    #[arg(long, conflicts_with = "user")]
    keep_privileges: bool,

    /// Watch processes of this name instead of the well-known proxies; repeatable.
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    proxy: Vec<String>,

    /// Watch every process.
    #[arg(long)]
    all: bool,

    /// Watch only the processes in this cgroup v2 directory and below.
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,

    /// Name of this node in /hops and events; without it the variable NODE_NAME, else the host name.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Name of the cluster in /hops and events.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// Append a line of JSON per connection report to this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,

    /// Send every event, and the metrics, to the OTLP receiver of an OpenTelemetry collector.
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,

    /// Policy file to evaluate every hop against (`hopsight policy check` checks it).
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,

    /// Directory in which hops and open drift survive a restart of the agent.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,

    /// Record the captured bytes to a new file that `hopsight replay` reads (for diagnosis).
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Whether to look into the TLS libraries of watched processes.
    #[arg(long, value_name = "MODE")]
    library: Option<LibraryMode>,

    /// The same as `--library off`.
    #[arg(long, conflicts_with = "library")]
    no_library: bool,

    /// Connections whose handshakes are followed at the same time.
    #[arg(long, value_name = "COUNT")]
    max_connections: Option<usize>,

    /// Hops kept apart; further upstreams are counted as ~other.
    #[arg(long, value_name = "COUNT")]
    max_hops: Option<usize>,

    /// Show what the kernel programs log (for diagnosis; costs time on every packet).
    #[arg(long)]
    kernel_log: bool,

    /// Write the agent's log as one JSON object per line.
    #[arg(long)]
    json_logs: bool,
}

impl RunArgs {
    /// The configuration file, if there is one, and what it says, overridden by the options.
    fn config(&self) -> anyhow::Result<(Option<ConfigFile>, Config)> {
        let said = self.config.as_deref().map(Config::read).transpose()?;
        let file = self.config.clone().zip(said.clone());
        let file = file.map(|(path, said)| ConfigFile::new(path, said));
        let mut config = said.unwrap_or_default();
        if let Some(address) = self.http {
            config.http.address = address;
        }
        config.http.health_address = self.health.or(config.http.health_address);
        let tls = &mut config.http.tls;
        for (option, key) in [
            (&self.tls_certificate, &mut tls.certificate),
            (&self.tls_key, &mut tls.key),
            (&self.tls_client_ca, &mut tls.client_ca),
        ] {
            if option.is_some() {
                key.clone_from(option);
            }
        }
        if self.user.is_some() {
            config.privileges.user.clone_from(&self.user);
        }
        if self.keep_privileges {
            config.privileges = config::Privileges {
                user: None,
                drop_capabilities: false,
                landlock: false,
                seccomp: false,
                core_dumps: true,
            };
        }
        if !self.proxy.is_empty() {
            config.watch.proxies.clone_from(&self.proxy);
            config.watch.all = false;
        }
        config.watch.all |= self.all;
        if self.cgroup.is_some() {
            config.watch.cgroup.clone_from(&self.cgroup);
        }
        for (option, key) in
            [(&self.node, &mut config.agent.node), (&self.cluster, &mut config.agent.cluster)]
        {
            if option.is_some() {
                key.clone_from(option);
            }
        }
        if self.events.is_some() {
            config.events.file.clone_from(&self.events);
        }
        if self.otlp.is_some() {
            config.otlp.endpoint.clone_from(&self.otlp);
        }
        if self.policy.is_some() {
            config.policy.file.clone_from(&self.policy);
        }
        if self.state.is_some() {
            config.policy.state_directory.clone_from(&self.state);
        }
        if let Some(mode) = self.library.or(self.no_library.then_some(LibraryMode::Off)) {
            config.library.mode = mode;
        }
        config.connections.max_connections =
            self.max_connections.unwrap_or(config.connections.max_connections);
        config.hops.max_hops = self.max_hops.unwrap_or(config.hops.max_hops);
        config.log.kernel |= self.kernel_log;
        config.log.json |= self.json_logs;
        config.check().context("options")?;
        config.policy.has_what_it_requires().context("policy.required")?;
        Ok((file, config))
    }
}

/// Runs the agent until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration is wrong, the address is taken, or this machine lacks something.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let (file, config) = args.config()?;
    log::start(config.log.json);
    let options = RunOptions {
        config: file,
        live: config.live_options(),
        limits: config.limits(),
        hops: config.hops.limits(),
        witness: config.witness(),
        events: config.events.file.clone(),
        #[cfg(feature = "otlp")]
        otlp: config.otlp.options()?,
        http: config.http.address,
        health: config.http.health_address,
        tls: config.http.tls.clone(),
        http_limits: config.http.limits,
        http_hosts: config.http.hosts.clone(),
        compliance: config.compliance(),
        record: args.record.clone(),
        privileges: config.privileges.options(),
    };
    crate::run::memory::limit_arenas();
    crate::run::run(options)?;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn config(args: &[&str]) -> anyhow::Result<Config> {
        Line::try_parse_from(std::iter::once(&"run").chain(args))?
            .run
            .config()
            .map(|(_, config)| config)
    }

    #[test]
    fn options_override_the_file() {
        let file = tempfile::NamedTempFile::new().expect("temporary file");
        let text = "[watch]\nall = true\n[http]\naddress = \"127.0.0.1:1\"\n[hops]\nmax_hops = 7\n";
        std::fs::write(file.path(), text).expect("write");
        let path = file.path().to_str().expect("UTF-8");

        let from_file = config(&["--config", path]).expect("valid");
        assert!(from_file.watch.all);
        assert_eq!(from_file.http.address.port(), 1);

        let overridden = config(&[
            "--config",
            path,
            "--http",
            "[::1]:2",
            "--proxy",
            "a",
            "--proxy",
            "b",
            "--no-library",
            "--events",
            "-",
            "--policy",
            "p.toml",
            "--state",
            "s",
        ])
        .expect("valid");
        assert_eq!(overridden.http.address, "[::1]:2".parse().expect("literal"));
        assert_eq!((overridden.watch.all, overridden.watch.proxies.len()), (false, 2));
        assert_eq!(overridden.library.mode, LibraryMode::Off);
        assert_eq!(overridden.hops.max_hops, 7, "what is not an option stays");
        assert_eq!(overridden.events.file, Some("-".into()));
        let compliance = overridden.policy.options(overridden.hops);
        assert_eq!(
            (compliance.policy, compliance.state),
            (Some("p.toml".into()), Some("s".into()))
        );
        assert_eq!(compliance.drift.max_hops, 7 + hopsight_posture::hops::table::MAX_OVERFLOW_HOPS);
    }

    #[test]
    fn wrong_options_are_refused() {
        for args in [
            &["--max-hops", "0"][..],
            &["--http", "nowhere"],
            &["--all", "--proxy", "a"],
            &["--library", "maybe"],
            &["--tls-key", "k"],
            &["--tls-client-ca", "c"],
            &["--user", "no such user"],
            &["--user", "1", "--keep-privileges"],
            &["--library", "auto", "--no-library"],
            &["--proxy", ""],
            &["--otlp", "collector:4318"],
            &["--config", "/nonexistent/hopsight.toml"],
        ] {
            assert!(config(args).is_err(), "{args:?}");
        }
    }
}
