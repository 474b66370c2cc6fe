//! Starts the proxies and upstreams behind a list of cases, and sends requests through them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::{
    case::{Case, Proxy, Upstream},
    haproxy::{self, Haproxy},
    http,
    loopback::{Loopback, ipv6_socket},
    netns::NetNs,
    nginx::{self, Nginx},
    pki::Pki,
    truth::{self, Seen},
};

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
}

/// One hop that runs.
#[derive(Clone, Copy, Debug)]
pub struct Hop {
    /// What it is.
    pub case: Case,
    /// Where its proxy takes requests.
    pub front: SocketAddr,
    /// Where its upstream listens.
    pub listen: SocketAddr,
    /// Where its proxy connects.
    pub dial: SocketAddr,
}

impl Hop {
    /// Sends the case's number of requests, one after the other.
    ///
    /// # Errors
    /// When the proxy answers with another status than the case says.
    pub fn request(&self) -> anyhow::Result<()> {
        for _ in 0..self.case.requests {
            self.request_once()?;
        }
        Ok(())
    }

    /// Sends one request.
    ///
    /// # Errors
    /// When the proxy answers with another status than the case says.
    pub fn request_once(&self) -> anyhow::Result<()> {
        let response = http::get(self.front, "/");
        let Some(status) = self.case.status else { return Ok(()) };
        let response = response.with_context(|| format!("request through {}", self.case.name))?;
        anyhow::ensure!(
            response.status == status,
            "{}: HTTP status {} instead of {status}: {}",
            self.case.name,
            response.status,
            response.body
        );
        Ok(())
    }
}

/// Running proxies and upstreams. Dropping it stops them and deletes their files.
#[derive(Debug)]
pub struct Topology {
    /// The hops, in the order of the cases.
    pub hops: Vec<Hop>,
    /// nginx as proxy, where a case wants it.
    pub nginx: Option<Nginx>,
    /// haproxy as proxy, where a case wants it.
    pub haproxy: Option<Haproxy>,
    nginx_upstream: Option<Nginx>,
    haproxy_upstream: Option<Haproxy>,
    dir: tempfile::TempDir,
}

impl Topology {
    /// Starts what `cases` need; it listens when this returns.
    ///
    /// # Errors
    /// When a program is missing or does not start.
    pub fn start(cases: &[Case], network: Network<'_>) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("hopsight-")
            .tempdir()
            .context("create a temporary directory")?;
        let pki = Pki::create(&dir.path().join("pki"))?;
        let hops = place(cases, network)?;
        let mut topology = Self {
            hops,
            nginx: None,
            haproxy: None,
            nginx_upstream: None,
            haproxy_upstream: None,
            dir,
        };
        topology.start_upstreams(&pki, network)?;
        topology.start_proxies(&pki)?;
        Ok(topology)
    }

    /// The hop of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn hop(&self, name: &str) -> anyhow::Result<&Hop> {
        self.hops
            .iter()
            .find(|hop| hop.case.name == name)
            .with_context(|| format!("there is no hop {name}"))
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

    /// A directory that lives as long as this.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn upstream_log(&self, case: &Case) -> PathBuf {
        self.dir.path().join("upstream").join(format!("{}.access.log", case.name))
    }

    fn start_upstreams(&mut self, pki: &Pki, network: Network<'_>) -> anyhow::Result<()> {
        let dir = self.dir.path().join("upstream");
        let netns = match network {
            Network::Namespace(netns) => Some(netns),
            _ => None,
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
            self.nginx_upstream = Some(Nginx::start(&dir, &config, netns, address)?);
        }
        if let Some(address) = haproxy_at {
            anyhow::ensure!(netns.is_none(), "haproxy upstreams run in our own namespace only");
            self.haproxy_upstream = Some(Haproxy::start(&dir, &sections, address)?);
        }
        Ok(())
    }

    fn start_proxies(&mut self, pki: &Pki) -> anyhow::Result<()> {
        let dir = self.dir.path().join("proxy");
        let mut config = nginx::Config::default();
        let mut sections = String::new();
        let (mut nginx_at, mut haproxy_at) = (None, None);
        for Hop { case, front, dial, .. } in &self.hops {
            match case.proxy {
                Proxy::Haproxy => {
                    sections += &haproxy::proxy_listen(case, *front, *dial, pki)?;
                    haproxy_at = Some(*front);
                }
                Proxy::Nginx => {
                    config.http += &nginx::proxy_server(case, *front, *dial, pki)?;
                    nginx_at = Some(*front);
                }
                Proxy::NginxStream => {
                    config.stream += &nginx::proxy_server(case, *front, *dial, pki)?;
                    nginx_at = Some(*front);
                }
            }
        }
        if let Some(address) = nginx_at {
            self.nginx = Some(Nginx::start(&dir, &config, None, address)?);
        }
        if let Some(address) = haproxy_at {
            self.haproxy = Some(Haproxy::start(&dir, &sections, address)?);
        }
        Ok(())
    }
}

fn place(cases: &[Case], network: Network<'_>) -> anyhow::Result<Vec<Hop>> {
    let block = Loopback::reserve()?;
    let place_one = |(index, case): (usize, &Case)| -> anyhow::Result<Hop> {
        let index = u8::try_from(index).context("count cases")?;
        let front = block.socket(1, 7000 + u16::from(index));
        let port = if case.version().is_some() { 8443 } else { 8080 };
        let local = block.socket(10 + index, port);
        let (listen, dial) = match network {
            Network::Ipv4 => (local, local),
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
        Ok(Hop { case: *case, front, listen, dial })
    };
    cases.iter().enumerate().map(place_one).collect()
}
