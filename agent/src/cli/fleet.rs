//! `hopsight fleet`: the hops of all nodes in one place, from Prometheus.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, bail, ensure};
use tokio::signal::unix::{SignalKind, signal};

use super::{client::Trust, log};
use crate::config;
use hopsight_export::{
    fleet::{Fleet, LOOK, agents::Agents, prometheus::Prometheus},
    http::{
        self, Hosts, HttpLimits,
        client::Server,
        tls::{Tls, TlsFiles},
    },
};
use hopsight_posture::hops::{labels::label, witness::Witness};

/// Time that Prometheus has to answer, and an agent.
const PROMETHEUS_TIMEOUT: Duration = Duration::from_secs(10);
const AGENT_TIMEOUT: Duration = Duration::from_secs(3);

/// Arguments of `hopsight fleet`.
#[derive(Debug, clap::Args)]
pub struct FleetArgs {
    /// Prometheus, or what speaks its API (Thanos, Mimir): http://HOST:PORT or https://HOST:PORT. It has
    /// to evaluate dashboards/recording.yaml.
    #[arg(long, value_name = "URL")]
    prometheus: String,

    /// Agents that have to be there, HOST:PORT as Prometheus calls their instances, one a line.
    #[arg(long, value_name = "FILE")]
    agents: Option<PathBuf>,

    /// A name whose every address has an agent, such as that of a headless Service.
    #[arg(long, value_name = "NAME:PORT")]
    agents_dns: Option<String>,

    /// Ask agents over HTTPS, with --cacert, --cert and --key.
    #[arg(long, requires = "cacert")]
    agents_https: bool,

    #[command(flatten)]
    trust: Trust,

    /// Name of the fleet in /hops, where it is one cluster's.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// Where to serve the page and hops.
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:9465",
        value_parser = config::listen_address
    )]
    http: SocketAddr,

    /// A name at which it may be asked without TLS, beside those that lead to nobody else; repeatable.
    #[arg(long, value_name = "NAME")]
    http_host: Vec<String>,

    /// Serve HTTPS with this certificate and its intermediates (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,

    /// The certificate's private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,

    /// Answer only clients with a certificate from these authorities (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_client_ca: Option<PathBuf>,
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// The address is taken, a certificate cannot be used, or an address is none.
pub fn fleet(args: &FleetArgs) -> anyhow::Result<ExitCode> {
    log::start(false);
    let prometheus = prometheus(args).context("read --prometheus")?;
    let agents = agents(args);
    let witness = Witness { cluster: args.cluster.as_deref().map(label), ..Witness::default() };
    let fleet = Arc::new(Fleet::new(prometheus, agents, witness));
    let listener = http::bind(args.http)?;
    let files = TlsFiles {
        certificate: args.tls_certificate.clone(),
        key: args.tls_key.clone(),
        client_ca: args.tls_client_ca.clone(),
    };
    let tls = Tls::load(&files)?.map(Arc::new);
    let looking = Arc::clone(&fleet);
    // It ends with the process: there is nothing to keep.
    let look = move || {
        loop {
            looking.look();
            thread::sleep(LOOK);
        }
    };
    thread::Builder::new().name("look".to_owned()).spawn(look).context("start a thread")?;
    let hosts: Hosts = args.http_host.iter().collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("start the async runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
        let stop = async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        let address = listener.local_addr().context("ask for our own address")?;
        tracing::info!(%address, tls = tls.is_some(), "serving the fleet");
        http::serve_fleet(listener, tls, fleet, HttpLimits::default(), hosts, stop).await
    })?;
    Ok(ExitCode::SUCCESS)
}

fn prometheus(args: &FleetArgs) -> anyhow::Result<Prometheus> {
    let url = &args.prometheus;
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (host, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    ensure!(has_port, "{url} is not an address: http://HOST:PORT or https://HOST:PORT");
    let tls = match scheme {
        "http" => None,
        "https" => Some(args.trust.tls(host)?),
        _ => bail!("{scheme}:// is not supported; use http or https"),
    };
    let host = host.to_owned();
    let get = move |path: &str| {
        let server = Server { host: &host, tls: tls.as_ref(), timeout: PROMETHEUS_TIMEOUT };
        server.get(path).with_context(|| format!("at {host}"))
    };
    Ok(Prometheus::new(prefix, Box::new(get)))
}

fn agents(args: &FleetArgs) -> Agents {
    let trust = args.agents_https.then(|| args.trust.clone());
    let ask = move |instance: &str, path: &str| {
        let tls = trust.as_ref().map(|trust| trust.tls(instance)).transpose()?;
        Server { host: instance, tls: tls.as_ref(), timeout: AGENT_TIMEOUT }.get(path)
    };
    Agents { file: args.agents.clone(), name: args.agents_dns.clone(), ask: Box::new(ask) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: FleetArgs,
    }

    #[test]
    fn addresses_of_prometheus() {
        for (url, is_good) in [
            ("http://prometheus:9090", true),
            ("prometheus:9090", true),
            ("http://mimir:80/prometheus/", true),
            ("prometheus", false),
            ("ftp://prometheus:9090", false),
            // Without authorities.
            ("https://prometheus:9090", false),
        ] {
            let line = Line::try_parse_from(["fleet", "--prometheus", url]).unwrap();
            assert_eq!(prometheus(&line.args).is_ok(), is_good, "{url}");
        }
    }
}
