//! Hops that are treated differently by turns: what is told of them stands still while requests
//! alternate, each alert fires once and resolves once, and a restart of the agent changes nothing.

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use hopsight_tests::{
    agent::Agent,
    cgroup::Cgroup,
    http,
    loopback::Loopback,
    monitoring::{self, Alertmanager, Config, Prometheus},
    nginx::{self, Nginx, utf8},
    pki::Pki,
    place::Place,
    receiver::Receiver,
    requirement,
    wait::wait_until,
};
use serde_json::Value;

/// Pause between scrapes: the agent is restarted between two of them, for Prometheus forgets the
/// series of a target that does not answer.
const SCRAPE: Duration = Duration::from_secs(10);
/// How long a change may take to reach the webhook.
const REACHED: Duration = Duration::from_mins(3);
/// How long a new hop may take to be told: handshakes that were over before the library was read count
/// for five minutes.
const TOLD: Duration = Duration::from_mins(7);
/// For how many seconds requests alternate, before the restart and again after it.
const ALTERNATE: &str = "HOPSIGHT_ALTERNATE_SECONDS";

/// The upstreams: two routes with and without a client certificate, two that check the upstream's
/// certificate and do not, two servers of which one has a certificate that ends in a day.
const MIXED: &str = "alternating-mixed";
const UNCHECKED: &str = "alternating-unchecked";
const TWO: &str = "alternating-two";

/// The metrics of hops that must stand still.
const STILL: [&str; 8] = [
    "hopsight_hop_security",
    "hopsight_hop_server_verified",
    "hopsight_hop_security_since_timestamp_seconds",
    "hopsight_certificate_not_after_timestamp_seconds",
    "hopsight_certificate_not_before_timestamp_seconds",
    "hopsight_policy_violation",
    "hopsight_intent_info",
    "hopsight_hops",
];

/// What an operator has done about each.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Proxy {
    Good,
    Bad,
}

struct Scene {
    front: SocketAddr,
    servers: [SocketAddr; 4],
    proxy: Nginx,
    _upstream: Nginx,
    cgroup: Cgroup,
    pki: Pki,
    http: SocketAddr,
    dir: tempfile::TempDir,
}

impl Scene {
    fn start(block: Loopback) -> Self {
        let dir = tempfile::Builder::new().prefix("hopsight-").tempdir().unwrap();
        let pki = Pki::create(&dir.path().join("pki")).unwrap();
        let front = block.socket(1, 7000);
        let servers = [10, 11, 12, 13].map(|host| block.socket(host, 8443));
        let http = [&pki.server, &pki.server, &pki.server, &pki.ending_server];
        let server = |(address, own)| nginx::asking_server(address, own, &pki).unwrap();
        let http = servers.into_iter().zip(http).map(server).collect();
        let config = nginx::Config { http, ..nginx::Config::default() };
        let other = Nginx::start(&dir.path().join("upstream"), &config, &Place::here(), servers[3]);
        let cgroup = Cgroup::create().unwrap();
        let config = proxy_config(Proxy::Good, front, &servers, &pki);
        let place = &cgroup.place();
        let proxy = Nginx::start(&dir.path().join("proxy"), &config, place, front).unwrap();
        let http = block.socket(2, 9464);
        Self { front, servers, proxy, _upstream: other.unwrap(), cgroup, pki, http, dir }
    }

    fn configure(&self, proxy: Proxy) {
        let config = proxy_config(proxy, self.front, &self.servers, &self.pki);
        Nginx::write(&self.dir.path().join("proxy"), &config).unwrap();
        self.proxy.reload().unwrap();
    }

    fn agent(&self) -> Agent {
        let policy = self.dir.path().join("policy.toml");
        let text = format!(
            "[[policies]]\nmatch.upstream = \"{MIXED}\"\nrequire = \"mtls\"\n\
             [[policies]]\nmatch.upstream = [\"{UNCHECKED}\", \"{TWO}\"]\nrequire = \"tls\"\n\
             verify_upstream = \"always\"\n"
        );
        fs::write(&policy, text).unwrap();
        let state = self.dir.path().join("state");
        let own = ["--policy", utf8(&policy).unwrap(), "--state", utf8(&state).unwrap()];
        let options = [self.cgroup.options().unwrap().as_slice(), &own].concat();
        Agent::start(&self.dir.path().join("agent"), self.http, &options).unwrap()
    }
}

fn proxy_config(
    proxy: Proxy,
    front: SocketAddr,
    servers: &[SocketAddr; 4],
    pki: &Pki,
) -> nginx::Config {
    let [mixed, unchecked, one, ending] = servers;
    let certificate = format!(
        "proxy_ssl_certificate {}; proxy_ssl_certificate_key {};",
        utf8(&pki.client.chain).unwrap(),
        utf8(&pki.client.key).unwrap()
    );
    let check = format!(
        "proxy_ssl_verify on; proxy_ssl_verify_depth 3; proxy_ssl_name a.upstream.test; \
         proxy_ssl_trusted_certificate {};",
        utf8(&pki.root).unwrap()
    );
    let (without, unchecking, second) = match proxy {
        Proxy::Good => (certificate.as_str(), check.as_str(), String::new()),
        Proxy::Bad => ("", "", format!("server {ending};")),
    };
    let location = |path: &str, settings: &[&str], upstream: &str| {
        let settings = settings.concat();
        format!("location {path} {{ {settings} proxy_pass https://{upstream}; }}\n")
    };
    let locations = [
        location("/with", &[&certificate, &check], MIXED),
        location("/without", &[without, &check], MIXED),
        location("/checked", &[&check], UNCHECKED),
        location("/unchecked", &[unchecking], UNCHECKED),
        location("/two", &[&check], TWO),
    ];
    let http = format!(
        "upstream {MIXED} {{ server {mixed}; }}\nupstream {UNCHECKED} {{ server {unchecked}; }}\n\
         upstream {TWO} {{ server {one}; {second} }}\n\
         server {{ listen {front}; proxy_ssl_session_reuse off;\n{} }}\n",
        locations.concat()
    );
    nginx::Config { http, ..nginx::Config::default() }
}

/// Requests to every location by turns, until dropped.
struct Requests {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Requests {
    fn start(front: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for path in ["/with", "/without", "/checked", "/unchecked", "/two"] {
                    // One that meets a reload may fail.
                    let _ = http::get(front, path);
                }
                thread::sleep(Duration::from_millis(150));
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// How often the webhook was told of each alert: by name, upstream and status.
fn told(webhook: &Receiver) -> BTreeMap<(String, String, String), usize> {
    let mut counts = BTreeMap::new();
    for post in webhook.posts() {
        let message: Value = serde_json::from_slice(&post.body).expect("Alertmanager posts JSON");
        for alert in message["alerts"].as_array().into_iter().flatten() {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let labels = &alert["labels"];
            let key =
                (text(&labels["alertname"]), text(&labels["upstream"]), text(&alert["status"]));
            *counts.entry(key).or_default() += 1;
        }
    }
    counts
}

/// Waits until the next scrape of the agent is over.
fn next_scrape(prometheus: &Prometheus) -> f64 {
    let at = || prometheus.value("timestamp(up{job=\"hopsight\"})");
    let before = at().unwrap_or_default();
    wait_until("the next scrape", SCRAPE * 6, || Ok(at().ok().filter(|now| *now > before))).unwrap()
}

/// Nothing of a hop changed in the last so many seconds, and no counter went back.
fn assert_still(prometheus: &Prometheus, seconds: u64, what: &str) {
    for name in STILL {
        for sample in prometheus.query(&format!("changes({name}[{seconds}s])")).unwrap() {
            assert!(sample.value == 0.0, "{what}: {name} changed: {sample:?}");
        }
    }
    let counters = prometheus
        .query(&format!("resets(hopsight_upstream_connections_total[{seconds}s])"))
        .unwrap();
    assert!(!counters.is_empty(), "{what}: connections are counted");
    for sample in counters {
        assert!(sample.value == 0.0, "{what}: a counter went back: {sample:?}");
    }
}

#[test]
fn what_alternates_is_told_once() {
    let name = "what_alternates_is_told_once";
    let programs: Vec<_> = ["nginx"].into_iter().chain(monitoring::PROGRAMS).collect();
    if !requirement::met(name, &programs) {
        return;
    }
    let alternate = env::var(ALTERNATE).ok().and_then(|seconds| seconds.parse().ok());
    let alternate: u64 = alternate.unwrap_or(25);
    let block = Loopback::reserve().unwrap();
    let scene = Scene::start(block);
    let dir = scene.dir.path();
    let webhook = Receiver::start().unwrap();
    let hook = format!("http://{}/", webhook.address);
    let alertmanager =
        Alertmanager::start(&dir.join("alertmanager"), block.socket(2, 9093), Some(&hook)).unwrap();
    let mut agent = scene.agent();
    agent.wait_looked_into().unwrap();
    let requests = Requests::start(scene.front);
    let config = Config {
        interval: SCRAPE,
        scrapes: Config::agents(&[agent.http]),
        rules: monitoring::hastened_rules(dir).unwrap(),
        alertmanager: Some(alertmanager.address),
    };
    let prometheus =
        Prometheus::start(&dir.join("prometheus"), block.socket(2, 9090), &config).unwrap();

    // All is well: mutual, checked, one server.
    let is = |metric: &str, upstream: &str, label: &str| {
        let query = format!("{metric}{{upstream=\"{upstream}\",{label}}} == 1");
        wait_until(&query, TOLD, || Ok(prometheus.query(&query)?.first().map(|_| ())))
            .unwrap_or_else(|error| {
                panic!("{error:#}\n{}\n{:#?}", agent.daemon.log(), agent.hops())
            });
    };
    is("hopsight_hop_security", MIXED, "security=\"mtls\"");
    is("hopsight_hop_security", UNCHECKED, "security=\"tls\"");
    is("hopsight_hop_security", TWO, "security=\"tls\"");
    for upstream in [MIXED, UNCHECKED, TWO] {
        is("hopsight_hop_server_verified", upstream, "server_verified=\"yes\"");
    }

    let alerts = [
        ("OneWayTlsWhereMutualRequired", MIXED),
        ("UpstreamNotVerified", UNCHECKED),
        ("UpstreamCertificateExpiring", TWO),
    ];
    let counts = |status: &str| {
        let told = told(&webhook);
        alerts.map(|(name, upstream)| {
            let key = (name.to_owned(), upstream.to_owned(), status.to_owned());
            *told.get(&key).unwrap_or(&0)
        })
    };
    let wait_told = |agent: &Agent, status: &str| {
        wait_until(&format!("all alerts to be {status}"), REACHED, || {
            Ok(counts(status).iter().all(|count| *count > 0).then_some(()))
        })
        .unwrap_or_else(|error| {
            panic!("{error:#}\n{:#?}\n{:#?}\n{}", told(&webhook), agent.hops(), agent.daemon.log())
        });
    };
    assert_eq!(counts("firing"), [0; 3], "nothing is wrong yet");

    scene.configure(Proxy::Bad);
    wait_told(&agent, "firing");
    let steady = |agent: &Agent, restarted: bool| {
        let what = if restarted { "across the restart" } else { "before the restart" };
        next_scrape(&prometheus);
        let begin = Instant::now();
        wait_until("time to pass", Duration::from_secs(alternate + 30), || {
            Ok((begin.elapsed() >= Duration::from_secs(alternate)).then_some(()))
        })
        .unwrap();
        next_scrape(&prometheus);
        // The second window holds the restart.
        let window = if restarted { alternate + 3 * SCRAPE.as_secs() } else { alternate };
        assert_still(&prometheus, window, what);
        assert_eq!((counts("firing"), counts("resolved")), ([1; 3], [0; 3]), "{what}");
        let hops = agent.hops().unwrap().hops;
        let hop = hops.iter().find(|hop| &*hop.upstream == MIXED).unwrap();
        assert!(hop.is_mixed_security(), "{what}: {hop:#?}");
    };
    steady(&agent, false);

    // Between two scrapes.
    next_scrape(&prometheus);
    let begin = Instant::now();
    agent.daemon.terminate().unwrap();
    let agent = scene.agent();
    println!("restarted within {:.1} s", begin.elapsed().as_secs_f64());
    assert!(begin.elapsed() < SCRAPE, "too slow for this test");
    steady(&agent, true);

    scene.configure(Proxy::Good);
    wait_told(&agent, "resolved");
    assert_eq!((counts("firing"), counts("resolved")), ([1; 3], [1; 3]), "{:#?}", told(&webhook));
    drop(requests);
    assert_events(&agent);
}

/// Drift, hop and configuration are told of once each, over the restart.
fn assert_events(agent: &Agent) {
    let names = |events: Vec<Value>, of: &str, rule: &str| {
        let is_it = |event: &Value| event["upstream"] == of && event["rule"] == rule;
        let words = events.into_iter().filter(is_it).map(|event| {
            let end = event["end"].as_str().map(|end| format!(" {end}")).unwrap_or_default();
            format!("{}{end}", event["event"].as_str().unwrap())
        });
        words.collect::<Vec<_>>()
    };
    for (upstream, rule) in
        [(MIXED, "client_certificate_missing"), (UNCHECKED, "upstream_not_verified")]
    {
        let found = wait_until("the drift to close", REACHED, || {
            let found = names(agent.drifts(), upstream, rule);
            Ok((found.len() >= 2).then_some(found))
        });
        let found = found.unwrap_or_else(|error| panic!("{error:#} {:#?}", agent.drifts()));
        assert_eq!(found, ["drift_opened", "drift_closed remediated"], "{upstream}");
    }
    let changes = |name: &str, word: fn(&Value) -> &Value| -> Vec<Value> {
        let of_mixed = |event: &Value| event["upstream"] == MIXED;
        let events = agent.events_named(name).into_iter().filter(of_mixed);
        let mut words: Vec<_> = events.map(|event| word(&event).clone()).collect();
        words.dedup();
        words
    };
    assert_eq!(
        changes("hop_changed", |event| &event["to"]["security"]),
        ["mtls", "tls", "mtls"],
        "{:#?}",
        agent.events_named("hop_changed")
    );
    assert_eq!(
        changes("intent_changed", |event| &event["to"]["client_certificate"]),
        ["mixed", "yes"]
    );
}
