//! Admin interfaces that hang, never end or lie: they cost their own proxy what is known of its
//! configuration, bounded time and memory, and nobody else anything. The interface is a stand-in; the
//! proxies, their traffic and the agent are real.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use hopsight_core::model::Security;
use hopsight_posture::{hops::hop::Hop, policy::intent::Scheme};
use hopsight_tests::{
    admin_stand_in::{AdminStandIn, Manner},
    agent::Agent,
    envoy, http, loopback,
    nginx::{Config, Nginx, utf8},
    place::Place,
    process::Daemon,
    requirement,
    wait::wait_until,
};
use serde_json::Value;

use super::{
    CHANGE, Scene, UPSTREAM,
    caddy::caddy,
    envoy::{bootstrap, cluster},
    is_mutual_by_intent, write,
};

/// Within what an honest plaintext hop has to show, whatever another proxy's interface does.
const HONEST: Duration = Duration::from_secs(10);
/// What the agent may take in memory, in a build without optimization.
const MEMORY: u64 = 256 << 20;

/// How long an interface that took seconds to fail is left alone, and some.
const AGAIN: Duration = Duration::from_secs(150);

/// What no admin interface does, and what is said of it.
type Fault = (&'static str, Manner, &'static str);

fn faults() -> Vec<Fault> {
    // As many objects as are read of an answer at most.
    let many = format!("{{\"configs\":[{}{{}}]}}", "{},".repeat(290_000));
    let nested = "{\"configs\":[".repeat(100_000);
    let second = Duration::from_secs(1);
    let (silence, length) = ("nothing for 1 s", "longer than 5 s");
    vec![
        ("it says 500 MB", Manner::Floods(500_000_000), "longer than 32 MiB"),
        ("it nests", Manner::Says(nested), "nested"),
        ("it has many objects and no end", Manner::Says(many.replace("]}", "")), "understand"),
        ("it has too many objects", Manner::Says(many.repeat(2)), "more than"),
        ("it is no JSON", Manner::Says("<html>".to_owned()), "understand"),
        ("it accepts and never answers", Manner::Silent, silence),
        ("it says two bytes a second", Manner::Drips(second / 2), length),
    ]
}

/// Those of them that end at once: what reads the answers is the same for every proxy.
fn quick_faults() -> Vec<Fault> {
    let is_quick = |(_, manner, _): &Fault| !matches!(manner, Manner::Drips(_));
    faults().into_iter().filter(is_quick).collect()
}

/// An nginx that speaks in the clear to an upstream for each request path, and says so.
struct Honest {
    front: SocketAddr,
    upstreams: Vec<SocketAddr>,
    _proxy: Nginx,
    _upstream: Nginx,
    used: AtomicU64,
}

impl Honest {
    fn start(scene: &Scene) -> Self {
        let ports = 8100..8140;
        let upstreams: Vec<_> =
            ports.map(|port| SocketAddr::new(scene.upstream.ip(), port)).collect();
        let listen: Vec<_> = upstreams.iter().map(|one| format!("listen {one};\n")).collect();
        let listen = listen.concat();
        let server = format!("server {{\n{listen}location / {{ return 200 \"x\"; }}\n}}\n");
        let front = SocketAddr::new(scene.front.ip(), 7001);
        let location = |(number, one): (usize, &SocketAddr)| {
            format!("location /{number}/ {{ proxy_pass http://{one}; }}\n")
        };
        let locations: String = upstreams.iter().enumerate().map(location).collect();
        let start = |name: &str, http: String, place: &Place, at| {
            let config = Config { http, ..Config::default() };
            Nginx::start(&scene.dir.path().join(name), &config, place, at).unwrap()
        };
        let upstream = start("honest-upstream", server, &Place::here(), upstreams[0]);
        let proxy = format!("server {{\nlisten {front};\n{locations}}}\n");
        let proxy = start("honest", proxy, &scene.cgroup.place(), front);
        Self { front, upstreams, _proxy: proxy, _upstream: upstream, used: AtomicU64::new(0) }
    }

    /// How long the first connection to another of its upstreams takes to be a hop.
    fn shows(&self, agent: &Agent) -> Duration {
        let number = usize::try_from(self.used.fetch_add(1, Ordering::Relaxed)).unwrap();
        let began_at = Instant::now();
        http::get(self.front, &format!("/{number}/")).unwrap();
        wait_until("the honest hop", CHANGE, || {
            let hops = agent.hops()?.hops;
            Ok(hops.iter().any(|hop| self.is_plaintext(hop, number)).then_some(()))
        })
        .unwrap();
        began_at.elapsed()
    }

    fn is_plaintext(&self, hop: &Hop, number: usize) -> bool {
        hop.is_to(self.upstreams[number]) && hop.state.security == Security::Plaintext
    }
}

/// A proxy whose admin interface the agent looks for where a file says.
struct Watched<'a> {
    scene: &'a Scene,
    component: &'static str,
    /// Has the agent ask there.
    point: &'a dyn Fn(SocketAddr),
}

/// The state of a part of the agent, and what is said of it.
fn state(agent: &Agent, component: &str) -> anyhow::Result<(String, String)> {
    let ready: Value = serde_json::from_str(&agent.get("/readyz")?.body)?;
    let component = &ready["components"][component];
    let text = |name: &str| component[name].as_str().unwrap_or_default().to_owned();
    Ok((text("state"), text("detail")))
}

impl Watched<'_> {
    /// Whatever the stand-in does, honest hops show in time, memory is bounded, the fault is told, and
    /// what was known last counts.
    fn stands(&self, faults: Vec<Fault>, agent: &Agent, honest: &Honest, real: SocketAddr) {
        let stand_in = AdminStandIn::start().unwrap();
        let mut slowest = Duration::ZERO;
        for (name, manner, words) in faults {
            stand_in.behave(manner);
            (self.point)(stand_in.address);
            wait_until("the stand-in to be asked", AGAIN, || {
                Ok((stand_in.asked() > 0).then_some(()))
            })
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
            slowest = slowest.max(honest.shows(agent));
            wait_until("the fault to be told", CHANGE, || {
                let (state, detail) = state(agent, self.component)?;
                Ok((state == "degraded" && detail.contains(words)).then_some(()))
            })
            .unwrap_or_else(|error| {
                panic!("{name}: {error:#}: {:?}", state(agent, self.component))
            });
            slowest = slowest.max(honest.shows(agent));
            assert_eq!(agent.get("/readyz").unwrap().status, 200, "{name}");
            assert_eq!(agent.get("/livez").unwrap().status, 200, "{name}");
            let labels = [&format!("component=\"{}\"", self.component), "state=\"degraded\""];
            wait_until("the metric", CHANGE, || {
                let value = agent.metric("hopsight_component_state{", &labels)?;
                Ok(value.filter(|value| *value > 0.5))
            })
            .unwrap_or_else(|error| panic!("{name}: {error:#}"));
            self.scene.wait(agent, "the last good configuration to count", is_mutual_by_intent);
            println!("{name}: told; at most {} MiB so far", agent.peak().unwrap() >> 20);
        }
        assert!(slowest <= HONEST, "an honest hop took {slowest:?}");
        let most = agent.peak().unwrap();
        assert!(most <= MEMORY, "the agent took {} MiB", most >> 20);
        (self.point)(real);
        wait_until("the truth to be asked again", AGAIN, || {
            Ok((state(agent, self.component)?.0 == "ready").then_some(()))
        })
        .unwrap();
        println!("honest hops: {slowest:?} at most; memory: {} MiB", most >> 20);
    }
}

/// An Envoy whose admin interface is where this file says, and the interface itself.
fn start_envoy(scene: &Scene) -> (Daemon, SocketAddr, PathBuf) {
    let admin = loopback::free_socket().unwrap();
    let clusters = scene.dir.path().join("clusters.json");
    write(&clusters, &cluster(scene, true));
    let path = scene.dir.path().join("envoy.json");
    write(&path, &bootstrap(scene, admin, &clusters));
    let written = scene.dir.path().join("admin-address");
    let words = ["-l", "warning", "--concurrency", "1", "--disable-hot-restart", "-c"];
    let more = [utf8(&path).unwrap(), "--admin-address-path", utf8(&written).unwrap()];
    let log = scene.dir.path().join("envoy.log");
    let binary = envoy::binary().unwrap();
    let words = words.into_iter().chain(more);
    let mut proxy = Daemon::spawn_at(&scene.cgroup.place(), &binary, words, &log).unwrap();
    proxy.wait_listening(scene.front).unwrap();
    (proxy, admin, written)
}

#[test]
fn an_admin_interface_of_envoy_that_hangs_or_lies_harms_nobody() {
    let name = "an_admin_interface_of_envoy_that_hangs_or_lies_harms_nobody";
    if envoy::binary().is_none() {
        hopsight_test_support::not_run(name, "Envoy is not installed");
        return;
    }
    if !requirement::met(name, &["nginx"]) {
        return;
    }
    let scene = Scene::start();
    let (_envoy, admin, written) = start_envoy(&scene);
    let honest = Honest::start(&scene);
    let agent = scene.agent();
    scene.wait(&agent, "the hop to be mutual by intent", is_mutual_by_intent);
    honest.shows(&agent);
    let point = |to: SocketAddr| write(&written, &to.to_string());
    let watched = Watched { scene: &scene, component: "envoy_configuration", point: &point };
    watched.stands(faults(), &agent, &honest, admin);

    lies(&scene, &agent, &honest, admin, &point);
}

/// An interface that says that its proxy speaks mutual TLS to another proxy's upstream, and in the clear
/// to its own: neither hop changes by what it says.
fn lies(
    scene: &Scene,
    agent: &Agent,
    honest: &Honest,
    admin: SocketAddr,
    point: &dyn Fn(SocketAddr),
) {
    let stand_in = AdminStandIn::start().unwrap();
    let truth = http::get(admin, "/config_dump?include_eds").unwrap().body;
    let victim = honest.upstreams[0];
    // The same cluster under another name, as if the other's upstream were its only endpoint.
    let port = format!("\"port_value\": {}", scene.upstream.port());
    assert!(truth.contains(&port), "{truth}");
    let others = format!("\"port_value\": {}", victim.port());
    let lie = truth.replace(&port, &others).replace(UPSTREAM, "liar");
    stand_in.behave(Manner::Says(lie));
    point(stand_in.address);
    let asked_twice = || {
        wait_until("the lie to be heard", CHANGE, || Ok((stand_in.asked() >= 2).then_some(())))
            .unwrap();
    };
    asked_twice();
    for _ in 0..3 {
        http::get(honest.front, "/0/").unwrap();
    }
    let hops = agent.hops().unwrap().hops;
    let of_victim: Vec<_> = hops.iter().filter(|hop| hop.is_to(victim)).collect();
    assert!(!of_victim.is_empty());
    for hop in of_victim {
        assert_eq!((&*hop.proxy, hop.state.security), ("nginx", Security::Plaintext), "{hop:#?}");
        assert!(hop.context.name.as_deref() != Some("liar"), "{hop:#?}");
        let scheme = hop.context.intent.as_ref().map(|intent| intent.scheme);
        assert_eq!(scheme, Some(Scheme::Plaintext), "{hop:#?}");
    }
    let is_own = |hop: &Hop| &*hop.proxy == "envoy" && hop.state.security == Security::Mtls;
    // Its own hop has lost its name, and is what the wire shows.
    scene.wait(agent, "its own hop", is_own);

    // Without its transport socket the cluster would be in the clear.
    let mut dump: Value = serde_json::from_str(&truth).unwrap();
    strip(&mut dump, "transport_socket");
    stand_in.behave(Manner::Says(dump.to_string()));
    asked_twice();
    scene.wait(agent, "its own hop in the clear by intent", |hop| {
        let intent = hop.context.intent.as_ref();
        is_own(hop) && intent.is_some_and(|intent| intent.scheme == Scheme::Plaintext)
    });
}

/// Removes the members of this name, at any depth.
fn strip(from: &mut Value, name: &str) {
    match from {
        Value::Object(members) => {
            members.remove(name);
            members.values_mut().for_each(|value| strip(value, name));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| strip(value, name)),
        _ => {}
    }
}

#[test]
fn an_admin_interface_of_caddy_that_hangs_harms_nobody() {
    let name = "an_admin_interface_of_caddy_that_hangs_harms_nobody";
    if !requirement::met(name, &["nginx", "caddy"]) {
        return;
    }
    let scene = Scene::start();
    let admin = loopback::free_socket().unwrap();
    let path = scene.dir.path().join("caddy.json");
    // Where its interface is stands in the file that it was started with, for it saves nothing.
    let point = |to: SocketAddr| {
        let mut config: Value = serde_json::from_str(&caddy(&scene, to, true)).unwrap();
        config["admin"]["config"] = serde_json::json!({ "persist": false });
        fs::write(&path, config.to_string()).unwrap();
    };
    point(admin);
    let home = format!("HOME={}", scene.dir.path().display());
    let arguments = [&home, "caddy", "run", "--config", utf8(&path).unwrap()];
    let log = scene.dir.path().join("caddy.log");
    let mut proxy = Daemon::spawn_at(&scene.cgroup.place(), "env", arguments, &log).unwrap();
    proxy.wait_listening(scene.front).unwrap();
    let honest = Honest::start(&scene);
    let agent = scene.agent();
    scene.wait(&agent, "the hop to be mutual by intent", is_mutual_by_intent);
    honest.shows(&agent);
    let watched = Watched { scene: &scene, component: "caddy_configuration", point: &point };
    watched.stands(quick_faults(), &agent, &honest, admin);
}
