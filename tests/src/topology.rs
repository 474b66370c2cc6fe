//! Starts the proxies and upstreams behind a list of cases, and sends requests through them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;

use crate::{
    caddy::{self, Caddy},
    case::{Case, Proxy, Upstream},
    cgroup::Cgroup,
    client::Client,
    envoy::{self, Envoy},
    haproxy::{self, Haproxy},
    http,
    loopback::{Loopback, ipv6_socket},
    netns::NetNs,
    nginx::{self, Nginx},
    pki::Pki,
    place::Place,
    process::Daemon,
    truth::{self, Seen},
    wait::wait_until,
};

/// How long an upstream may take to log what it has answered.
const LOGGED: Duration = Duration::from_secs(30);

/// Where the upstreams are, seen from the proxies.
#[derive(Clone, Copy, Debug)]
pub enum Network<'a> {
    /// 127.0.0.0/8, an address of its own for each upstream.
    Ipv4,
    /// `::1`, a port of its own for each upstream.
    Ipv6,
    /// As `Ipv4`, but the proxies connect IPv6 sockets to `::ffff:127.x.y.z`.
    MappedIpv4,
    /// Another network namespace, over a veth pair.
    Namespace(&'a NetNs),
    /// As `Ipv4`, but the proxies connect to this address, a port of its own for each upstream.
    Relayed(std::net::Ipv4Addr),
}

/// One hop that runs.
#[derive(Clone, Debug)]
pub struct Hop {
    /// What it is.
    pub case: Case,
    /// Where its upstream listens.
    pub listen: SocketAddr,
    /// Where its proxy connects.
    pub dial: SocketAddr,
    entry: Entry,
}

/// How a request gets into a hop.
#[derive(Clone, Debug)]
enum Entry {
    /// Over HTTP in the clear to the proxy.
    Front(SocketAddr),
    /// By running the client, where the proxies are.
    Run(Client, Arc<Cgroup>),
}

impl Hop {
    /// Sends the case's number of requests, one after the other.
    ///
    /// # Errors
    /// When the answer's status is not what the case says.
    pub fn request(&self) -> anyhow::Result<()> {
        let times = match self.entry {
            Entry::Front(_) => self.case.requests,
            Entry::Run(..) => self.case.requests / self.case.requests_per_process(),
        };
        (0..times).try_for_each(|_| self.request_once())
    }

    /// Sends one request, or runs the client once.
    ///
    /// # Errors
    /// When the answer's status is not what the case says.
    pub fn request_once(&self) -> anyhow::Result<()> {
        let statuses = match &self.entry {
            Entry::Front(front) => http::get(*front, "/").map(|response| vec![response.status]),
            Entry::Run(client, cgroup) => client.run(&cgroup.place()),
        };
        let Case { name, status: expected, .. } = self.case;
        for status in statuses.with_context(|| format!("request through {name}"))? {
            anyhow::ensure!(
                status == expected,
                "{name}: HTTP status {status} instead of {expected}"
            );
        }
        Ok(())
    }

    /// Sends one request with `canary` wherever payload can be; returns what came back, empty for
    /// clients that keep it to themselves.
    ///
    /// # Errors
    /// When there is no response at all.
    pub fn request_carrying(&self, canary: &str) -> anyhow::Result<String> {
        match &self.entry {
            Entry::Front(front) => http::post_canary(*front, canary).map(|response| response.body),
            Entry::Run(client, cgroup) => {
                client.carrying(canary).run(&cgroup.place()).map(|_| String::new())
            }
        }
    }

    /// The proxy's own listener, where it has one.
    #[must_use]
    pub const fn front(&self) -> Option<SocketAddr> {
        match self.entry {
            Entry::Front(front) => Some(front),
            Entry::Run(..) => None,
        }
    }
}

/// Running proxies and upstreams, the proxies in a cgroup of their own. Dropping it stops them and
/// deletes their files.
#[derive(Debug)]
pub struct Topology {
    /// The hops, in the order of the cases.
    pub hops: Vec<Hop>,
    /// nginx as proxy, where a case needs it.
    pub nginx: Option<Nginx>,
    /// haproxy as proxy, where a case needs it.
    pub haproxy: Option<Haproxy>,
    /// Envoy as proxy, where a case needs it.
    pub envoy: Option<Envoy>,
    /// Caddy as proxy, where a case wants it.
    pub caddy: Option<Caddy>,
    /// The certificates of all of them.
    pub pki: Pki,
    /// Keep what clients are made of in use.
    idle: Vec<Daemon>,
    nginx_upstream: Option<Nginx>,
    haproxy_upstream: Option<Haproxy>,
    cgroup: Arc<Cgroup>,
    block: Loopback,
    dir: tempfile::TempDir,
}

impl Topology {
    /// Starts what `cases` need; it listens when this returns.
    ///
    /// # Errors
    /// When a program is missing or does not start.
    pub fn start(cases: &[Case], network: Network<'_>) -> anyhow::Result<Self> {
        Self::start_with(cases, network, Pki::create)
    }

    /// The same with certificates that `pki` makes in a directory.
    ///
    /// # Errors
    /// As [`Topology::start`].
    pub fn start_with(
        cases: &[Case],
        network: Network<'_>,
        pki: impl FnOnce(&Path) -> anyhow::Result<Pki>,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("hopsight-")
            .tempdir()
            .context("create a temporary directory")?;
        let pki = pki(&dir.path().join("pki"))?;
        let block = Loopback::reserve()?;
        let cgroup = Arc::new(Cgroup::create()?);
        let place = |(index, case)| place(index, case, network, block, &pki, &cgroup);
        let mut topology = Self {
            hops: cases.iter().enumerate().map(place).collect::<anyhow::Result<_>>()?,
            nginx: None,
            haproxy: None,
            envoy: None,
            caddy: None,
            nginx_upstream: None,
            haproxy_upstream: None,
            cgroup: Arc::clone(&cgroup),
            block,
            dir,
            pki: pki.clone(),
            idle: Vec::new(),
        };
        topology.start_upstreams(&pki, network)?;
        topology.start_proxies(&pki)?;
        topology.start_idle_clients()?;
        Ok(topology)
    }

    /// The hop of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn hop(&self, name: &str) -> anyhow::Result<&Hop> {
        let hop = self.hops.iter().find(|hop| hop.case.name == name);
        hop.with_context(|| format!("there is no hop {name}"))
    }

    /// What the hop's upstream logged.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn truth(&self, hop: &Hop) -> anyhow::Result<Vec<Seen>> {
        match (hop.case.upstream, &self.haproxy_upstream) {
            (Upstream::Haproxy(_), Some(haproxy)) => {
                truth::haproxy(&haproxy.daemon.log(), hop.case.name)
            }
            _ => truth::nginx(&self.upstream_log(&hop.case)),
        }
    }

    /// Waits until the hop's upstream has logged `count` requests: it does so after its response.
    ///
    /// # Errors
    /// When there are fewer in the end.
    pub fn wait_truth(&self, hop: &Hop, count: usize) -> anyhow::Result<Vec<Seen>> {
        let what = format!("{count} log lines of {}", hop.case.name);
        wait_until(&what, LOGGED, || Ok(Some(self.truth(hop)?).filter(|seen| seen.len() >= count)))
    }

    /// The cgroup of the proxies and of what [`Hop::request`] runs.
    #[must_use]
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Whether a program runs already whose connections will be watched.
    #[must_use]
    pub const fn has_clients(&self) -> bool {
        self.nginx.is_some()
            || self.haproxy.is_some()
            || self.envoy.is_some()
            || self.caddy.is_some()
            || !self.idle.is_empty()
    }

    /// A directory that lives as long as this.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// An address that nothing here uses, for the agent.
    #[must_use]
    pub const fn spare_address(&self) -> SocketAddr {
        self.spare_port(9464)
    }

    /// The same with another port, for what runs beside the agent. Envoy's is 9901.
    #[must_use]
    pub const fn spare_port(&self, port: u16) -> SocketAddr {
        self.block.socket(2, port)
    }

    fn upstream_log(&self, case: &Case) -> PathBuf {
        self.dir.path().join("upstream").join(format!("{}.access.log", case.name))
    }

    fn start_upstreams(&mut self, pki: &Pki, network: Network<'_>) -> anyhow::Result<()> {
        let dir = self.dir.path().join("upstream");
        let place = &match network {
            Network::Namespace(netns) => netns.place(),
            _ => Place::here(),
        };
        let mut config = nginx::Config::default();
        let mut sections = String::new();
        let (mut nginx_at, mut haproxy_at) = (None, None);
        for Hop { case, listen, .. } in &self.hops {
            if matches!(case.upstream, Upstream::Haproxy(_)) {
                sections += &haproxy::upstream_frontend(case, *listen, pki)?;
                haproxy_at = Some(*listen);
            } else {
                let log = self.upstream_log(case);
                config.http += &nginx::upstream_server(case, *listen, pki, &log)?;
                nginx_at = Some(*listen);
            }
        }
        if let Some(address) = nginx_at {
            self.nginx_upstream = Some(Nginx::start(&dir, &config, place, address)?);
        }
        if let Some(address) = haproxy_at {
            anyhow::ensure!(place.is_reachable, "haproxy upstreams run in our own namespace only");
            self.haproxy_upstream = Some(Haproxy::start(&dir, &sections, place, address)?);
        }
        Ok(())
    }

    /// An agent that starts later has then looked into the programs whose processes are short.
    fn start_idle_clients(&mut self) -> anyhow::Result<()> {
        let mut programs: Vec<Proxy> = Vec::new();
        for Hop { case, entry, .. } in &self.hops {
            let Entry::Run(client, cgroup) = entry else { continue };
            if programs.contains(&case.proxy) {
                continue;
            }
            programs.push(case.proxy);
            let log = self.dir.path().join(format!("idle-{}.log", programs.len()));
            self.idle.extend(client.idle(&cgroup.place(), &log)?);
        }
        Ok(())
    }

    fn start_proxies(&mut self, pki: &Pki) -> anyhow::Result<()> {
        let dir = self.dir.path().join("proxy");
        let mut config = nginx::Config::default();
        let mut sections = String::new();
        let mut bootstrap = envoy::Config::default();
        let mut servers = caddy::Config::default();
        let (mut nginx_at, mut haproxy_at) = (None, None);
        let (mut envoy_at, mut caddy_at) = (None, None);
        for hop in &self.hops {
            let Some(front) = hop.front() else { continue };
            let Hop { case, dial, .. } = hop;
            match case.proxy {
                Proxy::Nginx => {
                    config.http += &nginx::proxy_server(case, front, *dial, pki)?;
                    nginx_at = Some(front);
                }
                Proxy::NginxStream => {
                    config.stream += &nginx::proxy_server(case, front, *dial, pki)?;
                    nginx_at = Some(front);
                }
                Proxy::Haproxy => {
                    sections += &haproxy::proxy_listen(case, front, *dial, pki)?;
                    haproxy_at = Some(front);
                }
                Proxy::Envoy => {
                    bootstrap.add(case, front, *dial, pki)?;
                    envoy_at = Some(front);
                }
                Proxy::Caddy => {
                    servers.add(case, front, *dial, pki)?;
                    caddy_at = Some(front);
                }
                _ => {}
            }
        }
        let place = &self.cgroup.place();
        if let Some(front) = nginx_at {
            self.nginx = Some(Nginx::start(&dir, &config, place, front)?);
        }
        if let Some(front) = haproxy_at {
            self.haproxy = Some(Haproxy::start(&dir, &sections, place, front)?);
        }
        if let Some(front) = envoy_at {
            let admin = self.spare_port(9901);
            self.envoy = Some(Envoy::start(&dir, &bootstrap, place, admin, front)?);
        }
        if let Some(front) = caddy_at {
            self.caddy = Some(Caddy::start(&dir, &servers, place, front)?);
        }
        Ok(())
    }
}

fn place(
    index: usize,
    case: &Case,
    network: Network<'_>,
    block: Loopback,
    pki: &Pki,
    cgroup: &Arc<Cgroup>,
) -> anyhow::Result<Hop> {
    let index = u8::try_from(index).context("count cases")?;
    let port = if case.version().is_some() { 8443 } else { 8080 };
    let local = block.socket(10 + index, port);
    let (listen, dial) = match network {
        Network::Ipv4 => (local, local),
        Network::Relayed(relay) => (local, SocketAddr::from((relay, 8000 + u16::from(index)))),
        Network::MappedIpv4 => {
            let mapped = block.host(10 + index).to_ipv6_mapped();
            (local, SocketAddr::from((mapped, port)))
        }
        Network::Ipv6 => {
            let address = ipv6_socket()?;
            (address, address)
        }
        Network::Namespace(netns) => {
            let address = SocketAddr::from((netns.far, 8000 + u16::from(index)));
            (address, address)
        }
    };
    let run = |client| Entry::Run(client, Arc::clone(cgroup));
    let entry = match case.proxy {
        Proxy::Curl => run(Client::curl(case, dial, pki)?),
        Proxy::Rustls => run(Client::rustls(case, dial, pki)?),
        Proxy::Python => run(Client::python(case, dial, pki)?),
        Proxy::Node => run(Client::node(case, dial, pki)),
        Proxy::Grpc | Proxy::PyOpenSsl => run(Client::module(case, dial, pki)?),
        _ => Entry::Front(block.socket(1, 7000 + u16::from(index))),
    };
    Ok(Hop { case: *case, listen, dial, entry })
}
