//! The proxies, each from a file of its own that can be replaced.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::support::source_of;
use anyhow::Context as _;
use hopsight_capture::LiveSource;
use hopsight_tests::{
    caddy,
    case::{Asks, Case, Holds, Proxy, Upstream, Verify, Version},
    cgroup::Cgroup,
    envoy, haproxy,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::Pki,
    place::Place,
    process::{self, Daemon, find},
    wait::wait_until,
};
use rustix::process::{Pid, Signal, kill_process};

/// How long a proxy may take to do what it is told.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether there is such a proxy; says so where there is none.
pub fn is_installed(proxy: Proxy) -> bool {
    let is_installed = original(proxy).is_some();
    if !is_installed {
        hopsight_test_support::not_run(proxy.process_name(), "it is not installed");
    }
    is_installed
}

fn original(proxy: Proxy) -> Option<PathBuf> {
    match proxy {
        Proxy::Envoy => envoy::binary(),
        other => find(other.process_name()),
    }
}

/// A proxy with an upstream of mutual TLS 1.3.
pub struct Scene {
    pub proxy: Proxy,
    pub front: SocketAddr,
    pub cgroup: Cgroup,
    admin: SocketAddr,
    dir: tempfile::TempDir,
    config: PathBuf,
    /// The proxy, where it is a child of ours.
    daemon: Option<Daemon>,
    /// The master of nginx, which replaces itself only where it is nobody's child.
    nginx: Option<Master>,
    /// How often Envoy was replaced.
    epoch: u32,
    _upstream: Nginx,
}

/// A process that is no child of ours, ended with the test.
struct Master(Pid);

impl Master {
    fn is_running(&self) -> bool {
        // Empty once it is a zombie.
        let words = fs::read(format!("/proc/{}/cmdline", self.0.as_raw_nonzero()));
        words.is_ok_and(|words| !words.is_empty())
    }

    fn wait_end(&self) -> anyhow::Result<()> {
        wait_until("nginx to end", PATIENCE, || Ok((!self.is_running()).then_some(())))
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if self.is_running() && kill_process(self.0, Signal::TERM).is_ok() {
            let _ = self.wait_end();
        }
    }
}

impl Scene {
    pub fn start(proxy: Proxy) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir().context("create a folder")?;
        let here = dir.path();
        let pki = Pki::create(&here.join("pki"))?;
        let block = Loopback::reserve()?;
        let (front, back) = (block.socket(1, 8080), block.socket(2, 8443));
        let upstream = Upstream::Nginx(Version::V13, Asks::Required);
        let case = Case::new("endurance", proxy, upstream, Holds::Trusted);
        let case = Case { verify: Verify::On, ..case };
        let log = here.join("upstream.log");
        let http = nginx::upstream_server(&case, back, &pki, &log)?;
        let upstream = nginx::Config { http, ..nginx::Config::default() };
        let upstream = Nginx::start(&here.join("upstream"), &upstream, &Place::here(), back)?;
        let admin = block.socket(3, 9901);
        let config = write_config(&case, front, back, admin, &pki, &here.join("proxy"))?;
        let mut scene = Self {
            proxy,
            front,
            cgroup: Cgroup::create()?,
            admin,
            dir,
            config,
            daemon: None,
            nginx: None,
            epoch: 0,
            _upstream: upstream,
        };
        scene.put_program()?;
        scene.start_proxy()?;
        Ok(scene)
    }

    fn program(&self) -> PathBuf {
        self.dir.path().join(self.proxy.process_name())
    }

    /// Puts a new file in the place of the program.
    fn put_program(&self) -> anyhow::Result<()> {
        let original = original(self.proxy);
        let new = self.dir.path().join("new");
        fs::copy(original.context("find the proxy")?, &new).context("copy the proxy")?;
        fs::rename(new, self.program()).context("replace the proxy")
    }

    fn start_proxy(&mut self) -> anyhow::Result<()> {
        let mut daemon = self.spawn()?;
        if self.proxy == Proxy::Nginx {
            let status = daemon.wait_exit(PATIENCE)?;
            anyhow::ensure!(status.success(), "nginx: {}", daemon.log());
            // The process that starts it ends before the master has written its number.
            let master =
                wait_until("nginx to write its pid file", PATIENCE, || Ok(self.master().ok()))?;
            self.nginx = Some(Master(master));
            return Ok(());
        }
        daemon.wait_listening(self.front)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    fn spawn(&self) -> anyhow::Result<Daemon> {
        let config = utf8(&self.config)?;
        let home = format!("HOME={}", utf8(self.dir.path())?);
        let program = self.program();
        let program = utf8(&program)?;
        let prefix = self.dir.path().join("proxy");
        let epoch = self.epoch.to_string();
        // Tells this Envoy's shared memory from others.
        let base = (std::process::id() % 10_000).to_string();
        let words: Vec<&str> = match self.proxy {
            Proxy::Nginx => vec![program, "-p", utf8(&prefix)?, "-e", "stderr", "-c", config],
            Proxy::Haproxy => vec![program, "-W", "-db", "-f", config],
            Proxy::Envoy => {
                let mut words = vec![program, "-c", config, "--concurrency", "1"];
                words.extend(["--log-level", "warning", "--base-id", &base]);
                words.extend(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"]);
                words.extend(["--restart-epoch", &epoch]);
                words
            }
            _ => vec![program, "run", "--config", config],
        };
        let words = [&[home.as_str()], words.as_slice()].concat();
        let log = self.dir.path().join("proxy.log");
        Daemon::spawn_at(&self.cgroup.place(), "env", words, &log)
    }

    /// A live source that watches the proxy and nothing else.
    pub fn watch(&self) -> LiveSource {
        let cgroup = Some(self.cgroup.path().to_owned());
        source_of(&[self.proxy.process_name()], |options| options.cgroup.clone_from(&cgroup))
    }

    /// All processes of the proxy that run now.
    pub fn processes(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.cgroup.path().join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// The process that was started.
    pub fn pids(&self) -> Vec<u32> {
        self.daemon.iter().map(Daemon::pid).collect()
    }

    fn daemon(&self) -> anyhow::Result<&Daemon> {
        self.daemon.as_ref().context("find the proxy")
    }

    pub fn log(&self) -> String {
        self.daemon.as_ref().map(Daemon::log).unwrap_or_default()
    }

    pub fn ensure_running(&mut self) -> anyhow::Result<()> {
        match (&self.nginx, &mut self.daemon) {
            (Some(master), _) if master.is_running() => Ok(()),
            (None, Some(daemon)) => daemon.ensure_running(),
            _ => anyhow::bail!("the proxy has ended"),
        }
    }

    /// Lets the proxy load its configuration again. Envoy has no other way than to be replaced.
    pub fn reload(&mut self) -> anyhow::Result<()> {
        match self.proxy {
            Proxy::Nginx => kill_process(self.master()?, Signal::HUP).context("reload nginx"),
            Proxy::Haproxy => self.restart_haproxy(),
            Proxy::Envoy => self.restart_envoy(),
            _ => {
                let admin = self.admin.to_string();
                let home = format!("HOME={}", utf8(self.dir.path())?);
                let program = self.program();
                let words = [&home, utf8(&program)?, "reload", "--force"];
                let words = words.into_iter().chain(["--config", utf8(&self.config)?]);
                process::run("env", words.chain(["--address", &admin])).map(drop)
            }
        }
    }

    /// Whether it is reloaded and replaced under load. Caddy resets connections that come while it
    /// loads a configuration, hopsight or not, and nothing takes its place without a break.
    pub const fn is_seamless(&self) -> bool {
        !matches!(self.proxy, Proxy::Caddy)
    }

    /// Replaces the program, and the process by one of the new file.
    pub fn replace(&mut self) -> anyhow::Result<()> {
        self.put_program()?;
        match self.proxy {
            Proxy::Nginx => self.replace_nginx(),
            Proxy::Haproxy => self.restart_haproxy(),
            Proxy::Envoy => self.restart_envoy(),
            _ => {
                self.daemon.take().context("find the proxy")?.terminate()?;
                self.start_proxy()
            }
        }
    }

    /// The master of haproxy executes itself and starts a new worker. A signal that comes while it
    /// does so for an earlier one is lost.
    fn restart_haproxy(&self) -> anyhow::Result<()> {
        const ATTEMPTS: u32 = 6;
        let workers = || self.log().matches("New worker").count();
        let before = workers();
        let has_new = || Ok((workers() > before).then_some(()));
        let mut result = Ok(());
        for _ in 0..ATTEMPTS {
            self.daemon()?.signal(Signal::USR2)?;
            result = wait_until("haproxy to start a worker", PATIENCE / ATTEMPTS, has_new);
            if result.is_ok() {
                break;
            }
        }
        result.with_context(|| self.log())
    }

    /// The new Envoy takes the listeners of the old one, and ends it.
    fn restart_envoy(&mut self) -> anyhow::Result<()> {
        self.epoch += 1;
        let mut old = self.daemon.take().context("find the proxy")?;
        self.start_proxy()?;
        old.wait_exit(PATIENCE).map(drop)
    }

    /// The master of nginx starts a new one beside it, and is then told to leave.
    fn replace_nginx(&mut self) -> anyhow::Result<()> {
        let old = self.nginx.take().context("find the proxy")?;
        kill_process(old.0, Signal::USR2).context("replace nginx")?;
        let new = wait_until("nginx to replace itself", PATIENCE, || {
            Ok(self.master().ok().filter(|pid| *pid != old.0))
        })?;
        self.nginx = Some(Master(new));
        kill_process(old.0, Signal::QUIT).context("end the old nginx")?;
        old.wait_end()
    }

    /// The master of nginx, by its pid file.
    fn master(&self) -> anyhow::Result<Pid> {
        let text = fs::read_to_string(self.dir.path().join("proxy/nginx.pid"))?;
        Pid::from_raw(text.trim().parse()?).context("read nginx's pid file")
    }
}

fn write_config(
    case: &Case,
    front: SocketAddr,
    back: SocketAddr,
    admin: SocketAddr,
    pki: &Pki,
    dir: &Path,
) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    match case.proxy {
        Proxy::Nginx => {
            let http = nginx::proxy_server(case, front, back, pki)?;
            let path = Nginx::write(dir, &nginx::Config { http, ..nginx::Config::default() })?;
            let text = fs::read_to_string(&path).context("read nginx.conf")?;
            let text = text.replace("daemon off;", "daemon on;");
            fs::write(&path, text).context("write nginx.conf")?;
            Ok(path)
        }
        Proxy::Haproxy => {
            let section = haproxy::proxy_listen(case, front, back, pki)?;
            // Hands the listening sockets to the next worker.
            let global = format!(
                "global\nstats socket {}/control level admin expose-fd listeners\n",
                dir.display()
            );
            haproxy::write(dir, &format!("{global}{section}"))
        }
        Proxy::Envoy => {
            let mut config = envoy::Config::default();
            config.add(case, front, back, pki)?;
            config.write(dir, admin)
        }
        _ => {
            let mut config = caddy::Config::default();
            config.add(case, front, back, pki)?;
            config.write(dir, Some(admin))
        }
    }
}
