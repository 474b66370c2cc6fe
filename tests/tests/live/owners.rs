//! Two proxies of one name, and what restarts make of them: labels stay with their owners, and a good
//! configuration says nothing about a proxy that runs another one.

use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

use hopsight_core::model::Security;
use hopsight_posture::{hops::hop::Hop, policy::drift::Compliance};
use hopsight_tests::{
    agent::{Agent, CHANGE},
    cgroup::Cgroup,
    http,
    loopback::Loopback,
    nginx::{self, Nginx, utf8},
    pki::Pki,
    place::Place,
    requirement,
    wait::wait_until,
};
use rustix::process::{Pid, Signal, kill_process};

/// Connections of a good proxy, which take longer than it takes until what is out of use is gone.
const MANY: u64 = 12;
const POLICY: &str = "[[policies]]\nmatch.upstream = \"payments\"\nrequire = \"mtls\"\n\
                      verify_upstream = \"always\"\n";

/// An nginx.
struct Proxy {
    nginx: Nginx,
    dir: PathBuf,
    front: SocketAddr,
    _unit: Cgroup,
}

/// An upstream that asks for certificates, and where its proxies are.
struct Scene {
    proxies: Vec<Proxy>,
    fronts: Vec<SocketAddr>,
    upstream: SocketAddr,
    http: SocketAddr,
    cgroup: Cgroup,
    pki: Pki,
    _upstream: Nginx,
    dir: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
        let pki = Pki::create(&dir.path().join("pki")).unwrap();
        let block = Loopback::reserve().unwrap();
        let upstream = block.socket(10, 8443);
        let server = nginx::asking_server(upstream, &pki.server, &pki).unwrap();
        let config = nginx::Config { http: server, ..nginx::Config::default() };
        let other = Nginx::start(&dir.path().join("upstream"), &config, &Place::here(), upstream);
        fs::write(dir.path().join("policy.toml"), POLICY).unwrap();
        Self {
            proxies: Vec::new(),
            fronts: (1..=2).map(|host| block.socket(host, 7000)).collect(),
            upstream,
            http: block.socket(9, 9464),
            cgroup: Cgroup::create().unwrap(),
            pki,
            _upstream: other.unwrap(),
            dir,
        }
    }

    /// What makes a route good.
    fn good(&self) -> String {
        let identity = &self.pki.client;
        format!(
            "proxy_ssl_certificate {}; proxy_ssl_certificate_key {}; proxy_ssl_verify on; \
             proxy_ssl_verify_depth 3; proxy_ssl_name a.{}; proxy_ssl_trusted_certificate {};",
            utf8(&identity.chain).unwrap(),
            utf8(&identity.key).unwrap(),
            hopsight_tests::pki::DOMAIN,
            utf8(&self.pki.root).unwrap(),
        )
    }

    fn config(&self, front: SocketAddr, is_good: bool) -> nginx::Config {
        let settings = if is_good { self.good() } else { String::new() };
        self.with(front, &format!("{settings} location / {{ proxy_pass https://payments; }}"))
    }

    /// A configuration with these routes.
    fn with(&self, front: SocketAddr, routes: &str) -> nginx::Config {
        let http = format!(
            "upstream payments {{ server {}; }}\nserver {{ listen {front}; \
             proxy_ssl_session_reuse off; {routes} }}\n",
            self.upstream,
        );
        nginx::Config { http, ..nginx::Config::default() }
    }

    /// Starts another proxy, in the unit of this name.
    fn add(&mut self, unit: &str, is_good: bool) -> usize {
        let config = self.config(self.fronts[self.proxies.len()], is_good);
        self.add_with(unit, &config)
    }

    fn add_with(&mut self, unit: &str, config: &nginx::Config) -> usize {
        let number = self.proxies.len();
        let front = self.fronts[number];
        let dir = self.dir.path().join(format!("proxy-{number}"));
        let cgroup = self.cgroup.child(unit).unwrap();
        let nginx = Nginx::start(&dir, config, &cgroup.place(), front).unwrap();
        self.proxies.push(Proxy { nginx, dir, front, _unit: cgroup });
        number
    }

    fn agent(&self) -> Agent {
        let file = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        let (policy, state) = (file("policy.toml"), file("state"));
        let options = self.cgroup.options().unwrap();
        let options = [&options[..], &["--policy", &policy, "--state", &state]].concat();
        Agent::start(&self.dir.path().join("agent"), self.http, &options).unwrap()
    }

    /// Waits for a hop of this label to be like this, with requests to a proxy.
    fn wait(
        &self,
        agent: &Agent,
        through: usize,
        label: &str,
        what: &str,
        is_so: impl Fn(&Hop) -> bool,
    ) -> Hop {
        wait_until(what, CHANGE, || {
            // While it reloads it may answer nobody.
            let _ = http::get(self.proxies[through].front, "/");
            Ok(Self::hop(agent, label).filter(|hop| is_so(hop)))
        })
        .unwrap_or_else(|error| panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops()))
    }

    fn hop(agent: &Agent, label: &str) -> Option<Hop> {
        let hops = agent.hops().unwrap().hops;
        let ours = hops.iter().find(|hop| &*hop.proxy == label && &*hop.upstream == "payments");
        ours.map(|hop| Hop::clone(hop))
    }

    /// Opens connections through a good proxy until whatever it is taken to end would have ended.
    fn use_for_a_while(&self, agent: &Agent, through: usize) {
        for _ in 0..MANY {
            http::get(self.proxies[through].front, "/").unwrap();
            let next = std::time::Instant::now() + Duration::from_millis(700);
            wait_until("a moment to pass", CHANGE, || {
                agent.get("/readyz")?;
                Ok((std::time::Instant::now() >= next).then_some(()))
            })
            .unwrap();
        }
    }
}

fn is_good(hop: &Hop) -> bool {
    let status = hop.context.compliance.as_ref().map(|compliance| compliance.status);
    hop.state.security == Security::Mtls && status == Some(Compliance::Compliant)
}

fn is_bad(hop: &Hop) -> bool {
    let status = hop.context.compliance.as_ref().map(|compliance| compliance.status);
    hop.state.security == Security::Tls && status == Some(Compliance::Violation)
}

/// How many drifts have ended.
fn closed(agent: &Agent) -> usize {
    let drifts = agent.drifts();
    drifts.iter().filter(|drift| drift["event"] == "drift_closed").count()
}

#[test]
fn a_label_stays_with_its_owner_over_a_restart_of_the_agent() {
    if !requirement::met("a_label_stays_with_its_owner_over_a_restart_of_the_agent", &["nginx"]) {
        return;
    }
    let mut scene = Scene::start();
    let (bad, good) = (scene.add("a.service", false), scene.add("b.service", true));
    let mut agent = scene.agent();
    scene.wait(&agent, bad, "nginx", "the first one's drift", is_bad);
    scene.wait(&agent, good, "nginx@b.service", "the other to be good", is_good);
    agent.daemon.terminate().unwrap();
    drop(agent);

    // The other loads its configuration again meanwhile, and is the first that is seen.
    scene.proxies[good].nginx.reload().unwrap();
    let agent = scene.agent();
    scene.use_for_a_while(&agent, good);
    scene.wait(&agent, good, "nginx@b.service", "the other to be good again", is_good);
    let first = Scene::hop(&agent, "nginx").expect("it was kept");
    assert!(is_bad(&first), "{first:#?}");
    assert_eq!(closed(&agent), 0, "{:?}", agent.drifts());
    let before = first.counts.count_of(|_| true);
    scene.wait(&agent, bad, "nginx", "the first one under its label", |hop| {
        hop.counts.count_of(|_| true) > before
    });
    wait_until(
        "no third hop to stay",
        CHANGE,
        || Ok((agent.hops()?.hops.len() == 2).then_some(())),
    )
    .unwrap();
}

#[test]
fn another_proxy_of_the_label_ends_nothing_of_one_that_runs_on() {
    if !requirement::met("another_proxy_of_the_label_ends_nothing_of_one_that_runs_on", &["nginx"])
    {
        return;
    }
    let mut scene = Scene::start();
    // Sessions are their user's, who has both.
    let bad = scene.add("session-1.scope", false);
    let mut agent = scene.agent();
    scene.wait(&agent, bad, "nginx", "the drift", is_bad);
    agent.daemon.terminate().unwrap();
    drop(agent);

    let agent = scene.agent();
    let good = scene.add("session-2.scope", true);
    scene.use_for_a_while(&agent, good);
    let hop = scene.wait(&agent, good, "nginx", "both to be known", |hop| {
        is_bad(hop) && hop.shares().len() == 2
    });
    assert_eq!(closed(&agent), 0, "{:?}", agent.drifts());

    // Nor does it when its master has ended, whose workers go on.
    let of_bad = |hop: &Hop| hop.counts.count_of(|one| one.security == Security::Tls);
    let before = of_bad(&hop);
    scene.wait(&agent, bad, "nginx", "the bad one to be seen again", |hop| {
        is_bad(hop) && of_bad(hop) > before
    });
    let workers = workers(scene.proxies[bad].nginx.daemon.pid());
    scene.proxies[bad].nginx.daemon.signal(Signal::KILL).unwrap();
    scene.proxies[bad].nginx.daemon.wait_exit(CHANGE).unwrap();
    scene.wait(&agent, bad, "nginx", "a connection without the master", is_bad);
    scene.proxies[good].nginx.reload().unwrap();
    scene.use_for_a_while(&agent, good);
    let hop = Scene::hop(&agent, "nginx").unwrap();
    assert!(is_bad(&hop), "{hop:#?}");
    for worker in workers {
        kill_process(worker, Signal::KILL).unwrap();
    }
    scene.proxies[good].nginx.reload().unwrap();
    scene.wait(&agent, good, "nginx", "the drift to close with the bad one", is_good);
}

#[test]
fn a_worker_that_was_started_again_has_loaded_nothing() {
    if !requirement::met("a_worker_that_was_started_again_has_loaded_nothing", &["nginx"]) {
        return;
    }
    let mut scene = Scene::start();
    let proxy = scene.add("a.service", false);
    let agent = scene.agent();
    scene.wait(&agent, proxy, "nginx", "the drift", is_bad);
    let config = scene.config(scene.proxies[proxy].front, true);
    Nginx::write(&scene.proxies[proxy].dir, &config).unwrap();
    let master = scene.proxies[proxy].nginx.daemon.pid();
    let before = workers(master);
    for worker in &before {
        kill_process(*worker, Signal::KILL).unwrap();
    }
    let is_another =
        || Ok((!workers(master).is_empty() && workers(master) != before).then_some(()));
    wait_until("another worker", CHANGE, is_another).unwrap();
    scene.use_for_a_while(&agent, proxy);
    let hop = Scene::hop(&agent, "nginx").unwrap();
    assert!(is_bad(&hop), "{hop:#?}");
    agent.wait_pending("nginx", true).unwrap();

    scene.proxies[proxy].nginx.reload().unwrap();
    scene.wait(&agent, proxy, "nginx", "the drift to close with a reload", is_good);
}

#[test]
fn a_file_that_was_taken_away_is_not_taken_for_loaded() {
    if !requirement::met("a_file_that_was_taken_away_is_not_taken_for_loaded", &["nginx"]) {
        return;
    }
    let mut scene = Scene::start();
    let routes = scene.dir.path().join("routes");
    fs::create_dir(&routes).unwrap();
    fs::write(routes.join("bad.conf"), "location /bad { proxy_pass https://payments; }").unwrap();
    let good = scene.good();
    let text = format!(
        "location / {{ {good} proxy_pass https://payments; }} include {}/*.conf;",
        utf8(&routes).unwrap()
    );
    let proxy = scene.add_with("a.service", &scene.with(scene.fronts[0], &text));
    let mut agent = scene.agent();
    http::get(scene.proxies[proxy].front, "/bad").unwrap();
    scene.wait(&agent, proxy, "nginx", "the drift", is_bad);
    // Everything on disk is older than this load.
    scene.proxies[proxy].nginx.reload().unwrap();
    scene.use_for_a_while(&agent, proxy);
    scene.wait(&agent, proxy, "nginx", "the drift to stay open", is_bad);
    agent.daemon.terminate().unwrap();
    drop(agent);

    fs::remove_file(routes.join("bad.conf")).unwrap();
    let agent = scene.agent();
    scene.use_for_a_while(&agent, proxy);
    let hop = Scene::hop(&agent, "nginx").unwrap();
    assert!(is_bad(&hop), "{hop:#?}");
    assert_eq!(closed(&agent), 0, "{:?}", agent.drifts());
    agent.wait_pending("nginx", true).unwrap();

    scene.proxies[proxy].nginx.reload().unwrap();
    scene.wait(&agent, proxy, "nginx", "the drift to close with a reload", is_good);
}

/// The workers of an nginx.
fn workers(master: u32) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap();
    let pids = children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok());
    pids.filter_map(Pid::from_raw).collect()
}
