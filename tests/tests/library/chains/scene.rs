//! Proxies that resume all they can, of one upstream.

use std::{fmt::Write as _, fs, net::SocketAddr, path::PathBuf};

use anyhow::Context as _;
use hopsight_capture::{LibraryEvidence, LiveSource};
use hopsight_tests::{
    caddy,
    case::{Asks, Case, Holds, Proxy, Upstream, Version},
    cgroup::Cgroup,
    client::Client,
    envoy, haproxy,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::{DOMAIN, Identity, Pki},
    place::Place,
    process::Daemon,
    truth::{self, Seen},
    wait::wait_until,
};

use super::{PATIENCE, Random};
use crate::{proxies::is_installed, support::source_of};

/// Transfers of one curl, each on a connection of its own.
pub const CURL_TRANSFERS: usize = 4;

/// The proxies, and an upstream that asks each for a certificate it may do without.
pub struct Scene {
    cgroup: Cgroup,
    /// Where the proxies listen.
    pub fronts: Vec<SocketAddr>,
    nginx: Nginx,
    haproxy: Option<haproxy::Haproxy>,
    envoy: Option<envoy::Envoy>,
    caddy: Option<caddy::Caddy>,
    /// curl without a proxy, with and without the certificate.
    pub curls: Vec<Client>,
    parts: Parts,
    upstream: Nginx,
    /// What the upstream says of its connections.
    log: PathBuf,
    dir: tempfile::TempDir,
}

/// What the proxies are started with.
struct Parts {
    haproxy: (String, SocketAddr),
    envoy: (envoy::Config, SocketAddr, SocketAddr),
    caddy: (caddy::Config, SocketAddr),
}

impl Scene {
    pub fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("create a folder")?;
        let here = dir.path();
        let pki = Pki::create(&here.join("pki"))?;
        let block = Loopback::reserve()?;
        let back = block.socket(2, 8443);
        let log = here.join("upstream.log");
        let asks = Upstream::Nginx(Version::V13, Asks::Optional);
        let case = |name, proxy, holds| Case { reuse: true, ..Case::new(name, proxy, asks, holds) };
        let upstream = case("sessions", Proxy::Nginx, Holds::Nothing);
        let http = nginx::upstream_server(&upstream, back, &pki, &log)?;
        let upstream = nginx::Config { http, ..nginx::Config::default() };
        let upstream = Nginx::start(&here.join("upstream"), &upstream, &Place::here(), back)?;

        let mut fronts = Vec::new();
        let mut next = || {
            fronts.push(block.socket(1, 8001 + u16::try_from(fronts.len()).unwrap()));
            fronts[fronts.len() - 1]
        };
        let cgroup = Cgroup::create()?;
        let (http, listens) = nginx_http(&mut next, back, &pki.client)?;
        let config = nginx::Config { http, workers: 2, ..nginx::Config::default() };
        let nginx = Nginx::start(&here.join("nginx"), &config, &cgroup.place(), listens)?;

        let (mut sections, mut curls) = (String::new(), Vec::new());
        let mut envoy = envoy::Config::default();
        let mut caddy = caddy::Config::default();
        let (mut haproxy_listens, mut envoy_listens, mut caddy_listens) = (back, back, back);
        for (name, holds) in [("mutual", Holds::Trusted), ("one-way", Holds::Nothing)] {
            haproxy_listens = next();
            let case = case(name, Proxy::Haproxy, holds);
            sections += &haproxy::proxy_listen(&case, haproxy_listens, back, &pki)?;
            let curl = Case { proxy: Proxy::Curl, requests: CURL_TRANSFERS, ..case };
            curls.push(Client::curl(&curl, back, &pki)?);
            if envoy::binary().is_some() {
                envoy_listens = next();
                envoy.add(&Case { proxy: Proxy::Envoy, ..case }, envoy_listens, back, &pki)?;
            }
            if is_installed(Proxy::Caddy) {
                caddy_listens = next();
                caddy.add(&Case { proxy: Proxy::Caddy, ..case }, caddy_listens, back, &pki)?;
            }
        }
        let parts = Parts {
            haproxy: (sections, haproxy_listens),
            envoy: (envoy, block.socket(3, 9901), envoy_listens),
            caddy: (caddy, caddy_listens),
        };
        let mut scene = Self {
            cgroup,
            fronts,
            nginx,
            haproxy: None,
            envoy: None,
            caddy: None,
            curls,
            parts,
            upstream,
            log,
            dir,
        };
        scene.restart_haproxy()?;
        scene.restart_envoy()?;
        scene.restart_caddy()?;
        Ok(scene)
    }

    fn restart_haproxy(&mut self) -> anyhow::Result<()> {
        self.haproxy = None;
        let (sections, listens) = &self.parts.haproxy;
        let place = self.cgroup.place();
        let dir = self.dir.path().join("haproxy");
        self.haproxy = Some(haproxy::Haproxy::start(&dir, sections, &place, *listens)?);
        Ok(())
    }

    fn restart_envoy(&mut self) -> anyhow::Result<()> {
        if !is_installed(Proxy::Envoy) {
            return Ok(());
        }
        self.envoy = None;
        let (config, admin, listens) = &self.parts.envoy;
        let place = self.cgroup.place();
        let dir = self.dir.path().join("envoy");
        self.envoy = Some(envoy::Envoy::start(&dir, config, &place, *admin, *listens)?);
        Ok(())
    }

    fn restart_caddy(&mut self) -> anyhow::Result<()> {
        if !is_installed(Proxy::Caddy) {
            return Ok(());
        }
        self.caddy = None;
        let (config, listens) = &self.parts.caddy;
        let dir = self.dir.path().join("caddy");
        self.caddy = Some(caddy::Caddy::start(&dir, config, &self.cgroup.place(), *listens)?);
        Ok(())
    }

    /// Has this curl make its transfers.
    pub fn transfer(&self, curl: &Client) -> anyhow::Result<()> {
        let statuses = curl.run(&self.cgroup.place())?;
        anyhow::ensure!(statuses.iter().all(|status| *status == 200), "curl: {statuses:?}");
        Ok(())
    }

    /// What the upstream says of its connections, once it has said it of so many: it answers first.
    pub fn logged(&self, count: usize) -> anyhow::Result<Vec<Seen>> {
        wait_until("the upstream's log", PATIENCE, || {
            Ok(Some(truth::nginx(&self.log)?).filter(|seen| seen.len() >= count))
        })
    }

    /// Begins every session anew.
    pub fn renew(&mut self) -> anyhow::Result<()> {
        let workers = self.workers();
        self.nginx.reload()?;
        wait_until("new workers", PATIENCE, || {
            Ok(workers.iter().all(|old| !self.workers().contains(old)).then_some(()))
        })?;
        self.restart_haproxy()?;
        self.restart_envoy()?;
        self.restart_caddy()
    }

    /// The workers of nginx.
    fn workers(&self) -> Vec<u32> {
        let pid = self.nginx.daemon.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// What may happen between two rounds.
    pub fn disturb(&mut self, random: &mut Random) -> anyhow::Result<()> {
        match random.below(8) {
            0 | 1 => self.nginx.reload(),
            // The keys of its tickets are others then.
            2 => self.upstream.reload(),
            3 => self.restart_haproxy(),
            4 if random.below(4) == 0 => self.restart_envoy(),
            5 if random.below(4) == 0 => self.restart_caddy(),
            _ => Ok(()),
        }
    }

    pub fn watch(&self, library: bool) -> LiveSource {
        let cgroup = Some(self.cgroup.path().to_owned());
        source_of(&["nginx", "haproxy", "envoy", "caddy", "curl"], |options| {
            options.cgroup.clone_from(&cgroup);
            options.library = library;
        })
    }

    /// Whether the libraries of all proxies are read. Those that bring their own are not at once, and
    /// what they do until then is inferred.
    pub fn is_read(&self, source: &LiveSource) -> bool {
        let pid = |daemon: &Daemon| daemon.pid();
        let haproxy = self.haproxy.as_ref().map(|haproxy| pid(&haproxy.daemon));
        let envoy = self.envoy.as_ref().map(|envoy| pid(&envoy.daemon));
        // Not every Caddy resumes sessions, nor is every Go read so far.
        let caddy = self.caddy.as_ref().map(|caddy| pid(&caddy.daemon));
        let others = haproxy.into_iter().chain(envoy).chain(caddy);
        let statuses = source.library_statuses().read();
        self.workers().into_iter().chain(others).all(|pid| {
            let status = statuses.iter().find(|status| status.pid == pid);
            status.is_some_and(|status| {
                matches!(&status.evidence,
                    LibraryEvidence::Library(library)
                        if library.sees_tickets || Some(pid) == caddy)
            })
        })
    }
}

/// Servers of nginx with every way to keep sessions: each location its own upstream or one for both,
/// with a zone that the workers share and without, by name and by address.
fn nginx_http(
    next: &mut dyn FnMut() -> SocketAddr,
    back: SocketAddr,
    identity: &Identity,
) -> anyhow::Result<(String, SocketAddr)> {
    let certificate = format!(
        "proxy_ssl_certificate {}; proxy_ssl_certificate_key {};",
        utf8(&identity.chain)?,
        utf8(&identity.key)?
    );
    let mut text = String::from("proxy_ssl_protocols TLSv1.3;\nproxy_ssl_server_name on;\n");
    for (name, zone) in
        [("own", ""), ("own_zone", "zone own 64k;"), ("both", ""), ("both_zone", "zone both 64k;")]
    {
        writeln!(text, "upstream {name} {{ {zone} server {back}; }}")?;
    }
    let mut listens = back;
    for (upstream, server_name, has_certificate) in [
        ("own", "a", true),
        ("own_zone", "a", true),
        ("both", "a", true),
        ("both", "b", false),
        ("both_zone", "a", true),
        ("both_zone", "a", false),
        (back.to_string().as_str(), "a", true),
        (back.to_string().as_str(), "b", false),
    ] {
        listens = next();
        let certificate = if has_certificate { certificate.as_str() } else { "" };
        writeln!(
            text,
            "server {{ listen {listens}; location / {{ proxy_pass https://{upstream}; \
             proxy_ssl_name {server_name}.{DOMAIN}; {certificate} }} }}"
        )?;
    }
    Ok((text, listens))
}
